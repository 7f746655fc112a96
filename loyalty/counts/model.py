"""Counts of decisions, and the periods that they are summed up over. Pure."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError, FieldError
from loyalty.program.lots import add_months

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Step: TypeAlias = Literal["day", "week", "month"]
STEPS: tuple[Step, ...] = ("day", "week", "month")
PERIODS_MAX = 400
DAYS_MAX = 12_000
GIVEN = ("granted", "pending")
DAY = timedelta(days=1)


class TooManyPeriodsError(ConflictError):
    """The span has more periods of that length than one answer shows."""

    code = "too_many_periods"
    title = "The span is too long for that step"


class BackwardSpanError(ConflictError):
    """The last day lies before the first."""

    code = "backward_span"
    title = "The span ends before it begins"


class Cell(NamedTuple):
    """What decisions are counted by. `status` is what became of the flag."""

    purpose: str
    channel: str | None
    method: str
    status: str

    @property
    def is_given(self) -> bool:
        """Whether it is a yes."""
        return self.status in GIVEN


class Period(NamedTuple):
    """Days from the first to the last, both included, and what was decided on them."""

    first: date
    last: date
    counts: Mapping[Cell, int]


def spans(first: date, last: date, step: Step) -> list[tuple[date, date]]:
    """The periods between two days, both included; those at the ends can be shorter.

    Weeks begin on Monday (ISO 8601).

    Raises:
        BackwardSpanError: the last day lies before the first.
        TooManyPeriodsError: there are more than 400.
    """
    if last < first:
        mistake = FieldError("to", "Lies before `from`.")
        raise BackwardSpanError(mistake.message, errors=(mistake,))
    found: list[tuple[date, date]] = []
    while first <= last:
        if len(found) == PERIODS_MAX:
            mistake = FieldError("step", f"Gives more than {PERIODS_MAX} periods.")
            raise TooManyPeriodsError(mistake.message, errors=(mistake,))
        following = _following(first, step)
        found.append((first, min(last, following - DAY)))
        first = following
    return found


def _following(day: date, step: Step) -> date:
    """The first day of the next period."""
    if step == "day":
        return day + DAY
    if step == "week":
        return day + (7 - day.weekday()) * DAY
    return add_months(day.replace(day=1), 1)


def summed(
    by_day: Mapping[date, Mapping[Cell, int]], first: date, last: date, step: Step
) -> list[Period]:
    """The counts of days as those of periods.

    Raises:
        BackwardSpanError: the last day lies before the first.
        TooManyPeriodsError: there are more than 400.
    """
    periods = []
    for begin, end in spans(first, last, step):
        days = (begin + number * DAY for number in range((end - begin).days + 1))
        periods.append(Period(begin, end, total(by_day.get(day, {}) for day in days)))
    return periods


def total(many: Iterable[Mapping[Cell, int]]) -> Counter[Cell]:
    """Many counts as one."""
    found: Counter[Cell] = Counter()
    for each in many:
        found.update(each)
    return found
