"""Jobs as they are asked for and shown."""

from __future__ import annotations

from marshmallow import fields

from loyalty.jobs.model import ATTEMPTS_MAX, JOB_ID_PATTERN, STATUSES
from loyalty.kit.fields import Instant, QueryWhole, Text
from loyalty.kit.schemas import Input, Output


class JobsPageSchema(Input):
    """Which page of the jobs."""

    kind = Text(40, pattern="^[a-z][a-z0-9_-]*$", metadata={"description": "Of this kind only."})
    limit = QueryWhole(1, 200, load_default=50)
    cursor = Text(64, pattern="^[A-Za-z0-9_-]+$")


class ProgressSchema(Output):
    """How far a job is."""

    done = fields.Integer(required=True)
    total = fields.Integer(required=True)
    stage = fields.String(required=True)


class JobErrorSchema(Output):
    """Why a job failed."""

    code = fields.String(required=True, metadata={"description": "Stable: branch on this."})
    detail = fields.String(required=True)


class JobSchema(Output):
    """A job."""

    id = fields.String(required=True, metadata={"pattern": JOB_ID_PATTERN})
    kind = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    progress = fields.Nested(ProgressSchema, required=True, allow_none=True)
    attempts = fields.Integer(
        required=True, metadata={"minimum": 0, "maximum": ATTEMPTS_MAX, "description": "So far."}
    )
    is_cancel_asked = fields.Boolean(
        required=True, metadata={"description": "It ends at its next report of progress."}
    )
    asked_by = fields.String(required=True)
    created_at = Instant(required=True)
    started_at = Instant(required=True, allow_none=True)
    finished_at = Instant(required=True, allow_none=True)
    error = fields.Nested(JobErrorSchema, required=True, allow_none=True)


class JobWithResultSchema(JobSchema):
    """A job with what came out of it."""

    result = fields.Dict(
        required=True,
        allow_none=True,
        metadata={"description": "Of the kind's own form; null until the job is done."},
    )


class JobsSchema(Output):
    """A page of jobs, newest first."""

    jobs = fields.List(fields.Nested(JobSchema), required=True)
    next_cursor = fields.String(required=True, allow_none=True)
