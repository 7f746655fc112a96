"""Consent records in MongoDB: appended, never updated. The newest one holds the flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.consent.model import Decision, Flags, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pymongo.database import Database

    from loyalty.kit.mongo import Document


class StaleRecordError(Exception):
    """Another decision of the member came in between; read again."""


class ConsentStore:
    """The collection `consents`."""

    def __init__(self, database: Database[Document]) -> None:
        self._consents = database["consents"]

    def create_indexes(self) -> None:
        """Idempotent."""
        keys = [("member", ASCENDING), ("seq", DESCENDING)]
        first = IndexModel(
            [("member", ASCENDING)],
            name="first_of_member",
            partialFilterExpression={"seq": 1},
        )
        self._consents.create_indexes([IndexModel(keys, name="member_seq", unique=True), first])

    def head(self, member_id: str) -> tuple[int, Flags]:
        """The newest record's number (0 if there is none) and the flags: one indexed read."""
        found = self._consents.find_one(
            {"member": member_id}, {"seq": 1, "flags": 1}, sort=[("seq", DESCENDING)]
        )
        return (found["seq"], Flags(found["flags"])) if found else (0, Flags())

    def append(self, record: Record) -> None:
        """Append a record.

        Raises:
            StaleRecordError: the member has a record of that number already.
        """
        try:
            self._consents.insert_one(_document(record))
        except DuplicateKeyError as error:
            raise StaleRecordError from error

    def append_all(self, records: Sequence[Record]) -> None:
        """Append the first records of many members at once (an import)."""
        self._consents.insert_many([_document(each) for each in records], ordered=False)

    def page(self, member_id: str, *, before_seq: int | None, limit: int) -> list[Record]:
        """Records of a member, newest first."""
        query: Document = {"member": member_id}
        if before_seq is not None:
            query["seq"] = {"$lt": before_seq}
        found = self._consents.find(query).sort("seq", DESCENDING).limit(limit)
        return [_record(each) for each in found]

    def flags_of(self, member_ids: Sequence[str]) -> dict[str, Flags]:
        """The flags of many members; who never decided is missing."""
        newest: dict[str, Flags] = {}
        query = {"member": {"$in": list(member_ids)}}
        order = [("member", ASCENDING), ("seq", DESCENDING)]
        for each in self._consents.find(query, {"member": 1, "flags": 1}).sort(order):
            newest.setdefault(each["member"], Flags(each["flags"]))
        return newest

    def members_after(self, member_id: str, *, limit: int) -> list[str]:
        """Ids of members that ever decided anything, in order, after the given one."""
        query = {"member": {"$gt": member_id}, "seq": 1}
        found = self._consents.find(query, {"member": 1, "_id": 0}).sort("member").limit(limit)
        return [each["member"] for each in found]

    def count_members(self) -> int:
        """How many members ever decided anything."""
        return self._consents.count_documents({"seq": 1})

    def all_member_ids(self, *, page: int) -> Iterator[list[str]]:
        """All members that ever decided anything, in pages; memory stays flat."""
        last = ""
        while ids := self.members_after(last, limit=page):
            yield ids
            last = ids[-1]


def _document(record: Record) -> Document:
    return {
        "_id": ObjectId(record.id),
        "member": record.member_id,
        "seq": record.seq,
        "decisions": [
            {"purpose": each.purpose, "channel": each.channel, "granted": each.granted}
            for each in record.decisions
        ],
        "flags": dict(record.flags.granted),
        "method": record.method,
        "notice_version": record.notice_version,
        "recorded_at": record.recorded_at,
        "recorded_by": record.recorded_by,
    }


def _record(document: Document) -> Record:
    return Record(
        id=str(document["_id"]),
        member_id=document["member"],
        seq=document["seq"],
        decisions=tuple(Decision(**each) for each in document["decisions"]),
        flags=Flags(document["flags"]),
        method=document["method"],
        notice_version=document["notice_version"],
        recorded_at=document["recorded_at"],
        recorded_by=document["recorded_by"],
    )
