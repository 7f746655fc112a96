"""Referrals pay both sides, once, when the friend first buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import BASE_RULE, program_document

if TYPE_CHECKING:
    from tests.builders import Api

RULE = {"id": "friends", "type": "referral", "friend_points": 50, "referrer_points": 200}


@pytest.fixture
def club(api: Api) -> Api:
    """A shop that pays for referrals."""
    document = program_document(BASE_RULE, RULE)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    return api


def referred(club: Api) -> tuple[str, str]:
    """A referrer and a friend."""
    referrer, friend = club.enrol(), club.enrol()
    code = club.post(f"/v1/members/{referrer}/referral-code", None, expect=201).get_json()["code"]
    club.post(f"/v1/members/{friend}/referrer", {"code": code}, expect=201)
    return referrer, friend


def test_both_sides_are_paid_when_the_friend_first_buys(club: Api) -> None:
    referrer, friend = referred(club)
    assert club.balance(referrer) == 0
    assert club.buy(friend, 1000)["points"] == 60
    assert (club.balance(referrer), club.balance(friend)) == (200, 60)
    assert club.buy(friend, 1000)["points"] == 10
    assert club.balance(referrer) == 200
    entry = club.get(f"/v1/members/{referrer}/journal").get_json()["entries"][0]
    assert entry["kind"] == "referral"
    assert "200" in entry["postings"][0]["text"]


def test_a_retry_pays_nobody_twice(club: Api) -> None:
    referrer, friend = referred(club)
    club.buy(friend, 1000, external_id="R1")
    club.buy(friend, 1000, external_id="R1")
    assert (club.balance(referrer), club.balance(friend)) == (200, 60)


def test_what_a_returned_first_purchase_brought_falls_on_both_sides(club: Api) -> None:
    referrer, friend = referred(club)
    club.buy(friend, 1000, external_id="R1")
    back = {
        "external_id": "B1",
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": "R1"},
    }
    club.post("/v1/returns", back, expect=201)
    assert (club.balance(referrer), club.balance(friend)) == (0, 0)
    club.post("/v1/returns", back, expect=201)
    assert (club.balance(referrer), club.balance(friend)) == (0, 0)


def test_a_part_that_comes_back_leaves_the_referrers_points(club: Api) -> None:
    referrer, friend = referred(club)
    lines = [{"sku": "milk", "quantity": 2, "amount": 1000}]
    club.buy(friend, external_id="R1", lines=lines)
    back = {
        "external_id": "B1",
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": "R1"},
        "lines": [{"sku": "milk", "quantity": 1}],
    }
    club.post("/v1/returns", back, expect=201)
    assert (club.balance(referrer), club.balance(friend)) == (200, 30)


def test_who_was_not_referred_brings_nothing(club: Api) -> None:
    assert club.buy(club.enrol(), 1000)["points"] == 10
