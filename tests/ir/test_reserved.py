"""The names that nodes can't bear, against the installed torch."""

from __future__ import annotations

import torch
from torch import nn
from torch.fx import GraphModule

from archgraph.ir.reserved import RESERVED


def test_every_public_member_of_a_graph_module_is_reserved() -> None:
    graph = torch.fx.Graph()
    graph.output(graph.placeholder("x"))
    module = GraphModule({}, graph)
    members = {name for name in (*dir(module), *nn.Module.__annotations__) if not name.startswith("_")}
    assert members - RESERVED == set()


def test_nothing_else_is_reserved() -> None:
    graph = torch.fx.Graph()
    graph.output(graph.placeholder("x"))
    known = {*dir(GraphModule({}, graph)), *nn.Module.__annotations__, "self"}
    assert RESERVED - known == set()
