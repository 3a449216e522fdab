"""One match becoming its replacement: params, conditions, the new nodes, and what becomes of the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Cond, Dim, Facts, decider, eq, rounded
from archgraph.ir.graph import Graph, Guard, Node, ValueRef
from archgraph.ir.real import NeedsValue
from archgraph.ir.types import TensorType
from archgraph.ops.base import get_op
from archgraph.rewrite.keep import SITE
from archgraph.rewrite.match import Match
from archgraph.rewrite.rule import Rule
from archgraph.rewrite.weights import Moves, moves_of, owned
from archgraph.spec.explain import show_value
from archgraph.spec.expr import UnknownName
from archgraph.spec.frame import FAULTS, Frame, Session
from archgraph.spec.params import check_param, param_default
from archgraph.spec.requirements import condition, parts
from archgraph.spec.values import Record, Ref, Turns, Values, flatten

__all__ = ["Refused", "Replacement", "Site", "complete"]

Settings = Mapping[str, Any]


class Refused(Exception):
    """A match can't be replaced; the text says why. ``node`` is the label that it is about."""

    def __init__(self, reason: str, label: str = "", warn: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.label = label


class TypeDiffers(Refused):
    """A replacement does not have the type of what it replaces."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes the place of a match.

    ``graph``: the new nodes; its inputs are ``operands`` of the graph around. ``removed``: numbers of the nodes that
    go. ``outputs``: for every value of the match that others read, the new one (an output of ``graph``). ``names``:
    node of ``graph`` → the old node whose name it takes. ``warnings``: conditions that do not hold and do not forbid.
    """

    graph: Graph
    operands: tuple[ValueRef, ...]
    removed: tuple[int, ...]
    outputs: Mapping[ValueRef, int]
    names: Mapping[str, int]
    moves: Moves
    guards: tuple[Guard, ...]
    warnings: tuple[str, ...]


class Site:
    """A match being replaced; gives `archgraph.rewrite.keep.KeepPlan` what it needs."""

    def __init__(self, graph: Graph, match: Match) -> None:
        self.graph = graph
        self.match = match
        self.known: dict[ValueRef, Ref] = {}
        self.operands: list[ValueRef] = []

    def node(self, label: str) -> Node | None:
        """The matched node of a label."""
        k = self.match.nodes.get(label)
        return None if k is None else self.graph.nodes[k]

    def ref(self, f: Frame, ref: ValueRef) -> Ref:
        """A value of the graph as an input of the replacement."""
        found = self.known.get(ref)
        if found is None:
            name = self.graph.inputs[ref[1]][0] if ref[0] < 0 else self.graph.nodes[ref[0]].name
            own, k = name, 2
            taken = {n for n, _ in f.inputs}
            while own in taken:
                own, k = f"{name}_{k}", k + 1
            found = self.known[ref] = f.add_input(own, self.graph.type_of(ref))
            self.operands.append(ref)
        return found

    def value(self, f: Frame, label: str) -> Any:
        """The value of a kept node."""
        k = self.match.nodes.get(label)
        if k is None:
            return None
        node = self.graph.nodes[k]
        refs = [self.ref(f, (k, out)) for out in range(len(node.types))]
        if len(refs) == 1:
            return refs[0]
        names = [n for n, _ in node.callee.outputs] if node.op is None else list(getattr(node.op, "outputs", ()))
        return Record(zip(names if len(names) == len(refs) else map(str, range(len(refs))), refs, strict=True))


def complete(
    rule: Rule, env: dict[str, Any], settings: Settings, captures: Mapping[str, int], surroundings: Settings
) -> None:
    """Put a rule's params into an environment, in order.

    ``settings`` are values, or functions of names; ``surroundings`` are what these may read besides.

    Raises
    ------
    Refused
        If one has no value.
    """
    env.update(captures)
    for name, p in rule.params.items():
        given = settings.get(name)
        try:
            if given is not None:
                value = given({**surroundings, **env}) if callable(given) else given
                env[name] = check_param(p, value)
            elif p.required:
                raise Refused(f"the param `{name}` has no default", name)
            else:
                env[name] = param_default(p, env)
        except FAULTS as error:
            hint = ""
            if isinstance(error, UnknownName) and error.name not in env:
                hint = ": give the sites by paths that bind it" if len(error.name) == 1 else ""
            raise Refused(f"the param `{name}` has no value: {error}{hint}", name) from error


def check_requires(rule: Rule, env: Mapping[str, Any], known: Iterable[Guard] = ()) -> tuple[list[Guard], list[str]]:
    """Conditions that are undecided even by what is known, and warnings.

    Raises
    ------
    Refused
        For a condition that does not hold.
    """
    facts = Facts(guard.cond for guard in known)
    guards: list[Guard] = []
    warnings: list[str] = []
    for r in rule.requires:
        assert r.expr is not None
        value: Any = True
        try:
            value = condition(r.expr, env)
        except NeedsValue:
            pass
        except FAULTS as error:
            raise Refused(f"requires: {r.why} ({error})") from error
        if isinstance(value, Cond):
            value = facts.decide(value)
        if isinstance(value, Cond):
            if not r.warn:
                guards += [Guard(part, r.why, r.span) for part in parts(value)]
            continue
        if value is True:
            continue
        names = {n: env.get(n) for n in sorted(r.expr.names)}
        found = ", ".join(f"{n} = {show_value(v)}" for n, v in names.items() if isinstance(v, (int, float, Dim, tuple)))
        text = f"{r.why} ({r.expr}; {found})"
        if r.warn:
            warnings.append(text)
        else:
            raise Refused(f"requires: {text}")
    return guards, warnings


def replaced(
    rule: Rule, graph: Graph, match: Match, env: dict[str, Any], session: Session, context: Mapping[str, ValueRef] = {}
) -> Replacement:
    """The replacement of a match, typed.

    Raises
    ------
    Refused
        If values of the match are used outside, or types differ.
    SpecError
        For faults in the replacement itself.
    """
    assert rule.replace is not None
    kept = {match.nodes[n] for n in rule.kept}
    removed = tuple(sorted({k for k in match.nodes.values() if k is not None and k not in kept}))
    wanted = _outputs(rule, graph, match)
    _check_uses(graph, match, removed, set(wanted))
    guards, warnings = check_requires(rule, env, (*graph.guards, *match.guards))
    site = Site(graph, match)
    scope: dict[str, Any] = dict(env)
    f = Frame(session, rule.block, scope, ())
    f.span = rule.block.span
    for guard in (*graph.guards, *match.guards, *guards):
        f.hold(guard)
    scope[SITE] = site
    first: Any = None
    for name in match.pattern.inputs:
        ref = match.values.get(name)
        scope[name] = None if ref is None else site.ref(f, ref)
        if first is None:
            first = scope[name]
    if not match.pattern.inputs:  # the first operand of the pattern's first node
        k = match.nodes[next(iter(match.pattern.nodes))]
        operands = graph.nodes[k].inputs if k is not None else ()
        first = site.ref(f, operands[0]) if operands and operands[0] is not None else None
    for name, refs in match.rest.items():
        scope[name] = Values(site.ref(f, r) for r in refs)
    for name, ref in context.items():
        scope[name] = site.ref(f, ref)
    for label in rule.kept:
        scope[label] = site.value(f, label)
    for alias, operand in match.pattern.aliases.items():
        if operand.kind == "node" and operand.name in rule.kept and alias not in scope:
            k = match.nodes[operand.name]
            if k is not None and isinstance(operand.out, int):
                scope[alias] = site.ref(f, (k, operand.out))
    session.begin()
    last = rule.replace.run(f, first)
    value = rule.replace.output_value(f) if rule.replace.outputs is not None else last
    session.faults.raise_if_any()
    if isinstance(value, Turns):
        value = value.last
    got = [r for _, r in flatten(value)] if isinstance(value, (Ref, Record, Values)) else []
    if len(got) != len(wanted):
        raise TypeDiffers(f"the replacement gives {len(got)} values, the match {len(wanted)}")
    outputs: dict[ValueRef, int] = {}
    for k, (old, new) in enumerate(zip(wanted, got, strict=True)):
        before = graph.type_of(old)
        if before != new.type:
            got[k] = new = _written_as(f, new, before)
        if before.layout and not new.type.layout and new.ref[0] >= 0:
            _lay_out(f, new.ref, before)
        outputs[old] = k
    fragment = f.finish(tuple((f"y{k}", r.ref) for k, r in enumerate(got)), (), rule.name)
    fragment = _frozen(graph, removed, fragment)
    names = {n.name: k for n in fragment.nodes if (k := match.nodes.get(n.name)) is not None and k in removed}
    moves = moves_of(rule, graph, match, removed, fragment, scope, session)
    return Replacement(
        fragment,
        tuple(site.operands),
        removed,
        outputs,
        names,
        moves,
        (*match.guards, *guards),
        tuple(warnings),
    )


def _frozen(graph: Graph, removed: tuple[int, ...], fragment: Graph) -> Graph:
    """What takes the place of frozen weights is frozen."""
    owners = [graph.nodes[k] for k in removed if owned(graph, graph.nodes[k].replace(share=None))]
    if not owners or not all("frozen" in n.flags for n in owners):
        return fragment
    nodes = tuple(n.replace(flags=n.flags | {"frozen"}) if owned(fragment, n) else n for n in fragment.nodes)
    return fragment.replace(nodes=nodes)


def _written_as(f: Frame, new: Ref, before: TensorType) -> Ref:
    """The new value with its sizes written as those of the old one; what is undecided about that becomes a guard.

    Raises
    ------
    TypeDiffers
        If they are not equal, nor up to roundings such as those of windows that tile a map.
    """
    t = new.type
    same = t.dtype == before.dtype and t.rank == before.rank
    for n, m in zip(t.shape, before.shape, strict=True) if same else ():
        cond = f.facts.decide(eq(n, m))
        same = same and (
            cond is True or (isinstance(cond, Cond) and (rounded(n - m) or (decider.get() is not None and bool(cond))))
        )
    if not same:
        raise TypeDiffers(f"the replacement is {t}, what it replaces {before}")
    for n, m in zip(t.shape, before.shape, strict=True):
        f.require(eq(n, m), f"the replacement must have the size of what it replaces, {before}")
    op = get_op("same_shape")
    assert op is not None
    written = t.with_shape(*before.shape)
    index = f.append(Node(f.unique("same"), op.make(), (new.ref, new.ref), (written,), origin=f.span))
    return Ref((index, 0), written)


def _lay_out(f: Frame, ref: ValueRef, like: TensorType) -> None:
    """Keep what was known about the axes of a value."""
    k, out = ref
    types = f.nodes[k].types
    t = types[out]
    for axis, layout in like.layout:
        t = t.with_layout(axis, layout)
    f.nodes[k] = f.nodes[k].replace(types=(*types[:out], t, *types[out + 1 :]))


def _outputs(rule: Rule, graph: Graph, match: Match) -> list[ValueRef]:
    """Values of the match that the replacement must give."""
    pattern = match.pattern
    if pattern.outputs is None:
        k = match.nodes[pattern.root.name]
        assert k is not None
        return [(k, out) for out in range(len(graph.nodes[k].types))]
    found: list[ValueRef] = []
    for _, operand in pattern.outputs:
        k = match.nodes[operand.name]
        if k is None:
            raise Refused(f"the output `{operand.name}` is optional and not there", operand.name)
        out = operand.out
        if isinstance(out, str):
            node = graph.nodes[k]
            names = [n for n, _ in node.callee.outputs] if node.op is None else list(getattr(node.op, "outputs", ()))
            out = names.index(out) if out in names else 0
        found.append((k, out))
    return found


def _check_uses(graph: Graph, match: Match, removed: tuple[int, ...], given: set[ValueRef]) -> None:
    """Inner values of a match may not be used outside."""
    gone = set(removed)
    inside = {k for k in match.nodes.values() if k is not None}
    label = {k: n for n, k in match.nodes.items()}
    for j, node in enumerate(graph.nodes):
        if j not in inside:
            for r in (*node.inputs, *(r for _, r in node.weights)):
                if r is not None and r[0] in gone and r not in given:
                    raise Refused(f"`{label[r[0]]}` is also read by `{node.name}`", label[r[0]])
        if j in gone:
            continue
        owner = None  # what shares weights is replaced together with their owner: the engine sees to it
        if node.op is not None and node.op.reads is not None:
            owner = node.op.reads.partition(".")[0]
        if owner is not None:
            for k in gone:
                if graph.nodes[k].name == owner:
                    raise Refused(f"`{node.name}` uses the weights of `{label[k]}`", label[k])
    for name, r in graph.outputs:
        if r[0] in gone and r not in given:
            raise Refused(f"`{label[r[0]]}` is also the output `{name}`", label[r[0]])


def fault(rule: Rule, reason: str, **more: Any) -> SpecError:
    """An error about a rule as a whole."""
    return SpecError(Diagnostic("rule/site", rule.span("replace"), reason, **more))
