"""The rules as a shop writes them: their shapes, and how each becomes a value for `step`.

What one field or one object can see of itself is checked here; what only shows between the parts of
a document is in `mistakes.py`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, fields

from loyalty.kit.fields import Choice, Flag, Items, Text, Whole
from loyalty.kit.schemas import Input
from loyalty.program.model import (
    BROWSING,
    ENGAGEMENTS,
    Basis,
    ChannelsMultiplierRule,
    EngagementRule,
    EveryNthRule,
    FirstOnChannelRule,
    FixedRule,
    JourneyRule,
    Match,
    MilestoneRule,
    MultiplierRule,
    NthChannelRule,
    ReferralRule,
    Rule,
    SpendRule,
    StreakRule,
)
from loyalty.program.names_document import (
    CHANNELS_MAX,
    POINTS_SUM_MAX,
    WINDOW_DAYS_MAX,
    by_default,
    channel_field,
    name_field,
    points_field,
    rounding_field,
)
from loyalty.program.when_document import WhenSchema, read_when

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAMES_MAX = 1000
PRIORITY_MAX = 1000


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
    order_discounts_earn = Flag(load_default=False)
    coupons_earn = Flag(load_default=False)


class TimesMaxSchema(Input):
    """How often a rule pays one member in a period of the programme's time zone."""

    day = Whole(1, 1000)
    week = Whole(1, 1000)
    month = Whole(1, 10_000)
    year = Whole(1, 100_000)
    lifetime = Whole(1, 1_000_000)


class PointsMaxSchema(Input):
    """How many points a rule pays one member in a period of the programme's time zone."""

    day = Whole(1, POINTS_SUM_MAX)
    week = Whole(1, POINTS_SUM_MAX)
    month = Whole(1, POINTS_SUM_MAX)
    year = Whole(1, POINTS_SUM_MAX)
    lifetime = Whole(1, POINTS_SUM_MAX)


class _RuleSchema(Input):
    id = name_field(required=True)
    # marshmallow takes declared fields off the class, so its own attribute `only` is not touched.
    only = fields.Nested(MatchSchema)  # type: ignore[assignment]
    excluding = fields.Nested(MatchSchema)
    when = fields.Nested(WhenSchema)
    unit = name_field(metadata=by_default("points", "Which of the programme's units it pays."))
    priority = Whole(
        -PRIORITY_MAX, PRIORITY_MAX, metadata=by_default(0, "Greater ones are asked first.")
    )
    group = name_field(metadata={"description": "Of the rules of a group only one pays."})
    times_max = fields.Nested(TimesMaxSchema)
    points_max = fields.Nested(PointsMaxSchema)
    budget = Whole(1, POINTS_SUM_MAX, metadata={"description": "Points for all members together."})
    mode = Choice(
        ["soft", "truncate", "hard"],
        metadata=by_default(
            "truncate", "At a limit of points: pay the last one in full, in part, or not."
        ),
    )
    on_return = Choice(
        ["proportional", "while_it_holds", "when_undone", "keep"],
        metadata=by_default("proportional", "What a return of the purchase takes back."),
    )


class SpendRuleSchema(_RuleSchema):
    """Points for money."""

    type = Choice(["spend"], required=True)
    points = points_field(required=True)
    per_amount = Whole(1, 10**9, required=True, metadata={"description": "Minor units."})
    basis = fields.Nested(BasisSchema)
    rounding = rounding_field("floor")
    per = Choice(["basket", "line"], load_default="basket")
    amount_min = Whole(0, 10**12, load_default=0)


class MultiplierRuleSchema(_RuleSchema):
    """Times the spend points of matching lines."""

    type = Choice(["multiplier"], required=True)
    factor = _Factor()
    rounding = rounding_field("floor")


class ChannelsMultiplierRuleSchema(_RuleSchema):
    """Times the spend points while enough channels are alive."""

    type = Choice(["channels_multiplier"], required=True)
    channels_min = Whole(2, CHANNELS_MAX, required=True)
    window_days = Whole(1, WINDOW_DAYS_MAX, required=True)
    factor = _Factor()
    rounding = rounding_field("floor")


class FixedRuleSchema(_RuleSchema):
    """Fixed points a unit, line or basket."""

    type = Choice(["fixed"], required=True)
    points = points_field(required=True)
    per = Choice(["unit", "line", "basket"], load_default="unit")


class EngagementRuleSchema(_RuleSchema):
    """Points for an engagement."""

    type = Choice(["engagement"], required=True)
    engagement = Choice(ENGAGEMENTS, required=True)
    points = points_field(required=True)


class NthChannelRuleSchema(_RuleSchema):
    """Points for the n-th distinct channel within a window."""

    type = Choice(["nth_channel"], required=True)
    n = Whole(2, CHANNELS_MAX, required=True)
    window_days = Whole(1, WINDOW_DAYS_MAX, required=True)
    points = points_field(required=True)


class FirstOnChannelRuleSchema(_RuleSchema):
    """Points for the first ever activity on a channel."""

    type = Choice(["first_on_channel"], required=True)
    points = points_field(required=True)


class EveryNthRuleSchema(_RuleSchema):
    """Points for every n-th purchase, visit or piece: a stamp card."""

    type = Choice(["every_nth"], required=True)
    n = Whole(2, 1000, required=True)
    counts = Choice(["purchases", "visits", "units"], load_default="purchases")
    points = points_field(required=True)


class MilestoneRuleSchema(_RuleSchema):
    """Points once, when so many purchases or so much money is reached."""

    type = Choice(["milestone"], required=True)
    measure = Choice(["purchases", "spend"], load_default="purchases")
    at = Whole(
        1, 10**12, required=True, metadata={"description": "Purchases, or money in minor units."}
    )
    points = points_field(required=True)


class StreakRuleSchema(_RuleSchema):
    """Points for buying in so many periods running."""

    type = Choice(["streak"], required=True)
    period = Choice(["day", "week", "month"], load_default="week")
    n = Whole(2, 366, required=True)
    points = points_field(required=True)


class JourneyRuleSchema(_RuleSchema):
    """Points for a purchase of what was looked at or put aside elsewhere."""

    type = Choice(["journey"], required=True)
    first = Choice(BROWSING, load_default="view")
    first_channels = Items(channel_field(), CHANNELS_MAX)
    within_hours = Whole(1, 24 * 60, load_default=168)
    same = Flag(load_default=True)
    other_channel = Flag(load_default=True)
    points = points_field(required=True)


class ReferralRuleSchema(_RuleSchema):
    """Points for both sides when a member who was referred buys for the first time."""

    type = Choice(["referral"], required=True)
    friend_points = points_field(0, load_default=0)
    referrer_points = points_field(0, load_default=0)


RULE_SHAPES: Mapping[str, type[Schema]] = {
    "spend": SpendRuleSchema,
    "multiplier": MultiplierRuleSchema,
    "channels_multiplier": ChannelsMultiplierRuleSchema,
    "fixed": FixedRuleSchema,
    "engagement": EngagementRuleSchema,
    "nth_channel": NthChannelRuleSchema,
    "first_on_channel": FirstOnChannelRuleSchema,
    "every_nth": EveryNthRuleSchema,
    "milestone": MilestoneRuleSchema,
    "streak": StreakRuleSchema,
    "journey": JourneyRuleSchema,
    "referral": ReferralRuleSchema,
}
_RULES: Mapping[str, type[Rule]] = {
    "spend": SpendRule,
    "multiplier": MultiplierRule,
    "channels_multiplier": ChannelsMultiplierRule,
    "fixed": FixedRule,
    "engagement": EngagementRule,
    "nth_channel": NthChannelRule,
    "first_on_channel": FirstOnChannelRule,
    "every_nth": EveryNthRule,
    "milestone": MilestoneRule,
    "streak": StreakRule,
    "journey": JourneyRule,
    "referral": ReferralRule,
}
FACTORS = ("multiplier", "channels_multiplier")


def stage(rule_type: str) -> int:
    """When a rule is asked: 0 for spend points, 1 for what multiplies them, 2 for the others."""
    if rule_type == "spend":
        return 0
    return 1 if rule_type in FACTORS else 2


def read_rules(documents: list[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The rules in the order in which they are asked.

    Spend points must be there before anything multiplies them, so the stage comes first; then the
    greater priority; then the order of the document.
    """
    ordered = sorted(documents, key=lambda rule: (stage(rule["type"]), -rule.get("priority", 0)))
    return tuple(_rule(rule) for rule in ordered)


def _rule(document: Mapping[str, Any]) -> Rule:
    values = {
        name: _READERS[name](value) if name in _READERS else value
        for name, value in document.items()
        if name != "type"
    }
    return _RULES[document["type"]](**values)


def _match(document: Mapping[str, Any]) -> Match:
    return Match(**{name: frozenset(each) for name, each in document.items()})


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "only": _match,
    "excluding": _match,
    "when": read_when,
    "factor": Fraction,
    "basis": lambda basis: Basis(**basis),
    "first_channels": frozenset,
}
