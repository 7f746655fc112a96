"""What the rules of retention ask for: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.retention.model import (
    BOUNDS,
    LAST_CALL,
    Rules,
    Seen,
    Warned,
    erased_at,
    history_since,
    months_before,
    next_step,
)

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
RULES = Rules()
DAY = timedelta(days=1)


def gone(years: float) -> Seen:
    return Seen("active", NOW - timedelta(days=365.25 * years))


def warned(days: int, last: int | None = None) -> Warned:
    last_at = None if last is None else NOW - last * DAY
    return Warned("a", NOW - days * DAY, None if last is None else "b", last_at)


@pytest.mark.parametrize(
    ("seen", "told", "step"),
    [
        (gone(1), None, "keep"),
        (gone(2.9), None, "keep"),
        (gone(2.95), None, "warn"),
        (gone(9), None, "warn"),
        (gone(9), warned(29), "wait"),
        (gone(9), warned(31), "warn_again"),
        (gone(2.99), warned(31), "wait"),
        (gone(9), warned(31, last=0), "wait"),
        (gone(9), warned(31, last=1), "erase"),
        (gone(0.01), warned(31, last=1), "back"),
        (gone(0.01), warned(2), "back"),
        (Seen("provisional", NOW - 300 * DAY), None, "keep"),
        (Seen("provisional", NOW - 370 * DAY), None, "forget"),
        (Seen("active", NOW, is_ended=True), None, "erase"),
    ],
)
def test_the_steps(seen: Seen, told: Warned | None, step: str) -> None:
    assert next_step(seen, told, RULES, NOW) == step


@given(
    st.dates(datetime(2015, 1, 1, tzinfo=UTC).date(), datetime(2026, 1, 1, tzinfo=UTC).date()),
    st.integers(6, 120),
    st.integers(30, 180),
    st.integers(1, 9),
)
def test_nobody_is_erased_who_was_not_warned_thirty_days_before(
    last_day: datetime, months: int, warning: int, every: int
) -> None:
    rules = Rules(inactive_months=months, warning_days=warning)
    last_at = datetime(last_day.year, last_day.month, last_day.day, tzinfo=UTC)
    seen, told, at = Seen("active", last_at), None, last_at
    for _ in range(6000):
        at += every * DAY
        step = next_step(seen, told, rules, at)
        if step == "warn":
            told, promised = Warned("a", at), erased_at(at, seen, rules)
        elif step == "warn_again" and told:
            told = Warned("a", told.first_at, "b", at)
        elif step == "erase":
            break
    assert step == "erase"
    assert told
    assert told.last_at
    assert at - told.first_at >= 30 * DAY
    assert at - told.last_at >= LAST_CALL
    assert months_before(at, months) > last_at
    # Whoever acts on the date of the first warning is not too late.
    assert at >= promised


def test_a_month_back_ends_with_the_month() -> None:
    assert months_before(NOW, 1) == datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert months_before(datetime(2024, 2, 29, tzinfo=UTC), 12).day == 28


def test_the_history_for_recommendations_has_an_age() -> None:
    assert history_since(Rules(model_history_months=6), NOW) == datetime(
        2025, 9, 30, 12, tzinfo=UTC
    )


def test_what_the_program_sets_is_within_its_own_bounds() -> None:
    for name, bound in BOUNDS.items():
        assert bound.minimum <= Rules().period(name) == bound.default <= bound.maximum
