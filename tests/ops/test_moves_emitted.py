"""Moved, indexed and made values in emitted modules: exported with free sizes, compiled, cast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import archgraph.ops.crop
import archgraph.ops.index
import archgraph.ops.join
import archgraph.ops.order
import archgraph.ops.random
import archgraph.ops.reduce
import archgraph.ops.shape
import archgraph.ops.source  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build
from archgraph.spec.constants import close_over
from archgraph.spec.expr import parse
from tests.lower.graphs import Draft

H, W, N = sym("H"), sym("W"), sym("N")


def windows() -> Graph:
    """Tokens with a class token, cut into windows and back."""
    g = Draft("windows")
    x = g.input("x", "B 4 H W")
    rows = g.op("rows", "rearrange", x, pattern="b c (h i) (w j) -> b (h w) (i j) c", i=2, j=2)
    grown = g.op("grown", "rearrange", rows, pattern="b (h w) (i j) c -> b c (h i) (w j)")
    tokens = g.op("tokens", "rearrange", grown, pattern="b c h w -> b (h w) c")
    cls = g.op("cls", "parameter", shape=[1, 1, 4], init="ones")
    seq = g.op("seq", "prepend", tokens, cls)
    dropped = g.op("dropped", "drop_path", seq, p=0.5)
    patches = g.op("patches", "slice", dropped, dim=1, start=1)
    grid = g.op("grid", "rearrange", patches, pattern="b (h w) c -> b h w c")
    return g.done(map=grid, mean=g.op("mean", "reduce", grid, pattern="b h w c -> b 1 c", reduction="mean"))


def windows_by_hand(x: Tensor) -> dict[str, Tensor]:
    grid = x.permute(0, 2, 3, 1)
    return {"map": grid, "mean": grid.mean((1, 2)).unsqueeze(1)}


def routing() -> Graph:
    """The two rows with the largest sums, gathered, and a mask of them."""
    g = Draft("routing")
    x = g.input("x", "B N 6 4")
    score = g.op("score", "reduce", x, pattern="b n t d -> b n", reduction="sum")
    _, index = g.op("top", "topk", score, k=2)
    found = g.op("found", "gather", x, index, pattern="b [n] t d, b k -> b (k t) d")
    return g.done(found=found, mask=g.op("mask", "topk_mask", score, k=2))


def routing_by_hand(x: Tensor) -> dict[str, Tensor]:
    index = x.sum((2, 3)).topk(2).indices
    mask = torch.zeros(x.shape[:2], dtype=torch.bool).scatter(1, index, True)
    return {"found": x[torch.arange(len(x))[:, None], index].flatten(1, 2), "mask": mask}


def made() -> Graph:
    """Values from nothing whose sizes are those of the input."""
    g = Draft("made")
    x = g.input("x", "B N 4")
    value = close_over(parse("clamp(i - 1, 0, N - 3) + u"), {"N": N})
    table = g.op("table", "constant", value=value, over={"i": N, "u": 3})
    steps = g.op("steps", "arange", end=N, dtype="float")
    zeros = g.op("zeros", "zeros", shape=[N, 4])
    fixed = g.op("fixed", "constant", value=parse("i * 4 + j"), over={"i": 2, "j": 4}, dtype="float")
    joined = g.op("joined", "cat", zeros, fixed)
    cast = g.op("cast", "to", table, dtype="float")
    near = g.op("near", "gather", x, table, pattern="b [n] c, i u -> b i u c")
    return g.done(table=table, steps=steps, joined=joined, cast=cast, near=near)


def made_by_hand(x: Tensor) -> dict[str, Tensor]:
    n = x.shape[1]
    table = torch.stack([(torch.arange(n) - 1).clamp(0, n - 3) + u for u in range(3)], 1)
    joined = torch.cat([torch.zeros(n, 4), torch.arange(8.0).view(2, 4)]).type_as(x)
    steps = torch.arange(n).type_as(x)
    return {"table": table, "steps": steps, "joined": joined, "cast": table.type_as(x), "near": x[:, table]}


CASES = [
    (windows, windows_by_hand, [(2, 4, 6, 8), (3, 4, 10, 4)], (0, 2, 3)),
    (routing, routing_by_hand, [(2, 5, 6, 4), (3, 7, 6, 4)], (0, 1)),
    (made, made_by_hand, [(2, 5, 4), (3, 9, 4)], (0, 1)),
]


@pytest.mark.parametrize(("graph", "by_hand", "shapes", "free"), CASES)
def test_eager_export_and_compile_agree(graph, by_hand, shapes, free) -> None:
    module = build(graph()).eval()
    first, second = (torch.randn(shape) for shape in shapes)
    for x in (first, second):
        torch.testing.assert_close(module(x), by_hand(x))
    # H and W are twice some size: torch learns that from the split into windows.
    sizes = {
        d: 2 * torch.export.Dim(f"s{d}", max=64) if len(free) == 3 and d > 1 else torch.export.Dim.AUTO for d in free
    }
    exported = torch.export.export(module, (first,), dynamic_shapes=(sizes,)).module()
    torch.testing.assert_close(exported(second), by_hand(second))
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=True)
    torch.testing.assert_close(compiled(second), by_hand(second))


@pytest.mark.parametrize(("graph", "by_hand", "shapes", "free"), CASES)
def test_a_cast_model_computes_in_its_dtype(graph, by_hand, shapes, free) -> None:
    module = build(graph()).eval().to(torch.bfloat16)
    x = torch.randn(shapes[0]).to(torch.bfloat16)
    for name, value in module(x).items():
        assert value.dtype == by_hand(x)[name].dtype


def test_nothing_is_baked_and_no_constant_is_saved() -> None:
    module = build(made())
    assert list(module.state_dict()) == []
    code = "\n".join(part.code for part in (build(windows()), build(routing()), module))
    assert "reshape" not in code
    assert "assert" not in code
