"""The shop's own purposes and changes in MongoDB, over those that are built in."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from loyalty.consent.purposes import Purpose, body_of, built_in, purpose_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

# A change holds within a second on every worker, so no worker trusts what it read for longer.
SECONDS_MAX = 0.9


class PurposeStore:
    """The collection `purposes`: only what differs from the built-in ones."""

    def __init__(self, database: Database[Document]) -> None:
        self._purposes = database["purposes"]

    def all(self) -> dict[str, Purpose]:
        """The shop's own and changed purposes, by name."""
        found = self._purposes.find({}, {"_id": 0})
        return {each["name"]: purpose_of(each) for each in found}

    def put(self, purposes: Sequence[Purpose]) -> None:
        """Insert or replace purposes."""
        for each in purposes:
            document = {"_id": each.name, **body_of(each)}
            self._purposes.replace_one({"_id": each.name}, document, upsert=True)


class PurposeShelf:
    """All purposes, read at most once a second: they are asked for when something is written."""

    def __init__(
        self, store: PurposeStore, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: tuple[float, Mapping[str, Purpose]] = (float("-inf"), {})

    def all(self) -> Mapping[str, Purpose]:
        """Every purpose by name, the built-in ones first."""
        read_at, known = self._known
        at = self._monotonic()
        if at - read_at >= SECONDS_MAX:
            known = {**built_in(), **self._store.all()}
            self._known = (at, known)
        return known

    def put(self, purposes: Sequence[Purpose]) -> None:
        """Insert or replace purposes; this worker sees them at once."""
        self._store.put(purposes)
        self._known = (float("-inf"), {})
