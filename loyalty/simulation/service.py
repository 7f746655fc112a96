"""Run a draft over the shop's past: for each member, fold the facts in both worlds, and add up.

It reads and writes nothing. In the world as it is, each fact is folded under the version of its
time, which gives what the journal's entries and corrections say (`carnet audit` checks that).

The points are the programme's contract with its members, and what a change of it costs is worked
out from the facts of that contract alone: no identifier is read, only totals come out, and values
that few members stand behind are left out. That is no analysis of anybody's behaviour, so it does
not hang on the consent to `analytics`; leaving members out would make the cost wrong. Birthday and
segments, which the programme's own rules look at, are read where the draft's rules ask for them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from loyalty.journal.drafts import EMPTY
from loyalty.journal.late import facts_of, fold, redating
from loyalty.kit.clock import days_to
from loyalty.kit.errors import FieldError
from loyalty.members.model import MemberNotFoundError
from loyalty.program.document import read
from loyalty.program.model import POINTS, About
from loyalty.program.sampling import draw
from loyalty.program.simulate import (
    NONE,
    Cell,
    Draft,
    Past,
    Period,
    Played,
    Spread,
    Totals,
    expiry_month,
    played,
    redated,
    runs_out,
    tier_name,
)
from loyalty.simulation.model import EmptyPeriodError
from loyalty.versions.service import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from loyalty.journal.drafts import Stores
    from loyalty.journal.late import Fact
    from loyalty.journal.scan import JournalScan
    from loyalty.members.model import MemberFacts
    from loyalty.program.model import Activity, Program
    from loyalty.program.sampling import Sample
    from loyalty.program.simulate import World
    from loyalty.simulation.model import Question

    Progress: TypeAlias = Callable[[int, int, str], None]
    """Called with what is done, the total of it and the stage; may end the work by raising."""

FACTS_A_REPORT = 200
_T = TypeVar("_T")


class Sources(NamedTuple):
    """What a simulation reads."""

    scan: JournalScan
    stores: Stores


class Simulated(NamedTuple):
    """What came out of a simulation.

    Args:
        question: what was asked.
        period: over which it ran.
        draft: the draft as a programme.
        current: the programme that rules at the end of the period.
        totals: all figures.
        spread: of the differences among members who did anything.
        ends: when which campaign's budget is used up.
        sample: who was looked at, or None for everybody.
        looked_at, of: members looked at, and members with a journal.
        facts: activities in the period of those looked at.
    """

    question: Question
    period: Period
    draft: Program
    current: Program
    totals: Totals
    spread: Spread
    ends: Mapping[str, datetime]
    sample: Sample | None
    looked_at: int
    of: int
    facts: int


class _Life(NamedTuple):
    """One member: what was before the period, and the facts in it."""

    past: Past
    facts: list[Fact]
    filled: list[Activity]


def simulate(
    question: Question, *, at: datetime, sources: Sources, progress: Progress
) -> Simulated:
    """Fold every member's facts, or a sample's, under the programmes of their time and the draft.

    Args:
        question: what to simulate.
        at: now.
        sources: where the past is.
        progress: several times a second.

    Raises:
        EmptyPeriodError: the period ends before it begins.
        NoProgramError: nothing is published, so nothing was ever awarded.
    """
    run = _Run(question, at, sources, progress)
    ends: dict[str, datetime] = {}
    sample, of = run.sample()
    if run.draft.budgets:
        granted: Counter[tuple[str, str]] = Counter()
        worlds, looked_at = Draft(run.draft), 0
        for life in run.lives(sample, of, "budgets"):
            granted.update(run.drafted(life, worlds).granted)
            looked_at += 1
        ends = runs_out(granted, run.draft, looked_at=looked_at, of=of or looked_at)
    return run.compared(sample, of, ends)


class _Run:
    """One simulation at work."""

    def __init__(
        self, question: Question, at: datetime, sources: Sources, progress: Progress
    ) -> None:
        self.question, self.at = question, at
        self.sources, self._progress = sources, progress
        self.draft = read(question.document, version=0)
        self.period = Period(*period_of(question, at=at), self.draft.zone)
        programs = sources.stores.programs
        self.current = programs.at(self.period.ends_at)
        self._done, self._total, self._stage = 0, 0, ""

    def sample(self) -> tuple[Sample | None, int]:
        """Who is looked at, and how many members have a journal (0: not counted yet)."""
        if not self.question.is_sampled:
            return None, 0
        ids = self._counted(self.sources.scan.member_ids())
        question = self.question
        sample = draw(ids, seed=question.seed, members=question.members, percent=question.percent)
        return sample, sample.of

    def lives(self, sample: Sample | None, of: int, stage: str) -> Iterator[_Life]:
        """The members to look at, one by one."""
        self._stage, self._done = stage, 0
        self._total = sample.drawn if sample else of or self.sources.scan.member_count()
        for member_id in self.sources.scan.member_ids():
            if sample is None or sample.has(member_id):
                yield self._life(member_id)
                self._done += 1
            self._tell()

    def drafted(self, life: _Life, worlds: Draft) -> World:
        """A member's life under the draft."""
        inside = {fact.activity.key for fact in life.facts}
        facts = (
            worlds.ruling(Played(activity, fact.program), inside=inside)
            for fact, activity in zip(life.facts, life.filled, strict=True)
        )
        return played(self._ticking(facts), life.past, self.period)

    def compared(self, sample: Sample | None, of: int, ends: dict[str, datetime]) -> Simulated:
        """Both worlds, member by member."""
        totals, spread, worlds = Totals(), Spread(), Draft(self.draft, ends)
        facts = 0
        for life in self.lives(sample, of, "members"):
            pairs = (Played(fact.activity, fact.program) for fact in life.facts)
            current = played(self._ticking(pairs), life.past, self.period)
            draft = self.drafted(life, worlds)
            facts += current.facts
            more_current, more_draft = self._compare(current, draft, spread)
            totals.add({**current.figures, **more_current}, {**draft.figures, **more_draft})
        looked_at = totals.looked_at
        return Simulated(
            self.question,
            self.period,
            self.draft,
            self.current,
            totals,
            spread,
            ends,
            sample,
            looked_at,
            of or looked_at,
            facts,
        )

    def _compare(
        self, current: World, draft: World, spread: Spread
    ) -> tuple[Counter[Cell], Counter[Cell]]:
        """What is told of a member's two worlds beside the sums: counts of members."""
        before, after = self._redating(current)
        end = self.period.ends_at
        standings = [tier_name(self.current, current.state, end)]
        standings.append(tier_name(self.draft, draft.state, end))
        if standings != [NONE, NONE]:
            after[Cell("tiers", "", "\n".join(standings))] = 1
        for side, world in ((before, current), (after, draft)):
            side.update(Cell("debtors", unit, "") for unit in _in_debt(world))
        if current.facts:
            total = Cell("total", POINTS, "")
            difference = draft.figures[total] - current.figures[total]
            spread.add(difference)
            effect = "gain" if difference > 0 else "lose" if difference else "same"
            after[Cell("effect", "", effect)] = 1
        return before, after

    def _redating(self, current: World) -> tuple[Counter[Cell], Counter[Cell]]:
        """What a redating to the draft's policies would move at the end of the period."""
        before: Counter[Cell] = Counter()
        after: Counter[Cell] = Counter()
        zone, policies = self.period.zone, redating(self.draft, self.current)
        for moved in redated(current.state, policies, self.period.ends_at, zone):
            table, unit = "redated", moved.unit
            before[Cell(table, unit, expiry_month(moved.before, zone))] += moved.points
            after[Cell(table, unit, expiry_month(moved.after, zone))] += moved.points
            after[Cell("redated_members", unit, "")] = 1
        return before, after

    def _life(self, member_id: str) -> _Life:
        stores = self.sources.stores
        facts = facts_of(self.sources.scan.entries(member_id), stores.programs)
        facts.sort(key=lambda each: (each.activity.occurred_at, each.activity.key))
        earlier = [each for each in facts if each.activity.occurred_at < self.period.starts_at]
        inside = [each for each in facts if self.period.has(each.activity.occurred_at)]
        state, found = fold(EMPTY, self._ticking(earlier))
        past = Past(state, list(found.values()))
        return _Life(past, inside, self._filled(member_id, inside))

    def _filled(self, member_id: str, facts: Sequence[Fact]) -> list[Activity]:
        """The activities with what the draft asks for, as it is known today if not then."""
        activities = [fact.activity for fact in facts]
        if self.draft.needs_member:
            activities = _with_member(activities, self._about(member_id), self.draft)
        if self.draft.needs_store:
            activities = [self._with_place(each) for each in activities]
        return activities

    def _about(self, member_id: str) -> MemberFacts | None:
        try:
            return self.sources.stores.members.about(member_id)
        except MemberNotFoundError:
            return None

    def _with_place(self, activity: Activity) -> Activity:
        about = activity.about
        store = self.sources.stores.catalogue.store(activity.store) if activity.store else None
        if about.zone or about.place or store is None:
            return activity
        place = None
        if store.latitude is not None and store.longitude is not None:
            place = (store.latitude, store.longitude)
        return replace(activity, about=replace(about, zone=store.time_zone, place=place))

    def _ticking(self, facts: Iterable[_T]) -> Iterator[_T]:
        """Facts as they are; a long life is no silence."""
        for number, fact in enumerate(facts, 1):
            if number % FACTS_A_REPORT == 0:
                self._tell()
            yield fact

    def _counted(self, member_ids: Iterable[str]) -> Iterator[str]:
        self._stage, self._total = "draw", self.sources.scan.member_count()
        for member_id in member_ids:
            self._done += 1
            self._tell()
            yield member_id

    def _tell(self) -> None:
        self._progress(self._done, max(self._total, self._done), self._stage)


def period_of(question: Question, *, at: datetime) -> tuple[datetime, datetime]:
    """From when and before when.

    Raises:
        EmptyPeriodError: it ends before it begins.
    """
    starts_at, ends_at = question.starts_at or BEGINNING, question.ends_at or at
    if starts_at >= ends_at:
        mistake = FieldError("ends_at", "Must lie after the begin of the period.")
        raise EmptyPeriodError(mistake.message, errors=(mistake,))
    return starts_at, ends_at


def _with_member(
    activities: Sequence[Activity], facts: MemberFacts | None, draft: Program
) -> list[Activity]:
    if facts is None:
        return list(activities)
    filled = []
    for activity in activities:
        about = activity.about
        if about.joined_at is None:
            day = activity.occurred_at.astimezone(draft.zone).date()
            birthday = days_to(*facts.birthday, on=day) if facts.birthday else None
            known = About(facts.joined_at, birthday, facts.segments, facts.is_referred)
            about = replace(known, zone=about.zone, place=about.place)
        filled.append(replace(activity, about=about))
    return filled


def _in_debt(world: World) -> list[str]:
    return [unit for unit, points in world.state.balances.items() if points < 0]
