"""The shapes of offers on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.kit.fields import Instant, QueryWhole, Text
from loyalty.kit.schemas import Input, Output
from loyalty.program.document import channel_field
from recommend.offers.model import KINDS

LIMIT_MAX = 100


class OffersQuerySchema(Input):
    """For which place, and how many."""

    channel = channel_field(metadata={"description": "Where they will be shown."})
    store = Text(64, pattern=STORE_PATTERN, metadata={"description": "In which store."})
    limit = QueryWhole(1, LIMIT_MAX, load_default=10)


class MissingSchema(Output):
    """What is left to do."""

    amount = fields.Integer(
        required=True, metadata={"description": "Points, purchases, channels or minor units."}
    )
    of = fields.String(required=True)
    text = fields.String(required=True, metadata={"description": "For the customer to read."})


class OfferSchema(Output):
    """Something that pays, or can be had."""

    kind = fields.String(required=True, metadata={"enum": list(KINDS)})
    id = fields.String(
        required=True, metadata={"description": "Of the rule, the reward or the tier."}
    )
    text = fields.String(required=True, metadata={"description": "For the customer to read."})
    points = fields.Integer(
        allow_none=True,
        required=True,
        metadata={"description": "That it pays, or that a reward costs; null: by the basket."},
    )
    unit = fields.String(required=True)
    factor = fields.String(allow_none=True, required=True)
    channels = fields.List(fields.String(), required=True)
    stores = fields.List(fields.String(), required=True)
    skus = fields.List(fields.String(), required=True)
    categories = fields.List(fields.String(), required=True)
    brands = fields.List(fields.String(), required=True)
    ends_at = Instant(allow_none=True, required=True)
    missing = fields.Nested(MissingSchema, allow_none=True, required=True)
    progress = fields.Float(required=True, metadata={"description": "From 0 to 1."})
    because = fields.String(
        allow_none=True,
        required=True,
        metadata={"description": "What of the member's own purchases speaks for it."},
    )


class OffersSchema(Output):
    """What the programme offers a member here and now, the best first."""

    member_id = fields.String(required=True)
    personalised = fields.Boolean(required=True)
    reason = fields.String(
        required=True,
        metadata={"enum": ["consent", "no_consent", "no_history", "browser_signal"]},
    )
    as_of = Instant(required=True)
    offers = fields.List(fields.Nested(OfferSchema), required=True)
