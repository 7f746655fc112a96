"""The shapes of messages on the wire."""

from __future__ import annotations

from typing import get_args

from marshmallow import fields

from loyalty.kit.fields import Moment, QueryWhole, Text
from loyalty.kit.schemas import Input, Output
from loyalty.messages.model import MessageKind

MESSAGES_A_PAGE_MAX = 200


class MessagePageSchema(Input):
    """Which page of the messages that wait."""

    limit = QueryWhole(1, MESSAGES_A_PAGE_MAX, load_default=50)
    cursor = Text(24, pattern="^[0-9a-f]{24}$", form="a cursor of this list")


class MessageSchema(Output):
    """Something to tell a member."""

    id = fields.String(required=True)
    member_id = fields.String(required=True)
    kind = fields.String(required=True, metadata={"enum": list(get_args(MessageKind))})
    channel = fields.String(required=True)
    address = fields.String(
        allow_none=True,
        required=True,
        metadata={"description": "Where to; null if the member has no address on the channel."},
    )
    language = fields.String(required=True)
    content = fields.Dict(
        required=True, metadata={"description": "What the text needs: a link, a code, a date."}
    )
    created_at = Moment(required=True)
    expires_at = Moment(required=True)


class MessagesSchema(Output):
    """A page of waiting messages, oldest first."""

    messages = fields.List(fields.Nested(MessageSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class SentSchema(Output):
    """When a message was marked as sent for the first time."""

    id = fields.String(required=True)
    sent_at = Moment(required=True)
