"""Goods that come back while others go out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.builders import unique

if TYPE_CHECKING:
    from tests.builders import Api


def exchange(receipt: str, amount: int, **more: Any) -> dict[str, Any]:
    return {
        "external_id": unique("exchange"),
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": receipt},
        "currency": "EUR",
        "lines": [{"sku": "oats", "quantity": 1, "amount": amount}],
        **more,
    }


def test_what_comes_back_falls_and_what_goes_out_earns(shop: Api) -> None:
    member = shop.enrol()
    shop.buy(member, 10_000, external_id="R1")
    done = shop.post("/v1/exchanges", exchange("R1", 3000), expect=201).get_json()
    assert (done["returned"]["points"], done["bought"]["points"]) == (-100, 30)
    assert done["bought"]["balance"] == shop.balance(member) == 30


def test_an_even_exchange_costs_nothing(shop: Api) -> None:
    member = shop.enrol()
    shop.buy(member, 10_000, external_id="R1")
    shop.post("/v1/exchanges", exchange("R1", 10_000), expect=201)
    assert shop.balance(member) == 100


def test_the_same_exchange_again_is_a_replay(shop: Api) -> None:
    member = shop.enrol()
    shop.buy(member, 10_000, external_id="R1")
    body = exchange("R1", 3000)
    first = shop.post("/v1/exchanges", body, expect=201)
    again = shop.post("/v1/exchanges", body, expect=201)
    assert again.get_json() == first.get_json()
    assert again.headers["Idempotent-Replay"] == "true"
    assert shop.balance(member) == 30
    shop.post("/v1/exchanges", {**body, "currency": "USD"}, expect=422)


def test_nothing_goes_out_if_nothing_can_come_back(shop: Api) -> None:
    member = shop.enrol()
    shop.buy(member, 10_000, external_id="R1")
    body = exchange("R1", 3000, returned=[{"sku": "milk", "quantity": 2}])
    refused = shop.post("/v1/exchanges", body, expect=409).get_json()
    assert refused["code"] == "return_exceeds_purchase"
    assert shop.balance(member) == 100
    missing = shop.post("/v1/exchanges", exchange("R0", 3000), expect=404).get_json()
    assert missing["code"] == "purchase_not_found"


def test_an_exchange_that_arrives_late_is_folded_where_it_belongs(shop: Api) -> None:
    member = shop.enrol()
    shop.buy(member, 10_000, external_id="R1", occurred_at="2026-01-01T10:00:00Z")
    shop.buy(member, 500, occurred_at="2026-01-03T10:00:00Z")
    body = exchange("R1", 3000, occurred_at="2026-01-02T10:00:00Z")
    shop.post("/v1/exchanges", body, expect=201)
    assert shop.balance(member) == 35
