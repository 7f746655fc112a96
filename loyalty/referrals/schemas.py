"""The shapes of referrals on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.kit.fields import Moment, Text
from loyalty.kit.schemas import Input, Output
from loyalty.referrals.model import CODE_PATTERN


class ReferralCodeSchema(Output):
    """A member's code, to hand to friends."""

    member_id = fields.String(required=True)
    code = fields.String(required=True)


class ReferrerSchema(Input):
    """The code that a friend handed over."""

    code = Text(
        16,
        length_min=8,
        pattern=CODE_PATTERN,
        form="a referral code such as 7K3M-9Q2T",
        required=True,
        metadata={"description": "In any case, with or without the hyphen; O reads as 0."},
    )


class ReferralSchema(Output):
    """Who referred a member."""

    member_id = fields.String(required=True)
    referrer_id = fields.String(required=True)
    recorded_at = Moment(required=True)
