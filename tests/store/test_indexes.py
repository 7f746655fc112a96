"""Indexes: made by a command that may run again, and used by what a request waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app import initialise
from loyalty.consent import gate
from loyalty.consent.store import ConsentStore
from loyalty.journal.bulk import append_all
from loyalty.journal.store import JournalStore
from loyalty.members.model import Identifier, Member
from loyalty.members.service import new_member_id
from loyalty.members.store import MemberStore
from loyalty.vault.peppers import Peppers
from loyalty.versions.store import VersionStore
from tests.builders import NOON, draft, enrolled, permit, program, purchase
from tests.store.test_consent_store import NO, YES, record
from tests.store.watching import Plan, Watch, watching

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts
    from loyalty.kit.settings import Settings

ENTRIES = 300
UNIQUE = {
    ("experiments", "running"),
    ("journal", "member_seq"),
    ("journal", "mark"),
    ("members", "request_key"),
    ("members", "referral_code"),
    ("households", "request_key"),
    ("consents", "member_seq"),
    ("consents", "request_key"),
    ("notices", "number"),
    ("program_versions", "request_key"),
    ("merchandising", "name_version"),
    ("coupon_campaigns", "number"),
    ("coupon_campaigns", "request_key"),
    ("coupon_batches", "campaign_seq"),
    ("coupon_conflicts", "campaign_seq"),
    ("coupon_uses", "key"),
    ("jobs", "request_key"),
    ("jobs", "slot"),
    ("picks_parts", "export_number"),
    ("models.chunks", "files_id_1_n_1"),
    ("privacy_requests", "open_of_kind"),
    ("privacy_requests", "request_key"),
}


def indexes(parts: Parts) -> dict[str, dict[str, Any]]:
    """All indexes of all collections."""
    names = sorted(parts.database.list_collection_names())
    return {name: dict(parts.database[name].index_information()) for name in names}


def test_indexes_are_made_once_however_often_the_command_runs(
    parts: Parts, settings: Settings
) -> None:
    before = indexes(parts)
    for _ in range(2):
        initialise(settings, parts)
    assert indexes(parts) == before


def test_what_must_be_unique_is(parts: Parts) -> None:
    unique = {
        (collection, name)
        for collection, found in indexes(parts).items()
        for name, index in found.items()
        if index.get("unique")
    }
    assert unique == UNIQUE


@pytest.fixture
def member(parts: Parts) -> str:
    """A member with a long journal, among others."""
    long, *others = (enrolled(parts) for _ in range(4))
    rules = program()
    append_all(
        [[draft(each, purchase(), rules) for _ in range(5)] for each in others], parts.stores
    )
    append_all([[draft(long, purchase(), rules) for _ in range(ENTRIES)]], parts.stores)
    return long


@pytest.fixture
def watch(settings: Settings) -> Iterator[Watch]:
    """A client whose commands are seen."""
    with watching(settings) as watch:
        yield watch


def one(index: str) -> Plan:
    """A read that looks at one key of an index and at one document."""
    return Plan({index}, keys=1, documents=1, returned=1)


def test_the_head_of_a_long_journal_is_one_key(parts: Parts, member: str, watch: Watch) -> None:
    head = JournalStore(watch.database, parts.secrecy, timeout_seconds=5).head(member)
    assert head
    assert head.seq == ENTRIES
    assert watch.plan() == one("member_seq")


def test_a_receipt_is_looked_up_by_one_key(parts: Parts, member: str, watch: Watch) -> None:
    (newest,) = parts.journal.page(member, before_seq=None, limit=1)
    assert (
        JournalStore(watch.database, parts.secrecy, timeout_seconds=5).by_key(newest.key) == newest
    )
    assert watch.plan() == one("mark")


def test_a_receipt_that_is_not_there_costs_no_document(
    parts: Parts, member: str, watch: Watch
) -> None:
    assert (
        JournalStore(watch.database, parts.secrecy, timeout_seconds=5).by_key(
            f"purchase/store//{member}"
        )
        is None
    )
    assert watch.plan() == Plan({"mark"}, keys=0, documents=0, returned=0)


def test_an_entry_is_read_by_its_id(parts: Parts, member: str, watch: Watch) -> None:
    (newest,) = parts.journal.page(member, before_seq=None, limit=1)
    JournalStore(watch.database, parts.secrecy, timeout_seconds=5).get(newest.id)
    assert watch.plan() == one("_id_")


def test_a_page_from_the_middle_reads_that_page_only(
    parts: Parts, member: str, watch: Watch
) -> None:
    JournalStore(watch.database, parts.secrecy, timeout_seconds=5).page(
        member, before_seq=150, limit=20
    )
    assert watch.plan() == Plan({"member_seq"}, keys=20, documents=20, returned=20)


def plans(watch: Watch) -> list[Plan]:
    """How each read since the last look was carried out."""
    commands, found = watch.commands, []
    for command in commands:
        watch.commands = [command]
        found.append(watch.plan())
    return found


def test_what_undoing_a_purchase_is_about_is_found_without_reading_the_journal(
    parts: Parts, member: str, watch: Watch
) -> None:
    (newest,) = parts.journal.page(member, before_seq=None, limit=1)
    found = JournalStore(watch.database, parts.secrecy, timeout_seconds=5).related(
        member, newest.key
    )
    assert found == [newest]
    carried_out = plans(watch)
    assert {name for plan in carried_out for name in plan.indexes} <= {
        "mark",
        "undoing",
        "standing_on",
        "restating",
        "restated_legs",
    }
    assert sum(plan.keys for plan in carried_out) <= 6
    assert sum(plan.returned for plan in carried_out) == 2
    assert sum(plan.documents for plan in carried_out) <= 6


def test_what_restates_a_fact_is_found_without_reading_the_journal(
    parts: Parts, member: str, watch: Watch
) -> None:
    JournalStore(watch.database, parts.secrecy, timeout_seconds=5).restating(
        member, ["purchase/store//none"]
    )
    assert watch.plan() == Plan({"restating"}, keys=0, documents=0, returned=0)


def test_a_bounded_history_reads_the_newest_entries_only(
    parts: Parts, member: str, watch: Watch
) -> None:
    journal = JournalStore(watch.database, parts.secrecy, timeout_seconds=5)
    journal.history(permit(member), limit=30)
    assert watch.plan() == Plan({"member_seq"}, keys=30, documents=30, returned=30)


def test_the_heads_of_many_members_read_one_document_each(parts: Parts, watch: Watch) -> None:
    ids = [enrolled(parts) for _ in range(3)]
    rules = program()
    append_all([[draft(each, purchase(), rules) for _ in range(9)] for each in ids], parts.stores)
    assert len(JournalStore(watch.database, parts.secrecy, timeout_seconds=5).heads(ids)) == 3
    assert watch.plan() == Plan({"member_seq"}, keys=3, documents=3, returned=3)


def test_an_identifier_is_resolved_by_one_key(watch: Watch, parts: Parts) -> None:
    members = MemberStore(watch.database, parts.vault, Peppers(watch.database, parts.vault))
    card = Identifier("card", "1")
    members.add(Member(new_member_id(), "active", NOON), [card])
    assert members.resolve(card), "the pepper is known from now on"
    watch.commands.clear()
    assert members.resolve(card)
    assert watch.plan() == one("_id_")
    assert parts.database["identifiers"].count_documents({}) == 1


def test_whether_a_member_exists_is_one_key(parts: Parts, watch: Watch) -> None:
    member_id = enrolled(parts)
    members = MemberStore(watch.database, parts.vault, Peppers(watch.database, parts.vault))
    assert members.exists(member_id)
    plan = watch.plan()
    assert (plan.keys, plan.returned) == (1, 1)


def test_a_retried_enrolment_is_found_by_one_key(parts: Parts, watch: Watch) -> None:
    member_id = new_member_id()
    parts.members.add(Member(member_id, "active", NOON), [], request=("k1", "mark"))
    members = MemberStore(watch.database, parts.vault, Peppers(watch.database, parts.vault))
    assert members.request("k1") == (member_id, "mark")
    assert watch.plan() == one("request_key")


def test_the_flags_of_a_member_are_one_key_however_often_it_decided(
    parts: Parts, watch: Watch
) -> None:
    member_id = enrolled(parts)
    for made in [YES, NO] * 10:
        record(parts, member_id, made)
    consents = ConsentStore(watch.database, parts.vault, secret=b"s")
    assert consents.standing(member_id).seq == 20
    assert watch.plan() == one("member_seq")


def test_the_gate_is_one_key_and_one_document_however_often_a_member_decided(
    parts: Parts, watch: Watch
) -> None:
    member_id = enrolled(parts)
    for made in [NO, YES] * 10:
        record(parts, member_id, made)
    consents = ConsentStore(watch.database, parts.vault, secret=b"s")
    for purpose, channel in (("personalisation", None), ("personalisation", "email")):
        assert gate.permit(member_id, purpose, channel, at=NOON, consents=consents)
        assert watch.plan() == one("member_seq")


def test_the_gate_reads_one_document_for_each_of_many_members(parts: Parts, watch: Watch) -> None:
    ids = [enrolled(parts) for _ in range(3)]
    for member_id in ids:
        for made in [NO, YES] * 5:
            record(parts, member_id, made)
    consents = ConsentStore(watch.database, parts.vault, secret=b"s")
    assert len(gate.permits(ids, "personalisation", at=NOON, consents=consents)) == 3
    assert watch.plan() == Plan({"member_seq"}, keys=3, documents=3, returned=3)


def test_a_page_of_everyone_who_decided_reads_that_page_only(parts: Parts, watch: Watch) -> None:
    for _ in range(10):
        member_id = enrolled(parts)
        record(parts, member_id, YES)
        record(parts, member_id, NO)
    ConsentStore(watch.database, parts.vault, secret=b"s").members_after("", limit=4)
    plan = watch.plan()
    assert plan.indexes == {"first_of_member"}
    assert plan.keys == plan.returned == 4


def test_a_retried_publication_is_found_by_its_key(parts: Parts, watch: Watch) -> None:
    assert parts.versions.by_request("k1") is None
    assert VersionStore(watch.database).by_request("k1") is None
    assert watch.plan() == Plan({"request_key"}, keys=0, documents=0, returned=0)
