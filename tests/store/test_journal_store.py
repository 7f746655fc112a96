"""The journal: a fact is appended once, whole, on the head that was read, or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bson.errors import InvalidDocument

from loyalty.access.model import Caller
from loyalty.journal import late
from loyalty.journal.appending import append
from loyalty.journal.drafts import entry_after
from loyalty.journal.model import (
    Entry,
    Head,
    InsufficientPointsError,
    KeySeenError,
    PointsOutOfRangeError,
    StaleHeadError,
)
from loyalty.journal.service import reverse
from loyalty.journal.store import JournalStore, PastBasket
from loyalty.kit.mongo import DURABLE
from loyalty.members.model import KeyReusedError, MemberNotFoundError
from loyalty.members.service import new_member_id
from loyalty.program.model import Activity, State
from tests.builders import (
    BASE_RULE,
    NOON,
    after,
    draft,
    dump,
    engagement,
    enrolled,
    giving_back,
    line,
    permit,
    program,
    published,
    purchase,
    unique,
)
from tests.store.watching import watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings
    from loyalty.program.model import Program

RULES = program()


def entry(member: str, seq: int = 1, *, external_id: str = "") -> Entry:
    """A purchase's entry of that number."""
    head = Head(seq - 1, State()) if seq > 1 else None
    return entry_after(head, draft(member, purchase(), RULES, external_id=external_id))


def correction(points: int) -> Activity:
    """Points by hand."""
    return Activity("adjustment", NOON, points=points)


def test_an_entry_reads_back_as_it_was_written(parts: Parts) -> None:
    rules = program(
        {
            "id": "hi",
            "type": "first_on_channel",
            "points": 7,
            "times_max": {"day": 2, "lifetime": 5},
        },
        expires_after_months=3,
    )
    bought = purchase(line(category="Dairy", brand="Alba", tax=7), store="S1", shipping_amount=5)
    written = entry_after(None, draft(new_member_id(), bought, rules))
    parts.journal.append(written)
    assert parts.journal.get(written.id) == written
    assert parts.journal.by_key(written.key) == written
    assert parts.journal.head(written.member_id) == Head(1, written.state)
    assert list(parts.journal.entries(written.member_id)) == [written]


def test_what_is_not_there_is_not_found(parts: Parts) -> None:
    assert parts.journal.head(new_member_id()) is None
    assert parts.journal.by_key("purchase/store//1") is None
    assert parts.journal.get("69a4120c7f1b2c3d4e5f6071") is None
    assert parts.journal.get("no such id") is None
    assert parts.journal.seen(["purchase/store//1"]) == set()
    assert parts.journal.heads([new_member_id()]) == {}


def test_an_entry_on_a_stale_head_is_refused_and_changes_nothing(parts: Parts) -> None:
    member = new_member_id()
    parts.journal.append(entry(member))
    before = dump(parts.database)
    with pytest.raises(StaleHeadError):
        parts.journal.append(entry(member))
    assert dump(parts.database) == before


def test_a_key_is_refused_the_second_time_whoever_claims_it(parts: Parts) -> None:
    member, other = new_member_id(), new_member_id()
    parts.journal.append(entry(member, external_id="R1"))
    before = dump(parts.database)
    for again in (
        entry(member, external_id="R1"),
        entry(member, 2, external_id="R1"),
        entry(other, external_id="R1"),
    ):
        with pytest.raises(KeySeenError):
            parts.journal.append(again)
    assert dump(parts.database) == before


def test_an_append_is_one_durable_insert(parts: Parts, settings: Settings) -> None:
    fact = draft(enrolled(parts), purchase(), RULES)
    with watching(settings) as watch:
        append(
            fact,
            parts.stores._replace(
                journal=JournalStore(watch.database, parts.secrecy, timeout_seconds=5)
            ),
        )
        writes = [each for each in watch.commands if "find" not in each]
    assert [next(iter(each)) for each in writes] == ["insert"]
    assert writes[0]["writeConcern"] == DURABLE.document
    assert len(writes[0]["documents"]) == 1


def test_an_entry_that_cannot_be_written_whole_is_not_written_at_all(parts: Parts) -> None:
    broken = replace(entry(new_member_id()), activity={"lines": object()})
    with pytest.raises(InvalidDocument):
        parts.journal.append(broken)
    assert parts.journal.head(broken.member_id) is None


def test_numbers_have_no_gaps_and_every_entry_stands_on_the_one_before(parts: Parts) -> None:
    rules, member, stores = published(parts, BASE_RULE), enrolled(parts), parts.stores
    with ThreadPoolExecutor(8) as writers:
        drafts = [draft(member, purchase(line(100 * n)), rules) for n in range(1, 41)]
        recorded = list(writers.map(lambda each: append(each, stores), drafts))
    assert not any(each.is_replay for each in recorded)
    entries = list(parts.journal.entries(member))
    assert [each.seq for each in entries] == list(range(1, 41))
    balance = 0
    for each in entries:
        balance += each.points
        assert each.balance_after == each.state.balance == balance
    assert balance == sum(range(1, 41))


def test_a_retry_is_a_replay_of_the_very_entry(parts: Parts) -> None:
    fact = draft(enrolled(parts), purchase(), RULES)
    first = append(fact, parts.stores)
    append(draft(fact.member_id, purchase(), RULES), parts.stores)
    again = append(replace(fact, received_at=NOON + timedelta(days=9)), parts.stores)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert again.entry == first.entry


def test_another_fact_under_the_same_key_is_refused(parts: Parts) -> None:
    fact = draft(enrolled(parts), purchase(), RULES)
    append(fact, parts.stores)
    with pytest.raises(KeyReusedError):
        append(replace(fact, fingerprint="another"), parts.stores)


def test_a_receipt_is_awarded_to_one_member_only(parts: Parts) -> None:
    one, other = enrolled(parts), enrolled(parts)
    append(draft(one, purchase(), RULES, external_id="R1"), parts.stores)
    with pytest.raises(KeyReusedError):
        append(draft(other, purchase(), RULES, external_id="R1"), parts.stores)
    assert parts.journal.head(other) is None


def test_nobody_is_awarded_who_is_not_a_member(parts: Parts) -> None:
    with pytest.raises(MemberNotFoundError):
        append(draft(new_member_id(), purchase(), RULES), parts.stores)
    assert dump(parts.database).get("journal", []) == []


def test_a_correction_that_would_overdraw_is_refused_with_the_balance_of_that_day(
    parts: Parts,
) -> None:
    rules = program(expires_after_months=1)
    member = enrolled(parts)
    bought = draft(member, purchase(line(10_000)), rules)
    append(bought, parts.stores)
    with pytest.raises(InsufficientPointsError, match="The balance is 100"):
        append(draft(member, correction(-101), rules), parts.stores)
    by_then = replace(correction(-1), occurred_at=NOON + timedelta(days=60))
    with pytest.raises(InsufficientPointsError, match="The balance is 0"):
        append(draft(member, by_then, rules), parts.stores)
    assert parts.journal.head(member) == Head(
        1, after(rules, replace(bought.activity, key=bought.key))
    )


def test_a_balance_that_no_json_reader_could_hold_exactly_is_refused(parts: Parts) -> None:
    rules = program({"id": "wild", "type": "spend", "points": 1_000_000, "per_amount": 1})
    member = enrolled(parts)
    with pytest.raises(PointsOutOfRangeError):
        append(draft(member, purchase(*[line(10**12)] * 20), rules), parts.stores)
    with pytest.raises(PointsOutOfRangeError):
        append(draft(member, purchase(line(2**53 // 1_000_000 + 1)), rules), parts.stores)
    append(draft(member, purchase(line(2**53 // 1_000_000)), rules), parts.stores)
    assert [each.seq for each in parts.journal.entries(member)] == [1]


def test_many_are_written_up_to_the_first_that_is_refused(parts: Parts) -> None:
    member, other = new_member_id(), new_member_id()
    parts.journal.append(entry(other, external_id="R1"))
    entries = [entry(member, 1), entry(member, 2, external_id="R1"), entry(member, 3)]
    assert parts.journal.append_many(entries) == entries[1:]
    assert [each.seq for each in parts.journal.entries(member)] == [1]
    assert parts.journal.append_many([]) == []


def test_heads_and_seen_keys_of_many(parts: Parts) -> None:
    one, other = new_member_id(), new_member_id()
    entries = [entry(one, 1), entry(one, 2), entry(other, 1)]
    parts.journal.append_many(entries)
    heads = parts.journal.heads([one, other, new_member_id()])
    assert heads == {one: Head(2, entries[1].state), other: Head(1, entries[2].state)}
    assert parts.journal.seen([entries[0].key, "x"]) == {entries[0].key}


def test_pages_go_from_the_newest_to_the_oldest_without_holes(parts: Parts) -> None:
    member = new_member_id()
    parts.journal.append_many([entry(member, seq) for seq in range(1, 8)])
    parts.journal.append(entry(new_member_id()))
    seqs: list[int] = []
    before = None
    while page := parts.journal.page(member, before_seq=before, limit=3):
        seqs += [each.seq for each in page]
        before = seqs[-1]
    assert seqs == [7, 6, 5, 4, 3, 2, 1]


def returned(member: str, seq: int, purchase_key: str) -> Entry:
    """A return's entry, as the journal keeps it."""
    document = {
        "purchase_key": purchase_key,
        "returned": [{"position": 0, "sku": "milk", "quantity": 1, "amount": 500}],
    }
    return replace(
        entry(member, seq), kind="return", key=unique("return"), activity=document, postings=()
    )


NTH = {"id": "nth", "type": "nth_channel", "n": 2, "window_days": 30, "points": 100}


def written(parts: Parts, rules: Program, *activities: Activity) -> list[str]:
    """The keys of what one new member did; a return names its purchase by its place here."""
    member, keys = enrolled(parts), list[str]()
    for number, activity in enumerate(activities):
        at = NOON + timedelta(days=number)
        back = activity.back
        if back:
            back = back._replace(purchase_key=keys[int(back.purchase_key)])
        fact = draft(member, replace(activity, occurred_at=at, back=back), rules)
        append(fact, parts.stores)
        keys.append(fact.key)
    return keys


def related(parts: Parts, key: str) -> set[str]:
    """The keys of the facts that undoing one is about."""
    fact = parts.journal.by_key(key)
    assert fact
    return {entry.key for entry in parts.journal.related(fact.member_id, key)}


def test_a_purchase_is_undone_with_its_own_returns_and_with_nobody_elses(parts: Parts) -> None:
    rules = published(parts, BASE_RULE)
    keys = written(
        parts, rules, purchase(), purchase(), giving_back("0"), giving_back("1", amount=5)
    )
    assert related(parts, keys[0]) == {keys[0], keys[2]}
    assert related(parts, keys[1]) == {keys[1], keys[3]}
    assert parts.journal.related(new_member_id(), keys[0]) == []


def test_a_purchase_is_undone_with_what_stands_on_it_and_with_what_that_stands_on(
    parts: Parts,
) -> None:
    rules = published(parts, BASE_RULE, NTH)
    web, app = purchase(channel="web"), purchase(channel="app")
    keys = written(parts, rules, web, web, app, app, giving_back("2", amount=5))
    # The bonus on the app stands on both purchases on the web.
    assert related(parts, keys[0]) == {keys[0], keys[1], keys[2], keys[4]}
    assert related(parts, keys[3]) == {keys[3]}


def test_what_was_restated_is_found_with_its_newest_postings(parts: Parts) -> None:
    rules = published(parts, {**BASE_RULE, "points_max": {"lifetime": 15}})
    member = enrolled(parts)
    newer = draft(member, purchase(at=NOON + timedelta(days=1)), rules)
    older = draft(member, purchase(), rules)
    for fact in (newer, older):
        append(fact, parts.stores)
    (correction_,) = parts.journal.restating(member, [newer.key])
    assert (correction_.kind, correction_.points) == ("correction", -5)
    assert correction_.activity["because"] == older.key
    assert parts.journal.restating(member, [older.key]) == []
    assert [each.points for each in late.restated([correction_])[newer.key]] == [5]


def test_a_fact_that_was_reversed_is_related_to_nothing_any_more(parts: Parts) -> None:
    rules = published(parts, BASE_RULE)
    keys = written(parts, rules, purchase(), giving_back("0", amount=500))
    wrong = parts.journal.by_key(keys[1])
    assert wrong
    body = {"reason": "by mistake", "actor": "tests"}
    reverse(wrong.id, body, caller=Caller("till", frozenset()), at=NOON, stores=parts.stores)
    assert related(parts, keys[0]) == {keys[0]}


def test_history_holds_purchases_and_what_came_back_newest_first(parts: Parts) -> None:
    member, other = new_member_id(), new_member_id()
    two = purchase(line(sku="milk", quantity=2), line(sku="rye"), line(sku="milk", quantity=3))
    bought = entry_after(None, draft(member, two, RULES))
    seen = entry_after(Head(1, State()), draft(member, engagement("visit"), RULES))
    back = returned(member, 3, bought.key)
    parts.journal.append_many([bought, seen, back, entry(other)])
    baskets = [
        PastBasket(member, NOON, "store", None, {"milk": -1}, is_return=True),
        PastBasket(member, NOON, "store", None, {"milk": 5, "rye": 1}),
    ]
    assert parts.journal.history(permit(member), limit=10) == baskets
    assert parts.journal.history(permit(member), limit=1) == baskets[:1]
    found = parts.journal.histories([permit(member), permit(other)], limit=1)
    assert found[member] == baskets[:1]
    assert [each.quantities for each in found[other]] == [{"milk": 1}]
    nobody, later = permit(new_member_id()), NOON + timedelta(seconds=1)
    assert parts.journal.histories([nobody], limit=1) == {}
    assert parts.journal.histories([], limit=1) == {}
    assert parts.journal.histories([permit(member)], limit=1, since=later) == {}
    assert parts.journal.histories([permit(member)], limit=1, since=NOON) == {member: baskets[:1]}
    newest = parts.journal.recent(limit=10)
    assert [each.member_id for each in newest] == [other, member]
