"""``{keep: label, …}``: a matched node again, with some attributes changed."""

from __future__ import annotations

from typing import Any

from archgraph.ir.graph import Node
from archgraph.ops.base import Op, OpError, check_operands
from archgraph.rewrite.pattern import Operand, Pattern
from archgraph.spec.compile import Compiler
from archgraph.spec.frame import FAULTS, Frame
from archgraph.spec.model import Block
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.values import UNKNOWN, Record, Ref, tidy
from archgraph.spec.yaml import YMap, span_of

__all__ = ["SITE", "KeepPlan", "RuleCompiler"]

#: Where a frame's environment holds the site that is being replaced.
SITE = "<site>"


class RuleCompiler(Compiler):
    """Compiles ``replace:`` and the ``graph`` of ``weights:``: bodies that may keep nodes of the pattern."""

    def __init__(self, block: Block, faults: Any, pattern: Pattern) -> None:
        super().__init__(block, faults)
        self.pattern_nodes = pattern.nodes
        #: Names of single outputs of the pattern's nodes.
        self.aliases: dict[str, Operand] = pattern.aliases
        self.declared |= set(pattern.inputs)

    def mapping(self, raw: YMap, container: Any, key: Any, name: str | None) -> NodePlan | None:
        if "keep" not in raw or "op" in raw:
            return super().mapping(raw, container, key, name)
        label = raw["keep"]
        if label not in self.pattern_nodes:
            self.fault(
                "keep/label",
                span_of(raw, "keep"),
                f"`keep` names a node of `match`; `{label}` is none",
                expected=", ".join(self.pattern_nodes),
            )
            return None
        plan = KeepPlan(self.at(raw, "keep"), str(label))
        refs: set[str] = set()
        self.inputs(plan, raw.get("in"), raw, refs)
        targets = self.pattern_nodes[label].targets
        target = targets[0] if len(targets) == 1 else None
        for k in raw:
            if k in ("keep", "in", "when", "else", "as", "shape", "unused", "frozen"):
                continue
            const, value = self.attribute_of(target, str(k), raw[k], raw, k, refs)
            plan.attrs[str(k)] = (const, value, self.at(raw, k))
        plan.refs = frozenset(refs)
        self.common(plan, raw)
        return plan


class KeepPlan(OpPlan):
    """The matched node again: its op with some attributes changed, on its own operands or others."""

    __slots__ = ("label",)

    def __init__(self, at: Any, label: str) -> None:
        super().__init__(at)
        self.label = label

    def run(self, f: Frame, it: Any, name: str) -> Any:
        site = f.env[SITE]
        node: Node | None = site.node(self.label)
        if node is None:
            raise OpError(f"`{self.label}` is optional and not there; say `when:`")
        changed: dict[str, Any] = {}
        for key, (const, value, at) in self.attrs.items():
            try:
                changed[key] = value if const else tidy(f.value(value))
            except FAULTS as error:
                f.caught(error, at())
                return UNKNOWN
        refs: list[Ref | None]
        if self.inputs is None and self.kwinputs is None:
            refs = [None if r is None else site.ref(f, r) for r in node.inputs]
        elif node.op is not None:
            got = self._operands(f, it, name, type(node.op))  # type: ignore[arg-type]
            if got is None:
                return UNKNOWN
            refs = got
        else:
            values = [self._one(f, p, it, name) for p in self.inputs or ()]
            refs = [*values, *[None if r is None else site.ref(f, r) for r in node.inputs[len(values) :]]]
        types = tuple(None if r is None else r.type for r in refs)
        inputs = tuple(None if r is None else r.ref for r in refs)
        own = f.unique(name)
        op = node.op
        if op is None:
            if changed:
                raise OpError(f"`{self.label}` is a call of a block; name the block to change its params")
            index = f.append(node.replace(name=own, inputs=inputs, share=None))
        else:
            assert isinstance(op, Op)
            op = type(op).from_mapping({**op.attrs(), **changed}) if changed else op
            check_operands(type(op), types)
            outs = op.infer(f, *types)
            outs = outs if isinstance(outs, tuple) else (outs,)
            index = f.append(node.replace(name=own, op=op, inputs=inputs, types=outs, share=None))
        out = f.refs(index)
        return out[0] if len(out) == 1 else Record(zip(map(str, range(len(out))), out, strict=True))
