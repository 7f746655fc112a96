"""Jobs in MongoDB: one document each; the claim is one atomic step, all else needs its lease.

A running job holds a `slot`, which is unique: so no more jobs run at once, over all workers of a
database, than there are slots. `due_at` is when any worker may take the job: at once for one that
waits, when its lease runs out for one that runs, never for one that is finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING, IndexModel, ReturnDocument
from pymongo.errors import DuplicateKeyError

from loyalty.jobs.model import (
    KEPT,
    LEASE,
    Failure,
    Job,
    JobNotFoundError,
    Lease,
    LeaseLostError,
    Progress,
)

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.jobs.model import Outcome
    from loyalty.kit.mongo import Document

# Running before queued: a job that was left lying holds a slot that the others wait for, so
# whoever comes takes that one up, and it moves to the slot that it is claimed for.
_CLAIM_ORDER = [("status", DESCENDING), ("due_at", ASCENDING)]
_HELD = {"slot": "", "lease_id": "", "due_at": ""}


class JobExistsError(Exception):
    """A job with that id or that idempotency key is there."""


class JobStore:
    """The collection `jobs`."""

    def __init__(self, database: Database[Document]) -> None:
        self._jobs = database["jobs"]

    def create_indexes(self) -> None:
        """Idempotent."""
        is_live = {"due_at": {"$exists": True}}
        is_keyed = {"request_key": {"$type": "string"}}
        seconds = int(KEPT.total_seconds())
        self._jobs.create_indexes(
            [
                IndexModel(_CLAIM_ORDER, name="claim", partialFilterExpression=is_live),
                IndexModel(
                    [("slot", ASCENDING)],
                    name="slot",
                    unique=True,
                    partialFilterExpression={"slot": {"$exists": True}},
                ),
                IndexModel(
                    [("request_key", ASCENDING)],
                    name="request_key",
                    unique=True,
                    partialFilterExpression=is_keyed,
                ),
                IndexModel([("kind", ASCENDING), ("_id", DESCENDING)], name="kind"),
                IndexModel(
                    [("finished_at", ASCENDING)], name="finished", expireAfterSeconds=seconds
                ),
            ]
        )

    def add(self, job: Job) -> None:
        """Keep a new job, queued.

        Raises:
            JobExistsError: its id or its request key is taken.
        """
        document: Document = {
            "_id": job.id,
            "kind": job.kind,
            "params": dict(job.params),
            "asked_by": job.asked_by,
            "created_at": job.created_at,
            "status": "queued",
            "due_at": job.created_at,
            "attempts": 0,
            "fingerprint": job.fingerprint,
        }
        if job.request_key is not None:
            document["request_key"] = job.request_key
        try:
            self._jobs.insert_one(document)
        except DuplicateKeyError as error:
            raise JobExistsError from error

    def get(self, job_id: str) -> Job:
        """A job with its result.

        Raises:
            JobNotFoundError: there is none.
        """
        found = self._jobs.find_one({"_id": job_id})
        if found is None:
            raise JobNotFoundError
        return _job(found)

    def by_request(self, request_key: str) -> Job | None:
        """The job that was asked for under an idempotency key."""
        # The type is what makes the partial index eligible.
        query = {"request_key": {"$eq": request_key, "$type": "string"}}
        found = self._jobs.find_one(query)
        return _job(found) if found else None

    def page(self, kind: str | None, *, before_id: str | None, limit: int) -> list[Job]:
        """Jobs, newest first, without params and results.

        Args:
            kind: of that kind only.
            before_id: older than this one only.
            limit: jobs at most.
        """
        query: Document = {} if kind is None else {"kind": kind}
        if before_id is not None:
            query["_id"] = {"$lt": before_id}
        bulky = {"params": 0, "result": 0}
        return [_job(each) for each in self._jobs.find(query, bulky).sort("_id", -1).limit(limit)]

    def has_queued(self, count: int) -> bool:
        """Whether at least so many jobs wait. Counts no further than that."""
        query = {"status": "queued", "due_at": {"$exists": True}}
        return self._jobs.count_documents(query, limit=count) >= count

    def claim(
        self, kinds: Collection[str], *, lease_id: str, at: datetime, slots: int
    ) -> Job | None:
        """Take the job that is due, if one is and a slot is free: exactly one caller gets it.

        A job whose lease has run out comes first; then the oldest queued one.

        Args:
            kinds: what the caller can carry out.
            lease_id: new for each call; every later write names it.
            at: now.
            slots: jobs at once, over the whole database.
        """
        query = {
            "status": {"$in": ["queued", "running"]},
            "due_at": {"$lte": at},
            "kind": {"$in": sorted(kinds)},
        }
        for slot in range(slots):
            try:
                found = self._jobs.find_one_and_update(
                    query,
                    _claimed(slot, lease_id, at),
                    projection={"result": 0},
                    sort=_CLAIM_ORDER,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                continue
            return _job(found) if found else None
        return None

    def renew(self, job_id: str, lease_id: str, *, at: datetime, progress: Progress) -> bool:
        """Hold a job for another `LEASE` and keep how far it is; whether to cancel it.

        Raises:
            LeaseLostError: another worker has it, or it is finished.
        """
        change = {"$set": {"due_at": at + LEASE, "progress": progress._asdict()}}
        wanted = {"cancel_asked_at": 1}
        found = self._jobs.find_one_and_update(_held(job_id, lease_id), change, wanted)
        if found is None:
            raise LeaseLostError
        return "cancel_asked_at" in found

    def finish(
        self,
        job_id: str,
        lease_id: str,
        outcome: Outcome,
        *,
        at: datetime,
        progress: Progress | None,
    ) -> None:
        """Keep how a job ended.

        Raises:
            LeaseLostError: another worker has it, or it is finished.
        """
        change: Document = {"status": outcome.status, "finished_at": at}
        if progress is not None:
            change["progress"] = progress._asdict()
        if outcome.result is not None:
            change["result"] = outcome.result
        if outcome.error is not None:
            change["error"] = outcome.error._asdict()
        self._let_go(job_id, lease_id, {"$set": change, "$unset": _HELD})

    def put_back(self, job: Job, lease_id: str) -> None:
        """Let a job wait again, as if it had not been begun this time.

        Raises:
            LeaseLostError: another worker has it, or it is finished.
        """
        change = {
            "$set": {"status": "queued", "due_at": job.created_at},
            "$inc": {"attempts": -1},
            "$unset": {"slot": "", "lease_id": "", "progress": ""},
        }
        self._let_go(job.id, lease_id, change)

    def old(self, before: datetime) -> int:
        """How many jobs were finished before a time."""
        return self._jobs.count_documents({"finished_at": {"$lt": before}})

    def sweep(self, before: datetime) -> int:
        """Remove those, with their results; how many."""
        return self._jobs.delete_many({"finished_at": {"$lt": before}}).deleted_count

    def ask_to_cancel(self, job_id: str, *, at: datetime) -> Job | None:
        """Cancel a job that waits, or mark one that runs; None if it is finished or not there."""
        query = {"_id": job_id, "status": {"$in": ["queued", "running"]}}
        found = self._jobs.find_one_and_update(
            query,
            _cancelled(at),
            projection={"result": 0},
            return_document=ReturnDocument.AFTER,
        )
        return _job(found) if found else None

    def _let_go(self, job_id: str, lease_id: str, change: Document) -> None:
        if not self._jobs.update_one(_held(job_id, lease_id), change).matched_count:
            raise LeaseLostError


def _held(job_id: str, lease_id: str) -> Document:
    return {"_id": job_id, "lease_id": lease_id, "status": "running"}


def _claimed(slot: int, lease_id: str, at: datetime) -> list[Document]:
    """The change that makes a due job the caller's."""
    return [
        {
            "$set": {
                "status": "running",
                "slot": {"$literal": slot},
                "lease_id": lease_id,
                "due_at": at + LEASE,
                "started_at": {"$ifNull": ["$started_at", at]},
                "attempts": {"$add": ["$attempts", 1]},
            }
        }
    ]


def _cancelled(at: datetime) -> list[Document]:
    """The change that ends what waits, and marks what runs."""

    def if_queued(then: Any, otherwise: Any) -> Document:  # noqa: ANN401  # a BSON expression
        return {"$cond": [{"$eq": ["$status", "queued"]}, then, otherwise]}

    return [
        {
            "$set": {
                "status": if_queued("cancelled", "$status"),
                "finished_at": if_queued(at, "$$REMOVE"),
                "due_at": if_queued("$$REMOVE", "$due_at"),
                "cancel_asked_at": {"$ifNull": ["$cancel_asked_at", at]},
            }
        }
    ]


def _job(document: Document) -> Job:
    progress, error = document.get("progress"), document.get("error")
    lease_id = document.get("lease_id")
    return Job(
        id=document["_id"],
        kind=document["kind"],
        params=document.get("params", {}),
        asked_by=document["asked_by"],
        created_at=document["created_at"],
        status=document["status"],
        progress=Progress(**progress) if progress else None,
        started_at=document.get("started_at"),
        finished_at=document.get("finished_at"),
        cancel_asked_at=document.get("cancel_asked_at"),
        attempts=document["attempts"],
        lease=Lease(lease_id, document["due_at"]) if lease_id else None,
        result=document.get("result"),
        error=Failure(**error) if error else None,
        request_key=document.get("request_key"),
        fingerprint=document["fingerprint"],
    )
