from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archgraph.ir.dim import sym
from archgraph.report.numbers import exact, human, human_bytes, plain, share

POWERS = {"K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (9994, "9.99 K"),
        (9996, "10.0 K"),
        (99_949, "99.9 K"),
        (99_950, "100 K"),
        (999_499, "999 K"),
        (999_500, "1.00 M"),
        (5_717_416, "5.72 M"),
        (17_563_828_224, "17.6 G"),
    ],
)
def test_human_rounds_to_three_digits(n: int, text: str) -> None:
    assert human(n) == text


@given(st.integers(1000, 10**20))
def test_human_is_within_half_a_unit_of_the_last_digit(n: int) -> None:
    digits, prefix = human(n).split()
    places = len(digits.partition(".")[2])
    unit = Fraction(1000 ** POWERS[prefix], 10**places)
    # binary floats round a tie either way
    assert abs(Fraction(digits) * 1000 ** POWERS[prefix] - n) <= unit / 2 * Fraction(1_000_001, 1_000_000)
    assert len(digits.replace(".", "")) == 3 or prefix == "E"


def test_bytes_have_binary_prefixes() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1024, 330 << 20)] == ["0 B", "1023 B", "1.00 KiB", "330 MiB"]


def test_symbols_stay_closed_forms() -> None:
    n = sym("N")
    assert human(2 * n * n) == "2·N²"
    assert human_bytes(4 * n) == "4·N bytes"
    assert exact(n + 1) == "N + 1"
    assert plain(2 * n * n) == "2*N**2"
    assert share(n, 10) == ""


def test_share() -> None:
    assert [share(part, 1000) for part in (0, 1, 500, 1000)] == ["", "0.1 %", "50.0 %", "100.0 %"]
    assert share(1, 10_000) == "<0.1 %"
    assert share(1, 0) == ""
