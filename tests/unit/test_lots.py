"""Lots: points that become active and expire together."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.lots import (
    ALWAYS,
    NEVER,
    Lot,
    Lots,
    add_months,
    available,
    balance_of,
    day_end,
    day_start,
    earn,
    expire,
    give_back,
    pending_of,
    take,
)

MARCH, APRIL, MAY = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5))
BERLIN = ZoneInfo("Europe/Berlin")

points = st.integers(0, 1000)
ends = st.sampled_from((MARCH, APRIL, MAY, NEVER))
starts = st.sampled_from((ALWAYS, ALWAYS, MARCH, APRIL))
moments = st.sampled_from((MARCH - timedelta(days=1), MARCH, APRIL, MAY, NEVER - timedelta(days=1)))


@st.composite
def lots(draw: st.DrawFn) -> Lots:
    """What any life can leave: lots with points, one a pair of dates, or a single debt."""
    held: Lots = ()
    for amount, end, start in draw(st.lists(st.tuples(points, ends, starts), max_size=5)):
        held = earn(held, amount, expires_at=end, active_at=start)
    return take(held, draw(st.just(0) | points))[0]


def is_well_formed(held: Lots) -> bool:
    dates = [(lot.expires_at, lot.active_at) for lot in held]
    is_debt = len(held) == 1 and held[0].expires_at == NEVER and held[0].points < 0
    return dates == sorted(set(dates)) and (is_debt or all(lot.points > 0 for lot in held))


@given(lots(), points, ends, starts)
def test_earning_adds_exactly_the_points(
    held: Lots, amount: int, end: datetime, start: datetime
) -> None:
    after = earn(held, amount, expires_at=end, active_at=start)
    assert balance_of(after) == balance_of(held) + amount
    assert is_well_formed(after)


@given(lots(), points, moments)
def test_taking_takes_exactly_the_points_and_says_from_where(
    held: Lots, amount: int, at: datetime
) -> None:
    after, taken = take(held, amount, at=at)
    assert balance_of(after) == balance_of(held) - amount
    assert balance_of(taken) == amount
    assert all(lot.points > 0 for lot in taken)
    assert is_well_formed(after)


@given(lots(), points, moments)
def test_what_was_taken_and_is_given_back_leaves_everything_as_it_was(
    held: Lots, amount: int, at: datetime
) -> None:
    after, taken = take(held, amount, at=at)
    back = give_back(after, taken)
    assert balance_of(back) == balance_of(held)
    if balance_of(held) >= amount:
        assert back == held


@given(lots(), moments)
def test_what_is_there_is_active_or_pending_or_expired(held: Lots, at: datetime) -> None:
    expired = sum(lot.points for lot in held if lot.active_at <= at >= lot.expires_at)
    assert available(held, at) + pending_of(held, at) + expired == balance_of(held)


@given(lots(), st.sampled_from((MARCH, APRIL, MAY)))
def test_expiry_takes_what_is_past_its_end_and_nothing_else(held: Lots, at: datetime) -> None:
    valid, lost = expire(held, at=at)
    assert balance_of(valid) + lost == balance_of(held)
    assert all(lot.expires_at > at for lot in valid)
    assert set(valid) <= set(held)
    assert expire(valid, at=at) == (valid, 0)


@given(lots(), points, points, moments)
def test_taking_in_two_parts_is_taking_at_once(
    held: Lots, one: int, other: int, at: datetime
) -> None:
    parts = take(take(held, one, at=at)[0], other, at=at)[0]
    assert parts == take(held, one + other, at=at)[0]


@given(lots())
def test_nothing_earned_or_taken_changes_nothing(held: Lots) -> None:
    assert earn(held, 0, expires_at=MAY) == take(held, 0)[0] == give_back(held, ()) == held


def test_what_expires_first_is_taken_first() -> None:
    held = (Lot(MARCH, 50), Lot(APRIL, 50))
    assert take(held, 70) == ((Lot(APRIL, 30),), (Lot(MARCH, 50), Lot(APRIL, 20)))


def test_active_points_are_taken_before_pending_ones_whatever_expires_first() -> None:
    held = (Lot(APRIL, 50, active_at=MARCH), Lot(MAY, 50))
    before, after = MARCH - timedelta(days=1), MARCH
    assert take(held, 60, at=before)[0] == (Lot(APRIL, 40, MARCH),)
    assert take(held, 60, at=after)[0] == (Lot(MAY, 40),)


def test_a_lot_that_is_named_is_taken_from_before_all_others() -> None:
    held = (Lot(MARCH, 50), Lot(APRIL, 50), Lot(MAY, 50, active_at=APRIL))
    assert take(held, 60, first=Lot(APRIL, 0)) == (
        (Lot(MARCH, 40), Lot(MAY, 50, APRIL)),
        (Lot(APRIL, 50), Lot(MARCH, 10)),
    )
    pending = take(held, 20, at=MARCH, first=Lot(MAY, 0, APRIL))
    assert pending == (
        (Lot(MARCH, 50), Lot(APRIL, 50), Lot(MAY, 30, APRIL)),
        (Lot(MAY, 20, APRIL),),
    )


def test_points_of_one_pair_of_dates_are_one_lot() -> None:
    held = earn((Lot(MARCH, 5), Lot(MAY, 7)), 10, expires_at=MARCH)
    assert held == (Lot(MARCH, 15), Lot(MAY, 7))
    assert earn(held, 3, expires_at=MAY) == (Lot(MARCH, 15), Lot(MAY, 10))
    apart = earn(held, 3, expires_at=MAY, active_at=APRIL)
    assert apart == (Lot(MARCH, 15), Lot(MAY, 7), Lot(MAY, 3, APRIL))


def test_taking_more_than_there_is_leaves_one_debt_without_an_end() -> None:
    left, taken = take((Lot(MARCH, 30), Lot(APRIL, 20)), 150)
    assert left == (Lot(NEVER, -100),)
    assert taken == (Lot(MARCH, 30), Lot(APRIL, 20), Lot(NEVER, 100))
    assert take(left, 5)[0] == (Lot(NEVER, -105),)


@pytest.mark.parametrize(
    ("earned", "left"), [(40, (Lot(NEVER, -60),)), (100, ()), (130, (Lot(APRIL, 30),))]
)
def test_new_points_pay_a_debt_first(earned: int, left: Lots) -> None:
    assert earn((Lot(NEVER, -100),), earned, expires_at=APRIL) == left


def test_a_debt_does_not_expire() -> None:
    debt = (Lot(NEVER, -5),)
    assert expire(debt, at=datetime(2199, 1, 1, tzinfo=UTC)) == (debt, 0)
    assert available(debt, MARCH) == -5


def test_a_lot_is_worth_nothing_at_the_very_moment_it_ends() -> None:
    held, before = (Lot(APRIL, 9),), APRIL - timedelta(milliseconds=1)
    assert expire(held, at=before) == (held, 0)
    assert expire(held, at=APRIL) == ((), 9)
    assert (available(held, before), available(held, APRIL)) == (9, 0)


def test_a_pending_lot_can_be_spent_from_the_very_moment_it_becomes_active() -> None:
    held, before = (Lot(MAY, 9, APRIL),), APRIL - timedelta(milliseconds=1)
    assert (available(held, before), pending_of(held, before)) == (0, 9)
    assert (available(held, APRIL), pending_of(held, APRIL)) == (9, 0)


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
        ("2025-01-31", 0, "2025-01-31"),
    ],
)
def test_months_later_is_the_same_day_of_the_month_or_its_last(
    earned_on: str, months: int, last_day: str
) -> None:
    assert add_months(date.fromisoformat(earned_on), months) == date.fromisoformat(last_day)


@pytest.mark.parametrize(
    ("day", "start", "end"),
    [
        ("2026-01-10", "2026-01-09T23:00Z", "2026-01-10T23:00Z"),
        # The day on which the clocks go forward has 23 hours, the one back has 25.
        ("2026-03-29", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("2026-10-25", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
    ],
)
def test_a_day_is_that_of_its_zone(day: str, start: str, end: str) -> None:
    day_ = date.fromisoformat(day)
    assert day_start(day_, BERLIN) == datetime.fromisoformat(start)
    assert day_end(day_, BERLIN) == datetime.fromisoformat(end)
