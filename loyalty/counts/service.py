"""Counts of consents over a span of days."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from loyalty.counts.model import DAY, Cell, Period, spans, summed, total

if TYPE_CHECKING:
    from collections import Counter
    from datetime import date, datetime

    from loyalty.counts.model import Step
    from loyalty.counts.store import CountStore

# A day is counted for good when no request that began in it can be under way any more.
SETTLED_AFTER = timedelta(hours=1)
DAYS_DEFAULT = 30


class Counted(NamedTuple):
    """Decisions by period, and all together. Days are in UTC."""

    step: Step
    periods: list[Period]

    @property
    def totals(self) -> Counter[Cell]:
        """Over the whole span."""
        return total(each.counts for each in self.periods)


def counted(
    first: date | None,
    last: date | None,
    step: Step,
    *,
    at: datetime,
    counts: CountStore,
) -> Counted:
    """What was decided between two days, both included.

    Args:
        first: the first day; thirty days up to the last if absent.
        last: the last day; today if absent.
        step: how long a period is.
        at: now.
        counts: what was counted.

    Raises:
        BackwardSpanError: the last day lies before the first.
        TooManyPeriodsError: there are more than 400.
    """
    last = last or at.date()
    first = first or last - (DAYS_DEFAULT - 1) * DAY
    spans(first, last, step)
    settled = (at - SETTLED_AFTER).date()
    counts.advance(settled)
    by_day = counts.by_day(first, min(last, settled - DAY))
    if last >= settled:
        by_day.update(counts.live(max(first, settled), last + DAY))
    return Counted(step, summed(by_day, first, last, step))
