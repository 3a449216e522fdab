"""What a reference needs to build our graph or block: types of inputs, params as settings, example shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from archgraph.ir.diagnostics import Collector
from archgraph.ir.graph import Graph
from archgraph.ir.types import Layout, TensorType
from archgraph.spec.expr import compile
from archgraph.spec.host_values import freeze_data, same_data
from archgraph.spec.keys import Shape
from archgraph.spec.load import Spec
from archgraph.spec.model import Block, Input, OpRef, SpecFile
from archgraph.spec.settings import checked_settings, setting_value
from archgraph.spec.yaml import dump_yaml, load_yaml

__all__ = ["Fed", "Misfit", "example_shapes", "given_shapes", "root_settings", "same_setting", "typed_input"]


class Misfit(Exception):
    """A class with these arguments, inputs or outputs is not what an entry describes; `reasons` say why."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        return "; ".join(self.reasons)


class Fed(NamedTuple):
    """A tensor of theirs for one of our inputs (``name``, or ``name.k`` of a list), and what happens to it first."""

    ours: str
    theirs: str
    change: Graph | None
    type: TensorType


def typed_input(i: Input, shape: Shape, dims: Mapping[str, Any]) -> TensorType:
    """The type of an input, with the token grids that its pattern names and ``dims`` tell."""
    axes = list(i.pattern.axes)
    rest = i.pattern.rest
    layouts: list[tuple[int, Layout]] = []
    for k, axis in enumerate(axes):
        if axis.kind != "grid":
            continue
        parts = [part for part in (axis.prefix, *axis.grid) if part is not None]
        if not all(part.names <= dims.keys() for part in parts):
            continue
        at = k if rest is None or k < rest else len(shape) - len(axes) + k
        layout = Layout(
            0 if axis.prefix is None else compile(axis.prefix)(dims), [compile(part)(dims) for part in axis.grid]
        )
        if not 0 <= at < len(shape) or layout.length != shape[at]:
            raise Misfit(f"our input `{i.name}` has shape {list(shape)}, on axis {k} `dims` say {layout}")
        layouts.append((at, layout))
    return TensorType(i.dtype, shape, tuple(layouts))


def given_shapes(fed: Iterable[Fed]) -> dict[str, Any]:
    """Shapes or types by input, those of lists gathered."""
    at: dict[str, Any] = {}
    for each in fed:
        head, _, item = each.ours.rpartition(".")
        given = each.type if each.type.layout else each.type.shape  # plain sizes may set params
        if head and item.isdigit():
            at.setdefault(head, []).append(given)
        else:
            at[each.ours] = given
    return at


def example_shapes(file: SpecFile, block: Block, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Input shapes that the spec gives as examples, with the params that name an axis by themselves put in."""
    if not block.root:
        return {}
    spec = Spec(file, None, root_settings(file, settings))
    params = spec.params()

    def sized(i: Input, shape: tuple[Any, ...]) -> tuple[Any, ...]:
        axes = i.pattern.axes
        names = [axis.name if axis.kind == "name" else "" for axis in axes] if len(axes) == len(shape) else []
        own = {k: params[name] for k, name in enumerate(names) if isinstance(params.get(name), int)}
        return tuple(own.get(k, size) for k, size in enumerate(shape))

    return {
        name: [sized(block.inputs[name], each) for each in shape]
        if block.inputs[name].is_list
        else sized(block.inputs[name], shape)
        for name, shape in spec.example(block.name).items()
    }


def root_settings(file: SpecFile, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Params of a graph as `Spec` keeps them."""
    faults = Collector()
    found: dict[str, Any] = {}
    checked_settings(file, {name: None for name in settings if name not in file.params})
    for name, value in settings.items():
        param = file.params[name]
        if isinstance(value, str) and param.kind not in ("text", "choice"):
            raise Misfit(f"the param `{name}` takes no text: {value!r}")
        if isinstance(value, Mapping):
            value = load_yaml(dump_yaml({name: value}), f"param {name}")[name]
        plain = value is None or isinstance(value, str)
        found[name] = value if plain else setting_value(file, name, value, faults)
    faults.raise_if_any()
    return found


def same_setting(a: Any, b: Any) -> bool:
    """Whether two values of a param build the same: arguments of a block that are its defaults may be left out."""
    if isinstance(a, OpRef) and isinstance(b, OpRef):
        if a.target is not b.target:
            return False
        defaults = {}
        if isinstance(a.target, Block):
            defaults = {name: p.value for name, p in a.target.params.items() if p.default is None}
        given, own = {**defaults, **dict(a.attrs)}, {**defaults, **dict(b.attrs)}
        return given.keys() == own.keys() and all(same_setting(given[name], own[name]) for name in given)
    return same_data(freeze_data(a), freeze_data(b))
