"""What linear, agent and routed attention are not: equal to softmax attention, or to each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx import GraphModule

from archgraph.lower.fx import build
from archgraph.lower.rewriting import rewrite_module
from archgraph.spec.load import block_graph, loads

LIBRARIES = """
archgraph: 1
name: host
uses: [blocks/bi_level_routing]
blocks: {none: {inputs: {x: [...]}, graph: {y: relu}}}
"""


def host() -> GraphModule:
    """Multi-head attention on the tokens of a map, with large random weights."""
    text = """
archgraph: 1
name: host
uses: [blocks/transformer]
inputs: {x: [2, 12, 6, 6]}
graph:
  tokens: {op: rearrange, pattern: b c h w -> b (h w) c}
  attn: {op: mhsa, num_heads: 3}
"""
    return randomised(build(loads(text).graph(), dtype=torch.float64))


def randomised(model: GraphModule) -> GraphModule:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.0, 0.6, generator=generator)
    return model.eval()


X = torch.randn(2, 12, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def swapped(rule: str, **settings: Any) -> Tensor:
    result: Tensor = rewrite_module(host(), rule, settings=settings).module(X)
    return result


def test_kinds_of_attention_differ_by_far() -> None:
    outputs = {
        "softmax": host()(X),
        "relu": swapped("softmax_to_linear", feature_map="relu", learn_scale=False),
        "elu_plus_one": swapped("softmax_to_linear", feature_map="elu_plus_one", learn_scale=False),
        "clamped": swapped("softmax_to_linear", feature_map="relu", floor=100.0, learn_scale=True),
        "agent": swapped("softmax_to_agent", agents=9),
        "all agents": swapped("softmax_to_agent", agents=36),
    }
    names = list(outputs)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert float((outputs[a] - outputs[b]).detach().abs().max()) > 1e-2, (a, b)


def routed(topk: int, **more: Any) -> Tensor:
    """Bi-level routing attention on 9 regions of 2x2, the same weights for every `topk`."""
    spec = loads(LIBRARIES)
    graph = block_graph(spec, "bra", {"x": [2, 6, 6, 12]}, {"num_heads": 3, "n_win": 3, "topk": topk, **more})
    result: Tensor = randomised(build(graph, dtype=torch.float64))(X.permute(0, 2, 3, 1))
    return result


def test_routing_to_all_regions_is_attention_to_all_and_to_fewer_is_not() -> None:
    assert torch.allclose(routed(9), routed(1, n_win=1), atol=1e-9)
    assert float((routed(9) - routed(3)).detach().abs().max()) > 1e-2


def test_the_convolution_of_the_values_matters() -> None:
    with_it = rewrite_module(host(), "softmax_to_agent", settings={"agents": 9}).module
    with torch.no_grad():
        before = with_it(X)
        for name, p in with_it.named_parameters():
            if ".dwc." in name:
                p.zero_()
    assert float((with_it(X) - before).detach().abs().max()) > 1e-2


@pytest.mark.parametrize("kind", ["keys", "values"])
def test_a_shift_of_keys_or_values(kind: str) -> None:
    """Softmax attention ignores one of the keys, and shifts with the values; linear attention does only the latter."""
    for rule, ignores in ((None, True), ("softmax_to_linear", False)):
        settings = {"feature_map": "elu_plus_one", "learn_scale": False}
        model = host() if rule is None else rewrite_module(host(), rule, settings=settings).module
        bias, proj = model.attn.qkv.bias, model.attn.proj
        with torch.no_grad():
            before = model(X)
            shift = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
            start = 12 if kind == "keys" else 24
            bias[start : start + 12] += shift
            moved = model(X) - before
        if kind == "values":
            assert torch.allclose(moved, (proj.weight @ shift).expand_as(moved), atol=1e-9)
        else:
            assert (float(moved.abs().max()) < 1e-9) is ignores


def test_linear_attention_ignores_the_scale_of_queries_under_relu_only() -> None:
    for kind, ignores in (("relu", True), ("elu_plus_one", False)):
        settings = {"feature_map": kind, "learn_scale": False, "floor": 1e-30}
        model = rewrite_module(host(), "softmax_to_linear", settings=settings).module
        with torch.no_grad():
            before = model(X)
            model.attn.qkv.weight[:12] *= 3.0
            model.attn.qkv.bias[:12] *= 3.0
            assert (float((model(X) - before).abs().max()) < 1e-9) is ignores


def test_routing_to_the_own_region_is_attention_in_windows() -> None:
    """Where every region is most like itself and chooses one."""
    spec = loads(LIBRARIES)
    params = {"num_heads": 3, "n_win": 3, "topk": 1, "kernel_size": 0, "proj": False, "scale": 0.5}
    model = randomised(build(block_graph(spec, "bra", {"x": [1, 6, 6, 12]}, params), dtype=torch.float64))
    x = 0.1 * X[:1].permute(0, 2, 3, 1)
    for region in range(9):
        i, j = divmod(region, 3)
        x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, region] += 10.0
    with torch.no_grad():
        model.qkv.weight[:12] = model.qkv.weight[12:24] = torch.eye(12, dtype=torch.float64)
        model.qkv.bias.zero_()
        q, k, v = model.qkv(x).unflatten(1, (3, 2)).unflatten(3, (3, 2)).transpose(2, 3).split(12, -1)
        heads = [t.reshape(9, 4, 3, 4).transpose(1, 2) for t in (q, k, v)]
        windows = torch.nn.functional.scaled_dot_product_attention(*heads, scale=0.5)
        expected = windows.transpose(1, 2).reshape(1, 3, 3, 2, 2, 12).transpose(2, 3).reshape(1, 6, 6, 12)
        assert torch.allclose(model(x), expected, atol=1e-9)


def test_equal_agents_are_one_and_one_agent_gives_equal_rows() -> None:
    models = [rewrite_module(host(), "softmax_to_agent", settings={"agents": n}).module for n in (1, 9)]
    outputs = []
    for model in models:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if "qkv" not in name and "proj" not in name:
                    p.zero_()
            model.attn.qkv.weight[:12] = 0.0  # all queries, and so all agents, are the bias
            outputs.append(model(X))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-9)
    assert torch.allclose(outputs[0], outputs[0][:, :1].expand_as(outputs[0]), atol=1e-9)


def test_agents_of_no_direction_average() -> None:
    """With agents 0 and no biases every row is the mean of the values."""
    model = rewrite_module(host(), "softmax_to_agent", settings={"agents": 9}).module
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "qkv" not in name and "proj" not in name:
                p.zero_()
        model.attn.qkv.weight[:12] = 0.0
        model.attn.qkv.bias[:12] = 0.0
        y = model(X)
    assert torch.allclose(y, y.mean(dim=1, keepdim=True).expand_as(y), atol=1e-9)
