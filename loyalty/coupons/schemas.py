"""The shapes of coupons on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.coupons.codes import SHORT_LENGTH, TEXT_MAX
from loyalty.kit.fields import Amount, Choice, Instant, Items, Moment, OneOf, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.program.document import POINTS_MAX, channel_field, currency_field, name_field

BATCH_COUNT_MAX = 100_000
CHANNELS_MAX = 50
STORES_MAX = 1000
SLUG_PATTERN = "^[a-z0-9][a-z0-9_-]*$"
SLUG_FORM = "small letters, digits, - and _, beginning with a letter or digit"


def _code_field() -> Text:
    return Text(
        TEXT_MAX,
        length_min=SHORT_LENGTH,
        pattern="^[0-9A-Za-z -]+$",
        form="a code: letters and digits, with spaces or hyphens between groups",
        required=True,
        metadata={
            "description": "The signed code or the short code, in any case and any grouping.",
            "examples": ["00010-0001A-V6H0T-EA3B0"],
        },
    )


def _store_field() -> Text:
    return Text(64, pattern=STORE_PATTERN, metadata={"examples": ["S1"]})


class AmountOffBenefitSchema(Input):
    """An amount off the basket, in minor units."""

    type = Choice(["amount_off"], required=True)
    amount = Amount(minimum=1, required=True)
    currency = currency_field(required=True)


class PercentOffBenefitSchema(Input):
    """A share of the basket off."""

    type = Choice(["percent_off"], required=True)
    percent = Whole(1, 100, required=True)


class ProductBenefitSchema(Input):
    """A product for nothing."""

    type = Choice(["product"], required=True)
    sku = Text(64, required=True)


class ShippingBenefitSchema(Input):
    """Delivery for nothing."""

    type = Choice(["shipping"], required=True)


class PointsBenefitSchema(Input):
    """Points."""

    type = Choice(["points"], required=True)
    points = Whole(1, POINTS_MAX, required=True)
    unit = name_field(load_default="points")


BENEFITS = {
    "amount_off": AmountOffBenefitSchema,
    "percent_off": PercentOffBenefitSchema,
    "product": ProductBenefitSchema,
    "shipping": ShippingBenefitSchema,
    "points": PointsBenefitSchema,
}


class CouponCampaignWriteSchema(Input):
    """A campaign to make."""

    id = Text(
        64,
        pattern=SLUG_PATTERN,
        form=SLUG_FORM,
        required=True,
        metadata={"description": "Your own id; the campaign exists once under it."},
    )
    name = Text(200, required=True)
    benefit = OneOf(BENEFITS, required=True)
    starts_at = Moment(metadata={"description": "Now, if absent."})
    ends_at = Moment(required=True, metadata={"description": "The first moment it is over."})
    channels = Items(
        channel_field(),
        CHANNELS_MAX,
        load_default=list,
        metadata={"description": "The only channels it counts on; all, if empty."},
    )
    stores = Items(
        _store_field(),
        STORES_MAX,
        load_default=list,
        metadata={"description": "The only stores it counts in; all, if empty."},
    )
    basket_min_amount = Amount(
        load_default=0, metadata={"description": "Minor units of the shop's currency."}
    )


class CouponCampaignSchema(Output):
    """A campaign. `number` stands for it in codes."""

    id = fields.String(required=True)
    number = fields.Integer(required=True)
    name = fields.String(required=True)
    benefit = OneOf(BENEFITS, required=True)
    starts_at = Instant(required=True)
    ends_at = Instant(required=True)
    channels = fields.List(fields.String(), required=True)
    stores = fields.List(fields.String(), required=True)
    basket_min_amount = fields.Integer(required=True)
    created_at = Instant(required=True)


class CountedCouponCampaignSchema(CouponCampaignSchema):
    """A campaign, with how many of its codes were made and how many are used now."""

    codes_made = fields.Integer(required=True)
    codes_used = fields.Integer(
        required=True, metadata={"description": "Voids taken off; counts up to a million uses."}
    )


class CouponCampaignsSchema(Output):
    """A page of campaigns, newest first."""

    campaigns = fields.List(fields.Nested(CouponCampaignSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class CouponKeySchema(Output):
    """What a till needs to check codes without a network."""

    algorithm = fields.String(required=True)
    key_id = fields.Integer(required=True)
    public_key = fields.String(required=True, metadata={"description": "32 bytes in base64."})
    public_key_pem = fields.String(required=True)
    campaigns = fields.List(
        fields.Nested(CouponCampaignSchema),
        required=True,
        metadata={"description": "Those that are not over."},
    )


class CouponCodesWriteSchema(Input):
    """How many codes, and your own id for these."""

    batch = Text(
        64,
        pattern=SLUG_PATTERN,
        form=SLUG_FORM,
        required=True,
        metadata={"description": "Your own id: the same batch again is the same codes."},
    )
    count = Whole(1, BATCH_COUNT_MAX, required=True)


class CouponCheckSchema(Input):
    """A code that somebody shows."""

    code = _code_field()
    channel = channel_field(required=True, metadata={"examples": ["store"]})
    store = _store_field()
    basket_amount = Amount(metadata={"description": "Minor units of the shop's currency."})


class CouponRedeemSchema(CouponCheckSchema):
    """A code that is used."""

    external_id = Text(
        128,
        required=True,
        metadata={"description": "Your own id for this use, such as receipt and position."},
    )
    occurred_at = Moment(
        metadata={
            "description": "When a till without a network took it. Absent: it is taken now, "
            "if the answer says so."
        }
    )
    member = Text(34, pattern=MEMBER_ID_PATTERN)


class CouponUsedSchema(Output):
    """Where and when a coupon was used."""

    channel = fields.String(required=True)
    store = fields.String(allow_none=True, required=True)
    occurred_at = Instant(required=True)


class LookedCouponSchema(Output):
    """The coupon that a code names."""

    campaign = fields.String(required=True)
    serial = fields.Integer(required=True)
    benefit = OneOf(BENEFITS, required=True)
    ends_at = Instant(required=True)


class LookedSchema(Output):
    """What a code is worth now. `reason` is the code of the refusal that its use would meet."""

    valid = fields.Boolean(required=True)
    reason = fields.String(allow_none=True, required=True)
    detail = fields.String(allow_none=True, required=True)
    coupon = fields.Nested(
        LookedCouponSchema,
        allow_none=True,
        required=True,
        metadata={"description": "Null if the code names none."},
    )


class CouponRedemptionSchema(CouponUsedSchema):
    """A coupon that is used, and what it gives."""

    id = fields.String(required=True)
    campaign = fields.String(required=True)
    serial = fields.Integer(required=True)
    benefit = OneOf(BENEFITS, required=True)


class CouponVoidSchema(Output):
    """A coupon that was given back."""

    redemption_id = fields.String(required=True)
    campaign = fields.String(required=True)
    serial = fields.Integer(required=True)
    voided_at = Instant(required=True)


class CouponFirstUseSchema(CouponUsedSchema):
    """The use that counts."""

    redemption_id = fields.String(required=True)


class CouponSecondUseSchema(CouponUsedSchema):
    """The use that came too late."""

    external_id = fields.String(required=True)


class CouponConflictSchema(Output):
    """A coupon that two tills took."""

    serial = fields.Integer(required=True)
    first = fields.Nested(CouponFirstUseSchema, required=True)
    second = fields.Nested(CouponSecondUseSchema, required=True)
    recorded_at = Instant(required=True)


class CouponConflictsSchema(Output):
    """A page of conflicts, newest first."""

    conflicts = fields.List(fields.Nested(CouponConflictSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)
