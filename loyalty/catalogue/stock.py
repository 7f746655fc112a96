"""Stock in MongoDB, keyed by place and sku: what a store or a channel has, as last counted."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pymongo
from pymongo import ASCENDING, IndexModel, UpdateOne

from loyalty.catalogue.model import EVERY_PLACE, Counted
from loyalty.catalogue.store import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

# A change is seen within this time.
STOCK_SECONDS_MAX = 5.0
# What a worker remembers of what is sold out: some 60 MB at the most.
SOLD_OUT_KNOWN_MAX = 1_000_000
SOLD_OUT_MAX = 250_000


class StockStore:
    """The collection `stock`.

    A worker remembers only what is sold out, and only at the places that it is asked about: a
    million rows of what can be had cost it nothing.
    """

    def __init__(
        self,
        database: Database[Document],
        *,
        timeout_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stock = database["stock"]
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    def create_indexes(self) -> None:
        """Idempotent."""
        # With the sku in it, so that the list of a place is read from the index alone.
        sold_out = IndexModel(
            [("place", ASCENDING), ("sku", ASCENDING)],
            name="sold_out",
            partialFilterExpression={"available": False},
        )
        self._stock.create_indexes([sold_out])

    def put(self, counts: Iterable[Counted]) -> None:
        """Keep the counts, in chunks with a deadline each; an older one never undoes a newer one.

        Of counts of the same time the one that comes later holds.
        """
        newest: dict[tuple[str, str], Counted] = {}
        for each in counts:
            before = newest.get((each.place, each.sku))
            if before is None or before.counted_at <= each.counted_at:
                newest[each.place, each.sku] = each
        documents = [_document(each) for each in newest.values()]
        for begin in range(0, len(documents), CHUNK):
            writes = [_write(each) for each in documents[begin : begin + CHUNK]]
            with pymongo.timeout(self._timeout_seconds * 5):
                self._stock.bulk_write(writes, ordered=False)
        self.forget()

    def forget(self) -> None:
        """Look again at the next call, whenever that is."""
        self._known = {}

    def counts(self, sku: str, places: Sequence[str]) -> list[Counted]:
        """What is known of a product at some places and everywhere, the widest place first."""
        ids = [_id(place, sku) for place in (EVERY_PLACE, *places)]
        found = {each["_id"]: each for each in self._stock.find({"_id": {"$in": ids}})}
        return [_counted(found[each]) for each in ids if each in found]

    def sold_out(self, place: str) -> frozenset[str]:
        """The skus that cannot be had at a place, as it was at most 5 s ago.

        What is sold out everywhere stands under `EVERY_PLACE` alone.
        """
        known = self._known.get(place)
        if known is not None and self._monotonic() - known[0] <= STOCK_SECONDS_MAX:
            return known[1]
        with self._guard:
            return self._read(place)

    def _read(self, place: str) -> frozenset[str]:
        """Read a place, unless another thread has done so meanwhile."""
        began, known = self._monotonic(), self._known
        before = known.get(place)
        if before is not None and began - before[0] <= STOCK_SECONDS_MAX:
            return before[1]
        query = {"place": place, "available": False}
        found = self._stock.find(query, {"_id": 0, "sku": 1}).limit(SOLD_OUT_MAX)
        skus = frozenset(each["sku"] for each in found)
        if sum(len(each) for _, each in known.values()) + len(skus) > SOLD_OUT_KNOWN_MAX:
            known.clear()
        known[place] = began, skus
        return skus


def _id(place: str, sku: str) -> str:
    # No place has a bar in its name.
    return f"{place}|{sku}"


def _document(counted: Counted) -> Document:
    return {"_id": _id(counted.place, counted.sku), **counted._asdict()}


def _counted(document: Document) -> Counted:
    return Counted(**{name: document[name] for name in Counted._fields})


def _write(document: Document) -> UpdateOne:
    """Replace what was counted before that; one step of the server, so that no two can cross."""
    is_newer = {"$gt": ["$counted_at", document["counted_at"]]}
    kept = {"$cond": [is_newer, "$$ROOT", {"$literal": document}]}
    return UpdateOne({"_id": document["_id"]}, [{"$replaceWith": kept}], upsert=True)
