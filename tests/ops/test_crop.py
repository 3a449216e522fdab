"""Selecting, slicing, padding and moving against torch, and what it does to token grids."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

import archgraph.ops.crop  # noqa: F401
from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from tests.ops.harness import check, error, infer, tensor_type

P, H, W, N = (sym(name) for name in "PHWN")
TOKENS = tensor_type([2, 1 + P + H * W, 3], {1: Layout(1 + P, (H, W))})


def test_select() -> None:
    check("select", {"dim": 1, "index": 0}, "B 5 3", env={"B": 2}, reference=lambda x: x[:, 0])
    check("select", {"dim": -1, "index": -1}, "B N 3", env={"B": 2, "N": 4}, reference=lambda x: x[..., -1])
    check("select", {"dim": 1, "index": N // 2}, [2, N, 3], env={"N": 5}, reference=lambda x: x[:, 2])
    check("select", {"dim": 1, "index": -N}, [2, N, 3], env={"N": 5}, reference=lambda x: x[:, 0])
    assert str(infer("select", {"dim": 0, "index": 1}, TOKENS).outs[0]) == "[P + 1 + (H W), 3]"
    assert str(error("select", {"dim": 1, "index": 5}, "2 5")) == "index 5 must lie on axis 1 of [2, 5]"
    assert str(error("select", {"dim": 1, "index": -6}, "2 5")) == "index -6 must lie on axis 1 of [2, 5]"


@given(st.integers(-6, 6), st.none() | st.integers(-6, 6), st.integers(1, 4), st.integers(0, 1))
def test_slice_is_pythons(start: int, stop: int | None, step: int, dim: int) -> None:
    front, end = start % 6 if start < 0 else start, 6 if stop is None else stop % 6 if stop < 0 else stop
    attrs = {"dim": dim, "start": start, "stop": stop, "step": step}
    if front > end:
        assert "comes after stop" in str(error("slice", attrs, "6 6"))
        return
    part = slice(start, stop, step)
    check("slice", attrs, "6 6", reference=lambda x: x[part] if dim == 0 else x[:, part])


def test_slice_with_symbols() -> None:
    check("slice", {"dim": 1, "start": P}, [2, P + N], env={"P": 2, "N": 4}, reference=lambda x: x[:, 2:])
    check("slice", {"dim": 1, "stop": -P}, [2, P + N], env={"P": 2, "N": 4}, reference=lambda x: x[:, :-2])
    check("slice", {"dim": 1, "step": 2, "stop": N}, [2, P + N], env={"P": 2, "N": 5}, reference=lambda x: x[:, :5:2])
    assert check("slice", {"dim": 1, "stop": N}, [2, N], env={"N": 5}).used == []
    found = infer("slice", {"dim": 1, "stop": H}, [2, N])
    assert [str(cond) for cond, _ in found.guards] == ["H <= N"]
    assert str(error("slice", {"dim": 1, "stop": 7}, "2 5")) == "stop 7 must lie on axis 1 of [2, 5]"


def test_narrow() -> None:
    check("narrow", {"dim": 1, "start": 1, "length": 3}, "2 5", reference=lambda x: x.narrow(1, 1, 3))
    check("narrow", {"dim": 1, "start": -3, "length": N}, [2, N + 1], env={"N": 3}, reference=lambda x: x[:, 1:])
    assert check("narrow", {"dim": 1, "start": 0, "length": N}, [2, N], env={"N": 3}).used == []
    raised = error("narrow", {"dim": 1, "start": 3, "length": 3}, "2 5")
    assert str(raised) == "3 elements from 3 on must lie on axis 1 of [2, 5]"


def test_cutting_in_front_of_a_grid() -> None:
    def cut(op: str, **attrs: object) -> str:
        return str(infer(op, {"dim": 1, **attrs}, TOKENS).outs[0])

    assert cut("slice", start=1) == "[2, P + (H W), 3]"
    assert cut("slice", start=1 + P) == "[2, (H W), 3]"
    assert cut("slice", start=2 + P) == "[2, H*W - 1, 3]"
    assert cut("slice", stop=1 + P) == "[2, P + 1, 3]"
    assert cut("slice", stop=-1) == "[2, H*W + P, 3]"
    assert cut("slice", step=1) == "[2, P + 1 + (H W), 3]"
    assert cut("narrow", start=1 + P, length=H * W) == "[2, (H W), 3]"


@pytest.mark.parametrize(
    ("attrs", "shape"),
    [
        ({"pad": [1, 2]}, "2 3"),
        ({"pad": [0, 0, 1, 0]}, "2 3 4"),
        ({"pad": [1, 2, 3, 4, 0, 1], "value": -1.0}, "2 3 4 5"),
        ({"pad": [-1, 2]}, "2 3"),
        ({"pad": [1, 2, 2, 1], "mode": "reflect"}, "2 3 4 5"),
        ({"pad": [1, 2], "mode": "replicate"}, "2 4 5"),
        ({"pad": [1, 5, 4, 0], "mode": "circular"}, "2 3 4 5"),
    ],
)
def test_pad(attrs: dict, shape: str) -> None:
    options = {k: v for k, v in attrs.items() if k != "pad"}
    run = check("pad", attrs, shape, reference=lambda x: F.pad(x, attrs["pad"], **options))
    assert len(run.used) == 1


def test_pad_with_symbols_and_nothing_to_add() -> None:
    check("pad", {"pad": [0, 0, 0, -N % 4]}, [2, N, 3], env={"N": 5}, reference=lambda x: F.pad(x, [0, 0, 0, 3]))
    assert check("pad", {"pad": [0, 0, 0, 0]}, "2 3 4").used == []
    check("pad", {"pad": [0, 0, 1, 0], "value": 1}, "bool: 2 3 4", reference=lambda x: F.pad(x, [0, 0, 1, 0], value=1))


def test_padding_in_front_of_a_grid() -> None:
    def pad(*amounts: object) -> str:
        return str(infer("pad", {"pad": list(amounts)}, TOKENS).outs[0])

    assert pad(0, 0, 2, 0) == "[2, P + 3 + (H W), 3]"
    assert pad(0, 0, -1, 0) == "[2, P + (H W), 3]"
    assert pad(0, 0, 0, 1) == "[2, H*W + P + 2, 3]"
    assert pad(1, 1) == "[2, P + 1 + (H W), 5]"


def test_pad_mistakes() -> None:
    assert str(error("pad", {"pad": [1]}, "2 3")) == "`pad` lists two numbers for each padded axis"
    assert str(error("pad", {"pad": [1, 1], "mode": "reflect"}, "2 3 4 5")) == (
        "mode reflect pads all axes after batch and channel"
    )
    assert str(error("pad", {"pad": [5, 1], "mode": "reflect"}, "2 3 5")) == (
        "mode reflect can't add 5 elements to axis 2 of [2, 3, 5]"
    )
    assert str(error("pad", {"pad": [-2, -2]}, "2 3")) == "axis 1 of [2, 3] can't lose 4 elements"


def test_roll_and_flip() -> None:
    attrs = {"shifts": [-1, 2], "dims": [1, 2]}
    check("roll", attrs, "B 4 5 3", env={"B": 2}, reference=lambda x: torch.roll(x, (-1, 2), (1, 2)))
    check("roll", {"shifts": -(N // 2), "dims": 1}, [2, N], env={"N": 5}, reference=lambda x: torch.roll(x, -2, 1))
    assert check("roll", {"shifts": [0, 0], "dims": [1, 2]}, "2 3 4").used == []
    check("flip", {"dims": [1, -1]}, "2 3 4", reference=lambda x: x.flip(1, 2))
    assert str(infer("flip", {"dims": 2}, TOKENS).outs[0]) == "[2, P + 1 + (H W), 3]"
    assert str(infer("roll", {"shifts": 1, "dims": 1}, TOKENS).outs[0]) == "[2, H*W + P + 1, 3]"
    assert str(error("roll", {"shifts": [1], "dims": [1, 2]}, "2 3 4")) == "`roll` takes one shift per axis"
    assert str(error("flip", {"dims": [1, -1]}, "2 3")) == "an axis stands twice"
