"""The one place that reads the clock. Times are aware, in UTC, at the millisecond MongoDB keeps."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime


def now() -> datetime:
    """The present moment in UTC, cut to the millisecond."""
    return to_millisecond(datetime.now(UTC))


def to_millisecond(moment: datetime) -> datetime:
    """The same moment in UTC without the microseconds that MongoDB would drop."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


def day_in(month: int, day: int, year: int) -> date:
    """The day of a year on which a yearly day is kept.

    29 February is kept on the 28th in other years: so it stays in its month, and a month's offer
    for those born in it reaches everybody.
    """
    if (month, day) == _LEAP_DAY and not calendar.isleap(year):
        return date(year, 2, 28)
    return date(year, month, day)


def days_to(month: int, day: int, *, on: date) -> int:
    """Days from a day to the nearest keeping of a yearly day, in -182..183; below zero: passed."""
    kept = [day_in(month, day, year) for year in (on.year - 1, on.year, on.year + 1)]
    # Of two that are equally far, the one to come.
    return min(((each - on).days for each in kept), key=lambda days: (abs(days), -days))


_LEAP_DAY = (2, 29)
