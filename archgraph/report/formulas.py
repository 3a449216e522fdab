"""Claims that compare: a formula over the costs of several specs, variants and rewrites.

    claims:
      - claim: ECA-ResNet50 adds 80 params
        of: {eca: {variant: resnet50_k3557}, plain: {spec: resnet, variant: resnet50}}
        formula: eca.params - plain.params
        exact: 80

Each name under ``of`` is a spec (the file's own if none is said) with ``variant``, ``graph``, ``set``, ``at`` and
``rewrite``; the formula reads its costs as ``name.macs``. With ``over`` (a size, or sizes as expressions in one symbol)
it also has degrees: ``name.degree.macs``. The value is ``exact``, ``printed`` with its last digit or within
``tolerance``, or true where neither is said. A claim that can't be checked yet says why under ``open``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from archgraph.analysis.sizes import default_sizes, with_params, with_sizes
from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ir.dim import SymbolicTruth
from archgraph.report.compare import COSTS, cost_forms
from archgraph.report.law import CostLaw, law, rewriting
from archgraph.spec.evaluators import Computed
from archgraph.spec.expr import Attr, EvalError, Expr, Name, UnknownName
from archgraph.spec.host_values import read_expression
from archgraph.spec.load import Spec
from archgraph.spec.model import SpecFile
from archgraph.spec.settings import variant_settings
from archgraph.spec.spec_files import find_library, parse_file, shipped
from archgraph.spec.yaml import YList, YMap, span_of

__all__ = ["SUBJECT_KEYS", "Formula", "Subject", "read_formula"]

#: What an entry of ``of`` may say.
SUBJECT_KEYS: Final = ("spec", "variant", "graph", "set", "at", "rewrite", "over", "around")
_REWRITE_KEYS: Final = ("rule", "set", "where")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a name in a formula stands for."""

    file: SpecFile
    variant: str | None = None
    graph: str | None = None
    settings: Mapping[Any, Any] | None = None
    at: Mapping[Any, Any] | None = None
    rewrite: tuple[Any, ...] = ()
    over: str | Mapping[Any, Any] | None = None
    around: int | None = None
    span: Span | None = None

    def __str__(self) -> str:
        name = self.file.name + (f":{self.variant}" if self.variant else "")
        rules = [each if isinstance(each, str) else each["rule"] for each in self.rewrite]
        more = [f"{k}={v}" for k, v in (self.settings or {}).items()]
        more += [f"{k}={'x'.join(map(str, v))}" for k, v in (self.at or {}).items()]
        over = self.over if self.over is None or isinstance(self.over, str) else "; ".join(
            f"{k} = {v}" for k, v in self.over.items()
        )  # fmt: skip
        return "+".join((name, *rules)) + (f" ({', '.join(more)})" if more else "") + (f" over {over}" if over else "")

    def spec(self) -> Spec:
        """The spec with its settings."""
        own = Spec(self.file, self.variant, variant_settings(self.file, self.variant))
        return with_params(own, self.settings or {})


class _Costs(Mapping[str, Any]):
    """The costs of a subject, each worked out when it is first read."""

    def __init__(self, subject: Subject, name: str, used: dict[str, Any]) -> None:
        self._subject = subject
        self._name = name
        self._used = used
        self._laws: dict[str, CostLaw] = {}
        self._graph: Any = None

    def __getitem__(self, key: str) -> Any:
        subject = self._subject
        if key == "degree":
            return _Degrees(self, self._name, self._used)
        if key not in COSTS:
            raise KeyError(key)
        if subject.over is not None:
            return self.law(key).form
        if self._graph is None:
            spec = with_sizes(subject.spec(), subject.graph, subject.at)
            graph = spec.graph(subject.graph, default_sizes(spec, subject.graph, subject.at))
            change = rewriting(subject.rewrite)
            self._graph = change(graph) if change is not None else graph
        forms = cost_forms(self._graph, key)
        found = max(forms) if all(isinstance(x, int) for x in forms) else forms[0]
        self._used[f"{self._name}.{key}"] = found
        return found

    def law(self, cost: str) -> CostLaw:
        found = self._laws.get(cost)
        if found is None:
            s = self._subject
            assert s.over is not None
            found = self._laws[cost] = law(
                s.spec(), cost, s.over, graph=s.graph, at=s.at, rewrite=s.rewrite, around=s.around
            )
        return found

    def __iter__(self) -> Iterator[str]:
        return iter((*COSTS, "degree"))

    def __len__(self) -> int:
        return len(COSTS) + 1


class _Degrees(Mapping[str, int]):
    def __init__(self, costs: _Costs, name: str, used: dict[str, Any]) -> None:
        self._costs = costs
        self._name = name
        self._used = used

    def __getitem__(self, key: str) -> int:
        found = self._costs.law(key)
        self._used[f"{self._name}.degree.{key}"] = found.degree
        return found.degree

    def __iter__(self) -> Iterator[str]:
        return iter(COSTS)

    def __len__(self) -> int:
        return len(COSTS)


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression over costs. ``of``: what its names stand for."""

    text: str
    of: Mapping[str, Subject]
    fn: Computed

    def value(self) -> tuple[Any, dict[str, Any]]:
        """The value, and every cost that it hangs on.

        Raises
        ------
        SpecError
            For faults in one of the configurations, and where the formula has no value.
        """
        used: dict[str, Any] = {}
        try:
            found = self.fn({name: _Costs(subject, name, used) for name, subject in self.of.items()})
        except (EvalError, UnknownName, SymbolicTruth, ArithmeticError) as error:
            at = getattr(error, "at", None) or self.fn.span
            raise SpecError(Diagnostic("claims/formula", at, f"`{self.text}`: {error}")) from None
        return found, used


def read_formula(file: SpecFile, tree: YMap, faults: Collector) -> Formula | None:
    """The formula of a claim and what its names stand for; faults go to ``faults``."""
    before = len(faults)
    given = tree.get("of")
    of: dict[str, Subject] = {}
    if not isinstance(given, YMap) or not given:
        where = span_of(tree, "of") if "of" in tree else span_of(tree, "formula")
        faults.error("claims/of", where, "`of` names what the formula is over", expected="of: {a: {spec: vit}, …}")
        given = YMap(file.path)
    for name in given:
        subject = _subject(file, given, name, faults)
        if subject is not None:
            of[str(name)] = subject
    expr = read_expression(tree["formula"], tree, "formula", faults)
    if len(faults) == before:
        _check_names(expr, of, tree, faults)
    if len(faults) > before:
        return None
    return Formula(str(tree["formula"]), of, Computed(expr, tree, "formula"))


def _check_names(expr: Expr, of: Mapping[str, Subject], tree: YMap, faults: Collector) -> None:
    """Every name is one of ``of``, every part of it a cost, and all of them are read."""
    at = span_of(tree, "formula")
    read: set[str] = set()

    def visit(node: Expr) -> None:
        inner, parts = node, list[str]()
        while isinstance(inner, Attr):
            parts.insert(0, str(inner.name))
            inner = inner.obj
        if isinstance(inner, Name):
            read.add(inner.name)
            _check_cost(inner.name, parts, of, at, faults)
            return
        for child in node.children():
            visit(child)

    visit(expr)
    for name in of:
        if name not in read:
            faults.error("claims/of", span_of(tree["of"], name, key=True), f"the formula does not read `{name}`")


def _check_cost(name: str, parts: list[str], of: Mapping[str, Subject], at: Span, faults: Collector) -> None:
    subject = of.get(name)
    if subject is None:
        _unknown(faults, at, "claims/formula", f"there is no `{name}` under `of`", name, of)
        return
    degrees = parts[:1] == ["degree"]
    if degrees and subject.over is None:
        faults.error("claims/formula", at, f"`{name}` has no degree", hint="`over` says in which size: over: N")
        return
    rest = parts[1:] if degrees else parts
    if len(rest) != 1:
        whole = ".".join((name, *parts))
        faults.error("claims/formula", at, f"`{whole}` is no number", expected=f"{name}.params, {name}.macs, …")
    elif rest[0] not in COSTS:
        _unknown(faults, at, "claims/formula", f"there is no cost `{rest[0]}`", rest[0], COSTS)


def _unknown(faults: Collector, at: Span | None, code: str, message: str, name: str, known: Any) -> None:
    near = did_you_mean(name, list(known))
    faults.error(code, at, message, expected=", ".join(known), hint=f"did you mean `{near}`?" if near else None)


def _subject(file: SpecFile, container: YMap, name: Any, faults: Collector) -> Subject | None:
    tree = container[name]
    at = span_of(container, name)
    before = len(faults)
    if isinstance(tree, str):
        tree, text = YMap(file.path, container.mark), tree
        tree["spec"], tree.pos["spec"] = text, container.pos[name]
    if not isinstance(tree, YMap):
        faults.error("claims/of", at, f"`{name}` is a spec", expected="{spec: vit, variant: tiny}")
        return None
    for key in tree:
        if key not in SUBJECT_KEYS:
            where = span_of(tree, key, key=True)
            _unknown(faults, where, "claims/of", f"an entry of `of` has no `{key}`", str(key), SUBJECT_KEYS)
    about = _file(file, tree, at, faults)
    if about is None:
        return None
    for key, known in (("variant", about.variants), ("graph", about.graphs)):
        value = tree.get(key)
        if value is not None and value not in known:
            where = span_of(tree, key)
            _unknown(faults, where, f"claims/{key}", f"`{about.name}` has no {key} `{value}`", str(value), known)
    for key in ("set", "at"):
        if not isinstance(tree.get(key, YMap(file.path)), YMap):
            faults.error(f"claims/{key}", span_of(tree, key), f"`{key}` is a mapping")
    for param in tree["set"] if isinstance(tree.get("set"), YMap) else ():
        if param not in about.params:
            where = span_of(tree["set"], param, key=True)
            _unknown(faults, where, "claims/set", f"`{about.name}` has no param `{param}`", str(param), about.params)
    over, around = tree.get("over"), tree.get("around")
    if over is not None and not isinstance(over, (str, YMap)):
        faults.error("claims/over", span_of(tree, "over"), "`over` is a size", expected="N, or {H: t, W: t}")
    if around is not None and (not isinstance(around, int) or isinstance(around, bool) or around < 1):
        faults.error("claims/around", span_of(tree, "around"), "`around` is a size, 1 or more")
    rules = _rules(about, tree, faults)
    if len(faults) > before:
        return None
    return Subject(
        about, tree.get("variant"), tree.get("graph"), tree.get("set"), tree.get("at"), rules, over, around, at
    )


def _file(file: SpecFile, tree: YMap, at: Span, faults: Collector) -> SpecFile | None:
    name = tree.get("spec")
    if name is None:
        if file.graphs:
            return file
        faults.error("claims/of", at, "a file without a graph says which `spec` a claim is about")
        return None
    known = [*shipped(), *(f"{k}/{f.stem}" for k, fs in shipped().items() if len(fs) > 1 for f in fs)]
    where = span_of(tree, "spec")
    try:
        return parse_file(find_library(str(name), file.path, where))
    except SpecError as error:
        if any(d.code == "uses/unknown" for d in error.diagnostics):
            _unknown(faults, where, "claims/spec", f"there is no spec `{name}`", str(name), known)
        else:
            faults.extend(error.diagnostics)
        return None


def _rules(about: SpecFile, tree: YMap, faults: Collector) -> tuple[Any, ...]:
    given = tree.get("rewrite")
    if given is None:
        return ()
    if not isinstance(given, YList):
        faults.error("claims/rewrite", span_of(tree, "rewrite"), "`rewrite` is a list of rules")
        return ()
    from archgraph.rewrite.rule import load_rule

    for k, each in enumerate(given):
        at = span_of(given, k)
        if isinstance(each, YMap):
            for key in each:
                if key not in _REWRITE_KEYS:
                    where = span_of(each, key, key=True)
                    _unknown(faults, where, "claims/rewrite", f"a rewrite has no `{key}`", str(key), _REWRITE_KEYS)
        rule = each.get("rule") if isinstance(each, YMap) else each
        if not isinstance(rule, str):
            faults.error("claims/rewrite", at, "a rewrite names its rule", expected="{rule: softmax_to_linear}")
            continue
        try:
            load_rule(rule, about.path)
        except SpecError as error:
            faults.extend(Diagnostic(d.code, d.at or at, d.message, hint=d.hint) for d in error.diagnostics)
    return tuple(given)
