"""Identifiers in their one normal form, and the member that they lead to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from loyalty.kit import idempotency
from loyalty.kit.errors import ConflictError, FieldError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

IDENTIFIER_TYPE_PATTERN = (
    r"^(card|email|phone|app|social:[a-z][a-z0-9_-]{0,30}|marketplace:[a-z][a-z0-9_-]{0,30})$"
)
IDENTIFIERS_MAX = 50
MEMBER_ID_PATTERN = r"^m_[0-9a-f]{32}$"
# A month and a day that some year has (RFC 6350, section 4.3.1): the year of birth is not asked.
BIRTHDAY_PATTERN = (
    "^--((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])"
    "|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|[12][0-9]))$"
)
SEGMENT_PATTERN = "^[a-z0-9][a-z0-9_-]{0,63}$"
SEGMENTS_MAX = 50


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


KeyReusedError = idempotency.KeyReusedError


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


class Profile(NamedTuple):
    """What the programme's rules may ask of a member: month and day of birth, and segments."""

    birthday: tuple[int, int] | None = None
    segments: frozenset[str] = frozenset()


_NO_PROFILE = Profile()


@dataclass(frozen=True, slots=True)
class Member:
    """A person as the shop knows it. Provisional until somebody enrols it."""

    id: str
    status: Literal["active", "provisional"]
    enrolled_at: datetime
    identifiers: tuple[LinkedIdentifier, ...] = ()
    profile: Profile = _NO_PROFILE


class MemberFacts(NamedTuple):
    """What is known of a member at the moment of an award.

    `joined_at` is when the member was first seen, provisional or not; `birthday` is month and day.
    Who was referred stays so when the referrer is erased: then `referrer_id` is None.
    """

    joined_at: datetime
    birthday: tuple[int, int] | None
    segments: frozenset[str]
    referrer_id: str | None
    is_referred: bool = False


def read_birthday(text: str) -> tuple[int, int]:
    """The month and day of a text of `BIRTHDAY_PATTERN`."""
    return int(text[2:4]), int(text[5:7])


def write_birthday(birthday: tuple[int, int]) -> str:
    """A month and day as `--02-29`."""
    return "--{:02}-{:02}".format(*birthday)


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
