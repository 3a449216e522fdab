"""Nodes that are no op: formulas, chains, residuals, choices, lists, groups."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from archgraph.ir.diagnostics import Span
from archgraph.ir.dim import Dim, decider, eq, rounded
from archgraph.ir.graph import Node
from archgraph.ir.real import Late, Real, free
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op, OpError, get_op
from archgraph.spec.explain import origins, show_value
from archgraph.spec.expr import Expr, compile
from archgraph.spec.frame import FAULTS, Frame
from archgraph.spec.plan import Eval, GraphPlan, NodePlan
from archgraph.spec.plan_operands import OverWeights
from archgraph.spec.plan_refs import RefPlan, single
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Values,
    holds_unknown,
    host_lists,
    is_value,
)


class FormulaPlan(NodePlan):
    """``formula:`` element-wise arithmetic on named values."""

    __slots__ = ("given", "named", "roots", "tree")

    straight = True

    def __init__(self, at: Callable[[], Span | None], tree: Expr, given: RefPlan | None) -> None:
        super().__init__(at)
        self.tree = tree
        self.given = given
        #: Operands given by name, in this order.
        self.named: dict[str, RefPlan] = {}
        self.roots: tuple[str, ...] = tuple(sorted(tree.names))

    def is_straight(self) -> bool:
        return super().is_straight() and not self.named

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        from archgraph.spec.formula import close

        here = it if self.given is None else self.given.get(f, it, name)
        named = {n: single(p.get(f, it, name), n) for n, p in self.named.items()}
        try:
            tree, operands, values = close(f, self.tree, here, named=named)
        except OverWeights as over:
            from archgraph.spec.weights import formula_of_each

            return formula_of_each(f, name, self.tree, here, over.operands[0], self.flags)
        if any(v is UNKNOWN for v in values):
            return UNKNOWN
        cls = get_op("formula")
        assert cls is not None
        op = cls((tree, operands))
        types = tuple(v.type for v in values)
        try:
            out = f.settled(op.infer(f, *types))
        except FAULTS as error:
            return f.caught(error, f.span, origins(f, values))
        assert isinstance(out, TensorType)
        index = f.add(f.unique(name), op, tuple(v.ref for v in values), (out,), flags=self.flags)
        found = f.refs(index)[0]
        if f.tape is not None:
            f.tape.formula(self, f, it, name, index, types, found)
        return found


class ChainPlan(NodePlan):
    """A list: each item takes the value above."""

    __slots__ = ("items", "start")

    straight = True

    def __init__(self, at: Callable[[], Span | None], items: list[tuple[str | None, NodePlan]]) -> None:
        super().__init__(at)
        self.items = items
        self.start: RefPlan | None = None

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.start is None else self.start.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        value = self.first_input(f, it, name)
        last = len(self.items) - 1
        for k, (label, plan) in enumerate(self.items):
            own = label or (name if k == last else f.unique(f"{name}_{k}"))
            value = plan.evaluate(f, value, own)
            if label is not None:
                f.env[label] = value
            if f.tape is not None:
                f.tape.bound(value)
        return value


class ResidualPlan(NodePlan):
    """``residual:`` the input plus what the branch makes of it."""

    __slots__ = ("branch", "given", "shortcut")
    wraps = True

    straight = True

    def __init__(
        self, at: Callable[[], Span | None], branch: NodePlan, shortcut: NodePlan | None, given: RefPlan | None
    ) -> None:
        super().__init__(at)
        self.branch = branch
        self.shortcut = shortcut
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        x = self.first_input(f, it, name)
        if isinstance(x, Record):
            x = next(iter(x.values()))
        y = self.branch.evaluate(f, x, f.unique(name + "_branch"))
        if self.shortcut is not None:
            x = self.shortcut.evaluate(f, x, "shortcut" if "shortcut" not in f.taken else f.unique(name + "_shortcut"))
        if holds_unknown(x) or holds_unknown(y):
            return UNKNOWN
        if not isinstance(x, Ref) or not isinstance(y, Ref):
            raise OpError("a residual adds one value to one value")
        if x.type.shape != y.type.shape and not _may_be_one(x, y):
            return f.fault(
                "shape/residual",
                f.span,
                "the branch does not have the shape of what it is added to",
                expected=str(x.type),
                found=str(y.type),
                hint="a `shortcut:` can bring the input to the branch's shape" if self.shortcut is None else None,
                notes=origins(f, (y, x)),
            )
        if x.type.shape != y.type.shape:  # one shape in two spellings, provided that its guards hold
            same = _same_shape()
            found = same.infer(f, y.type, x.type)
            assert not isinstance(found, tuple)
            index = f.append(Node(f.unique(name + "_same"), same, (y.ref, x.ref), (found,), origin=f.span))
            if f.tape is not None:
                f.tape.void = True
            y = Ref((index, 0), found)
        op = _add()
        out = op.infer(f, x.type, y.type)
        assert not isinstance(out, tuple)
        index = f.append(Node(f.unique(name), op, (x.ref, y.ref), (out,), origin=f.span))
        if f.tape is not None:
            f.tape.plain(f, index, (x.type, y.type), equal=True)
        return Ref((index, 0), out)


def _may_be_one(x: Ref, y: Ref) -> bool:
    """Whether two shapes are one, or differ by roundings at most as windows that tile a map do:
    ``7*((H + 15)//112)`` and ``(H + 15)//16``. ``H`` and ``H//2`` are not, though both may be 1; but in a study of
    cases what is equal in the case is."""
    if len(x.type.shape) != len(y.type.shape):
        return False
    for n, m in zip(x.type.shape, y.type.shape, strict=True):
        cond = eq(n, m)
        if cond is False or not (cond is True or rounded(n - m) or (decider.get() is not None and bool(cond))):
            return False
    return True


@cache
def _same_shape() -> Op:
    cls = get_op("same_shape")
    assert cls is not None
    return cls.make()


@cache
def _add() -> Op:
    cls = get_op("add")
    assert cls is not None
    return cls.make()


class SwitchPlan(NodePlan):
    """``switch:`` a static choice; ``switch: training`` one at run time (see `archgraph.spec.regions`)."""

    __slots__ = ("cases", "given", "selector")
    wraps = True

    straight = True

    def __init__(
        self, at: Callable[[], Span | None], selector: Eval, cases: dict[Any, NodePlan], given: RefPlan | None
    ) -> None:
        super().__init__(at)
        self.selector = selector
        self.cases = cases
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        value = f.value(self.selector)
        if f.tape is not None:
            f.tape.decided(self.selector, value)
        if isinstance(value, (Late, Real)) and free(value):
            from archgraph.ir.real import NeedsValue

            raise NeedsValue(value)
        if isinstance(value, Dim):
            raise OpError(
                "a switch needs a known value",
                "one of " + ", ".join(map(show_key, self.cases)),
                f"{value}, which is not known here",
                "give the size with --at, or as `at:` beside the shape of the input",
                code="switch/unknown",
            )
        for key, plan in self.cases.items():
            if key == value and isinstance(key, bool) == isinstance(value, bool):
                return plan.evaluate(f, self.first_input(f, it, name), name)
        raise OpError(
            "no case fits", "one of " + ", ".join(map(show_key, self.cases)), show_key(value), code="switch/case"
        )


def show_key(key: Any) -> str:
    """A case's key as written."""
    return str(key).lower() if isinstance(key, bool) else str(key)


class ValuePlan(NodePlan):
    """A name standing as a node: the value itself."""

    __slots__ = ("ref",)

    straight = True

    def __init__(self, at: Callable[[], Span | None], ref: RefPlan) -> None:
        super().__init__(at)
        self.ref = ref

    def run(self, f: Frame, it: Any, name: str) -> Any:
        return self.ref.get(f, it, name)


class ListPlan(NodePlan):
    """``list:`` several values as one list, named one by one or by an expression over lists of values."""

    __slots__ = ("items", "tree")

    def __init__(self, at: Callable[[], Span | None], tree: Expr | None, items: list[RefPlan]) -> None:
        super().__init__(at)
        self.tree = tree
        self.items = items

    def run(self, f: Frame, it: Any, name: str) -> Any:
        found = Values()
        if self.tree is None:
            for p in self.items:
                v = p.get(f, it, name)
                if p.splice and isinstance(v, Values):
                    found.extend(v)
                else:
                    found.append(v)
            return UNKNOWN if holds_unknown(found) else found
        if any(f.env.get(n) is UNKNOWN for n in self.tree.names):
            return UNKNOWN
        value = compile(self.tree)({**f.env, **host_lists(self.tree.names, f.env)})
        if not isinstance(value, (tuple, list)) or not all(map(is_value, value)):
            raise OpError("`list` makes a list of tensors", "a list of values", show_value(value), code="list/form")
        return Values(value)


class GroupPlan(NodePlan):
    """Named nodes in one mapping, without a path segment: the value is that of the last one."""

    __slots__ = ("body", "given")
    wraps = True

    straight = True

    def __init__(self, at: Callable[[], Span | None], body: GraphPlan, given: RefPlan | None = None) -> None:
        super().__init__(at)
        self.body = body
        self.given = given

    def first_input(self, f: Frame, it: Any, name: str) -> Any:
        return it if self.given is None else self.given.get(f, it, name)

    def run(self, f: Frame, it: Any, name: str) -> Any:
        value = self.body.run(f, self.first_input(f, it, name))
        if self.body.outputs is not None:
            return self.body.output_value(f)
        return value
