"""Keys, scopes and callers as values. Pure: minting and comparing, no storage."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loyalty.kit.errors import ForbiddenError, UnauthenticatedError

if TYPE_CHECKING:
    from datetime import datetime

SCOPES: dict[str, str] = {
    "members:read": "look members up and read them",
    "members:write": "enrol members, link and unlink identifiers",
    "households:read": "read households and the points they pool",
    "households:write": "make households and change who is in them",
    "activities:write": "post purchases, returns and engagements",
    "adjustments:write": "correct a balance by hand, with a reason",
    "coupons:read": "read campaigns of coupons, their counts and conflicts",
    "coupons:write": "make campaigns and codes of coupons",
    "coupons:redeem": "check, use and give back coupons",
    "points:read": "read a member's points",
    "journal:read": "read a member's journal and explain entries",
    "staff:read": "the same as shown to shop staff: only for members who agreed to that",
    "catalogue:read": "read products, stores and stock",
    "catalogue:write": "upsert products, stores and stock",
    "rewards:read": "read rewards, redemptions and what points can pay",
    "rewards:write": "upsert rewards",
    "transfers:write": "give points from one member to another",
    "redemptions:write": "hold, capture, release and undo redemptions",
    "program:read": "read the programme",
    "program:write": "publish programme versions",
    "simulations:write": "run drafts of the programme over the past",
    "liability:read": "read what all outstanding points are worth",
    "expiries:read": "list which members' points expire soon",
    "consents:read": "read a member's consents and records",
    "consents:write": "record a member's consents",
    "notices:read": "read notices",
    "notices:write": "publish notices",
    "feedback:write": "report what members looked at, clicked and were shown",
    "experiments:read": "read experiments and what their variants have shown",
    "experiments:write": "make, start and stop experiments",
    "recommendations:read": "read recommendations for a member, a session or a product",
    "merchandising:read": "read the rules of what is shown",
    "merchandising:write": "change the rules of what is shown",
    "picks:read": "stream picks for a whole audience",
    "model:read": "read how good the model of recommendations is, and its versions",
    "model:write": "have the model of recommendations trained",
    "tokens:write": "mint a browser token for a member",
    "privacy:read": "follow requests of members to exercise their rights, and the register",
    "privacy:write": "export, restrict and erase members, and answer their requests",
    "messages:read": "fetch what is to be sent to members on Carnet's behalf, and mark it sent",
    "links:write": "mint links to the preference centre and for unsubscribing",
    "jobs:read": "follow long-running jobs and read their results",
    "jobs:write": "cancel long-running jobs",
    "metrics:read": "read operational metrics",
}
_KEY = re.compile(r"carnet_([a-z0-9]{12})_([A-Za-z0-9_-]{43})\Z")
_ID_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class InvalidKeyError(UnauthenticatedError):
    """No key, a malformed one, an unknown one, a revoked one: the answer does not say which."""

    code = "invalid_key"
    title = "A valid API key or member token is required"


class MissingScopeError(ForbiddenError):
    """The key is valid and lacks the scope."""

    code = "missing_scope"
    title = "The key lacks the scope for this operation"


class NotYourMemberError(ForbiddenError):
    """A member's token reaches for somebody else."""

    code = "not_your_member"
    title = "A member's token opens that member's own things only"


class BoundKeyError(ForbiddenError):
    """A key bound to a channel or store speaks for another."""

    code = "bound_key"
    title = "The key is bound to another channel or store"


class UnknownScopeError(Exception):
    """A scope that does not exist was asked for on the command line."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as it is kept: the secret is only there as a hash."""

    id: str
    name: str
    secret_sha256: str
    scopes: frozenset[str]
    created_at: datetime
    channel: str | None = None
    store: str | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent this request: a key, or the token of one member."""

    id: str
    scopes: frozenset[str]
    channel: str | None = None
    store: str | None = None
    member_id: str | None = None
    # How the member was recognised, for a token: "login" by the shop just now, "link" by a link in
    # an e-mail, "code" by a code sent to the member. A right needs more than a link.
    proof: str = ""
    # When that was, where there is a proof.
    proven_at: datetime | None = None


def mint(
    name: str, scopes: frozenset[str], *, at: datetime, channel: str | None, store: str | None
) -> tuple[Key, str]:
    """A new key and the text to show once.

    Raises:
        UnknownScopeError: a scope is not one of `SCOPES`.
    """
    if unknown := scopes - SCOPES.keys():
        raise UnknownScopeError(f"There is no scope {', '.join(sorted(unknown))}.")
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(12))
    secret = secrets.token_urlsafe(32)
    key = Key(key_id, name, hash_secret(secret), scopes, at, channel, store)
    return key, f"carnet_{key_id}_{secret}"


def split(text: str) -> tuple[str, str]:
    """The id and the secret of a key's text.

    Raises:
        InvalidKeyError: the text has not the form of a key.
    """
    match = _KEY.match(text)
    if not match:
        raise InvalidKeyError
    return match.group(1), match.group(2)


def hash_secret(secret: str) -> str:
    """SHA-256. The secret is 256 random bits, so a slow hash would add cost and no safety."""
    return hashlib.sha256(secret.encode()).hexdigest()


def opens(key: Key, secret: str) -> bool:
    """Whether the secret is the key's and the key is not revoked, in constant time."""
    is_equal = hmac.compare_digest(key.secret_sha256, hash_secret(secret))
    return is_equal and key.revoked_at is None


def speak_for(caller: Caller, channel: str, store: str | None) -> str | None:
    """The store the caller speaks for: the one named, else the one its key is bound to.

    Raises:
        BoundKeyError: the key is bound to another channel or another store.
    """
    if caller.channel not in (None, channel):
        raise BoundKeyError(f"This key speaks for channel {caller.channel} only.")
    if caller.store is None:
        return store
    if store not in (None, caller.store):
        raise BoundKeyError(f"This key speaks for store {caller.store} only.")
    return caller.store
