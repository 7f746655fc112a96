"""What is held about a member is shown whole, and goes whole, whoever writes at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.households.model import Belonging, Household, HouseholdNotFoundError
from loyalty.households.service import new_household_id
from loyalty.households.store import HouseholdStore
from loyalty.members.model import (
    Identifier,
    IdentifierNotFoundError,
    IdentifierTakenError,
    Member,
    MemberFacts,
    MemberNotFoundError,
    Profile,
)
from loyalty.members.service import enrol_provisional, new_member_id
from loyalty.members.store import MemberStore
from loyalty.messages.store import Outbox
from loyalty.referrals.model import CircularReferralError, Referral
from loyalty.referrals.service import give_code
from loyalty.referrals.store import ReferralStore
from loyalty.vault.model import ShreddedError
from tests.builders import NOON, dump, enrolled, permit, unique
from tests.store.watching import Plan, watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings

CARD = Identifier("card", "CANARYCARD")
MAIL = Identifier("email", "canary@example.org")
LEAPLING = Profile((2, 29), frozenset({"canary-segment"}))


def full(parts: Parts) -> str:
    """A member of whom everything is known: identifiers, a profile, referrals, a household."""
    member = Member(new_member_id(), "active", NOON)
    parts.members.add(member, [CARD, MAIL], request=("canary-request", "mark"))
    parts.members.set_profile(member.id, LEAPLING)
    give_code(member.id, referrals=parts.referrals, draw=lambda: "CANARY00")
    parts.referrals.add(Referral(member.id, enrolled(parts), NOON))
    parts.referrals.add(Referral(enrolled(parts), member.id, NOON + timedelta(days=1)))
    household(parts, member.id, name="Canary Street")
    return member.id


def household(parts: Parts, *members: str, name: str | None = None) -> str:
    household_id = new_household_id()
    parts.households.add(Household(household_id, name, NOON))
    for each in members:
        parts.households.join(Belonging(each, household_id, NOON))
    return household_id


def held(parts: Parts, member_id: str) -> list[Any]:
    return [each for holder in holders(parts) for each in holder.held(member_id)]


def erase(parts: Parts, member_id: str) -> dict[str, int]:
    """How many documents went, by collection."""
    gone: dict[str, int] = {}
    for holder in holders(parts):
        gone.update(holder.erase(member_id))
    return gone


def holders(parts: Parts) -> list[Any]:
    """Those of who a member is, and of its messages."""
    own = (MemberStore, ReferralStore, HouseholdStore, Outbox)
    return [each for each in parts.eraser_desk.holders if isinstance(each, own)]


def left(parts: Parts, member_id: str) -> list[str]:
    """The collections in which a member's id still stands."""
    return [name for name, documents in dump(parts.database).items() if member_id in str(documents)]


def test_all_that_is_held_is_shown_opened(parts: Parts) -> None:
    member = full(parts)
    found = held(parts, member)
    assert sorted({(each.collection, each.category) for each in found}) == [
        ("household_members", "household"),
        ("households", "household"),
        ("identifiers", "identity"),
        ("members", "identity"),
        ("members", "profile"),
        ("members", "referrals"),
    ]
    shown = str([each.data for each in found])
    for canary in ("CANARYCARD", "canary@example.org", "--02-29", "canary-segment"):
        assert canary in shown
    for canary in ("canary-request", "CANARY00", "Canary Street"):
        assert canary in shown
    (referrals,) = (each.data for each in found if each.category == "referrals")
    assert referrals["referred"] == 1
    assert referrals["referred_at"] == [NOON + timedelta(days=1)]


def test_every_field_of_every_document_is_shown(parts: Parts) -> None:
    member = full(parts)
    shown: dict[str, set[str]] = {}
    for each in held(parts, member):
        shown.setdefault(each.collection, set()).update(each.data)
    technical = {"_id", "sealed", "ref", "pepper", "twin", "member", "referral_mark", "profile"}
    for name, fields in shown.items():
        for document in dump(parts.database)[name]:
            if member in (document["_id"], document.get("member")):
                assert document.keys() - technical <= fields, name


def test_nobody_holds_nothing_and_is_erased_in_vain(parts: Parts) -> None:
    nobody = new_member_id()
    before = dump(parts.database)
    assert held(parts, nobody) == []
    assert not any(erase(parts, nobody).values())
    assert dump(parts.database) == before


def test_all_of_it_goes_and_again_changes_nothing(parts: Parts) -> None:
    member, other = full(parts), enrolled(parts)
    assert erase(parts, member) == {
        "members": 1,
        "identifiers": 2,
        "referrals": 1,
        "households": 1,
        "household_members": 1,
        "messages": 0,
    }
    assert left(parts, member) == []
    assert held(parts, member) == []
    before = dump(parts.database)
    assert not any(erase(parts, member).values())
    assert dump(parts.database) == before
    assert parts.members.exists(other)
    with pytest.raises(MemberNotFoundError):
        parts.members.get(member)
    assert parts.members.resolve(CARD) is None
    assert parts.members.request("canary-request") is None
    assert parts.referrals.by_code("CANARY00") is None


def test_what_was_a_members_can_be_somebody_elses(parts: Parts) -> None:
    erase(parts, full(parts))
    again = enrol_provisional(CARD, at=NOON, members=parts.members)
    assert parts.members.get(again).profile == Profile()


def test_who_was_referred_stays_referred_by_nobody_in_particular(parts: Parts) -> None:
    member = full(parts)
    friend = parts.database["members"].find_one({"referrer.member": member}) or {}
    assert parts.members.about(friend["_id"]).referrer_id == member
    erase(parts, member)
    assert parts.members.about(friend["_id"]) == MemberFacts(
        NOON, None, frozenset(), None, is_referred=True
    )
    kept = parts.referrals.of(friend["_id"])
    assert kept == Referral(friend["_id"], None, NOON + timedelta(days=1))
    assert held(parts, friend["_id"])[-1].data == {
        "referrer": {"at": NOON + timedelta(days=1)},
        "referred_at": [],
    }


def test_no_circle_closes_over_a_member_that_is_gone(parts: Parts) -> None:
    top, middle, bottom = (enrolled(parts) for _ in range(3))
    parts.referrals.add(Referral(middle, top, NOON))
    parts.referrals.add(Referral(bottom, middle, NOON))
    with pytest.raises(CircularReferralError):
        parts.referrals.add(Referral(top, bottom, NOON))
    erase(parts, middle)
    parts.referrals.add(Referral(top, bottom, NOON))
    assert parts.members.about(top).referrer_id == bottom


def test_whom_a_member_referred_is_found_by_an_index(parts: Parts, settings: Settings) -> None:
    member = full(parts)
    for _ in range(20):
        enrolled(parts)
    with watching(settings) as watch:
        watch.database["members"].find_one({"referrer.member": member})
        assert watch.plan() == Plan({"referrer"}, keys=1, documents=1, returned=1)


def test_a_household_stays_with_its_name_until_its_last_member_goes(parts: Parts) -> None:
    one, other = enrolled(parts), enrolled(parts)
    household_id = household(parts, one, other, name="Elm")
    assert erase(parts, one) | {"members": 0} == {
        "members": 0,
        "identifiers": 0,
        "referrals": 0,
        "households": 0,
        "household_members": 1,
        "messages": 0,
    }
    assert parts.households.get(household_id).name == "Elm"
    assert parts.households.pool_of(household_id) == [other]
    assert parts.vault.has_key(household_id)
    erase(parts, other)
    assert not parts.vault.has_key(household_id)
    with pytest.raises(HouseholdNotFoundError):
        parts.households.get(household_id)


def test_an_erasure_of_a_household_that_was_stopped_is_carried_on(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    def stop(_owner: str) -> bool:
        raise StoppedError

    member = enrolled(parts)
    household_id = household(parts, member, name="Elm")
    with monkeypatch.context() as patched:
        patched.setattr(parts.vault, "shred", stop)
        with pytest.raises(StoppedError):
            parts.households.erase(member)
    assert parts.vault.has_key(household_id)
    parts.households.erase(member)
    assert not parts.vault.has_key(household_id)
    assert left(parts, member) == ["members"]
    assert left(parts, household_id) == []


def test_the_last_two_of_a_household_go_at_once_and_leave_nothing(parts: Parts) -> None:
    for _ in range(15):
        pair = [enrolled(parts), enrolled(parts)]
        household_id = household(parts, *pair, name="Elm")
        with ThreadPoolExecutor(2) as erasers:
            list(erasers.map(parts.households.erase, pair))
        assert left(parts, household_id) == []
        assert not parts.vault.has_key(household_id)


def test_who_joins_while_the_last_one_goes_is_in_a_household_or_refused(parts: Parts) -> None:
    for _ in range(15):
        last, newcomer = enrolled(parts), enrolled(parts)
        household_id = household(parts, last, name="Elm")

        def join(member: str = newcomer, into: str = household_id) -> bool:
            try:
                parts.households.join(Belonging(member, into, NOON))
            except HouseholdNotFoundError:
                return False
            return True

        with ThreadPoolExecutor(2) as workers:
            joined = workers.submit(join)
            workers.submit(parts.households.erase, last).result()
        if joined.result():
            assert parts.households.get(household_id).name == "Elm"
            assert parts.households.pool_of(household_id) == [newcomer]
        else:
            assert left(parts, household_id) == []


def test_whoever_writes_while_a_member_is_erased_leaves_nothing_of_it(parts: Parts) -> None:
    for _ in range(10):
        member = Member(new_member_id(), "provisional", NOON)
        parts.members.add(member, [Identifier("card", unique("card"))])
        writes = [
            lambda m=member.id: parts.members.link(m, [Identifier("app", unique("a"))], at=NOON),
            lambda m=member.id: parts.members.promote(
                m, [Identifier("app", unique("b"))], at=NOON, request=(unique("key"), "mark")
            ),
            lambda m=member.id: parts.members.set_profile(m, LEAPLING),
            lambda m=member.id: parts.referrals.add(Referral(enrolled(parts), m, NOON)),
            lambda m=member.id: give_code(m, referrals=parts.referrals),
        ]

        def attempt(write: Any) -> None:
            with suppress(MemberNotFoundError, IdentifierTakenError, IdentifierNotFoundError):
                write()

        with ThreadPoolExecutor(6) as workers:
            others = workers.map(attempt, writes)
            erased = workers.submit(erase, parts, member.id)
            list(others)
            erased.result()
        assert left(parts, member.id) == []


def test_a_member_whose_key_is_gone_is_not_found_and_left_out(parts: Parts) -> None:
    member, other = full(parts), enrolled(parts)
    parts.members.link(other, [Identifier("email", "other@example.org")], at=NOON)
    parts.vault.shred(member)
    for look in (parts.members.get, parts.members.about):
        with pytest.raises(MemberNotFoundError):
            look(member)
    found = parts.members.addresses([permit(member), permit(other)], "email")
    assert found == {other: "other@example.org"}
    assert {each.category for each in held(parts, member)} == {"referrals", "household"}
    erase(parts, member)
    assert left(parts, member) == []


def test_a_household_whose_key_is_gone_is_not_found(parts: Parts) -> None:
    member = enrolled(parts)
    household_id = household(parts, member, name="Elm")
    parts.vault.shred(household_id)
    with pytest.raises(HouseholdNotFoundError):
        parts.households.get(household_id)
    assert [each.collection for each in parts.households.held(member)] == ["household_members"]
    erase(parts, member)
    assert left(parts, household_id) == []


def test_a_restored_copy_of_the_data_cannot_be_read(parts: Parts) -> None:
    member = full(parts)
    backup = dump(parts.database)
    parts.vault.shred(member)
    erase(parts, member)
    for name in ("members", "identifiers"):
        parts.database[name].delete_many({})
        parts.database[name].insert_many(backup[name])
    with pytest.raises(MemberNotFoundError):
        parts.members.get(member)
    for document in backup["identifiers"]:
        with pytest.raises(ShreddedError):
            parts.vault.open(document["sealed"])
    assert "CANARYCARD" not in str(backup)
