"""Identifiers in their one normal form, and the member that they lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from loyalty.kit.errors import ConflictError, FieldError, InvalidError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

IDENTIFIER_TYPE_PATTERN = (
    r"^(card|email|phone|app|social:[a-z][a-z0-9_-]{0,30}|marketplace:[a-z][a-z0-9_-]{0,30})$"
)
IDENTIFIERS_MAX = 50
MEMBER_ID_PATTERN = r"^m_[0-9a-f]{32}$"


class MemberNotFoundError(NotFoundError):
    """No member has that id or identifier."""

    code = "member_not_found"
    title = "There is no such member"


class IdentifierTakenError(ConflictError):
    """The identifier belongs to another member."""

    code = "identifier_taken"
    title = "The identifier belongs to another member"


class IdentifierNotFoundError(NotFoundError):
    """The member has no such identifier."""

    code = "identifier_not_found"
    title = "The member has no such identifier"


class TooManyIdentifiersError(ConflictError):
    """A member has at most fifty identifiers."""

    code = "too_many_identifiers"
    title = "The member has as many identifiers as allowed"


class InvalidIdentifierError(ConflictError):
    """The value cannot be an identifier of its type."""

    code = "invalid_identifier"
    title = "The value is not an identifier of that type"


class KeyReusedError(InvalidError):
    """An idempotency key or external id came again with another body."""

    code = "key_reused"
    title = "The key was used before with another body"


@dataclass(frozen=True, slots=True)
class Identifier:
    """A type and the value in its normal form. Personal: never logged, never in a URL."""

    type: str
    value: str

    def __repr__(self) -> str:
        return f"Identifier({self.type})"


@dataclass(frozen=True, slots=True)
class LinkedIdentifier:
    """An identifier of a member, with the id under which it can be unlinked."""

    id: str
    identifier: Identifier
    linked_at: datetime


@dataclass(frozen=True, slots=True)
class Member:
    """A person as the shop knows it. Provisional until somebody enrols it."""

    id: str
    status: Literal["active", "provisional"]
    enrolled_at: datetime
    identifiers: tuple[LinkedIdentifier, ...] = ()


def normal(kind: str, value: str, *, place: str = "identifier.value") -> Identifier:
    """The identifier in the form under which every channel finds the same member.

    Args:
        kind: `card`, `email`, `phone`, `app`, `social:<network>` or `marketplace:<name>`.
        value: as the channel knows it.
        place: where in the body the value stands, for the error.

    Raises:
        InvalidIdentifierError: the value cannot be one of that type.
    """
    normalise = _NORMALISE.get(kind.partition(":")[0], _handle)
    result = normalise(value)
    if not result:
        what = "Does not read as an identifier of this type."
        raise InvalidIdentifierError(what, errors=(FieldError(place, what),))
    return Identifier(kind, result)


def _card(value: str) -> str:
    return re.sub(r"[\s-]", "", value).upper()


def _email(value: str) -> str:
    try:
        checked = validate_email(value.strip(), check_deliverability=False)
    except EmailNotValidError:
        return ""
    return checked.normalized.casefold()


def _phone(value: str) -> str:
    """E.164. A national number is refused: the same digits mean other people elsewhere."""
    try:
        number = phonenumbers.parse(re.sub(r"^\s*00", "+", value), None)
    except phonenumbers.NumberParseException:
        return ""
    if not phonenumbers.is_possible_number(number):
        return ""
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _handle(value: str) -> str:
    return re.sub(r"^[\s@]+|\s+$", "", value).casefold()


_NORMALISE: dict[str, Callable[[str], str]] = {
    "card": _card,
    "email": _email,
    "phone": _phone,
    "app": str.strip,
    "marketplace": str.strip,
    "social": _handle,
}
