"""Swaps of attention on a small vision transformer: interfaces, weights, the special cases that change nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import totals
from archgraph.ir.canon import canonical_hash
from archgraph.lower.fx import build
from archgraph.rewrite.api import Rewritten, find
from archgraph.spec.load import loads
from tests.papers.common import agrees, cross_entropy, exports, lowers_loss, uneven

DEPTH = 2
SMALL: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 4,
    "dim": 32,
    "depth": DEPTH,
    "num_heads": 2,
    "num_classes": 3,
    "class_token": False,
    "pool": "mean",
}

FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("softmax_to_linear", {"feature_map": "relu"}),
    ("softmax_to_linear", {"feature_map": "elu_plus_one", "learn_scale": False}),
    ("softmax_to_linear", {"feature_map": "relu", "floor": 100.0}),
    ("softmax_to_agent", {"agents": 9}),
    ("softmax_to_bi_level_routing", {"n_win": 4, "topk": 3}),
    ("softmax_to_window", {"window_size": 4}),
    ("softmax_to_partition", {"partition": "block", "h": 4}),
    ("softmax_to_partition", {"partition": "grid", "h": 4, "relative": False}),
    ("softmax_to_neighborhood", {"kernel_size": 3}),
    ("softmax_to_lightning", {"block_size": 16}),
]


def host(**changes: Any) -> Any:
    return archgraph.load("vit", **{**SMALL, **changes})


def swapped(rule: str, settings: dict[str, Any], **changes: Any) -> Rewritten:
    return archgraph.rewrite(host(**changes), rule, expect=DEPTH, **settings)


def pair(done: Rewritten, std: float = 0.3, new: float = 0.0) -> tuple[GraphModule, GraphModule]:
    """Host and result with uneven weights, equal where the rule carries them; others have deviation ``new``."""
    before, after = build(done.before).eval(), build(done.after).eval()
    uneven(before, std)
    uneven(after, new, seed=2)
    state, old = after.state_dict(), before.state_dict()
    for path, kind, source in done.weight_table():
        if kind == "carried":
            state[path].copy_(old[source])
        elif kind == "computed":
            raise AssertionError(path)
    return before.double(), after.double()


def image(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(
    ("rule", "settings"), FAMILIES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_a_swap_keeps_interface_and_shared_weights_and_can_be_trained(rule: str, settings: dict[str, Any]) -> None:
    done = swapped(rule, settings)
    assert done.after.inputs == done.before.inputs
    assert done.after.output_types == done.before.output_types
    sources = sorted(source for _, kind, source in done.weight_table() if kind == "carried")
    assert sources == sorted(build(done.before).state_dict())
    before, after = pair(done, new=0.3)
    assert (before(image()) - after(image())).abs().max() > 1e-3
    model = build(done.after, seed=0)
    x = image().float()
    lowers_loss(model, [x], cross_entropy(torch.tensor([0, 1])))
    exports(model, [x])


#: Params under which a swap is the attention that it replaces, when what it adds is nought.
SAME: list[tuple[str, dict[str, Any], int]] = [
    ("softmax_to_bi_level_routing", {"n_win": 4, "topk": 16, "kernel_size": 0, "head_scale": True}, 32),
    ("softmax_to_bi_level_routing", {"n_win": 1, "topk": 1, "head_scale": True}, 32),
    ("softmax_to_window", {"window_size": 8}, 32),
    ("softmax_to_partition", {"partition": "block", "h": 8}, 32),
    ("softmax_to_partition", {"partition": "grid", "h": 8}, 32),
    ("softmax_to_neighborhood", {"kernel_size": 7}, 28),
]


@pytest.mark.parametrize(("rule", "settings", "size"), SAME)
def test_a_swap_that_sees_everything_changes_nothing(rule: str, settings: dict[str, Any], size: int) -> None:
    before, after = pair(swapped(rule, settings, image_size=size))
    agrees(after(image(size)), before(image(size)), 1e-9)


def test_feature_maps_give_other_functions() -> None:
    found = [pair(swapped(rule, settings), new=0.3)[1](image()) for rule, settings in FAMILIES[:3]]
    assert all((a - b).abs().max() > 1e-3 for k, a in enumerate(found) for b in found[:k])


def test_lightning_is_causal_and_its_forms_agree() -> None:
    models = [
        pair(swapped("softmax_to_lightning", {"form": form, "block_size": 24}))[1]
        for form in ("block", "parallel", "recurrent")
    ]
    want = models[0](image())
    for model in models[1:]:
        agrees(model(image()), want, 1e-9)
    seen: list[Tensor] = []
    models[1].blocks[0].attn.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    below = image()
    below[..., 16:, :] += 1.0  # the lower half of the patches
    models[1](image())
    models[1](below)
    changed = (seen[0] - seen[1]).abs().amax((0, 2))
    assert changed[:32].max() == 0
    assert changed[32:].min() > 0


def test_deit_tiny_with_agents_has_the_published_cost_and_all_of_its_weights() -> None:
    done = archgraph.rewrite(
        archgraph.load("vit", "tiny"), "softmax-to-agent", expect=12, at={"image": (1, 3, 224, 224)}
    )
    found = totals(done.after)
    assert (found.params, found.macs) == (6_015_640, 1_167_877_632)
    kinds = [kind for _, kind, _ in done.weight_table()]
    assert (kinds.count("carried"), kinds.count("new"), len(kinds)) == (152, 120, 272)


@pytest.mark.parametrize("second", ["softmax_to_linear", "softmax_to_lightning"])
def test_rules_at_disjoint_places_do_not_meet(second: str) -> None:
    one = ("softmax_to_agent", "blocks.0.attn", {"agents": 4})
    two = (second, "blocks.1.attn", {})
    results = []
    for order in ([one, two], [two, one]):
        graph = host().graph()
        for rule, where, settings in order:
            graph = archgraph.rewrite(graph, rule, where=where, expect=1, **settings).after
        results.append(canonical_hash(graph))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("rule", "settings", "message"),
    [
        ("softmax_to_agent", {"agents": 8}, "square grid"),
        ("softmax_to_window", {"window_size": 4, "shift": "window_size // 2 * (k % 2)"}, "k"),
        ("softmax_to_bi_level_routing", {"n_win": 3}, "the regions tile the map"),
        ("softmax_to_partition", {"h": 3}, "the parts tile the map"),
        ("softmax_to_neighborhood", {"kernel_size": 9}, "a window lies inside the map"),
    ],
)
def test_what_does_not_fit_is_said(rule: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(archgraph.SpecError, match=message):
        swapped(rule, settings)


@pytest.mark.parametrize(
    "rule", ["softmax_to_window", "softmax_to_partition", "softmax_to_neighborhood", "softmax_to_bi_level_routing"]
)
def test_swaps_on_maps_want_a_grid_without_other_tokens(rule: str) -> None:
    with pytest.raises(archgraph.SpecError, match=rule):
        archgraph.rewrite(host(class_token=True, pool="cls"), rule)


@pytest.mark.parametrize(("keep_rate", "same"), [(1.0, True), (0.25, False)])
def test_sparse_attention_to_all_tokens_changes_nothing(keep_rate: float, same: bool) -> None:
    settings = {"keep_rate": keep_rate, "reduce_n": 5}
    done = swapped("softmax_to_sparse", settings, class_token=True, pool="cls")
    before, after = pair(done, new=0.3)
    if same:
        agrees(after(image()), before(image()), 1e-9)
    else:
        assert (after(image()) - before(image())).abs().max() > 1e-6
        lowers_loss(build(done.after, seed=0), [image().float()], cross_entropy(torch.tensor([0, 1])))


@pytest.mark.parametrize(
    "merge", ["{op: rearrange, pattern: b s t c -> b (s t) c}", "{op: flatten, start_dim: 1, end_dim: 2}"]
)
@pytest.mark.parametrize("grid", [False, True])
def test_words_in_a_row_are_no_map(merge: str, grid: bool) -> None:
    """Sentences put one behind the other make no grid that agents could be pooled on, unless a spec says so."""
    shape = ", shape: [B, (6 8), C]" if grid else ""
    graph = loads(
        f"""archgraph: 1
name: text
uses: [blocks/transformer]
inputs: {{ids: {{shape: [B, 6, 8], dtype: int64}}}}
graph:
  words: {{op: embedding, num_embeddings: 100, embedding_dim: 12}}
  row: {merge[:-1]}{shape}}}
  attn: {{op: mhsa, num_heads: 3}}
outputs: {{y: attn}}
"""
    ).graph()
    assert find(graph, "softmax_to_agent").count == int(grid)
    assert find(graph, "softmax_to_linear").count == 1
