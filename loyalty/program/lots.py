"""Lots: points of one unit that become active and expire together.

There is at most one for each pair of days, and pending ones join the others as they become active,
so the longest validity and the longest wait bound their number. They are kept soonest-expiring
first, which is the order in which they are spent.

A balance below zero is one lot that never expires and holds the debt; new points pay it first.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
ALWAYS = datetime(1, 1, 1, tzinfo=UTC)


class Lot(NamedTuple):
    """Points valid before `expires_at` (`NEVER`: without end) and from `active_at` on.

    Before `active_at` they are pending: counted, shown, and not to be spent.
    """

    expires_at: datetime
    points: int
    active_at: datetime = ALWAYS


Lots = tuple[Lot, ...]


def balance_of(lots: Lots) -> int:
    """The sum of the lots, pending ones included."""
    return sum(lot.points for lot in lots)


def available(lots: Lots, at: datetime) -> int:
    """What can be spent at a moment: neither pending nor expired; below zero for a debt."""
    return sum(lot.points for lot in lots if lot.active_at <= at < lot.expires_at)


def pending_of(lots: Lots, at: datetime) -> int:
    """What is there and cannot be spent yet at a moment."""
    return sum(lot.points for lot in lots if at < lot.active_at)


def earn(lots: Lots, points: int, *, expires_at: datetime, active_at: datetime = ALWAYS) -> Lots:
    """The lots after `points` (not negative) came in; a debt is paid first."""
    if not points:
        return lots
    if not lots:
        return (Lot(expires_at, points, active_at),)
    last = lots[-1]
    if last.expires_at == expires_at and last.active_at == active_at and lots[0].points > 0:
        # What comes in mostly expires with the newest lot.
        return (*lots[:-1], Lot(expires_at, last.points + points, active_at))
    debt = -min(0, balance_of(lots))
    if points <= debt:
        return _debt(debt - points)
    return _sorted(
        [*(lot for lot in lots if lot.points > 0), Lot(expires_at, points - debt, active_at)]
    )


def give_back(lots: Lots, back: Iterable[Lot]) -> Lots:
    """The lots after others came back with the dates they had."""
    for lot in back:
        lots = earn(lots, lot.points, expires_at=lot.expires_at, active_at=lot.active_at)
    return lots


def take(
    lots: Lots, points: int, *, at: datetime = NEVER, first: Lot | None = None
) -> tuple[Lots, Lots]:
    """The lots after `points` (not negative) went out, and what was taken from which.

    Active lots go before pending ones, each soonest-expiring first.

    Args:
        lots: what there is.
        points: how many; more than there are leave a debt: whether that may be is for the caller.
        at: the moment that tells active lots from pending ones.
        first: a lot with the dates of the one to take from before all others.
    """
    order = sorted(
        lots, key=lambda lot: (not _same(lot, first), lot.active_at > at, lot.expires_at)
    )
    taken: list[Lot] = []
    for lot in order:
        part = min(points, max(0, lot.points))
        points -= part
        if part:
            taken.append(lot._replace(points=part))
    if points:
        # One lot for each pair of dates here too: whoever takes of these counts on it.
        return _debt(points - min(0, balance_of(lots))), _sorted([*taken, Lot(NEVER, points)])
    gone = {(lot.expires_at, lot.active_at): lot.points for lot in taken}
    left = (
        lot._replace(points=lot.points - gone.get((lot.expires_at, lot.active_at), 0))
        for lot in lots
    )
    return tuple(lot for lot in left if lot.points), tuple(taken)


def expire(lots: Lots, *, at: datetime) -> tuple[Lots, int]:
    """The lots still valid at a moment, and the points of those that are not."""
    if not lots or lots[0].expires_at > at:
        return lots, 0
    valid = tuple(lot for lot in lots if lot.expires_at > at)
    return valid, balance_of(lots) - balance_of(valid)


def is_waking(lots: Lots, *, at: datetime) -> bool:
    """Whether lots that were pending are active at a moment."""
    return any(ALWAYS < lot.active_at <= at for lot in lots)


def awake(lots: Lots, *, at: datetime) -> Lots:
    """The lots with those that are active at a moment as if they always were.

    Else points that wait and never expire would be a lot for each day, for ever.
    """
    if not is_waking(lots, at=at):
        return lots
    return _sorted(lot._replace(active_at=ALWAYS) if lot.active_at <= at else lot for lot in lots)


def day_end(day: date, zone: ZoneInfo) -> datetime:
    """The end of a day, which is the first moment of the next."""
    return day_start(day + timedelta(days=1), zone)


def day_start(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a day in a zone, as UTC."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def add_months(day: date, months: int) -> date:
    """The same day of a later month, or that month's last day if it is shorter.

    Earned on 31 January with one month: last valid on 28 February (Voucherify, points expiration).
    """
    years, month_index = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month_index + 1
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def _same(lot: Lot, other: Lot | None) -> bool:
    return other is not None and lot[::2] == other[::2]


def _sorted(lots: Iterable[Lot]) -> Lots:
    """Soonest-expiring first, one lot for each pair of dates."""
    held: dict[tuple[datetime, datetime], int] = {}
    for lot in lots:
        dates = (lot.expires_at, lot.active_at)
        held[dates] = held.get(dates, 0) + lot.points
    return tuple(Lot(expires, held[expires, active], active) for expires, active in sorted(held))


def _debt(points: int) -> Lots:
    return (Lot(NEVER, -points),) if points else ()
