"""The access log over HTTP."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from loyalty.access.store import KeyStore
from loyalty.accesslog import service
from loyalty.accesslog.schemas import LookPageSchema, LooksSchema
from loyalty.accesslog.store import AccessLog
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import Answer, Blueprint, provided
from loyalty.members.model import MemberNotFoundError
from loyalty.members.store import MemberStore

if TYPE_CHECKING:
    from loyalty.accesslog.model import Look

blp = Blueprint("access log", __name__, description="Who looked at a member's data, and what for.")

_EXAMPLE = {
    "day": "2026-03-01",
    "key_id": "k3y1d0000000",
    "key_name": "Till 7, Main Street",
    "purpose": "loyalty_programme",
    "route": "/v1/members/<member:member_id>/points",
    "times": 3,
    "first_at": "2026-03-01T09:30:00Z",
    "last_at": "2026-03-01T17:02:11Z",
}


def _body(look: Look) -> dict[str, Any]:
    return {
        "day": look.place.day,
        "key_id": look.place.key_id,
        "key_name": look.key_name,
        "purpose": look.place.purpose,
        "route": look.place.route,
        "times": look.tally.times,
        "first_at": look.tally.first_at,
        "last_at": look.tally.last_at,
    }


def _cursor(look: Look) -> str:
    return base64.urlsafe_b64encode(look.id.encode()).decode().rstrip("=")


def _position(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnknownCursorError from error


@blp.route("/members/<member:member_id>/access-log", methods=["GET"])
@blp.requires("privacy:read", member_token=True, purpose="rights")
@blp.arguments(LookPageSchema, location="query")
@blp.response(200, LooksSchema, example={"looks": [_EXAMPLE], "next_cursor": None})
@blp.raises(MemberNotFoundError, UnknownCursorError)
def looks(query: dict[str, Any], member_id: str) -> Answer:
    """List who was shown a member's data, for which purpose and how often, newest day first.

    One line for each key, purpose, route and day. What a member looks at with their own token is
    not in it. A line appears within a second or so; after a worker was killed, what it had seen in
    its last second can be missing.
    """
    limit = query["limit"]
    found = service.looks(
        member_id,
        before=_position(query.get("cursor")),
        limit=limit,
        accesslog=provided(AccessLog),
        keys=provided(KeyStore),
        members=provided(MemberStore),
    )
    more = _cursor(found[-1]) if len(found) == limit else None
    return {"looks": [_body(each) for each in found], "next_cursor": more}
