"""Checks of a model's inputs when it is called: shapes, and the guards that its graph left open.

On request only: generated code holds no such checks, since they would fix sizes in exports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from archgraph.ir.dim import Dim, Num, evaluate, solve_linear, substitute, symbols
from archgraph.ir.graph import Graph, Guard
from archgraph.ir.types import TensorType


class InputCheck:
    """A forward pre-hook (``with_kwargs=True``) that raises ValueError for inputs that a graph does not take."""

    def __init__(self, graph: Graph) -> None:
        self.inputs = graph.inputs
        self.guards: tuple[Guard, ...] = tuple(dict.fromkeys(guard for g in graph.graphs() for guard in g.guards))

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        env: dict[str, int] = {}
        # Plain symbols bind first, whatever the order in which they stand.
        pairs = list(self._axes(args, kwargs))
        pairs.sort(key=lambda pair: len(symbols(pair[3])) > 1 or str(pair[3]) not in symbols(pair[3]))
        for name, t, axis, dim, size in pairs:
            expected = _match(dim, size, env)
            if expected is not None:
                raise ValueError(
                    f"`{name}` is {t}: axis {axis} has size {size} instead of {expected}{_known(dim, env)}"
                )
        for guard in self.guards:
            if guard.cond.free <= env.keys() and not guard.cond.evaluate(env):
                values = ", ".join(f"{name} = {env[name]}" for name in sorted(guard.cond.free))
                place = f"{guard.span}: " if guard.span is not None else ""
                raise ValueError(f"{place}{guard.cond} does not hold for {values}: {guard.why}")

    def _axes(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Iterator[tuple[str, TensorType, int, Num, int]]:
        heads = list(dict.fromkeys(name.partition(".")[0] for name, _ in self.inputs))
        given = {**dict(zip(heads, args, strict=False)), **kwargs}
        for name, t in self.inputs:
            head, *items = name.split(".")
            if head not in given:
                continue  # Python's own complaint about the missing argument is as good
            value = given[head]
            for item in items:
                value = value[int(item)]
            if not isinstance(value, Tensor) or value.dim() != t.rank:
                found = f"has {value.dim()} axes" if isinstance(value, Tensor) else "is no tensor"
                raise ValueError(f"`{name}` is {t}, but what is given {found}")
            for axis, (dim, size) in enumerate(zip(t.shape, value.shape, strict=True)):
                yield name, t, axis, dim, size


def _match(dim: Num, size: int, env: dict[str, int]) -> Num | None:
    """Bind what a dim leaves open; returns what was expected where the size does not fit."""
    unknown = symbols(dim) - env.keys()
    if not unknown:
        expected = evaluate(dim, env)
        return None if expected == size else expected
    if len(unknown) == 1 and isinstance(dim, Dim):
        (name,) = unknown
        solved = solve_linear(substitute(dim, env), name, size)
        if solved is not None and isinstance(solved[0], int):
            if solved[1] is not True or solved[0] < 1:
                return dim
            env[name] = solved[0]
    return None


def _known(dim: Num, env: Mapping[str, int]) -> str:
    if not isinstance(dim, Dim):
        return ""
    values = ", ".join(f"{name} = {env[name]}" for name in sorted(dim.free) if name in env)
    return f" ({dim} with {values})" if values else ""
