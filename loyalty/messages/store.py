"""Messages in MongoDB until they expire; the content is sealed under the member's key."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo import ASCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from loyalty.messages.model import Marked, Message
from loyalty.vault.model import Held, ShreddedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.messages.model import MessageKind
    from loyalty.vault.store import Vault

# Messages whose key is gone are there for the moments of an erasure only.
SHREDDED_MAX = 1_000
# What proves that somebody reads a mailbox is shown in that mailbox alone: in an export, whoever
# logs in to the shop could confirm an address that is not theirs.
SECRETS = frozenset({"token", "url", "code"})


class Outbox:
    """The collection `messages`."""

    def __init__(self, database: Database[Document], vault: Vault) -> None:
        self._messages = database["messages"]
        self._vault = vault

    def create_indexes(self) -> None:
        """Idempotent. MongoDB removes a message by itself when it has expired."""
        self._messages.create_indexes(
            [
                IndexModel([("member", ASCENDING)], name="member"),
                IndexModel([("sent_at", ASCENDING), ("_id", ASCENDING)], name="waiting"),
                IndexModel([("expires_at", ASCENDING)], name="expired", expireAfterSeconds=0),
            ]
        )

    def post(self, message: Message) -> None:
        """Keep a message for the tool that sends it. The same id again changes nothing."""
        with suppress(DuplicateKeyError):
            self._messages.insert_one(self._document(message))

    def waiting(self, *, after: str | None, limit: int, at: datetime) -> list[Message]:
        """Messages that were not sent and still hold, oldest first."""
        query: Document = {"sent_at": None, "expires_at": {"$gt": at}}
        if after is not None:
            query["_id"] = {"$gt": ObjectId(after)}
        found = self._messages.find(query).sort("_id", ASCENDING).limit(limit + SHREDDED_MAX)
        return list(islice(self._readable(found.batch_size(limit + 1)), limit))

    def mark_sent(self, message_id: str, *, at: datetime) -> Marked | None:
        """Note that a message went out; nothing if there is none. Again changes nothing."""
        if not ObjectId.is_valid(message_id):
            return None
        query = {"_id": ObjectId(message_id)}
        change = [{"$set": {"sent_at": {"$ifNull": ["$sent_at", at]}}}]
        before = self._messages.find_one_and_update(
            query, change, {"sent_at": 1}, return_document=ReturnDocument.BEFORE
        )
        if before is None:
            return None
        return Marked(before["sent_at"] or at, before["sent_at"] is not None)

    def take_back(self, message_id: str) -> bool:
        """Remove a message that was not sent yet; whether it was."""
        query = {"_id": ObjectId(message_id), "sent_at": None}
        return self._messages.delete_one(query).deleted_count == 1

    def posted(self, member_id: str, kind: MessageKind, *, since: datetime, limit: int) -> int:
        """How many messages of a kind were posted to a member since a moment, at most so many."""
        query = {"member": member_id, "kind": kind, "created_at": {"$gt": since}}
        return self._messages.count_documents(query, limit=limit)

    def old(self, before: datetime) -> int:
        """How many messages were posted before a time."""
        return self._messages.count_documents({"created_at": {"$lt": before}})

    def sweep(self, before: datetime) -> int:
        """Remove those; how many."""
        return self._messages.delete_many({"created_at": {"$lt": before}}).deleted_count

    def held(self, member_id: str) -> Iterator[Held]:
        """Every message to a member, without its secrets; see `vault.model.Holder`."""
        for each in self._readable(self._messages.find({"member": member_id})):
            content = {name: value for name, value in each.content.items() if name not in SECRETS}
            data = {"kind": each.kind, "channel": each.channel, "content": content}
            times = {"created_at": each.created_at, "sent_at": each.sent_at}
            yield Held("messages", each.id, "messages", {**data, **times})

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove every message to a member; see `vault.model.Holder`."""
        return {"messages": self._messages.delete_many({"member": member_id}).deleted_count}

    def _document(self, message: Message) -> Document:
        return {
            "_id": ObjectId(message.id),
            "member": message.member_id,
            "kind": message.kind,
            "channel": message.channel,
            "language": message.language,
            "sealed": self._vault.seal(message.member_id, dict(message.content)),
            "created_at": message.created_at,
            "expires_at": message.expires_at,
            "sent_at": None,
        }

    def _readable(self, documents: Iterator[Document]) -> Iterator[Message]:
        for each in documents:
            try:
                content = self._vault.open(each["sealed"])
            except ShreddedError:
                continue
            fields = {**each, "id": str(each["_id"]), "content": content}
            fields["member_id"] = fields.pop("member")
            yield Message(**{name: fields[name] for name in Message.__slots__})
