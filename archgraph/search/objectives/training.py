"""The trained score: a short training through Lightning's Fabric, the same to the last digit for the same seed.

Fabric brings precision, devices and strategies, and leaves the loop to us: a trial needs no checkpoints, loggers or
progress bars, but must report to a pruner and end at a NaN.
"""

from __future__ import annotations

import contextlib
import io
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from archgraph.search.data import Dataset
from archgraph.search.data.base import IGNORED, fault
from archgraph.search.objectives.devices import accelerator
from archgraph.search.objectives.failures import Diverged

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Report", "logits_of", "loss_of", "prepared", "train"]

Report = Callable[[int, Mapping[str, float]], None]
"""Called after each evaluation with the epoch, from 1, and what was measured."""

_EVALUATION: Final = 512


def logits_of(value: Any) -> Tensor:
    """The scores among a model's outputs: its only one, or the first."""
    found = next(iter(value.values())) if isinstance(value, dict) else value
    if not isinstance(found, Tensor):
        raise fault("train/output", "the model's first output is no tensor of scores")
    return found


def loss_of(scores: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy of [B, classes] or [B, length, classes] over the targets that count."""
    flat = scores.reshape(-1, scores.shape[-1]).float()
    return functional.cross_entropy(flat, y.reshape(-1), ignore_index=IGNORED, label_smoothing=smoothing)


def prepared(model: nn.Module, data: Dataset) -> None:
    """Check that a model fits the data.

    Raises
    ------
    SpecError
        If it takes no such samples, or its scores are not one for each class.
    """
    was = model.training
    model.eval()
    with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()):  # torch.fx prints what it raises
        try:
            scores = logits_of(model(data.x[:2]))
        except (RuntimeError, TypeError, ValueError) as error:
            shape = list(data.x.shape[1:])
            raise fault("train/input", f"the model does not take samples of shape {shape}: {error}") from error
    model.train(was)
    expected = [2, *data.y.shape[1:]]
    if list(scores.shape[:-1]) != expected or scores.shape[-1] < data.classes:
        message = f"the model's scores are {list(scores.shape)}, and the data has {data.classes} classes"
        raise fault("train/output", message, f"scores of shape {[*expected, data.classes]} are needed")


def train(model: nn.Module, data: Dataset, settings: Mapping[str, Any], seed: int, report: Report) -> dict[str, float]:
    """Train a model and score it on what is held out.

    Returns
    -------
    dict
        ``accuracy`` and ``loss`` of the last evaluation, ``train_loss`` of the last epoch, ``epochs``, and
        ``train_seconds``.

    Raises
    ------
    Diverged
        If a loss is no number.
    """
    fabric = _fabric(settings)
    prepared(model, data)
    torch.manual_seed(seed)
    model_, optimizer = _set_up(fabric, model, settings)
    device = fabric.device
    x, y = data.x.to(device), data.y.to(device)
    generator = torch.Generator().manual_seed(seed)
    batch, world, rank = settings["batch_size"], fabric.world_size, fabric.global_rank
    accumulate = settings["accumulate"]
    steps = max(1, len(x) // (batch * world)) if len(x) >= batch * world else 1
    updates = max(1, math.ceil(steps / accumulate))
    rate = _schedule(settings, updates * settings["epochs"])
    found: dict[str, float] = {}
    best, since, update = math.inf, 0, 0
    start = time.perf_counter()
    for epoch in range(1, settings["epochs"] + 1):
        model_.train()
        order = torch.randperm(len(x), generator=generator)
        total = torch.zeros((), device=device)
        for step in range(steps):
            rows = order[step * batch * world : (step + 1) * batch * world][rank::world].to(device)
            xb = _shifted(x[rows], settings["shift"], generator) if settings["shift"] else x[rows]
            last = (step + 1) % accumulate == 0 or step + 1 == steps
            with fabric.no_backward_sync(model_, enabled=not last):
                loss = loss_of(logits_of(model_(xb)), y[rows], settings["label_smoothing"])
                fabric.backward(loss / accumulate)
            total += loss.detach()
            if last:
                for group in optimizer.param_groups:
                    group["lr"] = settings["lr"] * rate(update)
                if settings["clip"] is not None:
                    fabric.clip_gradients(model_, optimizer, max_norm=settings["clip"], error_if_nonfinite=False)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                update += 1
        found["train_loss"] = float(total) / steps
        if not math.isfinite(found["train_loss"]):
            raise Diverged(f"the training loss is {found['train_loss']} in epoch {epoch}")
        if epoch % settings["evaluate_every"] and epoch != settings["epochs"]:
            continue
        found.update(_evaluated(fabric, model_, data))
        found["epochs"] = epoch
        if not math.isfinite(found["loss"]):
            raise Diverged(f"the held-out loss is {found['loss']} in epoch {epoch}")
        report(epoch, found)
        if settings["target"] is not None and found["accuracy"] >= settings["target"]:
            break
        since = 0 if found["loss"] < best else since + 1
        best = min(best, found["loss"])
        if settings["patience"] is not None and since >= settings["patience"]:
            break
    found["train_seconds"] = time.perf_counter() - start
    return found


def _fabric(settings: Mapping[str, Any]) -> Fabric:
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise fault("train/package", "training needs Lightning's Fabric", "pip install 'archgraph[search]'") from None
    kind = accelerator(settings["accelerator"], settings["devices"])
    if kind == "cpu":
        torch.set_num_threads(settings["threads"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on precision flags and unused devices
        fabric = Fabric(
            accelerator=kind,
            devices=settings["devices"],
            precision=settings["precision"],
            strategy=settings["strategy"],
        )
        if settings["devices"] > 1:
            fabric.launch()
    return fabric


def _set_up(fabric: Fabric, model: nn.Module, settings: Mapping[str, Any]) -> tuple[Any, torch.optim.Optimizer]:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": settings["weight_decay"]},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise fault("train/weights", "the model has no weights to train")
    optimizer: torch.optim.Optimizer
    if settings["optimizer"] == "sgd":
        optimizer = torch.optim.SGD(groups, lr=settings["lr"], momentum=settings["momentum"])
    else:
        kind = torch.optim.AdamW if settings["optimizer"] == "adamw" else torch.optim.Adam
        optimizer = kind(groups, lr=settings["lr"])
    model_, optimizer_ = fabric.setup(model, optimizer)
    return model_, optimizer_


def _schedule(settings: Mapping[str, Any], updates: int) -> Callable[[int], float]:
    warmup = max(1, round(updates * settings["warmup"])) if settings["warmup"] > 0 else 0

    def rate(update: int) -> float:
        if update < warmup:
            return (update + 1) / warmup
        if settings["schedule"] == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * (update - warmup) / max(1, updates - warmup)))

    return rate


def _shifted(x: Tensor, by: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``by`` pixels in both directions, zeros coming in."""
    n, _, h, w = x.shape
    padded = functional.pad(x, (by, by, by, by))
    down = torch.randint(0, 2 * by + 1, (n, 1, 1), generator=generator).to(x.device)
    right = torch.randint(0, 2 * by + 1, (n, 1, 1), generator=generator).to(x.device)
    rows = down + torch.arange(h, device=x.device).view(1, h, 1)
    columns = right + torch.arange(w, device=x.device).view(1, 1, w)
    which = torch.arange(n, device=x.device).view(n, 1, 1)
    return padded.permute(0, 2, 3, 1)[which, rows, columns].permute(0, 3, 1, 2)


@torch.no_grad()
def _evaluated(fabric: Fabric, model: Any, data: Dataset) -> dict[str, float]:
    """Accuracy and loss over the held-out targets that count; every process scores all of them."""
    model.eval()
    right = count = 0
    loss = 0.0
    for start in range(0, len(data.x_test), _EVALUATION):
        x = data.x_test[start : start + _EVALUATION].to(fabric.device)
        y = data.y_test[start : start + _EVALUATION].to(fabric.device)
        scores = logits_of(model(x))
        counts = y != IGNORED
        n = int(counts.sum())
        right += int((scores.argmax(-1) == y)[counts].sum())
        loss += float(loss_of(scores, y)) * n
        count += n
    return {"accuracy": right / count, "loss": loss / count}
