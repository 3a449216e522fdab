"""Memory against what torch really holds: the peak of an evaluation, and what training keeps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import archgraph
from archgraph.analysis.cost import totals
from archgraph.analysis.sizes import default_sizes
from archgraph.ir.graph import Graph
from archgraph.lower.fx import build
from archgraph.ops.strides import ELEMENT, Strides, contiguous
from archgraph.spec.load import loads
from tests.counter import inputs_on
from tests.held import allocated, held, kept
from tests.zoo import spec_ids

#: Spec, variant and input size. Most are right to the byte; what may be off are copies by padding on one side alone
#: (MaxViT), numbers that norms and attention keep for each row, and results that Python frees a little later.
PEAKS: dict[str, tuple[str, str | None, int | None]] = {
    "AlexNet": ("alexnet", None, None),
    "ResNet-18": ("resnet", "resnet18", 96),
    "ResNet-50": ("resnet", "resnet50", 96),
    "VGG-16": ("vgg", "vgg16", 64),
    "DenseNet-121": ("densenet", "densenet121", 96),
    "MobileNetV1": ("mobilenet_v1", None, 96),
    "MobileNetV2": ("mobilenet_v2", None, 96),
    "EfficientNet-B0": ("efficientnet", "b0", 96),
    "ConvNeXt-T": ("convnext", "tiny", 96),
    "HorNet-T": ("hornet", "tiny_7x7", 96),
    "ViT-T": ("vit", "tiny", None),
    "Swin-T": ("swin", "tiny", None),
    "CSWin-T": ("cswin", "tiny", None),
    "PVT-S": ("pvt", "small", None),
    "PVTv2-B2": ("pvt_v2", "b2", 96),
    "MaxViT-T": ("maxvit", "tiny_224", None),
    "BiFormer-T": ("biformer", "tiny", None),
    "Agent-DeiT-T": ("agent-attention/deit", "deit_t", None),
    "L2ViT-T": ("l2vit", "tiny", 96),
    "SMT-T": ("smt", "tiny", 96),
    "HaloNet-H0": ("halonet", "H0", None),
    "DHVT-T": ("dhvt", "tiny_imagenet_patch16", None),
    "Sparsifiner-T": ("sparsifiner", "sparsifiner-t", None),
    "OverLoCK-XT": ("overlock", "xt", None),
}


def typed(spec: str, variant: str | None, size: int | None) -> Graph:
    loaded = archgraph.load(spec_ids()[spec], variant)
    (name, *_) = loaded.block().inputs
    return loaded.graph(at=default_sizes(loaded, None, {name: (1, 3, size, size)} if size else None))


def running(graph: Graph) -> tuple[torch.nn.Module, list[Any]]:
    torch.set_num_threads(1)
    inputs = [x.normal_() if x.is_floating_point() else x.zero_() for x in inputs_on(graph, "cpu")]
    return build(graph, init=False).eval(), inputs


HEAVY = {"AlexNet", "MaxViT-T", "OverLoCK-XT", "VGG-16"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in HEAVY else ()) for n in PEAKS])
def test_peak_of_an_evaluation(name: str) -> None:
    spec, variant, size = PEAKS[name]
    graph = typed(spec, variant, size)
    said, real = int(totals(graph).memory.peak), held(*running(graph))
    assert abs(said - real) <= 0.01 * real, f"{said} said, {real} held: {real / said:.4f}"


@pytest.mark.parametrize("name", ["ViT-T", "Swin-T"])
def test_storages_are_what_the_allocator_gave(name: str) -> None:
    graph = typed(*PEAKS[name])
    model, inputs = running(graph)
    assert allocated(model, inputs) == held(model, inputs)


@pytest.mark.parametrize("name", ["ResNet-18", "PVTv2-B2"])
def test_kernels_may_take_more_for_themselves(name: str) -> None:
    """oneDNN's copies of weights in another order, and of maps whose channels lie innermost."""
    graph = typed(*PEAKS[name])
    model, inputs = running(graph)
    assert allocated(model, inputs) > held(model, inputs)


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in HEAVY else ()) for n in PEAKS])
def test_training_keeps_no_more_than_is_made(name: str) -> None:
    """``saved`` is what a forward pass makes. Autograd keeps 57 to 100 % of it, beside weights and inputs.

    The rest are results that no derivative reads: what a norm or an activation has replaced, and the terms of sums.
    Above are the statistics of batch norms alone (half a per cent of MobileNet's at this size).
    """
    graph = typed(*PEAKS[name])
    made, real = int(totals(graph).memory.saved), kept(*running(graph))
    assert 0.57 * made <= real <= 1.005 * made, f"{made} made, {real} kept: {real / made:.4f}"


HEAD = "archgraph: 1\nname: g\ninputs: {x: [2, 6, 8, 10], q: [2, 3, 20, 8]}\ngraph:\n"


@pytest.mark.parametrize(
    "text",
    [
        "  y: [{op: relu}, {op: rearrange, pattern: b c h w -> b (h w) c}, {op: slice, dim: 1, start: 3}, {op: gelu}]",
        "  y: [{op: relu}, {op: rearrange, pattern: b c h w -> b h (w c)}, {op: gelu}]",
        "  a: {op: conv2d, in: x, out_channels: 9, kernel_size: 1}\n"
        "  y: [{op: rearrange, pattern: b (k c) h w -> k b (c h) w, k: 3}, {op: select, dim: 0, index: 1}, {op: relu}]",
        "  a: {op: conv2d, in: x, out_channels: 4, kernel_size: 3}\n  y: {op: max_pool2d, kernel_size: 2, stride: 1}",
        "  a: {op: relu, in: x}\n  y: {formula: (x + 1) * sigmoid(x) - a / 2}",
        "  y: [{op: relu}, {op: dropout}, {op: identity}, {op: gelu}]",
        "  a: [{op: relu, in: q}, {op: rearrange, pattern: b n s d -> b n d s}]\n"
        "  b: {op: rearrange, in: a, pattern: b n s d -> b n d s}\n"
        "  y: {op: scaled_dot_product_attention, in: [b, b, b]}",
        "  a: {op: linear, in: q, out_features: 12}\n  c: {op: chunk, chunks: 3, dim: -1}\n"
        "  y: {op: scaled_dot_product_attention, in: [c.0, c.1, c.2]}",
    ],
)
def test_peak_of_small_graphs(text: str) -> None:
    """Views, parts, copies and temporary results, to within the numbers that attention keeps for each row."""
    graph = loads(HEAD + text + "\n").graph()
    said, real = int(totals(graph).memory.peak), held(*running(graph))
    assert said <= real <= said + 4 * 2 * 3 * 20


@settings(max_examples=200)
@given(st.data())
def test_views_are_torchs(data: st.DataObject) -> None:
    """Chains of views of a tensor of unequal sizes: which merge without a copy, and what lies innermost."""
    x = torch.arange(4 * 6 * 9 * 10).view(4, 6, 9, 10)
    said: Strides = contiguous(4)
    start = x.data_ptr()
    for _ in range(data.draw(st.integers(1, 6))):
        kinds = ["permute", "part", "merge", "ones"] + ["split", "select", "windows"] * (3 <= x.dim() <= 6)
        kind = data.draw(st.sampled_from(kinds))
        axis = data.draw(st.integers(0, x.dim() - 1))
        if kind == "permute":
            order = data.draw(st.permutations(range(x.dim())))
            x, said = x.permute(order), said.permuted(order)
        elif kind == "part" and x.shape[axis] > 4:
            step = data.draw(st.sampled_from([1, 2]))
            x = x[(slice(None),) * axis + (slice(step, None, step),)]  # never all of it, which torch would notice
            said = said.part(axis, every=step == 1)
        elif kind == "ones":
            x, said = x.unsqueeze(axis), said.with_ones(axis)
        elif kind == "split" and x.shape[axis] in (4, 6, 9, 10):
            x, said = x.unflatten(axis, (-1, 3 if x.shape[axis] in (6, 9) else 2)), said.split(axis, 2)
        elif kind == "select" and x.shape[axis] > 1:
            x, said = x.select(axis, 1), said.without(axis)
        elif kind == "windows" and x.shape[axis] > 4:
            step = data.draw(st.sampled_from([1, 2]))
            x, said = x.unfold(axis, 3, step), said.windows(axis, step == 1)
        elif kind == "merge" and axis < x.dim() - 1:
            merged, told = x.flatten(axis, axis + 1), said.merged(axis, axis + 1)
            same = merged.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
            assert same == (told is not None), (x.shape, x.stride(), said)
            if told is None:
                return
            x, said = merged, told
        if x.shape[-1] > 1:
            assert (x.stride(-1) == 1) == said.inner, (x.shape, x.stride(), said)
    assert x.untyped_storage().data_ptr() == start
    assert all(inside == ELEMENT or inside >= 0 for _, inside in said.follows)
