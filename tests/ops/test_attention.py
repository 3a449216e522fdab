"""Scaled dot-product attention: masks, causal, grouped queries, dropout, and its exact cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

from archgraph.ir.dim import sym
from archgraph.ir.types import Layout
from archgraph.nn.attention import ScaledDotProductAttention, kernelized_attention, scaled_dot_product_attention
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


# -- few and many ------------------------------------------------------------------------------------------------------

OURS = "archgraph.nn.attention.scaled_dot_product_attention"


def laid_out(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """[b, h, n, d] as `rearrange` of [b, n, h d] gives it."""
    b, h, n, d = shape
    return torch.randn(b, n, h, d, dtype=dtype).transpose(1, 2)


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of the queries that torch's kernel is asked for."""
    asked: list[tuple[int, ...]] = []

    def kernel(query: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        asked.append(tuple(query.shape))
        return sdpa(query, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, NAME, kernel)
        yield asked


@pytest.mark.parametrize("turned", [False, True], ids=["few queries", "few keys"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("lead", "few", "many", "size", "wide", "bias", "scale"),
    [
        ((1, 8), 49, 2048, 16, 16, None, None),
        ((2, 3), 49, 2501, 8, 24, None, 0.7),
        ((1, 11), 5, 2049, 8, 4, None, None),
        ((2, 1), 1, 4097, 32, 8, None, None),
        ((2, 3), 49, 197, 16, 16, (3, -1, -2), None),
        ((3, 10), 4, 700, 16, 8, (3, 1, -1, -2), 0.2),
        ((2, 2), 128, 1025, 8, 8, (2, 2, -1, -2), None),
        ((2, 2), 7, 333, 8, 8, (1, -2), None),
    ],
)
def test_few_and_many_are_torchs_to_the_last_digits(
    monkeypatch: pytest.MonkeyPatch,
    lead: tuple[int, int],
    few: int,
    many: int,
    size: int,
    wide: int,
    bias: tuple[int, ...] | None,
    scale: float | None,
    dtype: torch.dtype,
    turned: bool,
) -> None:
    n, s = (many, few) if turned else (few, many)
    shape = [n if i == -1 else s if i == -2 else i for i in bias or ()]
    mask = None if bias is None else torch.randn(shape, dtype=dtype) * 3
    operands = (laid_out(*lead, n, size), laid_out(*lead, s, size), laid_out(*lead, s, wide))
    q, k, v = (x.to(dtype) for x in operands)
    want = sdpa(q, k, v, mask, scale=scale)
    with watched(monkeypatch) as asked:
        found = scaled_dot_product_attention(q, k, v, mask, scale)
    assert not asked
    assert found.transpose(1, 2).is_contiguous()  # so what follows may stay a view
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    torch.testing.assert_close(found, want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("factor", [30.0, 1e3, 1e30])
@pytest.mark.parametrize("where", ["all", "first", "last"])
@pytest.mark.parametrize("turned", [False, True], ids=["few queries", "few keys"])
def test_scores_far_apart_are_left_to_torchs_kernel(factor: float, where: str, turned: bool) -> None:
    n, s = (3000, 9) if turned else (9, 3000)
    q, k, v = laid_out(1, 2, n, 16), laid_out(1, 2, s, 16), laid_out(1, 2, s, 16)
    long = q if turned else k
    part = {"all": slice(None), "first": slice(100), "last": slice(-100, None)}[where]
    long[:, :, part] *= factor
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v), sdpa(q, k, v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("turned", [False, True], ids=["few queries", "few keys"])
def test_scores_that_are_all_high_or_low(turned: bool) -> None:
    n, s = (300, 9) if turned else (9, 300)
    q, k, v = laid_out(1, 2, n, 16), laid_out(1, 2, s, 16), laid_out(1, 2, s, 16)
    for level in (-1e5, -200.0, -50.0, 50.0, 200.0, 1e5):
        bias = torch.full((n, s), level, dtype=torch.float64) + torch.randn(n, s, dtype=torch.float64)
        torch.testing.assert_close(
            scaled_dot_product_attention(q, k, v, bias), sdpa(q, k, v, bias), rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("turned", [False, True], ids=["few queries", "few keys"])
def test_biases_may_forbid(turned: bool) -> None:
    n, s = (300, 9) if turned else (9, 300)
    q, k, v = laid_out(1, 2, n, 16), laid_out(1, 2, s, 16), laid_out(1, 2, s, 16)
    bias = torch.zeros(2, n, s, dtype=torch.float64).masked_fill_(torch.rand(2, n, s) < 0.4, -torch.inf)
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, bias), sdpa(q, k, v, bias), rtol=1e-12, atol=1e-12)
    bias[:, 3] = -torch.inf  # a query that sees nothing
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, bias), sdpa(q, k, v, bias), rtol=1e-12, atol=1e-12)


def test_what_is_not_a_number_stays_none() -> None:
    q, k, v = laid_out(1, 2, 5, 8), laid_out(1, 2, 2048, 8), laid_out(1, 2, 2048, 8)
    v[0, 1, 7, 3] = torch.nan
    found = scaled_dot_product_attention(q, k, v)
    assert found[0, 1, :, 3].isnan().all()
    assert found[0, 0].isfinite().all()


def test_gradients_go_through_torchs_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = [laid_out(1, 2, n, 4) for n in (3, 2048, 2048)]
    bias = torch.randn(3, 2048, dtype=torch.float64, requires_grad=True)
    with watched(monkeypatch) as asked:
        found = scaled_dot_product_attention(*inputs, bias)
        scaled_dot_product_attention(*inputs, bias.detach())
    assert asked == [(1, 2, 3, 4)]
    assert found.requires_grad
    small = [laid_out(1, 2, n, 3).requires_grad_() for n in (2, 130, 130)]
    weights = torch.randn(2, 130, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scaled_dot_product_attention, (*small, weights), fast_mode=True)


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # of torch's own under vmap
def test_transforms_and_autocast_are_torchs() -> None:
    q, k, v = (laid_out(1, 2, n, 8, dtype=torch.float32) for n in (5, 2048, 2048))
    want = sdpa(q, k, v)
    many = torch.func.vmap(scaled_dot_product_attention)(*(torch.stack([x, 2 * x]) for x in (q, k, v)))
    torch.testing.assert_close(many[0], want)
    slope = torch.func.grad(lambda q: scaled_dot_product_attention(q, k, v).sum())(q)
    torch.testing.assert_close(slope, torch.func.grad(lambda q: sdpa(q, k, v).sum())(q))
    with torch.autocast("cpu", torch.bfloat16):
        assert scaled_dot_product_attention(q, k, v).dtype is torch.bfloat16
    half = scaled_dot_product_attention(*(x.bfloat16() for x in (q, k, v)))
    torch.testing.assert_close(half.float(), want, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("attrs", "types", "ours"),
    [
        ({}, ("1 2 49 8", "1 2 4096 8", "1 2 4096 8"), True),
        ({"scale": 0.5}, ("B h 49 8", "B h N 8", "B h N 8"), True),
        ({}, ("B h N 8", "B h 49 8", "B h 49 8"), True),
        ({}, ("1 2 49 8", "1 2 197 8", "1 2 197 8", "2 49 197"), True),
        ({"dropout_p": 0.1}, ("1 2 49 8", "1 2 4096 8", "1 2 4096 8"), False),
        ({}, ("1 2 49 8", "1 2 197 8", "1 2 197 8", "bool: 49 197"), False),
        ({}, ("1 2 49 8", "1 2 49 8", "1 2 49 8"), False),
        ({}, ("1 2 4096 8", "1 2 4096 8", "1 2 4096 8"), False),
        ({}, ("2 49 8", "2 4096 8", "2 4096 8"), False),
        ({"is_causal": True}, ("1 2 49 8", "1 2 4096 8", "1 2 4096 8"), False),
        ({"enable_gqa": True}, ("1 2 49 8", "1 1 4096 8", "1 1 4096 8"), False),
        ({}, ("1 2 N 8", "1 2 S 8", "1 2 S 8"), False),
    ],
)
def test_lowering_chooses_by_length(attrs: dict[str, Any], types: tuple[str, ...], ours: bool) -> None:
    run = check(NAME, attrs, *types, env={"B": 2, "h": 3, "N": 300, "S": 200})
    assert run.used == ["module"] if "dropout_p" in attrs else [OURS if ours else TORCH]


def test_dropout_that_does_nothing_is_no_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = laid_out(1, 2, 5, 8), laid_out(1, 2, 2048, 8), laid_out(1, 2, 2048, 8)
    module = ScaledDotProductAttention(0.5, scale=0.3)
    with watched(monkeypatch) as asked:
        torch.testing.assert_close(module.eval()(q, k, v), sdpa(q, k, v, scale=0.3))
        assert not asked
        module.train()(q, k, v)
        assert asked


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


@pytest.mark.parametrize("queries", [5, 9000])
@pytest.mark.parametrize("function", [kernelized_attention, scaled_dot_product_attention])
def test_the_functions_can_be_traced_compiled_and_exported(function: Any, queries: int) -> None:
    class Net(torch.nn.Module):
        def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            return function(q, k, v)

    inputs = tuple(torch.randn(1, 2, n, 16) for n in (queries, 9000, 9000))
    net = Net().eval()
    with torch.no_grad():
        want = net(*inputs)
        for other in (
            torch.fx.symbolic_trace(net),
            torch.export.export(net, inputs).module(),
            torch.compile(net, backend="eager", fullgraph=True),
        ):
            torch.testing.assert_close(other(*inputs), want)
