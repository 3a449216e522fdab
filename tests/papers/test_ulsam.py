"""ULSAM (arXiv 2006.15102): subspace attention, and MobileNets with it behind or in place of blocks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import totals
from archgraph.lower.weights import load_state
from archgraph.spec.reference_parse import references
from archgraph.spec.spec_files import parse_file, resolve
from tests.papers.common import agrees, block, claims_hold, compiles, cross_entropy, exports, lowers_loss, small, uneven

sides = st.integers(1, 7)


def module(channels: int = 12, groups: int = 3) -> GraphModule:
    return uneven(block("blocks/ulsam", "ulsam", {"x": ["B", channels, "H", "W"]}, groups=groups), 2.0).double()


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.sampled_from([1, 2, 3, 4, 6]), sides, sides)
@settings(max_examples=20)
def test_one_map_per_subspace_that_sums_to_one(groups: int, h: int, w: int) -> None:
    x = draw(2, 12, h, w)
    y = module(groups=groups)(x)
    maps = (y / x - 1).reshape(2, groups, 12 // groups, h, w)
    torch.testing.assert_close(maps, maps[:, :, :1].expand_as(maps), rtol=1e-6, atol=1e-9)  # equal for its channels
    assert maps.min() > -1e-9
    torch.testing.assert_close(maps[:, :, 0].sum((-2, -1)), torch.ones(2, groups, dtype=torch.float64))
    assert (y.sign() == x.sign()).all()
    assert (y.abs() <= 2 * x.abs() + 1e-12).all()


def test_subspaces_do_not_meet() -> None:
    model, x = module(12, 3), draw(2, 12, 5, 6)
    changed = x.clone()
    changed[:, 4:8] += draw(2, 4, 5, 6, seed=1)
    same = (model(x) - model(changed)).abs().amax((0, 2, 3)) == 0
    assert same.tolist() == [True] * 4 + [False] * 4 + [True] * 4
    alone = uneven(block("blocks/ulsam", "subspace", {"x": ["B", 4, "H", "W"]})).double()
    for k in range(3):
        alone.load_state_dict(getattr(model.subspaces, str(k)).state_dict())
        torch.testing.assert_close(model(x)[:, 4 * k : 4 * k + 4], alone(x[:, 4 * k : 4 * k + 4]))


def test_without_weights_of_channels_every_position_counts_the_same() -> None:
    model, x = module(8, 2), draw(1, 8, 4, 5)
    for part in model.subspaces.children():
        torch.nn.init.zeros_(part.conv_point.weight)
    torch.testing.assert_close(model(x), x * (1 + 1 / 20))


def test_order_of_channels_and_sides_of_the_map_do_not_matter() -> None:
    model, x = module(6, 1), draw(2, 6, 5, 4)
    there, order = model(x), torch.tensor([3, 0, 5, 1, 2, 4])
    for k in (2, 3):
        torch.testing.assert_close(model(x.flip(k)), there.flip(k))
    with torch.no_grad():
        (part,) = model.subspaces.children()
        for tensor in (*part.conv_dws.state_dict().values(), *part.bn_dws.state_dict().values()):
            if tensor.dim():
                tensor.copy_(tensor[order].clone())
        part.conv_point.weight.copy_(part.conv_point.weight[:, order].clone())
    torch.testing.assert_close(model(x[:, order]), there[:, order])


@given(st.integers(1, 6), st.integers(1, 8), sides, sides)
def test_cost_laws(groups: int, width: int, h: int, w: int) -> None:
    m = groups * width
    body = f"inputs: {{x: [1, {m}, {h}, {w}]}}\ngraph: {{y: {{op: ulsam, groups: {groups}}}}}\n"
    found = totals(archgraph.loads(f"archgraph: 1\nname: lab\nuses: [blocks/ulsam]\n{body}").graph())
    assert (found.params, found.macs) == (5 * m + 3 * groups, 2 * m * h * w)


BLOCKS = 6
SETTINGS: dict[str, Any] = {"settings": [[1, 8, 1, 1], [4, 16, 2, 2], [4, 24, 3, 2]], "num_classes": 3}


@pytest.mark.parametrize("places", [{"after": [2, 5], "replaced": []}, {"after": [1], "replaced": [3, 6]}])
def test_it_learns_in_a_mobilenet(places: dict[str, list[int]]) -> None:
    net = small("ulsam/mobilenet_v2", **SETTINGS, **places)
    lowers_loss(net, [torch.randn(4, 3, 32, 32)], cross_entropy(torch.tensor([0, 1, 2, 0])))


def test_it_exports_and_compiles() -> None:
    net, x = (
        small("ulsam/mobilenet_v1", settings=[[8, 2, 1]], after=[1], replaced=[2], num_classes=3),
        torch.randn(2, 3, 16, 16),
    )
    exports(net, [x])
    compiles(net, [x])


def test_only_blocks_that_keep_the_shape_give_way() -> None:
    with pytest.raises(archgraph.SpecError, match="replace_by_ulsam"):
        archgraph.load("ulsam/mobilenet_v2", replaced=[4]).graph()  # the first of 32 channels


def test_published_configurations() -> None:
    claims_hold("ulsam")


def theirs(net: GraphModule, after: list[int]) -> dict[str, Tensor]:
    """The state_dict as a network has it whose `features` number stem, blocks, what was put behind them, and last."""
    found: dict[str, Tensor] = {}
    for key, tensor in net.state_dict().items():
        head, _, rest = key.partition(".")
        if head == "classifier":
            found[f"classifier.1.{rest}"] = tensor
            continue
        if head == "blocks":
            name, _, rest = rest.partition(".")
            if name.startswith("ulsam"):
                rank = int(name.partition("_")[2] or 1)
                found[f"features.{after[rank - 1] + rank}.{rest}"] = tensor
                continue
            number = int(name) + 1 + sum(a <= int(name) for a in after)
            first = 0 if name == "0" else 1  # where the depth-wise convolution stands; the first block has no expansion
            for ours, place in (
                ("expand", "conv.0"),
                ("depthwise", f"conv.{first}"),
                ("project.conv", f"conv.{first + 1}"),
                ("project.bn", f"conv.{first + 2}"),
            ):
                if rest.startswith(ours):
                    rest = place + rest[len(ours) :]
                    break
        else:
            number = 0 if head == "stem" else BLOCKS + len(after) + 1
        if rest.count(".") == 1 + rest.startswith("conv.") and not rest.startswith("subspaces"):
            rest = rest.replace(".conv.", ".0.").replace(".bn.", ".1.") if rest.startswith("conv.") else rest
        rest = {"conv.weight": "0.weight"}.get(rest, rest).replace(".conv.weight", ".0.weight").replace(".bn.", ".1.")
        found[f"features.{number}.{'1.' + rest[3:] if rest.startswith('bn.') else rest}"] = tensor
    return found


@pytest.mark.parametrize(("after", "replaced"), [([1, 2, 5], [6]), ([5], [3])])
def test_weights_of_several_places_are_found(after: list[int], replaced: list[int]) -> None:
    (path,) = [p for p in resolve("ulsam") if p.stem == "mobilenet_v2"]
    (entry,) = references(parse_file(path)).values()
    places = {"after": after, "replaced": replaced}
    net = uneven(small("ulsam/mobilenet_v2", **SETTINGS, **places))
    other = small("ulsam/mobilenet_v2", **SETTINGS, **places, seed=5)
    args = {"inverted_residual_setting": SETTINGS["settings"], "after": after, "replace": replaced, "num_classes": 3}
    load_state(other, theirs(net, after), entry, entry.environment(args))
    x = torch.randn(1, 3, 32, 32)
    agrees(other(x), net(x))
