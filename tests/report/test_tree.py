import pytest

import archgraph
from archgraph.analysis.cost import totals
from archgraph.analysis.sizes import default_sizes
from archgraph.ir.graph import Graph
from archgraph.report.tree import Row, coverage, rows
from tests.report.small import STAGES, TINY

SUMMED = ("params", "buffers", "macs", "elementwise", "saved_bytes")


def graph_of(text: str, **at: object) -> Graph:
    spec = archgraph.loads(text)
    return spec.graph(None, default_sizes(spec, None, at))


def by_path(graph: Graph, depth: int | None = None) -> dict[str, Row]:
    return {row.path: row for top in rows(graph, depth) for _, row in top.walk()}


def test_rows_of_a_rolled_chain_are_those_of_all_turns() -> None:
    found = by_path(graph_of(TINY))
    assert list(found) == [
        "stem", "blocks", "blocks.*.conv", "blocks.*.act", "blocks.*.sum", "pool", "head",
    ]  # fmt: skip
    blocks = found["blocks"]
    assert (blocks.label, blocks.op, blocks.count, blocks.shape) == ("blocks ×3", "block", 3, "[1, 8, 8, 8]")
    assert (blocks.params, blocks.macs) == (3 * 576, 3 * 576 * 64)
    assert found["blocks.*.conv"].params == 3 * 576
    assert found["blocks.*.act"].flops == 3 * 8 * 64
    assert found["head"].params == 45


def test_equal_turns_of_an_unrolled_loop_are_folded() -> None:
    found = by_path(graph_of(STAGES))
    assert found["stages"].op == "loop"
    assert [(r.label, r.params) for r in found["stages"].children] == [("0–1 ×2", 2 * 16), ("2", 32)]
    assert found["stages.0-1.conv"].params == 32
    assert found["stages.0-1.conv"].macs == 2 * 16 * 36


def test_depth_limits_the_levels() -> None:
    graph = graph_of(TINY)
    assert rows(graph, 0) == ()
    assert all(not row.children for row in rows(graph, 1))
    assert rows(graph, 2) == rows(graph)


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_rows_add_up_at_every_level(name: str) -> None:
    spec = archgraph.load(name)
    graph = spec.graph(None, default_sizes(spec))
    top = rows(graph)
    for column in SUMMED:
        assert sum(getattr(row, column) for row in top) == getattr(totals(graph), column)
        for first in top:
            for _, row in first.walk():
                if row.children:
                    assert sum(getattr(child, column) for child in row.children) == getattr(row, column), row.path


def test_shared_weights_count_once_and_work_every_time() -> None:
    found = by_path(
        graph_of(
            """\
archgraph: 1
name: twice
inputs: {x: [B, 4]}
graph:
  first: {op: linear, out_features: 4}
  second: {share: first}
"""
        )
    )
    assert [(r.params, r.macs, r.note) for r in found.values()] == [(20, 16, ""), (0, 16, "weights of first")]


def test_unused_nodes_own_weights_and_do_no_work() -> None:
    found = by_path(
        graph_of(
            """\
archgraph: 1
name: spare
inputs: {x: [B, 4]}
graph:
  spare: {op: linear, in: x, out_features: 4, unused: true}
  used: {op: linear, in: x, out_features: 4}
"""
        )
    )
    assert (found["spare"].params, found["spare"].macs, found["spare"].note) == (20, 0, "unused")


def test_coverage_tells_counted_ops_from_free_ones() -> None:
    counted, free = coverage(graph_of(TINY))
    assert counted == {"add": 3, "conv2d": 4, "linear": 1, "reduce": 1, "relu": 3}
    assert free == {}
    counted, free = coverage(archgraph.load("vit").graph())
    assert counted["linear"] == 1 + 12 * 4
    assert free["rearrange"] == 1 + 12 * 2
    assert not counted.keys() & free.keys()


def test_closed_forms_in_the_dims_of_the_input() -> None:
    text = TINY.replace("image_size, image_size]", "H, W]")
    found = by_path(graph_of(text))
    assert str(found["blocks"].macs) == "1728*H*W"
