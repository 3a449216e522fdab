"""First values of weights, as declared: `torch.nn.init`'s laws under its names.

All tensors are drawn on the CPU, in float32 (torch's default dtype), from one generator in path order: the same seed
gives the same weights on every device and in every dtype.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Final

import torch
from torch import Tensor, nn

from archgraph.lower.plan import LoweringError
from archgraph.ops.base import Weight

#: No draw lies further out: Box and Muller's method on uniforms of 53 bits ends at 8.6.
FARTHEST_SIGMA: Final = 9.0


def initialise(
    tensors: Mapping[str, Tensor],
    weights: Iterable[tuple[str, Weight]],
    generator: torch.Generator | None = None,
) -> None:
    """Fill each tensor once, in place.

    Parameters
    ----------
    tensors : mapping
        Parameters and buffers by path.
    weights : iterable of (path, Weight)
        What they are declared as; fixes the order of drawing.
    generator : torch.Generator, optional
        Source of randomness; torch's global one if left out.

    Raises
    ------
    LoweringError
        If a law does not fit its tensor.
    """
    with torch.no_grad():
        for path, weight in weights:
            tensor = tensors[path]
            if tuple(tensor.shape) != weight.shape:
                raise LoweringError(f"declared with shape {weight.shape}, made with {tuple(tensor.shape)}", (path,))
            law, args = weight.init
            try:
                fill_(tensor, law, {name: _number(value) for name, value in args}, generator)
            except (ValueError, TypeError) as error:
                raise LoweringError(f"initialiser {law}: {error}", (path,)) from error


def fill_(tensor: Tensor, law: str, args: Mapping[str, Any], generator: torch.Generator | None = None) -> None:
    """Fill a tensor by a law of `archgraph.ops.kinds.INITIALISERS`, or with the numbers of a ``literal``.

    ``a`` and ``b`` of ``trunc_normal`` are absolute, as in torch and timm: with ``std`` 0.02 the default bounds ±2 lie
    a hundred sigmas out. Where no draw can reach the bounds a plain normal is drawn, in about half the time. With
    ``stack`` the law is that of each tensor along so many leading axes.
    """
    if args.get("stack"):
        for part in tensor.flatten(0, int(args["stack"]) - 1):
            fill_(part, law, {name: value for name, value in args.items() if name != "stack"}, generator)
        return
    match law:
        case "zeros":
            tensor.zero_()
        case "ones":
            tensor.fill_(1)
        case "constant":
            tensor.fill_(args["val"])
        case "literal":
            tensor.copy_(torch.tensor(args["value"]))
        case "normal":
            tensor.normal_(args["mean"], args["std"], generator=generator)
        case "trunc_normal":
            mean, std, a, b = args["mean"], args["std"], args["a"], args["b"]
            if min(mean - a, b - mean) >= FARTHEST_SIGMA * std:
                tensor.normal_(mean, std, generator=generator)
            else:
                nn.init.trunc_normal_(tensor, mean, std, a, b, generator=generator)
        case "uniform":
            tensor.uniform_(args["a"], args["b"], generator=generator)
        case "xavier_uniform":
            nn.init.xavier_uniform_(tensor, args["gain"], generator=generator)
        case "xavier_normal":
            nn.init.xavier_normal_(tensor, args["gain"], generator=generator)
        case "kaiming_uniform":
            bound = math.sqrt(3.0) * _kaiming_std(tensor, args)
            tensor.uniform_(-bound, bound, generator=generator)
        case "kaiming_normal":
            tensor.normal_(0.0, _kaiming_std(tensor, args), generator=generator)
        case "orthogonal":
            nn.init.orthogonal_(tensor, args["gain"], generator=generator)
        case "eye":
            nn.init.eye_(tensor)
        case "dirac":
            nn.init.dirac_(tensor)
        case "geometric":
            # in double precision: late terms of a long series are products of many factors
            steps = torch.arange(tensor.numel(), dtype=torch.float64)
            tensor.copy_((args["start"] * args["ratio"] ** steps).reshape(tensor.shape))
        case _:
            raise ValueError("unknown law")


def _kaiming_std(tensor: Tensor, args: Mapping[str, float]) -> float:
    """Standard deviation of the Kaiming laws: gain of leaky ReLU with slope ``a`` over the root of the fan."""
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(tensor)
    fan = fan_out if args["fan"] else fan_in
    return nn.init.calculate_gain("leaky_relu", args["a"]) / math.sqrt(fan)


def _number(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_number, value))
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, (int, float)):
        return value
    raise ValueError(f"{value} is symbolic: give its symbols values to build")
