"""Exports in MongoDB: what was asked for, and what was drawn, part by part and sealed.

A part holds ids, skus and scores, without an address or a name, under a key of its export in the
vault. Parts are numbered and their number is unique: two workers that draw the same stretch keep
one of them. All of it goes when the export expires: the key by a sweep, the rest by MongoDB itself.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import orjson
from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from loyalty.vault.model import Held, ShreddedError
from recommend.bulk.model import EXPORTS_MAX, Draft, Export, ExportNotFoundError, Part, Question
from recommend.model import Pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from bson.binary import Binary
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.store import Vault

SWEEP_MAX = 1000


class PartExistsError(Exception):
    """Another worker has drawn that part already."""


class ExportStore:
    """The collections `picks_exports` and `picks_parts`."""

    def __init__(self, database: Database[Document], vault: Vault) -> None:
        self._exports = database["picks_exports"]
        self._parts = database["picks_parts"]
        self._vault = vault

    def create_indexes(self) -> None:
        """Idempotent."""
        expiry = IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0)
        number = IndexModel(
            [("export", ASCENDING), ("number", ASCENDING)], name="export_number", unique=True
        )
        stretch = IndexModel([("export", ASCENDING), ("last", ASCENDING)], name="export_last")
        self._exports.create_indexes([expiry])
        self._parts.create_indexes([expiry, number, stretch])

    def begin(self, export: Export) -> Export:
        """Keep what was asked for, unless it is there; whoever knows the job's id adds it."""
        asked = {
            **export.question._asdict(),
            "format": export.format,
            "created_at": export.created_at,
            "expires_at": export.expires_at,
        }
        change: Document = {"$setOnInsert": asked}
        if export.job_id is not None:
            change["$set"] = {"job": export.job_id}
        found = self._exports.find_one_and_update(
            {"_id": export.id}, change, upsert=True, return_document=ReturnDocument.AFTER
        )
        return _export(found or {})

    def get(self, export_id: str, *, at: datetime) -> Export:
        """An export that has not expired.

        Raises:
            ExportNotFoundError: there is none.
        """
        found = self._exports.find_one({"_id": export_id, "expires_at": {"$gt": at}})
        if found is None:
            raise ExportNotFoundError
        return _export(found)

    def is_full(self, *, at: datetime) -> bool:
        """Whether as many exports are kept as may be."""
        query = {"expires_at": {"$gt": at}}
        return self._exports.count_documents(query, limit=EXPORTS_MAX) >= EXPORTS_MAX

    def end(self, export_id: str, *, at: datetime) -> None:
        """Let an export expire now: it is not there from this moment on.

        Raises:
            ExportNotFoundError: there is none, or it has expired.
        """
        self.get(export_id, at=at)
        gone = {"$set": {"expires_at": at}}
        self._exports.update_one({"_id": export_id}, gone)
        self._parts.update_many({"export": export_id}, gone)

    def finish(self, export_id: str, *, at: datetime, rows: int) -> None:
        """From now on it can be downloaded."""
        self._exports.update_one({"_id": export_id}, {"$set": {"finished_at": at, "rows": rows}})

    def add(self, part: Part, *, expires_at: datetime) -> None:
        """Keep a part.

        Raises:
            PartExistsError: there is one of that number.
        """
        document = {
            "export": part.export_id,
            "number": part.number,
            "last": part.last,
            "rows": len(part.drafts),
            "sealed": self._seal(part.export_id, part.drafts),
            "expires_at": expires_at,
        }
        try:
            self._parts.insert_one(document)
        except DuplicateKeyError as error:
            raise PartExistsError from error

    def newest(self, export_id: str) -> tuple[int, str]:
        """The number of the last part, and the member it ends with; 0 and "" before the first."""
        wanted = {"_id": 0, "number": 1, "last": 1}
        found = self._parts.find_one({"export": export_id}, wanted, sort=[("number", DESCENDING)])
        return (found["number"], found["last"]) if found else (0, "")

    def rows(self, export_id: str) -> int:
        """How many members all its parts hold."""
        groups: list[Document] = [
            {"$match": {"export": export_id}},
            {"$group": {"_id": None, "rows": {"$sum": "$rows"}}},
        ]
        return next((each["rows"] for each in self._parts.aggregate(groups)), 0)

    def drafts(self, export_id: str, *, after: str) -> tuple[str, list[Draft]] | None:
        """The part that follows a member, and the member that it ends with; None after the last.

        A part whose key is gone reads as an empty one.
        """
        query = {"export": export_id, "last": {"$gt": after}}
        found = self._parts.find_one(query, sort=[("last", ASCENDING)])
        if found is None:
            return None
        drafts = self._open(found["sealed"])
        return found["last"], [each for each in drafts if each.member_id > after]

    def sweep(self, at: datetime) -> int:
        """Destroy what has expired, keys first; how many exports. For the eraser's user."""
        expired = self._exports.find({"expires_at": {"$lte": at}}, {"_id": 1}).limit(SWEEP_MAX)
        ids = [each["_id"] for each in expired]
        # MongoDB may have removed the documents before their keys, so ask the vault as well.
        for export_id in {*ids, *self._orphans()}:
            self._vault.shred(export_id)
            self._parts.delete_many({"export": export_id})
            self._exports.delete_one({"_id": export_id})
        return len(ids)

    def _orphans(self) -> list[str]:
        """Exports that are gone and whose key is still there."""
        keyed = self._vault.owners("x_", limit=SWEEP_MAX)
        there = {each["_id"] for each in self._exports.find({"_id": {"$in": keyed}}, {"_id": 1})}
        return [each for each in keyed if each not in there]

    def held(self, member_id: str) -> Iterator[Held]:
        """What was drawn for a member and has not expired; see `vault.model.Holder`."""
        for found in self._with(member_id):
            for draft in self._open(found["sealed"]):
                if draft.member_id == member_id:
                    shown = {
                        "reason": draft.reason,
                        "items": [each.sku for each in draft.picks],
                        "expires_at": found["expires_at"],
                    }
                    yield Held("picks_parts", str(found["_id"]), "picks", shown)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Take a member out of every part; see `vault.model.Holder`."""
        gone = 0
        for found in self._with(member_id):
            drafts = self._open(found["sealed"])
            kept = [each for each in drafts if each.member_id != member_id]
            if len(kept) < len(drafts):
                sealed = self._seal(found["export"], kept)
                change = {"$set": {"sealed": sealed, "rows": len(kept)}}
                # Whoever erases somebody else of the same part at this moment goes first.
                query = {"_id": found["_id"], "sealed": found["sealed"]}
                gone += self._parts.update_one(query, change).modified_count
        return {"picks_parts": gone}

    def _with(self, member_id: str) -> Iterator[Document]:
        """The one part of each export whose stretch has the member in it."""
        # By the parts: an export that was removed while it was drawn may have some left.
        for export_id in self._parts.distinct("export"):
            query = {"export": export_id, "last": {"$gte": member_id}}
            found = self._parts.find_one(query, sort=[("last", ASCENDING)])
            if found is not None:
                yield found

    def _seal(self, export_id: str, drafts: Sequence[Draft]) -> Binary:
        return self._vault.seal(export_id, _packed(drafts))

    def _open(self, sealed: Binary) -> list[Draft]:
        try:
            return _unpacked(self._vault.open(sealed))
        except ShreddedError:
            return []


def _packed(drafts: Sequence[Draft]) -> bytes:
    values = [
        (
            each.member_id,
            each.reason,
            each.model_version,
            [(pick.sku, pick.score, pick.part, pick.because) for pick in each.picks],
            each.pinned,
        )
        for each in drafts
    ]
    return zlib.compress(orjson.dumps(values), 1)


def _unpacked(packed: bytes) -> list[Draft]:
    values: list[Any] = orjson.loads(zlib.decompress(packed))
    return [
        Draft(
            member_id,
            reason,
            version,
            [Pick(sku, score, part, tuple(because)) for sku, score, part, because in picks],
            *pinned,
        )
        for member_id, reason, version, picks, *pinned in values
    ]


def _export(document: Document) -> Export:
    return Export(
        id=document["_id"],
        job_id=document.get("job"),
        question=Question.of(document),
        format=document["format"],
        created_at=document["created_at"],
        expires_at=document["expires_at"],
        finished_at=document.get("finished_at"),
        rows=document.get("rows", 0),
    )
