"""An erased member is gone: unique words in every field a caller can write, and none is left.

Through the API alone: the member lives, exercises rights, is erased; then everything that the
service keeps is searched as bytes: every document of both databases, the directory with the models
and keys, the log, the metrics and what the service still answers.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import bson
import pytest

from loyalty.accesslog.watch import Watch
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from loyalty.privacy.erasing import work
from recommend.training.service import train_and_promote
from tests.api.test_erasing_points import club as club  # noqa: PLC0414  # a fixture
from tests.api.test_erasing_points import lived
from tests.builders import purchase_body, unique
from tests.desks import Clock, eraser_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bson.timestamp import Timestamp

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

WHO = {
    "card": "CANARYCARD1234",
    "email": "canary.mail@example.com",
    "phone": "+4915123456789",
    "app": "canary-app-0001",
    "social:insta": "canaryhandle",
    "marketplace:bay": "canary-market-1",
}
TRACE = re.compile(rb"canary|15123456789", re.IGNORECASE)
# What is sealed before it reaches the database: readable nowhere at any time.
SEALED = re.compile(
    rb"canary(card|\.mail|-app|handle|-market| (reason|actor|again|evidence|rectif))"
    rb"|15123456789",
    re.IGNORECASE,
)
NDJSON = {"Content-Type": "application/x-ndjson"}


def enrolled(club: Api) -> str:
    """The member, under every kind of identifier and with an idempotency key of its own."""
    identifiers = [{"type": kind, "value": value} for kind, value in WHO.items()]
    key = {"Idempotency-Key": "canary-enrolment"}
    body = {"identifiers": identifiers}
    member: str = club.post("/v1/members", body, headers=key, expect=201).get_json()["id"]
    profile = {"birthday": "--02-29", "segments": ["canary-segment"]}
    club.put(f"/v1/members/{member}/profile", profile, expect=200)
    return member


def decided(club: Api, member: str) -> None:
    """Consents of every origin, with evidence; an age; a link that confirms."""
    path = f"/v1/members/{member}"
    decisions = [
        {"purpose": "personalisation", "granted": True},
        {"purpose": "marketing", "channel": "email", "granted": True},
        {"purpose": "social_engagement", "granted": True},
    ]
    evidence = {"evidence": {"form": "canary evidence"}, "method": "form"}
    key = {"Idempotency-Key": "canary-consent"}
    body = {"decisions": decisions, **evidence}
    club.put(f"{path}/consents", body, headers=key, expect=200)
    age = {"country": "FR", "born_on": "1990-05-31", "method": "form"}
    club.put(f"{path}/age", age, expect=200)
    line = {
        "identifier": {"type": "email", "value": WHO["email"]},
        "decisions": [{"purpose": "marketing", "channel": "sms", "granted": True}],
        "decided_at": "2025-05-01T10:00:00Z",
        "source": "canary tool",
        "notice_reference": "canary notice",
    }
    club.call(
        "POST", "/v1/consents/import", data=json.dumps(line) + "\n", headers=NDJSON, expect=200
    )


def exercised(club: Api, member: str) -> None:
    """Rights with words of the member's own, codes, links, looks, and what a till uploads late."""
    path = f"/v1/members/{member}"
    club.post(f"{path}/rectification", {"text": "canary rectification"}, expect=202)
    club.post(f"{path}/identity-code", {"language": "en"}, expect=202)
    club.post(f"{path}/links", {"use": "preferences"}, expect=201)
    club.post(f"{path}/links", {"use": "unsubscribe", "channel": "email"}, expect=201)
    club.post(f"{path}/token", {"authenticated_at": now().isoformat()}, expect=201)
    late = purchase_body("", external_id="canary-late", channel="store", store="S1")
    del late["member"]
    late["identifier"] = {"type": "card", "value": WHO["card"]}
    line = {"type": "purchase", "sequence": 1, "at": now().isoformat(), "body": late}
    club.call("POST", "/v1/batches", data=json.dumps(line) + "\n", headers=NDJSON, expect=200)
    share = {"external_id": "canary-share", "channel": "social", "type": "share", "member": member}
    club.post("/v1/engagements", share, expect=201)
    act = {"kind": "click", "sku": "canary-sku", "channel": "web", "placement": "canary-place"}
    shown = {"id": "canary-feedback", "member": member, **act}
    club.post("/v1/feedback", {"events": [shown]}, expect=200)
    for read in ("", "/points", "/journal", "/consents/records", "/recommendations", "/requests"):
        club.get(f"{path}{read}", expect=200)
    club.post("/v1/members/lookup", {"identifier": line_of("email")}, expect=200)
    club.client.application.extensions["carnet"][Watch].flush()


def line_of(kind: str) -> dict[str, str]:
    return {"type": kind, "value": WHO[kind]}


def documents(parts: Parts) -> Iterator[tuple[str, bytes]]:
    """Every document of both databases as bytes, with where it is."""
    for database in (parts.database, parts.vault.database):
        for name in database.list_collection_names():
            for each in database[name].find():
                yield f"{database.name.rpartition('_')[2]}:{name}", bson.encode(each)


def files(settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Every file of the data directory: models, secrets, keys."""
    for each in settings.data_dir.rglob("*"):
        if each.is_file():
            yield each.name, each.read_bytes()


def oplog(parts: Parts, since: Timestamp) -> Iterator[tuple[str, bytes]]:
    """What the database wrote down for itself since then; only newer writes push it out."""
    local = parts.database.client["local"]["oplog.rs"]
    for each in local.find({"ts": {"$gte": since}}):
        yield "oplog", bson.encode(each)


def traces(found: Iterator[tuple[str, bytes]], member: str) -> set[str]:
    """Where a planted word, or the member's id, stands."""
    return {place for place, raw in found if TRACE.search(raw) or member.encode() in raw}


@pytest.fixture
def crowd(club: Api) -> list[str]:
    """Enough others who agree for a model, who also buy what only the member names."""
    members = [club.enrol(("card", unique("crowd"))) for _ in range(12)]
    for each in members:
        club.consent(each, "personalisation")
        club.buy(each, 1000)
        club.buy(each, 1000)
    return members


def test_of_an_erased_member_nothing_is_left_anywhere(
    club: Api,
    crowd: list[str],
    parts: Parts,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
) -> None:
    configure_logs()
    began = parts.database.client.admin.command("hello")["operationTime"]
    assert crowd
    member, other, third = enrolled(club), club.enrol(), club.enrol()
    decided(club, member)
    lived(club, member, other, third)
    exercised(club, member)
    small = parts.trainer._replace(factors=4)
    train_and_promote(small, at=now(), progress=lambda *_: None)
    told = exported(club, member)
    planted = set(re.findall(r"canary[ _.\w-]*", told, re.IGNORECASE))
    assert len(planted) > 20
    assert {"journal", "messages", "access_log"} <= {
        place.partition(":")[2] for place in traces(documents(parts), member)
    }

    asked = club.post(f"/v1/members/{member}/erase", None, expect=202).get_json()
    clock = Clock(now())
    work(eraser_of(parts.eraser_desk, clock))

    # What stays of the id: the tombstone, and the end of the journal that goes in a day.
    stays = {"vault:erasures", f"{parts.database.name}:journal"}
    found = list(documents(parts))
    assert traces(iter(found), member) <= stays
    assert not [place for place, raw in found if TRACE.search(raw)]
    assert traces(files(settings), member) == set()
    readable = {hit[0] for _, raw in oplog(parts, began) if (hit := SEALED.search(raw))}
    assert readable == set()
    assert_is_certified(club, asked["id"], member)
    answered = "".join(everything_that_is_answered(club, member, other))
    assert not TRACE.search(answered.encode())
    captured = capfd.readouterr()
    assert not TRACE.search((captured.err + captured.out).encode())
    assert member not in captured.err + captured.out


def exported(club: Api, member: str) -> str:
    """All that is held, as the member would get it."""
    for form in ("html", "json"):
        text = club.post(f"/v1/members/{member}/export", {"form": form}, expect=200).get_data(
            as_text=True
        )
    return text


def assert_is_certified(club: Api, request_id: str, member: str) -> None:
    """The request is answered, and the certificate tells what went without telling whose."""
    done = club.get(f"/v1/privacy/requests/{request_id}", expect=200).get_json()
    assert done["status"] == "done"
    shown = club.get(f"/v1/privacy/erasures/{done['erasure_id']}", expect=200).get_json()
    certificate = shown["certificate"]
    assert certificate["erased"]["journal"] > 10
    assert certificate["erased"]["identifiers"] == len(WHO)
    assert not TRACE.search(json.dumps(certificate).encode())
    assert member not in json.dumps(certificate)


def everything_that_is_answered(club: Api, member: str, other: str) -> Iterator[str]:
    """What the service says afterwards, of the member and of one who knew the member."""
    for read in (
        "",
        "/points",
        "/journal",
        "/consents",
        "/recommendations",
        "/offers",
        "/access-log",
    ):
        yield club.get(f"/v1/members/{member}{read}", expect=404).get_data(as_text=True)
    club.post("/v1/members/lookup", {"identifier": line_of("email")}, expect=404)
    for path in (
        f"/v1/members/{other}/journal?limit=100",
        f"/v1/members/{other}/points",
        "/v1/picks?channel=email",
        "/v1/messages",
        "/v1/jobs",
        "/v1/expiries?within_days=365",
        "/v1/privacy/register",
        "/metrics",
    ):
        yield club.get(path, expect=200).get_data(as_text=True)
    yield exported(club, other)


def test_an_export_holds_every_document_that_names_the_member(club: Api, parts: Parts) -> None:
    member = enrolled(club)
    decided(club, member)
    lived(club, member, club.enrol(), club.enrol())
    exercised(club, member)
    named = {
        (name, each.get("ref") or str(each["_id"]))
        for name in parts.database.list_collection_names()
        for each in parts.database[name].find()
        if member in (each.get("member"), each.get("_id"))
    }
    body: dict[str, Any] = json.loads(exported(club, member))
    told = {(each["collection"], each["id"]) for each in body["data"]}
    assert body["count"] == len(body["data"])
    assert {name for name, _ in named} >= {"journal", "consents", "messages", "access_log"}
    assert named - told == set()
