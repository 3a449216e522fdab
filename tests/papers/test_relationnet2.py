"""RelationNet++: what keys and positions may change, the host detector inside, deformable taps, training, cost."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import archgraph
from tests.papers.common import agrees, block, claims_hold, compiles, described, exports, lowers_loss, small, uneven

SMALL: dict[str, Any] = {"in_channels": [8, 16, 24, 32], "channels": 16, "num_classes": 6, "stacked_convs": 2}
SMALL |= {"neck_groups": 4, "tower_groups": 4, "keypoint_groups": 4, "per_level": 6, "num_keys": 10, "num_heads": 4}
SMALL |= {"table": [20, 20], "auxiliary": True}
HOSTS: dict[str, dict[str, Any]] = {
    "retina": {},
    "fcos": {"head": "fcos", "num_anchors": 1, "extra_from": "output", "logits_convs": 0},
    "atss": {"head": "atss", "num_anchors": 1, "shared_outer": True},
}


def heads(host: str = "retina", **more: Any) -> nn.Module:
    return uneven(small("relationnet2", "retinanet-r50-heads", **{**SMALL, **HOSTS[host], **more}), 0.1)


def stages(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, w, 32 // 2**i, 40 // 2**i, generator=generator) for i, w in enumerate((8, 16, 24, 32))]


def group(**params: Any) -> nn.Module:
    """One group's attention of ten locations to six keys."""
    shapes: dict[str, Any] = {"q": [2, 10, 8], "at": [2, 10, 2], "key": [2, 6, 8], "key_pos": [2, 6, 2]}
    shapes["table"] = [1, 2, 21, 21]
    return uneven(block("relationnet2", "relate_group", shapes, num_heads=2, size=[20, 20], **params), 0.4)


def keys(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = ((2, 10, 8), (2, 10, 2), (2, 6, 8), (2, 6, 2), (1, 2, 21, 21))
    q, at, key, place, table = (torch.randn(size, generator=generator) for size in sizes)
    return [q, 20 * at, key, 20 * place, table]


@settings(max_examples=8)
@given(order=st.permutations(range(6)), seed=st.integers(0, 99))
def test_keys_have_no_order(order: list[int], seed: int) -> None:
    model = group()
    q, at, key, place, table = keys(seed)
    agrees(model(q, at, key[:, order], place[:, order], table), model(q, at, key, place, table))


@settings(max_examples=8)
@given(x=st.floats(-50, 50), y=st.floats(-50, 50), seed=st.integers(0, 99))
def test_only_relative_positions_count(x: float, y: float, seed: int) -> None:
    model = group()
    q, at, key, place, table = keys(seed)
    move = torch.tensor([x, y])
    agrees(model(q, at + move, key, place + move, table), model(q, at, key, place, table), 1e-4)


@settings(max_examples=6)
@given(seed=st.integers(0, 99))
def test_weights_sum_to_one(seed: int) -> None:
    for appearance in (True, False):
        model = group(appearance=appearance)
        q, at, key, place, table = keys(seed)
        same = key[:, :1].expand(-1, 6, -1)
        # equal values: whatever the weights, their mean is the value
        attn = model.attn
        agrees(model(q, at, same, place, table), attn.proj(attn.v(same[:, :1])).expand(-1, 10, -1))


def test_without_relative_positions_places_do_not_count() -> None:
    model = group(relative=False)
    q, at, key, place, table = keys(1)
    assert torch.equal(model(q, at, key, place, table), model(q, 3 * at, key, -place, table))


def test_the_middle_of_the_map_is_looked_up_exactly() -> None:
    shapes = {"table": [1, 3, 21, 21], "rel": ["B", 1, 1, 2]}
    model = block("relationnet2", "look_up", shapes, size=[20, 20], log_scale=False)
    table = torch.randn(1, 3, 21, 21)
    agrees(model(table, torch.zeros(2, 1, 1, 2))[0, :, 0, 0], table[0, :, 10, 10], 1e-6)
    agrees(model(table, torch.full((2, 1, 1, 2), 1e4))[0, :, 0, 0], table[0, :, -1, -1], 1e-6)


@pytest.mark.parametrize("host", HOSTS)
def test_without_what_is_found_the_host_remains(host: str) -> None:
    model = heads(host)
    plain = heads(host, cls_relation=False, reg_relation=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".attn.proj." in name:
                parameter.zero_()
    kept = {name: value for name, value in model.state_dict().items() if name in plain.state_dict()}
    plain.load_state_dict(kept)
    ours, theirs = model(stages()), plain(stages())
    for name in ("cls", "reg"):
        agrees(ours[name], theirs[name], 1e-5)
    # and the relation changes something, and nothing of the outputs' sizes
    changed = heads(host)(stages())
    assert [t.shape for t in changed["cls"]] == [t.shape for t in theirs["cls"]]
    assert not torch.allclose(changed["cls"][0], theirs["cls"][0])


@settings(max_examples=6)
@given(seed=st.integers(0, 99))
def test_keys_are_features_of_the_maps(seed: int) -> None:
    shapes: dict[str, Any] = {"logits": ["B", 4, 5, 7], "offsets": ["B", 2, 5, 7]}
    model = block("relationnet2", "sample_keys", shapes, stride=8, most=6)
    generator = torch.Generator().manual_seed(seed)
    logits, offsets = torch.randn(2, 4, 5, 7, generator=generator), torch.randn(2, 2, 5, 7, generator=generator)
    score, place, cell = model(logits, offsets)
    assert (score.diff(dim=1) <= 0).all()
    assert ((cell >= 0) & (cell < 35)).all()
    best = logits.flatten(1).max(1).values.sigmoid()
    agrees(score[:, 0], best)
    y, x = cell // 7, cell % 7
    for b in range(2):
        moved = offsets[b, :, y[b], x[b]].T
        agrees(place[b], torch.stack([x[b] * 8 + 4, y[b] * 8 + 4], -1) + 8 * moved)


@settings(max_examples=3)
@given(stride=st.sampled_from([1, 2]), groups=st.sampled_from([1, 2]))
def test_unmoved_taps_are_a_convolution(stride: int, groups: int) -> None:
    model = block("relationnet2", "deform_conv2d", {"x": [2, 8, 7, 9]}, out_channels=6, stride=stride, groups=groups)
    x = torch.randn(2, 8, 7, 9)
    # offsets start at nought, and the factors at a half
    agrees(model(x), nn.functional.conv2d(x, model.weight, None, stride, 1, 1, groups) / 2)
    with torch.no_grad():
        model.conv_offset.bias[1:18:2] = 1.0  # every tap one column to the right
    moved = nn.functional.pad(x[..., 1:], (0, 1))
    found = model(x)[..., 1:-1]
    agrees(found, (nn.functional.conv2d(moved, model.weight, None, stride, 1, 1, groups) / 2)[..., 1:-1])


def test_transformers_have_as_many_parameters_as_the_law_says() -> None:
    for groups in (1, 2):
        model = small("relationnet2", "retinanet-r50-heads", **{**SMALL, "channels": 256, "num_heads": 8})
        name = "cls_transformer" if groups == 1 else "reg_transformer"
        found = sum(p.numel() for p in model.bvr.get_submodule(name).parameters())
        assert found == groups * (4 * 256**2 + 4 * 256) + 256 * 8 + 8


@pytest.mark.parametrize("host", HOSTS)
def test_training_lowers_the_loss(host: str) -> None:
    def loss(found: dict[str, Any]) -> Tensor:
        maps = [*found["cls"], *(m for one in found["kpt_logits"] for m in one)]
        total = sum(nn.functional.softplus(m).mean() for m in maps) + sum(m.abs().mean() for m in found["reg"])
        assert isinstance(total, Tensor)
        return total

    lowers_loss(heads(host), [stages()], loss, steps=10)


@pytest.mark.slow
@pytest.mark.parametrize("host", HOSTS)
def test_exports_and_compiles(host: str) -> None:
    model = heads(host)
    exports(model, [stages()])
    compiles(model, [stages()])


def test_small_maps_are_refused_where_keys_lack() -> None:
    spec = archgraph.load("relationnet2", "retinanet-r50-bvr", num_keys=5000)
    with pytest.raises(archgraph.SpecError, match="5000"):
        spec.graph(at={"image": [1, 3, 64, 64]})


def test_summary_and_claims() -> None:
    described("relationnet2")
    claims_hold("relationnet2")
