"""OverLoCK: context-mixing dynamic kernels under a top-down context (arXiv 2502.20087)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional as F

import archgraph
from archgraph.ir.canon import canonical_hash
from archgraph.rewrite.api import rewrite
from tests.papers.common import (
    agrees,
    block,
    claims_hold,
    compiles,
    described,
    exports,
    lowers_loss,
    reached,
    small,
    uneven,
)

TINY: dict[str, Any] = {
    "widths": [8, 8, 16, 16],
    "depths": [1, 1, 1, 1],
    "focus_depths": [2, 2],
    "kernels": [7, 7, 5, 5],
    "small": 3,
    "heads": [2, 2],
    "mlp_ratios": [1, 1, 1, 1],
    "focus_mlp_ratios": [1, 1],
    "projection": 12,
    "num_classes": 5,
}
OPEN = {"x": ["B", 8, "H", "W"]}
sides = st.integers(5, 9)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def dynamic(kernel: int, *, std: float = 0.3) -> GraphModule:
    made = block(
        "blocks/dynamic_kernels",
        "dynamic_kernel",
        {"logits": ["B", 2, "N", kernel**2], "v": ["B", 4, "H", "W"]},
        kernel_size=kernel,
    )
    uneven(made, std)
    return made.double()


def corner(i: int, kernel: int, size: int) -> int:
    """Where the window of a position begins: centred on it, moved inside the map."""
    return min(max(i - kernel // 2, 0), size - kernel)


@given(st.sampled_from([3, 5]), sides, sides)
@settings(max_examples=10)
def test_each_pixel_has_a_window_inside_the_map_and_a_bias_for_each_offset(
    kernel: int, height: int, width: int
) -> None:
    model = dynamic(kernel)
    v, logits = draw(1, 4, height, width), draw(1, 2, height * width, kernel**2)
    y = model(logits, v)
    for i in range(height):
        for j in range(width):
            top, left = corner(i, kernel, height), corner(j, kernel, width)
            bias = model.rpb[:, top - i + kernel - 1 :, left - j + kernel - 1 :][:, :kernel, :kernel].flatten(1)
            weights = (logits[0, :, i * width + j] + bias).softmax(-1)
            window = v[0, :, top : top + kernel, left : left + kernel].reshape(2, 2, -1)
            torch.testing.assert_close(y[0, :, i, j].reshape(2, 2), torch.einsum("gs,gcs->gc", weights, window))


@given(st.sampled_from([3, 5]), sides, sides)
@settings(max_examples=10)
def test_weights_sum_to_one(kernel: int, height: int, width: int) -> None:
    v = draw(2, 4, 1, 1).expand(2, 4, height, width)
    torch.testing.assert_close(dynamic(kernel)(draw(2, 2, height * width, kernel**2), v), v)


@given(st.sampled_from([3, 5]), sides, sides)
@settings(max_examples=10)
def test_without_logits_and_biases_it_is_a_box_mean(kernel: int, height: int, width: int) -> None:
    v = draw(2, 4, height, width)
    y = dynamic(kernel, std=0.0)(torch.zeros(2, 2, height * width, kernel**2, dtype=v.dtype), v)
    means = F.avg_pool2d(v, kernel, 1)
    rows = [corner(i, kernel, height) for i in range(height)]
    cols = [corner(j, kernel, width) for j in range(width)]
    torch.testing.assert_close(y, means[:, :, rows][..., cols])


def test_a_map_as_high_as_the_kernel_has_one_window_for_each_column() -> None:
    y = dynamic(5, std=0.0)(torch.zeros(1, 2, 5 * 8, 25, dtype=torch.float64), draw(1, 4, 5, 8))
    torch.testing.assert_close(y, y[:, :, :1].expand_as(y))


@given(st.floats(-5, 5), st.booleans())
@settings(max_examples=6)
def test_a_constant_on_all_logits_of_a_kernel_changes_nothing(constant: float, large: bool) -> None:
    model = block("blocks/dynamic_kernels", "contmix_block", OPEN, kernel_size=5, small=3, mlp_ratio=1)
    uneven(model).double()
    x = draw(1, 8, 7, 6)
    before = model(x)
    with torch.no_grad():
        model.mix.dynamic.weight_proj.bias[9:].add_(constant) if large else model.mix.dynamic.weight_proj.bias[:9].add_(
            constant
        )
    torch.testing.assert_close(model(x), before)


@given(st.integers(2, 9), st.integers(2, 9))
@settings(max_examples=12)
def test_contmix_keeps_every_size(height: int, width: int) -> None:
    model = block("blocks/dynamic_kernels", "contmix_block", OPEN, kernel_size=5, small=3, mlp_ratio=1)
    assert model(torch.randn(2, 8, height, width)).shape == (2, 8, height, width)


def test_contmix_is_not_equivariant_under_translation() -> None:
    model = block("blocks/dynamic_kernels", "contmix_block", OPEN, kernel_size=5, small=3, mlp_ratio=1)
    uneven(model).double()
    x = draw(1, 8, 21, 21)
    moved = model(x.roll(1, 3))[..., 10, 11]
    assert (moved - model(x)[..., 10, 10]).abs().max() > 1e-6


@pytest.mark.parametrize("on_input", [False, True])
def test_a_scale_of_one_is_none(on_input: bool) -> None:
    plain, scaled = (
        block("overlock", "rep_block", OPEN, kernel_size=5, mlp_ratio=1, layer_scale=value, scale_input=on_input)
        for value in (None, 1.0)
    )
    scaled.load_state_dict({**scaled.state_dict(), **plain.state_dict()})
    x = torch.randn(1, 8, 6, 7)
    agrees(scaled(x), plain(x))


def fold(state: dict[str, Tensor], path: str) -> tuple[Tensor, Tensor]:
    """The kernel and bias that all branches of a dilated block below ``path`` are equal to."""

    def folded(conv: str, norm: str) -> tuple[Tensor, Tensor]:
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + 1e-5).sqrt()
        return state[f"{conv}.weight"] * scale[:, None, None, None], state[f"{norm}.bias"] - state[
            f"{norm}.running_mean"
        ] * scale

    kernel, bias = folded(f"{path}lk_origin", f"{path}origin_bn")
    kernel = kernel.clone()
    for key in state:
        if key.startswith(f"{path}dilated.") and key.endswith(".conv.weight"):
            branch = key.removesuffix(".conv.weight")
            dilation = int(branch.rpartition("_r")[2])
            part, shift = folded(f"{branch}.conv", f"{branch}.bn")
            reach = dilation * (part.shape[-1] // 2)
            middle = kernel.shape[-1] // 2
            kernel[
                ..., middle - reach : middle + reach + 1 : dilation, middle - reach : middle + reach + 1 : dilation
            ] += part
            bias = bias + shift
    return kernel, bias


def deployed(trained: nn.Module, model: nn.Module) -> nn.Module:
    """The deployed form with the weights of the trained one."""
    theirs = trained.state_dict()
    state = {}
    for key in model.state_dict():
        path, found, name = key.rpartition("lk_origin.")
        state[key] = fold(theirs, path)[name == "bias"] if found else theirs[key]
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("kernel", [5, 7, 9, 11, 13, 15, 17, 19])
def test_one_kernel_equals_its_branches(kernel: int) -> None:
    forms = [
        block("blocks/dilated_reparam", "dilated_reparam", OPEN, kernel_size=kernel, deploy=deploy)
        for deploy in (False, True)
    ]
    trained = uneven(forms[0]).double().eval()
    x = draw(1, 8, 9, 21)
    torch.testing.assert_close(deployed(trained, forms[1].double())(x), trained(x))


def test_both_forms_of_the_network_are_equal() -> None:
    trained = small("overlock", **TINY)
    uneven(trained)
    x = torch.randn(2, 3, 96, 128)
    out = trained(x)
    assert (out["logits"][0] - out["logits"][1]).abs().max() > 1e-3
    agrees(deployed(trained, small("overlock", **TINY, deploy=True))(x), out)


def test_the_rewrite_gives_the_deployed_network() -> None:
    for variant in ("xt", "b"):
        rewritten = rewrite(archgraph.load("overlock", variant), "merge_dilated_branches")
        spec = archgraph.load("overlock", f"{variant}-deploy")
        assert canonical_hash(rewritten.after) == canonical_hash(spec.graph())


def test_the_rewrite_keeps_what_was_learned() -> None:
    trained = small("overlock", **TINY)
    uneven(trained)
    merged = rewrite(trained, "merge_dilated_branches").module.eval()
    x = torch.randn(2, 3, 96, 128)
    agrees(merged(x), trained(x))
    same = deployed(trained, small("overlock", **TINY, deploy=True)).state_dict()
    assert merged.state_dict().keys() == same.keys()
    agrees(merged.state_dict(), same)


def test_maps_for_dense_prediction() -> None:
    maps = small("overlock", **TINY, graph="backbone")(torch.randn(1, 3, 100, 130))
    assert {name: list(m.shape) for name, m in maps.items()} == {
        "c1": [1, 8, 25, 33],
        "c2": [1, 8, 13, 17],
        "c3": [1, 20, 7, 9],
        "c4": [1, 20, 4, 5],
    }


def test_published_configurations() -> None:
    described("overlock")
    claims_hold("overlock")


def test_kernels_without_a_table_are_refused() -> None:
    with pytest.raises(archgraph.SpecError):
        archgraph.load("overlock", kernels=[3, 7, 5, 5]).graph()


@pytest.mark.parametrize("deploy", [False, True])
def test_it_learns_with_the_second_classifier(deploy: bool) -> None:
    net = small("overlock", **TINY, deploy=deploy)
    x, target = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
    with torch.no_grad():
        out = net(x)
    assert torch.equal(out["aux"], out["logits"])
    net.train()
    assert reached(net, [x]) == {name for name, _ in net.named_parameters()}
    lowers_loss(
        net, [x], lambda out: F.cross_entropy(out["logits"], target) + 0.4 * F.cross_entropy(out["aux"], target)
    )


@pytest.mark.slow
def test_it_exports_and_compiles() -> None:
    net, x = small("overlock", **{**TINY, "focus_depths": [1, 1]}, aux=False), torch.randn(1, 3, 96, 64)
    exports(net, [x])
    compiles(net, [x])
