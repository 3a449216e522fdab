"""How far an architecture on a device is from the electronic one: errors of outputs, and of classes.

The electronic model and the optical one are the same graph with the same weights; `archgraph.optical.layers` stand in
for torch's in the second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archgraph.optical.device import load_device

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Comparison", "compare", "on_device"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One device beside the electronic model.

    Attributes
    ----------
    device : str
    max_error, rms_error : float
        Of the outputs, relative to the largest and to the RMS of the electronic ones.
    agreement : float
        Share of the samples whose largest output is the same one.
    accuracy, electronic_accuracy : float or None
        Share of the samples whose largest output is the label, where there are labels.
    """

    device: str
    max_error: float
    rms_error: float
    agreement: float
    accuracy: float | None = None
    electronic_accuracy: float | None = None


def on_device(model: nn.Module, device: str) -> nn.Module:
    """A copy of a model whose convolutions and linear layers run on a device; weights are copied, names stay.

    Parameters
    ----------
    model : Module
        Convolutions over two axes, transposed ones and linear layers at any depth, as torch's modules.
    device : str
        As `load_device` takes it.

    Raises
    ------
    SpecError
        For an unknown device, or a layer that darkness can't pad.
    """
    from copy import deepcopy

    from archgraph.optical.layers import optical_twin

    load_device(device)
    copied = deepcopy(model)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            twin = optical_twin(child, device)
            if twin is not None:
                setattr(parent, name, twin)
    return copied


def compare(
    model: nn.Module,
    devices: Sequence[str],
    batches: Iterable[tuple[Tensor, Tensor | None]],
    seed: int = 0,
    progress: Any = None,
) -> list[Comparison]:
    """A model on several devices, beside itself.

    Parameters
    ----------
    model : Module
        One tensor in, class scores [B, classes] (or any tensor) out.
    devices : sequence of str
    batches : iterable of (Tensor [B, ...], Tensor [B] or None)
        Inputs, and labels if there are any.
    seed : int
        Of the devices' noise.
    progress : callable, optional
        Called after each batch on each device.
    """
    import torch

    from archgraph.optical.layers import set_device

    data = [(x, y) for x, y in batches]
    model = model.eval()
    optical = on_device(model, "ideal").eval()
    with torch.no_grad():
        electronic = torch.cat([_scores(model(x)) for x, _ in data])
        found = []
        for device in devices:
            set_device(optical, device)
            torch.manual_seed(seed)
            parts = []
            for x, _ in data:
                parts.append(_scores(optical(x)))
                if progress is not None:
                    progress()
            found.append(_comparison(device, torch.cat(parts), electronic, data))
    return found


def _scores(out: Any) -> Tensor:
    """The only output, or the first of several."""
    tensor: Tensor = next(iter(out.values())) if isinstance(out, dict) else out[0] if isinstance(out, tuple) else out
    return tensor


def _comparison(
    device: str, ours: Tensor, electronic: Tensor, data: Sequence[tuple[Tensor, Tensor | None]]
) -> Comparison:
    import torch

    error = ours - electronic
    labels = [y for _, y in data if y is not None]
    classes, wanted = ours.flatten(1).argmax(1), electronic.flatten(1).argmax(1)
    truth = torch.cat(labels) if len(labels) == len(data) else None
    return Comparison(
        device,
        float(error.abs().max() / electronic.abs().max().clamp_min(1e-30)),
        float(error.norm() / electronic.norm().clamp_min(1e-30)),
        float((classes == wanted).float().mean()),
        None if truth is None else float((classes == truth).float().mean()),
        None if truth is None else float((wanted == truth).float().mean()),
    )
