"""Feedback in MongoDB: inserted, never changed, gone by its age or with its member.

What a request reads is bounded whatever a member did before: the newest acts, and the newest lists
that were shown. They lie apart in the index, so that many impressions push nothing out.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import BulkWriteError

from loyalty.vault.model import Held
from recommend.feedback.model import IMPRESSION, KEPT_MAX, Event
from recommend.taste import Signal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.permit import Permit

SIGNALS_MAX = 200
# Lists that were shown, the newest first; each has several products.
SHOWN_MAX = 50
MEMBERS_AT_ONCE = 500
_DUPLICATE = 11000
_OPTIONAL = ("store", "placement", "recommendation", "experiment", "variant")


class FeedbackStore:
    """The collection `feedback`."""

    def __init__(self, database: Database[Document]) -> None:
        self._feedback = database["feedback"]

    def create_indexes(self) -> None:
        """Idempotent."""
        by_member = [("member", ASCENDING), ("is_shown", ASCENDING), ("at", DESCENDING)]
        self._feedback.create_indexes(
            [
                IndexModel(by_member, name="member_at"),
                IndexModel(
                    [("at", ASCENDING)],
                    name="expired",
                    expireAfterSeconds=int(KEPT_MAX.total_seconds()),
                ),
                IndexModel(
                    [("experiment", ASCENDING), ("member", ASCENDING), ("at", ASCENDING)],
                    name="experiment",
                    partialFilterExpression={"experiment": {"$exists": True}},
                ),
            ]
        )

    def seen(self, keys: Sequence[str]) -> dict[str, Event]:
        """Those of some events that are there, by their keys."""
        found = self._feedback.find({"_id": {"$in": list(keys)}}) if keys else ()
        return {each["_id"]: _event(each) for each in found}

    def add(self, events: Mapping[str, Event], *, at: datetime) -> set[str]:
        """Keep events by their keys, durably; the keys of those that were there already.

        Raises:
            BulkWriteError: the database refused one for another reason.
        """
        if not events:
            return set()
        documents = [_document(key, event, at) for key, event in events.items()]
        try:
            self._feedback.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            errors = error.details["writeErrors"]
            foreign = any(each["code"] != _DUPLICATE for each in errors)
            if foreign or error.details["writeConcernErrors"]:
                raise
            return {each["op"]["_id"] for each in errors}
        return set()

    def counts(self, member_ids: Sequence[str], since: datetime, until: datetime) -> dict[str, int]:
        """How many events of each member lie in a span of time; none is missing. From the index."""
        span = {"$gte": since, "$lt": until}
        query = {"member": {"$in": list(member_ids)}, "is_shown": {"$in": [False, True]}}
        pipeline: list[Document] = [
            {"$match": {**query, "at": span}},
            {"$group": {"_id": "$member", "count": {"$sum": 1}}},
        ]
        return {each["_id"]: each["count"] for each in self._feedback.aggregate(pipeline)}

    def signals(
        self, permit: Permit, *, limit: int = SIGNALS_MAX, since: datetime | None = None
    ) -> list[Signal]:
        """What a member's newest feedback says, newest last: one read, bounded.

        Args:
            permit: of whom.
            limit: acts at most; with them come the newest 50 lists that the member was shown.
            since: only what happened then or later.
        """
        acts, shown = (_newest(permit, is_shown, since) for is_shown in (False, True))
        pipeline: list[Document] = [
            *acts,
            {"$limit": limit},
            {
                "$unionWith": {
                    "coll": self._feedback.name,
                    "pipeline": [*shown, {"$limit": SHOWN_MAX}, _WANTED],
                }
            },
            _WANTED,
        ]
        found = [signal for each in self._feedback.aggregate(pipeline) for signal in _signals(each)]
        return sorted(found, key=_when)

    def signals_of(
        self, permits: Iterable[Permit], *, limit: int = SIGNALS_MAX, since: datetime | None = None
    ) -> dict[str, list[Signal]]:
        """The same of many members; who has none is missing.

        A read each: one for all would go through the whole past of every member.
        """
        found = {each.member_id: self.signals(each, limit=limit, since=since) for each in permits}
        return {member_id: signals for member_id, signals in found.items() if signals}

    def scan(
        self, permits: Iterable[Permit], *, since: datetime | None = None, shown: bool = False
    ) -> Iterator[tuple[str, Signal]]:
        """All signals of many members with who gave them, as a stream: for training.

        Those of a member come together, oldest first. Memory holds one batch of the driver.

        Args:
            permits: of whom.
            since: only what happened then or later.
            shown: whether what was merely shown is among them.
        """
        rest = iter(permits)
        while chunk := [each.member_id for each in islice(rest, MEMBERS_AT_ONCE)]:
            query: Document = {"member": {"$in": chunk}, "is_shown": {"$in": [False, shown]}}
            if since is not None:
                query["at"] = {"$gte": since}
            order = [("member", ASCENDING), ("at", ASCENDING)]
            for each in self._feedback.find(query, _FIELDS).sort(order).allow_disk_use(True):
                for signal in _signals(each):
                    yield each["member"], signal

    def exposures(self, experiment: str) -> Iterator[tuple[str, Event]]:
        """All events that name an experiment with whose they are, as a stream.

        Those of a member come together, oldest first. Memory holds one batch of the driver.
        """
        order = [("experiment", ASCENDING), ("member", ASCENDING), ("at", ASCENDING)]
        for each in self._feedback.find({"experiment": experiment}).sort(order):
            yield each["member"], _event(each)

    def member_ids(self) -> Iterator[str]:
        """Everybody of whom there is feedback, in the order of their ids: a step of the index each.

        For whoever looks whether it may still be kept.
        """
        after = ""
        while True:
            query = {"member": {"$gt": after}}
            found = self._feedback.find_one(query, {"member": 1}, sort=[("member", ASCENDING)])
            if found is None:
                return
            after = found["member"]
            yield after

    def old(self, before: datetime) -> int:
        """How many events happened before a time."""
        return self._feedback.count_documents({"at": {"$lt": before}})

    def sweep(self, before: datetime) -> int:
        """Remove those; how many."""
        return self._feedback.delete_many({"at": {"$lt": before}}).deleted_count

    def held(self, member_id: str) -> Iterator[Held]:
        """Every event of the member; see `vault.model.Holder`."""
        found = self._feedback.find({"member": member_id})
        for each in found.sort([("is_shown", ASCENDING), ("at", DESCENDING)]):
            data = {name: value for name, value in each.items() if name not in _TECHNICAL}
            yield Held("feedback", each["_id"], "feedback", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove every event of the member; see `vault.model.Holder`."""
        return {"feedback": self._feedback.delete_many({"member": member_id}).deleted_count}


_FIELDS = {"_id": 0, "member": 1, "at": 1, "kind": 1, "skus": 1, "stars": 1}
_WANTED = {"$project": _FIELDS}
_TECHNICAL = {"_id", "member", "is_shown"}


def _newest(permit: Permit, is_shown: bool, since: datetime | None) -> list[Document]:  # noqa: FBT001
    query: Document = {"member": permit.member_id, "is_shown": is_shown}
    if since is not None:
        query["at"] = {"$gte": since}
    return [{"$match": query}, {"$sort": {"at": DESCENDING}}]


def _signals(document: Document) -> Iterator[Signal]:
    at, kind, stars = document["at"].timestamp(), document["kind"], document.get("stars", 0)
    return (Signal(at, kind, sku, stars) for sku in document["skus"])


def _when(signal: Signal) -> float:
    return signal.at


def _document(key: str, event: Event, at: datetime) -> Document:
    optional = {name: value for name in _OPTIONAL if (value := getattr(event, name)) is not None}
    if event.stars:
        optional["stars"] = event.stars
    return {
        "_id": key,
        "external_id": event.external_id,
        "member": event.member_id,
        "kind": event.kind,
        "is_shown": event.kind == IMPRESSION,
        "skus": list(event.skus),
        "at": event.at,
        "channel": event.channel,
        "received_at": at,
        **optional,
    }


def _event(document: Document) -> Event:
    optional: dict[str, Any] = {name: document.get(name) for name in _OPTIONAL}
    return Event(
        document["external_id"],
        document["member"],
        document["kind"],
        tuple(document["skus"]),
        document["at"],
        document["channel"],
        stars=document.get("stars", 0),
        **optional,
    )
