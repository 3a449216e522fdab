"""Text of diagnostics, their collection and the suggestion of names."""

import pickle

import pytest

from archgraph.ir.diagnostics import (
    Collector,
    Diagnostic,
    Span,
    SpecError,
    did_you_mean,
    remember_source,
    render,
    source_lines,
)

LINES = {"specs/x.yaml": ["graph:", "  x: {op: relu}", "  sum: {residual: [conv: {op: conv2d, out_channels: 64}]}"]}


def test_every_part_of_a_diagnostic_is_shown() -> None:
    fault = Diagnostic(
        "shape/mismatch",
        Span("specs/x.yaml", 3, 21, 25),
        "residual branch changes the shape",
        notes=((Span("specs/x.yaml", 2, 3), "x is produced here"), (None, "in block `stem`")),
        expected="[B, C, H, W]",
        found="[B, 64, H, W]",
        hint="did you mean `conv2d`?",
    )
    assert render(fault, LINES) == (
        "specs/x.yaml:3:21: error[shape/mismatch]: residual branch changes the shape\n"
        "  3 |   sum: {residual: [conv: {op: conv2d, out_channels: 64}]}\n"
        "    |                     ^^^^\n"
        "  expected: [B, C, H, W]\n"
        "  found:    [B, 64, H, W]\n"
        "  note: specs/x.yaml:2:3: x is produced here\n"
        "  note: in block `stem`\n"
        "  help: did you mean `conv2d`?"
    )


def test_without_a_position_or_a_source_there_is_no_excerpt() -> None:
    assert render(Diagnostic("a/b", None, "wrong")) == "error[a/b]: wrong"
    assert render(Diagnostic("a/b", Span("unread.yaml", 7, 1), "wrong")) == "unread.yaml:7:1: error[a/b]: wrong"
    assert render(Diagnostic("a/b", Span("specs/x.yaml", 99, 1), "wrong"), LINES).count("\n") == 0


@pytest.mark.parametrize(
    ("line", "span", "excerpt", "caret"),
    [
        ("\ta: b", (2, 3), "    a: b", "    ^"),
        ("注意: x", (5, 6), "注意: x", "      ^"),
        ("a: 注意", (4, 6), "a: 注意", "   ^^^^"),
        ("e\u0301a: x", (3, 4), "e\u0301a: x", " ^"),
        ("a: \x1b[31m", (4, 5), "a: \N{REPLACEMENT CHARACTER}[31m", "   ^"),
        ("ab", (3, None), "ab", "  ^"),
        ("ab", (40, 50), "ab", "  ^"),
        ("abc", (2, None), "abc", " ^"),
    ],
    ids=["tab", "wide before", "wide under", "combining", "escape", "line end", "beyond the end", "open span"],
)
def test_caret_stands_under_the_text(line: str, span: tuple[int, int | None], excerpt: str, caret: str) -> None:
    shown = render(Diagnostic("a/b", Span("f", 1, *span), "wrong"), {"f": [line]}).splitlines()
    assert shown[1:] == [f"  1 | {excerpt}", f"    | {caret}"]


@pytest.mark.parametrize("column", [1, 150, 299, 300])
def test_long_lines_are_cut_around_the_caret(column: int) -> None:
    line = "".join(chr(ord("a") + index % 26) for index in range(300))
    fault = Diagnostic("a/b", Span("f", 1, column, column + 1), "wrong")
    _, excerpt, caret = render(fault, {"f": [line]}).splitlines()
    assert len(excerpt) < 130
    assert excerpt[caret.index("^")] == line[column - 1]


def test_a_span_longer_than_the_window_keeps_its_start_in_view() -> None:
    _, excerpt, caret = render(Diagnostic("a/b", Span("f", 1, 200, 400), "wrong"), {"f": ["x" * 500]}).splitlines()
    assert len(excerpt) < 130
    assert len(caret) <= len(excerpt)
    assert caret.count("^") > 50


def test_several_lines_of_text_are_indented() -> None:
    fault = Diagnostic("a/b", None, "one\ntwo", expected="x\ny", hint="p\nq")
    assert render(fault) == "error[a/b]: one\n  two\n  expected: x\n            y\n  help: p\n        q"


def test_sources_are_remembered_for_a_bounded_number_of_files() -> None:
    remember_source("first", "a\r\nb\rc\nd\u2028e")
    assert source_lines("first") == ["a", "b", "c", "d", "e"]
    assert render(Diagnostic("a/b", Span("first", 2, 1), "wrong")).splitlines()[1] == "  2 | b"
    for number in range(200):
        remember_source(f"file {number}", "x")
    assert source_lines("first") is None
    assert source_lines("file 199") == ["x"]


def test_collector_drops_repetitions_and_caps_each_file() -> None:
    faults = Collector(limit=3)
    faults.raise_if_any()
    for _ in range(5):
        faults.error("a/b", Span("f", 1, 1), "same")
    assert len(faults) == 1
    for number in range(10):
        faults.error("a/b", Span("f", number, 1), "different")
    faults.error("a/b", Span("g", 1, 1), "elsewhere")
    with pytest.raises(SpecError) as caught:
        faults.raise_if_any()
    shown = [fault.message for fault in caught.value.diagnostics]
    assert shown == ["same", "different", "different", "elsewhere", "8 more errors in f not shown"]


def test_spec_error_renders_all_and_survives_pickling() -> None:
    error = SpecError(Diagnostic("a/b", None, "one"), Diagnostic("c/d", Span("unread", 2, 3), "two"))
    assert str(error) == "error[a/b]: one\nunread:2:3: error[c/d]: two"
    assert pickle.loads(pickle.dumps(error)).diagnostics == error.diagnostics


@pytest.mark.parametrize(
    ("word", "close"),
    [
        ("conv2", "conv2d"),
        ("Conv2d", "conv2d"),
        ("layernorm", "layer_norm"),
        ("layer-norm", "layer_norm"),
        ("xyz", None),
    ],
)
def test_did_you_mean(word: str, close: str | None) -> None:
    assert did_you_mean(word, ["layer_norm", "conv2d", "conv3d", "linear"]) == close
    assert did_you_mean(word, []) is None
