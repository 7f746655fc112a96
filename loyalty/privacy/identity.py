"""Prove who somebody is by a code that is sent to an address the member gave before."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from bson import ObjectId

from loyalty.members.model import MemberNotFoundError
from loyalty.messages.model import Message
from loyalty.privacy.model import NoAddressError, TooManyCodesError
from loyalty.privacy.store import HOUR

if TYPE_CHECKING:
    from datetime import datetime

    from loyalty.privacy.service import Desk

CODE_DIGITS = 6
CODE_LASTS = timedelta(minutes=10)
# The types of identifiers that something can be sent to, best first, with the channel for it.
_CHANNELS = {"email": "email", "phone": "sms"}


class Sent(NamedTuple):
    """By which channel a code was sent, and until when it is good."""

    channel: str
    expires_at: datetime


def send_code(member_id: str, *, language: str, at: datetime, desk: Desk) -> Sent:
    """Have a new code of six digits sent to the member; the one before is good no more.

    The code is in the sealed message alone; beside it there is a keyed hash.

    Raises:
        MemberNotFoundError: there is no such member.
        NoAddressError: there is neither an e-mail address nor a phone number.
        TooManyCodesError: three were sent within the hour.
    """
    channel = _channel(member_id, desk)
    code = f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}}"
    until = at + CODE_LASTS
    if not desk.codes.put(member_id, _digest(member_id, code, desk), at=at, until=until):
        oldest = desk.codes.oldest_sent_at(member_id) or at
        raise TooManyCodesError(oldest + HOUR - at)
    message = Message(
        id=str(ObjectId()),
        member_id=member_id,
        kind="identity_code",
        channel=channel,
        language=language,
        content={"code": code, "expires_at": until},
        created_at=at,
        expires_at=until,
    )
    desk.outbox.post(message)
    return Sent(channel, until)


def check_code(member_id: str, code: str, *, at: datetime, desk: Desk) -> bool:
    """Whether it is the member's code; each look uses up one of five tries, success uses it up.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    if not desk.members.exists(member_id):
        raise MemberNotFoundError
    kept = desk.codes.attempt(member_id, at=at)
    given = _digest(member_id, code, desk)
    # Compared even when there is no code: the time says nothing.
    is_right = hmac.compare_digest(kept or bytes(len(given)), given)
    return is_right and kept is not None and desk.codes.use_up(member_id, given)


def _channel(member_id: str, desk: Desk) -> str:
    types = {each.identifier.type for each in desk.members.get(member_id).identifiers}
    for kind, channel in _CHANNELS.items():
        if kind in types:
            return channel
    raise NoAddressError


def _digest(member_id: str, code: str, desk: Desk) -> bytes:
    text = f"{member_id}\0{code}".encode()
    return hmac.new(desk.code_secret, text, hashlib.sha256).digest()
