"""A study file: what is searched, under which limits, for what, and how; read with errors at their place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from archgraph.analysis.roofline import Target
from archgraph.ir.diagnostics import Collector, Diagnostic, Span, SpecError, did_you_mean
from archgraph.ops.plugins import missing
from archgraph.search.fields import Section, read_kind, read_section, unknown_key
from archgraph.search.machine import TIMES, default_machine, read_machine
from archgraph.search.metrics import COSTS, MEASURED, is_known, known_metrics
from archgraph.search.sections import DATA, LATENCY, PROXY, PRUNER, SAMPLER, TRAIN
from archgraph.search.space import Space, read_space
from archgraph.spec.load import Spec, load
from archgraph.spec.yaml import YMap, load_yaml, read_source, span_of

__all__ = ["SECTIONS", "VERSION", "Choice", "Constraint", "Objective", "Study", "load_study", "read_study"]

VERSION: Final = 1
SECTIONS: Final = (
    "archgraph",
    "name",
    "summary",
    "plugins",
    "spec",
    "graph",
    "set",
    "at",
    "space",
    "constraints",
    "objectives",
    "sampler",
    "pruner",
    "trials",
    "timeout",
    "seed",
    "storage",
    "data",
    "train",
    "proxies",
    "latency",
    "machine",
    "notes",
)
DIRECTIONS: Final = ("minimize", "maximize")


@dataclass(frozen=True)
class Choice:
    """A kind and its settings: a sampler, a pruner, a data set."""

    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Objective:
    """What is optimised: a metric and a direction."""

    name: str
    metric: str
    direction: str


@dataclass(frozen=True)
class Constraint:
    """Limits of a metric. ``hard`` ones are costs, decided before anything is built; others are measured."""

    metric: str
    low: float | None
    high: float | None

    @property
    def hard(self) -> bool:
        return self.metric in COSTS

    def violation(self, value: float) -> float:
        """How far a value is outside; 0 or less if it is inside."""
        over = -float("inf") if self.high is None else value - self.high
        under = -float("inf") if self.low is None else self.low - value
        return max(over, under)

    def __str__(self) -> str:
        low = "" if self.low is None else f"{self.low:g} ≤ "
        high = "" if self.high is None else f" ≤ {self.high:g}"
        return f"{low}{self.metric}{high}"


@dataclass(frozen=True)
class Study:
    """A study as written. ``base`` is its spec with the study's own settings."""

    path: str
    text: str
    name: str
    summary: str
    base: Spec
    graph: str | None
    at: Mapping[str, Any]
    space: Space
    constraints: tuple[Constraint, ...]
    objectives: tuple[Objective, ...]
    sampler: Choice
    pruner: Choice
    trials: int | None
    timeout: float | None
    seed: int
    storage: str
    data: Choice | None
    train: Mapping[str, Any]
    proxies: Mapping[str, Any]
    latency: Mapping[str, Any]
    machine: Target | None
    plugins: tuple[str, ...] = field(default=())

    @property
    def folder(self) -> Path:
        """The folder of the study file; paths in it start there."""
        return Path(self.path).resolve().parent

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that objectives and constraints name, once."""
        names = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def trained(self) -> bool:
        """Whether candidates are trained."""
        return any(m in MEASURED["trained"] for m in self.metrics)

    @property
    def hard(self) -> tuple[Constraint, ...]:
        return tuple(c for c in self.constraints if c.hard)

    @property
    def soft(self) -> tuple[Constraint, ...]:
        return tuple(c for c in self.constraints if not c.hard)


def load_study(path: str | os.PathLike[str]) -> Study:
    """Read a study file.

    Raises
    ------
    SpecError
        With every fault found.
    """
    return read_study(read_source(path), os.fspath(path))


def read_study(text: str, file: str = "<text>") -> Study:
    """`load_study` from a text; ``file`` names it in diagnostics and is where paths start from.

    Raises
    ------
    SpecError
        With every fault found.
    """
    faults = Collector()
    tree = load_yaml(text, file)
    if not isinstance(tree, YMap):
        at = Span(file, 1, 1)
        raise SpecError(Diagnostic("file/form", at, "a study is a mapping of sections", expected=", ".join(SECTIONS)))
    return _StudyReader(tree, text, file, faults).read()


class _StudyReader:
    def __init__(self, tree: YMap, text: str, file: str, faults: Collector) -> None:
        self.tree = tree
        self.text = text
        self.file = file
        self.faults = faults

    def read(self) -> Study:
        tree, faults = self.tree, self.faults
        for key in tree:
            if key not in SECTIONS:
                unknown_key(tree, key, list(SECTIONS), "a study", faults)
        if tree.get("archgraph") != VERSION:
            at = span_of(tree, "archgraph") if "archgraph" in tree else Span(self.file, 1, 1)
            found = None if "archgraph" not in tree else str(tree["archgraph"])
            faults.error(
                "file/version", at, "a study says its language version", expected=f"archgraph: {VERSION}", found=found
            )
        plugins = self._plugins()
        name = self._text("name") or Path(self.file).stem
        if "name" in tree and not all(c.isalnum() or c in "_-." for c in name.lstrip(".") or "/"):
            at = span_of(tree, "name")
            faults.error("name/form", at, "a name is a folder's too: letters, digits, `_`, `-` and `.`", found=name)
        data = self._kind("data", DATA)
        train = self._section("train", TRAIN)
        sampler = self._kind("sampler", SAMPLER) or Choice("tpe", SAMPLER.kinds["tpe"].defaults())
        pruner = self._kind("pruner", PRUNER) or Choice("none", {})
        more = {key: self._section(key, section) for key, section in (("proxies", PROXY), ("latency", LATENCY))}
        objectives = self._objectives()
        constraints = self._constraints()
        machine = read_machine(tree, os.path.dirname(os.path.abspath(self.file)), faults)
        named = [*(o.metric for o in objectives), *(c.metric for c in constraints)]
        if machine is None and any(name in TIMES for name in named):
            machine = default_machine()
        trials, timeout, seed = self._number("trials", 1), self._number("timeout", 0), self._number("seed", 0)
        spec = self._spec()
        if spec is None:
            faults.raise_if_any()
            raise AssertionError
        sections = {"train": TRAIN}
        if data is not None:
            sections["data"] = DATA.kinds[data.kind]
        if "space" in tree:
            space = read_space(tree["space"], tree, spec, sections, {}, faults)
        else:
            faults.error("study/missing", span_of(tree), "a study has a `space`: parameters and their domains")
            space = Space((), {})
        graph = self._text("graph")
        if graph is not None and graph not in spec.graphs:
            near = did_you_mean(graph, spec.graphs)
            hint = f"did you mean `{near}`?" if near else None
            faults.error(
                "graph/unknown",
                span_of(tree, "graph"),
                f"the spec has no graph `{graph}`",
                expected=", ".join(spec.graphs),
                hint=hint,
            )
            graph = None
        at_sizes = self._at(spec, graph)
        study = Study(
            self.file, self.text, name, self._text("summary") or "", spec, graph, at_sizes, space, constraints,
            objectives, sampler, pruner, None if trials is None else int(trials), timeout, int(seed or 0),
            self._text("storage") or "journal", data, train, more["proxies"], more["latency"], machine, plugins,
        )  # fmt: skip
        self._agree(study)
        faults.raise_if_any()
        return study

    def _text(self, key: str) -> str | None:
        value = self.tree.get(key)
        if value is None or isinstance(value, str):
            return value
        self.faults.error(f"{key}/form", span_of(self.tree, key), f"`{key}` is a text", found=str(value))
        return None

    def _number(self, key: str, low: int) -> float | None:
        value = self.tree.get(key)
        if value is None:
            return None
        whole = key != "timeout"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < low:
            what = "a whole number" if whole else "a number of seconds"
            self.faults.error(
                "study/value", span_of(self.tree, key), f"`{key}`", expected=f"{what}, at least {low}", found=str(value)
            )
            return None
        number: float = value
        return number

    def _plugins(self) -> tuple[str, ...]:
        value = self.tree.get("plugins", [])
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            self.faults.error("plugins/form", span_of(self.tree, "plugins"), "`plugins` is a list of texts")
            return ()
        for name in missing(tuple(names)):
            self.faults.error(
                "plugin/missing",
                span_of(self.tree, "plugins"),
                f"the study needs the plugin `{name}`, and a study imports nothing by itself",
                hint=f"if you trust it, give it with `--plugin {name}`",
            )
        return tuple(names)

    def _kind(self, key: str, kinds: Any) -> Choice | None:
        if self.tree.get(key) is None:
            return None
        found = read_kind(self.tree[key], self.tree, key, kinds, self.faults)
        return None if found is None else Choice(*found)

    def _section(self, key: str, section: Section) -> dict[str, Any]:
        raw = self.tree.get(key)
        if raw is None:
            return section.defaults()
        if not isinstance(raw, YMap):
            self.faults.error(
                f"{key}/form", span_of(self.tree, key), f"`{key}` is a mapping", expected=", ".join(section.by_name)
            )
            return section.defaults()
        return read_section(raw, section, f"`{key}`", self.faults)

    def _spec(self) -> Spec | None:
        tree, faults = self.tree, self.faults
        name = self._text("spec")
        if name is None:
            if "spec" not in tree:
                faults.error(
                    "study/missing", span_of(tree), "a study has a `spec`: a file, or the name of a shipped one"
                )
            return None
        variant: str | None = None
        beside = Path(self.file).resolve().parent / name
        if not name.endswith((".yaml", ".yml")):
            stem, colon, last = name.rpartition(":")
            if colon:
                name, variant = stem, last
        if beside.is_file():
            name = os.path.relpath(beside)
        try:
            spec = load(name, variant)
            settings = tree.get("set")
            if settings is None:
                return spec
            if not isinstance(settings, YMap):
                faults.error("set/form", span_of(tree, "set"), "`set` is a mapping from params to values")
                return spec
            known = spec.file.params
            values = {}
            for key, value in settings.items():
                if key not in known:
                    near = did_you_mean(str(key), known)
                    faults.error(
                        "set/unknown",
                        span_of(settings, key, key=True),
                        f"`{spec.name}` has no param `{key}`",
                        expected=", ".join(known) or "no params",
                        hint=f"did you mean `{near}`?" if near else None,
                    )
                    continue
                values[str(key)] = value
            return spec.with_settings(**values)
        except SpecError as error:
            for d in error.diagnostics:
                faults.add(
                    d
                    if d.at is not None and not d.code.startswith("variant/")
                    else Diagnostic(d.code, span_of(tree, "spec"), d.message, d.notes, d.expected, d.found, d.hint)
                )
            return None

    def _at(self, spec: Spec, graph: str | None) -> dict[str, Any]:
        raw = self.tree.get("at")
        if raw is None:
            return {}
        if not isinstance(raw, YMap):
            self.faults.error("at/form", span_of(self.tree, "at"), "`at` is a mapping from inputs to shapes")
            return {}
        inputs = spec.block(graph).inputs
        found: dict[str, Any] = {}
        for key, value in raw.items():
            if key not in inputs:
                near = did_you_mean(str(key), inputs)
                hint = f"did you mean `{near}`?" if near else None
                self.faults.error(
                    "at/unknown",
                    span_of(raw, key, key=True),
                    f"there is no input `{key}`",
                    expected=", ".join(inputs),
                    hint=hint,
                )
            elif not isinstance(value, list) or not all(
                isinstance(s, int) and not isinstance(s, bool) and s > 0 for s in value
            ):
                self.faults.error(
                    "at/size", span_of(raw, key), "a shape is a list of sizes", expected="[1, 3, 224, 224]"
                )
            else:
                found[str(key)] = tuple(value)
        return found

    def _metric(self, name: Any, at: Span) -> str | None:
        if isinstance(name, str) and is_known(name):
            return name
        near = did_you_mean(str(name), known_metrics())
        self.faults.error(
            "metric/unknown",
            at,
            f"there is no metric `{name}`",
            expected=", ".join(known_metrics()),
            hint=f"did you mean `{near}`?"
            if near
            else "a function of yours is declared with `archgraph.search.metrics.metric`, in a --plugin",
        )
        return None

    def _objectives(self) -> tuple[Objective, ...]:
        raw = self.tree.get("objectives")
        if not isinstance(raw, YMap) or not raw:
            at = span_of(self.tree, "objectives") if "objectives" in self.tree else span_of(self.tree)
            self.faults.error(
                "study/objectives",
                at,
                "a study has `objectives`: from metrics to directions",
                expected="{accuracy: maximize, macs: minimize}",
            )
            return ()
        found: list[Objective] = []
        for name, value in raw.items():
            direction, metric, where = value, name, span_of(raw, name)
            at = span_of(raw, name, key=True)
            if isinstance(value, YMap):
                for key in value:
                    if key not in ("metric", "direction"):
                        unknown_key(value, key, ["metric", "direction"], "an objective", self.faults)
                direction, metric = value.get("direction"), value.get("metric", name)
                at = span_of(value, "metric")
                where = span_of(value, "direction")
            if direction not in DIRECTIONS:
                near = did_you_mean(str(direction), DIRECTIONS)
                hint = f"did you mean `{near}`?" if near else None
                self.faults.error(
                    "study/direction",
                    where,
                    f"the direction of `{name}`",
                    expected="minimize or maximize",
                    found=None if direction is None else str(direction),
                    hint=hint,
                )
                continue
            known = self._metric(metric, at)
            if known is not None:
                found.append(Objective(str(name), known, str(direction)))
        return tuple(found)

    def _constraints(self) -> tuple[Constraint, ...]:
        raw = self.tree.get("constraints")
        if raw is None:
            return ()
        if not isinstance(raw, YMap):
            self.faults.error(
                "constraints/form",
                span_of(self.tree, "constraints"),
                "`constraints` is a mapping from metrics to limits",
                expected="{params: {max: 200000}}",
            )
            return ()
        found: list[Constraint] = []
        for name, value in raw.items():
            metric = self._metric(name, span_of(raw, name, key=True))
            if not isinstance(value, YMap) or not value or not set(value) <= {"min", "max"}:
                self.faults.error(
                    "constraints/limit",
                    span_of(raw, name),
                    f"the limits of `{name}`",
                    expected="{max: 200000}, {min: …} or both",
                )
                continue
            limits = [value.get("min"), value.get("max")]
            bad = [x for x in limits if x is not None and (isinstance(x, bool) or not isinstance(x, (int, float)))]
            if bad:
                self.faults.error(
                    "constraints/limit", span_of(raw, name), f"the limits of `{name}` are numbers", found=str(bad[0])
                )
            elif "min" in value and "max" in value and value["min"] > value["max"]:
                what = f"nothing is at least {value['min']:g} and at most {value['max']:g}"
                self.faults.error("constraints/limit", span_of(raw, name), what)
            elif metric is not None:
                found.append(Constraint(metric, limits[0], limits[1]))
        return tuple(found)

    def _agree(self, study: Study) -> None:
        """What one section needs of another."""
        needs_data = [m for m in study.metrics if m in MEASURED["trained"] or m in MEASURED["proxy"]]
        if needs_data and study.data is None and "data" not in self.tree:
            self.faults.error(
                "study/missing", span_of(self.tree), f"`{needs_data[0]}` needs `data`", expected=", ".join(DATA.kinds)
            )
        if "energy" in study.metrics and study.machine is not None and not study.machine.tells_energy:
            at = span_of(self.tree, "machine") if "machine" in self.tree else span_of(self.tree)
            self.faults.error(
                "study/machine", at, "`energy` needs a `machine` whose profile tells it", expected="machine: h100-sxm"
            )
        on = study.pruner.values.get("on", "")
        if study.pruner.kind != "none":
            if not study.trained:
                self.faults.error(
                    "study/pruner",
                    span_of(self.tree, "pruner"),
                    "a pruner needs an objective that is trained",
                    expected=", ".join(MEASURED["trained"]),
                )
            elif on and on not in MEASURED["trained"]:
                self.faults.error(
                    "study/pruner",
                    span_of(self.tree, "pruner"),
                    f"`{on}` is not reported each epoch",
                    expected=", ".join(MEASURED["trained"]),
                )
        if study.sampler.kind == "grid":
            from archgraph.search.grid import unlisted

            unlisted(study, self.tree, self.faults)
        elif study.trials is None and study.timeout is None and not {"trials", "timeout"} & set(self.tree):
            self.faults.error(
                "study/missing", span_of(self.tree), "a study ends: it has `trials`, or a `timeout` in seconds"
            )
