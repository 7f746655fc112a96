"""Desks for tests: all that a small shop keeps about members, behind real holders."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

from loyalty.messages.model import Message
from loyalty.privacy.erasing import Eraser
from tests.builders import NOON

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app import Parts
    from loyalty.kit.mongo import Document
    from loyalty.privacy.service import Desk


def whole_desk(parts: Parts) -> Desk:
    """The desk of the service with all its holders."""
    return parts.eraser_desk


class Clock:
    """A clock that waiting winds."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at
        self.waited: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self) -> datetime:
        return self.at

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.at += timedelta(seconds=seconds)
        self.meanwhile()


def eraser_of(desk: Desk, clock: Clock | None = None) -> Eraser:
    """An eraser whose waiting takes no time."""
    clock = clock or Clock()
    return Eraser(desk, clock, clock.wait, lambda *_: None)


def post_message(parts: Parts, member_id: str, content: Mapping[str, Any]) -> None:
    """A message in the outbox: something sealed."""
    message = Message(
        id=str(ObjectId()),
        member_id=member_id,
        kind="request_received",
        channel="email",
        language="en",
        content=content,
        created_at=NOON,
        expires_at=datetime.now(NOON.tzinfo) + timedelta(days=1),
    )
    parts.outbox.post(message)


def put_back(parts: Parts, backup: dict[str, list[Document]]) -> None:
    """Restore the data, and not the vault, to what a dump holds."""
    for name in {*backup, *parts.database.list_collection_names()}:
        parts.database[name].delete_many({})
        if documents := backup.get(name):
            parts.database[name].insert_many(documents)


class DiedError(Exception):
    """The process was killed here."""


class Fate(NamedTuple):
    """After how many calls the process dies, and whether the last one still has its effect."""

    after: int
    has_effect: bool


class Mortal:
    """Passes calls on to an object, until the process dies: from then on nothing works."""

    def __init__(self, target: Any, calls: list[str], fate: Fate) -> None:
        self._target, self._calls, self._fate = target, calls, fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._target, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(name)
            if len(self._calls) < self._fate.after:
                return method(*args, **kwargs)
            if len(self._calls) == self._fate.after and self._fate.has_effect:
                method(*args, **kwargs)
            raise DiedError(name)

        return call
