"""What is written down reads back as it was: states, postings, activities and entries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.journal.codec import (
    activity_of,
    activity_to_document,
    entry_from_document,
    entry_to_document,
    posting_from_document,
    posting_to_document,
    state_from_document,
    state_to_document,
)
from loyalty.journal.drafts import built
from loyalty.kit.clock import to_millisecond
from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import Activity, Back, Program, State
from loyalty.program.step import step
from tests.builders import NOON, after, draft, engagement, giving_back, program, purchase
from tests.strategies import EVER, Event, Played, play, programs

if TYPE_CHECKING:
    from loyalty.journal.model import Entry

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
MEMBER = "m_" + "a" * 32
FEW = settings(max_examples=700)


def stored(document: dict[str, Any]) -> dict[str, Any]:
    """The document after a way through BSON."""
    return bson.decode(bson.encode(document), OPTIONS)


@FEW
@given(programs(), EVER)
def test_every_state_and_posting_of_a_life_reads_back(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert state_from_document(stored(state_to_document(each.after))) == each.after
        for posting in each.postings:
            assert posting_from_document(stored(posting_to_document(posting))) == posting


@FEW
@given(programs(), EVER)
def test_the_activity_of_an_entry_is_what_step_saw(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        # What is left of budgets is asked for anew; what a return undoes is worked out anew.
        expected = replace(each.activity, undone=None, budgets={}, grants={})
        entry = written(each, rules)
        again = activity_of(entry_from_document(stored(entry_to_document(entry))))
        assert replace(again, grants={}) == expected


@FEW
@given(programs(), EVER)
def test_entries_read_back_and_step_can_be_run_again_from_them(
    rules: Program, events: list[Event]
) -> None:
    before = State()
    for each in play(rules, events):
        entry = written(each, rules)
        again = entry_from_document(stored(entry_to_document(entry)))
        assert again == entry
        rerun = replace(activity_of(again), undone=each.activity.undone)
        assert step(rules, before, rerun) == (entry.state, entry.postings)
        before = again.state


def written(played: Played, rules: Program) -> Entry:
    """The entry of a fact, as the journal makes it."""
    fact = replace(draft(MEMBER, played.activity, rules), key=played.activity.key)
    document = activity_to_document(played.activity)
    return built(
        replace(fact, document=document),
        seq=1,
        postings=played.postings,
        state=played.after,
        balance_after=played.after.balance,
    )


@given(st.integers(1, 200))
def test_what_is_empty_is_not_written(quantity: int) -> None:
    bought = purchase(replace(purchase().lines[0], quantity=quantity))
    assert activity_to_document(bought) == {
        "lines": [{"sku": "milk", "quantity": quantity, "amount": 1000}]
    }
    assert state_to_document(State()) == {"channels": {}}


def test_a_state_is_written_small() -> None:
    document = state_to_document(after(program(), purchase(key="a"), purchase(key="b")))
    assert document == {
        "lots": [[NEVER, 20]],
        "channels": {"store": NOON},
        "uses": {"store": 2},
        "last": [NOON, "b"],
        "purchases": 2,
        "bought_at": NOON,
    }


@pytest.mark.parametrize(
    "state",
    [
        State(),
        State(lots={"points": ()}),
        State(lots={"stamps": (Lot(NEVER, 3),)}),
        State(lots={"points": (Lot(NEVER, -3),), "stamps": ()}),
    ],
)
def test_no_points_of_a_unit_are_not_the_same_as_never_any(state: State) -> None:
    assert state_from_document(stored(state_to_document(state))) == state


def test_an_engagement_is_its_type() -> None:
    assert activity_to_document(engagement("review")) == {"engagement": "review"}


@pytest.mark.parametrize(
    ("activity", "document"),
    [
        (giving_back("p"), {"purchase_key": "p"}),
        (
            giving_back("p", ("milk", 2), ("rye", 1)),
            {"purchase_key": "p", "back_lines": [["milk", 2], ["rye", 1]]},
        ),
        (giving_back("p", amount=500), {"purchase_key": "p", "back_amount": 500}),
    ],
)
def test_a_return_says_what_comes_back(activity: Activity, document: dict[str, Any]) -> None:
    assert activity_to_document(activity) == document
    entry = built(
        draft(MEMBER, activity, program()), seq=1, postings=(), state=State(), balance_after=0
    )
    assert activity_of(entry_from_document(stored(entry_to_document(entry)))).back == activity.back
    assert isinstance(activity.back, Back)


def test_times_are_kept_to_the_millisecond() -> None:
    exact = purchase().occurred_at.replace(microsecond=123_456)
    bought = purchase(at=to_millisecond(exact))
    played = _played(bought)
    again = entry_from_document(stored(entry_to_document(written(played, program()))))
    assert again.occurred_at == bought.occurred_at
    assert again.state.channels == played.after.channels


def _played(activity: Activity) -> Played:
    state, postings = step(program(), State(), activity)
    return Played(State(), activity, state, postings)


@pytest.mark.parametrize("store", [None, "S1"])
def test_the_points_of_an_entry_are_the_sum_of_its_postings(store: str | None) -> None:
    bought = purchase(store=store)
    entry = written(_played(bought), program())
    assert entry.points == entry.balance_after == 10
    assert draft(MEMBER, bought, program()).key.startswith(f"purchase/store/{store or ''}/")
