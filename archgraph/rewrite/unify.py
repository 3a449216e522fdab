"""Attributes of a node against those of a pattern: unknown names bind, known ones must be equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from archgraph.ir.dim import Dim, eq, holds, solve_linear, substitute, sym
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import AttributeValueError
from archgraph.ops.kinds import InitKind, show
from archgraph.rewrite.pattern import PREFIX, AttrPattern, PatternNode
from archgraph.rewrite.same import arguments, canonical, same_value
from archgraph.spec.expr import compile
from archgraph.spec.frame import FAULTS
from archgraph.spec.model import Block, SpecFile

__all__ = ["UNSET", "Unifier"]


class _Unset:
    def __repr__(self) -> str:
        return "nothing"


#: The value of an attribute that is not there.
UNSET: Final[Any] = _Unset()

#: Puts a rule's param into an environment, if it can be evaluated by now.
Params = Callable[[dict[str, Any], str], bool]


class Unifier:
    """Compares attributes, for one pattern."""

    def __init__(self, file: SpecFile | None, params: Params | None) -> None:
        self.file = file
        self.params = params

    def attributes(self, p: PatternNode, node: Node) -> Iterator[tuple[str, AttrPattern, Any, Any]]:
        """Attributes to look at: name, what is wanted, what is found, and how a wanted value is converted."""
        if node.op is None:
            yield from self._arguments(p, node)
            return
        op: Any = canonical(node)[0]
        values = {a.name: v for a, v in zip(op.attributes, op.values, strict=False)}
        extra = op.axes
        for name, want in p.attrs.items():
            a = op.by_name.get(name)
            if a is not None:
                yield name, want, values[name], a.kind.convert
            elif name in extra:
                yield name, want, extra[name], op.extra.convert
            else:
                yield name, want, UNSET, None
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
        args = arguments(node, block, self.file)
        for name, want in p.attrs.items():
            yield name, want, args.get(name, UNSET), None
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

    def unify(self, want: AttrPattern, value: Any, env: dict[str, Any], convert: Any) -> bool | str | None:
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
                got = self.unify(w, v, env, None)
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
        if not holds(cond):
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
            return True if holds(eq(wanted, value)) else f"wanted {want.text} = {wanted}"
        if len(unknown) > 1:
            return None
        solved = solve_linear(wanted, unknown[0], value)
        if solved is None:
            return None
        if not holds(solved[1]):
            return f"which is not of the form {want.text}"
        env[names[unknown[0]]] = solved[0]
        return True

    def _param(self, env: dict[str, Any], name: str) -> bool:
        return self.params is not None and self.params(env, name)


def _is_init(a: Any) -> bool:
    """Whether an attribute says how a weight starts, which no pattern depends on unless it says so."""
    return str(a.name) == "init" or str(a.name).endswith("_init")


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


def _same(want: Any, value: Any, convert: Any) -> bool:
    if isinstance(want, _Said):
        return False
    if convert is not None:
        try:
            want = convert(want)
        except (AttributeValueError, TypeError):
            return False
    return same_value(want, value)


def _shown(value: Any) -> str:
    return show(value)


class _Said:
    """Equal to nothing: an attribute without a default that the pattern does not mention."""
