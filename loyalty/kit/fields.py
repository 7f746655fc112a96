"""Marshmallow fields that take exactly what they say and name what was wrong in plain words.

The stock fields are lenient: `Integer(strict=True)` takes `true` and `"5"`, `Boolean` takes "yes".
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, ValidationError, fields, missing, validate

from loyalty.kit.clock import to_millisecond

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_DIGITS = re.compile(r"-?\d{1,18}\Z", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NO_CONTROL_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
# RFC 3339 with its offset. The years leave room for every sum of a time, a window and a time zone.
MOMENT_PATTERN = (
    "^(199[0-9]|20[0-9]{2}|21[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?"
    "([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
DAY_PATTERN = "^(199[0-9]|20[0-9]{2}|21[0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
_DAY = re.compile(DAY_PATTERN.removesuffix("$") + r"\Z")
_MOMENT = re.compile(MOMENT_PATTERN.removesuffix("$") + r"\Z")
# Sums of amounts must stay exact in 64 bits and in the doubles of JSON readers.
AMOUNT_MAX = 10**12


class Strict(fields.Field[Any]):
    """Reads a value that is there in one call: requests have many fields, and each call counts.

    The validators given to marshmallow are for the documentation; `read` holds to the same bounds.
    """

    def deserialize(self, value: Any, attr: str | None = None, data: Any = None, **kw: Any) -> Any:
        """The value, or marshmallow's answer to a missing one or to null."""
        if value is missing and not self.required and self.load_default is missing:
            return missing
        if value is missing or value is None:
            return super().deserialize(value, attr, data, **kw)
        return self.read(value)

    def read(self, value: Any) -> Any:
        """The value if it is exactly what the field says.

        Raises:
            ValidationError: in plain words.
        """
        raise NotImplementedError


class Text(Strict, fields.String):
    """A string without control characters, between two lengths, optionally of one pattern.

    `form` says the pattern in words, for the message.
    """

    def __init__(
        self,
        length_max: int,
        *,
        length_min: int = 1,
        pattern: str = "",
        form: str = "",
        **kwargs: Any,
    ) -> None:
        metadata = {"pattern": pattern or NO_CONTROL_PATTERN, **kwargs.pop("metadata", {})}
        super().__init__(
            validate=validate.Length(length_min, length_max), metadata=metadata, **kwargs
        )
        self._length_min, self._length_max = length_min, length_max
        self._pattern = re.compile(pattern.removesuffix("$") + r"\Z", re.ASCII) if pattern else None
        self._form = form or (f"text of the form {pattern}" if pattern else "text")

    def read(self, value: Any) -> str:
        """The text as it is."""
        if type(value) is not str:
            raise ValidationError(f"Must be {self._form}.")
        if not self._length_min <= len(value) <= self._length_max:
            raise ValidationError(f"Must have {self._length_min} to {self._length_max} characters.")
        if _CONTROL.search(value):
            raise ValidationError("Must not contain control characters.")
        if self._pattern and not self._pattern.match(value):
            raise ValidationError(f"Must be {self._form}.")
        return value


class Whole(Strict, fields.Integer):
    """A whole number between two bounds, both included; neither `true` nor `1.0` nor "1"."""

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)
        self._minimum, self._maximum = minimum, maximum

    def read(self, value: Any) -> int:
        """The number."""
        if type(value) is not int:
            raise ValidationError("Must be a whole number.")
        if not self._minimum <= value <= self._maximum:
            raise ValidationError(f"Must be between {self._minimum} and {self._maximum}.")
        return value


class QueryWhole(Whole):
    """A whole number in a query string: digits and nothing else."""

    def read(self, value: Any) -> int:
        """The number."""
        if not _DIGITS.match(value):
            raise ValidationError("Must be a whole number.")
        return super().read(int(value))


class Number(Strict, fields.Float):
    """A number between two bounds, both included; neither `true` nor "1" nor NaN."""

    def __init__(self, minimum: float, maximum: float, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)
        self._minimum, self._maximum = minimum, maximum

    def read(self, value: Any) -> float:
        """The number."""
        if type(value) not in (int, float):
            raise ValidationError("Must be a number.")
        if not self._minimum <= value <= self._maximum:
            raise ValidationError(f"Must be between {self._minimum} and {self._maximum}.")
        return float(value)


class Flag(Strict, fields.Boolean):
    """`true` or `false`, not a word or a number for it."""

    def read(self, value: Any) -> bool:
        """The flag."""
        if type(value) is not bool:
            raise ValidationError("Must be true or false.")
        return value


class Choice(Strict, fields.String):
    """One of a few words."""

    def __init__(self, choices: Iterable[str], **kwargs: Any) -> None:
        allowed = tuple(choices)
        super().__init__(validate=validate.OneOf(allowed), **kwargs)
        self._allowed = allowed

    def read(self, value: Any) -> str:
        """The word."""
        if type(value) is not str or value not in self._allowed:
            raise ValidationError(f"Must be one of: {', '.join(self._allowed)}.")
        return value


class Moment(Strict, fields.AwareDateTime):
    """An RFC 3339 time with its offset, between 1990 and 2200, as aware UTC."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"pattern": MOMENT_PATTERN, **kwargs.pop("metadata", {})}
        super().__init__(format="iso", metadata=metadata, **kwargs)

    def read(self, value: Any) -> datetime:
        """The moment in UTC, to the millisecond."""
        if type(value) is not str or not _MOMENT.match(value):
            raise ValidationError(
                "Must be an RFC 3339 time with offset between 1990 and 2200: 2026-03-01T09:30:00Z."
            )
        try:
            return to_millisecond(datetime.fromisoformat(value.upper()))
        except ValueError as error:
            raise ValidationError("Is not a date and time that exists.") from error


class Day(Strict, fields.Date):
    """A day as RFC 3339 writes it, between 1990 and 2199."""

    def __init__(self, **kwargs: Any) -> None:
        metadata = {"pattern": DAY_PATTERN, **kwargs.pop("metadata", {})}
        super().__init__(format="iso", metadata=metadata, **kwargs)

    def read(self, value: Any) -> date:
        """The day."""
        if type(value) is not str or not _DAY.match(value):
            raise ValidationError("Must be a day between 1990 and 2199: 2026-03-01.")
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise ValidationError("Is not a day that exists.") from error


class Instant(fields.AwareDateTime):
    """An RFC 3339 time of ours in an answer, whatever its year."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)


class Amount(Whole):
    """Money in minor units (cents)."""

    def __init__(self, *, minimum: int = 0, **kwargs: Any) -> None:
        super().__init__(minimum, AMOUNT_MAX, **kwargs)


class Items(fields.List[Any]):
    """A list between two lengths."""

    def __init__(
        self, inner: fields.Field[Any], length_max: int, *, length_min: int = 0, **kwargs: Any
    ) -> None:
        size = validate.Length(length_min, length_max, error="Must have {min} to {max} items.")
        super().__init__(inner, validate=size, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        return super()._deserialize(self.sized(value), attr, data, **kwargs)

    def sized(self, value: Any) -> list[Any]:
        """The list, checked before its items are read: a huge one costs nothing."""
        if type(value) is not list:
            raise ValidationError("Must be a list.")
        for validator in self.validators:
            validator(value)
        return value


class QueryItems(Items):
    """A list in a query string: the name given several times, or once with commas between.

    Empty items are passed over, so that `cart=` is an empty cart; what comes twice counts once.
    """

    def __init__(self, inner: Text, length_max: int, **kwargs: Any) -> None:
        kwargs.setdefault("load_default", ())
        super().__init__(inner, length_max, **kwargs)

    def sized(self, value: Any) -> list[Any]:
        """The items, none empty and none twice."""
        return super().sized(_pieces(value))


def _pieces(given: list[str]) -> list[str]:
    pieces = given[0].split(",") if len(given) == 1 else given
    return list(dict.fromkeys(piece for piece in pieces if piece))


def flatten(messages: Any, place: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Marshmallow's nested messages as pairs of a dotted place and one sentence."""
    if isinstance(messages, dict):
        pairs: list[tuple[str, str]] = []
        for name, inner in messages.items():
            step = () if name == "_schema" else (str(name),)
            pairs += flatten(inner, (*place, *step))
        return pairs
    if isinstance(messages, list):
        return [pair for inner in messages for pair in flatten(inner, place)]
    return [(".".join(place) or "body", str(messages))]


class OneOf(fields.Field[Any]):
    """An object of one of several shapes; its `type` says which. The value loads to a mapping."""

    def __init__(self, shapes: Mapping[str, type[Schema]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shapes = shapes
        self._loaders = {name: shape() for name, shape in shapes.items()}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if type(value) is not dict:
            raise ValidationError("Must be an object.")
        name = value.get("type")
        if type(name) is not str or name not in self._loaders:
            raise ValidationError({"type": [f"Must be one of: {', '.join(self._loaders)}."]})
        return self._loaders[name].load(value)
