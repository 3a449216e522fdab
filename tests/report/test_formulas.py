"""Claims that compare configurations: how they are read, what their values are, and what is wrong with bad ones."""

from decimal import Decimal

import pytest

import archgraph
from archgraph.ir.diagnostics import Collector
from archgraph.report.claims import claims_of
from archgraph.spec.spec_files import parse_text
from tests.report.small import MACS, PARAMS, TINY

OF = "of: {a: {variant: wide}, b: {variant: narrow}}"


def verified(folder, claim, text=TINY):
    path = folder / "tiny.yaml"
    path.write_text(text + f"claims:\n  - {{claim: more, {claim}}}\n")
    return archgraph.verify(path)[0]


def faults(claim, text=TINY):
    found = Collector()
    claims_of(parse_text(f"{text}claims:\n  - {{claim: more, {claim}}}\n", "tiny.yaml"), found)
    return found.diagnostics


@pytest.mark.parametrize(
    ("claim", "status", "ours"),
    [
        ("formula: a.params - b.params, exact: 5440", "exact", 7429 - PARAMS),
        ("formula: a.params - b.params, exact: 5441", "differs", 7429 - PARAMS),
        ("formula: a.params / b.params, printed: 3.7", "printed", 7429 / PARAMS),
        ("formula: a.params / b.params, printed: 3.8", "differs", 7429 / PARAMS),
        ("formula: a.params / b.params, printed: 3.8, tolerance: 0.05", "printed", 7429 / PARAMS),
        ("formula: 1 - b.params / a.params, printed: 73%", "printed", 1 - PARAMS / 7429),
        ("formula: b.macs + 0 * a.macs, printed: 1.2e-4G", "printed", MACS),
        ("formula: b.macs + 0 * a.macs, printed: 0.119M, units: binary", "printed", MACS),
        ("formula: a.params > 3 * b.params", "holds", True),
        ("formula: a.params > 4 * b.params", "differs", False),
        ("formula: a.params > 4 * b.params, agrees: false, note: one layer less", "recorded", False),
        ("formula: a.params > 3 * b.params, agrees: false, note: once", "stale", True),
    ],
)
def test_values(tmp_path, claim, status, ours):
    each = verified(tmp_path, f"{OF}, {claim}")
    assert each.status == status
    assert each.checks[0].ours == ours
    assert each.ok == (status in ("exact", "printed", "holds", "recorded"))
    assert each.to_dict()["used"]
    assert each.label == "tiny: more"


def test_the_last_digit_decides():
    claim = "of: {a: {}}, formula: a.macs, printed: 4.7e-4G"
    (read,) = claims_of(parse_text(f"{TINY}claims:\n  - {{claim: x, {claim}}}\n", "t.yaml"), Collector())
    (figure,) = read.figures
    assert (figure.value, figure.slack) == (Decimal("470000"), Decimal("5000"))


def test_degrees_sizes_settings_and_rules(tmp_path):
    each = verified(
        tmp_path,
        "of: {a: {over: image_size}, b: {set: {depth: 1}, at: {image: [1, 3, 16, 16]}}, c: {spec: vit, rewrite: "
        "[softmax_to_linear]}, d: {spec: vit, over: {image_size: 16 * t}}}, "
        "formula: a.degree.macs == 2 and a.degree.params == 0 and b.params == 837 and c.macs > 1e9 and "
        "d.degree.macs == 4",
    )
    assert each.status == "holds", [str(f) for f in each.faults]
    assert each.used["b.params"] == 837


def test_what_only_a_configuration_shows_is_a_fault_of_the_claim(tmp_path):
    each = verified(tmp_path, "of: {a: {at: {image: [1, 4, 8, 8]}}}, formula: a.params, exact: 1")
    assert each.status == "faults"
    assert not each.ok
    each = verified(tmp_path, "of: {a: {}}, formula: a.params / (a.macs - a.macs), printed: 1")
    assert "tiny.yaml" in str(each.faults[0])


@pytest.mark.parametrize(
    ("claim", "code", "words"),
    [
        (f"{OF}, formula: a.parms - b.params", "claims/formula", "did you mean `params`"),
        (f"{OF}, formula: a.params - c.params", "claims/formula", "no `c` under `of`"),
        (f"{OF}, formula: a.params", "claims/of", "does not read `b`"),
        (f"{OF}, formula: a - b", "claims/formula", "`a` is no number"),
        (f"{OF}, formula: a.degree.macs - b.macs", "claims/formula", "over: N"),
        (f"{OF}, formula: a.params -", "expr/syntax", "ends too early"),
        (f"{OF}", "claims/formula", "comes with a `formula`"),
        ("formula: a.params", "claims/of", "of: {a:"),
        ("of: {a: {variant: wid}}, formula: a.params", "claims/variant", "did you mean `wide`"),
        ("of: {a: {spec: vitt}}, formula: a.params", "claims/spec", "did you mean `vit`"),
        ("of: {a: {spec: ../vit}}, formula: a.params", "uses/path", "outside"),
        ("of: {a: {set: {dept: 2}}}, formula: a.params", "claims/set", "did you mean `depth`"),
        ("of: {a: {sett: {}}}, formula: a.params", "claims/of", "did you mean `set`"),
        ("of: {a: {rewrite: [softmax_to_lineer]}}, formula: a.params", "rule/unknown", "softmax_to_linear"),
        ("of: {a: {rewrite: [{set: {}}]}}, formula: a.params", "claims/rewrite", "names its rule"),
        (f"{OF}, formula: a.params / b.params, printed: many", "claims/printed", "13%"),
        (f"{OF}, formula: a.params / b.params, exact: 1.5", "claims/exact", "whole number"),
        (f"{OF}, formula: a.params / b.params, agrees: false", "claims/agrees", "says why"),
        (f"{OF}, formula: a.params / b.params, variant: wide", "claims/key", "no `variant`"),
        ("open: later, formula: a.params", "claims/open", "no `formula`"),
    ],
)
def test_faults_name_place_and_remedy(claim, code, words):
    found = [d for d in faults(claim) if d.code == code]
    assert found, [str(d) for d in faults(claim)]
    assert found[0].at is not None
    assert any(words in str(d) for d in found), [str(d) for d in found]


def test_a_file_may_hold_claims_alone(tmp_path):
    path = tmp_path / "ratios.yaml"
    (tmp_path / "tiny.yaml").write_text(TINY)
    path.write_text(
        "archgraph: 1\nname: ratios\nclaims:\n"
        "  - {claim: more, of: {a: {spec: tiny, variant: wide}, b: tiny}, formula: a.params / b.params, printed: 3.7}\n"
        "  - {claim: later, open: nothing to compare with}\n"
    )
    assert [each.status for each in archgraph.verify(path)] == ["printed", "open"]
    assert archgraph.check(path) == []
