"""Rules of retention over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flask import g

from loyalty.jobs.runner import Runner
from loyalty.jobs.schemas import JobSchema
from loyalty.jobs.service import ENQUEUE_ERRORS, enqueue
from loyalty.jobs.store import JobStore
from loyalty.jobs.views import JOB_EXAMPLE, body_of
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, idempotency_key, provided, replayed
from loyalty.retention.model import KIND, KeptRules, Rules
from loyalty.retention.schemas import RulesSchema, RulesWriteSchema, RunSchema
from loyalty.retention.service import changed
from loyalty.retention.store import RetentionStore

if TYPE_CHECKING:
    from collections.abc import Mapping

blp = Blueprint("retention", __name__, description="How long data is kept.")


def _wire(rules: Rules) -> dict[str, Any]:
    return {**asdict(rules), "passive_engagements": list(rules.passive_engagements)}


_RULES: Mapping[str, Any] = _wire(Rules())
_EXAMPLE = {**_RULES, "changed_at": "2026-03-01T09:30:00Z", "changed_by": "k3y1d0000000"}


def _body(kept: KeptRules) -> dict[str, Any]:
    return {**_wire(kept.rules), "changed_at": kept.changed_at, "changed_by": kept.changed_by}


@blp.route("/retention", methods=["GET"])
@blp.requires("privacy:read")
@blp.response(200, RulesSchema, example=_EXAMPLE)
def show() -> Answer:
    """Read how long each category of data is kept."""
    return _body(provided(RetentionStore).rules())


@blp.route("/retention", methods=["PUT"])
@blp.requires("privacy:write")
@blp.arguments(RulesWriteSchema, example=dict(_RULES))
@blp.response(200, RulesSchema, example=_EXAMPLE)
def write(body: dict[str, Any]) -> Answer:
    """Set how long each category of data is kept.

    The next run of `carnet retention`, or of the job, goes by it; recommendations do within a
    minute. A shorter time takes away at the next run what is older by then.
    """
    store = provided(RetentionStore)
    store.set_rules(changed(Rules(), body), at=now(), by=g.caller.id)
    return _body(store.rules())


@blp.route("/retention/runs", methods=["POST"])
@blp.requires("privacy:write")
@blp.idempotent()
@blp.arguments(RunSchema, example={"dry_run": True})
@blp.response(202, JobSchema, example={**JOB_EXAMPLE, "status": "queued", "progress": None})
@blp.raises(*ENQUEUE_ERRORS)
def run(body: dict[str, Any]) -> Answer:
    """Apply the rules now, as a job.

    Its result counts what went, or would go with `dry_run`, by category. Inactive members are
    warned twice, at least 30 days and then a day before, and erased after that; a purchase, a
    redemption, a login or a decision on consents in between keeps them. Ask for this once a day.
    """
    asked = enqueue(
        KIND,
        body,
        at=now(),
        by=g.caller.id,
        request_key=idempotency_key(),
        jobs=provided(JobStore),
        runner=provided(Runner),
    )
    return replayed(body_of(asked.job), 202, is_replay=asked.is_replay)
