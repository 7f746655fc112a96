"""Periods and sums of counts: pure."""

from __future__ import annotations

import itertools
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.counts.chart import HALF, WIDTH, charts_of
from loyalty.counts.model import (
    PERIODS_MAX,
    STEPS,
    BackwardSpanError,
    Cell,
    TooManyPeriodsError,
    spans,
    summed,
    total,
)

YES = Cell("marketing", "email", "form", "granted")
NO = Cell("marketing", "email", "form", "withdrawn")
OTHER = Cell("personalisation", None, "till", "granted")
DAY = timedelta(days=1)
DAYS = st.dates(date(2024, 1, 1), date(2026, 12, 31))


@given(DAYS, st.integers(0, 380), st.sampled_from(STEPS))
def test_periods_cover_each_day_once(first: date, days: int, step: str) -> None:
    last = first + days * DAY
    found = spans(first, last, step)  # type: ignore[arg-type]
    assert found[0][0] == first
    assert found[-1][1] == last
    assert all(begin <= end for begin, end in found)
    assert all(end + DAY == begin for (_, end), (begin, _) in itertools.pairwise(found))
    if step == "week":
        assert all(begin.weekday() == 0 for begin, _ in found[1:])
    if step == "month":
        assert all(begin.day == 1 for begin, _ in found[1:])


@given(
    st.dictionaries(
        DAYS, st.dictionaries(st.sampled_from([YES, NO, OTHER]), st.integers(1, 99)), max_size=9
    ),
    st.sampled_from(STEPS[1:]),
)
def test_periods_sum_up_to_what_the_days_say(
    by_day: dict[date, dict[Cell, int]], step: str
) -> None:
    periods = summed(by_day, date(2024, 1, 1), date(2026, 12, 31), step)  # type: ignore[arg-type]
    assert total(each.counts for each in periods) == total(by_day.values())


def test_a_span_is_forwards_and_of_a_size() -> None:
    with pytest.raises(BackwardSpanError):
        spans(date(2026, 3, 2), date(2026, 3, 1), "day")
    first = date(2020, 1, 1)
    assert len(spans(first, first + (PERIODS_MAX - 1) * DAY, "day")) == PERIODS_MAX
    with pytest.raises(TooManyPeriodsError):
        spans(first, first + PERIODS_MAX * DAY, "day")


def test_bars_stay_inside_the_picture_and_the_highest_reaches_the_edge() -> None:
    by_day = {date(2026, 3, 1): {YES: 3, NO: 12}, date(2026, 3, 3): {YES: 6, OTHER: 1}}
    periods = summed(by_day, date(2026, 3, 1), date(2026, 3, 7), "day")
    mail, personal = charts_of(periods)
    assert (mail.name, mail.granted, mail.refused) == ("Marketing: email", 9, 12)
    assert personal.name == "Personalisation"
    assert max(bar.down for bar in mail.bars) == HALF
    assert all(0 <= bar.up <= HALF and 0 <= bar.down <= HALF for bar in mail.bars)
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in mail.bars)
