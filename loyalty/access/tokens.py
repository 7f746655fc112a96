"""Member tokens: a JWT with which a browser reads and writes one member's own things."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import jwt

from loyalty.access.model import Caller, InvalidKeyError

if TYPE_CHECKING:
    from datetime import datetime

# Pinned: the header of a token never chooses how it is checked.
ALGORITHM = "HS256"
AUDIENCE = "carnet:member"
ISSUER = "carnet"
TYPE = "carnet-member+jwt"
TOKEN_SECONDS_MAX = 900


class TokenMint:
    """Signs and reads tokens under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def mint(self, member_id: str, *, at: datetime, seconds: int) -> str:
        """A token for one member, valid for at most fifteen minutes."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": member_id,
            "iat": at,
            "exp": at + timedelta(seconds=min(seconds, TOKEN_SECONDS_MAX)),
        }
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
        return Caller("member-token", frozenset(), None, None, member_id)
