"""Simulations, what is owed and what expires soon, over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

import loyalty.audit.owing
from app import job_kinds, main
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from tests.builders import BASE_RULE, NOON, Api, dump, program_document

if TYPE_CHECKING:
    from pathlib import Path

    from app import Parts
    from loyalty.kit.settings import Settings

DOUBLE = {**BASE_RULE, "points": 2}
PATH = "/v1/program/simulations"
LONG_AGO = NOON.isoformat()


def finished(api: Api, parts: Parts, job: dict[str, Any]) -> dict[str, Any]:
    """The job once a worker has carried it out."""
    assert Runner(parts.jobs, job_kinds(parts)).run_one()
    body: dict[str, Any] = api.get(f"/v1/jobs/{job['id']}", expect=200).get_json()
    return body


def points_of(result: dict[str, Any]) -> list[int]:
    total = result["units"]["points"]["total"]
    return [total[side]["points"]["value"] for side in ("current", "draft", "difference")]


def test_a_draft_is_run_as_a_job_and_touches_nothing_else(shop: Api, parts: Parts) -> None:
    member = shop.enrol()
    shop.buy(member, 1000, occurred_at=LONG_AGO)
    before = dump(parts.database)
    body = {"program": program_document(DOUBLE), "worth": {"points": 100, "amount": 50}}
    job = shop.post(PATH, body, expect=202).get_json()
    assert (job["kind"], job["status"]) == ("simulation", "queued")
    ended = finished(shop, parts, job)
    assert ended["status"] == "done"
    assert points_of(ended["result"]) == [10, 20, 10]
    assert ended["result"]["units"]["points"]["total"]["difference"]["cost"] == 5
    assert ended["progress"] == {"done": 1, "total": 1, "stage": "members"}
    assert member not in json.dumps(ended)
    after = dump(parts.database)
    assert {**after, "jobs": []} == {**before, "jobs": []}
    assert shop.get("/v1/program").get_json()["version"] == 1


def test_a_retry_leads_to_the_same_job(shop: Api) -> None:
    body = {"program": program_document(DOUBLE)}
    headers = {"Idempotency-Key": "once"}
    first = shop.post(PATH, body, expect=202, headers=headers)
    again = shop.post(PATH, body, expect=202, headers=headers)
    assert first.get_json()["id"] == again.get_json()["id"]
    assert again.headers["Idempotent-Replay"] == "true"
    other = {"program": program_document()}
    refused = shop.post(PATH, other, expect=422, headers=headers).get_json()
    assert refused["code"] == "key_reused"


def test_a_job_that_was_asked_to_end_ends(shop: Api, parts: Parts) -> None:
    shop.buy(shop.enrol())
    job = shop.post(PATH, {"program": program_document(DOUBLE)}, expect=202).get_json()
    shop.post(f"/v1/jobs/{job['id']}/cancel", None, expect=200)
    assert not Runner(parts.jobs, job_kinds(parts)).run_one()
    assert shop.get(f"/v1/jobs/{job['id']}").get_json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"ends_at": "2020-01-01T00:00:00Z", "starts_at": LONG_AGO}, 409, "empty_period"),
        ({"program": program_document(BASE_RULE, BASE_RULE)}, 409, "invalid_program"),
        ({"sample": {"members": 5, "percent": 5}}, 422, "invalid"),
        ({"sample": {"percent": 0}}, 422, "invalid"),
        ({"worth": {"points": 0, "amount": 1}}, 422, "invalid"),
        ({"from": LONG_AGO}, 422, "invalid"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(
    shop: Api, change: dict[str, Any], status: int, code: str
) -> None:
    body = {"program": program_document(DOUBLE), **change}
    assert shop.post(PATH, body, expect=status).get_json()["code"] == code


def test_without_a_programme_there_is_nothing_to_compare_with(api: Api) -> None:
    body = {"program": program_document(DOUBLE)}
    assert api.post(PATH, body, expect=409).get_json()["code"] == "no_program"


def command(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> tuple[int, str]:
    monkeypatch.setenv("CARNET_MONGODB_URI", settings.mongodb_uri)
    monkeypatch.setenv("CARNET_DATABASE", settings.database)
    monkeypatch.setenv("CARNET_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("CARNET_SECRET", settings.secret)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def test_the_command_says_the_same(
    shop: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.buy(shop.enrol(), 123_400)
    file = tmp_path / "draft.json"
    file.write_text(json.dumps(program_document(DOUBLE)))
    code, text = command(settings, monkeypatch, "simulate", str(file), "--from", LONG_AGO)
    assert code == 0, text
    assert "2,468" in text
    assert "1 of 1 members looked at; 1 gain, 0 lose." in text
    file.write_text(json.dumps({"program": program_document({**DOUBLE, "points": "x"})}))
    code, text = command(settings, monkeypatch, "simulate", str(file), "--sample", "5")
    assert code == 1
    assert "program.rules.0.points" in text
    file.write_text("{")
    assert command(settings, monkeypatch, "simulate", str(file))[0] == 1


WORTH = {"points": {"expiry": {"months": 1}, "worth": {"points": 10, "amount": 1}}}


@pytest.fixture
def expiring(api: Api) -> Api:
    """A shop whose points expire after a month."""
    document = program_document(BASE_RULE, units=WORTH)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    return api


def test_what_is_owed_is_answered_at_once_or_as_a_job(
    expiring: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiring.buy(expiring.enrol(), 5000)
    expiring.buy(expiring.enrol(), 1000, occurred_at=LONG_AGO)
    found = expiring.get("/v1/program/liability", expect=200).get_json()
    (unit,) = found["units"]
    assert unit["outstanding"] == {"points": 50, "amount": 5}
    assert unit["breakage"]["rate"] == 1
    job = expiring.post("/v1/program/liability", None, expect=202).get_json()
    assert finished(expiring, parts, job)["result"]["units"] == found["units"]
    monkeypatch.setattr(loyalty.audit.owing, "MEMBERS_MAX", 1)
    refused = expiring.get("/v1/program/liability", expect=409).get_json()
    assert refused["code"] == "too_many_members"


def test_what_is_owed_is_shown_by_the_command(
    expiring: Api, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    expiring.buy(expiring.enrol(), 5000)
    code, text = command(settings, monkeypatch, "liability")
    assert code == 0, text
    assert "outstanding" in text
    assert "0.05" in text
    expiring.buy(expiring.enrol(), 700, occurred_at=LONG_AGO)
    code, text = command(settings, monkeypatch, "passage")
    assert code == 0, text
    assert "1 members with something due, 1 entries written." in text
    code, text = command(settings, monkeypatch, "redate", "--from-version", "1")
    assert code == 1
    assert "alike" in text


def test_whose_points_expire_soon_is_listed_for_those_who_may_be_reminded(expiring: Api) -> None:
    agrees, refuses = expiring.enrol(), expiring.enrol()
    expiring.consent(agrees, "marketing", channel="email")
    for member in (agrees, refuses):
        expiring.buy(member, 3000)
    everybody = expiring.get("/v1/expiries?within_days=40", expect=200).get_json()
    assert {each["member_id"] for each in everybody["members"]} == {agrees, refuses}
    asked = expiring.get("/v1/expiries?within_days=40&channel=email", expect=200).get_json()
    (row,) = asked["members"]
    assert row["member_id"] == agrees
    (expiry,) = row["expiries"]
    assert (expiry["unit"], expiry["points"]) == ("points", 30)
    assert expiry["expires_at"] > (now() + timedelta(days=27)).isoformat()
    page = expiring.get("/v1/expiries?within_days=40&limit=1", expect=200).get_json()
    rest = f"/v1/expiries?within_days=40&limit=1&cursor={page['next_cursor']}"
    assert len(expiring.get(rest, expect=200).get_json()["members"]) == 1
    assert expiring.get("/v1/expiries?within_days=3", expect=200).get_json()["members"] == []
    assert expiring.get("/v1/expiries?cursor=x", expect=422).get_json()["code"] == "invalid"
