"""Hyperparameters that can't be symbols: tried value by value, put together only where every value agrees."""

import json
import random
import zlib

import pytest
from typer.testing import CliRunner

import archgraph
from archgraph.analysis.symbolic import open_names
from archgraph.cli.app import app
from archgraph.ir.diagnostics import SpecError
from archgraph.ir.dim import Dim, dmax, evaluate
from archgraph.report.check import spec_files
from archgraph.report.enumerated import MAX_VALUES, usual_values
from archgraph.report.symbolic import TOTALS, closed_forms

# depth stands in lists by layer, in `where:` of a rewrite, or in loops that collect values
DEPTHS = ["agent-attention/deit", "lightning-attention", "rcmha", "titans", "sparsifiner"]


@pytest.mark.parametrize("name", DEPTHS)
def test_a_depth_that_is_no_symbol_has_a_closed_form_over_the_values_tried(name):
    spec = archgraph.load(name)
    (forms,) = closed_forms(spec, ["depth"])
    assert forms.names == ("depth",)
    assert list(forms.enumerated) == ["depth"]
    (low, _), (_, high) = (cond.args for cond in forms.case.assumed)
    assert low <= 3
    assert high >= 6
    for depth in {low, low + 1, (low + high) // 2, high}:
        numbers = archgraph.report(spec.with_settings(depth=depth), depth=0)
        for total in TOTALS:
            assert max(evaluate(x, {"depth": depth}) for x in forms.forms(total)) == getattr(numbers, total), total


def test_it_goes_with_symbols():
    spec = archgraph.load("sparsifiner")
    (forms,) = closed_forms(spec, ["dim", "depth"])
    assert forms.names == ("dim", "depth")
    numbers = archgraph.report(spec.with_settings(dim=96, depth=5), depth=0)
    env = {"dim": 96, "depth": 5}
    assert evaluate(forms.report.macs, env) == numbers.macs
    assert max(evaluate(x, env) for x in forms.peak) == numbers.activation_bytes


def test_what_fits_no_form_is_listed():
    found = closed_forms(archgraph.load("densenet"), ["depths"])
    assert [f.chosen["depths"] for f in found] == usual_values(archgraph.load("densenet"), "depths")
    assert len({f.report.params for f in found}) == len(found) > 2
    assert "value by value" in found[0].tried()[0]
    assert "depths=[6, 12, 24, 16]" in found[0].title


def test_given_values_are_listed_each():
    found = closed_forms(archgraph.load("vit"), {"depth": [2, 4], "pool": ["mean"], "dim": None})
    assert [dict(f.chosen) for f in found] == [{"depth": 2, "pool": "mean"}, {"depth": 4, "pool": "mean"}]
    assert isinstance(found[0].report.params, Dim)


def test_a_fault_of_the_spec_itself_is_told():
    with pytest.raises(SpecError, match="heads share"):
        closed_forms(archgraph.load("sparsifiner", num_heads=7), ["depth"])


@pytest.mark.parametrize(
    ("names", "words"),
    [("depth=9:4", "is no range"), (f"depth=1:{MAX_VALUES + 1}", "at most"), ("dept=1|2", "did you mean `depth`")],
)
def test_faults_of_the_command(names, words):
    shown = CliRunner().invoke(app, ["report", "vit", "--symbolic", names])
    assert shown.exit_code == 1
    assert words in " ".join(shown.stderr.split())


def test_command():
    shown = CliRunner().invoke(app, ["report", "vit", "--symbolic", "dim,depth=2:3,pool=cls|max", "--json"])
    assert [f["chosen"] for f in json.loads(shown.output)] == [
        {"depth": d, "pool": p} for d in (2, 3) for p in ("cls", "max")
    ]


def test_a_peak_of_many_forms_is_told_short_and_whole():
    (forms,) = closed_forms(archgraph.load("swin"), ["image_size"])
    assert len(forms.peak) > 20
    assert "the greatest of" in forms.to_markdown()
    assert len(forms.to_dict()["peak"]) == len(forms.peak)
    numbers = archgraph.report("swin", depth=0)
    assert evaluate(dmax(*forms.peak), {"image_size": 224}) == numbers.activation_bytes


@pytest.mark.slow
@pytest.mark.parametrize("path", spec_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_spec_has_forms_in_whatever_may_be_asked(path):
    spec = archgraph.load(str(path))
    rng = random.Random(zlib.crc32(path.stem.encode()))
    for graph in spec.graphs:
        params = [n for n, kind in open_names(spec, graph).items() if kind in ("number", "list")]
        for name in rng.sample(params, min(3, len(params))):
            found = closed_forms(archgraph.load(str(path)), [name], graph)
            assert found, name
            assert all(f.to_dict() and f.to_markdown() for f in found[:2])
