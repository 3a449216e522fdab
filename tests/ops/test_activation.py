"""Activations against torch's modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from archgraph.ir.types import Layout, TensorType
from archgraph.ops import activation
from tests.ops.harness import check, error, infer, tensor_type

CASES: list[tuple[str, dict[str, Any], nn.Module, int]] = [
    ("relu", {}, nn.ReLU(), 1),
    ("relu6", {}, nn.ReLU6(), 2),
    ("leaky_relu", {}, nn.LeakyReLU(), 3),
    ("leaky_relu", {"negative_slope": 0.2}, nn.LeakyReLU(0.2), 3),
    ("elu", {"alpha": 0.5}, nn.ELU(0.5), 4),
    ("selu", {}, nn.SELU(), 5),
    ("celu", {"alpha": 2}, nn.CELU(2.0), 5),
    ("gelu", {}, nn.GELU(), 5),
    ("gelu", {"approximate": "tanh"}, nn.GELU("tanh"), 9),
    ("silu", {}, nn.SiLU(), 5),
    ("sigmoid", {}, nn.Sigmoid(), 4),
    ("tanh", {}, nn.Tanh(), 1),
    ("hardswish", {}, nn.Hardswish(), 5),
    ("hardsigmoid", {}, nn.Hardsigmoid(), 4),
    ("hardtanh", {}, nn.Hardtanh(), 2),
    ("hardtanh", {"min_val": 0, "max_val": 0.5}, nn.Hardtanh(0.0, 0.5), 2),
    ("softplus", {}, nn.Softplus(), 4),
    ("softplus", {"beta": 2, "threshold": 1}, nn.Softplus(2.0, 1.0), 4),
    ("mish", {}, nn.Mish(), 4),
    ("softsign", {}, nn.Softsign(), 3),
    ("tanhshrink", {}, nn.Tanhshrink(), 2),
    ("hardshrink", {}, nn.Hardshrink(), 3),
    ("hardshrink", {"lambd": 0.1}, nn.Hardshrink(0.1), 3),
    ("softshrink", {"lambd": 0.2}, nn.Softshrink(0.2), 4),
    ("threshold", {"threshold": 0.1, "value": -1}, nn.Threshold(0.1, -1.0), 2),
    ("softmin", {"dim": -1}, nn.Softmin(-1), 6),
    ("log_sigmoid", {}, nn.LogSigmoid(), 4),
    ("softmax", {"dim": -1}, nn.Softmax(-1), 5),
    ("softmax", {"dim": 1}, nn.Softmax(1), 5),
    ("log_softmax", {"dim": 0}, nn.LogSoftmax(0), 5),
    ("glu", {}, nn.GLU(), 5),
    ("glu", {"dim": 1}, nn.GLU(1), 5),
]


@pytest.mark.parametrize(("name", "attrs", "module", "work"), CASES)
def test_values_and_work(name: str, attrs: Mapping[str, Any], module: Callable[[Tensor], Tensor], work: int) -> None:
    env = {"B": 2, "C": 5, "N": 3}
    run = check(name, attrs, tensor_type(f"B {2 * env['C']} 6"), env=env, reference=module, tolerance=0.0)
    assert run.typed.cost.elementwise == work * run.typed.outs[0].numel
    assert not run.typed.weights


def test_all_have_a_case() -> None:
    family = {getattr(each, "op_name", None) for each in vars(activation).values()} - {None, ""}
    assert family == {name for name, *_ in CASES}


def test_code_says_only_what_differs_from_torch() -> None:
    class Recorded:
        def call(self, function: str, *args: Any, **kwargs: Any) -> Any:
            return function, args, kwargs

        def scalar(self, value: Any) -> Any:
            return value

    x = torch.zeros(2)
    gelu = activation.Gelu.make(approximate="none").lower(Recorded(), x)  # type: ignore[arg-type]
    assert gelu == ("torch.nn.functional.gelu", (x,), {})
    tanh = activation.Gelu.make(approximate="tanh").lower(Recorded(), x)  # type: ignore[arg-type]
    assert tanh[2] == {"approximate": "tanh"}


def test_symbols_pass() -> None:
    x = tensor_type("B C H W")
    assert x is not None
    assert infer("softmax", {"dim": -3}, x).outs == (x,)
    ((cond, why),) = infer("glu", {"dim": 1}, x).guards
    assert (str(cond), why) == ("C % 2 == 0", "glu halves axis 1, which has C elements")


def test_layout_survives() -> None:
    layout = Layout(1, (4, 4))
    x = TensorType("float", (2, 17, 8), ((1, layout),))
    assert infer("gelu", {}, x).outs[0].layout_of(1) == layout
    assert infer("glu", {}, x).outs[0].layout_of(1) == layout
    assert infer("glu", {"dim": 0}, x).outs[0].layout_of(1) == layout


def test_errors() -> None:
    assert str(error("softmax", {"dim": 3}, "2 4 6")) == "there is no axis 3"
    assert error("softmax", {"dim": 3}, "2 4 6").expected == "between -3 and 2"
    assert str(error("softmax", {}, "2 4")) == "`softmax` needs the attribute `dim` (the number of an axis)"
    assert str(error("glu", {}, "2 5")) == "glu halves axis 1, which has 5 elements"
    assert str(error("relu", {}, "int64: 2 5")) == "`relu` takes float values for `x`"
