"""Running what was built: ViT-B/16 against timm's, HorNet-T against a module written by hand."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch

import archgraph
from tools.bench.common import Gate, Section, in_turns, median, ratio
from tools.torchvision_import import import_torchvision


def vit() -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and timm's with the same weights."""
    import_torchvision()
    import timm

    theirs = timm.create_model("vit_base_patch16_224")
    ours = archgraph.build("vit", "base")
    names = {name.replace("patch_embed.", "patch_embed.proj."): name for name in ours.state_dict()}
    ours.load_state_dict({names[k]: v for k, v in theirs.state_dict().items()})
    return ours, theirs


def hornet() -> tuple[torch.nn.Module, torch.nn.Module]:
    """Ours and the one written by hand with the same weights."""
    from tools.bench.hornet_module import HorNet

    theirs = HorNet()
    ours = archgraph.build("hornet", "tiny_7x7", drop_path=0.0)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def run(quick: bool, only: str = "") -> Section:
    """Forward, and forward with backward; eager and compiled; one thread.

    Parameters
    ----------
    quick : bool
        A few pairs.
    only : str
        What model and mode hold: ``eager``, ``HorNet-T compiled``; the whole takes a quarter of an hour.
    """
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    pairs = 6 if quick else 40
    rows: list[list[object]] = []
    gates: list[Gate] = []
    for title, make in (("ViT-B/16", vit), ("HorNet-T", hornet)):
        for mode in ("eager", "compiled"):
            if only not in f"{title} {mode}":
                continue
            ours, theirs = make()
            x = torch.randn(1, 3, 224, 224)
            with torch.no_grad():
                difference = (ours.eval()(x) - theirs.eval()(x)).abs().max().item()
            if difference > 1e-4:
                raise AssertionError(f"{title}: outputs differ by {difference}")
            for step in ("forward", "forward and backward"):
                pair = {"ours": ours, "theirs": theirs}
                steps = {name: stepper(model, x, step, mode == "compiled") for name, model in pair.items()}
                found = in_turns(steps, pairs, warm=2)
                middle, low, high = ratio(found["ours"], found["theirs"])
                medians = [median(found[name]) * 1e3 for name in pair]
                rows.append([title, mode, step, *medians, middle, f"{low:.3f} to {high:.3f}"])
                gates.append(Gate(f"{title}, {mode}, {step}", middle, 1.02))
                print(gates[-1], file=sys.stderr, flush=True)
    return Section(
        f"Running models{', ' * bool(only)}{only}: one image of 224 by 224, one thread",
        ("model", "mode", "what", "ours, CPU ms", "theirs, CPU ms", "median ratio of pairs", "95 % interval"),
        rows,
        gates,
        (
            f"{pairs} pairs in shuffled order. ViT-B/16 against timm's, HorNet-T against the one written by hand in",
            "`tools/bench/hornet_module.py`, with equal weights and outputs; compiled by `torch.compile`, defaults.",
        ),
    )


def stepper(model: torch.nn.Module, x: torch.Tensor, step: str, compiled: bool) -> Callable[[], Any]:
    """One step of a model, as a function."""
    model.train(step != "forward")
    call: Callable[[torch.Tensor], torch.Tensor] = torch.compile(model) if compiled else model

    def forward() -> Any:
        with torch.no_grad():
            return call(x)

    def both() -> Any:
        model.zero_grad(set_to_none=True)
        return call(x).sum().backward()

    return forward if step == "forward" else both
