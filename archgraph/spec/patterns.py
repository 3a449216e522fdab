"""Shape patterns: ``[B, 3, H, W]``, ``[B, P + (H W), C]``, ``[B, 3 * L, ...]``.

One rule: an unknown name binds, a known one must be equal; ``_`` is anything, ``...`` any further axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from archgraph.ir.dim import Dim, Num, eq, prod, solve_linear, sym
from archgraph.ir.types import Layout, TensorType
from archgraph.ops.base import OpError
from archgraph.spec.expr import Expr, Name, compile, constant_value, parse

Require = Callable[[Any, str], None]


class Axis(NamedTuple):
    """One axis of a pattern. ``kind``: any, rest, name, expr, grid."""

    kind: str
    name: str = ""
    expr: Expr | None = None
    prefix: Expr | None = None
    grid: tuple[Expr, ...] = ()
    text: str = ""


def parse_axis(item: Any) -> Axis:
    """One entry of a shape pattern.

    Raises
    ------
    archgraph.spec.expr.ExprError
        For text that is no expression.
    """
    if type(item) is int:
        return Axis("expr", expr=parse(str(item)), text=str(item))
    text = str(item).strip()
    if text == "_":
        return Axis("any", text=text)
    if text == "...":
        return Axis("rest", text=text)
    grid = _grid(text)
    if grid is not None:
        before, inside = grid
        return Axis("grid", prefix=parse(before) if before else None, grid=tuple(map(parse, inside)), text=text)
    tree = parse(text)
    if isinstance(tree, Name):
        return Axis("name", name=tree.name, expr=tree, text=text)
    return Axis("expr", expr=tree, text=text)


def _grid(text: str) -> tuple[str, list[str]] | None:
    """What stands before the last brackets, and the sizes in them, if that makes a grid: ``(H W)``, ``P + (H W)``."""
    if not text.endswith(")"):
        return None
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += (text[at] == ")") - (text[at] == "(")
        if depth == 0:
            break
    before = text[:at].rstrip()
    if depth or (before and not before.endswith("+")):
        return None
    inside = [""]
    for c in text[at + 1 : -1]:
        depth += (c == "(") - (c == ")")
        if c.isspace() and depth == 0:
            inside.append("")
        else:
            inside[-1] += c
    inside = [part for part in inside if part]
    return (before[:-1].rstrip(), inside) if len(inside) > 1 and not _is_arithmetic(inside) else None


def _is_arithmetic(inside: list[str]) -> bool:
    return any(part in ("+", "-", "*", "/", "//", "%", "if", "else", "and", "or") for part in inside)


class ShapePattern:
    """A compiled shape pattern."""

    __slots__ = ("alone", "axes", "binds", "names", "plain", "rest", "text")

    def __init__(self, items: list[Any]) -> None:
        self.axes = tuple(parse_axis(i) for i in items)
        rests = [k for k, a in enumerate(self.axes) if a.kind == "rest"]
        if len(rests) > 1:
            raise OpError("`...` may stand once in a shape")
        self.rest = rests[0] if rests else None
        self.text = "[" + ", ".join(a.text for a in self.axes) + "]"
        names: set[str] = set()
        binds: list[str] = []
        for a in self.axes:
            for e in (a.expr, a.prefix, *a.grid):
                if e is not None:
                    names |= e.names
                    binds += [n for n in sorted(e.names) if n not in binds]
        self.names = frozenset(names)
        #: Axes that are one name by itself: what ``--at`` can set.
        self.alone = [(k, a.name) for k, a in enumerate(self.axes) if a.kind == "name"]
        self.binds = tuple(binds)
        #: The names, where there is nothing else.
        self.plain = tuple([a.name for a in self.axes]) if len(self.alone) == len(self.axes) else None

    def binds_all(self, t: TensorType, env: dict[str, Any]) -> bool:
        """Bind the dims of ``t`` where the pattern is nothing but names, none of them known; else nothing happens."""
        plain = self.plain
        if plain is None or len(plain) != len(t.shape) or len(self.names) != len(plain):
            return False
        for name in plain:
            if env.get(name) is not None:
                return False
        env.update(zip(plain, t.shape, strict=True))
        return True

    def match(self, t: TensorType, env: dict[str, Any], require: Require, what: str) -> TensorType:
        """Bind and check the dims of ``t``; returns ``t``, with the layouts that the pattern states.

        Raises
        ------
        OpError
            With the pattern and the type.
        """
        axes, shape = self.axes, t.shape
        if self.plain is not None and len(axes) == len(shape):
            for name, size in zip(self.plain, shape, strict=True):
                known = env.get(name)
                if known is None:
                    env[name] = size
                elif known is not size and known != size:
                    self._equal(known, size, name, t, require, what)
            return t
        if self.rest is None:
            if len(axes) != len(shape):
                raise OpError(
                    f"{what} has {len(shape)} axes, its pattern {len(axes)}",
                    self.text,
                    str(t),
                    code="shape/rank",
                    key="shape",
                )
            pairs: Iterable[tuple[int, Axis]] = enumerate(axes)
        else:
            r = self.rest
            tail = len(axes) - r - 1
            if len(shape) < len(axes) - 1:
                raise OpError(f"{what} has too few axes", self.text, str(t), code="shape/rank", key="shape")
            pairs = [*enumerate(axes[:r]), *enumerate(axes[r + 1 :], len(shape) - tail)]
        for k, a in pairs:
            kind = a.kind
            if kind == "name":
                known = env.get(a.name)
                if known is None:
                    env[a.name] = shape[k]
                elif known is not shape[k] and known != shape[k]:
                    self._equal(known, shape[k], a.text, t, require, what)
            elif kind == "expr":
                assert a.expr is not None
                self._unify(a.expr, shape[k], env, t, require, what)
            elif kind == "grid":
                t = self._grid(a, k, t, env, require, what)
        return t

    def _equal(self, known: Any, found: Num, text: str, t: TensorType, require: Require, what: str) -> None:
        if not isinstance(known, (int, Dim)) or isinstance(known, bool):
            raise OpError(f"`{text}` stands for {known!r}, which is no size", self.text, str(t))
        cond = eq(known, found)
        if cond is False:
            shown = f"`{text}` is {known}" if text != str(known) else f"{text} is wanted"
            raise OpError(
                f"{what} does not fit its pattern: {shown}, not {found}",
                self.text,
                str(t),
                code="shape/pattern",
                key="shape",
            )
        require(cond, f"{what} must fit {self.text}")

    def _unify(self, expr: Expr, found: Num, env: dict[str, Any], t: TensorType, require: Require, what: str) -> None:
        unknown = [n for n in expr.names if env.get(n) is None]
        if not unknown:
            self._equal(compile(expr)(env), found, str(expr), t, require, what)
            return
        if len(unknown) > 1:
            raise OpError(f"`{expr}` has more than one unknown: {', '.join(sorted(unknown))}", self.text, str(t))
        name = unknown[0]
        if isinstance(expr, Name):
            env[name] = found
            return
        # a symbol that no size bears: the sizes around may hold one of the same name
        solved = solve_linear(compile(expr)({**env, name: sym("_unknown")}), "_unknown", found)
        if solved is None:
            raise OpError(f"`{expr}` can't be solved for {name}", self.text, str(t))
        value, cond = solved
        if cond is False:
            raise OpError(f"{what}: {found} is not of the form {expr}", self.text, str(t))
        require(cond, f"{what} must have the form {expr}")
        env[name] = value

    def _grid(self, a: Axis, k: int, t: TensorType, env: dict[str, Any], require: Require, what: str) -> TensorType:
        layout = t.layout_of(k)
        names = [g.name for g in a.grid if isinstance(g, Name) and env.get(g.name) is None]
        if layout is not None and len(layout.grid) == 1 < len(a.grid):
            layout = None
        if layout is None:
            open_prefix = a.prefix is not None and any(env.get(n) is None for n in a.prefix.names)
            if names or open_prefix:
                raise OpError(
                    f"{what} has no known token grid on axis {k}",
                    self.text,
                    str(t),
                    "a grid comes from `rearrange`, or from a `shape:` that states it",
                )
            sizes = [compile(g)(env) for g in a.grid]
            prefix = compile(a.prefix)(env) if a.prefix is not None else 0
            self._equal(prefix + prod(sizes), t.shape[k], a.text, t, require, what)
            return t.with_layout(k, Layout(prefix, sizes))
        if len(layout.grid) != len(a.grid):
            raise OpError(f"{what}: the grid on axis {k} is {layout}", self.text, str(t))
        if a.prefix is None:
            if eq(layout.prefix, 0) is False:
                raise OpError(f"{what}: {layout.prefix} tokens stand before the grid", self.text, str(t))
        else:
            self._unify(a.prefix, layout.prefix, env, t, require, what)
        for g, size in zip(a.grid, layout.grid, strict=True):
            self._unify(g, size, env, t, require, what)
        return t

    def build(self, env: dict[str, Any], dtype: str, prefix: str) -> TensorType:
        """The type of a root input: known names evaluate, unknown ones become symbols of their own name.

        Raises
        ------
        OpError
            If the pattern has ``...``, or a size is no whole number.
        """
        shape: list[Num] = []
        layout: list[tuple[int, Layout]] = []
        for k, a in enumerate(self.axes):
            if a.kind == "rest":
                raise OpError(f"`{self.text}` leaves the rank open; say the sizes with --at", self.text)
            if a.kind == "any":
                shape.append(sym(f"{prefix}_{k}"))
                continue
            parts = [e for e in (a.expr, a.prefix, *a.grid) if e is not None]
            for e in parts:
                for n in sorted(e.names):
                    if env.get(n) is None:
                        env[n] = sym(n)
            if a.kind == "grid":
                lay = Layout(
                    compile(a.prefix)(env) if a.prefix is not None else 0, tuple(compile(g)(env) for g in a.grid)
                )
                shape.append(lay.length)
                layout.append((k, lay))
                continue
            assert a.expr is not None
            size = compile(a.expr)(env)
            if isinstance(size, float) and size.is_integer():
                size = int(size)
            if not isinstance(size, (int, Dim)) or isinstance(size, bool):
                raise OpError(f"`{a.text}` is {size!r}, which is no size", self.text)
            if isinstance(size, int) and size < 1:
                raise OpError(f"`{a.text}` is {size}; a size is at least 1", self.text)
            shape.append(size)
        return TensorType(dtype, shape, tuple(layout))

    def literal(self, k: int) -> Any:
        """The constant at an axis, or None."""
        expr = self.axes[k].expr
        if expr is None:
            return None
        known, value = constant_value(expr)
        return value if known else None
