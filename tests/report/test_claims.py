from decimal import Decimal

import pytest

from archgraph.ir.diagnostics import Collector
from archgraph.report.claims import Claim, Figure, claims_of
from archgraph.spec.spec_files import parse_text
from tests.report.small import TINY

#: Where the section of claims begins.
LINE = TINY.count("\n") + 1


def read(claims: str) -> tuple[tuple[Claim, ...], list[str]]:
    faults = Collector()
    found = claims_of(parse_text(f"{TINY}claims:\n{claims}", "tiny.yaml"), faults)
    return found, [f"{d.code} {d.message}" for d in faults.diagnostics if d.at and d.at.line > LINE]


def figures(claims: str) -> dict[str, Figure]:
    (claim,), faults = read(claims)
    assert faults == []
    return {figure.text: figure for figure in claim.figures}


def test_a_claim() -> None:
    (claim,), faults = read(
        "  - {variant: wide, set: {depth: 2}, at: {image: [1, 3, 8, 8]}, params: 7, printed: {macs: 1.3G},"
        " source: table 1, agrees: false, note: why}\n"
    )
    assert faults == []
    assert (claim.variant, claim.settings, claim.at) == ("wide", {"depth": 2}, {"image": [1, 3, 8, 8]})
    assert (claim.source, claim.agrees, claim.note) == ("table 1", False, "why")
    assert [f.name for f in claim.figures] == ["params", "macs"]
    assert claim.span is not None
    assert claim.span.line == LINE + 1


@pytest.mark.parametrize(
    ("claim", "text", "least", "most"),
    [
        ("params: 1000", "1,000", 1000, 1000),
        ("printed: {params: 5.7M}", "5.7M", 5_650_000, 5_750_000),
        ("printed: {params: 22M}", "22M", 21_500_000, 22_500_000),
        ("printed: {params: 0.35K}", "0.35K", 345, 355),
        ("printed: {params: 1.2B}", "1.2B", 1_150_000_000, 1_250_000_000),
        ("printed: {params: 3}", "3", 3, 3),
        ("units: binary, printed: {params: 2K}", "2K", 1536, 2560),
        ("tolerance: 0.1, printed: {params: 5.0M}", "5.0M", 4_500_000, 5_500_000),
        ("tolerance: 2%, printed: {params: 50M}", "50M", 49_000_000, 51_000_000),
    ],
)
def test_how_far_ours_may_be_away(claim: str, text: str, least: int, most: int) -> None:
    figure = figures(f"  - {{{claim}}}\n")[text]
    assert figure.holds(least)
    assert figure.holds(most)
    assert not figure.holds(least - 1)
    assert not figure.holds(most + 1)


@pytest.mark.parametrize(
    ("convention", "quantity"), [("convention: macs, ", "macs"), ("convention: flops, ", "flops"), ("", "flops")]
)
def test_conventions(convention: str, quantity: str) -> None:
    figure = figures(f"  - {{{convention}printed: {{flops: 4.0G}}}}\n")["4.0G"]
    assert (figure.name, figure.quantity, figure.value) == ("flops", quantity, Decimal(4 * 10**9))


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        ("nonsense", "claims/form a claim is a mapping"),
        ("{parms: 3}", "claims/key a claim has no `parms`"),
        ("{variant: wider, params: 3}", "claims/variant there is no variant `wider`"),
        ("{graph: wider, params: 3}", "claims/graph there is no graph `wider`"),
        ("{set: {dept: 3}, params: 3}", "claims/set there is no param `dept`"),
        ("{at: 3, params: 3}", "claims/at `at` of a claim can't be `3`"),
        ("{params: 5.7M}", "claims/params `params` of a claim can't be `5.7M`"),
        ("{params: -1}", "claims/params `params` of a claim can't be `-1`"),
        ("{printed: 5.7M}", "claims/printed `printed` of a claim can't be `5.7M`"),
        ("{printed: {params: many}}", "claims/printed `params: many` is no printed figure"),
        ("{printed: {size: 5M}}", "claims/printed `size: 5M` is no printed figure"),
        ("{convention: ops, printed: {macs: 1G}}", "claims/convention `convention` of a claim can't be `ops`"),
        ("{units: si, printed: {macs: 1G}}", "claims/units `units` of a claim can't be `si`"),
        ("{tolerance: some, printed: {macs: 1G}}", "claims/tolerance `tolerance` of a claim can't be `some`"),
        ("{agrees: false, params: 3}", "claims/agrees `agrees` of a claim can't be `false`"),
        ("{variant: wide}", "claims/empty a claim states a number"),
    ],
)
def test_faults(claim: str, fault: str) -> None:
    found, faults = read(f"  - {claim}\n  - {{params: 3}}\n")
    assert [fault] == faults
    assert len(found) == 1


def test_claims_are_a_list() -> None:
    faults = Collector()
    assert claims_of(parse_text(f"{TINY}claims: {{params: 3}}\n"), faults) == ()
    assert [d.code for d in faults.diagnostics] == ["claims/form"]
