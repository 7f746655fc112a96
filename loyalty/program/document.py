"""The programme as a shop writes it: a JSON document, checked to the place of each mistake.

`read` turns a document that passes into the frozen `Program` that `step` runs.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

from marshmallow import Schema, ValidationError, fields

from loyalty.kit.fields import Choice, Flag, Items, OneOf, Text, Whole
from loyalty.kit.schemas import Input
from loyalty.program.model import (
    ENGAGEMENTS,
    Basis,
    ChannelsMultiplierRule,
    EngagementRule,
    FirstOnChannelRule,
    FixedRule,
    Match,
    MultiplierRule,
    NthChannelRule,
    Program,
    ReturnPolicy,
    Rule,
    SpendRule,
)
from loyalty.program.money import ROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAME_PATTERN = r"^[a-z][a-z0-9_-]*$"
NAME_FORM = "lower-case letters, digits, - and _, with a letter first"
CHANNELS_MAX = 32
RULES_MAX = 200
NAMES_MAX = 1000
POINTS_MAX = 1_000_000
WINDOW_DAYS_MAX = 3660


def channel_field(**kwargs: Any) -> Text:
    """A channel's name, such as `web`."""
    return Text(32, pattern=NAME_PATTERN, form=NAME_FORM, **kwargs)


def currency_field(**kwargs: Any) -> Text:
    """A currency's code, such as `EUR`."""
    return Text(3, pattern="^[A-Z]{3}$", form="three capital letters, such as EUR", **kwargs)


def _points() -> Whole:
    return Whole(1, POINTS_MAX, required=True)


def _rounding(default: str) -> Choice:
    return Choice(ROUNDINGS, load_default=default)


class _Factor(Text):
    """A decimal written as text, so that 1.1 is exactly 1.1."""

    def __init__(self) -> None:
        super().__init__(
            8,
            pattern=r"^[1-9][0-9]{0,2}(\.[0-9]{1,3})?$",
            form='a number from 1 to 999.999 as text, such as "1.5"',
            required=True,
            metadata={"description": 'At least 1, as text: "1.5".', "examples": ["1.5"]},
        )


class MatchSchema(Input):
    """Which activities or lines: each list that is given must name it; products by any list."""

    channels = Items(channel_field(), CHANNELS_MAX)
    stores = Items(Text(64), NAMES_MAX)
    skus = Items(Text(64), NAMES_MAX)
    categories = Items(Text(200), NAMES_MAX, metadata={"description": "Paths: `Dairy/Milk`."})
    brands = Items(Text(100), NAMES_MAX)


class BasisSchema(Input):
    """Which money counts."""

    with_tax = Flag(load_default=False)
    before_discounts = Flag(load_default=False)
    gift_cards_earn = Flag(load_default=True)
    points_payments_earn = Flag(load_default=False)
    shipping_earns = Flag(load_default=False)


class TimesMaxSchema(Input):
    """How often a rule pays one member in a period of the programme's time zone."""

    day = Whole(1, 1000)
    week = Whole(1, 1000)
    month = Whole(1, 10_000)
    lifetime = Whole(1, 1_000_000)


class _RuleSchema(Input):
    id = Text(40, pattern=NAME_PATTERN, form=NAME_FORM, required=True)
    # marshmallow takes declared fields off the class, so its own attribute `only` is not touched.
    only = fields.Nested(MatchSchema)  # type: ignore[assignment]
    excluding = fields.Nested(MatchSchema)


class _LimitedRuleSchema(_RuleSchema):
    times_max = fields.Nested(TimesMaxSchema)


class SpendRuleSchema(_RuleSchema):
    """Points for money."""

    type = Choice(["spend"], required=True)
    points = _points()
    per_amount = Whole(1, 10**9, required=True, metadata={"description": "Minor units."})
    basis = fields.Nested(BasisSchema)
    rounding = _rounding("floor")
    per = Choice(["basket", "line"], load_default="basket")
    amount_min = Whole(0, 10**12, load_default=0)


class MultiplierRuleSchema(_RuleSchema):
    """Times the spend points of matching lines."""

    type = Choice(["multiplier"], required=True)
    factor = _Factor()
    rounding = _rounding("floor")


class FixedRuleSchema(_LimitedRuleSchema):
    """Fixed points a unit, line or basket."""

    type = Choice(["fixed"], required=True)
    points = _points()
    per = Choice(["unit", "line", "basket"], load_default="unit")


class EngagementRuleSchema(_LimitedRuleSchema):
    """Points for an engagement."""

    type = Choice(["engagement"], required=True)
    engagement = Choice(ENGAGEMENTS, required=True)
    points = _points()


class NthChannelRuleSchema(_LimitedRuleSchema):
    """Points for the n-th distinct channel within a window."""

    type = Choice(["nth_channel"], required=True)
    n = Whole(2, CHANNELS_MAX, required=True)
    window_days = Whole(1, WINDOW_DAYS_MAX, required=True)
    points = _points()


class FirstOnChannelRuleSchema(_LimitedRuleSchema):
    """Points for the first ever activity on a channel."""

    type = Choice(["first_on_channel"], required=True)
    points = _points()


class ChannelsMultiplierRuleSchema(_RuleSchema):
    """Times the spend points while enough channels are alive."""

    type = Choice(["channels_multiplier"], required=True)
    channels_min = Whole(2, CHANNELS_MAX, required=True)
    window_days = Whole(1, WINDOW_DAYS_MAX, required=True)
    factor = _Factor()
    rounding = _rounding("floor")


RULE_SHAPES: dict[str, type[Schema]] = {
    "spend": SpendRuleSchema,
    "multiplier": MultiplierRuleSchema,
    "channels_multiplier": ChannelsMultiplierRuleSchema,
    "fixed": FixedRuleSchema,
    "engagement": EngagementRuleSchema,
    "nth_channel": NthChannelRuleSchema,
    "first_on_channel": FirstOnChannelRuleSchema,
}
_RULES: dict[str, type[Rule]] = {
    "spend": SpendRule,
    "multiplier": MultiplierRule,
    "channels_multiplier": ChannelsMultiplierRule,
    "fixed": FixedRule,
    "engagement": EngagementRule,
    "nth_channel": NthChannelRule,
    "first_on_channel": FirstOnChannelRule,
}


class ReturnPolicySchema(Input):
    """How points of returned goods are taken back."""

    balance = Choice(["within_balance", "may_go_negative"], load_default="may_go_negative")
    rounding = _rounding("half_up")


class ProgramSchema(Input):
    """A loyalty programme."""

    name = Text(100, required=True)
    currency = currency_field(required=True, metadata={"examples": ["EUR"]})
    time_zone = Text(64, load_default="UTC", metadata={"examples": ["Europe/Berlin"]})
    channels = Items(channel_field(), CHANNELS_MAX, length_min=1, required=True)
    unknown_identifier = Choice(["enrol", "refuse"], load_default="enrol")
    returns = fields.Nested(ReturnPolicySchema)
    expires_after_months = Whole(1, 240)
    rules = Items(OneOf(RULE_SHAPES), RULES_MAX, required=True)

    extra_json_schema: ClassVar[Mapping[str, Any]] = {"title": "Program"}


def check(document: Mapping[str, Any]) -> None:
    """Find what no schema can see: mistakes between the parts of a document that loaded.

    Raises:
        ValidationError: with the dotted place of each mistake.
    """
    mistakes = dict(_mistakes(document))
    if mistakes:
        raise ValidationError({place: [text] for place, text in mistakes.items()})


def _mistakes(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if document["time_zone"] not in available_timezones():
        yield "time_zone", f"There is no time zone {document['time_zone']}."
    seen: dict[str, int] = {}
    for position, rule in enumerate(document["rules"]):
        place = f"rules.{position}"
        if rule["id"] in seen:
            yield f"{place}.id", f"Rule {seen[rule['id']]} has the same id."
        seen.setdefault(rule["id"], position)
        yield from _channel_mistakes(rule, place, document["channels"])
        yield from _product_mistakes(rule, place)
    for position, channel in enumerate(document["channels"]):
        if channel in document["channels"][:position]:
            yield f"channels.{position}", f"{channel} is named twice."


def _channel_mistakes(
    rule: Mapping[str, Any], place: str, channels: list[str]
) -> Iterator[tuple[str, str]]:
    for part in ("only", "excluding"):
        for position, channel in enumerate(rule.get(part, {}).get("channels", [])):
            if channel not in channels:
                yield (
                    f"{place}.{part}.channels.{position}",
                    f"The programme has no channel {channel}.",
                )
    for name in ("n", "channels_min"):
        if rule.get(name, 0) > len(channels):
            yield f"{place}.{name}", f"The programme has only {len(channels)} channels."


def _product_mistakes(rule: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """Rules that look at no lines: a product in them would silently match everything."""
    if rule["type"] not in ("engagement", "nth_channel", "first_on_channel"):
        return
    for part in ("only", "excluding"):
        for name in ("skus", "categories", "brands"):
            if rule.get(part, {}).get(name):
                yield f"{place}.{part}.{name}", f"A rule of type {rule['type']} has no products."


def read(document: Mapping[str, Any], *, version: int) -> Program:
    """The programme of a checked document."""
    order = list(RULE_SHAPES)
    # Spend points must be there before anything multiplies them: see step.py.
    rules = sorted(document["rules"], key=lambda rule: order.index(rule["type"]))
    return Program(
        version=version,
        name=document["name"],
        currency=document["currency"],
        channels=frozenset(document["channels"]),
        rules=tuple(_rule(rule) for rule in rules),
        zone=ZoneInfo(document["time_zone"]),
        returns=ReturnPolicy(**document.get("returns", {})),
        enrols_unknown=document["unknown_identifier"] == "enrol",
        expires_after_months=document.get("expires_after_months"),
    )


def _rule(document: Mapping[str, Any]) -> Rule:
    values = {name: value for name, value in document.items() if name != "type"}
    for part in ("only", "excluding"):
        if part in values:
            values[part] = Match(**{name: frozenset(each) for name, each in values[part].items()})
    if "factor" in values:
        values["factor"] = Fraction(values["factor"])
    if "basis" in values:
        values["basis"] = Basis(**values["basis"])
    return _RULES[document["type"]](**values)
