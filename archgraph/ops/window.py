"""Sliding windows over one, two or three spatial axes: what convolutions and poolings share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypeAlias

from archgraph.ir.dim import Num, ceildiv, dmax, le
from archgraph.ir.types import TensorType
from archgraph.ops.base import Context, Emitter, Handle, Op, attr
from archgraph.ops.kinds import IntsKind, Kind, OptionalKind

AXES = ("D", "H", "W")
#: Elements added before and after each spatial axis.
Pads: TypeAlias = tuple[tuple[Num, Num], ...]
#: What an attribute with one value per spatial axis holds.
Sizes: TypeAlias = tuple[Num, ...]


class PerAxis(Kind):
    """One whole number per spatial axis; how many there are is known when an op states its ``rank``.

    ``optional``: null instead of all; ``none``: null instead of one.
    """

    def __init__(self, low: int, words: tuple[str, ...] = (), *, optional: bool = False, none: bool = False) -> None:
        self.low = low
        self.words = words
        self.optional = optional
        self.none = none

    def convert(self, value: Any) -> Any:
        return value

    def of(self, rank: int) -> Kind:
        """The kind for ``rank`` axes."""
        kind = IntsKind(rank, self.low, self.words, self.none)
        return OptionalKind(kind) if self.optional else kind


class Spatial(Op):
    """Base of ops that exist for one, two and three spatial axes.

    A subclass states ``rank=`` in its class line; `PerAxis` attributes and ``S`` in operand patterns become that many
    numbers and axes.
    """

    rank: ClassVar[int] = 0

    def __init_subclass__(cls, name: str | None = None, rank: int | None = None, **kwargs: Any) -> None:
        if rank is not None:
            cls.rank = rank
            for a in cls.attributes:
                if isinstance(a.kind, PerAxis):
                    again = attr(a.kind.of(rank), a.default, doc=a.doc, inert=a.inert, draw=a.draw)
                    again.required = a.required
                    setattr(cls, a.name, again)
            axes = " ".join(AXES[3 - rank :])
            cls.operands = tuple(o.over(o.pattern.replace("S", axes)) for o in cls.operands)
        super().__init_subclass__(name=name, **kwargs)

    def given(self, *names: str) -> dict[str, Any]:
        """Those attributes that differ from their defaults, as torch takes them: a number where all axes agree."""
        found = {}
        for name in names:
            value = getattr(self, name)
            a = self.by_name[name]
            if a.required or value != a.default:
                found[name] = shortest(value)
        return found


def shortest(value: Any) -> Any:
    """A tuple of equal numbers as that number."""
    if isinstance(value, tuple) and value and all(v == value[0] for v in value):
        return value[0]
    return value


def window_sizes(
    cx: Context, x: TensorType, kernel_size: Sizes, stride: Sizes, dilation: Sizes, padding: Sizes | str
) -> list[Num]:
    """Number of window positions on each spatial axis of ``x`` [B, C, …]; requires that one window fits.

    ``padding`` is a number per axis, for both ends, or ``same`` (see `same_pads`) or ``valid`` (none).
    """
    sizes: list[Num] = []
    for axis, n in enumerate(x.shape[2:]):
        step = stride[axis]
        if padding == "same":
            sizes.append(ceildiv(n, step))
            continue
        span = dilation[axis] * (kernel_size[axis] - 1) + 1
        padded = n if isinstance(padding, str) else n + 2 * padding[axis]
        fits = span <= padded if type(span) is int and type(padded) is int else le(span, padded)
        if fits is not True:
            cx.require(fits, f"a window of {span} must fit into the {padded} elements of axis {axis + 2}")
        sizes.append((padded - span) // step + 1)
    return sizes


def same_pads(x: TensorType, kernel_size: Sizes, stride: Sizes, dilation: Sizes) -> Pads:
    """TensorFlow's ``SAME`` padding: ``ceil(n / stride)`` positions on each axis, the odd element at the end."""
    pads: list[tuple[Num, Num]] = []
    for n, k, s, d in zip(x.shape[2:], kernel_size, stride, dilation, strict=True):
        total = dmax((ceildiv(n, s) - 1) * s + (k - 1) * d + 1 - n, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def symmetric(pads: Pads) -> Sizes | None:
    """The amounts as torch's modules take them, one per axis, if both ends agree and are known."""
    if all(isinstance(before, int) and before == after for before, after in pads):
        return tuple(before for before, _ in pads)
    return None


def pad(b: Emitter, x: Handle, pads: Pads, mode: str = "zeros", value: float = 0.0) -> Handle:
    """Emit the padding of the spatial axes with ``value``, or as a convolution's ``padding_mode`` says."""
    amounts: Iterable[Num] = [amount for pair in reversed(pads) for amount in pair]
    options: dict[str, Any] = {} if mode == "zeros" else {"mode": mode}
    if value != 0.0:
        options["value"] = value
    return b.call("torch.nn.functional.pad", x, [b.size(amount) for amount in amounts], **options)
