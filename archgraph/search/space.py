"""The search space of a study: statically named parameters, and what a choice of values means.

A name says what is varied: a param of the spec (``dim``), an element of a list-valued one (``depths.2``), the variant
(``variant``), a setting of training or data (``train.lr``, ``data.length``), or, where the domain lists rewrites, a
place (``attention.stage3``). Every parameter has one distribution for the whole study. One whose condition (``when``)
does not hold takes its first value, so that candidates which differ in nothing that counts are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Collector, Span, did_you_mean
from archgraph.search.fields import Field, Section, unknown_key
from archgraph.spec.expr import EvalError, Expr, ExprError, UnknownName, compile, parse
from archgraph.spec.yaml import YList, YMap, dump_yaml, span_of

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from archgraph.spec.load import Spec

__all__ = ["DOMAIN_KEYS", "Assignment", "Parameter", "Space", "read_space"]

Value = int | float | str | bool

DOMAIN_KEYS: Final = ("choices", "range", "step", "log", "rewrites", "at", "when")


@dataclass(frozen=True)
class Parameter:
    """One parameter. ``values`` maps the labels of choices to what they stand for; a range has bounds instead.

    ``target`` is ``param``, ``element``, ``variant``, ``train``, ``data`` or ``rewrite``; ``key`` and ``index`` say
    which. ``place`` is where rewrites apply.
    """

    name: str
    target: str
    key: str
    index: int | None = None
    values: Mapping[Value, Any] | None = None
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    whole: bool = False
    when: Expr | None = None
    place: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False)

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.values is not None:
            return CategoricalDistribution(tuple(self.values))
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def first(self) -> Value:
        """The value that stands in where the parameter has no meaning."""
        if self.values is not None:
            found: Value = next(iter(self.values))
            return found
        return int(self.low) if self.whole else float(self.low)

    def meaning(self, value: Value) -> Any:
        """What a value stands for."""
        return value if self.values is None else self.values[value]


@dataclass(frozen=True)
class Assignment:
    """What a vector of values asks for: settings of the spec, its variant, rewrites, settings of training and data."""

    settings: dict[str, Any]
    variant: str | None
    rewrites: tuple[Mapping[str, Any], ...]
    train: dict[str, Any]
    data: dict[str, Any]
    inactive: frozenset[str]


class Space:
    """The parameters of a study, in order."""

    def __init__(self, parameters: Sequence[Parameter], lists: Mapping[str, Sequence[Any]]) -> None:
        self.parameters = tuple(parameters)
        self.lists = {name: tuple(values) for name, values in lists.items()}
        self.by_name = {p.name: p for p in self.parameters}
        self._conditions = [(p, compile(p.when)) for p in self.parameters if p.when is not None]
        self._distributions: dict[str, BaseDistribution] | None = None

    @property
    def conditional(self) -> bool:
        """Whether any parameter has a condition."""
        return bool(self._conditions)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution of every parameter."""
        if self._distributions is None:
            self._distributions = {p.name: p.distribution for p in self.parameters}
        return self._distributions

    def canonical(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
        """Values with those of inactive parameters replaced by their first, and the names of these."""
        found = dict(values)
        if not self._conditions:
            return found, frozenset()
        inactive: set[str] = set()
        env = environment(found)
        for p, holds in self._conditions:
            if not holds(env):
                inactive.add(p.name)
                found[p.name] = p.first
                env = environment(found)
        return found, frozenset(inactive)

    def assignment(self, values: Mapping[str, Any], base: Mapping[str, Any]) -> Assignment:
        """What values ask for, on top of the study's own settings ``base``."""
        values, inactive = self.canonical(values)
        settings: dict[str, Any] = dict(base)
        lists = {name: list(items) for name, items in self.lists.items()}
        variant: str | None = None
        rewrites: list[Mapping[str, Any]] = []
        train: dict[str, Any] = {}
        data: dict[str, Any] = {}
        touched: set[str] = set()
        for p in self.parameters:
            if p.name in inactive:
                continue
            value = p.meaning(values[p.name])
            if p.target == "param":
                settings[p.key] = value
            elif p.target == "element":
                assert p.index is not None
                lists[p.key][p.index] = value
                touched.add(p.key)
            elif p.target == "variant":
                variant = value
            elif p.target == "train":
                train[p.key] = value
            elif p.target == "data":
                data[p.key] = value
            elif value is not None:
                rewrites += value
        for name in touched:
            settings[name] = tuple(lists[name])
        return Assignment(settings, variant, tuple(rewrites), train, data, inactive)


def environment(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name as conditions read them: ``a.b`` is entry b of a mapping a."""
    env: dict[str, Any] = {}
    for name, value in values.items():
        head, _, rest = name.partition(".")
        if not rest:
            env[head] = value
        else:
            inner = env.setdefault(head, {})
            if isinstance(inner, dict):
                inner[rest] = value
    return env


def read_space(
    raw: Any,
    container: YMap,
    spec: Spec,
    sections: Mapping[str, Section],
    folder_set: Mapping[str, Any],
    faults: Collector,
) -> Space:
    """A ``space:`` mapping.

    Parameters
    ----------
    spec : Spec
        With the study's settings; its params are what plain names mean.
    sections : mapping
        ``train`` and, where the study has data, ``data``: their settings can be varied.
    """
    if not isinstance(raw, YMap) or not raw:
        faults.error("space/form", span_of(container, "space"), "`space` is a mapping from parameters to their domains")
        return Space((), {})
    reader = _Reader(spec, sections, faults)
    for name in raw:
        reader.parameter(name, raw)
    return Space(reader.found, reader.lists)


class _Reader:
    def __init__(self, spec: Spec, sections: Mapping[str, Section], faults: Collector) -> None:
        self.spec = spec
        self.sections = sections
        self.faults = faults
        self.found: list[Parameter] = []
        self.lists: dict[str, Sequence[Any]] = {}
        self.params = spec.params()

    def parameter(self, name: Any, container: YMap) -> None:
        at = span_of(container, name, key=True)
        value = container[name]
        domain = value if isinstance(value, YMap) else YMap(container.file, container.pos[name][1])
        if isinstance(value, YList):
            domain["choices"], domain.pos["choices"] = value, (container.pos[name][1],) * 2
        elif not isinstance(value, YMap):
            self.faults.error(
                "space/domain",
                span_of(container, name),
                f"the domain of `{name}` is a list of choices, or a mapping",
                expected="[1, 2, 4] or {range: [1, 8]}",
            )
            return
        before = len(self.faults)
        for key in domain:
            if key not in DOMAIN_KEYS:
                unknown_key(domain, key, list(DOMAIN_KEYS), "a domain", self.faults)
        given = [key for key in ("choices", "range", "rewrites") if key in domain]
        if len(given) != 1:
            self.faults.error(
                "space/domain", at, f"`{name}` has one of choices, range and rewrites", found=", ".join(given) or None
            )
            return
        when = self._when(domain)
        target = self._target(str(name), at, rewriting=given[0] == "rewrites")
        if target is None or len(self.faults) > before:
            return
        kind, key, index, declared = target
        more: dict[str, Any] = {"when": when, "span": at}
        made: Parameter | None
        if given[0] == "range":
            made = self._range(str(name), kind, key, index, domain, declared, more)
        elif given[0] == "rewrites":
            made = self._rewrites(str(name), domain, more)
        else:
            made = self._choices(str(name), kind, key, index, domain, declared, more)
        if made is not None:
            self.found.append(made)

    # -- what a name means -------------------------------------------------------------------------------------------

    def _target(self, name: str, at: Span, rewriting: bool) -> tuple[str, str, int | None, Field | None] | None:
        head, dot, rest = name.partition(".")
        if rewriting:
            if name in self.params:
                self.faults.error("space/name", at, f"`{name}` is a param of the spec; rewrites need another name")
                return None
            return "rewrite", name, None, None
        if name == "variant" and "variant" not in self.params:
            return "variant", name, None, None
        if not dot:
            if name in self.params:
                return "param", name, None, None
            known = [*self.params, "variant", *(f"{s}.{f}" for s, x in self.sections.items() for f in x.by_name)]
            near = did_you_mean(name, known)
            self.faults.error(
                "space/name",
                at,
                f"`{self.spec.name}` has no param `{name}`",
                expected=", ".join(self.params) or "no params",
                hint=f"did you mean `{near}`?" if near else None,
            )
            return None
        if head in self.sections and head not in self.params:
            declared = self.sections[head].by_name.get(rest)
            if declared is None:
                near = did_you_mean(rest, self.sections[head].by_name)
                self.faults.error(
                    "space/name",
                    at,
                    f"`{head}` has no setting `{rest}`",
                    expected=", ".join(self.sections[head].by_name),
                    hint=f"did you mean `{head}.{near}`?" if near else None,
                )
                return None
            return head, rest, None, declared
        value = self.params.get(head)
        if not isinstance(value, tuple):
            what = f"`{head}` is no list-valued param" if head in self.params else f"there is no param `{head}`"
            near = did_you_mean(head, self.params)
            hint = f"did you mean `{near}.{rest}`?" if near and near != head else None
            self.faults.error("space/name", at, f"`{name}`: {what}", hint=hint)
            return None
        if not rest.isdecimal() or int(rest) >= len(value):
            self.faults.error("space/name", at, f"`{head}` has elements {head}.0 to {head}.{len(value) - 1}")
            return None
        self.lists[head] = value
        return "element", head, int(rest), None

    def _when(self, domain: YMap) -> Expr | None:
        if "when" not in domain:
            return None
        text = domain["when"]
        at = span_of(domain, "when")
        try:
            expr = parse(text if isinstance(text, str) else str(text).lower())
        except ExprError as error:
            self.faults.error("space/when", at, str(error))
            return None
        env = environment({p.name: p.first for p in self.found})
        unknown = sorted(expr.names - set(env))
        if unknown:
            self.faults.error(
                "space/when",
                at,
                f"a condition reads parameters that stand above it, and `{unknown[0]}` does not",
                expected=", ".join(p.name for p in self.found) or "no parameters",
            )
            return None
        try:
            compile(expr)(env)
        except (EvalError, UnknownName, KeyError, TypeError) as error:
            self.faults.error("space/when", at, f"the condition can't be decided: {error}")
            return None
        return expr

    # -- domains -----------------------------------------------------------------------------------------------------

    def _range(
        self,
        name: str,
        kind: str,
        key: str,
        index: int | None,
        domain: YMap,
        declared: Field | None,
        more: dict[str, Any],
    ) -> Parameter | None:
        bounds, step, log = domain["range"], domain.get("step"), domain.get("log", False)
        at = span_of(domain, "range")

        def number(value: Any) -> bool:
            return isinstance(value, (int, float)) and not isinstance(value, bool)

        if not isinstance(bounds, YList) or len(bounds) != 2 or not all(number(b) for b in bounds):
            self.faults.error("space/range", at, "a range is two numbers", expected="[lowest, highest]")
            return None
        low, high = bounds
        whole = isinstance(low, int) and isinstance(high, int) and not isinstance(step, float)
        if whole and declared is not None and declared.type == "float":
            whole = False
        if low > high:
            self.faults.error("space/range", at, "the lowest value comes first", found=f"[{low}, {high}]")
            return None
        if step is not None and (not number(step) or step <= 0):
            self.faults.error("space/range", span_of(domain, "step"), "`step` is a number above 0")
            return None
        if not isinstance(log, bool):
            self.faults.error("space/range", span_of(domain, "log"), "`log` is true or false")
            return None
        if log and (low <= 0 or step is not None):
            why = "a `log` range starts above 0" if low <= 0 else "a `log` range has no `step`"
            self.faults.error("space/range", span_of(domain, "log"), why)
            return None
        if step is not None and whole:
            high = low + (high - low) // step * step
        if declared is not None and not all(
            declared.accepts(float(b) if declared.type == "float" else b) for b in (low, high)
        ):
            self.faults.error("space/range", at, f"`{name}`", expected=declared.words)
            return None
        return Parameter(name, kind, key, index, None, low, high, step, log, whole, **more)

    def _choices(
        self,
        name: str,
        kind: str,
        key: str,
        index: int | None,
        domain: YMap,
        declared: Field | None,
        more: dict[str, Any],
    ) -> Parameter | None:
        raw = domain["choices"]
        at = span_of(domain, "choices")
        if not isinstance(raw, (YList, YMap)) or not raw:
            self.faults.error("space/choices", at, "`choices` is a list of values, or a mapping from labels to values")
            return None
        if isinstance(raw, YList):
            pairs = [(_label(value), value, span_of(raw, k)) for k, value in enumerate(raw)]
        else:
            pairs = [(label, value, span_of(raw, label)) for label, value in raw.items()]
        values: dict[Value, Any] = {}
        for label, value, where in pairs:
            if any(label == other and type(label) is type(other) for other in values):
                self.faults.error("space/choices", where, f"`{label}` stands twice")
                continue
            if kind == "variant" and value not in self.spec.file.variants:
                near = did_you_mean(str(value), self.spec.file.variants)
                self.faults.error(
                    "space/choices",
                    where,
                    f"`{self.spec.name}` has no variant `{value}`",
                    expected=", ".join(self.spec.file.variants),
                    hint=f"did you mean `{near}`?" if near else None,
                )
                continue
            if declared is not None and not declared.accepts(value):
                self.faults.error("space/choices", where, f"`{name}`", expected=declared.words, found=str(value))
                continue
            p = self.spec.file.params.get(key) if kind == "param" else None
            if p is not None and p.choices and value not in p.choices:
                near = did_you_mean(str(value), map(str, p.choices))
                self.faults.error(
                    "space/choices",
                    where,
                    f"`{key}` can't be `{value}`",
                    expected=", ".join(map(str, p.choices)),
                    hint=f"did you mean `{near}`?" if near else None,
                )
                continue
            values[label] = float(value) if declared is not None and declared.type == "float" else value
        return Parameter(name, kind, key, index, values, **more) if values else None

    def _rewrites(self, name: str, domain: YMap, more: dict[str, Any]) -> Parameter | None:
        raw = domain["rewrites"]
        if isinstance(raw, YList):
            table = {str(item): (None if item in ("none", "softmax") else item) for item in raw}
        elif isinstance(raw, YMap):
            table = {str(label): item for label, item in raw.items()}
        else:
            self.faults.error(
                "space/rewrites", span_of(domain, "rewrites"), "`rewrites` is a list or a mapping of rules"
            )
            return None
        place = domain.get("at")
        places = [place] if isinstance(place, str) else place
        if place is not None and (not isinstance(places, list) or not all(isinstance(x, str) for x in places)):
            self.faults.error("space/rewrites", span_of(domain, "at"), "`at` is a path or a list of paths")
            return None
        values: dict[Value, Any] = {}
        for label, item in table.items():
            items = [] if item is None else item if isinstance(item, list) else [item]
            steps: list[Mapping[str, Any]] = []
            for one in items:
                rule = {"rule": one} if isinstance(one, str) else dict(one) if isinstance(one, Mapping) else None
                if rule is None or not isinstance(rule.get("rule"), str):
                    at = span_of(domain, "rewrites")
                    self.faults.error(
                        "space/rewrites", at, f"`{label}` is a rule, a list of rules, or null", expected="{rule: name}"
                    )
                    return None
                if places is not None and "where" not in rule:
                    rule["where"] = list(places) if len(places) > 1 else places[0]
                steps.append(rule)
            values[label] = tuple(steps) or None
        return Parameter(name, "rewrite", name, None, values, place=tuple(places or ()), **more)


def _label(value: Any) -> Value:
    """The label of a choice: itself, or its YAML on one line."""
    if isinstance(value, (int, float, str)):
        return value
    return " ".join(dump_yaml(value).split())
