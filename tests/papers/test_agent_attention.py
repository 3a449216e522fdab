"""Agent attention (arXiv 2312.08874): the operator, its hosts by rules, Stable Diffusion's module, merged tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.fx import GraphModule

import archgraph
from archgraph.analysis.cost import totals
from archgraph.lower.parity import run_case
from tests.papers.common import agrees, block, claims_hold, compiles, cross_entropy, exports, lowers_loss, small, uneven

C, HEADS = 8, 2
Core = tuple[GraphModule, Tensor, Tensor, Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def core(h: int = 4, w: int = 5, prefix: int = 0, *, agents: int = 4, biases: float = 0.3, conv: float = 0.0) -> Core:
    """The operator with drawn biases and convolution, and operands for it."""
    length = f"{prefix} + ({h} {w})" if prefix else f"({h} {w})"
    shape = ["B", length, C]
    model = block(
        "blocks/agent_attention", "agent_core", {"q": shape, "k": shape, "v": shape}, num_heads=HEADS, agents=agents
    )
    uneven(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_((conv if "dwc" in name else biases) / 0.3)
    q, k, v = (draw(2, prefix + h * w, C, seed=s) for s in range(3))
    return model.double(), q, k, v


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2), st.sampled_from([1, 4, 9]))
@settings(max_examples=15)
def test_values_may_be_moved_and_keys_too(h: int, w: int, prefix: int, agents: int) -> None:
    model, q, k, v = core(h, w, prefix, agents=agents)
    there, c = model(q, k, v), draw(C, seed=7)
    torch.testing.assert_close(model(q, k, v + c), there + c)  # rows sum to one
    torch.testing.assert_close(model(q, k + c, v), there)


@given(st.integers(2, 6), st.integers(2, 6))
@settings(max_examples=10)
def test_without_biases_keys_have_no_order(h: int, w: int) -> None:
    model, q, k, v = core(h, w, biases=0.0)
    order = torch.randperm(h * w)
    torch.testing.assert_close(model(q, k[:, order], v[:, order]), model(q, k, v))


def test_one_agent_gives_all_tokens_the_same() -> None:
    model, q, k, v = core(agents=1)
    y = model(q, k, v)
    torch.testing.assert_close(y, y[:, :1].expand_as(y))


def test_agents_of_nought_give_the_mean_of_the_values() -> None:
    model, q, k, v = core(biases=0.0)
    torch.testing.assert_close(model(0 * q, k, v), v.mean(1, keepdim=True).expand_as(v))


def test_equal_queries_are_one_agent() -> None:
    model, q, k, v = core(biases=0.0, agents=4)
    one, *_ = core(biases=0.0, agents=1)
    q = q[:, :1].expand_as(q)
    torch.testing.assert_close(model(q, k, v), one(q, k, v))


@given(st.integers(3, 5), st.integers(3, 5), st.integers(0, 1))
@settings(max_examples=8)
def test_the_attention_that_it_stands_for_has_no_more_rank_than_agents(h: int, w: int, prefix: int) -> None:
    """The matrix is read off by values that are one at one token each, a head's channel at a time."""
    n = prefix + h * w
    model, q, k, _ = core(h, w, prefix)
    eye = torch.eye(n, dtype=torch.float64)
    ones = torch.zeros(n, n, C, dtype=torch.float64)
    ones[:, :, 0] = eye
    rows = model(q[:1].expand(n, -1, -1), k[:1].expand(n, -1, -1), ones)[:, :, 0].T
    assert torch.linalg.matrix_rank(rows, rtol=1e-9) <= 4
    assert rows.min() > 0
    torch.testing.assert_close(rows.sum(1), torch.ones(n, dtype=torch.float64))


def test_the_convolution_leaves_the_class_token_out() -> None:
    with_conv, q, k, v = core(4, 4, 1, conv=0.3)
    without, *_ = core(4, 4, 1)
    moved = (with_conv(q, k, v) - without(q, k, v)).abs().amax((0, 2))
    assert moved[0] == 0
    assert moved[1:].min() > 0


@given(st.integers(2, 6), st.integers(2, 6), st.sampled_from([1, 4, 9]), st.sampled_from([1, 2, 4]))
def test_cost_law(h: int, w: int, agents: int, heads: int) -> None:
    call = f"{{op: agent_attention, num_heads: {heads}, agents: {agents}}}"
    body = f"inputs: {{x: [1, ({h} {w}), {C}]}}\ngraph: {{y: {call}}}\n"
    found = totals(archgraph.loads(f"archgraph: 1\nname: lab\nuses: [blocks/agent_attention]\n{body}").graph())
    n = h * w
    assert found.macs == 4 * n * C * C + 4 * agents * n * C + 9 * n * C
    assert found.params == 4 * C * C + 14 * C + 2 * heads * agents * (49 + h + w)


def test_a_window_that_is_the_map_is_the_token_form() -> None:
    shape = ["B", 4, 6, C]
    windows = uneven(block("blocks/agent_attention", "agent_window_attention", {"x": shape}, num_heads=HEADS, agents=4))
    tokens = block("blocks/agent_attention", "agent_attention", {"x": ["B", "(4 6)", C]}, num_heads=HEADS, agents=4)
    tokens.load_state_dict(windows.state_dict())
    x = torch.randn(2, 4, 6, C)
    agrees(windows(x).flatten(1, 2), tokens(x.flatten(1, 2)))


def sd(n: int, agents: int, **params: Any) -> tuple[GraphModule, Tensor, Tensor]:
    model = block(
        "blocks/agent_attention",
        "sd_agent_attention",
        {"x": ["B", n, C], "agent": ["B", agents, C]},
        num_heads=HEADS,
        **params,
    )
    return uneven(model).double(), draw(2, n, C), draw(2, agents, C, seed=1)


def test_stable_diffusion_goes_without_agents_where_they_save_nothing() -> None:
    model, x, agent = sd(10, 5)
    assert torch.equal(model(x, agent), model(x, agent + 1))
    model, x, agent = sd(11, 5)
    assert not torch.allclose(model(x, agent), model(x, agent + 1))


def test_its_second_softmax_gets_sharper_with_a_smaller_power() -> None:
    found = []
    for power in (0.0, 1.0):
        model, x, agent = sd(20, 6, k_scale2=power, k_shortcut=0.0)
        q = model.to_q(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        a = model.to_q(agent).unflatten(-1, (HEADS, -1)).transpose(1, 2)
        d = q.shape[-1]
        k, v = (f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for f in (model.to_k, model.to_v))
        weights = (q @ a.mT * d ** (-0.5 * power)).softmax(-1)
        mixed = weights @ ((a @ k.mT * d**-0.5).softmax(-1) @ v)
        agrees(model(x, agent), model.to_out(mixed.transpose(1, 2).flatten(2)), 1e-9)
        found.append(weights.amax(-1).mean())
    assert found[0] > found[1]


cells = st.tuples(st.integers(2, 6), st.integers(2, 6), st.integers(1, 3), st.integers(1, 3))


@given(cells, st.integers(0, 40), st.booleans(), st.integers(0, 3))
@settings(max_examples=8)
def test_merged_tokens_share_the_mean_and_the_others_come_back(
    size: tuple[int, int, int, int], r: int, random: bool, seed: int
) -> None:
    h, w, sy, sx = (*size[:2], min(size[2], size[0]), min(size[3], size[1]))
    sy = 2 if sy == sx == 1 else sy  # some token is a source
    targets = (h // sy) * (w // sx)
    sources = h * w - targets
    model = block(
        "blocks/token_merging", "merge_and_back", {"x": ["B", h * w, 3]},
        height=h, width=w, stride_y=sy, stride_x=sx, r=r, agent_r=sources, random=random,
    )  # fmt: skip
    torch.manual_seed(seed)
    x = draw(2, h * w, 3, seed=seed)
    merged, agent, back = model(x)
    gone = min(r, sources)
    assert merged.shape == (2, h * w - gone, 3)
    assert agent.shape == (2, targets, 3)
    assert back.shape == x.shape
    changed = ((back - x).abs().amax(-1) > 1e-12).sum(1)
    assert (changed <= 2 * gone).all()
    torch.testing.assert_close(back.sum(1), x.sum(1))  # a mean, handed to all that it is of
    if gone == 0:
        assert torch.equal(back, x)


def test_the_most_similar_sources_are_merged_first() -> None:
    x = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.2]]])
    model = block(
        "blocks/token_merging",
        "merge_and_back",
        {"x": ["B", 4, 2]},
        height=2,
        width=2,
        stride_y=2,
        stride_x=2,
        r=1,
        agent_r=3,
    )
    _, agent, back = model(x)
    torch.testing.assert_close(back[0, :2], (x[0, :1] + x[0, 1:2]).div(2).expand(2, 2))
    assert torch.equal(back[0, 2:], x[0, 2:])
    torch.testing.assert_close(agent[0, 0], x[0].mean(0))


def test_a_whole_place_of_stable_diffusion() -> None:
    model = block(
        "blocks/agent_attention",
        "merged_agent_attention",
        {"x": ["B", 64, C]},
        num_heads=HEADS,
        height=8,
        width=8,
        ratio=0.4,
        random=True,
    )
    x = torch.randn(2, 64, C)
    assert model(x).shape == x.shape
    exports(
        block(
            "blocks/agent_attention", "merged_agent_attention", {"x": ["B", 64, C]}, num_heads=HEADS, height=8, width=8
        ),
        [x],
    )


HOSTS: dict[str, dict[str, Any]] = {
    "agent-attention/deit": {
        "image_size": 32, "dim": 16, "depth": 3, "num_heads": 2, "agents": [4, 9, 4, 4], "agent_layers": 2
    },
    "agent-attention/pvt": {
        "image_size": 64, "dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2],
        "mlp_ratios": [2, 2, 2, 2], "agents": [4, 4, 4, 1], "agent_stages": [True, False, True, True],
        "agent_sr_ratios": [2, 1, 1, 1],
    },
    "agent-attention/swin": {
        "image_size": 64, "dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 1, 2, 2],
        "agents": [4, 4, 4, 1], "agent_blocks": [1, 1, 1, 0], "window_size": 2,
    },
    "agent-attention/cswin": {
        "image_size": 64, "dim": 8, "depths": [1, 2, 1, 1], "num_heads": [2, 2, 2, 2], "split_sizes": [1, 2, 2, 2],
        "agents": [4, 4, 4, 1], "agent_blocks": [1, 1, 0, 1], "agent_splits": [4, 8, 4, 2],
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_hosts_learn(name: str) -> None:
    net = small(name, num_classes=3, **HOSTS[name])
    size = HOSTS[name]["image_size"]
    lowers_loss(net, [torch.randn(2, 3, size, size)], cross_entropy(torch.tensor([0, 1])))


def test_it_exports_and_compiles() -> None:
    name = "agent-attention/deit"
    net, x = small(name, num_classes=3, **HOSTS[name]), torch.randn(2, 3, 32, 32)
    exports(net, [x])
    compiles(net, [x])


def test_published_configurations() -> None:
    claims_hold("agent-attention")


def test_two_branches_of_stripes_become_one_with_their_kernels_side_by_side() -> None:
    host = archgraph.load("cswin", image_size=64, dim=8, depths=[1] * 4, num_heads=[2] * 4, split_sizes=[1, 2, 2, 2])
    done = archgraph.rewrite(host, "cross_window_to_agent", agents=1)
    kinds = {path: kind for path, kind, _ in done.weight_table() if "dwc" in path}
    assert set(kinds.values()) == {"computed"}
    assert sorted(kinds) == sorted(
        f"stages.{i}.blocks.0.attn.attns.0.core.dwc.{p}" for i in range(4) for p in ("bias", "weight")
    )


def test_swin_with_positions_of_its_own(shared: Path, tmp_path: Path) -> None:
    """A recorded run with absolute positions of nought is that without; others are another network's."""
    source = shared / "fixtures" / "agent-attention" / "model-swin"
    case = yaml.safe_load((source / "case.yaml").read_text(encoding="utf-8"))
    case["args"]["ape"] = True
    case["params"] += 56 * 56 * 8
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case, sort_keys=False), encoding="utf-8")
    tensors = load_file(source / "tensors.safetensors")
    for values, verdict in ((torch.zeros(1, 56 * 56, 8), "pass"), (torch.ones(1, 56 * 56, 8).cumsum(1), "fail")):
        tensors["state.absolute_pos_embed"] = values
        save_file(tensors, tmp_path / "tensors.safetensors")
        assert run_case(tmp_path).verdict == verdict
