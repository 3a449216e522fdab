"""What names values: operands, outputs, weights that are given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from archgraph.spec.compile_slots import Slots
from archgraph.spec.evaluators import (
    Computed,
)
from archgraph.spec.names import node_name
from archgraph.spec.node_words import FORMS
from archgraph.spec.plan import NodePlan, OutputPlan
from archgraph.spec.plan_forms import GroupPlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.plan_region import RegionPlan
from archgraph.spec.yaml import YList, YMap, span_of


class References(Slots, ABC):
    """Reads what names values: `in`, `outputs`, given weights. What stands in place of a name is a node."""

    @abstractmethod
    def node(self, raw: Any, container: Any, key: Any, name: str | None) -> NodePlan | None:
        """A node written where a value is named."""

    def ref(self, raw: Any, container: Any, key: Any) -> RefPlan | None:
        """One entry of ``in``."""
        span = span_of(container, key)
        if isinstance(raw, (YMap, YList)):
            plan = self.node(raw, container, key, None)
            return None if plan is None else RefPlan("", inline=plan, span=span)
        raw = node_name(raw)
        if not isinstance(raw, str):
            self.fault("in/form", span, "`in` names values", expected="a name, or a list of names", found=str(raw))
            return None
        text = raw.strip()
        splice = False
        for tail in ("...", ".*"):
            if text.endswith(tail):
                text, splice = text[: -len(tail)], True
                break
        words = text.split(".")
        name, rest = words[0], words[1:]
        known = name.isidentifier() or name.isdecimal()
        if not known or not all(w.isidentifier() or w.lstrip("-").isdigit() for w in rest):
            self.fault("in/form", span, f"`{raw}` is no name of a value", hint="arithmetic on values is `{formula: …}`")
            return None
        segments = tuple(int(w) if w.lstrip("-").isdigit() else w for w in rest)
        if splice or segments:
            self.indexed.add(name)
        return RefPlan(name, segments, splice, None, span)

    def inputs(self, plan: OpPlan, raw: Any, container: Any, refs: set[str]) -> None:
        """Fill in the ``in`` of an op or call."""
        if raw is None:
            return
        if names_operands(raw):
            plan.kwinputs = {}
            for k, v in raw.items():
                got = self.refs(v, raw, k, refs)
                if got is not None:
                    plan.kwinputs[str(k)] = got
            return
        if isinstance(raw, YList):
            plan.inputs = []
            for k, v in enumerate(raw):
                got = self.refs(v, raw, k, refs)
                if got is not None:
                    plan.inputs.append(got)
            return
        one = self.ref(raw, container, "in")
        if one is not None:
            refs |= one.refs
            plan.inputs = [one]

    def refs(self, raw: Any, container: Any, key: Any, refs: set[str]) -> RefPlan | list[RefPlan] | None:
        """One operand: a reference, or a list of them for a list input."""
        if isinstance(raw, YList) and not _is_chain(raw):
            many: list[RefPlan] = []
            for k, v in enumerate(raw):
                one = self.ref(v, raw, k)
                if one is not None:
                    refs |= one.refs
                    many.append(one)
            return many
        one = self.ref(raw, container, key)
        if one is not None:
            refs |= one.refs
        return one

    def outputs(self, raw: Any, owner: Any) -> list[OutputPlan]:
        """An ``outputs:`` mapping."""
        found: list[OutputPlan] = []
        if not isinstance(raw, YMap):
            self.fault("outputs/form", span_of(owner, "outputs"), "outputs is a mapping from names to values")
            return found
        for name, value in raw.items():
            if not all(w.isidentifier() or w.isdecimal() for w in str(name).split(".")):
                self.fault("name/invalid", span_of(raw, name, key=True), f"`{name}` can't name an output")
            when = None
            container, key = raw, name
            if isinstance(value, YMap) and "value" in value:
                for k in value:
                    if k not in ("value", "when"):
                        self.unknown_key(value, k, ("value", "when"), "an output")
                if "when" in value:
                    tree = self.expr(value["when"], value, "when")
                    when = Computed(tree, value, "when") if tree is not None else None
                container, key = value, "value"
                value = value["value"]
            one = self.ref(value, container, key)
            if one is not None:
                found.append(OutputPlan(str(name), one, when, self.at(raw, name)))
        return found

    def given(self, raw: Any, container: YMap, refs: set[str]) -> dict[str, RefPlan | None]:
        """A ``weights:`` mapping."""
        found: dict[str, RefPlan | None] = {}
        if not isinstance(raw, YMap):
            self.fault(
                "weights/form", span_of(container, "weights"), "weights is a mapping from weight names to values"
            )
            return found
        for k, v in raw.items():
            if v is None:
                found[str(k)] = None
                continue
            one = self.ref(v, raw, k)
            if one is not None:
                refs |= one.refs
                found[str(k)] = one
        return found

    def updates(self, cases: YMap, plan: NodePlan, refs: set[str]) -> dict[str, RefPlan]:
        """``updates:`` of the case for training: from buffers around the switch to values of the region."""
        case = cases[True]
        raw = case.get("updates") if isinstance(case, YMap) else None
        if raw is None:
            return {}
        if not isinstance(raw, YMap) or not isinstance(plan, (RegionPlan, GroupPlan)):
            self.fault(
                "updates/form",
                span_of(case, "updates"),
                "`updates` is a mapping from buffers to values, beside the `graph` of a case for training",
            )
            return {}
        refs |= {str(k) for k in raw}
        return {str(k): one for k, v in raw.items() if (one := self.ref(v, raw, k)) is not None}


def names_operands(raw: Any) -> bool:
    """Whether an ``in`` gives operands by name."""
    return isinstance(raw, YMap) and not any(f in raw for f in FORMS)


def _is_chain(raw: YList) -> bool:
    return any(isinstance(v, YMap) for v in raw) and not all(
        isinstance(v, YMap) and ("op" in v or "formula" in v) for v in raw
    )
