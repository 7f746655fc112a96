"""The access log in MongoDB: a document for each member, key, purpose, route and day."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne

from loyalty.accesslog.model import KEPT_MAX, Look, Place, Tally
from loyalty.vault.model import Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

UPDATES_AT_ONCE_MAX = 1_000


class AccessLog:
    """The collection `access_log`."""

    def __init__(self, database: Database[Document]) -> None:
        self._log = database["access_log"]
        self._members = database["members"]

    def create_indexes(self) -> None:
        """Idempotent."""
        seconds = int(KEPT_MAX.total_seconds())
        self._log.create_indexes(
            [
                IndexModel([("member", ASCENDING), ("_id", DESCENDING)], name="member"),
                IndexModel([("last_at", ASCENDING)], name="expired", expireAfterSeconds=seconds),
            ]
        )

    def add(self, tallies: Mapping[Place, Tally]) -> None:
        """Add to what is counted already; a thousand places a round trip.

        Looks at a member who was erased meanwhile are left out, however long they waited; those
        at one who is erased at this moment are taken out again at once.
        """
        places = list(tallies)
        for begin in range(0, len(places), UPDATES_AT_ONCE_MAX):
            chunk = places[begin : begin + UPDATES_AT_ONCE_MAX]
            there = self._there({each.member_id for each in chunk})
            updates = [_update(each, tallies[each]) for each in chunk if each.member_id in there]
            if updates:
                self._log.bulk_write(updates, ordered=False)
                self._forget_erased(there)

    def page(self, member_id: str, *, before: str | None, limit: int) -> list[Look]:
        """Looks at a member's data, those of the newest day first."""
        query: Document = {"member": member_id}
        if before is not None:
            query["_id"] = {"$lt": before}
        found = self._log.find(query).sort("_id", DESCENDING).limit(limit)
        return [_look(each) for each in found]

    def old(self, before: datetime) -> int:
        """How many documents are about days whose last look was before a time."""
        return self._log.count_documents({"last_at": {"$lt": before}})

    def sweep(self, before: datetime) -> int:
        """Remove those; how many."""
        return self._log.delete_many({"last_at": {"$lt": before}}).deleted_count

    def held(self, member_id: str) -> Iterator[Held]:
        """Every look at the member's data; see `vault.model.Holder`."""
        for each in self._log.find({"member": member_id}).sort("_id", DESCENDING):
            data = {name: each[name] for name in (*_PLACE, *Tally._fields)}
            yield Held("access_log", each["_id"], "access_log", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove every look at the member's data; see `vault.model.Holder`."""
        return {"access_log": self._log.delete_many({"member": member_id}).deleted_count}

    def _forget_erased(self, member_ids: set[str]) -> None:
        if gone := member_ids - self._there(member_ids):
            self._log.delete_many({"member": {"$in": list(gone)}})

    def _there(self, member_ids: set[str]) -> set[str]:
        found = self._members.find({"_id": {"$in": list(member_ids)}}, {"_id": 1})
        return {each["_id"] for each in found}


_PLACE = ("key", "purpose", "route", "day")


def _update(place: Place, tally: Tally) -> UpdateOne:
    day = place.day.isoformat()
    # Within a member it sorts by the day.
    identity = f"{day}/{place.member_id}/{place.key_id}/{place.purpose}/{place.route}"
    change: Document = {
        "$inc": {"times": tally.times},
        "$min": {"first_at": tally.first_at},
        "$max": {"last_at": tally.last_at},
        "$setOnInsert": {
            "member": place.member_id,
            "key": place.key_id,
            "purpose": place.purpose,
            "route": place.route,
            "day": day,
        },
    }
    return UpdateOne({"_id": identity}, change, upsert=True)


def _look(document: Document) -> Look:
    place = Place(
        document["member"],
        document["key"],
        document["purpose"],
        document["route"],
        date.fromisoformat(document["day"]),
    )
    tally = Tally(document["times"], document["first_at"], document["last_at"])
    return Look(document["_id"], place, tally)
