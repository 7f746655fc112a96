"""One person, one member, on every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import dump, program_document, purchase_body, unique

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

SPELLINGS: dict[str, tuple[str, list[str]]] = {
    "email": (
        "Ada.Lovelace@Example.com",
        ["ada.lovelace@example.com", " ADA.LOVELACE@EXAMPLE.COM "],
    ),
    "phone": ("+49 30 901820", ["+4930901820", "0049 30 901820", "+49 (30) 90-18-20"]),
    "card": ("9300 1234 5678", ["930012345678", "9300-1234-5678"]),
    "social:insta": ("@Ada", ["ada", " ADA"]),
}


def lookup(api: Api, kind: str, value: str, *, expect: int = 200) -> str:
    body = {"identifier": {"type": kind, "value": value}}
    found: str = api.post("/v1/members/lookup", body, expect=expect).get_json().get("id", "")
    return found


@pytest.mark.parametrize("kind", SPELLINGS)
def test_every_spelling_finds_the_same_member(shop: Api, kind: str) -> None:
    first, others = SPELLINGS[kind]
    member = shop.enrol((kind, first))
    for channel, spelling in zip(("store", "web", "app"), others, strict=False):
        assert lookup(shop, kind, spelling) == member
        body = purchase_body("", channel=channel, identifier={"type": kind, "value": spelling})
        del body["member"]
        assert shop.post("/v1/purchases", body, expect=201).get_json()["member_id"] == member
        claim = {"identifiers": [{"type": kind, "value": spelling}]}
        shop.post("/v1/members", claim, expect=409)


def test_the_same_value_under_another_type_is_another_person(api: Api) -> None:
    ids = {api.enrol((kind, "ada1")) for kind in ("card", "social:insta", "social:x", "app")}
    assert len(ids) == 4


def test_any_number_of_identifiers_leads_to_one_member(api: Api) -> None:
    member = api.enrol(("card", "1"), ("email", "ada@example.com"), ("phone", "+4930901820"))
    for kind, value in (("card", "1"), ("email", "ada@example.com"), ("phone", "+4930901820")):
        assert lookup(api, kind, value) == member
    shown = api.get(f"/v1/members/{member}", expect=200).get_json()
    assert {(each["type"], each["value"]) for each in shown["identifiers"]} == {
        ("card", "1"),
        ("email", "ada@example.com"),
        ("phone", "+4930901820"),
    }


def test_an_identifier_named_twice_is_one(api: Api) -> None:
    member = api.enrol(("card", "1"), ("card", " 1 "))
    assert len(api.get(f"/v1/members/{member}").get_json()["identifiers"]) == 1


def test_enrolling_with_a_taken_identifier_is_refused_and_writes_nothing(
    api: Api, parts: Parts
) -> None:
    api.enrol(("card", "1"))
    api.enrol(("card", "2"))
    before = dump(parts.database)
    for cards in (("1",), ("3", "1"), ("1", "2")):
        body = {"identifiers": [{"type": "card", "value": each} for each in cards]}
        assert api.post("/v1/members", body, expect=409).get_json()["code"] == "identifier_taken"
    assert dump(parts.database) == before


def test_linking_and_unlinking(api: Api, parts: Parts) -> None:
    ada, bob = api.enrol(("card", "1")), api.enrol(("card", "2"))
    mail = {"type": "email", "value": "ada@example.com"}
    shown = api.post(f"/v1/members/{ada}/identifiers", mail, expect=200).get_json()
    assert api.post(f"/v1/members/{ada}/identifiers", mail, expect=200).get_json() == shown
    before = dump(parts.database)
    answer = api.post(f"/v1/members/{bob}/identifiers", mail, expect=409)
    assert answer.get_json()["code"] == "identifier_taken"
    assert dump(parts.database) == before
    ref = next(each["id"] for each in shown["identifiers"] if each["type"] == "email")
    api.call("DELETE", f"/v1/members/{bob}/identifiers/{ref}", expect=404)
    api.call("DELETE", f"/v1/members/{ada}/identifiers/{ref}", expect=204)
    api.call("DELETE", f"/v1/members/{ada}/identifiers/{ref}", expect=404)
    lookup(api, "email", "ada@example.com", expect=404)
    api.post(f"/v1/members/{bob}/identifiers", mail, expect=200)
    assert lookup(api, "email", "ada@example.com") == bob


def test_a_member_has_fifty_identifiers_at_most(api: Api) -> None:
    member = api.enrol(*(("card", str(number)) for number in range(50)))
    one_more = {"type": "card", "value": "51"}
    answer = api.post(f"/v1/members/{member}/identifiers", one_more, expect=409)
    assert answer.get_json()["code"] == "too_many_identifiers"
    again = {"type": "card", "value": "7"}
    api.post(f"/v1/members/{member}/identifiers", again, expect=200)


def test_nobody_is_a_member(shop: Api) -> None:
    nobody = "m_" + "0" * 32
    card = {"type": "card", "value": "1"}
    assert shop.get(f"/v1/members/{nobody}", expect=404).get_json()["code"] == "member_not_found"
    shop.post(f"/v1/members/{nobody}/identifiers", card, expect=404)
    shop.get(f"/v1/members/{nobody}/points", expect=404)
    shop.get(f"/v1/members/{nobody}/journal", expect=404)
    shop.get(f"/v1/members/{nobody}/consents", expect=404)
    shop.get(f"/v1/members/{nobody}/recommendations", expect=404)
    adjustment = {"external_id": "1", "points": 5, "reason": "x", "actor": "y"}
    shop.post(f"/v1/members/{nobody}/adjustments", adjustment, expect=404)
    lookup(shop, "card", "1", expect=404)


def bought_by_card(api: Api, value: str, *, expect: int = 201) -> str:
    body = purchase_body("", identifier={"type": "card", "value": value})
    del body["member"]
    member: str = api.post("/v1/purchases", body, expect=expect).get_json().get("member_id", "")
    return member


def test_an_unknown_card_makes_a_provisional_member_that_enrolling_completes(shop: Api) -> None:
    member = bought_by_card(shop, "77")
    assert bought_by_card(shop, "7-7") == member
    assert shop.get(f"/v1/members/{member}").get_json()["status"] == "provisional"
    assert shop.enrol(("card", "77"), ("email", "ada@example.com")) == member
    shown = shop.get(f"/v1/members/{member}").get_json()
    assert shown["status"] == "active"
    assert len(shown["identifiers"]) == 2
    assert shop.balance(member) == 20
    claim = {"identifiers": [{"type": "card", "value": "77"}]}
    shop.post("/v1/members", claim, expect=409)


def test_two_provisional_members_are_not_made_one_by_the_way(shop: Api, parts: Parts) -> None:
    bought_by_card(shop, "77")
    bought_by_card(shop, "78")
    before = dump(parts.database)
    body = {"identifiers": [{"type": "card", "value": each} for each in ("77", "78")]}
    shop.post("/v1/members", body, expect=409)
    assert dump(parts.database) == before


def test_a_programme_may_refuse_unknown_identifiers(api: Api, parts: Parts) -> None:
    program = program_document(unknown_identifier="refuse")
    api.post("/v1/program/versions", {"program": program}, expect=201)
    member = api.enrol(("card", "1"))
    assert bought_by_card(api, "1") == member
    before = dump(parts.database)
    bought_by_card(api, "77", expect=404)
    visit = {
        "external_id": unique(),
        "channel": "web",
        "type": "visit",
        "identifier": {"type": "card", "value": "77"},
    }
    api.post("/v1/engagements", visit, expect=404)
    assert dump(parts.database) == before
