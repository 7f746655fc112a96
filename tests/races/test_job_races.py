"""Jobs under many workers, and under kill -9 of a real one: each runs exactly once at a time."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

import app as composition
from loyalty.jobs import service
from loyalty.jobs.model import LEASE, Job, JobFinishedError, LeaseLostError, Outcome, job_id
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from tests.builders import NOON
from tests.races.process import ROOT, children, free_port, is_alive, kill, until
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask import Flask

    from app import Parts
    from loyalty.jobs.model import Report
    from loyalty.kit.settings import Settings

RUNNERS = 8
JOBS = 20
ENDLESS = 100_000


def add(parts: Parts, number: int, kind: str = "count") -> str:
    new_id = job_id(NOON, number)
    parts.jobs.add(Job(new_id, kind, {"number": number}, "tests", NOON))
    return new_id


class Floor:
    """Counts which jobs run, and how many at once."""

    def __init__(self) -> None:
        self.ran: Counter[int] = Counter()
        self.at_once = 0
        self.at_once_max = 0
        self.guard = threading.Lock()

    def count(self, params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        with self.guard:
            self.ran[params["number"]] += 1
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
        report.progress(1, 1, "counting")
        with self.guard:
            self.at_once -= 1
        return {"number": params["number"]}


def race_for_jobs(parts: Parts, *, slots: int) -> Floor:
    floor = Floor()
    ids = [add(parts, number) for number in range(JOBS)]

    def work() -> None:
        runner = Runner(parts.jobs, {"count": floor.count}, at_once=slots)
        until(lambda: not runner.run_one() and is_empty(parts), "the queue is empty")

    race([work] * RUNNERS)
    assert floor.ran == Counter(range(JOBS))
    jobs = [parts.jobs.get(each) for each in ids]
    assert {(each.status, each.attempts) for each in jobs} == {("done", 1)}
    return floor


def is_empty(parts: Parts) -> bool:
    return parts.database["jobs"].count_documents({"due_at": {"$exists": True}}) == 0


def test_eight_runners_do_twenty_jobs_once_each_and_one_at_a_time(parts: Parts) -> None:
    assert race_for_jobs(parts, slots=1).at_once_max == 1


def test_with_more_slots_more_run_at_once_and_each_still_once(parts: Parts) -> None:
    assert race_for_jobs(parts, slots=3).at_once_max <= 3


def test_one_job_left_lying_is_taken_over_by_one(parts: Parts) -> None:
    for number in range(10):
        add(parts, number)
        assert parts.jobs.claim(["count"], lease_id="dead", at=NOON, slots=1)

        def claim() -> Job | None:
            lease_id = str(threading.get_ident())
            return parts.jobs.claim(["count"], lease_id=lease_id, at=NOON + LEASE, slots=1)

        won = [each for each in race([claim] * RUNNERS) if each]
        assert len(won) == 1
        [job] = won
        assert job.lease
        done = Outcome("done", result=b"{}")
        parts.jobs.finish(job.id, job.lease.id, done, at=NOON, progress=None)


def test_an_end_and_a_cancellation_that_race_leave_one_truth(parts: Parts) -> None:
    for number in range(20):
        new_id = add(parts, number)
        assert parts.jobs.claim(["count"], lease_id="lease", at=NOON, slots=1)

        def finish(new_id: str = new_id) -> str:
            done = Outcome("done", result=b"{}")
            parts.jobs.finish(new_id, "lease", done, at=NOON, progress=None)
            return "finished"

        def cancel(new_id: str = new_id) -> str:
            try:
                return service.cancel(new_id, at=NOON, jobs=parts.jobs).status
            except JobFinishedError:
                return "too late"

        answers = race([finish, cancel])
        assert answers[0] == "finished"
        assert answers[1] in {"running", "too late"}
        job = parts.jobs.get(new_id)
        assert (job.status, job.lease) == ("done", None)
        assert (job.cancel_asked_at is not None) == (answers[1] == "running")


def test_a_claim_and_a_cancellation_that_race_never_run_a_cancelled_job(parts: Parts) -> None:
    for number in range(20):
        new_id = add(parts, number)

        def claim() -> Job | None:
            return parts.jobs.claim(["count"], lease_id="lease", at=NOON, slots=1)

        def cancel(new_id: str = new_id) -> Job | None:
            return service.cancel(new_id, at=NOON, jobs=parts.jobs)

        claimed, cancelled = race([claim, cancel])
        assert cancelled is not None
        assert (claimed is None) == (cancelled.status == "cancelled")
        if claimed is not None:
            parts.jobs.finish(new_id, "lease", Outcome("cancelled"), at=NOON, progress=None)


def test_fifty_requests_with_one_key_make_one_job(parts: Parts) -> None:
    runner = Runner(parts.jobs, {"count": Floor().count})

    def ask() -> tuple[str, bool]:
        made = service.enqueue(
            "count",
            {"number": 1},
            at=now(),
            by="tests",
            request_key="once",
            jobs=parts.jobs,
            runner=runner,
        )
        return made.job.id, made.is_replay

    answers = race([ask] * 50)
    assert len({each for each, _ in answers}) == 1
    assert sum(not is_replay for _, is_replay in answers) == 1
    assert parts.database["jobs"].count_documents({}) == 1


def endless(_params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
    """Works until somebody stops it."""
    for number in itertools.count():
        assert number < ENDLESS
        report.progress(number, ENDLESS, "going on")
        time.sleep(0.01)  # the work
    return {}


def serving() -> Flask:
    """For gunicorn below: the service with a kind of job that never ends by itself."""
    with patch.object(composition, "job_kinds", lambda _parts: {"endless": endless}):
        return composition.create_app()


@contextmanager
def gunicorn(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """Two real workers over the test's database."""
    own = {
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_SECRET": settings.secret,
        "CARNET_DATA_DIR": str(settings.data_dir),
        "CARNET_WORKERS": "2",
        "PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:loyalty.kit.server"]
    process = subprocess.Popen(  # noqa: S603  # our own command
        [*command, "tests.races.test_job_races:serving()"], cwd=ROOT, env={**os.environ, **own}
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(40)


def holder(parts: Parts, job: str) -> int:
    """The process that runs a job, or 0."""
    lease = parts.jobs.get(job).lease
    return int(lease.id.partition("-")[0]) if lease else 0


def test_a_killed_worker_s_job_goes_on_and_a_stopped_one_s_waits(
    parts: Parts, settings: Settings
) -> None:
    new_id = add(parts, 1, "endless")
    with gunicorn(settings) as process:
        until(lambda: parts.jobs.get(new_id).progress is not None, "a worker has begun it")
        first = holder(parts, new_id)
        assert first in children(process.pid)
        old = parts.jobs.get(new_id).lease
        assert old
        kill(first)
        until(lambda: not is_alive(first), "the worker is gone")
        # Its lease runs out; here, not in half a minute.
        parts.database["jobs"].update_one({"_id": new_id}, {"$set": {"due_at": now()}})
        until(lambda: holder(parts, new_id) not in {0, first}, "another worker has it")
        assert parts.jobs.get(new_id).attempts == 2
        assert holder(parts, new_id) in children(process.pid)
        done = Outcome("done", result=b"{}")
        with pytest.raises(LeaseLostError):
            parts.jobs.finish(new_id, old.id, done, at=now(), progress=None)
    job = parts.jobs.get(new_id)
    assert (job.status, job.attempts, job.lease) == ("queued", 1, None)
