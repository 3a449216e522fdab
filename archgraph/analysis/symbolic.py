"""Graphs over symbols: which names of a spec can stay open, and its graph with some of them open."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from archgraph.analysis.sizes import default_sizes, with_sizes
from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean
from archgraph.ir.dim import Num, substitute, sym, symbols
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.spec.load import Spec

#: What the symbol of a share counts: 25 of a keep rate of 0.25.
PERCENT: Final = 100

#: Names of axes by position, for inputs whose patterns have other names there: maps and sequences.
_AXES: Final = {4: ("B", "C", "H", "W"), 3: ("B", "N", "C")}


def open_names(spec: Spec, graph: str | None = None) -> dict[str, str]:
    """Names that may stand open, and what each is: ``number``, ``list``, ``entry`` (of a list), ``size`` or ``axis``;
    ``share``, ``shares`` and ``share entry`` are numbers from 0 to 1 (keep rates, densities), symbols of them per cent.

    An axis is a size of an input by its place (``H`` of a map) where the pattern has another name there.
    """
    found: dict[str, str] = {}
    for name, value in spec.params().items():
        if _is_int(value):
            found[name] = "number"
        elif isinstance(value, (tuple, list)) and value and all(map(_is_int, value)):
            found[name] = "list"
            for k in range(len(value)):
                found[f"{name}.{k}"] = "entry"
        elif _is_share(value):
            found[name] = "share"
        elif isinstance(value, (tuple, list)) and value and all(map(_is_share, value)):
            found[name] = "shares"
            for k in range(len(value)):
                found[f"{name}.{k}"] = "share entry"
    inputs = spec.block(graph).inputs.values()
    for i in inputs:
        for axis in i.pattern.axes:
            if axis.kind == "name":
                found.setdefault(axis.name, "size")
    for i in inputs:
        if not i.is_list and i.pattern.rest is None:
            for name in _AXES.get(len(i.pattern.axes), ()):
                found.setdefault(name, "axis")
    return found


def open_graph(
    spec: Spec,
    names: Iterable[str] | Mapping[str, Num],
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> tuple[Graph, Spec]:
    """The typed graph with the named hyperparameters and sizes as symbols, and the spec with its settings.

    Parameters
    ----------
    spec : Spec
    names : iterable of str
        Integer hyperparameters; lists of integers, whose entries become the symbols ``depths.0``, ``depths.1`` …;
        single entries; shares from 0 to 1, alone or in lists, whose symbols are per cent; sizes in the patterns of the
        inputs; ``B``, ``C``, ``H``, ``W`` (maps) and ``N`` (sequences); symbols that ``at`` has, which may stand in
        several places: ``1x3xSxS``.
        A mapping gives them expressions in place of symbols of their own: ``{"H": sym("t"), "W": 2 * sym("t")}``.
    graph : str, optional
        Which graph, where there are several.
    at : mapping, optional
        Input name → shape, as for `archgraph.report`.

    Raises
    ------
    SpecError
        For unknown names, and where elaboration needs the value of one.
    """
    value = names.__getitem__ if isinstance(names, Mapping) else sym
    spec, shapes = _put(spec, tuple(names), graph, at, value)
    return spec.graph(graph, shapes), spec


def close(
    spec: Spec, names: Iterable[str], graph: str | None, at: Mapping[str, Any] | None, point: Mapping[str, int]
) -> tuple[Spec, dict[str, Any]]:
    """The spec and the shapes of its inputs with the values of a point where `open_graph` has symbols."""
    return _put(spec, tuple(names), graph, at, point.__getitem__)


def _put(
    spec: Spec, names: tuple[str, ...], graph: str | None, at: Mapping[str, Any] | None, value: Callable[[str], Num]
) -> tuple[Spec, dict[str, Any]]:
    named = symbols_of(at).intersection(names)
    if named and at is not None:
        at = {key: _replaced(shape, {name: value(name) for name in named}) for key, shape in at.items()}
    known = open_names(spec, graph)
    settings = dict(spec.settings)
    values = spec.params()
    sizes: list[str] = []
    for name in names:
        if name in named:
            continue
        kind = known.get(name)
        if kind == "number":
            settings[name] = value(name)
        elif kind == "list":
            settings[name] = tuple([value(f"{name}.{k}") for k in range(len(values[name]))])
        elif kind == "share":
            settings[name] = _share(value(name))
        elif kind == "shares":
            settings[name] = tuple([_share(value(f"{name}.{k}")) for k in range(len(values[name]))])
        elif kind in ("entry", "share entry"):
            whole, _, k = name.rpartition(".")
            entries = list(settings[whole] if settings.get(whole) is not None else values[whole])
            entries[int(k)] = value(name) if kind == "entry" else _share(value(name))
            settings[whole] = tuple(entries)
        elif kind is not None:
            sizes.append(name)
        else:
            raise unknown_name(spec, name, known)
    spec = with_sizes(Spec(spec.file, spec.variant, settings, spec.session), graph, at)
    shapes = default_sizes(spec, graph, at)
    if sizes:
        given = _opened(spec, graph, shapes, {name: value(name) for name in sizes})
        spec = with_sizes(spec, graph, given)
        shapes = default_sizes(spec, graph, {**(at or {}), **given})
    return spec, shapes


def unknown_name(spec: Spec, name: str, known: Iterable[str], what: str = "can't be a symbol") -> SpecError:
    """A name that can't stand open."""
    listed = list(known)
    near = did_you_mean(name, listed)
    return SpecError(
        Diagnostic(
            "symbol/unknown",
            None,
            f"`{name}` {what} of `{spec.name}`",
            expected=", ".join(listed),
            hint=f"did you mean `{near}`?" if near else None,
        )
    )


def base_point(
    spec: Spec, names: Iterable[str], graph: str | None = None, at: Mapping[str, Any] | None = None
) -> dict[str, int]:
    """The values that symbols stand for where nothing else is said: of params as set, of sizes by the examples."""
    known = open_names(spec, graph)
    values = spec.params()
    found: dict[str, int] = {}
    sizes: dict[str, int] = {}
    shapes = default_sizes(with_sizes(spec, graph, at), graph, at)
    for i in spec.block(graph).inputs.values():
        axes = i.pattern.axes
        if i.name not in shapes or i.pattern.rest is not None:
            continue
        shape = shapes[i.name][0] if i.is_list else shapes[i.name]
        shape = shape.shape if isinstance(shape, TensorType) else shape
        for axis, size in zip(axes, shape, strict=True):
            if axis.kind == "name" and isinstance(size, int):
                sizes.setdefault(axis.name, size)
        for name, size in zip(_AXES.get(len(axes), ()), shape, strict=False):
            if isinstance(size, int):
                sizes.setdefault(name, size)
    for name in names:
        kind = known.get(name)
        if kind == "number":
            found[name] = values[name]
        elif kind == "list":
            found.update((f"{name}.{k}", v) for k, v in enumerate(values[name]))
        elif kind == "entry":
            whole, _, k = name.rpartition(".")
            found[name] = values[whole][int(k)]
        elif kind == "share":
            found[name] = round(PERCENT * values[name])
        elif kind == "shares":
            found.update((f"{name}.{k}", round(PERCENT * v)) for k, v in enumerate(values[name]))
        elif kind == "share entry":
            whole, _, k = name.rpartition(".")
            found[name] = round(PERCENT * values[whole][int(k)])
        else:
            found[name] = sizes.get(name, 1)
    return {name: max(value, 1) for name, value in found.items()}


def symbols_of(at: Mapping[str, Any] | None) -> frozenset[str]:
    """The symbols in given shapes."""

    def found(shape: Any) -> frozenset[str]:
        if isinstance(shape, TensorType):
            return shape.symbols()
        return frozenset().union(*map(found, shape)) if isinstance(shape, (tuple, list)) else symbols(shape)

    return frozenset().union(*map(found, at.values())) if at else frozenset()


def _replaced(shape: Any, values: Mapping[str, Num]) -> Any:
    """A shape, or those of a list, with values in place of symbols."""
    if isinstance(shape, TensorType):
        return TensorType(shape.dtype, _replaced(shape.shape, values), shape.layout)
    if isinstance(shape, (tuple, list)):
        return tuple([_replaced(size, values) for size in shape])
    return substitute(shape, values)


def _is_share(value: Any) -> bool:
    return isinstance(value, float) and 0.0 <= value <= 1.0


def _share(percent: Any) -> Any:
    return percent / PERCENT


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _opened(spec: Spec, graph: str | None, shapes: Mapping[str, Any], values: Mapping[str, Num]) -> dict[str, Any]:
    """The shapes of those inputs that have one of the sizes, with its value in place."""
    wanted = set(values)
    found: dict[str, Any] = {}
    inputs = spec.block(graph).inputs.values()
    by_place = wanted - {axis.name for i in inputs for axis in i.pattern.axes if axis.kind == "name"}
    for i in inputs:
        axes = i.pattern.axes
        own = [axis.name if axis.kind == "name" else "" for axis in axes]
        if i.name not in shapes or i.pattern.rest is not None:
            continue
        for k, name in enumerate(() if i.is_list else _AXES.get(len(axes), ())):
            if name in by_place and not axes[k].text.isdigit():  # what a pattern says in numbers stays
                own[k] = name
        if wanted.isdisjoint(own):
            continue

        def of(shape: Any, own: list[str] = own) -> Any:
            if isinstance(shape, TensorType):
                return TensorType(shape.dtype, of(shape.shape), shape.layout)
            return tuple([values.get(name, size) for name, size in zip(own, shape, strict=True)])

        found[i.name] = tuple(map(of, shapes[i.name])) if i.is_list else of(shapes[i.name])
    return found
