"""Hyperparameters that can't be symbols, because structure is looked up by them: forms at each value, and one closed
form over a range of values where these fit one.

What is put together is exact over the range that it names: every value in it has been elaborated and agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from math import factorial
from typing import Any, Final

from archgraph.ir.dim import Cond, Num, dmax, evaluate, sym
from archgraph.report.report import Report
from archgraph.spec.load import Spec
from archgraph.spec.settings import variant_settings

__all__ = ["MAX_VALUES", "fitted", "usual_values"]

#: Values of one hyperparameter that are tried.
MAX_VALUES: Final = 64
_MAX_DEGREE: Final = 2
_SPARE: Final = 2  # values beyond those that a polynomial of that degree needs
_FIELDS: Final = (
    "params",
    "buffers",
    "frozen_params",
    "macs",
    "expected_macs",
    "elementwise",
    "saved_bytes",
    "weight_bytes",
)


def usual_values(spec: Spec, name: str) -> list[Any]:
    """What is tried of a hyperparameter: for a whole number all up to twice the greatest in
    use, if these are few; else those in use."""
    used: list[Any] = [spec.params()[name]]
    for variant in spec.file.variants:
        own = Spec(spec.file, variant, variant_settings(spec.file, variant)).params()
        used.append(own[name])
    distinct: list[Any] = []
    for value in used:
        if value not in distinct:
            distinct.append(value)
    whole = all(isinstance(v, int) and not isinstance(v, bool) for v in distinct)
    if whole and 2 * max(*distinct, 2) <= MAX_VALUES:
        return list(range(1, 2 * max(*distinct, 2) + 1))
    return distinct[:MAX_VALUES]


def fitted(
    name: str, found: Sequence[tuple[int, Report, tuple[Num, ...]]]
) -> tuple[Report, tuple[Num, ...], tuple[Cond, ...]] | None:
    """One report over a symbol in place of one for each value, its peak, and the range that they hold in; None if none
    fits.

    Parameters
    ----------
    name : str
    found : sequence of (value, Report, peak)
        By value, ascending. Values that are not valid are left out.
    """
    for start in range(len(found)):
        run = found[start:]
        if any(b[0] - a[0] != 1 for a, b in pairwise(run)):
            continue
        if len(run) < _SPARE + 2:
            return None
        columns: dict[str, list[Num]] = {field: [getattr(item[1], field) for item in run] for field in _FIELDS}
        forms = {field: _form(name, run[0][0], values) for field, values in columns.items()}
        peak = _peak(name, run[0][0], [item[2] for item in run])
        if None in forms.values() or peak is None:
            continue
        last = run[-1][1]
        x = sym(name)
        settings = {**last.settings, name: x}
        forms["activation_bytes"] = dmax(*peak)
        # forms are named like fields, which mypy can't follow
        whole = replace(last, **forms, settings=settings, rows=(), counted={}, free={})  # type: ignore[arg-type]
        return whole, peak, (Cond("le", (run[0][0], x)), Cond("le", (x, run[-1][0])))
    return None


def _peak(name: str, first: int, peaks: Sequence[tuple[Num, ...]]) -> tuple[Num, ...] | None:
    """The forms of the peak, of which the greatest counts."""
    if all(isinstance(x, int) for peak in peaks for x in peak):
        found = _form(name, first, [max(peak, default=0) for peak in peaks])
        return None if found is None else (found,)
    if len({len(peak) for peak in peaks}) > 1:
        return None
    forms = [_polynomial(name, first, column) for column in zip(*peaks, strict=True)]
    kept = tuple(x for x in forms if x is not None)
    return kept if len(kept) == len(forms) else None


def _form(name: str, first: int, values: Sequence[Num]) -> Num | None:
    """The polynomial through values at consecutive integers from ``first`` on, or the greater of two of them."""
    found = _polynomial(name, first, values)
    if found is not None or not all(isinstance(v, int) for v in values):
        return found
    n = len(values)
    left = next((f for k in range(n, 2, -1) if (f := _polynomial(name, first, values[:k])) is not None), None)
    right = next((f for k in range(n) if (f := _polynomial(name, first + k, values[k:])) is not None), None)
    if left is None or right is None:
        return None
    both = dmax(left, right)
    fits = all(evaluate(both, {name: first + k}) == v for k, v in enumerate(values))
    return both if fits else None


def _polynomial(name: str, first: int, values: Sequence[Num]) -> Num | None:
    """The polynomial through values at consecutive integers from ``first`` on, by Newton's forward differences."""
    rows = [list(values)]
    while len(rows[-1]) > 1 and any(not (isinstance(x, int) and x == 0) for x in rows[-1]):
        row = rows[-1]
        rows.append([b - a for a, b in pairwise(row)])
    if any(not (isinstance(x, int) and x == 0) for x in rows[-1]):
        return None
    degree = len(rows) - 2
    if degree > _MAX_DEGREE or len(values) < degree + 1 + _SPARE:
        return None
    total: Num = 0
    for k in range(degree + 1):
        product: Num = 1
        for j in range(k):
            product = product * (sym(name) - (first + j))
        total = total + rows[k][0] * (product // factorial(k))
    return total
