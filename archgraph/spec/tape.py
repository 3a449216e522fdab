"""Straight-line programs of graph bodies, for typing them again on other numbers.

The general way interprets a body: it resolves names, looks at conditions, finds operands. With other numbers most of
that comes out as before. So a body that is elaborated again and again is recorded (`Recorder`) as a `Tape`: which
conditions held, and then one step per node. Running a tape evaluates every condition and every attribute anew, and
asks every type rule; it saves only the looking up. It never decides: where anything is not as it was on record, a fault
included, it leaves (`Left`), what it did is undone, and the general way goes from the start and finds the words.

A tape holds no type and no number of the run that it was recorded from, so nothing in it can grow stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.graph import ValueRef
from archgraph.ir.real import NeedsValue
from archgraph.spec.frame import FAULTS, MAX_MADE, MAX_NODES, Frame, TooLarge
from archgraph.spec.model import Block
from archgraph.spec.plan_op import Failed
from archgraph.spec.values import Ref

if TYPE_CHECKING:
    pass
from archgraph.spec.tape_steps import Fn, Step
from archgraph.spec.tape_values import Left, alike, snapshot

#: Tapes that are kept for a body, and recordings that are made of it at most: bodies whose choices change with every
#: run are not worth a tape.
MAX_TAPES: Final = 4
MAX_RECORDINGS: Final = 12

_LEAVING: Final = (Left, Failed, *FAULTS, NeedsValue, TooLarge)


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
                if value is not expected and (expected is True or expected is False or not alike(value, expected)):
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
