"""The journal in MongoDB: inserted, never updated. Two unique indexes decide every race.

`member_seq` makes each entry stand on the head that was read; `mark`, a keyed hash of the fact's
key, keeps a fact from being written twice, also when nothing else is left of it. Two kinds of
document are no entries: the marker that ends an erased member's journal, and the shells of what
was erased.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from bson import ObjectId
from bson.errors import InvalidId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError

from loyalty.journal.codec import entry_from_document, entry_to_document, state_from_document
from loyalty.journal.model import (
    ENDED,
    ERASED,
    Entry,
    FactErasedError,
    Head,
    KeySeenError,
    StaleHeadError,
)
from loyalty.kit.group import GroupInsert
from loyalty.kit.mongo import duplicate_index, transact
from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.journal.secrecy import Secrecy
    from loyalty.kit.mongo import Document
    from loyalty.vault.permit import Permit

# What one return may be about.
RELATED_MAX = 5000
BACKWARDS_FIRST, BACKWARDS_MAX = 8, 512
# Entries that restate others and are no facts of their own.
RESTATING = frozenset({"correction", "reversal"})
_DUPLICATE = 11000


class PastBasket(NamedTuple):
    """What a recommender needs of a purchase or return: when, where and which skus.

    `quantities` are negative for a return.
    """

    member_id: str
    occurred_at: datetime
    channel: str
    store: str | None
    quantities: dict[str, int]
    is_return: bool = False


class Sale(NamedTuple):
    """What a purchase came to: when, and minor units by sku; negative for a return."""

    occurred_at: datetime
    amounts: dict[str, int]


class JournalStore:
    """The collection `journal`."""

    def __init__(
        self, database: Database[Document], secrecy: Secrecy, *, timeout_seconds: float
    ) -> None:
        self._client = database.client
        self._secrecy = secrecy
        self._journal = database["journal"]
        self._budgets = database["budgets"]
        self._group = GroupInsert(self._journal, timeout_seconds=timeout_seconds)

    def create_indexes(self) -> None:
        """Idempotent."""
        head = [("member", ASCENDING), ("seq", DESCENDING)]
        self._journal.create_indexes(
            [
                IndexModel(head, name="member_seq", unique=True),
                IndexModel([("mark", ASCENDING)], name="mark", unique=True),
                # A day after the end no writer can be left that read the journal before it.
                IndexModel(
                    [("gone_at", ASCENDING)],
                    name="gone",
                    partialFilterExpression={"gone_at": {"$exists": True}},
                    expireAfterSeconds=0,
                ),
                _index("undoing", "activity.undoes"),
                _index("standing_on", "postings.legs"),
                _index("restating", "activity.corrects.key"),
                _index("restated_legs", "activity.corrects.postings.legs"),
            ]
        )

    def head(self, member_id: str) -> Head | None:
        """Where the member's journal stands: one indexed read whatever its length.

        Raises:
            MemberNotFoundError: the member was erased.
        """
        found = self._journal.find_one(
            {"member": member_id},
            {"_id": 0, "seq": 1, "state": 1},
            sort=[("seq", DESCENDING)],
        )
        if found is None:
            return None
        if "state" not in found:
            raise MemberNotFoundError
        return Head(found["seq"], state_from_document(found["state"]))

    def heads(self, member_ids: Sequence[str]) -> dict[str, Head]:
        """The heads of many members; who has none, or was erased, is missing."""
        found = self.standings(member_ids)
        return {member_id: head for member_id, head in found.items() if head is not None}

    def standings(self, member_ids: Sequence[str]) -> dict[str, Head | None]:
        """The same, and None for those that were erased: their journals never begin anew."""
        newest = {name: {"$first": f"${name}"} for name in ("seq", "state")}
        pipeline: list[Document] = [
            {"$match": {"member": {"$in": list(member_ids)}}},
            {"$sort": {"member": ASCENDING, "seq": DESCENDING}},
            {"$group": {"_id": "$member", **newest}},
        ]
        return {
            each["_id"]: Head(each["seq"], state_from_document(each["state"]))
            if each["state"]
            else None
            for each in self._journal.aggregate(pipeline)
        }

    def append(self, entry: Entry) -> None:
        """Write one fact, durably.

        Raises:
            KeySeenError: the fact is there already.
            StaleHeadError: the member's journal went on in between.
        """
        try:
            self._group.insert(self._written(entry))
        except DuplicateKeyError as error:
            # The driver itself may have sent the insert twice: then the key is ours, and seen.
            if duplicate_index(error) == "member_seq" and self.by_key(entry.key) is None:
                raise StaleHeadError from error
            raise KeySeenError from error

    def append_together(self, work: Callable[[ClientSession], Sequence[Entry]]) -> None:
        """Write the entries that `work` gives, and what it writes itself, in one transaction.

        Raises:
            KeySeenError: a fact is there already.
            StaleHeadError: a member's journal went on in between.
        """

        def write(session: ClientSession) -> None:
            documents = [self._written(each) for each in work(session)]
            self._journal.insert_many(documents, session=session)

        try:
            transact(self._client, write)
        except BulkWriteError as error:
            first = error.details["writeErrors"][0]
            if first["code"] != _DUPLICATE:
                raise
            is_stale = "index: member_seq" in first["errmsg"]
            raise (StaleHeadError if is_stale else KeySeenError) from error

    def spent(self, rules: Collection[str], session: ClientSession) -> dict[str, int]:
        """What each campaign has spent of its budget so far, in points."""
        found = self._budgets.find({"_id": {"$in": list(rules)}}, session=session)
        return {each["_id"]: each["spent"] for each in found}

    def spend(self, points_by_rule: Mapping[str, int], session: ClientSession) -> None:
        """Count points on campaigns' budgets; another writer of the same campaign conflicts."""
        for rule, points in points_by_rule.items():
            change = {"$inc": {"spent": points}}
            self._budgets.update_one({"_id": rule}, change, upsert=True, session=session)

    def append_many(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Write facts in their order until one is refused; that one and the rest are returned.

        In order, so that a kill in the middle leaves no member with a gap.
        """
        if not entries:
            return []
        try:
            self._journal.insert_many([self._written(each) for each in entries], ordered=True)
        except BulkWriteError as error:
            if error.details["writeConcernErrors"]:
                # Not known to be durable: nobody may be told that it was written.
                raise
            return entries[error.details["writeErrors"][0]["index"] :]
        return []

    def by_key(self, key: str) -> Entry | None:
        """The entry of a fact.

        Raises:
            FactErasedError: the fact was there, and was erased with its member.
        """
        found = self._journal.find_one({"mark": self._secrecy.mark(key)})
        if found and found["kind"] == ERASED:
            raise FactErasedError
        return self._read(found) if found else None

    def by_keys(self, keys: Sequence[str]) -> dict[str, Entry]:
        """The entries of many facts by their keys; what is not there, or erased, is missing."""
        found = self._journal.find({**self._marked(keys), "kind": {"$ne": ERASED}})
        return {each["key"]: self._read(each) for each in found}

    def seen(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys are in the journal, or were before they were erased."""
        by_mark = {self._secrecy.mark(key): key for key in keys}
        found = self._journal.find({"mark": {"$in": list(by_mark)}}, {"_id": 0, "mark": 1})
        return {by_mark[each["mark"]] for each in found}

    def get(self, entry_id: str) -> Entry | None:
        """An entry by its id."""
        try:
            found = self._journal.find_one({"_id": ObjectId(entry_id)})
        except InvalidId:
            return None
        return self._read(found) if found and "key" in found else None

    def page(self, member_id: str, *, before_seq: int | None, limit: int) -> list[Entry]:
        """A member's entries, newest first."""
        query = _living(member_id)
        if before_seq is not None:
            query["seq"] = {"$lt": before_seq}
        found = self._journal.find(query).sort("seq", DESCENDING).limit(limit)
        return [self._read(each) for each in found]

    def entries(self, member_id: str) -> Iterator[Entry]:
        """All entries of a member, oldest first, as a stream."""
        found = self._journal.find(_living(member_id)).sort("seq", ASCENDING)
        return map(self._read, found)

    def backwards(self, member_id: str) -> Iterator[Entry]:
        """All entries of a member, newest first, as a stream.

        Who reads it mostly stops soon: the first reads are small, and grow.
        """
        query = _living(member_id)
        size = BACKWARDS_FIRST
        while found := list(self._journal.find(query).sort("seq", DESCENDING).limit(size)):
            yield from map(self._read, found)
            if len(found) < size:
                return
            query["seq"] = {"$lt": found[-1]["seq"]}
            size = min(size * 4, BACKWARDS_MAX)

    def related(self, member_id: str, key: str) -> list[Entry]:
        """The facts that undoing one of them is about.

        That fact, those whose bonus stands on it, the others that these stand on, and all returns
        of any of them.
        """
        near = self._find(
            member_id,
            self._marked([key]),
            {"postings.legs": key},
            {"activity.corrects.postings.legs": key},
        )
        keys = {key, *(entry.key for entry in near if entry.kind not in RESTATING)}
        keys.update(leg for entry in near for posting in entry.postings for leg in posting.legs)
        keys.update(fact for fact, legs in _restated_legs(near) if key in legs)
        again = _restated_legs(self.restating(member_id, list(keys)))
        keys.update(leg for fact, legs in again if fact in keys for leg in legs)
        wanted = list(keys)
        around = self._find(member_id, self._marked(wanted), {"activity.undoes": {"$in": wanted}})
        indirect = [
            each["key"]
            for entry in around
            if entry.kind == "correction"
            for each in entry.activity["corrects"]
        ]
        if indirect:
            around += self._find(member_id, self._marked(indirect))
        facts = {entry.key: entry for entry in around if entry.kind not in RESTATING}
        if returns := [each for each in facts if each not in keys]:
            # A return may have been a mistake that was reversed.
            around += self._find(member_id, {"activity.undoes": {"$in": returns}})
        gone = {each for entry in around if entry.kind == "reversal" for each in _undoes(entry)}
        return [entry for entry in facts.values() if entry.key not in gone]

    def restating(self, member_id: str, keys: Sequence[str]) -> list[Entry]:
        """The entries that restate any of some facts, in the order of the journal."""
        return self._find(member_id, {"activity.corrects.key": {"$in": list(keys)}})

    def _find(self, member_id: str, *queries: Document) -> list[Entry]:
        """The member's entries that any of the queries is about, in the order of the journal."""
        # Were the member asked for outside, its whole journal would be read for several queries.
        any_of = [{"member": member_id, **query} for query in queries]
        query = {"$or": any_of} if len(any_of) > 1 else any_of[0]
        found = self._journal.find(query).sort("seq", ASCENDING)
        return [self._read(each) for each in found.limit(RELATED_MAX)]

    def _marked(self, keys: Sequence[str]) -> Document:
        """The query for facts by their keys."""
        return {"mark": {"$in": [self._secrecy.mark(key) for key in keys]}}

    def _written(self, entry: Entry) -> Document:
        return self._secrecy.sealed(entry_to_document(entry))

    def _read(self, document: Document) -> Entry:
        return entry_from_document(self._secrecy.opened(document))

    def history(
        self, permit: Permit, *, limit: int, since: datetime | None = None
    ) -> list[PastBasket]:
        """A member's newest purchases and returns, newest first: bounded, whatever came before.

        With `since`, those of them that happened at that time or later.
        """
        query = {"member": permit.member_id, "kind": {"$in": ["purchase", "return"]}}
        found = self._journal.find(query, _BASKET).sort("seq", DESCENDING).limit(limit)
        baskets = (_past_basket(each) for each in found)
        return [each for each in baskets if since is None or each.occurred_at >= since]

    def histories(
        self, permits: Iterable[Permit], *, limit: int, since: datetime | None = None
    ) -> dict[str, list[PastBasket]]:
        """The same of many members in one read; who has none is missing.

        One read goes through all of them in the index's own order; it is begun anew behind each
        member whose past is longer than the limit, so that the rest of that past is not read.
        """
        found: dict[str, list[PastBasket]] = {}
        left: Sequence[str] = sorted({each.member_id for each in permits})
        while left:
            left = self._read_newest(left, limit, found)
        within = (
            (member_id, [each for each in baskets if since is None or each.occurred_at >= since])
            for member_id, baskets in found.items()
        )
        return {member_id: baskets for member_id, baskets in within if baskets}

    def _read_newest(
        self, member_ids: Sequence[str], limit: int, found: dict[str, list[PastBasket]]
    ) -> Sequence[str]:
        """Read up to the first member with more than the limit; whom it leaves to be read."""
        query = {"member": {"$in": member_ids}, "kind": {"$in": ["purchase", "return"]}}
        order = [("member", ASCENDING), ("seq", DESCENDING)]
        # A batch is what is read in vain of a longer past, at most: it holds one entry too many.
        with self._journal.find(query, _BASKET).sort(order).batch_size(limit + 1) as documents:
            for document in documents:
                member_id = document["member"]
                baskets = found.setdefault(member_id, [])
                if len(baskets) >= limit:
                    return member_ids[bisect_right(member_ids, member_id) :]
                baskets.append(_past_basket(document))
        return ()

    def sales(self, permit: Permit, *, limit: int, since: datetime) -> list[Sale]:
        """What a member's newest purchases and returns since a time came to, newest first."""
        query = {"member": permit.member_id, "kind": {"$in": ["purchase", "return"]}}
        found = self._journal.find(query, _SALE).sort("seq", DESCENDING).limit(limit)
        sales = (_sale(each) for each in found)
        return [each for each in sales if each.occurred_at >= since]

    def has_bought(self, member_id: str) -> bool:
        """Whether a member ever bought anything, or brought it back."""
        query = {"member": member_id, "kind": {"$in": ["purchase", "return"]}}
        return self._journal.find_one(query, {"_id": 1}) is not None

    def recent(self, *, limit: int) -> list[PastBasket]:
        """The newest purchases of the whole shop."""
        found = self._journal.find({}, {**_BASKET, "kind": 1}).sort("_id", DESCENDING).limit(limit)
        return [_past_basket(each) for each in found if each["kind"] == "purchase"]


def _living(member_id: str) -> Document:
    return {"member": member_id, "kind": {"$ne": ENDED}}


def _restated_legs(entries: Sequence[Entry]) -> list[tuple[str, set[str]]]:
    """What the facts that were restated stand on, by their keys."""
    return [
        (each["key"], {leg for posting in each["postings"] for leg in posting.get("legs", ())})
        for entry in entries
        if entry.kind in RESTATING
        for each in entry.activity["corrects"]
    ]


def _undoes(entry: Entry) -> list[str]:
    keys: list[str] = entry.activity["undoes"]
    return keys


def _index(name: str, field: str) -> IndexModel:
    """An index over the few entries that have a field."""
    return IndexModel(
        [("member", ASCENDING), (field, ASCENDING)],
        name=name,
        partialFilterExpression={field: {"$exists": True}},
    )


_BASKET = {
    "_id": 0,
    "member": 1,
    "occurred_at": 1,
    "channel": 1,
    "store": 1,
    "activity.lines.sku": 1,
    "activity.lines.quantity": 1,
    "activity.returned": 1,
}


_SALE = {
    "_id": 0,
    "occurred_at": 1,
    "activity.lines.sku": 1,
    "activity.lines.amount": 1,
    "activity.returned": 1,
}


def _sale(document: Document) -> Sale:
    activity, amounts = document["activity"], dict[str, int]()
    for sign, lines in ((1, activity.get("lines", ())), (-1, activity.get("returned", ()))):
        for line in lines:
            amounts[line["sku"]] = amounts.get(line["sku"], 0) + sign * line["amount"]
    return Sale(document["occurred_at"], amounts)


def _past_basket(document: Document) -> PastBasket:
    activity = document["activity"]
    lines = activity.get("lines", ())
    quantities: dict[str, int] = {line["sku"]: line["quantity"] for line in lines}
    if len(quantities) < len(lines):
        # A sku on several lines: rare, and only then worth a sum.
        quantities = dict.fromkeys(quantities, 0)
        for line in lines:
            quantities[line["sku"]] += line["quantity"]
    for returned in activity.get("returned", ()):
        quantities[returned["sku"]] = quantities.get(returned["sku"], 0) - returned["quantity"]
    return PastBasket(
        document["member"],
        document["occurred_at"],
        document["channel"],
        document["store"],
        quantities,
        "returned" in activity,
    )
