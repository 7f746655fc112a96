"""Exercise a right: each opens a request, does what it says, and answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.jobs.model import TooManyJobsError
from loyalty.jobs.service import enqueue
from loyalty.privacy import erasing
from loyalty.privacy.model import RequestClosedError
from loyalty.privacy.requests import complete, open_request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.jobs.runner import Runner
    from loyalty.jobs.store import JobStore
    from loyalty.privacy.model import Request
    from loyalty.privacy.service import Desk

METHOD = "request"


def erase(
    member_id: str,
    *,
    proof: str,
    at: datetime,
    by: str,
    desk: Desk,
    jobs: JobStore,
    runner: Runner,
    request_key: str | None = None,
    language: str = "en",
) -> Request:
    """Ask for a member's erasure: from now on nothing is used, and a job removes it.

    Raises:
        IdentityNotProvenError, MemberNotFoundError, TooManyRightsRequestsError, KeyReusedError: as
            `open_request`.
    """
    request = open_request(
        member_id,
        "erasure",
        proof=proof,
        at=at,
        by=by,
        desk=desk,
        request_key=request_key,
        language=language,
    )
    if request.erasure_id is None:
        # Withdrawn anew when asked for anew: whatever was granted in between is over, too.
        desk.standing.withdraw_all(member_id, at=at, by=by, method=METHOD)
    try:
        enqueue(
            erasing.KIND,
            {},
            at=at,
            by=by,
            # One job carries out all that is open, so one more does no harm.
            request_key=None,
            jobs=jobs,
            runner=runner,
        )
    except TooManyJobsError:
        # The request is kept: the next job of this kind, or `carnet privacy work`, carries it out.
        return request
    return request


def restrict(
    member_id: str,
    *,
    restricted: bool,
    proof: str,
    at: datetime,
    by: str,
    desk: Desk,
    request_key: str | None = None,
) -> Request:
    """Put a member's data aside, or lift that (Art. 18). It holds on the next request.

    Raises:
        IdentityNotProvenError, MemberNotFoundError, TooManyRightsRequestsError, KeyReusedError: as
            `open_request`.
    """
    request = open_request(
        member_id,
        "restriction",
        proof=proof,
        at=at,
        by=by,
        desk=desk,
        request_key=request_key,
        details={"restricted": restricted},
    )
    if not request.is_open:
        return request
    desk.standing.restrict(member_id, restricted=restricted, at=at, by=by, method=METHOD)
    return answered(request, at=at, by=by, desk=desk)


def object_to(
    member_id: str,
    *,
    purpose: str,
    channel: str | None,
    proof: str,
    at: datetime,
    by: str,
    desk: Desk,
    request_key: str | None = None,
) -> Request:
    """Object to a purpose (Art. 21). It holds on the next request.

    Raises:
        IdentityNotProvenError, MemberNotFoundError, TooManyRightsRequestsError, KeyReusedError: as
            `open_request`.
    """
    request = open_request(
        member_id,
        "objection",
        proof=proof,
        at=at,
        by=by,
        desk=desk,
        request_key=request_key,
        details={"purpose": purpose, "channel": channel},
    )
    if not request.is_open:
        return request
    desk.standing.object_to(
        member_id, purpose=purpose, channel=channel, at=at, by=by, method=METHOD
    )
    return answered(request, at=at, by=by, desk=desk)


def rectify(
    member_id: str,
    details: Mapping[str, Any],
    *,
    proof: str,
    at: datetime,
    by: str,
    desk: Desk,
    request_key: str | None = None,
    language: str = "en",
) -> Request:
    """Keep what a member says is wrong (Art. 16); the shop corrects it and completes the request.

    Raises:
        IdentityNotProvenError, MemberNotFoundError, TooManyRightsRequestsError, KeyReusedError: as
            `open_request`.
    """
    return open_request(
        member_id,
        "rectification",
        proof=proof,
        at=at,
        by=by,
        desk=desk,
        request_key=request_key,
        details=details,
        language=language,
    )


def answered(request: Request, *, at: datetime, by: str, desk: Desk) -> Request:
    """A request that was carried out at once; of two who did, one says so."""
    try:
        return complete(request, at=at, by=by, desk=desk)
    except RequestClosedError:
        return desk.requests.get(request.id)
