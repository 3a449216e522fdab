"""Zero-cost proxies: scores of an untrained network, each as its paper defines it.

What a "layer" is, is said once: a convolution or a linear layer, by its weight. Activations are found where torch runs
them, whatever module or function that was.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from archgraph.search.objectives.training import logits_of, loss_of

__all__ = ["grad_norm", "jacob_cov", "naswot", "snip", "synflow", "zen", "zico"]

_LAYERS: Final = (nn.Linear, nn.modules.conv._ConvNd)
_BATCH_NORMS: Final = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_NORMS: Final = (*_BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_aten = torch.ops.aten
_ACTIVATIONS: Final = frozenset(
    getattr(_aten, name).default
    for name in [
        "relu",
        "relu_",
        "gelu",
        "silu",
        "silu_",
        "hardtanh",
        "hardtanh_",
        "hardswish",
        "hardswish_",
        "leaky_relu",
        "leaky_relu_",
        "elu",
        "mish",
        "softplus",
    ]
)


def layers(model: nn.Module) -> list[Tensor]:
    """Weights of the convolutions and linear layers that are trained."""
    return [m.weight for m in model.modules() if isinstance(m, _LAYERS) and m.weight.requires_grad]


def _gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Weight and gradient of every layer that the loss depends on."""
    weights = layers(model)
    model.train()
    loss = loss_of(logits_of(model(x)), y)
    found: tuple[Tensor | None, ...] = torch.autograd.grad(loss, weights, allow_unused=True)
    return [(w.detach(), g) for w, g in zip(weights, found, strict=True) if g is not None]


def grad_norm(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Sum over the layers of the Euclidean norm of the gradient, after one batch
    (Abdelfattah et al., 2101.08134, section 3.2)."""
    return float(sum(g.norm() for _, g in _gradients(model, x, y)))


def snip(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Connection sensitivity |∂L/∂w ⊙ w|, summed (Lee et al., 1810.02340, eq. 5; summed: Abdelfattah et al., eq. 1)."""
    return float(sum((g * w).abs().sum() for w, g in _gradients(model, x, y)))


def synflow(model: nn.Module, x: Tensor) -> float:
    """Synaptic flow Σ ∂R/∂w ⊙ w, R = 1ᵀ f(1) with every weight replaced by its magnitude (Tanaka et al., 2006.05467).

    In double precision, normalisations bypassed: with them R says nothing about the weights in front (Abdelfattah et
    al., code). The input is all ones, or the batch where that holds tokens.
    """
    model = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.abs_()
    ones = torch.ones_like(x[:1], dtype=torch.float64) if x.is_floating_point() else x[:1]
    weights = layers(model)
    with _bypassed(model):
        total = logits_of(model(ones)).sum()
    found: tuple[Tensor | None, ...] = torch.autograd.grad(total, weights, allow_unused=True)
    return sum(float((g * w.detach()).abs().sum()) for w, g in zip(weights, found, strict=True) if g is not None)


@contextmanager
def _bypassed(model: nn.Module) -> Iterator[None]:
    """Normalisations as identities."""
    handles = [
        m.register_forward_hook(lambda module, args, output: args[0]) for m in model.modules() if isinstance(m, _NORMS)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Codes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class has no types
    """Signs of what goes into activations, gathered as the kernel of agreements between samples."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.batch = batch
        self.kernel = torch.zeros(batch, batch, dtype=torch.float64)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _ACTIVATIONS and args[0].dim() and args[0].shape[0] == self.batch:
            code = (args[0].detach() > 0).reshape(self.batch, -1).double()
            self.kernel += (code @ code.T + (1 - code) @ (1 - code).T).cpu()
        return func(*args, **(kwargs or {}))


def naswot(model: nn.Module, x: Tensor) -> float:
    """log |K|, where K[i, j] counts the units that samples i and j switch alike (Mellor et al., 2006.04647v3, eq. 2).

    -inf where two samples can't be told apart, or nothing is switched.
    """
    codes = _Codes(len(x))
    model.train()
    with torch.no_grad(), codes:
        model(x)
    sign, value = torch.linalg.slogdet(codes.kernel)
    return float(value) if float(sign) > 0 else -math.inf


def jacob_cov(model: nn.Module, x: Tensor) -> float:
    """-Σ log(λ + k) + 1 / (λ + k) over the eigenvalues of the correlations of the samples' input Jacobians, k = 1e-5
    (Mellor et al., 2006.04647v1, eq. 2)."""
    if not x.is_floating_point():
        raise ValueError("tokens have no Jacobian")
    model.train()
    x = x.clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(logits_of(model(x)).sum(), x)
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(jacobian.reshape(len(x), -1).double()))
    k = 1e-5
    return float(-(torch.log(eigenvalues + k) + 1 / (eigenvalues + k)).sum())


class _Features(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's class has no types
    """The last map or sequence: what is taken by the last step that leaves one vector of it for each sample."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.batch = batch
        self.last: Tensor | None = None
        self.value: Tensor | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        first = args[0] if args else None
        if isinstance(found, Tensor) and isinstance(first, Tensor) and first.is_floating_point():
            wide = first.dim() >= 3 and first.shape[0] == self.batch and found.numel() < first.numel()
            if wide and found.numel() in (self.batch * first.shape[1], self.batch * first.shape[-1]):
                self.value = first
        if isinstance(found, Tensor) and found.is_floating_point() and found.dim() >= 3:
            self.last = found
        return found


def zen(model: nn.Module, x: Tensor, generator: torch.Generator, repeats: int = 2, alpha: float = 0.01) -> float:
    """Zen-score: log E‖f(x) - f(x + α ε)‖₁ + Σ log √(mean σ²) over batch norms (Lin et al., 2102.01063, algorithm 1).

    Weights, x and ε are standard normal, biases zero; f is the map before the head. Residual links stay, unlike in the
    paper, as they are part of what is compared here. Only for inputs of numbers.
    """
    if not x.is_floating_point():
        raise ValueError("Zen-score perturbs its input, and tokens can't be")
    model = copy.deepcopy(model).train()
    scores = []
    for _ in range(repeats):
        with torch.no_grad():
            for m in model.modules():
                if isinstance(m, _LAYERS):
                    m.weight.copy_(torch.randn(m.weight.shape, generator=generator))
                    if m.bias is not None:
                        m.bias.zero_()
                elif isinstance(m, _NORMS):
                    for name, value in m.named_parameters(recurse=False):
                        value.fill_(1 if name == "weight" else 0)
            one = torch.randn(x.shape, generator=generator)
            two = one + alpha * torch.randn(x.shape, generator=generator)
            log_variance = torch.zeros((), dtype=torch.float64)
            handles = []

            def seen(module: Any, args: Any) -> None:
                nonlocal log_variance
                value = args[0].detach().double()
                axes = [k for k in range(value.dim()) if k != 1]
                log_variance += 0.5 * torch.log(value.var(axes, unbiased=False).mean())

            handles = [m.register_forward_pre_hook(seen) for m in model.modules() if isinstance(m, _BATCH_NORMS)]
            first = _feature(model, one)
            for handle in handles:
                handle.remove()
            second = _feature(model, two)
            difference = (first.double() - second.double()).abs().flatten(1).sum(1).mean()
            scores.append(float(torch.log(difference) + log_variance))
    return sum(scores) / len(scores)


def _feature(model: nn.Module, x: Tensor) -> Tensor:
    mode = _Features(len(x))
    with mode:
        whole = logits_of(model(x))
    found = mode.value if mode.value is not None else mode.last
    return whole if found is None else found


def zico(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Σ over layers of log Σ E|g| / √Var|g| over batches, weights without variance left out
    (Li et al., 2301.11300, eq. 15)."""
    every = [[g.abs() for _, g in _gradients(model, x, y)] for x, y in batches]
    if len(every) < 2:
        raise ValueError("ZiCo needs two batches")
    total = 0.0
    for gradients in zip(*every, strict=True):
        stacked = torch.stack(gradients).double()
        mean, deviation = stacked.mean(0), stacked.std(0, unbiased=False)
        counts = deviation > 0
        ratio = float((mean[counts] / deviation[counts]).sum())
        if ratio > 0:
            total += math.log(ratio)
    return total
