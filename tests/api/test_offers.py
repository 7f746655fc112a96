"""Offers over HTTP: the same programme for everybody, an own order only with consent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.test_feedback import event, post
from tests.api.test_recommending import put_products
from tests.api.test_redeeming import put
from tests.builders import BASE_RULE, dump, program_document

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

DAIRY = {"id": "dairy", "type": "multiplier", "factor": "2", "only": {"categories": ["Dairy"]}}
TOYS = {"id": "a-toys", "type": "multiplier", "factor": "3", "only": {"categories": ["Toys"]}}
WEB = {"id": "web", "type": "fixed", "points": 5, "per": "basket", "only": {"channels": ["web"]}}
LADDER = {
    "measure": "points",
    "period": "lifetime",
    "ladder": [
        {"id": "basic", "name": "Basic", "threshold": 0},
        {"id": "gold", "name": "Gold", "threshold": 100},
    ],
}


@pytest.fixture
def fair(api: Api) -> Api:
    """A shop with offers, rewards and tiers."""
    document = program_document(BASE_RULE, TOYS, DAIRY, WEB, tiers=LADDER)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    put_products(
        api,
        {"sku": "milk", "name": "Milk", "category": "Dairy/Milk"},
        {"sku": "pills", "name": "Pills", "sensitive": True},
    )
    for price in (20, 90, 5000):
        put(
            api,
            {
                "id": f"off-{price}",
                "name": "Off",
                "type": "amount_off",
                "price": price,
                "value": {"amount": 100},
            },
        )
    put(
        api,
        {"id": "pills", "name": "Pills", "type": "product", "price": 1, "value": {"sku": "pills"}},
    )
    return api


def offers(api: Api, member: str, query: str = "?channel=store&limit=50") -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/members/{member}/offers{query}", expect=200).get_json()
    return found


def ids(found: dict[str, Any]) -> list[str]:
    return [each["id"] for each in found["offers"]]


def test_what_holds_here_and_what_is_missing(fair: Api) -> None:
    member = fair.enrol()
    fair.buy(member, lines=[{"sku": "tea", "quantity": 1, "amount": 8000}])
    found = offers(fair, member)
    assert (found["personalised"], found["reason"]) == (False, "no_consent")
    assert ids(found) == ["a-toys", "dairy", "off-20", "off-90", "gold"]
    near = {each["id"]: each for each in found["offers"]}
    assert near["off-20"]["missing"] is None
    assert near["off-90"]["missing"] == {"amount": 10, "of": "points", "text": "10 points more"}
    assert near["gold"]["missing"] == {"amount": 20, "of": "points", "text": "20 points more"}
    assert "web" in ids(offers(fair, member, "?channel=web&limit=50"))
    assert len(offers(fair, member, "?limit=2")["offers"]) == 2


def test_the_own_order_needs_consent_on_every_request(fair: Api) -> None:
    member = fair.enrol()
    fair.consent(member, "personalisation")
    assert offers(fair, member)["reason"] == "no_history"
    fair.buy(member, 8000)
    found = offers(fair, member)
    assert (found["personalised"], found["reason"]) == (True, "consent")
    assert found["offers"][0]["id"] == "dairy"
    assert found["offers"][0]["because"] == "Because you like Dairy"
    fair.consent(member, "personalisation", granted=False)
    again = offers(fair, member)
    assert ids(again)[0] == "a-toys"
    assert not any(each["because"] for each in again["offers"])


def test_what_was_noticed_counts_and_a_browsers_signal_refuses(fair: Api) -> None:
    member = fair.enrol()
    fair.consent(member, "personalisation")
    post(fair, event(member, kind="cart", sku="milk"))
    assert ids(offers(fair, member))[0] == "dairy"
    path = f"/v1/members/{member}/offers"
    refused = fair.get(path, headers={"Sec-GPC": "1"}, expect=200).get_json()
    assert (refused["personalised"], refused["reason"]) == (False, "browser_signal")


def test_sensitive_products_are_in_no_offer_and_no_taste(fair: Api) -> None:
    member = fair.enrol()
    fair.consent(member, "personalisation")
    lines = [{"sku": "pills", "quantity": 1, "amount": 9000}]
    fair.buy(member, lines=lines)
    found = offers(fair, member)
    assert found["reason"] == "no_history"
    assert "pills" not in str(found["offers"])


def test_what_is_sold_out_there_is_no_offer_there(fair: Api) -> None:
    mug = {"id": "mug", "name": "Mug", "type": "product", "price": 1, "value": {"sku": "mug"}}
    put(fair, mug)
    member = fair.enrol()
    fair.buy(member)
    assert "mug" in ids(offers(fair, member))
    line = {"sku": "mug", "channel": "store", "available": False}
    headers = {"Content-Type": "application/x-ndjson"}
    fair.call("PUT", "/v1/stock", data=json.dumps(line), headers=headers, expect=200)
    assert "mug" not in ids(offers(fair, member))
    assert "mug" in ids(offers(fair, member, "?channel=web&limit=50"))


def test_a_member_reads_its_own_and_nobody_elses(fair: Api, parts: Parts) -> None:
    member, other = fair.enrol(), fair.enrol()
    token = fair.post(f"/v1/members/{member}/token", {}, expect=201).get_json()["token"]
    browser = fair.speaking_with(token)
    before = dump(parts.database)
    browser.get(f"/v1/members/{member}/offers", expect=200)
    browser.get(f"/v1/members/{other}/offers", expect=403)
    assert dump(parts.database) == before
    fair.get(f"/v1/members/m_{'0' * 32}/offers", expect=404)


def test_without_a_programme_there_is_nothing_to_offer(api: Api) -> None:
    member = api.enrol()
    answer = api.get(f"/v1/members/{member}/offers", expect=409).get_json()
    assert answer["code"] == "no_program"
