"""The links that open pages, and the session that every form carries. No cookie, no storage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from loyalty.access.links import InvalidLinkError
from loyalty.web.model import LINK, PROVEN, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.access.links import LinkMint
    from loyalty.access.tokens import TokenMint

PREFERENCES = "preferences"
UNSUBSCRIBE = "unsubscribe"
_SESSION = "session"
# How a member's id is written: this, and sixteen bytes in hexadecimal.
_MEMBER, _ID_BYTES = "m_", 16
# Above this it is one of the long links that mails had before.
_SHORT_CHARS_MAX = 100
SESSION_LASTS = timedelta(minutes=15)
# Renewed by each step, but not for longer than a visit takes.
SESSION_LASTS_MAX = timedelta(hours=2)
PROOF_LASTS = timedelta(minutes=15)


class Door(NamedTuple):
    """What opens and carries sessions."""

    links: LinkMint
    tokens: TokenMint


def preferences_link(member_id: str, *, at: datetime, lasts: timedelta, door: Door) -> str:
    """The opaque text that opens a member's preference centre."""
    return door.links.mint(PREFERENCES, {"member": member_id}, at=at, lasts=lasts)


def unsubscribe_link(member_id: str, channel: str, *, door: Door) -> str:
    """The opaque text that ends marketing on a channel. It never expires: old mails are kept.

    Some fifty characters, and the same each time.
    """
    content = bytes.fromhex(member_id.removeprefix(_MEMBER)) + channel.encode()
    return door.links.mint_short(UNSUBSCRIBE, content)


def read_unsubscribe(text: str, *, at: datetime, door: Door) -> tuple[str, str]:
    """The member and the channel of a link.

    Raises:
        InvalidLinkError: it is forged, or made for something else.
    """
    if len(text) > _SHORT_CHARS_MAX:
        claims = door.links.read(UNSUBSCRIBE, text, at=at)
        return claims["member"], claims["channel"]
    content = door.links.read_short(UNSUBSCRIBE, text)
    return f"{_MEMBER}{content[:_ID_BYTES].hex()}", content[_ID_BYTES:].decode()


def proven(session: Session, proof: str, *, at: datetime) -> Session:
    """The session of a member who has shown at that moment who they are."""
    return session._replace(proof=proof, proven_until=at + PROOF_LASTS)


def seal(session: Session, *, at: datetime, door: Door) -> str:
    """The text of the hidden field, good for the next step."""
    claims = {
        "member": session.member_id,
        "began_at": session.began_at.timestamp(),
        "proof": session.proof,
        "proven_until": session.proven_until.timestamp() if session.proven_until else None,
    }
    return door.links.mint(_SESSION, claims, at=at, lasts=SESSION_LASTS)


def enter(form: Mapping[str, str], *, at: datetime, door: Door) -> Session:
    """Who sent a form: by the session of the page before, by a link, or by a member's token.

    Raises:
        InvalidLinkError: forged, expired, or none of the three.
        InvalidKeyError: the token is not valid.
    """
    if text := form.get("session"):
        return _resume(text, at, door)
    if text := form.get("link"):
        member_id = door.links.read(PREFERENCES, text, at=at)["member"]
        return Session(member_id, at)
    if text := form.get("token"):
        return _by_token(text, at, door)
    raise InvalidLinkError


def _resume(text: str, at: datetime, door: Door) -> Session:
    claims = door.links.read(_SESSION, text, at=at)
    began_at = _moment(claims["began_at"])
    if at > began_at + SESSION_LASTS_MAX:
        raise InvalidLinkError
    until = claims["proven_until"]
    proven_until = None if until is None else _moment(until)
    return Session(claims["member"], began_at, claims["proof"], proven_until)


def _by_token(text: str, at: datetime, door: Door) -> Session:
    caller = door.tokens.read(text)
    if caller.member_id is None:
        raise InvalidLinkError
    session = Session(caller.member_id, at, LINK)
    if caller.proof not in PROVEN or caller.proven_at is None:
        return session
    # From the login on, not from now: coming with a token makes no proof last longer.
    return proven(session, caller.proof, at=caller.proven_at)


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)
