"""The shapes of activities and entries on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.kit.fields import Amount, Choice, Items, Moment, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.members.schemas import IdentifierSchema
from loyalty.program.document import POINTS_MAX, channel_field, currency_field
from loyalty.program.model import ENGAGEMENTS

if TYPE_CHECKING:
    from collections.abc import Mapping

LINES_MAX = 500
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


class _ActivitySchema(Input):
    external_id = external_id_field()
    channel = channel_field(required=True, metadata={"examples": ["store"]})
    store = Text(64, pattern=STORE_PATTERN, metadata={"examples": ["S1"]})
    occurred_at = Moment(metadata={"description": "Now, if absent."})


class _MemberActivitySchema(_ActivitySchema):
    member = Text(34, pattern=MEMBER_ID_PATTERN)
    identifier = fields.Nested(IdentifierSchema)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": ["member"]}, {"required": ["identifier"]}]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """Exactly one of the two names the member."""
        if ("member" in data) == ("identifier" in data):
            raise ValidationError("Name the member by member or by identifier, not both.", "member")


class PurchaseSchema(_MemberActivitySchema):
    """A purchase."""

    currency = currency_field(required=True, metadata={"examples": ["EUR"]})
    lines = Items(fields.Nested(LineSchema), LINES_MAX, length_min=1, required=True)
    shipping_amount = Amount()
    payment = fields.Nested(PaymentSchema)


class EngagementSchema(_MemberActivitySchema):
    """Something a member did for the shop."""

    type = Choice(ENGAGEMENTS, required=True)


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

    purchase = fields.Nested(PurchaseReferenceSchema, required=True)
    lines = Items(
        fields.Nested(ReturnLineSchema),
        LINES_MAX,
        length_min=1,
        metadata={"description": "All that is left of the purchase, if absent."},
    )


class AdjustmentSchema(Input):
    """A correction by hand."""

    external_id = external_id_field()
    points = Whole(
        -POINTS_MAX, POINTS_MAX, required=True, metadata={"description": "To add; below 0 takes."}
    )
    reason = Text(300, required=True)
    actor = Text(100, required=True, metadata={"description": "Who answers for it."})


class PostingSchema(Output):
    """Points moved for one reason."""

    rule = fields.String(required=True)
    kind = fields.String(required=True)
    points = fields.Integer(required=True)
    text = fields.String(required=True, metadata={"description": "Why, in words and numbers."})


class RecordedSchema(Output):
    """What an activity did."""

    entry_id = fields.String(required=True)
    member_id = fields.String(required=True)
    seq = fields.Integer(required=True)
    points = fields.Integer(required=True, metadata={"description": "Gained, or lost below 0."})
    balance = fields.Integer(required=True, metadata={"description": "Right after this activity."})
    program_version = fields.Integer(required=True)
    postings = fields.List(fields.Nested(PostingSchema), required=True)


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
    """Points that expire together."""

    points = fields.Integer(required=True)
    expires_at = Moment(allow_none=True, required=True)


class PointsSchema(Output):
    """What a member has now."""

    member_id = fields.String(required=True)
    balance = fields.Integer(required=True)
    lots = fields.List(fields.Nested(LotSchema), required=True)
    as_of = Moment(required=True)
