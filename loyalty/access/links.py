"""Links that open one thing for one member: opaque, unforgeable, expiring. Nothing in them reads.

A link stands in e-mails and so in other people's logs: what it says is encrypted, not only signed.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.fernet import Fernet, InvalidToken

from loyalty.kit.errors import ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

LINK_CHARS_MAX = 1000
LINK_PATTERN = "^[A-Za-z0-9_=-]+$"


class InvalidLinkError(ForbiddenError):
    """The link is forged, expired, or for something else: the answer does not say which."""

    code = "invalid_link"
    title = "The link is not valid, or not any more"


class LinkMint:
    """Makes and reads links under one secret."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = Fernet(base64.urlsafe_b64encode(secret))

    def mint(
        self, use: str, claims: Mapping[str, Any], *, at: datetime, lasts: timedelta | None
    ) -> str:
        """The text of a link.

        Args:
            use: what it opens; it opens nothing else.
            claims: JSON values.
            at: now.
            lasts: how long it is good; None for one that does not expire.
        """
        until = (at + lasts).timestamp() if lasts else None
        body = orjson.dumps({"use": use, "until": until, "claims": dict(claims)})
        return self._cipher.encrypt_at_time(body, int(at.timestamp())).decode()

    def read(self, use: str, text: str, *, at: datetime) -> dict[str, Any]:
        """The claims of a link.

        Raises:
            InvalidLinkError: it is not one of ours, for another use, or expired.
        """
        if len(text) > LINK_CHARS_MAX or not text.isascii():
            raise InvalidLinkError
        try:
            body = orjson.loads(self._cipher.decrypt(text.encode()))
        except InvalidToken as error:
            raise InvalidLinkError from error
        until = body["until"]
        if body["use"] != use or (until is not None and at.timestamp() > until):
            raise InvalidLinkError
        claims: dict[str, Any] = body["claims"]
        return claims
