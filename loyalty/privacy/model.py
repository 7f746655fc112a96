"""Requests of members to exercise their rights, as values: kinds, deadlines, refusals. Pure."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import (
    ConflictError,
    FieldError,
    ForbiddenError,
    NotFoundError,
    TooManyRequestsError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Kind: TypeAlias = Literal[
    "access", "portability", "rectification", "restriction", "erasure", "objection"
]
Status: TypeAlias = Literal["open", "waiting_for_identity", "done", "refused"]
KINDS: dict[Kind, str] = {
    "access": "Art. 15",
    "portability": "Art. 20",
    "rectification": "Art. 16",
    "restriction": "Art. 18",
    "erasure": "Art. 17",
    "objection": "Art. 21",
}
STATUSES: tuple[Status, ...] = ("open", "waiting_for_identity", "done", "refused")
# How the member was recognised: by the shop's login, by a code sent to the member, or by the shop
# itself that asks on the member's behalf. A link in an e-mail proves nothing of the kind.
PROOFS = frozenset({"login", "code", "shop"})
# Art. 12(3) GDPR: one month, and two more where the request is complex.
MONTHS = 1
MONTHS_EXTENDED = 3
DAY = timedelta(days=1)
# Requests of one member and kind in 24 hours, each try counted.
TRIES_A_DAY_MAX: dict[Kind, int] = {
    "access": 5,
    "portability": 5,
    "rectification": 20,
    "restriction": 20,
    "erasure": 10,
    "objection": 20,
}
STEPS_MAX = 50
LANGUAGES = ("en", "fr")
TEXT_MAX = 2000
REQUEST_ID_PATTERN = "^r_[0-9a-f]{16}$"
ERASURE_ID_PATTERN = "^e_[0-9a-f]{32}$"


class IdentityNotProvenError(ForbiddenError):
    """A right is exercised by somebody who has not shown to be the member."""

    code = "identity_not_proven"
    title = "A right needs a login of the last fifteen minutes, or a code sent to the member"


class InvalidCodeError(ForbiddenError):
    """The code is wrong, used, expired or tried too often: the answer does not say which."""

    code = "invalid_code"
    title = "The code is not right, or not any more"


class TooManyRightsRequestsError(TooManyRequestsError):
    """A member asks for the same thing over and over."""

    code = "too_many_rights_requests"
    title = "There were too many requests of this kind for this member"

    def __init__(self, wait: timedelta) -> None:
        super().__init__()
        self.retry_after_seconds = max(1, -int(-wait.total_seconds() // 1))


class TooManyCodesError(TooManyRightsRequestsError):
    """Three codes an hour are enough for whoever can read them."""

    code = "too_many_codes"
    title = "Too many codes were asked for"


class NoAddressError(ConflictError):
    """The member has neither an e-mail address nor a phone number."""

    code = "no_address"
    title = "There is no address of the member to send a code to"


class RequestNotFoundError(NotFoundError):
    """No request has that id."""

    code = "request_not_found"
    title = "There is no such request"


class RequestClosedError(ConflictError):
    """The request was answered already."""

    code = "request_closed"
    title = "The request is answered already"

    def __init__(self, status: str) -> None:
        mistake = FieldError("status", f"The request is {status}.")
        super().__init__(mistake.message, errors=(mistake,))


class AlreadyExtendedError(ConflictError):
    """A deadline moves once."""

    code = "already_extended"
    title = "The request's deadline was extended before"


class ErasesItselfError(ConflictError):
    """Only an erasure that was carried out completes a request for one."""

    code = "erases_itself"
    title = "A request for erasure is completed by the erasure alone"


class AnsweredByItselfError(ConflictError):
    """To say that it was done is not to do it: a restriction or an objection is exercised."""

    code = "answered_by_itself"
    title = "A restriction or an objection is answered by exercising it"


class ErasureNotFoundError(NotFoundError):
    """No erasure has that id."""

    code = "erasure_not_found"
    title = "There is no such erasure"


class RequestOpenError(Exception):
    """Another request of the member and kind is open, or the idempotency key was used."""


class Step(NamedTuple):
    """What happened to a request."""

    what: str
    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a member. `member_id` is None once the member was erased.

    `details` is what the member wrote, `reason` why it was refused or extended: both are sealed at
    rest under the member's key, and so None once the member was erased.
    """

    id: str
    member_id: str | None
    kind: Kind
    status: Status
    proof: str
    received_at: datetime
    due_at: datetime
    by: str
    language: str = "en"
    is_extended: bool = False
    closed_at: datetime | None = None
    details: Mapping[str, Any] | None = None
    reason: str | None = None
    erasure_id: str | None = None
    steps: tuple[Step, ...] = ()
    request_key: str | None = None
    fingerprint: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it is still to be answered."""
        return self.status in ("open", "waiting_for_identity")

    def is_overdue(self, at: datetime) -> bool:
        """Whether it should have been answered by now."""
        return self.is_open and self.due_at < at


def months_after(moment: datetime, months: int) -> datetime:
    """The same day of a later month, or its last day where it is shorter.

    Regulation (EEC, Euratom) 1182/71, Art. 3(2)(c): a period in months ends with the day of the
    same date, and where there is none with the last day of the month.
    """
    index = moment.year * 12 + moment.month - 1 + months
    year, month = index // 12, index % 12 + 1
    day = min(moment.day, calendar.monthrange(year, month)[1])
    return moment.replace(year=year, month=month, day=day)


def request_id(at: datetime, noise: int) -> str:
    """A request's id: ids in order are requests in the order in which they were kept.

    Args:
        at: when it is kept.
        noise: below 2**20.
    """
    return id_of((int(at.timestamp() * 1000) << 20) | noise)


def id_of(number: int) -> str:
    """The id with a number, as a cursor holds it."""
    return f"r_{number:016x}"


def number_of(request_id: str) -> int:
    """The number in an id."""
    return int(request_id.removeprefix("r_"), 16)


def require_proof(proof: str) -> None:
    """Let only those exercise a right who have shown to be the member, or who are the shop.

    Raises:
        IdentityNotProvenError: a link or nothing is no proof.
    """
    if proof not in PROOFS:
        raise IdentityNotProvenError
