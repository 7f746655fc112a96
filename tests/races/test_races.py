"""Many at once: exactly one winner, nothing lost, nothing twice, no gap."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any, TypeVar

from loyalty.journal.late import facts_of
from loyalty.journal.store import RESTATING
from tests.builders import program_document, purchase_body
from tests.races.lives import is_sound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from werkzeug.test import TestResponse

    from app import Parts
    from tests.builders import Api

Result = TypeVar("Result")
ROUNDS = 30


def race(calls: Sequence[Callable[[], Result]]) -> list[Result]:
    """Run all calls at the same moment, a thread each, and give their results in order."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Result]) -> Result:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def posting(api: Api, path: str, body: Any, **more: Any) -> Callable[[], TestResponse]:
    """A call to make later, by a client of its own."""
    own = api.speaking_with(api.key)
    return lambda: own.post(path, body, **more)


def journal_of(parts: Parts, member: str) -> list[int]:
    """The points of a member's facts, after checking that they are a whole journal.

    The numbers have no gap, each balance follows from the one before, and the state is the fold of
    all facts in the order of their time.
    """
    entries = list(parts.journal.entries(member))
    is_sound(entries, facts_of(entries, parts.stores.programs))
    return [each.points for each in entries if each.kind not in RESTATING]


def test_fifty_with_one_key_have_one_effect_and_one_answer(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    body = purchase_body(member, 2000)
    answers = race([posting(shop, "/v1/purchases", body) for _ in range(50)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert sum("Idempotent-Replay" not in each.headers for each in answers) == 1
    assert journal_of(parts, member) == [20]


def test_fifty_enrolments_with_one_key_make_one_member(shop: Api, parts: Parts) -> None:
    body = {"identifiers": [{"type": "card", "value": "1"}]}
    key = {"Idempotency-Key": "once"}
    answers = race([posting(shop, "/v1/members", body, headers=key) for _ in range(50)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert parts.database["members"].count_documents({}) == 1


def test_one_receipt_claimed_for_many_members_is_awarded_to_one(shop: Api, parts: Parts) -> None:
    members = [shop.enrol() for _ in range(20)]
    body = purchase_body("", 2000)
    calls = [posting(shop, "/v1/purchases", {**body, "member": each}) for each in members]
    assert sorted(each.status_code for each in race(calls)) == [201] + [422] * 19
    assert sum(shop.balance(each) for each in members) == 20
    assert parts.database["journal"].count_documents({}) == 1


def test_two_who_claim_one_identifier_have_one_winner(shop: Api, parts: Parts) -> None:
    ada, bob = shop.enrol(), shop.enrol()
    for number in range(ROUNDS):
        card = {"type": "card", "value": f"c{number}"}
        calls = [posting(shop, f"/v1/members/{each}/identifiers", card) for each in (ada, bob)]
        calls += [posting(shop, "/v1/members", {"identifiers": [card]}) for _ in range(2)]
        answers = race(calls)
        won = [each for each in answers if each.status_code in {200, 201}]
        assert len(won) == 1, [each.status_code for each in answers]
        assert {each.status_code for each in answers} - {200, 201} == {409}
        found = shop.post("/v1/members/lookup", {"identifier": card}, expect=200).get_json()
        assert found["id"] == won[0].get_json()["id"]
    # Who lost an enrolment left no member behind.
    linked = {each["member"] for each in parts.database["identifiers"].find()}
    assert {each["_id"] for each in parts.database["members"].find()} <= linked | {ada, bob}


def test_an_unknown_card_at_twenty_tills_is_one_member(shop: Api, parts: Parts) -> None:
    calls = []
    for _ in range(20):
        body = purchase_body("", 100, identifier={"type": "card", "value": "new"})
        del body["member"]
        calls.append(posting(shop, "/v1/purchases", body))
    answers = race(calls)
    assert {each.status_code for each in answers} == {201}
    [member] = {each.get_json()["member_id"] for each in answers}
    assert parts.database["members"].count_documents({}) == 1
    assert journal_of(parts, member) == [1] * 20


def test_thirty_who_append_to_one_member_leave_no_gap(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    bodies = [purchase_body(member, 100 * number) for number in range(1, 31)]
    answers = race([posting(shop, "/v1/purchases", body) for body in bodies])
    assert {each.status_code for each in answers} == {201}
    assert sorted(each.get_json()["seq"] for each in answers) == list(range(1, 31))
    assert sorted(journal_of(parts, member)) == list(range(1, 31))
    assert shop.balance(member) == sum(range(1, 31))


def test_racing_debits_never_overdraw(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    shop.buy(member, 10_000)
    path = f"/v1/members/{member}/adjustments"
    calls = [
        posting(
            shop,
            path,
            {"external_id": str(number), "points": -30, "reason": "x", "actor": "y"},
        )
        for number in range(20)
    ]
    assert sorted(each.status_code for each in race(calls)) == [201] * 3 + [409] * 17
    assert shop.balance(member) == 10
    assert min(each.balance_after for each in parts.journal.entries(member)) >= 0


def test_concurrent_returns_never_exceed_the_purchase(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    lines = [{"sku": "milk", "quantity": 10, "amount": 1999}]
    shop.buy(member, external_id="R1", lines=lines)
    calls = [
        posting(
            shop,
            "/v1/returns",
            {
                "external_id": f"B{number}",
                "channel": "store",
                "store": "S1",
                "purchase": {"external_id": "R1"},
                "lines": [{"sku": "milk", "quantity": 3}],
            },
        )
        for number in range(12)
    ]
    assert sorted(each.status_code for each in race(calls)) == [201] * 3 + [409] * 9
    back = [each for each in parts.journal.entries(member) if each.kind == "return"]
    assert sum(each.activity["returned"][0]["quantity"] for each in back) == 9
    assert sum(each.activity["returned"][0]["amount"] for each in back) == 1999 * 9 // 10
    rest = {"external_id": "last", "channel": "store", "store": "S1"}
    shop.post("/v1/returns", {**rest, "purchase": {"external_id": "R1"}}, expect=201)
    assert shop.balance(member) == 0


def test_twins_of_a_request_that_leaves_nothing_for_a_second_get_its_answer(
    shop: Api, parts: Parts
) -> None:
    member = shop.enrol(("card", "1"))
    shop.buy(member, 1000, external_id="R1")
    taking = {"external_id": "1", "points": -10, "reason": "x", "actor": "y"}
    back = {"external_id": "1", "channel": "store", "store": "S1"}
    for path, body in (
        (f"/v1/members/{member}/adjustments", taking),
        ("/v1/returns", {**back, "purchase": {"external_id": "R1"}}),
    ):
        answers = race([posting(shop, path, body) for _ in range(16)])
        assert {each.status_code for each in answers} == {201}
        assert len({each.data for each in answers}) == 1
    assert [each.points for each in parts.journal.entries(member)] == [10, -10, -10]


def test_concurrent_decisions_are_all_on_record_without_a_gap(shop: Api) -> None:
    member = shop.enrol()
    path = f"/v1/members/{member}/consents"
    purposes = ("personalisation", "analytics", "staff_view", "social_engagement")

    def deciding(number: int) -> Callable[[], TestResponse]:
        own = shop.speaking_with(shop.key)
        decision = {"purpose": purposes[number % 4], "granted": True}
        return lambda: own.put(path, {"decisions": [decision]})

    answers = race([deciding(number) for number in range(24)])
    assert {each.status_code for each in answers} == {200}
    assert sorted(each.get_json()["seq"] for each in answers) == list(range(1, 25))
    shown = shop.get(path).get_json()["consents"]
    granted = {each["purpose"] for each in shown if each["granted"]}
    assert granted == set(purposes)


def test_concurrent_versions_are_numbered_without_a_gap(api: Api) -> None:
    programs = [{"program": program_document(name=f"Programme {number}")} for number in range(8)]
    answers = race([posting(api, "/v1/program/versions", each) for each in programs])
    assert {each.status_code for each in answers} == {201}
    assert sorted(each.get_json()["version"] for each in answers) == list(range(1, 9))
    versions = api.get("/v1/program/versions").get_json()["versions"]
    assert [each["version"] for each in versions] == list(range(8, 0, -1))
    starts = [each["starts_at"] for each in versions]
    assert starts == sorted(starts, reverse=True)


def test_one_version_published_twice_at_once_under_one_key_is_one(api: Api) -> None:
    body = {"program": program_document()}
    key = {"Idempotency-Key": "once"}
    answers = race([posting(api, "/v1/program/versions", body, headers=key) for _ in range(8)])
    assert {each.status_code for each in answers} == {201}
    assert len({each.data for each in answers}) == 1
    assert len(api.get("/v1/program/versions").get_json()["versions"]) == 1
