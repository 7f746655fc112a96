"""Households: a pool is a view over journals, open by each member's own consent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.test_browser_tokens import token_of
from tests.builders import Api, dump, mint_key, program_document

if TYPE_CHECKING:
    from app import Parts

NOBODY = "m_" + "0" * 32
NOWHERE = "h_" + "0" * 32
POOLING = "household_pooling"


def household(api: Api, *members: str, name: str | None = None) -> str:
    """A household with these members."""
    body = {} if name is None else {"name": name}
    household_id: str = api.post("/v1/households", body, expect=201).get_json()["id"]
    for member in members:
        join(api, household_id, member)
    return household_id


def join(api: Api, household_id: str, member: str, *, expect: int = 200) -> Any:
    path = f"/v1/households/{household_id}/members/{member}"
    return api.call("PUT", path, expect=expect).get_json()


def leave(api: Api, household_id: str, member: str, *, expect: int = 204) -> Any:
    path = f"/v1/households/{household_id}/members/{member}"
    return api.call("DELETE", path, expect=expect)


def members_of(api: Api, household_id: str) -> list[str]:
    shown = api.get(f"/v1/households/{household_id}", expect=200).get_json()
    return [each["member_id"] for each in shown["members"]]


def pool(api: Api, household_id: str) -> tuple[int, dict[str, int]]:
    """The sum and what each member has in it."""
    shown = api.get(f"/v1/households/{household_id}/points", expect=200).get_json()
    assert shown["household_id"] == household_id
    return shown["points"], {each["member_id"]: each["points"] for each in shown["members"]}


def enrol(api: Api, count: int, *, spent: int = 0) -> list[str]:
    """New members, each of whom bought for so much."""
    ids = [api.enrol() for _ in range(count)]
    for each in ids if spent else ():
        api.buy(each, spent)
    return ids


def test_any_name_that_a_programme_may_give_a_unit_can_be_asked_for(api: Api) -> None:
    unit = "cash-back_" + "x" * 30
    rule = {"id": "back", "type": "fixed", "per": "basket", "points": 7, "unit": unit}
    document = program_document(rule, units={unit: {}})
    api.post("/v1/program/versions", {"program": document}, expect=201)
    ada, bob = enrol(api, 2, spent=1000)
    for member in (ada, bob):
        api.consent(member, "household_pooling")
        api.consent(member, "points_transfer")
    shown = api.get(f"/v1/households/{household(api, ada, bob)}/points?unit={unit}", expect=200)
    assert shown.get_json()["points"] == 14
    gift = {"external_id": "g", "giver": {"member": ada}, "receiver": {"member": bob}}
    api.post("/v1/transfers", {**gift, "points": 2, "unit": unit}, expect=201)
    given = {"external_id": "a", "points": 1, "unit": unit, "reason": "x", "actor": "y"}
    done = api.post(f"/v1/members/{bob}/adjustments", given, expect=201).get_json()
    assert done["units"] == {unit: 10}


def test_a_household_is_made_and_read(api: Api) -> None:
    ada, bob = enrol(api, 2)
    made = api.post("/v1/households", {"name": "Elm Street"}, expect=201).get_json()
    assert (made["name"], made["members"]) == ("Elm Street", [])
    first = join(api, made["id"], ada)
    assert join(api, made["id"], ada) == first
    shown = join(api, made["id"], bob)
    assert api.get(f"/v1/households/{made['id']}", expect=200).get_json() == shown
    assert members_of(api, made["id"]) == [ada, bob]
    assert [each["is_pooling"] for each in shown["members"]] == [False, False]
    place = api.get(f"/v1/members/{bob}/household", expect=200).get_json()
    assert place["household_id"] == made["id"]
    leave(api, made["id"], ada)
    assert members_of(api, made["id"]) == [bob]
    assert leave(api, made["id"], ada, expect=404).get_json()["code"] == "not_in_household"
    api.get(f"/v1/members/{ada}/household", expect=404)


def test_a_retry_makes_no_second_household(api: Api, parts: Parts) -> None:
    key = {"Idempotency-Key": "once"}
    first = api.post("/v1/households", {"name": "A"}, headers=key, expect=201)
    again = api.post("/v1/households", {"name": "A"}, headers=key, expect=201)
    assert again.data == first.data
    assert "Idempotent-Replay" not in first.headers
    assert again.headers["Idempotent-Replay"] == "true"
    other = api.post("/v1/households", {"name": "B"}, headers=key, expect=422)
    assert other.get_json()["code"] == "key_reused"
    api.post("/v1/households", {}, headers=key, expect=422)
    assert parts.database["households"].count_documents({}) == 1


def test_a_member_is_in_one_household_at_a_time(api: Api, parts: Parts) -> None:
    (ada,) = enrol(api, 1)
    first, second = household(api, ada), household(api)
    assert members_of(api, second) == []
    before = dump(parts.database)
    assert join(api, second, ada, expect=409)["code"] == "in_other_household"
    assert dump(parts.database) == before
    leave(api, first, ada)
    join(api, second, ada)


def test_a_household_has_twelve_members_at_most(api: Api) -> None:
    members = enrol(api, 13)
    household_id = household(api, *members[:12])
    assert join(api, household_id, members[12], expect=409)["code"] == "household_full"
    join(api, household_id, members[0])
    assert members_of(api, household_id) == members[:12]


def test_points_are_in_the_pool_only_while_their_member_agrees(
    shop: Api, elsewhere: Api, parts: Parts
) -> None:
    ada, bob, eve = enrol(shop, 3, spent=1000)
    household_id = household(shop, ada, bob, eve)
    assert pool(shop, household_id) == (0, {})
    shop.consent(ada, POOLING)
    shop.consent(bob, POOLING)
    shop.consent(eve, "personalisation")
    before = {each: list(parts.journal.entries(each)) for each in (ada, bob, eve)}
    assert pool(elsewhere, household_id) == (20, {ada: 10, bob: 10})
    shop.buy(bob, 500)
    assert pool(shop, household_id) == (25, {ada: 10, bob: 15})
    for round_number in range(5):
        shop.consent(bob, POOLING, granted=False)
        assert pool(elsewhere, household_id) == (10, {ada: 10}), round_number
        elsewhere.consent(bob, POOLING)
        assert pool(shop, household_id) == (25, {ada: 10, bob: 15}), round_number
    # Reading moved nothing.
    assert [shop.balance(each) for each in (ada, bob, eve)] == [10, 15, 10]
    assert list(parts.journal.entries(ada)) == before[ada]


def test_who_leaves_takes_the_points_along(shop: Api) -> None:
    ada, bob = enrol(shop, 2, spent=1000)
    household_id = household(shop, ada, bob)
    for each in (ada, bob):
        shop.consent(each, POOLING)
    leave(shop, household_id, bob)
    assert pool(shop, household_id) == (10, {ada: 10})
    assert shop.balance(bob) == 10


def test_a_debt_takes_nothing_from_what_the_others_have(shop: Api) -> None:
    ada, bob = enrol(shop, 2, spent=1000)
    household_id = household(shop, ada, bob)
    for each in (ada, bob):
        shop.consent(each, POOLING)
    shop.buy(bob, 3000, external_id="R1")
    taking = {"external_id": "1", "points": -40, "reason": "x", "actor": "y"}
    shop.post(f"/v1/members/{bob}/adjustments", taking, expect=201)
    back = {"external_id": "1", "channel": "store", "store": "S1"}
    shop.post("/v1/returns", {**back, "purchase": {"external_id": "R1"}}, expect=201)
    assert shop.balance(bob) == -30
    assert pool(shop, household_id) == (10, {ada: 10, bob: 0})


def test_who_never_did_anything_has_nothing_in_the_pool(shop: Api) -> None:
    (ada,) = enrol(shop, 1)
    household_id = household(shop, ada)
    shop.consent(ada, POOLING)
    assert pool(shop, household_id) == (0, {ada: 0})
    other = f"/v1/households/{household_id}/points?unit=stars"
    assert shop.get(other, expect=200).get_json()["unit"] == "stars"


def test_there_is_no_such_household_or_member(api: Api) -> None:
    (ada,) = enrol(api, 1)
    for path in (f"/v1/households/{NOWHERE}", f"/v1/households/{NOWHERE}/points"):
        assert api.get(path, expect=404).get_json()["code"] == "household_not_found"
    assert join(api, NOWHERE, ada, expect=404)["code"] == "household_not_found"
    assert join(api, household(api), NOBODY, expect=404)["code"] == "member_not_found"
    assert leave(api, NOWHERE, ada, expect=404).get_json()["code"] == "not_in_household"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": None}, "name"),
        ({"name": {"$gt": ""}}, "name"),
        ({"members": []}, "members"),
    ],
    ids=range(6),
)
def test_a_household_with_a_mistake(
    api: Api, parts: Parts, body: dict[str, Any], field: str
) -> None:
    before = dump(parts.database)
    answer = api.post("/v1/households", body, expect=422).get_json()
    assert [each["field"] for each in answer["errors"]] == [field]
    assert dump(parts.database) == before


def test_a_unit_that_is_none(api: Api) -> None:
    path = f"/v1/households/{household(api)}/points?unit[$gt]="
    assert api.get(path, expect=422).get_json()["errors"][0]["field"] == "unit[$gt]"
    path = f"/v1/households/{household(api)}/points?unit=A%20b"
    assert api.get(path, expect=422).get_json()["errors"][0]["field"] == "unit"


def test_a_browser_may_leave_and_not_look_or_join(api: Api) -> None:
    ada, bob = enrol(api, 2)
    household_id = household(api, ada, bob)
    browser = token_of(api, ada)
    browser.get(f"/v1/households/{household_id}", expect=403)
    browser.get(f"/v1/households/{household_id}/points", expect=403)
    leave(browser, household_id, bob, expect=403)
    place = browser.get(f"/v1/members/{ada}/household", expect=200).get_json()
    leave(browser, place["household_id"], ada)
    join(browser, household_id, ada, expect=403)
    assert members_of(api, household_id) == [bob]


def test_scopes_of_households(api: Api, parts: Parts) -> None:
    (ada,) = enrol(api, 1)
    household_id = household(api, ada)
    reader = api.speaking_with(mint_key(parts, "households:read"))
    assert members_of(reader, household_id) == [ada]
    assert pool(reader, household_id) == (0, {})
    join(reader, household_id, ada, expect=403)
    leave(reader, household_id, ada, expect=403)
    writer = api.speaking_with(mint_key(parts, "households:write"))
    leave(writer, household_id, ada)
    writer.get(f"/v1/households/{household_id}", expect=403)


def test_the_purposes_are_shown_and_granted_like_others(shop: Api) -> None:
    (ada,) = enrol(shop, 1)
    for granted in (False, True):
        if granted:
            shop.consent(ada, POOLING)
            shop.consent(ada, "points_transfer")
        shown = shop.get(f"/v1/members/{ada}/consents", expect=200).get_json()["consents"]
        flags = {each["purpose"]: each["granted"] for each in shown}
        assert flags[POOLING] is flags["points_transfer"] is granted
