"""Jobs over HTTP: followed, listed, cancelled; and what a worker process does with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pymongo.database import Database

import app as composition
from app import create_app
from loyalty.access.model import SCOPES
from loyalty.jobs import service
from loyalty.jobs.model import ATTEMPTS_MAX, LEASE, Job
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from loyalty.kit.errors import ConflictError
from tests.builders import NOON, Api, dump, mint_key
from tests.races.process import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flask import Flask

    from app import Parts
    from loyalty.jobs.model import Report
    from loyalty.kit.service import Service
    from loyalty.kit.settings import Settings

NOTHING = "j_" + "0" * 16


class NoSalesError(ConflictError):
    code = "empty_shop"
    title = "There is nothing to simulate"


def add_up(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
    report.progress(1, 1, "adding")
    return {"sum": sum(params["numbers"]), "at": NOON}


def refuse(_params: Mapping[str, Any], _report: Report) -> Mapping[str, Any]:
    raise NoSalesError("No purchases lie in that month.")


KINDS = {"sum": add_up, "empty": refuse}


@pytest.fixture
def runner(parts: Parts) -> Runner:
    return Runner(parts.jobs, KINDS)


def queued(parts: Parts, kind: str = "sum") -> str:
    made = service.enqueue(
        kind,
        {"numbers": [1, 2]},
        at=now(),
        by="tests",
        request_key=None,
        jobs=parts.jobs,
        runner=Runner(parts.jobs, KINDS),
    )
    return made.job.id


def shown(api: Api, job_id: str) -> dict[str, Any]:
    body: dict[str, Any] = api.get(f"/v1/jobs/{job_id}", expect=200).get_json()
    return body


def test_a_job_is_followed_from_the_queue_to_its_result(
    api: Api, parts: Parts, runner: Runner
) -> None:
    job_id = queued(parts)
    waiting = shown(api, job_id)
    assert (waiting["status"], waiting["attempts"]) == ("queued", 0)
    assert waiting["progress"] is waiting["result"] is waiting["started_at"] is None
    assert runner.run_one()
    done = shown(api, job_id)
    assert (done["status"], done["attempts"], done["asked_by"]) == ("done", 1, "tests")
    assert done["result"] == {"sum": 3, "at": "2026-03-01T12:00:00Z"}
    assert done["progress"] == {"done": 1, "total": 1, "stage": "adding"}
    assert done["started_at"] <= done["finished_at"]
    assert done["error"] is None


def test_a_failure_is_told_in_plain_words(api: Api, parts: Parts, runner: Runner) -> None:
    job_id = queued(parts, "empty")
    runner.run_one()
    failed = shown(api, job_id)
    assert failed["status"] == "failed"
    assert failed["error"] == {"code": "empty_shop", "detail": "No purchases lie in that month."}
    assert failed["result"] is None


def test_a_job_that_was_given_up_shows_how_often_it_was_begun(
    api: Api, parts: Parts, runner: Runner
) -> None:
    job_id = queued(parts)
    at = now()
    for number in range(ATTEMPTS_MAX):
        at -= (ATTEMPTS_MAX + 1) * LEASE if number == 0 else -LEASE
        parts.database["jobs"].update_one({}, {"$min": {"due_at": at}})
        assert parts.jobs.claim(["sum"], lease_id=str(number), at=at, slots=1)
    assert runner.run_one()
    body = shown(api, job_id)
    assert (body["status"], body["attempts"]) == ("failed", ATTEMPTS_MAX)
    assert body["error"]["code"] == "gave_up"


def test_what_waits_is_cancelled_and_cancelling_again_changes_nothing(
    api: Api, parts: Parts
) -> None:
    path = f"/v1/jobs/{queued(parts)}/cancel"
    first = api.post(path, None, expect=200).get_json()
    assert (first["status"], first["is_cancel_asked"]) == ("cancelled", True)
    before = dump(parts.database)
    assert api.post(path, None, expect=200).get_json() == first
    assert dump(parts.database) == before


def test_what_is_done_cannot_be_cancelled(api: Api, parts: Parts, runner: Runner) -> None:
    job_id = queued(parts)
    runner.run_one()
    refusal = api.post(f"/v1/jobs/{job_id}/cancel", None, expect=409).get_json()
    assert refusal["code"] == "job_finished"
    assert refusal["errors"] == [{"field": "status", "message": "The job is done."}]
    assert shown(api, job_id)["status"] == "done"


@pytest.mark.parametrize("job_id", [NOTHING, "j_", "x", "0" * 500])
def test_what_is_not_there_is_404(api: Api, job_id: str) -> None:
    assert api.get(f"/v1/jobs/{job_id}", expect=404).get_json()["code"] == "job_not_found"
    api.post(f"/v1/jobs/{job_id}/cancel", None, expect=404)


def test_jobs_are_listed_newest_first_without_gap_or_overlap(api: Api, parts: Parts) -> None:
    ids = [queued(parts, "empty" if number % 3 == 0 else "sum") for number in range(12)]
    assert listed(api, "limit=5") == sorted(ids, reverse=True)
    sums = [each for number, each in enumerate(ids) if number % 3]
    assert listed(api, "kind=sum&limit=3") == sorted(sums, reverse=True)
    assert listed(api, "kind=unheard-of") == []


def listed(api: Api, query: str) -> list[str]:
    """All ids of a list, page by page; at most a hundred pages."""
    found: list[str] = []
    more = ""
    for _ in range(100):
        page = api.get(f"/v1/jobs?{query}{more}", expect=200).get_json()
        found += [each["id"] for each in page["jobs"]]
        assert all("result" not in each for each in page["jobs"])
        if page["next_cursor"] is None:
            return found
        more = f"&cursor={page['next_cursor']}"
    raise AssertionError("the cursor never ends")


def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    assert api.get("/v1/jobs?cursor=abc", expect=404).get_json()["code"] == "unknown_cursor"
    api.get("/v1/jobs?limit=0", expect=422)
    api.get("/v1/jobs?kind=A%20B", expect=422)


def test_reading_and_cancelling_need_their_own_scopes(api: Api, parts: Parts) -> None:
    job_id = queued(parts)
    reader = api.speaking_with(mint_key(parts, "jobs:read"))
    writer = api.speaking_with(mint_key(parts, "jobs:write"))
    for caller, status in ((reader, 200), (writer, 403)):
        caller.get("/v1/jobs", expect=status)
        caller.get(f"/v1/jobs/{job_id}", expect=status)
    reader.post(f"/v1/jobs/{job_id}/cancel", None, expect=403)
    writer.post(f"/v1/jobs/{job_id}/cancel", None, expect=200)
    assert {"jobs:read", "jobs:write"} <= SCOPES.keys()


@pytest.fixture
def worker(
    settings: Settings, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Service, Runner]]:
    """The application as it is in a worker process that has begun, with its runner."""
    monkeypatch.setattr(composition, "job_kinds", lambda _parts: KINDS)
    app: Any = create_app(settings)
    app.start_background()
    yield app, app.extensions["carnet"][Runner]
    app.stop_background()
    app.extensions["carnet"][Database].client.close()
    assert parts.jobs.claim([], lease_id="x", at=now(), slots=1) is None


def test_a_worker_runs_what_is_queued_in_it_at_once(
    worker: tuple[Service, Runner], parts: Parts
) -> None:
    _, runner = worker
    jobs = [
        service.enqueue(
            "sum",
            {"numbers": [number]},
            at=now(),
            by="tests",
            request_key=None,
            jobs=parts.jobs,
            runner=runner,
        ).job
        for number in range(5)
    ]
    # Sooner than the next look of an idle worker, which is 2 s away at least.
    until(lambda: all(is_done(parts, each) for each in jobs), "all are done", 1.9)


def is_done(parts: Parts, job: Job) -> bool:
    return parts.jobs.get(job.id).status == "done"


def test_a_worker_that_ends_leaves_no_thread(worker: tuple[Service, Runner], parts: Parts) -> None:
    app, runner = worker
    app.stop_background()
    job_id = queued(parts)
    runner.wake()
    assert runner._thread is None
    assert parts.jobs.get(job_id).status == "queued"


def test_nothing_runs_beside_an_application_that_no_worker_began(app: Flask) -> None:
    assert app.extensions["carnet"][Runner]._thread is None
