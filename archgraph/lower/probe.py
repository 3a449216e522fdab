"""Values inside a built model by path: what a node of a block gave when the model ran."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from torch import nn
from torch.fx import GraphModule, Interpreter
from torch.fx import Node as FxNode

from archgraph.ir.graph import Graph, Node
from archgraph.lower.plan import LoweringError
from archgraph.ops.base import Op

__all__ = ["Place", "find_place", "recording"]


class Place(NamedTuple):
    """A value: the composite that computes it, and its name among the statements there.

    ``name`` is empty for what the composite (or a turn of a chain) itself returns; ``output`` then says which of its
    values.
    """

    module: str
    name: str
    output: int | None = None


def find_place(graph: Graph, path: str) -> Place:
    """The place of a node's value: ``stages.0.blocks.1.attn.route``, or one of its outputs by number, ``route.1``.

    Raises
    ------
    LoweringError
        If there is no such node or output.
    """
    return _find(graph, tuple(path.split(".")), (), path)


def _find(graph: Graph, names: tuple[str, ...], above: tuple[str, ...], path: str) -> Place:
    node, rest = _node(graph, names, path)
    if not rest:
        return Place(".".join(above), _statement(node, 0, path))
    here = (*above, *node.name.split("."))
    if node.op is None:
        if node.count != 1 and rest[0].isdigit():
            if len(rest) == 1:
                return Place(".".join((*here, rest[0])), "")
            return _find(node.callee, rest[1:], (*here, rest[0]), path)
        if not rest[0].isdigit():
            return _find(node.callee, rest, here, path)
    if len(rest) == 1 and rest[0].isdigit():
        return Place(".".join(above), _statement(node, int(rest[0]), path))
    raise LoweringError(f"there is no value `{path}`: `{node.name}` has no parts")


def _node(graph: Graph, names: tuple[str, ...], path: str) -> tuple[Node, tuple[str, ...]]:
    """The node that the longest head of a path names, and what is left of the path."""
    for length in range(len(names), 0, -1):
        try:
            return graph.node(".".join(names[:length])), names[length:]
        except KeyError:
            continue
    known = ", ".join(node.name for node in graph.nodes)
    raise LoweringError(f"there is no value `{path}`: `{graph.name}` has {known}")


def _statement(node: Node, output: int, path: str) -> str:
    """The name that a node's output has among the statements of a lowered composite."""
    if output >= len(node.types):
        raise LoweringError(f"there is no value `{path}`: `{node.name}` has {len(node.types)} outputs")
    stem = node.name.replace(".", "_")
    if len(node.types) == 1:
        return stem
    if node.op is None:
        return f"{stem}_{node.callee.outputs[output][0]}"
    names = node.op.outputs if isinstance(node.op, Op) else ()
    return f"{stem}_{names[output] if output < len(names) else output}"


@contextmanager
def recording(model: nn.Module, places: Iterable[Place]) -> Iterator[Mapping[Place, Any]]:
    """While this holds, what the model computes at these places is kept in the mapping; the last run counts.

    Raises
    ------
    LoweringError
        If a composite has no statement of that name.
    """
    values: dict[Place, Any] = {}
    inside: dict[str, dict[str, Place]] = {}
    handles = []
    changed: list[GraphModule] = []
    try:
        for place in places:
            part = model.get_submodule(place.module)
            if not place.name:
                handles.append(part.register_forward_hook(_keeper(values, place)))
                continue
            if not isinstance(part, GraphModule):
                raise LoweringError(f"`{place.module}` is no composite")
            inside.setdefault(place.module, {})[_fx_name(part, place)] = place
        for path, wanted in inside.items():
            part = model.get_submodule(path)
            assert isinstance(part, GraphModule)
            part.__dict__["forward"] = _Recorder(part, wanted, values).forward
            changed.append(part)
        yield values
    finally:
        for handle in handles:
            handle.remove()
        for part in changed:
            del part.__dict__["forward"]


def _keeper(values: dict[Place, Any], place: Place) -> Any:
    def keep(module: nn.Module, args: Any, result: Any) -> None:
        values[place] = result

    return keep


_NUMBERED: Final = re.compile(r"_\d+")


def _fx_name(part: GraphModule, place: Place) -> str:
    """The statement's name in `torch.fx`, which numbers names that Python or an earlier statement has."""
    names: list[str] = [node.name for node in part.graph.nodes]
    for name in names:
        if name == place.name:
            return name
    for name in names:
        if name.startswith(place.name) and _NUMBERED.fullmatch(name[len(place.name) :]):
            return name
    raise LoweringError(f"`{place.name}` is not computed in `{place.module or 'the model'}`")


class _Recorder(Interpreter):
    """Runs a composite statement by statement and keeps some values."""

    def __init__(self, part: GraphModule, wanted: Mapping[str, Place], values: dict[Place, Any]) -> None:
        super().__init__(part)
        self._wanted = wanted
        self._values = values
        self._parameters = [node.target for node in part.graph.nodes if node.op == "placeholder"]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        named = [kwargs[name] for name in self._parameters[len(args) :] if name in kwargs]
        return self.run(*args, *named)

    def run_node(self, n: FxNode) -> Any:
        result = super().run_node(n)
        place = self._wanted.get(n.name)
        if place is not None:
            self._values[place] = result
        return result
