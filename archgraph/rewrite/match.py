"""Finding a pattern in one graph: operands first, then sizes and attributes, with the best failure kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from archgraph.ir.dim import Cond
from archgraph.ir.expr import Binary, Expr, Host, Name, Unary
from archgraph.ir.expr import Call as ExprCall
from archgraph.ir.expr import Const as ExprConst
from archgraph.ir.expr import Num as ExprNum
from archgraph.ir.graph import Graph, Guard, Node, ValueRef
from archgraph.ops.base import Op, OpError
from archgraph.ops.kinds import show
from archgraph.rewrite.pattern import AttrPattern, Operand, Pattern, PatternNode
from archgraph.rewrite.same import canonical, same_block
from archgraph.rewrite.unify import UNSET, Params, Unifier
from archgraph.spec.frame import FAULTS, Session
from archgraph.spec.model import Block, OpRef

__all__ = ["Match", "Matcher", "Miss"]


class Match(NamedTuple):
    """A pattern found in one graph.

    ``nodes``: label → number of the node, None for an optional node that is not there. ``values``: pattern input →
    value, None where an optional one is absent. ``env``: what names are bound to. ``rest``: lists of further operands.
    """

    root: int
    nodes: Mapping[str, int | None]
    values: Mapping[str, ValueRef | None]
    env: Mapping[str, Any]
    rest: Mapping[str, tuple[ValueRef, ...]]
    guards: tuple[Guard, ...]
    pattern: Pattern


class Miss(NamedTuple):
    """How far a pattern got at a node before it failed: the number of its nodes that were found, and why it failed."""

    depth: float
    graph: Graph
    node: int
    label: str
    reason: str


class _State(NamedTuple):
    nodes: dict[str, int | None]
    values: dict[str, ValueRef | None]
    rest: dict[str, tuple[ValueRef, ...]]
    literals: dict[str, Any]


class Matcher:
    """Finds one pattern; keeps the nearest miss."""

    def __init__(
        self,
        pattern: Pattern,
        session: Session,
        params: Params | None = None,
    ) -> None:
        self.pattern = pattern
        self.session = session
        self.unifier = Unifier(pattern.file, params)
        self.miss: Miss | None = None
        self.misses: dict[tuple[int, int], Miss] = {}
        self.keys = pattern.root.index_keys
        self._graph: Graph = None  # type: ignore[assignment]
        self._root = 0

    def find(self, graph: Graph) -> list[Match]:
        """All matches in a graph (not below it) that do not overlap, in topological order."""
        index = _index(graph)
        if self.keys is None:
            roots: list[int] = list(range(len(graph.nodes)))
        else:
            roots = sorted({k for key in self.keys for k in index.get(key, ())})
        found: list[Match] = []
        if not roots:
            return found
        taken: set[int] = set()
        self._graph = graph
        for k in roots:
            if k in taken:
                continue
            match = self.at(graph, k, taken)
            if match is not None:
                found.append(match)
                taken.update(n for n in match.nodes.values() if n is not None)
        return found

    def at(self, graph: Graph, k: int, taken: frozenset[int] | set[int] = frozenset()) -> Match | None:
        """The first match with its root at a node."""
        self._graph, self._root = graph, k
        for state in self._node(self.pattern.root, k, _State({}, {}, {}, {})):
            for full in self._remaining(state):
                if taken and any(n in taken for n in full.nodes.values() if n is not None):
                    continue
                match = self._settled(full)
                if match is not None:
                    return match
        return None

    def wants(self, chain: Node) -> bool:
        """Whether a turn of a chain may be a node of the pattern by itself."""
        for p in self.pattern.nodes.values():
            for t in p.targets:
                if isinstance(t, Block) and same_block(t, chain.callee, self.session):
                    return True
        return False

    def _fail(self, state: _State, label: str, reason: str, more: float = 0.0) -> None:
        depth = sum(1 for n in state.nodes.values() if n is not None) + more
        key = (id(self._graph), self._root)
        known = self.misses.get(key)
        if known is None or depth > known.depth:
            miss = self.misses[key] = Miss(depth, self._graph, self._root, label, reason)
            if self.miss is None or depth > self.miss.depth:
                self.miss = miss

    # -- structure ---------------------------------------------------------------------------------------------------

    def _remaining(self, state: _State) -> Iterator[_State]:
        """States in which nodes that the root does not reach are found too."""
        for label, p in self.pattern.nodes.items():
            if label not in state.nodes:
                keys = p.index_keys
                index = _index(self._graph)
                candidates = (
                    range(len(self._graph.nodes))
                    if keys is None
                    else sorted({k for key in keys for k in index.get(key, ())})
                )
                used = set(state.nodes.values())
                for k in candidates:
                    if k not in used:
                        for more in self._node(p, k, state):
                            yield from self._remaining(more)
                if p.when is not None:
                    yield from self._remaining(state._replace(nodes={**state.nodes, label: None}))
                return
        yield state

    def _node(self, p: PatternNode, k: int, state: _State) -> Iterator[_State]:
        known = state.nodes.get(p.name, -1)
        if known != -1:
            if known == k:
                yield state
            return
        if k in state.nodes.values():
            return
        node = self._graph.nodes[k]
        if p.formula is not None:
            yield from self._formula(p, k, node, state)
            return
        why = self._kind(p, node)
        if why is not None:
            self._fail(state, p.name, why)
            return
        refs, op = _operands(node)
        state = state._replace(nodes={**state.nodes, p.name: k})
        if p.named is not None:
            names = _operand_names(node)
            pairs: list[tuple[Operand, ValueRef | None]] = []
            for name, operand in p.named.items():
                if name not in names:
                    self._fail(state, p.name, f"it has no operand `{name}`")
                    return
                at = names.index(name)
                pairs.append((operand, refs[at] if at < len(refs) else None))
            yield from self._all(p, pairs, state)
            return
        if p.inputs is None:
            yield state
            return
        n = len(p.inputs)
        if p.rest is None:
            present = [r for r in refs[n:] if r is not None]
            if (present and not self._open(p)) or len(refs) < n:
                self._fail(
                    state, p.name, f"it has {len(refs) - len(refs[n:]) + len(present)} operands, the pattern {n}"
                )
                return
        elif len(refs) < n:
            self._fail(state, p.name, f"it has {len(refs)} operands, the pattern at least {n}")
            return
        orders: list[tuple[ValueRef | None, ...]] = [tuple(refs)]
        if isinstance(op, Op) and op.commutative and n == 2 and len(refs) == 2:
            orders.append((refs[1], refs[0]))
        for order in orders:
            here = state
            if p.rest is not None:
                tail = tuple(r for r in order[n:] if r is not None)
                here = here._replace(rest={**here.rest, p.rest: tail})
            yield from self._all(p, list(zip(p.inputs, order, strict=False)), here)

    def _open(self, p: PatternNode) -> bool:
        """Whether further operands do not matter: the pattern names only the first of any op."""
        return not p.targets and not p.holder

    def _all(self, p: PatternNode, pairs: list[tuple[Operand, ValueRef | None]], state: _State) -> Iterator[_State]:
        if not pairs:
            yield state
            return
        (operand, ref), *rest = pairs
        for more in self._operand(p, operand, ref, state):
            yield from self._all(p, rest, more)

    def _operand(self, p: PatternNode, operand: Operand, ref: ValueRef | None, state: _State) -> Iterator[_State]:
        if operand.kind == "any":
            yield state
            return
        if operand.kind == "input":
            declared = self.pattern.inputs[operand.name]
            if ref is None and not declared.optional:
                self._fail(state, p.name, f"its operand for `{operand.name}` is absent")
                return
            known = state.values.get(operand.name, UNSET)
            if known is UNSET:
                yield state._replace(values={**state.values, operand.name: ref})
            elif known == ref:
                yield state
            else:
                self._fail(state, p.name, f"it does not take the same `{operand.name}` as another node of the pattern")
            return
        if ref is None:
            self._fail(state, p.name, f"its operand for `{operand.name}` is absent")
            return
        other = self.pattern.nodes[operand.name]
        start = True
        if ref[0] >= 0 and self._output(operand, self._graph.nodes[ref[0]]) == ref[1]:
            for more in self._node(other, ref[0], state):
                start = False
                yield more
        elif other.when is None:
            if ref[0] < 0:
                name = self._graph.inputs[ref[1]][0]
                what = f"the input `{name}`"
            else:
                what = f"`{self._graph.nodes[ref[0]].name}`"
            self._fail(state, p.name, f"it takes {what}, where the pattern has `{operand.name}`", 0.25)
        if other.when is not None and start and state.nodes.get(other.name, None) is None:
            absent = state._replace(nodes={**state.nodes, other.name: None})
            yield from self._operand(p, (other.inputs or [Operand("any")])[0], ref, absent)

    def _output(self, operand: Operand, node: Node) -> int:
        if isinstance(operand.out, int):
            return operand.out
        names = _output_names(node)
        return names.index(operand.out) if operand.out in names else -1

    def _kind(self, p: PatternNode, node: Node) -> str | None:
        """Why a node is none of the pattern's targets."""
        if "unused" in node.flags:
            return "it never runs"
        if node.count != 1:
            return f"it is a chain of {node.count} turns"
        if not p.targets:
            if node.callees and node.op is None and p.holder:
                return "it is a call, and the pattern binds an op"
            return None
        op = canonical(node)[0]
        for t in p.targets:
            if isinstance(t, Block):
                if node.op is None and same_block(t, node.callee, self.session):
                    return None
            elif isinstance(op, t) and not node.callees:
                return None
        what = canonical(node)[0].op_name if node.op is not None else node.callee.name
        blocks = [t for t in p.targets if isinstance(t, Block) and node.op is None and node.callee.name == t.name]
        if blocks:
            return f"it calls another `{what}` than that of {os.path.basename(blocks[0].file.path)}"
        return f"it is `{what}`, not `{p.word}`"

    # -- formulas ----------------------------------------------------------------------------------------------------

    def _formula(self, p: PatternNode, k: int, node: Node, state: _State) -> Iterator[_State]:
        op: Any = node.op
        if op is None or op.op_name not in ("formula", "add", "mul", "sub", "div"):
            what = node.callee.name if op is None else op.op_name
            self._fail(state, p.name, f"it is `{what}`, not a formula")
            return
        assert p.formula is not None
        if op.op_name == "formula":
            tree, names = op.expr, op.names
        else:
            names = tuple(f"x{i}" for i in range(len(node.inputs)))
            tree = Name(names[0])
            for n in names[1:]:
                tree = Binary(op.symbol, tree, Name(n))
        refs = dict(zip(names, node.inputs, strict=True))
        state = state._replace(nodes={**state.nodes, p.name: k})
        matched = False
        for more in self._tree(p, p.formula, tree, refs, state):
            matched = True
            yield more
        if not matched:
            self._fail(state, p.name, f"its formula is `{tree}`, the pattern's `{p.formula}`")

    def _tree(
        self, p: PatternNode, want: Expr, got: Expr, refs: Mapping[str, ValueRef | None], state: _State
    ) -> Iterator[_State]:
        if isinstance(want, Name):
            operand = (p.named or {}).get(want.name)
            if operand is not None:
                if isinstance(got, Name) and got.name in refs:
                    yield from self._operand(p, operand, refs[got.name], state)
                return
            value = _literal(got)
            if value is not UNSET:
                known = state.literals.get(want.name, UNSET)
                if known is UNSET or known == value:
                    yield state._replace(literals={**state.literals, want.name: value})
            return
        value = _literal(want)
        if value is not UNSET:
            if _literal(got) == value:
                yield state
            return
        if type(want) is not type(got):
            return
        if isinstance(want, Binary) and isinstance(got, Binary):
            if want.op != got.op:
                return
            orders = [(got.left, got.right)]
            if want.op in ("+", "*"):
                orders.append((got.right, got.left))
            for left, right in orders:
                for more in self._tree(p, want.left, left, refs, state):
                    yield from self._tree(p, want.right, right, refs, more)
        elif isinstance(want, Unary) and isinstance(got, Unary):
            if want.op == got.op:
                yield from self._tree(p, want.operand, got.operand, refs, state)
        elif isinstance(want, ExprCall) and isinstance(got, ExprCall):
            if want.function != got.function or len(want.args) != len(got.args) or want.kwargs or got.kwargs:
                return
            states = [state]
            for a, b in zip(want.args, got.args, strict=True):
                states = [more for each in states for more in self._tree(p, a, b, refs, each)]
            yield from states

    # -- sizes and attributes ----------------------------------------------------------------------------------------

    def _settled(self, state: _State) -> Match | None:
        """The match, if sizes and attributes fit."""
        graph, pattern = self._graph, self.pattern
        env: dict[str, Any] = {**pattern.preset, **state.literals}
        guards: list[Guard] = []

        def require(cond: Any, why: str) -> None:
            if cond is False:
                raise OpError(why)
            if isinstance(cond, Cond):
                guards.append(Guard(cond, why))

        for label, k in state.nodes.items():
            p = pattern.nodes[label]
            if p.when is not None:
                env[p.when] = k is not None
            if p.holder and k is not None:
                op: Any = graph.nodes[k].op
                env[p.holder] = OpRef(type(op), tuple(sorted(op.attrs().items())))
        for name, i in pattern.inputs.items():
            ref = state.values.get(name)
            if ref is None:
                continue
            t = graph.type_of(ref)
            try:
                if i.dtype != t.dtype and not (i.dtype == "float" and t.dtype != "bool"):
                    raise OpError(f"the input `{name}` has another dtype", i.dtype, str(t))
                i.pattern.match(t, env, require, f"the input `{name}`")
            except FAULTS as error:
                self._fail(state, name, _told(error), 0.5)
                return None
        for label, k in state.nodes.items():
            p = pattern.nodes[label]
            if p.shape is not None and k is not None:
                try:
                    p.shape.match(graph.nodes[k].types[0], env, require, f"`{label}`")
                except FAULTS as error:
                    self._fail(state, label, _told(error), 0.5)
                    return None
        waiting: list[tuple[PatternNode, int, str, AttrPattern, Any, Any]] = []
        for label, p in pattern.nodes.items():
            k = state.nodes[label]
            if k is None or p.formula is not None:
                continue
            node = graph.nodes[k]
            for name, want, value, convert in self.unifier.attributes(p, node):
                if value is UNSET:
                    self._fail(state, label, f"it has no attribute `{name}`", 0.75)
                    return None
                waiting.append((p, k, name, want, value, convert))
        while waiting:
            left = []
            for item in waiting:
                p, k, name, want, value, convert = item
                got = self.unifier.unify(want, value, env, convert)
                if got is None:
                    left.append(item)
                elif got is not True:
                    self._fail(state, p.name, f"its {name} is {show(value)}, {got}", 0.75)
                    return None
            if len(left) == len(waiting):
                p, k, name, want, value, _ = left[0]
                self._fail(state, p.name, f"`{name}: {want.text}` has more than one unknown", 0.75)
                return None
            waiting = left
        return Match(self._root, state.nodes, state.values, env, state.rest, tuple(guards), pattern)


def _index(graph: Graph) -> Mapping[str, list[int]]:
    """Nodes by the name of their op or block, each graph once."""
    known: dict[str, list[int]] | None = graph._cache.get("by_op")
    if known is None:
        known = graph._cache["by_op"] = {}
        for k, node in enumerate(graph.nodes):
            name = node.callees[0].name if node.op is None else node.op.op_name
            known.setdefault(name, []).append(k)
            if name == "formula":
                other = canonical(node)[0].op_name
                if other != name:
                    known.setdefault(other, []).append(k)
    return known


def _operands(node: Node) -> tuple[tuple[ValueRef | None, ...], Any]:
    op, order = canonical(node)
    return (node.inputs if order is None else tuple(node.inputs[k] for k in order)), op


def _operand_names(node: Node) -> list[str]:
    if node.op is None:
        return [n for n, _ in node.callee.inputs]
    return [o.name for o in getattr(node.op, "operands", ())]


def _output_names(node: Node) -> list[str]:
    return [n for n, _ in node.callee.outputs] if node.op is None else list(getattr(node.op, "outputs", ()))


def _literal(e: Expr) -> Any:
    if isinstance(e, (ExprNum, ExprConst, Host)):
        return e.value
    if isinstance(e, Unary) and e.op == "-":
        inner = _literal(e.operand)
        return -inner if isinstance(inner, (int, float)) else UNSET
    return UNSET


def _told(error: Exception) -> str:
    text = str(error)
    expected, found = getattr(error, "expected", None), getattr(error, "found", None)
    if expected:
        text += f" (expected {expected}"
        text += f", found {found})" if found else ")"
    return text
