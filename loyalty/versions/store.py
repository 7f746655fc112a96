"""Programme versions in MongoDB: inserted, never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.versions.model import Version

if TYPE_CHECKING:
    from pymongo.database import Database

    from loyalty.kit.mongo import Document

# A shop publishes a few versions a month; all of them fit in memory for decades.
VERSIONS_MAX = 10_000


class VersionExistsError(Exception):
    """Somebody else published that number, or this request was carried out before."""


class VersionStore:
    """The collection `program_versions`, keyed by number."""

    def __init__(self, database: Database[Document]) -> None:
        self._versions = database["program_versions"]

    def create_indexes(self) -> None:
        """Idempotent."""
        request_index = IndexModel(
            [("request_key", ASCENDING)],
            name="request_key",
            unique=True,
            partialFilterExpression={"request_key": {"$type": "string"}},
        )
        self._versions.create_indexes([request_index])

    def after(self, number: int) -> list[Version]:
        """The versions above a number, in order."""
        query = {"_id": {"$gt": number}}
        found = self._versions.find(query).sort("_id", ASCENDING).limit(VERSIONS_MAX)
        return [_version(each) for each in found]

    def by_request(self, request_key: str) -> Version | None:
        """The version that was published under an idempotency key."""
        # The type is what makes the partial index eligible.
        query = {"request_key": {"$eq": request_key, "$type": "string"}}
        found = self._versions.find_one(query)
        return _version(found) if found else None

    def add(self, version: Version) -> None:
        """Publish a version.

        Raises:
            VersionExistsError: the number or the request key is taken.
        """
        document = {
            "_id": version.number,
            "document": version.document,
            "starts_at": version.starts_at,
            "published_at": version.published_at,
            "published_by": version.published_by,
            "request_key": version.request_key,
            "fingerprint": version.fingerprint,
        }
        try:
            self._versions.insert_one(document)
        except DuplicateKeyError as error:
            raise VersionExistsError from error


def _version(document: Document) -> Version:
    fields = {**document, "number": document["_id"]}
    del fields["_id"]
    return Version(**fields)
