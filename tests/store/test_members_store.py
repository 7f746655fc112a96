"""Members: one identifier leads to one member, and is kept where nobody can read it."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import bson
import pytest

from loyalty.kit.mongo import DURABLE
from loyalty.members import service
from loyalty.members.model import (
    IDENTIFIERS_MAX,
    Identifier,
    IdentifierNotFoundError,
    IdentifierTakenError,
    InvalidIdentifierError,
    KeyReusedError,
    Member,
    MemberNotFoundError,
    TooManyIdentifiersError,
    normal,
)
from loyalty.members.store import MemberStore
from loyalty.vault.masters import MASTER_KEY_BYTES, Masters
from loyalty.vault.model import VaultClosedError
from loyalty.vault.peppers import Peppers
from loyalty.vault.store import Vault
from tests.builders import NOON, dump, permit
from tests.store.watching import watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings

CARD = {"type": "card", "value": "9300 1234 5678"}
EMAIL = {"type": "email", "value": "Ada.Lovelace@Example.com"}
PHONE = {"type": "phone", "value": "+49 30 1234567"}
HANDLE = {"type": "social:instagram", "value": "@CountessAda"}


def enrol(parts: Parts, *identifiers: dict[str, str], request_key: str | None = None) -> Member:
    """A member with identifiers."""
    return service.enrol(
        identifiers, at=NOON, request_key=request_key, members=parts.members
    ).member


def provisional(parts: Parts, identifier: dict[str, str]) -> str:
    """The id of the member that an unknown identifier makes."""
    known = normal(identifier["type"], identifier["value"])
    return service.enrol_provisional(known, at=NOON, members=parts.members)


def values(member: Member) -> set[str]:
    return {each.identifier.value for each in member.identifiers}


def test_a_member_is_found_by_every_identifier_however_it_is_spelt(parts: Parts) -> None:
    member = enrol(parts, CARD, EMAIL, PHONE, HANDLE)
    assert member.status == "active"
    for kind, value in (
        ("card", "930012345678"),
        ("card", "9300-1234-5678"),
        ("email", "ada.lovelace@EXAMPLE.COM"),
        ("phone", "0049301234567"),
        ("social:instagram", "countessada"),
    ):
        assert service.find({"type": kind, "value": value}, members=parts.members) == member


def test_what_nobody_has_finds_nobody(parts: Parts) -> None:
    enrol(parts, CARD)
    other = {"type": "app", "value": CARD["value"]}
    for identifier in (EMAIL, other):
        with pytest.raises(MemberNotFoundError):
            service.find(identifier, members=parts.members)
    with pytest.raises(MemberNotFoundError):
        parts.members.get(service.new_member_id())
    assert not parts.members.exists(service.new_member_id())


def test_an_enrolment_may_name_nothing_or_the_same_twice(parts: Parts) -> None:
    assert enrol(parts).identifiers == ()
    spelt = {"type": "card", "value": "930012345678"}
    assert len(enrol(parts, CARD, spelt).identifiers) == 1


def test_an_identifier_belongs_to_one_member_and_enrolment_is_all_or_nothing(parts: Parts) -> None:
    enrol(parts, CARD)
    before = dump(parts.database)
    with pytest.raises(IdentifierTakenError):
        enrol(parts, EMAIL, CARD)
    assert dump(parts.database) == before
    assert parts.members.resolve(normal(**_as_normal(EMAIL))) is None


def _as_normal(identifier: dict[str, str]) -> Any:
    return {"kind": identifier["type"], "value": identifier["value"]}


def test_a_wrong_identifier_is_named_by_its_position_and_nothing_is_written(parts: Parts) -> None:
    before = dump(parts.database)
    with pytest.raises(InvalidIdentifierError) as refusal:
        enrol(parts, CARD, {"type": "email", "value": "nobody"})
    assert refusal.value.errors[0].field == "identifiers.1.value"
    assert dump(parts.database) == before


def test_two_that_claim_one_identifier_at_once_leave_one_owner(parts: Parts) -> None:
    def claim(number: int) -> Member | None:
        card = {"type": "app", "value": f"own-{number}"}
        try:
            return enrol(parts, card, EMAIL)
        except IdentifierTakenError:
            return None

    with ThreadPoolExecutor(4) as claimants:
        winners = [each for each in claimants.map(claim, range(8)) if each]
    assert len(winners) == 1
    assert parts.database["members"].count_documents({}) == 1
    assert parts.database["identifiers"].count_documents({}) == 2


def test_unknown_identifiers_make_one_provisional_member_under_races_too(parts: Parts) -> None:
    with ThreadPoolExecutor(8) as tills:
        ids = set(tills.map(lambda _: provisional(parts, CARD), range(16)))
    assert len(ids) == 1
    assert parts.members.get(ids.pop()).status == "provisional"
    assert parts.database["members"].count_documents({}) == 1


def test_enrolling_promotes_the_provisional_member_that_has_one_of_the_identifiers(
    parts: Parts,
) -> None:
    member_id = provisional(parts, CARD)
    member = enrol(parts, EMAIL, CARD)
    assert (member.id, member.status) == (member_id, "active")
    assert values(member) == {"930012345678", "ada.lovelace@example.com"}


def test_promoting_twice_is_refused_as_the_member_is_active_by_then(parts: Parts) -> None:
    provisional(parts, CARD)
    enrol(parts, CARD)
    with pytest.raises(IdentifierTakenError):
        enrol(parts, CARD)


def test_two_that_promote_one_provisional_member_at_once_leave_one_winner(parts: Parts) -> None:
    member_id = provisional(parts, CARD)

    def claim(number: int) -> Member | None:
        try:
            return enrol(parts, CARD, {"type": "app", "value": f"own-{number}"})
        except IdentifierTakenError:
            return None

    with ThreadPoolExecutor(4) as claimants:
        winners = [each for each in claimants.map(claim, range(8)) if each]
    assert [each.id for each in winners] == [member_id]
    assert len(parts.members.get(member_id).identifiers) == 2


def test_two_provisional_members_are_not_made_one_by_enrolling(parts: Parts) -> None:
    provisional(parts, CARD)
    provisional(parts, EMAIL)
    with pytest.raises(IdentifierTakenError, match="several members"):
        enrol(parts, CARD, EMAIL)


@pytest.mark.parametrize("known", [False, True])
def test_a_retried_enrolment_is_the_same_member(parts: Parts, *, known: bool) -> None:
    if known:
        provisional(parts, CARD)
    first = service.enrol([CARD], at=NOON, request_key="k1", members=parts.members)
    before = dump(parts.database)
    later = NOON + timedelta(days=1)
    again = service.enrol([CARD], at=later, request_key="k1", members=parts.members)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert again.member == first.member
    assert dump(parts.database) == before


@pytest.mark.parametrize("known", [False, True])
def test_a_key_with_another_enrolment_is_refused(parts: Parts, *, known: bool) -> None:
    if known:
        provisional(parts, CARD)
    enrol(parts, CARD, request_key="k1")
    for other in ([EMAIL], [CARD, EMAIL], []):
        with pytest.raises(KeyReusedError):
            enrol(parts, *other, request_key="k1")


@pytest.mark.parametrize("known", [False, True])
def test_one_key_at_once_enrols_once(parts: Parts, *, known: bool) -> None:
    if known:
        provisional(parts, CARD)
    with ThreadPoolExecutor(8) as clients:
        members = list(clients.map(lambda _: enrol(parts, CARD, request_key="k1"), range(8)))
    assert len({each.id for each in members}) == 1
    assert parts.database["members"].count_documents({}) == 1


def test_one_key_for_two_promotions_is_refused_the_second_time(parts: Parts) -> None:
    provisional(parts, CARD)
    provisional(parts, EMAIL)
    enrol(parts, CARD, request_key="k1")
    with pytest.raises(KeyReusedError):
        enrol(parts, EMAIL, request_key="k1")


def test_linking_adds_an_identifier_and_again_changes_nothing(parts: Parts) -> None:
    member = enrol(parts, CARD)
    linked = service.link(member.id, EMAIL, at=NOON, members=parts.members)
    assert values(linked) == {"930012345678", "ada.lovelace@example.com"}
    later = NOON + timedelta(days=1)
    assert service.link(member.id, EMAIL, at=later, members=parts.members) == linked


def test_what_is_taken_or_for_nobody_is_not_linked(parts: Parts) -> None:
    enrol(parts, EMAIL)
    member = enrol(parts, CARD)
    with pytest.raises(IdentifierTakenError):
        service.link(member.id, EMAIL, at=NOON, members=parts.members)
    with pytest.raises(MemberNotFoundError):
        service.link(service.new_member_id(), PHONE, at=NOON, members=parts.members)
    with pytest.raises(InvalidIdentifierError) as refusal:
        service.link(member.id, {"type": "phone", "value": "12"}, at=NOON, members=parts.members)
    assert refusal.value.errors[0].field == "value"
    assert parts.members.get(member.id) == member


def test_a_member_has_fifty_identifiers_at_most(parts: Parts) -> None:
    cards = [{"type": "card", "value": str(1000 + n)} for n in range(IDENTIFIERS_MAX)]
    member = enrol(parts, *cards)
    assert len(member.identifiers) == IDENTIFIERS_MAX
    with pytest.raises(TooManyIdentifiersError):
        service.link(member.id, EMAIL, at=NOON, members=parts.members)
    assert service.link(member.id, cards[7], at=NOON, members=parts.members) == member


def test_an_unlinked_identifier_is_free_and_leads_nowhere(parts: Parts) -> None:
    member = enrol(parts, CARD, EMAIL)
    card = next(each for each in member.identifiers if each.identifier.type == "card")
    parts.members.unlink(member.id, card.id)
    assert values(parts.members.get(member.id)) == {"ada.lovelace@example.com"}
    with pytest.raises(MemberNotFoundError):
        service.find(CARD, members=parts.members)
    assert enrol(parts, CARD).id != member.id


def test_only_its_own_identifiers_can_be_unlinked_from_a_member(parts: Parts) -> None:
    member, other = enrol(parts, CARD), enrol(parts, EMAIL)
    for identifier_id in (member.identifiers[0].id, "0" * 16, CARD["value"]):
        with pytest.raises(IdentifierNotFoundError):
            parts.members.unlink(other.id, identifier_id)
    assert parts.members.get(member.id) == member


def test_addresses_of_many(parts: Parts) -> None:
    one, other, none = enrol(parts, EMAIL, CARD), enrol(parts, PHONE), enrol(parts)
    permits = [permit(each.id) for each in (one, other, none)]
    assert parts.members.addresses(permits, "email") == {one.id: "ada.lovelace@example.com"}
    assert parts.members.addresses(permits, "phone") == {other.id: "+49301234567"}


PERSONAL = (CARD, EMAIL, PHONE, HANDLE)


def everything_kept(parts: Parts) -> bytes:
    """All bytes of all collections, as the server keeps them."""
    return b"".join(bson.encode(each) for each in _documents(parts)).lower()


def _documents(parts: Parts) -> list[dict[str, Any]]:
    return [each for collection in dump(parts.database).values() for each in collection]


def test_no_value_stands_in_the_database_in_clear(parts: Parts) -> None:
    enrol(parts, *PERSONAL)
    kept = everything_kept(parts)
    for identifier in PERSONAL:
        value = normal(identifier["type"], identifier["value"]).value
        for spelling in (value, identifier["value"], value.removeprefix("+"), value[:8]):
            assert spelling.lower().encode() not in kept


def test_no_value_can_be_found_by_hashing_guesses_without_the_key(parts: Parts) -> None:
    enrol(parts, *PERSONAL)
    kept = everything_kept(parts)
    for identifier in PERSONAL:
        value = normal(identifier["type"], identifier["value"]).value
        for guess in (value, f"{identifier['type']}\0{value}", f"{identifier['type']}:{value}"):
            for name in ("md5", "sha1", "sha256", "sha512", "blake2b"):
                digest = hashlib.new(name, guess.encode())
                assert digest.hexdigest().encode() not in kept
                assert digest.digest() not in kept


def test_another_vault_neither_finds_nor_reads(parts: Parts) -> None:
    member = enrol(parts, EMAIL)
    masters = Masters({"local:1": {"key": b"s" * MASTER_KEY_BYTES}}, "local:1")
    stolen = Vault(parts.vault.database, masters)
    thief = MemberStore(parts.database, stolen, Peppers(parts.database, stolen))
    for look in (
        lambda: thief.resolve(Identifier("email", "ada.lovelace@example.com")),
        lambda: thief.get(member.id),
        lambda: thief.addresses([permit(member.id)], "email"),
    ):
        with pytest.raises(VaultClosedError):
            look()


def test_equal_values_of_different_types_look_unrelated(parts: Parts) -> None:
    enrol(parts, {"type": "app", "value": "77"}, {"type": "marketplace:bay", "value": "77"})
    one, other = parts.database["identifiers"].find()
    assert one["_id"] != other["_id"]
    assert one["sealed"] != other["sealed"]


def test_ids_say_nothing_about_the_value(parts: Parts) -> None:
    first = enrol(parts, CARD)
    parts.members.unlink(first.id, first.identifiers[0].id)
    again = enrol(parts, CARD)
    assert again.identifiers[0].id != first.identifiers[0].id
    assert again.id != first.id


def test_an_enrolment_is_one_durable_transaction(parts: Parts, settings: Settings) -> None:
    with watching(settings) as watch:
        members = MemberStore(watch.database, parts.vault, Peppers(watch.database, parts.vault))
        members.add(Member(service.new_member_id(), "active", NOON), [Identifier("app", "1")])
        writes = [each for each in watch.commands if "insert" in each]
        (commit,) = (each for each in watch.commands if "commitTransaction" in each)
    assert [each["insert"] for each in writes] == ["members", "identifiers"]
    assert {each["txnNumber"] for each in writes} == {commit["txnNumber"]}
    assert commit["writeConcern"] == DURABLE.document


def test_the_newest_address_is_the_one_to_write_to(parts: Parts) -> None:
    member = Member(service.new_member_id(), "active", NOON)
    parts.members.add(member, [Identifier("email", "old@example.org")])
    fresh = Identifier("email", "new@example.org")
    parts.members.link(member.id, [fresh], at=NOON + timedelta(days=1))
    assert parts.members.addresses([permit(member.id)], "email") == {member.id: "new@example.org"}
