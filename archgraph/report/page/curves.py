"""Cost curves of a page: over sizes that are asked for, or over those that all its specs leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from archgraph.analysis.cases import Cases
from archgraph.analysis.sizes import BATCH
from archgraph.analysis.symbolic import base_point, open_names
from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import sym
from archgraph.report.compare import Comparison, Curve, Range, compare
from archgraph.report.curves import samples
from archgraph.report.page.data import Entry
from archgraph.report.page.metrics import FLOPS, MACS, PARAMS, PEAK, Metric

#: The side of square images: one symbol for both sizes of the map, whatever a spec calls them.
SIDE: Final = "side"

_METRICS: Final = {m.key: m for m in (MACS, FLOPS, PARAMS, PEAK)}
#: What a page draws curves of.
CURVES: Final = tuple(_METRICS)
_POINTS: Final = 72
_LONGEST: Final = 600  # characters of a closed form
_SCANNED: Final = 128  # sizes that are compared one by one over a range that nobody asked for
_SHOWN: Final = 40  # crossings of one cost
#: Hyperparameters that curves are drawn over unasked, the first of either kind that all specs have.
_WIDTHS: Final = ("dim", "embed_dim", "hidden_size", "d_model", "width", "channels", "growth_rate")
_DEPTHS: Final = ("depth", "num_layers", "layers")


def curve_sets(entries: Sequence[Entry], over: Sequence[Range] = ()) -> list[dict[str, Any]]:
    """Curves of all entries over every range, of each cost; over sizes and hyperparameters that all have if none is
    asked for.

    Raises
    ------
    SpecError
        Where a range that was asked for can't be taken.
    """
    if over:
        return [_curves(entries, r) for r in over]
    found: list[dict[str, Any]] = []
    for r in _offered(entries):
        with suppress(SpecError):  # a size that was not asked for, and that a spec does not take
            found.append(_curves(entries, r, _SCANNED))
    return found


def as_dict(costs: Sequence[Comparison], title: str, here: Sequence[int | None]) -> dict[str, Any]:
    """Comparisons of the same curves by several costs; ``here``: the value at which the page shows each spec."""
    first = costs[0]
    return {
        "over": first.name,
        "title": title,
        "low": first.low,
        "high": first.high,
        "here": list(here),
        "labels": [c.label for c in first.curves],
        "costs": [_cost(c, here) for c in costs],
    }


def _cost(found: Comparison, here: Sequence[int | None]) -> dict[str, Any]:
    curves = {c.label: c for c in found.curves}
    return {
        **_metric(found.cost).to_dict(),
        "curves": [
            {
                "points": points,
                "here": None if n is None else c.at(n),
                "order": c.order(found.high),
                "law": _short(c.law(found.high)),
            }
            for c, points, n in zip(found.curves, samples(found, _POINTS), here, strict=True)
        ],
        "crossings": [
            {
                "first": x.first,
                "second": x.second,
                "at": x.at,
                "value": curves[x.first].at(x.at) or curves[x.second].at(x.at),
                "says": str(x),
            }
            for x in found.crossovers[:_SHOWN]
        ],
        "more": max(len(found.crossovers) - _SHOWN, 0),
        "notes": list(found.notes),
    }


def _metric(cost: str) -> Metric:
    return _METRICS.get(cost) or Metric(cost, cost.replace("_", " "), "B" if cost.endswith("bytes") else "", "")


def _curves(entries: Sequence[Entry], r: Range, scanned: int | None = None) -> dict[str, Any]:
    cases: list[Cases] = []
    here: list[int | None] = []
    for e in entries:
        at, value = e.at, None
        if r.name == SIDE and SIDE not in open_names(e.spec, e.name):
            place = _square(e)
            if place is not None:
                at, value = _opened(e, place)
        elif r.name in open_names(e.spec, e.name):
            value = base_point(e.spec, [r.name], e.name, e.at)[r.name]
        cases.append(Cases(e.spec, [r.name], e.name, at))
        here.append(value if value is not None and r.low <= value <= r.high else None)
    limit = {} if scanned is None else {"scanned": scanned}
    costs = [
        compare([Curve(e.label, case, cost) for e, case in zip(entries, cases, strict=True)], r.low, r.high, **limit)
        for cost in CURVES
    ]
    for c in costs[0].curves:
        if all(c.at(n) is None for n in costs[0].points(_POINTS)):
            what = f"{c.label} takes no {r.name} from {r.low} to {r.high} that was tried"
            raise SpecError(Diagnostic("compare/invalid", None, what, expected="; ".join(c.why(r.high)) or None))
    title = "side of the image" if r.name == SIDE else r.name
    return as_dict(costs, title, here)


def _offered(entries: Sequence[Entry]) -> list[Range]:
    """Ranges around where the entries stand."""
    found: list[Range] = []
    sides = [size for e in entries if (place := _square(e)) is not None for size in [_opened(e, place)[1]]]
    if len(sides) == len(entries):
        found.append(Range(SIDE, max(min(sides) // 4, 1), 4 * max(sides)))
    names = [open_names(e.spec, e.name) for e in entries]
    common = [name for name in names[0] if all(name in each for each in names)]
    if not found:
        lengths = [n for n in common if _is_length(n, [each[n] for each in names])]
        found += [_around(entries, name, 4) for name in lengths[:1]]
    for wanted, below in ((_WIDTHS, 4), (_DEPTHS, 0)):
        chosen = [n for n in wanted if n in common and all(each[n] == "number" for each in names)]
        found += [_around(entries, name, below) for name in chosen[:1]]
    return found


def _is_length(name: str, kinds: Sequence[str]) -> bool:
    """Whether a name is that of the places of a sequence."""
    return all(kind in ("size", "axis") for kind in kinds) and name.lower() not in {*BATCH, "c", "d", "h", "w"}


def _around(entries: Sequence[Entry], name: str, below: int) -> Range:
    values = [base_point(e.spec, [name], e.name, e.at)[name] for e in entries]
    return Range(name, max(min(values) // below, 1) if below else 1, max(4 * max(values), 2))


def _square(e: Entry) -> tuple[str, int, int] | None:
    """The first input that is a square map, and the axes of its sides."""
    inputs = e.spec.block(e.name).inputs
    for name, t in e.report.inputs:
        if name in inputs and not inputs[name].is_list and len(t.shape) == 4:
            for a, b in ((2, 3), (1, 2)):
                if isinstance(t.shape[a], int) and t.shape[a] == t.shape[b] and t.shape[a] != 1:
                    return name, a, b
    return None


def _opened(e: Entry, place: tuple[str, int, int]) -> tuple[Mapping[str, Any], int]:
    """The sizes with `SIDE` for the sides of a square map, and what they are."""
    name, a, b = place
    shape = list(dict(e.report.inputs)[name].shape)
    size = shape[a]
    assert isinstance(size, int)
    shape[a] = shape[b] = sym(SIDE)
    return {**e.at, name: tuple(shape)}, size


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
