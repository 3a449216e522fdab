"""Nodes that are no op: formula, residual, switch, share, list, graph; and loops."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from archgraph.ops.base import get_op
from archgraph.spec.compile_ops import Ops, has_attr
from archgraph.spec.compile_refs import names_operands
from archgraph.spec.compile_slots import At
from archgraph.spec.evaluators import (
    Computed,
    Constant,
    LoopList,
    LoopSource,
)
from archgraph.spec.expr import Expr, UnknownName
from archgraph.spec.loops import LoopPlan
from archgraph.spec.names import bad_name
from archgraph.spec.node_words import FORMS
from archgraph.spec.plan import GraphPlan, NodePlan
from archgraph.spec.plan_forms import ChainPlan, FormulaPlan, GroupPlan, ListPlan, ResidualPlan, SwitchPlan, ValuePlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.plan_region import RegionPlan
from archgraph.spec.plan_share import SharePlan
from archgraph.spec.yaml import YList, YMap, span_of


class Forms(Ops):
    """Compiles nodes that are no op, and loops around any node."""

    @abstractmethod
    def body(self, raw: Any, container: Any, key: Any, outputs: Any = None, owner: Any = None) -> GraphPlan:
        """A ``graph:`` mapping."""

    @abstractmethod
    def mapped_graph(self, raw: YMap, refs: set[str]) -> NodePlan:
        """A ``graph`` that is run on inputs of its own, or under ``vmap``."""

    @abstractmethod
    def common(self, plan: NodePlan, raw: YMap) -> None:
        """What every node may say."""

    def form(
        self, form: str, raw: YMap, container: Any, key: Any, given: RefPlan | None, refs: set[str], looped: bool
    ) -> NodePlan | None:
        """A node that is no op."""
        at = self.at(raw, form)
        if form == "formula":
            tree = self.expr(raw["formula"], raw, "formula")
            if tree is None:
                return None
            refs |= tree.names
            for part in _dotted(tree):
                self.indexed.add(part)
            formula = FormulaPlan(at, tree, given)
            if names_operands(raw.get("in")):
                refs -= set(map(str, raw["in"]))
                for k, v in raw["in"].items():
                    one = self.ref(v, raw["in"], k)
                    if one is not None:
                        refs |= one.refs
                        formula.named[str(k)] = one
            return formula
        if form == "share":
            owner = raw["share"]
            if owner == "turns" or not isinstance(owner, str):
                self.fault(
                    "share/form", span_of(raw, "share"), "`share` names a node; `share: turns` stands beside `op`"
                )
                return None
            share = SharePlan(at, owner)
            share.word = owner
            refs.add(owner)
            self.inputs(share, raw.get("in"), raw, refs)
            return share
        if form == "residual":
            branch = self.sequence(raw["residual"], raw, "residual")
            shortcut = None
            if "shortcut" in raw:
                shortcut = self.node(raw["shortcut"], raw, "shortcut", "shortcut")
            if branch is None:
                return None
            refs |= branch.refs
            if shortcut is not None:
                refs |= shortcut.refs
            return ResidualPlan(at, branch, shortcut, given)
        if form == "switch":
            return self.switch(raw, given, refs)
        if form == "list":
            if isinstance(raw["list"], YList):
                many = self.refs(raw["list"], raw, "list", refs)
                return ListPlan(at, None, many if isinstance(many, list) else [])
            tree = self.expr(raw["list"], raw, "list")
            if tree is None:
                return None
            refs |= tree.names
            self.indexed |= tree.names
            return ListPlan(at, tree, [])
        if "vmap" in raw or "inputs" in raw:
            if looped or "carry" in raw or given is not None:
                self.fault("vmap/loop", span_of(raw), "a `graph` with `vmap` takes `inputs`, and no loop")
            return self.mapped_graph(raw, refs)
        body = self.body(raw["graph"], raw, "graph", raw.get("outputs"), raw)
        refs |= body.refs
        if not looped:
            if "carry" in raw:
                self.fault("carry/loop", span_of(raw, "carry", key=True), "`carry` belongs to a loop or scan")
            return GroupPlan(at, body, given)
        carry: dict[str, RefPlan] | None = None
        if "carry" in raw:
            carry = {}
            for k, v in raw["carry"].items() if isinstance(raw["carry"], YMap) else ():
                one = self.ref(v, raw["carry"], k)
                if one is not None:
                    carry[str(k)] = one
                    refs |= one.refs | {str(k)}
        return RegionPlan(at, body, carry)

    def sequence(self, raw: Any, container: Any, key: Any) -> NodePlan | None:
        """The branch of a residual: a chain, a mapping of named nodes in order, or one node."""
        if isinstance(raw, YMap) and not any(f in raw for f in FORMS):
            body = self.body(raw, container, key)
            group = GroupPlan(self.at(container, key), body)
            group.refs = body.refs
            return group
        return self.node(raw, container, key, None)

    def switch(self, raw: YMap, given: RefPlan | None, refs: set[str]) -> NodePlan | None:
        """A ``switch:`` node."""
        cases = raw.get("cases")
        if not isinstance(cases, YMap) or not cases:
            self.fault("switch/cases", span_of(raw), "`switch` needs `cases`, a mapping from values to nodes")
            return None
        plans: dict[Any, NodePlan] = {}
        saved = set(self.declared)
        if raw["switch"] == "training":
            self.training = cases.get(True)
        for k, v in cases.items():
            plan = self.case(v, cases, k)
            if plan is not None:
                plans[k] = plan
                refs |= plan.refs
        self.declared = saved
        if raw["switch"] == "training":
            if set(plans) != {True, False}:
                self.fault("switch/cases", span_of(raw, "cases"), "`switch: training` has the cases true and false")
                return None
            from archgraph.spec.regions import TrainingPlan

            found = TrainingPlan(self.at(raw, "switch"), plans[True], plans[False], given)
            found.updates = self.updates(cases, plans[True], refs)
            return found
        tree = self.expr(raw["switch"], raw, "switch")
        if tree is None:
            return None
        refs |= tree.names
        return SwitchPlan(self.at(raw, "switch"), Computed(tree, raw, "switch"), plans, given)

    def case(self, raw: Any, container: Any, key: Any) -> NodePlan | None:
        """A case: a node, or the name of a value."""
        if (
            isinstance(raw, str)
            and self.file.find(raw) is None
            and get_op(raw) is None
            and not raw.startswith("$")
            and not (raw in self.block.params and self.block.params[raw].kind == "op")
        ):
            one = self.ref(raw, container, key)
            if one is None:
                return None
            plan = ValuePlan(self.at(container, key), one)
            plan.refs = one.refs
            return plan
        return self.node(raw, container, key, None)

    def loop(
        self, words: list[str], body: NodePlan, raw: YMap, container: Any, key: Any, given: RefPlan | None, name: Any
    ) -> NodePlan | None:
        """Wrap a node in its loop."""
        if len(words) > 1:
            self.fault(
                "loop/two", span_of(raw, words[1], key=True), f"a node has one loop: `{words[0]}` or `{words[1]}`"
            )
            return None
        word = words[0]
        refs: set[str] = set()
        names: list[tuple[str, Any, At]] = []
        count = None
        if word == "repeat":
            const, value = self.evaluator(raw["repeat"], raw, "repeat", refs)
            count = Constant(value) if const else value
        else:
            entries = raw[word]
            if not isinstance(entries, YMap):
                self.fault(
                    "loop/form", span_of(raw, word), f"`{word}` is a mapping from loop names to what they run over"
                )
                return None
            for k, v in entries.items():
                why = bad_name(k)
                if why:
                    self.fault("name/invalid", span_of(entries, k, key=True), f"`{k}` can't name a loop: {why}")
                    continue
                names.append((str(k), self.source(v, entries, k, refs), self.at(entries, k)))
        if isinstance(body, (ResidualPlan, SwitchPlan, ChainPlan, FormulaPlan)):
            region = RegionPlan(body.at, GraphPlan([("value", body)], None))
            region.refs = body.refs
            body = region
        own = {n for n, _, _ in names}
        label = None
        if "label" in raw:
            label = self.label(raw["label"], raw)
        inner = YMap(raw.file, raw.mark)
        for k in ("unused", "frozen"):
            if k in raw and (k == "frozen" or word == "map"):  # turns that never run are a call that never does
                inner[k] = raw[k]
                inner.pos[k] = raw.pos[k]
        if isinstance(body, OpPlan) and "when" in raw:
            inner["when"], inner.pos["when"] = raw["when"], raw.pos["when"]
        self.common(body, inner)
        body.raw = raw
        plan = LoopPlan(self.at(raw, word), "for" if word == "repeat" else word, names, count, body, label, given)
        plan.shared = raw.get("share") == "turns"
        if isinstance(body, OpPlan) and body.inputs and word in ("for", "repeat"):
            first = body.inputs[0]
            if isinstance(first, RefPlan):
                plan.given = first
                body.inputs = [RefPlan("it"), *body.inputs[1:]]
        outer = YMap(raw.file, raw.mark)
        for k in ("when", "else", "as", "shape", "unused"):
            if (
                k in raw
                and k not in inner
                and not (k == "shape" and isinstance(body, OpPlan) and has_attr(body.target, "shape"))
            ):
                outer[k] = raw[k]
                outer.pos[k] = raw.pos[k]
        self.common(plan, outer)
        plan.raw = raw
        plan.refs = plan.refs | (body.refs - own) | frozenset(refs)
        if isinstance(name, str):
            self.loops.append((name, plan))
        return plan

    def source(self, raw: Any, container: YMap, key: Any, refs: set[str]) -> Any:
        """What a loop name runs over: an expression, a list, or a list of values."""
        if isinstance(raw, YList) and raw and all(isinstance(v, str) for v in raw):
            trees = [self.expr(v, raw, k) for k, v in enumerate(raw)]
            plain = [Computed(t, raw, k) for k, t in enumerate(trees) if t is not None]
            for t in plain:
                refs |= t.names
            return LoopList(plain)
        if isinstance(raw, str):
            tree = self.expr(raw.replace(".*", "..."), container, key)
            if tree is None:
                return Constant(())
            refs |= tree.names
            for part in _dotted(tree):
                self.indexed.add(part)
            for n in tree.names:
                self.indexed.add(n)
            return LoopSource(Computed(tree, container, key))
        const, value = self.evaluator(raw, container, key, refs)
        return Constant(value) if const else value

    def label(self, raw: Any, container: YMap) -> Callable[[Mapping[str, Any]], str] | None:
        """A ``label:`` template: text with ``${name}``."""
        if not isinstance(raw, str):
            self.fault("label/form", span_of(container, "label"), "a label is a text such as `k${k}`")
            return None
        import re

        parts = re.split(r"\$\{(\w+)\}", raw)
        at = span_of(container, "label")

        def make(env: Mapping[str, Any]) -> str:
            for name in parts[1::2]:
                if name not in env:
                    error = UnknownName(name)
                    error.at = at
                    raise error
            return "".join(str(env[p]) if k % 2 else p for k, p in enumerate(parts))

        return make


def _dotted(tree: Expr) -> set[str]:
    """Names that an expression reads parts of."""
    from archgraph.spec.expr import Attr, Name, Splice, walk

    found: set[str] = set()
    for e in walk(tree):
        if isinstance(e, (Attr, Splice)):
            obj = e.obj
            while isinstance(obj, Attr):
                obj = obj.obj
            if isinstance(obj, Name):
                found.add(obj.name)
    return found
