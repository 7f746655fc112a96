"""One member's life through the service's own functions, with a check of the books at every step.

What a machine does: purchases and engagements in time and late, returns, decisions, reversals, new
versions of the programme, and the same request again, at once or much later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loyalty.journal import returns, service
from loyalty.journal.appending import append
from loyalty.journal.late import facts_of, resolution_key
from loyalty.journal.model import (
    HoldExpiredError,
    InsufficientPointsError,
    ReturnExceedsPurchaseError,
    TooManyHoldsError,
)
from loyalty.journal.service import REVERSIBLE
from loyalty.journal.store import RESTATING
from loyalty.members.model import KeyReusedError
from loyalty.program.document import ProgramSchema
from loyalty.program.lots import available
from loyalty.program.model import Activity
from loyalty.program.passage import settle
from loyalty.versions.service import ProgramShelf, publish
from tests.builders import NOON, enrolled, unique
from tests.races.lives import CALLER, CHANNELS, UNITS, documents, draft_of, is_sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from loyalty.journal.drafts import Recorded
    from loyalty.journal.model import Entry
    from loyalty.program.model import Kind

    Document = dict[str, Any]

EXAMPLES, STEPS = 40, 20
SCHEMA = ProgramSchema()
REFUSALS = (
    InsufficientPointsError,
    HoldExpiredError,
    TooManyHoldsError,
    ReturnExceedsPurchaseError,
)
hours = st.sampled_from((0, 0, 1, 24, 10 * 24))
late_hours = st.sampled_from((0, 0, 0, 1, 30, 20 * 24))
points = st.integers(1, 40)
which = st.integers(0, 99)
lines = st.lists(
    st.fixed_dictionaries(
        {
            "sku": st.sampled_from(("milk", "rye")),
            "quantity": st.integers(1, 3),
            "amount": st.sampled_from((0, 500, 1999, 4000)),
        }
    ),
    min_size=1,
    max_size=2,
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was acknowledged, ready to be sent again."""

    again: Callable[[], Recorded]
    entry_id: str
    key: str


class Life(RuleBasedStateMachine):
    """A member, a programme in versions, and all that was acknowledged."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        for name in ("program_versions", "journal", "budgets"):
            parts.database[name].delete_many({})
        shelf = ProgramShelf(parts.stores.programs.store)
        self.parts, self.stores = parts, parts.stores._replace(programs=shelf)
        self.member = enrolled(parts)
        self.now = NOON
        self.sent: list[Sent] = []
        self.holds: list[Activity] = []
        self.is_ready = False

    @initialize(document=documents())
    def begin(self, document: Document) -> None:
        self.put_in_force(document, 0)
        self.is_ready = True

    @rule(document=documents(), later=hours)
    def put_in_force(self, document: Document, later: int) -> None:
        """A version of the programme from now on."""
        self.now += timedelta(hours=later)
        loaded: Any = SCHEMA.load(document)
        shelf = self.stores.programs
        publish(loaded, starts_at=None, at=self.now, by="x", request_key=None, shelf=shelf)

    @rule(lines=lines, channel=st.sampled_from(CHANNELS), late=late_hours, later=hours)
    def buy(self, lines: list[Document], channel: str, late: int, later: int) -> None:
        body = {**self._body(channel, late, later), "currency": "EUR", "lines": lines}
        self._report(service.record_purchase, body, may_overdraw=bool(late))

    @rule(
        kind=st.sampled_from(("visit", "review")),
        channel=st.sampled_from(CHANNELS),
        late=late_hours,
        later=hours,
    )
    def engage(self, kind: str, channel: str, late: int, later: int) -> None:
        body = {**self._body(channel, late, later), "type": kind}
        self._report(service.record_engagement, body, may_overdraw=bool(late))

    @precondition(lambda self: self._of("purchase"))
    @rule(number=which, part=st.sampled_from(("rest", "units", "amount")), late=late_hours)
    def bring_back(self, number: int, part: str, late: int) -> None:
        bought = self._of("purchase")
        purchase = bought[number % len(bought)]
        body = self._body("store", late, 1)
        del body["member"]
        external_id = purchase.activity["external_id"]
        body["purchase"] = {"channel": purchase.channel, "external_id": external_id}
        if part == "units":
            body["lines"] = [{"sku": purchase.activity["lines"][0]["sku"], "quantity": 1}]
        if part == "amount":
            body["amount"] = 1 + number * 20
        self._report(returns.record_return, body, may_overdraw=True)

    @rule(points=st.integers(-40, 40).filter(bool), unit=st.sampled_from(UNITS), later=hours)
    def adjust(self, points: int, unit: str, later: int) -> None:
        self.now += timedelta(hours=later)
        at = self.now
        body = {"external_id": unique("a"), "points": points, "unit": unit, "reason": "x"}
        self._try(
            lambda: service.adjust(self.member, body, caller=CALLER, at=at, stores=self.stores)
        )

    @precondition(lambda self: self._wrong())
    @rule(number=which)
    def reverse(self, number: int) -> None:
        """Undo what was a mistake; the same one twice is once."""
        wrong = self._wrong()
        entry, at = wrong[number % len(wrong)], self.now
        body = {"reason": "mistake"}
        self._try(
            lambda: service.reverse(entry.id, body, caller=CALLER, at=at, stores=self.stores),
            may_overdraw=True,
        )

    @rule(points=points, unit=st.sampled_from(UNITS), lasts=hours, later=hours)
    def hold(self, points: int, unit: str, lasts: int, later: int) -> None:
        self.now += timedelta(hours=later)
        expires_at = self.now + timedelta(hours=1 + lasts)
        held = Activity(
            "hold", self.now, points=points, unit=unit, key=unique("hold"), expires_at=expires_at
        )
        if self._decide(held):
            self.holds.append(held)

    @precondition(lambda self: self.holds)
    @rule(number=which, kind=st.sampled_from(("capture", "release")), points=which)
    def resolve(self, number: int, kind: Kind, points: int) -> None:
        """Capture all or a part of a hold, or release it: the first of them wins."""
        held = self.holds[number % len(self.holds)]
        some = 1 + points % held.points if kind == "capture" else 0
        key = resolution_key(held.key)
        activity = Activity(kind, self.now, points=some, unit=held.unit, hold=held.key, key=key)
        if any(each.key == key for each in self.sent):
            with pytest.raises(KeyReusedError):
                append(replace(self._draft(activity), fingerprint="another"), self.stores)
        else:
            self._decide(activity)

    @precondition(lambda self: self._of("capture"))
    @rule(number=which)
    def restore(self, number: int) -> None:
        captures = self._of("capture")
        hold = captures[number % len(captures)].activity["hold"]
        key = f"undo/{hold}"
        if not any(each.key == key for each in self.sent):
            unit = next(each.unit for each in self.holds if each.key == hold)
            self._decide(Activity("restore", self.now, unit=unit, hold=hold, key=key))

    @precondition(lambda self: self.sent)
    @rule(number=which)
    def send_again(self, number: int) -> None:
        """A retry, however late, is answered by the very entry and changes nothing."""
        sent = self.sent[number % len(self.sent)]
        before = self.parts.database["journal"].count_documents({})
        recorded = sent.again()
        assert recorded.is_replay
        assert recorded.entry.id == sent.entry_id
        assert self.parts.database["journal"].count_documents({}) == before

    @invariant()
    def books_are_right(self) -> None:
        if not self.is_ready:
            return
        entries = self._entries()
        is_sound(entries, facts_of(entries, self.stores.programs))
        own = [each.key for each in entries if each.kind != "correction"]
        assert sorted(own) == sorted({each.key for each in self.sent})

    @invariant()
    def each_hold_is_open_or_has_one_end(self) -> None:
        head = self.parts.journal.head(self.member)
        if head is None:
            return
        resolved = {each.activity["hold"] for each in self._of("capture", "release")}
        last = head.state.last
        still = {
            each.key
            for each in self.holds
            if each.key not in resolved and last and each.expires_at and each.expires_at > last[0]
        }
        assert head.state.holds.keys() == still

    def _body(self, channel: str, late: int, later: int) -> Document:
        self.now += timedelta(hours=later)
        return {
            "external_id": unique("x"),
            "channel": channel,
            "member": self.member,
            "occurred_at": self.now - timedelta(hours=late),
        }

    def _report(self, record: Callable[..., Recorded], body: Document, **more: bool) -> None:
        at = self.now
        self._try(lambda: record(body, caller=CALLER, at=at, stores=self.stores), **more)

    def _draft(self, activity: Activity) -> Any:
        rules = self.stores.programs.at(self.now)
        return draft_of(self.member, activity, rules)

    def _decide(self, activity: Activity) -> bool:
        draft = self._draft(activity)
        return self._try(lambda: append(draft, self.stores))

    def _try(self, call: Callable[[], Recorded], *, may_overdraw: bool = False) -> bool:
        """Send a request; what can be spent falls below zero by what came late alone."""
        before = self._available()
        try:
            recorded = call()
        except REFUSALS:
            assert self._available() == before
            return False
        if not recorded.is_replay:
            self.sent.append(Sent(call, recorded.entry.id, recorded.entry.key))
        if not may_overdraw and recorded.entry.kind != "purchase":
            for unit, left in self._available().items():
                assert left >= min(0, before.get(unit, 0)), unit
        return True

    def _available(self) -> dict[str, int]:
        head = self.parts.journal.head(self.member)
        if head is None or head.state.last is None:
            return {}
        # A decision is taken on top of all that is known, whatever the clock says.
        at = max(self.now, head.state.last[0])
        state, _ = settle(head.state, at)
        return {unit: available(lots, at) for unit, lots in state.lots.items()}

    def _entries(self) -> list[Entry]:
        return list(self.parts.journal.entries(self.member))

    def _of(self, *kinds: str) -> list[Entry]:
        return [each for each in self._entries() if each.kind in kinds]

    def _wrong(self) -> list[Entry]:
        """What can be reversed, and what was reversed already."""
        return [each for each in self._entries() if each.kind in REVERSIBLE - RESTATING]


def test_a_life_of_one_member_keeps_its_books_right_at_every_step(parts: Parts) -> None:
    few = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        suppress_health_check=list(HealthCheck),
    )
    lives: Any = lambda: Life(parts)  # noqa: E731  # its type is that of a class
    run_state_machine_as_test(lives, settings=few)
