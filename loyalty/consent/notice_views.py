"""Purposes and notices over HTTP, and what the site says of Global Privacy Control."""

from __future__ import annotations

from typing import Any

from flask import g

from loyalty.consent import gpc
from loyalty.consent.asking import require_known
from loyalty.consent.model import UnknownPurposeError
from loyalty.consent.notices import Notice, NoticeExistsError, NoticeNotFoundError
from loyalty.consent.purposes import (
    PurposeChannelsError,
    WeakerBasisError,
    body_of,
    built_in,
    check_basis,
    check_channels,
    purpose_of,
)
from loyalty.consent.schemas import (
    GpcSchema,
    NoticeSchema,
    NoticesSchema,
    NoticeWriteSchema,
    PageSchema,
    PurposesSchema,
    PurposesWriteSchema,
)
from loyalty.consent.store import ConsentStore
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import Answer, Blueprint, provided, replayed

blp = Blueprint("notices", __name__, description="What data is used for, and the words for it.")
signal_blp = Blueprint(
    "signals", __name__, description="What the service says of itself.", url_prefix=""
)

_PURPOSE = body_of(built_in()["personalisation"])
_NOTICE_HEAD = {
    "version": "privacy-2026-01",
    "number": 1,
    "sha256": {"en": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
    "purposes": [],
    "published_at": "2026-03-01T09:30:00Z",
    "published_by": "k3y1d0000000",
}
_NOTICE = {**_NOTICE_HEAD, "texts": {"en": "We look at what you bought to …"}}


@blp.route("/purposes", methods=["GET"])
@blp.requires("notices:read", "consents:read")
@blp.response(200, PurposesSchema, example={"purposes": [_PURPOSE]})
@blp.raises()
def list_purposes() -> Answer:
    """List what data is used for: the built-in purposes, and the shop's own and changed ones."""
    return {"purposes": [body_of(each) for each in provided(ConsentStore).purposes.all().values()]}


@blp.route("/purposes", methods=["PUT"])
@blp.requires("notices:write")
@blp.arguments(PurposesWriteSchema, example={"purposes": [_PURPOSE]})
@blp.response(200, PurposesSchema, example={"purposes": [_PURPOSE]})
@blp.raises(PurposeChannelsError, WeakerBasisError)
def put_purposes(body: dict[str, Any]) -> Answer:
    """Insert or replace purposes, each as a whole; every worker knows within a second.

    A built-in purpose keeps its lawful basis, or is made to ask for consent; and it goes on being
    agreed to channel by channel, or everywhere at once.
    """
    purposes = [purpose_of(each) for each in body["purposes"]]
    for position, each in enumerate(purposes):
        check_basis(each, f"purposes.{position}.basis")
        check_channels(each, f"purposes.{position}")
    shelf = provided(ConsentStore).purposes
    shelf.put(purposes)
    return {"purposes": [body_of(each) for each in shelf.all().values()]}


@blp.route("/notices", methods=["GET"])
@blp.requires("notices:read")
@blp.arguments(PageSchema, location="query")
@blp.response(200, NoticesSchema, example={"notices": [_NOTICE_HEAD], "next_cursor": None})
@blp.raises(UnknownCursorError)
def list_notices(query: dict[str, Any]) -> Answer:
    """List the versions of the notice, newest first, without their words."""
    limit = query["limit"]
    before = cursor.read(query.get("cursor"))
    found = provided(ConsentStore).notices.page(before=before, limit=limit)
    more = cursor.write(found[-1].number) if len(found) == limit else None
    heads = [
        {name: value for name, value in _body(each).items() if name != "texts"} for each in found
    ]
    return {"notices": heads, "next_cursor": more}


@blp.route("/notices", methods=["POST"])
@blp.requires("notices:write")
@blp.arguments(NoticeWriteSchema, example={"texts": {"en": "We look at what you bought to …"}})
@blp.response(201, NoticeSchema, example=_NOTICE)
@blp.raises(NoticeExistsError, UnknownPurposeError)
def post_notice(body: dict[str, Any]) -> Answer:
    """Publish the next version of the notice, in every language at once. It is never changed.

    The same version with the same words again changes nothing; with other words it is refused.
    """
    consents = provided(ConsentStore)
    require_known(body["purposes"], consents.purposes.all())
    notice, is_replay = consents.notices.publish(
        body.get("version"), body["texts"], body["purposes"], at=now(), by=g.caller.id
    )
    return replayed(_body(notice), 201, is_replay=is_replay)


@blp.route("/notices/<version>", methods=["GET"])
@blp.requires("notices:read")
@blp.response(200, NoticeSchema, example=_NOTICE)
@blp.raises(NoticeNotFoundError)
def show_notice(version: str) -> Answer:
    """Read a version of the notice, word for word, with the SHA-256 of each text."""
    return _body(provided(ConsentStore).notices.get(version))


def _body(notice: Notice) -> dict[str, Any]:
    return {**notice._asdict(), "purposes": list(notice.purposes)}


@signal_blp.route("/.well-known/gpc.json", methods=["GET"])
@signal_blp.public()
@signal_blp.response(200, GpcSchema, example={"gpc": True, "lastUpdate": gpc.LAST_UPDATE})
@signal_blp.raises()
def show_gpc() -> Answer:
    """Say that Global Privacy Control is honoured, as its specification asks."""
    return {"gpc": True, "lastUpdate": gpc.LAST_UPDATE}
