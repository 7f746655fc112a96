"""Tombstones and certificates in MongoDB: in the vault's database, which is backed up apart.

A restored backup of the data brings an erased member back, but neither its key nor its tombstone's
absence: what was erased is known here, and erased again.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from loyalty.privacy.model import ErasureNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

# An eraser that is silent for so long counts as dead, and another one goes on.
LEASE = timedelta(seconds=60)
AGAIN_MAX = 20


def new_erasure_id() -> str:
    """A random id: a certificate says nothing of whom it is about."""
    return f"e_{secrets.token_hex(16)}"


class ErasureLeaseLostError(Exception):
    """Another eraser has the erasure by now: this one must write nothing more."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """The erasure of one member, and how far it is.

    `found` counts by collection what was about the member when it began; `erased` what went, over
    all passes. `certificate` is signed and there once it is done.
    """

    id: str
    member_id: str
    reason: str
    asked_at: datetime
    begun_at: datetime
    request_id: str | None = None
    passes: int = 0
    passed_at: datetime | None = None
    shredded_at: datetime | None = None
    found: Mapping[str, int] | None = None
    erased: Mapping[str, int] = field(default_factory=dict)
    contribution: Mapping[str, Any] | None = None
    again: Sequence[Mapping[str, Any]] = ()
    done_at: datetime | None = None
    certificate: Mapping[str, Any] | None = None


class ErasureStore:
    """The collection `erasures` of the vault's database."""

    def __init__(self, vault: Database[Document]) -> None:
        self._erasures = vault["erasures"]

    def create_indexes(self) -> None:
        """Idempotent."""
        self._erasures.create_indexes(
            [
                IndexModel([("member_id", ASCENDING)], name="member", unique=True),
                IndexModel([("done_at", ASCENDING), ("begun_at", ASCENDING)], name="done"),
                IndexModel([("begun_at", ASCENDING)], name="begun"),
            ]
        )

    def begun_since(self, moment: datetime) -> int:
        """How many erasures began since a moment."""
        return self._erasures.count_documents({"begun_at": {"$gte": moment}})

    def begin(
        self,
        erasure_id: str,
        member_id: str,
        *,
        reason: str,
        asked_at: datetime,
        at: datetime,
        request_id: str | None = None,
    ) -> Erasure:
        """Put the tombstone up, or give the one that stands."""
        fresh: Document = {
            "_id": erasure_id,
            "member_id": member_id,
            "reason": reason,
            "asked_at": asked_at,
            "begun_at": at,
            "request_id": request_id,
            "passes": 0,
        }
        try:
            self._erasures.insert_one(fresh)
        except DuplicateKeyError:
            return self.of_member(member_id)
        return _erasure(fresh)

    def answer_also(self, erasure_id: str, request_id: str) -> Erasure:
        """Let an erasure answer a request, too; one that was done is done again.

        A member that was erased comes back by a restore alone, and then asks again.
        """
        done = {"$ne": [{"$ifNull": ["$done_at", None]}, None]}
        reset = {
            "request_id": request_id,
            "passes": {"$cond": [done, 0, "$passes"]},
            "passed_at": {"$cond": [done, None, {"$ifNull": ["$passed_at", None]}]},
            "done_at": None,
        }
        found = self._erasures.find_one_and_update(
            {"_id": erasure_id}, [{"$set": reset}], return_document=ReturnDocument.AFTER
        )
        if found is None:
            raise ErasureNotFoundError
        return _erasure(found)

    def of_member(self, member_id: str) -> Erasure:
        """The erasure of a member.

        Raises:
            ErasureNotFoundError: the member was never erased.
        """
        return self._one({"member_id": member_id})

    def get(self, erasure_id: str) -> Erasure:
        """An erasure.

        Raises:
            ErasureNotFoundError: there is none.
        """
        return self._one({"_id": erasure_id})

    def unfinished(self, *, limit: int) -> list[Erasure]:
        """Erasures that were begun and are not done, oldest first."""
        found = self._erasures.find({"done_at": None}).sort("begun_at", ASCENDING).limit(limit)
        return [_erasure(each) for each in found]

    def all(self) -> Iterator[Erasure]:
        """Every erasure, in the order of its id; memory stays flat."""
        for each in self._erasures.find().sort("_id", ASCENDING):
            yield _erasure(each)

    def by_member(self) -> dict[str, str]:
        """The ids of all erasures by member: 150 bytes each, for what looks for all of them."""
        found = self._erasures.find({}, {"member_id": 1})
        return {each["member_id"]: each["_id"] for each in found}

    def count(self) -> int:
        """How many there are."""
        return self._erasures.count_documents({})

    def claim(self, erasure_id: str, lease_id: str, *, at: datetime) -> Erasure | None:
        """Take an erasure that nobody is at; None if somebody is, or it is done."""
        free = [{"lease": None}, {"lease.until": {"$lte": at}}]
        query = {"_id": erasure_id, "done_at": None, "$or": free}
        return self._change(query, {"$set": {"lease": {"id": lease_id, "until": at + LEASE}}})

    def note(
        self,
        erasure_id: str,
        lease_id: str,
        *,
        at: datetime,
        fields: Mapping[str, Any] | None = None,
        erased: Mapping[str, int] | None = None,
    ) -> Erasure:
        """Keep how far it is, and hold the lease for another while.

        Raises:
            ErasureLeaseLostError: another eraser has it.
        """
        change: Document = {"$set": {**(fields or {}), "lease.until": at + LEASE}}
        if counts := {f"erased.{name}": count for name, count in (erased or {}).items() if count}:
            change["$inc"] = counts
        found = self._change({"_id": erasure_id, "lease.id": lease_id, "done_at": None}, change)
        if found is None:
            raise ErasureLeaseLostError
        return found

    def let_go(self, erasure_id: str, lease_id: str) -> None:
        """Let another eraser take it at once."""
        query = {"_id": erasure_id, "lease.id": lease_id}
        self._erasures.update_one(query, {"$unset": {"lease": ""}})

    def finish(
        self, erasure_id: str, lease_id: str, certificate: Mapping[str, Any], *, at: datetime
    ) -> Erasure:
        """Keep the certificate: it is done.

        Raises:
            ErasureLeaseLostError: another eraser has it.
        """
        change = {
            "$set": {"done_at": at, "certificate": dict(certificate)},
            "$unset": {"lease": ""},
        }
        query = {"_id": erasure_id, "lease.id": lease_id, "done_at": None}
        found = self._change(query, change)
        if found is None:
            raise ErasureLeaseLostError
        return found

    def note_again(self, erasure_id: str, erased: Mapping[str, int], *, at: datetime) -> None:
        """Keep that a restored backup was erased again, and what of it."""
        again = {"at": at, "erased": dict(erased)}
        push = {"again": {"$each": [again], "$slice": -AGAIN_MAX}}
        self._erasures.update_one({"_id": erasure_id}, {"$push": push})

    def restore(self, stone: Mapping[str, Any], *, at: datetime) -> bool:
        """Put up a tombstone that is on a signed list and not here; whether it was missing."""
        fresh = {
            "_id": stone["erasure"],
            "member_id": stone["member_id"],
            "reason": "restored",
            "asked_at": at,
            "begun_at": at,
            "request_id": None,
            "passes": 0,
        }
        try:
            self._erasures.insert_one(fresh)
        except DuplicateKeyError:
            return False
        return True

    def _one(self, query: Document) -> Erasure:
        found = self._erasures.find_one(query)
        if found is None:
            raise ErasureNotFoundError
        return _erasure(found)

    def _change(self, query: Document, change: Document) -> Erasure | None:
        found = self._erasures.find_one_and_update(
            query, change, return_document=ReturnDocument.AFTER
        )
        return _erasure(found) if found else None


def _erasure(document: Document) -> Erasure:
    names = set(Erasure.__slots__) & document.keys()
    fields = {name: document[name] for name in names}
    return Erasure(id=document["_id"], **fields)
