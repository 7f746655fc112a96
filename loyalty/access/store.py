"""Keys in MongoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.access.model import Key

if TYPE_CHECKING:
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document


class KeyStore:
    """The collection `keys`, one document a key."""

    def __init__(self, database: Database[Document]) -> None:
        self._keys = database["keys"]

    def add(self, key: Key) -> None:
        """Keep a new key."""
        self._keys.insert_one(_document(key))

    def find(self, key_id: str) -> Key | None:
        """The key of that id, revoked or not."""
        document = self._keys.find_one({"_id": key_id})
        return _key(document) if document else None

    def all(self) -> list[Key]:
        """Every key, oldest first; a shop has tens, so no paging."""
        return [_key(document) for document in self._keys.find().sort("created_at").limit(1000)]

    def revoke(self, key_id: str, *, at: datetime) -> bool:
        """Mark the key revoked; whether there was such a live key."""
        query = {"_id": key_id, "revoked_at": None}
        return self._keys.update_one(query, {"$set": {"revoked_at": at}}).modified_count == 1


def _document(key: Key) -> Document:
    return {
        "_id": key.id,
        "name": key.name,
        "secret_sha256": key.secret_sha256,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "channel": key.channel,
        "store": key.store,
        "revoked_at": key.revoked_at,
    }


def _key(document: Document) -> Key:
    fields = {**document, "id": document["_id"], "scopes": frozenset(document["scopes"])}
    del fields["_id"]
    return Key(**fields)
