"""A plugin with metrics: quick ones, and ones that fail in every way that a trial can."""

from __future__ import annotations

import time

from archgraph.search.candidate import Candidate
from archgraph.search.metrics import metric


@metric("quick")
def quick(candidate: Candidate) -> float:
    """A number that depends on the seed alone, after a moment in which a worker can be killed."""
    time.sleep(0.02)
    return candidate.seed / 2**32


@metric("moody")
def moody(candidate: Candidate) -> float:
    """Fails for some widths."""
    dim = candidate.values["dim"]
    if dim % 16 == 4:
        raise ValueError("this width is no good")
    if dim % 16 == 8:
        raise MemoryError("can't allocate memory")
    return float("nan") if dim % 16 == 12 else float(dim)
