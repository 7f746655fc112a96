"""Schemas of what comes in and what goes out.

Marshmallow reads a body field by field through a dozen calls each, which on a busy till is a third
of the whole request. An `Input` reads what is right in one pass, and gives what is not to
marshmallow, so that every message is marshmallow's.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from marshmallow import Schema, ValidationError, fields, missing, validates_schema

from loyalty.kit.fields import Items, Strict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Read = Callable[[Any], Any]


class _SurpriseError(Exception):
    """Not what the quick pass knows: an unknown name, a missing one, another kind of value."""


class Input(Schema):
    """A schema of what callers send. Unknown names are refused."""

    def load(self, data: Any, **options: Any) -> Any:
        """The data as its fields read it.

        Raises:
            ValidationError: with the messages by place.
        """
        if not options:
            try:
                return self.read(data)
            except (_SurpriseError, ValidationError):
                pass
        return super().load(data, **options)

    def read(self, data: Any) -> dict[str, Any]:
        """The same in one pass, for data that is right."""
        if type(data) is not dict:
            raise _SurpriseError
        readers = self._readers
        try:
            read = {name: readers[name](value) for name, value in data.items()}
        except KeyError as error:
            raise _SurpriseError from error
        for name, default in self._absent:
            if name not in read:
                if default is missing:
                    raise _SurpriseError
                read[name] = default() if callable(default) else default
        self.check(read)
        return read

    def check(self, data: Mapping[str, Any]) -> None:
        """Look for what no single field can see.

        Raises:
            ValidationError: with the field that is to blame.
        """

    @validates_schema
    def _check(self, data: Mapping[str, Any], **_: Any) -> None:
        self.check(data)

    @cached_property
    def _readers(self) -> dict[str, Read]:
        return {name: _reader(field) for name, field in self.load_fields.items()}

    @cached_property
    def _absent(self) -> tuple[tuple[str, Any], ...]:
        """What to do about names that are not there: a default, or `missing` for a refusal."""
        return tuple(
            (name, field.load_default)
            for name, field in self.load_fields.items()
            if field.required or field.load_default is not missing
        )


class Output(Schema):
    """A schema that documents an answer. Views build plain values; tests hold them to it."""

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """The answer as it is: it was built to this shape, so nothing walks it again."""
        return obj


def _reader(field: fields.Field[Any]) -> Read:
    """The quick way to read a field's value."""
    if isinstance(field, Strict):
        return field.read
    if isinstance(field, Items):
        inner = _reader(field.inner)
        return lambda value: [inner(each) for each in field.sized(value)]
    if isinstance(field, fields.Nested) and isinstance(field.schema, Input):
        return field.schema.read
    return field.deserialize
