"""The shapes of rewards and redemptions on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.journal.schemas import external_id_field
from loyalty.kit.fields import Amount, Choice, Flag, Instant, Items, Moment, QueryWhole, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.members.schemas import PartySchema
from loyalty.program.model import POINTS
from loyalty.program.names_document import CHANNELS_MAX, NAME_FORM, NAME_PATTERN, channel_field
from loyalty.rewards.model import REASONS, REWARD_TYPES, VALUES

if TYPE_CHECKING:
    from collections.abc import Mapping

REWARD_ID_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
PRICE_MAX = 100_000_000
STOCK_MAX = 10**9
NAMES_MAX = 1000
TIERS_MAX = 50
HOLD_SECONDS = 900
HOLD_SECONDS_MAX = 30 * 24 * 3600
TEXT_FLAGS = ("true", "false")


def _store_field() -> Text:
    return Text(64, pattern=STORE_PATTERN, metadata={"examples": ["S1"]})


def _reward_id_field(*, required: bool = False) -> Text:
    return Text(
        64,
        pattern=REWARD_ID_PATTERN,
        form="letters, digits, '.', '_' and '-'",
        metadata={"examples": ["five-off"]},
        required=required,
    )


class ValueSchema(Input):
    """What a reward is worth; which of these there are depends on its type."""

    amount = Amount(minimum=1, metadata={"description": "Minor units of the programme's currency."})
    amount_max = Amount(minimum=1, metadata={"description": "The most that it takes off."})
    percent = Text(
        6,
        pattern=r"^(100|[1-9][0-9]?(\.[0-9]{1,3})?|0\.[0-9]{0,2}[1-9])$",
        form='a number above 0 and up to 100 as text, such as "12.5"',
        metadata={"examples": ["12.5"]},
    )
    sku = Text(64)
    quantity = Whole(1, 1000)
    access = Text(100, metadata={"description": "What it opens.", "examples": ["presale-2026"]})
    recipient = Text(100, metadata={"description": "Who is given to."})


class PerMemberSchema(Input):
    """How often one member may take it in a period of the programme's time zone."""

    day = Whole(1, 1000)
    week = Whole(1, 1000)
    month = Whole(1, 1000)
    year = Whole(1, 1000)
    lifetime = Whole(1, 1000)


def _shape(name: str) -> dict[str, Any]:
    required, optional = VALUES[name]  # type: ignore[index]
    value: dict[str, Any] = {
        "required": list(required),
        "not": {"anyOf": [{"required": [each]} for each in _foreign(required + optional)]},
    }
    shape: dict[str, Any] = {"properties": {"type": {"const": name}, "value": value}}
    return {**shape, "required": ["value"]} if required else shape


def _foreign(names: tuple[str, ...]) -> list[str]:
    known = {each for required, optional in VALUES.values() for each in required + optional}
    return sorted(known - set(names))


class RewardSchema(Input):
    """A reward: one line of the NDJSON body."""

    id = _reward_id_field(required=True)
    name = Text(200, required=True)
    type = Choice(REWARD_TYPES, required=True)
    price = Whole(1, PRICE_MAX, required=True, metadata={"description": "In points of `unit`."})
    unit = Text(40, pattern=NAME_PATTERN, form=NAME_FORM, load_default=POINTS)
    value = fields.Nested(ValueSchema, load_default=dict)
    tiers = Items(Text(64), TIERS_MAX, load_default=list)
    channels = Items(channel_field(), CHANNELS_MAX, load_default=list)
    stores = Items(_store_field(), NAMES_MAX, load_default=list)
    starts_at = Moment(load_default=None, allow_none=True)
    ends_at = Moment(load_default=None, allow_none=True)
    stock = Whole(
        0,
        STOCK_MAX,
        load_default=None,
        allow_none=True,
        metadata={
            "description": "How many may be taken in all, counted from when it first had a stock; "
            "what is released or undone may be taken again. Put a greater one to restock."
        },
    )
    per_member = fields.Nested(PerMemberSchema, load_default=dict)

    extra_json_schema: ClassVar[dict[str, Any]] = {"oneOf": [_shape(each) for each in REWARD_TYPES]}

    def check(self, data: Mapping[str, Any]) -> None:
        """A value that fits the type, and an end after the beginning."""
        required, optional = VALUES[data["type"]]
        for name in required:
            if name not in data["value"]:
                raise ValidationError({"value": {name: [f"Is needed for {data['type']}."]}})
        for name in data["value"]:
            if name not in required + optional:
                raise ValidationError({"value": {name: [f"Does not go with {data['type']}."]}})
        if data["starts_at"] and data["ends_at"] and data["starts_at"] >= data["ends_at"]:
            raise ValidationError("Must be later than starts_at.", "ends_at")


class OfferedSchema(RewardSchema):
    """A reward with what keeps it from being taken, if anything does."""

    left = fields.Integer(
        allow_none=True, required=True, metadata={"description": "Null for one without a stock."}
    )
    reason = fields.String(
        allow_none=True,
        required=True,
        metadata={"enum": [*REASONS, None], "description": "Why it cannot be taken; else null."},
    )


class OfferedPageSchema(Output):
    """A page of the catalogue, by id."""

    rewards = fields.List(fields.Nested(OfferedSchema), required=True)
    next_cursor = fields.String(allow_none=True, required=True)


class OfferedQuerySchema(Input):
    """What to list: without a filter, whatever is offered now anywhere to anybody."""

    channel = channel_field()
    store = _store_field()
    member = Text(34, pattern=MEMBER_ID_PATTERN)
    all = Choice(
        TEXT_FLAGS,
        load_default="false",
        metadata={"description": "List what cannot be taken too, with the `reason`."},
    )
    limit = QueryWhole(1, 200, load_default=50)
    cursor = Text(64)


class PointsPaymentSchema(Input):
    """Points that pay a part of a basket."""

    points = Whole(1, PRICE_MAX, required=True)
    basket_amount = Amount(
        minimum=1, required=True, metadata={"description": "Minor units, all that is charged."}
    )


def _household_field() -> Flag:
    return Flag(
        load_default=False,
        metadata={
            "description": "Use the points of all members of the household who agree to that, "
            "soonest-expiring first."
        },
    )


class QuoteSchema(PartySchema):
    """A basket to pay with points."""

    from_household = _household_field()

    basket_amount = Amount(
        minimum=1, required=True, metadata={"description": "Minor units, all that is charged."}
    )


class QuotedSchema(Output):
    """The most points that may pay for a basket."""

    points_max = fields.Integer(required=True)
    amount_max = fields.Integer(required=True, metadata={"description": "What they are worth."})
    unit = fields.String(required=True)
    step = fields.Integer(required=True, metadata={"description": "Points come in such steps."})
    currency = fields.String(required=True)
    available = fields.Integer(required=True, metadata={"description": "Points to be spent now."})
    as_of = Instant(required=True)


class RedeemSchema(PartySchema):
    """Points to set aside, for a reward or as payment."""

    external_id = external_id_field()
    channel = channel_field(required=True, metadata={"examples": ["store"]})
    store = _store_field()
    reward = _reward_id_field()
    payment = fields.Nested(PointsPaymentSchema)
    expires_in_seconds = Whole(
        1,
        HOLD_SECONDS_MAX,
        load_default=HOLD_SECONDS,
        metadata={"description": "When the points come back by themselves."},
    )
    from_household = _household_field()
    capture = Flag(load_default=False, metadata={"description": "Take them at once."})

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "allOf": [
            PartySchema.extra_json_schema,
            {"oneOf": [{"required": ["reward"]}, {"required": ["payment"]}]},
        ]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """Exactly one member, and exactly one thing to take."""
        super().check(data)
        if ("reward" in data) == ("payment" in data):
            raise ValidationError("Name a reward or a payment, not both.", "reward")


class ResolveSchema(Input):
    """Where it is resolved, if that is not where it was held."""

    channel = channel_field(metadata={"description": "As of the hold, if absent."})
    store = _store_field()


class CaptureSchema(ResolveSchema):
    """What to take of a hold."""

    points = Whole(
        1,
        PRICE_MAX,
        metadata={"description": "All, if absent. The rest of a payment goes back to its lots."},
    )


class TakenSchema(ValueSchema):
    """What the points bought."""

    currency = fields.String(metadata={"description": "Of the amounts."})


class TakenRewardSchema(Output):
    """The reward as it was when it was held."""

    id = fields.String(required=True)
    name = fields.String(required=True)
    type = fields.String(required=True, metadata={"enum": list(REWARD_TYPES)})


class GiverSchema(Output):
    """A member whose points are used: more than one where a household pools them."""

    member_id = fields.String(required=True)
    points = fields.Integer(required=True)


class RedemptionSchema(Output):
    """Points set aside, and what became of them."""

    redemption_id = fields.String(required=True)
    member_id = fields.String(required=True)
    status = fields.String(
        required=True, metadata={"enum": ["held", "captured", "released", "expired", "undone"]}
    )
    reward = fields.Nested(TakenRewardSchema, required=True, allow_none=True)
    points = fields.Integer(required=True, metadata={"description": "Held."})
    captured = fields.Integer(required=True, metadata={"description": "Taken of them."})
    unit = fields.String(required=True)
    value = fields.Nested(TakenSchema, required=True)
    from_members = fields.List(fields.Nested(GiverSchema), required=True)
    expires_at = Instant(required=True)
    balance = fields.Integer(
        required=True, metadata={"description": "The member's own, of the unit, right after."}
    )
