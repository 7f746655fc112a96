"""The programme's units as a shop writes them: how long points wait, last, and where they count."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError, fields

from loyalty.kit.fields import Amount, Choice, Items, Strict, Text, Whole
from loyalty.kit.schemas import Input
from loyalty.program.model import POINTS
from loyalty.program.names_document import (
    CHANNELS_MAX,
    POINTS_MAX,
    WINDOW_DAYS_MAX,
    channel_field,
    name_field,
)
from loyalty.program.validity import Expiry, UnitPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

UNITS_MAX = 8
MONTHS_MAX = 240
WAIT_DAYS_MAX = 366
RETURN_WINDOW = "return_window"
_DAY_PATTERN = "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_MONTH_DAY_PATTERN = (
    "^((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))$"
)


class _Day(Text):
    """A date, kept as text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            10,
            pattern=_DAY_PATTERN,
            form="a date, such as 2027-12-31",
            **{"metadata": {"format": "date"}, **kwargs},
        )

    def read(self, value: Any) -> str:
        """The text, which is a date."""
        text = super().read(value)
        try:
            date.fromisoformat(text)
        except ValueError as error:
            raise ValidationError("There is no such day.") from error
        return text


class _PendingDaysSchema(Input):
    days = Whole(1, WAIT_DAYS_MAX)
    until = _Day()


class _Pending(Strict):
    """How long points wait: `{"days": 14}`, `{"until": "2027-01-01"}` or `"return_window"`."""

    def __init__(self) -> None:
        shapes = [
            {"type": "string", "enum": [RETURN_WINDOW]},
            _one("days", {"type": "integer", "minimum": 1, "maximum": WAIT_DAYS_MAX}),
            _one("until", {"type": "string", "format": "date", "pattern": _DAY_PATTERN}),
        ]
        text = "How long points wait before they can be spent."
        super().__init__(metadata={"oneOf": shapes, "description": text})
        self._schema = _PendingDaysSchema()

    def read(self, value: Any) -> Any:
        """The one that it is."""
        if value == RETURN_WINDOW:
            return value
        if type(value) is not dict or len(value) != 1:
            raise ValidationError('Must be {"days": …}, {"until": …} or "return_window".')
        return self._schema.load(value)


def _one(name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema of an object with one name in it."""
    return {
        "type": "object",
        "required": [name],
        "properties": {name: shape},
        "additionalProperties": False,
    }


class UnitExpirySchema(Input):
    """When points expire; for ever valid where nothing is set.

    `months` or `days` come first; `end_of` or `each_year_on` then go on to the end of that month
    or year, or to the next such day. `on` is one date for all. `idle_months` and `idle_days`:
    everything expires after so long without a purchase or an engagement.
    """

    months = Whole(1, MONTHS_MAX)
    days = Whole(1, WINDOW_DAYS_MAX)
    end_of = Choice(["month", "year"])
    each_year_on = Text(
        5,
        pattern=_MONTH_DAY_PATTERN,
        form="a month and a day that exists, such as 03-31",
        metadata={"examples": ["03-31"]},
    )
    on = _Day(metadata={"format": "date", "examples": ["2027-12-31"]})
    idle_months = Whole(1, MONTHS_MAX)
    idle_days = Whole(1, WINDOW_DAYS_MAX)


class UnitWorthSchema(Input):
    """What so many points are worth in the books."""

    points = Whole(1, POINTS_MAX, required=True)
    amount = Amount(required=True, metadata={"description": "Minor units."})


class UnitPolicySchema(Input):
    """One of the programme's point currencies."""

    pending = _Pending()
    expiry = fields.Nested(UnitExpirySchema)
    channels = Items(
        channel_field(),
        CHANNELS_MAX,
        length_min=1,
        metadata={"description": "Where it may be spent; everywhere where absent."},
    )
    worth = fields.Nested(UnitWorthSchema)


class PointsPaymentPolicySchema(Input):
    """Points as a means of payment: `points` pay `amount`."""

    points = Whole(1, POINTS_MAX, required=True)
    amount = Amount(minimum=1, required=True, metadata={"description": "Minor units."})
    step = Whole(
        1,
        POINTS_MAX,
        metadata={"description": "Only multiples of it; by default as few as whole cents allow."},
    )
    share_max = Text(
        6,
        pattern=r"^(0\.[0-9]{1,4}|1)$",
        form='a share up to 1 as text, such as "0.5"',
        metadata={"default": "1", "description": "The most of a basket that points may pay."},
    )
    unit = name_field(metadata={"default": POINTS})


def read_units(document: Mapping[str, Any]) -> dict[str, UnitPolicy]:
    """The policy of each unit of a document; the main unit is always there.

    `expires_after_months` is a short form for the main unit's expiry.
    """
    returns = document.get("returns", {})
    window_days = returns.get("window_days", 30)
    units = {
        name: read_unit(each, window_days=window_days)
        for name, each in document.get("units", {}).items()
    }
    months = document.get("expires_after_months")
    if months:
        waits = units.get(POINTS, UnitPolicy())
        units[POINTS] = UnitPolicy(
            waits.pending_days,
            waits.pending_until,
            Expiry(months=months),
            waits.channels,
            waits.worth,
        )
    return {POINTS: UnitPolicy(), **units}


def read_unit(document: Mapping[str, Any], *, window_days: int) -> UnitPolicy:
    """A unit's policy; `return_window` is `window_days` long."""
    pending = document.get("pending", {})
    if pending == RETURN_WINDOW:
        pending = {"days": window_days}
    until = pending.get("until")
    worth = document.get("worth")
    return UnitPolicy(
        pending_days=pending.get("days", 0),
        pending_until=date.fromisoformat(until) if until else None,
        expiry=_expiry(document.get("expiry", {})),
        channels=frozenset(document.get("channels", ())),
        worth=(worth["amount"], worth["points"]) if worth else (0, 1),
    )


def _expiry(document: Mapping[str, Any]) -> Expiry:
    values = dict(document)
    if "on" in values:
        values["on"] = date.fromisoformat(values["on"])
    if "each_year_on" in values:
        month, _, day = values["each_year_on"].partition("-")
        values["each_year_on"] = (int(month), int(day))
    return Expiry(**values)
