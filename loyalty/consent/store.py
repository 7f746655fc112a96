"""Consent records in MongoDB: appended, never updated. The newest one says where a member stands.

Each is chained to the one before it by its hash. What somebody brought as evidence is sealed under
the member's key. Only an erasure removes records, and it notes what the sum of all loses by that.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId
from bson.errors import InvalidId
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.consent import chain
from loyalty.consent.chain import Checkpoint, Tally
from loyalty.consent.codec import (
    document_of,
    flag_field,
    record_of,
    said_of,
    standing_of,
)
from loyalty.consent.model import RecordNotFoundError, Standing
from loyalty.consent.notice_store import NoticeStore
from loyalty.consent.purpose_store import PurposeShelf, PurposeStore
from loyalty.kit.mongo import duplicate_index
from loyalty.vault.model import Held, ShreddedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.consent.model import Record, Said
    from loyalty.kit.mongo import Document
    from loyalty.vault.store import Vault

_STANDING = {"seq": 1, "hash": 1, "newest_at": 1, "flags": 1, "restricted": 1, "age": 1}


class StaleRecordError(Exception):
    """Another decision of the member came in between; read again."""


class RequestSeenError(Exception):
    """The same request, or line of an import, was recorded before."""


class Scanned(NamedTuple):
    """One record as it is kept, for a check of the chains."""

    id: str
    member_id: str
    seq: int
    previous: str
    hash: str
    is_sound: bool


class ConsentStore:
    """The collections `consents`, `consent_checkpoints` and `consent_erasures`."""

    def __init__(self, database: Database[Document], vault: Vault, *, secret: bytes) -> None:
        self._consents = database["consents"]
        self._checkpoints = database["consent_checkpoints"]
        self._taken = database["consent_erasures"]
        self._vault = vault
        self._secret = secret
        self.purposes = PurposeShelf(PurposeStore(database))
        self.notices = NoticeStore(database)

    def create_indexes(self) -> None:
        """Idempotent."""
        keys = [("member", ASCENDING), ("seq", DESCENDING)]
        first = IndexModel(
            [("member", ASCENDING)],
            name="first_of_member",
            partialFilterExpression={"seq": 1},
        )
        request = IndexModel(
            [("member", ASCENDING), ("request.key", ASCENDING)],
            name="request_key",
            unique=True,
            partialFilterExpression={"request.key": {"$exists": True}},
        )
        head = IndexModel(keys, name="member_seq", unique=True)
        self._consents.create_indexes([head, first, request])
        self._taken.create_indexes([IndexModel([("checkpoint", ASCENDING)], name="checkpoint")])
        self.notices.create_indexes()

    def standing(self, member_id: str) -> Standing:
        """Where a member stands: one indexed read, whatever came before."""
        found = self._consents.find_one(
            {"member": member_id}, _STANDING, sort=[("seq", DESCENDING)]
        )
        return standing_of(found) if found else Standing()

    def standing_on(self, member_id: str, flags: Sequence[str]) -> Standing:
        """The same, of some flags alone: what the gate reads in every request."""
        wanted = {"_id": 0, "seq": 1, "restricted": 1, **{flag_field(each): 1 for each in flags}}
        found = self._consents.find_one({"member": member_id}, wanted, sort=[("seq", DESCENDING)])
        return standing_of(found) if found else Standing()

    def standings(self, member_ids: Sequence[str]) -> dict[str, Standing]:
        """Where many members stand; who never decided is missing. One document read for each."""
        newest = {name: {"$first": f"${name}"} for name in _STANDING}
        pipeline: list[Document] = [
            {"$match": {"member": {"$in": list(member_ids)}}},
            {"$sort": {"member": ASCENDING, "seq": DESCENDING}},
            {"$group": {"_id": "$member", **newest}},
        ]
        found = self._consents.aggregate(pipeline)
        return {each["_id"]: standing_of(each) for each in found}

    def standings_before(self, moment: datetime, member_ids: Sequence[str]) -> dict[str, Standing]:
        """Where some members stood at a moment; who had decided nothing by then is missing."""
        order = [("seq", DESCENDING)]
        found = {
            each: self._consents.find_one(
                {"member": each, "recorded_at": {"$lt": moment}}, _STANDING, sort=order
            )
            for each in member_ids
        }
        return {each: standing_of(record) for each, record in found.items() if record}

    def refusing_since(self, moment: datetime, *, page: int) -> Iterator[list[str]]:
        """Members with a refusal, a withdrawal, an objection or a restriction since a moment.

        In pages, each member once a page; what they think now has to be asked.
        """
        query = {
            "_id": {"$gte": ObjectId.from_datetime(moment)},
            "recorded_at": {"$gte": moment},
            "$or": [{"decisions.granted": False}, {"restricted": True}],
        }
        found = self._consents.find(query, {"member": 1, "_id": 0}).sort("_id", ASCENDING)
        seen: dict[str, None] = {}
        for each in found:
            seen[each["member"]] = None
            if len(seen) == page:
                yield list(seen)
                seen = {}
        if seen:
            yield list(seen)

    def append(self, record: Record) -> str:
        """Append a record on top of the one that it names; its hash.

        Raises:
            StaleRecordError: the member has a record of that number already.
            RequestSeenError: the request was recorded before.
        """
        document = document_of(record, self._sealed(record))
        try:
            self._consents.insert_one(document)
        except DuplicateKeyError as error:
            is_seen = duplicate_index(error) == "request_key"
            raise (RequestSeenError if is_seen else StaleRecordError) from error
        hash_: str = document["hash"]
        return hash_

    def append_all(self, records: Sequence[Record]) -> None:
        """Append the first records of many members at once (an import)."""
        documents = [document_of(each, self._sealed(each)) for each in records]
        self._consents.insert_many(documents, ordered=False)

    def page(self, member_id: str, *, before_seq: int | None, limit: int) -> list[Record]:
        """Records of a member, newest first."""
        query: Document = {"member": member_id}
        if before_seq is not None:
            query["seq"] = {"$lt": before_seq}
        found = self._consents.find(query).sort("seq", DESCENDING).limit(limit)
        return [self._record(each) for each in found]

    def get(self, member_id: str, record_id: str) -> Record:
        """One record of a member.

        Raises:
            RecordNotFoundError: the member has none of that id.
        """
        try:
            found = self._consents.find_one({"_id": ObjectId(record_id), "member": member_id})
        except InvalidId:
            found = None
        if found is None:
            raise RecordNotFoundError
        return self._record(found)

    def marked(self, request: tuple[str, str] | None) -> tuple[str, str] | None:
        """What is kept of a request's key and fingerprint: keyed hashes of both.

        A digest of what was given as evidence could tell whether a guess is right.
        """
        if request is None:
            return None
        key, mark = (hmac.digest(self._secret, each.encode(), "sha256").hex() for each in request)
        return key, mark

    def by_request(self, member_id: str, request_key: str) -> Record | None:
        """The record of a request about a member that was carried out before."""
        found = self._consents.find_one({"member": member_id, "request.key": request_key})
        return self._record(found) if found else None

    def said(self, member_id: str) -> Iterator[Said]:
        """All that a member ever decided, in the order of arrival."""
        names = ("decisions", "decided_at", "method", "notice_version", "signal")
        wanted = dict.fromkeys(names, 1)
        found = self._consents.find({"member": member_id}, wanted).sort("seq", ASCENDING)
        # All of it: what the fold left out might be the newest no. It is as long as the chain is.
        for each in found:
            yield from said_of(each)

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

    def count(self) -> int:
        """About how many records there are, for a progress bar."""
        return self._consents.estimated_document_count()

    def scan(self) -> Iterator[Scanned]:
        """All records, member by member, newest first: as the index has them."""
        order = [("member", ASCENDING), ("seq", DESCENDING)]
        return map(_scanned, self._consents.find().sort(order))

    def tally(self, until: datetime, member_id: str | None = None) -> Tally:
        """The keyed sum over the records made before a moment, of all members or of one."""
        query: Document = {"_id": {"$lt": ObjectId.from_datetime(until)}}
        if member_id:
            query["member"] = member_id
        found = self._consents.find(query, {"hash": 1})
        return chain.tally((str(each.get("hash")) for each in found), self._secret)

    def keep_checkpoint(self, *, made_at: datetime, until: datetime) -> str:
        """Sum all records made before a moment, keep the sum, and give it as a signed text."""
        newest = self.newest_checkpoint()
        number = newest.number + 1 if newest else 1
        made = Checkpoint(number, made_at, until, self.tally(until))
        text = chain.sign(made, self._secret)
        self._checkpoints.insert_one({"_id": number, "text": text})
        return text

    def newest_checkpoint(self) -> Checkpoint | None:
        """The last checkpoint that was kept.

        Raises:
            BadCheckpointError: it was tampered with.
        """
        found = self._checkpoints.find_one(sort=[("_id", DESCENDING)])
        return chain.read(found["text"], self._secret) if found else None

    def read_checkpoint(self, text: str) -> Checkpoint:
        """The checkpoint of a text that was kept outside.

        Raises:
            BadCheckpointError: it was not made under this service's secret.
        """
        return chain.read(text, self._secret)

    def taken(self, checkpoint: Checkpoint) -> Tally:
        """What erasures have taken away from the sum of a checkpoint since it was made."""
        total = Tally()
        for each in self._taken.find({"checkpoint": checkpoint.number}):
            total = total.plus(Tally(int(each["sum"], 16), each["records"]))
        return total

    def contribution(self, member_id: str) -> list[tuple[int, Tally]]:
        """By checkpoint, what the sum of it loses when the member's records go."""
        checkpoints = [
            chain.read(each["text"], self._secret) for each in self._checkpoints.find().sort("_id")
        ]
        return [(each.number, self.tally(each.until, member_id)) for each in checkpoints]

    def held(self, member_id: str) -> Iterator[Held]:
        """Every record of a member; see `vault.model.Holder`."""
        found = self._consents.find({"member": member_id}).sort("seq", ASCENDING)
        for each in found:
            shown = {**each, "_id": str(each["_id"]), "evidence": self._opened(each)}
            yield Held("consents", str(each["_id"]), "consents", shown)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove every record of a member; see `vault.model.Holder`.

        First it notes, without a word of whose they are, what each checkpoint's sum loses: stopped
        in between and begun again, the first note stands.
        """
        for number, lost in self.contribution(member_id):
            mark = hmac.new(self._secret, f"{number}\0{member_id}".encode(), hashlib.sha256)
            note = {"checkpoint": number, "sum": f"{lost.sum:064x}", "records": lost.records}
            if lost.records:
                self._taken.update_one(
                    {"_id": mark.hexdigest()}, {"$setOnInsert": note}, upsert=True
                )
        return {"consents": self._consents.delete_many({"member": member_id}).deleted_count}

    def _sealed(self, record: Record) -> Any:  # noqa: ANN401  # a sealed value or None
        return (
            self._vault.seal(record.member_id, dict(record.evidence)) if record.evidence else None
        )

    def _opened(self, document: Document) -> Any:  # noqa: ANN401  # what somebody brought
        sealed = document.get("evidence")
        try:
            return self._vault.open(sealed) if sealed else None
        except ShreddedError:
            return None

    def _record(self, document: Document) -> Record:
        return record_of(document, self._opened(document))


def _scanned(document: Document) -> Scanned:
    """A record for the check; a field that is gone must not stop it."""
    return Scanned(
        str(document["_id"]),
        str(document.get("member")),
        document["seq"] if isinstance(document.get("seq"), int) else 0,
        str(document.get("previous")),
        str(document.get("hash")),
        document.get("hash") == chain.hash_of(document),
    )
