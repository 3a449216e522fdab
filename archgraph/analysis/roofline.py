"""Latency and energy on a device by the roofline model: a lower bound of the whole, and every op by itself.

Two figures, and what each supposes:

`Roofline.bound`
    No evaluation is faster, whatever is fused, reordered, or kept in caches: every multiply-accumulate and element-wise
    operation of the graph is done at the device's peak, both at once; weights and inputs that are needed are read and
    outputs written once, but for what the last cache may keep from one call to the next; one kernel is launched. It
    does not hold for algorithms that do less arithmetic than the graph says (Winograd, FFT or Strassen products,
    skipped zeros, norms folded into convolutions where element-wise work binds).
`Roofline.op_by_op`
    Every op as kernels of its own, one after the other, its operands read from memory and its results written there;
    each takes the longest of its arithmetic and its traffic, and the launches. Fusing and caches save some of that, so
    it is no bound of a compiled model; it says where time goes.

Times are kept as whole ticks, a 65536th of the quickest unit of work, rounded down: sums and maxima are then exact, and
sizes may be symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from archgraph.analysis.cost import in_types, op_cost
from archgraph.analysis.memory import bytes_of, peaks
from archgraph.analysis.profiles import WIDTHS, DeviceProfile
from archgraph.analysis.traffic import calls, compulsory_bytes, needs, weight_bytes, width_of
from archgraph.ir.diagnostics import Diagnostic, SpecError, did_you_mean
from archgraph.ir.dim import Num, dmax, dmin, prod
from archgraph.ir.graph import Graph
from archgraph.ir.types import DTYPE_BYTES, is_float
from archgraph.ops.base import Op
from archgraph.ops.higher import Scan, SwitchTraining

__all__ = ["SIDES", "TIMES", "Load", "Roofline", "Target", "load", "node_load", "roofline", "target", "times_of"]

#: What an op may wait for.
SIDES: Final = ("products", "element-wise", "memory", "launch")
#: Times of candidates by name, see `times_of`.
TIMES: Final = ("roofline", "roofline_op_by_op", "energy")
_RESOLUTION: Final = 1 << 16
#: Dtypes of values for which rates may be given.
_REAL: Final = frozenset(d for d in DTYPE_BYTES if d != "float" and is_float(d))


class Target:
    """A device that computes in one dtype.

    Attributes
    ----------
    device : DeviceProfile
    dtype : str
        What the model's own floating dtype becomes.
    width : int
        Its bytes in memory.
    tick : float
        Seconds of a tick.
    """

    def __init__(self, device: DeviceProfile, dtype: str) -> None:
        self.device = device
        self.dtype = dtype
        self.width = WIDTHS[dtype]
        rates = device.macs_per_second
        per_byte = 1 / device.bytes_per_second
        quickest = min(per_byte, *(1 / r for r in rates.values()), *(1 / device.elementwise(d) for d in rates))
        self.tick = quickest / _RESOLUTION
        self.byte = int(per_byte / self.tick)
        self.launch = int(device.launch_seconds / self.tick)
        self._mac = {d: int(1 / r / self.tick) for d, r in rates.items()}
        self._elementwise = {d: int(1 / device.elementwise(d) / self.tick) for d in rates}

    def rates(self, dtypes: frozenset[str]) -> tuple[int, int]:
        """Ticks of a multiply-accumulate and of an element-wise operation on values of these dtypes, the quickest."""
        names = [d if d in self._mac else self.dtype for d in dtypes & _REAL]
        if "float" in dtypes or not names:
            names.append(self.dtype)
        return min(self._mac[d] for d in names), min(self._elementwise[d] for d in names)

    @property
    def quickest(self) -> tuple[int, int]:
        """`rates` of values of the model's own dtype."""
        return self._mac[self.dtype], self._elementwise[self.dtype]

    @property
    def tells_energy(self) -> bool:
        """Whether the profile has energies for the dtype."""
        energy = self.device.energy
        return energy is not None and self.dtype in energy.picojoules_per_mac

    def seconds(self, ticks: float) -> float:
        """Ticks in seconds."""
        return ticks * self.tick

    def joules(self, macs: Any, elementwise: Any, moved: Any, seconds: Any) -> Any:
        """Energy of work, traffic in bytes, and time, numbers or arrays; None where the profile does not tell."""
        energy = self.device.energy
        if energy is None or not self.tells_energy:
            return None
        work = macs * energy.picojoules_per_mac[self.dtype]
        work += elementwise * energy.picojoules_per_elementwise.get(self.dtype, 0.0)
        return (work + moved * energy.picojoules_per_byte) * 1e-12 + energy.static_watts * seconds


_targets: dict[tuple[DeviceProfile, str], Target] = {}


def target(device: DeviceProfile, dtype: str | None = None) -> Target:
    """A device in a dtype; float32, or what it has, where none is named.

    Raises
    ------
    SpecError
        If the profile has no rate for the dtype.
    """
    name = device.dtype if dtype is None else dtype
    if name not in device.macs_per_second:
        known = list(device.macs_per_second)
        near = did_you_mean(name, known)
        raise SpecError(
            Diagnostic(
                "device/dtype",
                None,
                f"the device {device.name} has no rate for `{name}`",
                expected=", ".join(known),
                hint=f"did you mean `{near}`?" if near else None,
            )
        )
    found = _targets.get((device, name))
    if found is None:
        found = _targets[(device, name)] = Target(device, name)
    return found


class Load(NamedTuple):
    """What a graph or node, op by op, asks of a target.

    ``weights``: bytes of weights that it must read. ``moved``: bytes that its ops read and write. ``ticks``: time of
    its ops, and ``sides`` the same by what they wait for, None where a size is open. ``mac_ticks`` and
    ``elementwise_ticks``: its arithmetic at the peak.
    """

    macs: Num = 0
    elementwise: Num = 0
    weights: Num = 0
    moved: Num = 0
    kernels: Num = 0
    ticks: Num = 0
    mac_ticks: Num = 0
    elementwise_ticks: Num = 0
    sides: tuple[int, ...] | None = (0,) * len(SIDES)

    def times(self, work: Num) -> Load:
        """The same ``work`` times, the weights read once."""
        sides = None
        if isinstance(work, int) and self.sides is not None:
            sides = tuple([s * work for s in self.sides])
        return Load(
            self.macs * work,
            self.elementwise * work,
            self.weights,
            self.moved * work,
            self.kernels * work,
            self.ticks * work,
            self.mac_ticks * work,
            self.elementwise_ticks * work,
            sides,
        )

    @property
    def binds(self) -> str | None:
        """What most of the time is waited for; None where nothing runs or a size is open."""
        if self.sides is None or not any(self.sides):
            return None
        return SIDES[self.sides.index(max(self.sides))]


_NOTHING: Final = Load()


def load(graph: Graph, on: Target) -> Load:
    """What one evaluation of a graph asks of a target."""
    known: dict[Target, Load] = graph._cache.setdefault("loads", {})
    found = known.get(on)
    if found is None:
        found = known[on] = total(node_load(graph, k, on) for k in range(len(graph.nodes)))
    return found


def total(loads: Iterable[Load]) -> Load:
    """Several loads, one after the other."""
    parts = list(loads)
    sides: tuple[int, ...] | None = (0,) * len(SIDES)
    if any(part.sides is None for part in parts):
        sides = None
    elif parts:
        sides = tuple([sum(column) for column in zip(*(part.sides or () for part in parts), strict=True)])
    return Load(
        sum((part.macs for part in parts), start=0),
        sum((part.elementwise for part in parts), start=0),
        sum((part.weights for part in parts), start=0),
        sum((part.moved for part in parts), start=0),
        sum((part.kernels for part in parts), start=0),
        sum((part.ticks for part in parts), start=0),
        sum((part.mac_ticks for part in parts), start=0),
        sum((part.elementwise_ticks for part in parts), start=0),
        sides,
    )


def node_load(graph: Graph, index: int, on: Target) -> Load:
    """What one node with all its turns asks of a target."""
    node = graph.nodes[index]
    if "unused" in node.flags:
        return _NOTHING
    weights = needs(graph, on.width).weights[index]
    op: Any = node.op
    if op is None:
        return load(node.callees[0], on).times(node.count)._replace(weights=weights)
    if node.callees:
        if isinstance(op, SwitchTraining):
            return load(node.callees[1], on)._replace(weights=weights)
        assert isinstance(op, Scan)
        first = node.inputs[0]
        assert first is not None
        turns = graph.type_of(first).shape[op.dim]
        return load(node.callees[0], on).times(turns)._replace(weights=weights)
    return _op_load(graph, index, op, on)._replace(weights=weights)


def _op_load(graph: Graph, index: int, op: Op, on: Target) -> Load:
    node = graph.nodes[index]
    n = calls(graph, node)
    if n == 0:
        return _NOTHING
    ins = in_types(graph, node)
    cost = op_cost(op, ins, node.types)
    made: Num = sum((bytes_of(t, on.width) for t in node.types), start=0)
    moved = made
    seen = set()
    for k, (ref, t) in enumerate(zip(node.inputs, ins, strict=True)):
        if ref is None or t is None or ref in seen:
            continue
        seen.add(ref)
        whole = bytes_of(t, on.width)
        moved += dmin(whole, made) if op.looks_up and k == 0 and not op.has_weights else whole
    if op.has_weights:
        own = weight_bytes(op.weights(*ins), on.width)
        moved += dmin(own, made) if op.looks_up else own
    macs, elementwise = on.rates(frozenset(t.dtype for t in (*ins, *node.types) if t is not None))
    times = cost.macs * macs, cost.elementwise * elementwise, moved * on.byte
    longest = dmax(*times)
    launches = n * on.launch
    sides: tuple[int, ...] | None = None
    if isinstance(longest, int):
        binding = times.index(longest)
        sides = (*(longest if k == binding else 0 for k in range(len(times))), launches)
    return Load(
        cost.macs, cost.elementwise, 0, moved, n, longest + launches, times[0], times[1], sides
    )  # the weights that it must read are the graph's matter, which knows who shares them


@dataclass(frozen=True)
class Roofline:
    """Times and energies of a graph, or of a part of it, on a target.

    Attributes
    ----------
    on : Target
    load : Load
        Its ops one by one.
    compulsory : int or Dim
        Bytes that pass between memory and processor in any case: weights, inputs and outputs.
    """

    on: Target
    load: Load
    compulsory: Num

    @cached_property
    def bound_ticks(self) -> tuple[Num, ...]:
        """Ticks of products, of element-wise work, and of traffic; the greatest and a launch make the bound."""
        return self.load.mac_ticks, self.load.elementwise_ticks, self.kept_bytes * self.on.byte

    @cached_property
    def kept_bytes(self) -> Num:
        """Bytes of compulsory traffic, less what the last cache may keep from one call to the next."""
        return dmax(self.compulsory - int(self.on.device.cache_bytes), 0)

    @property
    def ticks(self) -> Num:
        """Ticks of the bound."""
        return dmax(*self.bound_ticks) + self.on.launch * dmin(self.load.kernels, 1)

    @property
    def bound(self) -> float:
        """Seconds that every evaluation takes at least; see this module."""
        return self.on.seconds(_closed(self.ticks))

    @property
    def binds(self) -> str | None:
        """What the bound comes from; None where nothing runs."""
        found = [_closed(t) for t in self.bound_ticks]
        if self.load.kernels == 0:
            return None
        most = max(found)
        return SIDES[found.index(most)] if most >= self.on.launch else "launch"

    @property
    def op_by_op(self) -> float:
        """Seconds of all ops, each by itself with its operands in memory; see this module."""
        return self.on.seconds(_closed(self.load.ticks))

    @property
    def op_by_op_binds(self) -> str | None:
        """What most of the time of `op_by_op` is waited for."""
        return self.load.binds

    @property
    def energy(self) -> float | None:
        """Joules of the work and the compulsory traffic within the bound; None where the profile does not tell."""
        return self._joules(self.kept_bytes, self.bound)

    @property
    def op_by_op_energy(self) -> float | None:
        """Joules of all ops, each by itself with its operands in memory."""
        return self._joules(self.load.moved, self.op_by_op)

    def _joules(self, moved: Num, seconds: float) -> float | None:
        work = _closed(self.load.macs), _closed(self.load.elementwise)
        joules: float | None = self.on.joules(*work, _closed(moved), seconds)
        return joules

    def to_dict(self) -> dict[str, Any]:
        """Plain values; seconds, joules, bytes."""
        return {
            "bound_seconds": self.bound,
            "binds": self.binds,
            "op_by_op_seconds": self.op_by_op,
            "op_by_op_binds": self.op_by_op_binds,
            "energy_joules": self.energy,
            "op_by_op_joules": self.op_by_op_energy,
            "compulsory_bytes": self.compulsory,
            "moved_bytes": self.load.moved,
            "kernels": self.load.kernels,
        }


def _closed(n: Num) -> int:
    if isinstance(n, int):
        return n
    raise SpecError(
        Diagnostic(
            "device/size",
            None,
            f"times are for closed sizes, and {', '.join(sorted(n.free))} is open",
            hint="give sizes, as in `--at image=1x3x224x224`",
        )
    )


def roofline(graph: Graph, on: Target) -> Roofline:
    """The roofline of one evaluation of a graph."""
    return Roofline(on, load(graph, on), compulsory_bytes(graph, on.width))


def times_of(found: Mapping[str, Any], on: Target) -> dict[str, Any]:
    """Times and energy of candidates from what a cost function counts: numbers, or arrays of them.

    Returns
    -------
    dict
        ``roofline`` and ``roofline_op_by_op`` in seconds, and ``energy`` in joules where the profile tells: those of
        `Roofline.bound`, `Roofline.op_by_op` and `Roofline.energy`.
    """
    bound = (found["bound_ticks"] + on.launch) * on.tick
    joules = on.joules(found["macs"], found["elementwise"], found["kept_bytes"], bound)
    times = {"roofline": bound, "roofline_op_by_op": found["op_by_op_ticks"] * on.tick}
    return times if joules is None else {**times, "energy": joules}


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether an evaluation fits in a device's memory: ``needed`` bytes of ``size``, None where that is not known."""

    needed: int
    size: float | None

    @property
    def fits(self) -> bool | None:
        return None if self.size is None else self.needed <= self.size


def fit(graph: Graph, on: Target) -> Fit:
    """Weights, inputs, and values alive at once, against the memory of a device."""
    weights = stored_bytes(graph, on.width)
    given = sum((bytes_of(t, on.width) for _, t in graph.inputs), start=0)
    live = dmax(*(peaks(graph, on.width) or (0,)))
    return Fit(_closed(weights + given + live), on.device.memory_bytes)


def stored_bytes(graph: Graph, width: int) -> Num:
    """Bytes of all weights, read or not."""
    found: Num = 0
    for node in graph.nodes:
        if node.share is not None or node.weights:
            continue
        if node.callees:
            inner: Num = sum((stored_bytes(callee, width) for callee in node.callees), start=0)
            found += inner * node.count
        elif isinstance(node.op, Op) and node.op.has_weights:
            for w in node.op.weights(*in_types(graph, node)):
                found += prod(w.shape) * width_of(w.dtype, width)
    return found
