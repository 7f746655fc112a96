"""The shapes of households on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.kit.fields import Moment, Text
from loyalty.kit.schemas import Input, Output
from loyalty.program.model import POINTS
from loyalty.program.names_document import name_field


class NewHouseholdSchema(Input):
    """A new household."""

    name = Text(64, metadata={"description": "What its members call it; kept sealed."})


class HouseholdMemberSchema(Output):
    """A member of a household."""

    member_id = fields.String(required=True)
    joined_at = Moment(required=True)
    is_pooling = fields.Boolean(
        required=True,
        metadata={"description": "Whether the member agrees to `household_pooling` now."},
    )


class HouseholdSchema(Output):
    """A household, its members longest belonging first."""

    id = fields.String(required=True)
    name = fields.String(allow_none=True, required=True)
    created_at = Moment(required=True)
    members = fields.List(fields.Nested(HouseholdMemberSchema), required=True)


class PoolQuerySchema(Input):
    """Which points of the pool."""

    unit = name_field(
        load_default=POINTS,
        metadata={"description": "One of the programme's units of points."},
    )


class ShareSchema(Output):
    """What one member has in the pool."""

    member_id = fields.String(required=True)
    points = fields.Integer(required=True)


class PoolSchema(Output):
    """What a household can spend together."""

    household_id = fields.String(required=True)
    unit = fields.String(required=True)
    points = fields.Integer(required=True)
    members = fields.List(fields.Nested(ShareSchema), required=True)
    as_of = Moment(required=True)


class BelongingSchema(Output):
    """Where a member belongs."""

    member_id = fields.String(required=True)
    household_id = fields.String(required=True)
    joined_at = Moment(required=True)
