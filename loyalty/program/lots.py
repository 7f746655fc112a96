"""Lots: points that expire together. At most one lot a day of expiry, so their number is bounded.

A balance below zero is one lot that never expires and holds the debt; new points pay it first.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

NEVER = datetime(9999, 1, 1, tzinfo=UTC)


class Lot(NamedTuple):
    """Points that are valid before `expires_at`; `NEVER` for points without an end."""

    expires_at: datetime
    points: int


Lots = tuple[Lot, ...]


def balance_of(lots: Lots) -> int:
    """The sum of the lots."""
    return sum(lot.points for lot in lots)


def earn(lots: Lots, points: int, *, expires_at: datetime) -> Lots:
    """The lots after `points` (not negative) came in; a debt is paid first."""
    if not points:
        return lots
    if not lots:
        return (Lot(expires_at, points),)
    if lots[-1].expires_at == expires_at and lots[0].points > 0:
        # What comes in mostly expires with the newest lot.
        return (*lots[:-1], Lot(expires_at, lots[-1].points + points))
    debt = -min(0, balance_of(lots))
    if points <= debt:
        return _debt(debt - points)
    held = {lot.expires_at: lot.points for lot in lots if lot.points > 0}
    held[expires_at] = held.get(expires_at, 0) + points - debt
    return tuple(sorted(Lot(*pair) for pair in held.items()))


def spend(lots: Lots, points: int) -> Lots:
    """The lots after `points` (not negative) went out, soonest-expiring first.

    Spending more than there is leaves a debt: whether that may be is for the caller to decide.
    """
    left: list[Lot] = []
    for lot in lots:
        taken = min(points, max(0, lot.points))
        points -= taken
        if lot.points - taken:
            left.append(Lot(lot.expires_at, lot.points - taken))
    return tuple(left) if points == 0 else _debt(points - balance_of(tuple(left)))


def expire(lots: Lots, *, at: datetime) -> tuple[Lots, int]:
    """The lots still valid at a moment, and the points of those that are not."""
    if not lots or lots[0].expires_at > at:
        return lots, 0
    valid = tuple(lot for lot in lots if lot.expires_at > at)
    return valid, balance_of(lots) - balance_of(valid)


def expiry_after_months(earned_at: datetime, months: int, zone: ZoneInfo) -> datetime:
    """The end of the last valid day: the same day `months` later, or that month's last day.

    Earned on 31 January with one month: last valid on 28 February (Voucherify, points expiration).
    """
    last_day = add_months(earned_at.astimezone(zone).date(), months)
    end = datetime.combine(last_day + timedelta(days=1), time.min, tzinfo=zone)
    return end.astimezone(UTC)


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day if it is shorter."""
    years, month_index = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month_index + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def _debt(points: int) -> Lots:
    return (Lot(NEVER, -points),) if points else ()
