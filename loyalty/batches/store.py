"""How far each till has counted, in MongoDB: one small document a till."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ASCENDING, IndexModel, ReturnDocument

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.batches.model import Till
    from loyalty.kit.mongo import Document

# A till that has not been heard of for so long starts anew.
KEPT_SECONDS = 400 * 24 * 60 * 60


class TillStore:
    """The collection `tills`."""

    def __init__(self, database: Database[Document]) -> None:
        self._tills = database["tills"]

    def create_indexes(self) -> None:
        """Idempotent."""
        seen = IndexModel([("seen_at", ASCENDING)], name="seen_at", expireAfterSeconds=KEPT_SECONDS)
        self._tills.create_indexes([seen])

    def reach(self, highest: Mapping[Till, int], *, at: datetime) -> dict[Till, int]:
        """Remember how far tills have counted.

        Args:
            highest: the highest number of each.
            at: now.

        Returns:
            The highest number before; a till that was not known is missing.
        """
        before = {}
        for till, number in highest.items():
            found = self._tills.find_one_and_update(
                # A store's id has no slash, so no two tills share a key.
                {"_id": f"{till.store}/{till.terminal}"},
                {"$max": {"highest": number}, "$set": {"seen_at": at}},
                upsert=True,
                return_document=ReturnDocument.BEFORE,
            )
            if found:
                before[till] = found["highest"]
        return before
