"""Compiling graph bodies: YAML nodes become plans, with every static mistake reported."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, Span, did_you_mean
from archgraph.ir.reserved import RESERVED, can_name
from archgraph.ops.base import AttributeValueError, Op, OpError, all_ops, get_op
from archgraph.ops.kinds import Kind
from archgraph.spec.evaluators import (
    Closed,
    Computed,
    ComputedList,
    ComputedMap,
    ComputedOp,
    Constant,
    LoopList,
    LoopSource,
    place,
)
from archgraph.spec.explain import choice_hint
from archgraph.spec.expr import Expr, ExprError, UnknownName, constant_value, parse
from archgraph.spec.expr import compile as compile_expr
from archgraph.spec.libraries import library_with
from archgraph.spec.loops import LoopPlan, RegionPlan
from archgraph.spec.model import Block, OpRef, Param
from archgraph.spec.patterns import ShapePattern
from archgraph.spec.plan import (
    ChainPlan,
    FormulaPlan,
    GraphPlan,
    GroupPlan,
    ListPlan,
    NodePlan,
    OpPlan,
    OutputPlan,
    RefPlan,
    ResidualPlan,
    SharePlan,
    SwitchPlan,
    ValuePlan,
)
from archgraph.spec.yaml import YList, YMap, span_of

META: Final = frozenset(
    {
        "op",
        "in",
        "when",
        "else",
        "as",
        "shape",
        "unused",
        "frozen",
        "repeat",
        "for",
        "each",
        "map",
        "label",
        "weights",
        "vmap",
        "share",
    }
)
FORMS: Final = ("op", "formula", "residual", "switch", "share", "graph", "list")
FORM_KEYS: Final[dict[str, frozenset[str]]] = {
    "formula": frozenset({"formula", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}),
    "residual": frozenset(
        {"residual", "shortcut", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}
    ),
    "switch": frozenset(
        {"switch", "cases", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}
    ),
    "list": frozenset({"list", "when", "else", "as"}),
    "share": frozenset({"share", "in", "when", "else", "as", "shape", "repeat", "for", "each", "map", "label"}),
    "graph": frozenset(
        {
            "graph",
            "inputs",
            "vmap",
            "outputs",
            "carry",
            "updates",
            "in",
            "when",
            "else",
            "as",
            "shape",
            "repeat",
            "for",
            "each",
            "map",
            "label",
            "unused",
            "frozen",
        }
    ),
}
LANGUAGE_WORDS: Final = frozenset({"inf", "it", "training", "turn", "_", "true", "false", "null"})

At = Callable[[], "Span | None"]


def bad_name(name: Any) -> str | None:
    """Why a name can't be a node, input, param or dim; None if it can."""
    if not isinstance(name, str) or not name.isidentifier() or not name.isascii():
        return "a name is letters, digits and `_`, not starting with a digit"
    if keyword.iskeyword(name):
        return f"`{name}` is a Python keyword"
    if name in RESERVED:
        return f"`{name}` is a member of torch's modules"
    if name in LANGUAGE_WORDS:
        return f"`{name}` is a word of the language"
    return None


def node_name(key: Any) -> Any:
    """A node's key as its name: whole numbers, which name turns written out, as text."""
    return str(key) if type(key) is int and key >= 0 else key


def bad_node(name: Any) -> str | None:
    """Why a name can't be a node; None if it can."""
    return None if isinstance(name, str) and name.isdecimal() and can_name(name) else bad_name(name)


class Compiler:
    """Compiles the bodies of one block."""

    def __init__(self, block: Block, faults: Collector) -> None:
        self.block = block
        self.file = block.file
        self.faults = faults
        #: Names whose turns or parts are read one by one.
        self.indexed: set[str] = set()
        #: The case for training of the switch that is being compiled.
        self.training: Any = None
        self.loops: list[tuple[str, LoopPlan]] = []
        self.declared: set[str] = set(block.params) | set(block.inputs) | {x.name for x in block.let}
        if block.root:
            self.declared |= set(self.file.params) | {x.name for x in self.file.let}
        for i in block.inputs.values():
            self.declared |= i.pattern.names

    # -- helpers -------------------------------------------------------------------------------------------------

    def fault(self, code: str, span: Span | None, message: str, **more: Any) -> None:
        self.faults.error(code, span, message, **more)

    def at(self, container: Any, key: Any = None) -> At:
        """A span made only when it is asked for."""
        return lambda: span_of(container, key) if isinstance(container, (YMap, YList)) else None

    def expr(self, raw: Any, container: Any, key: Any) -> Expr | None:
        """Parse an expression slot; None (and a fault) if it is none."""
        if isinstance(raw, bool) or raw is None:
            from archgraph.spec.expr import literal

            return literal(raw)
        if isinstance(raw, (int, float)):
            from archgraph.spec.expr import literal

            return literal(raw)
        if not isinstance(raw, str):
            self.fault("expr/form", span_of(container, key), "a number or expression is needed here")
            return None
        try:
            return parse(raw)
        except ExprError as error:
            at = place(container, key, error.offset, error.length)
            self.fault("expr/syntax", at, error.message, hint=error.hint)
            return None

    def evaluator(self, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or compiled function) of an expression slot, lists and tables included."""
        if isinstance(raw, (int, float)) or raw is None:
            return True, raw
        if isinstance(raw, YList):
            parts = [self.evaluator(v, raw, k, refs) for k, v in enumerate(raw)]
            if all(c for c, _ in parts):
                return True, tuple(v for _, v in parts)
            return False, ComputedList(parts)
        if isinstance(raw, YMap):
            items = {k: self.evaluator(v, raw, k, refs) for k, v in raw.items()}
            if all(c for c, _ in items.values()):
                return True, {k: v for k, (_, v) in items.items()}
            return False, ComputedMap(items)
        tree = self.expr(raw, container, key)
        if tree is None:
            return True, 0
        known, value = constant_value(tree)
        if known:
            return True, value
        refs |= tree.names | tree.attrs
        return False, Computed(tree, container, key)

    def text(self, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or function) of a text slot; ``$name`` passes a param on."""
        if isinstance(raw, str) and raw.startswith("$") and raw[1:].isidentifier():
            name = raw[1:]
            refs.add(name)
            return False, compile_expr(parse(name))
        return True, raw

    def attribute(self, kind: Kind | None, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or function) of an attribute, read as its kind says."""
        slot = "expr" if kind is None else kind.slot
        if kind is not None and isinstance(raw, str) and raw in kind.words:
            return True, raw
        if slot == "text":
            return self.text(raw, container, key, refs)
        if slot == "tree" and isinstance(raw, str):
            return (False, compile_expr(parse(raw[1:]))) if raw.startswith("$") else (True, raw)
        if slot == "formula":
            if isinstance(raw, str):
                tree = self.expr(raw, container, key)
                if tree is None:
                    return True, 0
                refs |= tree.names
                return False, Closed(tree)
            return self.evaluator(raw, container, key, refs)
        return self.evaluator(raw, container, key, refs)

    def opref(self, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """(constant?, value or function) of an op-valued param: ``{op: name, attrs…}``, ``$name`` or null."""
        if raw is None:
            return True, None
        if isinstance(raw, str):
            if raw.startswith("$"):
                refs.add(raw[1:])
                return False, compile_expr(parse(raw[1:]))
            raw_map = YMap(
                getattr(container, "file", ""), container.pos[key][1] if isinstance(container, YMap) else (0, 0, 0, 0)
            )
            raw_map["op"] = raw
            raw_map.pos["op"] = (raw_map.mark, raw_map.mark)
            raw = raw_map
        if not isinstance(raw, YMap) or "op" not in raw:
            self.fault("param/op", span_of(container, key), "an op or block is written `{op: name, …}`")
            return True, None
        word = raw["op"]
        if isinstance(word, str) and word.startswith("$"):
            refs.add(word[1:])
            target: Any = None
        else:
            target = self.target(word, raw, "op")
            if target is None:
                return True, None
        parts: dict[str, tuple[bool, Any]] = {}
        for k, v in raw.items():
            if k == "op":
                continue
            parts[str(k)] = self.attribute_of(target, str(k), v, raw, k, refs)
        if target is not None and all(c for c, _ in parts.values()):
            return True, OpRef(target, tuple(sorted((k, v) for k, (_, v) in parts.items())))
        return False, ComputedOp(target, word, parts)

    def attribute_of(
        self, target: Any, name: str, raw: Any, container: Any, key: Any, refs: set[str]
    ) -> tuple[bool, Any]:
        """An attribute or argument of a known target."""
        if isinstance(target, Block):
            p = target.params.get(name)
            if p is None:
                near = did_you_mean(name, target.params)
                self.fault(
                    "attr/unknown",
                    span_of(container, key, key=True),
                    f"`{target.name}` has no param `{name}`",
                    expected=", ".join(target.params) or "no params",
                    hint=f"did you mean `{near}`?" if near else None,
                )
                return True, None
            return self.argument(p, raw, container, key, refs)
        if target is None:
            if isinstance(raw, YMap) and "op" in raw:
                return self.opref(raw, container, key, refs)
            return self.evaluator(raw, container, key, refs)
        a = target.by_name.get(name)
        if a is None and target.extra is None:
            near = did_you_mean(name, [*target.by_name, *META])
            self.fault(
                "attr/unknown",
                span_of(container, key, key=True),
                f"`{target.op_name}` has no attribute `{name}`",
                expected=", ".join(target.by_name) or "no attributes",
                hint=f"did you mean `{near}`?" if near else None,
            )
            return True, None
        kind = a.kind if a is not None else target.extra
        if raw is None and a is not None and a.default is None and not a.required:
            return True, None
        faults = len(self.faults)
        const, value = self.attribute(kind, raw, container, key, refs)
        if const and kind is not None and len(self.faults) == faults:
            try:
                kind.convert(value)
            except AttributeValueError as error:
                self.fault(
                    "attr/value",
                    span_of(container, key),
                    f"`{target.op_name}` can't take this `{name}`",
                    expected=error.expected,
                    found=error.found,
                    hint=choice_hint(error),
                )
        return const, value

    def argument(self, p: Param, raw: Any, container: Any, key: Any, refs: set[str]) -> tuple[bool, Any]:
        """A block's argument, read as its param says."""
        if p.kind == "op" or (p.may_hold_op and isinstance(raw, YMap) and "op" in raw):
            return self.opref(raw, container, key, refs)
        if p.kind == "text":
            return self.text(raw, container, key, refs)
        if isinstance(raw, str) and raw.startswith("$"):
            return self.text(raw, container, key, refs)
        return self.evaluator(raw, container, key, refs)

    def target(self, word: Any, container: Any, key: Any) -> Any:
        """The block or op class that a word names; None (and a fault) if there is none."""
        if not isinstance(word, str):
            self.fault("op/name", span_of(container, key), "`op` takes the name of an op or block")
            return None
        found = self.file.find(word)
        if found is not None:
            if found.pending is not None:
                found.pending()
            return found
        cls = get_op(word)
        if cls is not None:
            return cls
        names = [*self.file.block_names(), *all_ops(), *[p for p, d in self.block.params.items() if d.kind == "op"]]
        near = did_you_mean(word, names)
        hint = f"did you mean `{near}`?" if near else None
        library = library_with(word)
        if library is not None:
            hint = f"`{word}` is a block of {library}: add it to `uses`"
        self.fault("op/unknown", span_of(container, key), f"there is no op or block called `{word}`", hint=hint)
        return None

    # -- references ----------------------------------------------------------------------------------------------

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
        if _names_operands(raw):
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

    # -- nodes ---------------------------------------------------------------------------------------------------

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

    def unknown_key(self, container: YMap, key: Any, known: Any, what: str) -> None:
        near = did_you_mean(str(key), [str(k) for k in known])
        self.fault(
            "key/unknown",
            span_of(container, key, key=True),
            f"{what} has no key `{key}`",
            expected=", ".join(str(k) for k in known),
            hint=f"did you mean `{near}`?" if near else None,
        )

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
            if label is None and isinstance(plan, OpPlan) and _owns_weights(plan):
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
            if "in" in raw and form != "share" and not (form == "formula" and _names_operands(raw["in"])):
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
        own_shape = plan.has_shape or (isinstance(plan, OpPlan) and _has_attr(plan.target, "shape"))
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

    def pattern(self, raw: Any, container: Any, key: Any) -> ShapePattern | None:
        """A shape pattern."""
        if not isinstance(raw, YList):
            self.fault("shape/form", span_of(container, key), "a shape is a list of sizes", expected="[B, C, H, W]")
            return None
        try:
            return ShapePattern(list(raw))
        except ExprError as error:
            self.fault("shape/form", span_of(container, key), f"no shape pattern: {error.message}", hint=error.hint)
        except OpError as error:
            self.fault("shape/form", span_of(container, key), str(error))
        return None

    def op(self, raw: YMap, container: Any, key: Any, refs: set[str], looped: bool) -> NodePlan | None:
        """An ``op:`` node."""
        plan = OpPlan(self.at(raw, "op"))
        self.aim(plan, raw["op"], raw, "op", refs)
        self.inputs(plan, raw.get("in"), raw, refs)
        target = plan.target
        shape_is_attr = _has_attr(target, "shape")
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

    def evaluator_names(self, raw: Any, names: set[str]) -> None:
        """Names that a value may refer to, whatever its slot."""
        if isinstance(raw, str):
            if raw.startswith("$"):
                names.add(raw[1:])
                return
            try:
                names |= parse(raw).names
            except ExprError:
                return
        elif isinstance(raw, (YList, YMap)):
            for v in raw.values() if isinstance(raw, YMap) else raw:
                self.evaluator_names(v, names)

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
            if _names_operands(raw.get("in")):
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
            from archgraph.spec.mapped import MappedPlan

            return MappedPlan.of_graph(self, raw, refs)
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
            if k in raw:
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
        for k in ("when", "else", "as", "shape"):
            if (
                k in raw
                and k not in inner
                and not (k == "shape" and isinstance(body, OpPlan) and _has_attr(body.target, "shape"))
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


HIGHER: Final = frozenset({"scan", "vjp", "weights"})


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

    def __init__(self, compiler: Compiler, raw: YMap) -> None:
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


def _names_operands(raw: Any) -> bool:
    """Whether an ``in`` gives operands by name."""
    return isinstance(raw, YMap) and not any(f in raw for f in FORMS)


def _is_chain(raw: YList) -> bool:
    return any(isinstance(v, YMap) for v in raw) and not all(
        isinstance(v, YMap) and ("op" in v or "formula" in v) for v in raw
    )


def _has_attr(target: Any, name: str) -> bool:
    if isinstance(target, Block):
        return name in target.params
    return isinstance(target, type) and issubclass(target, Op) and name in target.by_name


def _owns_weights(plan: OpPlan) -> bool:
    target = plan.target
    if isinstance(target, type) and issubclass(target, Op):
        return target.weights is not Op.weights
    return False


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
