"""Reading checkpoint files, and loading them through references: strictly, or not at all."""

import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from archgraph.lower.fx import build
from archgraph.lower.weights import WeightsError, load_checkpoint, load_state, read_state, state_tables
from archgraph.spec.load import load, loads
from archgraph.spec.reference_parse import references

TEXT = """
archgraph: 1
name: host
params: {dim: 6}
variants: {one: {}, two: {}}
inputs: {x: [B, C]}
graph:
  fc1: {op: linear, out_features: 2 * dim}
  norm: batch_norm1d
  act: relu
  fc2: {op: linear, out_features: 3}
reference:
  plain: {to: graph, rename: {a: fc1, b: fc2, bn: norm}}
  joined:
    to: graph
    args: {first: a}
    rename:
      l: {to: fc1, part: 0}
      r: {to: fc1, part: 1}
      fc2s: {to: [fc2.weight, fc2.bias], op: split, dim: 1, split_size: [12, 1]}
      fc2.bias: {op: rearrange, pattern: o 1 -> o}
      $X_out: {to: norm, when: "first == 'b'"}
    published: {two: {variant: two, args: {first: b}}}
"""


@pytest.fixture
def model() -> nn.Module:
    return build(loads(TEXT).graph(at={"x": (2, 4)}), seed=1)


def state(model: nn.Module) -> dict[str, Tensor]:
    return {key: torch.randn(t.shape) if t.is_floating_point() else t for key, t in model.state_dict().items()}


def test_tensors_and_aliases_of_a_model() -> None:
    text = "archgraph: 1\ninputs: {x: [B, 4]}\ngraph: {a: {op: b}, c: {share: a}}\n"
    text += "blocks: {b: {inputs: {x: [B, C]}, graph: {fc: {op: linear, out_features: C}}}}\n"
    shared = build(loads(text).graph())
    shared.add_module("twin", shared.a)
    tables = state_tables(shared)
    assert tables.shapes["a.fc.weight"] == (4, 4)
    assert tables.aliases == {"twin.fc.weight": "a.fc.weight", "twin.fc.bias": "a.fc.bias"}


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model.params"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_files_of_torch(tmp_path: Path, model: nn.Module, wrapper: str | None, prefix: str) -> None:
    tensors = state(model)
    tree: Any = {prefix + key: tensor for key, tensor in tensors.items()}
    for name in reversed((wrapper or "").split(".")):
        tree = {name: tree, "epoch": 3, "args": {"lr": 0.1}} if name else tree
    torch.save(tree, tmp_path / "a.pth")
    found = read_state(tmp_path / "a.pth")
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_safetensors(tmp_path: Path, model: nn.Module) -> None:
    tensors = state(model)
    save_file(tensors, tmp_path / "a.safetensors")
    assert read_state(tmp_path / "a.safetensors").keys() == tensors.keys()


class Dangerous:
    """What would run code if a file were unpickled without care."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("pwned"),)


def test_pickles_with_code_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Dangerous()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Dangerous()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match="can't be read as weights"):
            read_state(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [{}, {"epoch": 1}, {"w": torch.ones(1), "n": 3}, [1, 2], torch.ones(2)])
def test_files_without_a_state_dict(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="no state_dict"):
        read_state(tmp_path / "a.pth")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_state(tmp_path / "none.pth")
    for name in ("text.pth", "text.safetensors"):
        (tmp_path / name).write_text("hello")
        with pytest.raises(WeightsError, match="can't be read as weights"):
            read_state(tmp_path / name)


def test_a_model_is_loaded_whole_or_left_alone(model: nn.Module) -> None:
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    tensors = state(model)
    with pytest.raises(WeightsError, match="1 missing") as caught:
        load_state(model, {key: t for key, t in tensors.items() if key != "fc2.bias"})
    assert [failure.key for failure in caught.value.failures] == ["fc2.bias"]
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
    load_state(model, tensors)
    assert all(torch.equal(tensors[key], tensor) for key, tensor in model.state_dict().items())


def test_counters_that_old_files_lack_start_at_zero(model: nn.Module) -> None:
    tensors = {key: t for key, t in state(model).items() if "num_batches" not in key}
    model.norm.num_batches_tracked.fill_(9)
    load_state(model, tensors)
    assert model.norm.num_batches_tracked == 0


def test_many_failures_are_cut_short(model: nn.Module) -> None:
    with pytest.raises(WeightsError) as caught:
        load_state(model, {f"k{n}": torch.ones(1) for n in range(20)})
    assert len(caught.value.failures) == 20 + 8
    assert str(caught.value).endswith("… and 16 more")


def joined(tensors: dict[str, Tensor], norm: str = "norm") -> dict[str, Tensor]:
    """The same weights as the reference `joined` has them."""
    left, right = tensors["fc1.weight"].chunk(2)
    found = {"l.weight": left, "r.weight": right, "l.bias": tensors["fc1.bias"][:6], "r.bias": tensors["fc1.bias"][6:]}
    found["fc2s"] = torch.cat([tensors["fc2.weight"], tensors["fc2.bias"][:, None]], 1)
    found |= {key.replace("norm", norm): t for key, t in tensors.items() if key.startswith("norm")}
    return found


def test_values_are_joined_cut_and_changed(model: nn.Module) -> None:
    tensors = state(model)
    load_state(model, joined(tensors), references(loads(TEXT).file)["joined"], {"first": "a"})
    assert all(torch.equal(tensors[key], tensor) for key, tensor in model.state_dict().items())


def checkpoint(path: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, path)
    return path


def test_the_reference_is_found(tmp_path: Path, model: nn.Module) -> None:
    spec, tensors = loads(TEXT), state(model)
    block, own = spec.block(), checkpoint(tmp_path / "own.pth", tensors)
    assert load_checkpoint(model, own, spec.file, block) is None
    theirs = {k.replace("fc1", "a").replace("fc2", "b").replace("norm", "bn"): t for k, t in tensors.items()}
    found = load_checkpoint(model, checkpoint(tmp_path / "plain.pth", theirs), spec.file, block)
    assert found is not None
    assert found.name == "plain"
    packed = checkpoint(tmp_path / "joined.pth", joined(tensors, "bn_out"))
    found = load_checkpoint(model, packed, spec.file, block, variant="two")  # its arguments switch a rule on
    assert found is not None
    assert found.name == "joined"
    assert all(torch.equal(tensors[key], tensor) for key, tensor in model.state_dict().items())
    with pytest.raises(WeightsError, match=r"bn_out\.weight"):
        load_checkpoint(model, packed, spec.file, block, variant="one")
    with pytest.raises(WeightsError, match="by `joined`"):
        load_checkpoint(model, own, spec.file, block, cls="joined")
    with pytest.raises(WeightsError, match=r"no reference `plane` .* did you mean `plain`"):
        load_checkpoint(model, own, spec.file, block, cls="plane")


def test_a_timm_model_gives_the_same(tmp_path: Path, timm: ModuleType) -> None:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3, "num_classes": 7}
    theirs = timm.models.VisionTransformer(**sizes).eval()
    torch.save({"model": theirs.state_dict()}, tmp_path / "vit.pth")
    spec = load("vit", image_size=32, patch_size=8, dim=48, depth=2, num_heads=3, num_classes=7)
    ours = build(spec.graph()).eval()
    found = load_checkpoint(ours, tmp_path / "vit.pth", spec.file, spec.block())
    assert found is not None
    assert found.name == "timm VisionTransformer"
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x))
