"""Well-typed block graphs drawn from the op declarations themselves: a new op is covered without being asked."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import strategies as st

from archgraph.ir.dim import Cond
from archgraph.ir.graph import Graph, Node, ValueRef
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError, Op, Operand, OpError, all_ops, check_operands
from archgraph.ops.kinds import (
    BoolKind,
    FloatKind,
    InitKind,
    IntKind,
    IntsKind,
    Kind,
    ListKind,
    MapKind,
    OptionalKind,
    WordKind,
)
from tests.properties.recipes import RECIPES

MAX_NUMEL = 2**14
ATTEMPTS = 6

#: How often an op was tried and how often it was accepted, over all drawn graphs.
tried: Counter[str] = Counter()
accepted: Counter[str] = Counter()


class Rejected(Exception):
    """The drawn operands or attributes do not fit the op."""


class Checked:
    """A context that knows every size: a condition that fails rejects the draw."""

    def require(self, cond: bool | Cond, why: str) -> None:
        if cond is False:
            raise Rejected(why)


def drawable() -> list[str]:
    """Names of the ops that graphs are drawn from."""
    return sorted(name for name, op in all_ops().items() if not op.undrawable or name in RECIPES)


def by_kind(draw: Any, kind: Kind) -> Any:
    """A value of a kind that says no more than its type."""
    if isinstance(kind, OptionalKind):
        return by_kind(draw, kind.item)
    if isinstance(kind, BoolKind):
        return draw(st.booleans())
    if isinstance(kind, WordKind):
        return draw(st.sampled_from(kind.words))
    if isinstance(kind, InitKind):
        return draw(st.sampled_from(["zeros", "ones", {"normal": {"std": 0.1}}]))
    if isinstance(kind, IntKind):
        low = kind.low if kind.low is not None else 0
        return draw(st.integers(low, low + 3))
    if isinstance(kind, IntsKind):
        return by_kind(draw, kind.item)
    if isinstance(kind, FloatKind):
        return draw(st.sampled_from([0.5, 1.0, 0.1]))
    if isinstance(kind, ListKind):
        return [by_kind(draw, kind.item)]
    if isinstance(kind, MapKind):
        return {}
    raise Rejected(f"nothing is known of {kind}")


#: Transforms take real numbers of the model's dtype; their operand is declared without a dtype.
OF_REALS = {"rfft", "rfft2", "fft", "fft2", "ifft", "ifft2", "irfft", "irfft2"}

#: What is drawn although it may be left out, and what is left out: one of a pair that excludes or needs the other.
ALWAYS = {("interpolate", "size")}
NEVER = {("rotary", "freqs")}


def attributes(draw: Any, op: type[Op], types: tuple[TensorType, ...]) -> dict[str, Any]:
    """Attributes in the order of declaration, by their hints."""
    found: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    for a in op.attributes:
        seen[a.name] = a.default
        if not a.required and (op.op_name, a.name) not in ALWAYS and draw(st.booleans()):
            continue
        if callable(a.draw):
            value = a.draw(draw, types, seen)
        elif a.draw is not None:
            value = draw(st.sampled_from(list(a.draw)))
        else:
            value = by_kind(draw, a.kind)
        if value is None and a.required:
            raise Rejected(f"{a.name} has no value here")
        if value is not None:
            found[a.name] = value
            seen[a.name] = op.convert(a, value)
    return found


def fits(op: type[Op], k: int, t: TensorType) -> bool:
    """Whether a value may be operand ``k``."""
    try:
        check_operands(op, (None,) * k + (t,))
    except OpError:
        return False
    return True


class Value(NamedTuple):
    """A value of a graph that grows."""

    ref: ValueRef
    type: TensorType


class Builder:
    """A graph that grows node by node."""

    def __init__(self, name: str, inputs: list[TensorType]) -> None:
        self.name = name
        self.inputs = [(f"x{k}", t) for k, t in enumerate(inputs)]
        self.nodes: list[Node] = []

    def values(self) -> list[tuple[ValueRef, TensorType]]:
        found = [((-1, k), t) for k, (_, t) in enumerate(self.inputs)]
        for k, node in enumerate(self.nodes):
            found += [((k, out), t) for out, t in enumerate(node.types)]
        return found

    def grow(self, draw: Any, name: str) -> bool:
        """Try to add an op on values at hand, or on new inputs where none fits."""
        if name in RECIPES:
            RECIPES[name](draw, self)
            tried[name] += 1
            accepted[name] += 1
            return True
        op = all_ops()[name]
        refs: list[ValueRef | None] = []
        types: list[TensorType | None] = []
        letters: dict[str, int] = {}
        before = len(self.inputs)
        for k, o in enumerate(op.operands):
            if o.optional and ((name, o.name) in NEVER or draw(st.booleans())):
                refs.append(None)
                types.append(None)
                continue
            for _ in range(draw(st.integers(2, 3)) if o.variadic else 1):
                first = types[0] if types else None
                wanted = operand_type(draw, name, o, first, letters)
                ref, t = self.take(draw, op, k, o, wanted)
                bind(o, t, letters)
                refs.append(ref)
                types.append(t)
        try:
            given = attributes(draw, op, tuple(t for t in types if t is not None))
            instance = op.from_mapping(given)
            check_operands(op, tuple(types))
            outs = instance.infer(Checked(), *types)
        except (Rejected, OpError, AttributeValueError):
            tried[name] += 1  # not before: a draw that hypothesis breaks off tells nothing
            del self.inputs[before:]
            return False
        tried[name] += 1
        outs = outs if isinstance(outs, tuple) else (outs,)
        sizes = [d for t in outs for d in t.shape]
        accepted[name] += 1
        if any(not isinstance(d, int) or d < 1 for d in sizes) or any(t.numel > MAX_NUMEL for t in outs):
            del self.inputs[before:]
            return False
        self.nodes.append(Node(f"{name}_{len(self.nodes)}", instance, tuple(refs), outs))
        return True

    def new(self, t: TensorType) -> Value:
        """A further input."""
        self.inputs.append((f"x{len(self.inputs)}", t))
        return Value((-1, len(self.inputs) - 1), t)

    def apply(self, name: str, attrs: dict[str, Any], *operands: Value | None) -> tuple[Value, ...]:
        """A node; what does not fit is the recipe's mistake."""
        op = all_ops()[name].from_mapping(attrs)
        types = tuple(None if v is None else v.type for v in operands)
        check_operands(type(op), types)
        outs = op.infer(Checked(), *types)
        outs = outs if isinstance(outs, tuple) else (outs,)
        k = len(self.nodes)
        self.nodes.append(Node(f"{name}_{k}", op, tuple(None if v is None else v.ref for v in operands), outs))
        return tuple(Value((k, n), t) for n, t in enumerate(outs))

    def take(self, draw: Any, op: type[Op], k: int, o: Operand, wanted: TensorType) -> tuple[ValueRef, TensorType]:
        """A value for an operand: one of the wanted type, for the first operand any that fits, or a new input."""
        fitting = [
            (ref, t)
            for ref, t in reversed(self.values())
            if t.rank >= max(1, len(named_axes(o)))
            and fits(op, k, t)
            and not (o.dtype == "any" and t.dtype in ("complex", "float64") and op.op_name in OF_REALS)
            and (t == wanted or (k == 0 and not o.variadic and op.op_name not in RELATED))
        ]
        if fitting and draw(st.integers(0, 3)):
            return draw(st.sampled_from(fitting[:6]))
        self.inputs.append((f"x{len(self.inputs)}", wanted))
        return (-1, len(self.inputs) - 1), wanted

    def finish(self) -> Graph:
        used = {r for node in self.nodes for r in node.inputs if r is not None}
        loose = [ref for ref, _ in self.values() if ref not in used and ref[0] >= 0]
        outputs = loose or [(-1, 0)]
        return Graph(
            self.name, tuple(self.inputs), tuple(self.nodes), tuple((f"y{k}", ref) for k, ref in enumerate(outputs))
        )


sizes = st.sampled_from([4, 6, 8, 12])
_DTYPES = {"float": "float", "int": "int64", "bool": "bool", "complex": "complex", "number": "float", "any": "float"}


def named_axes(o: Operand) -> list[str]:
    """The letters of an operand's pattern."""
    return [a for a in o.pattern.split() if a != "..."]


def operand_type(draw: Any, name: str, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    """A type that fits the operand's pattern; letters that earlier operands bound keep their size."""
    dtype = _DTYPES[o.dtype]
    if name in RELATED:
        return RELATED[name](draw, o, first, letters)
    words = o.pattern.split()
    if words == ["..."]:
        return TensorType(dtype, (first or draw(input_types())).shape)
    named = [letters.get(a) or (int(a) if a.isdigit() else draw(sizes)) for a in named_axes(o)]
    if words[0] != "..." and len(words) > 1 and "B" in words[0] and "B" not in letters:
        named[0] = draw(st.integers(2, 3))
    if "..." in words:
        at = words.index("...")
        if first is not None:
            extra = list(first.shape[: max(first.rank - len(named), 0)]) if at == 0 else list(first.shape[len(named) :])
        else:
            extra = [draw(st.integers(2, 3)) for _ in range(draw(st.integers(0, max(0, 4 - len(named)))))]
        named[at:at] = extra
    return TensorType(dtype, named)


def bind(o: Operand, t: TensorType, letters: dict[str, int]) -> None:
    """Remember the sizes of an operand's named axes."""
    words = o.pattern.split()
    if "..." not in words:
        pairs = list(zip(words, t.shape, strict=False))
    else:
        at = words.index("...")
        pairs = list(zip(words[:at], t.shape, strict=False))
        pairs += list(zip(reversed(words[at + 1 :]), reversed(t.shape), strict=False))
    for a, d in pairs:
        if isinstance(d, int):
            letters.setdefault(a, d)


def _matmul(draw: Any, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    if first is None:
        return draw(input_types())
    if first.rank == 1:
        return TensorType("float", (first.shape[0], draw(sizes)))
    return TensorType("float", (*first.shape[:-2], first.shape[-1], draw(sizes)))


def _grid_sample(draw: Any, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    if first is None:
        return TensorType("float", (2, *(draw(sizes) for _ in range(draw(st.integers(3, 4))))))
    return TensorType("float", (first.shape[0], *(4,) * (first.rank - 2), first.rank - 2))


def _pairs(draw: Any, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    return TensorType("float", (*draw(input_types()).shape, 2))


def _shuffled(draw: Any, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    return TensorType("float", (2, 4 * draw(st.integers(1, 3)), draw(sizes), draw(sizes)))


def _series(draw: Any, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    return TensorType("float", (2, *(draw(sizes) for _ in range(draw(st.integers(1, 2))))))


def _map(draw: Any, o: Operand, first: TensorType | None, letters: dict[str, int]) -> TensorType:
    return TensorType("float", (2, *(draw(sizes) for _ in range(draw(st.integers(2, 3))))))


#: Operands whose shape follows from rules that no pattern says.
RELATED: dict[str, Any] = {
    "matmul": _matmul,
    "grid_sample": _grid_sample,
    "view_as_complex": _pairs,
    "pixel_shuffle": _shuffled,
    "batch_norm1d": _series,
    "interpolate": _map,
}


@st.composite
def input_types(draw: Any) -> TensorType:
    """A float tensor of rank 2 to 4; axes of at least 2, so that contractions are counted by torch too."""
    rank = draw(st.integers(2, 4))
    return TensorType("float", (draw(st.integers(2, 3)), *(draw(sizes) for _ in range(rank - 1))))


@st.composite
def graphs(draw: Any, max_nodes: int = 5, only: list[str] | None = None) -> Graph:
    """A graph of a few ops; sometimes a part of it is a block that is called, alone or in a chain."""
    names = only if only is not None else drawable()
    builder = Builder("drawn", draw(st.lists(input_types(), min_size=1, max_size=2)))
    wanted = draw(st.integers(1, max_nodes))
    for _ in range(wanted * ATTEMPTS):
        if len(builder.nodes) >= wanted:
            break
        builder.grow(draw, draw(st.sampled_from(names)))
    inner = builder.finish()
    if not draw(st.booleans()) or not inner.nodes:
        return inner
    return wrapped(draw, inner)


def wrapped(draw: Any, inner: Graph) -> Graph:
    """``inner`` as a block: called once, or several times in a chain where its types allow."""
    outs = inner.output_types
    chains = len(outs) == 1 and outs[0].key == inner.inputs[0][1].key
    count = draw(st.integers(2, 3)) if chains and draw(st.booleans()) else 1
    call = Node("block", None, tuple((-1, k) for k in range(len(inner.inputs))), outs, (inner,), count)
    return Graph("outer", inner.inputs, (call,), tuple((name, (0, k)) for k, (name, _) in enumerate(inner.outputs)))
