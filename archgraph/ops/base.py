"""Declaring an op: attributes, operands, type rule, weights, cost rule, lowering, documentation, all in one class."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, Protocol

from archgraph.ir.density import DENSE, Density
from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Cond, Num
from archgraph.ir.real import Late, NeedsValue, Real, free, late_names
from archgraph.ir.types import DTYPE_BYTES, TensorType, is_float, is_int
from archgraph.ops.kinds import AttributeValueError, Init, IntKind, Kind, ListKind
from archgraph.ops.strides import Strides


class OpError(Exception):
    """An op or block can't take these operands or attributes; becomes a diagnostic.

    Its place is ``at``, or where the node says ``key`` (an attribute, ``as``, ``weights`` …), or else the node.
    """

    def __init__(
        self,
        message: str,
        expected: str | None = None,
        found: str | None = None,
        hint: str | None = None,
        at: Span | None = None,
        *,
        code: str = "type/op",
        key: str | None = None,
    ):
        super().__init__(message)
        self.expected = expected
        self.found = found
        self.hint = hint
        self.at = at
        self.code = code
        self.key = key


class Context(Protocol):
    """What a type rule may ask of the elaborator."""

    def require(self, cond: bool | Cond, why: str) -> None:
        """Demand a condition: false is an error with text ``why``, an undecided one is recorded as a guard."""


class Cost(NamedTuple):
    """Work of one call.

    ``macs``: multiply-accumulates of contractions and convolutions, the product of all index ranges.
    ``elementwise``: other arithmetic, one per elementary operation and element.
    FLOPs are ``2 * macs + elementwise``.
    """

    macs: Num = 0
    elementwise: Num = 0


FREE: Final = Cost()


class Weight(NamedTuple):
    """A parameter or buffer that a node owns; ``name`` is relative to the node, empty for the node's own path."""

    name: str
    shape: tuple[Num, ...]
    init: Init = ("zeros", ())
    dtype: str = "float"
    buffer: bool = False
    persistent: bool = True


Handle = Any


class Emitter(Protocol):
    """What a lowering may emit. Handles stand for values of the target (fx nodes, names in source)."""

    #: A `TensorType` per operand, None for an absent one; Any, since a rule knows which of its operands may be absent.
    in_types: tuple[Any, ...]
    out_types: tuple[TensorType, ...]

    def module(self, cls: str, *args: Handle, **kwargs: Any) -> Handle:
        """A leaf module ``cls(**kwargs)`` (dotted torch name) at the node's path, called on ``args``."""

    def call(self, function: str, *args: Any, **kwargs: Any) -> Handle:
        """A call of a dotted function (``torch.nn.functional.gelu``, ``operator.add``)."""

    def method(self, name: str, x: Handle, *args: Any, **kwargs: Any) -> Handle:
        """A tensor method call."""

    def item(self, x: Handle, index: int) -> Handle:
        """One element of a tuple."""

    def weight(self, name: str = "weight") -> Handle:
        """The node's own parameter or buffer (``""`` is the node's own path), or the value given for it."""

    def size(self, dim: Num) -> Handle:
        """A dim as an int, or as an expression over sizes of the values at hand."""

    def constant(self, maker: str, *args: Any) -> Handle:
        """A non-persistent buffer made when the model is built: ``archgraph.lower.constants.<maker>(*args)``."""

    def scalar(self, value: Any) -> Any:
        """A host number; late expressions are replaced by this instance's value."""


class Attribute:
    """One declared attribute: its kind, default and documentation."""

    __slots__ = ("default", "doc", "draw", "floor", "index", "inert", "item_floor", "kind", "name", "required")

    def __init__(self, kind: Kind, default: Any, required: bool, doc: str, inert: bool, draw: Any) -> None:
        self.kind = kind
        self.default = default
        self.required = required
        self.doc = doc
        self.inert = inert
        self.draw = draw
        self.name = ""
        self.index = 0
        #: An int that is no less is a value as it is.
        self.floor = _floor(kind)
        #: A tuple of ints that are no less is a value as it is.
        self.item_floor = _floor(kind.item) if type(kind) is ListKind else math.inf


def _floor(kind: Kind) -> float:
    """The least int that a kind takes as it is; infinite where it takes none."""
    if not isinstance(kind, IntKind):
        return math.inf
    return -math.inf if kind.low is None else kind.low


_REQUIRED: Final = object()


def attr(kind: Kind, default: Any = _REQUIRED, *, doc: str = "", inert: bool = False, draw: Any = None) -> Any:
    """Declare an attribute in an op's class body.

    Parameters
    ----------
    kind : Kind
        How the value is read and converted.
    default : optional
        Value when left out; without one the attribute is required.
    doc : str
        One sentence for the reference documentation.
    inert : bool
        The value reaches neither type, weights nor cost, so it may be bound late.
    draw : optional
        Hint for property tests: a list of candidate values, or a function ``(draw, in_types, attrs) -> value``.
    """
    return Attribute(kind, None if default is _REQUIRED else default, default is _REQUIRED, doc, inert, draw)


class Operand:
    """One operand: its name, pattern (``B C H W``; ``...`` any axes) and dtype class (float, int, bool, any)."""

    __slots__ = ("dtype", "name", "optional", "pattern", "rank", "variadic")

    def __init__(self, name: str, pattern: str, dtype: str, optional: bool, variadic: bool) -> None:
        self.name = name
        self.pattern = pattern
        self.dtype = dtype
        self.optional = optional
        self.variadic = variadic
        #: Number of axes; None where any.
        self.rank = None if "..." in pattern else len(pattern.split())

    def over(self, pattern: str) -> Operand:
        """The same operand with another pattern."""
        return Operand(self.name, pattern, self.dtype, self.optional, self.variadic)


def operand(
    name: str, pattern: str = "...", *, dtype: str = "float", optional: bool = False, variadic: bool = False
) -> Operand:
    """Declare an operand; see `Operand`."""
    return Operand(name, pattern, dtype, optional, variadic)


class Op:
    """Base of all ops.

    A subclass states ``name=`` in its class line, attributes with `attr`, ``operands``, and the rules below. Its
    docstring is its documentation: the first line says what it computes, shapes included.

    Instances are immutable values: two with equal attributes are equal. ``late`` holds the names of the late values
    among them; whoever makes an instance may pass it where it is known.
    """

    __slots__ = ("_hash", "late", "values")

    op_name: ClassVar[str] = ""
    attributes: ClassVar[tuple[Attribute, ...]] = ()
    by_name: ClassVar[Mapping[str, Attribute]] = {}
    operands: ClassVar[tuple[Operand, ...]] = ()
    outputs: ClassVar[tuple[str, ...]] = ("out",)
    #: Kind of further attributes under any name (the axis lengths of einops patterns); None: there are none.
    extra: ClassVar[Kind | None] = None
    #: Costs nothing by declaration (views, reshapes, constants): the cost rule is not asked.
    free: ClassVar[bool] = False
    #: Output shares storage with the first input.
    view: ClassVar[bool] = False
    #: Only moves elements, or maps zero to zero: the same share of the result is expected to be zero as of the operand.
    keeps_density: ClassVar[bool] = False
    #: Reads of its weights, or else of its first operand, only what indices or coordinates name.
    looks_up: ClassVar[bool] = False
    #: Makes values most of which are expected to be zero or false.
    sparsifies: ClassVar[bool] = False
    #: Operands may be exchanged (rewrite patterns try both orders).
    commutative: ClassVar[bool] = False
    #: Takes its leaving-out of ``in`` as an error in what follows: the op makes a value from nothing.
    source: ClassVar[bool] = False
    #: Whether a node with this op may own parameters or buffers; follows from `weights`.
    has_weights: ClassVar[bool] = False
    #: Not for property-based drawing, with the reason.
    undrawable: ClassVar[str] = ""

    values: tuple[Any, ...]
    late: frozenset[str]

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [(k, v) for k, v in vars(cls).items() if isinstance(v, Attribute)]
        merged: dict[str, Attribute] = {a.name: a for a in cls.attributes}
        for key, attribute in own:
            attribute.name = key
            merged[key] = attribute
        ordered: list[Attribute] = []
        for index, (key, given) in enumerate(merged.items()):
            a = Attribute(given.kind, given.default, given.required, given.doc, given.inert, given.draw)
            a.name, a.index = key, index
            if not a.required and a.default is not None:
                a.default = a.kind.convert(a.default)
            ordered.append(a)
            setattr(cls, key, property(_getter(index)))
        cls.attributes = tuple(ordered)
        cls.by_name = {a.name: a for a in ordered}
        cls.has_weights = cls.weights is not Op.weights
        if name is None:
            return
        cls.op_name = name
        if not cls.__doc__:
            raise TypeError(f"op {name} has no docstring")
        if not cls.free and cls.cost is Op.cost:
            raise TypeError(f"op {name} has no cost rule; state one, or declare free = True")
        if cls.infer is Op.infer or cls.lower is Op.lower:
            raise TypeError(f"op {name} needs both infer and lower")
        register(cls)

    def __init__(self, values: tuple[Any, ...], late: frozenset[str] | None = None) -> None:
        self.values = values
        self.late = late_names(values) if late is None else late
        self._hash: int | None = None

    @classmethod
    def make(cls, **given: Any) -> Op:
        """An instance from Python values, defaults filled in.

        Raises
        ------
        AttributeValueError
            For a value of the wrong kind (`args` holds the attribute's name first).
        OpError
            For an unknown or missing attribute.
        """
        return cls.from_mapping(given)

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Op:
        """`make` with the attributes as a mapping."""
        values: list[Any] = []
        used = 0
        for a in cls.attributes:
            if a.name in given:
                used += 1
                values.append(cls.convert(a, given[a.name]))
            elif a.required:
                raise OpError(f"`{cls.op_name}` needs the attribute `{a.name}` ({a.kind.expected})")
            else:
                values.append(a.default)
        if cls.extra is not None:
            rest = [(k, cls.extra.convert(v)) for k, v in given.items() if k not in cls.by_name]
            values.append(tuple(sorted(rest)))
        elif used != len(given):
            unknown = [k for k in given if k not in cls.by_name]
            raise OpError(f"`{cls.op_name}` has no attribute `{unknown[0]}`")
        return cls(tuple(values))

    @staticmethod
    def convert(a: Attribute, value: Any) -> Any:
        """One attribute's value in canonical form; late values only where the attribute is inert."""
        if isinstance(value, (Late, Real)) and not a.inert and free(value):
            raise NeedsValue(value)
        if value is None and a.default is None and not a.required:
            return None
        return a.kind.convert(value)

    @property
    def axes(self) -> dict[str, Any]:
        """The further attributes (axis lengths), by name."""
        return dict(self.values[-1]) if self.extra is not None else {}

    def attrs(self) -> dict[str, Any]:
        """Attributes that differ from their defaults, by name, further ones included."""
        found = {
            a.name: v
            for a, v in zip(self.attributes, self.values, strict=False)
            if a.required or v != a.default or type(v) is not type(a.default)
        }
        return {**found, **self.axes}

    # -- rules ---------------------------------------------------------------------------------------------------

    def infer(self, cx: Context, *types: Any) -> TensorType | tuple[TensorType, ...]:
        """Output types from operand types: ``+ * // %`` on dims and ``cx.require`` only, so that symbols pass."""
        raise AssertionError(f"{self.op_name}.infer")

    def weights(self, *types: Any) -> tuple[Weight, ...]:
        """Parameters and buffers that a node with this op owns."""
        return ()

    def cost(self, ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        """Work of one call; not asked where ``free``."""
        raise AssertionError(f"{self.op_name}.cost")

    def densities(
        self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]
    ) -> tuple[Density, ...]:
        """Which share of each output is expected to be other than zero, from the shares of the operands."""
        return (given[0] if self.keeps_density and given else DENSE,) * len(outs)

    def aliases(self, x: Any, strides: Strides) -> Strides | None:
        """How the results lie in memory: in that of the first operand in evaluation, unless ``copied``; None: anew.

        Asked of ops that are a ``view``, and of those that are one only now and then.
        """
        return strides if self.view else None

    def workspace(
        self, ins: tuple[Any, ...], outs: tuple[TensorType, ...], strides: tuple[Strides, ...]
    ) -> tuple[TensorType, ...]:
        """Tensors alive beside operands and results at the worst moment of a call, whatever the device."""
        return ()

    def expected(self, given: tuple[Density, ...], ins: tuple[Any, ...], outs: tuple[TensorType, ...]) -> Cost:
        """Work of one call that skips zeros of its operands, given the shares that are none; by default all of it."""
        return FREE if self.free else self.cost(ins, outs)

    def lower(self, b: Emitter, *args: Handle) -> Any:
        """Emit the op through ``b``; returns a handle, or a tuple of them for several outputs."""
        raise AssertionError(f"{self.op_name}.lower")

    def functional(self, b: Emitter, *args: Handle) -> Any:
        """Emit with weights given as values (``b.weight``), for ops that lower to a module otherwise."""
        raise OpError(f"`{self.op_name}` can't be called with given weights")

    # -- values --------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self.values == other.values)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((self.op_name, self.values))
        return self._hash

    @property
    def reads(self) -> str | None:
        """Path of the weight that this is, from its graph; None for all but `get_weight`."""
        return None

    def identity(self) -> tuple[Any, ...]:
        """What tells this op from others of its class, the names of operands apart."""
        return self.values

    def canonical(self) -> tuple[Op, tuple[int, ...] | None]:
        """The simplest op that computes the same, and its operands' numbers in this one's (None: all in order)."""
        return self, None

    def __repr__(self) -> str:
        inside = ", ".join(f"{k}={v}" for k, v in self.attrs().items())
        return f"{self.op_name}({inside})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.values,)


def _getter(index: int) -> Any:
    def get(self: Op) -> Any:
        return self.values[index]

    return get


# -- registry ----------------------------------------------------------------------------------------------------

_ops: dict[str, type[Op]] = {}
#: Modules of this package that declare ops; imported when the first op is asked for.
FAMILIES: Final = (
    "activation",
    "attention",
    "contraction",
    "conv",
    "crop",
    "elementwise",
    "fft",
    "higher",
    "index",
    "join",
    "linear",
    "norm",
    "optical",
    "order",
    "pool",
    "positional",
    "random",
    "reduce",
    "resize",
    "shape",
    "source",
)
_loaded = False


def register(cls: type[Op]) -> None:
    """Enter an op under its name.

    Raises
    ------
    TypeError
        If the name is taken.
    """
    if cls.op_name in _ops:
        raise TypeError(f"two ops are called {cls.op_name}")
    _ops[cls.op_name] = cls


def all_ops() -> Mapping[str, type[Op]]:
    """Every known op by name."""
    global _loaded
    if not _loaded:
        _loaded = True
        for family in FAMILIES:
            importlib.import_module(f"archgraph.ops.{family}")
    return _ops


def get_op(name: str) -> type[Op] | None:
    """The op of that name, if there is one."""
    found = _ops.get(name)
    return found if found is not None else all_ops().get(name)


# -- helpers for rules -------------------------------------------------------------------------------------------


def fail(
    message: str, expected: str | None = None, found: object = None, hint: str | None = None, key: str | None = None
) -> NoReturn:
    """Raise `OpError`."""
    raise OpError(message, expected, None if found is None else str(found), hint, key=key)


def check_operands(op: type[Op], types: tuple[TensorType | None, ...]) -> None:
    """Rank and dtype class of each operand as declared.

    Raises
    ------
    OpError
        Naming the operand.
    """
    operands = op.operands
    n = len(operands)
    for k, t in enumerate(types):
        if t is None:
            continue
        o = operands[k] if k < n else operands[-1]
        rank = o.rank
        if rank is not None and len(t.shape) != rank:
            axes = f"{rank} {'axis' if rank == 1 else 'axes'}" if rank else "a single number"
            fail(f"`{op.op_name}` takes {axes} for `{o.name}`", f"[{o.pattern.replace(' ', ', ')}]", t)
        if o.dtype != "any" and t.dtype not in DTYPE_CLASSES[o.dtype]:
            fail(f"`{op.op_name}` takes {o.dtype} values for `{o.name}`", o.dtype, t)


#: Dtypes of each class of operands.
DTYPE_CLASSES: Final[dict[str, frozenset[str]]] = {
    "float": frozenset(d for d in DTYPE_BYTES if is_float(d)),
    "int": frozenset(d for d in DTYPE_BYTES if is_int(d)),
    "bool": frozenset({"bool"}),
    "complex": frozenset({"complex"}),
    "number": frozenset(d for d in DTYPE_BYTES if d != "bool"),
}

__all__ = [
    "FREE",
    "Attribute",
    "AttributeValueError",
    "Context",
    "Cost",
    "Emitter",
    "Op",
    "OpError",
    "Operand",
    "Weight",
    "all_ops",
    "attr",
    "check_operands",
    "fail",
    "get_op",
    "operand",
    "register",
]
