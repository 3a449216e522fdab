"""Sweeps over what a device can do: levels, photons, noise; and speed-up over batch and frame rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Dim, Num, evaluate, symbols
from archgraph.optical.device import load_device
from archgraph.optical.simulation import Comparison, compare
from archgraph.optical.timing import Timing

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "BATCHES",
    "KNOBS",
    "RATES",
    "Sweep",
    "check_devices",
    "check_target",
    "draw",
    "knob_devices",
    "speed_ups",
    "sweep",
]

#: What is swept: the field of a device, how its axis is named, and the values.
KNOBS: Final[Mapping[str, tuple[str, tuple[float, ...]]]] = {
    "input_bits": ("bits of the input modulator", (2, 4, 6, 8, 10, 12)),
    "kernel_bits": ("bits of the kernel plane", (2, 4, 6, 8, 10, 12)),
    "camera_bits": ("bits of the camera", (2, 4, 6, 8, 10, 12)),
    "full_well": ("photo-electrons of a full pixel", (1e2, 1e3, 1e4, 1e5, 1e6)),
    "read_noise": ("read noise, electrons rms, at 10,000 full", (1, 3, 10, 30, 100, 300)),
}
#: Frame rates that times are drawn for, hertz, and numbers of samples computed together.
RATES: Final = (60.0, 1e3, 1e4, 1e5, 2e6)
BATCHES: Final = tuple(2**k for k in range(13))
#: What else a knob needs, to show by itself.
_BESIDE: Final = {"full_well": "read_noise=0", "read_noise": "full_well=10000,shot_noise=false"}


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes
    ----------
    points : mapping
        Knob → its values and the comparisons there.
    rates : tuple of float
        Frame rates, hertz.
    batches : tuple of int
    times : mapping
        Frame rate → seconds of a sample at each batch.
    speed_ups : mapping
        Frame rate → time elsewhere over time here, if a time elsewhere is given.
    """

    label: str
    points: dict[str, tuple[tuple[float, ...], list[Comparison]]]
    rates: tuple[float, ...] = ()
    batches: tuple[int, ...] = ()
    times: dict[float, list[float]] = field(default_factory=dict)
    speed_ups: dict[float, list[float]] = field(default_factory=dict)


def knob_devices(base: str, knob: str, values: Iterable[float]) -> list[str]:
    """The device with one knob at several values; a base device without other limits shows that one alone."""
    beside = _BESIDE.get(knob)
    separator = "," if ":" in base else ":"
    extra = f",{beside}" if beside else ""
    return [f"{base}{separator}{knob}={value:g}{extra}" for value in values]


def sweep(
    label: str,
    model: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor | None]],
    base: str = "ideal",
    knobs: Sequence[str] = tuple(KNOBS),
    progress: Callable[[], None] | None = None,
) -> Sweep:
    """Error and accuracy of a model over the knobs of a device; `compare` at every value.

    Raises
    ------
    SpecError
        For a device or knob that there is not.
    """
    points = {}
    for knob in knobs:
        if knob not in KNOBS:
            raise SpecError(Diagnostic("sweep/knob", None, f"no knob `{knob}`", expected=", ".join(KNOBS)))
        values = KNOBS[knob][1]
        points[knob] = (values, compare(model, knob_devices(base, knob, values), batches, progress=progress))
    return Sweep(label, points)


def speed_ups(
    found: Timing, rates: Sequence[float], batches: Sequence[int], gpu_seconds_a_sample: float | None = None
) -> tuple[dict[float, list[float]], dict[float, list[float]]]:
    """Seconds of a sample over batch and frame rate, and the speed-up over a given time elsewhere.

    Parameters
    ----------
    found : Timing
        Whose batch is a symbol.

    Raises
    ------
    ValueError
        If it is not.
    """
    if not isinstance(found.batch, Dim):
        raise ValueError("the batch of the timing is a symbol")
    (name,) = symbols(found.batch)
    frames = [_at(found.frames, name, b) for b in batches]
    drains = _at(found.depth, name, 1) * found.device.frame_latency
    times = {rate: [(f / rate + drains) / b for f, b in zip(frames, batches, strict=True)] for rate in rates}
    if gpu_seconds_a_sample is None:
        return times, {}
    return times, {rate: [gpu_seconds_a_sample / t for t in ts] for rate, ts in times.items()}


def _at(n: Num, name: str, value: int) -> int:
    return n if isinstance(n, int) else evaluate(n, {name: value})


def check_target(path: Path) -> None:
    """Refuse a target before the work.

    Raises
    ------
    SpecError
        If it is neither .png nor .html, or in no folder.
    """
    if path.suffix not in (".png", ".html"):
        raise SpecError(Diagnostic("sweep/target", None, f"`{path}` is no picture", expected="a .png or .html file"))
    if not path.parent.is_dir():
        raise SpecError(Diagnostic("sweep/target", None, f"there is no folder {path.parent}"))


def draw(found: Sweep, path: Path) -> None:
    """Write the curves: errors and accuracies over each knob, time or speed-up over the batch, a line a frame rate.

    Raises
    ------
    SpecError
        If the package that draws is missing.
    """
    check_target(path)
    try:
        if path.suffix == ".png":
            _png(found, path)
        else:
            _html(found, path)
    except ImportError as error:
        hint = "pip install 'archgraph[search]'"
        raise SpecError(Diagnostic("sweep/package", None, f"pictures need {error.name}", hint=hint)) from None


def _curves(found: Sweep) -> list[tuple[str, str, bool, list[tuple[str, list[float], list[float]]]]]:
    """Panels: title of the x axis, of the y axis, whether x is logarithmic, and curves of name, x and y."""
    panels: list[tuple[str, str, bool, list[tuple[str, list[float], list[float]]]]] = []
    bits = [k for k in found.points if k.endswith("_bits")]
    for knobs, title, log in (
        (bits, "bits", False),
        *(([k], KNOBS[k][0], True) for k in found.points if k not in bits),
    ):
        if not knobs:
            continue
        errors, hits = [], []
        for knob in knobs:
            values, points = found.points[knob]
            name = knob.removesuffix("_bits").replace("_", " ")
            errors.append((name, list(values), [p.rms_error for p in points]))
            hits.append((name, list(values), [p.agreement if p.accuracy is None else p.accuracy for p in points]))
            truth = points[0].electronic_accuracy
        panels.append((title, "relative RMS error", log, errors))
        what = "agreement with the electronic model" if truth is None else "accuracy"
        if truth is not None:
            first = found.points[knobs[0]][0]
            hits.append(("electronic", [first[0], first[-1]], [truth, truth]))
        panels.append((title, what, log, hits))
    chosen, title = (found.speed_ups, "speed-up") if found.speed_ups else (found.times, "seconds a sample")
    if chosen:
        batches = [float(b) for b in found.batches]
        panels.append(("batch", title, True, [(f"{rate:g} Hz", batches, ys) for rate, ys in chosen.items()]))
    return panels


def _png(found: Sweep, path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = _curves(found)
    rows = -(-len(panels) // 2)
    figure, axes = pyplot.subplots(rows, 2, figsize=(11, 3.4 * rows), squeeze=False, layout="constrained")
    for axis, (x_title, y_title, log, curves) in zip(axes.flat, panels, strict=False):
        for name, xs, ys in curves:
            axis.plot(xs, ys, "--" if name == "electronic" else "o-", label=name, markersize=4)
        axis.set(xlabel=x_title, ylabel=y_title, xscale="log" if log else "linear")
        if y_title.startswith(("relative", "seconds", "speed-up")):
            axis.set_yscale("log")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(found.label)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _html(found: Sweep, path: Path) -> None:
    import importlib

    go = importlib.import_module("plotly.graph_objects")  # ships no types
    make_subplots = importlib.import_module("plotly.subplots").make_subplots
    panels = _curves(found)
    rows = -(-len(panels) // 2)
    figure: Any = make_subplots(rows=rows, cols=2)
    for k, (x_title, y_title, log, curves) in enumerate(panels):
        row, col = k // 2 + 1, k % 2 + 1
        for name, xs, ys in curves:
            style = {"dash": "dash"} if name == "electronic" else {}
            figure.add_trace(go.Scatter(x=xs, y=ys, name=f"{name}: {y_title}", line=style), row=row, col=col)
        figure.update_xaxes(title_text=x_title, type="log" if log else "linear", row=row, col=col)
        positive = y_title.startswith(("relative", "seconds", "speed-up"))
        figure.update_yaxes(title_text=y_title, type="log" if positive else "linear", row=row, col=col)
    figure.update_layout(title=found.label, height=360 * rows, template="plotly_white")
    figure.write_html(path, include_plotlyjs=True)


def check_devices(base: str, knobs: Sequence[str]) -> int:
    """How many devices a sweep compares; raises for the first that there is not."""
    devices = [d for knob in knobs if knob in KNOBS for d in knob_devices(base, knob, KNOBS[knob][1])]
    for device in devices:
        load_device(device)
    return len(devices)
