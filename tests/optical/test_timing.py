"""Frames, time and energy of architectures, as numbers and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import Dim, evaluate, sym
from archgraph.optical.device import load_device
from archgraph.optical.timing import Layer, Timing, optical_layers, timing
from archgraph.spec.load import load

#: Two passes, as where inputs are not split.
DEVICE = load_device("theoretical-2MHz:signed_input=offset")


def worked_example(batch: Any) -> Timing:
    """The blocks of a ConvShareViT of depth 8 with 145 tokens of 8 x 8: all maps valid, features 64, MLP ratio 2."""
    spec = load(
        "convsharevit",
        "share-valid-full",
        merge="concat",
        mlp_form="shared_valid",
        embed="patches",
        classifier="linear",
    )
    whole = timing(spec.graph(at={"image": [batch, 3, 72, 72]}), DEVICE)
    return Timing(tuple(each for each in whole.layers if each.path.startswith("blocks.")), DEVICE, whole.batch)


@pytest.mark.parametrize(
    ("batch", "frames", "per_image", "micros"),
    [(1, 7168, 7168, 3584), (64, 7168, 112, 56), (893, 10240, 11.467, 5.733), (1024, 17408, 17, 8.5)],
)
def test_the_worked_example(batch: int, frames: int, per_image: float, micros: float) -> None:
    found = worked_example(batch)
    assert found.frames == frames
    assert frames / batch == pytest.approx(per_image, rel=1e-4)
    assert found.seconds() / batch * 1e6 == pytest.approx(micros, rel=1e-3)


def test_the_closed_form_is_the_count() -> None:
    law = worked_example(sym("B")).frames
    assert isinstance(law, Dim)
    for batch in (1, 2, 64, 223, 224, 893, 894, 1024, 5000):
        assert evaluate(law, {"B": batch}) == worked_example(batch).frames


def test_break_even_and_speed_up() -> None:
    found = worked_example(64)
    assert found.speed_up(found.seconds()) == pytest.approx(1)
    assert found.speed_up(2 * found.seconds() + 2e-3, electronic=1e-3) == pytest.approx(2)
    assert found.seconds(1e-3) == pytest.approx(found.seconds() + 1e-3)


def layer(kernels: int, planes: int, side: int = 8) -> Layer:
    return Layer("x", "conv2d", 1, kernels, planes, (side, side), 0)


@given(st.integers(0, 50), st.integers(1, 300), st.integers(1, 2000))
def test_frames_are_linear_in_kernels_and_steps_in_planes(kernels: int, tokens: int, batch: int) -> None:
    device = DEVICE.with_(width=80, height=80)
    tiles = 100
    shared = layer(kernels, batch * tokens)
    assert shared.tiles(device) == tiles
    assert shared.frames(device) == 2 * kernels * -(-batch * tokens // tiles)
    # one kernel a token, each over that token of all samples
    own = layer(tokens, batch)
    assert shared.frames(device) * tokens * -(-batch // tiles) == (
        own.frames(device) // 2 * kernels * -(-batch * tokens // tiles) * 2
    )


def test_kernels_of_a_dense_convolution_are_pairs_of_channels() -> None:
    found = timing(load("resnet", "resnet18").graph(at={"x": [1, 3, 224, 224]}), load_device("ideal"))
    convolutions = [each for each in found.layers if each.op == "conv2d" and "shortcut" not in each.path]
    pairs = sum(each.calls * each.kernels for each in convolutions)
    assert pairs == 1_220_800  # convolution operations of a ResNet-18 without its projections (FatNet's count)


def test_shared_kernels_take_no_more_frames_than_own_ones() -> None:
    for batch in (1, 64, 1024):
        own = timing(load("convsharevit").graph(at={"image": [batch, 3, 72, 72]}), DEVICE).frames
        one = timing(load("convsharevit", "share-same-k7").graph(at={"image": [batch, 3, 72, 72]}), DEVICE).frames
        assert one < own


def test_optical_attention_adds_a_kernel_for_every_key() -> None:
    graph = load("convsharevit", "share-valid-full").graph(at={"image": [1, 3, 72, 72]})
    products = [each for each in optical_layers(graph, load_device("ideal:attention=optical")) if "scaled" in each.op]
    assert sum(2 * each.calls * each.kernels for each in products) == 8 * 4 * 2 * 145  # 9,280 frames an image
    electronic = timing(graph, DEVICE)
    optical = timing(graph, DEVICE.with_(attention="optical"))
    assert optical.frames - electronic.frames == 9280


def test_tiles_that_are_not_square() -> None:
    wide = Layer("x", "linear", 1, 1, 1000, (8, 16), 0)
    assert wide.tiles(DEVICE) == 240 * 135
    assert wide.tiles(DEVICE.with_(tile="rectangle")) == 240 * 270


def test_padding_sets_tiles_apart() -> None:
    same = load("convsharevit", "share-same-k7").graph(at={"image": [1, 3, 72, 72]})
    tiles = {each.path: each.tile for each in optical_layers(same, DEVICE)}
    assert tiles["blocks.heads.0.q.y.conv"] == (11, 11) or any(t == (11, 11) for t in tiles.values())
    assert tiles["colours"] == (96, 96)


def test_energy_adds_up() -> None:
    found = worked_example(64)
    energy = found.energy(electronic=1.0)
    assert energy["electronics"] == 1.0
    seconds = found.frames / DEVICE.frame_rate
    assert energy["camera"] == pytest.approx(5 * seconds)
    # one repeat of every kernel: the kernel plane changes with each frame
    assert energy["kernel modulator"] == pytest.approx(5 * seconds)
    assert energy["camera conversion"] == pytest.approx(3840 * 2160 * found.frames * 50e-15 * 256)


def test_what_does_not_fit_is_refused() -> None:
    graph = load("vit").graph(at={"image": [1, 3, 224, 224]})
    with pytest.raises(SpecError, match="does not fit the device") as caught:
        timing(graph, load_device("ideal:width=200,height=200"))
    assert "patch_embed" in str(caught.value)
    with pytest.raises(SpecError, match="is not a number"):
        worked_example(sym("B")).seconds()
