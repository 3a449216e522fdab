"""Numbers as people read them: ``5.72 M``, ``1.25 G``, ``26.3 MiB``, closed forms in typographic notation."""

from __future__ import annotations

import math
from typing import Final

from archgraph.ir.dim import Num, pretty

_DECIMAL: Final = ("", " K", " M", " G", " T", " P", " E")
_SMALL: Final = ("p", "n", "µ", "m", "", "k", "M", "G", "T")
_BINARY: Final = (" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB")


def human(n: Num) -> str:
    """A count with three significant digits and a decimal prefix; a closed form where it is symbolic."""
    return _scaled(n, 1000, _DECIMAL) if isinstance(n, int) else pretty(n)


def human_bytes(n: Num) -> str:
    """Bytes with three significant digits and a binary prefix; a closed form where they are symbolic."""
    return _scaled(n, 1024, _BINARY) if isinstance(n, int) else f"{pretty(n)} bytes"


def human_si(value: float, unit: str) -> str:
    """A quantity with three significant digits and a prefix from pico on: ``3.61 ms``, ``14.2 µJ``."""
    if value == 0:
        return f"0 {unit}"
    power = min(max((math.floor(math.log10(abs(value))) + 12) // 3, 0), len(_SMALL) - 1)
    scaled = value / 1000.0 ** (power - 4)
    if abs(scaled) >= 999.5 and power < len(_SMALL) - 1:
        scaled, power = scaled / 1000, power + 1
    digits = 2 if abs(scaled) < 9.995 else 1 if abs(scaled) < 99.95 else 0
    return f"{scaled:.{digits}f} {_SMALL[power]}{unit}"


def exact(n: Num | float) -> str:
    """Every digit, in groups of three; six of a fraction; a closed form where it is symbolic."""
    if isinstance(n, (bool, float)):
        return str(n).lower() if isinstance(n, bool) else f"{n:.6g}"
    return f"{n:,}" if isinstance(n, int) else pretty(n)


def share(part: Num, whole: Num) -> str:
    """``part`` as a percentage of ``whole``; empty where that is no number."""
    if not isinstance(part, int) or not isinstance(whole, int) or whole == 0 or part == 0:
        return ""
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent >= 0.05 else "<0.1 %"


def plain(n: Num) -> int | str:
    """A number for JSON and CSV: an int, or the expression of a closed form, which a spec would read back."""
    return n if isinstance(n, int) else str(n)


def _scaled(n: int, base: int, prefixes: tuple[str, ...]) -> str:
    if abs(n) < base:
        return f"{n}{prefixes[0]}"
    value, power = float(n), 0
    # 999.6 K would print as 1000 K: step on as soon as rounding reaches the base
    while abs(value) >= base - 0.5 and power < len(prefixes) - 1:
        value /= base
        power += 1
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    return f"{value:.{digits}f}{prefixes[power]}"
