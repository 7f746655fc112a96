"""A training as a job: asked for over HTTP, or by the watch when the model has grown old."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Self

from loyalty.jobs.service import Enqueued, enqueue
from loyalty.kit.clock import now
from recommend.training.model import KIND
from recommend.training.service import facts_of, train_and_promote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from loyalty.jobs.model import JobFunction, Report
    from loyalty.jobs.runner import Runner
    from loyalty.jobs.store import JobStore
    from recommend.training.service import Trainer

BEAT_SECONDS = 2.0
"""A job is taken for dead after 30 s of silence, and learning may be silent for longer."""
_LIVE = ("queued", "running")


class Heartbeat:
    """Reports for a function that is silent for long; what the report raises, it raises later."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._latest = (0, 1, "begin")
        self._stop: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="training-heartbeat", daemon=True)

    def progress(self, stage: str, done: int, total: int) -> None:
        """Keep how far it is.

        Raises:
            Exception: what a report raised since: the job is cancelled, lost, or put back.
        """
        self._latest = (done, total, stage)
        if self._stop is not None:
            raise self._stop

    def __enter__(self) -> Self:
        """Begin."""
        self._report.progress(*self._latest)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End; afterwards nobody else reports."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                self._report.progress(*self._latest)
            except Exception as error:  # noqa: BLE001  # raised where the work is, at its next word
                self._stop = error
                return


def job(trainer: Trainer) -> JobFunction:
    """The function that carries a training out. Begun again after a crash, it trains anew."""

    def run(_params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        with Heartbeat(report) as heartbeat:
            trained = train_and_promote(trainer, at=now(), progress=heartbeat.progress, by="job")
        return facts_of(trained)

    return run


def ask(
    *, at: datetime, by: str, request_key: str | None, jobs: JobStore, runner: Runner
) -> Enqueued:
    """Ask for a training; while one waits or runs, that one is the answer.

    Raises:
        KeyReusedError: the idempotency key came with another request before.
        TooManyJobsError: the queue is full.
    """
    seen = jobs.by_request(request_key) if request_key else None
    if seen is not None and seen.kind == KIND:
        return Enqueued(seen, is_replay=True)
    newest = next(iter(jobs.page(KIND, before_id=None, limit=1)), None)
    if newest is not None and newest.status in _LIVE:
        return Enqueued(newest, is_replay=True)
    # The same for all who ask at this moment, so that they get one job between them.
    key = request_key or f"model-training:after:{newest.id if newest else 'none'}"
    return enqueue(KIND, {}, at=at, by=by, request_key=key, jobs=jobs, runner=runner)


def latest(jobs: JobStore) -> Iterator[datetime]:
    """When the newest job of training was asked for, and when it ended, if there is one."""
    for each in jobs.page(KIND, before_id=None, limit=1):
        yield each.created_at
        if each.finished_at is not None:
            yield each.finished_at
