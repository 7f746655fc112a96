"""What a member's facts would have moved under another programme: one life, folded in two worlds.

Both worlds begin with the same state at the begin of the period, and meet the same facts: what was
bought, returned and reported, and every decision (what was held, captured, given by hand). So where
a draft awards less, a decision can leave a debt; how many members that would be is counted.

What a draft asks and nobody had asked then (a birthday, the place of a store) is filled in by the
caller. Budgets of campaigns are shared by all members, and members are folded one by one: so a
first pass lets them pay without limit, `runs_out` finds the moment at which each is used up, and in
the second pass a rule pays until then. It is exact to the day, within which points are taken to
have been spread evenly; that one rule's end lets another pay more is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from loyalty.program.book import Book
from loyalty.program.lots import NEVER, add_months, day_start
from loyalty.program.money import rounded
from loyalty.program.passage import settle
from loyalty.program.sampling import Estimate, Moments, estimate
from loyalty.program.step import step
from loyalty.program.tiers import standing_at, tier_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from zoneinfo import ZoneInfo

    from loyalty.program.lots import Lots
    from loyalty.program.model import Activity, Posting, Program, State
    from loyalty.program.validity import UnitPolicy

# The kinds of facts whose points a programme decides.
ISSUING = frozenset({"purchase", "engagement", "referral", "return"})
NONE = "none"
LIMITLESS = 2**53 - 1
_TICK = timedelta(milliseconds=1)


class Played(NamedTuple):
    """A fact to fold: what happened, and the programme that rules it."""

    activity: Activity
    program: Program


class Past(NamedTuple):
    """What was before the period: the state, and each fact with what it moved, in their order."""

    state: State
    facts: Sequence[tuple[Activity, tuple[Posting, ...]]]


class Period(NamedTuple):
    """From a moment and before another, in the calendar of a zone."""

    starts_at: datetime
    ends_at: datetime
    zone: ZoneInfo

    def has(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        return self.starts_at <= moment < self.ends_at


class Cell(NamedTuple):
    """One figure of a result: of which table, of which unit, of which row."""

    table: str
    unit: str
    row: str


@dataclass(slots=True)
class World:
    """One world's outcome for one member.

    Args:
        state: at the end of the period.
        figures: points by cell.
        granted: what rules with a budget gave, by rule and ISO day.
        facts: how many facts of the period the programme decided about.
    """

    state: State
    figures: Counter[Cell] = field(default_factory=Counter)
    granted: Counter[tuple[str, str]] = field(default_factory=Counter)
    facts: int = 0


class Draft:
    """A programme that never ruled, as it would have ruled the facts of a period.

    Args:
        program: of version 0.
        ends: when each campaign's budget is used up; what is not named lasts.
    """

    def __init__(self, program: Program, ends: Mapping[str, datetime] | None = None) -> None:
        self.program = program
        self._ends = ends or {}
        self._older: dict[int, Program] = {}

    def ruling(self, fact: Played, *, inside: set[str]) -> Played:
        """The fact in the draft's world.

        Args:
            fact: with the programme of its time.
            inside: the keys of the facts of the period.
        """
        activity = replace(fact.activity, grants={}, budgets=self._budgets(fact.activity))
        back = activity.back
        if back and back.purchase_key not in inside:
            # What was awarded before the period is taken back by the rules that awarded it.
            return Played(activity, self._with_own_ladder(fact.program))
        return Played(activity, self.program)

    def _budgets(self, activity: Activity) -> dict[str, int]:
        at = activity.occurred_at
        return {
            rule: LIMITLESS if at < self._ends.get(rule, NEVER) else 0
            for rule in self.program.budgets
        }

    def _with_own_ladder(self, older: Program) -> Program:
        if older.version not in self._older:
            ladder, zone = self.program.ladder, self.program.zone
            self._older[older.version] = replace(older, ladder=ladder, zone=zone)
        return self._older[older.version]


def played(facts: Iterable[Played], past: Past, period: Period) -> World:
    """Fold the facts of a period, in their order, on what was before.

    Args:
        facts: of the period, ordered by time and key.
        past: what was before; a return may reach back into it.
        period: whose end the state is of.
    """
    book = Book()
    for activity, postings in past.facts:
        book.record(activity, postings)
    world = World(settle(past.state, period.starts_at)[0])
    # Where nothing was before, time begins with the first fact: a period may begin with the world.
    at = period.starts_at if past.facts else None
    for fact in facts:
        activity = book.complete(fact.activity)
        since = at or activity.occurred_at
        world.state = _passed(world, period, since=since, until=activity.occurred_at)
        tier = tier_name(fact.program, world.state, activity.occurred_at)
        world.state, postings = step(fact.program, world.state, activity)
        book.record(activity, postings)
        _count(world, Played(activity, fact.program), postings, tier, period)
        # What came back with a date that has passed in the meantime.
        _count_expiry(world, postings, activity.occurred_at, period)
        at = activity.occurred_at
    if at is not None:
        world.state = _passed(world, period, since=at, until=period.ends_at)
    for unit, points in world.state.balances.items():
        world.figures[Cell("outstanding", unit, "")] += points
    return world


def tier_name(program: Program, state: State, at: datetime) -> str:
    """The tier that a member stands in at a moment; `none` where there is no ladder."""
    ladder = program.ladder
    if ladder is None:
        return NONE
    standing = standing_at(ladder, state.tier, at, zone=program.zone, joined_at=state.joined_at)
    return tier_of(ladder, standing).id


def month_of(moment: datetime, zone: ZoneInfo) -> str:
    """The calendar month of a moment, as `2026-03`."""
    return f"{moment.astimezone(zone):%Y-%m}"


def expiry_month(expires_at: datetime, zone: ZoneInfo) -> str:
    """The month of the last day on which points are valid; `never` for those without end."""
    return "never" if expires_at >= NEVER else month_of(expires_at - _TICK, zone)


class Moved(NamedTuple):
    """A lot that another expiry policy would date anew."""

    unit: str
    points: int
    before: datetime
    after: datetime


def redated(
    state: State,
    policies: Mapping[str, tuple[UnitPolicy, UnitPolicy]],
    at: datetime,
    zone: ZoneInfo,
) -> list[Moved]:
    """The lots that a redating would move.

    Args:
        state: a member's.
        policies: for each unit the newer and the older policy.
        at: when it would be done.
        zone: of the programme.
    """
    state, _ = settle(state, at)
    moved = []
    for unit, (newer, older) in policies.items():
        for lot in state.lots.get(unit, ()):
            after = newer.redated(lot, older, at=at, zone=zone).expires_at
            if after != lot.expires_at:
                moved.append(Moved(unit, lot.points, lot.expires_at, after))
    return moved


def expected_expiries(lots: Lots, idle_at: datetime | None) -> Iterator[tuple[datetime, int]]:
    """When the points of each lot expire if nothing more happens; a debt is left out."""
    for lot in lots:
        if lot.points > 0:
            yield min(lot.expires_at, idle_at or NEVER), lot.points


def runs_out(
    granted: Mapping[tuple[str, str], int], program: Program, *, looked_at: int, of: int
) -> dict[str, datetime]:
    """The moment at which each campaign's budget is used up, for those that are.

    Args:
        granted: what each rule would give without limit, by rule and ISO day of the programme.
        program: the draft.
        looked_at: how many members that is of.
        of: how many there are; the rest is taken to be like these.
    """
    ends = {}
    for rule, budget in program.budgets.items():
        left = budget * looked_at
        for day in sorted(day for each, day in granted if each == rule):
            points = granted[rule, day] * of
            if points > left:
                ends[rule] = _within_day(day, program.zone, left, points)
                break
            left -= points
    return ends


def _within_day(iso_day: str, zone: ZoneInfo, left: int, points: int) -> datetime:
    starts_at = day_start(datetime.fromisoformat(iso_day).date(), zone)
    milliseconds = rounded(left * 86_400_000, points, "floor")
    return starts_at + timedelta(milliseconds=milliseconds)


def _passed(world: World, period: Period, *, since: datetime, until: datetime) -> State:
    """The state at a moment; what expires on the way is counted in its own month."""
    state = world.state
    for moment in (*_month_starts(since, until, period.zone), until):
        state, postings = settle(state, moment)
        _count_expiry(world, postings, moment, period)
    return state


def _month_starts(since: datetime, until: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    day = since.astimezone(zone).date().replace(day=1)
    while (moment := day_start(day, zone)) < until:
        if moment > since:
            yield moment
        day = add_months(day, 1)


def _count_expiry(
    world: World, postings: Iterable[Posting], moment: datetime, period: Period
) -> None:
    for posting in postings:
        if posting.rule == "expiry":
            month = month_of(moment - _TICK, period.zone)
            world.figures[Cell("expiry", posting.unit, month)] -= posting.points


def _count(
    world: World, fact: Played, postings: Iterable[Posting], tier: str, period: Period
) -> None:
    activity, program = fact
    if activity.kind not in ISSUING:
        return
    world.facts += 1
    rows = {
        "total": "",
        "channel": activity.channel or NONE,
        "tier": tier,
        "month": month_of(activity.occurred_at, period.zone),
    }
    for posting in postings:
        for table, row in {**rows, "rule": posting.rule}.items():
            world.figures[Cell(table, posting.unit, row)] += posting.points
        if posting.rule in program.budgets and posting.points > 0:
            day = activity.occurred_at.astimezone(program.zone).date().isoformat()
            world.granted[posting.rule, day] += posting.points


class Sides(NamedTuple):
    """One figure in both worlds, and what the draft adds."""

    current: Estimate
    draft: Estimate
    difference: Estimate


class Totals:
    """The figures of both worlds over all members that were looked at; its size is the result's."""

    def __init__(self) -> None:
        self.looked_at = 0
        self._moments: dict[Cell, tuple[Moments, Moments, Moments]] = {}

    def add(self, current: Mapping[Cell, int], draft: Mapping[Cell, int]) -> None:
        """Count one member."""
        self.looked_at += 1
        for cell in current.keys() | draft.keys():
            before, after = current.get(cell, 0), draft.get(cell, 0)
            if cell not in self._moments:
                self._moments[cell] = (Moments(), Moments(), Moments())
            for moments, value in zip(
                self._moments[cell], (before, after, after - before), strict=True
            ):
                moments.add(value)

    def rows(self, table: str, unit: str) -> list[str]:
        """The rows of a table, in order."""
        return sorted(cell.row for cell in self._moments if cell[:2] == (table, unit))

    def units(self) -> list[str]:
        """The units that anything was counted of."""
        return sorted({cell.unit for cell in self._moments if cell.unit})

    def sides(self, cell: Cell, *, of: int) -> Sides:
        """One figure, as a total over all `of` members."""
        moments = self._moments.get(cell, (Moments(), Moments(), Moments()))
        return Sides(*(estimate(each, looked_at=self.looked_at, of=of) for each in moments))


class Spread:
    """How differences lie among members: exact up to a thousand, then to three digits."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()

    def add(self, difference: int) -> None:
        """Count one member's."""
        self._counts[_three_digits(difference)] += 1

    def quantile(self, percent: int, *, beside_min: int) -> int | None:
        """The value that so many of a hundred members do not exceed.

        Args:
            percent: 1 to 99.
            beside_min: how many members must lie on either side: a value of few is personal.
        """
        count = sum(self._counts.values())
        if count * min(percent, 100 - percent) < beside_min * 100:
            return None
        rank, passed = -(-count * percent // 100), 0
        for value in sorted(self._counts):
            passed += self._counts[value]
            if passed >= rank:
                return value
        return None


def _three_digits(value: int) -> int:
    size = max(0, len(str(abs(value))) - 3)
    step_size: int = 10**size
    return rounded(value, step_size, "half_up") * step_size
