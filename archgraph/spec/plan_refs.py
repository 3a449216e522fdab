"""References to values: names, parts and outputs of them, nodes written in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from archgraph.ir.diagnostics import Span, did_you_mean
from archgraph.ir.real import Late, Real
from archgraph.ops.base import Op, OpError, get_op
from archgraph.spec.frame import Frame
from archgraph.spec.values import (
    UNKNOWN,
    Record,
    Ref,
    Turns,
    Values,
    Weights,
    flatten,
)

if TYPE_CHECKING:
    from archgraph.spec.plan import NodePlan


class RefPlan:
    """A reference in ``in``: ``node``, ``node.output``, ``list.0``, ``list...``; or a node written in place."""

    __slots__ = ("inline", "name", "segments", "span", "splice")

    def __init__(
        self,
        name: str,
        segments: tuple[int | str, ...] = (),
        splice: bool = False,
        inline: NodePlan | None = None,
        span: Span | None = None,
    ) -> None:
        self.name = name
        self.segments = segments
        self.splice = splice
        self.inline = inline
        self.span = span

    @property
    def refs(self) -> frozenset[str]:
        if self.inline is not None:
            return self.inline.refs
        return frozenset((self.name, *(s for s in self.segments if isinstance(s, str))))

    def get(self, f: Frame, it: Any, owner: str) -> Any:
        """The value referred to.

        Raises
        ------
        OpError
            If there is none.
        """
        value = f.env.get(self.name)
        if type(value) is Ref and not self.segments and not self.splice:
            return value
        if self.inline is not None:
            return self.inline.evaluate(f, it, f.unique(owner + "_in"))
        if self.name == "it":
            value = it
            if value is None:
                raise OpError("`it` is the value above, and nothing stands above")
        elif value is None and self.name not in f.env:
            f.unknown_name(self.name, self.span)
            return UNKNOWN
        elif value is None and f.tape is not None:
            f.tape.read(self.name, None)
        for s in self.segments:
            value = step(f, value, s, self.name)
        if self.splice:
            if isinstance(value, Turns):
                return value.turns
            if isinstance(value, Weights):
                return Values(r for _, r in flatten(value))
            if isinstance(value, Record):
                return Values(value.values())
            if not isinstance(value, (Values, type(UNKNOWN))):
                raise OpError(
                    f"`{self.name}...` splices a list; `{self.name}` is one value", code="name/splice", key="in"
                )
            return value
        if isinstance(value, Turns):
            return value.last
        return value


def absent(name: str) -> OpError:
    """The fault of reading what is not there in this configuration."""
    return OpError(
        f"`{name}` is absent here: its `when` leaves it out, or nobody gives it",
        hint="give the reader a `when` of its own, or the absent node an `else`",
        code="value/absent",
        key="in",
    )


def step(f: Frame, value: Any, segment: int | str, name: str) -> Any:
    """One segment of a reference: an element, an output, or a weight of a node."""
    if value is UNKNOWN:
        return value
    if isinstance(segment, str) and isinstance(value, (Values, Turns)):
        index = f.env.get(segment)
        if f.tape is not None:
            f.tape.read(segment, index)
        if isinstance(index, int):
            segment = index
        elif isinstance(index, (Late, Real)):
            from archgraph.ir.real import NeedsValue

            raise NeedsValue(index)
    if isinstance(value, Turns):
        if isinstance(segment, int):
            value = value.turns
        else:
            value = value.last
    if isinstance(segment, int):
        if isinstance(value, Record):
            value = Values(value.values())
        if not isinstance(value, Values):
            if segment == 0:
                return value
            raise OpError(f"`{name}` is one value; it has no part {segment}", code="name/part", key="in")
        if not -len(value) <= segment < len(value):
            raise OpError(
                f"`{name}` has {len(value)} parts; there is no {segment}",
                f"between {-len(value)} and {len(value) - 1}" if value else "no parts",
                str(segment),
                code="name/part",
                key="in",
            )
        return value[segment]
    if isinstance(value, Record):
        if segment in value:
            return value[segment]
        raise OpError(
            f"`{name}` has no output `{segment}`",
            ", ".join(value),
            segment,
            near(segment, value),
            code="name/output",
            key="in",
        )
    if isinstance(value, Values) and value and all(isinstance(v, Record) and segment in v for v in value):
        return Values(v[segment] for v in value)
    if isinstance(value, Ref):
        found = _named_part(f, value, segment)
        if found is not None:
            return found
    raise OpError(f"`{name}` has no output or weight `{segment}`", code="name/output", key="in")


def near(word: str, known: Iterable[str]) -> str | None:
    near = did_you_mean(word, known)
    return f"did you mean `{near}`?" if near else None


def _named_part(f: Frame, value: Ref, segment: str) -> Ref | None:
    """The only output under its own name, or the weight of a node as a value."""
    index = value.ref[0]
    if index < 0:
        return None
    node = f.nodes[index]
    outputs = [n for n, _ in node.callee.outputs] if node.op is None else list(getattr(node.op, "outputs", ()))
    if segment in outputs and len(outputs) == 1:
        return value
    if node.op is None:
        return None
    types = tuple(None if r is None else f.type_of(r) for r in node.inputs)
    assert isinstance(node.op, Op)
    for w in node.op.weights(*types):
        if w.name == segment:
            cls = get_op("get_weight")
            assert cls is not None
            path = f"{node.name}.{w.name}"
            op = cls.make(path=path, shape=w.shape, dtype=w.dtype)
            out = op.infer(f)
            k = f.add(f.unique(path.replace(".", "_")), op, (), (out,) if not isinstance(out, tuple) else out)
            return f.refs(k)[0]
    return None


def single(value: Any, name: str) -> Any:
    """One tensor, where a chain stands for its last value and a record for its first.

    Raises
    ------
    OpError
        For lists and numbers.
    """
    if isinstance(value, Turns):
        value = value.last
    if isinstance(value, Record) and value:
        value = next(iter(value.values()))
    if value is not UNKNOWN and not isinstance(value, Ref):
        raise OpError(f"`{name}` must be one tensor")
    return value
