"""Models in MongoDB, so that every node gets them: files in GridFS, and which version to serve.

A version is there for others once its document in `model_versions` is, which is written after all
of its files: an upload that was cut off is nobody's version. `model_current` holds one document,
with a generation that only grows.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from gridfs import GridFSBucket
from gridfs.errors import NoFile
from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from recommend.training.model import (
    Current,
    FileOfModel,
    ModelChangedError,
    NoModelError,
    Version,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

BUCKET = "models"
CHUNK_BYTES = 1 << 20
VERSIONS_MAX = 1_000
_CURRENT = "current"


class ModelStore:
    """The collections `model_versions` and `model_current`, and the bucket `models` of GridFS."""

    def __init__(self, database: Database[Document]) -> None:
        self._versions = database["model_versions"]
        self._current = database["model_current"]
        self._files = database["models.files"]
        self._chunks = database["models.chunks"]
        self._bucket = GridFSBucket(database, BUCKET, CHUNK_BYTES)

    def create_indexes(self) -> None:
        """Idempotent. GridFS makes the same two when it is first written, where it may."""
        self._files.create_indexes(
            [IndexModel([("filename", ASCENDING), ("uploadDate", ASCENDING)])]
        )
        self._chunks.create_indexes(
            [IndexModel([("files_id", ASCENDING), ("n", ASCENDING)], unique=True)]
        )

    def upload(self, version: str, path: Path) -> FileOfModel:
        """Write one file of a version, read in pieces; what an earlier try left of it goes."""
        file_id = _file_id(version, path.name)
        self._drop(file_id)
        sha256 = hashlib.sha256()
        length = 0
        with (
            path.open("rb") as file,
            self._bucket.open_upload_stream_with_id(file_id, file_id) as stream,
        ):
            while piece := file.read(CHUNK_BYTES):
                sha256.update(piece)
                length += len(piece)
                stream.write(piece)
        return FileOfModel(path.name, length, sha256.hexdigest())

    def pieces(self, version: str, name: str) -> Iterator[bytes]:
        """One file of a version in pieces of at most `CHUNK_BYTES`.

        Raises:
            NoModelError: it is not there.
            CorruptGridFile: a piece is missing.
        """
        try:
            stream = self._bucket.open_download_stream(_file_id(version, name))
        except NoFile as error:
            raise NoModelError from error
        with stream:
            while piece := stream.readchunk():
                yield piece

    def add(self, version: Version) -> None:
        """Make a version whose files are all there known to every node.

        Raises:
            ModelChangedError: one of that name is there.
        """
        try:
            self._versions.insert_one(_document(version))
        except DuplicateKeyError as error:
            raise ModelChangedError(f"Model {version.version} is there already.") from error

    def get(self, version: str) -> Version:
        """One version.

        Raises:
            NoModelError: there is none of that name.
        """
        found = self._versions.find_one({"_id": version})
        if found is None:
            raise NoModelError(f"There is no model {version[:80]}.")
        return _version(found)

    def all(self) -> list[Version]:
        """All versions that are kept, newest first."""
        found = self._versions.find().sort("_id", DESCENDING).limit(VERSIONS_MAX)
        return [_version(each) for each in found]

    def current(self) -> Current | None:
        """Which version is to be served; one document by its id."""
        found = self._current.find_one({"_id": _CURRENT, "generation": {"$gte": 1}})
        return _current(found) if found else None

    def set_current(
        self, version: str, *, at: datetime, by: str, generation: int | None = None
    ) -> Current:
        """Serve a version from now on, on every node.

        Args:
            version: one that is there.
            at: now.
            by: who wants it.
            generation: the one that this decision stands on; None to decide anyway.

        Raises:
            NoModelError: there is no such version.
            ModelChangedError: somebody else changed it in between.
        """
        if self._versions.find_one({"_id": version}, {"_id": 1}) is None:
            raise NoModelError(f"There is no model {version[:80]}.")
        query: Document = {"_id": _CURRENT}
        if generation is not None:
            query["generation"] = generation or {"$exists": False}
        change = {"$set": {"version": version, "at": at, "by": by}, "$inc": {"generation": 1}}
        try:
            found = self._current.find_one_and_update(
                query, change, upsert=not generation, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            found = None
        if found is None:
            raise ModelChangedError
        served = {"$set": {"promoted_at": at, "rolled_back_at": None}}
        self._versions.update_one({"_id": version}, served)
        return _current(found)

    def mark_rolled_back(self, version: str, *, at: datetime) -> None:
        """Note that a version was taken out of service for good."""
        self._versions.update_one({"_id": version}, {"$set": {"rolled_back_at": at}})

    def note(self, version: str, name: str, value: Mapping[str, Any]) -> None:
        """Keep what was found out about a version later, under a name of letters.

        Raises:
            NoModelError: there is no such version.
        """
        change = {"$set": {f"notes.{name}": dict(value)}}
        if not self._versions.update_one({"_id": version}, change).matched_count:
            raise NoModelError(f"There is no model {version[:80]}.")

    def remove(self, version: str) -> None:
        """Take a version away: its document first, so that nobody begins to fetch it."""
        self._versions.delete_one({"_id": version})
        self.sweep({version})

    def sweep(self, versions: set[str]) -> None:
        """Remove all files, whole or cut off, of some versions."""
        for file_id in self._file_ids():
            if file_id.partition("/")[0] in versions:
                self._drop(file_id)

    def strays(self) -> set[str]:
        """Versions of which there are files and no document: cut off, or under way."""
        known = {each["_id"] for each in self._versions.find({}, {"_id": 1}).limit(VERSIONS_MAX)}
        return {each.partition("/")[0] for each in self._file_ids()} - known

    def claim_check(self, *, at: datetime, since: datetime) -> bool:
        """Whether it is for this worker to look after the model now: one of all does, each time.

        Args:
            at: now.
            since: not if somebody looked later than that.
        """
        never = {"checked_at": {"$exists": False}}
        query = {"_id": _CURRENT, "$or": [never, {"checked_at": {"$lt": since}}]}
        return self._current.update_one(query, {"$set": {"checked_at": at}}).matched_count > 0

    def _file_ids(self) -> Sequence[str]:
        # Read off the index; what was cut off has pieces and no file.
        return [*self._chunks.distinct("files_id"), *self._files.distinct("_id")]

    def _drop(self, file_id: str) -> None:
        self._files.delete_one({"_id": file_id})
        self._chunks.delete_many({"files_id": file_id})


def _file_id(version: str, name: str) -> str:
    return f"{version}/{name}"


def _current(document: Document) -> Current:
    return Current(
        document["version"], document["generation"], document["at"], document.get("by", "")
    )


def _document(version: Version) -> Document:
    return {
        "_id": version.version,
        "created_at": version.created_at,
        "card": dict(version.card),
        "files": [each._asdict() for each in version.files],
        "refused": version.refused,
        "promoted_at": version.promoted_at,
        "rolled_back_at": version.rolled_back_at,
        "notes": dict(version.notes),
    }


def _version(document: Document) -> Version:
    return Version(
        document["_id"],
        document["created_at"],
        document["card"],
        tuple(FileOfModel(**each) for each in document["files"]),
        document["refused"],
        document["promoted_at"],
        document["rolled_back_at"],
        document["notes"],
    )
