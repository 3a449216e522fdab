"""Reports with a device: columns in every form, sums over rows, what the footer says."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

import archgraph
from archgraph.analysis.profiles import DeviceProfile, load_profile
from archgraph.report.formats import summary_csv, summary_markdown
from archgraph.report.numbers import human_si
from archgraph.report.report import Report
from tests.report.small import TINY

DEVICE = "raspberry-pi-5"


@pytest.fixture(scope="module")
def small() -> Report:
    return archgraph.report(archgraph.loads(TINY, "narrow"), device=DEVICE, depth=None)


def test_rows_add_up_to_ops_by_themselves(small: Report) -> None:
    assert small.roofline is not None
    times = [row.roofline for row in small.rows]
    assert all(t is not None for t in times)
    assert sum(t.load.ticks for t in times if t) == small.roofline.load.ticks
    assert sum(t.load.moved for t in times if t) == small.roofline.load.moved
    blocks = small.rows[1]
    assert blocks.roofline is not None
    inner = [row.roofline for row in blocks.children]
    assert sum(t.load.ticks for t in inner if t) == blocks.roofline.load.ticks
    assert sum(t.compulsory for t in inner if t) == blocks.roofline.compulsory == 4 * 3 * 576
    assert sum(t.compulsory for t in times if t) + 4 * (3 * 64 + 5) == small.roofline.compulsory


def test_json_csv_and_markdown_tell_it(small: Report) -> None:
    found = json.loads(small.to_json())
    assert found["device"] == {"name": DEVICE, "dtype": "float32", "memory_bytes": 8e9}
    assert found["fits"] is True
    assert found["roofline"]["bound_seconds"] <= found["roofline"]["op_by_op_seconds"]
    assert found["rows"][1]["roofline"]["kernels"] == 9
    lines = list(csv.DictReader(io.StringIO(small.to_csv())))
    assert float(lines[0]["bound_seconds"]) == found["roofline"]["bound_seconds"]
    assert {line["op_by_op_binds"] for line in lines} <= {"products", "element-wise", "memory", "launch", ""}
    text = small.to_markdown()
    assert "| bound | op by op | binds | energy |" in text
    assert "- latency: at least " in text
    assert len({line.count(" | ") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "<th>energy</th>" in small._repr_html_()


def test_without_a_device_nothing_is_told() -> None:
    found = archgraph.report(archgraph.loads(TINY, "narrow"))
    assert found.roofline is None
    assert "roofline" not in found.to_dict()
    assert "bound" not in found.to_markdown()
    with pytest.raises(ValueError, match="dtype"):
        archgraph.report(archgraph.loads(TINY), dtype="bfloat16")


@pytest.mark.parametrize("width", [80, 120, 200])
def test_a_console_shows_the_times(small: Report, width: int) -> None:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(small)
    text = capture.get()
    assert "op by op" in text
    assert "at least" in text
    assert max(map(len, text.splitlines())) <= width


def test_several_reports(small: Report) -> None:
    other = archgraph.report(archgraph.loads(TINY, "wide"), device=load_profile(DEVICE))
    assert "op by op" in summary_markdown([small, other])
    (first, second) = csv.DictReader(io.StringIO(summary_csv([small, other])))
    assert float(first["bound_seconds"]) < float(second["bound_seconds"])


def test_what_does_not_fit() -> None:
    device = replace(load_profile(DEVICE), memory_bytes=1000.0, energy=None)
    found = archgraph.report(archgraph.loads(TINY), device=device)
    assert "DOES NOT FIT" in found.to_markdown()
    assert "does not tell" in found.to_markdown()
    assert found.to_dict()["roofline"]["energy_joules"] is None
    bare = DeviceProfile("bare", {"float32": 1e9}, 1e9)
    assert archgraph.report(archgraph.loads(TINY), device=bare).to_dict()["fits"] is None


def test_open_sizes_are_refused() -> None:
    from archgraph.ir.dim import sym

    with pytest.raises(archgraph.SpecError, match="N is open"):
        archgraph.report(archgraph.loads(TINY), at={"image": (1, 3, sym("N"), sym("N"))}, device=DEVICE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (3.61e-3, "3.61 ms"),
        (0.9996, "1.00 s"),
        (1.5e-6, "1.50 µs"),
        (12.34, "12.3 s"),
        (9.996e-4, "1.00 ms"),
    ],
)
def test_quantities(value: float, text: str) -> None:
    assert human_si(value, "s") == text
