"""Exercise a right: each opens a request, does what it says, and answers it.

All of them refuse as `requests.open_request` does: IdentityNotProvenError, MemberNotFoundError,
TooManyRightsRequestsError, KeyReusedError.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

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
    from loyalty.privacy.model import Kind, Request
    from loyalty.privacy.service import Desk

METHOD = "request"


class Asking(NamedTuple):
    """Who asks, how it was proven to be the member, when, at which desk, and under which key."""

    proof: str
    by: str
    at: datetime
    desk: Desk
    request_key: str | None = None
    language: str = "en"


def ask(
    member_id: str, kind: Kind, asking: Asking, details: Mapping[str, Any] | None = None
) -> Request:
    """Open a request, and leave it to the shop to answer it: a rectification (Art. 16)."""
    return open_request(member_id, kind, details=details, **asking._asdict())


def erase(member_id: str, asking: Asking, *, jobs: JobStore, runner: Runner) -> Request:
    """Ask for a member's erasure: from now on nothing is used, and a job removes it (Art. 17)."""
    request = ask(member_id, "erasure", asking)
    start_erasure(request, asking, jobs=jobs, runner=runner)
    return request


def start_erasure(request: Request, asking: Asking, *, jobs: JobStore, runner: Runner) -> None:
    """Use nothing of the member any more, and have a job carry out the request."""
    if request.member_id is None or not request.is_open:
        return
    at, by = asking.at, asking.by
    if request.erasure_id is None:
        # Withdrawn anew when asked for anew: whatever was granted in between is over, too.
        asking.desk.standing.withdraw_all(request.member_id, at=at, by=by, method=METHOD)
    # One job carries out all that is open, so one more does no harm. Where there are too many, the
    # request is kept: the next job of this kind, or `carnet privacy work`, carries it out.
    with suppress(TooManyJobsError):
        enqueue(erasing.KIND, {}, at=at, by=by, request_key=None, jobs=jobs, runner=runner)


def restrict(member_id: str, asking: Asking, *, restricted: bool) -> Request:
    """Put a member's data aside, or lift that (Art. 18). It holds on the next request."""
    request = ask(member_id, "restriction", asking, {"restricted": restricted})
    if not request.is_open:
        return request
    asking.desk.standing.restrict(
        member_id, restricted=restricted, at=asking.at, by=asking.by, method=METHOD
    )
    return answered(request, asking)


def object_to(
    member_id: str, asking: Asking, *, purpose: str, channel: str | None = None
) -> Request:
    """Object to a purpose (Art. 21). It holds on the next request.

    Raises:
        UnknownPurposeError: it is none that members decide on; then no request is opened.
    """
    asking.desk.standing.require_purpose(purpose, channel)
    details = {"purpose": purpose, "channel": channel}
    request = ask(member_id, "objection", asking, details)
    if not request.is_open:
        return request
    asking.desk.standing.object_to(
        member_id, purpose=purpose, channel=channel, at=asking.at, by=asking.by, method=METHOD
    )
    return answered(request, asking)


def answered(request: Request, asking: Asking) -> Request:
    """A request that was carried out at once; of two who did, one says so."""
    try:
        return complete(request, at=asking.at, by=asking.by, desk=asking.desk)
    except RequestClosedError:
        return asking.desk.requests.get(request.id)
