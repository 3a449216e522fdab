"""Data sets: what is read from disk, and what generated tasks promise."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from archgraph.ir.diagnostics import SpecError
from archgraph.search.data import load_data
from archgraph.search.data.base import IGNORED
from archgraph.search.sections import DATA


def load(folder: Path, kind: str, **settings: object) -> object:
    values = DATA.kinds[kind].defaults()
    return load_data({"kind": kind, **values, **settings}, folder)


def test_digits_are_split_evenly_and_the_same_every_time(tmp_path: Path) -> None:
    data = load_data({"kind": "digits", "held_out": 0.2, "seed": 0, "size": 8, "channels": 1}, tmp_path)
    assert data.x.shape[1:] == (1, 8, 8)
    assert len(data.x) + len(data.x_test) == 1797
    share = torch.bincount(data.y_test) / (torch.bincount(data.y_test) + torch.bincount(data.y))
    assert ((share - 0.2).abs() < 0.01).all()
    assert abs(float(torch.cat([data.x, data.x_test]).mean())) < 1e-4
    again = load_data({"kind": "digits", "held_out": 0.2, "seed": 0, "size": 8, "channels": 3}, tmp_path)
    assert torch.equal(again.x[:, :1], data.x)
    assert torch.equal(again.y_test, data.y_test)


def test_image_folders(tmp_path: Path) -> None:
    from PIL import Image

    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(5):
            Image.new("RGB", (9, 7), (k * 200, 10 * i, 0)).save(tmp_path / "images" / name / f"{i}.png")
    data = load_data(
        {"kind": "folder", "path": "images", "size": 4, "test_path": None, "held_out": 0.2, "seed": 0}, tmp_path
    )
    assert (data.x.shape, data.x_test.shape, data.classes) == ((8, 3, 4, 4), (2, 3, 4, 4), 2)
    assert sorted(data.y_test.tolist()) == [0, 1]
    reds = data.x[:, 0, 0, 0]
    assert (reds[data.y == 1] > reds[data.y == 0].max()).all()
    (tmp_path / "images" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(SpecError, match=r"broken\.png is no readable image"):
        load_data(
            {"kind": "folder", "path": "images", "size": 5, "test_path": None, "held_out": 0.2, "seed": 0}, tmp_path
        )


def test_cifar_as_unpacked(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        rows = {b"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), b"labels": [0, 1, 9, 3]}
        (tmp_path / name).write_bytes(pickle.dumps(rows, protocol=2))
    data = load_data({"kind": "cifar10", "path": ".", "limit": None}, tmp_path)
    assert (data.x.shape, data.x_test.shape, data.classes) == ((20, 3, 32, 32), (4, 3, 32, 32), 10)
    assert data.y_test.tolist() == [0, 1, 9, 3]


def test_a_pickle_may_hold_nothing_but_arrays(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return (print, ("ran",))

    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        (tmp_path / name).write_bytes(pickle.dumps({b"data": Evil()}))
    with pytest.raises(SpecError, match="does not belong there"):
        load_data({"kind": "cifar10", "path": ".", "limit": 3}, tmp_path)


def test_arrays(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(3, 2, (40, 5, 16)).astype(np.float32), np.arange(40) % 4
    np.savez(tmp_path / "eeg.npz", x=x, y=y)
    data = load_data({"kind": "arrays", "path": "eeg.npz", "held_out": 0.2, "seed": 0, "standardise": True}, tmp_path)
    assert (data.x.shape, data.x_test.shape, data.classes) == ((32, 5, 16), (8, 5, 16), 4)
    assert torch.allclose(data.x.mean((0, 2)), torch.zeros(5), atol=1e-5)
    np.savez(tmp_path / "bad.npz", x=x)
    with pytest.raises(SpecError, match="no array `y`"):
        load_data({"kind": "arrays", "path": "bad.npz", "held_out": 0.2, "seed": 0, "standardise": True}, tmp_path)


@pytest.mark.parametrize(("level", "classes"), [("byte", 256), ("char", 5)])
def test_text_predicts_what_comes_next(tmp_path: Path, level: str, classes: int) -> None:
    (tmp_path / "t.txt").write_text("abcdé" * 100, encoding="utf-8")
    settings = {"kind": "text", "path": "t.txt", "level": level, "length": 16, "held_out": 0.1, "limit": None}
    data = load_data(settings, tmp_path)
    assert data.classes == classes
    assert torch.equal(data.x[:, 1:], data.y[:, :-1])
    assert torch.equal(data.x[1:, 0], data.y[:-1, -1])


def test_recall_asks_for_values_that_were_told(tmp_path: Path) -> None:
    settings = {"kind": "recall", "vocab": 32, "length": 48, "pairs": 6, "power": 0.01, "train_size": 50}
    data = load_data({**settings, "test_size": 20, "seed": 3}, tmp_path)
    for x, y in [*zip(data.x, data.y, strict=True), *zip(data.x_test, data.y_test, strict=True)]:
        told = {int(x[2 * k]): int(x[2 * k + 1]) for k in range(6)}
        assert len(told) == 6
        asked = [n for n in range(48) if y[n] != IGNORED]
        assert len(asked) == 6
        assert min(asked) >= 12
        assert {int(x[n]): int(y[n]) for n in asked} == told
    again = load_data({**settings, "test_size": 20, "seed": 3}, tmp_path / ".")
    assert torch.equal(again.x, data.x)
    assert not torch.equal(data.x[:20], data.x_test)


def test_copy_and_needle(tmp_path: Path) -> None:
    sizes = {"train_size": 30, "test_size": 10, "seed": 0}
    data = load_data({"kind": "copy", "vocab": 16, "length": 24, "tokens": 5, **sizes}, tmp_path)
    for x, y in zip(data.x, data.y, strict=True):
        assert [int(t) for t in x[:19] if t > 1] == y[19:].tolist()
        assert (x[19:] == 1).all()
    data = load_data({"kind": "needle", "vocab": 16, "length": 24, **sizes}, tmp_path)
    for x, y in zip(data.x, data.y, strict=True):
        (place,) = torch.nonzero(x == 1).flatten().tolist()
        assert int(y[-1]) == int(x[place + 1])
        assert (y[:-1] == IGNORED).all()


def test_impossible_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="length of 32"):
        load(tmp_path, "recall", length=16)
    with pytest.raises(SpecError, match="keys"):
        load(tmp_path, "recall", vocab=8)
