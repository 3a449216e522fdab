"""Data sets that lie on disk."""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from archgraph.search.data.base import Dataset, fault, split

__all__ = ["arrays", "cifar10", "cifar100", "digits", "folder", "text"]

_IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff"})


def digits(held_out: float, seed: int, size: int = 8, channels: int = 1) -> Dataset:
    """scikit-learn's handwritten digits: 1797 images, [1, 8, 8] with values of mean 0 and deviation 1."""
    try:
        load_digits = importlib.import_module("sklearn.datasets").load_digits
    except ImportError:
        raise fault("data/package", "the digits come with scikit-learn", "pip install 'archgraph[data]'") from None
    found: Any = load_digits()
    x = torch.from_numpy(found.images).float().unsqueeze(1)
    x = (x - x.mean()) / x.std()
    if size != 8:
        x = torch.nn.functional.interpolate(x, size=(size, size), mode="bilinear", antialias=size < 8)
    x = x.expand(-1, channels, -1, -1).contiguous()
    return split(x, torch.from_numpy(found.target).long(), held_out, seed, 10)


def _normalised(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Zero mean and unit deviation in every channel (axis 1) of the training part."""
    axes = [k for k in range(train.dim()) if k != 1]
    mean, std = train.mean(axes, keepdim=True), train.std(axes, keepdim=True).clamp_min(1e-6)
    return (train - mean) / std, (test - mean) / std


def folder(path: Path, size: int, test_path: Path | None, held_out: float, seed: int) -> Dataset:
    """Image files in a folder for each class, as [3, size, size]."""
    x, y, names = _images(path, size, None)
    if test_path is None:
        whole = split(x, y, held_out, seed, len(names))
        a, b = _normalised(whole.x, whole.x_test)
        return Dataset(a, whole.y, b, whole.y_test, len(names))
    x_test, y_test, _ = _images(test_path, size, names)
    a, b = _normalised(x, x_test)
    return Dataset(a, y, b, y_test, len(names))


def _images(path: Path, size: int, known: list[str] | None) -> tuple[Tensor, Tensor, list[str]]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise fault("data/package", "images are read by Pillow", "pip install 'archgraph[data]'") from None
    if not path.is_dir():
        raise fault("data/path", f"there is no folder {path}")
    names = sorted(p.name for p in path.iterdir() if p.is_dir())
    if len(names) < 2:
        raise fault("data/folder", f"{path} has no folders for classes", "one folder of images for each class")
    if known is not None and names != known:
        raise fault("data/folder", f"the classes of {path} are not those to train on: {', '.join(names)}")
    pixels: list[np.ndarray] = []
    targets: list[int] = []
    for k, name in enumerate(names):
        for file in sorted((path / name).rglob("*")):
            if file.suffix.lower() in _IMAGES:
                try:
                    with Image.open(file) as image:
                        pixels.append(np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)))
                except (OSError, UnidentifiedImageError) as error:
                    raise fault("data/image", f"{file} is no readable image: {error}") from None
                targets.append(k)
    if not pixels:
        raise fault("data/folder", f"there are no images in {path}")
    x = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    return x, torch.tensor(targets), names


class _Plain(pickle.Unpickler):
    """Reads what CIFAR's files hold, and refuses everything else that a pickle may do."""

    _ALLOWED: Final = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} does not belong there")
        return super().find_class(module, name)


def _batch(file: Path) -> dict[bytes, Any]:
    try:
        found: Any = _Plain(io.BytesIO(file.read_bytes()), encoding="bytes").load()
    except FileNotFoundError:
        raise fault("data/path", f"there is no {file}", "unpack CIFAR's Python version there") from None
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, ImportError, IndexError) as error:
        raise fault("data/cifar", f"{file} is no file of CIFAR's Python version: {error}") from None
    if not isinstance(found, dict) or b"data" not in found:
        raise fault("data/cifar", f"{file} is no file of CIFAR's Python version")
    return dict(found)


def _cifar(path: Path, train: list[str], test: list[str], label: bytes, classes: int, limit: int | None) -> Dataset:
    def part(names: list[str]) -> tuple[Tensor, Tensor]:
        batches = [_batch(path / name) for name in names]
        x = np.concatenate([np.asarray(b[b"data"], dtype=np.uint8) for b in batches])
        y = np.concatenate([np.asarray(b[label], dtype=np.int64) for b in batches])
        if x.ndim != 2 or x.shape[1] != 3 * 32 * 32 or len(x) != len(y):
            raise fault("data/cifar", f"the arrays in {path} are not CIFAR's")
        x, y = x[:limit], y[:limit]
        return torch.from_numpy(x).reshape(-1, 3, 32, 32).float() / 255, torch.from_numpy(y)

    x, y = part(train)
    x_test, y_test = part(test)
    a, b = _normalised(x, x_test)
    return Dataset(a, y, b, y_test, classes)


def cifar10(path: Path, limit: int | None = None) -> Dataset:
    """CIFAR-10 as [3, 32, 32], from ``data_batch_1`` … and ``test_batch``."""
    return _cifar(path, [f"data_batch_{k}" for k in range(1, 6)], ["test_batch"], b"labels", 10, limit)


def cifar100(path: Path, limit: int | None = None) -> Dataset:
    """CIFAR-100 (fine labels) as [3, 32, 32], from ``train`` and ``test``."""
    return _cifar(path, ["train"], ["test"], b"fine_labels", 100, limit)


def arrays(path: Path, held_out: float, seed: int, standardise: bool = True) -> Dataset:
    """Arrays of an .npz file: ``x`` [samples, …], ``y`` [samples] or [samples, length] of classes from 0."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise fault("data/path", f"there is no {path}") from None
    except (OSError, ValueError) as error:
        raise fault("data/arrays", f"{path} is no readable .npz file: {error}") from None
    missing = [name for name in ("x", "y") if name not in found]
    if missing:
        raise fault("data/arrays", f"{path} has no array `{missing[0]}`, only {', '.join(found) or 'none'}")
    x, y = found["x"], found["y"]
    if not np.issubdtype(y.dtype, np.integer) or len(x) != len(y) or (y.size and y.min() < 0):
        raise fault("data/arrays", f"`y` of {path} is one class from 0 for each of the {len(x)} samples")
    classes = int(y.max()) + 1

    def tensor(a: np.ndarray) -> Tensor:
        t = torch.from_numpy(a)
        return t.float() if t.is_floating_point() else t.long()

    if "x_test" in found and "y_test" in found:
        data = Dataset(tensor(x), tensor(y), tensor(found["x_test"]), tensor(found["y_test"]), classes)
    elif y.ndim == 1:
        data = split(tensor(x), tensor(y), held_out, seed, classes)
    else:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        n = max(1, round(len(x) * held_out))
        data = Dataset(tensor(x)[order[n:]], tensor(y)[order[n:]], tensor(x)[order[:n]], tensor(y)[order[:n]], classes)
    if standardise and data.x.is_floating_point() and data.x.dim() > 1:
        a, b = _normalised(data.x, data.x_test)
        return Dataset(a, data.y, b, data.y_test, classes)
    return data


def text(path: Path, level: str, length: int, held_out: float, limit: int | None = None) -> Dataset:
    """A text file cut into sequences; the target of a position is the next token. The end of the file is held out."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise fault("data/path", f"there is no {path}") from None
    if level == "byte":
        tokens = torch.frombuffer(bytearray(raw[:limit]), dtype=torch.uint8).long()
        classes = 256
    else:
        try:
            decoded = raw.decode()[:limit]
        except UnicodeDecodeError:
            raise fault("data/text", f"{path} is not UTF-8", "level: byte") from None
        alphabet = sorted(set(decoded))
        index = {c: k for k, c in enumerate(alphabet)}
        tokens = torch.tensor([index[c] for c in decoded])
        classes = len(alphabet)
    count = (len(tokens) - 1) // length
    test = max(1, round(count * held_out))
    if count - test < 1:
        raise fault("data/text", f"{path} is too short for sequences of {length}")
    x = tokens[: count * length].reshape(count, length)
    y = tokens[1 : count * length + 1].reshape(count, length)
    return Dataset(x[:-test], y[:-test], x[-test:], y[-test:], classes)
