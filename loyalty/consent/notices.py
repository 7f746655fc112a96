"""Notices: the exact words that people agreed under, by language. Never changed. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from loyalty.kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

NOTICE_CHARS_MAX = 100_000
LANGUAGES_MAX = 30


class NoticeNotFoundError(NotFoundError):
    """No notice has that version."""

    code = "notice_not_found"
    title = "There is no such notice"


class NoticeExistsError(ConflictError):
    """The version is taken by another text: a notice is never changed."""

    code = "notice_exists"
    title = "The version is that of another notice"


class Notice(NamedTuple):
    """One version of the notice.

    Attributes:
        version: its name: the shop's, or its number.
        number: counts from 1 in the order of publication.
        texts: the exact words by language.
        sha256: of the UTF-8 bytes of each text, in hex.
        purposes: what it changed the words of; empty for all of them.
        published_at: when.
        published_by: the key.
    """

    version: str
    number: int
    texts: Mapping[str, str]
    sha256: Mapping[str, str]
    purposes: tuple[str, ...]
    published_at: datetime
    published_by: str

    def concerns(self, purpose: str) -> bool:
        """Whether what it says of a purpose is new."""
        return not self.purposes or purpose in self.purposes


def digests(texts: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each text."""
    return {language: hashlib.sha256(each.encode()).hexdigest() for language, each in texts.items()}
