"""Arrival order must not matter: whatever comes late or twice, the end is the fold by time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.journal.appending import append
from loyalty.journal.late import Fact, restated
from loyalty.journal.model import (
    HoldExpiredError,
    InsufficientPointsError,
    ReturnExceedsPurchaseError,
    TooManyHoldsError,
)
from loyalty.journal.service import REVERSIBLE, reverse
from loyalty.program.document import ProgramSchema, check
from loyalty.program.lots import NEVER
from loyalty.program.model import Activity, Back
from tests.builders import NOON, engagement, enrolled, line, program_document, purchase, unique
from tests.races.lives import (
    CALLER,
    arrivals,
    documents,
    draft_of,
    facts_in,
    is_sound,
    lives,
    publish,
    renamed,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from app import Parts
    from loyalty.journal.model import Entry
    from loyalty.program.model import Kind, Line, Program

EXAMPLES = 60
FEW = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


DECISIONS = ("hold", "hold", "capture", "release", "restore", "adjustment")


@dataclass(frozen=True, slots=True)
class Deed:
    """A decision to be taken, or a reversal."""

    kind: Kind
    later: timedelta
    points: int
    unit: str
    lasts: timedelta
    which: int


def deeds(*kinds: str) -> st.SearchStrategy[Deed]:
    """Any decision of some kinds."""
    return st.builds(
        Deed,
        kind=st.sampled_from(kinds),
        later=st.sampled_from((0, 0, 1, 24, 18 * 24)).map(lambda hours: timedelta(hours=hours)),
        points=st.sampled_from((-30, -5, 1, 5, 20, 40)),
        unit=st.sampled_from(("points", "points", "stamps")),
        lasts=st.sampled_from((1, 48, 30 * 24)).map(lambda hours: timedelta(hours=hours)),
        which=st.integers(0, 9),
    )


def sent(parts: Parts, arrived: Sequence[Activity], rules: Program) -> list[Entry]:
    """The journal of a new member after activities arrived one by one; twins are replays."""
    member, seen = enrolled(parts), set()
    for activity in arrived:
        recorded = append(draft_of(member, activity, rules), parts.stores)
        assert recorded.is_replay == (activity.key in seen)
        seen.add(activity.key)
    return list(parts.journal.entries(member))


@FEW
@given(documents(), lives(), st.data())
def test_any_order_of_arrival_ends_like_the_order_of_time(
    parts: Parts, document: dict[str, Any], life: list[Activity], data: st.DataObject
) -> None:
    rules = publish(parts, document)
    in_order = sent(parts, life, rules)
    is_sound(in_order, facts_in(life, rules))
    assert not any(each.kind == "correction" for each in in_order)
    shuffled = renamed(data.draw(arrivals(life)), "+")
    is_sound(sent(parts, shuffled, rules), facts_in(renamed(life, "+"), rules))


class Till:
    """Sends what one member did, and takes decisions in between on what is known then."""

    def __init__(self, parts: Parts, rules: Program, name: str) -> None:
        self.parts, self.rules, self.name = parts, rules, name
        self.member = enrolled(parts)
        self.facts: dict[str, Activity] = {}
        self.last = NOON

    def send(self, activity: Activity) -> None:
        """A fact arrives."""
        recorded = append(draft_of(self.member, activity, self.rules), self.parts.stores)
        own = recorded.entry.occurred_at
        self.facts.setdefault(activity.key, replace(activity, occurred_at=own))
        self.last = max(self.last, own)

    def decide(self, deed: Deed) -> None:
        """Somebody decides something, as long as the state allows it."""
        if deed.kind == "reversal":
            return self._reverse(deed)
        key = f"{deed.kind}/{self.name}/{len(self.facts)}"
        points = deed.points if deed.kind == "adjustment" else abs(deed.points)
        activity = Activity(
            deed.kind, self.last + deed.later, key=key, points=points, unit=deed.unit
        )
        if deed.kind == "hold":
            activity = replace(activity, expires_at=activity.occurred_at + deed.lasts)
        elif deed.kind != "adjustment":
            holds = [each for each in self.facts.values() if each.kind == "hold"]
            if not holds:
                return None
            hold = holds[deed.which % len(holds)]
            name = "undo" if deed.kind == "restore" else "resolution"
            points = abs(deed.points) % (hold.points + 1) if deed.kind == "capture" else 0
            activity = replace(
                activity, key=f"{name}/{hold.key}", hold=hold.key, points=points, unit=hold.unit
            )
            if activity.key in self.facts or not self._fits(activity):
                return None
        with suppress(InsufficientPointsError, HoldExpiredError, TooManyHoldsError):
            self.send(activity)
        return None

    def _fits(self, activity: Activity) -> bool:
        """Only what was captured can be restored."""
        resolution = self.facts.get(f"resolution/{activity.hold}")
        return activity.kind != "restore" or (
            resolution is not None and resolution.kind == "capture"
        )

    def _reverse(self, deed: Deed) -> None:
        known = [key for key, each in self.facts.items() if each.kind in REVERSIBLE]
        if not known:
            return
        key = known[deed.which % len(known)]
        entry = self.parts.journal.by_key(key)
        assert entry
        reverse(entry.id, {"reason": "x"}, caller=CALLER, at=NOON, stores=self.parts.stores)
        del self.facts[key]

    def check(self) -> list[Entry]:
        """The journal, which is the fold of all that was sent and decided."""
        entries = list(self.parts.journal.entries(self.member))
        is_sound(entries, facts_in(self.facts.values(), self.rules))
        now = restated(entries)
        for each in entries:
            if each.kind == "hold":
                postings = now.get(each.key, each.postings)
                own = [one.points for one in postings if one.rule == "redemption"]
                assert own == [-self.facts[each.key].points]
        return entries


@FEW
@given(documents(), lives(), st.data())
def test_decisions_in_between_stay_and_the_rest_falls_into_place(
    parts: Parts, document: dict[str, Any], life: list[Activity], data: st.DataObject
) -> None:
    till = Till(parts, publish(parts, document), unique("till"))
    for activity in data.draw(arrivals(life)):
        till.send(activity)
        if data.draw(st.booleans()):
            till.decide(data.draw(deeds(*DECISIONS)))
    till.check()


@FEW
@given(documents(), lives(), st.data())
def test_what_was_reversed_is_as_if_it_had_never_been(
    parts: Parts, document: dict[str, Any], life: list[Activity], data: st.DataObject
) -> None:
    till = Till(parts, publish(parts, document), unique("till"))
    for activity in data.draw(arrivals(life, repeats=0)):
        till.send(activity)
        if data.draw(st.booleans()):
            till.decide(data.draw(deeds("reversal", "hold", "capture")))
    till.check()


@settings(FEW, max_examples=100)
@given(documents())
def test_the_random_programmes_could_be_published(document: dict[str, Any]) -> None:
    check(ProgramSchema().load(document))


BASE = {"id": "base", "type": "spend", "points": 1, "per_amount": 100}


def bought(name: str, day: int, *more: Line, channel: str = "store") -> Activity:
    """A purchase on a day, of two units for ten units of currency if nothing else is said."""
    at = NOON + timedelta(days=day)
    activity = purchase(*(more or (line(1000, quantity=2),)), at=at, channel=channel)
    return replace(activity, key=f"purchase/{name}")


def back(name: str, of: Activity, day: int, **what: Any) -> Activity:
    """A return on a day."""
    at = NOON + timedelta(days=day)
    return Activity("return", at, "store", back=Back(of.key, **what), key=f"return/{name}")


@pytest.mark.parametrize("what", [{"lines": (("milk", 1),)}, {"amount": 700}])
def test_a_part_that_came_back_before_all_the_rest_did_may_be_told_after_it(
    parts: Parts, what: dict[str, Any]
) -> None:
    rules = publish(parts, program_document(BASE))
    sold = bought("A", 0)
    part, rest = back("part", sold, 1, **what), back("rest", sold, 2)
    entries = sent(parts, [sold, rest, part], rules)
    is_sound(entries, facts_in([sold, part, rest], rules))
    assert entries[-1].state.balance == 0


def test_two_parts_that_are_more_than_there_was_are_refused_in_either_order(parts: Parts) -> None:
    rules = publish(parts, program_document(BASE))
    for number in range(2):
        sold = bought(f"A{number}", 0)
        both = [back(f"{day}-{number}", sold, day, lines=(("milk", 2),)) for day in (1, 2)]
        member = enrolled(parts)
        for each in (sold, both[number]):
            append(draft_of(member, each, rules), parts.stores)
        with pytest.raises(ReturnExceedsPurchaseError, match="2 more than is left"):
            append(draft_of(member, both[1 - number], rules), parts.stores)


def test_units_that_expire_together_are_told_in_one_order_however_they_came(parts: Parts) -> None:
    visit = {"id": "v", "type": "engagement", "engagement": "visit", "points": 5, "unit": "stamps"}
    expiry = {"expiry": {"days": 5}}
    units = {"points": expiry, "stamps": expiry}
    rules = publish(parts, program_document(BASE, visit, units=units))
    seen = replace(engagement("visit"), key="engagement/A")
    life = [seen, bought("B", 1), bought("C", 20), bought("D", 21)]
    entries = sent(parts, [life[0], life[1], life[3], life[2]], rules)
    is_sound(entries, facts_in(life, rules))


def test_a_hold_that_lost_its_points_to_a_reversal_loses_none_of_the_others(parts: Parts) -> None:
    till = Till(parts, publish(parts, program_document(BASE)), unique("till"))
    for name, day in (("A", 0), ("B", 1)):
        till.send(bought(f"{name}-{till.name}", day))
    hold = Activity("hold", till.last, points=15, key=unique("hold"), expires_at=NEVER)
    till.send(hold)
    wrong = till.parts.journal.by_key(f"purchase/A-{till.name}")
    assert wrong
    reverse(wrong.id, {"reason": "x"}, caller=CALLER, at=NOON, stores=parts.stores)
    del till.facts[wrong.key]
    key = f"resolution/{hold.key}"
    till.send(Activity("capture", till.last, points=1, hold=hold.key, key=key))
    assert till.check()[-1].state.balance == 9


KINDS: list[dict[str, Any]] = [
    {"type": "milestone", "at": 1, "points": 9},
    {"type": "every_nth", "n": 2, "points": 9},
    {"type": "streak", "n": 2, "points": 9},
]


@pytest.mark.parametrize("kinds", [*permutations(KINDS, 2)])
def test_a_rule_that_counts_in_another_way_from_now_on_begins_anew(
    parts: Parts, kinds: tuple[dict[str, Any], ...]
) -> None:
    older, newer = (publish(parts, program_document(BASE, {"id": "r", **each})) for each in kinds)
    alone = publish(parts, program_document(BASE, {"id": "other", **kinds[1]}))
    member, twin = enrolled(parts), enrolled(parts)
    first = [bought(f"first-{day}", day) for day in (0, 7, 14)]
    then = [bought(f"then-{day}", day) for day in (21, 28, 35)]
    facts = [*facts_in(first, older), *facts_in(then, newer), Fact(back("x", first[0], 40), older)]
    for activity, rules in facts:
        append(draft_of(member, activity, rules), parts.stores)
    entries = list(parts.journal.entries(member))
    is_sound(entries, facts)
    for each in renamed(then, "-twin"):
        append(draft_of(twin, each, alone), parts.stores)
    expected = [each.points for each in parts.journal.entries(twin)]
    assert [each.points for each in entries[3:6]] == expected
