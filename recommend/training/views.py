"""The model over HTTP: its versions, its report, and a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import g

from loyalty.jobs.runner import Runner
from loyalty.jobs.schemas import JobSchema
from loyalty.jobs.service import ENQUEUE_ERRORS
from loyalty.jobs.store import JobStore
from loyalty.jobs.views import JOB_EXAMPLE, body_of
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, idempotency_key, provided, replayed
from loyalty.kit.pages import HTML_TYPE, documented, page, wanted
from recommend.training import jobs, service
from recommend.training.model import KIND, NoModelError
from recommend.training.report import short_of
from recommend.training.schemas import ModelReportSchema, ModelsSchema, WhichModelSchema
from recommend.training.service import Trainer
from recommend.training.telling import TEMPLATE, page_of, report

if TYPE_CHECKING:
    from flask import Response

blp = Blueprint("model", __name__, description="What recommendations are made with.")

_SHORT = {
    "version": "20260301T020000000Z",
    "status": "served",
    "created_at": "2026-03-01T02:00:00Z",
    "promoted_at": "2026-03-01T02:00:24Z",
    "rolled_back_at": None,
    "items": 8120,
    "members": 1645,
    "baskets": 92140,
    "recall": 0.1412,
}
_COMPARISON = {
    "rival": "previous_settings",
    "ours": 0.1412,
    "theirs": 0.1409,
    "relative": 0.0021,
    "low": -0.0021,
    "high": 0.0027,
    "members": 1000,
}
_REPORT = {
    **_SHORT,
    "k": 10,
    "seconds": 23.9,
    "trained_by": "job",
    "previous": "20260228T020000000Z",
    "privacy": "plain",
    "chosen_by": "Best recall@10 of 19 blends on 822 members, confirmed on others.",
    "weights": {"personal": 1.0, "shared": 0.8, "collaborative": 0.2},
    "settings": {"factors": 32, "people_min": 10},
    "metrics": [
        {"name": "chosen", "recall": 0.1412, "hit_rate": 0.46, "ndcg": 0.16, "members": 823}
    ],
    "comparisons": [_COMPARISON],
    "reasons": [],
    "notes": [],
    "readings": 1,
    "withdrawn_meanwhile": 0,
    "withdrawn_since": 3,
    "findings": {},
}


@blp.route("/model/versions")
@blp.requires("model:read")
@blp.response(200, ModelsSchema, example={"models": [_SHORT]})
@blp.raises()
def list_versions() -> Answer:
    """List the models that are kept, newest first.

    `served` is the one that every node serves; `refused` was worse than what was there; one that
    was `rolled_back` is served again by force alone.
    """
    found = service.versions(provided(Trainer).depot)
    return {"models": [short_of(each, status) for each, status in found]}


@blp.route("/model/report")
@blp.requires("model:read")
@blp.arguments(WhichModelSchema, location="query")
@blp.response(200, ModelReportSchema, example=_REPORT)
@blp.doc(responses={200: {"content": documented(HTML_TYPE)}})
@blp.raises(NoModelError)
def show_report(query: dict[str, Any]) -> Answer:
    """Report on a model: how good it is beside plain ways and the one before it.

    Also what was refused and why, the weights, and how many members behind it withdrew since. With
    `Accept: text/html` as a page with charts. No member is in it.
    """
    trainer, version = provided(Trainer), query.get("version")
    if wanted(HTML_TYPE) == HTML_TYPE:
        return _page(trainer, version)
    return report(trainer, version, at=now())


def _page(trainer: Trainer, version: str | None) -> Response:
    return page(TEMPLATE, **page_of(trainer, version, at=now()))


@blp.route("/model/trainings", methods=["POST"])
@blp.requires("model:write")
@blp.idempotent()
@blp.response(202, JobSchema, example={**JOB_EXAMPLE, "kind": KIND, "status": "queued"})
@blp.raises(*ENQUEUE_ERRORS)
def ask() -> Answer:
    """Train the model anew, as a job.

    On what consent allows while it runs. The result is served on every node if it is not worse than
    what is there, and no member behind it withdrew meanwhile; otherwise the job's result says why.
    While a training waits or runs, that one is the answer.
    """
    asked = jobs.ask(
        at=now(),
        by=g.caller.id,
        request_key=idempotency_key(),
        jobs=provided(JobStore),
        runner=provided(Runner),
    )
    return replayed(body_of(asked.job), 202, is_replay=asked.is_replay)
