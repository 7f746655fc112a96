"""What is written down reads back as it was: states, postings, activities and entries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from loyalty.journal.codec import (
    activity_of,
    activity_to_document,
    entry_from_document,
    entry_to_document,
    lines_of,
    posting_from_document,
    posting_to_document,
    state_from_document,
    state_to_document,
)
from loyalty.journal.drafts import entry_after
from loyalty.journal.model import Head
from loyalty.kit.clock import to_millisecond
from loyalty.program.model import Activity, Program, State
from tests.builders import draft, engagement, program, purchase
from tests.strategies import EVER, Event, play, programs, purchases

if TYPE_CHECKING:
    from loyalty.journal.model import Entry

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
MEMBER = "m_" + "a" * 32


def stored(document: dict[str, Any]) -> dict[str, Any]:
    """The document after a way through BSON."""
    return bson.decode(bson.encode(document), OPTIONS)


@given(programs(), EVER)
def test_every_state_and_posting_of_a_life_reads_back(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert state_from_document(stored(state_to_document(each.after))) == each.after
        for posting in each.postings:
            assert posting_from_document(stored(posting_to_document(posting))) == posting


@given(purchases(), programs())
def test_the_activity_of_an_entry_is_what_step_saw(bought: Activity, rules: Program) -> None:
    entry = entry_after(None, draft(MEMBER, bought, rules))
    assert activity_of(entry_from_document(stored(entry_to_document(entry)))) == bought


@given(programs(), EVER)
def test_entries_read_back_and_step_can_be_run_again_from_them(
    rules: Program, events: list[Event]
) -> None:
    before = State()
    for entry in entries(rules, events):
        again = entry_from_document(stored(entry_to_document(entry)))
        assert again == entry
        rerun = entry_after(
            Head(entry.seq - 1, before) if entry.seq > 1 else None,
            replace(draft(MEMBER, activity_of(again), rules), key=entry.key),
        )
        assert (rerun.state, rerun.postings) == (entry.state, entry.postings)
        before = again.state


def entries(rules: Program, events: list[Event]) -> list[Entry]:
    """The journal of the purchases, engagements and corrections of a life."""
    journal: list[Entry] = []
    happened = [event for event in events if isinstance(event.what, Activity)]
    for each in play(rules, happened):
        head = Head(journal[-1].seq, journal[-1].state) if journal else None
        journal.append(entry_after(head, draft(MEMBER, each.activity, rules)))
    return journal


@given(st.integers(1, 200))
def test_what_is_empty_is_not_written(quantity: int) -> None:
    bought = purchase(replace(purchase().lines[0], quantity=quantity))
    assert activity_to_document(bought) == {
        "lines": [{"sku": "milk", "quantity": quantity, "amount": 1000}]
    }
    assert state_to_document(State()) == {"lots": [], "channels": {}}


def test_an_engagement_is_its_type() -> None:
    assert activity_to_document(engagement("review")) == {"engagement": "review"}


def test_a_document_without_lines_has_none() -> None:
    assert lines_of({"points": 5}) == ()


def test_times_are_kept_to_the_millisecond() -> None:
    exact = purchase().occurred_at.replace(microsecond=123_456)
    entry = entry_after(None, draft(MEMBER, purchase(at=to_millisecond(exact)), program()))
    again = entry_from_document(stored(entry_to_document(entry)))
    assert again.occurred_at == entry.occurred_at
    assert again.state.channels == entry.state.channels


@pytest.mark.parametrize("store", [None, "S1"])
def test_the_points_of_an_entry_are_the_sum_of_its_postings(store: str | None) -> None:
    entry = entry_after(None, draft(MEMBER, purchase(store=store), program()))
    assert entry.points == entry.balance_after == 10
    assert entry.key.startswith(f"purchase/store/{store or ''}/")
