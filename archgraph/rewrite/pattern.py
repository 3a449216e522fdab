"""The left side of a rule: a small graph of nodes in which unknown names bind.

One rule everywhere: an unknown name binds, a known one must be equal, ``_`` is anything. An attribute that is left out
must have its default, unless ``_: _`` frees all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from archgraph.ir.diagnostics import Span
from archgraph.ops.base import Op, get_op
from archgraph.spec.compile import Compiler
from archgraph.spec.expr import Expr, ExprError, Name, constant_value, parse
from archgraph.spec.model import Block, Input, SpecFile
from archgraph.spec.patterns import ShapePattern
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = ["ANY", "PREFIX", "AttrPattern", "Operand", "Pattern", "PatternCompiler", "PatternNode"]


@dataclass(frozen=True, slots=True)
class AttrPattern:
    """What an attribute must be; ``kind`` is any, bind (``name``), const (``value``), expr, list (``items``), or dim
    (``value``: a size over symbols of the pattern)."""

    kind: str
    name: str = ""
    value: Any = None
    expr: Expr | None = None
    items: tuple[AttrPattern, ...] = ()
    text: str = ""


ANY: Final = AttrPattern("any", text="_")
#: Begins the symbols of a pattern, so that no symbol of a graph is taken for one.
PREFIX: Final = "pattern_"


@dataclass(frozen=True, slots=True)
class Operand:
    """What an operand must be. ``kind``: any, input (``name``), node (``name``, output ``out``)."""

    kind: str
    name: str = ""
    out: int | str = 0

    def __str__(self) -> str:
        return self.name or "_"


ANY_OPERAND: Final = Operand("any")


@dataclass(slots=True)
class PatternNode:
    """One node of a pattern.

    ``targets`` are op classes and blocks, one of which it must be; none: any op. ``inputs`` None: its operands are not
    looked at. ``rest`` names a list of all further operands. ``when`` names the boolean that tells whether an optional
    node is there. ``formula`` is the tree of an element-wise formula.
    """

    name: str
    targets: tuple[Any, ...] = ()
    holder: str = ""
    inputs: list[Operand] | None = None
    named: dict[str, Operand] | None = None
    rest: str | None = None
    attrs: dict[str, AttrPattern] = field(default_factory=dict)
    free: bool = False
    shape: ShapePattern | None = None
    when: str | None = None
    formula: Expr | None = None
    word: str = ""
    span: Span | None = None

    @property
    def index_keys(self) -> frozenset[str] | None:
        """Names of ops and blocks that it may be; None for any."""
        if self.formula is not None or not self.targets:
            return None
        return frozenset(t.name if isinstance(t, Block) else t.op_name for t in self.targets)


class Pattern:
    """A compiled left side.

    Attributes
    ----------
    inputs : dict of str to Input
        Values that come from outside, with shape patterns.
    nodes : dict of str to PatternNode
        In order; the last is the root, unless ``outputs`` says otherwise.
    outputs : list of (name, Operand) or None
        None: all outputs of the last node.
    names : frozenset of str
        Every name that it may bind.
    """

    def __init__(
        self,
        inputs: dict[str, Input],
        nodes: dict[str, PatternNode],
        outputs: list[tuple[str, Operand]] | None,
        names: frozenset[str],
        span: Span | None,
    ) -> None:
        self.inputs = inputs
        self.nodes = nodes
        self.outputs = outputs
        self.names = names
        self.span = span
        #: Names of single outputs (``as``) and of chains.
        self.aliases: dict[str, Operand] = {}
        #: Where its words were looked up.
        self.file: SpecFile | None = None
        #: Names that have a value before anything is matched.
        self.preset: dict[str, Any] = {}
        if outputs is None:
            root = next(reversed(nodes))
        else:
            root = next(o.name for _, o in outputs if o.kind == "node")
        self.root = nodes[root]

    def __repr__(self) -> str:
        return f"<Pattern {' '.join(self.nodes)}>"


#: Keys of a pattern's node that are no attributes.
NODE_KEYS: Final = frozenset({"op", "in", "when", "as", "shape", "_", "formula", "residual", "shortcut"})


class PatternCompiler(Compiler):
    """Compiles ``match:``."""

    def __init__(self, block: Block, faults: Any, known: frozenset[str]) -> None:
        super().__init__(block, faults)
        #: Rule params: names that are never bound.
        self.known = known
        self.found: dict[str, PatternNode] = {}
        self.scope: dict[str, Operand] = {}
        self.bound: dict[str, Span | None] = {}
        self.above: Operand | None = None

    # -- whole -------------------------------------------------------------------------------------------------------

    def pattern_of(self, raw: YMap, where: Any, key: Any) -> Pattern | None:
        """A ``match:`` mapping: ``inputs``, ``graph``, ``outputs``."""
        span = span_of(where, key)
        inputs = self.block.inputs
        for name, i in inputs.items():
            self.scope[name] = Operand("input", name)
            for n in sorted(i.pattern.names):
                self.bound.setdefault(n, i.span)
        if inputs:
            self.above = self.scope[next(iter(inputs))]
        graph = raw.get("graph")
        if not isinstance(graph, YMap) or not graph:
            self.fault("match/graph", span, "`match` has a `graph`, a mapping from labels to nodes")
            return None
        for at, node in graph.items():
            if at in self.scope:
                self.fault("name/taken", span_of(graph, at, key=True), f"`{at}` is taken")
            self.pattern_node(str(at), node, graph, at)
        outputs: list[tuple[str, Operand]] | None = None
        if "outputs" in raw:
            outputs = []
            if not isinstance(raw["outputs"], YMap):
                self.fault("outputs/form", span_of(raw, "outputs"), "`outputs` is a mapping from names to values")
            else:
                for word, value in raw["outputs"].items():
                    operand = self.operand(value, raw["outputs"], word)
                    if operand.kind == "node":
                        outputs.append((str(word), operand))
                    else:
                        at_word = span_of(raw["outputs"], word)
                        self.fault("outputs/form", at_word, f"`{value}` is no node of the pattern")
            if not outputs:
                return None
        if not self.found:
            return None
        last = next(reversed(self.found.values()))
        if outputs is None and last.when is not None:
            self.fault("match/root", last.span, "the last node is the root of the pattern and can't be optional")
        pattern = Pattern(inputs, self.found, outputs, frozenset(self.bound), span)
        pattern.file = self.file
        pattern.aliases = {n: o for n, o in self.scope.items() if n not in inputs and n not in self.found}
        return pattern

    # -- nodes -------------------------------------------------------------------------------------------------------

    def pattern_node(self, label: str, raw: Any, where: Any, key: Any) -> Operand | None:
        """One node; returns what its name stands for."""
        span = span_of(where, key)
        if isinstance(raw, str):
            raw_map = YMap(getattr(where, "file", ""), getattr(where, "mark", (0, 0, 0, 0)))
            raw_map["op"] = raw
            raw_map.mark = where.pos[key][1] if isinstance(where, YMap) else where.pos[key]
            raw_map.pos["op"] = (raw_map.mark, raw_map.mark)
            raw = raw_map
        if isinstance(raw, YList):
            return self.pattern_chain(label, raw)
        if not isinstance(raw, YMap):
            self.fault("match/node", span, "a node of a pattern is a word, a mapping or a list", found=str(raw))
            return None
        if "residual" in raw:
            return self.pattern_residual(label, raw)
        if "op" not in raw and "formula" not in raw:
            if len(raw) == 1 and isinstance(where, YList):
                only = next(iter(raw))
                return self.pattern_node(str(only), raw[only], raw, only)
            self.fault(
                "match/node", span, "a node of a pattern says `op`, `formula` or `residual`", hint="`op: _` is any op"
            )
            return None
        node = PatternNode(label, span=span)
        if "formula" in raw:
            self.pattern_formula(node, raw)
        else:
            self.pattern_target(node, raw)
        self.pattern_operands(node, raw)
        for k in raw:
            if k not in NODE_KEYS and "formula" not in raw:
                node.attrs[str(k)] = self.pattern_attr(node, str(k), raw[k], raw, k)
        if "_" in raw:
            node.free = True
            if raw["_"] != "_":
                self.fault("match/rest", span_of(raw, "_"), "`_: _` frees all other attributes")
        if "when" in raw:
            if isinstance(raw["when"], str) and raw["when"].isidentifier():
                node.when = raw["when"]
                self.bind(node.when, span_of(raw, "when"))
            else:
                self.fault("match/when", span_of(raw, "when"), "`when` in a pattern names the boolean that it binds")
        if "shape" in raw and "shape" not in node.attrs:
            node.shape = self.pattern(raw["shape"], raw, "shape")
            for n in sorted(node.shape.names if node.shape is not None else ()):
                self.bind(n, span_of(raw, "shape"))
        self.found[label] = node
        self.above = self.scope[label] = Operand("node", label)
        names = raw.get("as")
        if names is not None:
            words = [names] if isinstance(names, str) else names
            if not isinstance(words, list) or not all(isinstance(w, str) for w in words):
                self.fault("as/form", span_of(raw, "as"), "`as` is a list of names")
            else:
                self.scope.update({w: Operand("node", label, out) for out, w in enumerate(words) if w != "_"})
        return self.above

    def pattern_chain(self, label: str, raw: YList) -> Operand | None:
        got: Operand | None = None
        last = len(raw) - 1
        for k, item in enumerate(raw):
            named = isinstance(item, YMap) and len(item) == 1 and not NODE_KEYS & set(map(str, item))
            if named:
                only = next(iter(item))
                got = self.pattern_node(str(only), item[only], item, only)
            else:
                got = self.pattern_node(label if k == last else f"{label}_{k}", item, raw, k)
        if got is not None:
            self.scope[label] = got
        return got

    def pattern_residual(self, label: str, raw: YMap) -> Operand | None:
        start = self.operand(raw["in"], raw, "in") if "in" in raw else self.above
        if start is None:
            self.fault("match/node", span_of(raw), "nothing stands above the residual")
            return None
        self.above = start
        body = raw["residual"]
        branch: Operand | None
        if isinstance(body, YMap) and not {"op", "formula", "residual"} & set(map(str, body)):
            branch = None
            for k, v in body.items():
                branch = self.pattern_node(str(k), v, body, k)
        else:
            branch = self.pattern_node(f"{label}_branch", body, raw, "residual")
        if branch is None:
            return None
        shortcut = start
        if "shortcut" in raw:
            self.above = start
            got = self.pattern_node("shortcut", raw["shortcut"], raw, "shortcut")
            shortcut = got if got is not None else start
        add = get_op("add")
        node = PatternNode(label, (add,), inputs=[shortcut, branch], word="add", span=span_of(raw))
        self.found[label] = node
        self.above = self.scope[label] = Operand("node", label)
        return self.above

    def pattern_target(self, node: PatternNode, raw: YMap) -> None:
        word = raw["op"]
        node.word = str(word)
        if isinstance(word, YList):
            node.word = " or ".join(map(str, word))
            found = [self.target(w, word, k) for k, w in enumerate(word)]
            node.targets = tuple(t for t in found if t is not None)
        elif word == "_":
            return
        elif isinstance(word, str) and word.startswith("$"):
            node.holder = word[1:]
            self.bind(node.holder, span_of(raw, "op"))
        else:
            target = self.target(word, raw, "op")
            node.targets = () if target is None else (target,)
            if target is None:
                node.targets = (_Nothing,)

    def pattern_formula(self, node: PatternNode, raw: YMap) -> None:
        node.word = "formula"
        try:
            node.formula = parse(str(raw["formula"]))
        except ExprError as error:
            self.fault("expr/syntax", span_of(raw, "formula"), error.message, hint=error.hint)
            return
        node.inputs = []
        for n in sorted(node.formula.names):
            operand = self.above if n == "it" else self.scope.get(n)
            if operand is None:
                self.bind(n, span_of(raw, "formula"))

    def pattern_operands(self, node: PatternNode, raw: YMap) -> None:
        given = raw.get("in")
        if node.formula is not None:
            node.named = {}
            for n in sorted(node.formula.names):
                operand = self.above if n == "it" else self.scope.get(n)
                if operand is not None:
                    node.named[n] = operand
            return
        sources = [t for t in node.targets if isinstance(t, type) and issubclass(t, Op) and t.source]
        if given is None:
            if self.above is not None and not sources:
                node.inputs = [self.above]
            elif sources:
                node.inputs = []
            return
        if isinstance(given, YMap):
            node.named = {str(k): self.operand(v, given, k) for k, v in given.items()}
            return
        items = given if isinstance(given, YList) else YList()
        if not isinstance(given, YList):
            node.inputs = [self.operand(given, raw, "in")]
            return
        node.inputs = []
        for k, item in enumerate(items):
            if isinstance(item, str) and item.endswith("..."):
                node.rest = item[:-3]
                self.scope[node.rest] = Operand("rest", node.rest)
                if k != len(items) - 1:
                    self.fault("match/rest", span_of(items, k), "`rest...` stands last")
                continue
            node.inputs.append(self.operand(item, items, k))

    def operand(self, raw: Any, where: Any, key: Any) -> Operand:
        """A name of a value in the pattern."""
        if raw == "_":
            return ANY_OPERAND
        head, _, part = str(raw).partition(".")
        found = self.scope.get(head)
        if found is None:
            self.fault(
                "match/operand",
                span_of(where, key),
                f"`{raw}` is no input and no node above",
                hint="declare it under `inputs` of `match`",
            )
            return ANY_OPERAND
        if part:
            return Operand(found.kind, found.name, int(part) if part.isdigit() else part)
        return found

    # -- attributes --------------------------------------------------------------------------------------------------

    def bind(self, name: str, span: Span | None) -> None:
        if name not in self.known:
            self.bound.setdefault(name, span)

    def pattern_attr(self, node: PatternNode, name: str, raw: Any, where: Any, key: Any) -> AttrPattern:
        """What an attribute must be."""
        if raw == "_" and key not in getattr(where, "quoted", ()):
            return ANY
        kinds = []
        for t in node.targets:
            if isinstance(t, Block):
                p = t.params.get(name)
                if p is None:
                    self.attribute_of(t, name, raw, where, key, set())  # reports it
                    return ANY
                kinds.append("text" if p.kind == "text" else "expr")
                if isinstance(raw, YMap) and "op" in raw:
                    const, value = self.opref(raw, where, key, set())
                    if not const:
                        self.fault("match/attr", span_of(where, key), "attributes of an op in a pattern are constants")
                    return AttrPattern("const", value=value, text=str(value))
            elif t is not _Nothing:
                a = t.by_name.get(name)
                if a is None and t.extra is None:
                    self.attribute_of(t, name, raw, where, key, set())
                    return ANY
                kind = a.kind if a is not None else t.extra
                if isinstance(raw, str) and raw in kind.words:
                    return AttrPattern("const", value=raw, text=raw)
                kinds.append(kind.slot)
        slot = kinds[0] if kinds else "expr"
        return self.attr_value(raw, where, key, slot)

    def attr_value(self, raw: Any, where: Any, key: Any, slot: str) -> AttrPattern:
        if isinstance(raw, str) and raw.startswith("$") and raw[1:].isidentifier():
            self.bind(raw[1:], span_of(where, key))
            return AttrPattern("bind", raw[1:], text=raw)
        if slot in ("text", "tree") and isinstance(raw, str):
            return AttrPattern("const", value=raw, text=raw)
        if isinstance(raw, YList):
            items = tuple(ANY if v == "_" else self.attr_value(v, raw, k, slot) for k, v in enumerate(raw))
            return AttrPattern("list", items=items, text=str(list(raw)))
        if isinstance(raw, YMap) or not isinstance(raw, str):
            return AttrPattern("const", value=raw, text=str(raw))
        tree = self.expr(raw, where, key)
        if tree is None:
            return ANY
        known, value = constant_value(tree)
        if known:
            return AttrPattern("const", value=value, text=raw)
        if isinstance(tree, Name):
            if tree.name in self.known:
                return AttrPattern("expr", expr=tree, text=raw)
            self.bind(tree.name, span_of(where, key))
            return AttrPattern("bind", tree.name, text=raw)
        for n in sorted(tree.names):
            self.bind(n, span_of(where, key))
        return AttrPattern("expr", expr=tree, text=raw)


class _Nothing(Op):
    """Stands for a target that was not found; a fault was recorded."""


def definition(block: Block) -> str:
    """How `Graph.source` names a block."""
    return f"{block.file.path}#{block.name}"
