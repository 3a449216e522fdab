"""Rules on built models: weights, modes, passes of torch.fx, models that no longer are what they were built as."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.fx import GraphModule
from torch.fx.passes.infra.pass_manager import PassManager

import archgraph
from archgraph.lower.rewriting import RewriteError, RulePass, rule_pass
from archgraph.lower.save import save_state

SMALL = {"depth": 2, "dim": 48, "num_heads": 3, "image_size": 32, "num_classes": 10}
IMAGE = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


def vit() -> GraphModule:
    return archgraph.build("vit", **SMALL)


def test_trained_weights_are_carried_and_the_old_model_stays() -> None:
    model = vit().eval()
    model.head.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    done = archgraph.rewrite(model, "softmax_to_linear", expect=2, learn_scale=False)
    state = done.module.state_dict()
    assert state.keys() == before.keys()
    assert all(torch.equal(state[k], before[k]) for k in before)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not done.module.training
    assert not done.module.head.weight.requires_grad
    assert done.module.norm.weight.requires_grad
    assert done.module(IMAGE).shape == (2, 10)
    assert not torch.allclose(done.module(IMAGE), model(IMAGE), atol=1e-4)


def test_new_weights_start_as_declared_and_the_table_says_so() -> None:
    done = archgraph.rewrite(vit(), "softmax_to_linear")
    new = [row for row in done.table if row[1] != "carried"]
    assert new == [("blocks.0.attn.temperature", "new", ""), ("blocks.1.attn.temperature", "new", "")]
    assert torch.equal(done.module.blocks[0].attn.temperature, torch.full((3, 1, 1), 0.25))


def test_computed_weights_keep_the_outputs() -> None:
    model = archgraph.build("resnet", at={"x": [1, 3, 32, 32]}, widths=[8, 8, 8, 8], num_classes=5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for t in model.buffers():
            if t.is_floating_point():
                t.uniform_(0.5, 1.5, generator=generator)
    model.eval()
    done = archgraph.rewrite(model, "fold_conv_bn", expect=20)
    assert not [m for m in done.module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert torch.allclose(done.module(IMAGE), model(IMAGE), atol=1e-5)
    kinds = {kind for _, kind, _ in done.table}
    assert kinds == {"carried", "computed", "dropped"}


def test_rules_compose_in_torchs_pass_manager() -> None:
    manager = PassManager(passes=[rule_pass("remove_dropout"), rule_pass("softmax_to_linear"), rule_pass("add_eca")])
    result = manager(vit())
    assert result.modified
    assert result.graph_module(IMAGE).shape == (2, 10)
    nothing = RulePass("add_eca")
    model = vit()
    found = nothing(model)
    assert found.graph_module is model
    assert not found.modified


def test_copies_and_pickles_know_their_graph() -> None:
    model = vit()
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert archgraph.rewrite(again, "softmax_to_linear").rewritten.count == 2


def test_an_edited_model_is_refused() -> None:
    model = vit()
    part = model.blocks[0]
    node = next(n for n in part.graph.nodes if n.op == "call_function")
    with part.graph.inserting_after(node):
        more = part.graph.call_function(torch.relu, (node,))
    node.replace_all_uses_with(more, delete_user_cb=lambda user: user is not more)
    part.recompile()
    with pytest.raises(RewriteError, match="edited after it was built"):
        archgraph.rewrite(model, "softmax_to_linear")
    with pytest.raises(RewriteError, match="not built by archgraph"):
        archgraph.rewrite(torch.nn.Linear(2, 2), "softmax_to_linear")


def test_dtype_and_device_stay() -> None:
    model = vit().to(torch.float64)
    assert archgraph.rewrite(model, "softmax_to_linear").module.head.weight.dtype is torch.float64


def test_each_weight_keeps_its_dtype() -> None:
    model = vit().half()
    model.norm.float()  # as mixed precision has it
    done = archgraph.rewrite(model, "softmax_to_agent").module
    assert done.norm.weight.dtype == torch.float32
    assert {p.dtype for n, p in done.named_parameters() if not n.startswith("norm.")} == {torch.float16}


@pytest.mark.parametrize("training", [True, False])
def test_a_model_that_was_saved_and_loaded(training: bool, tmp_path: Path) -> None:
    model = vit().train(training)
    save_state(model, tmp_path / "vit.safetensors")
    again = archgraph.build("vit", **SMALL, seed=7).train(training)
    again.load_state_dict(load_file(tmp_path / "vit.safetensors"))
    torch.save(again, tmp_path / "vit.pt")
    whole = torch.load(tmp_path / "vit.pt", weights_only=False)
    first, second = (archgraph.rewrite(m, "softmax_to_linear").module for m in (model, whole))
    assert second.training is training
    assert torch.equal(first.eval()(IMAGE), second.eval()(IMAGE))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda: torch.compile(vit()), r"is compiled \(OptimizedModule\): rewrite `model._orig_mod`, then compile"),
        (lambda: nn.DataParallel(vit()), r"is wrapped \(DataParallel\): rewrite `model.module`, then wrap"),
        (Plain, "Plain was not built by archgraph: .* Build the spec of this network and load its weights"),
        (lambda: torch.fx.symbolic_trace(Plain()), "Plain was not built by archgraph"),
        (lambda: nn.Sequential(Plain(), vit()), "Sequential was not built by archgraph, but its part `1` was"),
        (lambda: vit().blocks, "a part of a built model: rewrite the whole model, and say by `where`"),
        (lambda: vit().blocks[0], "a part of a built model"),
        (lambda: None, "to specs, typed graphs and models that `archgraph.build` made, not to NoneType"),
    ],
)
def test_what_rules_do_not_apply_to_is_told_what_to_do(made: Callable[[], Any], reason: str) -> None:
    model = made()
    for apply in (archgraph.rewrite, archgraph.find):
        with pytest.raises(RewriteError, match=reason):
            apply(model, "softmax_to_linear")


def test_another_head_comes_after_rules() -> None:
    model = vit()
    model.head = nn.Linear(48, 7)
    with pytest.raises(RewriteError, match=r"`head.weight` was of shape \[10, 48\], it is of shape \[7, 48\]"):
        archgraph.rewrite(model, "softmax_to_linear")
    done = archgraph.rewrite(vit(), "softmax_to_linear").module
    done.head = nn.Linear(48, 7)
    assert done(IMAGE).shape == (2, 7)


def test_what_is_found_in_a_model_is_what_is_rewritten() -> None:
    model = vit()
    assert archgraph.find(model, "softmax_to_linear").count == 2
    assert archgraph.find(model, "softmax_to_linear", where="blocks.1.*").count == 1
