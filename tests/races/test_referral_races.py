"""Referrals and households under races: no circle, one referrer, one household, twelve members."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.households.model import HOUSEHOLD_MEMBERS_MAX
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

    from app import Parts
    from tests.builders import Api

ROUNDS = 15


def calling(api: Api, method: str, path: str, body: Any = None) -> Callable[[], TestResponse]:
    """A call to make later, by a client of its own."""
    own = api.speaking_with(api.key)
    more = {} if body is None else {"json": body}
    return lambda: own.call(method, path, **more)


def code_of(api: Api, member: str) -> str:
    code: str = api.post(f"/v1/members/{member}/referral-code", None, expect=201).get_json()["code"]
    return code


def referring(api: Api, member: str, referrer: str) -> Callable[[], TestResponse]:
    """A call that says who referred a member."""
    body = {"code": code_of(api, referrer)}
    return calling(api, "POST", f"/v1/members/{member}/referrer", body)


def is_circle_free(parts: Parts) -> bool:
    """Whether each chain of referrers has an end."""
    above = {
        each["_id"]: each["referrer"]["member"]
        for each in parts.database["members"].find({"referrer": {"$exists": True}})
    }
    for member in above:
        at: str | None = member
        for _ in range(len(above) + 1):
            at = above.get(at) if at else None
        if at is not None:
            return False
    return True


@pytest.mark.parametrize("length", [2, 3, 4])
def test_members_who_refer_each_other_at_once_leave_one_out(
    shop: Api, parts: Parts, length: int
) -> None:
    for _ in range(ROUNDS):
        ring = [shop.enrol() for _ in range(length)]
        calls = [referring(shop, each, ring[at - 1]) for at, each in enumerate(ring)]
        answers = race(calls)
        assert sorted(each.status_code for each in answers) == [201] * (length - 1) + [409]
        (lost,) = (each.get_json() for each in answers if each.status_code == 409)
        assert lost["code"] == "circular_referral"
    assert is_circle_free(parts)


def test_two_chains_that_are_joined_at_both_ends_at_once_stay_chains(
    shop: Api, parts: Parts
) -> None:
    # The two referrals have no member in common: the circle goes through what was there before.
    for _ in range(ROUNDS):
        one, two = ([shop.enrol() for _ in range(3)] for _ in range(2))
        for chain in (one, two):
            for above, below in pairwise(chain):
                referring(shop, below, above)()
        answers = race([referring(shop, one[0], two[-1]), referring(shop, two[0], one[-1])])
        assert sorted(each.status_code for each in answers) == [201, 409]
    assert is_circle_free(parts)


def test_of_many_referrers_of_one_member_one_stays(shop: Api, parts: Parts) -> None:
    newcomer = shop.enrol()
    referrers = [shop.enrol() for _ in range(12)]
    answers = race([referring(shop, newcomer, each) for each in referrers])
    assert sorted(each.status_code for each in answers) == [201] + [409] * 11
    (won,) = (each.get_json() for each in answers if each.status_code == 201)
    assert parts.members.about(newcomer).referrer_id == won["referrer_id"]
    lost = {each.get_json()["code"] for each in answers if each.status_code == 409}
    assert lost == {"referrer_recorded"}


def test_twins_of_a_referral_get_its_answer(shop: Api) -> None:
    newcomer, referrer = shop.enrol(), shop.enrol()
    answers = race([referring(shop, newcomer, referrer) for _ in range(12)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1


def test_all_friends_of_one_referrer_come_in_at_once(shop: Api, parts: Parts) -> None:
    referrer = shop.enrol()
    friends = [shop.enrol() for _ in range(24)]
    answers = race([referring(shop, each, referrer) for each in friends])
    assert {each.status_code for each in answers} == {201}
    assert {parts.members.about(each).referrer_id for each in friends} == {referrer}


def test_a_code_that_is_asked_for_at_once_is_one(shop: Api) -> None:
    path = f"/v1/members/{shop.enrol()}/referral-code"
    answers = race([calling(shop, "POST", path) for _ in range(16)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1


def made(api: Api) -> str:
    household_id: str = api.post("/v1/households", {}, expect=201).get_json()["id"]
    return household_id


def test_a_member_who_joins_many_households_at_once_is_in_one(shop: Api, parts: Parts) -> None:
    for _ in range(5):
        member = shop.enrol()
        households = [made(shop) for _ in range(8)]
        paths = [f"/v1/households/{each}/members/{member}" for each in households]
        answers = race([calling(shop, "PUT", path) for path in paths])
        assert sorted(each.status_code for each in answers) == [200] + [409] * 7
        (won,) = (each.get_json()["id"] for each in answers if each.status_code == 200)
        belonging = parts.households.of(member)
        assert belonging
        assert belonging.household_id == won
        assert [each for each in households if parts.households.pool_of(each)] == [won]


def test_twenty_who_join_one_household_at_once_are_twelve(shop: Api, parts: Parts) -> None:
    household_id = made(shop)
    paths = [f"/v1/households/{household_id}/members/{shop.enrol()}" for _ in range(20)]
    answers = race([calling(shop, "PUT", path) for path in paths])
    refused = 20 - HOUSEHOLD_MEMBERS_MAX
    assert sorted(each.status_code for each in answers) == [200] * 12 + [409] * refused
    counted = parts.database["household_members"].count_documents({"household": household_id})
    assert counted == HOUSEHOLD_MEMBERS_MAX


def test_twins_of_joining_and_of_making_have_one_effect(shop: Api, parts: Parts) -> None:
    household_id, member = made(shop), shop.enrol()
    path = f"/v1/households/{household_id}/members/{member}"
    answers = race([calling(shop, "PUT", path) for _ in range(12)])
    assert {each.status_code for each in answers} == {200}
    assert len({each.data for each in answers}) == 1
    key = {"Idempotency-Key": "once"}
    clients = [shop.speaking_with(shop.key) for _ in range(12)]
    calls = [
        lambda own=own: own.post("/v1/households", {"name": "A"}, headers=key) for own in clients
    ]
    created = race(calls)
    assert {each.status_code for each in created} == {201}
    assert len({each.data for each in created}) == 1
    assert parts.database["households"].count_documents({"request.key": {"$exists": True}}) == 1
