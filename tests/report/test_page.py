"""The HTML page as data and text: what it carries, what it can't carry, and how it is written."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import archgraph
from archgraph.analysis.profiles import load_profile
from archgraph.analysis.roofline import target
from archgraph.ir.dim import TooLarge, sym
from archgraph.report.compare import Range, compare, curve
from archgraph.report.files import write_whole
from archgraph.report.layout import layered
from archgraph.report.page import METRICS, Metric, comparison_page, entry, page
from archgraph.report.page.curves import curve_sets
from archgraph.report.page.data import model
from archgraph.report.scene import scene
from tests.cli.running import run
from tests.report.small import MACS, PARAMS, STAGES, TINY

END = "</script><!-- <script> \u2028 & {{style}}"


class Parts(HTMLParser):
    """The tags of a page, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def carried(text: str) -> dict[str, Any]:
    """The data of a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def tiny(**changes: str) -> archgraph.spec.load.Spec:
    text = TINY
    for old, new in changes.items():
        text = text.replace(old, new)
    return archgraph.loads(text, "narrow")


def test_a_page_carries_the_report() -> None:
    data = carried(page([entry(tiny())]))
    (shown,) = data["models"]
    keys = [metric["key"] for metric in data["metrics"]]
    assert keys == ["params", "macs", "flops", "saved_bytes", "activation_bytes"]
    assert shown["totals"] | {"params": PARAMS, "macs": MACS} == shown["totals"]
    report = archgraph.report(tiny(), depth=None)

    def check(found: list[Any], rows: Any) -> None:
        assert len(found) == len(rows)
        for (values, *below), row in zip(found, rows, strict=True):
            assert values == [getattr(row, key) for key in keys]
            check(below[0] if below else [], row.children)

    check(shown["tree"], report.rows)


def test_equal_graphs_are_defined_once() -> None:
    found = model(entry(archgraph.loads(STAGES)))
    stages = found["defs"][found["defs"][0]["items"][0]["opens"]]
    assert [item["name"] for item in stages["items"]] == ["0–1", "2"]
    assert len(found["defs"]) == 4


def test_metrics_are_a_list_that_can_grow() -> None:
    more = Metric("elementwise", "Element-wise", "", "Other arithmetic.")
    data = carried(page([entry(tiny())], metrics=[*METRICS, more, Metric("unheard_of", "?", "", "?")]))
    assert [metric["key"] for metric in data["metrics"]][-1] == "elementwise"
    assert data["models"][0]["values"][-1] == archgraph.report(tiny()).elementwise


def test_a_device_adds_times_and_energies() -> None:
    on = target(load_profile("h100-sxm"))
    e = entry(archgraph.load("vit", "tiny"), on=on)
    data = carried(page([e]))
    keys = [metric["key"] for metric in data["metrics"]]
    assert keys[-2:] == ["roofline.op_by_op", "roofline.op_by_op_energy"]
    (shown,) = data["models"]
    assert e.report.roofline is not None
    assert shown["values"][-2:] == [e.report.roofline.op_by_op, e.report.roofline.op_by_op_energy]
    assert shown["totals"]["roofline.bound"] == e.report.roofline.bound
    assert "h100-sxm" in json.dumps(shown["device"])


def test_text_can_not_leave_the_data() -> None:
    spec = archgraph.loads(TINY.replace("A stem, a chain of equal blocks, a classifier.", json.dumps(END)), "wide")
    text = page([entry(spec)])
    assert carried(text)["models"][0]["summary"] == END
    assert text.count("<script") == text.count("</script") == 2
    assert "<!--" not in text
    assert "\u2028" not in text


def test_the_policy_lets_this_script_run_and_nothing_be_fetched() -> None:
    text = page([entry(tiny())])
    parts = Parts(text)
    (policy,) = (a["content"] for tag, a in parts.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for element in ("script", "style"):
        body = re.search(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
        assert body is not None
        digest = base64.b64encode(hashlib.sha256(body[1].encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert not [a for tag, a in parts.tags if a.get("src") or (tag == "link" and a.get("href") != "data:,")]
    assert not re.search(r"@import|[^#]\burl\((?!#)|fetch\(|XMLHttpRequest|innerHTML|eval\(", text)


def test_curves_without_being_asked_are_over_what_all_specs_have() -> None:
    vit, resnet = entry(archgraph.load("vit", "tiny")), entry(archgraph.load("resnet", "resnet18"))
    assert [c["over"] for c in curve_sets([vit])] == ["side", "dim", "depth"]
    (side,) = curve_sets([vit, resnet])
    assert (side["over"], side["low"], side["high"], side["here"]) == ("side", 56, 896, [224, 224])
    assert [cost["key"] for cost in side["costs"]] == ["macs", "flops", "params", "activation_bytes"]
    for cost in side["costs"]:
        for curve_, shown in zip(cost["curves"], (vit, resnet), strict=True):
            assert curve_["here"] == getattr(shown.report, cost["key"])


def test_sequences_have_curves_over_their_length() -> None:
    spec = archgraph.loads(
        "archgraph: 1\nname: s\ninputs: {x: {shape: [B, N, 8], at: [1, 16, 8]}}\n"
        "graph: {y: {op: linear, out_features: 8}}\noutputs: {y: y}\n"
    )
    (found,) = curve_sets([entry(spec)])
    assert (found["over"], found["here"]) == ("N", [16])


def test_one_symbol_may_stand_for_both_sides_of_a_map() -> None:
    spec = archgraph.load("resnet", "resnet18")
    found = curve(spec, "S", at={"x": (1, 3, sym("S"), sym("S"))})
    assert found.at(224) == archgraph.report(spec).macs
    assert found.degree(224) == 2
    assert curve(spec, "H").degree(224) == 1


def test_long_ranges_are_not_searched_unasked() -> None:
    a, b = (curve(archgraph.load(*name), "image_size") for name in (("vit", "tiny"), ("swin", "tiny")))
    found = compare([a, b], 56, 448, scanned=16)
    assert found.crossovers == ()
    assert "at most 16 sizes" in found.notes[0]


def test_closed_forms_that_are_too_long_are_compared_by_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*forms: Any) -> Any:
        raise TooLarge("longer than anybody reads")

    a, b = (curve(archgraph.load("vit", variant), "image_size", "activation_bytes") for variant in ("tiny", "small"))
    assert a.form(448) is not None
    monkeypatch.setattr("archgraph.report.compare.dmax", refuse)
    assert a.form(448) is None
    assert "too long" in compare([a, b], 448 - 32, 448).notes[0]


@pytest.mark.parametrize("name", ["densenet", "detr", "overlock", "titans"])
def test_edges_pass_every_layer_between_their_ends(name: str) -> None:
    spec = archgraph.load(name)
    seen = scene(entry(spec).graph, 1)
    placed = layered(seen)
    layer = {vertex: k for k, row in enumerate(placed.rows) for vertex in row}
    assert len(layer) == sum(map(len, placed.rows))
    for edge, path in zip(seen.edges, placed.paths, strict=True):
        assert [layer[v] for v in path] == list(range(layer[path[0]], layer[path[-1]] + 1)), edge


def test_a_comparison_as_a_page() -> None:
    spec = archgraph.load("vit", "tiny")
    curves = [curve(spec, "image_size", rules=rules) for rules in ((), ("softmax_to_linear",))]
    data = carried(comparison_page([compare(curves, 64, 512)]))
    (shown,) = data["curves"]
    assert data["models"] == []
    assert shown["labels"] == ["vit:tiny", "vit:tiny+softmax_to_linear"]
    assert [x["at"] for x in shown["costs"][0]["crossings"]] == [x.at for x in compare(curves, 64, 512).crossovers]


# -- the command line ----------------------------------------------------------------------------------------------


def test_report_writes_a_page(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = run("report", "vit:tiny", "resnet:resnet18", "--html", target, "--over", "side=64:256", "--json")
    assert done.exit_code == 0, done.stderr
    data = carried(target.read_text(encoding="utf-8"))
    printed = json.loads(done.stdout)
    assert [m["totals"]["macs"] for m in data["models"]] == [r["macs"] for r in printed]
    assert [(c["over"], c["low"], c["high"]) for c in data["curves"]] == [("side", 64, 256)]
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--over", "side=64:256"), "--over is for the curves of --html"),
        (("--html", "x.html", "--symbolic", "dim"), "choose one of --html and --symbolic"),
        (("--html", "x.html", "--over", "side=9"), "is no range"),
        (("--html", "x.html", "--over", "nothing=1:9"), "can't be a symbol"),
        (("--html", "x.html", "--over", "image_size=8:15"), "takes no image_size from 8 to 15"),
    ],
)
def test_what_a_page_can_not_be_asked_for(tmp_path: Path, monkeypatch: Any, arguments: Any, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("report", "vit:tiny", *arguments)
    assert done.exit_code in (1, 2)
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "page.html"
    target.write_text("old")
    target.chmod(0o640)
    monkeypatch.setattr("os.replace", lambda *names: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_whole(target, "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("page.html", "old")]
    monkeypatch.undo()
    write_whole(target, "new")
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("new", 0o640)
    assert "no/page.html" in run("report", "vit:tiny", "--html", tmp_path / "no" / "page.html").stderr


def test_compare_writes_a_page_and_pictures(tmp_path: Path) -> None:
    arguments = ["compare", "vit:tiny", "vit:tiny+softmax_to_linear", "--over", "image_size=64:512", "--cost", "flops"]
    done = run(*arguments, "--html", tmp_path / "x.html", "--svg", tmp_path / "x.svg")
    assert done.exit_code == 0, done.stderr
    (shown,) = carried((tmp_path / "x.html").read_text(encoding="utf-8"))["curves"]
    assert [cost["key"] for cost in shown["costs"]] == ["flops", "macs", "params", "activation_bytes"]
    assert (tmp_path / "x.svg").read_text(encoding="utf-8").startswith("<svg")


def test_compare_writes_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = run(
        "compare", "vit:tiny", "resnet:resnet18", "--at", "1x3xSxS", "--over", "S=64:256", "--png", tmp_path / "x.png"
    )
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    done = run("compare", "vit:tiny", "--over", "image_size=64:512", "--png", tmp_path / "x.png")
    assert done.exit_code == 1
    assert "archgraph[search]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_range_is_what_over_says() -> None:
    from archgraph.cli.loading import read_range

    assert read_range("N=64:65536") == Range("N", 64, 65536)
