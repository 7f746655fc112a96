"""Builders: a test says what matters to it, the rest is filled in here."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from loyalty.access import model as keys
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import EMPTY, Draft
from loyalty.journal.model import key_of
from loyalty.kit.clock import now
from loyalty.members.model import Member
from loyalty.members.service import fingerprint, new_member_id
from loyalty.program.book import Book
from loyalty.program.document import ProgramSchema, check, read
from loyalty.program.model import POINTS, Activity, Back, Line, Posting, Program, State
from loyalty.program.step import points_of, step
from loyalty.vault.permit import Permit
from loyalty.versions.service import publish
from tests.api.contract import conforms

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from pymongo.database import Database
    from werkzeug.test import TestResponse

    from app import Parts
    from loyalty.kit.mongo import Document

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


def purchase(*lines: Line, at: datetime = NOON, channel: str = "store", **more: Any) -> Activity:
    """A purchase of ten units of currency, or of the lines given."""
    return Activity("purchase", at, channel, lines=lines or (line(),), **more)


def engagement(kind: str, *, at: datetime = NOON, channel: str = "web", **more: Any) -> Activity:
    """An engagement."""
    return Activity("engagement", at, channel, engagement=kind, **more)


def adjustment(points: int, *, at: datetime = NOON, **more: Any) -> Activity:
    """Points by hand."""
    return Activity("adjustment", at, points=points, **more)


def giving_back(
    purchase_key: str,
    *lines_: tuple[str, int],
    amount: int | None = None,
    at: datetime = NOON,
    **more: Any,
) -> Activity:
    """A return of units of skus, of an amount, or of all that is left of a purchase."""
    back = Back(purchase_key, lines_ or None, amount)
    return Activity("return", at, "store", back=back, **more)


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
    """A caller with a key; each call can say which status it expects.

    Whatever is answered has to be what the OpenAPI document says.
    """

    def __init__(self, client: FlaskClient, key: str) -> None:
        self.client = client
        self.key = key

    def call(
        self, method: str, path: str, *, expect: int | None = None, **more: Any
    ) -> TestResponse:
        """Send a request with the key."""
        headers = {"Authorization": f"Bearer {self.key}", **more.pop("headers", {})}
        response = self.client.open(path, method=method, headers=headers, **more)
        if expect is not None:
            assert response.status_code == expect, response.get_data(as_text=True)
        conforms(self.client.application, method, path.partition("?")[0], response)
        return response

    def speaking_with(self, credential: str) -> Api:
        """The same service, called with another key or a member's token."""
        return Api(self.client.application.test_client(), credential)

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


def permit(member_id: str, purpose: str = "personalisation") -> Permit:
    """A permit that nobody asked the gate for: for a test of what a reader reads."""
    return Permit(member_id, purpose)


def outcomes(
    rules: Program, *activities: Activity, state: State = EMPTY
) -> list[tuple[State, tuple[Posting, ...]]]:
    """What a member has who did these things one after the other, and what each of them moved."""
    book, found = Book(), []
    for activity in activities:
        complete = book.complete(activity)
        state, postings = step(rules, state, complete)
        book.record(complete, postings)
        found.append((state, postings))
    return found


def after(rules: Program, *activities: Activity) -> State:
    """The state of a member who did these things, one after the other."""
    return outcomes(rules, *activities)[-1][0] if activities else State()


def awarded(rules: Program, activity: Activity, *earlier: Activity, unit: str = POINTS) -> int:
    """The points of an activity, after earlier ones."""
    return points_of(outcomes(rules, *earlier, activity)[-1][1], unit)


def mint_key(
    parts: Parts, *scopes: str, channel: str | None = None, store: str | None = None
) -> str:
    """The text of a new key that is kept already."""
    key, text = keys.mint("test", frozenset(scopes), at=now(), channel=channel, store=store)
    parts.keys.add(key)
    return text


def dump(database: Database[Document]) -> dict[str, list[Document]]:
    """All that a database holds: equal dumps mean that nothing was written."""
    return {
        name: list(database[name].find().sort("_id")) for name in database.list_collection_names()
    }


def draft(member_id: str, activity: Activity, rules: Program, *, external_id: str = "") -> Draft:
    """A fact that is ready to be appended."""
    external_id = external_id or unique("receipt")
    document = {**activity_to_document(activity), "external_id": external_id}
    return Draft(
        member_id=member_id,
        key=key_of(activity.kind, activity.channel, activity.store, external_id),
        fingerprint=fingerprint({"member": member_id, **document}),
        source="tests",
        received_at=NOON,
        activity=activity,
        document=document,
        program=rules,
    )


def enrolled(parts: Parts) -> str:
    """The id of a new member without identifiers."""
    member = Member(new_member_id(), "active", NOON)
    parts.members.add(member, [])
    return member.id


def published(parts: Parts, *rules: dict[str, Any], **frame: Any) -> Program:
    """A programme that is published: entries name its version, and folds find it."""
    document: Any = ProgramSchema().load(program_document(*rules, **frame))
    shelf = parts.stores.programs
    version = publish(
        document, starts_at=None, at=now(), by="tests", request_key=None, shelf=shelf
    ).version
    return shelf.version(version.number)
