"""Draws of ops whose attributes and operands belong together: how each is drawn, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from archgraph.ir.expr import Expr
from archgraph.ir.types import TensorType
from archgraph.spec.expr import parse

if TYPE_CHECKING:
    from tests.properties.strategies import Builder, Value

sizes = st.sampled_from([2, 3, 4, 6])


def floats(draw: Any, b: Builder, *letters: str) -> Value:
    """A new float input with an axis for each letter; equal letters have equal sizes."""
    known: dict[str, int] = {}
    return b.new(TensorType("float", [known.setdefault(a, draw(sizes)) for a in letters]))


def formula(draw: Any, b: Builder) -> None:
    x = floats(draw, b, *"bnc"[: draw(st.integers(1, 3))])
    y = draw(st.sampled_from([x, b.new(TensorType("float", x.type.shape[-1:]))]))
    text = draw(
        st.sampled_from(
            [
                "x + y",
                "x * 2 - y / 3",
                "x * sigmoid(y)",
                "where(x > y, x, 0)",
                "maximum(x, y) ** 2",
                "(x - mean(x, y)) / sqrt(y ** 2 + 1)",
                "clamp(x, -1, 1) + abs(y)",
            ]
        )
    )
    expr: Expr = parse(text)
    b.apply("formula", {"expr": expr, "names": ["x", "y"]}, x, y)


def repeat(draw: Any, b: Builder) -> None:
    pattern, axes = draw(
        st.sampled_from(
            [
                ("b n -> b h n", {"h": 2}),
                ("b n -> b (r n)", {"r": 3}),
                ("b n -> (b r) n", {"r": 2}),
                ("b n -> b n 2", {}),
            ]
        )
    )
    b.apply("repeat", {"pattern": pattern, **axes}, floats(draw, b, "b", "n"))


def index_select(draw: Any, b: Builder) -> None:
    x = b.new(TensorType("float", (2, draw(sizes), 4)))
    if draw(st.booleans()):
        b.apply("index_select", {"dim": 1, "index": draw(st.sampled_from([[0], [1, -1], [0, 0, 1]]))}, x, None)
    else:
        b.apply("index_select", {"dim": draw(st.sampled_from([0, 2]))}, x, b.new(TensorType("int64", (draw(sizes),))))


def gather(draw: Any, b: Builder) -> None:
    table = b.new(TensorType("float", (2, draw(sizes), 3)))
    slots = b.new(TensorType("int64", (2, draw(sizes))))
    pattern = draw(st.sampled_from(["b [n] c, b k -> b k c", "b [n] c, b k -> b c k"]))
    b.apply("gather", {"pattern": pattern}, table, slots)


def scatter(draw: Any, b: Builder) -> None:
    table = b.new(TensorType("float", (2, 5, 3)))
    k = draw(sizes)
    slots, values = b.new(TensorType("int64", (2, k))), b.new(TensorType("float", (2, k, 3)))
    attrs = {"pattern": "b [n] c, b k, b k c -> b [n] c", "reduce": draw(st.sampled_from(["add", "max"]))}
    b.apply("scatter", attrs, table, slots, values)


def fold(draw: Any, b: Builder) -> None:
    h, w, k = draw(sizes) + 2, draw(sizes) + 2, draw(st.sampled_from([1, 2, 3]))
    x = b.new(TensorType("float", (2, 2, h, w)))
    columns = b.apply("unfold", {"kernel_size": k}, x)[0]
    b.apply("fold", {"kernel_size": k, "output_size": [h, w]}, columns)


def unpool(rank: int) -> Callable[[Any, Builder], None]:
    def draw_it(draw: Any, b: Builder) -> None:
        x = b.new(TensorType("float", (2, 2, *(2 * draw(st.integers(1, 3)) for _ in range(rank)))))
        out, at = b.apply(f"max_pool{rank}d", {"kernel_size": 2, "return_indices": True}, x)
        b.apply(f"max_unpool{rank}d", {"kernel_size": 2}, out, at)

    return draw_it


def bernoulli(draw: Any, b: Builder) -> None:
    x = floats(draw, b, "b", "n")
    b.apply("bernoulli", {}, b.apply("sigmoid", {}, x)[0])


def buffer(draw: Any, b: Builder) -> None:
    given = draw(
        st.sampled_from(
            [{"shape": [2, 3]}, {"shape": [4], "init": "ones", "persistent": False}, {"value": [[1, 2], [3, 4]]}]
        )
    )
    b.apply("buffer", given)


RECIPES: dict[str, Callable[[Any, Builder], None]] = {
    "bernoulli": bernoulli,
    "buffer": buffer,
    "fold": fold,
    "formula": formula,
    "gather": gather,
    "index_select": index_select,
    "max_unpool1d": unpool(1),
    "max_unpool2d": unpool(2),
    "max_unpool3d": unpool(3),
    "repeat": repeat,
    "scatter": scatter,
}
