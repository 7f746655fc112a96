"""Lots: points that expire together."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.lots import (
    NEVER,
    Lot,
    Lots,
    add_months,
    balance_of,
    earn,
    expire,
    expiry_after_months,
    spend,
)

MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
BERLIN = ZoneInfo("Europe/Berlin")

points = st.integers(0, 1000)
ends = st.sampled_from((MARCH, APRIL, MAY, NEVER))


@st.composite
def lots(draw: st.DrawFn) -> Lots:
    """What any life can leave: lots with points, one an end, or a single debt."""
    held: Lots = ()
    for amount, end in draw(st.lists(st.tuples(points, ends), max_size=5)):
        held = earn(held, amount, expires_at=end)
    return spend(held, draw(st.just(0) | points))


def is_well_formed(held: Lots) -> bool:
    ends_of = [lot.expires_at for lot in held]
    is_debt = len(held) == 1 and held[0].expires_at == NEVER and held[0].points < 0
    return ends_of == sorted(set(ends_of)) and (is_debt or all(lot.points > 0 for lot in held))


@given(lots(), points, ends)
def test_earning_adds_exactly_the_points(held: Lots, amount: int, end: datetime) -> None:
    after = earn(held, amount, expires_at=end)
    assert balance_of(after) == balance_of(held) + amount
    assert is_well_formed(after)


@given(lots(), points)
def test_spending_takes_exactly_the_points(held: Lots, amount: int) -> None:
    after = spend(held, amount)
    assert balance_of(after) == balance_of(held) - amount
    assert is_well_formed(after)


@given(lots(), st.sampled_from((MARCH, APRIL, MAY)))
def test_expiry_takes_what_is_past_its_end_and_nothing_else(held: Lots, at: datetime) -> None:
    valid, lost = expire(held, at=at)
    assert balance_of(valid) + lost == balance_of(held)
    assert all(lot.expires_at > at for lot in valid)
    assert set(valid) <= set(held)
    assert expire(valid, at=at) == (valid, 0)


@given(lots(), points, points)
def test_spending_in_two_parts_is_spending_at_once(held: Lots, one: int, other: int) -> None:
    assert spend(spend(held, one), other) == spend(held, one + other)


@given(lots())
def test_nothing_earned_or_spent_changes_nothing(held: Lots) -> None:
    assert earn(held, 0, expires_at=MAY) == spend(held, 0) == held


def test_what_expires_first_is_spent_first() -> None:
    held = (Lot(MARCH, 50), Lot(APRIL, 50))
    assert spend(held, 70) == (Lot(APRIL, 30),)


def test_points_of_one_end_are_one_lot() -> None:
    held = earn((Lot(MARCH, 5), Lot(MAY, 7)), 10, expires_at=MARCH)
    assert held == (Lot(MARCH, 15), Lot(MAY, 7))


def test_spending_more_than_there_is_leaves_one_debt_without_an_end() -> None:
    assert spend((Lot(MARCH, 30), Lot(APRIL, 20)), 150) == (Lot(NEVER, -100),)


@pytest.mark.parametrize(
    ("earned", "left"), [(40, (Lot(NEVER, -60),)), (100, ()), (130, (Lot(APRIL, 30),))]
)
def test_new_points_pay_a_debt_first(earned: int, left: Lots) -> None:
    assert earn((Lot(NEVER, -100),), earned, expires_at=APRIL) == left


def test_a_debt_does_not_expire() -> None:
    debt = (Lot(NEVER, -5),)
    assert expire(debt, at=datetime(2199, 1, 1, tzinfo=UTC)) == (debt, 0)


def test_a_lot_is_worth_nothing_at_the_very_moment_it_ends() -> None:
    held = (Lot(APRIL, 9),)
    assert expire(held, at=APRIL - timedelta(milliseconds=1)) == (held, 0)
    assert expire(held, at=APRIL) == ((), 9)


@pytest.mark.parametrize(
    ("earned_on", "months", "last_day"),
    [
        ("2025-01-25", 1, "2025-02-25"),
        ("2025-01-31", 1, "2025-02-28"),
        ("2024-01-31", 1, "2024-02-29"),
        ("2026-02-28", 1, "2026-03-28"),
        ("2026-08-31", 13, "2027-09-30"),
        ("2026-12-31", 2, "2027-02-28"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
    ],
)
def test_the_last_valid_day_is_the_same_day_of_a_later_month_or_its_last(
    earned_on: str, months: int, last_day: str
) -> None:
    day = date.fromisoformat(earned_on)
    assert add_months(day, months) == date.fromisoformat(last_day)
    earned_at = datetime(day.year, day.month, day.day, 15, tzinfo=UTC)
    end = expiry_after_months(earned_at, months, ZoneInfo("UTC"))
    midnight = datetime.fromisoformat(f"{last_day}T00:00:00+00:00")
    assert end == midnight + timedelta(days=1)


def test_the_day_of_earning_is_the_day_in_the_programmes_zone() -> None:
    # Half past eleven at night in UTC on the 30th is already the 31st in Berlin.
    earned_at = datetime(2025, 1, 30, 23, 30, tzinfo=UTC)
    end = expiry_after_months(earned_at, 2, BERLIN)
    # The 31st of March is the last valid day; summer time has begun: midnight is 22:00 UTC.
    assert end == datetime(2025, 3, 31, 22, tzinfo=UTC)


@given(
    st.datetimes(datetime(1990, 1, 3), datetime(2199, 1, 1)),  # noqa: DTZ001  # made aware below
    st.integers(1, 240),
    st.sampled_from(("UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia")),
)
def test_points_live_for_the_months_they_are_promised(
    earned: datetime, months: int, zone: str
) -> None:
    earned_at = earned.replace(tzinfo=UTC)
    lived = expiry_after_months(earned_at, months, ZoneInfo(zone)) - earned_at
    assert timedelta(days=28 * months) <= lived <= timedelta(days=31 * months + 2)
