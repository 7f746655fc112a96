"""Many at once want the same coupons: exactly one winner each, on every channel and worker."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from pymongo.database import Database

from app import create_app
from loyalty.kit.clock import now
from tests.builders import Api, unique
from tests.races.test_races import posting, race

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts
    from loyalty.kit.settings import Settings

THREADS = 16
CHANNELS = ("store", "web", "app", "social")
REDEMPTIONS = "/v1/coupons/redemptions"


@pytest.fixture
def workers(api: Api, settings: Settings) -> Iterator[list[Api]]:
    """Two workers over one database, each with caches of its own."""
    other = create_app(settings)
    other.testing = True
    yield [api, Api(other.test_client(), api.key)]
    other.extensions["carnet"][Database].client.close()


def campaign_body(**overrides: Any) -> dict[str, Any]:
    ends_at = now() + timedelta(days=30)
    benefit = {"type": "shipping"}
    body = {"id": unique("campaign"), "name": "Free delivery", "benefit": benefit}
    return {**body, "ends_at": ends_at.isoformat(), **overrides}


def made_codes(api: Api, count: int) -> list[dict[str, Any]]:
    """The codes of a new campaign."""
    body = campaign_body()
    api.post("/v1/coupons/campaigns", body, expect=201)
    path = f"/v1/coupons/campaigns/{body['id']}/codes"
    answer = api.post(path, {"batch": "a", "count": count}, expect=201)
    return [orjson.loads(line) for line in answer.data.splitlines()]


def redemption(code: str, turn: int = 0, **overrides: Any) -> dict[str, Any]:
    channel = CHANNELS[turn % len(CHANNELS)]
    return {"external_id": unique("use"), "code": code, "channel": channel, **overrides}


def test_sixteen_callers_with_one_coupon_have_one_winner(workers: list[Api], parts: Parts) -> None:
    codes = made_codes(workers[0], 8)
    for coupon in codes:
        spellings = (coupon["code"], coupon["short_code"])
        bodies = [redemption(spellings[turn // 8], turn) for turn in range(THREADS)]
        answers = race(
            [posting(workers[turn % 2], REDEMPTIONS, body) for turn, body in enumerate(bodies)]
        )
        assert Counter(each.status_code for each in answers) == {201: 1, 409: THREADS - 1}
        lost = {each.get_json()["code"] for each in answers if each.status_code == 409}
        assert lost == {"coupon_used"}
    assert parts.database["coupon_uses"].count_documents({}) == len(codes)


def test_callers_that_race_for_several_coupons_win_each_once(
    workers: list[Api], parts: Parts
) -> None:
    codes = [each["code"] for each in made_codes(workers[0], 4)]
    bodies = [redemption(code, turn) for turn in range(4) for code in codes]
    answers = race(
        [posting(workers[turn % 2], REDEMPTIONS, body) for turn, body in enumerate(bodies)]
    )
    won = [each.get_json()["serial"] for each in answers if each.status_code == 201]
    assert sorted(won) == [1, 2, 3, 4]
    assert parts.database["coupon_uses"].count_documents({}) == len(codes)


def test_one_report_sent_sixteen_times_has_one_effect_and_one_answer(workers: list[Api]) -> None:
    (coupon,) = made_codes(workers[0], 1)
    occurred_at = now().isoformat()
    body = redemption(coupon["code"], occurred_at=occurred_at)
    answers = race([posting(workers[turn % 2], REDEMPTIONS, body) for turn in range(THREADS)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1
    path = f"/v1/coupons/campaigns/{answers[0].get_json()['campaign']}/conflicts"
    assert workers[0].get(path, expect=200).get_json()["conflicts"] == []


def test_one_external_id_with_many_coupons_uses_one_of_them(
    workers: list[Api], parts: Parts
) -> None:
    codes = made_codes(workers[0], THREADS)
    bodies = [redemption(each["code"], external_id="R-1") for each in codes]
    answers = race([posting(workers[turn % 2], REDEMPTIONS, bodies[turn]) for turn in range(16)])
    assert Counter(each.status_code for each in answers) == {201: 1, 422: THREADS - 1}
    assert parts.database["coupon_uses"].count_documents({}) == 1


def test_sixteen_voids_give_one_coupon_back_once(workers: list[Api], parts: Parts) -> None:
    (coupon,) = made_codes(workers[0], 1)
    done = workers[0].post(REDEMPTIONS, redemption(coupon["code"]), expect=201).get_json()
    path = f"{REDEMPTIONS}/{done['id']}/void"
    answers = race([posting(workers[turn % 2], path, {}) for turn in range(THREADS)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1
    assert parts.database["coupon_uses"].count_documents({"kind": "void"}) == 1


def test_uses_and_voids_that_race_leave_moves_that_take_turns(
    workers: list[Api], parts: Parts
) -> None:
    (coupon,) = made_codes(workers[0], 1)
    done = workers[0].post(REDEMPTIONS, redemption(coupon["code"]), expect=201).get_json()
    void = posting(workers[1], f"{REDEMPTIONS}/{done['id']}/void", {})
    uses = [posting(workers[0], REDEMPTIONS, redemption(coupon["code"], turn)) for turn in range(8)]
    answers = race([*uses[:4], void, *uses[4:]])
    won = sum(each.status_code == 201 for each in answers) - 1
    assert won <= 1
    kinds = [each["kind"] for each in parts.database["coupon_uses"].find().sort("_id")]
    assert kinds == ["use", "void", "use"][: 2 + won]


def test_conflicts_that_come_together_are_all_noted(workers: list[Api]) -> None:
    (coupon,) = made_codes(workers[0], 1)
    taken_at = now().isoformat()
    bodies = [redemption(coupon["code"], turn, occurred_at=taken_at) for turn in range(THREADS)]
    calls = [posting(workers[turn % 2], REDEMPTIONS, body) for turn, body in enumerate(bodies)]
    answers = race(calls)
    (won,) = (each.get_json() for each in answers if each.status_code == 201)
    path = f"/v1/coupons/campaigns/{won['campaign']}/conflicts"
    noted = workers[0].get(path, expect=200).get_json()["conflicts"]
    assert len(noted) == THREADS - 1
    assert {each["first"]["redemption_id"] for each in noted} == {won["id"]}
    sent = {body["external_id"] for body in bodies}
    assert len({each["second"]["external_id"] for each in noted} & sent) == THREADS - 1


def test_batches_that_are_made_together_share_no_serial(workers: list[Api]) -> None:
    body = campaign_body()
    workers[0].post("/v1/coupons/campaigns", body, expect=201)
    path = f"/v1/coupons/campaigns/{body['id']}/codes"
    batches = [{"batch": f"b{turn // 2}", "count": 5} for turn in range(THREADS)]
    answers = race([posting(workers[turn % 2], path, batch) for turn, batch in enumerate(batches)])
    assert {each.status_code for each in answers} == {201}
    serials = {orjson.loads(line)["serial"] for each in answers for line in each.data.splitlines()}
    assert serials == set(range(1, 41))
    assert sum("Idempotent-Replay" in each.headers for each in answers) == 8


def test_campaigns_that_are_made_together_have_numbers_of_their_own(workers: list[Api]) -> None:
    bodies = [campaign_body() for _ in range(8)] * 2
    answers = race(
        [
            posting(workers[turn % 2], "/v1/coupons/campaigns", body)
            for turn, body in enumerate(bodies)
        ]
    )
    assert {each.status_code for each in answers} == {201}
    assert sorted({each.get_json()["number"] for each in answers}) == list(range(1, 9))
    assert sum("Idempotent-Replay" in each.headers for each in answers) == 8
