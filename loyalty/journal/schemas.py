"""The shapes of activities and entries on the wire."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.kit.fields import (
    AMOUNT_MAX,
    Amount,
    Choice,
    Instant,
    Items,
    Moment,
    Strict,
    Text,
    Whole,
)
from loyalty.kit.schemas import Input, Output
from loyalty.members.schemas import PartySchema
from loyalty.program.document import POINTS_MAX, channel_field, currency_field, name_field
from loyalty.program.model import ENGAGEMENTS, FULFILMENTS, PAYMENT_METHODS

if TYPE_CHECKING:
    from collections.abc import Mapping

LINES_MAX = 500
SKUS_MAX = 50
DETAILS_MAX = 20
_DETAIL_PATTERN = "^[a-z][a-z0-9_]{0,39}$"
_DETAIL = re.compile(_DETAIL_PATTERN.removesuffix("$") + r"\Z")
QUANTITY_MAX = 100_000


def external_id_field() -> Text:
    """The sender's own id for a fact; the fact exists once under it."""
    return Text(
        128,
        required=True,
        metadata={
            "description": "Your own id: the receipt number, the order number.",
            "examples": ["R-20260301-0042"],
        },
    )


class LineSchema(Input):
    """One line of a receipt, amounts for the whole line in minor units."""

    sku = Text(64, required=True, metadata={"examples": ["milk-1l"]})
    quantity = Whole(1, QUANTITY_MAX, required=True)
    amount = Amount(
        required=True, metadata={"description": "Charged, without tax and after discounts."}
    )
    tax = Amount(metadata={"description": "On top of the amount."})
    discount = Amount(metadata={"description": "Taken off before the amount."})
    category = Text(200, metadata={"description": "Used where the catalogue lacks the sku."})
    brand = Text(100, metadata={"description": "Used where the catalogue lacks the sku."})


class PaymentSchema(Input):
    """What part was paid with gift cards or points, in minor units."""

    gift_card_amount = Amount()
    points_amount = Amount()
    methods = Items(Choice(PAYMENT_METHODS), len(PAYMENT_METHODS))


class _ActivitySchema(Input):
    external_id = external_id_field()
    channel = channel_field(required=True, metadata={"examples": ["store"]})
    store = Text(64, pattern=STORE_PATTERN, metadata={"examples": ["S1"]})
    occurred_at = Moment(metadata={"description": "Now, if absent."})


class _MemberActivitySchema(PartySchema, _ActivitySchema):
    """An activity of a member."""


class _Details(Strict, fields.Dict):
    """A few named whole numbers and flags. Text has no place here: it could be personal."""

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "maxProperties": DETAILS_MAX,
        "propertyNames": {"pattern": _DETAIL_PATTERN},
        "additionalProperties": {
            "oneOf": [
                {"type": "boolean"},
                {"type": "integer", "minimum": -AMOUNT_MAX, "maximum": AMOUNT_MAX},
            ]
        },
    }

    def read(self, value: Any) -> dict[str, int | bool]:
        """The details as they are."""
        if type(value) is not dict or len(value) > DETAILS_MAX:
            raise ValidationError(f"Must be an object with at most {DETAILS_MAX} names.")
        for name, each in value.items():
            if not _DETAIL.match(name):
                raise ValidationError({name: ["Must be a name of lower-case letters, digits, _."]})
            if type(each) not in (int, bool) or abs(each) > AMOUNT_MAX:
                raise ValidationError({name: ["Must be a whole number, true or false."]})
        return value


class PurchaseSchema(_MemberActivitySchema):
    """A purchase."""

    currency = currency_field(required=True, metadata={"examples": ["EUR"]})
    lines = Items(fields.Nested(LineSchema), LINES_MAX, length_min=1, required=True)
    shipping_amount = Amount()
    discount_amount = Amount(
        metadata={"description": "Taken off the order as a whole; the lines are before it."}
    )
    coupon_amount = Amount(metadata={"description": "The same, by coupons."})
    fulfilment = Choice(FULFILMENTS)
    payment = fields.Nested(PaymentSchema)


class EngagementSchema(_MemberActivitySchema):
    """Something a member did for the shop."""

    type = Choice(ENGAGEMENTS, required=True)
    skus = Items(
        Text(64), SKUS_MAX, metadata={"description": "What was looked at, put aside or reviewed."}
    )
    details = _Details(
        metadata={"description": 'Numbers and flags for the rules: `{"rating": 5}`.'}
    )


class PurchaseReferenceSchema(Input):
    """The purchase that comes back, by the id under which it was sent."""

    external_id = external_id_field()
    channel = channel_field(metadata={"description": "Where it was bought; here, if absent."})
    store = Text(
        64,
        pattern=STORE_PATTERN,
        metadata={"description": "In which store; needed with `channel` if it was one."},
    )


class ReturnLineSchema(Input):
    """Units of a sku that come back."""

    sku = Text(64, required=True)
    quantity = Whole(1, QUANTITY_MAX, required=True)


class ReturnSchema(_ActivitySchema):
    """A return of a purchase, whole or in part."""

    extra_json_schema: ClassVar[dict[str, Any]] = {"not": {"required": ["lines", "amount"]}}

    purchase = fields.Nested(PurchaseReferenceSchema, required=True)
    lines = Items(
        fields.Nested(ReturnLineSchema),
        LINES_MAX,
        length_min=1,
        metadata={"description": "All that is left of the purchase, if absent."},
    )
    amount = Amount(
        minimum=1,
        metadata={"description": "Instead of lines: money that comes back without goods."},
    )

    def check(self, data: Mapping[str, Any]) -> None:
        """Lines or an amount, not both."""
        if "lines" in data and "amount" in data:
            raise ValidationError("Send lines or an amount, not both.", "amount")


class ExchangeSchema(_ActivitySchema):
    """Goods come back and others go out."""

    purchase = fields.Nested(PurchaseReferenceSchema, required=True)
    returned = Items(
        fields.Nested(ReturnLineSchema),
        LINES_MAX,
        length_min=1,
        metadata={"description": "What comes back; all that is left, if absent."},
    )
    currency = currency_field(required=True, metadata={"examples": ["EUR"]})
    lines = Items(
        fields.Nested(LineSchema),
        LINES_MAX,
        length_min=1,
        required=True,
        metadata={"description": "What goes out."},
    )
    shipping_amount = Amount()
    discount_amount = Amount()
    coupon_amount = Amount()
    fulfilment = Choice(FULFILMENTS)
    payment = fields.Nested(PaymentSchema)


class AdjustmentSchema(Input):
    """A correction by hand."""

    external_id = external_id_field()
    points = Whole(
        -POINTS_MAX, POINTS_MAX, required=True, metadata={"description": "To add; below 0 takes."}
    )
    unit = name_field(metadata={"description": "Which point currency; `points` if absent."})
    reason = Text(300, required=True)
    actor = Text(100, required=True, metadata={"description": "Who answers for it."})


class ReversalSchema(Input):
    """Why an entry was a mistake."""

    reason = Text(300, required=True)
    actor = Text(100, required=True, metadata={"description": "Who answers for it."})


class PostingSchema(Output):
    """Points moved for one reason."""

    rule = fields.String(required=True)
    kind = fields.String(required=True)
    points = fields.Integer(required=True)
    unit = fields.String(metadata={"description": "Which point currency, if not `points`."})
    text = fields.String(required=True, metadata={"description": "Why, in words and numbers."})


class RecordedSchema(Output):
    """What an activity did."""

    entry_id = fields.String(required=True)
    member_id = fields.String(required=True)
    seq = fields.Integer(required=True)
    points = fields.Integer(
        required=True,
        metadata={"description": "Gained, or lost below 0; further units are in the postings."},
    )
    balance = fields.Integer(
        required=True, metadata={"description": "To be spent right after this activity."}
    )
    pending = fields.Integer(
        metadata={"description": "Points that are there and cannot be spent yet, if any."}
    )
    units = fields.Dict(
        metadata={"description": "The balance in each further point currency, if any."}
    )
    tier = fields.String(metadata={"description": "The member's tier, where there are any."})
    program_version = fields.Integer(required=True)
    postings = fields.List(fields.Nested(PostingSchema), required=True)


class ExchangedSchema(Output):
    """Both sides of an exchange."""

    returned = fields.Nested(RecordedSchema, required=True)
    bought = fields.Nested(RecordedSchema, required=True)


class ExplainedPostingSchema(PostingSchema):
    """A posting with all that led to it."""

    lines = fields.List(
        fields.Integer(),
        required=True,
        metadata={"description": "Positions of the lines it stands on; empty means all."},
    )
    inputs = fields.Dict(required=True)


class EntrySchema(Output):
    """One entry of the journal."""

    id = fields.String(required=True)
    member_id = fields.String(required=True)
    seq = fields.Integer(required=True)
    kind = fields.String(required=True)
    channel = fields.String(required=True)
    store = fields.String(allow_none=True, required=True)
    occurred_at = Moment(required=True)
    received_at = Moment(required=True)
    activity = fields.Dict(required=True)
    program_version = fields.Integer(required=True)
    points = fields.Integer(required=True)
    balance_after = fields.Integer(required=True)
    postings = fields.List(fields.Nested(ExplainedPostingSchema), required=True)


class JournalSchema(Output):
    """A page of the journal, newest first."""

    entries = fields.List(fields.Nested(EntrySchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class LotSchema(Output):
    """Points that become active and expire together."""

    points = fields.Integer(required=True)
    expires_at = Moment(
        allow_none=True,
        required=True,
        metadata={"description": "If nothing more happens; null for never."},
    )
    active_at = Moment(metadata={"description": "Pending until then, if it lies ahead."})


class FurtherUnitSchema(Output):
    """What a member has of a further point currency."""

    balance = fields.Integer(required=True)
    pending = fields.Integer(required=True)
    held = fields.Integer(required=True)
    lots = fields.List(fields.Nested(LotSchema), required=True)


class NextTierSchema(Output):
    """The tier above."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    missing = fields.Integer(
        required=True, metadata={"description": "Minor units, points or purchases."}
    )


class StandingSchema(Output):
    """Where the member stands on the ladder."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    since = Instant(required=True)
    falls_at = Instant(
        allow_none=True, metadata={"description": "When it is lost, where its amount is missing."}
    )
    amount = fields.Integer(required=True, metadata={"description": "What counts now."})
    measure = fields.String(required=True)
    benefits = fields.List(fields.String(), required=True)
    next = fields.Nested(NextTierSchema, allow_none=True)


class PointsSchema(Output):
    """What a member has now."""

    member_id = fields.String(required=True)
    balance = fields.Integer(required=True, metadata={"description": "To be spent now."})
    pending = fields.Integer(required=True, metadata={"description": "To be spent later."})
    held = fields.Integer(required=True, metadata={"description": "Held for redemptions."})
    lots = fields.List(fields.Nested(LotSchema), required=True)
    units = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(FurtherUnitSchema),
        required=True,
        metadata={"description": "The same of each further point currency."},
    )
    tier = fields.Nested(StandingSchema, allow_none=True, required=True)
    stage = fields.String(
        required=True, metadata={"description": "acquisition, trial, loyal, at_risk or lapsed."}
    )
    as_of = Moment(required=True)
