"""Publish a version, and find the one that rules at a moment."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from marshmallow import ValidationError

from loyalty.kit.errors import FieldError, UnavailableError
from loyalty.kit.fields import flatten
from loyalty.members.model import KeyReusedError
from loyalty.members.service import fingerprint
from loyalty.program.document import check, read
from loyalty.versions.model import (
    InvalidProgramError,
    NoProgramError,
    PastStartError,
    Version,
)
from loyalty.versions.store import VersionExistsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loyalty.program.model import Program
    from loyalty.versions.store import VersionStore

# A published version is known to every worker within this time.
VERSION_SECONDS_MAX = 0.5
PUBLISH_ATTEMPTS_MAX = 10
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)


class ProgramShelf:
    """The versions, compiled once each and kept: they never change, only new ones appear."""

    def __init__(
        self, store: VersionStore, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self._monotonic = monotonic
        self._versions: list[tuple[Version, Program]] = []
        self._looked_at = float("-inf")
        self._guard = threading.Lock()

    def at(self, moment: datetime) -> Program:
        """The programme that rules at a moment.

        Raises:
            NoProgramError: none is published.
        """
        for version, program in reversed(self._known()):
            if version.starts_at <= moment:
                return program
        raise NoProgramError

    def version(self, number: int) -> Program:
        """The programme of a version that exists, as every entry names one.

        Raises:
            NoProgramError: there is none of that number.
        """
        for version, program in self._versions:
            if version.number == number:
                return program
        self.forget_age()
        for version, program in self._known():
            if version.number == number:
                return program
        raise NoProgramError

    def all(self) -> list[Version]:
        """Every version, oldest first."""
        return [version for version, _ in self._known()]

    def forget_age(self) -> None:
        """Look for new versions at the next call, whenever that is."""
        self._looked_at = float("-inf")

    def _known(self) -> list[tuple[Version, Program]]:
        if self._monotonic() - self._looked_at > VERSION_SECONDS_MAX:
            with self._guard:
                self._refresh()
        return self._versions

    def _refresh(self) -> None:
        looked_at = self._monotonic()
        last = self._versions[-1][0].number if self._versions else 0
        fresh = [
            (version, read(version.document, version=version.number))
            for version in self.store.after(last)
        ]
        self._versions = [*self._versions, *fresh]
        self._looked_at = looked_at


class Published(NamedTuple):
    """A version, and whether the request had been carried out before."""

    version: Version
    is_replay: bool


def publish(
    document: Mapping[str, Any],
    *,
    starts_at: datetime | None,
    at: datetime,
    by: str,
    request_key: str | None,
    shelf: ProgramShelf,
) -> Published:
    """Publish a document as the next version.

    Raises:
        InvalidProgramError: its parts do not fit together.
        PastStartError: it would change the past.
        KeyReusedError: the idempotency key came with another document before.
    """
    mark = fingerprint({"document": document, "starts_at": starts_at})
    if request_key and (seen := shelf.store.by_request(request_key)):
        return _replay(seen, mark)
    require_sound(document)
    for _ in range(PUBLISH_ATTEMPTS_MAX):
        shelf.forget_age()
        known = shelf.all()
        begins = _begin(known, starts_at, at)
        version = Version(len(known) + 1, document, begins, at, by, request_key, mark)
        try:
            shelf.store.add(version)
        except VersionExistsError:
            if request_key and (seen := shelf.store.by_request(request_key)):
                return _replay(seen, mark)
            continue
        shelf.forget_age()
        return Published(version, is_replay=False)
    raise UnavailableError("Too many versions are being published; nothing was written.")


def _replay(seen: Version, mark: str) -> Published:
    if seen.fingerprint != mark:
        raise KeyReusedError
    return Published(seen, is_replay=True)


def require_sound(document: Mapping[str, Any]) -> None:
    """Let a document pass whose parts fit together.

    Raises:
        InvalidProgramError: they do not.
    """
    try:
        check(document)
    except ValidationError as error:
        mistakes = tuple(FieldError(f"program.{at}", why) for at, why in flatten(error.messages))
        detail = f"{mistakes[0].field}: {mistakes[0].message}"
        raise InvalidProgramError(detail, errors=mistakes) from error


def _begin(known: list[Version], starts_at: datetime | None, at: datetime) -> datetime:
    """From when the next version rules.

    Raises:
        PastStartError: it would change the past.
    """
    if not known:
        return BEGINNING
    begins = starts_at or max(at, known[-1].starts_at)
    if begins < at or begins < known[-1].starts_at:
        mistake = FieldError("starts_at", "Must not lie in the past or before its predecessor.")
        raise PastStartError(mistake.message, errors=(mistake,))
    return begins
