"""Feedback over HTTP."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

from flask import g, request

from loyalty.consent.gpc import is_signalled
from loyalty.kit.clock import now
from loyalty.kit.http import (
    Answer,
    Blueprint,
    answer,
    idempotency_key,
    provided,
    refusal_of_line,
)
from recommend.feedback import service
from recommend.feedback.model import Status
from recommend.feedback.schemas import FeedbackSchema, FeedbackVerdictsSchema
from recommend.service import Sources

if TYPE_CHECKING:
    from recommend.feedback.model import Verdict

blp = Blueprint(
    "feedback", __name__, description="What members looked at, clicked, put aside and were shown."
)

_EVENT = {
    "id": "pageview-7d1f-2",
    "member": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
    "kind": "click",
    "sku": "milk-1l",
    "at": "2026-03-01T09:30:00+01:00",
    "channel": "web",
    "placement": "home",
}


@blp.route("/feedback", methods=["POST"])
@blp.requires("feedback:write", member_token=True, purpose="personalisation")
@blp.idempotent()
@blp.arguments(FeedbackSchema, example={"events": [_EVENT]})
@blp.response(
    200,
    FeedbackVerdictsSchema,
    example={
        "recorded": 1,
        "replayed": 0,
        "not_recorded": 0,
        "refused": 0,
        "verdicts": [{"event": 0, "id": "pageview-7d1f-2", "status": "recorded"}],
    },
)
@blp.raises()
def post_feedback(body: dict[str, Any]) -> Answer:
    """Report what members did on products, or were shown.

    Up to 500 events, in any order, each kept once under its own `id` whoever retries; a verdict an
    event. Of a member who does not agree to `personalisation` at this moment, or whose browser
    sends `Sec-GPC: 1`, nothing is kept and the verdict is `not_recorded`; so it is of a member who
    is not known. Sensitive products are never kept. A browser reports with the member's own token,
    and only for that member; it may leave `member` out.
    """
    sender = service.Sender(g.caller, idempotency_key(), is_signalled(request.environ))
    verdicts = service.record(body["events"], sender=sender, at=now(), sources=provided(Sources))
    counts = Counter(each.status for each in verdicts)
    shown = [_verdict(each) for each in verdicts]
    return answer({**{name: counts[name] for name in get_args(Status)}, "verdicts": shown})


def _verdict(verdict: Verdict) -> dict[str, Any]:
    body: dict[str, Any] = {"event": verdict.event, "id": verdict.id, "status": verdict.status}
    if verdict.reason:
        body["reason"] = verdict.reason
    if verdict.error:
        body["problem"] = refusal_of_line(verdict.error)
    return body
