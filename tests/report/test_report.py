import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

import archgraph
from archgraph.ir.dim import sym
from archgraph.report.formats import summary_csv, summary_markdown
from archgraph.report.report import Report
from tests.report.small import MACS, PARAMS, TINY


@pytest.fixture(scope="module")
def small() -> Report:
    return archgraph.report(archgraph.loads(TINY, "narrow"))


def shown(report: object, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(report)
    return capture.get()


def test_totals(small: Report) -> None:
    assert (small.params, small.macs, small.buffers) == (PARAMS, MACS, 0)
    # relu and add on three times 8·8·8 values, the mean of 8 times 64 (a sum and a division each), five biases
    assert small.elementwise == 3 * 2 * 512 + 8 * 65 + 5
    assert small.flops == 2 * MACS + small.elementwise
    assert small.weight_bytes == 4 * PARAMS
    assert small.label == "tiny:narrow"


def test_dict_is_json_with_exact_numbers(small: Report) -> None:
    found = json.loads(small.to_json())
    wanted = {"spec": "tiny", "variant": "narrow", "params": PARAMS, "buffers": 0, "macs": MACS, "flops": small.flops}
    assert found.items() >= wanted.items()
    assert isinstance(found["activation_bytes"], int)
    assert found["settings"] == {"width": 8, "depth": 3, "image_size": 8, "classes": 5}
    assert found["inputs"] == {"image": {"dtype": "float", "shape": [1, 3, 8, 8]}}
    assert [row["name"] for row in found["rows"]] == ["stem", "blocks", "pool", "head"]
    assert found["rows"][1]["children"][0]["path"] == "blocks.*.conv"


def test_csv_is_exact(small: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(small.to_csv())))
    assert (lines[0]["name"], lines[0]["params"], lines[0]["macs"]) == ("tiny:narrow", str(PARAMS), str(MACS))
    top = [line for line in lines if line["depth"] == "1"]
    assert sum(int(line["params"]) for line in top) == PARAMS


def test_markdown_has_a_row_per_row(small: Report) -> None:
    text = small.to_markdown()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count(" | ") for line in table}) == 1
    assert any("blocks ×3" in line for line in table)
    assert f"{MACS:,}" in text


def test_html_is_well_formed(small: Report) -> None:
    root = ElementTree.fromstring(f"<div>{small._repr_html_()}</div>")
    assert len(root.findall(".//tbody/tr")) == len(list(small.walk())) + 1


@pytest.mark.parametrize("width", [60, 90, 105, 160])
def test_a_console_of_any_width_shows_the_essentials(small: Report, width: int) -> None:
    text = shown(small, width)
    assert "blocks ×3" in text
    assert f"{PARAMS:,}" in text
    assert max(map(len, text.splitlines())) <= width
    assert ("FLOPs " in text.splitlines()[1]) == (width >= 112)


def test_small_letters_in_shapes_are_no_markup() -> None:
    report = archgraph.report(archgraph.loads(TINY.replace("[B, 3, image_size, image_size]", "[n, 3, h, w]")))
    assert "[n, 8, h, w]" in shown(report, 200)


def test_closed_forms_are_expressions_in_json() -> None:
    h = sym("H")
    found = archgraph.report(archgraph.loads(TINY), at={"image": (1, 3, h, h)}).to_dict()
    assert found["macs"] == "1944*H**2 + 40"
    assert found["settings"]["image_size"] == "H"
    json.dumps(found)


def test_depth_and_settings() -> None:
    spec = archgraph.loads(TINY)
    assert archgraph.report(spec, depth=0).rows == ()
    assert archgraph.report(spec, depth=5).params == PARAMS
    assert archgraph.report(spec, width=16).params > PARAMS
    with pytest.raises(ValueError, match="give it to `load`"):
        archgraph.report(spec, "wide")


def test_summaries_have_a_row_each(small: Report) -> None:
    wide = archgraph.report(archgraph.loads(TINY, "wide"))
    lines = list(csv.DictReader(io.StringIO(summary_csv([small, wide]))))
    assert [(line["variant"], int(line["params"])) for line in lines] == [("narrow", PARAMS), ("wide", wide.params)]
    assert summary_markdown([small, wide]).count("\n") == 4


def test_the_public_function_survives_its_package(tiny: Path) -> None:
    code = (
        "import archgraph.report.report, archgraph\n"
        f"print(archgraph.report({str(tiny)!r}).params)\n"
        "from archgraph import report\n"
        f"print(report({str(tiny)!r}).params)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(PARAMS), str(PARAMS)]


def test_public_names() -> None:
    for name in archgraph.__all__:
        assert getattr(archgraph, name) is not None
        assert name in dir(archgraph)
    with pytest.raises(AttributeError, match="nothing"):
        archgraph.nothing  # noqa: B018


def test_expected_macs_stand_beside_dense_ones():
    sparse = archgraph.loads(
        """\
archgraph: 1
name: sparse
inputs: {x: [4, 8]}
graph:
  kept: {op: keep_topk, k: 2}
  y:    {op: linear, out_features: 10}
outputs: {y: y}
"""
    )
    r = archgraph.report(sparse)
    assert (r.macs, r.expected_macs) == (320, 80)
    assert "80 MACs where zeros are skipped, 25.0 %" in r.to_markdown()
    dense = archgraph.report("vit")
    assert dense.expected_macs == dense.macs
    assert "skipped" not in dense.to_markdown()
