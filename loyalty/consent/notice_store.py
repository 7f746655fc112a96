"""Notices in MongoDB: inserted, never updated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.consent.notices import Notice, NoticeExistsError, NoticeNotFoundError, digests
from loyalty.kit.errors import UnavailableError
from loyalty.kit.mongo import duplicate_index

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

ATTEMPTS_MAX = 32


class NoticeStore:
    """The collection `notices`."""

    def __init__(self, database: Database[Document]) -> None:
        self._notices = database["notices"]

    def create_indexes(self) -> None:
        """Idempotent."""
        number = IndexModel([("number", DESCENDING)], name="number", unique=True)
        self._notices.create_indexes([number])

    def publish(
        self,
        version: str | None,
        texts: Mapping[str, str],
        purposes: Sequence[str],
        *,
        at: datetime,
        by: str,
    ) -> tuple[Notice, bool]:
        """Keep the next version; and whether it was there already, word for word.

        Raises:
            NoticeExistsError: the version is that of another text.
        """
        for _ in range(ATTEMPTS_MAX):
            number = self._newest_number() + 1
            name = version or str(number)
            fresh = Notice(name, number, dict(texts), digests(texts), tuple(purposes), at, by)
            try:
                self._notices.insert_one({"_id": name, **_document(fresh)})
            except DuplicateKeyError as error:
                if duplicate_index(error) == "number":
                    continue
                return self._same(fresh, error), True
            return fresh, False
        raise UnavailableError("Too many notices at once; nothing was written.")

    def get(self, version: str) -> Notice:
        """One version.

        Raises:
            NoticeNotFoundError: there is none.
        """
        found = self._notices.find_one({"_id": version})
        if found is None:
            raise NoticeNotFoundError
        return _notice(found)

    def languages_of(self, version: str) -> list[str]:
        """The languages of a version; none if there is no such version."""
        found = self._notices.find_one({"_id": version}, {"sha256": 1})
        return list(found["sha256"]) if found else []

    def page(self, *, before: int | None, limit: int) -> list[Notice]:
        """Versions, newest first."""
        query: Document = {} if before is None else {"number": {"$lt": before}}
        found = self._notices.find(query).sort("number", DESCENDING).limit(limit)
        return [_notice(each) for each in found]

    def newest_for(self, purpose: str) -> int:
        """The number of the newest notice that changed what is said of a purpose; 0: none."""
        query = {"$or": [{"purposes": purpose}, {"purposes": []}]}
        found = self._notices.find_one(query, {"number": 1}, sort=[("number", DESCENDING)])
        return found["number"] if found else 0

    def numbers(self) -> dict[str, int]:
        """The number of each version, oldest first."""
        found = self._notices.find({}, {"number": 1}).sort("number", ASCENDING)
        return {each["_id"]: each["number"] for each in found}

    def _newest_number(self) -> int:
        found = self._notices.find_one({}, {"number": 1}, sort=[("number", DESCENDING)])
        return found["number"] if found else 0

    def _same(self, fresh: Notice, error: DuplicateKeyError) -> Notice:
        known = self.get(fresh.version)
        if (known.texts, known.purposes) != (fresh.texts, fresh.purposes):
            raise NoticeExistsError from error
        return known


def _document(notice: Notice) -> Document:
    return {**notice._asdict(), "purposes": list(notice.purposes)}


def _notice(document: Document) -> Notice:
    fields = {name: document[name] for name in Notice._fields}
    return Notice(**{**fields, "purposes": tuple(fields["purposes"])})
