"""Fourier transforms against torch's."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2, prod
from typing import Any

import pytest
import torch
from torch import Tensor

from archgraph.ir.types import Layout, TensorType
from tests.ops.harness import at, check, error, infer

ENV = {"B": 2, "C": 3, "H": 6, "W": 7}

TRANSFORMS = ["fft", "ifft", "rfft", "irfft", "fft2", "ifft2", "rfft2", "irfft2"]


def torch_s(name: str, **options: Any) -> Callable[[Tensor], Tensor]:
    return lambda x: getattr(torch.fft, name)(x, **options)


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", ["", "complex: "])
def test_values(name: str, dtype: str) -> None:
    if name.startswith("rfft") and dtype:
        assert str(error(name, {}, "complex: 4 4")) == f"`{name}` takes float or float32 values"
        return
    operand = f"{dtype}B C H W"
    two = name.endswith("2")
    dims: list[Any] = [[-2, -1], [1, 2], [3, 0]] if two else [-1, 1, 0]
    for dim in dims:
        check(name, {"dim": dim}, operand, env=ENV, reference=torch_s(name, dim=dim))
    size: dict[str, Any] = {"s": [5, 8]} if two else {"n": 5}
    check(name, {**size, "norm": "ortho"}, operand, env=ENV, reference=torch_s(name, norm="ortho", **size))
    check(name, {"norm": "forward"}, operand, env=ENV, reference=torch_s(name, norm="forward"))


def test_global_filter_of_hornet() -> None:
    """The inverse is told the symbolic size, since odd sizes can't be told from the spectrum."""
    spectrum = infer("rfft2", {"dim": [1, 2], "norm": "ortho"}, "B H W C").outs[0]
    assert str(spectrum) == "complex[B, H, W//2 + 1, C]"
    h, w = infer("fft", {}, "H W").ins[0].shape  # type: ignore[union-attr]
    attrs = {"s": [h, w], "dim": [1, 2], "norm": "ortho"}
    typed = infer("irfft2", attrs, spectrum)
    assert (str(typed.outs[0]), typed.guards) == ("[B, H, W, C]", ())
    run = check("irfft2", attrs, spectrum, env=ENV)
    reference = torch.fft.irfft2(run.inputs[0], s=(6, 7), dim=(1, 2), norm="ortho")  # type: ignore[arg-type]
    torch.testing.assert_close(run.outputs[0], reference)


def stages(n: int) -> int:
    return ceil(log2(n))


@pytest.mark.parametrize("shape", [(2, 8, 16), (3, 6, 7), (1, 1, 2)])
def test_work(shape: tuple[int, ...]) -> None:
    b, h, w = shape
    n = prod(shape)

    def work(name: str, *operands: Any, **attrs: Any) -> int:
        cost = infer(name, attrs, *operands).cost
        assert cost.macs == 0
        assert isinstance(cost.elementwise, int)
        return cost.elementwise

    assert work("fft", shape) == work("ifft", shape) == 5 * n * stages(w)
    assert work("fft", shape, dim=1) == 5 * n * stages(h)
    assert work("fft2", shape) == 5 * n * (stages(h) + stages(w))
    rows, columns = b * h, w // 2 + 1
    half = TensorType("complex", (b, h, columns))
    assert work("rfft", shape) == work("irfft", half, n=w) == 5 * rows * (w // 2) * stages(w)
    both = 5 * rows * ((w // 2) * stages(w) + columns * stages(h))
    assert work("rfft2", shape) == work("irfft2", half, s=[h, w]) == both
    if w & (w - 1) == 0:
        assert work("rfft", shape) == work("fft", shape) // 2


def test_symbolic_work() -> None:
    cost = infer("rfft2", {}, "B H W").cost
    assert at(cost, {"B": 2, "H": 6, "W": 7}) == infer("rfft2", {}, "2 6 7").cost
    assert str(infer("fft", {}, "N").cost.elementwise) == "5*N*ceil(log2(N))"


def test_views() -> None:
    run = check("view_as_complex", {}, "B H 2", env=ENV, reference=torch.view_as_complex)
    assert run.outputs[0].data_ptr() == run.inputs[0].data_ptr()  # type: ignore[union-attr]
    check("view_as_real", {}, "complex: B H", env=ENV, reference=torch.view_as_real)
    z = torch.randn(3, dtype=torch.complex64)
    check("view_as_real", {}, "complex: 3", inputs=[z.conj()], reference=lambda z: torch.view_as_real(z.resolve_conj()))
    layout = Layout(0, (4, 4))
    assert infer("view_as_complex", {}, TensorType("float", (3, 16, 2), ((1, layout),))).outs[0].layout_of(1) == layout


def test_a_spectrum_is_no_token_grid() -> None:
    tokens = TensorType("float", (2, 16, 8), ((1, Layout(0, (4, 4))),))
    assert infer("fft", {}, tokens).outs[0].layout_of(1) is not None
    assert infer("fft", {"dim": 1}, tokens).outs[0].layout_of(1) is None


def test_code_says_only_what_differs_from_torch() -> None:
    assert infer("irfft2", {"norm": "backward"}, "complex: 4 4").op.attrs() == {}
    assert infer("fft", {"dim": 0}, "4 4").op.attrs() == {"dim": 0}


def test_errors() -> None:
    assert str(error("fft", {"dim": 2}, "4 4")) == "there is no axis 2"
    assert str(error("fft2", {"dim": [1, 1]}, "4 4")) == "an axis stands twice"
    assert str(error("fft2", {"dim": [1]}, "4 4")) == "`fft2` transforms two axes"
    assert str(error("irfft2", {"s": [4]}, "complex: 4 4")) == "`irfft2` transforms two axes"
    assert str(error("fft", {}, "int64: 4")) == "`fft` takes float or float32 or complex values"
    assert "has 0 elements" in str(error("irfft", {}, "complex: 4 1"))
    assert "pairs" in str(error("view_as_complex", {}, "4 3"))
    assert str(error("view_as_real", {}, "4 3")) == "`view_as_real` takes complex values for `x`"
