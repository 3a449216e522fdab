"""Einsum patterns: ``b i d, b j d -> b i j`` parsed into contractions of two operands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from string import ascii_letters
from typing import Final, NamedTuple, NoReturn

from archgraph.ops.base import fail

#: Names of the axes of one operand, ``...`` for any axes.
Axes = tuple[str, ...]
ELLIPSIS: Final = "..."
_AXIS: Final = re.compile(r"\.\.\.|[A-Za-z_]\w*")


class Step(NamedTuple):
    """One contraction: of the value so far with the next operand, or of a single operand (``right`` is None)."""

    left: Axes
    right: Axes | None
    out: Axes
    #: What ``torch.einsum`` takes.
    equation: str

    @property
    def is_matmul(self) -> bool:
        """Whether ``torch.matmul`` computes it: [..., i, k] × [..., k, j] or [k, j] → [..., i, j]."""
        left, right, out = self.left, self.right, self.out
        if right is None or len(left) < 2 or len(right) < 2 or len({*left, *right}) != len(left) + 1:
            return False
        *batch, i, k = left
        *right_batch, right_k, j = right
        return (
            ELLIPSIS not in (i, k, j)
            and k == right_k
            and j not in left
            and right_batch in ([], batch)
            and out == (*batch, i, j)
        )


class EinsumPattern(NamedTuple):
    """A parsed pattern."""

    text: str
    inputs: tuple[Axes, ...]
    output: Axes
    #: Contractions from left to right; the value so far is the left operand of all but the first.
    steps: tuple[Step, ...]


@lru_cache(maxsize=4096)
def parse_einsum(text: str) -> EinsumPattern:
    """Parse a pattern.

    Raises
    ------
    OpError
        Naming the pattern and what is wrong in it.
    """
    sides = text.split("->")
    if len(sides) != 2:
        _wrong(text, "it needs one `->`", "b i d, b j d -> b i j")
    inputs = tuple(_axes(part, text) for part in sides[0].split(","))
    output = _axes(sides[1], text)
    if twice := [name for name in output if output.count(name) > 1]:
        _wrong(text, f"`{twice[0]}` stands twice in the output")
    known = {name for axes in inputs for name in axes}
    if new := [name for name in output if name not in known]:
        _wrong(text, f"no operand has the axis `{new[0]}` of the output")
    if ELLIPSIS in known and ELLIPSIS not in output:
        _wrong(text, "`...` can't be summed: the output needs it too")
    if any(axes.count(ELLIPSIS) > 1 for axes in inputs):
        _wrong(text, "`...` stands twice in one operand")
    return EinsumPattern(text, inputs, output, _steps(inputs, output))


def _axes(part: str, text: str) -> Axes:
    words = part.split()
    for word in words:
        if not _AXIS.fullmatch(word):
            _wrong(text, f"`{word}` is no axis name", "names separated by blanks, and `...`")
    return tuple(words)


def _wrong(text: str, why: str, expected: str | None = None) -> NoReturn:
    fail(f'pattern "{text}": {why}', expected, key="pattern")


def _steps(inputs: Sequence[Axes], output: Axes) -> tuple[Step, ...]:
    letters = _letters(inputs)

    def equation(out: Axes, *operands: Axes) -> str:
        *taken, made = ("".join(letters[name] for name in axes) for axes in (*operands, out))
        return f"{','.join(taken)}->{made}"

    if len(inputs) == 1:
        return (Step(inputs[0], None, output, equation(output, inputs[0])),)
    steps: list[Step] = []
    left = inputs[0]
    for k, right in enumerate(inputs[1:], start=1):
        later = {*output, *(name for axes in inputs[k + 1 :] for name in axes)}
        out = output
        if k < len(inputs) - 1:
            # `...` leads, since it broadcasts against operands with fewer axes of it
            kept = dict.fromkeys(name for name in (*left, *right) if name in later)
            out = tuple(sorted(kept, key=lambda name: name != ELLIPSIS))
        steps.append(Step(left, right, out, equation(out, left, right)))
        left = out
    return tuple(steps)


def _letters(inputs: Sequence[Axes]) -> dict[str, str]:
    """A letter for each axis name: its own, or one of its own, or any that is free."""
    names = dict.fromkeys(name for axes in inputs for name in axes)
    letters = {name: name for name in names if name == ELLIPSIS or name in ascii_letters}
    for name in names:
        if name not in letters:
            letters[name] = next(c for c in name + ascii_letters if c in ascii_letters and c not in letters.values())
    return letters
