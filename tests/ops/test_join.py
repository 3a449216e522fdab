"""Joining and cutting against torch, and what it does to token grids."""

from __future__ import annotations

import pytest
import torch

import archgraph.ops.join  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type

TOKENS = tensor_type("2 20 3", {1: Layout(0, (4, 5))})


def test_cat() -> None:
    run = check(
        "cat", {"dim": 1}, "B 3 4", "B M 4", "B 2 4", env={"B": 2, "M": 5}, reference=lambda *xs: torch.cat(xs, 1)
    )
    assert str(run.typed.outs[0]) == "[B, M + 5, 4]"
    assert check("cat", {"dim": -1}, "2 3").used == []
    check("cat", {}, "int64: 2 3", "2 3", reference=lambda *xs: torch.cat(xs))
    assert str(error("cat", {"dim": 1}, "2 3 4", "2 3 5")) == (
        "`cat` needs equal axes: axis 2 of [2, 3, 4] and of [2, 3, 5]"
    )
    assert str(error("cat", {"dim": 1}, "2 3 4", "2 3")) == "`cat` takes values of one rank"
    assert str(error("cat", {"dim": 3}, "2 3 4")) == "there is no axis 3"


def test_tokens_before_a_grid_are_its_prefix() -> None:
    assert str(infer("cat", {"dim": 1}, "2 2 3", TOKENS).outs[0]) == "[2, 2 + (4 5), 3]"
    assert str(infer("cat", {"dim": 1}, TOKENS, "2 2 3").outs[0]) == "[2, 22, 3]"
    assert str(infer("cat", {"dim": 1}, TOKENS, TOKENS).outs[0]) == "[2, 40, 3]"
    assert str(infer("cat", {"dim": 2}, "2 20 5", TOKENS).outs[0]) == "[2, (4 5), 8]"
    other = tensor_type("2 20 3", {1: Layout(0, (2, 10))})
    assert str(infer("cat", {"dim": 2}, other, TOKENS).outs[0]) == "[2, 20, 6]"


def test_prepend() -> None:
    run = check(
        "prepend",
        {},
        "B N 4",
        "1 P 4",
        env={"B": 2, "N": 6, "P": 3},
        reference=lambda x, t: torch.cat([t.expand(2, -1, -1), x], 1),
    )
    assert run.used == ["expand", "torch.cat"]
    assert check("prepend", {}, "B 6 4", "B 1 4", env={"B": 2}).used == ["torch.cat"]
    assert check("prepend", {}, "1 6 4", "1 1 4").used == ["torch.cat"]
    check("prepend", {"dim": 2}, "2 3 4", "1 3 1", reference=lambda x, t: torch.cat([t.expand(2, -1, -1), x], 2))
    grown = infer("prepend", {}, infer("prepend", {}, TOKENS, "1 1 3").outs[0], [2, sym("P"), 3])
    assert str(grown.outs[0]) == "[2, P + 1 + (4 5), 3]"
    raised = error("prepend", {}, "2 6 4", "1 1 5")
    assert str(raised) == "axis 2 of the tokens [1, 1, 5] must be 1 or that of [2, 6, 4]"
    assert str(error("prepend", {}, "2 6 4", "1 4")) == "`prepend` takes tokens with as many axes as the sequence"


def test_stack() -> None:
    check("stack", {"dim": -1}, "B 3", "B 3", env={"B": 2}, reference=lambda *xs: torch.stack(xs, -1))
    check("stack", {"dim": 1}, "2 3", reference=lambda x: x.unsqueeze(1))
    assert str(infer("stack", {"dim": 1}, TOKENS, TOKENS).outs[0]) == "[2, 2, (4 5), 3]"
    assert str(error("stack", {}, "2 3", "2 4")) == "`stack` needs equal axes: axis 1 of [2, 3] and of [2, 4]"


@pytest.mark.parametrize(
    ("op", "attrs", "reference"),
    [
        ("split", {"split_size": [2, 3, 7], "dim": -1}, lambda x: x.split([2, 3, 7], -1)),
        ("split", {"split_size": 4, "dim": 2}, lambda x: x.split(4, 2)),
        ("split", {"split_size": 5, "dim": 2}, lambda x: x.split(5, 2)),
        ("split", {"split_size": 12, "dim": 2}, lambda x: (x,)),
        ("chunk", {"chunks": 3, "dim": -1}, lambda x: x.chunk(3, -1)),
        ("chunk", {"chunks": 5, "dim": 2}, None),
        ("chunk", {"chunks": 7, "dim": 1}, lambda x: x.chunk(7, 1)),
        ("chunk", {"chunks": 4, "dim": 1}, lambda x: x.chunk(4, 1)),
        ("chunk", {"chunks": 1, "dim": 1}, lambda x: (x,)),
        ("unbind", {"dim": 1}, lambda x: x.unbind(1)),
    ],
)  # fmt: skip
def test_cuts(op: str, attrs: dict, reference) -> None:
    if reference is None:
        raised = error(op, attrs, "2 7 11")
        assert str(raised) == "axis 2 of [2, 7, 11] can't be cut into 5 pieces"
        return
    run = check(op, attrs, "B 7 12", env={"B": 2}, reference=reference)
    assert all(y.untyped_storage().data_ptr() == run.inputs[0].untyped_storage().data_ptr() for y in run.outputs)


def test_cuts_with_symbols() -> None:
    C = sym("C")
    check("split", {"split_size": [C, 2 * C], "dim": -1}, [2, 3 * C], env={"C": 4})
    check("split", {"split_size": C, "dim": -1}, [2, 3 * C], env={"C": 4})
    found = infer("chunk", {"chunks": 3, "dim": -1}, [2, C])
    assert [str(t) for t in found.outs] == ["[2, C//3]"] * 3
    assert str(found.guards[0][0]) == "C % 3 == 0"
    raised = error("split", {"split_size": 2, "dim": -1}, [2, C])
    assert str(raised) == "axis 1 of [2, C] has an unknown number of pieces of 2"
    assert str(error("unbind", {"dim": 1}, [2, C])) == "`unbind` needs a known length; axis 1 of [2, C] has C"
    assert str(error("chunk", {"chunks": C}, [2])) == "the number of pieces must be known"


def test_cutting_prefix_tokens_off_leaves_the_grid() -> None:
    P, H, W = sym("P"), sym("H"), sym("W")
    tokens = tensor_type([2, P + H * W, 3], {1: Layout(P, (H, W))})
    found = infer("split", {"split_size": [P, H * W], "dim": 1}, tokens)
    assert [str(t) for t in found.outs] == ["[2, P, 3]", "[2, (H W), 3]"]
    found = infer("split", {"split_size": [1, 2, 18], "dim": 1}, tensor_type("2 21 3", {1: Layout(1, (4, 5))}))
    assert [str(t) for t in found.outs] == ["[2, 1, 3]", "[2, 2, 3]", "[2, 18, 3]"]
    assert [str(t) for t in infer("unbind", {"dim": 0}, tokens).outs] == ["[P + (H W), 3]"] * 2


def test_pieces_fill_the_axis() -> None:
    raised = error("split", {"split_size": [2, 3], "dim": 1}, "2 6")
    assert str(raised) == "pieces of [2, 3] must fill axis 1 of [2, 6]"
    raised = error("unbind", {}, "5000 2")
    assert (str(raised), raised.expected) == ("axis 0 of [5000, 2] has too many elements to unbind", "at most 4096")
