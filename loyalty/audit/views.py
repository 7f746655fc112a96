"""What is owed, and whose points expire soon, over HTTP."""

from __future__ import annotations

from typing import Any

from flask import g

from loyalty.audit import owing
from loyalty.audit.liability import METHOD
from loyalty.audit.owing import TooManyMembersError
from loyalty.audit.schemas import ExpiriesQuerySchema, ExpiriesSchema, LiabilitySchema
from loyalty.jobs.runner import Runner
from loyalty.jobs.schemas import JobSchema
from loyalty.jobs.service import ENQUEUE_ERRORS, enqueue
from loyalty.jobs.store import JobStore
from loyalty.jobs.views import JOB_EXAMPLE, body_of
from loyalty.journal.drafts import Stores
from loyalty.journal.scan import JournalScan
from loyalty.kit.clock import now
from loyalty.kit.http import (
    Answer,
    Blueprint,
    answer,
    idempotency_key,
    note_look,
    provided,
    replayed,
)
from loyalty.versions.model import NoProgramError
from loyalty.versions.service import ProgramShelf

blp = Blueprint("liability", __name__, description="What is owed, and what expires soon.")

_NONE = {"points": 0, "amount": 0}
_LIABILITY = {
    "at": "2026-03-01T09:30:00Z",
    "currency": "EUR",
    "program_version": 3,
    "members": 2,
    "units": [
        {
            "unit": "points",
            "members": 2,
            "outstanding": {"points": 1200, "amount": 1080},
            "pending": {"points": 200, "amount": 180},
            "held": _NONE,
            "debt": _NONE,
            "by_month": [
                {"month": "2026-12", "points": 900, "amount": 810},
                {"month": "never", "points": 300, "amount": 270},
            ],
            "breakage": {
                "rate": 0.18,
                "standard_error": 0.05,
                "members": 2,
                "expected": {"points": 162, "amount": 146},
                "method": METHOD,
            },
        }
    ],
}
_EXPIRIES = {
    "members": [
        {
            "member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
            "expiries": [{"unit": "points", "points": 120, "expires_at": "2026-03-31T22:00:00Z"}],
        }
    ],
    "next_cursor": None,
}


@blp.route("/program/liability", methods=["GET"])
@blp.requires("liability:read", bulk=True, purpose="accounting")
@blp.response(200, LiabilitySchema, example=_LIABILITY)
@blp.raises(NoProgramError, TooManyMembersError)
def show() -> Answer:
    """Read what is owed to all members.

    For each unit: the points outstanding, pending, held and owed by members, and when they expire
    if nothing more happens, in points and in money by the unit's `worth`; what has expired by now
    is not owed, whether or not an entry says so yet. The breakage is an estimate out of a sample
    of members, with its method.

    A shop above ten thousand members asks for it as a job, with `POST`.
    """
    scan = provided(JournalScan)
    owing.require_small(scan)
    found = owing.liability(at=now(), scan=scan, stores=provided(Stores), progress=lambda *_: None)
    return answer(found)


@blp.route("/program/liability", methods=["POST"])
@blp.requires("liability:read", purpose="accounting")
@blp.idempotent()
@blp.response(202, JobSchema, example={**JOB_EXAMPLE, "kind": owing.KIND, "status": "queued"})
@blp.raises(NoProgramError, *ENQUEUE_ERRORS)
def ask() -> Answer:
    """Sum up what is owed to all members, as a job.

    Its result is what `GET` answers, for a shop of any size. There is no body.
    """
    at = now()
    provided(ProgramShelf).at(at)
    asked = enqueue(
        owing.KIND,
        {},
        at=at,
        by=g.caller.id,
        request_key=idempotency_key(),
        jobs=provided(JobStore),
        runner=provided(Runner),
    )
    return replayed(body_of(asked.job), 202, is_replay=asked.is_replay)


@blp.route("/expiries")
@blp.requires("expiries:read", purpose="loyalty_programme")
@blp.arguments(ExpiriesQuerySchema, location="query")
@blp.response(200, ExpiriesSchema, example=_EXPIRIES)
@blp.raises()
def list_expiries(query: dict[str, Any]) -> Answer:
    """List whose points expire soon, for reminders.

    With `channel`, only members who agree to marketing on it at this moment. What a member would
    have to do so that nothing expires is not looked at: each date holds if nothing more happens.
    A page looks at a bounded number of members, so it can be short or empty; go on until
    `next_cursor` is null.
    """
    page = owing.expiries(
        within_days=query["within_days"],
        channel=query.get("channel"),
        after=query["cursor"],
        limit=query["limit"],
        at=now(),
        scan=provided(JournalScan),
        consents=provided(Stores).consents,
    )
    for member_id, _ in page.found:
        note_look(member_id)
    members = [
        {"member_id": member_id, "expiries": [each._asdict() for each in found]}
        for member_id, found in page.found
    ]
    return answer({"members": members, "next_cursor": page.after})
