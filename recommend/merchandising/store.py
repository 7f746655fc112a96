"""Sets of rules in MongoDB: a document a version, inserted and never changed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from recommend.merchandising.model import (
    SETS_MAX,
    RulesNotFoundError,
    StaleRulesError,
    nothing,
)
from recommend.merchandising.schemas import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from recommend.merchandising.model import RuleSet

# A change is seen within this time.
RULES_SECONDS_MAX = 5.0


class RuleStore:
    """The collection `merchandising`."""

    def __init__(
        self, database: Database[Document], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._rules = database["merchandising"]
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._known: dict[str, tuple[float, RuleSet]] = {}

    def create_indexes(self) -> None:
        """Idempotent."""
        version = IndexModel(
            [("name", ASCENDING), ("version", DESCENDING)], name="name_version", unique=True
        )
        self._rules.create_indexes([version])

    def get(self, name: str, version: int | None = None) -> RuleSet:
        """A version of a set, or the newest.

        Raises:
            RulesNotFoundError: there is none.
        """
        query: Document = {"name": name}
        if version is not None:
            query["version"] = version
        found = self._rules.find_one(query, sort=[("version", DESCENDING)])
        if found is None:
            raise RulesNotFoundError
        return _rule_set(found)

    def add(self, rules: RuleSet) -> None:
        """Keep the next version of a set.

        Raises:
            StaleRulesError: there is that version already.
        """
        document = {
            "name": rules.name,
            "version": rules.version,
            "document": rules.document,
            "put_at": rules.put_at,
            "put_by": rules.put_by,
        }
        try:
            self._rules.insert_one(document)
        except DuplicateKeyError as error:
            raise StaleRulesError from error
        self._known.pop(rules.name, None)

    def names(self) -> dict[str, int]:
        """The newest version of each set, by name."""
        newest = {"$group": {"_id": "$name", "version": {"$max": "$version"}}}
        found = self._rules.aggregate([newest, {"$sort": {"_id": 1}}, {"$limit": SETS_MAX}])
        return {each["_id"]: each["version"] for each in found}

    def current(self, name: str) -> RuleSet:
        """The newest version of a set as it was at most 5 s ago; no rules where there is none."""
        known = self._known.get(name)
        if known is None or self._monotonic() - known[0] > RULES_SECONDS_MAX:
            with self._guard:
                known = self._refreshed(name)
        return known[1]

    def _refreshed(self, name: str) -> tuple[float, RuleSet]:
        """What is known of a set, read again unless another thread has done so meanwhile."""
        began, known = self._monotonic(), self._known.get(name)
        if known is not None and began - known[0] <= RULES_SECONDS_MAX:
            return known
        try:
            found = self.get(name)
        except RulesNotFoundError:
            found = nothing(name)
        if len(self._known) >= SETS_MAX:
            self._known = {}
        self._known[name] = began, found
        return began, found


def _rule_set(document: Document) -> RuleSet:
    return read(
        document["name"],
        document["version"],
        document["document"],
        put_at=document["put_at"],
        put_by=document["put_by"],
    )
