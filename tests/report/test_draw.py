import re
import shutil
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

import archgraph
from archgraph.analysis.sizes import default_sizes
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.graph import Graph
from archgraph.report.draw import draw
from archgraph.report.layout import Box, Plan, plan
from archgraph.report.scene import INPUTS, OUTPUTS, scene
from tests.report.small import STAGES, TINY

SVG = "{http://www.w3.org/2000/svg}"


def graph_of(text: str) -> Graph:
    spec = archgraph.loads(text)
    return spec.graph(None, default_sizes(spec))


@pytest.fixture(scope="module", params=["vit", "resnet", "tiny"])
def graph(request: pytest.FixtureRequest) -> Graph:
    spec = archgraph.loads(TINY) if request.param == "tiny" else archgraph.load(request.param)
    return spec.graph(None, default_sizes(spec))


def test_edges_carry_each_value_and_name_its_type_once() -> None:
    seen = scene(graph_of(TINY))
    blocks = seen.items[1]
    assert blocks.row.label == "blocks ×3"
    assert blocks.scene is not None
    ends = [(edge.source[0], edge.target[0], edge.label) for edge in blocks.scene.edges]
    assert ends == [
        (INPUTS, 0, "[1, 8, 8, 8]"),
        (0, 1, "[1, 8, 8, 8]"),
        (INPUTS, 2, ""),
        (1, 2, "[1, 8, 8, 8]"),
        (2, OUTPUTS, "[1, 8, 8, 8]"),
    ]


def test_folded_turns_are_one_box() -> None:
    seen = scene(graph_of(STAGES))
    loop = seen.items[0].scene
    assert loop is not None
    assert [item.row.label for item in loop.items] == ["0–1 ×2", "2"]
    assert [(edge.source[0], edge.target[0]) for edge in loop.edges] == [(INPUTS, 0), (0, 1), (1, OUTPUTS)]


def test_graphviz_text_joins_ops_across_clusters() -> None:
    text = draw(graph_of(TINY)).decode()
    assert text.count("subgraph cluster_") == 1
    # stem (n0) feeds the convolution and, around it, the sum; the sum leaves the block for the pool
    for edge in ("in0 -> n0", "n0 -> n1_0", "n0 -> n1_2", "n1_0 -> n1_1", "n1_1 -> n1_2", "n1_2 -> n2", "n3 -> out0"):
        assert re.search(rf"^  {edge}\b", text, re.MULTILINE), edge
    assert "×3" in text


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_graphviz_draws_it(graph: Graph, form: str) -> None:
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[form]
    assert draw(graph, form, depth=3).startswith(start)


@pytest.fixture
def _no_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archgraph.report.draw.shutil.which", lambda name: None)


@pytest.mark.usefixtures("_no_graphviz")
def test_svg_without_graphviz(graph: Graph) -> None:
    root = ElementTree.fromstring(draw(graph, "svg", title="a <b> & c", depth=None))
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    assert texts[0] == "a <b> & c"
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    boxes = list(root.iter(f"{SVG}rect"))[1:]
    assert len(boxes) > len(graph.nodes)
    for box in boxes:
        x, y, w, h = (float(box.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


@pytest.mark.usefixtures("_no_graphviz")
def test_other_pictures_without_graphviz_are_refused(graph: Graph) -> None:
    with pytest.raises(SpecError, match=r"needs Graphviz.*\n.*install"):
        draw(graph, "png")


def test_unknown_formats_are_refused(graph: Graph) -> None:
    with pytest.raises(SpecError, match="no drawing as `jpg`"):
        draw(graph, "jpg")


def overlap(a: Box, b: Box) -> bool:
    return abs(a.x - b.x) < (a.width + b.width) / 2 and a.y < b.y + b.height and b.y < a.y + a.height


def check_layout(placed: Plan) -> None:
    for a, b in combinations(placed.boxes, 2):
        assert not overlap(a, b), (a, b)
    for box in placed.boxes:
        assert box.left >= -1e-6
        assert box.left + box.width <= placed.width + 1e-6
        if box.inner is not None:
            assert box.inner.width <= box.width
            assert box.inner.height < box.height
            check_layout(box.inner)
    for route in placed.routes:
        assert all(a[1] <= b[1] for a, b in pairwise(route.points)), "edges run downwards"
        for x, y in route.points[1:-1]:
            assert not any(abs(box.x - x) < box.width / 2 and box.y < y < box.y + box.height for box in placed.boxes)


def test_no_box_hides_another_or_an_edge(graph: Graph) -> None:
    check_layout(plan(scene(graph, None)))


def test_layout_is_a_function_of_the_graph(graph: Graph) -> None:
    assert draw(graph, "dot", depth=None) == draw(graph, "dot", depth=None)
    assert plan(scene(graph, None)) == plan(scene(graph, None))
