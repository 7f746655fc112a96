"""The programme as a shop writes it: a JSON document, checked to the place of each mistake.

`read` turns a document that passes into the frozen `Program` that `step` runs.
"""

from __future__ import annotations

from fractions import Fraction
from math import gcd
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

from marshmallow import ValidationError, fields

from loyalty.kit.fields import Choice, Flag, Items, OneOf, Text, Whole
from loyalty.kit.schemas import Input
from loyalty.program.mistakes import mistakes
from loyalty.program.model import POINTS, PointsPayment, Program, ReturnPolicy, Stages
from loyalty.program.names_document import (
    CHANNELS_MAX,
    NAME_FORM,
    NAME_PATTERN,
    POINTS_MAX,
    SHORT_NAME_MAX,
    WINDOW_DAYS_MAX,
    channel_field,
    name_field,
    rounding_field,
)
from loyalty.program.rules_document import RULE_SHAPES, read_rules
from loyalty.program.tiers import GRACE_DAYS_MAX, ROLLING_DAYS_MAX, Ladder, Tier
from loyalty.program.units_document import (
    MONTHS_MAX,
    UNITS_MAX,
    WAIT_DAYS_MAX,
    PointsPaymentPolicySchema,
    UnitPolicySchema,
    read_units,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "NAME_FORM",
    "NAME_PATTERN",
    "POINTS_MAX",
    "ProgramSchema",
    "channel_field",
    "check",
    "currency_field",
    "name_field",
    "read",
]

RULES_MAX = 200
GROUPS_MAX = 50
TIERS_MAX = 20
BENEFITS_MAX = 20
_NAME = Text(SHORT_NAME_MAX, pattern=NAME_PATTERN, form=NAME_FORM)


def currency_field(**kwargs: Any) -> Text:
    """A currency's code, such as `EUR`."""
    return Text(3, pattern="^[A-Z]{3}$", form="three capital letters, such as EUR", **kwargs)


class _Named(fields.Dict):
    """An object whose names are the shop's own, each with a value of one shape."""

    def __init__(self, inner: fields.Field[Any], length_max: int, **metadata: Any) -> None:
        names = {"pattern": NAME_PATTERN, "maxLength": SHORT_NAME_MAX}
        metadata = {
            "maxProperties": length_max,
            "allOf": [{"propertyNames": names}],
            **metadata,
        }
        super().__init__(keys=_NAME, values=inner, metadata=metadata)
        self._inner, self._length_max = inner, length_max

    def _deserialize(
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> dict[str, Any]:
        if type(value) is not dict:
            raise ValidationError("Must be an object.")
        if len(value) > self._length_max:
            raise ValidationError(f"Must have at most {self._length_max} names.")
        read: dict[str, Any] = {}
        wrong: dict[str, Any] = {}
        for name, each in value.items():
            try:
                read[_checked(name)] = self._inner.deserialize(each)
            except ValidationError as error:
                wrong[name] = error.messages
        if wrong:
            raise ValidationError(wrong)
        return read


def _checked(name: str) -> str:
    try:
        return _NAME.read(name)
    except ValidationError as error:
        raise ValidationError(f"A name has up to {SHORT_NAME_MAX} {NAME_FORM}.") from error


class ReturnPolicySchema(Input):
    """How points of returned goods are taken back."""

    balance = Choice(
        ["only_pending", "within_balance", "may_go_negative"], load_default="may_go_negative"
    )
    rounding = rounding_field("half_up")
    by = Choice(
        ["line", "value"],
        metadata={
            "default": "line",
            "description": "Each posting falls with its lines, or all with the basket's value.",
        },
    )
    window_days = Whole(1, WAIT_DAYS_MAX, metadata={"default": 30})


class LadderTierSchema(Input):
    """One step of the ladder."""

    id = name_field(required=True)
    name = Text(100, required=True)
    threshold = Whole(0, 10**12, required=True)
    benefits = Items(Text(200), BENEFITS_MAX)


class LadderSchema(Input):
    """The ladder, and how a tier is reached and lost."""

    measure = Choice(["spend", "points", "purchases"], required=True)
    unit = name_field(metadata={"default": POINTS, "description": "For points: which."})
    period = Choice(["lifetime", "rolling", "calendar", "anniversary"], required=True)
    rolling_days = Whole(1, ROLLING_DAYS_MAX)
    calendar = Choice(["year", "half_year", "quarter", "month"])
    entry = Choice(["at_once", "at_review"], metadata={"default": "at_once"})
    grace_days = Whole(0, GRACE_DAYS_MAX, metadata={"default": 0})
    counts_current = Flag(metadata={"default": True})
    on_return = Choice(["subtract", "keep"], metadata={"default": "subtract"})
    ladder = Items(fields.Nested(LadderTierSchema), TIERS_MAX, length_min=1, required=True)


class StagesSchema(Input):
    """Where a member stands with the shop."""

    loyal_purchases_min = Whole(2, 1000, metadata={"default": 3})
    at_risk_after_days = Whole(1, WINDOW_DAYS_MAX, metadata={"default": 60})
    lapsed_after_days = Whole(1, WINDOW_DAYS_MAX, metadata={"default": 180})


class ProgramSchema(Input):
    """A loyalty programme."""

    name = Text(100, required=True)
    currency = currency_field(required=True, metadata={"examples": ["EUR"]})
    time_zone = Text(64, load_default="UTC", metadata={"examples": ["Europe/Berlin"]})
    channels = Items(channel_field(), CHANNELS_MAX, length_min=1, required=True)
    unknown_identifier = Choice(["enrol", "refuse"], load_default="enrol")
    returns = fields.Nested(ReturnPolicySchema)
    expires_after_months = Whole(
        1, MONTHS_MAX, metadata={"description": "Short for the expiry of the main unit."}
    )
    units = _Named(fields.Nested(UnitPolicySchema), UNITS_MAX, examples=[{"stamps": {}}])
    multipliers = Choice(["add", "multiply", "best"], metadata={"default": "add"})
    groups = _Named(Choice(["first", "best"]), GROUPS_MAX, examples=[{"weekend": "best"}])
    tiers = fields.Nested(LadderSchema)
    stages = fields.Nested(StagesSchema)
    points_payment = fields.Nested(PointsPaymentPolicySchema)
    rules = Items(OneOf(RULE_SHAPES), RULES_MAX, required=True)

    extra_json_schema: ClassVar[Mapping[str, Any]] = {"title": "Program"}


def check(document: Mapping[str, Any]) -> None:
    """Find what no schema can see: mistakes between the parts of a document that loaded.

    Raises:
        ValidationError: with the dotted place of each mistake.
    """
    found: dict[str, list[str]] = {}
    for place, text in mistakes(document):
        found.setdefault(place, []).append(text)
    if found:
        raise ValidationError(found)


def read(document: Mapping[str, Any], *, version: int) -> Program:
    """The programme of a checked document."""
    return Program(
        version=version,
        name=document["name"],
        currency=document["currency"],
        channels=frozenset(document["channels"]),
        rules=read_rules(document["rules"]),
        zone=ZoneInfo(document["time_zone"]),
        returns=ReturnPolicy(**document.get("returns", {})),
        enrols_unknown=document["unknown_identifier"] == "enrol",
        units=read_units(document),
        multipliers=document.get("multipliers", "add"),
        groups=document.get("groups", {}),
        ladder=_ladder(document.get("tiers")),
        stages=Stages(**document.get("stages", {})),
        payment=_payment(document.get("points_payment")),
    )


def _ladder(document: Mapping[str, Any] | None) -> Ladder | None:
    if document is None:
        return None
    values = {name: value for name, value in document.items() if name != "ladder"}
    tiers = (
        Tier(each["id"], each["name"], each["threshold"], tuple(each.get("benefits", ())))
        for each in document["ladder"]
    )
    return Ladder(tiers=tuple(tiers), **values)


def _payment(document: Mapping[str, Any] | None) -> PointsPayment | None:
    if document is None:
        return None
    points, amount = document["points"], document["amount"]
    return PointsPayment(
        points=points,
        amount=amount,
        step=document.get("step", points // gcd(points, amount)),
        share_max=Fraction(document.get("share_max", "1")),
        unit=document.get("unit", POINTS),
    )
