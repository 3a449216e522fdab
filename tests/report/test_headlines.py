"""The headline claims of papers: each holds, disagrees with a reason, or is open and says why."""

import pytest

from tools.claims import HEADLINES, PAGE, headlines, judge


@pytest.mark.parametrize("claim", headlines(), ids=lambda c: f"{c['paper']}: {c['claim'][:40]}")
def test_a_headline_holds_or_says_why_not(claim):
    status, costs = judge(claim)
    assert status != "fails", costs
    assert status == "holds" or claim.get("open") or claim.get("disagrees")


def test_the_page_lists_every_headline():
    page = PAGE.read_text(encoding="utf-8")
    assert HEADLINES.exists()
    assert all(claim["claim"] in page for claim in headlines())
