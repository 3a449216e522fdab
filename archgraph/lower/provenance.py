"""Where the parts of a built model were written.

Every composite carries a plain dict ``{node: (place, types)}``, twice: copying a `GraphModule` keeps its ``meta`` and
drops plain attributes, pickling does the reverse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import nn
from torch.fx import GraphModule

from archgraph.ir.graph import Graph

_KEY: Final = "archgraph"
_ATTRIBUTE: Final = "_archgraph"
_GRAPH: Final = "_archgraph_graph"

#: For each node its place in the spec (``file:line:column``, empty if it has none) and its types.
Provenance = Mapping[str, tuple[str, str]]


def attach_provenance(module: GraphModule, provenance: Provenance) -> None:
    """Make a composite remember where its nodes come from."""
    module.meta[_KEY] = provenance
    module.__dict__[_ATTRIBUTE] = provenance


def provenance(module: nn.Module) -> Provenance:
    """Place and types of a composite's nodes; empty for modules that are none of ours."""
    found: Provenance | None = getattr(module, "meta", {}).get(_KEY)
    return found if found is not None else module.__dict__.get(_ATTRIBUTE, {})


def attach_graph(module: GraphModule, graph: Graph) -> None:
    """Make a model remember the typed graph that it was built from."""
    module.meta[_GRAPH] = graph
    module.__dict__[_GRAPH] = graph


def typed_graph(module: nn.Module) -> Graph | None:
    """The typed graph that a model was built from; None for others."""
    found: Graph | None = getattr(module, "meta", {}).get(_GRAPH)
    return found if found is not None else module.__dict__.get(_GRAPH)


def annotate(module: nn.Module) -> None:
    """Put places and types on the nodes of all `torch.fx` graphs below, as ``node.meta["archgraph"]``.

    A composite that was copied after being unpickled has lost them.
    """
    for part in module.modules():
        if isinstance(part, GraphModule):
            known = provenance(part)
            attach_provenance(part, known)
            for node in part.graph.nodes:
                if node.name in known:
                    node.meta[_KEY] = known[node.name]
