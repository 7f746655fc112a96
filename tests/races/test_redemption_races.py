"""Many who redeem at once: no point is spent twice, no piece is taken twice, one end for a hold."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.program.lots import balance_of
from tests.builders import Api, program_document, unique
from tests.races.test_races import posting, race

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

    from app import Parts

PAYMENT = {"points": 100, "amount": 100, "step": 10}
OFF: dict[str, Any] = {
    "id": "off",
    "name": "1 EUR off",
    "type": "amount_off",
    "price": 60,
    "value": {"amount": 100},
}
ROUNDS = 12


@pytest.fixture
def store(api: Api) -> Api:
    """A shop with a reward and points as payment."""
    document = program_document(points_payment=PAYMENT)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    put(api, OFF)
    return api


def put(api: Api, reward: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    api.call("PUT", "/v1/rewards", data=json.dumps(reward), headers=headers, expect=200)


def rich(api: Api, points: int) -> str:
    """A new member with so many points."""
    member = api.enrol()
    api.buy(member, points * 100)
    return member


def order(member: str, **overrides: Any) -> dict[str, Any]:
    body = {"external_id": unique("order"), "channel": "web", "member": member}
    if "payment" not in overrides:
        body["reward"] = "off"
    return {**body, **overrides}


def paying(points: int) -> dict[str, Any]:
    return {"points": points, "basket_amount": 100_000}


def redeeming(api: Api, body: dict[str, Any]) -> Callable[[], TestResponse]:
    return posting(api, "/v1/redemptions", body)


def resolving(api: Api, held: Any, verb: str, **body: Any) -> Callable[[], TestResponse]:
    return posting(api, f"/v1/redemptions/{held['redemption_id']}/{verb}", body)


def outcomes(answers: list[TestResponse]) -> Counter[str]:
    """How often each status, or the code of each refusal."""
    return Counter(each.get_json().get("code") or each.get_json()["status"] for each in answers)


def is_sound(parts: Parts, *members: str) -> None:
    """No journal has a gap, and none ever had less than nothing."""
    for member in members:
        entries = list(parts.journal.entries(member))
        assert [each.seq for each in entries] == list(range(1, len(entries) + 1))
        for each in entries:
            assert all(balance_of(lots) >= 0 for lots in each.state.lots.values())


def test_thirty_redemptions_of_60_against_100_have_one_winner(store: Api, parts: Parts) -> None:
    member = rich(store, 100)
    answers = race([redeeming(store, order(member)) for _ in range(30)])
    assert outcomes(answers) == {"held": 1, "insufficient_points": 29}
    assert store.balance(member) == 40
    is_sound(parts, member)


def test_thirty_with_one_order_have_one_effect_and_one_answer(store: Api, parts: Parts) -> None:
    member = rich(store, 100)
    for is_captured in (False, True):
        body = order(member, payment=paying(40), capture=is_captured)
        answers = race([redeeming(store, body) for _ in range(30)])
        assert {each.status_code for each in answers} == {201}
        assert len({each.data for each in answers}) == 1
        assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1
    assert store.balance(member) == 20
    is_sound(parts, member)


def test_capture_and_release_at_the_same_moment_have_one_winner(store: Api, parts: Parts) -> None:
    member = rich(store, 60)
    for _ in range(ROUNDS):
        held = store.post("/v1/redemptions", order(member), expect=201).get_json()
        verbs = ["capture", "release"] * 8
        answers = race([resolving(store, held, verb) for verb in verbs])
        shown = store.get(f"/v1/redemptions/{held['redemption_id']}").get_json()
        assert shown["status"] in {"captured", "released"}
        assert outcomes(answers) == {shown["status"]: 8, "hold_resolved": 8}
        won = [each for each in answers if each.status_code == 200]
        assert len({each.data for each in won}) == 1
        assert sum("Idempotent-Replay" not in each.headers for each in won) == 1
        if shown["status"] == "captured":
            assert store.balance(member) == 0
            undoing = race([resolving(store, held, "undo") for _ in range(8)])
            assert outcomes(undoing) == {"undone": 8}
        assert store.balance(member) == 60
    is_sound(parts, member)


def test_captures_of_different_parts_have_one_winner(store: Api, parts: Parts) -> None:
    member = rich(store, 100)
    body = order(member, payment=paying(100))
    held = store.post("/v1/redemptions", body, expect=201).get_json()
    parts_of_it = range(10, 110, 10)
    answers = race([resolving(store, held, "capture", points=each) for each in parts_of_it])
    assert outcomes(answers) == {"captured": 1, "hold_resolved": 9}
    [won] = [each.get_json() for each in answers if each.status_code == 200]
    assert store.balance(member) == 100 - won["captured"]
    is_sound(parts, member)


def test_a_stock_of_five_and_twenty_takers(store: Api, parts: Parts) -> None:
    put(store, {**OFF, "stock": 5})
    members = [rich(store, 60) for _ in range(20)]
    answers = race([redeeming(store, order(member)) for member in members])
    assert outcomes(answers) == {"held": 5, "out_of_stock": 15}
    assert sorted(map(store.balance, members)) == [0] * 5 + [60] * 15
    held = [each.get_json() for each in answers if each.status_code == 201]
    assert parts.database["reward_takings"].count_documents({}) == 5
    # All come back at once, each twice, while others wait for a piece.
    verbs = [resolving(store, each, "release") for each in held] * 2
    assert outcomes(race(verbs)) == {"released": 10}
    assert store.get("/v1/rewards/off").get_json()["left"] == 5
    answers = race([redeeming(store, order(member, capture=True)) for member in members])
    assert outcomes(answers) == {"captured": 5, "out_of_stock": 15}
    is_sound(parts, *members)


def test_one_member_cannot_take_more_at_once_than_one_after_the_other(
    store: Api, parts: Parts
) -> None:
    put(store, {**OFF, "price": 10, "per_member": {"month": 3}})
    member = rich(store, 1000)
    answers = race([redeeming(store, order(member)) for _ in range(16)])
    assert outcomes(answers) == {"held": 3, "reward_limit_reached": 13}
    assert store.balance(member) == 970
    is_sound(parts, member)


def household(api: Api, *points: int) -> list[str]:
    """The members of a household that spends together."""
    members = [rich(api, each) for each in points]
    made = api.post("/v1/households", {}, expect=201).get_json()["id"]
    for each in members:
        api.call("PUT", f"/v1/households/{made}/members/{each}", expect=200)
        api.consent(each, "household_pooling")
    return members


def test_twins_of_an_order_of_a_household_have_one_effect(store: Api, parts: Parts) -> None:
    members = household(store, 50, 50, 50)
    body = order(members[2], payment=paying(100), from_household=True)
    answers = race([redeeming(store, body) for _ in range(16)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert sum(map(store.balance, members)) == 50
    is_sound(parts, *members)


def test_a_household_finds_the_points_that_others_left(store: Api, parts: Parts) -> None:
    ada, bob, cem = members = household(store, 100, 100, 100)
    pooled = order(ada, payment=paying(120), from_household=True)
    own = [order(each, payment=paying(90)) for each in (bob, cem)]
    answers = race([redeeming(store, body) for body in (pooled, *own)])
    # Whoever comes first: what the others leave is always enough for the household's order.
    assert answers[0].status_code == 201
    held = [each.get_json()["points"] for each in answers if each.status_code == 201]
    assert sum(map(store.balance, members)) == 300 - sum(held)
    is_sound(parts, *members)


def test_a_household_never_spends_a_point_twice(store: Api, parts: Parts) -> None:
    members = household(store, 50, 50, 50)
    bodies = [
        order(members[number % 3], payment=paying(40), from_household=True) for number in range(12)
    ]
    answers = race([redeeming(store, body) for body in bodies])
    assert outcomes(answers) == {"held": 3, "insufficient_points": 9}
    assert sum(map(store.balance, members)) == 30
    held = [each.get_json() for each in answers if each.status_code == 201]
    for each in held:
        assert sum(giver["points"] for giver in each["from_members"]) == 40
    calls = [resolving(store, each, verb) for each in held for verb in ("capture", "release")]
    ended = outcomes(race(calls))
    assert ended["captured"] + ended["released"] == ended["hold_resolved"] == 3
    assert sum(map(store.balance, members)) == 30 + 40 * ended["released"]
    is_sound(parts, *members)
