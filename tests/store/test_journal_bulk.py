"""Many facts at once: the same journal as one by one, whatever comes twice or in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loyalty.journal import bulk
from loyalty.journal.appending import append
from loyalty.journal.bulk import append_all
from loyalty.journal.store import JournalStore
from loyalty.members.model import KeyReusedError
from tests.builders import (
    BASE_RULE,
    NOON,
    after,
    draft,
    dump,
    enrolled,
    line,
    program,
    published,
    purchase,
)
from tests.strategies import compiled, documents, purchases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app import Parts
    from loyalty.journal.drafts import Draft
    from loyalty.journal.model import Entry
    from loyalty.program.model import Activity, Program

RULES = program()
FEW = settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
DAYS = st.integers(0, 60).map(lambda count: NOON + timedelta(days=count))


@st.composite
def facts(draw: st.DrawFn) -> list[list[Activity]]:
    """What a few members did, in no order."""
    happened = st.builds(lambda bought, at: replace(bought, occurred_at=at), purchases(), DAYS)
    return draw(st.lists(st.lists(happened, max_size=6), min_size=1, max_size=3))


def drafts_of(parts: Parts, happened: list[list[Activity]], rules: Program) -> list[list[Draft]]:
    """Fresh facts of fresh members."""
    return [
        [draft(member, activity, rules) for activity in activities]
        for activities in happened
        for member in [enrolled(parts)]
    ]


def journal_of(parts: Parts, drafts: Sequence[Draft]) -> list[Entry]:
    """A member's entries apart from their ids."""
    if not drafts:
        return []
    return [replace(each, id="") for each in parts.journal.entries(drafts[0].member_id)]


def is_sound(entries: list[Entry]) -> bool:
    """Numbers without gaps, and every balance the sum of the points up to it."""
    balances = [sum(each.points for each in entries[: n + 1]) for n in range(len(entries))]
    return [each.seq for each in entries] == list(range(1, len(entries) + 1)) and [
        each.balance_after for each in entries
    ] == balances


@FEW
@given(facts(), documents().map(compiled))
def test_in_bulk_is_the_same_as_one_by_one(
    parts: Parts, happened: list[list[Activity]], rules: Program
) -> None:
    stores = parts.stores
    drafts = drafts_of(parts, happened, rules)
    assert append_all(drafts, stores) == sum(map(len, drafts))
    for each in drafts:
        written = journal_of(parts, each)
        assert is_sound(written)
        parts.database["journal"].delete_many({"key": {"$in": [fact.key for fact in each]}})
        for fact in sorted(each, key=lambda fact: fact.order):
            append(fact, stores)
        assert journal_of(parts, each) == written


@FEW
@given(facts(), st.data())
def test_replaying_any_part_of_it_in_any_order_changes_nothing(
    parts: Parts, happened: list[list[Activity]], data: st.DataObject
) -> None:
    stores = parts.stores
    drafts = drafts_of(parts, happened, RULES)
    append_all(drafts, stores)
    before = dump(parts.database)
    assert append_all(drafts, stores) == 0
    everything = [fact for each in drafts for fact in each]
    if everything:
        again = data.draw(st.lists(st.sampled_from(everything), max_size=8))
        assert all(append(fact, stores).is_replay for fact in again)
        members = {fact.member_id for fact in again}
        groups = [[fact for fact in again if fact.member_id == member] for member in members]
        assert append_all(groups, stores) == 0
    assert dump(parts.database) == before


@FEW
@given(facts(), st.data())
def test_an_upload_that_broke_off_anywhere_is_finished_by_sending_it_again(
    parts: Parts, happened: list[list[Activity]], data: st.DataObject
) -> None:
    stores = parts.stores
    drafts = drafts_of(parts, happened, RULES)
    in_order = [sorted(each, key=lambda f: (f.activity.occurred_at, f.key)) for each in drafts]
    broken = [each[: data.draw(st.integers(0, len(each)))] for each in in_order]
    assert append_all(broken, stores) == sum(map(len, broken))
    assert append_all(drafts, stores) == sum(map(len, drafts)) - sum(map(len, broken))
    for each in in_order:
        written = journal_of(parts, each)
        assert is_sound(written)
        assert [entry.key for entry in written] == [fact.key for fact in each]


def days(member: str, count: int) -> list[Draft]:
    """A purchase a day."""
    return [
        draft(member, purchase(line(100 * n), at=NOON + timedelta(days=n)), RULES)
        for n in range(1, count + 1)
    ]


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 100])
def test_a_fact_that_comes_twice_in_one_upload_is_written_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(bulk, "ENTRIES_A_WRITE", chunk)
    facts = days(enrolled(parts), 8)
    twice = [*facts[:3], facts[2], *facts[3:], facts[0]]
    assert append_all([twice], parts.stores) == 8
    written = journal_of(parts, facts)
    assert is_sound(written)
    assert written[-1].balance_after == sum(range(1, 9))


@pytest.mark.parametrize("chunk", [2, 3, 100])
def test_another_writer_in_between_loses_nothing_and_neither_does_the_upload(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    published(parts, BASE_RULE)
    monkeypatch.setattr(bulk, "ENTRIES_A_WRITE", chunk)
    busy, quiet = days(enrolled(parts), 7), days(enrolled(parts), 7)
    at_the_till = draft(busy[0].member_id, purchase(line(10_000), at=NOON), RULES)
    _interrupt(monkeypatch, lambda: append(at_the_till, parts.stores))
    assert append_all([busy, quiet], parts.stores) == 14
    for facts, balance in ((busy, 100 + 28), (quiet, 28)):
        written = journal_of(parts, facts)
        assert is_sound(written)
        assert written[-1].balance_after == balance


def test_an_upload_that_another_one_overtakes_writes_what_is_left(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(parts, BASE_RULE)
    monkeypatch.setattr(bulk, "ENTRIES_A_WRITE", 2)
    facts = days(enrolled(parts), 7)
    _interrupt(monkeypatch, lambda: [append(each, parts.stores) for each in facts[2:4]])
    assert append_all([facts], parts.stores) == 5
    written = journal_of(parts, facts)
    assert is_sound(written)
    assert written[-1].balance_after == 28


def test_an_upload_of_older_facts_is_folded_where_they_belong(parts: Parts) -> None:
    limited = {**BASE_RULE, "points_max": {"month": 5}}
    rules = published(parts, limited)
    member = enrolled(parts)
    newest, *older = [
        draft(member, purchase(line(200), at=NOON + timedelta(days=day)), rules)
        for day in (20, 1, 2, 3)
    ]
    append(newest, parts.stores)
    assert append_all([older], parts.stores) == 3
    entries = [each for each in parts.journal.entries(member) if each.kind != "correction"]
    assert [each.occurred_at for each in entries] == [
        each.activity.occurred_at for each in [newest, *older]
    ]
    in_order = sorted([newest, *older], key=lambda each: each.order)
    expected = after(rules, *(replace(each.activity, key=each.key) for each in in_order))
    head = parts.journal.head(member)
    assert head
    assert head.state == expected
    assert head.state.balance == 5


def test_an_upload_that_takes_of_a_budget_stays_within_it(parts: Parts) -> None:
    rules = published(parts, {**BASE_RULE, "budget": 25})
    groups = [[draft(enrolled(parts), purchase(), rules)] for _ in range(4)]
    assert append_all(groups, parts.stores) == 4
    paid = [journal_of(parts, group)[0].points for group in groups]
    assert paid == [10, 10, 5, 0]


def _interrupt(monkeypatch: pytest.MonkeyPatch, deed: Callable[[], object]) -> None:
    """Have something happen right before the first write of an upload."""
    write = JournalStore.append_many
    waiting = [deed]

    def interrupted(store: JournalStore, entries: Sequence[Entry]) -> Sequence[Entry]:
        if waiting:
            waiting.pop()()
        return write(store, entries)

    monkeypatch.setattr(JournalStore, "append_many", interrupted)


def test_a_receipt_that_somebody_else_has_stops_the_upload_and_leaves_the_journal_sound(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "ENTRIES_A_WRITE", 2)
    facts, other = days(enrolled(parts), 6), enrolled(parts)
    theirs = replace(facts[3], member_id=other, fingerprint="theirs")
    _interrupt(monkeypatch, lambda: append(theirs, parts.stores))
    with pytest.raises(KeyReusedError):
        append_all([facts], parts.stores)
    assert is_sound(journal_of(parts, facts))


def test_progress_counts_every_draft_once(parts: Parts) -> None:
    seen: list[int] = []
    groups = [days(enrolled(parts), 3), [], days(enrolled(parts), 2)]
    append_all(groups, parts.stores, progress=seen.append)
    assert sum(seen) == 5


def test_nothing_is_nothing(parts: Parts) -> None:
    assert append_all([], parts.stores) == append_all([[], []], parts.stores) == 0


def test_the_state_after_an_upload_is_the_fold_of_its_activities(parts: Parts) -> None:
    facts = days(enrolled(parts), 5)
    append_all([facts], parts.stores)
    state = after(RULES, *(replace(each.activity, key=each.key) for each in facts))
    head = parts.journal.head(facts[0].member_id)
    assert head
    assert head.state == state
