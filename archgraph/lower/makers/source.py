"""Constants that need little arithmetic: given numbers, ranges, tables over index ranges.

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


def arange(start: float, end: float, step: float, dtype: str) -> torch.Tensor:
    """``start``, ``start + step`` … below ``end``."""
    found = torch.arange(start, end, step)
    return found.to(torch.get_default_dtype() if dtype == "float" else getattr(torch, dtype))


def linspace(start: float, end: float, steps: int, dtype: str) -> torch.Tensor:
    """``steps`` numbers from ``start`` to ``end``."""
    return torch.linspace(
        start, end, steps, dtype=torch.get_default_dtype() if dtype == "float" else getattr(torch, dtype)
    )


def eye(n: int, m: int, dtype: str) -> torch.Tensor:
    """The first ``n`` rows of the identity with ``m`` columns."""
    return torch.eye(n, m, dtype=torch.get_default_dtype() if dtype == "float" else getattr(torch, dtype))


def table(
    sizes: tuple[int, ...],
    steps: tuple[tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]], ...],
    result: Any,
    dtype: str,
) -> torch.Tensor:
    """An expression over index ranges, as a tensor of ``sizes``.

    The first values are the indices of each axis, every step adds one: a function of ``torch`` or ``operator`` with its
    arguments. A tuple ``(k,)`` stands for the k-th value.
    """
    import operator

    values: list[Any] = []
    for axis, n in enumerate(sizes):
        values.append(torch.arange(n).view([n if a == axis else 1 for a in range(len(sizes))]))

    def given(arg: Any) -> Any:
        return values[arg[0]] if isinstance(arg, tuple) else arg

    for path, args, kwargs in steps:
        head, *rest = path.split(".")
        function: Any = {"torch": torch, "operator": operator}[head]
        for name in rest:
            function = getattr(function, name)
        values.append(function(*map(given, args), **{key: given(arg) for key, arg in kwargs}))
    kind = torch.get_default_dtype() if dtype == "float" else getattr(torch, dtype)
    return torch.as_tensor(given(result), dtype=kind).expand(sizes).contiguous()
