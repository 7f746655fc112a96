"""Codes, referrals and their refusals, as values. What a referral pays is the programme's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.members.model import InvalidIdentifierError, normal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from loyalty.members.model import Identifier

# Crockford's base 32: no letter that is taken for a digit, and no U.
CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Forty random bits: a billion codes in use leave one guess in a thousand right.
CODE_LENGTH = 8
CODE_PATTERN = "^[0-9A-Za-z][0-9A-Za-z -]{6,14}[0-9A-Za-z]$"
# How far up a chain of referrals a circle is looked for; a newcomer's chain may be of any length.
CHAIN_MAX = 1000
_TAKEN_FOR = str.maketrans({"I": "1", "L": "1", "O": "0", " ": None, "-": None})
# Mail providers for which dots before the @ mean nothing.
_DOTLESS = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}


class UnknownReferralCodeError(NotFoundError):
    """No member has that code."""

    code = "unknown_referral_code"
    title = "No member has that referral code"


class ReferrerRecordedError(ConflictError):
    """Another referrer of the member is on record; the first one stays."""

    code = "referrer_recorded"
    title = "The member's referrer is on record already"


class SelfReferralError(ConflictError):
    """The referrer is the member, or has an identifier of the same person."""

    code = "self_referral"
    title = "Nobody refers themselves"


class CircularReferralError(ConflictError):
    """The member had a part in bringing the referrer."""

    code = "circular_referral"
    title = "The member referred the referrer, directly or through others"


class ReferralChainTooLongError(ConflictError):
    """So many referrals lead to the referrer that a circle cannot be ruled out."""

    code = "referral_chain_too_long"
    title = "Too many referrals lead to the referrer"


class HasBoughtError(ConflictError):
    """Only who has not bought yet can still be referred."""

    code = "has_bought"
    title = "The member has bought before"


@dataclass(frozen=True, slots=True)
class Referral:
    """Who referred a member, and when that was recorded. Never changed.

    `referrer_id` is None when the referrer was erased.
    """

    member_id: str
    referrer_id: str | None
    recorded_at: datetime


def of_code(kind: type[ConflictError | NotFoundError]) -> ConflictError | NotFoundError:
    """A refusal that blames the code in the body."""
    return kind(errors=(FieldError("code", f"{kind.title}."),))


def show_code(code: str) -> str:
    """A code in two groups, as people read it out: `7K3M-9Q2T`."""
    return f"{code[:4]}-{code[4:]}"


def read_code(text: str) -> str:
    """A code as it is kept, out of what somebody typed: any case, O for 0, I and L for 1."""
    return text.upper().translate(_TAKEN_FOR)


def is_one_person(mine: Iterable[Identifier], theirs: Iterable[Identifier]) -> bool:
    """Whether two members have a mailbox or a telephone in common.

    No two members have one identifier, but one mailbox has many spellings (`ada+shop@…`), and an
    account's name on another channel may be that address.
    """
    return not _reached(mine).isdisjoint(_reached(theirs))


def _reached(identifiers: Iterable[Identifier]) -> set[str]:
    """The mailboxes and telephones that identifiers lead to."""
    places: set[str] = set()
    for each in identifiers:
        if mail := _read("email", each.value):
            local, _, domain = mail.rpartition("@")
            name = local.partition("+")[0]
            is_dotless = domain in _DOTLESS
            places.add(
                f"{name.replace('.', '')}@{_DOTLESS[domain]}" if is_dotless else f"{name}@{domain}"
            )
        elif each.type != "card" and (phone := _read("phone", each.value)):
            places.add(phone)
    return places


def _read(kind: str, value: str) -> str:
    try:
        return normal(kind, value).value
    except InvalidIdentifierError:
        return ""
