"""Rules on whole graphs: every distinct graph is searched once, shared blocks are rewritten once, and a choice of
instances splits what was shared.

A *tree* says which matches of a graph, and of the graphs below it, are replaced. Equal trees on the same graph give the
same new graph. A chain is unrolled only where its turns differ, or where a rule replaces whole turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from archgraph.ir.dim import Cond, Num, holds
from archgraph.ir.graph import Graph, Node, ValueRef, late_of
from archgraph.ir.paths import turn_of
from archgraph.ir.real import Late
from archgraph.ops.base import OpError
from archgraph.ops.higher import Regional
from archgraph.rewrite.context import bound, locate, threaded
from archgraph.rewrite.done import Done
from archgraph.rewrite.match import Match, Matcher, Miss
from archgraph.rewrite.rule import Rule, Where
from archgraph.rewrite.same import same_block
from archgraph.rewrite.site import Refused, Replacement, Settings, complete, replaced
from archgraph.rewrite.splice import Loop, Spliced, splice
from archgraph.rewrite.weights import WeightFault
from archgraph.spec.frame import FAULTS, Session
from archgraph.spec.model import Block
from archgraph.spec.params import check_param, param_default

__all__ = ["Engine", "Place", "Tree", "nearest", "unrolled"]

Path = tuple[str, ...]
Captures = tuple[tuple[str, int], ...]


class Tree(NamedTuple):
    """Which matches are replaced: ``local`` as (root, numbers bound by its path); ``below`` as (node, region, whether
    the node's chain is unrolled, tree)."""

    local: tuple[tuple[int, Captures], ...]
    below: tuple[tuple[int, int, bool, Tree], ...]


class Place(NamedTuple):
    """A site: its path (``*`` for all turns of a chain), and how many instances that is."""

    path: Path
    times: Num


class Engine:
    """One rule, with its settings, on one graph."""

    def __init__(
        self,
        rule: Rule,
        settings: Settings | None = None,
        where: Where | None = None,
        session: Session | None = None,
        surroundings: Settings | None = None,
    ) -> None:
        self.rule = rule
        self.settings = dict(settings or {})
        self.where = rule.where if where is None else where
        self.session = Session() if session is None else session
        self.surroundings = dict(surroundings or {})
        self.matcher = Matcher(rule.pattern, self.session, self._param)
        self._cores: list[Matcher] | None = None
        self.root: Graph | None = None
        self.root_values: Mapping[str, ValueRef] = {}
        self.by_path = bool(self.where.paths)
        #: Numbers bound by paths that the replacement can depend on: sites that differ in others are alike.
        self.read = self.where.captures & _read(rule, self.settings)
        self.refused: dict[tuple[int, int], tuple[Graph, int, str, str]] = {}
        self.warnings: dict[str, None] = {}
        #: Matches that ``where`` leaves out, and the path of the first.
        self.outside: int = 0
        self.first_outside = ""
        self._local: dict[int, tuple[Graph, list[Match]]] = {}
        self._attempts: dict[tuple[int, int, Captures], Replacement | None] = {}
        self._trees: dict[int, Tree | None] = {}
        self._done: dict[tuple[int, Tree], Done] = {}
        self._loops: dict[tuple[int, int], Graph] = {}
        self._kept: list[Graph] = []

    # -- finding -----------------------------------------------------------------------------------------------------

    def local(self, graph: Graph) -> list[Match]:
        """Matches in a graph itself."""
        known = self._local.get(id(graph))
        if known is None:
            known = self._local[id(graph)] = (graph, self._found(graph))
        return known[1]

    def _found(self, graph: Graph) -> list[Match]:
        """Matches of the pattern, and of what is inside its block where the block itself is not there."""
        found = self.matcher.find(graph)
        target = self.rule.pattern.root.targets[0] if self.rule.pattern.root.targets else None
        if not isinstance(target, Block) or same_block(target, graph, self.session):
            return found
        if self._cores is None:
            self._cores = [Matcher(p, self.session, self._param) for p in self.rule.cores]
        taken = {k for m in found for k in m.nodes.values()}
        for matcher in self._cores:
            for m in matcher.find(graph):
                if taken.isdisjoint(m.nodes.values()):
                    found.append(m)
                    taken.update(m.nodes.values())
        return sorted(found, key=lambda m: m.root)

    def _param(self, env: dict[str, Any], name: str) -> bool:
        """Put a param that a pattern names into an environment, if it has a value by now."""
        p = self.rule.params.get(name)
        if p is None:
            return False
        given = self.settings.get(name)
        try:
            if given is not None:
                env[name] = check_param(p, given({**self.surroundings, **env}) if callable(given) else given)
            elif p.required:
                return False
            else:
                env[name] = param_default(p, env)
        except FAULTS:
            return False
        return True

    def children(self, graph: Graph) -> Iterator[tuple[int, int, Path, Graph, bool]]:
        """Graphs below: node, region, path segments, graph, and whether it is an unrolled chain."""
        for k, node in enumerate(graph.nodes):
            if not node.callees or "unused" in node.flags:
                continue
            if node.op is not None:
                if isinstance(node.op, Regional):
                    for r, (segments, region) in enumerate(zip(type(node.op).segments, node.callees, strict=True)):
                        yield k, r, (node.name, *segments), region, False
                continue
            if node.share is not None:
                continue
            if node.count == 1:
                yield k, 0, (node.name,), node.callee, False
            elif isinstance(node.count, int) and not node.weights and (self.by_path or self.matcher.wants(node)):
                yield k, 0, (node.name,), self.loop(graph, k), True
            else:
                # a piece of a chain is a run of its turns, whose number is open
                yield k, 0, ("*",) if "piece" in node.flags else (node.name, "*"), node.callee, False

    def loop(self, graph: Graph, k: int) -> Graph:
        """A chain as a graph with a node for every turn."""
        known = self._loops.get((id(graph), k))
        if known is None:
            known = self._loops[(id(graph), k)] = unrolled(graph, graph.nodes[k])
            self._kept.append(graph)
        return known

    def tree(self, graph: Graph) -> Tree | None:
        """What is replaced in a graph; None for nothing."""
        return self._tree(graph, ())

    def _tree(self, graph: Graph, path: Path) -> Tree | None:
        if not self.by_path:
            key = id(graph)
            if key not in self._trees:
                self._trees[key] = self._grow(graph, path)
                self._kept.append(graph)
            return self._trees[key]
        return self._grow(graph, path)

    def _grow(self, graph: Graph, path: Path) -> Tree | None:
        local: list[tuple[int, Captures]] = []
        for m in self.local(graph):
            captures = self._chosen((*path, graph.nodes[m.root].name))
            if captures is not None:
                local.append((m.root, captures))
        local = self._feasible(graph, local)
        gone = {k for root, captures in local for k in self._removed(graph, root, captures)}
        below: list[tuple[int, int, bool, Tree]] = []
        for k, region, segments, callee, is_loop in self.children(graph):
            if k in gone:
                continue
            tree = self._tree(callee, (*path, *segments))
            if tree is None:
                continue
            if is_loop:
                same = _same_turns(callee, tree)
                if same is not None:
                    below.append((k, region, False, same))
                    continue
            below.append((k, region, is_loop, tree))
        return Tree(tuple(local), tuple(below)) if local or below else None

    def _chosen(self, path: Path) -> Captures | None:
        """The numbers that a site's path binds; None if it is not chosen."""
        found = self.where.match(path)
        if found is None:
            self.outside += 1
            self.first_outside = self.first_outside or ".".join(map(str, path))
            return None
        if self.where.condition is not None:
            try:
                chosen = self.where.condition({**self.surroundings, **self._plain(), **found})
                if not (isinstance(chosen, (bool, Cond)) and holds(chosen)):
                    self.outside += 1
                    return None
            except FAULTS as error:
                raise OpError(f"`if: {self.where.condition.tree}`: {error}") from error
        return tuple(sorted((n, v) for n, v in found.items() if n in self.read))

    def _plain(self) -> dict[str, Any]:
        """Params that have a value before anything is matched."""
        env: dict[str, Any] = {}
        for name in self.rule.params:
            self._param(env, name)
        return env

    def _removed(self, graph: Graph, root: int, captures: Captures) -> tuple[int, ...]:
        if self.rule.replace is None:
            return ()
        found = self.attempt(graph, self._match(graph, root), captures)
        return found.removed if found is not None else ()

    def _match(self, graph: Graph, root: int) -> Match:
        return next(m for m in self.local(graph) if m.root == root)

    def _feasible(self, graph: Graph, local: list[tuple[int, Captures]]) -> list[tuple[int, Captures]]:
        """Sites that can be replaced: conditions hold, types agree, and shared weights go together."""
        if self.rule.replace is None:
            return local
        found = [item for item in local if self.attempt(graph, self._match(graph, item[0]), item[1]) is not None]
        while True:
            held: dict[str, int] = {}
            for root, captures in found:
                for k in self._removed(graph, root, captures):
                    held[graph.nodes[k].name] = root
            bad: dict[int, str] = {}
            for root, captures in found:
                for k in self._removed(graph, root, captures):
                    node = graph.nodes[k]
                    if node.share is not None and (len(node.share) > 1 or node.share[0] not in held):
                        bad[root] = f"it uses the weights of `{'.'.join(node.share)}`, which is not replaced"
            for node in graph.nodes:
                if node.share is not None and node.share[0] in held and node.name not in held:
                    bad[held[node.share[0]]] = f"`{node.name}`, which is not replaced, uses its weights"
            if not bad:
                return found
            for root, reason in bad.items():
                self.refused[(id(graph), root)] = (graph, root, "", reason)
            found = [item for item in found if item[0] not in bad]

    # -- replacing ---------------------------------------------------------------------------------------------------

    def attempt(self, graph: Graph, match: Match, captures: Captures) -> Replacement | None:
        """The replacement of a match; None if it is refused, with the reason kept."""
        key = (id(graph), match.root, captures)
        if key in self._attempts:
            return self._attempts[key]
        found: Replacement | None = None
        env = dict(match.env)
        try:
            complete(self.rule, env, self.settings, dict(captures), self.surroundings)
            found = replaced(self.rule, graph, match, env, self.session, self._context(graph))
            if len(match.nodes) > 1:
                splice(graph, [found], self.rule.name)  # alone: that no value leaves the match and comes back
            self.warnings.update(dict.fromkeys(found.warnings))
        except Refused as error:
            self.refused[(id(graph), match.root)] = (graph, match.root, error.label, error.reason)
        except Loop:
            reason = "a value leaves the match and comes back into it"
            found, self.refused[(id(graph), match.root)] = None, (graph, match.root, "", reason)
        except WeightFault as error:
            from archgraph.ir.diagnostics import Diagnostic, SpecError

            at = self.rule.weights.spans.get(error.key) or self.rule.span("weights")
            raise SpecError(Diagnostic("rule/weights", at, error.reason)) from error
        self._attempts[key] = found
        self._kept.append(graph)
        return found

    def _context(self, graph: Graph) -> Mapping[str, ValueRef]:
        """The values that ``context:`` brings to a graph.

        Raises
        ------
        Refused
            If a value stands below.
        """
        if not self.rule.context:
            return {}
        return self.root_values if graph is self.root else bound(graph)

    def with_context(self, graph: Graph) -> Graph:
        """The root graph with the values of ``context:`` brought to every block that holds a match.

        Raises
        ------
        OpError
            If a value is not there, or not known at a site.
        """
        if self.rule.context:
            self.root_values = locate(graph, self.rule.context)
            graph = self.root = threaded(graph, self.root_values, lambda g: bool(self.local(g)))
        return graph

    def rebuild(self, graph: Graph, tree: Tree) -> Done:
        """The graph with the matches of a tree replaced."""
        known = self._done.get((id(graph), tree))
        if known is not None:
            return known
        below: dict[tuple[int, int], tuple[bool, Done]] = {}
        nodes = list(graph.nodes)
        for k, region, is_loop, inner in tree.below:
            callee = self.loop(graph, k) if is_loop else graph.nodes[k].callees[region]
            done = self.rebuild(callee, inner)
            below[(k, region)] = (is_loop, done)
            nodes[k] = _recalled(nodes[k], region, done.graph, is_loop)
        changed = _sharers(graph, nodes)
        middle = graph.replace(
            nodes=tuple(changed), late=late_of(changed), source=_marked(graph.source, self.rule.name)
        )
        replacements: list[Replacement] = []
        for root, captures in tree.local:
            found = self.attempt(graph, self._match(graph, root), captures)
            assert found is not None
            replacements.append(found)
        spliced: Spliced | None = None
        result = middle
        if replacements:
            while True:
                try:
                    spliced = splice(middle, replacements, self.rule.name)
                    break
                except Loop as error:
                    bad = replacements.pop(error.site)
                    root = max(r[0] for r in bad.outputs)
                    self.refused[(id(graph), root)] = (graph, root, "", "a value leaves the match and comes back in")
            result = _shared(graph, replacements, spliced)
        done = self._done[(id(graph), tree)] = Done(graph, result, spliced, tuple(replacements), below)
        self._kept.append(graph)
        return done

    # -- places ------------------------------------------------------------------------------------------------------

    def places(self, graph: Graph, tree: Tree | None) -> Iterator[Place]:
        """The sites of a tree, instance by instance; all turns of a chain that stays rolled are one place."""
        if tree is not None:
            yield from self._places(graph, tree, (), 1)

    def _places(self, graph: Graph, tree: Tree, path: Path, count: Num) -> Iterator[Place]:
        for root, _ in tree.local:
            yield Place((*path, graph.nodes[root].name), count)
        for k, region, is_loop, inner in tree.below:
            node = graph.nodes[k]
            segments: Path = (node.name,)
            if node.op is not None and isinstance(node.op, Regional):
                segments = (node.name, *type(node.op).segments[region])
            elif not is_loop and node.count != 1:
                segments = ("*",) if "piece" in node.flags else (node.name, "*")
            callee = self.loop(graph, k) if is_loop else node.callees[region]
            times = count if is_loop else count * node.count
            yield from self._places(callee, inner, (*path, *segments), times)


def _read(rule: Rule, settings: Settings) -> frozenset[str]:
    """Names that params, conditions and the replacement read."""
    found: set[str] = set(rule.replace.refs) if rule.replace is not None else set()
    for p in rule.params.values():
        found |= p.names
    for value in settings.values():
        found |= getattr(value, "names", frozenset())
    for r in rule.requires:
        found |= r.expr.names if r.expr is not None else frozenset()
    if rule.weights.plan is not None:
        found |= rule.weights.plan.refs
    return frozenset(found)


def unrolled(graph: Graph, node: Node) -> Graph:
    """A chain as a graph of its own with one call per turn."""
    assert isinstance(node.count, int)
    callee = node.callee
    n = len(callee.outputs)
    inputs = callee.inputs
    carried: list[tuple[int, int]] = [(-1, k) for k in range(len(inputs))]
    nodes: list[Node] = []
    for turn in range(node.count):
        one = turn_of(node, turn)
        nodes.append(one.replace(inputs=tuple(carried), flags=frozenset()))
        carried[:n] = [(turn, k) for k in range(n)]
    outputs = tuple((name, carried[k]) for k, (name, _) in enumerate(callee.outputs))
    return Graph(f"{graph.name}.{node.name}", inputs, tuple(nodes), outputs, (), late_of(nodes), (), graph.source)


def _same_turns(loop: Graph, tree: Tree) -> Tree | None:
    """The tree below every turn, if all turns are replaced alike and none as a whole."""
    if tree.local or len(tree.below) != len(loop.nodes):
        return None
    first = tree.below[0]
    if any(t[1:] != first[1:] for t in tree.below):
        return None
    return first[3] if first[1] == 0 and not first[2] else None


def _marked(source: str, rule: str) -> str:
    return source if rule in source.split("~")[1:] else f"{source}~{rule}"


def _recalled(node: Node, region: int, graph: Graph, is_loop: bool) -> Node:
    """A node that calls another graph than before."""
    callees = (*node.callees[:region], graph, *node.callees[region + 1 :])
    names = dict.fromkeys(n for c in callees for n in c.late)
    if is_loop:
        late: tuple[tuple[str, Any], ...] = tuple((n, Late(n)) for n in names)
        return node.replace(callees=callees, late=late, count=1, types=graph.output_types)
    bound = dict(node.late)
    late = tuple((n, bound[n]) for n in names)
    types = node.types if node.op is not None else graph.output_types
    return node.replace(callees=callees, late=late, types=types)


def _sharers(graph: Graph, nodes: list[Node]) -> list[Node]:
    """Nodes that share a rewritten node's weights call what it calls, where they called the same before."""
    changed = {graph.nodes[k].name: k for k, n in enumerate(nodes) if n is not graph.nodes[k]}
    if not changed:
        return nodes
    for j, node in enumerate(nodes):
        if node.share is None or len(node.share) != 1 or node.op is not None:
            continue
        k = changed.get(node.share[0])
        if k is None:
            continue
        before, after = graph.nodes[k], nodes[k]
        if node.callees != before.callees or node.count != before.count:
            raise OpError(
                f"`{node.name}` shares the weights of `{node.share[0]}` at other sizes; it can't be rewritten"
            )
        nodes[j] = node.replace(callees=after.callees, late=after.late, count=after.count, types=after.types)
    return nodes


def _shared(graph: Graph, replacements: list[Replacement], spliced: Spliced) -> Graph:
    """New nodes in place of one that shared weights share those of its owner's replacement."""
    place = {graph.nodes[k].name: s for s, r in enumerate(replacements) for k in r.removed}
    result = spliced.graph
    renamed: dict[str, tuple[str, ...]] = {}
    for s, r in enumerate(replacements):
        owners = {place[n.share[0]] for k in r.removed if (n := graph.nodes[k]).share is not None}
        for owner in owners:
            for name, mine in spliced.names[s].items():
                theirs = spliced.names[owner].get(name)
                if theirs is not None:
                    renamed[mine] = (theirs,)
    if not renamed:
        return result
    nodes = tuple(
        n.replace(share=renamed[n.name]) if n.name in renamed and n.share is None and _owns(n) else n
        for n in result.nodes
    )
    return result.replace(nodes=nodes)


def _owns(node: Node) -> bool:
    return bool(node.callees) or bool(getattr(node.op, "has_weights", False))


def nearest(engine: Engine) -> Miss | None:
    """The match that came nearest to being replaced."""
    if engine.refused:
        graph, root, label, reason = next(iter(engine.refused.values()))
        return Miss(float(len(engine.rule.pattern.nodes)), graph, root, label, reason)
    return engine.matcher.miss
