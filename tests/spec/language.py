"""Small specs as text, loaded, inferred, built and run."""

from __future__ import annotations

from typing import Any

import torch

from archgraph.analysis.cost import totals
from archgraph.lower.fx import build
from archgraph.spec.load import loads


def model_of(body: str, variant: str | None = None, graph: str | None = None, **params: Any) -> torch.nn.Module:
    """A spec without its first line, built; its parameters counted as by the cost rules."""
    typed = loads("archgraph: 1\n" + body, variant, **params).graph(graph)
    torch.manual_seed(0)
    model = build(typed, seed=0)
    assert sum(p.numel() for p in model.parameters()) == totals(typed).params
    return model.double()


def run(body: str, *inputs: torch.Tensor | list[torch.Tensor] | None, **params: Any) -> Any:
    """The outputs of `model_of` on some inputs."""
    return model_of(body, **params)(*inputs)


def data(*shape: int, seed: int = 0) -> torch.Tensor:
    """Values to run on."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
