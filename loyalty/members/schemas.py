"""The shapes of members on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.access.tokens import TOKEN_SECONDS_MAX
from loyalty.kit.fields import Items, Moment, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import (
    BIRTHDAY_PATTERN,
    IDENTIFIER_TYPE_PATTERN,
    IDENTIFIERS_MAX,
    MEMBER_ID_PATTERN,
    SEGMENT_PATTERN,
    SEGMENTS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class IdentifierSchema(Input):
    """How a member is known on a channel."""

    type = Text(64, pattern=IDENTIFIER_TYPE_PATTERN, required=True, metadata={"examples": ["card"]})
    value = Text(254, required=True, metadata={"examples": ["9300 1234 5678"]})


class PartySchema(Input):
    """A member, named by id or by any identifier."""

    member = Text(34, pattern=MEMBER_ID_PATTERN)
    identifier = fields.Nested(IdentifierSchema)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": ["member"]}, {"required": ["identifier"]}]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """Exactly one of the two names the member."""
        if ("member" in data) == ("identifier" in data):
            raise ValidationError("Name the member by member or by identifier, not both.", "member")


class EnrolSchema(Input):
    """A new member."""

    identifiers = Items(fields.Nested(IdentifierSchema), IDENTIFIERS_MAX, load_default=list)


class LookupSchema(Input):
    """Whom to look up. In a body, because an identifier is personal and a URL is not private."""

    identifier = fields.Nested(IdentifierSchema, required=True)


class ProfileSchema(Input):
    """What the programme's rules may ask of a member."""

    birthday = Text(
        7,
        length_min=7,
        pattern=BIRTHDAY_PATTERN,
        form="a month and a day that exists, such as --02-29",
        allow_none=True,
        load_default=None,
        metadata={"description": "Month and day, without a year; kept sealed."},
    )
    segments = Items(
        Text(64, pattern=SEGMENT_PATTERN),
        SEGMENTS_MAX,
        load_default=list,
        metadata={"description": "Names of your own; the same name twice is once."},
    )


class ShownProfileSchema(Output):
    """A member's profile as it is now."""

    birthday = fields.String(allow_none=True, required=True, metadata={"pattern": BIRTHDAY_PATTERN})
    segments = fields.List(fields.String(), required=True)


class LinkedIdentifierSchema(Output):
    """An identifier of a member."""

    id = fields.String(required=True, metadata={"description": "Unlink it under this id."})
    type = fields.String(required=True)
    value = fields.String(required=True)
    linked_at = Moment(required=True)


class MemberSchema(Output):
    """A member."""

    id = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": ["active", "provisional"]})
    enrolled_at = Moment(required=True)
    identifiers = fields.List(fields.Nested(LinkedIdentifierSchema), required=True)
    profile = fields.Nested(ShownProfileSchema, required=True)


class TokenRequestSchema(Input):
    """How long the browser's token shall live."""

    expires_in_seconds = Whole(30, TOKEN_SECONDS_MAX, load_default=TOKEN_SECONDS_MAX)
    authenticated_at = Moment(
        metadata={
            "description": "When the member logged in at the shop: the shop's server vouches for "
            "it. Within fifteen minutes of it the token can also exercise the member's rights."
        }
    )


class TokenSchema(Output):
    """A token for a browser."""

    token = fields.String(required=True)
    expires_at = Moment(required=True)
    proof = fields.String(
        required=True,
        metadata={"enum": ["", "login"], "description": "`login`: rights can be exercised."},
    )
