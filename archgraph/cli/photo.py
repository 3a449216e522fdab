"""Photographs as inputs: two that scikit-learn ships, or an image file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from archgraph.cli.console import fail

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

#: Photographs that scikit-learn ships.
SAMPLES: Final = ("china", "flower")

#: Mean and standard deviation of ImageNet's pixels by channel, on a scale from 0 to 1.
MEAN: Final = (0.485, 0.456, 0.406)
STD: Final = (0.229, 0.224, 0.225)

_EXTRA: Final = "install the extra: pip install 'archgraph[data]'"


def open_photo(name: str) -> Image:
    """A photograph by name or path, as RGB.

    Raises
    ------
    SpecError
        If there is none, it can't be read, or the packages for it are missing.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        fail("input/extra", "reading photographs needs pillow", hint=_EXTRA)
    if name in SAMPLES and not os.path.exists(name):
        try:
            from sklearn.datasets import load_sample_image  # type: ignore[import-untyped]  # ships no types
        except ImportError:
            fail("input/extra", f"the photograph `{name}` comes with scikit-learn", hint=_EXTRA)
        return Image.fromarray(load_sample_image(f"{name}.jpg"))
    try:
        with Image.open(name) as image:
            return image.convert("RGB")
    except FileNotFoundError:
        fail("input/photo", f"there is no photograph `{name}`", expected=f"an image file, {' or '.join(SAMPLES)}")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        fail("input/photo", f"{name} can't be read as an image: {error}")


def prepare(photo: Any, channels: int, height: int, width: int) -> Tensor:
    """A photograph as a model takes it: [1, channels, height, width], normalised by ImageNet's mean and deviation.

    It is scaled until it covers height and width, the shorter side fitting exactly, and cropped at the centre. One
    channel is its luminance.
    """
    import torch
    from PIL import Image

    scale = max(height / photo.height, width / photo.width)
    size = max(width, round(photo.width * scale)), max(height, round(photo.height * scale))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    resized = photo.resize(size, Image.Resampling.BICUBIC).crop((left, top, left + width, top + height))
    pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8).view(height, width, 3)
    values = pixels.permute(2, 0, 1).to(torch.get_default_dtype()) / 255
    normal = (values - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    if channels == 1:
        luminance = torch.tensor((0.299, 0.587, 0.114)).view(3, 1, 1)
        normal = (normal * luminance).sum(dim=0, keepdim=True)
    return normal.unsqueeze(0)
