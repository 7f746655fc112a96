"""Jobs: one worker at a time has one, who lost it writes nothing, and each ends in plain words."""

from __future__ import annotations

import itertools
import sys
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from pymongo.errors import AutoReconnect

from loyalty.jobs import service
from loyalty.jobs.model import (
    ATTEMPTS_MAX,
    HEARTBEAT_SECONDS_MIN,
    LEASE,
    PARAMS_BYTES_MAX,
    QUEUED_MAX,
    RESULT_BYTES_MAX,
    CallbackReport,
    Job,
    JobFinishedError,
    JobNotFoundError,
    LeaseLostError,
    Outcome,
    ParamsTooLargeError,
    Progress,
    TooManyJobsError,
    job_id,
)
from loyalty.jobs.runner import FINISH_ATTEMPTS_MAX, SWITCH_SECONDS, Runner
from loyalty.jobs.store import JobStore
from loyalty.kit.errors import ConflictError, UnavailableError
from loyalty.kit.idempotency import KeyReusedError
from tests.builders import NOON, dump
from tests.races.process import until
from tests.store.watching import watching

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app import Parts
    from loyalty.jobs.model import Report
    from loyalty.jobs.service import Enqueued
    from loyalty.kit.mongo import Document
    from loyalty.kit.settings import Settings
    from tests.store.watching import Watch

SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)
DONE = Outcome("done", result=b"{}")


class NoSalesError(ConflictError):
    code = "empty_shop"
    title = "There is nothing to simulate"


class Workshop:
    """Asks for jobs and runs them; `at` is the clock of everybody in it."""

    def __init__(self, parts: Parts) -> None:
        self.jobs = parts.jobs
        self.at = NOON
        self.ran: list[Any] = []
        self.leases = (f"lease-{number}" for number in itertools.count(1))

    def clock(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return (self.at - NOON).total_seconds()

    def runner(self, **more: Any) -> Runner:
        kinds = {"echo": self.echo, "empty": self.refuse, "broken": self.break_down, **more}
        return Runner(self.jobs, kinds, clock=self.clock, monotonic=self.monotonic)

    def echo(self, params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        self.ran.append(params)
        report.progress(1, 2, "halfway")
        report.progress(2, 2, "there")
        return {"said": params}

    def refuse(self, params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        del params, report
        raise NoSalesError("No purchases lie in that month.")

    def break_down(self, params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        del params, report
        raise RuntimeError("secret of ada@example.com")

    def enqueue(self, kind: str = "echo", key: str | None = None, **params: Any) -> Enqueued:
        self.at += TICK
        return service.enqueue(
            kind,
            params,
            at=self.at,
            by="tests",
            request_key=key,
            jobs=self.jobs,
            runner=self.runner(),
        )

    def queued(self, kind: str = "echo", **params: Any) -> str:
        return self.enqueue(kind, **params).job.id

    def claim(self, *, slots: int = 1) -> Job | None:
        return self.jobs.claim(["echo"], lease_id=next(self.leases), at=self.at, slots=slots)

    def claimed(self, *, slots: int = 1) -> tuple[str, str]:
        """The id and the lease of a job that was due."""
        job = self.claim(slots=slots)
        assert job is not None
        assert job.lease is not None
        assert job.status == "running"
        return job.id, job.lease.id

    def after_running(self, kind: str, **kinds: Any) -> Job:
        """A job of the kind, once a worker had it."""
        runner = self.runner(**kinds)
        new_id = job_id(self.at, 1)
        self.jobs.add(Job(new_id, kind, {}, "tests", self.at))
        assert runner.run_one()
        return self.jobs.get(new_id)


@pytest.fixture
def workshop(parts: Parts) -> Workshop:
    return Workshop(parts)


def test_a_job_is_done_once_and_keeps_its_result(workshop: Workshop) -> None:
    new_id = workshop.queued(month="2026-02")
    runner = workshop.runner()
    assert runner.run_one()
    job = workshop.jobs.get(new_id)
    assert (job.status, job.attempts, job.lease, job.error) == ("done", 1, None, None)
    assert job.result is not None
    assert orjson.loads(job.result) == {"said": {"month": "2026-02"}}
    assert job.progress == Progress(2, 2, "there")
    assert job.started_at == job.finished_at == workshop.at
    assert not runner.run_one()
    assert workshop.ran == [{"month": "2026-02"}]


def test_the_oldest_comes_first(workshop: Workshop) -> None:
    ids = [workshop.queued(number=number) for number in range(5)]
    runner = workshop.runner()
    while runner.run_one():
        pass
    assert [each["number"] for each in workshop.ran] == [0, 1, 2, 3, 4]
    assert [each.id for each in workshop.jobs.page(None, before_id=None, limit=9)] == ids[::-1]


def test_a_worker_takes_only_what_it_can_do(workshop: Workshop) -> None:
    workshop.queued("empty")
    new_id = workshop.queued("echo")
    assert workshop.claimed()[0] == new_id


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_more_run_at_once_than_there_are_slots(workshop: Workshop, slots: int) -> None:
    ids = [workshop.queued() for _ in range(slots + 2)]
    held = [workshop.claimed(slots=slots) for _ in range(slots)]
    assert [each for each, _ in held] == ids[:slots]
    assert workshop.claim(slots=slots) is None
    workshop.jobs.finish(*held[-1], DONE, at=workshop.at, progress=None)
    assert workshop.claimed(slots=slots)[0] == ids[slots]
    assert workshop.claim(slots=slots) is None


def test_without_slots_nothing_runs(workshop: Workshop) -> None:
    workshop.queued()
    assert workshop.claim(slots=0) is None


def test_a_lease_that_ran_out_is_taken_over_and_not_before(workshop: Workshop) -> None:
    new_id = workshop.queued()
    waiting = workshop.queued()
    first = workshop.claimed()
    workshop.at += LEASE - TICK
    assert workshop.claim() is None
    workshop.at += TICK
    second = workshop.claimed()
    assert second[0] == first[0] == new_id
    assert second[1] != first[1]
    assert workshop.jobs.get(new_id).attempts == 2
    assert workshop.jobs.get(waiting).status == "queued"


def test_who_lost_its_lease_writes_nothing(parts: Parts, workshop: Workshop) -> None:
    workshop.queued()
    old_id, old_lease = workshop.claimed()
    before_loss = workshop.jobs.get(old_id)
    workshop.at += LEASE
    workshop.claimed()
    before = dump(parts.database)
    at, some = workshop.at, Progress(1, 2, "late")
    with pytest.raises(LeaseLostError):
        workshop.jobs.renew(old_id, old_lease, at=at, progress=some)
    with pytest.raises(LeaseLostError):
        workshop.jobs.finish(old_id, old_lease, DONE, at=at, progress=some)
    with pytest.raises(LeaseLostError):
        workshop.jobs.put_back(before_loss, old_lease)
    assert dump(parts.database) == before


def test_what_is_finished_is_never_written_again(parts: Parts, workshop: Workshop) -> None:
    workshop.queued()
    held = workshop.claimed()
    workshop.jobs.finish(*held, DONE, at=workshop.at, progress=None)
    before = dump(parts.database)
    with pytest.raises(LeaseLostError):
        workshop.jobs.finish(*held, Outcome("failed"), at=workshop.at, progress=None)
    assert dump(parts.database) == before


def test_progress_holds_the_lease(workshop: Workshop) -> None:
    workshop.queued()
    held = workshop.claimed()
    for number in range(5):
        workshop.at += LEASE - TICK
        assert not workshop.jobs.renew(*held, at=workshop.at, progress=Progress(number, 5, "x"))
        assert workshop.claim() is None
    assert workshop.jobs.get(held[0]).progress == Progress(4, 5, "x")


def test_a_worker_that_lost_its_job_stops_at_its_next_report(workshop: Workshop) -> None:
    def stall(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        report.progress(1, 9, "before")
        workshop.at += LEASE
        workshop.claimed()
        return workshop.echo(params, report)

    job = workshop.after_running("echo", echo=stall)
    assert (job.status, job.attempts, job.result) == ("running", 2, None)


def test_a_job_that_brings_every_worker_down_is_given_up(workshop: Workshop) -> None:
    new_id = workshop.queued()
    for attempt in range(1, ATTEMPTS_MAX + 1):
        workshop.claimed()
        assert workshop.jobs.get(new_id).attempts == attempt
        workshop.at += LEASE
    assert workshop.runner().run_one()
    job = workshop.jobs.get(new_id)
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "gave_up"
    assert workshop.ran == []


def test_a_refusal_is_shown_as_the_noun_words_it(workshop: Workshop) -> None:
    job = workshop.after_running("empty")
    assert (job.status, job.attempts) == ("failed", 1)
    assert job.error == ("empty_shop", "No purchases lie in that month.")


def test_a_bug_is_shown_without_its_internals(
    workshop: Workshop, capfd: pytest.CaptureFixture[str]
) -> None:
    job = workshop.after_running("broken")
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.code == "fault"
    shown = repr(job) + "".join(capfd.readouterr())
    assert "ada" not in shown
    assert "Traceback" not in shown
    assert "RuntimeError" not in repr(job)


@pytest.mark.parametrize(("more", "status"), [(0, "done"), (1, "failed")])
def test_a_result_has_a_bound(workshop: Workshop, more: int, status: str) -> None:
    padding = "x" * (RESULT_BYTES_MAX - len('{"a":""}') + more)
    job = workshop.after_running("large", large=lambda *_: {"a": padding})
    assert job.status == status
    assert (job.error is None) == (status == "done")
    assert job.error is None or job.error.code == "result_too_large"


def test_a_result_that_is_no_json_is_a_fault(workshop: Workshop) -> None:
    job = workshop.after_running("odd", odd=lambda *_: {"a": object()})
    assert job.error is not None
    assert job.error.code == "fault"


def test_what_waits_is_cancelled_at_once(parts: Parts, workshop: Workshop) -> None:
    new_id = workshop.queued()
    at = workshop.at + SECOND
    job = service.cancel(new_id, at=at, jobs=workshop.jobs)
    assert (job.status, job.finished_at) == ("cancelled", at)
    assert service.cancel(new_id, at=at + SECOND, jobs=workshop.jobs) == job
    assert not workshop.runner().run_one()
    # It has left the index that the workers look at.
    assert parts.database["jobs"].count_documents({"due_at": {"$exists": True}}) == 0


def test_what_runs_is_cancelled_at_its_next_report(workshop: Workshop) -> None:
    reported: list[int] = []

    def count(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        del params
        for number in range(10):
            if number == 3:
                [job] = workshop.jobs.page(None, before_id=None, limit=9)
                asked = service.cancel(job.id, at=workshop.at, jobs=workshop.jobs)
                assert (asked.status, asked.cancel_asked_at) == ("running", workshop.at)
            workshop.at += SECOND
            report.progress(number, 10, "counting")
            reported.append(number)
        return {}

    job = workshop.after_running("count", count=count)
    assert reported == [0, 1, 2]
    assert (job.status, job.error, job.result) == ("cancelled", None, None)
    assert job.progress == Progress(3, 10, "counting")
    again = service.cancel(job.id, at=workshop.at, jobs=workshop.jobs)
    assert again.status == "cancelled"


def test_asking_twice_to_cancel_what_runs_changes_nothing(parts: Parts, workshop: Workshop) -> None:
    new_id = workshop.queued()
    workshop.claimed()
    asked = service.cancel(new_id, at=workshop.at, jobs=workshop.jobs)
    assert (asked.status, asked.finished_at) == ("running", None)
    before = dump(parts.database)
    again = service.cancel(new_id, at=workshop.at + SECOND, jobs=workshop.jobs)
    assert again == asked
    assert dump(parts.database) == before


def test_a_cancelled_job_whose_worker_died_is_not_begun_again(workshop: Workshop) -> None:
    new_id = workshop.queued()
    workshop.claimed()
    service.cancel(new_id, at=workshop.at, jobs=workshop.jobs)
    workshop.at += LEASE
    assert workshop.runner().run_one()
    assert workshop.jobs.get(new_id).status == "cancelled"
    assert workshop.ran == []


def test_what_is_over_cannot_be_cancelled(parts: Parts, workshop: Workshop) -> None:
    done = workshop.after_running("echo")
    before = dump(parts.database)
    with pytest.raises(JobFinishedError) as refusal:
        service.cancel(done.id, at=workshop.at, jobs=workshop.jobs)
    assert refusal.value.errors == (("status", "The job is done."),)
    with pytest.raises(JobNotFoundError):
        service.cancel("j_none", at=workshop.at, jobs=workshop.jobs)
    assert dump(parts.database) == before


def test_a_stopping_worker_puts_its_job_back_as_if_never_begun(workshop: Workshop) -> None:
    first = workshop.queued()
    other = workshop.queued("empty")
    runners: list[Runner] = []

    def interrupted(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        runners[0].stop()
        return workshop.echo(params, report)

    runners.append(workshop.runner(echo=interrupted))
    assert runners[0].run_one()
    job = workshop.jobs.get(first)
    assert (job.status, job.attempts, job.lease, job.progress) == ("queued", 0, None, None)
    # Its slot is free for another, and then for itself.
    other_job = workshop.jobs.claim(["empty"], lease_id="x", at=workshop.at, slots=1)
    assert other_job is not None
    assert other_job.id == other
    workshop.jobs.finish(other, "x", DONE, at=workshop.at, progress=None)
    assert workshop.claimed()[0] == first


@pytest.mark.parametrize("away", [AutoReconnect("gone"), UnavailableError("gone")])
def test_a_database_that_is_away_ends_no_job(workshop: Workshop, away: Exception) -> None:
    calls: list[int] = []

    def unlucky(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        calls.append(1)
        if len(calls) == 1:
            raise away
        return workshop.echo(params, report)

    new_id = workshop.queued()
    runner = workshop.runner(echo=unlucky)
    with pytest.raises(type(away)):
        runner.run_one()
    assert workshop.jobs.get(new_id).status == "running"
    assert not runner.run_one()
    workshop.at += LEASE
    assert runner.run_one()
    assert (workshop.jobs.get(new_id).status, len(calls)) == ("done", 2)


class Flaky(JobStore):
    """A store whose connection breaks at the first writes of one kind."""

    def __init__(self, parts: Parts, *, renewals: int = 0, ends: int = 0) -> None:
        super().__init__(parts.database)
        self.renewals, self.ends = renewals, ends

    def renew(self, *args: Any, **more: Any) -> bool:
        self.renewals -= 1
        if self.renewals >= 0:
            raise AutoReconnect("gone")
        return super().renew(*args, **more)

    def finish(self, *args: Any, **more: Any) -> None:
        self.ends -= 1
        if self.ends >= 0:
            raise AutoReconnect("gone")
        super().finish(*args, **more)


def test_a_missed_heartbeat_is_no_end_while_the_lease_holds(
    parts: Parts, workshop: Workshop
) -> None:
    workshop.jobs = Flaky(parts, renewals=1)
    assert workshop.after_running("echo").status == "done"


def test_who_cannot_renew_stops_when_its_lease_has_run_out(
    parts: Parts, workshop: Workshop
) -> None:
    def slow(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        workshop.at += LEASE
        return workshop.echo(params, report)

    workshop.jobs = Flaky(parts, renewals=1)
    with pytest.raises(AutoReconnect):
        workshop.after_running("slow", slow=slow)


def test_a_result_outlives_a_short_absence_of_the_database(
    parts: Parts, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loyalty.jobs.runner.FINISH_WAIT_SECONDS", 0)
    workshop.jobs = Flaky(parts, ends=FINISH_ATTEMPTS_MAX - 1)
    assert workshop.after_running("echo").status == "done"
    workshop.jobs = Flaky(parts, ends=FINISH_ATTEMPTS_MAX)
    workshop.at += SECOND
    with pytest.raises(AutoReconnect):
        workshop.after_running("echo")


class Rests(threading.Event):
    """Notes how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds.append(timeout or 0)
        return False


def test_beside_requests_a_job_rests_a_third_of_the_time(workshop: Workshop) -> None:
    def busy(_params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        for worked in (0.001, 0.04, 0.06, 9.0):
            workshop.at += worked * SECOND
            report.progress(1, 1, "busy")
        return {"switch_seconds": sys.getswitchinterval()}

    new_id = workshop.queued()
    runner = workshop.runner(echo=busy)
    runner._stopped = rests = Rests()
    before = sys.getswitchinterval()
    runner.start()
    until(lambda: workshop.jobs.get(new_id).status == "done", "it is done")
    runner.stop()
    assert rests.seconds == pytest.approx([0.0205, 0.03, 0.05])
    result = workshop.jobs.get(new_id).result
    assert result is not None
    assert orjson.loads(result)["switch_seconds"] == pytest.approx(SWITCH_SECONDS)
    assert sys.getswitchinterval() == before


def test_the_heart_beats_once_a_second_however_often_it_reports(
    workshop: Workshop, settings: Settings
) -> None:
    def busy(_params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        for number in range(1000):
            report.progress(number, 1000, "busy")
            workshop.at += SECOND / 100
        return {}

    new_id = workshop.queued()
    with watching(settings) as watch:
        runner = Runner(
            JobStore(watch.database),
            {"echo": busy},
            clock=workshop.clock,
            monotonic=workshop.monotonic,
        )
        assert runner.run_one()
        beats = [each for each in watch.commands if "findAndModify" in each]
    assert len(beats) - 1 == pytest.approx(10 / HEARTBEAT_SECONDS_MIN, abs=1)
    assert workshop.jobs.get(new_id).progress == Progress(999, 1000, "busy")


def test_a_long_stage_is_cut_and_a_report_can_be_shown(workshop: Workshop) -> None:
    def wordy(_params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        report.progress(1, 1, "x" * 5000)
        return {}

    job = workshop.after_running("wordy", wordy=wordy)
    assert job.progress == Progress(1, 1, "x" * 100)
    shown: list[Any] = []
    workshop.echo({}, CallbackReport(lambda *each: shown.append(each)))
    assert shown == [("halfway", 1, 2), ("there", 2, 2)]


def test_a_retry_is_the_same_job(workshop: Workshop) -> None:
    first = workshop.enqueue(key="k1", month=2)
    again = workshop.enqueue(key="k1", month=2)
    assert (first.is_replay, again.is_replay) == (False, True)
    assert again.job.id == first.job.id
    with pytest.raises(KeyReusedError):
        workshop.enqueue(key="k1", month=3)
    with pytest.raises(KeyReusedError):
        workshop.enqueue("empty", key="k1", month=2)
    assert workshop.enqueue(key="k2", month=2).job.id != first.job.id
    assert workshop.enqueue(month=2).job.id != workshop.enqueue(month=2).job.id


def test_a_full_queue_refuses_new_jobs_and_still_knows_the_old(workshop: Workshop) -> None:
    first = workshop.enqueue(key="k1")
    for number in range(1, QUEUED_MAX):
        workshop.jobs.add(Job(job_id(NOON, number), "echo", {}, "tests", NOON))
    with pytest.raises(TooManyJobsError):
        workshop.enqueue()
    assert workshop.enqueue(key="k1").job.id == first.job.id
    service.cancel(first.job.id, at=workshop.at, jobs=workshop.jobs)
    assert not workshop.enqueue().is_replay


def test_what_is_no_job_is_not_queued(parts: Parts, workshop: Workshop) -> None:
    with pytest.raises(ParamsTooLargeError):
        workshop.enqueue(text="x" * PARAMS_BYTES_MAX)
    with pytest.raises(ValueError, match="no kind"):
        workshop.enqueue("unheard-of")
    assert parts.database["jobs"].count_documents({}) == 0


def test_a_page_is_of_one_kind_newest_first_and_light(workshop: Workshop) -> None:
    ids = [workshop.queued(kind, month=2) for kind in ("echo", "empty", "echo", "echo")]
    page = workshop.jobs.page("echo", before_id=None, limit=2)
    assert [each.id for each in page] == [ids[3], ids[2]]
    rest = workshop.jobs.page("echo", before_id=page[-1].id, limit=2)
    assert [each.id for each in rest] == [ids[0]]
    assert [each.params for each in page] == [{}, {}]
    assert workshop.jobs.get(ids[0]).params == {"month": 2}


def test_an_idle_look_costs_next_to_nothing(workshop: Workshop, settings: Settings) -> None:
    for _ in range(100):
        workshop.after_running("empty")
        workshop.at += TICK
    with watching(settings) as watch:
        store = JobStore(watch.database)
        assert store.claim(["echo"], lease_id="x", at=workshop.at, slots=1) is None
        stats = explained(watch)
        assert (stats["totalKeysExamined"], stats["totalDocsExamined"]) == (0, 0)
        for _ in range(50):
            workshop.queued()
        assert store.claim(["echo"], lease_id="x", at=workshop.at, slots=1) is not None
        assert len(watch.commands) == 2
        stats = explained(watch)
        assert stats["totalDocsExamined"] <= 2


def explained(watch: Watch) -> Document:
    """How the server found what the last `findAndModify` was to change."""
    parts = ("findAndModify", "query", "sort", "update", "fields")
    command = {name: watch.commands[-1][name] for name in parts}
    answer = watch.database.command("explain", command, verbosity="executionStats")
    stats: Document = answer["executionStats"]
    return stats


def test_old_jobs_leave_by_themselves(parts: Parts) -> None:
    index = parts.database["jobs"].index_information()["finished"]
    assert index["expireAfterSeconds"] == 30 * 24 * 3600
    assert index["key"] == [("finished_at", 1)]
