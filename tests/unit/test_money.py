"""Roundings have names and are exact."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.money import ROUNDINGS, ceiling, floor, half_up, share

ratios = st.fractions(max_denominator=10**6) | st.integers()
amounts = st.integers(0, 10**15)


@pytest.mark.parametrize(
    ("value", "down", "nearest", "up"),
    [
        ("28.4", 28, 28, 29),
        ("28.5", 28, 29, 29),
        ("28.6", 28, 29, 29),
        ("29", 29, 29, 29),
        ("0", 0, 0, 0),
        ("-0.5", -1, 0, 0),
        ("-1.5", -2, -1, -1),
    ],
)
def test_each_rounding_by_example(value: str, down: int, nearest: int, up: int) -> None:
    exact = Fraction(value)
    assert (floor(exact), half_up(exact), ceiling(exact)) == (down, nearest, up)


@given(ratios)
def test_floor_is_the_greatest_whole_number_not_above(value: Fraction) -> None:
    assert floor(value) <= value < floor(value) + 1


@given(ratios)
def test_ceiling_is_the_least_whole_number_not_below(value: Fraction) -> None:
    assert ceiling(value) - 1 < value <= ceiling(value)


@given(ratios)
def test_half_up_is_at_most_a_half_away_and_goes_up_at_the_half(value: Fraction) -> None:
    assert Fraction(-1, 2) < half_up(value) - value <= Fraction(1, 2)


@given(st.integers())
def test_a_whole_number_stays_as_it_is_under_every_rounding(value: int) -> None:
    assert {rounded(value) for rounded in ROUNDINGS.values()} == {value}


@given(ratios, ratios)
def test_more_never_rounds_to_less(one: Fraction, other: Fraction) -> None:
    less, more = sorted((one, other))
    assert all(rounded(less) <= rounded(more) for rounded in ROUNDINGS.values())


@given(part=amounts, of=amounts, total=st.integers(1, 10**15))
def test_a_share_is_within_one_of_the_exact_one(part: int, of: int, total: int) -> None:
    assert 0 <= Fraction(of * part, total) - share(part, of=of, total=total) < 1


def test_the_share_of_nothing_is_nothing() -> None:
    assert share(0, of=500, total=0) == 0
