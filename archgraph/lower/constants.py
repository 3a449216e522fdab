"""Tensors computed when a model is built, and the look-up of things by their dotted names."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

import torch


@cache
def resolve(path: str) -> Any:
    """The object with a dotted name: the longest importable prefix, then attributes.

    Raises
    ------
    ModuleNotFoundError, AttributeError
        If there is none.
    """
    module, _, name = path.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError:
        if "." not in module:
            raise
        found = resolve(module)
    return getattr(found, name)


class Constants:
    """Makes each constant once and shares it between its users."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._made: dict[tuple[str, str], torch.Tensor] = {}

    def get(self, maker: str, args: tuple[Any, ...]) -> torch.Tensor:
        """The value of ``archgraph.lower.makers.<maker>(*args)``."""
        key = maker, repr(args)
        found = self._made.get(key)
        if found is None:
            made: torch.Tensor = resolve(f"archgraph.lower.makers.{maker}")(*args)
            found = self._made[key] = made.to(self._device)
        return found
