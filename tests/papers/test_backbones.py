"""The host networks that papers build on: each trains, exports, compiles, casts and is copied like PyTorch's own."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils.checkpoint import checkpoint

from tests.papers.common import (
    agrees,
    block,
    claims_hold,
    compiles,
    cross_entropy,
    exports,
    lowers_loss,
    reached,
    small,
)

SIZES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "resnet:resnet50": ({"depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "num_classes": 5}, (2, 3, 64, 64)),
    "mobilenet_v1": ({"num_classes": 5, "width_mult": 0.25}, (2, 3, 64, 64)),
    "mobilenet_v2": ({"num_classes": 5, "width_mult": 0.25}, (2, 3, 64, 64)),
    "vgg:vgg16_bn": ({"widths": [[8], [8, 16]], "hidden": 16, "num_classes": 5}, (2, 3, 64, 64)),
    "alexnet": ({"num_classes": 5}, (2, 3, 64, 64)),
    "vit": ({"image_size": 32, "patch_size": 8, "dim": 24, "depth": 2, "num_classes": 5}, (2, 3, 32, 32)),
    "swin": ({"image_size": 56, "dim": 24, "depths": [1, 2], "num_heads": [2, 4], "num_classes": 5}, (2, 3, 56, 56)),
    "pvt": (
        {
            "image_size": 64,
            "dims": [8, 16, 24, 32],
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 3, 4],
            "num_classes": 5,
        },
        (2, 3, 64, 64),
    ),
    "eca-net:resnet50_k3557": (
        {"depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "num_classes": 5},
        (2, 3, 64, 64),
    ),
    "hornet:tiny_gf": (
        {"dim": 16, "depths": [1, 1, 2, 1], "filters": [None, None, [4, 3], [2, 2]], "num_classes": 5},
        (2, 3, 64, 64),
    ),
}


def model(name: str) -> tuple[GraphModule, Tensor]:
    """A small one of the architecture, and an input."""
    settings, shape = SIZES[name]
    spec, _, variant = name.partition(":")
    torch.manual_seed(0)
    return small(spec, variant or None, **settings), torch.randn(*shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_behaves_like_pytorch(name: str) -> None:
    made, x = model(name)
    exports(made, [x])
    compiles(made, [x])
    with torch.no_grad():
        expected = made(x)
        agrees(copy.deepcopy(made)(x), expected)
        agrees(pickle.loads(pickle.dumps(made))(x), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert made(x).shape == expected.shape
        buffer = io.BytesIO()
        torch.save(made.state_dict(), buffer)
        buffer.seek(0)
        again, _ = model(name)
        again.load_state_dict(torch.load(buffer))
        agrees(again(x), expected)
    x.requires_grad_(True)
    direct, saved = made(x), checkpoint(made, x, use_reentrant=False)
    agrees(saved, direct, 0)
    saved.sum().backward()
    assert reached(made, [x]) == {n for n, p in made.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", ["resnet:resnet50", "vit", "swin", "hornet:tiny_gf"])
def test_learns(name: str) -> None:
    made, x = model(name)
    lowers_loss(made, [x], cross_entropy(torch.tensor([1, 3])), steps=6)


@pytest.mark.parametrize(
    ("library", "name", "inputs", "params"),
    [
        ("blocks/resnet", "bottleneck", {"x": ["B", 8, "H", "W"]}, {"planes": 4}),
        ("vit", "block", {"x": ["B", "N", 12]}, {"num_heads": 3}),
        ("blocks/gnconv", "gnconv", {"x": ["B", 16, "H", "W"]}, {"order": 3}),
        ("hornet", "block", {"x": ["B", 16, "H", "W"]}, {"order": 2, "filter": [4, 3]}),
    ],
)
def test_a_block_is_a_model_of_its_own(library: str, name: str, inputs: dict[str, Any], params: dict[str, Any]) -> None:
    made = block(library, name, inputs, **params)
    x = torch.randn(*[{"B": 2, "H": 9, "W": 7, "N": 5}.get(d, d) for d in inputs["x"]])
    exports(made, [x])
    assert reached(made, [x]) == {n for n, _ in made.named_parameters()}


@pytest.mark.parametrize(
    "name", ["resnet", "mobilenet_v1", "mobilenet_v2", "vgg", "alexnet", "vit", "swin", "pvt", "fpn", "detr", "eca-net"]
)
def test_claims(name: str) -> None:
    claims_hold(name)
