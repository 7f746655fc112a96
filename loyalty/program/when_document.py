"""When a rule pays, as a shop writes it: times, baskets, members, places and free conditions."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError, fields, validate

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
from loyalty.program.model import FULFILMENTS, PAYMENT_METHODS, Region, When
from loyalty.program.names_document import CHANNELS_MAX, by_default, name_field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SEGMENTS_MAX = 100
REGIONS_MAX = 100
# As far as a birthday can be from any day.
AROUND_DAYS_MAX = 180
RADIUS_M_MAX = 20_100_000
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
STAGES = ("acquisition", "trial", "loyal", "at_risk", "lapsed")
# Lines may be broken, and that is all.
_SOURCE_PATTERN = r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class MomentText(Text):
    """An RFC 3339 time with its offset that stays as the shop wrote it."""

    def __init__(self) -> None:
        super().__init__(40, metadata={"format": "date-time", "pattern": MOMENT_PATTERN})

    def read(self, value: Any) -> str:
        """The text, which is a moment."""
        Moment().read(value)
        return str(value)


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


class AroundSchema(Input):
    """How many days before and after the day itself."""

    days_before = Whole(0, AROUND_DAYS_MAX, load_default=0)
    days_after = Whole(0, AROUND_DAYS_MAX, load_default=0)


class WhenRegionSchema(Input):
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
        ["program", "store"], metadata=by_default("program", "Whose time hours and weekdays mean.")
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
    near = Items(fields.Nested(WhenRegionSchema), REGIONS_MAX, length_min=1)
    condition = _Source()


def minutes(clock: str) -> int:
    """The minutes of a day before a time such as `16:30`."""
    hours, _, rest = clock.partition(":")
    return int(hours) * 60 + int(rest)


def read_when(document: Mapping[str, Any]) -> When:
    """The conditions of a checked document."""
    named = {_WHEN_NAMES.get(name, name): value for name, value in document.items()}
    return When(
        **{
            name: _WHEN_READERS[name](value) if name in _WHEN_READERS else value
            for name, value in named.items()
        }
    )


def _around(document: Mapping[str, Any]) -> tuple[int, int]:
    return document.get("days_before", 0), document.get("days_after", 0)


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
