"""Links that open one thing for one member: opaque, unforgeable, expiring. Nothing in them reads.

A link stands in e-mails and so in other people's logs: what it says is encrypted, not only signed.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

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
        # A key of its own: one key for two ciphers could weaken both.
        self._short = AESSIV(hmac.digest(secret, b"short links", "sha512"))

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

    def mint_short(self, use: str, content: bytes) -> str:
        """The text of a short link that never expires: always the same one for the same content.

        E-mail tools keep a link in a field of 255 characters, where one of `mint` has no place.

        Args:
            use: what it opens; it opens nothing else.
            content: some bytes; the link is about twenty bytes longer, in base 64.
        """
        sealed = self._short.encrypt(content, [use.encode()])
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read_short(self, use: str, text: str) -> bytes:
        """The content of a short link.

        Raises:
            InvalidLinkError: it is not one of ours, or for another use.
        """
        if len(text) > LINK_CHARS_MAX or not text.isascii():
            raise InvalidLinkError
        try:
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            return self._short.decrypt(sealed, [use.encode()])
        except (binascii.Error, ValueError, InvalidTag) as error:
            raise InvalidLinkError from error
