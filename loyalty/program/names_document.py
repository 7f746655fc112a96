"""What all parts of a programme's document share: names, and the bounds of its numbers."""

from __future__ import annotations

from typing import Any

from loyalty.kit.fields import Choice, Text, Whole
from loyalty.program.money import ROUNDINGS

NAME_PATTERN = r"^[a-z][a-z0-9_-]*$"
NAME_FORM = "lower-case letters, digits, - and _, with a letter first"
SHORT_NAME_MAX = 40
CHANNELS_MAX = 32
POINTS_MAX = 1_000_000
POINTS_SUM_MAX = 10**12
WINDOW_DAYS_MAX = 3660


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


def by_default(value: object, text: str = "") -> dict[str, Any]:
    """Documentation of what holds where nothing is said."""
    return {"default": value} | ({"description": text} if text else {})
