import json
import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

import archgraph
from archgraph.cli.photo import MEAN, STD, open_photo, prepare
from archgraph.lower.save import save_state
from tests.cli.running import run
from tests.report.small import PARAMS, TINY


def build(*arguments: str | Path) -> dict[str, object]:
    found = run("build", *arguments, "--json")
    assert found.exit_code == 0, found.stderr
    return json.loads(found.output)  # type: ignore[no-any-return]


def test_a_photograph_goes_through(tiny: Path) -> None:
    found = build(tiny, "--input", "flower", "--seed", "3")
    assert found["params"] == PARAMS
    assert found["photo"] == {"name": "flower", "size": [640, 427], "input": "image", "shape": [1, 3, 8, 8]}
    (result,) = found["results"].values()  # type: ignore[attr-defined]
    assert result["shape"] == [1, 5]

    model = archgraph.build(tiny, seed=3).eval()
    with torch.inference_mode():
        scores = model(prepare(open_photo("flower"), 3, 8, 8))[0]
    best = int(scores.argmax())
    assert result["top"][0]["index"] == best
    assert result["top"][0]["score"] == pytest.approx(float(scores[best]), abs=1e-5)
    assert sum(top["softmax"] for top in result["top"]) == pytest.approx(1, abs=1e-4)


def test_for_people(tiny: Path) -> None:
    text = run("build", tiny, "--input", "china").output
    for part in (f"{PARAMS:,}", "logits", "[1, 5]", "top scores", "untrained"):
        assert part in text


def test_weights_are_saved_whole_and_load_again(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    first = build(tiny, "--input", "china", "--seed", "1", "--save", target)
    assert list(load_file(target)) == sorted(archgraph.build(tiny).state_dict())
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"format": "pt", "spec": "tiny", "variant": "", "seed": "1"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "tiny.yaml"]
    again = build(tiny, "--input", "china", "--weights", target)
    assert again["results"] == first["results"]
    assert again["results"] != build(tiny, "--input", "china", "--seed", "2")["results"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.safetensors"
    target.write_text("old")

    def fails(*args: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("archgraph.lower.save.os.replace", fails)
    with pytest.raises(OSError, match="no"):
        save_state(torch.nn.Linear(2, 2), target)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("model.safetensors", "old")]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_saved_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    save_state(torch.nn.Linear(2, 2), tmp_path / "a")
    (tmp_path / "b").touch()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


def test_a_tensor_with_two_names_is_saved_once(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    model["b"].weight = model["a"].weight
    assert save_state(model, tmp_path / "m") == 3
    assert sorted(load_file(tmp_path / "m")) == ["a.bias", "a.weight", "b.bias"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--input", "nowhere.png"], "no photograph `nowhere.png`"),
        (["--input", "TINY"], "can't be read as an image"),
        (["--input", "."], "can't be read as an image"),
        (["--save", "."], "is a folder"),
        (["--save", "nowhere/model.safetensors"], "no folder nowhere"),
        (["--weights", "nowhere.pt"], "no such file"),
        (["--weights", "TINY"], "can't be read as weights"),
        (["--set", "classes=99999999999"], "this machine has"),
        (["--at", "image=1x3xHxH", "--set", "image_size=8", "--input", "image=nowhere.png"], "no photograph"),
    ],
)
def test_mistakes_end_in_a_message(tiny: Path, arguments: list[str], text: str) -> None:
    found = run("build", tiny, *(argument.replace("TINY", str(tiny)) for argument in arguments))
    assert found.exit_code == 1
    assert text in found.stderr


def test_weights_of_another_model_are_refused(tiny: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    build(tiny, "--save", target)
    found = run("build", f"{tiny}:wide", "--weights", target)
    assert found.exit_code == 1
    assert "don't fit" in found.stderr


def test_a_spec_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "vector.yaml"
    path.write_text("archgraph: 1\nname: vector\ninputs: {x: [B, 4]}\ngraph: {y: relu}\n")
    found = run("build", path, "--input", "china")
    assert (found.exit_code, "no input takes pictures" in found.stderr) == (1, True)
    assert build(path)["tensors"] == 0


def test_open_sizes_and_other_inputs(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(
        """\
archgraph: 1
name: two
inputs: {picture: [B, 3, H, W], gain: [B, 3, 1, 1], ids: {shape: [B, 7], dtype: int64}}
graph:
  scaled: {formula: picture * gain}
  table: {op: embedding, in: ids, num_embeddings: 5, embedding_dim: 2}
outputs: {scaled: scaled, table: table}
"""
    )
    found = build(path, "--input", "flower")
    assert found["photo"]["shape"] == [1, 3, 224, 224]  # type: ignore[index]
    assert found["photo"]["random_inputs"] == ["gain", "ids"]  # type: ignore[index]
    assert {k: r["shape"] for k, r in found["results"].items()} == {  # type: ignore[attr-defined]
        "scaled": [1, 3, 224, 224],
        "table": [1, 7, 2],
    }


def test_scikit_learn_is_asked_for_by_name(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    found = run("build", tiny, "--input", "china")
    assert found.exit_code == 1
    assert "pip install 'archgraph[data]'" in found.stderr


def test_pictures_are_scaled_cropped_and_normalised() -> None:
    wide = Image.new("RGB", (40, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (15, 0, 25, 10))  # blue where the centre crop is
    x = prepare(wide, 3, 20, 20)
    assert x.shape == (1, 3, 20, 20)
    blue = [(value - mean) / std for value, mean, std in zip((0, 0, 1), MEAN, STD, strict=True)]
    torch.testing.assert_close(x[0, :, 10, 10], torch.tensor(blue))
    assert prepare(wide, 1, 12, 8).shape == (1, 1, 12, 8)
    assert prepare(wide, 3, 7, 33).shape == (1, 3, 7, 33)


def test_saved_text_of_tiny_is_what_is_built(tiny: Path) -> None:
    assert archgraph.build(archgraph.loads(TINY)).state_dict().keys() == archgraph.build(tiny).state_dict().keys()
