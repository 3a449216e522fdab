"""Runs one op eagerly and holds its declaration to what torch does: shapes, dtypes, parameters, MACs, values.

>>> check("linear", {"out_features": 8}, "2 5 4", reference=torch.nn.functional.linear)
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from archgraph.ir.dim import Cond, Dim, Num, substitute, sym, symbols
from archgraph.ir.real import Late, Real, evaluate
from archgraph.ir.types import DTYPE_BYTES, Layout, TensorType
from archgraph.ops.base import FREE, Cost, Op, OpError, Weight, check_operands, get_op

#: Torch dtype of each dtype of a `TensorType`; the model's own floating dtype is float32 here.
TORCH_DTYPE: Final = {
    name: getattr(torch, {"float": "float32", "complex": "complex64"}.get(name, name)) for name in DTYPE_BYTES
}

TypeLike = TensorType | str | Sequence[Num] | None


def tensor_type(given: TypeLike, layout: Mapping[int, Layout] | None = None) -> TensorType | None:
    """A type from ``"2 C 8 8"``, ``"int64: B N"``, a shape, or a type; None (an absent operand) stays None."""
    if given is None or isinstance(given, TensorType):
        return given
    dtype = "float"
    if isinstance(given, str):
        head, colon, tail = given.rpartition(":")
        dtype = head if colon else "float"
        given = [int(word) if word.isdigit() else sym(word) for word in tail.split()]
    return TensorType(dtype, tuple(given), tuple(sorted((layout or {}).items())))


class Recorder:
    """A `Context` that raises on false conditions and keeps undecided ones."""

    def __init__(self) -> None:
        self.guards: list[tuple[Cond, str]] = []

    def require(self, cond: bool | Cond, why: str) -> None:
        if cond is False:
            raise OpError(why)
        if cond is not True:
            self.guards.append((cond, why))


class Typed(NamedTuple):
    """An op with the types that its rule gave it."""

    op: Op
    ins: tuple[TensorType | None, ...]
    outs: tuple[TensorType, ...]
    weights: tuple[Weight, ...]
    cost: Cost
    guards: tuple[tuple[Cond, str], ...]


def infer(name: str, attrs: Mapping[str, Any], *types: TypeLike) -> Typed:
    """Operand checks, type rule, weights and cost of one op; raises `OpError` as the front end would see it."""
    cls = get_op(name)
    assert cls is not None, name
    op = cls.from_mapping(attrs)
    ins = tuple(tensor_type(t) for t in types)
    check_operands(cls, ins)
    cx = Recorder()
    found = op.infer(cx, *ins)
    outs = found if isinstance(found, tuple) else (found,)
    cost = FREE if cls.free else op.cost(ins, outs)
    return Typed(op, ins, outs, tuple(op.weights(*ins)), cost, tuple(cx.guards))


def at(value: Any, env: Mapping[str, int]) -> Any:
    """Dims with their symbols given numbers, inside lists, tuples, mappings, slices and types; the rest stays."""
    if isinstance(value, Dim):
        return substitute(value, env)
    if isinstance(value, TensorType):
        return TensorType(value.dtype, at(value.shape, env))
    if isinstance(value, Cost):
        return Cost(at(value.macs, env), at(value.elementwise, env))
    if isinstance(value, (list, tuple)):
        return type(value)(at(v, env) for v in value)
    if isinstance(value, dict):
        return {k: at(v, env) for k, v in value.items()}
    if isinstance(value, slice):
        return slice(at(value.start, env), at(value.stop, env), at(value.step, env))
    return value


def resolve(path: str) -> Any:
    """The object at a dotted path: the longest module prefix, then attributes."""
    parts = path.split(".")
    for k in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(path)


class EagerEmitter:
    """An `archgraph.ops.base.Emitter` whose handles are tensors: every call happens at once.

    ``weights`` are the node's parameters and buffers by name. A module must own exactly these, with these shapes.
    """

    def __init__(
        self,
        typed: Typed,
        weights: Mapping[str, Tensor],
        env: Mapping[str, int],
        device: str = "cpu",
        training: bool = False,
    ) -> None:
        self.in_types = typed.ins
        self.out_types = typed.outs
        self.weights = dict(weights)
        self.env = env
        self.device = device
        self.training = training
        self.used: list[str] = []
        self._symbols: frozenset[str] = frozenset().union(
            *(symbols(d) for t in typed.ins if t is not None for d in t.shape)
        )

    def module(self, cls: str, *args: Any, **kwargs: Any) -> Any:
        assert "module" not in self.used, "an op has one module, at the node's path"
        self.used.append("module")
        module = resolve(cls)(**at(kwargs, self.env)).to(self.device)
        declared = {name: tuple(w.shape) for name, w in self.weights.items()}
        owned = {name: tuple(w.shape) for name, w in module.state_dict().items()}
        assert owned == declared, f"{cls} owns {owned}, declared are {declared}"
        module.load_state_dict(self.weights)
        return module.train(self.training)(*args)

    def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
        self.used.append(function)
        return resolve(function)(*at(args, self.env), **at(kwargs, self.env))

    def method(self, name: str, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.used.append(name)
        return getattr(x, name)(*at(args, self.env), **at(kwargs, self.env))

    def item(self, x: Any, index: int) -> Any:
        return x[index]

    def weight(self, name: str = "weight") -> Tensor:
        return self.weights[name]

    def size(self, dim: Num) -> int:
        if isinstance(dim, Dim):
            # what takes no operand finds its sizes among the values around it
            unknown = symbols(dim) - self._symbols if self.in_types else ()
            assert not unknown, f"{dim} can't be computed from the operands' sizes"
        found = at(dim, self.env)
        assert type(found) is int, dim
        return found

    def constant(self, maker: str, *args: Any) -> Tensor:
        made = resolve(f"archgraph.lower.makers.{maker}")(*args)
        assert isinstance(made, Tensor), maker
        return made.to(self.device)

    def scalar(self, value: Any) -> Any:
        return evaluate(value, self.env) if isinstance(value, (Real, Late)) else at(value, self.env)


def random_tensor(t: TensorType, env: Mapping[str, int], high: int = 2) -> Tensor:
    """Normal floats, integers in [0, high), fair bools."""
    shape = at(t.shape, env)
    dtype = TORCH_DTYPE[t.dtype]
    if t.dtype == "bool":
        return torch.rand(shape) > 0.5
    if dtype.is_floating_point or dtype.is_complex:
        return torch.randn(shape, dtype=dtype)
    return torch.randint(0, high, shape, dtype=dtype)


def random_weight(w: Weight, env: Mapping[str, int]) -> Tensor:
    """Normal values; positive ones for variances, zero for counters."""
    shape = at(tuple(w.shape), env)
    dtype = TORCH_DTYPE[w.dtype]
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    return torch.rand(shape) + 0.5 if w.name.endswith("var") else torch.randn(shape, dtype=dtype)


class Run(NamedTuple):
    """What `check` found, for further questions."""

    typed: Typed
    inputs: tuple[Tensor | None, ...]
    weights: dict[str, Tensor]
    outputs: tuple[Any, ...]
    #: What the lowering called, in order.
    used: list[str]


def check(
    name: str,
    attrs: Mapping[str, Any],
    *types: TypeLike,
    reference: Callable[..., Any] | None = None,
    macs: int | None = None,
    env: Mapping[str, int] | None = None,
    inputs: Sequence[Tensor | None] | None = None,
    high: int = 2,
    training: bool = False,
    tolerance: float = 1e-5,
) -> Run:
    """Infer, run and compare.

    Parameters
    ----------
    name, attrs : str, mapping
        The op as written in a spec.
    types : type, text (``"B C 8 8"``, ``"int64: B N"``) or shape
        Operand types, None for an absent optional one. Symbols need a value in ``env``; then inference is also done
        with the numbers, and both must agree.
    reference : callable, optional
        torch's own computation, called with the inputs and then the weights in declared order.
    macs : int, optional
        The mathematical count where `FlopCounterMode` is known to count otherwise; its count must then differ.
    inputs : tensors, optional
        Values instead of random ones.
    high : int
        Random integer inputs are below it.
    training : bool
        Mode of the module.
    tolerance : float
        Absolute and relative, of the comparison with the reference.
    """
    env = env or {}
    typed = infer(name, attrs, *types)
    if env:
        _same_with_numbers(typed, name, attrs, env)
    given = (
        tuple((None if t is None else random_tensor(t, env, high)) for t in typed.ins)
        if inputs is None
        else tuple(inputs)
    )
    weights = {w.name: random_weight(w, env) for w in typed.weights}

    emitter = EagerEmitter(typed, weights, env, training=training)
    outputs = _run(typed, emitter, given)
    for k, (out, t) in enumerate(zip(outputs, typed.outs, strict=True)):
        assert tuple(out.shape) == at(t.shape, env), f"{name}, output {k}: ran to {tuple(out.shape)}, inferred {t}"
        assert out.dtype == TORCH_DTYPE[t.dtype], f"{name}, output {k}: ran to {out.dtype}, inferred {t}"
    if type(typed.op).functional is not Op.functional:
        again = typed.op.functional(EagerEmitter(typed, weights, env), *given)
        if not training:
            _close(again if isinstance(again, tuple) else (again,), outputs, tolerance, f"{name}, weights given")

    counted = _count(typed, env, weights, given)
    declared = at(typed.cost.macs, env)
    if macs is None:
        assert counted == declared, f"{name}: {declared} MACs declared, {counted} counted by torch"
    else:
        assert declared == macs, f"{name}: {declared} MACs declared, {macs} expected"
        assert counted != macs, f"{name}: torch counts {macs} MACs as we do; leave out `macs`"

    if reference is not None:
        expected = reference(*given, *weights.values())
        _close(outputs, expected if isinstance(expected, tuple) else (expected,), tolerance, f"{name}, reference")
    return Run(typed, given, weights, outputs, emitter.used)


def _run(typed: Typed, emitter: EagerEmitter, given: Sequence[Tensor | None]) -> tuple[Any, ...]:
    found = typed.op.lower(emitter, *given)
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def _same_with_numbers(typed: Typed, name: str, attrs: Mapping[str, Any], env: Mapping[str, int]) -> None:
    """Inference with symbols, then numbers put in, equals inference with the numbers."""
    numbers = infer(name, at(dict(attrs), env), *(None if t is None else at(t, env) for t in typed.ins))
    assert numbers.guards == ()
    assert tuple(at(t, env) for t in typed.outs) == numbers.outs
    assert at(typed.cost, env) == numbers.cost
    assert [(w.name, at(tuple(w.shape), env)) for w in typed.weights] == [
        (w.name, tuple(w.shape)) for w in numbers.weights
    ]


def _count(typed: Typed, env: Mapping[str, int], weights: Mapping[str, Tensor], given: Sequence[Tensor | None]) -> int:
    """MACs that torch counts for one run, on the meta device."""
    on_meta = {k: w.to("meta") for k, w in weights.items()}
    emitter = EagerEmitter(typed, on_meta, env, device="meta")
    counter = FlopCounterMode(display=False)
    with counter:
        _run(typed, emitter, [None if x is None else x.to("meta") for x in given])
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def _close(found: Sequence[Any], expected: Sequence[Any], tolerance: float, what: str) -> None:
    assert len(found) == len(expected), what
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(
            a, b, rtol=tolerance, atol=tolerance, equal_nan=True, msg=lambda text: f"{what}: {text}"
        )


def error(name: str, attrs: Mapping[str, Any], *types: TypeLike) -> OpError:
    """The error that an op must raise for these attributes and operands."""
    try:
        found = infer(name, attrs, *types)
    except OpError as raised:
        return raised
    raise AssertionError(f"{name} accepts {attrs} on {types}: {found.outs}")
