"""Writing a tape: what a body does while it runs the general way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from archgraph.ir.graph import Node, ValueRef
from archgraph.ir.types import TensorType
from archgraph.spec.frame import Frame
from archgraph.spec.model import Block, OpRef
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.values import is_value

if TYPE_CHECKING:
    from archgraph.spec.plan import NodePlan
from archgraph.spec.tape import Tape
from archgraph.spec.tape_steps import Fn, Step, bare, call_step, maker, op_step
from archgraph.spec.tape_values import Left, alike, as_typed, restore, snapshot


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
        fn = bare(fn)
        if known:
            self.guards.append((fn, value))
            return

        def check(f: Frame, types: list[TensorType]) -> None:
            if not alike(fn(f.env), value):
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
        self.steps.append(op_step(node, slots, maker(plan, node.op)))

    def plain(self, f: Frame, index: int, types: tuple[TensorType, ...], equal: bool = False) -> None:
        """An op was added that no number decides on; ``equal``: its operands' shapes must be equal."""
        node = f.nodes[index]
        slots = self._slots(f, node, types)
        if slots is None or not self._next(f, index):
            self.void = True
            return
        self.own += 1
        self.steps.append(op_step(node, slots, None, equal))

    def formula(
        self, plan: NodePlan, f: Frame, it: Any, name: str, index: int, types: tuple[TensorType, ...], value: Any
    ) -> None:
        """A formula was added: the same op, as long as the numbers in it are the same; else it is closed anew."""
        before = self.nodes
        node = f.nodes[index]
        names = self._bound_to(plan, f)
        slots = self._slots(f, node, types)
        if slots is None or names is None or not as_typed(it, f) or not self._next(f, index):
            self.void = True
            return
        host = [(n, f.env[n]) for n in plan.refs if n in f.env and not is_value(f.env[n])]
        same = op_step(node, slots, None)
        if not host:
            self.own += 1
            self.steps.append(same)
            return
        anew = self._plan_step(plan, f, names, it, name, before, value)

        def step(f: Frame, types: list[TensorType]) -> None:
            env = f.env
            for n, v in host:
                if not alike(env.get(n), v):
                    return anew(f, types)
            f.total += 1
            f.session.made += 1
            return same(f, types)

        self.steps.append(step)

    def call(self, plan: OpPlan, f: Frame, block: Block, values: dict[str, Any], name: str, value: Any) -> None:
        """A block was called."""
        index = len(f.nodes) - 1
        if self.void or not all(as_typed(v, f) for v in values.values()) or not self._next(f, index):
            self.void = True
            return
        self.steps.append(call_step(plan, f.nodes[index], index, block, values, name, snapshot(value)))

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
            if as_typed(it, f) and as_typed(value, f):
                self.steps.append(self._plan_step(plan, f, names, it, name, len(before), value))
            else:
                self.void = True
            self._count(f)
        return value

    def _bound_to(self, plan: NodePlan, f: Frame) -> list[tuple[str, Any]] | None:
        """What the names that a plan reads are bound to, in this order, host values apart; None if no step can say."""
        names: list[tuple[str, Any]] = []
        for n, v in f.env.items():
            if n not in plan.refs:
                continue
            if v is None:
                if n in self.known:
                    return None
                if n not in self.first:  # what is null from the start may be otherwise the next time
                    names.append((n, None))
            elif is_value(v):
                if not as_typed(v, f):
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
        null = [n for n, shot in names if shot is None and n in self.first]  # a param, which may be one another time

        def step(f: Frame, types: list[TensorType]) -> None:
            env = f.env
            for n in null:
                if env.get(n) is not None:
                    raise Left
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
