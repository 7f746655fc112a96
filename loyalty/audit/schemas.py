"""What is owed and what expires, on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.audit.owing import EXPIRIES_DAYS_MAX
from loyalty.consent.model import MARKETING_CHANNELS
from loyalty.kit.fields import Choice, Instant, QueryWhole, Text
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN


class PointsWorthSchema(Output):
    """Points and what they are worth."""

    points = fields.Integer(required=True)
    amount = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Minor units, half up; null where the unit has no worth."},
    )


class MonthSchema(PointsWorthSchema):
    """What expires in a month if nothing more happens."""

    month = fields.String(
        required=True,
        metadata={
            "pattern": "^([0-9]{4}-[0-9]{2}|never)$",
            "description": "Of the last day on which they are valid.",
        },
    )


class BreakageSchema(Output):
    """An estimate of what will never be asked for."""

    rate = fields.Float(required=True, metadata={"minimum": 0, "maximum": 1})
    standard_error = fields.Float(required=True)
    members = fields.Integer(required=True, metadata={"description": "In the sample."})
    expected = fields.Nested(PointsWorthSchema, required=True)
    method = fields.String(required=True)


class OutstandingSchema(Output):
    """What is owed in one unit."""

    unit = fields.String(required=True)
    members = fields.Integer(required=True, metadata={"description": "Who have any."})
    outstanding = fields.Nested(PointsWorthSchema, required=True)
    pending = fields.Nested(
        PointsWorthSchema,
        required=True,
        metadata={"description": "Of the outstanding ones: cannot be spent yet."},
    )
    held = fields.Nested(
        PointsWorthSchema,
        required=True,
        metadata={"description": "Beside the outstanding ones: set aside for redemptions."},
    )
    debt = fields.Nested(
        PointsWorthSchema,
        required=True,
        metadata={"description": "What members owe, not taken off."},
    )
    by_month = fields.List(
        fields.Nested(MonthSchema),
        required=True,
        metadata={"description": "The outstanding ones by when they expire."},
    )
    breakage = fields.Nested(BreakageSchema, required=True, allow_none=True)


class LiabilitySchema(Output):
    """What is owed to all members at a moment."""

    at = Instant(required=True)
    currency = fields.String(required=True)
    program_version = fields.Integer(required=True)
    members = fields.Integer(required=True)
    units = fields.List(fields.Nested(OutstandingSchema), required=True)


class ExpiriesQuerySchema(Input):
    """Whose points expire soon."""

    within_days = QueryWhole(1, EXPIRIES_DAYS_MAX, load_default=30)
    channel = Choice(
        MARKETING_CHANNELS,
        metadata={"description": "Only members who agree to marketing on this channel now."},
    )
    limit = QueryWhole(1, 1000, load_default=200)
    cursor = Text(34, pattern=MEMBER_ID_PATTERN, load_default="")


class ExpirySchema(Output):
    """Points that expire at a moment if nothing more happens."""

    unit = fields.String(required=True)
    points = fields.Integer(required=True, metadata={"minimum": 1})
    expires_at = Instant(required=True)


class MemberExpiriesSchema(Output):
    """One member's points that expire soon, soonest first."""

    member_id = fields.String(required=True)
    expiries = fields.List(fields.Nested(ExpirySchema), required=True)


class ExpiriesSchema(Output):
    """A page of members, in the order of their ids."""

    members = fields.List(fields.Nested(MemberExpiriesSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
