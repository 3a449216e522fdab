"""The statements of a composite while it is being lowered, and the emitter that ops write them with."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, Final

from archgraph.ir.dim import Dim, Num
from archgraph.ir.real import Real, substitute
from archgraph.ir.types import TensorType
from archgraph.lower.plan import Constant, Entry, Kind, Leaf, LoweringError, Slot, Step
from archgraph.lower.sizes import Sizes, name_of
from archgraph.ops.base import Op, OpError, Weight
from archgraph.ops.binding import bind_weight, weight_path

#: Functions of sizes known only at run time: those that neither guard on a symbolic integer nor fail on an fx proxy.
_SYMBOLIC: Final = {
    "+": "operator.add",
    "-": "operator.sub",
    "*": "operator.mul",
    "/": "operator.truediv",
    "//": "operator.floordiv",
    "%": "operator.mod",
    "**": "operator.pow",
    "neg": "operator.neg",
    "abs": "operator.abs",
    "sqrt": "torch.sym_sqrt",
    "min": "torch.sym_min",
    "max": "torch.sym_max",
}


class Body:
    """The statements and entries of one composite, in the making.

    Parameters
    ----------
    root : bool
        Nobody calls it with sizes, so all must be found among its own values.
    dry : bool
        Only the entries matter: sizes that are not known become placeholders that nobody feeds.
    """

    def __init__(self, root: bool = False, dry: bool = False) -> None:
        self.steps: list[Step] = []
        self.entries: dict[str, Entry] = {}
        self.extras: dict[Dim, Step] = {}
        self.root = root
        self.dry = dry
        self._attributes: dict[str, Step] = {}
        self._parameters: set[str] = set()
        self.sizes = Sizes(self._axis, self._apply)

    def add(self, kind: Kind, target: str, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Step:
        """Append a statement."""
        step = Step(kind, target, args, kwargs, name)
        self.steps.append(step)
        return step

    def placeholder(self, name: str) -> Step:
        """A parameter of the composite's `forward`, under a name that Python takes; not among the statements."""
        name = re.sub(r"\W", "_", name)
        if keyword.iskeyword(name) or name == "self" or name[0].isdigit():
            name = f"{name}_" if name[0].isalpha() else f"_{name}"
        unique, n = name, 0
        while unique in self._parameters:
            unique, n = f"{name}_{n}", n + 1
        self._parameters.add(unique)
        return Step("placeholder", unique, (), {}, unique)

    def attribute(self, target: str, name: str) -> Step:
        """A parameter or buffer, read once."""
        found = self._attributes.get(target)
        if found is None:
            found = self._attributes[target] = self.add("get_attr", target, (), {}, name)
        return found

    def size(self, dim: Num, operands: Iterable[tuple[Any, TensorType | None]] = ()) -> int | Step:
        """A dim as an int or a value; unknown ones become further parameters."""
        found = self.sizes.get(dim, operands)
        if found is not None:
            return found
        assert isinstance(dim, Dim)
        if self.root:
            raise LoweringError(f"the size {dim} can't be computed from the sizes of the inputs")
        return self.extra(dim)

    def extra(self, dim: Dim) -> Step:
        """Take a size from the caller."""
        step = self.placeholder(name_of(dim))
        self.sizes.give(dim, step)
        if not self.dry:
            self.extras[dim] = step
        return step

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep the entries of what is lowered inside, but not the statements."""
        kept = self.steps, self.sizes, self._attributes, self.root, self.dry
        self.steps, self.sizes, self._attributes = [], Sizes(self._axis, self._apply), {}
        self.root, self.dry = False, True
        yield
        self.steps, self.sizes, self._attributes, self.root, self.dry = kept

    def _axis(self, value: Step, axis: int, name: str) -> Step:
        return self.add("call_method", "size", (value, axis), {}, name)

    def _apply(self, function: str, args: tuple[Any, ...], name: str) -> Step:
        return self.add("call_function", function, args, {}, name)


class OpEmitter:
    """An `archgraph.ops.base.Emitter` that appends to a `Body`.

    Parameters
    ----------
    body : Body
    op : Op
    args, in_types, out_types
        Operands, their types and those of the results.
    path : tuple of str
        Where the node's own modules and tensors go, from the composite.
    owner : tuple of str or None
        Where its weights are, if another node owns them.
    given : mapping
        Weights given as values; None where there is none.
    late : mapping
        Values of the late names.
    frozen : bool
        Own weights take no gradient.
    """

    def __init__(
        self,
        body: Body,
        op: Op,
        args: tuple[Step | None, ...],
        in_types: tuple[TensorType | None, ...],
        out_types: tuple[TensorType, ...],
        path: tuple[str, ...],
        owner: tuple[str, ...] | None,
        given: Mapping[str, Step | None],
        late: Mapping[str, Any],
        frozen: bool,
    ) -> None:
        self.in_types: tuple[Any, ...] = in_types
        self.out_types = out_types
        self._body = body
        self._op = op
        self._args = args
        self._path = ".".join(path)
        self._owner = None if owner is None else ".".join(owner)
        self._given = given
        self._late = late
        self._frozen = frozen
        self._name = "_".join(path)
        self._weights: dict[str, Weight] | None = None

    # -- the protocol ----------------------------------------------------------------------------------------------

    def module(self, cls: str, *args: Any, **kwargs: Any) -> Step:
        if self._given:
            raise OpError(f"`{self._op.op_name}` can't be called with given weights")
        target = self._owner
        if target is None:
            target = self._path
            if target in self._body.entries:
                raise LoweringError(f"two modules at one path, the second is {cls}")
            plain = {key: self._plain(value, key) for key, value in kwargs.items()}
            weights = tuple([self._resolved(w) for w in self._op.weights(*self.in_types)])
            self._body.entries[target] = Leaf(cls, plain, weights, self._frozen)
        return self._body.add("call_module", target, self._values(args), {}, self._name)

    def call(self, function: str, *args: Any, **kwargs: Any) -> Step:
        name = f"{self._name}_{function.rpartition('.')[2]}"
        kwargs = {key: self._value(value) for key, value in kwargs.items()} if kwargs else kwargs
        return self._body.add("call_function", function, self._values(args), kwargs, name)

    def method(self, name: str, x: Any, *args: Any, **kwargs: Any) -> Step:
        kwargs = {key: self._value(value) for key, value in kwargs.items()} if kwargs else kwargs
        return self._body.add("call_method", name, (x, *self._values(args)), kwargs, f"{self._name}_{name}")

    def item(self, x: Any, index: int) -> Step:
        return self._body.add("call_function", "operator.getitem", (x, index), {}, f"{self._name}_{index}")

    def weight(self, name: str = "weight") -> Step | None:
        if name in self._given:
            return self._given[name]
        if self._weights is None:
            self._weights = {w.name: w for w in self._op.weights(*self.in_types)}
        weight = self._weights.get(name)
        if weight is None:
            raise LoweringError(f"`{self._op.op_name}` declares no weight `{name}`")
        target = weight_path(self._path if self._owner is None else self._owner, weight)
        if self._owner is None and target not in self._body.entries and self._path not in self._body.entries:
            self._body.entries[target] = Slot(self._resolved(weight), self._frozen)
        return self._body.attribute(target, target.replace(".", "_"))

    def size(self, dim: Num) -> int | Step:
        if isinstance(dim, int):
            return dim
        return self._body.size(dim, zip(self._args, self.in_types, strict=True))

    def constant(self, maker: str, *args: Any) -> Step:
        base = maker.rpartition(".")[2]
        # A leaf takes it beside its own buffers, a tensor at the node's own path can't.
        at_path = any(not w.name for w in self._op.weights(*self.in_types))
        stem = f"{self._path}_constants.{base}" if at_path else f"{self._path}.{base}"
        target, n = stem, 0
        entry = Constant(maker, tuple(self._plain(arg, maker) for arg in args))
        while self._body.entries.get(target, entry) != entry:
            n += 1
            target = f"{stem}_{n}"
        self._body.entries[target] = entry
        return self._body.attribute(target, target.replace(".", "_"))

    def scalar(self, value: Any) -> Any:
        if not isinstance(value, (Real, Dim)):
            return float(value) if isinstance(value, Fraction) else value
        value = substitute(value, self._late)
        if isinstance(value, Dim):
            return self.size(value)
        if not isinstance(value, Real):
            return float(value) if isinstance(value, Fraction) else value
        function = _SYMBOLIC.get(value.op)
        if function is None:
            raise LoweringError(f"`{value}` can't be computed from sizes known only when the model runs")
        args = [self.scalar(arg) for arg in value.args]
        while len(args) > 2:  # min and max of many
            args[:2] = [self.call(function, *args[:2])]
        return self.call(function, *args)

    # -- arguments ---------------------------------------------------------------------------------------------------

    def _values(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple([a if isinstance(a, Step) else self._value(a) for a in args])

    def _value(self, value: Any) -> Any:
        """An argument with sizes and late numbers put in."""
        if isinstance(value, (Step, str, int, float)) or value is None:
            return value
        if isinstance(value, Dim):
            return self.size(value)
        if isinstance(value, (Real, Fraction)):
            return self.scalar(value)
        if isinstance(value, (tuple, list)):
            return type(value)(self._value(v) for v in value)
        if isinstance(value, slice):
            return slice(self._value(value.start), self._value(value.stop), self._value(value.step))
        return value

    def _plain(self, value: Any, key: str) -> Any:
        """An argument of a module or constant, which must be known when the model is built."""
        if isinstance(value, (str, int, float)) or value is None:
            return value
        if isinstance(value, (tuple, list)):
            return type(value)(self._plain(v, key) for v in value)
        if isinstance(value, (Dim, Real)):
            value = substitute(value, self._late)
            if isinstance(value, (Dim, Real)):
                raise LoweringError(f"`{key}` of `{self._op.op_name}` is {value}: give its symbols values to build")
        if isinstance(value, Step):
            raise LoweringError(f"`{key}` of `{self._op.op_name}` is only known when the model runs")
        return float(value) if isinstance(value, Fraction) else value

    def _resolved(self, weight: Weight) -> Weight:
        shape = tuple(self._plain(n, weight.name or "shape") for n in weight.shape)
        return bind_weight(weight, self._late)._replace(shape=shape)
