"""Nodes that are an op or the call of a block: target, attributes, what is constant about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import Collector
from archgraph.ops.base import AttributeValueError, Op, OpError
from archgraph.spec.compile_refs import References
from archgraph.spec.compile_slots import At
from archgraph.spec.expr import compile as compile_expr
from archgraph.spec.expr import parse
from archgraph.spec.model import Block
from archgraph.spec.node_words import META
from archgraph.spec.plan import NodePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.yaml import YMap, span_of

HIGHER: Final = frozenset({"scan", "vjp", "weights"})


class Ops(References):
    """Compiles nodes that are an op or a call."""

    def word(self, raw: str, container: Any, key: Any) -> NodePlan | None:
        """A bare word: an op without attributes, a block, or a param that holds one."""
        plan = OpPlan(self.at(container, key))
        refs: set[str] = set()
        self.aim(plan, raw, container, key, refs)
        plan.refs = frozenset(refs)
        return self.settle(plan) if plan.target is not None or plan.late_target is not None else None

    def aim(self, plan: OpPlan, word: Any, container: Any, key: Any, refs: set[str]) -> None:
        """Set the target of an op node."""
        plan.word = str(word)
        if isinstance(word, str):
            bare = word[1:] if word.startswith("$") else word
            p = self.block.params.get(bare) or (self.file.params.get(bare) if self.block.root else None)
            if word.startswith("$") or (p is not None and p.kind == "op"):
                if not bare.isidentifier():
                    self.fault("op/name", span_of(container, key), f"`{word}` names no param")
                    return
                refs.add(bare)
                plan.late_target = compile_expr(parse(bare))
                return
        plan.target = self.target(word, container, key)

    def settle(self, plan: OpPlan) -> OpPlan:
        """Precompute what is constant about an op node."""
        cls = plan.target
        if isinstance(cls, type) and issubclass(cls, Op):
            plan.is_source = cls.source
            if cls.extra is None and not all(k in cls.by_name for k in plan.attrs):
                return plan  # said where they stand
            if all(c for c, _, _ in plan.attrs.values()):
                try:
                    plan.static = cls.from_mapping({k: v for k, (_, v, _) in plan.attrs.items()})
                except OpError as error:
                    self.fault("attr/missing", plan.at(), str(error), hint=error.hint)
                except AttributeValueError:
                    plan.static = None
            else:
                missing = [a.name for a in cls.attributes if a.required and a.name not in plan.attrs]
                if missing:
                    self.fault("attr/missing", plan.at(), f"`{cls.op_name}` needs the attribute `{missing[0]}`")
                elif cls.extra is None and all(k in cls.by_name for k in plan.attrs):
                    plan.preset, plan.dynamic = prepared(cls, plan.attrs)
        elif isinstance(cls, Block):
            missing = [p.name for p in cls.params.values() if p.required and p.name not in plan.attrs]
            if missing and all(k in cls.params for k in plan.attrs):
                self.fault("attr/missing", plan.at(), f"`{cls.name}` needs the param `{missing[0]}`")
        return plan

    def op(self, raw: YMap, container: Any, key: Any, refs: set[str], looped: bool) -> NodePlan | None:
        """An ``op:`` node."""
        plan = OpPlan(self.at(raw, "op"))
        self.aim(plan, raw["op"], raw, "op", refs)
        self.inputs(plan, raw.get("in"), raw, refs)
        target = plan.target
        shape_is_attr = has_attr(target, "shape")
        mine = [k for k in raw if k not in META or (k == "shape" and shape_is_attr)]
        if target is None and plan.late_target is not None:
            rest = YMap(raw.file, raw.mark)
            for k in mine:
                rest[k] = raw[k]
                rest.pos[k] = raw.pos[k]
            if rest:
                names: set[str] = set()
                for k in mine:
                    self.evaluator_names(raw[k], names)
                refs |= names
                plan.overlay = _Overlay(self, rest)
            return plan
        if target is None:
            return None
        for k in mine:
            const, value = self.attribute_of(target, str(k), raw[k], raw, k, refs)
            plan.attrs[str(k)] = (const, value, self.at(raw, k))
        return self.settle(plan)


def prepared(cls: type[Op], attrs: Mapping[str, tuple[bool, Any, At]]) -> tuple[list[Any] | None, list[Any]]:
    """Converted constants and defaults in the op's order, and what is left to evaluate."""
    values = [a.default for a in cls.attributes]
    dynamic: list[Any] = []
    for name, (const, value, _) in attrs.items():
        a = cls.by_name[name]
        if const:
            try:
                values[a.index] = cls.convert(a, value)
            except AttributeValueError:
                return None, []
        else:
            dynamic.append((a.index, a, getattr(value, "fn", value)))
    return values, dynamic


class _Overlay:
    """Attributes of a node whose target a param decides: compiled once per target."""

    def __init__(self, compiler: Ops, raw: YMap) -> None:
        self.compiler = compiler
        self.raw = raw
        self.known: dict[int, dict[str, tuple[bool, Any, At]]] = {}

    def __call__(self, target: Any) -> dict[str, tuple[bool, Any, At]]:
        found = self.known.get(id(target))
        if found is None:
            faults = Collector()
            mine = self.compiler.faults
            self.compiler.faults = faults
            try:
                refs: set[str] = set()
                found = {}
                for k, v in self.raw.items():
                    const, value = self.compiler.attribute_of(target, str(k), v, self.raw, k, refs)
                    found[str(k)] = (const, value, self.compiler.at(self.raw, k))
            finally:
                self.compiler.faults = mine
            if faults:
                first = faults.diagnostics[0]
                raise OpError(first.message, first.expected, first.found, first.hint)
            self.known[id(target)] = found
        return found


def has_attr(target: Any, name: str) -> bool:
    """Whether an op or block takes an attribute of that name."""
    if isinstance(target, Block):
        return name in target.params
    return isinstance(target, type) and issubclass(target, Op) and name in target.by_name


def owns_weights(plan: OpPlan) -> bool:
    target = plan.target
    if isinstance(target, type) and issubclass(target, Op):
        return target.weights is not Op.weights
    return False
