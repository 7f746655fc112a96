"""A job and what can be said about it. Pure: no clock, no storage, no thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias

from loyalty.kit.errors import ConflictError, NotFoundError, TooLargeError

if TYPE_CHECKING:
    from datetime import datetime

Status: TypeAlias = Literal["queued", "running", "done", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = ("queued", "running", "done", "failed", "cancelled")
JOB_ID_PATTERN = r"^j_[0-9a-f]{16}$"
# Times a job is begun: whoever brings its worker down so often is not helped by another try.
ATTEMPTS_MAX = 3
# A worker that is silent for so long counts as dead, and another one takes its job over.
# The clocks of all nodes have to agree to within a few seconds of it.
LEASE = timedelta(seconds=30)
HEARTBEAT_SECONDS_MIN = 1.0
QUEUED_MAX = 200
PARAMS_BYTES_MAX = 4_000_000
RESULT_BYTES_MAX = 4_000_000
STAGE_CHARS_MAX = 100
KEPT = timedelta(days=30)


class JobNotFoundError(NotFoundError):
    """No job has that id, or it was finished long ago."""

    code = "job_not_found"
    title = "There is no such job"


class JobFinishedError(ConflictError):
    """What is done or failed cannot be cancelled any more."""

    code = "job_finished"
    title = "The job is finished already"


class TooManyJobsError(ConflictError):
    """The queue is full."""

    code = "too_many_jobs"
    title = "Too many jobs are waiting"


class ParamsTooLargeError(TooLargeError):
    """What the job is to work on does not fit into its record."""

    code = "params_too_large"
    title = "What was sent for the job is too large"


class JobCancelledError(Exception):
    """Somebody asked for the job to be cancelled: its function lets this pass."""


class LeaseLostError(Exception):
    """Another worker has the job by now: this one must write nothing."""


class RunnerStoppedError(Exception):
    """The worker is asked to stop: the job goes back to the queue."""


class Progress(NamedTuple):
    """How far a job is: `done` of `total` units of a stage, in the job's own units."""

    done: int
    total: int
    stage: str


class Failure(NamedTuple):
    """Why a job failed: a stable code, and plain words without internals."""

    code: str
    detail: str


class Report(Protocol):
    """How a job's function says how far it is, and learns that it has to stop.

    Call it several times a second, at any rate well within `LEASE`: a function that is silent for
    longer is taken for dead.
    """

    def progress(self, done: int, total: int, stage: str) -> None:
        """Tell that `done` of `total` units of a stage are through.

        Raises:
            JobCancelledError: somebody asked for the job to be cancelled.
            LeaseLostError: another worker has taken the job over.
            RunnerStoppedError: the worker is stopping.
        """


JobFunction: TypeAlias = Callable[[Mapping[str, Any], Report], Mapping[str, Any]]
"""(params, report) -> result. It may be begun again after a crash, so it must bear that."""

JobKinds: TypeAlias = Mapping[str, JobFunction]


class CallbackReport:
    """A report for work outside of the queue, such as a command with a progress bar."""

    def __init__(self, show: Callable[[str, int, int], None]) -> None:
        self._show = show

    def progress(self, done: int, total: int, stage: str) -> None:
        """Show it."""
        self._show(stage, done, total)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to run a job, until a time; its id begins with the worker's process id."""

    id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is kept. `attempts` counts its beginnings; `result` is JSON."""

    id: str
    kind: str
    params: Mapping[str, Any]
    asked_by: str
    created_at: datetime
    status: Status = "queued"
    progress: Progress | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    cancel_asked_at: datetime | None = None
    attempts: int = 0
    lease: Lease | None = None
    result: bytes | None = None
    error: Failure | None = None
    request_key: str | None = None
    fingerprint: str = ""


class Outcome(NamedTuple):
    """How a job ended."""

    status: Literal["done", "failed", "cancelled"]
    result: bytes | None = None
    error: Failure | None = None


CANCELLED = Outcome("cancelled")
WORN_OUT = Failure(
    "gave_up",
    f"The job was begun {ATTEMPTS_MAX} times and its worker went away each time. "
    "Ask for a smaller one, or look into the worker's log.",
)
RESULT_TOO_LARGE = Failure(
    "result_too_large",
    f"The result has more than {RESULT_BYTES_MAX // 1_000_000} MB. Ask for less at once.",
)
FAULT = Failure("fault", "The job met a fault on our side; it is in the log under the job's id.")


def outcome_of(result: bytes) -> Outcome:
    """The end of a job whose function gave a result, as JSON."""
    if len(result) > RESULT_BYTES_MAX:
        return Outcome("failed", error=RESULT_TOO_LARGE)
    return Outcome("done", result=result)


def outcome_before(job: Job) -> Outcome | None:
    """How a job that was just claimed ends without being begun, or None for one to begin."""
    if job.cancel_asked_at is not None:
        return CANCELLED
    if job.attempts > ATTEMPTS_MAX:
        return Outcome("failed", error=WORN_OUT)
    return None


def job_id(at: datetime, noise: int) -> str:
    """A job's id: ids in order are jobs in the order in which they were asked for.

    Args:
        at: when it was asked for.
        noise: below 2**20, to keep apart what was asked for within one millisecond.
    """
    milliseconds = int(at.timestamp() * 1000)
    return id_of((milliseconds << 20) | noise)


def id_of(number: int) -> str:
    """The id with a number, as a cursor holds it."""
    return f"j_{number:016x}"


def number_of(job_id: str) -> int:
    """The number in an id."""
    return int(job_id.removeprefix("j_"), 16)
