"""What was not asked for is refused, its place is named, and nothing is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import dump, program_document, purchase_body

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

NDJSON = {"Content-Type": "application/x-ndjson"}
OPERATOR = {"$gt": ""}
DEEP: Any = "x"
for _ in range(200):
    DEEP = {"a": DEEP}

# What is changed in a good purchase, and the place that the answer has to name.
PURCHASES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({"extra": 1}, "extra"),
    "operator as a field": ({"$where": "1"}, "$where"),
    "number for text": ({"external_id": 5}, "external_id"),
    "list for text": ({"external_id": ["x"]}, "external_id"),
    "null for text": ({"external_id": None}, "external_id"),
    "empty text": ({"external_id": ""}, "external_id"),
    "long text": ({"external_id": "x" * 129}, "external_id"),
    "operator for text": ({"external_id": OPERATOR}, "external_id"),
    "deep nesting": ({"external_id": DEEP}, "external_id"),
    "NUL": ({"external_id": "a\0b"}, "external_id"),
    "newline": ({"external_id": "a\n"}, "external_id"),
    "C1 control": ({"external_id": "a\x85"}, "external_id"),
    "operator for a member": ({"member": OPERATOR}, "member"),
    "member with newline": ({"member": "m_" + "0" * 32 + "\n"}, "member"),
    "member in capitals": ({"member": "M_" + "0" * 32}, "member"),
    "member and identifier": ({"identifier": {"type": "card", "value": "1"}}, "member"),
    "channel with newline": ({"channel": "store\n"}, "channel"),
    "channel in capitals": ({"channel": "STORE"}, "channel"),
    "store with slash": ({"store": "a/b"}, "store"),
    "currency in lower case": ({"currency": "eur"}, "currency"),
    "currency of four": ({"currency": "EURO"}, "currency"),
    "no lines": ({"lines": []}, "lines"),
    "too many lines": (
        {"lines": [{"sku": "milk", "quantity": 1, "amount": 1}] * 501},
        "lines",
    ),
    "object for lines": ({"lines": {"0": {}}}, "lines"),
    "text for a line": ({"lines": ["milk"]}, "lines.0"),
    "null for a line": ({"lines": [None]}, "lines.0"),
    "object for shipping": ({"shipping_amount": OPERATOR}, "shipping_amount"),
    "infinite shipping": ({"shipping_amount": 10**400}, ""),
    "payment below zero": ({"payment": {"points_amount": -1}}, "payment.points_amount"),
    "list for payment": ({"payment": []}, "payment"),
    "time as number": ({"occurred_at": 1_700_000_000}, "occurred_at"),
    "time without offset": ({"occurred_at": "2026-03-01T09:30:00"}, "occurred_at"),
    "time of year 1": ({"occurred_at": "0001-01-01T00:00:00Z"}, "occurred_at"),
    "time of year 9999": ({"occurred_at": "9999-12-31T23:59:59Z"}, "occurred_at"),
    "day that is not": ({"occurred_at": "2026-02-30T00:00:00Z"}, "occurred_at"),
    "leap second": ({"occurred_at": "2016-12-31T23:59:60Z"}, "occurred_at"),
    "hour 24": ({"occurred_at": "2026-03-01T24:00:00Z"}, "occurred_at"),
    "offset of 25 hours": ({"occurred_at": "2026-03-01T09:30:00+25:00"}, "occurred_at"),
    "week date": ({"occurred_at": "2026-W09-1T09:30:00Z"}, "occurred_at"),
    "time with newline": ({"occurred_at": "2026-03-01T09:30:00Z\n"}, "occurred_at"),
    "Arabic digits": ({"occurred_at": "٢٠٢٦-03-01T09:30:00Z"}, "occurred_at"),
}
# What is put for a line's quantity or amount.
NUMBERS: dict[str, Any] = {
    "true": True,
    "false": False,
    "whole float": 1.0,
    "fraction": 1.5,
    "text": "5",
    "null": None,
    "list": [1],
    "operator": OPERATOR,
    "below": -1,
    "huge": 10**13,
    "beyond 64 bits": 2**64,
    "beyond doubles": 10**30,
}


def refused(api: Api, parts: Parts, method: str, path: str, field: str, **more: Any) -> None:
    """Assert that the request is refused, the field named and nothing written."""
    before = dump(parts.database)
    answer = api.call(method, path, **more)
    assert answer.status_code in {400, 404, 409, 413, 422}, answer.data
    if field:
        assert field in [each["field"] for each in answer.get_json()["errors"]], answer.data
    assert dump(parts.database) == before


@pytest.mark.parametrize("name", PURCHASES)
def test_a_purchase_with_a_mistake(shop: Api, parts: Parts, name: str) -> None:
    changes, field = PURCHASES[name]
    body = {**purchase_body(shop.enrol()), **changes}
    text = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    refused(shop, parts, "POST", "/v1/purchases", field, data=text, headers=headers)


def test_a_line_whose_number_is_none(shop: Api, parts: Parts) -> None:
    member = shop.enrol()
    for value in NUMBERS.values():
        for name in ("quantity", "amount", "tax"):
            line = {"sku": "milk", "quantity": 1, "amount": 1, name: value}
            text = json.dumps(purchase_body(member, lines=[line])).encode()
            headers = {"Content-Type": "application/json"}
            place = f"lines.0.{name}"
            refused(shop, parts, "POST", "/v1/purchases", place, data=text, headers=headers)


@pytest.mark.parametrize("missing", ["external_id", "channel", "currency", "lines", "member"])
def test_what_is_missing_is_named(shop: Api, parts: Parts, missing: str) -> None:
    body = purchase_body(shop.enrol())
    del body[missing]
    refused(shop, parts, "POST", "/v1/purchases", missing, json=body)


@pytest.mark.parametrize(
    "text",
    [
        b'{"points":NaN}',
        b'{"points":Infinity}',
        b'{"points":1e999}',
        b'{"reason":"\\ud800"}',
        b'{"reason":"\xed\xa0\x80"}',
        b'{"reason":"\x01"}',
        b'{"reason":"a',
        b"{'reason':1}",
        b'{"points":1,}',
        b'{"points":01}',
        b"[" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"\x00",
    ],
    ids=range(13),
)
def test_a_text_that_is_no_json(api: Api, parts: Parts, text: bytes) -> None:
    path = f"/v1/members/{api.enrol()}/adjustments"
    before = dump(parts.database)
    api.call("POST", path, data=text, headers={"Content-Type": "application/json"}, expect=400)
    assert dump(parts.database) == before


# Path, method, body and the place to name, one for each kind of field that other bodies have.
OTHERS: dict[str, tuple[str, str, Any, str]] = {
    "identifiers as object": ("POST", "/v1/members", {"identifiers": OPERATOR}, "identifiers"),
    "too many identifiers": (
        "POST",
        "/v1/members",
        {"identifiers": [{"type": "card", "value": str(number)} for number in range(51)]},
        "identifiers",
    ),
    "operator in an identifier": (
        "POST",
        "/v1/members",
        {"identifiers": [{"type": "card", "value": OPERATOR}]},
        "identifiers.0.value",
    ),
    "unknown type": (
        "POST",
        "/v1/members",
        {"identifiers": [{"type": "passport", "value": "1"}]},
        "identifiers.0.type",
    ),
    "not an e-mail": (
        "POST",
        "/v1/members",
        {"identifiers": [{"type": "email", "value": "ada"}]},
        "identifiers.0.value",
    ),
    "a national number": (
        "POST",
        "/v1/members",
        {"identifiers": [{"type": "phone", "value": "030 901820"}]},
        "identifiers.0.value",
    ),
    "a card of spaces": (
        "POST",
        "/v1/members",
        {"identifiers": [{"type": "card", "value": " - "}]},
        "identifiers.0.value",
    ),
    "lookup by operator": (
        "POST",
        "/v1/members/lookup",
        {"identifier": {"type": "card", "value": OPERATOR}},
        "identifier.value",
    ),
    "lookup by operator type": (
        "POST",
        "/v1/members/lookup",
        {"identifier": {"type": {"$ne": 1}, "value": "1"}},
        "identifier.type",
    ),
    "word for a flag": (
        "PUT",
        "/v1/members/{member}/consents",
        {"decisions": [{"purpose": "personalisation", "granted": "yes"}]},
        "decisions.0.granted",
    ),
    "number for a flag": (
        "PUT",
        "/v1/members/{member}/consents",
        {"decisions": [{"purpose": "personalisation", "granted": 1}]},
        "decisions.0.granted",
    ),
    "purpose of no name": (
        "PUT",
        "/v1/members/{member}/consents",
        {"decisions": [{"purpose": "Every thing", "granted": True}]},
        "decisions.0.purpose",
    ),
    "marketing without channel": (
        "PUT",
        "/v1/members/{member}/consents",
        {"decisions": [{"purpose": "marketing", "granted": True}]},
        "decisions.0.channel",
    ),
    "purpose with channel": (
        "PUT",
        "/v1/members/{member}/consents",
        {"decisions": [{"purpose": "analytics", "channel": "email", "granted": True}]},
        "decisions.0.channel",
    ),
    "no decisions": ("PUT", "/v1/members/{member}/consents", {"decisions": []}, "decisions"),
    "points as text": (
        "POST",
        "/v1/members/{member}/adjustments",
        {"external_id": "1", "points": "5", "reason": "x", "actor": "y"},
        "points",
    ),
    "no reason": (
        "POST",
        "/v1/members/{member}/adjustments",
        {"external_id": "1", "points": 5, "actor": "y"},
        "reason",
    ),
    "unknown engagement": (
        "POST",
        "/v1/engagements",
        {"external_id": "1", "channel": "web", "type": "stare", "identifier": {}},
        "type",
    ),
    "return of an operator": (
        "POST",
        "/v1/returns",
        {"external_id": "1", "channel": "web", "purchase": {"external_id": OPERATOR}},
        "purchase.external_id",
    ),
    "rule without type": (
        "POST",
        "/v1/program/versions",
        {"program": program_document({"id": "base"})},
        "program.rules.0.type",
    ),
    "rule of an unknown type": (
        "POST",
        "/v1/program/versions",
        {"program": program_document({"id": "base", "type": OPERATOR})},
        "program.rules.0.type",
    ),
    "factor as number": (
        "POST",
        "/v1/program/versions",
        {"program": program_document({"id": "base", "type": "multiplier", "factor": 1.5})},
        "program.rules.0.factor",
    ),
    "unknown channel in a rule": (
        "POST",
        "/v1/program/versions",
        {
            "program": program_document(
                {
                    "id": "a",
                    "type": "multiplier",
                    "factor": "2",
                    "only": {"channels": ["web", "fax"]},
                }
            )
        },
        "program.rules.0.only.channels.1",
    ),
    "two rules of one id": (
        "POST",
        "/v1/program/versions",
        {
            "program": program_document(
                {"id": "a", "type": "first_on_channel", "points": 1},
                {"id": "a", "type": "first_on_channel", "points": 2},
            )
        },
        "program.rules.1.id",
    ),
    "unknown time zone": (
        "POST",
        "/v1/program/versions",
        {"program": program_document(time_zone="Mars/Olympus")},
        "program.time_zone",
    ),
    "version in the past": (
        "POST",
        "/v1/program/versions",
        {"program": program_document(), "starts_at": "2020-01-01T00:00:00Z"},
        "starts_at",
    ),
    "token of a year": (
        "POST",
        "/v1/members/{member}/token",
        {"expires_in_seconds": 31_536_000},
        "expires_in_seconds",
    ),
    "text for a page": ("GET", "/v1/members/{member}/journal?limit=ten", None, "limit"),
    "page of 0": ("GET", "/v1/members/{member}/journal?limit=0", None, "limit"),
    "page of millions": ("GET", "/v1/members/{member}/journal?limit=1000000", None, "limit"),
    "page twice": ("GET", "/v1/members/{member}/journal?limit=1&limit=2", None, "limit"),
    "Arabic page": ("GET", "/v1/members/{member}/journal?limit=%D9%A1", None, "limit"),
    "invented cursor": ("GET", "/v1/members/{member}/journal?cursor=zzz", None, "cursor"),
    "operator in a query": ("GET", "/v1/picks?channel[$gt]=", None, "channel[$gt]"),
    "unknown query": ("GET", "/v1/picks?channel=email&verbose=1", None, "verbose"),
    "no audience": ("GET", "/v1/picks", None, "channel"),
    "unknown audience": ("GET", "/v1/picks?channel=pigeon", None, "channel"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_body_or_query_with_a_mistake(shop: Api, parts: Parts, name: str) -> None:
    method, path, body, field = OTHERS[name]
    more = {} if body is None else {"json": body}
    refused(shop, parts, method, path.replace("{member}", shop.enrol()), field, **more)


@pytest.mark.parametrize("key", ["", "two words", "x" * 129, "tab\there", "ümlaut"])
def test_an_idempotency_key_that_is_none(api: Api, parts: Parts, key: str) -> None:
    headers = {"Idempotency-Key": key}
    refused(api, parts, "POST", "/v1/members", "Idempotency-Key", json={}, headers=headers)


LINES: dict[str, tuple[str, bytes, str]] = {
    "no JSON": ("/v1/products", b'{"sku":"a","name":"A"}\nnonsense\n', "2"),
    "a blank line counts": ("/v1/products", b'{"sku":"a","name":"A"}\n\nnonsense\n', "3"),
    "a list": ("/v1/products", b"[]\n", "1"),
    "unknown field": ("/v1/products", b'{"sku":"a","name":"A","x":1}\n', "1.x"),
    "no sku": ("/v1/products", b'{"name":"A"}\n', "1.sku"),
    "operator": ("/v1/products", b'{"sku":{"$gt":""},"name":"A"}\n', "1.sku"),
    "word for a flag": ("/v1/products", b'{"sku":"a","name":"A","sensitive":"no"}', "1.sensitive"),
    "script for an image": (
        "/v1/products",
        b'{"sku":"a","name":"A","image_url":"javascript:alert(1)"}',
        "1.image_url",
    ),
    "price in text": (
        "/v1/products",
        b'{"sku":"a","name":"A","price":{"amount":"1","currency":"EUR"}}',
        "1.price.amount",
    ),
    "last of many": (
        "/v1/products",
        b"".join(b'{"sku":"%d","name":"A"}\n' % each for each in range(1200)) + b"{}\n",
        "1201.sku",
    ),
    "store with slash": ("/v1/stores", b'{"id":"a/b","name":"A"}', "1.id"),
    "store at no place": ("/v1/stores", b'{"id":"a","name":"A","latitude":91}', "1.latitude"),
    "store at true": ("/v1/stores", b'{"id":"a","name":"A","longitude":true}', "1.longitude"),
    "unknown time zone": (
        "/v1/stores",
        b'{"id":"a","name":"A"}\n{"id":"b","name":"B","time_zone":"Mars/Olympus"}\n',
        "2.time_zone",
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bulk_body_with_one_wrong_line_writes_none(api: Api, parts: Parts, name: str) -> None:
    path, body, field = LINES[name]
    refused(api, parts, "PUT", path, field, data=body, headers=NDJSON)


def test_many_mistakes_are_listed_up_to_twenty(shop: Api) -> None:
    lines = [{"sku": "milk", "quantity": 0, "amount": -1}] * 30
    body = purchase_body(shop.enrol(), lines=lines)
    errors = shop.post("/v1/purchases", body, expect=422).get_json()["errors"]
    assert len(errors) == 20
    assert {"lines.0.quantity", "lines.0.amount"} < {each["field"] for each in errors}
