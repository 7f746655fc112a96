"""Jobs over HTTP. Each kind is asked for at an address of its own; here they are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from loyalty.jobs import service
from loyalty.jobs.model import (
    ATTEMPTS_MAX,
    JobFinishedError,
    JobNotFoundError,
    id_of,
    number_of,
)
from loyalty.jobs.schemas import JobSchema, JobsPageSchema, JobsSchema, JobWithResultSchema
from loyalty.jobs.store import JobStore
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import Answer, Blueprint, answer, provided

if TYPE_CHECKING:
    from loyalty.jobs.model import Job

blp = Blueprint("jobs", __name__, description="Long work: how far it is, and what came of it.")

JOB_EXAMPLE = {
    "id": "j_19c9f2a3b4000001",
    "kind": "simulation",
    "status": "running",
    "progress": {"done": 1200, "total": 5000, "stage": "members"},
    "attempts": 1,
    "is_cancel_asked": False,
    "asked_by": "k3y1d0000000",
    "created_at": "2026-03-01T09:30:00Z",
    "started_at": "2026-03-01T09:30:01Z",
    "finished_at": None,
    "error": None,
}


def body_of(job: Job) -> dict[str, Any]:
    """A job as every answer shows it; without its result."""
    return {
        "id": job.id,
        "kind": job.kind,
        "status": job.status,
        "progress": job.progress._asdict() if job.progress else None,
        "attempts": min(job.attempts, ATTEMPTS_MAX),
        "is_cancel_asked": job.cancel_asked_at is not None,
        "asked_by": job.asked_by,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "error": job.error._asdict() if job.error else None,
    }


@blp.route("/jobs")
@blp.requires("jobs:read")
@blp.arguments(JobsPageSchema, location="query")
@blp.response(200, JobsSchema, example={"jobs": [JOB_EXAMPLE], "next_cursor": None})
@blp.raises(UnknownCursorError)
def list_jobs(query: dict[str, Any]) -> Answer:
    """List jobs, newest first.

    A job is kept for 30 days after its end.
    """
    limit, position = query["limit"], cursor.read(query.get("cursor"))
    before_id = None if position is None else id_of(position)
    found = provided(JobStore).page(query.get("kind"), before_id=before_id, limit=limit)
    more = cursor.write(number_of(found[-1].id)) if len(found) == limit else None
    return {"jobs": [body_of(each) for each in found], "next_cursor": more}


@blp.route("/jobs/<job_id>")
@blp.requires("jobs:read")
@blp.response(200, JobWithResultSchema, example={**JOB_EXAMPLE, "result": None})
@blp.raises(JobNotFoundError)
def show(job_id: str) -> Answer:
    """Read a job: how far it is and, when it is done, its result.

    Once a second is often enough to ask.
    """
    job = provided(JobStore).get(job_id)
    result = None if job.result is None else orjson.Fragment(job.result)
    return answer({**body_of(job), "result": result})


@blp.route("/jobs/<job_id>/cancel", methods=["POST"])
@blp.requires("jobs:write")
@blp.response(200, JobSchema, example={**JOB_EXAMPLE, "is_cancel_asked": True})
@blp.raises(JobNotFoundError, JobFinishedError)
def cancel(job_id: str) -> Answer:
    """Cancel a job.

    One that waits is cancelled at once, one that runs at its next report of progress, within
    seconds. Cancelling again changes nothing.
    """
    return body_of(service.cancel(job_id, at=now(), jobs=provided(JobStore)))
