"""The rules as a shop writes them: their shapes, and how each becomes a value for `step`.

What one field or one object can see of itself is checked here; what only shows between the parts of
a document is in `mistakes.py`.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, ValidationError, fields, validate

from loyalty.kit.fields import (
    MOMENT_PATTERN,
    Amount,
    Choice,
    Flag,
    Items,
    Moment,
    Strict,
    Text,
    Whole,
)
from loyalty.kit.schemas import Input
from loyalty.members.model import SEGMENT_PATTERN
from loyalty.program.condition import SOURCE_MAX, compile_condition
from loyalty.program.model import (
    BROWSING,
    ENGAGEMENTS,
    FULFILMENTS,
    PAYMENT_METHODS,
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
    Region,
    Rule,
    SpendRule,
    StreakRule,
    When,
)
from loyalty.program.money import ROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME_PATTERN = r"^[a-z][a-z0-9_-]*$"
NAME_FORM = "lower-case letters, digits, - and _, with a letter first"
SHORT_NAME_MAX = 40
CHANNELS_MAX = 32
NAMES_MAX = 1000
SEGMENTS_MAX = 100
REGIONS_MAX = 100
POINTS_MAX = 1_000_000
POINTS_SUM_MAX = 10**12
WINDOW_DAYS_MAX = 3660
# As far as a birthday can be from any day.
AROUND_DAYS_MAX = 180
RADIUS_M_MAX = 20_100_000
PRIORITY_MAX = 1000
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STAGES = ("acquisition", "trial", "loyal", "at_risk", "lapsed")
# Lines may be broken, and that is all.
_SOURCE_PATTERN = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def channel_field(**kwargs: Any) -> Text:
    """A channel's name, such as `web`."""
    return Text(32, pattern=NAME_PATTERN, form=NAME_FORM, **kwargs)


def name_field(**kwargs: Any) -> Text:
    """A name that the shop gives to a rule, a unit, a group or a tier, such as `gold`."""
    return Text(SHORT_NAME_MAX, pattern=NAME_PATTERN, form=NAME_FORM, **kwargs)


def points_field(minimum: int = 1, **kwargs: Any) -> Whole:
    """Points that a rule gives at a time."""
    return Whole(minimum, POINTS_MAX, **kwargs)


def rounding_field(default: str) -> Choice:
    """One of the roundings that have a name."""
    return Choice(ROUNDINGS, load_default=default)


def _by_default(value: object, text: str = "") -> dict[str, Any]:
    """Documentation of what holds where nothing is said."""
    return {"default": value} | ({"description": text} if text else {})


class MomentText(Text):
    """An RFC 3339 time with its offset that stays as the shop wrote it."""

    def __init__(self) -> None:
        super().__init__(40, metadata={"format": "date-time", "pattern": MOMENT_PATTERN})

    def read(self, value: Any) -> str:
        """The text, which is a moment."""
        Moment().read(value)
        return str(value)


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


class _Source(Strict, fields.String):
    """A condition's text; lines may be broken."""

    def __init__(self) -> None:
        super().__init__(
            validate=validate.Length(1, SOURCE_MAX),
            metadata={
                "pattern": _SOURCE_PATTERN,
                "description": "A condition in CEL.",
                "examples": ["basket.amount >= 5000 && at.hour < 12"],
            },
        )

    def read(self, value: Any) -> str:
        """The text as it is."""
        if type(value) is not str:
            raise ValidationError("Must be text.")
        if not 1 <= len(value) <= SOURCE_MAX:
            raise ValidationError(f"Must have 1 to {SOURCE_MAX} characters.")
        if _CONTROL.search(value):
            raise ValidationError("Must not contain control characters.")
        return value


class _Degrees(Strict, fields.Float):
    """A latitude or a longitude."""

    def __init__(self, limit: int) -> None:
        super().__init__(required=True, validate=validate.Range(-limit, limit))
        self._limit = limit

    def read(self, value: Any) -> float:
        """The degrees."""
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValidationError("Must be a number.")
        if abs(value) > self._limit:
            raise ValidationError(f"Must be between -{self._limit} and {self._limit}.")
        return float(value)


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


class AroundSchema(Input):
    """How many days before and after the day itself."""

    days_before = Whole(0, AROUND_DAYS_MAX, load_default=0)
    days_after = Whole(0, AROUND_DAYS_MAX, load_default=0)


class RegionSchema(Input):
    """A circle on the earth, in which the store lies."""

    latitude = _Degrees(90)
    longitude = _Degrees(180)
    radius_m = Whole(1, RADIUS_M_MAX, required=True, metadata={"description": "Metres."})


def _clock_field(latest: str) -> Text:
    pattern = f"^(([01][0-9]|2[0-3]):[0-5][0-9]{latest})$"
    return Text(5, pattern=pattern, form="a time of day, such as 16:00", required=True)


# `from` cannot be written as an attribute of a class.
HoursSchema = Input.from_dict(
    {"from": _clock_field(""), "to": _clock_field("|24:00")}, name="HoursSchema"
)


class WhenSchema(Input):
    """What else must hold for the rule to pay. All that is given must hold."""

    starts_at = MomentText()
    ends_at = MomentText()
    weekdays = Items(Choice(WEEKDAYS), len(WEEKDAYS), length_min=1)
    hours = fields.Nested(
        HoursSchema, metadata={"description": "From, and before; over midnight if `from` is later."}
    )
    clock = Choice(
        ["program", "store"], metadata=_by_default("program", "Whose time hours and weekdays mean.")
    )
    basket_min_amount = Amount(minimum=1, metadata={"description": "Of the whole basket."})
    basket_max_amount = Amount(minimum=1)
    lines_min_amount = Amount(minimum=1, metadata={"description": "Of the rule's lines."})
    quantity_min = Whole(1, 1_000_000, metadata={"description": "Of the rule's lines."})
    payment = Items(Choice(PAYMENT_METHODS), len(PAYMENT_METHODS), length_min=1)
    fulfilment = Items(Choice(FULFILMENTS), len(FULFILMENTS), length_min=1)
    first_purchase = Flag()
    birthday = fields.Nested(AroundSchema)
    anniversary = fields.Nested(AroundSchema, metadata={"description": "Of joining."})
    tiers = Items(name_field(), CHANNELS_MAX, length_min=1)
    segments = Items(
        Text(
            64,
            pattern=SEGMENT_PATTERN,
            form="lower-case letters, digits, - and _, with a letter or a digit first",
        ),
        SEGMENTS_MAX,
        length_min=1,
    )
    stages = Items(Choice(STAGES), len(STAGES), length_min=1)
    near = Items(fields.Nested(RegionSchema), REGIONS_MAX, length_min=1)
    condition = _Source()


class _RuleSchema(Input):
    id = name_field(required=True)
    # marshmallow takes declared fields off the class, so its own attribute `only` is not touched.
    only = fields.Nested(MatchSchema)  # type: ignore[assignment]
    excluding = fields.Nested(MatchSchema)
    when = fields.Nested(WhenSchema)
    unit = name_field(metadata=_by_default("points", "Which of the programme's units it pays."))
    priority = Whole(
        -PRIORITY_MAX, PRIORITY_MAX, metadata=_by_default(0, "Greater ones are asked first.")
    )
    group = name_field(metadata={"description": "Of the rules of a group only one pays."})
    times_max = fields.Nested(TimesMaxSchema)
    points_max = fields.Nested(PointsMaxSchema)
    budget = Whole(1, POINTS_SUM_MAX, metadata={"description": "Points for all members together."})
    mode = Choice(
        ["soft", "truncate", "hard"],
        metadata=_by_default(
            "truncate", "At a limit of points: pay the last one in full, in part, or not."
        ),
    )
    on_return = Choice(
        ["proportional", "while_it_holds", "when_undone", "keep"],
        metadata=_by_default("proportional", "What a return of the purchase takes back."),
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


def minutes(clock: str) -> int:
    """The minutes of a day before a time such as `16:30`."""
    hours, _, rest = clock.partition(":")
    return int(hours) * 60 + int(rest)


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


def _when(document: Mapping[str, Any]) -> When:
    named = {_WHEN_NAMES.get(name, name): value for name, value in document.items()}
    return When(
        **{
            name: _WHEN_READERS[name](value) if name in _WHEN_READERS else value
            for name, value in named.items()
        }
    )


def _around(document: Mapping[str, Any]) -> tuple[int, int]:
    return document.get("days_before", 0), document.get("days_after", 0)


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "only": _match,
    "excluding": _match,
    "when": _when,
    "factor": Fraction,
    "basis": lambda basis: Basis(**basis),
    "first_channels": frozenset,
}
_WHEN_NAMES = {
    "basket_min_amount": "basket_min",
    "basket_max_amount": "basket_max",
    "lines_min_amount": "lines_min",
    "near": "regions",
}
_WHEN_READERS: Mapping[str, Callable[[Any], Any]] = {
    "starts_at": lambda text: Moment().read(text),
    "ends_at": lambda text: Moment().read(text),
    "weekdays": lambda days: frozenset(WEEKDAYS.index(day) + 1 for day in days),
    "hours": lambda hours: (minutes(hours["from"]), minutes(hours["to"])),
    "birthday": _around,
    "anniversary": _around,
    "regions": lambda regions: tuple(Region(**each) for each in regions),
    "condition": compile_condition,
    **dict.fromkeys(("payment", "fulfilment", "tiers", "segments", "stages"), frozenset),
}
