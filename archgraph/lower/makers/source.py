"""Constants that need no arithmetic: given numbers, and one number in any shape.

Every maker stands alone, since source export copies it. The dtype ``float`` is torch's default dtype.
"""

from __future__ import annotations

from typing import Any

import torch


def full(value: float, dtype: str) -> torch.Tensor:
    """A scalar tensor, to be expanded."""
    return torch.tensor(value, dtype=torch.get_default_dtype() if dtype == "float" else getattr(torch, dtype))


def literal(values: Any, dtype: str) -> torch.Tensor:
    """Nested sequences of numbers as a tensor."""
    return torch.tensor(values, dtype=torch.get_default_dtype() if dtype == "float" else getattr(torch, dtype))
