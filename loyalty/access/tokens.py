"""Member tokens: a JWT with which a browser reads and writes one member's own things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import jwt

from loyalty.access.model import Caller, InvalidKeyError
from loyalty.kit.clock import now

if TYPE_CHECKING:
    from collections.abc import Mapping

# Pinned: the header of a token never chooses how it is checked.
ALGORITHM = "HS256"
AUDIENCE = "carnet:member"
ISSUER = "carnet"
CLOCKS_DIFFER = timedelta(seconds=30)
TYPE = "carnet-member+jwt"
TOKEN_SECONDS_MAX = 900
# How long a login or a code proves who somebody is: screens are shared.
PROOF_LASTS = timedelta(minutes=15)


class TokenMint:
    """Signs and reads tokens under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def mint(
        self,
        member_id: str,
        *,
        at: datetime,
        seconds: int,
        proof: str = "",
        proven_at: datetime | None = None,
    ) -> str:
        """A token for one member, valid for at most fifteen minutes.

        Args:
            member_id: whose.
            at: now.
            seconds: how long it is valid.
            proof: how the member was recognised (`login`, `code`), if that is known.
            proven_at: when; the proof holds for fifteen minutes from there, at most.
        """
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": member_id,
            "iat": at,
            "exp": at + timedelta(seconds=min(seconds, TOKEN_SECONDS_MAX)),
        }
        if proof and proven_at is not None and is_fresh(proven_at, at):
            claims |= {"proof": proof, "proven_at": int(proven_at.timestamp())}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM, headers={"typ": TYPE})

    def read(self, token: str) -> Caller:
        """The member a token speaks for.

        Raises:
            InvalidKeyError: forged, expired, of another kind, or living longer than we allow.
        """
        try:
            return self._read(token)
        except jwt.PyJWTError as error:
            raise InvalidKeyError from error

    def _read(self, token: str) -> Caller:
        if jwt.get_unverified_header(token).get("typ") != TYPE:
            raise InvalidKeyError
        claims = jwt.decode(
            token,
            self._secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            options={"require": ["exp", "iat", "sub", "aud", "iss"]},
        )
        if claims["exp"] - claims["iat"] > TOKEN_SECONDS_MAX:
            raise InvalidKeyError
        member_id: str = claims["sub"]
        return Caller("member-token", frozenset(), None, None, member_id, *_proof(claims))


def is_fresh(proven_at: datetime, at: datetime) -> bool:
    """Whether a proof of that moment still holds; one of the future, but for clocks, never did."""
    return -CLOCKS_DIFFER <= at - proven_at < PROOF_LASTS


def _proof(claims: Mapping[str, Any]) -> tuple[str, datetime | None]:
    """The proof in a token and when it was given, if it still holds."""
    given_at, proof = claims.get("proven_at"), claims.get("proof")
    if not isinstance(given_at, int) or not isinstance(proof, str):
        return "", None
    proven_at = datetime.fromtimestamp(given_at, UTC)
    return (proof, proven_at) if is_fresh(proven_at, now()) else ("", None)
