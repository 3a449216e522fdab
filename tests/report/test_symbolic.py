"""Closed forms as reports: evaluated they are the integer report, block by block; texts and flags are enumerated."""

import json

import pytest
from typer.testing import CliRunner

import archgraph
from archgraph.cli.app import app
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import evaluate
from archgraph.report.symbolic import TOTALS, closed_forms


def test_closed_forms_evaluate_to_the_report_block_by_block():
    (forms,) = closed_forms(archgraph.load("vit"), ["dim", "depth", "image_size"], depth=2)
    env = {"dim": 384, "depth": 5, "image_size": 256}
    numbers = archgraph.report(archgraph.load("vit").with_settings(**env), depth=2)
    for name in TOTALS:
        assert max(evaluate(x, env) for x in forms.forms(name)) == getattr(numbers, name)
    for (_, row), (_, other) in zip(forms.report.walk(), numbers.walk(), strict=True):
        assert row.path == other.path
        assert [evaluate(getattr(row, n), env) for n in ("params", "macs", "flops")] == [
            other.params,
            other.macs,
            other.flops,
        ]
    assert forms.order("macs") == "O(image_size⁴·depth·dim + dim²·image_size²·depth)"


def test_texts_and_flags_are_enumerated():
    found = closed_forms(archgraph.load("vit"), ["dim", "pool", "qkv_bias"])
    assert [f.chosen for f in found] == [
        {"pool": p, "qkv_bias": b} for p in ("cls", "mean", "max") for b in (False, True)
    ]
    assert len({str(f.report.params) for f in found}) == 2  # the bias has params, pooling has none


def test_a_case_tells_where_it_holds():
    (forms,) = closed_forms(archgraph.load("l2vit"), ["H"])
    assert forms.case.assumed
    assert "where" in forms.title


def test_provisos_are_few():
    (forms,) = closed_forms(archgraph.load("hornet"), ["dim", "H", "W"])
    assert sorted(forms.provisos()) == ["H ≥ 32", "W ≥ 32", "dim - 2·(dim//2) = 0"]


def test_unknown_names():
    with pytest.raises(SpecError, match="dept"):
        closed_forms(archgraph.load("vit"), ["dept"])


@pytest.mark.parametrize("option", ["--md", "--json", None])
def test_command(option):
    args = ["report", "hornet", "--symbolic", "dim,H,W", "--depth", "1", *([option] if option else [])]
    shown = CliRunner().invoke(app, args)
    assert shown.exit_code == 0, shown.output
    if option == "--json":
        told = json.loads(shown.output)
        assert told["symbols"] == ["dim", "H", "W"]
        assert told["orders"]["macs"].startswith("O(dim²·H·W")
    else:
        assert "O(dim²·H·W" in shown.output


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("biformer", [(224, 224), (448, 224), (672, 448)]),
        ("cswin", [(448, 224), (672, 448)]),
        ("agent-attention/pvt", [(224, 224)]),
        ("agent-attention/deit", [(224, 224), (320, 176)]),
        ("agent-attention/cswin", [(448, 224), (672, 672)]),
        ("agent-attention/swin", [(448, 448)]),
    ],
)
def test_maps_of_open_size(name, sizes):
    """Hosts whose windows tile their maps, and what rules make of them: the law in both sides of the image."""
    spec = archgraph.load(name)
    depths = spec.params().get("depths")
    if depths:
        spec = spec.with_settings(depths=[min(d, 2) for d in depths])
    (forms,) = closed_forms(spec, ["H", "W"])
    for h, w in sizes:
        env = {"H": h, "W": w}
        assert forms.case.holds(env)
        image = next(iter(spec.block().inputs))
        numbers = archgraph.report(spec, at={image: (1, 3, h, w)})
        for total in TOTALS:
            assert max(evaluate(x, env) for x in forms.forms(total)) == getattr(numbers, total), (h, w, total)
