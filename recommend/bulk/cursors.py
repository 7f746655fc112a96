"""Opaque cursors of rows: where a broken download goes on. Nothing in one can be read or guessed.

A cursor is a member's id under a deterministic cipher (AES-SIV, RFC 5297) that also binds it to
what was asked: a cursor of one audience opens no other.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.errors import FieldError

if TYPE_CHECKING:
    from recommend.bulk.model import Question

CURSOR_PATTERN = "^[A-Za-z0-9_-]{1,64}$"
_PREFIX = "m_"
# A letter: what begins with "-" is a formula to a spreadsheet.
_FIRST = "c"


class Cursors:
    """Makes and reads cursors under one secret of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESSIV(secret)

    def write(self, member_id: str, question: Question) -> str:
        """The cursor after a member."""
        raw = bytes.fromhex(member_id.removeprefix(_PREFIX))
        sealed = self._cipher.encrypt(raw, [_about(question)])
        return _FIRST + base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, text: str | None, question: Question) -> str:
        """The member after whom to go on; "" for the beginning.

        Raises:
            UnknownCursorError: it is not one that this question's answer gave.
        """
        if text is None:
            return ""
        try:
            coded = text.removeprefix(_FIRST)
            sealed = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
            return _PREFIX + self._cipher.decrypt(sealed, [_about(question)]).hex()
        except (binascii.Error, ValueError, InvalidTag) as error:
            mistake = FieldError("after", "Is not a cursor of this audience.")
            raise UnknownCursorError(errors=(mistake,)) from error


def _about(question: Question) -> bytes:
    """What a cursor is bound to. How many picks a row has and in which form may change."""
    return f"{question.channel}\0{question.store or ''}".encode()
