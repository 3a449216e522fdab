"""The HTML page as people meet it: in a browser, by mouse and keys, in the dark, on a phone."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import archgraph
from archgraph.ir.dim import sym
from archgraph.report.compare import Range, compare, curve
from archgraph.report.page import comparison_page, entry, page
from archgraph.report.report import Report
from tests.report.browser import Browser, browser
from tests.report.small import TINY

HOSTILE = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 2'> & <!-- {{script}}"
CLAIMED = (
    TINY
    + f"""\
claims:
  - {{variant: narrow, at: {{image: [1, 3, 8, 8]}}, params: 1989, printed: {{macs: 0.12M}}, source: "{HOSTILE}"}}
  - {{variant: wide, params: 1, agrees: false, source: a table, note: "{HOSTILE}"}}
  - {{variant: wide, params: 2, source: another table}}
  - claim: The wide one has more params
    of: {{wide: {{variant: wide}}, narrow: {{variant: narrow}}}}
    formula: wide.params > narrow.params
  - {{claim: It is the best, paper: a paper, open: nobody has measured it}}
"""
)
METRICS = ("params", "macs", "flops", "saved_bytes")


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of one small architecture, of a large one, of two, of a hostile one, and of curves alone."""
    folder = tmp_path_factory.mktemp("pages")
    load = archgraph.load
    vit, resnet = load("vit", "tiny"), load("resnet", "resnet18")
    hostile = archgraph.loads(
        CLAIMED.replace("A stem, a chain", HOSTILE).replace("summary: ", "summary: >-\n  "), "narrow"
    )
    softmax = [curve(vit, "image_size", "macs", rules=rules) for rules in ((), ("softmax_to_linear",))]
    texts = {
        "one": page([entry(vit)]),
        "large": page([entry(load("densenet", "densenet201"))]),
        "two": page([entry(vit), entry(resnet)], [Range("side", 64, 512)]),
        "hostile": page([entry(hostile)]),
        "open": page([entry(resnet, at={"x": (1, 3, sym("N"), sym("N"))})]),
        "curves": comparison_page([compare(softmax, 64, 512)]),
    }
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in texts}


def number(found: Any, attribute: str = "data-value") -> int:
    return int(found.get_attribute(attribute))


def cost(tab: Any, name: str) -> None:
    """Choose what the page measures by."""
    tab.locator(".sticky label", has_text=re.compile(f"^{name}$")).click()


@pytest.mark.parametrize("name", ["one", "large", "two", "hostile", "open", "curves"])
def test_it_is_quiet_asks_for_nothing_and_fits_a_phone(chromium: Browser, pages: dict[str, Path], name: str) -> None:
    chromium.asked.clear()
    chromium.complaints.clear()
    tab = chromium.open(pages[name], width=400, height=800)
    assert tab.locator("h1").is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= 400
    assert [url for url in chromium.asked if not url.startswith("data:")] == [pages[name].as_uri()]
    assert chromium.complaints == []
    assert tab.evaluate("document.querySelectorAll('*').length") < 3000, "what is not looked at is not drawn"
    tab.close()


def test_nothing_in_a_spec_becomes_markup(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["hostile"])
    assert tab.evaluate("window.broken") is None
    assert tab.evaluate("[document.scripts.length, document.images.length]") == [2, 0]
    assert HOSTILE in tab.locator("header .summary").inner_text()
    assert tab.locator("#claims .source", has_text=HOSTILE).count() == 3
    tab.close()


def test_blocks_open_and_close_by_mouse_and_by_keys(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["one"])
    tab.get_by_role("button", name="Close all blocks").click()
    closed = tab.locator(".box").count()
    blocks = tab.locator('.box[data-path="blocks"]')
    assert blocks.get_attribute("aria-expanded") == "false"
    assert "blocks ×12" in blocks.text_content()
    blocks.click(position={"x": 40, "y": 12})
    assert blocks.get_attribute("aria-expanded") == "true"
    assert tab.locator('.box[data-path="blocks.*.attn"]').count() == 1
    assert tab.locator(".box").count() > closed
    assert tab.locator(".inspect h3").inner_text().startswith("blocks ×12")
    blocks.click(position={"x": 40, "y": 12})
    assert tab.locator(".box").count() == closed

    tab.locator('.box[data-path="patch_embed"]').click()
    order = tab.evaluate("[...document.querySelectorAll('.box')].map((b) => b.dataset.path)")
    for _ in range(order.index("blocks") - order.index("patch_embed")):
        tab.keyboard.press("ArrowDown")
    assert tab.evaluate("document.activeElement.dataset.path") == "blocks"
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".box").count() > closed
    tab.keyboard.press("ArrowRight")
    assert tab.evaluate("document.activeElement.dataset.path").startswith("blocks.")
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Enter")
    assert tab.locator(".box").count() == closed
    tab.close()


def test_a_block_that_is_chosen_tells_its_shapes_and_costs(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["one"])
    report = archgraph.report("vit", "tiny", depth=None)
    rows = {row.path: row for _, row in report.walk()}
    tab.locator('.box[data-path="patch_embed"]').click()
    inspector = tab.locator(".inspect")
    for key in (*METRICS, "activation_bytes"):
        assert number(inspector.locator(f'[data-key="{key}"] [data-value]')) == getattr(rows["patch_embed"], key)
    assert rows["patch_embed"].shape in inspector.inner_text()
    assert "kernel_size" in inspector.inner_text()
    tab.close()


@pytest.mark.parametrize(("name", "spec"), [("one", ("vit", "tiny")), ("large", ("densenet", "densenet201"))])
def test_the_icicle_shows_what_the_report_counts(
    chromium: Browser, pages: dict[str, Path], name: str, spec: tuple[str, str]
) -> None:
    tab = chromium.open(pages[name], width=1400)
    report = archgraph.report(*spec, depth=None)
    for label, key in zip(("Params", "MACs", "FLOPs", "Memory"), METRICS, strict=True):
        cost(tab, label)
        assert number(tab.locator(".icicle .total")) == getattr(report, key)
        shown = drawn(tab)
        assert shown[""][0] == getattr(report, key)
        rows = {row.path: row for _, row in report.walk()}
        assert len(shown) > 8
        for path, (value, share) in shown.items():
            if path:
                assert value == getattr(rows[path], key)
                assert share == pytest.approx(value / getattr(report, key), abs=0.02)
    tab.close()


def drawn(tab: Any) -> dict[str, tuple[int, float]]:
    """Value and share of the width of every cell, by path."""
    share = "c.offsetWidth / c.parentNode.offsetWidth"
    cells = tab.evaluate(
        f"[...document.querySelectorAll('.cell')].map((c) => [c.dataset.path, c.dataset.value, {share}])"
    )
    return {path: (int(value), share) for path, value, share in cells}


def test_the_icicle_zooms(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["one"])
    cost(tab, "MACs")
    attn = tab.locator('.cell[data-path="blocks.*.attn"]')
    before = attn.bounding_box()["width"]
    attn.click()
    assert attn.bounding_box()["width"] == pytest.approx(tab.locator(".cells").bounding_box()["width"], abs=1)
    assert before < 0.5 * attn.bounding_box()["width"]
    assert tab.locator(".trail").inner_text().split("›")[-1].strip() == "attn"
    report: Report = archgraph.report("vit", "tiny", depth=None)
    parts = {row.path: row.macs for _, row in report.walk() if row.path.startswith("blocks.*.attn.") and row.macs}
    shown = drawn(tab)
    assert {path: shown[path][0] for path in parts} == parts
    assert sum(shown[path][1] for path in parts) == pytest.approx(1, abs=0.02)
    tab.keyboard.press("Escape")
    tab.keyboard.press("Escape")
    assert attn.bounding_box()["width"] == pytest.approx(before, abs=1)
    tab.close()


def test_several_icicles_have_one_scale(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["two"])
    a, b = (tab.locator(".icicle .cells").nth(k) for k in (0, 1))
    vit, resnet = archgraph.report("vit", "tiny").params, archgraph.report("resnet", "resnet18").params
    assert a.bounding_box()["width"] / b.bounding_box()["width"] == pytest.approx(vit / resnet, abs=0.01)
    tab.get_by_label("to one scale").uncheck()
    assert a.bounding_box()["width"] == b.bounding_box()["width"]
    tab.close()


def test_curves_tell_values_under_the_pointer_and_mark_crossings(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["two"])
    chart = tab.locator(".chart")
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    tab.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.5 * box["height"])
    said = tab.locator("#tip").inner_text()
    side = int(re.search(r"side = ([\d\u202f]+)", said)[1].replace("\u202f", ""))
    report = archgraph.report("resnet", "resnet18", at={"x": (1, 3, side, side)})
    assert f"{report.macs:,}".replace(",", "\u202f") in said

    specs = [archgraph.load("vit", "tiny"), archgraph.load("resnet", "resnet18")]
    at = [{name: (1, 3, sym("S"), sym("S"))} for name in ("image", "x")]
    solved = compare([curve(s, "S", at=a) for s, a in zip(specs, at, strict=True)], 64, 512).crossovers
    marked = [
        int(x) for x in tab.evaluate("[...document.querySelectorAll('.crossings circle')].map((c) => c.dataset.at)")
    ]
    assert marked == [x.at for x in solved]

    chart.focus()
    tab.keyboard.press("ArrowRight")
    first = tab.locator("#tip").inner_text()
    tab.keyboard.press("ArrowRight")
    assert first != tab.locator("#tip").inner_text()
    tab.close()


def test_claims_are_those_of_verify(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["one"])
    ours = "r.querySelector('.ours').textContent"
    rows = tab.evaluate(f"[...document.querySelectorAll('#claims tbody tr')].map((r) => [r.dataset.outcome, {ours}])")
    verified = [(each.outcome(check), check.shown) for each in archgraph.verify("vit") for check in each.checks]
    verified += [(each.status, "") for each in archgraph.verify("vit") if not each.checks]
    assert sorted((outcome, ours.replace("\u202f", ",")) for outcome, ours in rows) == sorted(verified)
    tab.close()

    tab = chromium.open(pages["hostile"])
    outcomes = tab.evaluate("[...document.querySelectorAll('#claims tbody tr')].map((r) => r.dataset.outcome)")
    assert outcomes == ["exact", "printed", "recorded", "differs", "holds", "open"]
    tab.close()


def test_it_is_dark_where_that_is_preferred(chromium: Browser, pages: dict[str, Path]) -> None:
    brightness = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number).reduce((a, b) => a + b)"
    tab = chromium.open(pages["one"], scheme="dark")
    assert tab.evaluate(brightness) < 200
    tab.locator("footer label", has_text="light").click()
    assert tab.evaluate(brightness) > 700
    tab.close()


def test_sizes_that_are_open_are_said_and_not_drawn(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["open"])
    cost(tab, "MACs")
    assert "N" in tab.locator(".tile [data-key=macs]").inner_text()
    assert "left open" in tab.locator(".icicle .hint").inner_text()
    assert tab.locator(".box").count() > 5
    tab.close()


def test_all_of_a_large_graph_opens(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["large"])
    tab.get_by_role("button", name="Open blocks level by level").click()
    report = archgraph.report("densenet", "densenet201", depth=None)
    paths = tab.evaluate("[...document.querySelectorAll('.box')].map((b) => b.dataset.path)")
    assert sorted(paths) == sorted(row.path for _, row in report.walk())
    tab.close()


def test_it_prints_without_controls(chromium: Browser, pages: dict[str, Path]) -> None:
    tab = chromium.open(pages["one"], scheme="dark")
    tab.emulate_media(media="print")
    assert not tab.get_by_role("button", name="Close all blocks").is_visible()
    assert tab.evaluate("getComputedStyle(document.querySelector('.scroll')).overflow") == "visible"
    assert tab.evaluate(
        "document.querySelector('.scroll').scrollHeight <= document.querySelector('.scroll').clientHeight + 1"
    )
    tab.close()
