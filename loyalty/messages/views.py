"""Messages over HTTP, for the shop's own e-mail tool."""

from __future__ import annotations

from typing import Any

from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, note_look, provided, replayed
from loyalty.messages import service
from loyalty.messages.model import MessageNotFoundError
from loyalty.messages.schemas import MessagePageSchema, MessagesSchema, SentSchema
from loyalty.messages.service import Addressed, Postman

blp = Blueprint(
    "messages", __name__, description="What the shop's tool is to send to members for Carnet."
)

_ID = "65f0c9a4e1b7d4c3a9e2f8b6"
_EXAMPLE = {
    "id": _ID,
    "member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
    "kind": "confirm_consent",
    "channel": "email",
    "address": "ada@example.org",
    "language": "en",
    "content": {"url": "https://loyalty.example.org/confirm/gAAAAABn"},
    "created_at": "2026-03-01T09:30:00Z",
    "expires_at": "2026-03-04T09:30:00Z",
}


def _body(each: Addressed) -> dict[str, Any]:
    message = each.message
    return {
        "id": message.id,
        "member_id": message.member_id,
        "kind": message.kind,
        "channel": message.channel,
        "address": each.address,
        "language": message.language,
        "content": dict(message.content),
        "created_at": message.created_at,
        "expires_at": message.expires_at,
    }


@blp.route("/messages", methods=["GET"])
@blp.requires("messages:read", purpose="rights")
@blp.arguments(MessagePageSchema, location="query")
@blp.response(200, MessagesSchema, example={"messages": [_EXAMPLE], "next_cursor": None})
def waiting(query: dict[str, Any]) -> Answer:
    """Fetch messages that wait to be sent, oldest first.

    Carnet sends nothing itself. Call this every minute or so, send each message on its channel in
    the member's language, and mark it with `POST /v1/messages/{message_id}/sent`; it is not given
    out again then. `content` holds what the text needs, by `kind`: a `url` to confirm a consent
    with, a one-time `code`, the `erased_at` of an inactive member. What nobody sent in time expires
    by itself. Two tools that fetch at once get the same messages: let one tool fetch.
    """
    limit = query["limit"]
    found = service.waiting(
        after=query.get("cursor"), limit=limit, at=now(), postman=provided(Postman)
    )
    for each in found:
        note_look(each.message.member_id)
    more = found[-1].message.id if len(found) == limit else None
    return {"messages": [_body(each) for each in found], "next_cursor": more}


@blp.route("/messages/<message_id>/sent", methods=["POST"])
@blp.requires("messages:read")
@blp.response(200, SentSchema, example={"id": _ID, "sent_at": "2026-03-01T09:31:00Z"})
@blp.raises(MessageNotFoundError)
def mark_sent(message_id: str) -> Answer:
    """Mark a message as sent.

    Sent again, it answers the same with `Idempotent-Replay: true`. So a tool that would rather
    miss a message than send it twice marks first, and sends if the header is not there.
    """
    marked = provided(Postman).outbox.mark_sent(message_id, at=now())
    if marked is None:
        raise MessageNotFoundError
    body = {"id": message_id, "sent_at": marked.sent_at}
    return replayed(body, 200, is_replay=marked.is_replay)
