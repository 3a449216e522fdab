"""Rooflines: by hand on a graph small enough, flips of the binding side, symbols against integers, what is free."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archgraph
from archgraph.analysis.profiles import DeviceProfile, Energy
from archgraph.analysis.roofline import SIDES, Roofline, fit, load, node_load, roofline, target
from archgraph.analysis.sizes import default_sizes, with_sizes
from archgraph.analysis.symbolic import close, open_graph
from archgraph.analysis.traffic import calls, compulsory_bytes, needs
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import Dim, evaluate
from archgraph.ir.graph import Graph
from archgraph.spec.load import Spec, loads
from archgraph.spec.load import load as load_spec

# a multiply-accumulate takes 8 ticks of 2**-16 of a byte's time or so: whole numbers, so that sums are exact
DEVICE = DeviceProfile(
    name="toy",
    macs_per_second={"float32": 1e9, "bfloat16": 4e9},
    elementwise_per_second={"float32": 1e9, "bfloat16": 2e9},
    bytes_per_second=1e9,
    memory_bytes=10_000.0,
    launch_seconds=1e-6,
    energy=Energy({"float32": 4.0, "bfloat16": 1.0}, 100.0, {"float32": 1.0}, 2.0),
)
TWO = """\
archgraph: 1
name: two
inputs: {x: [B, 64]}
graph:
  wide: {op: linear, out_features: 32}
  act: relu
  y: {op: linear, out_features: 16, bias: false}
outputs: {y: y}
"""


def graph_of(text: str, **at: tuple[int, ...]) -> Graph:
    spec = loads(text)
    return spec.graph(None, default_sizes(spec, None, at))


def near(x: float) -> object:
    return pytest.approx(x, rel=2e-4)  # ticks are rounded down


def test_by_hand() -> None:
    found = roofline(graph_of(TWO, x=(8, 64)), target(DEVICE))
    first, second = 8 * 64 * 32, 8 * 32 * 16
    weights = 4 * (64 * 32 + 32 + 32 * 16)
    given, made = 4 * 8 * 64, 4 * 8 * 16
    assert found.load.macs == first + second
    assert found.compulsory == weights + given + made
    # one nanosecond for a MAC, an operation and a byte; products take longest
    assert found.bound == near((first + second) * 1e-9 + 1e-6)
    assert found.binds == "products"
    middle = 4 * 8 * 32
    moved = [given + 4 * (64 * 32 + 32) + middle, 2 * middle, middle + 4 * 32 * 16 + made]
    assert found.load.moved == sum(moved)
    each = [max(first, 8 * 32, moved[0]), max(8 * 32, moved[1]), max(second, moved[2])]
    assert each == [first, 2 * middle, second]
    assert found.op_by_op == near(sum(each) * 1e-9 + 3e-6)
    assert found.load.kernels == 3
    assert found.op_by_op_binds == "products"
    elementwise = found.load.elementwise
    picojoules = 4 * (first + second) + elementwise + 100 * found.compulsory
    assert found.energy == pytest.approx(picojoules * 1e-12 + 2.0 * found.bound)
    more = 4 * (first + second) + elementwise + 100 * found.load.moved
    assert found.op_by_op_energy == pytest.approx(more * 1e-12 + 2.0 * found.op_by_op)


def test_a_dtype_halves_traffic_and_has_its_own_rates() -> None:
    graph = graph_of(TWO, x=(8, 64))
    wide, narrow = roofline(graph, target(DEVICE)), roofline(graph, target(DEVICE, "bfloat16"))
    assert narrow.compulsory * 2 == wide.compulsory
    assert narrow.load.moved * 2 == wide.load.moved
    assert narrow.load.mac_ticks * 4 == near(wide.load.mac_ticks)
    # a quarter of the time for products is below that of the bytes
    assert narrow.binds == "memory"
    assert narrow.bound == near(narrow.compulsory * 1e-9 + 1e-6)


@pytest.mark.parametrize(
    ("batch", "changes", "side"),
    [
        (8, {}, "products"),
        (1, {}, "memory"),
        (1, {"launch_seconds": 1e-3}, "launch"),
        (8, {"elementwise_per_second": {"float32": 1e6}}, "element-wise"),
        (8, {"bytes_per_second": 1e6}, "memory"),
        (1, {"cache_bytes": 1e6}, "products"),
    ],
)
def test_the_binding_side_flips(batch: int, changes: dict[str, object], side: str) -> None:
    from dataclasses import replace

    device = replace(DEVICE, **{"launch_seconds": 0.0, **changes})  # type: ignore[arg-type]
    assert roofline(graph_of(TWO, x=(batch, 64)), target(device)).binds == side


def test_caches_may_keep_so_much_between_calls() -> None:
    from dataclasses import replace

    graph = graph_of(TWO, x=(1, 64))
    device = replace(DEVICE, cache_bytes=1000.0, launch_seconds=0.0)
    found = roofline(graph, target(device))
    assert found.bound == near((found.compulsory - 1000) * 1e-9)


@pytest.mark.parametrize("name", ["vit", "resnet", "hornet", "maxvit", "biformer"])
def test_parts_sum_to_the_whole_and_the_bound_is_below(name: str) -> None:
    spec = load_spec(name)
    graph = spec.graph(None, default_sizes(spec))
    on = target(DEVICE)
    whole = load(graph, on)
    parts = [node_load(graph, k, on) for k in range(len(graph.nodes))]
    assert whole.ticks == sum(p.ticks for p in parts)
    assert whole.sides is not None
    assert sum(whole.sides) == whole.ticks
    assert len(whole.sides) == len(SIDES)
    found = roofline(graph, on)
    assert 0 < found.bound <= found.op_by_op
    assert found.compulsory <= whole.moved
    assert found.energy is not None
    assert found.op_by_op_energy is not None
    assert found.energy <= found.op_by_op_energy


def closed(spec: Spec, batch: int, size: int) -> Graph:
    return spec.graph(None, {"image": (batch, 3, size, size)})


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 64), grid=st.integers(1, 12), depth=st.integers(1, 9))
def test_symbols_give_what_integers_give(batch: int, grid: int, depth: int) -> None:
    base = load_spec("vit")
    graph, _ = open_graph(base, ["B", "image_size", "depth"])
    on = target(DEVICE, "bfloat16")
    found = roofline(graph, on)
    assert isinstance(found.load.ticks, Dim)
    spec = base.with_settings(depth=depth, image_size=16 * grid)
    numbers = roofline(closed(spec, batch, 16 * grid), on)
    env = {"B": batch, "image_size": 16 * grid, "depth": depth}
    for form, number in (
        (found.load.ticks, numbers.load.ticks),
        (found.load.moved, numbers.load.moved),
        (found.compulsory, numbers.compulsory),
        (found.ticks, numbers.ticks),
    ):
        assert evaluate(form, env) == number


def test_open_sizes_have_no_seconds() -> None:
    graph, _ = open_graph(load_spec("vit"), ["B"])
    with pytest.raises(SpecError, match="B is open"):
        _ = roofline(graph, target(DEVICE)).bound


FREE = """\
archgraph: 1
name: free
inputs: {x: [B, C, H, W]}
graph:
  tokens: {op: rearrange, pattern: b c h w -> b (h w) c}
  first: {op: select, dim: 1, index: 0}
  y: {formula: first * 2}
outputs: {y: y}
"""


def test_views_move_nothing_and_what_is_not_selected_is_not_read() -> None:
    graph = graph_of(FREE, x=(2, 3, 4, 4))
    assert [calls(graph, n) for n in graph.nodes] == [0, 0, 1]
    found = roofline(graph, target(DEVICE))
    assert found.load.kernels == 1
    assert found.load.moved == 4 * (6 + 6)
    assert found.compulsory == 4 * (6 + 6)


LOOKED_UP = """\
archgraph: 1
name: looked_up
inputs: {ids: {shape: [B, N], dtype: int64}}
graph:
  table: {op: embedding, num_embeddings: 1000, embedding_dim: 8}
  positions: {op: parameter, shape: [1, 512, 8]}
  here: {op: slice, in: positions, dim: 1, stop: N}
  x: {formula: table + here}
outputs: {x: x}
"""


def test_only_looked_up_rows_of_a_table_are_moved_and_none_for_sure() -> None:
    graph = graph_of(LOOKED_UP, ids=(2, 5))
    made = 4 * 2 * 5 * 8
    assert needs(graph).weights[0] == 0
    assert needs(graph).weights[1] == 4 * 5 * 8
    assert compulsory_bytes(graph) == 8 * 10 + 4 * 5 * 8 + made
    table = node_load(graph, 0, target(DEVICE))
    assert table.moved == 8 * 10 + made + made


SHARED = """\
archgraph: 1
name: shared
inputs: {x: [B, 8]}
graph:
  a: {op: linear, out_features: 8, bias: false}
  b: {share: a}
  rest: {op: linear, out_features: 8, bias: false, unused: true, in: x}
outputs: {y: b}
"""


def test_shared_weights_are_read_once_and_unused_ones_never() -> None:
    graph = graph_of(SHARED, x=(1, 8))
    assert compulsory_bytes(graph) == 4 * (64 + 8 + 8)
    assert load(graph, target(DEVICE)).kernels == 2


def test_fit() -> None:
    graph = graph_of(TWO, x=(1, 64))
    weights = 64 * 32 + 32 + 32 * 16
    full, half = fit(graph, target(DEVICE)), fit(graph, target(DEVICE, "bfloat16"))
    assert full.needed == 4 * (weights + 64 + 2 * 32)
    assert full.fits is False
    assert half.needed * 2 == full.needed
    assert half.fits is True


def test_a_device_without_energy_tells_none() -> None:
    found = roofline(graph_of(TWO, x=(1, 64)), target(DeviceProfile("bare", {"float32": 1e9}, 1e9)))
    assert found.energy is None
    assert found.on.device.elementwise("float32") == 2e9
    assert isinstance(found, Roofline)


def test_unknown_dtype() -> None:
    with pytest.raises(SpecError, match="did you mean `bfloat16`"):
        target(DEVICE, "bfloat")


@pytest.mark.parametrize(
    ("name", "over"),
    [
        ("vit", {"dim": (64, 512, 64), "depth": (1, 14, 1), "image_size": (32, 320, 16), "num_heads": (1, 8, 1)}),
        ("hornet", {"dim": (16, 96, 16), "H": (32, 256, 32), "W": (32, 256, 32), "B": (1, 5, 1)}),
    ],
)
def test_compiled_times_are_those_of_the_graph(name: str, over: dict[str, tuple[int, int, int]]) -> None:
    np = pytest.importorskip("numpy")
    spec = load_spec(name)
    f = archgraph.cost_function(spec, over=list(over), device=DEVICE, dtype="bfloat16")
    rng = np.random.default_rng(0)
    columns = {n: rng.choice(np.arange(*bounds), 40) for n, bounds in over.items()}
    found = f(**columns)
    assert found["roofline"].dtype == np.float64
    assert set(found) == {
        "params",
        "macs",
        "flops",
        "activation_bytes",
        "valid",
        "roofline",
        "roofline_op_by_op",
        "energy",
    }
    for k in np.flatnonzero(found["valid"])[:12].tolist():
        point = {n: int(c[k]) for n, c in columns.items()}
        closed_spec, sizes = close(spec, list(point), None, None, point)
        closed_spec = with_sizes(closed_spec, None, sizes)
        graph = closed_spec.graph(None, default_sizes(closed_spec, None, sizes))
        times = roofline(graph, target(DEVICE, "bfloat16"))
        one = f.scalar(**point)
        assert found["roofline"][k] == one["roofline"] == pytest.approx(times.bound, rel=1e-12)
        assert found["roofline_op_by_op"][k] == one["roofline_op_by_op"] == pytest.approx(times.op_by_op, rel=1e-12)
        assert found["energy"][k] == pytest.approx(one["energy"], rel=1e-12) == pytest.approx(times.energy, rel=1e-12)


def test_times_beyond_64_bits_are_exact_all_the_same() -> None:
    f = archgraph.cost_function("vit", over=["dim", "depth"], device=DEVICE, at={"image": (4096, 3, 224, 224)})
    big = f(dim=[192, 3 * 2**20], depth=[12, 4000])
    one = f.scalar(dim=3 * 2**20, depth=4000)
    assert big["roofline"].dtype == float
    assert big["roofline"][1] == pytest.approx(one["roofline"])
    assert one["roofline"] > 2**63 * 1e-9
