"""Type promotion is torch's, for every pair of dtypes, with and without axes, and numbers."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from archgraph.ir.dim import sym
from archgraph.ir.real import Late, NeedsValue
from archgraph.ir.types import TensorType
from archgraph.ops.promotion import result_type
from tests.ops.harness import TORCH_DTYPE

OPERANDS: list[tuple[Any, Any]] = [
    *((TensorType(name, s), torch.zeros(s, dtype=d)) for name, d in TORCH_DTYPE.items() for s in ((), (2,))),
    *((number, number) for number in (True, 2, 0.5)),
]
#: dtypes of torch that a `TensorType` does not have, and what stands for them.
NEAREST = {torch.complex128: "complex64", torch.complex32: "complex64", torch.int16: "int32"}


def test_pairs() -> None:
    for (ours, theirs), (others, other) in product(OPERANDS, OPERANDS):
        if isinstance(theirs, torch.Tensor) or isinstance(other, torch.Tensor):
            expected = torch.result_type(theirs, other)
            found = TORCH_DTYPE[result_type(ours, others)]
            assert str(found) == f"torch.{NEAREST.get(expected, str(expected)[6:])}", (ours, others)


def test_sizes_are_whole_and_late_numbers_are_waited_for() -> None:
    whole, real = TensorType("int64", (2,)), TensorType("float", (2,))
    assert result_type(whole, sym("N")) == "int64"
    assert result_type(whole, sym("N") / 3) == "float"
    assert result_type(real, 2 * Late("i")) == "float"
    with pytest.raises(NeedsValue):
        result_type(whole, 2 * Late("i"))
