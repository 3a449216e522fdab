"""Rules applied: what is found, what it becomes, and what happens to the weights."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean
from archgraph.ir.dim import Num, eq, holds
from archgraph.ir.graph import Graph
from archgraph.ops.base import OpError
from archgraph.ops.verify import VerifyError, verify
from archgraph.rewrite.context import pruned
from archgraph.rewrite.done import Done, follow, lost
from archgraph.rewrite.engine import Engine, Place, nearest
from archgraph.rewrite.match import Miss
from archgraph.rewrite.paths import PathPattern, PatternError
from archgraph.rewrite.rule import Rule, Where, load_rule
from archgraph.rewrite.weights import Source
from archgraph.spec.frame import Session
from archgraph.spec.load import Spec, load

__all__ = ["Found", "Rewritten", "Step", "WeightStep", "apply_rule", "find", "rewrite"]

#: Rounds of a rule that is applied until nothing changes.
MAX_ROUNDS: Final = 256


@dataclass(frozen=True)
class WeightStep:
    """How the weights of one graph become those of the next.

    ``sources``: new path → where it comes from. ``dropped``: old paths that are lost.
    """

    sources: Mapping[str, Source]
    dropped: tuple[str, ...]

    def of_kind(self, kind: str) -> list[str]:
        """New paths whose weights are ``carried``, ``computed`` or ``new``."""
        return [path for path, source in self.sources.items() if source.kind == kind]


@dataclass(frozen=True)
class Step:
    """One rule applied to one graph.

    Attributes
    ----------
    rule : Rule
    before, after : Graph
    places : tuple of Place
        Where, instance by instance; all turns of a chain that stays rolled are one place.
    warnings : tuple of str
        Conditions that do not hold and do not forbid.
    rounds : tuple of Done
        One, or for rules that repeat one per round.
    """

    rule: Rule
    before: Graph
    after: Graph
    places: tuple[Place, ...]
    warnings: tuple[str, ...]
    rounds: tuple[Done, ...]

    @property
    def count(self) -> Num:
        """How many sites were replaced."""
        return sum((p.times for p in self.places), start=0)

    @cached_property
    def weights(self) -> tuple[WeightStep, ...]:
        """What happens to weights, round by round."""
        return tuple(WeightStep(dict(follow(done)), tuple(lost(done))) for done in self.rounds)


@dataclass(frozen=True)
class Rewritten:
    """Rules applied one after the other.

    Attributes
    ----------
    before, after : Graph
    steps : tuple of Step
    spec : Spec or None
        Where the graph came from.
    """

    before: Graph
    after: Graph
    steps: tuple[Step, ...]
    spec: Spec | None = None

    @property
    def graph(self) -> Graph:
        """`after`."""
        return self.after

    @property
    def count(self) -> Num:
        return sum((s.count for s in self.steps), start=0)

    @property
    def weights(self) -> tuple[WeightStep, ...]:
        """What happens to weights, step by step."""
        return tuple(w for s in self.steps for w in s.weights)

    def weight_table(self) -> list[tuple[str, str, str]]:
        """Rows ``(new path, kind, from)`` over all steps, then the dropped: ``(old path, "dropped", "")``.

        Kinds are ``carried``, ``computed``, ``new`` and ``dropped``.
        """
        known: dict[str, tuple[str, tuple[str, ...]]] | None = None
        gone: list[str] = []
        for step in self.weights:
            now: dict[str, tuple[str, tuple[str, ...]]] = {}
            for path, source in step.sources.items():
                if known is None or source.kind == "new":
                    now[path] = (source.kind, source.paths)
                    continue
                above = [known.get(p, ("carried", (p,))) for p in source.paths]
                kinds = {kind for kind, _ in above}
                kind = above[0][0] if source.kind == "carried" else "computed"
                if source.kind == "computed" and kinds == {"new"}:
                    kind = "new"
                now[path] = (kind, tuple(dict.fromkeys(p for _, paths in above for p in paths)))
            for path in step.dropped:
                kind, paths = ("carried", (path,)) if known is None else known.get(path, ("carried", (path,)))
                if kind != "new":
                    gone += paths
            known = now
        rows = [(path, kind, ", ".join(paths)) for path, (kind, paths) in (known or {}).items()]
        used = {p for _, paths in (known or {}).values() for p in paths}
        return rows + [(path, "dropped", "") for path in dict.fromkeys(gone) if path not in used]

    def __repr__(self) -> str:
        return f"<Rewritten {self.before.name}: {', '.join(f'{s.rule.name} × {s.count}' for s in self.steps)}>"


@dataclass(frozen=True)
class Found:
    """Where a pattern stands in a graph.

    ``places`` as in `Step`; ``refused``: matches that the rule would not replace, with the reason; ``miss``: why
    nothing was found, with the nearest miss.
    """

    rule: Rule
    graph: Graph
    places: tuple[Place, ...]
    refused: tuple[str, ...]
    miss: Diagnostic | None

    @property
    def count(self) -> Num:
        return sum((p.times for p in self.places), start=0)

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places)

    def __len__(self) -> int:
        n = self.count
        if not isinstance(n, int):
            raise TypeError(f"{n} sites: the number is symbolic")
        return n


def _rule(rule: Rule | str | os.PathLike[str]) -> Rule:
    return rule if isinstance(rule, Rule) else load_rule(rule)


def where_of(where: Where | str | Sequence[str] | None) -> Where | None:
    """Sites as given in a call: a path pattern or several.

    Raises
    ------
    SpecError
        If one is not written as a path.
    """
    if where is None or isinstance(where, Where):
        return where
    texts = [where] if isinstance(where, str) else list(where)
    try:
        return Where(tuple(PathPattern(t) for t in texts), None, ", ".join(texts))
    except PatternError as error:
        raise SpecError(Diagnostic("where/path", None, f"`{', '.join(texts)}`: {error}")) from error


def find(
    target: Any,
    rule: Rule | str | os.PathLike[str],
    *,
    where: Where | str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    at: Mapping[str, Any] | None = None,
) -> Found:
    """Where the pattern of a rule stands, without replacing anything; the target is one of `rewrite`.

    Raises
    ------
    SpecError
        For faults in the rule, the spec or the settings.
    """
    graph, session, _ = _graph(target, at)
    rule = _rule(rule)
    engine = Engine(rule, checked_params(rule, settings or {}), where_of(where), session)
    try:
        graph = engine.with_context(graph)
        tree = engine.tree(graph)
    except OpError as error:
        raise SpecError(Diagnostic("rule/site", rule.span("match"), str(error))) from error
    places = tuple(engine.places(graph, tree))
    refused = tuple(f"{g.name}.{g.nodes[k].name}: {reason}" for g, k, _, reason in engine.refused.values())
    miss = nothing(engine, graph) if not places else None
    return Found(rule, graph, places, refused, miss)


def rewrite(
    target: Any,
    rule: Rule | str | os.PathLike[str] | Sequence[Any],
    *,
    where: Where | str | Sequence[str] | None = None,
    expect: int | None = None,
    settings: Mapping[str, Any] | None = None,
    at: Mapping[str, Any] | None = None,
    **more: Any,
) -> Any:
    """Apply a rule, or several in order.

    Parameters
    ----------
    target : Spec, Graph, shipped name, path, or a built `torch.fx.GraphModule`
    rule : Rule, name of a shipped rule, path; or a list of them
    where : path pattern or list, optional
        Takes the place of the rule's own ``where``.
    expect : int, optional
        How many sites there must be; any but none is fine if left out.
    settings, **more
        Params of the rule.
    at : mapping, optional
        Input shapes, where the target is a spec.

    Returns
    -------
    Rewritten
        For a built model `archgraph.lower.rewriting.RewrittenModule`, whose ``module`` is the new one.

    Raises
    ------
    SpecError
        For faults in the rule or the spec, if no site is found, or not as many as expected.
    """
    given = {**(settings or {}), **more}
    if not isinstance(target, (Spec, Graph, str, os.PathLike)):
        return _models().rewrite_module(target, rule, where=where, expect=expect, settings=given)
    graph, session, spec = _graph(target, at)
    rules = list(rule) if isinstance(rule, Sequence) and not isinstance(rule, str) else [rule]
    steps: list[Step] = []
    now = graph
    for each in rules:
        step = apply_rule(now, _rule(each), settings=given, where=where_of(where), expect=expect, session=session)
        steps.append(step)
        now = step.after
    return Rewritten(graph, now, tuple(steps), spec)


def apply_rule(
    graph: Graph,
    rule: Rule,
    *,
    settings: Mapping[str, Any] | None = None,
    where: Where | None = None,
    expect: int | None = None,
    session: Session | None = None,
    surroundings: Mapping[str, Any] | None = None,
    span: Any = None,
) -> Step:
    """Apply one rule to a graph; ``settings`` may hold functions of what is bound at a site.

    Raises
    ------
    SpecError
        As `rewrite`.
    """
    if rule.replace is None:
        raise SpecError(Diagnostic("rule/replace", rule.span("match"), f"`{rule.name}` has no `replace`"))
    given = checked_params(rule, settings or {}, span)
    session = Session() if session is None else session
    rounds: list[Done] = []
    places: list[Place] = []
    warnings: dict[str, None] = {}
    now = graph
    first: Engine | None = None
    for _ in range(MAX_ROUNDS if rule.fixpoint else 1):
        engine = Engine(rule, given, where, session, surroundings)
        first = engine if first is None else first
        try:
            now = engine.with_context(now)
            tree = engine.tree(now)
        except OpError as error:
            raise SpecError(Diagnostic("where/if", span or rule.span("where"), str(error))) from error
        if tree is None:
            break
        try:
            done = engine.rebuild(now, tree)
        except OpError as error:
            raise SpecError(Diagnostic("rule/site", span or rule.span("replace"), str(error))) from error
        try:
            verify(done.graph)
        except VerifyError as error:
            first_fault = error.violations[0]
            raise SpecError(
                Diagnostic(
                    "rule/graph", span or rule.span("replace"), f"`{rule.name}` leaves a broken graph: {first_fault}"
                )
            ) from error
        places += engine.places(now, tree)
        warnings.update(engine.warnings)
        rounds.append(done)
        now = pruned(done.graph) if rule.context else done.graph
    else:
        if rule.fixpoint:
            raise SpecError(
                Diagnostic(
                    "rule/fixpoint", rule.span("repeat"), f"`{rule.name}` still applies after {MAX_ROUNDS} rounds"
                )
            )
    assert first is not None
    count = sum((p.times for p in places), start=0)
    wanted = expect is None and not places
    if wanted or (expect is not None and not holds(eq(count, expect))):
        raise SpecError(_missed(first, graph, expect, count, span))
    return Step(rule, graph, now, tuple(places), tuple(warnings), tuple(rounds))


def _missed(engine: Engine, graph: Graph, expect: int | None, count: Num, span: Any) -> Diagnostic:
    if count == 0:
        return nothing(engine, graph, span, expect)
    return Diagnostic(
        "rule/expect",
        span or engine.rule.span("match"),
        f"`{engine.rule.name}` has {count} sites in `{graph.name}`",
        expected=str(expect),
        found=str(count),
    )


def nothing(engine: Engine, graph: Graph, span: Any = None, expect: int | None = None) -> Diagnostic:
    """Why a rule found nothing: its nearest miss."""
    rule = engine.rule
    notes: list[tuple[Any, str]] = []
    hint = None
    miss = nearest(engine)
    if engine.outside and not engine.refused:
        first = f", such as `{engine.first_outside}`" if engine.first_outside else ""
        hint = f"{engine.outside} match{'es' * (engine.outside > 1)} outside `where: {engine.where.text}`{first}"
    elif miss is not None:
        notes += explain(engine, miss)
    else:
        word = rule.pattern.root.word
        names = {n.callees[0].name if n.op is None else n.op.op_name for g in graph.graphs() for n in g.nodes}
        near = did_you_mean(word, names)
        hint = f"no node is a `{word}`" + (f"; there is `{near}`" if near else "")
    wanted = f"{expect} sites" if expect is not None else None
    return Diagnostic(
        "rule/nothing",
        span or rule.span("match"),
        f"`{rule.name}` finds nothing to replace in `{graph.name}`",
        tuple(notes),
        wanted,
        hint=hint,
    )


def explain(engine: Engine, miss: Miss) -> list[tuple[Any, str]]:
    """A miss as notes: where, how far the pattern got, and why it failed there."""
    node = miss.graph.nodes[miss.node]
    pattern = engine.rule.pattern
    total = len(pattern.nodes)
    label = f"`{miss.label}`: " if miss.label in pattern.nodes or miss.label in pattern.inputs else ""
    notes: list[tuple[Any, str]] = [
        (node.origin, f"nearest miss: `{miss.graph.name}.{node.name}`, {int(miss.depth)} of {total} nodes in place")
    ]
    p = pattern.nodes.get(miss.label)
    notes.append((p.span if p is not None else None, f"{label}{miss.reason}"))
    return notes


def checked_params(rule: Rule, settings: Mapping[str, Any], span: Any = None) -> dict[str, Any]:
    """Settings of a rule's params; texts are read as in a spec's ``--set``.

    Raises
    ------
    SpecError
        For unknown names and unreadable values.
    """
    from archgraph.ir.diagnostics import Collector
    from archgraph.spec.settings import setting_value

    faults = Collector()
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name not in rule.params:
            near = did_you_mean(name, rule.params)
            faults.error(
                "set/unknown",
                span,
                f"the rule `{rule.name}` has no param `{name}`",
                expected=", ".join(rule.params) or "no params",
                hint=f"did you mean `{near}`?" if near else None,
            )
        elif callable(value):
            found[name] = value
        elif isinstance(value, str) and rule.params[name].kind not in ("text", "choice"):
            found[name] = _expression(rule, name, value, faults)
        else:
            found[name] = setting_value(rule.file, name, value, faults)
    faults.raise_if_any()
    return found


def _expression(rule: Rule, name: str, text: str, faults: Any) -> Any:
    """A setting given as text: a value, or an expression over what is bound at a site."""
    from archgraph.spec.compile import Compiler
    from archgraph.spec.model import Block
    from archgraph.spec.values import tidy
    from archgraph.spec.yaml import dump_yaml, load_yaml

    try:
        tree = load_yaml(f"{name}: {text}" if text.strip() else f"{name}: null", f"--set {name}")
    except SpecError:  # an expression such as `[9, 16, 49][s]`, which a file would quote
        tree = load_yaml(dump_yaml({name: text}), f"--set {name}")
    compiler = Compiler(Block("", rule.file, None, root=True), faults)
    const, value = compiler.argument(rule.params[name], tree[name], tree, name, set())
    return tidy(value) if const else value


def _models() -> Any:
    """Rules on built models, which alone need torch."""
    from importlib import import_module

    return import_module("archgraph.lower." + "rewriting")


def _graph(target: Any, at: Mapping[str, Any] | None) -> tuple[Graph, Session, Spec | None]:
    if isinstance(target, Graph):
        return target, Session(), None
    if not isinstance(target, (Spec, str, os.PathLike)):
        return _models().graph_of(target), Session(), None
    spec = target if isinstance(target, Spec) else load(target)
    return spec.graph(at=at), spec.session, spec
