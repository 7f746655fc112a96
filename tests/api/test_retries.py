"""A request that comes twice has one effect and one answer, wherever it goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import dump, mint_key, program_document, purchase_body, unique

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api


def engagement_body(member: str, **overrides: Any) -> dict[str, Any]:
    return {
        "external_id": unique("engagement"),
        "channel": "web",
        "member": member,
        "type": "review",
        **overrides,
    }


def prepared(shop: Api, kind: str) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]:
    """A path, a body, the same with a difference, and headers, for one kind of request."""
    member = shop.enrol(("card", "1"))
    if kind == "purchase":
        body = purchase_body(member, 2190)
        return "/v1/purchases", body, {**body, "shipping_amount": 1}, {}
    if kind == "engagement":
        body = engagement_body(member)
        return "/v1/engagements", body, {**body, "type": "survey"}, {}
    if kind == "return":
        shop.buy(member, 1000, external_id="bought")
        body = {"external_id": "back", "channel": "store", "store": "S1"}
        body |= {"purchase": {"external_id": "bought"}}
        return "/v1/returns", body, {**body, "lines": [{"sku": "milk", "quantity": 1}]}, {}
    if kind == "adjustment":
        body = {"external_id": "case", "points": 5, "reason": "late", "actor": "desk"}
        return f"/v1/members/{member}/adjustments", body, {**body, "points": 6}, {}
    headers = {"Idempotency-Key": unique("key")}
    if kind == "enrolment":
        body = {"identifiers": [{"type": "card", "value": "2"}]}
        return "/v1/members", body, {"identifiers": []}, headers
    body = {"program": program_document()}
    return "/v1/program/versions", body, {"program": program_document(name="Other")}, headers


KINDS = ("purchase", "engagement", "return", "adjustment", "enrolment", "version")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_request_again_gets_the_same_answer(shop: Api, parts: Parts, kind: str) -> None:
    path, body, _, headers = prepared(shop, kind)
    first = shop.post(path, body, headers=headers, expect=201)
    before = dump(parts.database)
    again = shop.post(path, body, headers=headers, expect=201)
    assert again.data == first.data
    assert again.headers["Idempotent-Replay"] == "true"
    assert "Idempotent-Replay" not in first.headers
    assert dump(parts.database) == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_key_with_another_body_is_refused(shop: Api, parts: Parts, kind: str) -> None:
    path, body, other, headers = prepared(shop, kind)
    shop.post(path, body, headers=headers, expect=201)
    before = dump(parts.database)
    answer = shop.post(path, other, headers=headers, expect=422)
    assert answer.get_json()["code"] == "key_reused"
    assert dump(parts.database) == before


def test_one_receipt_is_never_awarded_to_a_second_member(shop: Api, parts: Parts) -> None:
    first, second = shop.enrol(("card", "1")), shop.enrol(("card", "2"))
    body = purchase_body(first, 2000)
    shop.post("/v1/purchases", body, expect=201)
    before = dump(parts.database)
    claimed = {name: value for name, value in body.items() if name != "member"}
    for claim in (
        {"member": second},
        {"identifier": {"type": "card", "value": "2"}},
        {"identifier": {"type": "card", "value": "of nobody yet"}},
    ):
        answer = shop.post("/v1/purchases", {**claimed, **claim}, expect=422)
        assert answer.get_json()["code"] == "key_reused"
    assert shop.balance(first) == 20
    assert shop.balance(second) == 0
    assert dump(parts.database) == before


def test_one_receipt_is_one_whether_the_member_comes_by_id_or_by_card(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    body = purchase_body(member, 2000)
    shop.post("/v1/purchases", body, expect=201)
    del body["member"]
    body["identifier"] = {"type": "card", "value": " 1 "}
    answer = shop.post("/v1/purchases", body, expect=201)
    assert answer.headers["Idempotent-Replay"] == "true"
    assert shop.balance(member) == 20


def test_the_same_number_at_another_store_or_channel_is_another_receipt(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    for place in (
        {"channel": "store", "store": "S1"},
        {"channel": "store", "store": "S2"},
        {"channel": "web", "store": "S1"},
    ):
        shop.buy(member, 100, external_id="7", **place)
    assert shop.balance(member) == 3


def test_a_purchase_an_engagement_and_an_adjustment_may_share_a_number(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    shop.buy(member, 100, external_id="7", channel="web")
    shop.post("/v1/engagements", engagement_body(member, external_id="7"), expect=201)
    adjustment = {"external_id": "7", "points": 5, "reason": "late", "actor": "desk"}
    shop.post(f"/v1/members/{member}/adjustments", adjustment, expect=201)
    assert shop.balance(member) == 6


def test_an_award_keeps_its_answer_after_the_rules_have_changed(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    body = purchase_body(member, 1000)
    first = shop.post("/v1/purchases", body, expect=201)
    double = {"id": "base", "type": "spend", "points": 2, "per_amount": 100}
    shop.post("/v1/program/versions", {"program": program_document(double)}, expect=201)
    assert shop.post("/v1/purchases", body, expect=201).data == first.data
    assert shop.buy(member, 1000)["points"] == 20


def test_a_retry_gets_its_answer_though_the_programme_has_dropped_the_channel(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    body = purchase_body(member, channel="web")
    visit = engagement_body(member, type="visit")
    first = shop.post("/v1/purchases", body, expect=201)
    seen = shop.post("/v1/engagements", visit, expect=201)
    program = program_document(channels=["store"], currency="USD", unknown_identifier="refuse")
    shop.post("/v1/program/versions", {"program": program}, expect=201)
    assert shop.post("/v1/purchases", body, expect=201).data == first.data
    assert shop.post("/v1/engagements", visit, expect=201).data == seen.data
    shop.post("/v1/purchases", {**body, "external_id": unique()}, expect=409)


def test_an_idempotency_key_belongs_to_its_sender(shop: Api, parts: Parts) -> None:
    headers = {"Idempotency-Key": "1"}
    other = shop.speaking_with(mint_key(parts, "members:write"))
    mine = shop.post("/v1/members", {}, headers=headers, expect=201).get_json()
    theirs = other.post("/v1/members", {}, headers=headers, expect=201).get_json()
    assert mine["id"] != theirs["id"]


def test_a_replayed_adjustment_meets_no_empty_balance(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    shop.buy(member, 1000)
    path = f"/v1/members/{member}/adjustments"
    takes = {"external_id": "1", "points": -10, "reason": "fraud", "actor": "desk"}
    first = shop.post(path, takes, expect=201)
    assert shop.post(path, takes, expect=201).data == first.data
    answer = shop.post(path, {**takes, "external_id": "2"}, expect=409)
    assert answer.get_json()["code"] == "insufficient_points"
