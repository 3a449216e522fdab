"""From a spec, by name or at hand, to a module."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import GraphModule

from archgraph.ir.graph import Graph
from archgraph.lower import fx
from archgraph.spec.load import Spec, load


def build(
    spec: Spec | Graph | str | os.PathLike[str],
    variant: str | None = None,
    *,
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    seed: int | None = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    init: bool = True,
    checked: bool = False,
    **settings: Any,
) -> GraphModule:
    """The module of an architecture, its weights initialised as declared.

    Parameters
    ----------
    spec : Spec, Graph, path or shipped name
    variant : str, optional
        One of the spec's variants, where it is loaded by name.
    graph : str, optional
        Which graph, where the spec has several; the first by default.
    at : mapping, optional
        Input name → shape; dims left open may differ from call to call.
    seed, device, dtype, init, checked
        As in `archgraph.lower.fx.build`.
    **settings
        Hyperparameters to set.

    Raises
    ------
    SpecError
        With every fault found in the spec.
    LoweringError
        If the graph can't become a module, as when the size of a weight is symbolic.
    """
    if isinstance(spec, Graph):
        if variant is not None or graph is not None or at or settings:
            raise ValueError("a graph is built as it is; choose variant, graph, sizes and params where it is made")
        typed = spec
    else:
        if not isinstance(spec, Spec):
            spec = load(spec, variant, **settings)
        elif variant is not None:
            raise ValueError("a loaded spec has its variant; give it to `load`")
        elif settings:
            spec = spec.with_settings(**settings)
        typed = spec.graph(graph, at)
    return fx.build(typed, seed=seed, device=device, dtype=dtype, init=init, checked=checked)
