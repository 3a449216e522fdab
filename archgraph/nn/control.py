"""Control flow: a choice by the module's mode, and a loop along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Switch(nn.Module):
    """One of two modules by mode, on the same arguments.

    Parameters
    ----------
    in_training, in_eval : torch.nn.Module
    updates : sequence of int
        Numbers of the arguments, buffers, that get the last values of ``in_training``, in this order.
    """

    def __init__(self, in_training: nn.Module, in_eval: nn.Module, updates: Sequence[int] = ()) -> None:
        super().__init__()
        self.in_training = in_training
        self.in_eval = in_eval
        self.updates = tuple(updates)

    def forward(self, *args: Any) -> Any:
        if not self.training:
            return self.in_eval(*args)
        found = self.in_training(*args)
        if not self.updates:
            return found
        values, new = found[: -len(self.updates)], found[-len(self.updates) :]
        for number, value in zip(self.updates, new, strict=True):
            args[number].copy_(value.detach())
        return values if len(values) > 1 else values[0]

    def extra_repr(self) -> str:
        return f"updates={self.updates}" if self.updates else ""


class Scan(nn.Module):
    """A loop along an axis: walks values, carries some, collects others.

    The body is an argument, since it is registered at the node's own path. It takes one slice of every walked value
    (without the axis), the carried values and all further arguments, and returns the next carried values and one slice
    of every collected value.

    Parameters
    ----------
    xs, carry : int
        Numbers of walked and carried values.
    dim : int
        The axis that is walked, and that collected values get.
    reverse : bool
        Walk from the end; collected values keep the order of what is walked.
    """

    def __init__(self, xs: int, carry: int, dim: int = 0, reverse: bool = False) -> None:
        super().__init__()
        self.xs = xs
        self.carry = carry
        self.dim = dim
        self.reverse = reverse

    def forward(self, body: nn.Module, *args: Any) -> Tensor | tuple[Tensor, ...]:
        walked = [x.unbind(self.dim) for x in args[: self.xs]]
        carried = list(args[self.xs : self.xs + self.carry])
        others = args[self.xs + self.carry :]
        turns = list(zip(*walked, strict=True))
        collected: list[tuple[Tensor, ...]] = []
        if not turns:  # a turn on zeros tells the shapes of what would be collected
            zeros = [x.new_zeros((*x.shape[: self.dim], *x.shape[self.dim + 1 :])) for x in args[: self.xs]]
            out = body(*zeros, *carried, *others)
            trial = out[self.carry :] if isinstance(out, tuple) else (out,)[self.carry :]
            found = (*carried, *[v.unsqueeze(self.dim).narrow(self.dim, 0, 0) for v in trial])
            return found if len(found) > 1 else found[0]
        for slices in reversed(turns) if self.reverse else turns:
            out = body(*slices, *carried, *others)
            values = out if isinstance(out, tuple) else (out,)
            carried = list(values[: self.carry])
            collected.append(values[self.carry :])
        if self.reverse:
            collected.reverse()
        found = (*carried, *[torch.stack(column, self.dim) for column in zip(*collected, strict=True)])
        return found if len(found) > 1 else found[0]

    def extra_repr(self) -> str:
        return f"xs={self.xs}, carry={self.carry}, dim={self.dim}, reverse={self.reverse}"
