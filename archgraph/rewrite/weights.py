"""What becomes of weights: each new one is carried, computed, or starts anew; each old one is used or dropped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from archgraph.ir.dim import Dim
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.base import Weight
from archgraph.ops.binding import own_weights
from archgraph.ops.higher import Regional
from archgraph.rewrite.same import same_shape
from archgraph.spec.frame import Frame, Session
from archgraph.spec.plan_region import read_inputs
from archgraph.spec.values import Record, Ref

if TYPE_CHECKING:
    from archgraph.rewrite.match import Match
    from archgraph.rewrite.rule import Rule

__all__ = ["Moves", "Source", "WeightFault", "moves_of", "owned"]


class Source(NamedTuple):
    """Where a new weight comes from.

    ``kind``: ``carried`` (from ``paths[0]``), ``computed`` (output ``output`` of ``graph``, fed with ``paths``), or
    ``new`` (``init``: a law other than the declared one, or None).
    """

    kind: str
    paths: tuple[str, ...] = ()
    graph: Graph | None = None
    output: int = 0
    init: Any = None


class Moves(NamedTuple):
    """What one replacement does to weights: new path → source, and old paths that are dropped.

    Paths start with the names of nodes of the fragment and of the graph around.
    """

    sources: Mapping[str, Source]
    dropped: tuple[str, ...]


class WeightFault(Exception):
    """A rule leaves weights unaccounted for, or gives one of another shape."""

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.key = key


def owned(graph: Graph, node: Node) -> dict[str, Weight]:
    """Weights that a node owns and a state_dict holds, by path below it; a symbolic number of turns is ``*``."""
    found: dict[str, Weight] = {}
    if node.share is not None:
        return found
    given = {name for name, _ in node.weights}
    if not node.callees:
        for w in own_weights(graph, node):
            if w.persistent and w.name not in given:
                found[w.name] = w
        return found
    if isinstance(node.op, Regional):
        parts = [(".".join(s), g) for s, g in zip(type(node.op).segments, node.callees, strict=True)]
    elif node.count == 1:
        parts = [("", node.callee)]
    elif isinstance(node.count, Dim):
        parts = [("*", node.callee)]
    else:
        parts = [(str(turn), node.callee) for turn in range(node.count)]
    for head, callee in parts:
        for path, w in _below(callee).items():
            full = f"{head}.{path}" if head else path
            if full not in given:
                found[full] = w
    return found


def _below(graph: Graph) -> Mapping[str, Weight]:
    known: dict[str, Weight] | None = graph._cache.get("owned")
    if known is None:
        known = graph._cache["owned"] = {
            f"{node.name}.{path}" if path else node.name: w
            for node in graph.nodes
            for path, w in owned(graph, node).items()
        }
    return known


def moves_of(
    rule: Rule,
    graph: Graph,
    match: Match,
    removed: tuple[int, ...],
    fragment: Graph,
    env: Mapping[str, Any],
    session: Session,
) -> Moves:
    """What a replacement does to weights, as the rule says.

    Raises
    ------
    WeightFault
        For old weights that are neither used nor dropped, and weights of another shape.
    """
    labels = {k: label for label, k in match.nodes.items() if k is not None}
    old: dict[str, Weight] = {}
    for k in removed:
        # what shares its weights is replaced together with their owner: here as if it had them
        for path, w in owned(graph, graph.nodes[k].replace(share=None)).items():
            old[_join(labels[k], path)] = w
    new = {_join(n.name, path): w for n in fragment.nodes for path, w in owned(fragment, n).items()}
    said = rule.weights
    computed, read = _computed(rule, old, env, session)
    hosts = {labels[k]: graph.nodes[k].name for k in removed}
    used: set[str] = set(read)
    sources: dict[str, Source] = {}
    for path, w in new.items():
        rule_key = _longest(path, said.carried)
        start_key = _longest(path, said.starts)
        if rule_key is not None and (start_key is None or len(rule_key) >= len(start_key)):
            target = said.carried[rule_key]
            origin = target + path[len(rule_key) :]
            if target in computed:
                part, output, paths = computed[target]
                t = part.output_types[output]
                if not same_shape(t.shape, w.shape):
                    raise WeightFault(f"`{path}` is {list(w.shape)}; `{target}` gives {t}", rule_key)
                sources[path] = Source("computed", tuple(_host(p, hosts) for p in paths), part, output)
                continue
            before = old.get(origin)
            if before is None:
                raise WeightFault(f"nothing becomes `{path}`: there is no `{origin}`", rule_key)
            if not same_shape(before.shape, w.shape):
                raise WeightFault(f"`{path}` is {list(w.shape)}, `{origin}` {list(before.shape)}", rule_key)
            used.add(origin)
            sources[path] = Source("carried", (_host(origin, hosts),))
        elif start_key is not None:
            sources[path] = Source("new", init=said.starts[start_key])
        else:
            sources[path] = Source("new")
    dropped: list[str] = []
    lost: list[str] = []
    for path in old:
        if path in used:
            continue
        if any(path == d or path.startswith(d + ".") for d in said.dropped):
            if graph.node(_host(path, hosts).partition(".")[0]).share is None:
                dropped.append(_host(path, hosts))
        else:
            lost.append(path)
    if lost:
        shown = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        raise WeightFault(f"`weights` does not say what becomes of {shown}; list it under `dropped` if it is lost")
    return Moves(sources, tuple(dropped))


def _computed(
    rule: Rule, old: Mapping[str, Weight], env: Mapping[str, Any], session: Session
) -> tuple[dict[str, tuple[Graph, int, tuple[str, ...]]], set[str]]:
    """The nodes of ``weights.graph``: graph, output and old paths that it takes."""
    plan, block = rule.weights.plan, rule.weights.block
    if plan is None or block is None:
        return {}, set()
    scope: dict[str, Any] = {n: v for n, v in env.items() if not isinstance(v, (Ref, Record))}
    f = Frame(session, block, scope, ())
    f.span = block.span
    paths: list[str] = []
    for path, w in old.items():
        ref = f.add_input(f"weight_{len(paths)}", TensorType(w.dtype, w.shape))
        paths.append(path)
        *heads, last = path.split(".")
        if not heads:
            scope[last] = ref
            continue
        place: Any = scope.setdefault(heads[0], Record())
        for head in heads[1:]:
            place = place.setdefault(head, Record())
        place[last] = ref
    session.begin()
    plan.run(f, None)
    session.faults.raise_if_any()
    outputs: list[tuple[str, Any]] = []
    for name, _ in plan.items:
        v = scope.get(name)
        if isinstance(v, Ref):
            outputs.append((name, v.ref))
    if not outputs:
        return {}, set()
    wanted = set(rule.weights.carried.values())
    outputs = [o for o in outputs if o[0] in wanted] or outputs
    whole = f.finish(tuple(outputs), (), f"{rule.name}.weights")
    part, kept = read_inputs(whole)
    own = tuple(paths[k] for k in kept) if kept is not None else tuple(paths)
    return {name: (part, k, own) for k, (name, _) in enumerate(outputs)}, set(own)


def _join(name: str, path: str) -> str:
    return f"{name}.{path}" if path else name


def _host(path: str, hosts: Mapping[str, str]) -> str:
    """A path below a label as one below the node's name; labels may be paths themselves."""
    label = _longest(path, hosts)
    assert label is not None
    return hosts[label] + path[len(label) :]


def _longest(path: str, keys: Mapping[str, Any]) -> str | None:
    hits = [k for k in keys if path == k or path.startswith(k + ".")]
    return max(hits, key=len) if hits else None


def below(graph: Graph) -> Iterator[tuple[str, Weight]]:
    """Every weight of a graph by path."""
    yield from _below(graph).items()
