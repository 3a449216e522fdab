"""Renaming the keys of one state_dict into those of another, as a plan over shapes alone.

Rules run top to bottom, each at most once per key, on the result so far. Then the keys must be a bijection with equal
shapes; every failure is listed with the last rule that touched the key. No tensor is needed: a plan is made from
``{key: shape}`` tables, checked, and applied to tensors elsewhere (`archgraph.lower.weights`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from archgraph.ir.diagnostics import Span, SpecError, did_you_mean
from archgraph.ir.graph import Graph
from archgraph.spec.change import Change, reason
from archgraph.spec.expr import EvalError, Expr, UnknownName, compile
from archgraph.spec.key_patterns import KeyPattern, KeyTemplate, Match, TargetError

__all__ = ["COUNTER", "Entry", "Failure", "KeyPlan", "Piece", "Rule", "Shape", "plan_keys"]

Shape = tuple[int, ...]

#: Step counters of batch norms, which torch has since 0.4.1.
COUNTER: Final = "num_batches_tracked"


class Rule:
    """One entry of ``rename``.

    Attributes
    ----------
    pattern : KeyPattern
    within : KeyPattern or None
        The rule holds below this path only, and the pattern's root is there.
    targets : tuple of KeyTemplate
        None: the key is dropped; several: the change has as many outputs. None as an item: the name stays.
    change : Change or None
        What happens to the value.
    part, dim : int
        Number of the piece of a concatenation (None: the whole tensor), and its axis.
    when : Expr or None
        Condition over captures and surroundings.
    """

    __slots__ = ("change", "dim", "part", "pattern", "span", "targets", "when", "within")

    def __init__(
        self,
        pattern: KeyPattern,
        targets: tuple[KeyTemplate | None, ...],
        *,
        change: Change | None = None,
        part: int | None = None,
        dim: int = 0,
        when: Expr | None = None,
        within: KeyPattern | None = None,
        span: Span | None = None,
    ) -> None:
        self.pattern = pattern
        self.targets = targets
        self.change = change
        self.part = part
        self.dim = dim
        self.when = when
        self.within = within
        self.span = span

    @property
    def text(self) -> str:
        """The rule as it is written, for messages."""
        words = ["the same" if t is None else t.text for t in self.targets]
        target = "null" if not words else words[0] if len(words) == 1 else f"[{', '.join(words)}]"
        below = f" below {self.within.text}" if self.within is not None else ""
        more = "" if self.change is None else f", {self.change.op}"
        more += "" if self.part is None else f", part {self.part}"
        return f"{self.pattern.text}: {target}{more}{below}"

    def below(self, within: KeyPattern) -> Rule:
        """The same rule for a block that stands at a path.

        Raises
        ------
        ValueError
            If it stands at a path already.
        """
        if self.within is not None:
            raise ValueError("the rule stands at a path already")
        return Rule(
            self.pattern,
            self.targets,
            change=self.change,
            part=self.part,
            dim=self.dim,
            when=self.when,
            within=within,
            span=self.span,
        )

    def match(self, segments: Sequence[str]) -> Match | None:
        """The leftmost match."""
        if self.within is None:
            hits = self.pattern.matches(segments, 0, {})
            return hits[0] if hits else None
        for place in self.within.matches(segments, 0, {}):
            hits = self.pattern.matches(segments, place.stop, place.found)
            if hits:
                return hits[0]
        return None

    def __repr__(self) -> str:
        return f"<Rule {self.text}>"


class Piece(NamedTuple):
    """A tensor of theirs on its way to a key of ours: changes in turn, and which output of each goes on."""

    key: str
    steps: tuple[tuple[Graph, int], ...] = ()


class Entry(NamedTuple):
    """A key of ours: one piece, or several to be concatenated along ``dim``."""

    pieces: tuple[Piece, ...]
    dim: int = 0


class Failure(NamedTuple):
    """Why two state_dicts don't fit.

    ``kind``: ``collision``, ``missing`` (a key of ours gets nothing), ``left over`` (a key of theirs leads nowhere),
    ``shape``, or ``rule`` (it can't be applied).
    """

    kind: str
    key: str
    message: str
    rule: Rule | None = None

    def __str__(self) -> str:
        place = f", {self.rule.span}" if self.rule is not None and self.rule.span is not None else ""
        return self.message + (f" (last rule: `{self.rule.text}`{place})" if self.rule is not None else "")


@dataclass
class KeyPlan:
    """How a state_dict of theirs becomes one of ours.

    Attributes
    ----------
    entries : dict
        Key of ours → where it comes from.
    dropped : list of str
        Keys of theirs that a rule drops.
    fresh : list of str
        Keys of ours that keep their first value: step counters that old files lack.
    failures : list of Failure
    fired : set of int
        Numbers of the rules that matched some key.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    fired: set[int] = field(default_factory=set)

    @property
    def fits(self) -> bool:
        return not self.failures

    def idle(self, rules: Sequence[Rule]) -> list[Rule]:
        """Rules that matched no key."""
        return [rule for number, rule in enumerate(rules) if number not in self.fired]


class _Branch(NamedTuple):
    """A key of theirs on its way."""

    segments: tuple[str, ...]
    shape: Shape
    steps: tuple[tuple[Graph, int], ...] = ()
    part: int | None = None
    dim: int = 0
    rule: Rule | None = None

    @property
    def key(self) -> str:
        return ".".join(self.segments)


def plan_keys(
    rules: Sequence[Rule],
    theirs: Mapping[str, Shape],
    ours: Mapping[str, Shape],
    env: Mapping[str, Any] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> KeyPlan:
    """Plan how ``theirs`` become ``ours``.

    Parameters
    ----------
    rules : sequence of Rule
        In order.
    theirs, ours : mapping
        Key → shape.
    env : mapping, optional
        What expressions in rules may read.
    aliases : mapping, optional
        Keys of ours that name a tensor which stands under another key too → that key. One of them must be filled.
    """
    plan = KeyPlan()
    surroundings = {} if env is None else env
    arrived: dict[str, list[tuple[str, _Branch]]] = {}
    for key, shape in theirs.items():
        try:
            branches = _renamed(rules, key, tuple(shape), ours, surroundings, plan.fired)
        except _Stuck as stuck:
            plan.failures.append(Failure("rule", key, f"{key}: {stuck.message}", stuck.rule))
            continue
        if not branches:
            plan.dropped.append(key)
        for branch in branches:
            arrived.setdefault(branch.key, []).append((key, branch))
    names = {} if aliases is None else aliases
    _gather(plan, arrived, ours, names)
    _settle(plan, theirs, ours, names)
    return plan


class _Stuck(Exception):
    def __init__(self, message: str, rule: Rule) -> None:
        super().__init__(message)
        self.message = message
        self.rule = rule


def _renamed(
    rules: Sequence[Rule],
    key: str,
    shape: Shape,
    ours: Mapping[str, Shape],
    env: Mapping[str, Any],
    fired: set[int],
) -> list[_Branch]:
    """Where a key goes; nowhere if it is dropped."""
    branches = [_Branch(tuple(key.split(".")), shape)]
    for number, rule in enumerate(rules):
        after: list[_Branch] = []
        for branch in branches:
            hit = rule.match(branch.segments)
            if hit is None:
                after.append(branch)
                continue
            local = {**env, **{k: int(v) if k.islower() else v for k, v in hit.found.items()}}
            try:
                if rule.when is not None and not compile(rule.when)(local):
                    after.append(branch)
                    continue
                fired.add(number)
                after += _applied(rule, branch, hit, ours, local)
            except (EvalError, UnknownName, TargetError) as error:
                raise _Stuck(str(error), rule) from error
            except SpecError as error:
                raise _Stuck(reason(error), rule) from error
        branches = after
    return branches


def _applied(
    rule: Rule, branch: _Branch, hit: Match, ours: Mapping[str, Shape], env: Mapping[str, Any]
) -> list[_Branch]:
    segments, middle = branch.segments, branch.segments[hit.start : hit.stop]
    keys = [
        (*segments[: hit.start], *(middle if t is None else t.render(hit.found, env)), *segments[hit.stop :])
        for t in rule.targets
    ]
    part, dim = (branch.part, branch.dim) if rule.part is None else (rule.part, rule.dim)
    change = rule.change
    if not keys:
        return []
    if change is None:
        return [_Branch(keys[0], branch.shape, branch.steps, part, dim, rule)]
    if len(keys) == 1:
        graph = change.graph(branch.shape, env)
        return [_Branch(keys[0], _shape(graph, 0), (*branch.steps, (graph, 0)), part, dim, rule)]
    graph = _spread(change, keys, ours).graph(branch.shape, env, outputs=len(keys))
    if len(graph.outputs) != len(keys):
        raise EvalError(f"{len(graph.outputs)} pieces for {len(keys)} keys")
    return [_Branch(key, _shape(graph, k), (*branch.steps, (graph, k)), part, dim, rule) for k, key in enumerate(keys)]


def _spread(change: Change, keys: Sequence[Sequence[str]], ours: Mapping[str, Shape]) -> Change:
    """A change with as many outputs as keys, sizes taken from our shapes where it doesn't say them."""
    last = change.nodes[-1]
    if change.op == "chunk" and "chunks" not in last:
        return change.with_attributes(chunks=len(keys))
    if change.op != "split" or "split_size" in last:
        return change
    dim = last.get("dim", 0)
    if not isinstance(dim, int):
        raise EvalError("`split` without `split_size` takes a plain number as `dim`")
    sizes = []
    for key in map(".".join, keys):
        shape = ours.get(key)
        if shape is None or not -len(shape) <= dim < len(shape):
            raise EvalError(f"no size for `{key}`, which is none of ours: say `split_size`")
        sizes.append(shape[dim])
    return change.with_attributes(split_size=sizes)


def _shape(graph: Graph, output: int) -> Shape:
    shape = graph.output_types[output].shape
    return tuple(n for n in shape if isinstance(n, int))


def _gather(
    plan: KeyPlan,
    arrived: Mapping[str, list[tuple[str, _Branch]]],
    ours: Mapping[str, Shape],
    aliases: Mapping[str, str],
) -> None:
    """Put together what arrived at each key, and check it."""
    for target, items in arrived.items():
        rule = items[-1][1].rule
        if target not in ours:
            for source, branch in items:
                near = _near(target, branch.shape, ours, arrived)
                went = "" if source == target else f", renamed to {target}"
                plan.failures.append(
                    Failure("left over", source, f"{source}{_sized(branch.shape)}{went}: not ours{near}", branch.rule)
                )
            continue
        if any(branch.part is None for _, branch in items):
            if len(items) > 1:
                sources = ", ".join(source for source, _ in items)
                plan.failures.append(Failure("collision", target, f"{target}: {sources} meet here", rule))
                continue
            (source, branch) = items[0]
            entry, shape = Entry((Piece(source, branch.steps),)), branch.shape
        else:
            items = sorted(items, key=lambda item: item[1].part or 0)
            if [branch.part for _, branch in items] != list(range(len(items))):
                found = ", ".join(f"{branch.part} ({source})" for source, branch in items)
                plan.failures.append(Failure("collision", target, f"{target}: the parts are {found}", rule))
                continue
            dim = items[0][1].dim
            joined = _joined([branch.shape for _, branch in items], dim)
            if joined is None or any(branch.dim != dim for _, branch in items):
                found = ", ".join(f"{source}{_sized(branch.shape)}" for source, branch in items)
                plan.failures.append(Failure("shape", target, f"{target}: {found} don't join on axis {dim}", rule))
                continue
            entry, shape = Entry(tuple(Piece(source, branch.steps) for source, branch in items), dim), joined
        if shape != tuple(ours[target]):
            sources = ", ".join(source for source, _ in items)
            message = f"{target} has shape {list(ours[target])}, {sources} {list(shape)}"
            plan.failures.append(Failure("shape", target, message, rule))
            continue
        plan.entries[target] = entry


def _settle(plan: KeyPlan, theirs: Mapping[str, Shape], ours: Mapping[str, Shape], aliases: Mapping[str, str]) -> None:
    """Find keys of ours that got nothing."""
    reached = {failure.key for failure in plan.failures if failure.kind in ("collision", "shape")}
    filled = {aliases.get(key, key) for key in (*plan.entries, *reached)}
    old = not any(key.rpartition(".")[2] == COUNTER for key in theirs)
    for key, shape in ours.items():
        if aliases.get(key, key) in filled:
            continue
        if old and key.rpartition(".")[2] == COUNTER:
            plan.fresh.append(key)
            continue
        plan.failures.append(Failure("missing", key, f"{key}{_sized(shape)}: nothing becomes it"))


def _joined(shapes: Sequence[Shape], dim: int) -> Shape | None:
    """The shape of a concatenation; None if the shapes don't fit."""
    first = shapes[0]
    if not -len(first) <= dim < len(first):
        return None
    axis = dim % len(first)
    rests = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes if len(shape) == len(first)}
    if len(rests) != 1 or any(len(shape) != len(first) for shape in shapes):
        return None
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])


def _near(target: str, shape: Shape, ours: Mapping[str, Shape], arrived: Iterable[str]) -> str:
    """A key of ours that got nothing, has the shape, and is called alike."""
    taken = set(arrived)
    near = did_you_mean(target, (key for key, own in ours.items() if tuple(own) == shape and key not in taken))
    return f" (is it {near}?)" if near else ""


def _sized(shape: Sequence[int]) -> str:
    return f" [{', '.join(map(str, shape))}]"
