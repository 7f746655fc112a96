"""Goods that come back take their points with them: exactly, once, at the purchase's own rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import dump, program_document, unique

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api


@pytest.fixture
def member(shop: Api) -> str:
    return shop.enrol(("card", "1"))


def back(shop: Api, purchase: str, *, expect: int = 201, **overrides: Any) -> Any:
    """Return a purchase and give the answer's body."""
    body = {
        "external_id": unique("return"),
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": purchase},
        **overrides,
    }
    return shop.post("/v1/returns", body, expect=expect).get_json()


def units(quantity: int, sku: str = "milk") -> list[dict[str, Any]]:
    return [{"sku": sku, "quantity": quantity}]


def test_a_whole_purchase_comes_back_with_all_its_points(shop: Api, member: str) -> None:
    shop.buy(member, 2190, external_id="R1")
    answer = back(shop, "R1")
    assert (answer["points"], answer["balance"]) == (-21, 0)


def test_a_part_comes_back_with_its_part(shop: Api, member: str) -> None:
    lines = [
        {"sku": "milk", "quantity": 4, "amount": 400},
        {"sku": "wine", "quantity": 1, "amount": 1600},
    ]
    shop.buy(member, external_id="R1", lines=lines)
    assert back(shop, "R1", lines=units(1))["points"] == -1
    assert back(shop, "R1", lines=units(1, "wine"))["points"] == -16
    assert back(shop, "R1")["points"] == -3
    assert shop.balance(member) == 0


def test_unit_by_unit_takes_back_what_one_return_would(shop: Api, member: str) -> None:
    lines = [{"sku": "milk", "quantity": 7, "amount": 1000}]
    shop.buy(member, external_id="R1", lines=lines)
    taken = [back(shop, "R1", lines=units(1))["points"] for _ in range(7)]
    assert sum(taken) == -10
    assert set(taken) <= {-1, -2}


def test_more_than_was_bought_is_refused(shop: Api, parts: Parts, member: str) -> None:
    lines = [{"sku": "milk", "quantity": 2, "amount": 1000}]
    shop.buy(member, external_id="R1", lines=lines)
    back(shop, "R1", lines=units(1))
    before = dump(parts.database)
    answer = back(shop, "R1", lines=units(2), expect=409)
    assert answer["code"] == "return_exceeds_purchase"
    assert answer["errors"][0]["field"] == "lines.0.quantity"
    back(shop, "R1", lines=units(1, "wine"), expect=409)
    back(shop, "R1", lines=[*units(1), *units(1)], expect=409)
    assert dump(parts.database) == before


def test_the_whole_twice_is_refused(shop: Api, member: str) -> None:
    shop.buy(member, external_id="R1")
    back(shop, "R1")
    assert back(shop, "R1", expect=409)["code"] == "return_exceeds_purchase"


def test_a_purchase_that_is_not_there_cannot_come_back(shop: Api, member: str) -> None:
    shop.buy(member, external_id="R1")
    assert back(shop, "R2", expect=404)["code"] == "purchase_not_found"
    back(shop, "R1", store="S2", expect=404)


def test_it_may_come_back_on_another_channel(shop: Api, member: str) -> None:
    shop.buy(member, 1000, external_id="W1", channel="web", store="S9")
    purchase = {"external_id": "W1", "channel": "web", "store": "S9"}
    body = {"external_id": "S1", "channel": "store", "purchase": purchase}
    assert shop.post("/v1/returns", body, expect=201).get_json()["points"] == -10


def test_it_goes_at_the_rate_of_the_purchase_not_of_today(shop: Api, member: str) -> None:
    shop.buy(member, 1000, external_id="R1")
    ten = {"id": "base", "type": "spend", "points": 10, "per_amount": 100}
    shop.post("/v1/program/versions", {"program": program_document(ten)}, expect=201)
    assert back(shop, "R1")["points"] == -10


def test_a_debt_stays_where_the_programme_lets_it(shop: Api, member: str) -> None:
    shop.buy(member, 1000, external_id="R1")
    spends = {"external_id": "1", "points": -8, "reason": "spent", "actor": "desk"}
    shop.post(f"/v1/members/{member}/adjustments", spends, expect=201)
    assert back(shop, "R1")["balance"] == -8
    assert shop.buy(member, 1000)["balance"] == 2


def test_within_balance_takes_no_more_than_there_is(api: Api) -> None:
    policy = {"returns": {"balance": "within_balance"}}
    api.post("/v1/program/versions", {"program": program_document(**policy)}, expect=201)
    member = api.enrol(("card", "1"))
    lines = [{"sku": "milk", "quantity": 2, "amount": 1000}]
    api.buy(member, external_id="R1", lines=lines)
    spends = {"external_id": "1", "points": -8, "reason": "spent", "actor": "desk"}
    api.post(f"/v1/members/{member}/adjustments", spends, expect=201)
    assert back(api, "R1", lines=units(1))["points"] == -2
    assert back(api, "R1", lines=units(1))["points"] == 0
    assert api.balance(member) == 0


def test_a_return_explains_itself(shop: Api, member: str) -> None:
    shop.buy(member, 2190, external_id="R1")
    entry = shop.get(f"/v1/entries/{back(shop, 'R1')['entry_id']}", expect=200).get_json()
    assert entry["kind"] == "return"
    assert entry["postings"][0]["text"].startswith("The purchase earned 21;")
    assert entry["postings"][0]["inputs"]["awarded"] == 21


def test_a_return_on_a_channel_the_programme_lacks_is_refused(shop: Api) -> None:
    member = shop.enrol()
    shop.buy(member, 1000, external_id="R1")
    body = {"external_id": "1", "channel": "moon", "purchase": {"external_id": "R1"}}
    problem = shop.post("/v1/returns", body, expect=409).get_json()
    assert (problem["code"], problem["errors"][0]["field"]) == ("unknown_channel", "channel")
    assert shop.balance(member) == 10
