"""Compiling graph bodies: YAML nodes become plans, with every static mistake reported."""

from __future__ import annotations

from typing import Any

from archgraph.ir.diagnostics import did_you_mean
from archgraph.ir.reserved import can_name
from archgraph.spec.compile_forms import Forms
from archgraph.spec.compile_ops import HIGHER, has_attr, owns_weights
from archgraph.spec.compile_refs import names_operands
from archgraph.spec.evaluators import (
    Computed,
)
from archgraph.spec.loops import LoopPlan
from archgraph.spec.names import bad_name, bad_node, node_name
from archgraph.spec.node_words import FORM_KEYS, FORMS
from archgraph.spec.plan import GraphPlan, NodePlan
from archgraph.spec.plan_forms import ChainPlan, SwitchPlan
from archgraph.spec.plan_op import OpPlan
from archgraph.spec.plan_refs import RefPlan
from archgraph.spec.yaml import YList, YMap, span_of


class Compiler(Forms):
    """Compiles the bodies of one block."""

    def body(self, raw: Any, container: Any, key: Any, outputs: Any = None, owner: Any = None) -> GraphPlan:
        """A ``graph:`` mapping."""
        items: list[tuple[str, NodePlan]] = []
        if not isinstance(raw, YMap):
            span = span_of(container, key) if isinstance(container, (YMap, YList)) else None
            self.fault("graph/form", span, "a graph is a mapping from names to nodes")
            return GraphPlan([], None)
        for key, node in raw.items():
            name = node_name(key)
            why = bad_node(name) if name != "_" else None
            if self.file.closed and isinstance(name, str) and can_name(name):
                why = None
            if why:
                self.fault("name/invalid", span_of(raw, key, key=True), f"`{name}` can't name a node: {why}")
                continue
            if name in self.declared:
                self.fault(
                    "name/taken",
                    span_of(raw, key, key=True),
                    f"`{name}` is taken",
                    hint="nodes, inputs, dims, params and locals of a block share one namespace",
                )
            plan = self.closed_node(node, raw, key) if self.file.closed else self.node(node, raw, key, name)
            if plan is not None:
                items.append((name, plan))
        outs = self.outputs(outputs, owner) if outputs is not None else None
        return GraphPlan(items, outs)

    def closed_node(self, raw: Any, container: Any, key: Any) -> NodePlan | None:
        """A node of a closed file."""
        from archgraph.spec.closed import compile_node

        return compile_node(self, raw, container, key)

    def node(self, raw: Any, container: Any, key: Any, name: str | None) -> NodePlan | None:
        """Any node: a word, a mapping or a chain."""
        if isinstance(raw, str):
            return self.word(raw, container, key)
        if isinstance(raw, YList):
            return self.chain(raw, container, key)
        if isinstance(raw, YMap):
            return self.mapping(raw, container, key, name)
        self.fault("node/form", span_of(container, key), "a node is a word, a mapping or a list", found=str(raw))
        return None

    def chain(self, raw: YList, container: Any, key: Any) -> NodePlan:
        """A list of nodes."""
        items: list[tuple[str | None, NodePlan]] = []
        refs: set[str] = set()
        for k, item in enumerate(raw):
            label: str | None = None
            node: Any = item
            inside: YMap | YList = raw
            at: str | int = k
            if isinstance(item, YMap) and len(item) == 1:
                only = next(iter(item))
                if only not in FORMS:
                    label = str(only)
                    node, inside, at = item[only], item, only
                    why = bad_node(label)
                    if why:
                        self.fault("name/invalid", span_of(item, only, key=True), f"`{label}` can't name a node: {why}")
            elif isinstance(item, YMap) and not any(f in item for f in FORMS):
                near = did_you_mean(str(next(iter(item), "")), FORMS)
                self.fault(
                    "chain/item",
                    span_of(raw, k),
                    "an item of a chain is a word, `name: node`, or a node",
                    hint=f"did you mean `{near}`?" if near else "give each item a line of its own",
                )
                continue
            plan = self.node(node, inside, at, label)
            if plan is None:
                continue
            if label is None and isinstance(plan, OpPlan) and owns_weights(plan):
                self.fault(
                    "chain/name",
                    span_of(raw, k),
                    f"`{plan.word}` has weights, so it needs a name here",
                    hint=f"write `name: {{op: {plan.word}, …}}`",
                )
            refs |= plan.refs
            items.append((label, plan))
        chain = ChainPlan(self.at(container, key), items)
        chain.refs = frozenset(refs)
        if items:
            chain.is_source = items[0][1].is_source and len(items) == 1
        return chain

    def mapping(self, raw: YMap, container: Any, key: Any, name: str | None) -> NodePlan | None:
        """A node written as a mapping."""
        forms = [f for f in FORMS if f in raw]
        if "graph" in forms and "op" in forms:
            forms.remove("graph")
        turns = raw.get("share") == "turns" and len(forms) > 1
        if turns:
            forms.remove("share")
        if not forms:
            if len(raw) == 1 and name is None:
                only = next(iter(raw))
                return self.node(raw[only], raw, only, str(only))
            near = next((m for k in raw if (m := did_you_mean(str(k), FORMS))), None)
            self.fault(
                "node/form",
                span_of(raw),
                "a node says what it is by one of " + ", ".join(FORMS),
                hint=f"did you mean `{near}`?" if near else None,
            )
            return None
        if len(forms) > 1:
            self.fault(
                "node/form", span_of(raw, forms[1], key=True), f"a node is `{forms[0]}` or `{forms[1]}`, not both"
            )
            return None
        form = forms[0]
        refs: set[str] = set()
        loop_words = [w for w in ("repeat", "for", "each", "map") if w in raw]
        if form != "op":
            for k in raw:
                if k not in FORM_KEYS[form] and not (k == "share" and turns):
                    self.unknown_key(raw, k, sorted(FORM_KEYS[form]), f"a `{form}` node")
        if form == "graph" and "updates" in raw and raw is not self.training:
            self.fault(
                "updates/form",
                span_of(raw, "updates", key=True),
                "`updates` belongs to the `true` case of `switch: training`",
            )
        given: RefPlan | None = None
        op_word = raw["op"] if form == "op" else None
        if form == "op" and op_word in HIGHER:
            plan: NodePlan | None = self.higher(raw, refs)
        elif form == "op":
            plan = self.op(raw, container, key, refs, bool(loop_words))
        else:
            if "in" in raw and form != "share" and not (form == "formula" and names_operands(raw["in"])):
                given = self.ref(raw["in"], raw, "in")
                if given is not None:
                    refs |= given.refs
            plan = self.form(form, raw, container, key, given, refs, bool(loop_words))
        if plan is None:
            return None
        if isinstance(plan, OpPlan) and ("weights" in raw or "vmap" in raw):
            plan = self.mapped(plan, raw, refs)
        plan.refs = plan.refs | frozenset(refs)
        plan.raw = raw
        if loop_words:
            return self.loop(loop_words, plan, raw, container, key, given, name)
        if isinstance(plan, SwitchPlan) and name is not None:
            self.loops += [(name, case) for case in plan.cases.values() if isinstance(case, LoopPlan)]
        if turns:
            self.fault("share/loop", span_of(raw, "share"), "`share: turns` stands beside `repeat` or `for`")
        if "label" in raw:
            self.fault(
                "label/loop",
                span_of(raw, "label", key=True),
                "`label` names the turns of a loop, and this node has none",
                expected="label beside for, each or repeat",
            )
        self.common(plan, raw)
        return plan

    def common(self, plan: NodePlan, raw: YMap) -> None:
        """``when``, ``else``, ``as``, ``shape``, ``unused``, ``frozen``."""
        refs: set[str] = set()
        plan.raw = raw
        if "when" in raw:
            tree = self.expr(raw["when"], raw, "when")
            if tree is not None:
                if "training" in tree.names:
                    self.fault(
                        "when/training",
                        span_of(raw, "when"),
                        "`training` is known at run time only",
                        hint="write `switch: training` with two cases",
                    )
                plan.condition = Computed(tree, raw, "when")
                refs |= tree.names
        if "else" in raw:
            other = raw["else"]
            if isinstance(other, (int, float)) and not isinstance(other, bool):
                plan.otherwise = float(other)
            else:
                plan.otherwise = self.ref(other, raw, "else")
                if isinstance(plan.otherwise, RefPlan):
                    refs |= plan.otherwise.refs
            if "when" not in raw:
                self.fault("else/when", span_of(raw, "else", key=True), "`else` belongs to a `when`")
        if "as" in raw:
            names = raw["as"]
            if isinstance(names, str):
                names = [names]
            if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
                self.fault("as/form", span_of(raw, "as"), "`as` is a list of names, `_` for one that is not needed")
            else:
                for k, n in enumerate(names):
                    why = bad_name(n) if n != "_" else None
                    if why:
                        at = span_of(raw["as"], k) if isinstance(raw["as"], YList) else span_of(raw, "as")
                        self.fault("name/invalid", at, f"`{n}` can't name a value: {why}")
                plan.names = tuple(names)
        own_shape = plan.has_shape or (isinstance(plan, OpPlan) and has_attr(plan.target, "shape"))
        if "shape" in raw and not own_shape:
            pattern = self.pattern(raw["shape"], raw, "shape")
            if pattern is not None:
                plan.shape = pattern
                self.declared |= pattern.names
        flags = set()
        for flag in ("unused", "frozen"):
            if flag in raw and not isinstance(raw[flag], bool):
                self.fault("flag/form", span_of(raw, flag), f"`{flag}` is true or false")
            elif raw.get(flag):
                flags.add(flag)
        plan.flags = frozenset(flags)
        plan.refs = plan.refs | frozenset(refs)

    def higher(self, raw: YMap, refs: set[str]) -> NodePlan | None:
        """A higher-order op, or one whose value is a record."""
        if raw["op"] == "scan":
            from archgraph.spec.scan import ScanPlan

            return ScanPlan.compile(self, raw, refs)
        if raw["op"] == "vjp":
            from archgraph.spec.mapped import VjpPlan

            return VjpPlan.compile(self, raw, refs)
        from archgraph.spec.weights import WeightsPlan

        return WeightsPlan.compile(self, raw, refs)

    def mapped(self, plan: OpPlan, raw: YMap, refs: set[str]) -> NodePlan:
        """An op or call with given ``weights`` (a record of them, or a mapping), with ``vmap``, or both."""
        record: RefPlan | None = None
        if isinstance(raw.get("weights"), str):
            record = self.ref(raw["weights"], raw, "weights")
        elif "weights" in raw:
            plan.given = self.given(raw["weights"], raw, refs)
        if record is None and "vmap" not in raw:
            return plan
        if plan.given is not None:
            self.fault("vmap/weights", span_of(raw, "weights"), "under `vmap` the weights are given as one record")
        if record is not None:
            refs |= record.refs
        plan.raw = raw
        from archgraph.spec.mapped import MappedPlan

        found = MappedPlan.of_op(self, plan, raw, refs)
        found.weights = record
        return found

    def mapped_graph(self, raw: YMap, refs: set[str]) -> NodePlan:
        """A ``graph`` that is run on inputs of its own, or under ``vmap``."""
        from archgraph.spec.mapped import MappedPlan

        return MappedPlan.of_graph(self, raw, refs)
