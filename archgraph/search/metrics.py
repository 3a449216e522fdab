"""What can be optimised and constrained, by name; a user's own functions too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from archgraph.search.candidate import Candidate

__all__ = ["COSTS", "DIRECTIONS", "MEASURED", "Function", "is_known", "known_metrics", "metric", "user_metric"]

Function = Callable[["Candidate"], float]

#: Costs of one evaluation, from the closed form, with what they are.
COSTS: Final[dict[str, str]] = {
    "params": "Parameters, shared ones once.",
    "buffers": "Elements of buffers.",
    "macs": "Multiply-adds of one evaluation at the study's sizes.",
    "flops": "Two per MAC and the element-wise work.",
    "activation_bytes": "Peak of live intermediate values in evaluation.",
    "saved_bytes": "What a backward pass may need.",
    "weight_bytes": "Bytes of parameters and buffers.",
    "memory": "Weights and peak activations, in bytes.",
    "roofline": "Least seconds of a call on the study's `machine`, whatever is fused or cached.",
    "roofline_op_by_op": "Seconds of a call on the study's `machine`, every op by itself with its operands in memory.",
    "energy": "Joules of the work and the traffic that `roofline` counts.",
}

#: What is measured on a built candidate.
MEASURED: Final[dict[str, dict[str, str]]] = {
    "trained": {
        "accuracy": "Held-out accuracy after the training.",
        "loss": "Held-out loss after the training.",
        "train_loss": "Mean training loss of the last epoch.",
    },
    "proxy": {
        "grad_norm": "Sum over the layers of the norm of the loss gradient at initialisation.",
        "snip": "Connection sensitivity: sum of |gradient · weight| at initialisation.",
        "synflow": "Synaptic flow: sum of |gradient · weight| of the linearised network on ones.",
        "naswot": "Log-determinant of the kernel of ReLU codes of a batch.",
        "jacob_cov": "Correlation of the input Jacobians of a batch.",
        "zen": "Zen-score: expected Gaussian complexity, with the batch-norm correction.",
        "zico": "ZiCo: mean over standard deviation of gradients over batches, summed in logarithms.",
    },
    "latency": {"latency": "Median seconds of a call, after warm-up."},
}

#: Directions that a metric has by nature, for pruning.
DIRECTIONS: Final = {"accuracy": "maximize", "loss": "minimize", "train_loss": "minimize"}

_user: dict[str, Function] = {}


def metric(name: str) -> Callable[[Function], Function]:
    """Declare a metric of your own: a function of a `Candidate` that returns a number.

        from archgraph.search.metrics import metric

        @metric("sparsity")
        def sparsity(candidate):
            return float(...)

    Raises
    ------
    ValueError
        If there is a metric of that name.
    """

    def declare(function: Function) -> Function:
        known = _user.get(name)
        if (known is not None and known.__qualname__ != function.__qualname__) or any(
            name in group for group in _groups()
        ):
            raise ValueError(f"there is a metric `{name}` already")
        _user[name] = function
        return function

    return declare


def user_metric(name: str) -> Function | None:
    """A user's function by its name."""
    return _user.get(name)


def _groups() -> list[dict[str, Any]]:
    return [COSTS, *MEASURED.values()]


def is_known(name: str) -> bool:
    return name in _user or any(name in group for group in _groups())


def known_metrics() -> list[str]:
    return [*(name for group in _groups() for name in group), *_user]
