"""The ideal 4f simulator beside `torch.nn.functional.conv2d`: large kernels on maps of 64 x 64, one thread."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from archgraph.optical import fields
from archgraph.optical.fields import convolve, pair_fields
from tools.bench.common import Gate, Section, in_turns, median

#: Kernel sides, and what the simulator may take of conv2d's time.
LIMITS = {15: None, 31: 3.0, 47: 1.0, 63: 1.0}
SHAPES = {"4 × 8 → 8": (4, 8, 8), "1 × 1 → 1": (1, 1, 1), "8 × 16 → 16": (8, 16, 16)}


def run(quick: bool) -> Section:
    """Medians of calls in turns, same padding; the spectra of input and kernel are computed in every call."""
    torch.set_num_threads(1)
    rows: list[list[object]] = []
    gates: list[Gate] = []
    for label, (batch, c_in, c_out) in SHAPES.items():
        if quick and label.startswith("8"):
            continue
        for k, limit in LIMITS.items():
            generator = torch.Generator().manual_seed(k)
            x = torch.rand(batch, c_in, 64, 64, generator=generator)
            w = torch.randn(c_out, c_in, k, k, generator=generator)
            pads = (((k - 1) // 2,) * 2,) * 2
            with torch.no_grad():
                error = (convolve(x, w, pads) - F.conv2d(x, w, padding=k // 2)).abs().max()
                times = in_turns(
                    {
                        "fft": lambda x=x, w=w, pads=pads: convolve(x, w, pads),
                        "conv2d": lambda x=x, w=w, k=k: F.conv2d(x, w, padding=k // 2),
                    },
                    3 if quick else 9,
                )
            ours, theirs = median(times["fft"]), median(times["conv2d"])
            rows.append([label, k, ours * 1e3, theirs * 1e3, ours / theirs, float(error)])
            if limit is not None:
                gates.append(Gate(f"{label}, kernel {k}: simulator over conv2d", ours / theirs, limit))
    gates.append(_chunks())
    return Section(
        "4f simulator",
        ["batch × channels", "kernel", "simulator, ms", "conv2d, ms", "ratio", "largest difference"],
        rows,
        gates,
        ("Same padding, maps of 64 × 64, float32, one thread; CPU time, medians of calls in turns.",),
    )


def _chunks() -> Gate:
    """Largest intermediate of detection pair by pair, of what it may hold: planes are made a few at a time."""
    x, w = torch.rand(8, 32, 64, 64), torch.rand(64, 32, 31, 31)
    pads = ((15, 15), (15, 15))
    with torch.no_grad():
        largest = max(part.numel() for part in pair_fields(x, w, pads, method="fft"))
    return Gate("elements of the largest part of 8 × 32 → 64 planes, of the bound", largest / fields.CHUNK, 1.0)


if __name__ == "__main__":
    print(run(quick=False).markdown())
