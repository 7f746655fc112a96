"""Rules of retention over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from loyalty.retention.model import BOUNDS

if TYPE_CHECKING:
    from flask import Flask

    from app import Parts
    from tests.builders import Api


def rules(api: Api) -> dict[str, Any]:
    """The rules as they would be sent."""
    found: dict[str, Any] = api.get("/v1/retention", expect=200).get_json()
    return {name: value for name, value in found.items() if not name.startswith("changed")}


def test_rules_hold_until_they_are_set(api: Api) -> None:
    first = api.get("/v1/retention", expect=200).get_json()
    assert first["inactive_months"] == 36
    assert first["changed_at"] is None
    changed = {**rules(api), "inactive_months": 24, "passive_engagements": ["email_open", "like"]}
    answer = api.put("/v1/retention", changed, expect=200).get_json()
    assert (answer["inactive_months"], answer["changed_by"]) == (24, api.key.split("_")[1])
    assert rules(api) == changed


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("side", ["minimum", "maximum"])
def test_a_rule_out_of_bounds_is_refused_by_name(api: Api, name: str, side: str) -> None:
    step = -1 if side == "minimum" else 1
    wrong = {**rules(api), name: getattr(BOUNDS[name], side) + step}
    mistake = api.put("/v1/retention", wrong, expect=422).get_json()["errors"][0]
    assert mistake["field"] == name


def test_a_rule_that_is_left_out_is_asked_for(api: Api) -> None:
    wrong = rules(api)
    del wrong["jobs_days"]
    assert api.put("/v1/retention", wrong, expect=422).get_json()["errors"][0]["field"] == (
        "jobs_days"
    )


def test_a_run_is_a_job(app: Flask, api: Api) -> None:
    job = api.post("/v1/retention/runs", {"dry_run": True}, expect=202).get_json()
    runner: Runner = app.extensions["carnet"][Runner]
    assert runner.run_one()
    done = api.get(f"/v1/jobs/{job['id']}", expect=200).get_json()
    assert done["status"] == "done"
    assert done["result"] == {"is_dry": True, "looked_at": 0, "counts": {}}


def test_a_login_is_an_activity_and_a_token_without_one_is_none(api: Api, parts: Parts) -> None:
    member, other = api.enrol(), api.enrol()
    proven_at = now().isoformat()
    api.post(f"/v1/members/{member}/token", {"authenticated_at": proven_at}, expect=201)
    api.post(f"/v1/members/{other}/token", {}, expect=201)
    found = parts.database["members"].find({"login_at": {"$exists": True}})
    assert [each["_id"] for each in found] == [member]
