"""The database calls of Carnet's hot paths with nothing around them: what the peers are made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo import DESCENDING

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document

TEMPLATE = "benchmark-template"
HISTORY_BASKETS = 60
FEEDBACK = 200
_HEAD = {"_id": 0, "seq": 1, "state": 1}
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


class Bare:
    """One indexed read and one durable insert, in the same collection with the same indexes.

    The inserted document is an entry that Carnet wrote for a receipt of median size, under another
    id, member, number and key: so both sides write the same bytes.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._journal = database["journal"]
        self._consents = database["consents"]
        self._feedback = database["feedback"]
        kept = database["meta"].find_one({"_id": TEMPLATE})
        assert kept, "the stage keeps it"
        self._template: Document = kept["entry"]

    def head(self, member: str) -> Document | None:
        """The newest entry's number and state."""
        return self._journal.find_one({"member": member}, _HEAD, sort=[("seq", DESCENDING)])

    def award(self, member: str, key: str) -> Document:
        """Read the head and insert the next entry."""
        head = self.head(member)
        entry = {
            **self._template,
            "_id": ObjectId(),
            "member": member,
            "seq": head["seq"] + 1 if head else 1,
            "key": key,
            "mark": hashlib.sha256(key.encode()).digest()[:16],
            "state": head["state"] if head else {"lots": [], "channels": {}},
        }
        self._journal.insert_one(entry)
        return entry

    def transact(self, member: str, key: str) -> None:
        """What systems without a journal do: a balance and an entry, in one transaction."""

        def write(session: ClientSession) -> None:
            account = self._database["accounts"].find_one_and_update(
                {"_id": member},
                {"$inc": {"seq": 1, "balance": 10}},
                upsert=True,
                return_document=True,
                session=session,
            )
            assert account, "upserted"
            entry = {
                **self._template,
                "_id": ObjectId(),
                "member": member,
                "seq": account["seq"],
                "key": key,
            }
            self._database["transactions"].insert_one(entry, session=session)

        with self._database.client.start_session() as session:
            session.with_transaction(write)

    def flags(self, member: str) -> Document | None:
        """The newest consent record."""
        return self._consents.find_one(
            {"member": member}, {"seq": 1, "flags": 1}, sort=[("seq", DESCENDING)]
        )

    def feedback(self, member: str) -> list[dict[str, Any]]:
        """The newest feedback, newest first."""
        found = self._feedback.find({"member": member, "is_shown": {"$in": [False, True]}})
        return list(found.sort("at", DESCENDING).limit(FEEDBACK))

    def history(self, member: str) -> list[dict[str, Any]]:
        """The newest baskets, newest first."""
        query = {"member": member, "kind": {"$in": ["purchase", "return"]}}
        found = self._journal.find(query, _BASKET).sort("seq", DESCENDING).limit(HISTORY_BASKETS)
        return list(found)
