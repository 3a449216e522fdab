"""A rewrite rule as it stands in a file: a pattern, its replacement, conditions, and where the weights go."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ops.base import AttributeValueError
from archgraph.ops.kinds import INIT
from archgraph.rewrite.keep import RuleCompiler
from archgraph.rewrite.paths import PathPattern, PatternError
from archgraph.rewrite.pattern import Pattern, PatternCompiler
from archgraph.spec.evaluators import Computed
from archgraph.spec.libraries import specs_folder
from archgraph.spec.model import Block, Local, Param, SpecFile
from archgraph.spec.parse import Parser
from archgraph.spec.plan import GraphPlan
from archgraph.spec.spec_files import use_libraries
from archgraph.spec.unread import check_read
from archgraph.spec.yaml import YList, YMap, read_source, span_of

__all__ = ["Rule", "Where", "load_rule", "loads_rule", "resolve_rule", "shipped_rules"]

SECTIONS: Final = (
    "archgraph",
    "rule",
    "summary",
    "uses",
    "plugins",
    "params",
    "match",
    "replace",
    "requires",
    "relation",
    "preserves",
    "mode",
    "weights",
    "where",
    "repeat",
    "blocks",
    "context",
    "check",
    "notes",
)
RELATIONS: Final = ("exact", "approximate")


@dataclass(frozen=True, slots=True)
class Where:
    """Which sites: one of ``paths`` (none: all), and ``condition`` over the numbers that it binds."""

    paths: tuple[PathPattern, ...] = ()
    condition: Any = None
    text: str = ""

    @property
    def captures(self) -> frozenset[str]:
        return frozenset[str]().union(*(p.captures for p in self.paths))

    def match(self, path: tuple[str, ...]) -> Mapping[str, int] | None:
        """The numbers bound on a path by the first of ``paths`` that matches; None if none does."""
        if not self.paths:
            return {}
        for p in self.paths:
            found = p.match(path)
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class WeightsRule:
    """Where weights go.

    ``carried``: new path → old path (both beginning with a label), or the name of a node of ``plan``. ``starts``: new
    path → initialiser. ``dropped``: old paths. ``plan``: nodes over old parameters.
    """

    carried: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    plan: GraphPlan | None = None
    block: Block | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)


class Rule:
    """A loaded rule."""

    def __init__(self, file: SpecFile) -> None:
        self.file = file
        self.name = file.name
        self.path = file.path
        self.summary = file.summary
        self.params: dict[str, Param] = {}
        self.pattern: Pattern = None  # type: ignore[assignment]
        self.replace: GraphPlan | None = None
        self.block: Block = Block("replace", file, None, root=True)
        #: Labels of the pattern that stay: the replacement names them and does not define them anew.
        self.kept: frozenset[str] = frozenset()
        self.defined: frozenset[str] = frozenset()
        self.requires: tuple[Local, ...] = ()
        self.relation = "approximate"
        self.preserves: tuple[str, ...] = ()
        self.mode: str | None = None
        self.weights = WeightsRule()
        self.where = Where()
        self.fixpoint = False
        self.context: dict[str, str] = {}
        self._cores: list[Pattern] | None = None
        #: Values of params and names under which a random instance of the pattern is drawn, beside those of its kind.
        self.check: Mapping[str, Any] = {}

    @property
    def cores(self) -> list[Pattern]:
        """The pattern on the level of nodes: `archgraph.rewrite.cores`, made when first asked for."""
        if self._cores is None:
            from archgraph.rewrite.cores import cores

            self._cores = cores(self)
        return self._cores

    def span(self, section: str) -> Span | None:
        tree = self.file.tree
        for key in (section, "replace", "match"):
            if key in tree:
                return span_of(tree, key)
        return Span(self.path, 1, 1)

    def __repr__(self) -> str:
        return f"<Rule {self.name}>"


# -- finding ---------------------------------------------------------------------------------------------------------


def shipped_rules() -> dict[str, str]:
    """Shipped rules by name: file names without suffix, blanks and dashes as underscores."""
    return {p.stem: os.fspath(p) for p in sorted((specs_folder() / "rewrites").glob("*.yaml"))}


def resolve_rule(name: str, beside: str | None = None) -> str:
    """The file of a rule by path or shipped name; a relative path starts from the file ``beside``, if it is given.

    Raises
    ------
    SpecError
        If there is none.
    """
    if name.endswith((".yaml", ".yml")) or os.sep in name:
        for folder in (os.path.dirname(os.path.abspath(beside)) if beside else "", ""):
            path = os.path.join(folder, name)
            if os.path.isfile(path):
                return path
    known = shipped_rules()
    word = name.replace("-", "_").removeprefix("rewrites/").removesuffix(".yaml")
    if word in known:
        return known[word]
    near = did_you_mean(word, known)
    hint = f"did you mean `{near}`?" if near else "`archgraph rules` lists the shipped ones"
    raise SpecError(Diagnostic("rule/unknown", None, f"no file and no shipped rule is called `{name}`", hint=hint))


_rules: dict[tuple[str, int, int], Rule] = {}


def load_rule(name: str | os.PathLike[str], beside: str | None = None) -> Rule:
    """A rule by path or shipped name; read once.

    Raises
    ------
    SpecError
        With every fault found.
    """
    path = resolve_rule(os.fspath(name), beside)
    try:
        stat = os.stat(path)
    except OSError:
        return loads_rule(read_source(path), path)
    key = (os.path.abspath(path), stat.st_mtime_ns, stat.st_size)
    known = _rules.get(key)
    if known is None:
        if len(_rules) > 256:
            _rules.clear()
        shipped = os.path.realpath(path).startswith(os.path.realpath(specs_folder()) + os.sep)
        known = _rules[key] = loads_rule(read_source(path), path, check=not shipped)  # tests check the shipped ones
    return known


def loads_rule(text: str, file: str = "<rule>", check: bool = True) -> Rule:
    """A rule from a text; ``check``: try it on instances of its pattern (`archgraph.rewrite.checked`).

    Raises
    ------
    SpecError
        With every fault found.
    """
    faults = Collector()
    parser = RuleParser(file, text, faults)
    faults.raise_if_any()
    parser.declare()
    use_libraries(parser, (os.path.abspath(file),))
    faults.raise_if_any()
    parser.second = True
    parser.compile()
    faults.raise_if_any()
    rule = parser.rule()
    faults.raise_if_any()
    if check and rule.replace is not None:
        from archgraph.rewrite.checked import check_rule

        check_rule(rule)
    return rule


def loads_pattern(text: str, file: SpecFile) -> Rule:
    """A rule that only finds: one node of a pattern, which may name the blocks of a spec.

    Raises
    ------
    SpecError
        With every fault found.
    """
    faults = Collector()
    parser = RuleParser("<pattern>", f"archgraph: 1\nrule: pattern\nmatch: {{graph: {{node: {text}}}}}\n", faults)
    faults.raise_if_any()
    parser.declare()
    parser.file.used = {**file.used, **file.blocks}
    faults.raise_if_any()
    rule = parser.rule()
    faults.raise_if_any()
    return rule


# -- reading ---------------------------------------------------------------------------------------------------------


class RuleParser(Parser):
    """Parses one rule file."""

    sections: ClassVar[tuple[str, ...]] = SECTIONS
    what: ClassVar[str] = "a rule"
    needs_graph: ClassVar[bool] = False

    def declare(self) -> SpecFile:
        if (
            isinstance(self.file.tree, YMap)
            and "match" not in self.tree
            and {"graph", "graphs", "base"} & set(self.tree)
        ):
            self.faults.error(
                "rule/spec",
                Span(self.path, 1, 1),
                f"`{self.path}` is a spec, not a rule",
                expected="a file with `rule`, `match` and `replace`",
                hint="`archgraph rules` lists the shipped ones",
            )
            return self.file
        file = super().declare()
        name = self._text("rule")
        if name is None:
            self.faults.error("rule/name", Span(self.path, 1, 1), "a rule says its name: `rule: …`")
        else:
            file.name = name
        return file

    def rule(self) -> Rule:
        """The rule itself; blocks and params are compiled by now."""
        tree, file = self.tree, self.file
        rule = Rule(file)
        rule.params = file.params
        names = frozenset(file.params)
        match = tree.get("match")
        if not isinstance(match, YMap):
            self.faults.error("rule/match", Span(self.path, 1, 1), "a rule has a `match`: inputs and a graph")
            return rule
        for key in match:
            if key not in ("inputs", "graph", "outputs"):
                self.unknown(match, key, ("inputs", "graph", "outputs"), "`match`")
        block = Block("match", file, span_of(tree, "match"), root=True)
        if "inputs" in match:
            block.inputs = self.inputs(match["inputs"], match, block)
        compiler = PatternCompiler(block, self.faults, names)
        pattern = compiler.pattern_of(match, tree, "match")
        if pattern is None:
            return rule
        rule.pattern = pattern
        self._read_words(rule)
        rule.where = self.where_of(tree)
        self._replacement(rule)
        self._weights(rule)
        if "requires" in tree:
            rule.requires = self.requires(tree["requires"], tree, rule.block)
        check = tree.get("check")
        if isinstance(check, YMap):
            rule.check = {str(k): v for k, v in check.items()}
        return rule

    def unknown(self, where: YMap, key: Any, known: Any, what: str) -> None:
        near = did_you_mean(str(key), known)
        self.faults.error(
            "key/unknown",
            span_of(where, key, key=True),
            f"{what} has no key `{key}`",
            expected=", ".join(known),
            hint=f"did you mean `{near}`?" if near else None,
        )

    def _read_words(self, rule: Rule) -> None:
        tree = self.tree
        relation = tree.get("relation")
        if relation not in RELATIONS and "replace" in tree:
            at = span_of(tree, "relation") if "relation" in tree else Span(self.path, 1, 1)
            self.faults.error(
                "rule/relation", at, "a rule says what it is: `relation: exact` or `relation: approximate`"
            )
        rule.relation = str(relation)
        rule.preserves = tuple(self._names("preserves"))
        mode = tree.get("mode")
        if mode not in (None, "eval"):
            self.faults.error("rule/mode", span_of(tree, "mode"), "`mode: eval` is for rules that hold in evaluation")
        rule.mode = mode
        repeat = tree.get("repeat", "once")
        if repeat not in ("once", "fixpoint"):
            self.faults.error("rule/repeat", span_of(tree, "repeat"), "`repeat` is `once` or `fixpoint`")
        rule.fixpoint = repeat == "fixpoint"

    def where_of(self, tree: YMap, key: str = "where") -> Where:
        """A ``where``: a path, a list of paths, or ``{path, if}``."""
        if key not in tree:
            return Where()
        return read_where(tree[key], tree, key, self.faults)

    def _replacement(self, rule: Rule) -> None:
        tree, pattern = self.tree, rule.pattern
        raw = tree.get("replace")
        if raw is None:
            return
        if not isinstance(raw, YMap):
            self.faults.error("rule/replace", span_of(tree, "replace"), "`replace` is a mapping: a graph, and outputs")
            return
        for key in raw:
            if key not in ("graph", "outputs"):
                self.unknown(raw, key, ("graph", "outputs"), "`replace`")
        block = rule.block
        block.span = span_of(tree, "replace")
        for name, value in self._mapping("context"):
            path = value[name]
            if not isinstance(path, str):
                self.faults.error("context/form", span_of(value, name), "`context` maps names to paths of values")
            else:
                rule.context[str(name)] = path
        compiler = RuleCompiler(block, self.faults, pattern)
        compiler.declared |= set(rule.context)
        body = raw.get("graph", YMap(self.path))
        plan = compiler.body(body, raw, "graph", raw.get("outputs"), raw)
        block.plan = rule.replace = plan
        for name, loop in compiler.loops:
            loop.indexed = name in compiler.indexed
        if isinstance(body, YMap) and body:
            check_read(block, body, self.faults)
        elif plan.outputs is None:
            self.faults.error("rule/replace", block.span, "`replace` has no nodes, and no `outputs` that name values")
        from archgraph.spec.unread import inner_names

        defined = {name for name, _ in plan.items}
        for _, node in plan.items:
            defined |= inner_names(node)
        rule.defined = frozenset(defined)
        rule.kept = frozenset(n for n in pattern.nodes if n in plan.refs and n not in defined)
        names = {n: o.name for n, o in compiler.aliases.items() if o.kind == "node"}
        rule.kept |= {owner for n, owner in names.items() if n in plan.refs and n not in defined}
        if pattern.outputs is not None and len(pattern.outputs) > 1:
            given = [o.name for o in plan.outputs or ()]
            if given != [n for n, _ in pattern.outputs]:
                self.faults.error(
                    "rule/outputs",
                    block.span,
                    "`replace` names the outputs of `match`",
                    expected=", ".join(n for n, _ in pattern.outputs),
                    found=", ".join(given) or "nothing",
                )

    def _weights(self, rule: Rule) -> None:
        tree = self.tree
        raw = tree.get("weights")
        if raw is None:
            return
        if not isinstance(raw, YMap):
            self.faults.error("weights/form", span_of(tree, "weights"), "`weights` maps new parameters to old ones")
            return
        labels = set(rule.pattern.nodes)
        carried: dict[str, str] = {}
        starts: dict[str, Any] = {}
        spans: dict[str, Span] = {}
        dropped: list[str] = []
        plan: GraphPlan | None = None
        block = Block("weights", self.file, span_of(tree, "weights"), root=True)
        computed: set[str] = set()
        if "graph" in raw:
            compiler = RuleCompiler(block, self.faults, rule.pattern)
            block.plan = plan = compiler.body(raw["graph"], raw, "graph")
            computed = {name for name, _ in plan.items}
        for key, value in raw.items():
            key = str(key)
            span = span_of(raw, key)
            if key == "graph":
                continue
            if key == "dropped":
                for k, item in enumerate(value if isinstance(value, YList) else [value]):
                    if str(item).partition(".")[0] not in labels:
                        at = span_of(value, k) if isinstance(value, YList) else span
                        self._no_label(str(item), labels, at)
                    dropped.append(str(item))
                continue
            spans[key] = span
            head = key.partition(".")[0]
            if head not in rule.defined and head not in labels:
                near = did_you_mean(head, rule.defined)
                self.faults.error(
                    "weights/new",
                    span_of(raw, key, key=True),
                    f"`{head}` is no node of `replace`",
                    hint=f"did you mean `{near}`?" if near else None,
                )
            if isinstance(value, YMap) and set(value) == {"init"}:
                try:
                    starts[key] = INIT.convert(value["init"])
                except AttributeValueError as error:
                    self.faults.error(
                        "attr/value", span_of(value, "init"), "`init`", expected=error.expected, found=error.found
                    )
                continue
            if not isinstance(value, str):
                self.faults.error("weights/form", span, "an old parameter, a node of `graph`, or {init: …}")
                continue
            if value not in computed and value.partition(".")[0] not in labels:
                self._no_label(value, labels | computed, span)
            carried[key] = value
        rule.weights = WeightsRule(carried, starts, tuple(dropped), plan, block, spans)

    def _no_label(self, text: str, labels: set[str], span: Span) -> None:
        near = did_you_mean(text.partition(".")[0], labels)
        self.faults.error(
            "weights/old",
            span,
            f"`{text}` is no parameter of a node of `match`",
            expected=", ".join(sorted(labels)),
            hint=f"did you mean `{near}`?" if near else None,
        )


def read_where(raw: Any, container: Any, key: Any, faults: Collector) -> Where:
    """A ``where``: a path, a list of paths, or ``{path, if}``."""
    condition = None
    span = span_of(container, key)
    paths, at, inside = raw, key, container
    if isinstance(raw, YMap):
        for k in raw:
            if k not in ("path", "if"):
                faults.error("key/unknown", span_of(raw, k, key=True), f"`where` has no key `{k}`", expected="path, if")
        if "if" in raw:
            from archgraph.spec.host_values import read_expression

            condition = Computed(read_expression(raw["if"], raw, "if", faults), raw, "if")
        paths, at, inside = raw.get("path", YList()), "path", raw
    texts = [paths] if isinstance(paths, str) else paths
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        faults.error("where/form", span, "`where` is a path, a list of paths, or `{path: …, if: …}`")
        return Where()
    found: list[PathPattern] = []
    for k, text in enumerate(texts):
        try:
            found.append(PathPattern(text))
        except PatternError as error:
            place = span_of(paths, k) if isinstance(paths, YList) else span_of(inside, at)
            faults.error("where/path", place, f"`{text}`: {error}")
    shown = ", ".join(texts) + (f" if {condition.tree}" if condition is not None else "")
    return Where(tuple(found), condition, shown)
