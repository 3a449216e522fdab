"""A report on one architecture: what it costs as a whole and block by block."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from archgraph.analysis.cost import Totals, totals
from archgraph.analysis.expected import expected
from archgraph.analysis.profiles import DeviceProfile, load_profile
from archgraph.analysis.roofline import Fit, Roofline, Target, fit, roofline, target
from archgraph.analysis.sizes import default_sizes, with_sizes
from archgraph.ir.dim import Num
from archgraph.ir.graph import Graph
from archgraph.ir.types import TensorType
from archgraph.report.numbers import plain
from archgraph.report.tree import Row, coverage, rows, type_to_dict
from archgraph.spec.load import Spec, load

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult


@dataclass(frozen=True, slots=True)
class Report:
    """What a graph costs, in total and by block. Shown as a table by rich consoles and notebooks.

    Attributes
    ----------
    spec, variant, graph : str
        Where the graph comes from; ``variant`` is None where none was chosen.
    settings : mapping
        Every hyperparameter's value.
    inputs, outputs : tuple of (name, TensorType)
    params, buffers : int or Dim
        Numbers of elements, shared weights once.
    frozen_params : int or Dim
        Those of ``params`` that do not train.
    macs : int or Dim
        Multiply-accumulates of contractions and convolutions in one evaluation.
    expected_macs : int or Dim
        MACs that are left where zeros of masks and selections are skipped; equal to ``macs`` where nothing is sparse.
    elementwise : int or Dim
        Other arithmetic, one per elementary operation and element.
    activation_bytes : int or Dim
        Peak of the values alive at once in evaluation, without inputs and weights.
    saved_bytes : int or Dim
        All values made, an upper bound of what training keeps.
    weight_bytes : int or Dim
        Params and buffers.
    guards : tuple of str
        Conditions on sizes that are still symbolic.
    counted, free : mapping of str to int or Dim
        How often each op runs: those whose work is counted, and those free by declaration. No op is neither.
    rows : tuple of Row
        A row per node, composites opened to the depth asked for.
    roofline, fit : Roofline and Fit, or None
        Times and energies on a device, and whether its memory is enough, where one was named.
    """

    spec: str
    variant: str | None
    graph: str
    settings: Mapping[str, Any]
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    params: Num
    buffers: Num
    frozen_params: Num
    macs: Num
    elementwise: Num
    activation_bytes: Num
    saved_bytes: Num
    weight_bytes: Num
    guards: tuple[str, ...] = ()
    counted: Mapping[str, Num] = field(default_factory=dict)
    free: Mapping[str, Num] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    expected_macs: Num = 0
    roofline: Roofline | None = None
    fit: Fit | None = None

    @property
    def flops(self) -> Num:
        """Two per MAC, and the element-wise work."""
        return 2 * self.macs + self.elementwise

    @property
    def label(self) -> str:
        """Name and variant: ``vit:base``."""
        return f"{self.spec}:{self.variant}" if self.variant else self.spec

    def walk(self) -> Iterator[tuple[int, Row]]:
        """Every row with its depth, in the order of the report."""
        for row in self.rows:
            yield from row.walk()

    def to_dict(self) -> dict[str, Any]:
        """Plain values: exact ints, closed forms as expressions."""
        found: dict[str, Any] = {
            "spec": self.spec,
            "variant": self.variant,
            "graph": self.graph,
            "settings": {name: _setting(value) for name, value in self.settings.items()},
            "inputs": {name: type_to_dict(t) for name, t in self.inputs},
            "outputs": {name: type_to_dict(t) for name, t in self.outputs},
            "params": plain(self.params),
            "buffers": plain(self.buffers),
            "frozen_params": plain(self.frozen_params),
            "macs": plain(self.macs),
            "expected_macs": plain(self.expected_macs),
            "elementwise": plain(self.elementwise),
            "flops": plain(self.flops),
            "activation_bytes": plain(self.activation_bytes),
            "saved_bytes": plain(self.saved_bytes),
            "weight_bytes": plain(self.weight_bytes),
            "guards": list(self.guards),
            "counted": {op: plain(n) for op, n in self.counted.items()},
            "free": {op: plain(n) for op, n in self.free.items()},
            "rows": [row.to_dict() for row in self.rows],
        }
        if self.roofline is not None and self.fit is not None:
            on = self.roofline.on
            found["device"] = {"name": on.device.name, "dtype": on.dtype, "memory_bytes": on.device.memory_bytes}
            found["roofline"] = self.roofline.to_dict()
            found["needed_bytes"] = self.fit.needed
            found["fits"] = self.fit.fits
        return found

    def to_json(self, indent: int | None = 2) -> str:
        """`to_dict` as JSON."""
        import json

        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_csv(self) -> str:
        """A line per row and one for the total; exact numbers."""
        from archgraph.report.formats import tree_csv

        return tree_csv(self)

    def to_markdown(self) -> str:
        """A table in GitHub's Markdown."""
        from archgraph.report.formats import tree_markdown

        return tree_markdown(self)

    def _repr_html_(self) -> str:
        from archgraph.report.formats import tree_html

        return tree_html(self)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from archgraph.report.console import tree_view

        yield from tree_view(self, options.max_width)

    def __str__(self) -> str:
        return self.to_markdown()


def _setting(value: Any) -> Any:
    """A hyperparameter's value for JSON: numbers, texts and lists as they are, the rest as a spec writes it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_setting(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _setting(v) for k, v in value.items()}
    return str(value)


def report(
    spec: Spec | str | os.PathLike[str],
    variant: str | None = None,
    *,
    graph: str | None = None,
    at: Mapping[str, Any] | None = None,
    depth: int | None = 2,
    device: DeviceProfile | str | None = None,
    dtype: str | None = None,
    **settings: Any,
) -> Report:
    """What an architecture costs, without building it.

    Parameters
    ----------
    spec : Spec, path or shipped name
    variant : str, optional
        One of its variants, where it is loaded by name.
    graph : str, optional
        Which graph, where there are several; the first by default.
    at : mapping, optional
        Input name → shape. Inputs left out take the spec's examples (``at:``) and a batch of one.
    depth : int or None
        How many levels of composites get rows of their own; None opens all.
    device : DeviceProfile or str, optional
        A device, the name of a shipped one or a YAML file: times, energies and fit in its memory are told as well.
    dtype : str, optional
        What it computes in; float32 by default.
    **settings
        Hyperparameters to set.

    Raises
    ------
    SpecError
        With every fault found.
    """
    if not isinstance(spec, Spec):
        spec = load(spec, variant, **settings)
    elif variant is not None:
        raise ValueError("a loaded spec has its variant; give it to `load`")
    elif settings:
        spec = spec.with_settings(**settings)
    spec = with_sizes(spec, graph, at)
    on = None
    if device is not None:
        on = target(load_profile(device) if isinstance(device, str) else device, dtype)
    elif dtype is not None:
        raise ValueError("a dtype is one of a device's")
    return report_of(spec.graph(graph, default_sizes(spec, graph, at)), spec, depth=depth, on=on)


def report_of(graph: Graph, spec: Spec | None = None, *, depth: int | None = 2, on: Target | None = None) -> Report:
    """A report on a graph at hand; ``spec`` tells its name, variant and hyperparameters, ``on`` a device.

    Raises
    ------
    SpecError
        If there is a device, and sizes are open.
    """
    times = None if on is None else roofline(graph, on)
    if times is not None:
        times.to_dict()  # sizes must be closed
    t: Totals = totals(graph)
    counted, free = coverage(graph)
    guards = dict.fromkeys(str(guard) for g in graph.graphs() for guard in g.guards)
    return Report(
        spec=spec.name if spec is not None else graph.name,
        variant=spec.variant if spec is not None else None,
        graph=graph.name,
        settings=spec.params() if spec is not None else {},
        inputs=graph.inputs,
        outputs=tuple((name, graph.type_of(ref)) for name, ref in graph.outputs),
        params=t.params,
        buffers=t.buffers,
        frozen_params=t.frozen_params,
        macs=t.macs,
        elementwise=t.elementwise,
        activation_bytes=t.activation_bytes,
        saved_bytes=t.saved_bytes,
        weight_bytes=t.weight_bytes,
        guards=tuple(guards),
        counted=counted,
        free=free,
        rows=rows(graph, depth, on),
        expected_macs=expected(graph).macs,
        roofline=times,
        fit=None if on is None else fit(graph, on),
    )
