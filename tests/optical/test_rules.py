"""Self-attention and MLPs as shared convolutions, and whole networks on a 4f device, by rules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import archgraph
from archgraph.analysis.cost import totals
from archgraph.ir.diagnostics import SpecError
from archgraph.lower import fx
from archgraph.optical.layers import OpticalConv2d, OpticalLinear, set_device
from archgraph.spec.load import load, loads

VALID = ["mhsa_to_shared_conv_valid", "mlp_to_shared_conv_valid"]
ON_4F = ["conv_to_4f", "linear_to_4f"]


DERIVED = """\
archgraph: 1
name: optical_vit
base: vit
params: {device: text}
rewrite:
  - mhsa_to_shared_conv_valid
  - {rule: mlp_to_shared_conv_valid, set: {rows: null}}
  - {rule: conv_to_4f, set: {device: $device}}
  - {rule: linear_to_4f, set: {rows: null, device: $device}}
"""


def deit(rules: list[str], **settings: str) -> torch.fx.GraphModule:
    """DeiT-T, or what rules make of it, in eval mode."""
    graph = load("vit", "tiny").graph(at={"image": (1, 3, 224, 224)})
    for rule in rules:
        own = settings if rule.endswith("_4f") else {}
        graph = archgraph.rewrite(graph, rule, **own).after
    return fx.build(graph, seed=0).eval()


def as_kernels(state: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Linear layers' weights as the kernels that the rules make of them."""
    found = {}
    for name, tensor in like.items():
        old = name if name in state else name.replace(".conv.", ".")
        found[name] = state[old].reshape(tensor.shape)
    return found


@pytest.mark.slow
def test_deit_by_shared_valid_convolutions_is_deit_itself_and_so_it_is_through_the_ideal_device() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 224, 224)
    plain, shared, optical = deit([]), deit(VALID), deit([*VALID, *ON_4F], device="ideal")
    shared.load_state_dict(as_kernels(plain.state_dict(), shared.state_dict()))
    optical.load_state_dict(shared.state_dict())
    with torch.no_grad():
        theirs = plain(x)
        assert (shared(x) - theirs).abs().max() <= 1e-5 * theirs.abs().max().clamp_min(1)
        assert (optical(x) - theirs).abs().max() <= 1e-4 * theirs.abs().max().clamp_min(1)
    assert sum(isinstance(m, OpticalConv2d) for m in optical.modules()) == 1 + 4 * 12
    assert sum(isinstance(m, OpticalLinear) for m in optical.modules()) == 1


def test_every_layer_of_deit_is_found_and_every_weight_carried() -> None:
    graph = load("vit", "tiny").graph(at={"image": (1, 3, 224, 224)})
    for rule in VALID:
        done = archgraph.rewrite(graph, rule, expect=12)
        kinds = [kind for _, kind, *_ in done.weight_table()]
        assert set(kinds) <= {"carried", "computed"}
        assert kinds.count("computed") == 24
        graph = done.after
    whole = archgraph.rewrite(
        load("vit", "tiny").graph(at={"image": (1, 3, 224, 224)}), "linear_to_shared_conv", expect=48
    )
    assert sum(kind == "computed" for _, kind, *_ in whole.weight_table()) == 48


def test_restricted_kernels_say_what_is_lost() -> None:
    done = archgraph.rewrite(load("vit", "tiny"), "mhsa_to_shared_conv", expect=12, form="shared_same")
    kinds = [kind for _, kind, *_ in done.weight_table()]
    assert kinds.count("dropped") == 48
    assert kinds.count("new") == 36


@pytest.mark.parametrize(
    ("spec", "variant", "rule", "settings"),
    [
        ("vit", "tiny", "mhsa_to_shared_conv", {"form": "depthwise_same", "heads": 2}),
        ("vit", "tiny", "mlp_to_shared_conv", {"form": "shared_same"}),
        ("vit", "tiny", "mlp_to_shared_conv", {"form": "depthwise_same"}),
        ("dhvt", None, "linear_to_shared_conv", {}),
        ("swin", "tiny", "linear_to_4f", {"device": "ideal"}),
        ("convsharevit", "vit-d64", "linear_to_4f", {"device": "ideal"}),
        ("convsharevit", "fcsa-d8h4", "conv_transpose_to_4f", {"device": "dmd"}),
    ],
)
def test_any_transformer_will_do(spec: str, variant: str | None, rule: str, settings: dict[str, object]) -> None:
    done = archgraph.rewrite(load(spec, variant), rule, settings=settings)
    assert done.after.output_types == done.before.output_types


def test_a_derived_spec_goes_onto_a_device() -> None:
    spec = loads(DERIVED, image_size=32, patch_size=8, dim=24, depth=2, num_classes=5, device="dmd:camera_bits=6")
    model = fx.build(spec.graph(at={"image": (2, 3, 32, 32)}), seed=0)
    profiles = {m.device_profile for m in model.modules() if isinstance(m, (OpticalConv2d, OpticalLinear))}
    assert profiles == {"dmd:camera_bits=6"}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert set_device(model, "ideal") == 1 + 4 * 2 + 1


def test_kernels_smaller_than_the_plane_have_to_fill_the_token() -> None:
    settings = {"form": "shared_valid", "kernel_size": 5}
    done = archgraph.rewrite(load("vit", dim=64, num_heads=4), "mhsa_to_shared_conv", settings=settings)
    # 4 kernels of 5 x 5 for each of query, key and value, in 12 blocks, in place of packed layers and projections
    assert totals(done.before).params - totals(done.after).params == 12 * (64 * 256 + 256 - 3 * 4 * 25)
    with pytest.raises(SpecError, match="each kernel gives as many features as it has positions"):
        archgraph.rewrite(load("vit", dim=384, num_heads=4), "mhsa_to_shared_conv", settings=settings)
