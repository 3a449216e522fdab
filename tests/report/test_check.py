from pathlib import Path

import archgraph
from archgraph.report.check import check_file
from tests.report.small import TINY


def codes(path: Path) -> list[str]:
    return [fault.code for fault in archgraph.check(path)]


def test_a_sound_spec(tiny: Path) -> None:
    assert archgraph.check(tiny) == []
    found = check_file(tiny)
    assert (found.ok, found.graphs, found.variants) == (True, 1, 2)


def test_a_fault_in_one_variant_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("wide: {width: 16}", "wide: {width: 0}"))
    (fault, *rest) = archgraph.check(path)
    assert "out_channels" in str(fault)
    assert rest == []


def test_a_fault_that_all_variants_share_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("pattern: b c h w -> b c,", "pattern: b c h -> b c,"))
    assert len(archgraph.check(path)) == 1


def test_references_are_checked_as_well(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + "reference:\n  some.Class: {to: graph, parms: {}}\n")
    assert [fault.at.line for fault in archgraph.check(path) if fault.at] == [TINY.count("\n") + 2]


def test_claims_are_checked_as_well(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + "claims: [{parms: 3}]\n")
    assert codes(path) == ["claims/key"]


def test_params_that_only_variants_set(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("width: 8,", "width: int,").replace("narrow: {}", "narrow: {width: 8}"))
    assert archgraph.check(path) == []


def test_settings(tiny: Path) -> None:
    assert [fault.code for fault in archgraph.check(tiny, dept=3)] == ["set/unknown"]
    assert archgraph.check(tiny, depth=1) == []


def test_what_is_not_there(tmp_path: Path) -> None:
    assert codes(tmp_path / "no.yaml") == ["yaml/file"]
    assert [fault.code for fault in archgraph.check("no-such-paper", "vit")] == ["spec/unknown"]


def test_a_library_of_blocks(tmp_path: Path) -> None:
    path = tmp_path / "blocks.yaml"
    path.write_text("archgraph: 1\nname: blocks\nblocks:\n  b: {inputs: {x: [B, C]}, graph: {y: relu}}\n")
    found = check_file(path)
    assert (found.ok, found.graphs) == (True, 0)


def test_a_fault_met_twice_in_a_block_is_told_in_every_graph(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    graph = "{inputs: {x: [B, 4]}, graph: {a: unit, b: {op: unit, in: x}, y: {formula: a + b}}}"
    path.write_text(
        f"archgraph: 1\nname: twice\ngraphs:\n  one: {graph}\n  two: {graph}\n"
        "blocks:\n  unit: {inputs: {x: [B, C]}, graph: {c: {op: conv2d, out_channels: 3, kernel_size: 1}}}\n"
    )
    assert len(archgraph.check(path)) == 1
