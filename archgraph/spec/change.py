"""Changes of one tensor, written like a node: ``{op: rearrange, pattern: o i 1 1 -> o i}``, or a list of them.

They stand where a reference's words differ from ours by more than a name: in renames, inputs and outputs. A change
becomes a typed graph of one input, so that shapes follow from the ops' own rules and running it is ordinary lowering.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from archgraph.ir.diagnostics import Collector, SpecError, did_you_mean
from archgraph.ir.graph import Graph
from archgraph.ops.base import get_op
from archgraph.spec.expr import ExprError, parse
from archgraph.spec.yaml import YList, YMap, dump_yaml, span_of

__all__ = ["CHANGE_KEYS", "Change", "read_change", "reason"]

#: Keys that begin a change: one node, a list of nodes, or the short form of ``rearrange``.
CHANGE_KEYS: Final = ("op", "do", "pattern", "formula")

_INPUT: Final = "x"


class Change:
    """One or several ops in a row on one tensor.

    Attributes
    ----------
    nodes : tuple of mappings
        As in a graph; the last may have several outputs.
    names : frozenset of str
        Names of the surroundings that their attributes read.
    """

    __slots__ = ("names", "nodes")

    def __init__(self, nodes: tuple[Mapping[str, Any], ...]) -> None:
        self.nodes = nodes
        found: set[str] = set()
        for node in nodes:
            found |= _names_of(node)
        self.names = frozenset(found - {_INPUT})

    @property
    def op(self) -> str:
        """The op of the last node."""
        return str(self.nodes[-1].get("op", "formula"))

    def with_attributes(self, **attributes: Any) -> Change:
        """The same with further attributes on the last node."""
        return Change((*self.nodes[:-1], {**self.nodes[-1], **attributes}))

    def graph(
        self, shape: Iterable[int], env: Mapping[str, Any], dtype: str = "float", outputs: int | None = None
    ) -> Graph:
        """The typed graph for a tensor of this shape: input ``x``, output ``out``, or ``y0``, ``y1`` … for ``outputs``.

        Raises
        ------
        SpecError
            If the ops don't fit the shape, or an attribute has no value.
        """
        settings = {name: env[name] for name in sorted(self.names) if name in env and _is_host(env[name])}
        chain = [dict(node) for node in self.nodes]
        if outputs is not None:
            chain[-1]["as"] = [f"y{k}" for k in range(outputs)]
        tree: dict[str, Any] = {"archgraph": 1, "name": "change", "params": settings} if settings else {"archgraph": 1}
        tree["inputs"] = {_INPUT: {"shape": list(shape), "dtype": dtype}}
        tree["graph"] = {f"node{k}": node for k, node in enumerate(chain)}
        if outputs is not None:
            tree["outputs"] = {f"y{k}": f"y{k}" for k in range(outputs)}
        return _graph(dump_yaml(tree))

    def __repr__(self) -> str:
        return f"<Change {' | '.join(str(node.get('op', 'formula')) for node in self.nodes)}>"


@lru_cache(maxsize=1024)
def _graph(text: str) -> Graph:
    from archgraph.spec.load import loads

    return loads(text, file="<change>").graph()


def _is_host(value: Any) -> bool:
    """Whether a value can stand among the params of a spec."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_host, value))
    return isinstance(value, (int, float))


def _names_of(node: Mapping[str, Any]) -> set[str]:
    """Free names of a node's attributes, those that take text left out."""
    cls = get_op(str(node["op"])) if "op" in node else None
    found: set[str] = set()
    for key, value in node.items():
        if key == "op":
            continue
        attribute = None if cls is None else cls.by_name.get(key)
        kind = attribute.kind if attribute is not None else None
        if kind is None or not (kind.slot == "text" or (isinstance(value, str) and value in kind.words)):
            found |= _names(value)
    return found


def _names(value: Any) -> frozenset[str]:
    if isinstance(value, (list, tuple)):
        return frozenset().union(*map(_names, value))
    try:
        return parse(value).names if isinstance(value, str) else frozenset()
    except ExprError:  # building the graph reports it, with the op's own words
        return frozenset()


def read_change(raw: YMap, keys: Collection[str], faults: Collector) -> Change | None:
    """The change that a mapping states, apart from its keys ``keys``; None if it states none.

    ``{pattern: …}`` is short for ``{op: rearrange, pattern: …}``. Faults: an unknown op or attribute, or an op that
    does not work on one tensor.
    """
    own = [key for key in raw if key not in keys]
    if "do" in own:
        items = raw["do"]
        for key in own:
            if key != "do":
                faults.error("change/key", span_of(raw, key, key=True), f"`{key}` has no meaning beside `do`")
        if not isinstance(items, YList) or not items or not all(isinstance(item, YMap) for item in items):
            faults.error("change/do", span_of(raw, "do"), "`do` is a list of ops", expected="[{op: …}, {op: …}]")
            return None
        nodes = [_node(item, list(item), faults) for item in items]
        return None if None in nodes else Change(tuple(node for node in nodes if node is not None))
    if not any(key in own for key in CHANGE_KEYS):
        for key in own:
            _unknown(raw, key, [*keys, *CHANGE_KEYS], "it", faults)
        return None
    node = _node(raw, own, faults)
    return None if node is None else Change((node,))


def _node(raw: YMap, keys: Iterable[Any], faults: Collector) -> Mapping[str, Any] | None:
    node = {str(key): raw[key] for key in keys}
    if "formula" in node:
        return node
    node.setdefault("op", "rearrange")
    word = node["op"]
    cls = get_op(word) if isinstance(word, str) else None
    if cls is None:
        faults.error("op/unknown", span_of(raw, "op"), f"there is no op called `{word}`")
        return None
    if len(cls.operands) != 1:
        faults.error("change/operands", span_of(raw, "op"), f"`{word}` does not work on one tensor alone")
        return None
    if cls.extra is None:
        for key in node:
            if key != "op" and key not in cls.by_name:
                _unknown(raw, key, list(cls.by_name), f"`{word}`", faults)
    return {"op": word, **{key: value for key, value in node.items() if key != "op"}}


def _unknown(raw: YMap, key: Any, known: Iterable[str], what: str, faults: Collector) -> None:
    near = did_you_mean(str(key), known)
    faults.error(
        "key/unknown",
        span_of(raw, key, key=True),
        f"{what} has no `{key}`",
        expected=", ".join(known),
        hint=f"did you mean `{near}`?" if near else None,
    )


def reason(error: SpecError) -> str:
    """The first fault of a change in one line."""
    first = error.diagnostics[0]
    parts = [
        first.message,
        f"expected {first.expected}" * bool(first.expected),
        f"found {first.found}" * bool(first.found),
    ]
    return "; ".join(filter(None, parts))
