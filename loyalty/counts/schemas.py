"""The shapes of counts on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.counts.model import STEPS
from loyalty.kit.fields import Choice, Day
from loyalty.kit.schemas import Input, Output

CountsQuerySchema = Input.from_dict(
    {
        "from": Day(metadata={"description": "The first day, in UTC; else 30 days to the last."}),
        "to": Day(metadata={"description": "The last day, included; today if absent."}),
        "step": Choice(STEPS, load_default="day"),
    },
    name="CountsQuerySchema",
)


class CountSchema(Output):
    """How many decisions of one kind."""

    purpose = fields.String(required=True)
    channel = fields.String(allow_none=True, required=True)
    method = fields.String(required=True)
    status = fields.String(required=True)
    decisions = fields.Integer(required=True)


PeriodSchema = Output.from_dict(
    {
        "from": fields.Date(required=True),
        "to": fields.Date(required=True),
        "counts": fields.List(fields.Nested(CountSchema), required=True),
    },
    name="PeriodSchema",
)
CountsSchema = Output.from_dict(
    {
        "from": fields.Date(required=True),
        "to": fields.Date(required=True),
        "step": fields.String(required=True, metadata={"enum": list(STEPS)}),
        "periods": fields.List(fields.Nested(PeriodSchema), required=True),
        "totals": fields.List(fields.Nested(CountSchema), required=True),
    },
    name="CountsSchema",
)
