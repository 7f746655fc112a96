"""An export is whole whoever draws it and however often its worker is killed: each member once."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest

from app import create_app
from loyalty.jobs.model import LeaseLostError
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from recommend.bulk import exports
from recommend.bulk.store import ExportStore
from tests.races.process import ROOT, is_alive, kill, until
from tests.races.test_no_stale_consent import agreeing
from tests.races.test_races import race

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

MEMBERS = 30
BATCH = 2
PARTS_BEFORE_DEATH = 3
PATH = "/v1/picks/exports"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "BATCH", BATCH)
    monkeypatch.setattr(exports, "PART_BATCHES", 2)


def ask(shop: Api) -> dict[str, Any]:
    asked: dict[str, Any] = shop.post(PATH, {"channel": "email"}, expect=202).get_json()
    return asked


def runner_of(shop: Api) -> Runner:
    found: Runner = shop.client.application.extensions["carnet"][Runner]
    return found


def drawn(parts: Parts, export: dict[str, Any]) -> list[str]:
    """The members of all parts, in the order of the parts."""
    found, last = [], ""
    while (part := parts.exports.drafts(export["id"], after=last)) is not None:
        last, drafts = part
        found += [each.member_id for each in drafts]
    return found


def stopping_between_parts() -> None:
    """For the process below: draw an export, but stand still for ever after a few parts."""
    add, numbers = ExportStore.add, count(1)

    def add_and_wait(*args: Any, **more: Any) -> None:
        add(*args, **more)
        if next(numbers) == PARTS_BEFORE_DEATH:
            sys.stdin.read()

    with (
        patch.object(exports, "BATCH", BATCH),
        patch.object(exports, "PART_BATCHES", 2),
        patch.object(ExportStore, "add", add_and_wait),
    ):
        runner: Runner = create_app().extensions["carnet"][Runner]
        runner.run_one()


def killed_worker(settings: Settings) -> subprocess.Popen[bytes]:
    own = {
        "CARNET_MONGODB_URI": settings.mongodb_uri,
        "CARNET_DATABASE": settings.database,
        "CARNET_SECRET": settings.secret,
        "CARNET_DATA_DIR": str(settings.data_dir),
    }
    code = "from tests.races.test_picks_races import stopping_between_parts as f; f()"
    return subprocess.Popen(  # noqa: S603  # our own command
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **own}, stdin=subprocess.PIPE
    )


def test_a_worker_that_is_killed_between_two_parts_is_followed_by_one_that_goes_on(
    shop: Api, parts: Parts, settings: Settings
) -> None:
    members = agreeing(parts, shop, MEMBERS)
    export = ask(shop)
    kept = parts.database["picks_parts"]
    with killed_worker(settings) as process:
        until(lambda: kept.count_documents({}) == PARTS_BEFORE_DEATH, "some parts are drawn")
        before = list(kept.find().sort("number"))
        kill(process.pid)
        until(lambda: not is_alive(process.pid), "the worker is gone")
    assert shop.get(f"{PATH}/{export['id']}", expect=200).get_json()["status"] == "running"
    # Its lease runs out; here, not in half a minute.
    parts.database["jobs"].update_one({"_id": export["job_id"]}, {"$set": {"due_at": now()}})
    assert runner_of(shop).run_one()
    found = shop.get(f"{PATH}/{export['id']}", expect=200).get_json()
    assert (found["status"], found["rows"]) == ("done", MEMBERS)
    assert drawn(parts, export) == members
    assert list(kept.find().sort("number"))[:PARTS_BEFORE_DEATH] == before


class StoppingReport:
    """Lets go after so many reports, as a worker that loses its lease."""

    def __init__(self, reports: int) -> None:
        self.left = reports

    def progress(self, _done: int, _total: int, _stage: str) -> None:
        self.left -= 1
        if self.left < 0:
            raise LeaseLostError


def test_stopped_after_any_report_and_begun_again_each_member_is_drawn_once(
    shop: Api, parts: Parts
) -> None:
    members = agreeing(parts, shop, 9)
    draw = runner_of(shop).kinds[exports.KIND]
    for stop_after in range(8):
        export = ask(shop)
        params = parts.jobs.get(export["job_id"]).params
        for attempt in range(20):
            try:
                result = draw(params, StoppingReport(stop_after + 2 if attempt else stop_after))
            except LeaseLostError:
                continue
            break
        assert result["rows"] == len(members)
        assert drawn(parts, export) == members
        assert drawn(parts, export) == drawn(parts, export)
        again = draw(params, StoppingReport(100))
        assert again == result


def test_two_workers_that_both_believe_to_have_it_make_one_whole(shop: Api, parts: Parts) -> None:
    members = agreeing(parts, shop, MEMBERS)
    export = ask(shop)
    params = parts.jobs.get(export["job_id"]).params
    draw = runner_of(shop).kinds[exports.KIND]
    results = race([lambda: draw(params, StoppingReport(1000))] * 4)
    assert {each["rows"] for each in results} == {MEMBERS}
    assert drawn(parts, export) == members


def test_members_of_one_part_that_are_erased_at_once_are_all_gone(shop: Api, parts: Parts) -> None:
    members = agreeing(parts, shop, 4)
    export = ask(shop)
    assert runner_of(shop).run_one()
    gone = members[:3]

    def erase(member: str) -> None:
        for _ in range(10):
            if not list(parts.exports.held(member)):
                return
            parts.exports.erase(member)

    race([lambda each=each: erase(each) for each in gone])  # type: ignore[misc]
    assert drawn(parts, export) == members[3:]
