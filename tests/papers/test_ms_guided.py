"""Multi-scale self-guided attention: two rounds of position and channel attention (arXiv 1906.02849)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule

from archgraph.analysis.cost import totals
from archgraph.spec.load import load
from tests.papers.common import block, claims_hold, described, exports, lowers_loss, small, uneven

TINY: dict[str, Any] = {"width": 8, "planes": [4, 8, 8, 8], "depths": [1, 1, 1, 1], "groups": 2, "base_width": 32}
C, H, W = 16, 4, 5


def part(name: str, channels: int = C, **params: Any) -> GraphModule:
    return uneven(block("ms-guided", name, {"x": ["B", channels, H, W]}, **params)).double()


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["position_attention", "channel_attention"])
def test_attention_starts_as_the_identity(kind: str) -> None:
    model, x = part(kind), draw(2, C, H, W)
    with torch.no_grad():
        model.gamma.zero_()
    torch.testing.assert_close(model(x), x)


def test_channels_attend_to_the_least_like() -> None:
    model, x = part("channel_attention"), draw(2, C, H, W)
    rows = x.flatten(2)
    likeness = rows @ rows.transpose(1, 2)
    share = (likeness.amax(2, keepdim=True) - likeness).softmax(2)
    torch.testing.assert_close(model(x), model.gamma * (share @ rows).unflatten(2, (H, W)) + x)


@given(st.permutations(range(H * W)))
@settings(max_examples=5)
def test_position_attention_does_not_see_the_order(order: list[int]) -> None:
    model, x = part("position_attention"), draw(1, C, H, W)

    def moved(t: Tensor) -> Tensor:
        return t.flatten(2)[..., order].unflatten(2, (H, W))

    torch.testing.assert_close(model(moved(x)), moved(model(x)))


def test_position_attention_has_no_scale() -> None:
    model, x = part("position_attention"), draw(1, C, H, W)
    q, k, v = (conv(x).flatten(2) for conv in (model.query_conv, model.key_conv, model.value_conv))
    share = (q.transpose(1, 2) @ k).softmax(2)
    torch.testing.assert_close(model(x), model.gamma * (v @ share.transpose(1, 2)).unflatten(2, (H, W)) + x)


def test_the_result_is_the_mean_of_the_second_predictions() -> None:
    net = uneven(small("ms-guided", **TINY))
    out = net(torch.rand(1, 1, 32, 48))
    torch.testing.assert_close(out["out"], torch.stack(list(out["late"])).mean(0))
    assert len({id(v) for v in (*out["inputs1"], *out["inputs2"])}) == 8


def test_the_encoder_decoder_is_shared_and_the_attention_is_not() -> None:
    keys = {name.rsplit(".", 1)[0] for name in small("ms-guided", **TINY).state_dict()}
    assert sum(key.endswith("enc1.conv1") for key in keys) == 2
    assert sum(key.endswith("pam.conv1") for key in keys) == 8


def test_position_attention_alone_is_quadratic_in_pixels() -> None:
    spec = load("ms-guided")
    macs = [int(totals(spec.graph(at={"image": (1, 1, 64 * k, 64)})).macs) for k in (1, 2, 3, 4)]
    second = [a - 2 * b + c for a, b, c in zip(macs, macs[1:], macs[2:], strict=False)]
    positions = 16 * 16
    assert second == [2 * 8 * positions**2 * (8 + 64)] * 2


def test_published_configurations() -> None:
    described("ms-guided")
    claims_hold("ms-guided")


def test_it_learns() -> None:
    net, x = small("ms-guided", **TINY, num_classes=3), torch.rand(2, 1, 32, 32)
    target = torch.randint(3, (2, 32, 32), generator=torch.Generator().manual_seed(0))

    def loss(out: Any) -> Tensor:
        return sum(
            (torch.nn.functional.cross_entropy(p, target) for p in (*out["early"], *out["late"])), torch.zeros(())
        )

    lowers_loss(net, [x], loss)


def test_it_exports() -> None:
    exports(small("ms-guided", **TINY, at={"image": (1, 1, 32, 32)}), [torch.rand(1, 1, 32, 32)])
