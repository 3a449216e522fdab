"""RCMHA: Transformer-XL's relative attention with causal convolutions (arXiv 2308.03429)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule
from torch.nn import functional as F

import archgraph
from archgraph.ir.dim import sym
from tests.papers.common import (
    agrees,
    block,
    claims_hold,
    compiles,
    cross_entropy,
    described,
    exports,
    lowers_loss,
    reached,
    small,
    uneven,
)

TINY: dict[str, Any] = {"vocab": 11, "dim": 16, "num_heads": 2, "hidden": 24, "depth": 2, "reach": 32}
FORMS = {"mha": (False, False), "mdha": (False, True), "rmha": (True, False), "rcmha": (True, True)}
lengths = st.integers(1, 7)


def attention(form: str, masked: bool = False, **params: Any) -> GraphModule:
    relative, convolve = FORMS[form]
    inputs: dict[str, list[Any]] = {"query": ["L", "B", 8], "key": ["S", "B", 8], "value": ["S", "B", 8]}
    if masked:
        inputs["mask"] = ["L", "S", 1]
    made = block(
        "blocks/relative_attention",
        "sequence_attention",
        inputs,
        num_heads=2,
        relative=relative,
        convolve=convolve,
        reach=16,
        **params,
    )
    uneven(made)
    return made.double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def identity_convolutions(model: GraphModule) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("conv.conv.weight"):
                parameter.copy_(torch.tensor([0.0, 0.0, 1.0]).expand_as(parameter))
            elif name.endswith("conv.conv.bias"):
                parameter.zero_()


@given(lengths, st.integers(0, 5), st.integers(1, 3))
@settings(max_examples=10)
def test_without_tables_and_convolutions_it_is_plain_attention(length: int, memory: int, batch: int) -> None:
    full, plain = attention("rcmha"), attention("mha", qk_bias=False)
    identity_convolutions(full)
    with torch.no_grad():
        for name, parameter in full.named_parameters():
            if "pos" in name:
                parameter.zero_()
    state = full.state_dict()
    plain.load_state_dict({key: state[key] for key in plain.state_dict()})
    query, key = draw(length, batch, 8), draw(length + memory, batch, 8, seed=1)
    agrees(full(query, key, key), plain(query, key, key))


@given(lengths, st.integers(0, 5), st.integers(1, 4))
@settings(max_examples=10)
def test_scores_depend_on_distance_alone(length: int, memory: int, more: int) -> None:
    scores = block(
        "blocks/relative_attention", "relative_scores", {"q": ["L", "B", 2, 4], "k": ["S", "B", 2, 4]}, reach=16
    )
    uneven(scores).double()
    q, k = draw(length, 2, 2, 4), draw(length + memory, 2, 2, 4, seed=1)
    one, longer = scores(q, k), scores(q, torch.cat([draw(more, 2, 2, 4, seed=2), k]))
    torch.testing.assert_close(longer[..., more:], one)
    at = scores.key_pos_embeddings.detach(), scores.key_pos_bias.detach()
    for i in range(length):
        for j in range(length + memory):
            index = 16 + j - (i + memory)  # the middle of the tables is the query itself
            expected = torch.einsum("bhd,hd->bh", q[i], at[0][index]) + at[1][index]
            torch.testing.assert_close(one[:, :, i, j], expected)


@pytest.mark.parametrize("form", FORMS)
@given(lengths, st.integers(0, 5))
@settings(max_examples=5)
def test_rows_of_attention_sum_to_one(form: str, length: int, memory: int) -> None:
    model = attention(form)
    identity_convolutions(model)
    with torch.no_grad():
        model.v.linear.weight.zero_()
    out = model(draw(length, 2, 8), draw(length + memory, 2, 8, seed=1), draw(length + memory, 2, 8, seed=2))
    torch.testing.assert_close(out, model.output(model.v.linear.bias).expand_as(out))


@pytest.mark.parametrize("form", ["rmha", "rcmha"])
@given(st.integers(2, 9), st.data())
@settings(max_examples=8)
def test_nothing_leaks_from_the_future(form: str, length: int, data: st.DataObject) -> None:
    net = small("rcmha", **TINY, convolve=form == "rcmha")
    uneven(net)
    position = data.draw(st.integers(1, length - 1))
    ids = torch.randint(0, 11, (length, 2))
    other = ids.clone()
    other[position:] = (other[position:] + 1) % 11
    with torch.no_grad():
        before, after = net(ids)["logits"], net(other)["logits"]
    assert torch.equal(before[:position], after[:position])
    assert not torch.equal(before[position:], after[position:])


@given(st.permutations(range(3)), st.permutations(range(4)), lengths)
@settings(max_examples=10)
def test_convolutions_are_the_same_for_every_head_and_item(items: list[int], heads: list[int], length: int) -> None:
    conv = block("blocks/relative_attention", "causal_depthwise_conv", {"x": ["L", "B", "h", 5]})
    uneven(conv).double()
    x = draw(length, 3, 4, 5)
    torch.testing.assert_close(conv(x[:, items][:, :, heads]), conv(x)[:, items][:, :, heads])
    padded = F.pad(x[:, 0, 0].T[None], (2, 0))
    expected = F.conv1d(padded, conv.conv.weight, conv.conv.bias, groups=5)[0].T
    torch.testing.assert_close(conv(x)[:, 0, 0], expected)


def test_a_mask_hides() -> None:
    """Hidden keys might as well not be there; with relative positions they would be at the front."""
    for form in ("mha", "rmha"):
        open_, masked = attention(form), attention(form, masked=True)
        masked.load_state_dict(open_.state_dict())
        query, key = draw(3, 2, 8), draw(6, 2, 8, seed=1)
        mask = torch.ones(3, 6, 1, dtype=torch.bool)
        mask[:, :2] = False
        agrees(masked(query, key, key, mask), open_(query, key[2:], key[2:]))


def with_memory(**changes: Any) -> GraphModule:
    settings = {**TINY, **changes}
    spec = archgraph.load("rcmha", **settings)
    names = {"ids": ("L", "B"), "mem": (settings["depth"], "M", "B", settings["dim"])}
    at = {key: tuple(sym(n) if isinstance(n, str) else n for n in shape) for key, shape in names.items()}
    return archgraph.build(spec, at=at).eval()


@pytest.mark.parametrize(("convolve", "depth", "same_from"), [(False, 3, 0), (True, 1, 2)])
def test_memory_continues_the_segment(convolve: bool, depth: int, same_from: int) -> None:
    """A segment after its memory gives what it gives within the whole sequence.

    With convolutions the first two queries see zeros in place of the segment before, and with several layers so do
    later keys; keys and values are convolved over memory and segment.
    """
    whole, cut = (
        small("rcmha", **{**TINY, "depth": depth}, convolve=convolve),
        with_memory(depth=depth, convolve=convolve),
    )
    uneven(whole)
    cut.load_state_dict(whole.state_dict())
    ids = torch.randint(0, 11, (9, 2))
    with torch.no_grad():
        expected = whole(ids)
        memory = whole(ids[:5])["new_mem"]
        out = cut(ids[5:], memory)
    agrees(out["logits"][same_from:], expected["logits"][5 + same_from :])
    assert (out["new_mem"].shape, memory.shape) == ((depth, 4, 2, 16), (depth, 5, 2, 16))
    agrees(out["new_mem"][0], expected["new_mem"][0, 5:])


def test_published_configurations() -> None:
    described("rcmha")
    claims_hold("rcmha")


def test_sequences_beyond_the_tables_are_refused() -> None:
    with pytest.raises(archgraph.SpecError, match="the tables reach as far as the keys"):
        archgraph.load("rcmha", reach=8).graph(at={"ids": (9, 1)})


@pytest.mark.parametrize("convolve", [False, True])
def test_it_learns_with_memory_carried_over_segments(convolve: bool) -> None:
    net = with_memory(convolve=convolve)
    text = torch.arange(4 * 7).remainder(11).reshape(4, 7).T  # four counting sequences
    first, second, target = text[:3], text[3:6], text[4:7]
    memory = small("rcmha", **TINY, convolve=convolve).train()(first)["new_mem"]
    assert not memory.requires_grad
    assert reached(net, [second, memory]) == {name for name, _ in net.named_parameters()}
    lowers_loss(net, [second, memory], lambda out: F.cross_entropy(out["logits"].flatten(0, 1), target.flatten()))


@pytest.mark.parametrize("form", FORMS)
def test_every_attention_learns(form: str) -> None:
    relative, convolve = FORMS[form]
    net = small("rcmha", graph="attention", dim=16, num_heads=2, reach=16, relative=relative, convolve=convolve)
    x, target = torch.randn(6, 2, 16), torch.randint(0, 16, (6 * 2,))
    loss = cross_entropy(target)
    lowers_loss(net, [x, x, x], lambda out: loss(out.flatten(0, 1)))


def test_it_exports_and_compiles() -> None:
    net, memory = with_memory(), torch.randn(2, 4, 3, 16)
    ids = torch.randint(0, 11, (5, 3))
    exports(net, [ids, memory])
    compiles(net, [ids, memory])
