"""From when and until when points are valid: the dates of the lot that an award goes into."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from loyalty.program.lots import ALWAYS, NEVER, Lot, add_months, day_end, day_start

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

# How far back a lot's day of earning is looked for when it is dated anew.
DAYS_BACK_MAX = 366 * 30


@dataclass(frozen=True, slots=True)
class Expiry:
    """When points expire. Nothing set: never.

    The duration comes first, then `end_of` or `each_year_on` moves on to the end of that month or
    year, or to the next such day; `on` is one date for all. Points are valid through the last day.
    `idle_*` expires everything after so long without a purchase or an engagement.
    """

    months: int = 0
    days: int = 0
    end_of: Literal["", "month", "year"] = ""
    each_year_on: tuple[int, int] | None = None
    on: date | None = None
    idle_months: int = 0
    idle_days: int = 0

    def last_day(self, earned_on: date) -> date | None:
        """The last day on which points earned on a day are valid; None for ever."""
        if self.on and earned_on <= self.on:
            return self.on
        if not (self.months or self.days or self.end_of or self.each_year_on):
            return None
        day = add_months(earned_on, self.months) + timedelta(days=self.days)
        if self.end_of == "month":
            return add_months(day.replace(day=1), 1) - timedelta(days=1)
        if self.end_of == "year":
            return date(day.year, 12, 31)
        if self.each_year_on:
            return _next(day, *self.each_year_on)
        return day

    def idle_at(self, used_at: datetime, zone: ZoneInfo) -> datetime | None:
        """When everything expires if nothing more happens."""
        if not (self.idle_months or self.idle_days):
            return None
        day = add_months(used_at.astimezone(zone).date(), self.idle_months)
        return day_end(day + timedelta(days=self.idle_days), zone)


@dataclass(frozen=True, slots=True)
class UnitPolicy:
    """One of the programme's point currencies.

    Args:
        pending_days: how many days points wait before they can be spent.
        pending_until: the day before which no points can be spent.
        expiry: how long they are valid.
        channels: where they may be spent; empty means everywhere.
        worth: minor units of money for `worth[1]` points, for the books.
    """

    pending_days: int = 0
    pending_until: date | None = None
    expiry: Expiry = Expiry()
    channels: frozenset[str] = frozenset()
    worth: tuple[int, int] = (0, 1)

    def dates(self, earned_at: datetime, zone: ZoneInfo) -> Lot:
        """An empty lot with the dates of points earned at a moment."""
        return _dates(self, earned_at.astimezone(zone).date(), zone)

    def redated(self, lot: Lot, older: UnitPolicy, *, at: datetime, zone: ZoneInfo) -> Lot:
        """A lot dated anew, as if this policy had ruled when it last grew; never into the past.

        That day is the latest which `older` dates as the lot is: in doubt in the member's favour.
        """
        if lot.points < 0:
            return lot
        grew_at = _grew_at(lot, older, at, zone)
        if older.dates(grew_at, zone).expires_at > lot.expires_at:
            # No day is early enough: another version dated it, perhaps this one.
            return lot
        expires_at = self.dates(grew_at, zone).expires_at
        return lot._replace(expires_at=max(expires_at, day_end(at.astimezone(zone).date(), zone)))


@lru_cache(maxsize=4096)
def _dates(policy: UnitPolicy, day: date, zone: ZoneInfo) -> Lot:
    last = policy.expiry.last_day(day)
    active_at = ALWAYS
    if policy.pending_days:
        active_at = day_start(day + timedelta(days=policy.pending_days), zone)
    if policy.pending_until and day < policy.pending_until:
        active_at = max(active_at, day_start(policy.pending_until, zone))
    return Lot(day_end(last, zone) if last else NEVER, 0, active_at)


def _grew_at(lot: Lot, older: UnitPolicy, at: datetime, zone: ZoneInfo) -> datetime:
    """The latest moment up to `at` whose points the older policy lets expire with the lot."""
    low, high = 0, DAYS_BACK_MAX
    if older.dates(at, zone).expires_at <= lot.expires_at:
        return at
    while high - low > 1:
        middle = (low + high) // 2
        if older.dates(at - timedelta(days=middle), zone).expires_at <= lot.expires_at:
            high = middle
        else:
            low = middle
    return at - timedelta(days=high)


def _next(day: date, month: int, day_of_month: int) -> date:
    """The next day of a month and day of the month, `day` itself included."""
    for year in (day.year, day.year + 1):
        last = add_months(date(year, month, 1), 1) - timedelta(days=1)
        found = date(year, month, min(day_of_month, last.day))
        if found >= day:
            break
    return found
