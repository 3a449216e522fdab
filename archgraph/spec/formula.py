"""Closing a formula: host names become constants, references become operand names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archgraph.ir.real import Late, Real
from archgraph.ops.base import OpError
from archgraph.spec.explain import show_value
from archgraph.spec.expr import (
    Attr,
    Binary,
    BoolOp,
    Call,
    Compare,
    Comprehension,
    Expr,
    Host,
    IfElse,
    Index,
    ListExpr,
    Name,
    Num,
    Splice,
    Str,
    Unary,
    UnknownName,
    compile,
    literal,
)
from archgraph.spec.frame import Frame
from archgraph.spec.values import UNKNOWN, Record, Ref, Turns, Values, Weights, flatten, is_value, template


class _Closer:
    def __init__(
        self, f: Frame, it: Any, record: Weights | None = None, number: int = 0, named: Mapping[str, Any] = {}
    ) -> None:
        self.f = f
        self.it = it
        #: Operands that have their names already.
        self.named = named
        #: Records of weights alike stand for their tensor of this number.
        self.record = record
        self.number = number
        self.operands: dict[str, Ref | Any] = dict(named)
        self.by_ref: dict[Any, str] = {}

    def operand(self, name: str, value: Any) -> Expr:
        """A name in the closed formula for a tensor."""
        if value is not UNKNOWN:
            known = self.by_ref.get(value.ref)
            if known is not None:
                return Name(known)
        own, k = name, 2
        while own in self.operands:
            own, k = f"{name}_{k}", k + 1
        self.operands[own] = value
        if value is not UNKNOWN:
            self.by_ref[value.ref] = own
        return Name(own)

    def lookup(self, e: Expr) -> Any:
        """The value of a name or dotted reference; None where it is a host expression."""
        if isinstance(e, Name):
            if e.name == "it":
                if self.it is None:
                    raise OpError("`it` is the value above, and nothing stands above")
                return self.it
            value = self.f.env.get(e.name)
            if value is None and e.name not in self.f.env and e.name != "inf":
                raise UnknownName(e.name)
            return value if is_value(value) else None
        if isinstance(e, Attr):
            from archgraph.spec.plan_refs import step

            inner = self.lookup(e.obj)
            return None if inner is None else step(self.f, inner, e.name, str(e.obj))
        return None

    def close(self, e: Expr) -> Expr:
        """The expression over operands only."""
        if isinstance(e, Name) and e.name in self.named:
            return e
        if isinstance(e, (Name, Attr)):
            value = self.lookup(e)
            if isinstance(value, Turns):
                value = value.last
            if self.record is not None or isinstance(value, Weights):
                value = self.tensor(value, e)
            if value is UNKNOWN or isinstance(value, Ref):
                return self.operand(str(e).replace(".", "_"), value)
            if isinstance(value, Record) and value:
                return self.operand(str(e).replace(".", "_"), next(iter(value.values())))
            if is_value(value):
                raise OpError(f"`{e}` is a list; a formula takes single values (`sum({e}...)` adds them)")
            return self.host(e)
        if isinstance(e, (Num, Str)):
            return e
        if isinstance(e, Call):
            args: list[Expr] = []
            for a in e.args:
                args += self.spliced(a) if isinstance(a, Splice) else [self.close(a)]
            if self.is_host(e):
                return self.host(e)
            return Call(e.function, tuple(args), tuple((k, self.close(v)) for k, v in e.kwargs))
        if self.is_host(e):
            return self.host(e)
        if isinstance(e, Unary):
            return Unary(e.op, self.close(e.operand))
        if isinstance(e, Binary):
            return Binary(e.op, self.close(e.left), self.close(e.right))
        if isinstance(e, Compare):
            return Compare(self.close(e.first), tuple((op, self.close(v)) for op, v in e.rest))
        if isinstance(e, IfElse):
            return self.close(e.then if self.f.truth(compile(e.test)) else e.other)
        if isinstance(e, (BoolOp, Index, ListExpr, Comprehension, Splice)):
            raise OpError(f"`{e}` can't stand in a formula over tensors")
        raise OpError(f"`{e}` can't stand in a formula")

    def tensor(self, value: Any, e: Expr) -> Any:
        """The tensor of a record, or of a list as long, that this formula is about."""
        from archgraph.spec.plan_operands import OverWeights

        if self.record is None:
            raise OverWeights([value])
        if isinstance(value, Weights):
            if template(value) != template(self.record):
                raise OpError(f"records of weights in one formula must be alike; `{e}` differs")
        elif not (isinstance(value, (Values, Record)) and len(value) == len(list(flatten(self.record)))):
            return value
        return [r for _, r in flatten(value)][self.number]

    def is_host(self, e: Expr) -> bool:
        """Whether nothing in ``e`` is a tensor."""
        return not any(n == "it" or n in self.named or is_value(self.f.env.get(n)) for n in e.names)

    def host(self, e: Expr) -> Expr:
        """A constant in place of a host expression."""
        value = self.f.value(compile(e))
        if isinstance(value, (Late, Real)) or not isinstance(value, (bool, int, float)) or value != value:
            if value is None and isinstance(e, Name):
                from archgraph.spec.plan_refs import absent

                raise absent(e.name)
            if isinstance(value, (list, tuple, dict, str)) or value is None:
                raise OpError(
                    f"`{e}` is {show_value(value)}; a formula takes numbers and tensors",
                    hint="a list becomes a tensor by `constant`",
                )
            return Host(value)
        if value in (float("inf"), float("-inf")):
            return Host(value)
        return literal(value)

    def spliced(self, e: Splice) -> list[Expr]:
        value = self.lookup(e.obj)
        if isinstance(value, Turns):
            value = value.turns
        if isinstance(value, Record):
            value = Values(value.values())
        if value is UNKNOWN:
            return [self.operand(str(e.obj), UNKNOWN)]
        if not isinstance(value, Values):
            raise OpError(f"`{e}` splices a list; `{e.obj}` is one value")
        base = str(e.obj).replace(".", "_")
        return [self.operand(f"{base}_{k}", r) for k, (_, r) in enumerate(flatten(value))]


def close(
    f: Frame, tree: Expr, it: Any, record: Weights | None = None, number: int = 0, named: Mapping[str, Any] = {}
) -> tuple[Expr, tuple[str, ...], tuple[Any, ...]]:
    """The formula over operand names only, these names, and their values.

    Raises
    ------
    OverWeights
        If it is about a record of weights, and neither it nor which of its tensors is meant was given.
    OpError
        For lists, texts and forms that tensors can't take.
    """
    if isinstance(it, Turns):
        it = it.last
    if isinstance(it, Record) and it and not isinstance(it, Weights):
        it = next(iter(it.values()))
    closer = _Closer(f, it, record, number, named)
    closed = closer.close(tree)
    return closed, tuple(closer.operands), tuple(closer.operands.values())
