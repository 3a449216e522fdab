"""TCPA: prompts for the class token and for image tokens, chosen by token (arXiv 2505.02406)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.papers.common import block, claims_hold, cross_entropy, described, exports, lowers_loss, small, uneven

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "dim": 16,
    "depth": 2,
    "num_heads": 2,
    "num_classes": 5,
    "cls_pool": 3,
    "image_pool": 4,
    "cls_topk": 2,
    "image_topk": 2,
}
FLAGS: list[dict[str, Any]] = [
    {},
    {"matched": False},
    {"affine": True},
    {"pixel_prompt": True},
    {"simam": True},
    {"cls_length": 2, "image_length": 3},
]


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def model(**params: Any) -> torch.fx.GraphModule:
    return uneven(small("tcpa", **{**TINY, **params})).double()


def test_choosing_the_whole_pool_is_choosing_by_role() -> None:
    chosen, by_role = model(cls_topk=3, image_topk=4), model(matched=False)
    by_role.load_state_dict(chosen.state_dict())
    x = draw(2, 3, 16, 16)
    torch.testing.assert_close(chosen(x)["logits"], by_role(x))


def test_the_mask_is_not_made_up_for() -> None:
    """Rows sum to one less what falls on prompts that are not seen."""
    net = uneven(block("tcpa", "attention", {"x": ["B", 7, 8], "mask": ["B", 4, 7]}, num_heads=2)).double()
    x = draw(1, 7, 8)
    mask = torch.ones(1, 4, 7, dtype=torch.int64)
    whole = net(x, mask)
    q, k, v = (t.unflatten(2, (2, 4)).transpose(1, 2) for t in net.qkv(x).chunk(3, -1))
    rows = [0, 4, 5, 6]
    share = (q @ k.transpose(2, 3) / 2).softmax(-1)[:, :, rows]
    torch.testing.assert_close(whole, net.proj((share @ v).transpose(1, 2).flatten(2)))
    mask[:, :, 1:4] = 0
    share[..., 1:4] = 0
    torch.testing.assert_close(net(x, mask), net.proj((share @ v).transpose(1, 2).flatten(2)))


def test_prompts_are_transformed_together() -> None:
    """The first number of the first prompt becomes the sum of all: adding to any prompt changes it alike."""
    net, x = model(matched=False), draw(1, 3, 16, 16)
    before = net(x)
    with torch.no_grad():
        net.cls_prompts[:, [0, 1]] = net.cls_prompts[:, [1, 0]]
    assert not torch.allclose(net(x), before)


def test_matches_are_the_nearest_keys() -> None:
    net = block("tcpa", "match", {"x": ["N", 8], "keys": [5, 8]}, topk=2)
    x, keys = draw(6, 8), draw(5, 8)
    chosen, distance, found = net(x, keys)
    likeness = torch.nn.functional.cosine_similarity(x[:, None], keys[None], dim=-1)
    most, index = likeness.topk(2)
    assert torch.equal(found, index)
    torch.testing.assert_close(distance, (1 - most).mean())
    assert torch.equal(chosen, torch.zeros(6, 5, dtype=torch.int64).scatter(1, index, 1))


@pytest.mark.parametrize("flags", FLAGS, ids=lambda f: next(iter(f), "plain"))
def test_only_prompts_and_head_learn(flags: dict[str, Any]) -> None:
    net, x = small("tcpa", **{**TINY, "prompt_dropout": 0.0, **flags}), torch.randn(3, 3, 16, 16)
    learned = {name.split(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    optional = {"scale", "shift", "prompter"}
    assert learned - optional == {"cls_keys", "cls_prompts", "image_keys", "image_prompts", "head"}
    output = "logits" if flags.get("matched", True) else None
    lowers_loss(net, [x], cross_entropy(torch.tensor([0, 1, 2]), output))


def test_published_configurations() -> None:
    described("tcpa")
    claims_hold("tcpa")


def test_it_exports() -> None:
    exports(small("tcpa", **TINY, at={"x": (2, 3, 16, 16)}), [torch.randn(2, 3, 16, 16)])
