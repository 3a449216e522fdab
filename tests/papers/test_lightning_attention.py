"""Lightning attention and TransNormerLLM: three forms of one sum, state over cuts, linear cost."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import archgraph
from tests.papers.common import agrees, block, claims_hold, compiles, described, exports, lowers_loss, small, uneven

LIBRARY = "blocks/lightning_attention"
FORMS = ("block", "parallel", "recurrent")
TINY = {"vocab": 31, "dim": 24, "depth": 2, "num_heads": 3, "glu_dim": 20}


def attention(**params: Any) -> nn.Module:
    """The attention block on tensors of any size."""
    shapes: dict[str, list[Any]] = {name: ["B", "H", "N", "P"] for name in ("q", "k")}
    shapes["v"] = ["B", "H", "N", "E"]
    shapes["slope"] = ["H", 1, 1]
    if params.get("stateful"):
        shapes["state"] = ["B", "H", "P", "E"]
    return block(LIBRARY, "lightning_attention", shapes, **params)


def drawn(length: int, seed: int, batch: int = 2, heads: int = 3, width: int = 4, value: int = 5) -> list[Tensor]:
    """Queries, keys, values and slopes in double precision."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(batch, heads, length, width), (batch, heads, length, width), (batch, heads, length, value)]
    found = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    return [*found, torch.rand(heads, 1, 1, generator=generator, dtype=torch.float64)]


def by_definition(q: Tensor, k: Tensor, v: Tensor, slope: Tensor) -> Tensor:
    """Each pair of positions by itself."""
    out = torch.zeros_like(v)
    for s in range(q.shape[2]):
        for t in range(s + 1):
            weight = (q[:, :, s] * k[:, :, t]).sum(-1, keepdim=True) * torch.exp(-slope[:, 0] * (s - t))
            out[:, :, s] += weight * v[:, :, t]
    return out


@settings(max_examples=12)
@given(length=st.integers(1, 13), size=st.integers(1, 7), seed=st.integers(0, 99))
def test_all_forms_are_the_sum_over_the_past(length: int, size: int, seed: int) -> None:
    given_values = drawn(length, seed)
    expected = by_definition(*given_values)
    for form in FORMS:
        agrees(attention(form=form, block_size=size).double()(*given_values), expected, 1e-12)


@settings(max_examples=10)
@given(cut=st.integers(1, 10), size=st.integers(1, 5), form=st.sampled_from(FORMS), seed=st.integers(0, 99))
def test_a_sequence_can_be_cut_anywhere(cut: int, size: int, form: str, seed: int) -> None:
    q, k, v, slope = drawn(11, seed)
    model = attention(form=form, block_size=size, stateful=True).double()
    state = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    whole, last = model(q, k, v, slope, state)
    first, between = model(q[:, :, :cut], k[:, :, :cut], v[:, :, :cut], slope, state)
    second, end = model(q[:, :, cut:], k[:, :, cut:], v[:, :, cut:], slope, between)
    agrees([torch.cat([first, second], 2), end], [whole, last], 1e-12)


@settings(max_examples=8)
@given(form=st.sampled_from(FORMS), changed=st.integers(0, 8), seed=st.integers(0, 99))
def test_no_output_sees_what_comes_later(form: str, changed: int, seed: int) -> None:
    values = drawn(9, seed)
    model = attention(form=form, block_size=4).double()
    before = model(*values)
    for x in values[:3]:
        x[:, :, changed:] += 1.0
    after = model(*values)
    assert torch.equal(before[:, :, :changed], after[:, :, :changed])
    assert not torch.allclose(before[:, :, changed:], after[:, :, changed:])


@settings(max_examples=8)
@given(form=st.sampled_from(FORMS), a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_it_is_linear_in_each_of_query_key_and_value(form: str, a: float, b: float) -> None:
    values, others = drawn(7, 1), drawn(7, 2)
    model = attention(form=form, block_size=3).double()
    for k in range(3):
        one, two, both = list(values), list(values), list(values)
        two[k], both[k] = others[k], a * values[k] + b * others[k]
        agrees(model(*both), a * model(*one) + b * model(*two), 1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_slopes_from_none_to_infinite(form: str) -> None:
    q, k, v, slope = drawn(6, 3)
    plain = block(LIBRARY, "lightning_attention", {n: ["B", "H", "N", "P"] for n in "qkv"}, form=form, block_size=4)
    whole = drawn(6, 3, value=4)[2]
    summed = torch.einsum("bhrp,bhsp->bhrs", q, k).tril() @ whole
    agrees(plain.double()(q, k, whole), summed, 1e-12)
    model = attention(form=form, block_size=4).double()
    agrees(model(q, k, v, torch.zeros_like(slope)), torch.einsum("bhrp,bhsp->bhrs", q, k).tril() @ v, 1e-12)
    agrees(model(q, k, v, torch.full_like(slope, 1e3)), (q * k).sum(-1, keepdim=True) * v, 1e-12)


def layer(name: str, **params: Any) -> nn.Module:
    return uneven(block("lightning-attention", name, {"x": ["B", "N", 24]}, **params))


@settings(max_examples=8)
@given(scale=st.floats(0.5, 100.0), lrpe=st.booleans())
def test_the_mixer_ignores_the_scale_of_values(scale: float, lrpe: bool) -> None:
    model = layer("mixer_with_slopes", num_heads=3, lrpe=lrpe, block_size=4)
    x = torch.randn(2, 9, 24)
    before = model(x)
    with torch.no_grad():
        model.gla.qkvu_proj.weight[48:72] *= scale
    agrees(model(x), before, 1e-3)


@settings(max_examples=8)
@given(scale=st.floats(0.1, 10.0))
def test_norm_and_gated_unit_follow_a_scale(scale: float) -> None:
    x = torch.randn(2, 5, 24)
    norm, glu = layer("srms_norm", eps=1e-12), layer("sglu", hidden_features=7)
    agrees(norm(x).square().mean(-1), torch.ones(2, 5), 1e-5)
    agrees(norm(scale * x), norm(x))
    agrees(glu(scale * x), scale**2 * glu(x), 1e-4)


@settings(max_examples=8)
@given(offset=st.integers(0, 50))
def test_encoded_products_depend_on_distances_only(offset: int) -> None:
    shapes: dict[str, list[Any]] = {"q": ["B", 2, "N", 4], "k": ["B", 2, "N", 4], "offset": []}
    model = uneven(block("lightning-attention", "lrpe", shapes, stateful=True)).double()
    q, k = torch.randn(1, 2, 6, 4).double(), torch.randn(1, 2, 6, 4).double()

    def products(start: int) -> Tensor:
        one, other = model(q, k, torch.tensor(start))
        return one @ other.mT

    agrees(products(offset), products(0), 1e-9)


def test_frequencies_start_as_the_rotary_ones() -> None:
    model = small("lightning-attention", **TINY)
    theta = model.get_parameter("layers.0.token_mixer.positions.theta").flatten()
    agrees(theta, 10000.0 ** (-2 * torch.arange(24) / 24))


def test_slopes_fall_with_depth_and_the_last_layer_hardly_forgets() -> None:
    graph = archgraph.load("lightning-attention", **{**TINY, "depth": 4}).graph()
    (slopes,) = (n for n in graph.nodes if n.name.startswith("slopes") and n.callees)
    value = slopes.callees[0].nodes[0].op.value
    rates = [[float(head[0][0]) for head in heads] for heads in value]
    assert all(a > b for one, other in pairwise(rates) for a, b in zip(one, other, strict=True))
    assert max(rates[-1]) < 1e-5
    assert rates[0][0] == pytest.approx(2**-4, rel=1e-4)


@settings(max_examples=4)
@given(cut=st.integers(1, 9), form=st.sampled_from(FORMS))
def test_decoding_carries_a_state_of_fixed_size(cut: int, form: str) -> None:
    settings_ = {**TINY, "form": form, "block_size": 4}
    plain = uneven(small("lightning-attention", **settings_), 0.2)
    model = small("lightning-attention", stateful=True, **settings_)
    model.load_state_dict(plain.state_dict())
    ids = torch.randint(0, 31, (2, 10))
    states = [torch.zeros(2, 3, 16, 8), torch.zeros(2, 3, 8, 8)]
    whole = model(ids, torch.tensor(0), states)
    agrees(whole["logits"], plain(ids), 1e-4)
    first = model(ids[:, :cut], torch.tensor(0), states)
    second = model(ids[:, cut:], torch.tensor(cut), first["states"])
    agrees(torch.cat([first["logits"], second["logits"]], 1), whole["logits"], 1e-4)
    assert [s.shape for s in first["states"]] == [s.shape for s in states]
    agrees(second["states"], whole["states"], 1e-4)


def test_padding_is_nought_among_the_values() -> None:
    model = uneven(small("lightning-attention", masked=True, **TINY), 0.2)
    ids, mask = torch.randint(0, 31, (2, 8)), torch.ones(2, 8, dtype=torch.int64)
    mask[:, 2] = 0
    other = ids.clone()
    other[:, 2] = (ids[:, 2] + 1) % 31
    kept = [0, 1, 3, 4, 5, 6, 7]
    agrees(model(ids, mask)[:, kept], model(other, mask)[:, kept])


def macs(length: int, **params: Any) -> int:
    """Multiply-accumulates of a layer's attention by the counter of torch."""
    model = attention(**params)
    with FlopCounterMode(display=False) as counter:
        model(*(x.float() for x in drawn(length, 0, 1, 2, 4, 8)))
    return counter.get_total_flops() // 2


def test_cost_is_linear_in_the_length() -> None:
    per_token = 2 * (16 * (4 + 8) + 2 * 4 * 8)
    assert [macs(n, block_size=16) for n in (64, 128, 256)] == [n * per_token for n in (64, 128, 256)]
    assert [macs(n, form="parallel") for n in (64, 128)] == [2 * n * n * (4 + 8) for n in (64, 128)]
    reported = [archgraph.report(archgraph.load("lightning-attention", "1b"), at={"input_ids": [1, n]}) for n in LONG]
    work = [r.macs for r in reported]
    assert [b - a for a, b in pairwise(work)] == [(work[0] // LONG[0]) * (b - a) for a, b in pairwise(LONG)]


LONG = (4096, 8192, 65536)


@pytest.mark.slow
def test_runs_at_65536_tokens_as_at_the_beginning() -> None:
    torch.set_num_threads(1)
    q, k, v, slope = (x.float() for x in drawn(65536, 0, 1, 2, 16, 16))
    model = attention(stateful=True)
    state = torch.zeros(1, 2, 16, 16)
    whole, last = model(q, k, v, slope, state)
    parts = []
    for cut in range(0, 65536, 16384):
        end = cut + 16384
        part, state = model(q[:, :, cut:end], k[:, :, cut:end], v[:, :, cut:end], slope, state)
        parts.append(part)
    agrees([torch.cat(parts, 2), state], [whole, last], 1e-4)


def test_training_lowers_the_loss() -> None:
    model = small("lightning-attention", block_size=4, **TINY)
    ids = torch.randint(0, 31, (4, 13), generator=torch.Generator().manual_seed(2))

    def loss(logits: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    first = lowers_loss(model, [ids[:, :-1]], loss, lr=1e-2)[0]
    assert first == pytest.approx(math.log(31), rel=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_exports_and_compiles(form: str) -> None:
    model = uneven(small("lightning-attention", form=form, block_size=4, **TINY), 0.2)
    ids = torch.randint(0, 31, (2, 9))
    exports(model, [ids])
    compiles(model, [ids])


def test_summary_and_claims() -> None:
    described("lightning-attention")
    claims_hold("lightning-attention")
