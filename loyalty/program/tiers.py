"""Tiers: where a member stands on the programme's ladder, worked out when it is read.

A tier stands on an amount of the ladder's measure: what was counted in all (lifetime), in the last
days (rolling), or in a period (calendar, anniversary). In periods, the last closed one carries the
tier through the current one, in which it can be earned again or anew:

* a raise comes as soon as the amount suffices (`at_once`) or at the next review (`at_review`): the
  end of the period, or the first day of a month where there are no periods;
* a fall is due `grace_days` after the amount stopped sufficing; it is called off when the amount
  suffices again, and leads to the tier that is earned at that moment.

Nothing waits for a nightly job: a standing carries the moment until which it holds, and what
passes later is caught up with, event by event. Which activities count, and with what amount, is
for the caller; so is the order of facts: a standing never goes back in time.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from loyalty.program.lots import NEVER, add_months, day_start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

ROLLING_DAYS_MAX = 366
GRACE_DAYS_MAX = 366

Measure = Literal["spend", "points", "purchases"]
Counting = Literal["lifetime", "rolling", "calendar", "anniversary"]
Calendar = Literal["year", "half_year", "quarter", "month"]
Raising = Literal["at_once", "at_review"]

_MONTHS: Mapping[Calendar, int] = {"year": 12, "half_year": 6, "quarter": 3, "month": 1}
# Beyond these, an edge in some zone would not be a date any more.
_EARLIEST = datetime(10, 1, 1, tzinfo=UTC)
_LATEST = datetime(9990, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of the ladder, reached with `threshold` of the ladder's measure."""

    id: str
    name: str
    threshold: int
    benefits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ladder:
    """The tiers, lowest first, and how they are reached and lost.

    Attributes:
        tiers: thresholds ascend from 0; minor units for spend, points, or a number of purchases.
        measure: what is counted; for points, those of `unit`.
        period: over which time it is counted; `calendar` says which calendar periods.
        rolling_days: the days, today included, that a rolling amount is the sum of.
        entry: whether a raise comes at once or at the next review.
        grace_days: how long a tier is kept when its amount is no longer reached.
        counts_current: whether a purchase counts for the tier that its own rules see (for the
            caller: nothing here asks).
        on_return: whether a negative amount is subtracted or leaves the standing as it is.

    Raises:
        ValueError: the tiers are no ladder, or the days are out of bounds.
    """

    tiers: tuple[Tier, ...]
    measure: Measure
    period: Counting
    unit: str = "points"
    rolling_days: int = 365
    calendar: Calendar = "year"
    entry: Raising = "at_once"
    grace_days: int = 0
    counts_current: bool = True
    on_return: Literal["subtract", "keep"] = "subtract"

    thresholds: tuple[int, ...] = field(init=False, repr=False, compare=False)
    ranks: Mapping[str, int] = field(init=False, repr=False, compare=False)
    kind: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out once what every activity would ask for again."""
        thresholds = tuple(tier.threshold for tier in self.tiers)
        ranks = {tier.id: rank for rank, tier in enumerate(self.tiers)}
        if not thresholds or thresholds[0] != 0 or len(ranks) < len(thresholds):
            raise ValueError("A ladder has tiers with an id each; the first starts at 0.")
        if sorted(set(thresholds)) != list(thresholds):
            raise ValueError("Each tier's threshold is higher than the one before.")
        if not 1 <= self.rolling_days <= ROLLING_DAYS_MAX:
            raise ValueError(f"A ladder rolls over 1 to {ROLLING_DAYS_MAX} days.")
        if not 0 <= self.grace_days <= GRACE_DAYS_MAX:
            raise ValueError(f"A ladder's grace is 0 to {GRACE_DAYS_MAX} days.")
        object.__setattr__(self, "thresholds", thresholds)
        object.__setattr__(self, "ranks", ranks)
        object.__setattr__(self, "kind", _kind_of(self))

    def rank_for(self, amount: int) -> int:
        """The rank of the highest tier that an amount (not negative) reaches; 0 is the lowest."""
        return bisect_right(self.thresholds, amount) - 1


def _kind_of(ladder: Ladder) -> str:
    """What has to be the same in two versions for their amounts to mean the same."""
    measure = f"points of {ladder.unit}" if ladder.measure == "points" else ladder.measure
    details = {"rolling": f" {ladder.rolling_days}", "calendar": f" {ladder.calendar}"}
    return f"{measure} {ladder.period}{details.get(ladder.period, '')}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a member stands; at most `rolling_days` days make it bounded.

    Attributes:
        tier: the tier's id.
        since: when it was reached.
        until: nothing changes before this moment unless something is counted.
        kind: the kind of ladder that it was worked out for.
        amount: what counts now: in all, in the rolling days, or in the current period.
        period: the ISO day on which the current period began; empty where there are none.
        amount_before: what counted in the last closed period.
        falls_at: when the tier will be lost unless its amount is reached by then.
        days: for a rolling amount, each ISO day with what counted on it, ascending.
    """

    tier: str
    since: datetime
    until: datetime
    kind: str
    amount: int = 0
    period: str = ""
    amount_before: int = 0
    falls_at: datetime | None = None
    days: tuple[tuple[str, int], ...] = ()


def to_list(standing: Standing) -> list[Any]:
    """The standing as a short list of text, integers, datetimes and None; `from_list` reads it."""
    packed: list[Any] = [
        standing.tier,
        standing.since,
        standing.until,
        standing.kind,
        standing.amount,
        standing.period,
        standing.amount_before,
        standing.falls_at,
    ]
    for day, amount in standing.days:
        packed += (_day_number(day), amount)
    return packed


def from_list(packed: list[Any]) -> Standing:
    """The standing that `to_list` wrote."""
    days = map(_iso_day, packed[8::2])
    tier, since, until, kind, amount, period, amount_before, falls_at = packed[:8]
    return Standing(
        tier,
        since,
        until,
        kind,
        amount,
        period,
        amount_before,
        falls_at,
        tuple(zip(days, packed[9::2], strict=True)),
    )


# All members share the same few hundred days.
@lru_cache(maxsize=4096)
def _day_number(iso_day: str) -> int:
    """20260301 for 2026-03-01: a number takes a third of the room."""
    return int(iso_day.replace("-", ""))


@lru_cache(maxsize=4096)
def _iso_day(number: int) -> str:
    digits = f"{number:08}"
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"


def standing_at(
    ladder: Ladder,
    standing: Standing | None,
    at: datetime,
    *,
    zone: ZoneInfo,
    joined_at: datetime | None,
) -> Standing:
    """Where the member stands at a moment, if nothing was counted since; None: a new member.

    Time passes in any steps with the same result. A moment before the standing's own leaves it
    as it is. A standing of another kind of ladder keeps its tier (or, if this ladder does not
    know it, the one that its amount reaches here), as if just reached with its threshold.
    """
    if (
        standing is not None
        and at < standing.until
        and standing.kind == ladder.kind
        and standing.tier in ladder.ranks
    ):
        return standing
    at = _within(at)
    case = _Case(ladder, zone, joined_at)
    standing = _taken_up(case, standing, at)
    passed = _rolled if ladder.period in ("lifetime", "rolling") else _reviewed
    # A tier can fall short and fall; what else happens, happens once. Bounded for all that.
    for _ in range(2 * len(ladder.tiers) + 8):
        if at < standing.until:
            break
        standing = passed(case, standing, at)
    return standing


def counted(
    ladder: Ladder,
    standing: Standing | None,
    amount: int,
    at: datetime,
    *,
    zone: ZoneInfo,
    joined_at: datetime | None,
    on: datetime | None = None,
) -> Standing:
    """Where the member stands after `amount` more of the measure; negative for a return.

    `on` is the moment it counts for, if not `at`: a return's is that of its purchase. What lies
    before the current period or the rolling days changes nothing. No amount falls below zero.
    """
    standing = standing_at(ladder, standing, at, zone=zone, joined_at=joined_at)
    if not amount or (amount < 0 and ladder.on_return == "keep"):
        return standing
    at = _within(at)
    case = _Case(ladder, zone, joined_at)
    day = case.day_of(at if on is None else min(_within(on), at)).isoformat()
    if day < standing.period:
        return standing
    if ladder.period == "rolling":
        moved = _moved_day(case, standing, amount, day, today=case.day_of(at).isoformat())
    else:
        moved = replace(standing, amount=max(0, standing.amount + amount))
    return _settled(case, moved, at, is_review=False)


def tier_of(ladder: Ladder, standing: Standing) -> Tier:
    """The standing's tier; if the ladder does not know it, the one that its amount reaches."""
    return ladder.tiers[_rank(ladder, standing)]


def next_tier(ladder: Ladder, standing: Standing) -> tuple[Tier, int] | None:
    """The tier above and what is missing, in the measure; None on top.

    Nothing is missing where a raise only waits for the next review.
    """
    rank = _rank(ladder, standing) + 1
    if rank == len(ladder.tiers):
        return None
    tier = ladder.tiers[rank]
    return tier, max(0, tier.threshold - standing.amount)


def _rank(ladder: Ladder, standing: Standing) -> int:
    rank = ladder.ranks.get(standing.tier)
    return _earned(ladder, standing) if rank is None else rank


def _earned(ladder: Ladder, standing: Standing) -> int:
    """The rank that the amounts justify."""
    return ladder.rank_for(max(standing.amount, standing.amount_before))


@dataclass(frozen=True, slots=True)
class _Case:
    """What the passing of time depends on."""

    ladder: Ladder
    zone: ZoneInfo
    joined_at: datetime | None

    def day_of(self, moment: datetime) -> date:
        return moment.astimezone(self.zone).date()

    def start_of(self, day: date) -> datetime:
        return day_start(day, self.zone)

    def period_around(self, day: date) -> tuple[date, date]:
        """The first day of the period around a day, and of the next."""
        if self.ladder.period == "anniversary" and self.joined_at is not None:
            joined = self.day_of(_within(self.joined_at))
            months = 12 * (day.year - joined.year)
            months -= 12 * (add_months(joined, months) > day)
            # From the day itself: after a 28 February comes a 29th again.
            return add_months(joined, months), add_months(joined, months + 12)
        length = 12 if self.ladder.period == "anniversary" else _MONTHS[self.ladder.calendar]
        start = date(day.year, (day.month - 1) // length * length + 1, 1)
        return start, add_months(start, length)

    def review_after(self, moment: datetime) -> datetime:
        """The first start of a month that is later than a moment."""
        return self.start_of(add_months(self.day_of(moment).replace(day=1), 1))

    def grace_end(self, moment: datetime) -> datetime:
        """The same time of day when the grace is over."""
        if not self.ladder.grace_days:
            return moment
        local = moment.astimezone(self.zone) + timedelta(days=self.ladder.grace_days)
        return local.astimezone(UTC)

    def leaves_at(self, iso_day: str) -> datetime:
        """When a day is no longer one of the rolling days."""
        return self.start_of(date.fromisoformat(iso_day) + timedelta(days=self.ladder.rolling_days))


def _within(moment: datetime) -> datetime:
    return min(max(moment, _EARLIEST), _LATEST)


def _taken_up(case: _Case, standing: Standing | None, at: datetime) -> Standing:
    """The standing as one of this ladder, at whatever time it was."""
    ladder = case.ladder
    if standing is None:
        return _begun(case, at, ladder.tiers[0], case.joined_at or at)
    tier = tier_of(ladder, standing)
    if standing.kind != ladder.kind:
        return _begun(case, at, tier, standing.since)
    if tier.id != standing.tier:
        return replace(standing, tier=tier.id, falls_at=None)
    return standing


def _begun(case: _Case, at: datetime, tier: Tier, since: datetime) -> Standing:
    """A first standing on this ladder, in a tier, as if its threshold had just been reached."""
    begun = Standing(tier.id, since, NEVER, case.ladder.kind)
    day = case.day_of(at)
    if case.ladder.period == "lifetime":
        begun = replace(begun, amount=tier.threshold)
    elif case.ladder.period == "rolling":
        days = ((day.isoformat(), tier.threshold),) if tier.threshold else ()
        begun = replace(begun, amount=tier.threshold, days=days)
    else:
        start, _ = case.period_around(day)
        begun = replace(begun, period=start.isoformat(), amount_before=tier.threshold)
    return _settled(case, begun, at, is_review=False)


def _moved_day(case: _Case, standing: Standing, amount: int, day: str, *, today: str) -> Standing:
    """The standing with `amount` more on one of the rolling days."""
    newest = max(today, standing.days[-1][0]) if standing.days else today
    if day <= _days_before(newest, case.ladder.rolling_days):
        return standing
    days = standing.days
    place = bisect_left(days, (day,))
    is_known = place < len(days) and days[place][0] == day
    count = days[place][1] if is_known else 0
    count_after = max(0, count + amount)
    new = ((day, count_after),) if count_after else ()
    days = (*days[:place], *new, *days[place + is_known :])
    return replace(standing, amount=standing.amount + count_after - count, days=days)


def _days_before(iso_day: str, days: int) -> str:
    return (date.fromisoformat(iso_day) - timedelta(days=days)).isoformat()


def _rolled(case: _Case, standing: Standing, at: datetime) -> Standing:
    """The standing at the next moment that can change the tier, or at `at` if none comes before.

    All days that leave until then leave together: many years cost no more than one.
    """
    ladder = case.ladder
    review_at = None
    if _earned(ladder, standing) > ladder.ranks[standing.tier]:
        # No review lies before `until`: the standing would have ended there.
        review_at = case.review_after(standing.until - _TICK)
    due_at = standing.falls_at or _short_at(case, standing)
    moment = min(each for each in (at, review_at, due_at) if each is not None)
    last_out = _days_before(case.day_of(moment).isoformat(), ladder.rolling_days)
    out = bisect_right(standing.days, last_out, key=lambda each: each[0])
    gone = sum(amount for _, amount in standing.days[:out])
    left = replace(standing, amount=standing.amount - gone, days=standing.days[out:])
    return _settled(case, left, moment, is_review=moment == review_at)


def _short_at(case: _Case, standing: Standing) -> datetime | None:
    """When so many days will have left that the amount no longer reaches the tier."""
    threshold = case.ladder.thresholds[case.ladder.ranks[standing.tier]]
    left = standing.amount
    for day, amount in standing.days:
        left -= amount
        if left < threshold:
            return case.leaves_at(day)
    return None


def _reviewed(case: _Case, standing: Standing, at: datetime) -> Standing:
    """The standing at the next end of a period or grace; periods without anything are skipped."""
    is_empty = not standing.amount and not standing.amount_before
    is_lowest = not case.ladder.ranks[standing.tier]
    moment = standing.until
    if is_empty and (is_lowest or standing.falls_at):
        moment = min(at, standing.falls_at or at)
    start, _ = case.period_around(case.day_of(moment))
    is_review = start.isoformat() > standing.period
    if is_review:
        standing = replace(
            standing, period=start.isoformat(), amount=0, amount_before=standing.amount
        )
    return _settled(case, standing, moment, is_review=is_review)


def _settled(case: _Case, standing: Standing, at: datetime, *, is_review: bool) -> Standing:
    """The standing with the tier that its amounts lead to at a moment."""
    ladder = case.ladder
    earned, held = _earned(ladder, standing), ladder.ranks[standing.tier]
    tier, since, falls_at = standing.tier, standing.since, standing.falls_at
    if earned >= held:
        falls_at = None
    elif falls_at is None:
        falls_at = case.grace_end(at)
    is_due = falls_at is not None and falls_at <= at
    if is_due or (earned > held and (is_review or ladder.entry == "at_once")):
        tier, since, falls_at = ladder.tiers[earned].id, at, None
    if (tier, falls_at) != (standing.tier, standing.falls_at):
        standing = replace(standing, tier=tier, since=since, falls_at=falls_at)
    until = _until(case, standing, at)
    return standing if until == standing.until else replace(standing, until=until)


def _until(case: _Case, standing: Standing, at: datetime) -> datetime:
    """The next moment that changes anything by itself."""
    ladder = case.ladder
    moments = [NEVER if standing.falls_at is None else standing.falls_at]
    if standing.period:
        _, end = case.period_around(date.fromisoformat(standing.period))
        moments.append(case.start_of(end))
    elif _earned(ladder, standing) > ladder.ranks[standing.tier]:
        moments.append(case.review_after(at))
    if standing.days:
        moments.append(case.leaves_at(standing.days[0][0]))
    return min(moments)
