"""Give members their codes, and record who referred whom: once, truly, and before they buy."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from loyalty.kit.errors import UnavailableError
from loyalty.referrals.model import (
    CODE_ALPHABET,
    CODE_LENGTH,
    HasBoughtError,
    Referral,
    ReferrerRecordedError,
    SelfReferralError,
    UnknownReferralCodeError,
    is_one_person,
    of_code,
    read_code,
)
from loyalty.referrals.store import CodeTakenError, ReferrerThereError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from loyalty.journal.drafts import Stores
    from loyalty.members.store import MemberStore
    from loyalty.referrals.store import ReferralStore

CODE_ATTEMPTS_MAX = 5


class Given(NamedTuple):
    """A member's code, and whether the member had it before."""

    code: str
    is_replay: bool


class Referred(NamedTuple):
    """A referral, and whether it was on record before."""

    referral: Referral
    is_replay: bool


def new_code() -> str:
    """A random code: it says nothing about the member."""
    return "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))


def give_code(
    member_id: str, *, referrals: ReferralStore, draw: Callable[[], str] = new_code
) -> Given:
    """The member's code, made now if there is none; it stays the same for ever.

    Args:
        member_id: whose.
        referrals: where it is kept.
        draw: makes codes.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    for _ in range(CODE_ATTEMPTS_MAX):
        if kept := referrals.code_of(member_id):
            return Given(kept, is_replay=True)
        code = draw()
        try:
            if referrals.give_code(member_id, code):
                return Given(code, is_replay=False)
        except CodeTakenError:
            continue
    raise UnavailableError("No free referral code was found; nothing was written.")


def record_referrer(
    member_id: str, code: str, *, at: datetime, referrals: ReferralStore, stores: Stores
) -> Referred:
    """Record who referred a member; the same again changes nothing.

    Args:
        member_id: who was referred.
        code: the referrer's, as somebody typed it.
        at: when it is recorded.
        referrals: where it is kept.
        stores: the members and their journals.

    Raises:
        MemberNotFoundError: there is no such member.
        UnknownReferralCodeError: nobody has the code.
        ReferrerRecordedError: another referrer is on record.
        SelfReferralError: the two are one person.
        HasBoughtError: the member bought before.
        CircularReferralError, ReferralChainTooLongError: as they say.
    """
    seen = referrals.of(member_id)
    referrer_id = referrals.by_code(read_code(code))
    if referrer_id is None:
        raise of_code(UnknownReferralCodeError)
    if seen:
        return _replay(seen, referrer_id)
    if _is_self(member_id, referrer_id, stores.members):
        raise of_code(SelfReferralError)
    if stores.journal.has_bought(member_id):
        raise of_code(HasBoughtError)
    fresh = Referral(member_id, referrer_id, at)
    try:
        referrals.add(fresh)
    except ReferrerThereError:
        seen = referrals.of(member_id)
        if seen is None:  # pragma: no cover  # a referral is never taken back
            raise
        return _replay(seen, referrer_id)
    return Referred(fresh, is_replay=False)


def _replay(seen: Referral, referrer_id: str) -> Referred:
    if seen.referrer_id != referrer_id:
        raise of_code(ReferrerRecordedError)
    return Referred(seen, is_replay=True)


def _is_self(member_id: str, referrer_id: str, members: MemberStore) -> bool:
    if member_id == referrer_id:
        return True
    mine, theirs = (members.get(each).identifiers for each in (member_id, referrer_id))
    return is_one_person((each.identifier for each in mine), (each.identifier for each in theirs))
