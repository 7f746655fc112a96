"""Requests and identity codes in MongoDB. Erasures have a store of their own, in the vault."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from loyalty.kit.errors import UnavailableError
from loyalty.privacy.model import (
    DAY,
    STEPS_MAX,
    Request,
    RequestNotFoundError,
    RequestOpenError,
    Step,
    TooManyRightsRequestsError,
)
from loyalty.vault.model import Held, ShreddedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.privacy.model import Kind, Status
    from loyalty.vault.store import Vault

TRIES_KEPT = 50
WORDS_MAX = 40_000
WORDS_APART = "\n\n"
WORDS_ATTEMPTS_MAX = 8
CODE_TRIES_MAX = 5
CODES_AN_HOUR_MAX = 3
HOUR = timedelta(hours=1)
_OPEN = {"is_open": True}
# What stays of an answered request when its member is erased: that it was answered, and when.
_PERSONAL = ["member", "sealed", "tries", "request_key", "fingerprint", "is_open"]
# What else was asked for has no object any more. A request that an erasure was begun for ends with
# the certificate; one that came while another reason erased the member has what it asked for.
_IS_BEGUN = {"$ne": [{"$ifNull": ["$erasure_id", None]}, None]}
_IS_OVER = {"$and": [{"$ifNull": ["$is_open", False]}, {"$not": [_IS_BEGUN]}]}
_ANSWERED: list[Document] = [
    {
        "$set": {
            "status": {"$cond": [_IS_OVER, "done", "$status"]},
            "closed_at": {"$cond": [_IS_OVER, "$$NOW", {"$ifNull": ["$closed_at", None]}]},
        }
    },
    {"$unset": _PERSONAL},
]


class RequestStore:
    """The collection `privacy_requests`."""

    def __init__(self, database: Database[Document], vault: Vault) -> None:
        self._requests = database["privacy_requests"]
        self._vault = vault

    def create_indexes(self) -> None:
        """Idempotent."""
        self._requests.create_indexes(
            [
                IndexModel(
                    [("member", ASCENDING), ("kind", ASCENDING)],
                    name="open_of_kind",
                    unique=True,
                    partialFilterExpression=_OPEN,
                ),
                IndexModel(
                    [("request_key", ASCENDING)],
                    name="request_key",
                    unique=True,
                    partialFilterExpression={"request_key": {"$type": "string"}},
                ),
                IndexModel([("member", ASCENDING), ("kind", ASCENDING)], name="member_kind"),
                IndexModel([("status", ASCENDING), ("_id", DESCENDING)], name="status"),
                IndexModel([("due_at", ASCENDING)], name="due", partialFilterExpression=_OPEN),
            ]
        )

    def add(self, request: Request) -> None:
        """Keep a new request.

        Raises:
            RequestOpenError: one of the member and kind is open, or the request key was used.
        """
        document: Document = {
            "_id": request.id,
            "member": request.member_id,
            "kind": request.kind,
            "status": request.status,
            "proof": request.proof,
            "received_at": request.received_at,
            "due_at": request.due_at,
            "by": request.by,
            "language": request.language,
            "is_extended": request.is_extended,
            "is_open": True,
            "steps": [each._asdict() for each in request.steps],
            "fingerprint": request.fingerprint,
        }
        if request.details:
            document["sealed"] = self._sealed(request.member_id, {"details": dict(request.details)})
        if request.request_key:
            document["request_key"] = request.request_key
        try:
            self._requests.insert_one(document)
        except DuplicateKeyError as error:
            raise RequestOpenError from error

    def get(self, request_id: str) -> Request:
        """A request.

        Raises:
            RequestNotFoundError: there is none.
        """
        found = self._requests.find_one({"_id": request_id})
        if found is None:
            raise RequestNotFoundError
        return self._request(found)

    def by_request(self, request_key: str) -> Request | None:
        """The request that was sent under an idempotency key."""
        query = {"request_key": {"$eq": request_key, "$type": "string"}}
        return self._maybe(self._requests.find_one(query))

    def open_of(self, member_id: str, kind: Kind) -> Request | None:
        """The member's open request of a kind."""
        return self._maybe(self._requests.find_one({"member": member_id, "kind": kind, **_OPEN}))

    def page(
        self,
        *,
        status: Status | None,
        overdue_at: datetime | None,
        before_id: str | None,
        limit: int,
    ) -> list[Request]:
        """Requests, newest first.

        Args:
            status: of that status only.
            overdue_at: only those that should have been answered before this moment.
            before_id: older than this one only.
            limit: requests at most.
        """
        query: Document = {"status": status} if status else {}
        if overdue_at:
            query |= {**_OPEN, "due_at": {"$lt": overdue_at}}
        if before_id:
            query["_id"] = {"$lt": before_id}
        found = self._requests.find(query).sort("_id", DESCENDING).limit(limit)
        return [self._request(each) for each in found]

    def due(self, *, overdue_at: datetime | None, limit: int) -> list[Request]:
        """Requests that are open, by when they are due; or only those due before a moment."""
        query: Document = {**_OPEN, "due_at": {"$lt": overdue_at}} if overdue_at else {**_OPEN}
        found = self._requests.find(query).sort("due_at", ASCENDING).limit(limit)
        return [self._request(each) for each in found]

    def of_member(self, member_id: str, *, limit: int) -> list[Request]:
        """A member's own requests, newest first."""
        found = self._requests.find({"member": member_id}).sort("_id", DESCENDING).limit(limit)
        return [self._request(each) for each in found]

    def to_erase(self, *, limit: int) -> list[Request]:
        """Requests for erasure that are open, oldest first."""
        query = {"status": "open", "kind": "erasure", **_OPEN}
        found = self._requests.find(query).sort("_id", ASCENDING).limit(limit)
        return [self._request(each) for each in found]

    def take_back(self, request_id: str) -> None:
        """Forget a request that was just kept and refused, unless somebody met it meanwhile."""
        self._requests.delete_one({"_id": request_id, "tries": {"$size": 1}})

    def note_try(self, request_id: str, at: datetime) -> None:
        """Note that what a request is about was asked for at this moment."""
        push = {"tries": {"$each": [at], "$slice": -TRIES_KEPT}}
        self._requests.update_one({"_id": request_id}, {"$push": push})

    def tries(self, member_id: str, kind: Kind, *, since: datetime) -> list[datetime]:
        """When the member asked for a kind of thing since a moment, oldest first."""
        query = {"member": member_id, "kind": kind, "tries": {"$gt": since}}
        found = self._requests.find(query, {"tries": 1}).limit(1000)
        return sorted(each for found_one in found for each in found_one["tries"] if each > since)

    def change(
        self,
        request: Request,
        changes: Mapping[str, Any],
        *,
        step: Step,
        reason: str | None = None,
    ) -> Request | None:
        """The request after a change, or None if it was answered or changed in between.

        Args:
            request: as it was read.
            changes: fields by name; a status that closes it frees the place for another.
            step: what happened, for its history.
            reason: in words; sealed.
        """
        fields: Document = dict(changes)
        if reason and request.member_id:
            sealed = {"details": dict(request.details or {}), "reason": reason}
            fields["sealed"] = self._sealed(request.member_id, sealed)
        push = {"steps": {"$each": [step._asdict()], "$slice": -STEPS_MAX}}
        update: Document = {"$set": fields, "$push": push}
        if changes.get("status") in ("done", "refused"):
            update["$unset"] = {"is_open": ""}
        # Exactly as it was read: of two who change it at once, one finds it changed.
        as_read = ("status", "is_extended", "erasure_id")
        query = {"_id": request.id, **{name: getattr(request, name) for name in as_read}}
        found = self._requests.find_one_and_update(
            query, update, return_document=ReturnDocument.AFTER
        )
        return self._maybe(found)

    def add_words(self, request: Request, text: str, step: Step) -> Request | None:
        """An open request with more of what the member wrote; None if it was answered meanwhile.

        What is there already is not added again.

        Raises:
            TooManyRightsRequestsError: it would become far too long.
        """
        if not request.member_id:
            return None
        for _ in range(WORDS_ATTEMPTS_MAX):
            document = self._requests.find_one({"_id": request.id, **_OPEN})
            if document is None:
                return None
            found = self._request(document)
            before = (found.details or {}).get("text", "")
            if text in before.split(WORDS_APART):
                return found
            words = WORDS_APART.join(filter(None, (before, text)))
            if len(words) > WORDS_MAX:
                raise TooManyRightsRequestsError(DAY)
            told: Document = {"details": {**(found.details or {}), "text": words}}
            if found.reason:
                told["reason"] = found.reason
            as_read = document.get("sealed") or {"$exists": False}
            changed = self._requests.find_one_and_update(
                {"_id": request.id, **_OPEN, "sealed": as_read},
                {
                    "$set": {"sealed": self._sealed(request.member_id, told)},
                    "$push": {"steps": {"$each": [step._asdict()], "$slice": -STEPS_MAX}},
                },
                return_document=ReturnDocument.AFTER,
            )
            if changed:
                return self._request(changed)
        raise UnavailableError("Too many at this request at once; nothing was written.")

    def old(self, before: datetime) -> int:
        """How many requests were answered before a time."""
        return self._requests.count_documents(_answered_before(before))

    def sweep(self, before: datetime) -> int:
        """Remove those; how many."""
        return self._requests.delete_many(_answered_before(before)).deleted_count

    def held(self, member_id: str) -> Iterator[Held]:
        """Every request of a member; see `vault.model.Holder`."""
        for each in self._requests.find({"member": member_id}).sort("_id", ASCENDING):
            request = self._request(each)
            data = {
                "kind": request.kind,
                "status": request.status,
                "received_at": request.received_at,
                "due_at": request.due_at,
                "closed_at": request.closed_at,
                "proof": request.proof,
                "details": request.details,
                "reason": request.reason,
                "steps": [step._asdict() for step in request.steps],
                "tries": each.get("tries", []),
            }
            yield Held("privacy_requests", request.id, "requests", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Cut every request off its member; see `vault.model.Holder`.

        What stays shows that a request came in and was answered in time (Art. 5(2)); nothing in it
        leads to a person.
        """
        done = self._requests.update_many({"member": member_id}, _ANSWERED)
        return {"privacy_requests": done.modified_count}

    def _sealed(self, member_id: str | None, value: Mapping[str, Any]) -> Any:  # noqa: ANN401  # BSON
        return self._vault.seal(member_id or "", dict(value))

    def _maybe(self, document: Document | None) -> Request | None:
        return self._request(document) if document else None

    def _request(self, document: Document) -> Request:
        opened = self._opened(document.get("sealed"))
        names = set(Request.__slots__) & document.keys()
        fields = {name: document[name] for name in names}
        fields |= {"details": opened.get("details") or None, "reason": opened.get("reason")}
        fields["steps"] = tuple(Step(**each) for each in document["steps"])
        return Request(**fields, id=document["_id"], member_id=document.get("member"))

    def _opened(self, sealed: Any) -> Mapping[str, Any]:  # noqa: ANN401  # a BSON value, or None
        if sealed is None:
            return {}
        try:
            opened: Mapping[str, Any] = self._vault.open(sealed)
        except ShreddedError:
            return {}
        return opened


def _answered_before(before: datetime) -> Document:
    """Of those that are still open none is too old."""
    return {"closed_at": {"$lt": before}, "status": {"$in": ["done", "refused"]}}


class CodeStore:
    """The collection `identity_codes`: the newest code of a member, as a keyed hash."""

    def __init__(self, database: Database[Document]) -> None:
        self._codes = database["identity_codes"]

    def create_indexes(self) -> None:
        """Idempotent. MongoDB removes what no limit needs any more."""
        self._codes.create_indexes(
            [IndexModel([("kept_until", ASCENDING)], name="over", expireAfterSeconds=0)]
        )

    def put(self, member_id: str, digest: bytes, *, at: datetime, until: datetime) -> bool:
        """Keep a code in the place of the one before; whether there were not too many.

        One atomic step: however many ask at once, three get through in an hour.
        """
        fewer: list[Document] = [
            {f"sent.{CODES_AN_HOUR_MAX - 1}": {"$exists": False}},
            {"sent.0": {"$lte": at - HOUR}},
        ]
        change = {
            "$set": {"digest": digest, "until": until, "tries": 0, "kept_until": at + HOUR},
            "$push": {"sent": {"$each": [at], "$slice": -CODES_AN_HOUR_MAX}},
        }
        try:
            self._codes.update_one({"_id": member_id, "$or": fewer}, change, upsert=True)
        except DuplicateKeyError:
            return False
        return True

    def oldest_sent_at(self, member_id: str) -> datetime | None:
        """When the oldest code that still counts was sent."""
        found = self._codes.find_one({"_id": member_id}, {"sent": 1})
        moment: datetime | None = found["sent"][0] if found else None
        return moment

    def attempt(self, member_id: str, *, at: datetime) -> bytes | None:
        """Use up one of five tries of the member's code; its digest, or None if there is none."""
        query = {
            "_id": member_id,
            "until": {"$gt": at},
            "tries": {"$lt": CODE_TRIES_MAX},
            "digest": {"$ne": None},
        }
        found = self._codes.find_one_and_update(query, {"$inc": {"tries": 1}}, {"digest": 1})
        return bytes(found["digest"]) if found else None

    def use_up(self, member_id: str, digest: bytes) -> bool:
        """Spend a code; whether this call is the one that did."""
        query = {"_id": member_id, "digest": digest}
        return self._codes.update_one(query, {"$set": {"digest": None}}).modified_count == 1

    def held(self, member_id: str) -> Iterator[Held]:
        """When codes were sent; see `vault.model.Holder`. A code itself is nobody's to read."""
        for each in self._codes.find({"_id": member_id}):
            data = {"sent": each["sent"], "tries": each["tries"], "until": each["until"]}
            yield Held("identity_codes", member_id, "requests", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove it; see `vault.model.Holder`."""
        return {"identity_codes": self._codes.delete_one({"_id": member_id}).deleted_count}
