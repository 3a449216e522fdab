"""Frames, time and energy of an architecture on a 4f device, from its graph alone: numbers, or closed forms.

A frame shows as many planes as the input modulator has room for, all under one kernel. A layer with D kernels over M
planes, T of which fit side by side, takes ``passes * D * ceil(M / T)`` frames. Planes of a window that stays inside
need no zeros between them; padded ones are as far apart as the padding is wide, since neighbours share the gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archgraph.analysis.cost import in_types, op_cost
from archgraph.analysis.sizes import BATCH, default_sizes, with_sizes
from archgraph.ir.diagnostics import Diagnostic, SpecError
from archgraph.ir.dim import Dim, Num, ceildiv, dmax, prod
from archgraph.ir.graph import Graph, Node
from archgraph.ir.types import TensorType
from archgraph.ops.attention import ScaledDotProductAttention
from archgraph.ops.conv import Conv1d, Conv2d, ConvTranspose2d
from archgraph.ops.higher import Scan
from archgraph.ops.linear import Linear
from archgraph.optical.device import Device

if TYPE_CHECKING:
    from archgraph.spec.load import Spec

__all__ = ["Layer", "Timing", "optical_layers", "spec_timing", "timing"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One optical layer.

    Attributes
    ----------
    path : str
    op : str
    calls : int or Dim
        How often it runs: turns of the loops around it.
    kernels : int or Dim
        Kernels that are shown one after the other: pairs of an output and an input channel.
    planes : int or Dim
        Planes that each kernel acts on.
    tile : pair of int or Dim
        Height and width of a plane, with the zeros between neighbours.
    macs : int or Dim
        Of one call.
    """

    path: str
    op: str
    calls: Num
    kernels: Num
    planes: Num
    tile: tuple[Num, Num]
    macs: Num

    def tiles(self, device: Device) -> Num:
        """Planes in one frame.

        Raises
        ------
        SpecError
            If not even one fits.
        """
        high, wide = self.tile
        if device.tile == "square":
            high = wide = dmax(high, wide)
        found = (device.width // wide) * (device.height // high)
        if found == 0:
            raise SpecError(
                Diagnostic(
                    "optical/plane",
                    None,
                    f"a plane of `{self.path}` does not fit the device `{device.name}`",
                    expected=f"at most {device.width} x {device.height} pixels",
                    found=f"{wide} x {high}",
                    hint="a device with more pixels, or a smaller input (--at)",
                )
            )
        return found

    def repeats(self, device: Device) -> Num:
        """Frames of one kernel in one pass: how often the planes fill the modulator."""
        return ceildiv(self.planes, self.tiles(device))

    def frames(self, device: Device) -> Num:
        """Frames of all calls."""
        return device.passes * device.subframes * self.calls * self.kernels * self.repeats(device)


def optical_layers(graph: Graph, device: Device) -> Iterator[Layer]:
    """The layers of a graph that a device computes, in order; distinct paths of loops are one, with its calls.

    Convolutions over one and two axes, transposed ones, and linear layers; with ``attention: optical`` the products of
    queries and keys as well, whose kernels are the keys of each sample.
    """
    yield from _walk(graph, "", 1, device)


def _walk(graph: Graph, path: str, calls: Num, device: Device) -> Iterator[Layer]:
    for node in graph.nodes:
        if "unused" in node.flags:
            continue
        own = f"{path}{node.name}"
        if node.op is None:
            yield from _walk(node.callees[0], f"{own}.", calls * node.count, device)
        elif node.callees:
            turns: Num = 1
            if isinstance(node.op, Scan):
                walked = node.inputs[0]
                assert walked is not None
                turns = graph.type_of(walked).shape[node.op.dim]
            yield from _walk(node.callees[-1], f"{own}.", calls * turns, device)
        else:
            yield from _layer(graph, node, own, calls, device)


def _layer(graph: Graph, node: Node, path: str, calls: Num, device: Device) -> Iterator[Layer]:
    op = node.op
    ins = in_types(graph, node)
    if not isinstance(op, (Conv1d, Conv2d, ConvTranspose2d, Linear, ScaledDotProductAttention)):
        return
    x = ins[0]
    assert x is not None
    macs = op_cost(op, ins, node.types).macs
    if isinstance(op, Linear):
        features = x.shape[-1]
        yield Layer(path, op.op_name, calls, op.out_features, x.numel // features, plane(features), macs)
    elif isinstance(op, ScaledDotProductAttention):
        if device.attention == "optical":
            key = ins[1]
            assert key is not None
            *batch, tokens, features = x.shape
            yield Layer(path, op.op_name, calls, prod(batch) * key.shape[-2], tokens, plane(features), macs // 2)
    else:
        kernels = op.out_channels * (x.shape[1] // op.groups)
        yield Layer(path, op.op_name, calls, kernels, x.shape[0], _tile(op, x.shape[2:]), macs)


def plane(features: Num) -> tuple[Num, Num]:
    """The plane nearest to a square that so many features fill; a single row where their number is not known."""
    if isinstance(features, Dim):
        return 1, features
    from math import isqrt

    rows = next(r for r in range(isqrt(features), 0, -1) if features % r == 0)
    return rows, features // rows


def _tile(op: Conv1d | Conv2d | ConvTranspose2d, size: tuple[Num, ...]) -> tuple[Num, Num]:
    """A plane with the zeros to its neighbour."""
    if isinstance(op, ConvTranspose2d):
        tile = [
            (n - 1) * s + 1 + dmax(0, d * (k - 1) - p)
            for n, s, d, k, p in zip(size, op.stride, op.dilation, op.kernel_size, op.padding, strict=True)
        ]
    elif op.padding == "same":
        tile = [n + d * (k - 1) - d * (k - 1) // 2 for n, d, k in zip(size, op.dilation, op.kernel_size, strict=True)]
    elif isinstance(op.padding, str):
        tile = list(size)
    else:
        tile = [n + p for n, p in zip(size, op.padding, strict=True)]
    return (1, tile[0]) if len(tile) == 1 else (tile[0], tile[1])


@dataclass(frozen=True, slots=True)
class Timing:
    """What an architecture takes on a device.

    Attributes
    ----------
    layers : tuple of Layer
    device : Device
    batch : int or Dim
        Samples that are computed together.
    """

    layers: tuple[Layer, ...]
    device: Device
    batch: Num

    @property
    def frames(self) -> Num:
        return sum((layer.frames(self.device) for layer in self.layers), start=0)

    @property
    def macs(self) -> Num:
        """MACs of the optical layers."""
        return sum((layer.calls * layer.macs for layer in self.layers), start=0)

    @property
    def depth(self) -> Num:
        """Optical layers one after the other, each of which has to drain."""
        return sum((layer.calls for layer in self.layers), start=0)

    def seconds(self, electronic: float = 0.0) -> float:
        """Of one batch: frames at the rate of the slowest part, ``electronic`` seconds, and the drains of all layers.

        Raises
        ------
        SpecError
            If a size is symbolic.
        """
        frames, depth = _known(self.frames), _known(self.depth)
        return frames / self.device.frame_rate + electronic + depth * self.device.frame_latency

    def speed_up(self, gpu_seconds: float, electronic: float = 0.0) -> float:
        """Time of a batch elsewhere over time here; 1 is the break-even, at `seconds`."""
        return gpu_seconds / self.seconds(electronic)

    def energy(self, electronic: float = 0.0) -> dict[str, float]:
        """Joules of one batch, by what takes them."""
        d = self.device
        frames = _known(self.frames)
        changes = sum(d.passes * _known(layer.calls) * _known(layer.kernels) * d.subframes for layer in self.layers)
        pixels = d.width * d.height
        return {
            "laser": frames * d.laser_power / d.frame_rate,
            "input modulator": frames * d.input_power / d.frame_rate,
            "kernel modulator": changes * d.kernel_power / d.frame_rate,
            "camera": frames * d.camera_power / d.frame_rate,
            "input conversion": pixels * frames * (d.dac_energy * 2**d.input_bits if d.input_bits else 0.0),
            "camera conversion": pixels * frames * (d.adc_energy * 2**d.camera_bits if d.camera_bits else 0.0),
            "electronics": electronic,
        }


def timing(graph: Graph, device: Device) -> Timing:
    """Frames, time and energy of one evaluation of a graph; its batch is the first axis of the first input.

    Raises
    ------
    SpecError
        If a layer's planes don't fit the device.
    """
    layers = tuple(optical_layers(graph, device))
    for layer in layers:
        layer.tiles(device)
    shape = graph.inputs[0][1].shape if graph.inputs else ()
    return Timing(layers, device, shape[0] if shape else 1)


def spec_timing(
    spec: Spec, device: Device, graph: str | None = None, at: Mapping[str, Any] | None = None, batch: Num = 1
) -> Timing:
    """`timing` of a spec at its own example sizes, or those given, for a batch.

    Raises
    ------
    SpecError
        With every fault of the spec, or if a layer does not fit the device.
    """
    sizes = default_sizes(spec, graph, at)
    inputs = spec.block(graph).inputs
    for name, shape in sizes.items():
        head = inputs[name].pattern.axes[:1]
        if name not in (at or {}) and head and head[0].kind == "name" and head[0].name.lower() in BATCH:
            sizes[name] = [_of(s, batch) for s in shape] if inputs[name].is_list else _of(shape, batch)
    return timing(with_sizes(spec, graph, at).graph(graph, sizes), device)


def _of(shape: Any, batch: Num) -> Any:
    """A shape or type with another batch."""
    if isinstance(shape, TensorType):
        return shape.with_shape(batch, *shape.shape[1:])
    return [batch, *shape[1:]]


def _known(n: Num) -> int:
    if isinstance(n, Dim):
        raise SpecError(
            Diagnostic("optical/symbol", None, f"`{n}` is not a number", hint="give sizes with --at and --batch")
        )
    return n
