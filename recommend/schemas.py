"""The shapes of recommendations on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.catalogue.schemas import STORE_PATTERN, PriceSchema
from loyalty.kit.fields import QueryWhole, Text
from loyalty.kit.schemas import Input, Output
from loyalty.program.document import channel_field

LIMIT_MAX = 100


class WhereSchema(Input):
    """For which place, and how many."""

    channel = channel_field(metadata={"description": "Where it will be shown."})
    store = Text(64, pattern=STORE_PATTERN, metadata={"description": "In which store."})
    limit = QueryWhole(1, LIMIT_MAX, load_default=10)


class RecommendedSchema(Output):
    """One product to show."""

    sku = fields.String(required=True)
    name = fields.String(allow_none=True, required=True)
    category = fields.String(allow_none=True, required=True)
    brand = fields.String(allow_none=True, required=True)
    price = fields.Nested(PriceSchema, allow_none=True, required=True)
    image_url = fields.String(allow_none=True, required=True)
    score = fields.Float(required=True)
    because = fields.String(required=True, metadata={"description": "For the customer to read."})


class RecommendationsSchema(Output):
    """What to show, and whether and why it is personal."""

    member_id = fields.String(required=True)
    personalised = fields.Boolean(required=True)
    reason = fields.String(
        required=True,
        metadata={
            "enum": [
                "consent",
                "no_consent",
                "no_history",
                "no_model",
                "browser_signal",
                "held_out",
            ]
        },
    )
    model_version = fields.String(allow_none=True, required=True)
    recommendation_id = fields.String(
        required=True, metadata={"description": "For feedback on what is shown of it."}
    )
    experiment = fields.String(allow_none=True, required=True)
    variant = fields.String(allow_none=True, required=True)
    items = fields.List(fields.Nested(RecommendedSchema), required=True)
