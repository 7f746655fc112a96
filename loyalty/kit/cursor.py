"""Opaque cursors: where the next page of a list begins."""

from __future__ import annotations

import base64
import binascii

from loyalty.kit.errors import FieldError, NotFoundError


class UnknownCursorError(NotFoundError):
    """The cursor is not one that this list gave out."""

    code = "unknown_cursor"
    title = "The cursor is not one of this list"


def write(seq: int) -> str:
    """The cursor of a position."""
    return base64.urlsafe_b64encode(f"s{seq}".encode()).decode().rstrip("=")


def read(cursor: str | None) -> int | None:
    """The position of a cursor, or None for the first page.

    Raises:
        UnknownCursorError: it is not one of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        position = int(text.removeprefix("s"))
    except (binascii.Error, ValueError, UnicodeDecodeError) as error:
        mistake = FieldError("cursor", "Is not a cursor of this list.")
        raise UnknownCursorError(errors=(mistake,)) from error
    if not 0 <= position < 2**62:  # MongoDB counts in 64 bits
        raise UnknownCursorError
    return position
