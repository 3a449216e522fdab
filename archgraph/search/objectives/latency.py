"""Measured latency: warm-up, then the median of many calls."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from archgraph.search.objectives.devices import device as device_of

__all__ = ["latency"]


@torch.inference_mode()
def latency(model: nn.Module, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> float:
    """Median seconds of a call.

    Parameters
    ----------
    inputs : mapping
        What the model is called with, batch and all.
    settings : mapping
        ``warmup``, ``repeats``, ``device``, ``threads``.
    """
    device = device_of(settings["device"])
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(settings["threads"])
    try:
        model = model.to(device).eval()
        given = {name: value.to(device) for name, value in inputs.items()}
        for _ in range(settings["warmup"]):
            model(**given)
        found = []
        for _ in range(settings["repeats"]):
            _wait(device)
            start = time.perf_counter()
            model(**given)
            _wait(device)
            found.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return statistics.median(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
