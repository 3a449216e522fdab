"""Straight-line programs of graph bodies, for typing them again on other numbers.

The general way interprets a body: it resolves names, looks at conditions, finds operands. With other numbers most of
that comes out as before. So a body that is elaborated again and again is recorded (`Recorder`) as a `Tape`: which
conditions held, and then one step per node. Running a tape evaluates every condition and every attribute anew, and
asks every type rule; it saves only the looking up. It never decides: where anything is not as it was on record, a fault
included, it leaves (`Left`), what it did is undone, and the general way goes from the start and finds the words.

A tape holds no type and no number of the run that it was recorded from, so nothing in it can grow stale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.expr import Expr
from archgraph.ir.graph import Node, ValueRef
from archgraph.ir.real import Late, NeedsValue, Real, late_names
from archgraph.ir.types import TensorType
from archgraph.ops.base import DTYPE_CLASSES, Op
from archgraph.spec.evaluators import ComputedList
from archgraph.spec.frame import FAULTS, MAX_MADE, MAX_NODES, Frame, TooLarge
from archgraph.spec.model import Block, OpRef
from archgraph.spec.plan_op import Failed, OpPlan
from archgraph.spec.values import Record, Ref, Turns, Values, Weights, freeze, is_value, tidy

if TYPE_CHECKING:
    from archgraph.spec.plan import NodePlan

#: Tapes that are kept for a body, and recordings that are made of it at most: bodies whose choices change with every
#: run are not worth a tape.
MAX_TAPES: Final = 4
MAX_RECORDINGS: Final = 12

Fn = Callable[[Mapping[str, Any]], Any]
#: A step adds nodes to the frame, and their types to the types of values so far.
Step = Callable[[Frame, list[TensorType]], None]

_NO_NAMES: Final[frozenset[str]] = frozenset()
_NO_FLAGS: Final[frozenset[str]] = frozenset()
#: Values that are the same for good if they are the same object.
_SCALARS: Final = frozenset({bool, int, float, str, type(None), Late})


class Left(Exception):
    """Something is not as it was on record."""


_LEAVING: Final = (Left, Failed, *FAULTS, NeedsValue, TooLarge)


# -- values by their place ---------------------------------------------------------------------------------------


def snapshot(value: Any) -> Any:
    """What a value consists of: references and how they are grouped."""
    if type(value) is Ref:
        return value.ref
    if value is None:
        return None
    if isinstance(value, Turns):
        return "turns", snapshot(value.last), snapshot(value.turns)
    if isinstance(value, Record):
        kind = "weights" if isinstance(value, Weights) else "record"
        return kind, tuple([(k, snapshot(v)) for k, v in value.items()])
    if isinstance(value, Values):
        return "list", tuple(map(snapshot, value))
    raise Left


def restore(shot: Any, f: Frame) -> Any:
    """The inverse of `snapshot`, with the types that the frame has."""
    if shot is None:
        return None
    kind = shot[0]
    if type(kind) is int:
        return Ref(shot, f.type_of(shot))
    if kind == "turns":
        return Turns(restore(shot[1], f), restore(shot[2], f))
    if kind == "list":
        return Values([restore(s, f) for s in shot[1]])
    return (Weights if kind == "weights" else Record)([(k, restore(s, f)) for k, s in shot[1]])


def _as_typed(value: Any, f: Frame) -> bool:
    """Whether every tensor of a value bears the type that its node gives it."""
    if type(value) is Ref:
        return bool(value.type.key == f.type_of(value.ref).key)
    if isinstance(value, Turns):
        return _as_typed(value.last, f) and _as_typed(value.turns, f)
    if isinstance(value, (Record, Values)):
        return all(_as_typed(v, f) for v in (value.values() if isinstance(value, Record) else value))
    return value is None


def _alike(a: Any, b: Any) -> bool:
    """Whether two host values are one; 1, 1.0 and true are three."""
    if type(a) is not type(b):
        return False
    if type(a) is OpRef:
        return a.target is b.target and bool(freeze(a.attrs) == freeze(b.attrs))
    return bool(freeze(a) == freeze(b))


# -- tapes ---------------------------------------------------------------------------------------------------------


class Tape:
    """What a body does where its conditions come out as recorded.

    ``key`` are its inputs, ``guards`` the conditions that are known before the first node, ``outputs`` and
    ``structure`` what it makes; ``whole``: no node of it is dropped.
    """

    __slots__ = ("binds", "guards", "key", "nodes", "outputs", "steps", "structure", "whole")

    def __init__(
        self,
        key: Any,
        binds: bool,
        guards: list[tuple[Fn, Any]],
        steps: list[Step],
        nodes: int,
        outputs: tuple[tuple[str, ValueRef], ...],
        structure: Any,
        whole: bool,
    ) -> None:
        self.key = key
        #: Whether a step binds names.
        self.binds = binds
        self.guards = guards
        self.steps = steps
        #: Nodes that steps add by themselves, not by a plan of the general way.
        self.nodes = nodes
        self.outputs = outputs
        self.structure = structure
        self.whole = whole

    def fits(self, env: Mapping[str, Any]) -> bool:
        """Whether the conditions come out as recorded."""
        try:
            for fn, expected in self.guards:
                value = fn(env)
                if value is not expected and (expected is True or expected is False or not _alike(value, expected)):
                    return False
        except _LEAVING:
            return False
        return True

    def run(self, f: Frame) -> bool:
        """Add the nodes to a frame that has its inputs. Returns whether all went as recorded; else nothing happened."""
        session = f.session
        before = _Before(f, self.binds)
        f.total += self.nodes
        session.made += self.nodes
        try:
            if f.total > MAX_NODES or session.made > MAX_MADE:
                raise Left
            types = [t for _, t in f.inputs]
            for step in self.steps:
                step(f, types)
            if session.faults:
                raise Left
        except _LEAVING:
            before.restore(f)
            return False
        f.span = before.span
        return True


class _Before:
    """A frame before its body, to come back to; ``env`` is None where no step binds names."""

    __slots__ = ("env", "guards", "made", "seen_guards", "span", "taken", "total")

    def __init__(self, f: Frame, binds: bool) -> None:
        self.env = f.env.copy() if binds else None
        self.taken = f.taken.copy() if binds else None
        self.guards = len(f.guards)
        self.seen_guards = f.seen_guards.copy() if f.seen_guards else None
        self.span = f.span
        self.total = f.total
        self.made = f.session.made

    def restore(self, f: Frame) -> None:
        if self.env is not None:
            f.env.clear()
            f.env.update(self.env)
        if self.taken is not None:
            f.taken = self.taken
        else:
            f.taken.difference_update([n.name for n in f.nodes])
        del f.guards[self.guards :]
        f.seen_guards = self.seen_guards or set()
        f.span = self.span
        f.total = self.total
        f.nodes.clear()
        f.made.clear()
        f.session.made = self.made
        f.session.forget_faults()


class Tapes:
    """The tapes of one body."""

    __slots__ = ("known", "recordings", "runs")

    def __init__(self) -> None:
        self.known: list[Tape] = []
        self.runs = 0
        self.recordings = 0

    def find(self, f: Frame, key: Any) -> Tape | None:
        """The tape for these inputs whose conditions come out as recorded."""
        env = f.env
        for tape in self.known:
            if tape.key == key and tape.fits(env):
                return tape
        return None

    def keep(self, tape: Tape) -> None:
        self.known.insert(0, tape)
        del self.known[MAX_TAPES:]

    def worth_recording(self) -> bool:
        """Whether a body that has run before, and is about to run the general way, is to be recorded."""
        self.runs += 1
        if self.runs == 1 or self.recordings >= MAX_RECORDINGS:
            return False
        self.recordings += 1
        return True


def input_key(f: Frame, block: Block) -> Any:
    """Which inputs a block was given, and how they are grouped."""
    env = f.env
    found: list[Any] = []
    for name in block.inputs:
        v = env[name]
        found.append(v.ref if type(v) is Ref else snapshot(v))
    return found


# -- recording -----------------------------------------------------------------------------------------------------


class Recorder:
    """Writes down what a body does while it runs the general way; ``void`` once it does what no step can say."""

    __slots__ = ("binds", "first", "guards", "key", "known", "nodes", "offsets", "own", "steps", "tape", "void")

    def __init__(self, f: Frame, key: Any) -> None:
        self.key = key
        self.guards: list[tuple[Fn, Any]] = []
        self.steps: list[Step] = []
        #: Nodes of the frame that steps stand for, and those of them that steps make by themselves.
        self.nodes = 0
        self.own = 0
        #: Number of the first output of each node among the types of all values.
        self.offsets: list[int] = [len(f.inputs)]
        #: Names that are there before the first node, and those of them that are known: a shape may bind what is null.
        self.first = frozenset(f.env)
        self.known = frozenset([n for n, v in f.env.items() if v is not None])
        self.void = False
        self.binds = False
        #: What was recorded, once the body is done.
        self.tape: Tape | None = None

    def made(self, f: Frame, outputs: tuple[tuple[str, ValueRef], ...], structure: Any, whole: bool) -> None:
        """The body is done."""
        if not self.void and self.nodes == len(f.nodes) and not f.session.faults:
            self.tape = Tape(self.key, self.binds, self.guards, self.steps, self.own, outputs, structure, whole)

    # -- decisions -----------------------------------------------------------------------------------------------

    def decided(self, fn: Fn, value: Any) -> None:
        """A condition or choice came out as ``value``, a host value."""
        known = self.known.issuperset(getattr(fn, "names", ()))
        fn = _bare(fn)
        if known:
            self.guards.append((fn, value))
            return

        def check(f: Frame, types: list[TensorType]) -> None:
            if not _alike(fn(f.env), value):
                raise Left

        self.steps.append(check)

    def read(self, name: str, value: Any) -> None:
        """A name was read to find out which value is meant."""
        self.decided(lambda env: env.get(name), value)

    def bound(self, value: Any) -> None:
        """A name was bound; tapes can't bind host values."""
        if value is not None and not is_value(value):
            self.void = True

    # -- helpers -------------------------------------------------------------------------------------------------

    def _next(self, f: Frame, index: int) -> bool:
        """Whether a node, the newest, comes right after those that steps stand for; counts it."""
        if index != self.nodes or index != len(f.nodes) - 1:
            self.void = True
            return False
        self._count(f)
        return True

    def _count(self, f: Frame) -> None:
        for node in f.nodes[self.nodes :]:
            self.offsets.append(self.offsets[-1] + len(node.types))
        self.nodes = len(f.nodes)

    def _slots(self, f: Frame, node: Node, types: tuple[TensorType | None, ...]) -> list[int | None] | None:
        slots: list[int | None] = []
        for r, t in zip(node.inputs, types, strict=True):
            if r is None or t is None:
                slots.append(None)
                continue
            if r[0] >= self.nodes or t.key != f.type_of(r).key:
                return None
            slots.append(r[1] if r[0] < 0 else self.offsets[r[0]] + r[1])
        return slots

    def aimed(self, fn: Fn, value: Any) -> None:
        """A param said which op or block a node is."""
        target = value.target if type(value) is OpRef else value

        def aim(env: Mapping[str, Any]) -> Any:
            v = fn(env)
            return v.target if type(v) is OpRef else v

        self.guards.append((aim, target))

    # -- nodes ---------------------------------------------------------------------------------------------------

    def op(self, plan: OpPlan, f: Frame, index: int, types: tuple[TensorType | None, ...]) -> None:
        """An op was added."""
        node = f.nodes[index]
        slots = self._slots(f, node, types)
        if slots is None or not self._next(f, index):
            self.void = True
            return
        self.own += 1
        self.steps.append(_op_step(node, slots, _maker(plan, node.op)))

    def plain(self, f: Frame, index: int, types: tuple[TensorType, ...], equal: bool = False) -> None:
        """An op was added that no number decides on; ``equal``: its operands' shapes must be equal."""
        node = f.nodes[index]
        slots = self._slots(f, node, types)
        if slots is None or not self._next(f, index):
            self.void = True
            return
        self.own += 1
        self.steps.append(_op_step(node, slots, None, equal))

    def formula(
        self, plan: NodePlan, f: Frame, it: Any, name: str, index: int, types: tuple[TensorType, ...], value: Any
    ) -> None:
        """A formula was added: the same op, as long as the numbers in it are the same; else it is closed anew."""
        before = self.nodes
        node = f.nodes[index]
        names = self._bound_to(plan, f)
        slots = self._slots(f, node, types)
        if slots is None or names is None or not _as_typed(it, f) or not self._next(f, index):
            self.void = True
            return
        host = [(n, f.env[n]) for n in plan.refs if n in f.env and f.env[n] is not None and not is_value(f.env[n])]
        same = _op_step(node, slots, None)
        if not host:
            self.own += 1
            self.steps.append(same)
            return
        anew = self._plan_step(plan, f, names, it, name, before, value)

        def step(f: Frame, types: list[TensorType]) -> None:
            env = f.env
            for n, v in host:
                if not _alike(env.get(n), v):
                    return anew(f, types)
            f.total += 1
            f.session.made += 1
            return same(f, types)

        self.steps.append(step)

    def call(self, plan: OpPlan, f: Frame, block: Block, values: dict[str, Any], name: str, value: Any) -> None:
        """A block was called."""
        index = len(f.nodes) - 1
        if self.void or not all(_as_typed(v, f) for v in values.values()) or not self._next(f, index):
            self.void = True
            return
        self.steps.append(_call_step(plan, f.nodes[index], index, block, values, name, snapshot(value)))

    def other(self, plan: NodePlan, f: Frame, it: Any, name: str) -> Any:
        """Run a plan that no step can say, the general way; a step does the same."""
        before = list(f.nodes)
        names = self._bound_to(plan, f)
        if names is None or self.void or len(before) != self.nodes:
            self.void = True
        f.tape = None
        try:
            value = plan.evaluate(f, it, name)
        finally:
            f.tape = self
        if any(a is not b for a, b in zip(before, f.nodes, strict=False)):  # it changed nodes above
            self.void = True
        if not self.void and names is not None:
            if _as_typed(it, f) and _as_typed(value, f):
                self.steps.append(self._plan_step(plan, f, names, it, name, len(before), value))
            else:
                self.void = True
            self._count(f)
        return value

    def _bound_to(self, plan: NodePlan, f: Frame) -> list[tuple[str, Any]] | None:
        """What the names that a plan reads are bound to, in this order, host values apart; None if no step can say."""
        names = []
        for n, v in f.env.items():
            if n in plan.refs and (v is None or is_value(v)):
                if not _as_typed(v, f):
                    return None
                names.append((n, snapshot(v)))
        return names

    def _plan_step(
        self, plan: NodePlan, f: Frame, names: list[tuple[str, Any]], it: Any, name: str, before: int, value: Any
    ) -> Step:
        """A step that runs a plan the general way, on names bound to what they were bound to."""
        self.binds = True
        given, made = snapshot(it), snapshot(value)
        after = len(f.nodes)
        values = sum(len(node.types) for node in f.nodes) + len(f.inputs)
        mine = [n for n, _ in names if n not in self.first]

        def step(f: Frame, types: list[TensorType]) -> None:
            env = f.env
            for n in mine:  # inputs of graphs inside are numbered in the order of binding
                env.pop(n, None)
            for n, shot in names:
                env[n] = restore(shot, f)
            found = plan.evaluate(f, restore(given, f), name)
            nodes = f.nodes
            if len(nodes) != after or snapshot(found) != made:
                raise Left
            for node in nodes[before:]:
                types.extend(node.types)
            if len(types) != values:
                raise Left

        return step


# -- steps ---------------------------------------------------------------------------------------------------------

Maker = Callable[[Frame], Op]


def _maker(plan: OpPlan, op: Any) -> Maker | None:
    """Makes a node's op from its attributes as they evaluate; None if nothing about it is evaluated."""
    if op is plan.static:
        return None
    cls = type(op)
    if plan.late_target is None and plan.preset is not None:
        return _filling(cls, plan.preset, plan.dynamic)
    attrs = plan.attrs if plan.overlay is None else plan.overlay(cls)
    fns = [_bare(value) for const, value, _ in attrs.values() if not const]
    late = plan.late_target
    if not fns and late is None:
        return None
    last: tuple[list[Any], Any, Op | None] = ([], None, None)

    def make(f: Frame) -> Op:
        nonlocal last
        env = f.env
        raw = [fn(env) for fn in fns]
        held = None if late is None else late(env)
        known, before, op = last
        if op is not None and (held is before or _alike(held, before)) and raw == known and _same(raw, known):
            return op
        made = plan.instance(f, cls, None if late is None else plan.resolve(f)[1])
        last = raw, held, made
        return made

    return make


def _same(raw: list[Any], before: list[Any]) -> bool:
    """Whether scalars are as before."""
    for v, b in zip(raw, before):  # noqa: B905  # as long as one another
        kind = type(v)
        if kind not in _SCALARS or (v is not b and (kind is not type(b) or v != b)):
            return False
    return True


def _filling(cls: type[Op], preset: list[Any], dynamic: list[Any]) -> Maker:
    """Fills evaluated attributes in; what was converted before is not converted again."""
    indices = [(index, a) for index, a, _ in dynamic]
    fns = [_bare(fn) for _, _, fn in dynamic]
    none: list[Any] = [_NO_NAMES] * len(fns)
    last: tuple[list[Any], list[Any], Op | None] = (none, [], None)

    def make(f: Frame) -> Op:
        nonlocal last
        env = f.env
        raw = [fn(env) for fn in fns]
        known, converted, op = last
        if raw == known and op is not None and _same(raw, known):
            return op
        values = preset.copy()
        late = _NO_NAMES
        for (index, a), v, b in zip(indices, raw, known):  # noqa: B905  # as long as one another
            kind = type(v)
            if kind is int and v >= a.floor:
                values[index] = v
                continue
            if v is b and kind in _SCALARS:
                values[index] = converted[index]
            elif kind is tuple and _all_ints(v, a.item_floor):
                values[index] = v
            else:
                v = values[index] = cls.convert(a, tidy(v))
                if isinstance(v, (Real, tuple, Expr)):
                    late = late | late_names(v)
            if kind is Late:
                late = late | late_names(values[index])
        made = cls(tuple(values), late)
        last = raw, values, made
        return made

    return make


def _all_ints(values: tuple[Any, ...], floor: float) -> bool:
    """Whether a tuple holds nothing but ints of at least ``floor``."""
    for v in values:  # noqa: SIM110  # a generator costs more than the few sizes
        if type(v) is not int or v < floor:
            return False
    return True


def _bare(fn: Any) -> Fn:
    """The function of an evaluator without its words for faults: where there is one, the general way finds them."""
    if isinstance(fn, ComputedList):
        parts = [(const, v if const else _bare(v)) for const, v in fn.parts]
        return lambda env: tuple([v if const else v(env) for const, v in parts])
    bare: Fn = getattr(fn, "fn", fn)
    return bare


def _op_step(node: Node, slots: list[int | None], make: Maker | None, equal: bool = False) -> Step:
    """A step that adds an op."""
    fixed: Any = node.op
    cls = type(fixed)
    name, inputs, flags, span, outputs = node.name, node.inputs, node.flags, node.origin, fixed.outputs
    count = len(node.types)
    checks: list[tuple[int, int | None, Any]] = []
    for k, slot in enumerate(slots):
        o = cls.operands[min(k, len(cls.operands) - 1)]
        if slot is not None:
            checks.append((slot, o.rank, None if o.dtype == "any" else DTYPE_CLASSES[o.dtype]))
    full = len(checks) == len(slots)
    if len(slots) == 1 and full and count == 1:
        ((slot, rank, dtypes),) = checks

        def unary(f: Frame, types: list[TensorType]) -> None:
            x = types[slot]
            if (rank is not None and len(x.shape) != rank) or (dtypes is not None and x.dtype not in dtypes):
                raise Left
            f.span = span
            op = fixed if make is None else make(f)
            out = op.infer(f, x)
            if f.guards:
                out = f.settled(out)
            if type(out) is not TensorType:
                raise Left
            types.append(out)
            f.taken.add(name)
            f.nodes.append(Node(name, op, inputs, (out,), (), 1, None, (), (), flags, span))

        return unary

    def step(f: Frame, types: list[TensorType]) -> None:
        for slot, rank, dtypes in checks:
            x = types[slot]
            if (rank is not None and len(x.shape) != rank) or (dtypes is not None and x.dtype not in dtypes):
                raise Left
        f.span = span
        op = fixed if make is None else make(f)
        given = [types[s] for s, _, _ in checks] if full else [None if s is None else types[s] for s in slots]
        if equal and given[0] is not given[1] and given[0].shape != given[1].shape:  # type: ignore[union-attr]
            raise Left
        outs = op.infer(f, *given)
        if f.guards:
            outs = f.settled(outs)
        if type(outs) is TensorType:
            if count != 1:
                raise Left
            types.append(outs)
            outs = (outs,)
        else:
            if len(outs) != count or (op is not fixed and op.outputs != outputs):
                raise Left
            types.extend(outs)
        f.taken.add(name)
        f.nodes.append(Node(name, op, inputs, outs, (), 1, None, (), (), flags, span))

    return step


def _call_step(
    plan: OpPlan, node: Node, index: int, block: Block, values: dict[str, Any], name: str, made: Any
) -> Step:
    """A step that calls a block."""
    from archgraph.spec.block_call import call_block

    given = [(n, snapshot(v)) for n, v in values.items()]
    simple = plan.late_target is None and plan.overlay is None
    fixed = {n: v for n, (const, v, _) in plan.attrs.items() if const}
    computed = [(n, _bare(v)) for n, (const, v, _) in plan.attrs.items() if not const]
    own, flags, span, count = node.name, node.flags, node.origin, len(node.types)

    def step(f: Frame, types: list[TensorType]) -> None:
        f.span = span
        if simple:
            env = f.env
            args = fixed.copy()
            for n, fn in computed:
                v = args[n] = fn(env)
                if type(v) not in _SCALARS:
                    args[n] = tidy(v)
        else:
            args = plan.attributes(f, block, None if plan.late_target is None else plan.resolve(f)[1])
        found = call_block(f, name, block, args, {n: restore(shot, f) for n, shot in given}, flags, None, plan.argument)
        nodes = f.nodes
        if len(nodes) != index + 1:
            raise Left
        node = nodes[index]
        if node.name != own or len(node.types) != count or snapshot(found) != made:
            raise Left
        types.extend(node.types)

    return step
