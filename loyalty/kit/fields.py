"""Marshmallow fields that take exactly what they say and name what was wrong in plain words.

The stock fields are lenient: `Integer(strict=True)` takes `true` and `"5"`, `Boolean` takes "yes".
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, ValidationError, fields, validate

from loyalty.kit.clock import rfc3339, to_millisecond

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
NO_CONTROL_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]*$"
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})\Z", re.ASCII
)
EARLIEST_AT = datetime(1990, 1, 1, tzinfo=UTC)
LATEST_AT = datetime(2200, 1, 1, tzinfo=UTC)
# Sums of amounts must stay exact in 64 bits and in the doubles of JSON readers.
AMOUNT_MAX = 10**12


class Text(fields.String):
    """A string without control characters, between two lengths, optionally of one pattern."""

    def __init__(
        self, length_max: int, *, length_min: int = 1, pattern: str = "", **kwargs: Any
    ) -> None:
        metadata = {"pattern": pattern or NO_CONTROL_PATTERN, **kwargs.pop("metadata", {})}
        super().__init__(
            validate=validate.Length(length_min, length_max), metadata=metadata, **kwargs
        )
        self._pattern = re.compile(pattern.removesuffix("$") + r"\Z", re.ASCII) if pattern else None

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if type(value) is not str:
            raise ValidationError("Must be text.")
        if _CONTROL.search(value):
            raise ValidationError("Must not contain control characters.")
        if self._pattern and not self._pattern.match(value):
            raise ValidationError(f"Must match {self.metadata['pattern']}.")
        return value


class Whole(fields.Integer):
    """A whole number between two bounds, both included; neither `true` nor `1.0` nor "1"."""

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if type(value) is not int:
            raise ValidationError("Must be a whole number.")
        return value


class QueryWhole(fields.Integer):
    """A whole number in a query string: digits and nothing else."""

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            raise ValidationError("Must be a whole number.")
        return int(value)


class Flag(fields.Boolean):
    """`true` or `false`, not a word or a number for it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if type(value) is not bool:
            raise ValidationError("Must be true or false.")
        return value


class Choice(fields.String):
    """One of a few words."""

    def __init__(self, choices: Iterable[str], **kwargs: Any) -> None:
        allowed = tuple(choices)
        super().__init__(validate=validate.OneOf(allowed), **kwargs)
        self._allowed = allowed

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if type(value) is not str:
            raise ValidationError(f"Must be one of: {', '.join(self._allowed)}.")
        return value


class Moment(fields.AwareDateTime):
    """An RFC 3339 time with its offset, between 1990 and 2200, as aware UTC."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(format="iso", **kwargs)

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if type(value) is not str or not _MOMENT.match(value):
            raise ValidationError("Must be an RFC 3339 time with offset: 2026-03-01T09:30:00Z.")
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError as error:
            raise ValidationError("Is not a date and time that exists.") from error
        margin = timedelta(days=2)
        if not EARLIEST_AT + margin < moment < LATEST_AT - margin:
            raise ValidationError("Must lie between 1990 and 2200.")
        return to_millisecond(moment)


class Amount(Whole):
    """Money in minor units (cents)."""

    def __init__(self, *, minimum: int = 0, **kwargs: Any) -> None:
        super().__init__(minimum, AMOUNT_MAX, **kwargs)


class Items(fields.List[Any]):
    """A list between two lengths."""

    def __init__(
        self, inner: fields.Field[Any], length_max: int, *, length_min: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(inner, validate=validate.Length(length_min, length_max), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if type(value) is not list:
            raise ValidationError("Must be a list.")
        # Checked before the items are read: a huge list costs nothing.
        for validator in self.validators:
            validator(value)
        return super()._deserialize(value, attr, data, **kwargs)


class Output(Schema):
    """A schema that documents an answer. Views build plain values; tests hold them to it."""

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """The answer as it is: it was built to this shape, so nothing walks it again."""
        return obj


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
