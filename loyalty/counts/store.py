"""Counts of the days that are over, kept; today's are counted when they are asked for."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, IndexModel, ReplaceOne

from loyalty.counts.model import DAY, DAYS_MAX, Cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

DAYS_AT_ONCE = 31


class CountStore:
    """The collection `consent_counts`, one document a day; it reads `consents`."""

    def __init__(self, database: Database[Document]) -> None:
        self._counts = database["consent_counts"]
        self._consents = database["consents"]

    def create_indexes(self) -> None:
        """Idempotent."""
        by_time = IndexModel([("recorded_at", ASCENDING)], name="recorded_at")
        self._consents.create_indexes([by_time])

    def advance(self, until: date) -> int:
        """Count the days before one that are not counted yet; how many these are.

        Each record is read once in its life, by the index on its time. Counted again, a day gets
        the same document, so several may do this at once, and it may be stopped anywhere.
        """
        day, number = self._next_day(), 0
        for _ in range(DAYS_MAX // DAYS_AT_ONCE):
            if day is None or day >= until:
                break
            end = min(day + DAYS_AT_ONCE * DAY, until)
            self._keep(day, end)
            number += (end - day).days
            day = end
        return number

    def by_day(self, first: date, last: date) -> dict[date, Mapping[Cell, int]]:
        """What is counted of the days between two, both included."""
        query = {"_id": {"$gte": first.isoformat(), "$lte": last.isoformat()}}
        return {
            date.fromisoformat(each["_id"]): {
                Cell(*row["cell"]): row["number"] for row in each["rows"]
            }
            for each in self._counts.find(query)
        }

    def live(self, first: date, end: date) -> dict[date, dict[Cell, int]]:
        """The days from one to before another, counted at this moment from the records."""
        found: dict[date, dict[Cell, int]] = {}
        for each in self._consents.aggregate(_counting(first, end)):
            key = each["_id"]
            cell = Cell(key["purpose"], key.get("channel"), key["method"], key["status"])
            found.setdefault(date.fromisoformat(key["day"]), {})[cell] = each["number"]
        return found

    def _next_day(self) -> date | None:
        """The first day that is not counted; None as long as there are no records."""
        if newest := self._counts.find_one({}, {"_id": 1}, sort=[("_id", -1)]):
            return date.fromisoformat(newest["_id"]) + DAY
        first = self._consents.find_one({}, {"recorded_at": 1}, sort=[("recorded_at", 1)])
        return first["recorded_at"].date() if first else None

    def _keep(self, first: date, end: date) -> None:
        found = self.live(first, end)
        days = [first + number * DAY for number in range((end - first).days)]
        # In order: the newest day that is kept says that all before it are.
        self._counts.bulk_write(
            [
                ReplaceOne({"_id": day.isoformat()}, _document(found.get(day, {})), upsert=True)
                for day in days
            ]
        )


def _document(counts: Mapping[Cell, int]) -> Document:
    rows = sorted(counts.items(), key=lambda row: (row[0].purpose, str(row[0])))
    return {"rows": [{"cell": list(cell), "number": number} for cell, number in rows]}


def _counting(first: date, end: date) -> list[dict[str, Any]]:
    """Group the decisions of the records of some days; a status that is not kept is worked out."""
    is_granted = {"$cond": ["$decisions.granted", "granted", "refused"]}
    day = {"$dateToString": {"date": "$recorded_at", "format": "%Y-%m-%d"}}
    return [
        {"$match": {"recorded_at": {"$gte": _start(first), "$lt": _start(end)}}},
        {"$project": {"recorded_at": 1, "method": 1, "decisions": 1}},
        {"$unwind": "$decisions"},
        {
            "$group": {
                "_id": {
                    "day": day,
                    "purpose": "$decisions.purpose",
                    "channel": "$decisions.channel",
                    "method": "$method",
                    "status": {"$ifNull": ["$decisions.status", is_granted]},
                },
                "number": {"$sum": 1},
            }
        },
    ]


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
