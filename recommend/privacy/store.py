"""The ledger of what privacy was spent: one document a training, numbered, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from recommend.privacy.model import Cost, Entry

if TYPE_CHECKING:
    from pymongo.database import Database

    from loyalty.kit.mongo import Document


class PrivacyLedger:
    """The collection `privacy_ledger`. The number is the document's id, and so unique."""

    def __init__(self, database: Database[Document]) -> None:
        self._ledger = database["privacy_ledger"]

    def entries(self) -> list[Entry]:
        """All entries, by number."""
        return [_entry(each) for each in self._ledger.find().sort("_id", ASCENDING)]

    def append(self, entry: Entry) -> bool:
        """Write the next entry; False if somebody else took its number first."""
        document = {
            "_id": entry.number,
            "at": entry.at,
            "version": entry.version,
            "noise_multiplier": entry.cost.noise_multiplier,
            "epsilon_of_choice": entry.cost.epsilon,
            "delta_of_selection": entry.cost.delta,
        }
        try:
            self._ledger.insert_one(document)
        except DuplicateKeyError:
            return False
        return True


def _entry(document: Document) -> Entry:
    cost = Cost(
        document["noise_multiplier"],
        document["epsilon_of_choice"],
        document["delta_of_selection"],
    )
    return Entry(document["_id"], document["at"], document["version"], cost)
