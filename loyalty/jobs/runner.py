"""Carries jobs out, one at a time: inline, or in one thread of a worker process.

A worker that dies is not missed for long: its lease runs out and another one begins its job again.
A job is less urgent than any request, so in a thread it works beside them politely: Python changes
threads ten times as often while it runs, and it rests for a third of the time. (Measured with a
busy loop beside requests of three round trips: a request took 26 ms at the median without either,
1.3 ms with the first, 0.1 ms with both, as with no job at all.)
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson
from pymongo.errors import PyMongoError

from loyalty.jobs.model import (
    CANCELLED,
    FAULT,
    HEARTBEAT_SECONDS_MIN,
    LEASE,
    STAGE_CHARS_MAX,
    Failure,
    JobCancelledError,
    LeaseLostError,
    Outcome,
    Progress,
    RunnerStoppedError,
    outcome_before,
    outcome_of,
)
from loyalty.kit.clock import now
from loyalty.kit.errors import CarnetError, UnavailableError
from loyalty.kit.mongo import is_away
from loyalty.kit.observe import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from loyalty.jobs.model import Job, JobKinds
    from loyalty.jobs.store import JobStore

POLL_SECONDS_MIN = 2.0
POLL_SECONDS_MAX = 10.0
STOP_SECONDS_MAX = 5.0
FINISH_ATTEMPTS_MAX = 5
FINISH_WAIT_SECONDS = 1.0
SWITCH_SECONDS = 0.0005
REST_SHARE = 0.5
REST_SECONDS_MAX = 0.05


class Runner:
    """Claims jobs of its kinds and runs them. One a process; its thread starts with `start`."""

    def __init__(
        self,
        jobs: JobStore,
        kinds: JobKinds,
        *,
        at_once: int = 1,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.kinds = kinds
        self._jobs = jobs
        self._at_once = at_once
        self._clock = clock
        self._monotonic = monotonic
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Run jobs in a thread from now on, if there is anything to run. After the fork, only."""
        if self._thread is not None or not self.kinds or not self._at_once:
            return
        self._stopped.clear()
        self._thread = threading.Thread(target=self._loop, name="jobs", daemon=True)
        self._thread.start()

    def stop(self, seconds_max: float = STOP_SECONDS_MAX) -> None:
        """Put the job at hand back at its next report, and end the thread.

        A job that reports nothing within the time is left to its lease.
        """
        self._stopped.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(seconds_max)
            self._thread = None

    def wake(self) -> None:
        """Look for a job now rather than at the next poll."""
        self._woken.set()

    def run_one(self) -> bool:
        """Claim the job that is due and run it to its end, here; whether there was one.

        Raises:
            PyMongoError: the database is away. The job is begun again when its lease has run out.
            UnavailableError: the same, as a service says it.
        """
        lease_id = f"{os.getpid()}-{secrets.token_hex(8)}"
        job = self._jobs.claim(self.kinds, lease_id=lease_id, at=self._clock(), slots=self._at_once)
        if job is None:
            return False
        report = self._report(job, lease_id)
        began_at = self._monotonic()
        try:
            ended = self._carry_out(job, lease_id, report)
        except LeaseLostError:
            ended = "lease_lost"
        seconds = round(self._monotonic() - began_at, 3)
        log().info("job", job=job.id, kind=job.kind, ended=ended, seconds=seconds)
        return True

    def _carry_out(self, job: Job, lease_id: str, report: _LeasedReport) -> str:
        """Run a job and keep its outcome, or put it back; which of these, for the log.

        Raises:
            LeaseLostError: the job is somebody else's by now; nothing was written.
        """
        try:
            outcome = self._outcome(job, report)
        except RunnerStoppedError:
            self._jobs.put_back(job, lease_id)
            return "put_back"
        self._finish(job, lease_id, outcome, report.latest)
        return outcome.status

    def _report(self, job: Job, lease_id: str) -> _LeasedReport:
        is_in_thread = threading.current_thread() is self._thread
        return _LeasedReport(
            self._jobs,
            job,
            lease_id,
            clock=self._clock,
            monotonic=self._monotonic,
            stopped=self._stopped,
            rests=is_in_thread,
        )

    def _outcome(self, job: Job, report: _LeasedReport) -> Outcome:
        """Run a job's function, unless the job is over already.

        Raises:
            RunnerStoppedError: the worker stops.
            LeaseLostError: the job is somebody else's by now.
            PyMongoError: the database is away.
            UnavailableError: the same.
        """
        if over := outcome_before(job):
            return over
        try:
            result = self.kinds[job.kind](job.params, report)
            return outcome_of(orjson.dumps(dict(result), option=orjson.OPT_UTC_Z))
        except JobCancelledError:
            return CANCELLED
        except (RunnerStoppedError, LeaseLostError, UnavailableError):
            raise
        except CarnetError as error:
            return Outcome("failed", error=Failure(error.code, error.detail))
        except Exception as error:  # a job's bug ends the job, not the runner
            if isinstance(error, PyMongoError) and is_away(error):
                raise
            _log_fault(job, error)
            return Outcome("failed", error=FAULT)

    def _finish(self, job: Job, lease_id: str, outcome: Outcome, progress: Progress | None) -> None:
        """Keep the outcome; the work of an hour is not lost because the database starts anew.

        Raises:
            LeaseLostError: the job is somebody else's by now.
            PyMongoError: the database stays away.
        """
        for attempt in range(1, FINISH_ATTEMPTS_MAX + 1):
            try:
                at = self._clock()
                self._jobs.finish(job.id, lease_id, outcome, at=at, progress=progress)
            except PyMongoError as error:
                if not is_away(error) or attempt == FINISH_ATTEMPTS_MAX:
                    raise
                self._stopped.wait(FINISH_WAIT_SECONDS)
            else:
                return

    def _loop(self) -> None:
        wait_seconds = POLL_SECONDS_MIN
        while not self._stopped.is_set():
            if self._try_one():
                wait_seconds = POLL_SECONDS_MIN
                continue
            # Cleared after the wait, before the next look: no call of `wake` in between is lost.
            is_woken = self._woken.wait(wait_seconds)
            self._woken.clear()
            wait_seconds = POLL_SECONDS_MIN if is_woken else min(wait_seconds * 2, POLL_SECONDS_MAX)

    def _try_one(self) -> bool:
        try:
            with _switching_often():
                return self.run_one()
        except Exception as error:  # noqa: BLE001  # the thread outlives whatever befalls a job
            log().warning("job_runner", kind=type(error).__name__)
            return False


class _LeasedReport:
    """Keeps a job's lease alive with its progress, at most once a second."""

    def __init__(
        self,
        jobs: JobStore,
        job: Job,
        lease_id: str,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        stopped: threading.Event,
        rests: bool,
    ) -> None:
        self.latest: Progress | None = None
        self._jobs, self._job_id, self._lease_id = jobs, job.id, lease_id
        self._clock, self._monotonic = clock, monotonic
        self._stopped, self._rests = stopped, rests
        self._until = clock() + LEASE
        self._next_beat_at = float("-inf")
        self._rested_at = monotonic()

    def progress(self, done: int, total: int, stage: str) -> None:
        """Tell how far it is; see `Report`."""
        self.latest = Progress(done, total, stage[:STAGE_CHARS_MAX])
        if self._rests:
            self._rest()
        if self._stopped.is_set():
            raise RunnerStoppedError
        if self._monotonic() >= self._next_beat_at:
            self._next_beat_at = self._monotonic() + HEARTBEAT_SECONDS_MIN
            self._beat(self.latest)

    def _beat(self, progress: Progress) -> None:
        at = self._clock()
        try:
            is_cancelled = self._jobs.renew(self._job_id, self._lease_id, at=at, progress=progress)
        except PyMongoError as error:
            # The lease holds a while yet: a database that starts anew ends no job.
            if not is_away(error) or at >= self._until:
                raise
            return
        self._until = at + LEASE
        if is_cancelled:
            raise JobCancelledError

    def _rest(self) -> None:
        worked_seconds = self._monotonic() - self._rested_at
        if worked_seconds * REST_SHARE >= REST_SECONDS_MAX / 5:
            self._stopped.wait(min(worked_seconds * REST_SHARE, REST_SECONDS_MAX))
            self._rested_at = self._monotonic()


@contextmanager
def _switching_often() -> Iterator[None]:
    """Let the requests' threads get at the interpreter sooner than Python's 5 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _log_fault(job: Job, error: Exception) -> None:
    """The kind and the places of a bug; a message might quote someone's data."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    log().error("job_fault", job=job.id, kind=job.kind, error=type(error).__name__, places=places)
