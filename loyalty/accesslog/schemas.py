"""The shapes of the access log on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.kit.fields import Moment, QueryWhole, Text
from loyalty.kit.schemas import Input, Output


class LookPageSchema(Input):
    """Which page of the log."""

    limit = QueryWhole(1, 200, load_default=50)
    cursor = Text(600, pattern="^[A-Za-z0-9_-]+$", form="a cursor of this list")


class LookSchema(Output):
    """Who was shown the member's data on one day, by one route for one purpose."""

    day = fields.Date(required=True)
    key_id = fields.String(required=True)
    key_name = fields.String(
        required=True, metadata={"description": "What the shop calls the key: a till, a tool."}
    )
    purpose = fields.String(required=True)
    route = fields.String(required=True)
    times = fields.Integer(required=True)
    first_at = Moment(required=True)
    last_at = Moment(required=True)


class LooksSchema(Output):
    """A page of the log, the newest day first."""

    looks = fields.List(fields.Nested(LookSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
