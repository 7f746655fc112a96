"""Builders: a test says what matters to it, the rest is filled in here."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from loyalty.program.document import ProgramSchema, check, read
from loyalty.program.model import Activity, Line, Program

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

_numbers = itertools.count(1)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BASE_RULE = {"id": "base", "type": "spend", "points": 1, "per_amount": 100}


def unique(prefix: str = "x") -> str:
    """A text that no other call gives."""
    return f"{prefix}-{next(_numbers)}"


def program_document(*rules: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """A programme of one point a unit of currency, or of the rules given."""
    return {
        "name": "Test shop",
        "currency": "EUR",
        "channels": ["store", "web", "app", "social"],
        "rules": list(rules) or [BASE_RULE],
        **overrides,
    }


def program(*rules: dict[str, Any], version: int = 1, **overrides: Any) -> Program:
    """The same as a value for `step`."""
    document: Any = ProgramSchema().load(program_document(*rules, **overrides))
    check(document)
    return read(document, version=version)


def line(amount: int = 1000, *, sku: str = "milk", quantity: int = 1, **more: Any) -> Line:
    """A line of a receipt."""
    return Line(sku, quantity, amount, **more)


def purchase(
    *lines: Line, at: datetime = NOON, channel: str = "store", **more: Any
) -> Activity:
    """A purchase of ten units of currency, or of the lines given."""
    return Activity("purchase", at, channel, lines=lines or (line(),), **more)


def engagement(kind: str, *, at: datetime = NOON, channel: str = "web") -> Activity:
    """An engagement."""
    return Activity("engagement", at, channel, engagement=kind)


def purchase_body(member: str, amount: int = 1000, **overrides: Any) -> dict[str, Any]:
    """The body of `POST /purchases`."""
    return {
        "external_id": unique("receipt"),
        "channel": "store",
        "store": "S1",
        "member": member,
        "currency": "EUR",
        "lines": [{"sku": "milk", "quantity": 1, "amount": amount}],
        **overrides,
    }


class Api:
    """A caller with a key; each call can say which status it expects."""

    def __init__(self, client: FlaskClient, key: str) -> None:
        self.client = client
        self.key = key

    def call(self, method: str, path: str, *, expect: int | None = None, **more: Any) -> TestResponse:
        """Send a request with the key."""
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        response = self.client.open(path, method=method, headers=headers, **more)
        if expect is not None:
            assert response.status_code == expect, response.get_data(as_text=True)  # noqa: S101
        return response

    def get(self, path: str, *, expect: int | None = None, **more: Any) -> TestResponse:
        """GET."""
        return self.call("GET", path, expect=expect, **more)

    def post(self, path: str, body: Any, *, expect: int | None = None, **more: Any) -> TestResponse:
        """POST a JSON body."""
        return self.call("POST", path, json=body, expect=expect, **more)

    def put(self, path: str, body: Any, *, expect: int | None = None, **more: Any) -> TestResponse:
        """PUT a JSON body."""
        return self.call("PUT", path, json=body, expect=expect, **more)

    def enrol(self, *identifiers: tuple[str, str]) -> str:
        """A new member's id."""
        body = {"identifiers": [{"type": kind, "value": value} for kind, value in identifiers]}
        member_id: str = self.post("/v1/members", body, expect=201).get_json()["id"]
        return member_id

    def buy(self, member: str, amount: int = 1000, **overrides: Any) -> dict[str, Any]:
        """A purchase's answer."""
        body = purchase_body(member, amount, **overrides)
        answer: dict[str, Any] = self.post("/v1/purchases", body, expect=201).get_json()
        return answer

    def balance(self, member: str) -> int:
        """A member's balance."""
        points: int = self.get(f"/v1/members/{member}/points", expect=200).get_json()["balance"]
        return points

    def consent(
        self, member: str, purpose: str, *, granted: bool = True, channel: str | None = None
    ) -> None:
        """Record a decision."""
        decision: dict[str, Any] = {"purpose": purpose, "granted": granted}
        if channel:
            decision["channel"] = channel
        self.put(f"/v1/members/{member}/consents", {"decisions": [decision]}, expect=200)
