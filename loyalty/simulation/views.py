"""Simulations over HTTP: asked for here, followed as a job."""

from __future__ import annotations

from typing import Any

from flask import g

from loyalty.jobs.runner import Runner
from loyalty.jobs.schemas import JobSchema
from loyalty.jobs.service import ENQUEUE_ERRORS, enqueue
from loyalty.jobs.store import JobStore
from loyalty.jobs.views import JOB_EXAMPLE, body_of
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, idempotency_key, provided, replayed
from loyalty.simulation.jobs import KIND, check
from loyalty.simulation.model import EmptyPeriodError
from loyalty.simulation.schemas import SimulationSchema
from loyalty.versions.model import InvalidProgramError, NoProgramError
from loyalty.versions.service import ProgramShelf
from loyalty.versions.views import PROGRAM_EXAMPLE

blp = Blueprint("simulations", __name__, description="What a draft would have cost.")

_EXAMPLE = {
    "program": PROGRAM_EXAMPLE,
    "starts_at": "2025-03-01T00:00:00Z",
    "ends_at": "2026-03-01T00:00:00Z",
    "sample": {"members": 2000, "seed": "spring"},
    "worth": {"points": 100, "amount": 90},
}


@blp.route("/program/simulations", methods=["POST"])
@blp.requires("simulations:write", purpose="loyalty_programme")
@blp.idempotent()
@blp.arguments(SimulationSchema, example=_EXAMPLE)
@blp.response(202, JobSchema, example={**JOB_EXAMPLE, "status": "queued", "progress": None})
@blp.raises(InvalidProgramError, EmptyPeriodError, NoProgramError, *ENQUEUE_ERRORS)
def ask(body: dict[str, Any]) -> Answer:
    """Run a draft of the programme over the past.

    The answer is a job; `GET /v1/jobs/{id}` shows how far it is and then its result: for each unit
    the points and the cost with the versions of the time (`current`), with the `draft`, and the
    `difference`, in all and by rule, channel, tier and month; what would have expired in which
    month; what would be outstanding; whom a redating to the draft's expiry would affect; how many
    members gain and lose, with percentiles; who would stand in which tier; and when campaigns'
    budgets would be used up. With a `sample`, every total has a standard error and a 95% interval.

    Nothing live is touched. Decisions of the time (holds, captures, adjustments) are facts in both
    worlds. No member is named in the result.
    """
    at = now()
    check(body, at=at, shelf=provided(ProgramShelf))
    asked = enqueue(
        KIND,
        body,
        at=at,
        by=g.caller.id,
        request_key=idempotency_key(),
        jobs=provided(JobStore),
        runner=provided(Runner),
    )
    return replayed(body_of(asked.job), 202, is_replay=asked.is_replay)
