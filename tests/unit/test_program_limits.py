"""How often a rule pays, in periods of the programme's time zone; and when points expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import Activity, Count, Program
from loyalty.program.step import OverdrawnError, check, step
from tests.builders import (
    BASE_RULE,
    adjustment,
    after,
    awarded,
    engagement,
    line,
    program,
    purchase,
)

REVIEW = {"id": "review", "type": "engagement", "engagement": "review", "points": 10}


def reviews(times_max: dict[str, int], *, zone: str = "Europe/Berlin") -> Program:
    """Ten points a review, so often."""
    return program({**REVIEW, "times_max": times_max}, time_zone=zone)


def review(at: str) -> Activity:
    """A review at a moment."""
    return engagement("review", at=datetime.fromisoformat(at))


@pytest.mark.parametrize(
    ("limit", "moments", "balance"),
    [
        ({"day": 1}, ["2026-03-01T10:00Z", "2026-03-01T11:00Z"], 10),
        ({"day": 2}, ["2026-03-01T10:00Z", "2026-03-01T11:00Z", "2026-03-01T12:00Z"], 20),
        # Midnight in Berlin is 23:00 UTC in winter and 22:00 UTC in summer.
        ({"day": 1}, ["2026-01-10T22:59:59Z", "2026-01-10T23:00:00Z"], 20),
        ({"day": 1}, ["2026-01-10T23:00:00Z", "2026-01-11T22:59:59Z"], 10),
        ({"day": 1}, ["2026-07-10T21:59:59Z", "2026-07-10T22:00:00Z"], 20),
        # The day on which the clocks go forward has 23 hours, the one back has 25.
        ({"day": 1}, ["2026-03-28T23:00:00Z", "2026-03-29T21:59:59Z"], 10),
        ({"day": 1}, ["2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"], 20),
        ({"day": 1}, ["2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z"], 10),
        # Sunday the 1st and Monday the 2nd are two weeks; so are the turns of years.
        ({"week": 1}, ["2026-03-01T10:00Z", "2026-03-02T10:00Z"], 20),
        ({"week": 1}, ["2026-03-02T10:00Z", "2026-03-08T10:00Z"], 10),
        ({"week": 1}, ["2026-12-28T10:00Z", "2027-01-03T10:00Z"], 10),
        ({"week": 1}, ["2027-01-03T10:00Z", "2027-01-04T10:00Z"], 20),
        ({"month": 1}, ["2026-02-28T22:59:59Z", "2026-02-28T23:00:00Z"], 20),
        ({"month": 1}, ["2026-03-01T10:00Z", "2026-03-31T10:00Z"], 10),
        ({"month": 1}, ["2026-12-31T10:00Z", "2027-12-31T10:00Z"], 20),
        ({"year": 1}, ["2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z"], 20),
        ({"year": 1}, ["2026-01-01T10:00Z", "2026-12-31T10:00Z"], 10),
        ({"lifetime": 1}, ["2026-03-01T10:00Z", "2036-03-01T10:00Z"], 10),
        ({"day": 1, "lifetime": 2}, [f"2026-03-0{day}T10:00Z" for day in range(1, 6)], 20),
        ({}, ["2026-03-01T10:00Z"] * 5, 50),
    ],
)
def test_a_rule_pays_so_often_in_a_period(
    limit: dict[str, int], moments: list[str], balance: int
) -> None:
    assert after(reviews(limit), *map(review, moments)).balance == balance


def test_the_day_is_the_programmes_not_that_of_utc() -> None:
    evening, night = review("2026-01-10T22:30:00Z"), review("2026-01-10T23:30:00Z")
    assert after(reviews({"day": 1}, zone="UTC"), evening, night).balance == 10
    assert after(reviews({"day": 1}), evening, night).balance == 20


def test_what_was_not_paid_does_not_count() -> None:
    rules = reviews({"day": 1, "week": 2})
    third = ["2026-03-02T10:00Z", "2026-03-02T11:00Z", "2026-03-02T12:00Z", "2026-03-03T10:00Z"]
    assert after(rules, *map(review, third)).balance == 20


def test_each_rule_counts_for_itself() -> None:
    once = {"times_max": {"lifetime": 1}}
    visit = {**REVIEW, "id": "visit", "engagement": "visit", **once}
    rules = program({**REVIEW, **once}, visit)
    both = (review("2026-03-01T10:00Z"), engagement("visit"))
    assert after(rules, *both, *both).balance == 20


def test_fixed_points_are_limited_by_the_basket_not_by_the_unit() -> None:
    fixed = {"id": "egg", "type": "fixed", "points": 5, "times_max": {"lifetime": 1}}
    eggs = purchase(line(quantity=6))
    assert awarded(program(fixed), eggs) == 30
    assert awarded(program(fixed), eggs, eggs) == 0


def test_counters_are_kept_for_limited_rules_that_paid_and_their_periods_only() -> None:
    rules = program({**REVIEW, "times_max": {"day": 3, "lifetime": 9}}, BASE_RULE)
    state = after(rules, review("2026-03-01T10:00Z"), purchase())
    assert state.counters == {
        "review": {"day": Count("2026-03-01", 1, 10), "lifetime": Count("lifetime", 1, 10)}
    }
    assert after(rules, purchase()).counters == {}


def earned(on: str, *, months: int | None, zone: str = "UTC") -> tuple[Lot, ...]:
    more = {"expires_after_months": months} if months else {}
    rules = program(time_zone=zone, **more)
    return after(rules, purchase(at=datetime.fromisoformat(on))).lots["points"]


@pytest.mark.parametrize(
    ("on", "months", "first_invalid"),
    [
        ("2025-01-25T12:00Z", 1, "2025-02-26T00:00Z"),
        ("2025-01-31T12:00Z", 1, "2025-03-01T00:00Z"),
        ("2024-02-29T12:00Z", 12, "2025-03-01T00:00Z"),
        ("2026-03-31T00:00Z", 6, "2026-10-01T00:00Z"),
    ],
)
def test_points_are_valid_to_the_end_of_the_same_day_of_the_month(
    on: str, months: int, first_invalid: str
) -> None:
    assert earned(on, months=months) == (Lot(datetime.fromisoformat(first_invalid), 10),)


def test_the_last_day_ends_at_midnight_in_the_programmes_zone() -> None:
    (lot,) = earned("2026-01-31T12:00Z", months=6, zone="Europe/Berlin")
    assert lot.expires_at == datetime(2026, 7, 31, 22, tzinfo=UTC)


def test_without_a_term_points_never_expire() -> None:
    assert earned("2026-01-31T12:00Z", months=None) == (Lot(NEVER, 10),)


def test_points_of_one_day_are_one_lot() -> None:
    morning, evening = (datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (8, 20))
    rules = program(expires_after_months=1)
    state = after(rules, purchase(at=morning), purchase(at=evening))
    assert [lot.points for lot in state.lots["points"]] == [20]


def test_expired_points_leave_with_a_posting_before_the_next_award() -> None:
    rules = program(expires_after_months=1)
    start = datetime(2026, 1, 10, tzinfo=UTC)
    old = after(rules, purchase(at=start))
    state, postings = step(rules, old, purchase(at=start + timedelta(days=60)))
    assert [(each.kind, each.points) for each in postings] == [("expiry", -10), ("spend", 10)]
    assert state.balance == 10


def test_expired_points_leave_before_a_correction_too() -> None:
    rules = program(expires_after_months=1)
    old = after(rules, purchase(at=datetime(2026, 1, 10, tzinfo=UTC)))
    with pytest.raises(OverdrawnError):
        check(old, adjustment(-3, at=datetime(2026, 6, 1, tzinfo=UTC)))


def test_a_correction_expires_like_an_award() -> None:
    rules = program(expires_after_months=1)
    state = after(rules, adjustment(3, at=datetime(2026, 1, 10, tzinfo=UTC)))
    assert state.lots == {"points": (Lot(datetime(2026, 2, 11, tzinfo=UTC), 3),)}
