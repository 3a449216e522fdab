"""How many kernels an op runs: what its lowering calls, less what only looks at a tensor in another way."""

from __future__ import annotations

from typing import Any, Final

from archgraph.ir.dim import Dim, Num
from archgraph.ir.types import TensorType
from archgraph.ops.base import Op, OpError

#: Calls that move no element, or may be spared: views, what evaluation skips, copies that a layout makes needless.
VIEWS: Final = frozenset(
    {
        "chunk", "contiguous", "detach", "dropout", "dropout1d", "dropout2d", "dropout3d", "expand", "expand_as",
        "flatten", "getattr", "getitem", "movedim", "narrow", "permute", "reshape", "reshape_as", "select", "size",
        "split", "squeeze", "swapaxes", "t", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
        "view_as_complex", "view_as_real", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "DropPath", "Flatten",
        "Identity", "Unflatten",
    }
)  # fmt: skip


def kernels(op: Op, ins: tuple[TensorType | None, ...], outs: tuple[TensorType, ...]) -> int:
    """Kernels of one call in evaluation: at least one for each function of tensors that the op is lowered to."""
    if op.view:
        return 0
    counter = _Counter(op, ins, outs)
    try:
        op.lower(counter, *(None if t is None else _VALUE for t in ins))
    except OpError:  # it cannot be lowered with these types: then it runs nowhere
        return 1
    return len(counter.called)


class _Value:
    """Stands for any value of the target."""

    def __iter__(self) -> Any:
        raise TypeError("a handle is no sequence")


_VALUE: Final = _Value()


class _Counter:
    """An `archgraph.ops.base.Emitter` that only remembers what is called."""

    def __init__(self, op: Op, ins: tuple[TensorType | None, ...], outs: tuple[TensorType, ...]) -> None:
        self.in_types: tuple[Any, ...] = ins
        self.out_types = outs
        self.called: list[str] = []

    def _called(self, name: str) -> _Value:
        if name.rpartition(".")[2] not in VIEWS:
            self.called.append(name)
        return _VALUE

    def module(self, cls: str, *args: Any, **kwargs: Any) -> _Value:
        return self._called(cls)

    def call(self, function: str, *args: Any, **kwargs: Any) -> _Value:
        return self._called(function)

    def method(self, name: str, x: Any, *args: Any, **kwargs: Any) -> _Value:
        return self._called(name)

    def item(self, x: Any, index: int) -> _Value:
        return _VALUE

    def weight(self, name: str = "weight") -> _Value:
        return _VALUE

    def size(self, dim: Num) -> Any:
        return _VALUE if isinstance(dim, Dim) else dim

    def constant(self, maker: str, *args: Any) -> _Value:
        return _VALUE

    def scalar(self, value: Any) -> Any:
        return value
