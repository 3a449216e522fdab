"""Finding a pattern in one graph: operands first, then sizes and attributes, with the best failure kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from archgraph.ir.canon import canonical_hash
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import Cond, Dim, eq, solve_linear, substitute, sym
from archgraph.ir.expr import Binary, Expr, Host, Name, Unary
from archgraph.ir.expr import Call as ExprCall
from archgraph.ir.expr import Const as ExprConst
from archgraph.ir.expr import Num as ExprNum
from archgraph.ir.graph import Graph, Guard, Node, ValueRef
from archgraph.ir.real import Late, Real
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError, Op, OpError, get_op
from archgraph.ops.kinds import InitKind, show
from archgraph.rewrite.pattern import PREFIX, AttrPattern, Operand, Pattern, PatternNode, definition
from archgraph.spec.elaborate import recorded
from archgraph.spec.expr import compile
from archgraph.spec.frame import FAULTS, Session
from archgraph.spec.model import Block, OpRef, SpecFile
from archgraph.spec.values import freeze

__all__ = ["Match", "Matcher", "Miss", "same_block"]


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
        params: Callable[[dict[str, Any], str], bool] | None = None,
    ) -> None:
        self.pattern = pattern
        self.session = session
        #: Puts a rule's param into an environment, if it can be evaluated by now.
        self.params = params
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
            known = state.values.get(operand.name, _UNSET)
            if known is _UNSET:
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
        op = _canonical(node)[0]
        for t in p.targets:
            if isinstance(t, Block):
                if node.op is None and same_block(t, node.callee, self.session):
                    return None
            elif isinstance(op, t) and not node.callees:
                return None
        what = _canonical(node)[0].op_name if node.op is not None else node.callee.name
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
            if value is not _UNSET:
                known = state.literals.get(want.name, _UNSET)
                if known is _UNSET or known == value:
                    yield state._replace(literals={**state.literals, want.name: value})
            return
        value = _literal(want)
        if value is not _UNSET:
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
            for name, want, value, convert in self._attributes(p, node):
                if value is _UNSET:
                    self._fail(state, label, f"it has no attribute `{name}`", 0.75)
                    return None
                waiting.append((p, k, name, want, value, convert))
        while waiting:
            left = []
            for item in waiting:
                p, k, name, want, value, convert = item
                got = self._unify(want, value, env, convert)
                if got is None:
                    left.append(item)
                elif got is not True:
                    self._fail(state, p.name, f"its {name} is {_shown(value)}, {got}", 0.75)
                    return None
            if len(left) == len(waiting):
                p, k, name, want, value, _ = left[0]
                self._fail(state, p.name, f"`{name}: {want.text}` has more than one unknown", 0.75)
                return None
            waiting = left
        return Match(self._root, state.nodes, state.values, env, state.rest, tuple(guards), pattern)

    def _attributes(self, p: PatternNode, node: Node) -> Iterator[tuple[str, AttrPattern, Any, Any]]:
        """Attributes to look at: name, what is wanted, what is found, and how a wanted value is converted."""
        if node.op is None:
            yield from self._arguments(p, node)
            return
        op: Any = _canonical(node)[0]
        values = {a.name: v for a, v in zip(op.attributes, op.values, strict=False)}
        extra = op.axes
        for name, want in p.attrs.items():
            a = op.by_name.get(name)
            if a is not None:
                yield name, want, values[name], a.kind.convert
            elif name in extra:
                yield name, want, extra[name], op.extra.convert
            else:
                yield name, want, _UNSET, None
        if p.free or not p.targets:
            return
        for a in op.attributes:
            if a.name not in p.attrs and not isinstance(a.kind, InitKind) and not _is_init(a):
                if a.required:
                    yield a.name, AttrPattern("const", value=_Said(), text="said in the pattern"), values[a.name], None
                elif values[a.name] != a.default:
                    yield a.name, AttrPattern("const", value=a.default, text=show(a.default)), values[a.name], None
        for name, value in extra.items():
            if name not in p.attrs:
                yield name, AttrPattern("const", value=_Said(), text="said in the pattern"), value, None

    def _arguments(self, p: PatternNode, node: Node) -> Iterator[tuple[str, AttrPattern, Any, Any]]:
        block = next((t for t in p.targets if isinstance(t, Block) and t.name == node.callee.name), None)
        args = arguments(node, block, self.pattern.file)
        for name, want in p.attrs.items():
            yield name, want, args.get(name, _UNSET), None
        if p.free or block is None:
            return
        scope: dict[str, Any] | None = None
        for name, q in block.params.items():
            if name in p.attrs or name not in args:
                continue
            if q.required:
                yield name, AttrPattern("const", value=_Said(), text="said in the pattern"), args[name], None
                continue
            default = q.value
            if q.default is not None:
                if scope is None:
                    scope = _scope(block, node.callee)
                try:
                    default = q.default({**scope, **args})
                except FAULTS:
                    continue
            yield name, AttrPattern("const", value=default, text=show(default)), args[name], None

    def _unify(self, want: AttrPattern, value: Any, env: dict[str, Any], convert: Any) -> bool | str | None:
        """True; None where it can't be told yet; or what was wanted."""
        if want.kind == "any":
            return True
        if want.kind == "const":
            return True if _same(want.value, value, convert) else f"wanted {want.text}"
        if want.kind == "list":
            items = value if isinstance(value, tuple) else None
            if items is None or len(items) != len(want.items):
                return f"wanted {want.text}"
            result: bool | str | None = True
            for w, v in zip(want.items, items, strict=True):
                got = self._unify(w, v, env, None)
                if got is None:
                    result = None if result is True else result
                elif got is not True:
                    return f"wanted {want.text}"
            return result
        if want.kind == "dim":
            return self._size(want, value, env)
        if want.kind == "bind":
            if want.name not in env:
                env[want.name] = value
                return True
            known = env[want.name]
            return True if _same(known, value, convert) else f"and `{want.name}` is {_shown(known)}"
        expr = want.expr
        assert expr is not None
        unknown = [n for n in sorted(expr.names) if n not in env and not self._param(env, n)]
        if not unknown:
            try:
                wanted = compile(expr)(env)
            except FAULTS as error:
                return f"and `{want.text}` can't be evaluated: {error}"
            return True if _same(wanted, value, convert) else f"wanted {want.text} = {_shown(wanted)}"
        if len(unknown) > 1 or not isinstance(value, (int, Dim)):
            return None
        try:
            solved = solve_linear(compile(expr)({**env, unknown[0]: sym("_unknown")}), "_unknown", value)
        except FAULTS:
            return None
        if solved is None:
            return None
        found, cond = solved
        if cond is not True:
            return f"which is not of the form {want.text}"
        env[unknown[0]] = found
        return True

    def _size(self, want: AttrPattern, value: Any, env: dict[str, Any]) -> bool | str | None:
        """A size over symbols of the pattern; one that is unknown is solved for."""
        if isinstance(value, bool) or not isinstance(value, (int, Dim)):
            return f"wanted {want.text}"
        names = {s: s.removeprefix(PREFIX) for s in want.value.free if s.startswith(PREFIX)}
        wanted = substitute(want.value, {s: env[n] for s, n in names.items() if n in env})
        unknown = [s for s, n in names.items() if n not in env]
        if not unknown:
            return True if eq(wanted, value) is True else f"wanted {want.text} = {wanted}"
        if len(unknown) > 1:
            return None
        solved = solve_linear(wanted, unknown[0], value)
        if solved is None:
            return None
        if solved[1] is not True:
            return f"which is not of the form {want.text}"
        env[names[unknown[0]]] = solved[0]
        return True

    def _param(self, env: dict[str, Any], name: str) -> bool:
        return self.params is not None and self.params(env, name)


class _Unset:
    def __repr__(self) -> str:
        return "nothing"


_UNSET: Final[Any] = _Unset()


class _Said:
    """Equal to nothing: an attribute without a default that the pattern does not mention."""


def _index(graph: Graph) -> Mapping[str, list[int]]:
    """Nodes by the name of their op or block, each graph once."""
    known: dict[str, list[int]] | None = graph._cache.get("by_op")
    if known is None:
        known = graph._cache["by_op"] = {}
        for k, node in enumerate(graph.nodes):
            name = node.callees[0].name if node.op is None else node.op.op_name
            known.setdefault(name, []).append(k)
            if name == "formula":
                other = _canonical(node)[0].op_name
                if other != name:
                    known.setdefault(other, []).append(k)
    return known


def _canonical(node: Node) -> tuple[Any, tuple[int, ...] | None]:
    op: Any = node.op
    return (op, None) if op is None or op.op_name != "formula" else op.canonical()


def _operands(node: Node) -> tuple[tuple[ValueRef | None, ...], Any]:
    op, order = _canonical(node)
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
        return -inner if isinstance(inner, (int, float)) else _UNSET
    return _UNSET


def _is_init(a: Any) -> bool:
    """Whether an attribute says how a weight starts, which no pattern depends on unless it says so."""
    return str(a.name) == "init" or str(a.name).endswith("_init")


def arguments(node: Node, block: Block | None = None, file: SpecFile | None = None) -> dict[str, Any]:
    """The arguments of a call by param: late ones as expressions over the caller's late names, ops and blocks of
    params of ``block`` by their names in ``file`` and in the block's own."""
    late = dict(node.late)
    found: dict[str, Any] = {}
    for name, value in node.callee.args:
        p = block.params.get(name) if block is not None else None
        if value == "late" and isinstance(value, str):
            found[name] = late.get(name, Late(name))
        elif p is not None and p.may_hold_op:
            found[name] = restored(value, [f for f in (file, block.file if block else None) if f is not None])
        else:
            found[name] = value
    return found


def restored(value: Any, files: list[SpecFile]) -> Any:
    """An op or block from how a graph records it; as it is where no file knows its name."""
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], tuple)):
        return value
    target: Any = next((b for f in files if (b := f.find(value[0])) is not None), None) or get_op(value[0])
    if target is None:
        return value
    return OpRef(target, tuple((k, restored(v, files)) for k, v in value[1]))


def _call_of(graph: Graph) -> Node:
    """A call of a graph that passes its late names on."""
    return Node(graph.name, None, (), graph.output_types, (graph,), late=tuple((n, Late(n)) for n in graph.late))


def _scope(block: Block, callee: Graph) -> dict[str, Any]:
    """What the defaults of a block's params may read: its file's params, and the dims of its inputs."""
    scope: dict[str, Any] = {}
    for p in block.file.params.values():
        try:
            scope[p.name] = p.value if p.default is None else p.default(scope)
        except FAULTS:
            continue
    types = dict(callee.inputs)
    for i in block.inputs.values():
        t = types.get(i.name)
        if isinstance(t, TensorType):
            try:
                i.pattern.match(t, scope, lambda cond, why: None, i.name)
            except FAULTS:
                continue
    return scope


@lru_cache(maxsize=4096)
def _real(source: str) -> str:
    path, _, name = source.partition("#")
    return f"{os.path.realpath(path)}#{name}"


def same_block(block: Block, graph: Graph, session: Session) -> bool:
    """Whether a graph was made from a block: by where it is defined, or by what it computes."""
    if graph.name != block.name:
        return False
    source = definition(block)
    if graph.source == source or _real(graph.source) == _real(source):
        return True
    if "~" in graph.source:  # changed by a rule since
        return False
    key = ("same block", block, id(graph))
    known = session.memo.get(key)
    if known is None:
        known = session.memo[key] = (graph, _computes_the_same(block, graph, session))
    return known[1] is True


def _computes_the_same(block: Block, graph: Graph, session: Session) -> bool:
    from archgraph.spec.elaborate import call_block
    from archgraph.spec.frame import Frame
    from archgraph.spec.values import UNKNOWN, Ref

    if any(n not in block.params for n, _ in graph.args) or any(n not in block.inputs for n, _ in graph.inputs):
        return False
    saved = session.faults
    session.begin()
    frame = Frame(session, block, {}, ())
    args = {n: v for n, v in arguments(_call_of(graph), block).items() if v is not None}
    values: dict[str, Any] = {n: frame.add_input(n, t) for n, t in graph.inputs}
    try:
        got = call_block(frame, block.name, block, args, values)
        if got is UNKNOWN or session.faults or not isinstance(got, (Ref, dict)):
            return False
        return canonical_hash(frame.nodes[-1].callee) == canonical_hash(graph)
    except (*FAULTS, AttributeValueError, SpecError):
        return False
    finally:
        session.faults = saved


def _same(want: Any, value: Any, convert: Any) -> bool:
    if isinstance(want, _Said):
        return False
    if convert is not None:
        try:
            want = convert(want)
        except (AttributeValueError, TypeError):
            return False
    return same_value(want, value)


def same_value(a: Any, b: Any) -> bool:
    """Whether two values of an attribute are equal; undecided sizes are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, OpRef) or isinstance(b, OpRef):
        return same_value(recorded(a), recorded(b)) if recorded(a) is not a or recorded(b) is not b else a is b
    if isinstance(a, (int, Dim)) and isinstance(b, (int, Dim)):
        return eq(a, b) is True
    if isinstance(a, (Real,)) or isinstance(b, (Real,)):
        return a is b or str(a) == str(b)
    return bool(freeze(a) == freeze(b) or (isinstance(a, (int, float)) and isinstance(b, (int, float)) and a == b))


def _shown(value: Any) -> str:
    return show(value)


def _told(error: Exception) -> str:
    text = str(error)
    expected, found = getattr(error, "expected", None), getattr(error, "found", None)
    if expected:
        text += f" (expected {expected}"
        text += f", found {found})" if found else ")"
    return text
