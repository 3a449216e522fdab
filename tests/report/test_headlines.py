"""The headline claims of papers hold, disagree with a reason, or are open and say why; no variant is left out."""

import json

import pytest
from typer.testing import CliRunner

import archgraph
from archgraph.cli.app import app
from archgraph.report.check import spec_files
from archgraph.report.verify import verified_files
from archgraph.spec.spec_files import claim_files, parse_file
from tools.claims import PAGE

HEADLINES = archgraph.verify("headlines")


@pytest.mark.parametrize("each", HEADLINES, ids=lambda each: each.label[:60])
def test_a_headline_holds_or_says_why_not(each):
    assert each.ok, [str(f) for f in each.faults] or each.used
    assert each.status in ("exact", "printed", "holds") or each.claim.note or each.open


def test_the_papers_that_make_headlines():
    assert {each.claim.paper for each in HEADLINES} >= {
        "ECA-Net", "ULSAM", "SMT", "DHVT", "SpaRTAN", "OverLoCK", "DBConformer", "Sparsifiner", "BiFormer",
        "agent attention", "L2ViT", "lightning attention", "MaxViT", "Titans",
    }  # fmt: skip
    open_ones = {each.label: each.open for each in HEADLINES if each.open}
    assert all(open_ones.values())
    assert sum(not each.open for each in HEADLINES) >= 20


def test_the_page_lists_every_headline():
    page = PAGE.read_text(encoding="utf-8")
    assert all(each.claim.text in page for each in HEADLINES)


def test_every_variant_of_every_shipped_spec_is_listed():
    files = verified_files()
    assert set(files) == {*spec_files(), *claim_files().values()}
    shown = CliRunner().invoke(app, ["verify", "--json"])
    assert shown.exit_code == 0, shown.output
    listed: dict[str, set[str | None]] = {}
    for each in json.loads(shown.output):
        if "claim" not in each:
            listed.setdefault(each["path"], set()).add(each["variant"])
            assert (each["status"] == "unclaimed") == (not each["checks"])
    for path in spec_files():
        file = parse_file(path)
        if file.graphs:
            assert listed[file.path] >= (set(file.variants) or {None}), path


def test_a_variant_without_a_claim_is_told(tmp_path):
    from tests.report.small import TINY

    path = tmp_path / "tiny.yaml"
    path.write_text(TINY + "claims: [{variant: wide, params: 7429}]\n")
    found = archgraph.verify(path)
    assert [(each.label, each.status, each.ok) for each in found] == [
        ("tiny:wide", "exact", True),
        ("tiny:narrow", "unclaimed", True),
    ]
