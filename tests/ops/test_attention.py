"""Scaled dot-product attention: masks, causal, grouped queries, dropout, and its exact cost."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from archgraph.nn.attention import kernelized_attention
from archgraph.ops.base import OpError
from tests.ops.harness import check, error, infer, tensor_type

NAME = "scaled_dot_product_attention"
TORCH = f"torch.nn.functional.{NAME}"


@pytest.mark.parametrize(
    ("q", "k", "v"),
    [
        ("2 3 5 4", "2 3 6 4", "2 3 6 7"),
        ("2 5 4", "2 6 4", "2 6 4"),
        ("5 4", "6 4", "6 4"),
        ("2 2 3 5 4", "2 2 3 5 4", "2 2 3 5 4"),
    ],
)
def test_attention_is_torchs(q: str, k: str, v: str) -> None:
    check(NAME, {}, q, k, v, reference=sdpa)
    run = check(NAME, {"scale": 0.3}, q, k, v, reference=lambda *x: sdpa(*x, scale=0.3))
    assert run.used == [TORCH]


@pytest.mark.parametrize("mask", ["2 3 5 6", "1 1 5 6", "5 6", "bool: 2 1 1 6", "bool: 5 6", "3 1 6"])
def test_masks_broadcast(mask: str) -> None:
    check(NAME, {}, "2 3 5 4", "2 3 6 4", "2 3 6 4", mask, reference=sdpa)


def test_causal() -> None:
    check(NAME, {"is_causal": True}, "2 3 5 4", "2 3 5 4", "2 3 5 4", reference=lambda *x: sdpa(*x, is_causal=True))


def test_grouped_queries() -> None:
    attrs = {"enable_gqa": True}
    check(NAME, attrs, "2 6 5 4", "2 2 5 4", "2 2 5 3", reference=lambda *x: sdpa(*x, enable_gqa=True))


def test_cost() -> None:
    plain = infer(NAME, {}, "2 3 5 4", "2 3 6 4", "2 3 6 7").cost
    assert plain == (2 * 3 * 5 * 6 * (4 + 7), 2 * 3 * 5 * 6 * 6)
    assert infer(NAME, {}, "2 3 5 4", "2 3 6 4", "2 3 6 7", "5 6").cost.elementwise == 2 * 3 * 5 * 6 * 7


def test_dropout_acts_in_training_only() -> None:
    types = ("2 3 5 4", "2 3 6 4", "2 3 6 7", "5 6")
    run = check(NAME, {"dropout_p": 0.5, "scale": 0.3}, *types, reference=lambda *x: sdpa(*x, scale=0.3))
    assert run.used == ["module"]
    trained = check(NAME, {"dropout_p": 0.5}, *types, training=True)
    kept = check(NAME, {"dropout_p": 0.5}, *types, inputs=trained.inputs)
    assert not torch.allclose(trained.outputs[0], kept.outputs[0])
    # each weight is kept or dropped and scaled by 2, so with values of one the mean of many is one
    q = torch.zeros(1, 1, 4096, 2)
    ones = (q, torch.zeros(1, 1, 8, 2), torch.ones(1, 1, 8, 1))
    many = check(NAME, {"dropout_p": 0.5}, *(tuple(x.shape) for x in ones), inputs=ones, training=True)
    assert many.outputs[0].mean().item() == pytest.approx(1.0, abs=0.05)
    assert many.outputs[0].std() > 0.1


def test_sizes_stay_symbolic() -> None:
    env = {"B": 2, "h": 3, "N": 5, "S": 4, "d": 6, "e": 2}
    run = check(NAME, {}, "B h N d", "B h S d", "B h S e", "1 h N S", env=env)
    b, h, n, s, d, e = map(sym, ["B", "h", "N", "S", "d", "e"])
    assert run.typed.cost.macs == b * h * n * s * (d + e)


def test_undecided_agreement_becomes_guards() -> None:
    guards = infer(NAME, {"enable_gqa": True}, "B h N d", "B g N d", "B g S d").guards
    assert [str(cond) for cond, _ in guards] == ["h % g == 0", "N == S"]


def test_query_layout_is_kept() -> None:
    grid = Layout(1, (2, 2))
    query = tensor_type((2, 3, 5, 4), {2: grid})
    assert infer(NAME, {}, query, "2 3 6 4", "2 3 6 7").outs[0].layout == ((2, grid),)


@pytest.mark.parametrize(
    ("types", "text"),
    [
        (("2 3 5 4", "2 3 6 5", "2 3 6 4"), "sizes E of query and key must be equal: 4 and 5"),
        (("2 3 5 4", "2 3 6 4", "2 3 5 4"), "lengths S of key and value must be equal: 6 and 5"),
        (("2 3 5 4", "2 1 6 4", "2 1 6 4"), "axis 1 of query and key must be equal: 3 and 1"),
        (("2 3 5 4", "2 3 4", "2 3 4"), "as many axes"),
        (("2 3 5 4", "2 3 6 4", "2 3 6 4", "3 1 5 6"), "attn_mask does not broadcast to the scores"),
        (("2 3 5 4", "2 3 6 4", "2 3 6 4", "int64: 5 6"), "attn_mask is bool or a bias to add"),
    ],
)
def test_errors(types: tuple[str, ...], text: str) -> None:
    assert text in str(error(NAME, {}, *types))


def test_more_errors() -> None:
    assert "must divide the 5 of the query" in str(error(NAME, {"enable_gqa": True}, "2 5 4 4", "2 2 4 4", "2 2 4 4"))
    assert "is_causal excludes attn_mask" in str(error(NAME, {"is_causal": True}, *["2 3 5 4"] * 3, "5 5"))
    raised = error(NAME, {}, "2 3 5 4", "2 3 6 5", "2 3 6 4")
    assert raised.found == "[2, 3, 5, 4], [2, 3, 6, 5], [2, 3, 6, 4]"


KERNELIZED = "kernelized_attention"


def kernelized(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, phi, floor: float = 1e-6) -> torch.Tensor:
    """The whole matrix of weights, row by row; what the op must equal however it is computed."""
    weights = phi(q) @ phi(k).transpose(-2, -1)
    return weights @ v / weights.sum(-1, keepdim=True).clamp(min=floor)


PHI = {"relu": torch.relu, "elu_plus_one": lambda x: torch.nn.functional.elu(x) + 1, "identity": lambda x: x}


@pytest.mark.parametrize("phi", PHI)
@pytest.mark.parametrize(
    ("q", "k", "v"), [("2 3 5 4", "2 3 6 4", "2 3 6 7"), ("2 5 4", "2 6 4", "2 6 4"), ("5 4", "6 4", "6 4")]
)
def test_kernelized_attention_is_attention_with_other_weights(phi: str, q: str, k: str, v: str) -> None:
    # operands of one sign, so that `identity` has no denominator near zero
    types = [tuple(int(n) for n in text.split()) for text in (q, k, v)]
    inputs = [torch.rand(shape) + (0.1 if phi == "identity" else -0.4) for shape in types]
    check(KERNELIZED, {"feature_map": phi, "floor": 0.5}, q, k, v, inputs=inputs,
          reference=lambda *x: kernelized(*x, PHI[phi], 0.5))  # fmt: skip


@pytest.mark.parametrize("phi", ["relu", "elu_plus_one"])
@pytest.mark.parametrize(
    ("lead", "n", "s", "e"), [((2, 5), 300, 7000, 8), ((1, 3), 9000, 77, 24), ((19,), 4100, 4100, 8)]
)
def test_long_sequences_are_walked_to_the_same_result(phi: str, lead: tuple[int, ...], n: int, s: int, e: int) -> None:
    q, k, v = (torch.randn(*lead, *size, dtype=torch.float64) for size in ((n, 16), (s, 16), (s, e)))
    with torch.no_grad():
        walked = kernelized_attention(q, k, v, phi)
    plain = kernelized_attention(q.requires_grad_(), k, v, phi).detach()
    assert walked.shape == (*lead, n, e)
    torch.testing.assert_close(walked, plain, rtol=1e-11, atol=1e-12)


def test_rows_without_weight_are_zero_not_nan() -> None:
    q, k, v = -torch.ones(1, 4, 3), torch.ones(1, 5, 3), torch.randn(1, 5, 2)
    assert kernelized_attention(q, k, v).abs().max() == 0


def test_kernelized_attention_is_linear_in_both_lengths() -> None:
    b, h, n, s, d, e = map(sym, ["B", "h", "N", "S", "d", "e"])
    found = infer(KERNELIZED, {}, "B h N d", "B h S d", "B h S e")
    assert found.cost.macs == b * h * (s * d * e + n * d * e + n * d)
    assert str(found.outs[0].shape[-1]) == "e"
    with pytest.raises(OpError, match="need as many axes"):
        infer(KERNELIZED, {}, "B h N d", "h S d", "B h S e")


def test_the_function_can_be_traced_compiled_and_exported() -> None:
    class Net(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return kernelized_attention(q, k, v, "elu_plus_one")

    inputs = tuple(torch.randn(1, 2, 9000, 16) for _ in range(3))
    net = Net().eval()
    with torch.no_grad():
        want = net(*inputs)
        for other in (
            torch.fx.symbolic_trace(net),
            torch.export.export(net, inputs).module(),
            torch.compile(net, backend="eager", fullgraph=True),
        ):
            torch.testing.assert_close(other(*inputs), want)
