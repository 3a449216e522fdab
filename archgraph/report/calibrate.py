"""A profile of this machine's processor, measured: products, element-wise work, memory, and the least call.

Rates are peaks, so the best of several runs counts, over several shapes; medians stand beside them in ``sources``.
torch is imported when something is measured.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archgraph.analysis.profiles import VERSION
from archgraph.spec.yaml_dump import dump_yaml

if TYPE_CHECKING:
    import torch

__all__ = ["FULL", "QUICK", "Sizes", "cache_bytes", "calibrate", "profile_text"]

Clock = Callable[[], float]
#: Dtypes that are tried; what torch refuses is left out.
DTYPES: Final = ("float32", "float64", "bfloat16", "float16")
_CACHES: Final = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    ``matmul``: orders of square matrices. ``conv``: (channels, side) of 3×3 convolutions. ``values``: lengths of
    vectors that stay in a cache. ``beyond``: bytes to copy, at least, and at least four times the caches, up to
    ``most``. ``runs`` of each; ``calls`` of the smallest op in a run. ``seconds``: a measurement stops after so many,
    with three runs at least, or one where a single run takes longer.
    """

    matmul: tuple[int, ...] = (384, 768, 1536)
    conv: tuple[tuple[int, int], ...] = ((64, 56), (256, 28))
    values: tuple[int, ...] = (4096, 16384, 65536)
    beyond: int = 256 << 20
    most: int = 2 << 30
    runs: int = 25
    calls: int = 500
    seconds: float = 2.0


FULL: Final = Sizes()
QUICK: Final = Sizes((512, 1024), ((128, 28),), (16384,), 128 << 20, 512 << 20, 7, 200, 0.5)


@dataclass
class Figure:
    """One figure: the best of all runs of all candidates, and the median of the candidate that had it."""

    best: float = 0.0
    median: float = 0.0
    what: str = ""

    def offer(self, amount: float, seconds: Sequence[float], what: str) -> None:
        """``amount`` of work was done in each of ``seconds``."""
        rate = amount / max(min(seconds), 1e-12)
        if rate > self.best:
            self.best, self.median, self.what = rate, amount / max(statistics.median(seconds), 1e-12), what

    def greater(self, other: Figure) -> Figure:
        """The one with the higher rate."""
        return self if self.best >= other.best else other

    def __str__(self) -> str:
        return f"{self.what} ({self.median / self.best:.0%} in the median run)" if self.best else "not measured"


@dataclass
class Measured:
    """What `measure` finds: rates a second, and seconds of the smallest op."""

    threads: int
    macs: dict[str, Figure] = field(default_factory=dict)
    elementwise: dict[str, Figure] = field(default_factory=dict)
    bandwidth: Figure = field(default_factory=Figure)
    launch: float = 0.0
    launch_median: float = 0.0

    def at_least(self, other: Measured) -> Measured:
        """The better of both in every figure: with more threads nothing need be slower than with fewer."""
        launch = min((self.launch, self.launch_median), (other.launch, other.launch_median))
        return Measured(
            self.threads,
            {name: f.greater(other.macs.get(name, f)) for name, f in self.macs.items()},
            {name: f.greater(other.elementwise.get(name, f)) for name, f in self.elementwise.items()},
            self.bandwidth.greater(other.bandwidth),
            *launch,
        )

    def peak(self, dtype: str) -> Figure:
        """Products in a dtype; one that is narrower than float32 may be computed as that."""
        own = self.macs[dtype]
        return own if dtype == "float64" else own.greater(self.macs.get("float32", own))


def timed(function: Callable[[], object], sizes: Sizes, clock: Clock) -> list[float]:
    """Seconds of each of some runs, after one that does not count."""
    begin = clock()
    function()
    least = 3 if clock() - begin < sizes.seconds else 1
    found: list[float] = []
    begin = clock()
    while len(found) < sizes.runs and (len(found) < least or clock() - begin < sizes.seconds):
        start = clock()
        function()
        found.append(clock() - start)
    return found


def measure(threads: int, sizes: Sizes, clock: Clock, say: Callable[[str], None] = lambda _: None) -> Measured:
    """Measure with so many threads; torch's own number of threads is put back."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    found = Measured(threads)
    try:
        with torch.inference_mode():
            for name in DTYPES:
                say(f"products, {name}")
                dtype = getattr(torch, name)
                try:
                    found.macs[name] = _products(torch, dtype, sizes, clock)
                except RuntimeError:  # no kernels of that dtype here
                    continue
                say(f"element-wise, {name}")
                found.elementwise[name] = _elementwise(torch, dtype, sizes, clock)
            say("memory")
            _bandwidth(torch, found.bandwidth, sizes, clock)
            say("launches")
            found.launch, found.launch_median = _launch(torch, sizes, clock)
    finally:
        torch.set_num_threads(before)
    return found


def _products(torch: Any, dtype: torch.dtype, sizes: Sizes, clock: Clock) -> Figure:
    found = Figure()
    for n in sizes.matmul:
        a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
        out = torch.empty(n, n, dtype=dtype)
        seconds = timed(partial(torch.mm, a, b, out=out), sizes, clock)
        found.offer(n**3, seconds, f"products of {n}×{n}")
    for channels, side in sizes.conv:
        x = torch.randn(1, channels, side, side).to(dtype)
        w = torch.randn(channels, channels, 3, 3).to(dtype)
        conv = partial(torch.nn.functional.conv2d, x, w, padding=1)
        seconds = timed(conv, sizes, clock)
        # the products with the padding's zeros may be spared
        work = channels**2 * (3 * side - 2) ** 2
        found.offer(work, seconds, f"3×3 convolutions of {channels} channels on {side}×{side}")
    return found


def _elementwise(torch: Any, dtype: torch.dtype, sizes: Sizes, clock: Clock) -> Figure:
    found = Figure()
    for n in sizes.values:
        x, y, z, out = (torch.rand(n).to(dtype) for _ in range(4))
        for name, each, function in (
            ("sums", 1, partial(torch.add, x, y, out=out)),
            ("products and sums", 2, partial(torch.addcmul, x, y, z, out=out)),
        ):
            repeats = max(1, sizes.calls // 20)
            seconds = timed(partial(_repeat, function, repeats), sizes, clock)
            found.offer(n * each * repeats, seconds, f"{name} of {n} values in a cache")
    return found


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _bandwidth(torch: Any, found: Figure, sizes: Sizes, clock: Clock) -> None:
    """The best of a copy, which reads and writes, and of what only reads."""
    size = min(max(sizes.beyond, 4 * cache_bytes()), sizes.most)
    n = size // 8
    a, b = torch.ones(n), torch.zeros(n)
    what = f"of {size >> 20} MiB"
    found.offer(8 * n, timed(lambda: b.copy_(a), sizes, clock), f"a copy {what}")
    found.offer(8 * n, timed(lambda: torch.dot(a, b), sizes, clock), f"a dot product {what}")
    found.offer(4 * n, timed(lambda: a.sum(), sizes, clock), f"a sum {what}")


def _launch(torch: Any, sizes: Sizes, clock: Clock) -> tuple[float, float]:
    """Least and median seconds of the smallest op."""
    x, out = torch.ones(1), torch.empty(1)

    run = partial(_repeat, partial(torch.neg, x, out=out), sizes.calls)
    seconds = [s / sizes.calls for s in timed(run, sizes, clock)]
    return min(seconds), statistics.median(seconds)


def cache_bytes(root: Path = _CACHES) -> int:
    """Bytes of the caches from the second level on, of all processors; 0 where the system does not tell."""
    found: dict[tuple[str, str, str], int] = {}
    for index in root.glob("cpu[0-9]*/cache/index[0-9]*"):
        try:
            level, kind, size, shared = (
                (index / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            )
        except OSError:
            continue
        if level not in ("0", "1") and kind != "Instruction" and size[:-1].isdecimal():
            found[level, kind, shared] = int(size[:-1]) << {"K": 10, "M": 20, "G": 30}.get(size[-1], 0)
    return sum(found.values())


def _memory() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return None


def _processor() -> str:
    """What the system calls its processor."""
    import platform

    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine() or "a processor"


def profile_text(found: Measured) -> str:
    """A measurement as a profile's YAML.

    A fused loop may do more element-wise operations than the ops that were timed, so that peak is at least two for each
    multiply-accumulate of the dtype.
    """
    macs = {name: _up(found.peak(name).best) for name in found.macs}
    elementwise = {name: _up(max(f.best, 2 * found.peak(name).best)) for name, f in found.elementwise.items()}
    threads = "one thread" if found.threads == 1 else f"{found.threads} threads"
    memory, caches = _memory(), cache_bytes()
    measured = "; ".join(f"{name}: {found.peak(name)}" for name in found.macs)
    in_cache = "; ".join(f"{name}: {f.best:.3g} a second, {f}" for name, f in found.elementwise.items())
    system = "as the system tells"
    tree = {
        "archgraph": VERSION,
        "summary": f"{_processor()}, {threads}, measured with torch {_version()}",
        "macs_per_second": macs,
        "elementwise_per_second": elementwise,
        "bytes_per_second": _up(found.bandwidth.best),
        **({"memory_bytes": memory} if memory else {}),
        **({"cache_bytes": float(caches)} if caches else {}),
        "launch_seconds": float(f"{found.launch:.3e}"),
        "sources": {
            "macs_per_second": f"measured, best runs; {measured}",
            "elementwise_per_second": f"measured, and at least two for each multiply-accumulate; {in_cache}",
            "bytes_per_second": f"measured, best run; {found.bandwidth}",
            **({"memory_bytes": system} if memory else {}),
            **({"cache_bytes": f"{system}, levels two and three"} if caches else {}),
            "launch_seconds": f"measured, negation of a number, best run; {found.launch_median:.3g} in the median one",
        },
    }
    return dump_yaml(tree)


def _version() -> str:
    from importlib.metadata import version

    return version("torch").partition("+")[0]


def _up(rate: float) -> float:
    """Four digits, rounded up: a peak stays one."""
    rounded = float(f"{rate:.3e}")
    return rounded if rounded >= rate else float(f"{rate * 1.0005:.3e}")


def calibrate(
    threads: Sequence[int],
    sizes: Sizes = FULL,
    clock: Clock = time.perf_counter,
    say: Callable[[str], None] = lambda _: None,
) -> dict[int, str]:
    """Measure this machine's processor.

    Parameters
    ----------
    threads : sequence of int
        Numbers of threads to measure with.
    sizes : Sizes
    clock : callable
        Seconds; `time.process_time` on a machine that others use as well, for one thread.
    say : callable
        Told what is measured next.

    Returns
    -------
    dict
        Number of threads → the YAML of a profile.
    """
    found: dict[int, str] = {}
    best: Measured | None = None
    for n in sorted(threads):
        named = "one thread" if n == 1 else f"{n} threads"
        # mypy has no type for a lambda's default, which keeps the name of this turn
        own = measure(n, sizes, clock, lambda what, named=named: say(f"{named}: {what}"))  # type: ignore[misc]
        best = own if best is None else own.at_least(best)
        found[n] = profile_text(best)
    return found
