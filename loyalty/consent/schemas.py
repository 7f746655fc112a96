"""The shapes of consents on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError as Mistake
from marshmallow import fields

from loyalty.consent.model import MARKETING_CHANNELS, METHODS, PURPOSES, PURPOSES_BY_CHANNEL
from loyalty.kit.fields import Choice, Flag, Items, Moment, QueryWhole, Text
from loyalty.kit.schemas import Input, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

_BY_CHANNEL = sorted(PURPOSES_BY_CHANNEL)
_EVERYWHERE = sorted(PURPOSES.keys() - PURPOSES_BY_CHANNEL)


class DecisionSchema(Input):
    """Yes or no to a purpose; marketing is agreed to channel by channel."""

    purpose = Choice(PURPOSES, required=True)
    channel = Choice(MARKETING_CHANNELS)
    granted = Flag(required=True)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {"properties": {"purpose": {"enum": _BY_CHANNEL}}, "required": ["channel"]},
            {
                "properties": {"purpose": {"enum": _EVERYWHERE}},
                "not": {"required": ["channel"]},
            },
        ]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """A channel where the purpose has channels, and only there."""
        by_channel = data["purpose"] in PURPOSES_BY_CHANNEL
        if by_channel and "channel" not in data:
            raise Mistake("Name the channel: marketing is agreed to channel by channel.", "channel")
        if not by_channel and "channel" in data:
            raise Mistake(f"{data['purpose']} has no channels.", "channel")


class ConsentsWriteSchema(Input):
    """What a member decided, and how."""

    decisions = Items(fields.Nested(DecisionSchema), 50, length_min=1, required=True)
    method = Choice(METHODS, load_default="form")
    notice_version = Text(64, metadata={"description": "The notice that the person saw."})


class FlagSchema(Output):
    """What holds now for a purpose, and channel where it has channels."""

    purpose = fields.String(required=True)
    channel = fields.String(allow_none=True, required=True)
    granted = fields.Boolean(required=True)


class ConsentsSchema(Output):
    """What a member agrees to now. What was never asked stands as not granted."""

    member_id = fields.String(required=True)
    consents = fields.List(fields.Nested(FlagSchema), required=True)


class RecordSchema(Output):
    """One record: the receipt of a decision."""

    id = fields.String(required=True)
    member_id = fields.String(required=True)
    seq = fields.Integer(required=True)
    decisions = fields.List(fields.Nested(FlagSchema), required=True)
    consents = fields.List(fields.Nested(FlagSchema), required=True)
    method = fields.String(required=True)
    notice_version = fields.String(allow_none=True, required=True)
    recorded_at = Moment(required=True)
    recorded_by = fields.String(required=True)


class RecordsSchema(Output):
    """A page of records, newest first."""

    records = fields.List(fields.Nested(RecordSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class PageSchema(Input):
    """Which page of a list."""

    limit = QueryWhole(1, 200, load_default=50)
    cursor = Text(64, pattern="^[A-Za-z0-9_-]+$")
