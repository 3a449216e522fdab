"""The roofline's lower bound against what models take on this machine, one thread."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import archgraph
from archgraph.analysis.profiles import DeviceProfile, read_profile
from archgraph.analysis.roofline import roofline, target
from archgraph.analysis.sizes import default_sizes
from archgraph.report.calibrate import FULL, QUICK, measure, profile_text
from tools.bench.common import CPU, Gate, Section, in_turns

MODELS = (
    ("ViT-T/16", "vit", "tiny"),
    ("ResNet-50", "resnet", "resnet50"),
    ("MobileNetV2", "mobilenet_v2", None),
    ("HorNet-T", "hornet", "tiny_7x7"),
    ("Swin-T", "swin", "tiny"),
    ("BiFormer-T", "biformer", "tiny"),
)
#: Models and modes that are measured besides the eager forward in float32.
NARROW = ("ViT-T/16", "ResNet-50")
COMPILED = ("ViT-T/16", "MobileNetV2")


def run(quick: bool) -> Section:
    """Calibrate, measure each model, calibrate again; what is best of both is the peak that the bound is for."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    sizes = QUICK if quick else FULL
    first = measure(1, sizes, CPU)
    runs = 5 if quick else 15
    found: list[tuple[str, str, str, str | None, str, float]] = []
    for title, name, variant in MODELS:
        modes = ["eager, float32"]
        if title in NARROW:
            modes.append("eager, bfloat16")
        if title in COMPILED and not quick:
            modes.append("compiled, float32")
        model = archgraph.build(name, variant).eval()
        for mode in modes:
            seconds = min(in_turns({mode: _call(model, mode)}, runs, warm=2)[mode])
            found.append((title, mode, name, variant, mode.partition(", ")[2], seconds))
            print(f"{title}, {mode}: {seconds * 1e3:.1f} ms", file=sys.stderr, flush=True)
    device = read_profile(profile_text(measure(1, sizes, CPU).at_least(first)), str(Path("cpu.yaml")))
    rows: list[list[object]] = []
    gates: list[Gate] = []
    for title, mode, name, variant, dtype, seconds in found:
        spec = archgraph.load(name, variant)
        times = roofline(spec.graph(None, default_sizes(spec)), target(device, dtype))
        bound, alone = times.bound, times.op_by_op
        rows.append(
            [title, mode, bound * 1e3, str(times.binds), alone * 1e3, seconds * 1e3, seconds / bound, seconds / alone]
        )
        gates.append(Gate(f"{title}, {mode}: bound over measured", bound / seconds, 1.0))
    return Section(
        "Roofline: the lower bound against what models take",
        (
            "model", "how", "bound, ms", "binds", "op by op, ms", "measured, CPU ms", "measured/bound",
            "measured/op by op",
        ),
        rows,
        gates,
        (
            f"One image of 224 by 224, one thread; the least of {runs} runs, in seconds of the CPU. Peaks measured",
            f"before and after the models, best of all runs: {_peaks(device)}.",
            "No evaluation may be quicker than the bound; that by which it is slower is what kernels and memory leave",
            "unused. Op by op is no bound: caches keep what it counts as traffic.",
        ),
    )  # fmt: skip


def _call(model: torch.nn.Module, mode: str) -> Callable[[], Any]:
    """A forward in evaluation, as a function."""
    how, _, dtype = mode.partition(", ")
    kind: torch.dtype = getattr(torch, dtype)
    model.to(kind)
    call: Any = torch.compile(model) if how == "compiled" else model
    x = torch.randn(1, 3, 224, 224).to(kind)

    def forward() -> Any:
        with torch.inference_mode():
            return call(x)

    return forward


def _peaks(device: DeviceProfile) -> str:
    rates = ", ".join(f"{name} {rate / 1e9:.1f} GMAC/s" for name, rate in device.macs_per_second.items())
    return (
        f"{rates}, memory {device.bytes_per_second / 1e9:.1f} GB/s, caches {device.cache_bytes / 2**20:.0f} MiB, "
        f"smallest call {device.launch_seconds * 1e6:.2f} µs"
    )
