from pathlib import Path

import pytest

import archgraph
from archgraph.report.verify import Verified
from tests.report.small import MACS, PARAMS, TINY


def verified(folder: Path, *claims: str, text: str = TINY) -> list[Verified]:
    path = folder / "tiny.yaml"
    path.write_text(text + "claims:\n" + "".join(f"  - {{{claim}}}\n" for claim in claims))
    return [each for each in archgraph.verify(path) if each.status != "unclaimed"]


def outcomes(each: Verified) -> list[str]:
    return [each.outcome(check) for check in each.checks]


def test_exact_and_printed_figures(tmp_path: Path) -> None:
    printed = "printed: {params: 2.0K, macs: 124K}"
    (each,) = verified(tmp_path, f"variant: narrow, params: {PARAMS}, macs: {MACS}, {printed}")
    assert each.ok
    assert outcomes(each) == ["exact", "exact", "printed", "printed"]
    assert [check.ours for check in each.checks] == [PARAMS, MACS, PARAMS, MACS]


@pytest.mark.parametrize(
    ("claim", "outcome", "ok"),
    [
        ("params: 1", "differs", False),
        ("params: 1, agrees: false, note: the paper counts one layer", "recorded", True),
        (f"params: {PARAMS}, agrees: false, note: no longer true", "stale", False),
        ("printed: {params: 2.1K}", "differs", False),
        ("printed: {params: 2.1K}, tolerance: 0.06", "printed", True),
    ],
)
def test_disagreement(tmp_path: Path, claim: str, outcome: str, ok: bool) -> None:
    (each,) = verified(tmp_path, claim)
    assert outcomes(each) == [outcome]
    assert each.ok is ok


def test_sizes_and_settings_of_a_claim(tmp_path: Path) -> None:
    found = verified(
        tmp_path,
        "at: {image: [1, 3, 16, 16]}, macs: 497704",
        "set: {depth: 1}, params: 837",
        "variant: wide, params: 1",
    )
    assert [check.ours for each in found for check in each.checks] == [(MACS - 40) * 4 + 40, 216 + 576 + 45, 7429]
    assert [each.ok for each in found] == [True, True, False]


def test_faults_of_one_configuration_leave_the_others(tmp_path: Path) -> None:
    found = verified(tmp_path, "at: {image: [1, 4, 8, 8]}, params: 3", f"params: {PARAMS}")
    assert [each.ok for each in found] == [False, True]
    assert "pattern" in str(found[0].faults[0])
    assert found[0].to_dict()["faults"]


def test_an_open_size_agrees_with_nothing(tmp_path: Path) -> None:
    (each,) = verified(tmp_path, f"macs: {MACS}", text=TINY.replace("image_size, image_size]", "H, W]"))
    assert outcomes(each) == ["differs"]
    assert each.to_dict()["checks"][0]["ours"] == "1944*H*W + 40"


def test_published_figures_of_a_shipped_spec() -> None:
    found = archgraph.verify("vit")
    assert [(each.label, each.ok) for each in found] == [
        ("vit:tiny", True), ("vit:small", True), ("vit:base", True), ("vit:large", True),
    ]  # fmt: skip
