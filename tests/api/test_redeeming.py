"""Redeeming: what may be taken, held, captured, released, undone; each refusal by its name."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.kit.clock import now
from loyalty.program.step import HOLDS_MAX
from loyalty.rewards import views
from tests.builders import Api, dump, mint_key, program_document, unique

if TYPE_CHECKING:
    from app import Parts

NOBODY = "m_" + "0" * 32
POOLING = "household_pooling"
OFF: dict[str, Any] = {
    "id": "off",
    "name": "1 EUR off",
    "type": "amount_off",
    "price": 60,
    "value": {"amount": 100},
}
# 100 points pay 1 EUR, at most half of a basket.
PAYMENT = {"points": 100, "amount": 100, "step": 10, "share_max": "0.5"}
TIERS = {
    "measure": "spend",
    "period": "lifetime",
    "ladder": [
        {"id": "tin", "name": "Tin", "threshold": 0},
        {"id": "gold", "name": "Gold", "threshold": 100_000},
    ],
}


@pytest.fixture
def store(api: Api) -> Api:
    """A shop with a reward, points as payment, and tiers."""
    document = program_document(points_payment=PAYMENT, tiers=TIERS)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    put(api, OFF)
    return api


@pytest.fixture
def ada(store: Api) -> str:
    """A member who earned 100 points."""
    return rich(store)


def rich(api: Api, points: int = 100) -> str:
    """A new member with so many points."""
    member = api.enrol()
    api.buy(member, points * 100)
    return member


def put(api: Api, *rewards: dict[str, Any], expect: int = 200) -> Any:
    """Put rewards into the catalogue."""
    data = "\n".join(json.dumps(each) for each in rewards)
    headers = {"Content-Type": "application/x-ndjson"}
    return api.call("PUT", "/v1/rewards", data=data, headers=headers, expect=expect).get_json()


def order(member: str, **overrides: Any) -> dict[str, Any]:
    """The body of `POST /redemptions`."""
    body = {
        "external_id": unique("order"),
        "channel": "store",
        "store": "S1",
        "member": member,
        "reward": "off",
        **overrides,
    }
    if "payment" in overrides:
        del body["reward"]
    return body


def paying(points: int, basket: int = 100_000) -> dict[str, Any]:
    """Points that pay a part of a basket."""
    return {"payment": {"points": points, "basket_amount": basket}}


def redeem(api: Api, member: str, *, expect: int = 201, **overrides: Any) -> Any:
    """Hold."""
    return api.post("/v1/redemptions", order(member, **overrides), expect=expect).get_json()


def act(api: Api, held: Any, verb: str, *, expect: int = 200, **body: Any) -> Any:
    """Capture, release or undo."""
    path = f"/v1/redemptions/{held['redemption_id']}/{verb}"
    return api.post(path, body, expect=expect).get_json()


def shown(api: Api, held: Any) -> Any:
    """The redemption as it is now."""
    return api.get(f"/v1/redemptions/{held['redemption_id']}", expect=200).get_json()


def offered(api: Api, **query: str) -> dict[str, str | None]:
    """The listed rewards with the reason against each."""
    found = api.get("/v1/rewards", query_string=query, expect=200).get_json()["rewards"]
    return {each["id"]: each["reason"] for each in found}


def later(monkeypatch: pytest.MonkeyPatch, **delta: int) -> None:
    """Let time pass for what this noun answers."""
    monkeypatch.setattr(views, "now", lambda: now() + timedelta(**delta))


def test_a_reward_is_held_and_captured(store: Api, ada: str) -> None:
    held = redeem(store, ada)
    assert held["status"] == "held"
    assert held["reward"] == {"id": "off", "name": "1 EUR off", "type": "amount_off"}
    assert held["value"] == {"amount": 100, "currency": "EUR"}
    assert (held["points"], held["captured"], held["balance"]) == (60, 0, 40)
    assert held["from_members"] == [{"member_id": ada, "points": 60}]
    assert store.balance(ada) == 40
    assert shown(store, held) == held
    done = act(store, held, "capture")
    assert done == {**held, "status": "captured", "captured": 60}
    assert shown(store, held) == done
    assert store.balance(ada) == 40


def test_a_reward_is_held_and_released(store: Api, ada: str) -> None:
    held = redeem(store, ada)
    done = act(store, held, "release")
    assert done == {**held, "status": "released", "balance": 100}
    assert shown(store, held) == done
    assert store.balance(ada) == 100


def test_a_reward_is_taken_at_once(store: Api, ada: str, parts: Parts) -> None:
    body = order(ada, capture=True)
    first = store.post("/v1/redemptions", body, expect=201)
    done = first.get_json()
    assert (done["status"], done["captured"], done["balance"]) == ("captured", 60, 40)
    again = store.post("/v1/redemptions", body, expect=201)
    assert (again.data, again.headers["Idempotent-Replay"]) == (first.data, "true")
    assert "Idempotent-Replay" not in first.headers
    kinds = [each.kind for each in parts.journal.entries(ada)]
    assert kinds == ["purchase", "hold", "capture"]


def test_earned_100_captured_70_hold_50_is_refused(store: Api, ada: str) -> None:
    redeem(store, ada, **paying(70), capture=True)
    problem = redeem(store, ada, **paying(50), expect=409)
    assert problem["code"] == "insufficient_points"
    assert store.balance(ada) == 30
    redeem(store, ada, **paying(30))


def test_a_hold_counts_at_once(store: Api, ada: str) -> None:
    redeem(store, ada)
    assert redeem(store, ada, expect=409)["code"] == "insufficient_points"


def test_a_member_has_so_many_open_holds_and_no_more(store: Api) -> None:
    member = rich(store, 300)
    held = [redeem(store, member, **paying(10)) for _ in range(HOLDS_MAX)]
    assert redeem(store, member, **paying(10), expect=409)["code"] == "too_many_holds"
    act(store, held[0], "capture")
    redeem(store, member, **paying(10))


def test_a_retry_has_the_same_answer_whatever_became_of_it(store: Api, ada: str) -> None:
    body = order(ada)
    first = store.post("/v1/redemptions", body, expect=201)
    act(store, first.get_json(), "capture")
    put(store, {**OFF, "price": 1, "channels": ["web"]})
    again = store.post("/v1/redemptions", body, expect=201)
    assert (again.data, again.headers["Idempotent-Replay"]) == (first.data, "true")
    other = store.post("/v1/redemptions", {**body, "expires_in_seconds": 60}, expect=422)
    assert other.get_json()["code"] == "key_reused"
    assert store.balance(ada) == 40


@pytest.mark.parametrize("verb", ["capture", "release"])
def test_a_hold_is_resolved_once_and_a_retry_is_a_replay(store: Api, ada: str, verb: str) -> None:
    held = redeem(store, ada)
    path = f"/v1/redemptions/{held['redemption_id']}/{verb}"
    first = store.post(path, {}, expect=200)
    again = store.post(path, {}, expect=200)
    assert (again.data, again.headers["Idempotent-Replay"]) == (first.data, "true")
    other = "release" if verb == "capture" else "capture"
    assert act(store, held, other, expect=409)["code"] == "hold_resolved"
    assert shown(store, held) == first.get_json()


def test_a_hold_expires_by_itself(store: Api, ada: str, monkeypatch: pytest.MonkeyPatch) -> None:
    held = redeem(store, ada, expires_in_seconds=60)
    later(monkeypatch, seconds=59)
    assert shown(store, held)["status"] == "held"
    assert redeem(store, ada, expect=409)["code"] == "insufficient_points"
    later(monkeypatch, seconds=61)
    assert shown(store, held)["status"] == "expired"
    for verb in ("capture", "release"):
        assert act(store, held, verb, expect=409)["code"] == "hold_expired"
    assert act(store, held, "undo", expect=409)["code"] == "not_captured"
    assert redeem(store, ada)["balance"] == 40


def test_a_till_whose_clock_runs_ahead_expires_no_hold(store: Api) -> None:
    for is_captured in (False, True):
        member = store.enrol()
        ahead = (now() + timedelta(minutes=4)).isoformat()
        store.buy(member, 10_000, occurred_at=ahead)
        held = redeem(store, member, expires_in_seconds=30, capture=is_captured)
        assert act(store, held, "capture")["status"] == "captured"
        assert act(store, held, "undo")["balance"] == 100


def test_a_captured_hold_does_not_expire(
    store: Api, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = redeem(store, ada, expires_in_seconds=60)
    done = act(store, held, "capture")
    later(monkeypatch, days=1)
    assert shown(store, held) == done
    assert redeem(store, ada, expect=409)["code"] == "insufficient_points"


def test_a_part_of_a_payment_is_captured_and_the_rest_goes_back(store: Api, ada: str) -> None:
    held = redeem(store, ada, **paying(80))
    assert (held["reward"], held["value"]) == (None, {"amount": 80, "currency": "EUR"})
    done = act(store, held, "capture", points=30)
    assert (done["status"], done["captured"], done["balance"]) == ("captured", 30, 70)
    assert done["value"] == {"amount": 30, "currency": "EUR"}
    assert act(store, held, "capture", points=30) == done
    assert act(store, held, "capture", points=40, expect=409)["code"] == "hold_resolved"
    assert act(store, held, "capture", expect=409)["code"] == "hold_resolved"


@pytest.mark.parametrize(
    ("held_for", "points", "code"),
    [
        (paying(80), 90, "capture_exceeds_hold"),
        (paying(80), 15, "payment_step"),
        ({}, 30, "reward_indivisible"),
    ],
)
def test_a_part_that_cannot_be_captured(
    store: Api, ada: str, held_for: dict[str, Any], points: int, code: str
) -> None:
    held = redeem(store, ada, **held_for)
    problem = act(store, held, "capture", points=points, expect=409)
    assert (problem["code"], problem["errors"][0]["field"]) == (code, "points")
    assert shown(store, held) == held


def test_what_was_captured_is_undone_to_the_lots_it_came_from(api: Api) -> None:
    document = program_document(expires_after_months=1, points_payment=PAYMENT)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    member = api.enrol()
    for days in (20, 10):
        at = (now() - timedelta(days=days)).isoformat()
        api.buy(member, 5000, occurred_at=at)
    path = f"/v1/members/{member}/points"
    before = api.get(path, expect=200).get_json()["lots"]
    assert [each["points"] for each in before] == [50, 50]
    held = redeem(api, member, **paying(60))
    done = act(api, held, "capture")
    left = api.get(path, expect=200).get_json()["lots"]
    assert left == [{**before[1], "points": 40}]
    undone = act(api, held, "undo")
    assert undone == {**done, "status": "undone", "captured": 0, "balance": 100}
    assert api.get(path, expect=200).get_json()["lots"] == before
    assert act(api, held, "undo") == undone
    assert shown(api, held) == undone
    assert act(api, held, "capture", points=60) == done


def test_what_has_expired_in_the_meantime_does_not_come_back(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = program_document(expires_after_months=1, points_payment=PAYMENT)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    member = rich(api)
    held = redeem(api, member, **paying(60))
    act(api, held, "capture")
    later(monkeypatch, days=40)
    assert act(api, held, "undo")["balance"] == 0


@pytest.mark.parametrize("verbs", [[], ["release"]])
def test_only_what_was_captured_is_undone(store: Api, ada: str, verbs: list[str]) -> None:
    held = redeem(store, ada)
    for verb in verbs:
        act(store, held, verb)
    assert act(store, held, "undo", expect=409)["code"] == "not_captured"


def test_a_stock_runs_out_and_fills_up_again(store: Api, ada: str) -> None:
    put(store, {**OFF, "stock": 1})
    bob = rich(store)
    held = redeem(store, ada)
    assert offered(store) == {}
    assert offered(store, all="true") == {"off": "out_of_stock"}
    problem = redeem(store, bob, expect=409)
    assert (problem["code"], problem["errors"][0]["field"]) == ("out_of_stock", "reward")
    assert store.balance(bob) == 100
    act(store, held, "release")
    held = redeem(store, bob)
    act(store, held, "capture")
    assert redeem(store, ada, expect=409)["code"] == "out_of_stock"
    act(store, held, "undo")
    act(store, held, "undo")
    reward = store.get("/v1/rewards/off", expect=200).get_json()
    assert (reward["left"], reward["reason"]) == (1, None)
    redeem(store, ada, capture=True)
    assert redeem(store, bob, expect=409)["code"] == "out_of_stock"


def test_an_expired_hold_gives_its_piece_back(
    store: Api, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, {**OFF, "stock": 1, "per_member": {"lifetime": 1}})
    redeem(store, ada, expires_in_seconds=60)
    later(monkeypatch, seconds=61)
    assert offered(store, member=ada) == {"off": None}
    redeem(store, ada)


def test_one_member_takes_it_only_so_often(store: Api, ada: str) -> None:
    put(store, {**OFF, "price": 10, "per_member": {"lifetime": 2}})
    for _ in range(2):
        held = redeem(store, ada, capture=True)
    assert offered(store, member=ada) == {}
    assert offered(store, member=ada, all="true") == {"off": "limit_reached"}
    problem = redeem(store, ada, expect=409)
    assert (problem["code"], problem["errors"][0]["field"]) == ("reward_limit_reached", "reward")
    redeem(store, rich(store))
    act(store, held, "undo")
    assert redeem(store, ada)["balance"] == 80


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"channels": ["web"]}, ("reward_not_offered", "other_channel", "channel")),
        ({"stores": ["S2"]}, ("reward_not_offered", "other_store", "store")),
        ({"starts_at": "2199-01-01T00:00:00Z"}, ("reward_not_offered", "not_started", "reward")),
        ({"ends_at": "2020-01-01T00:00:00Z"}, ("reward_not_offered", "ended", "reward")),
        ({"tiers": ["gold"]}, ("tier_needed", "tier_needed", "reward")),
        ({"stock": 0}, ("out_of_stock", "out_of_stock", "reward")),
    ],
)
def test_a_reward_that_is_not_for_this_member_here_and_now(
    store: Api, parts: Parts, limits: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    code, reason, field = expected
    ada = rich(store)
    put(store, {**OFF, **limits})
    where = {"channel": "store", "store": "S1", "member": ada}
    assert offered(store, **where) == {}
    assert offered(store, **where, all="true") == {"off": reason}
    before = dump(parts.database)
    problem = redeem(store, ada, expect=409)
    assert (problem["code"], problem["errors"][0]["field"]) == (code, field)
    assert dump(parts.database) == before


def test_a_reward_of_some_stores_is_not_for_the_web(store: Api, ada: str) -> None:
    put(store, {**OFF, "stores": ["S1"]})
    body = order(ada, channel="web")
    del body["store"]
    problem = store.post("/v1/redemptions", body, expect=409).get_json()
    assert problem["code"] == "reward_not_offered"


def test_a_reward_of_a_tier_is_for_who_is_in_it(store: Api, ada: str) -> None:
    put(store, {**OFF, "tiers": ["gold"]})
    store.buy(ada, 100_000)
    assert offered(store, member=ada) == {"off": None}
    redeem(store, ada)


def test_points_that_wait_are_not_spent_yet(api: Api) -> None:
    document = program_document(units={"points": {"pending": {"days": 7}}})
    api.post("/v1/program/versions", {"program": document}, expect=201)
    put(api, OFF)
    member = rich(api)
    assert redeem(api, member, expect=409)["code"] == "insufficient_points"
    assert offered(api, member=member, all="true") == {"off": "insufficient_points"}


def test_a_unit_is_spent_where_the_programme_says(api: Api) -> None:
    units = {"points": {"channels": ["app"]}}
    api.post("/v1/program/versions", {"program": program_document(units=units)}, expect=201)
    put(api, OFF)
    member = rich(api)
    problem = redeem(api, member, expect=409)
    assert (problem["code"], problem["errors"][0]["field"]) == ("unit_not_spendable", "channel")
    redeem(api, member, channel="app")


def test_a_reward_is_paid_in_its_own_unit(api: Api) -> None:
    stars = {"id": "stars", "type": "spend", "points": 2, "per_amount": 100, "unit": "stars"}
    document = program_document(stars, units={"stars": {}})
    api.post("/v1/program/versions", {"program": document}, expect=201)
    put(api, {**OFF, "unit": "stars"})
    member = rich(api)
    held = redeem(api, member)
    assert (held["unit"], held["balance"]) == ("stars", 140)
    assert act(api, held, "capture")["balance"] == 140
    assert act(api, held, "undo")["balance"] == 200


def test_a_quote_is_what_will_be_accepted(store: Api, ada: str) -> None:
    ask = {"member": ada, "basket_amount": 155}
    quoted = store.post("/v1/redemptions/quote", ask, expect=200).get_json()
    del quoted["as_of"]
    assert quoted == {
        "points_max": 70,
        "amount_max": 70,
        "unit": "points",
        "step": 10,
        "currency": "EUR",
        "available": 100,
    }
    problem = redeem(store, ada, **paying(80, 155), expect=409)
    assert (problem["code"], problem["errors"][0]["field"]) == (
        "payment_exceeds_share",
        "payment.points",
    )
    assert redeem(store, ada, **paying(75, 155), expect=409)["code"] == "payment_step"
    redeem(store, ada, **paying(70, 155))
    quoted = store.post("/v1/redemptions/quote", ask, expect=200).get_json()
    assert (quoted["available"], quoted["points_max"]) == (30, 30)


def test_a_programme_may_take_no_points_as_payment(shop: Api) -> None:
    member = rich(shop)
    problem = redeem(shop, member, **paying(10), expect=409)
    assert problem["code"] == "no_points_payment"
    ask = {"member": member, "basket_amount": 100}
    shop.post("/v1/redemptions/quote", ask, expect=409)


def test_what_is_paid_with_points_earns_none(store: Api, ada: str) -> None:
    redeem(store, ada, **paying(100), capture=True)
    assert store.buy(ada, 1000, payment={"points_amount": 100})["points"] == 9


def test_nothing_and_nobody_there(store: Api, ada: str) -> None:
    assert redeem(store, NOBODY, expect=404)["code"] == "member_not_found"
    assert redeem(store, ada, reward="none", expect=404)["code"] == "reward_not_found"
    stranger = order("", identifier={"type": "card", "value": "4711"})
    del stranger["member"]
    problem = store.post("/v1/redemptions", stranger, expect=404).get_json()
    assert problem["code"] == "member_not_found"
    assert store.get("/v1/rewards/none", expect=404).get_json()["code"] == "reward_not_found"
    assert store.get("/v1/rewards", query_string={"member": NOBODY}, expect=404)
    ask = {"member": NOBODY, "basket_amount": 100}
    store.post("/v1/redemptions/quote", ask, expect=404)
    purchase = {"redemption_id": store.buy(ada)["entry_id"]}
    for missing in ({"redemption_id": "0" * 24}, purchase):
        for verb in ("capture", "release", "undo"):
            assert act(store, missing, verb, expect=404)["code"] == "redemption_not_found"
        store.get(f"/v1/redemptions/{missing['redemption_id']}", expect=404)
    assert redeem(store, ada, channel="moon", expect=409)["code"] == "unknown_channel"


def test_a_member_is_named_by_identifier_too(store: Api) -> None:
    member = store.enrol(("card", "4711"))
    store.buy(member, 10_000)
    body = order("", identifier={"type": "card", "value": "4711"})
    del body["member"]
    held = store.post("/v1/redemptions", body, expect=201)
    assert held.get_json()["member_id"] == member
    again = store.post("/v1/redemptions", body, expect=201)
    assert again.headers["Idempotent-Replay"] == "true"


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"payment": {"points": 1, "basket_amount": 1}, "reward": "off"}, "reward"),
        ({"identifier": {"type": "card", "value": "1"}}, "member"),
        ({"expires_in_seconds": 30 * 24 * 3600 + 1}, "expires_in_seconds"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"payment": {"points": 0, "basket_amount": 1}}, "payment.points"),
        ({"capture": "yes"}, "capture"),
        ({"reward": "a/b"}, "reward"),
        ({"points": 5}, "points"),
    ],
)
def test_an_order_with_a_mistake(store: Api, overrides: dict[str, Any], field: str) -> None:
    body = {**order(NOBODY, **overrides), **overrides}
    problem = store.post("/v1/redemptions", body, expect=422).get_json()
    assert problem["errors"][0]["field"] == field


def test_a_bound_key_redeems_for_its_own_store(store: Api, ada: str, parts: Parts) -> None:
    till = store.speaking_with(mint_key(parts, "redemptions:write", store="S1"))
    body = order(ada)
    del body["store"]
    held = till.post("/v1/redemptions", body, expect=201).get_json()
    assert redeem(till, ada, store="S2", expect=403)["code"] == "bound_key"
    other = store.speaking_with(mint_key(parts, "redemptions:write", store="S2"))
    for verb in ("capture", "release"):
        assert act(other, held, verb, expect=403)["code"] == "bound_key"
    act(till, held, "capture")
    assert act(other, held, "undo", expect=403)["code"] == "bound_key"


def test_what_is_held_on_the_web_is_handed_over_in_a_store(
    store: Api, ada: str, parts: Parts
) -> None:
    body = order(ada, channel="web")
    del body["store"]
    held = store.post("/v1/redemptions", body, expect=201).get_json()
    till = store.speaking_with(mint_key(parts, "redemptions:write", channel="store", store="S1"))
    assert act(till, held, "capture", expect=403)["code"] == "bound_key"
    assert act(store, held, "capture", channel="moon", expect=409)["code"] == "unknown_channel"
    act(till, held, "capture", channel="store", store="S1")
    last = list(parts.journal.entries(ada))[-1]
    assert (last.kind, last.channel, last.store) == ("capture", "store", "S1")


def test_each_scope_opens_its_own_door(store: Api, ada: str, parts: Parts) -> None:
    reader = store.speaking_with(mint_key(parts, "rewards:read"))
    redeem(reader, ada, expect=403)
    put(reader, OFF, expect=403)
    assert offered(reader) == {"off": None}
    redeemer = store.speaking_with(mint_key(parts, "redemptions:write"))
    held = redeem(redeemer, ada)
    assert shown(reader, held) == held
    put(redeemer, OFF, expect=403)


def test_a_members_token_opens_the_members_own_rewards(store: Api, ada: str) -> None:
    bob = rich(store, 10)
    text = store.post(f"/v1/members/{ada}/token", {}, expect=201).get_json()["token"]
    browser = store.speaking_with(text)
    assert offered(browser) == offered(browser, member=ada) == {"off": None}
    refused = browser.get("/v1/rewards", query_string={"member": bob}, expect=403)
    assert refused.get_json()["code"] == "not_your_member"
    held = redeem(store, ada)
    assert shown(browser, held) == held
    redeem(browser, ada, expect=403)
    others = redeem(store, bob, **paying(10))
    browser.get(f"/v1/redemptions/{others['redemption_id']}", expect=404)


def test_the_catalogue_is_listed_page_by_page(store: Api) -> None:
    put(store, *({**OFF, "id": f"r{number}"} for number in range(5)))
    put(store, {**OFF, "id": "r2", "ends_at": "2020-01-01T00:00:00Z"})
    ids, query = [], {"limit": "2"}
    for _ in range(9):
        page = store.get("/v1/rewards", query_string=query, expect=200).get_json()
        ids += [each["id"] for each in page["rewards"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert ids == ["off", "r0", "r1", "r3", "r4"]
    wrong = store.get("/v1/rewards", query_string={"cursor": "!"}, expect=404).get_json()
    assert wrong["code"] == "unknown_cursor"


def test_a_catalogue_with_a_mistake_is_not_written_at_all(store: Api, parts: Parts) -> None:
    before = dump(parts.database)
    problem = put(store, {**OFF, "id": "fine"}, {**OFF, "price": 0}, expect=422)
    assert (problem["code"], problem["errors"][0]["field"]) == ("invalid_lines", "2.price")
    assert dump(parts.database) == before


def household(api: Api, *members: str) -> str:
    """A household whose members let it spend their points."""
    made: str = api.post("/v1/households", {}, expect=201).get_json()["id"]
    for each in members:
        api.call("PUT", f"/v1/households/{made}/members/{each}", expect=200)
        api.consent(each, POOLING)
    return made


def test_a_household_pays_with_the_points_that_expire_first(api: Api) -> None:
    document = program_document(expires_after_months=2, points_payment=PAYMENT)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    ada, bob, cem = (api.enrol() for _ in range(3))
    for member, days in ((ada, 1), (bob, 30), (cem, 10)):
        api.buy(member, 5000, occurred_at=(now() - timedelta(days=days)).isoformat())
    household(api, ada, bob, cem)
    held = redeem(api, ada, **paying(110), from_household=True)
    given = {each["member_id"]: each["points"] for each in held["from_members"]}
    assert given == {ada: 10, bob: 50, cem: 50}
    assert held["balance"] == 40
    balances = [api.balance(each) for each in (ada, bob, cem)]
    assert balances == [40, 0, 0]
    done = act(api, held, "capture", points=70)
    assert (done["captured"], done["balance"]) == (70, 50)
    assert [api.balance(each) for each in (ada, bob, cem)] == [50, 0, 30]
    assert act(api, held, "capture", points=70) == done
    assert act(api, held, "release", expect=409)["code"] == "hold_resolved"
    assert act(api, held, "undo")["balance"] == 50
    assert [api.balance(each) for each in (ada, bob, cem)] == [50, 50, 50]
    assert shown(api, held)["status"] == "undone"


def test_a_hold_on_a_household_is_released_as_a_whole(store: Api, ada: str) -> None:
    bob = rich(store, 50)
    nil = store.enrol()
    household(store, nil, ada, bob)
    body = order(nil, **paying(150), from_household=True)
    first = store.post("/v1/redemptions", body, expect=201)
    held = first.get_json()
    assert {each["member_id"] for each in held["from_members"]} == {ada, bob}
    again = store.post("/v1/redemptions", body, expect=201)
    assert (again.data, again.headers["Idempotent-Replay"]) == (first.data, "true")
    assert (store.balance(ada), store.balance(bob)) == (0, 0)
    assert redeem(store, ada, **paying(10), expect=409)["code"] == "insufficient_points"
    assert act(store, held, "release")["status"] == "released"
    assert (store.balance(ada), store.balance(bob), store.balance(nil)) == (100, 50, 0)


def test_a_household_takes_a_reward_at_once(store: Api, ada: str) -> None:
    put(store, {**OFF, "price": 120, "stock": 1})
    bob = rich(store, 50)
    household(store, ada, bob)
    ask = {"member": ada, "basket_amount": 100_000}
    for is_pooled, there in ((False, 100), (True, 150)):
        quoted = store.post(
            "/v1/redemptions/quote", {**ask, "from_household": is_pooled}, expect=200
        )
        assert quoted.get_json()["available"] == there
    assert redeem(store, ada, expect=409)["code"] == "insufficient_points"
    done = redeem(store, ada, from_household=True, capture=True)
    assert (done["status"], done["captured"]) == ("captured", 120)
    assert store.balance(ada) + store.balance(bob) == 30
    act(store, done, "undo")
    assert (store.balance(ada), store.balance(bob)) == (100, 50)
    assert store.get("/v1/rewards/off", expect=200).get_json()["left"] == 1


def test_only_who_agrees_gives_to_the_household_and_takes_from_it(store: Api, ada: str) -> None:
    bob, cem = rich(store), rich(store)
    assert redeem(store, ada, from_household=True, expect=404)["code"] == "not_in_household"
    household(store, ada, bob, cem)
    store.consent(bob, POOLING, granted=False)
    problem = redeem(store, ada, **paying(210), from_household=True, expect=409)
    assert problem["code"] == "insufficient_points"
    assert redeem(store, bob, from_household=True, expect=403)["code"] == "consent_required"
    held = redeem(store, ada, **paying(200), from_household=True)
    # What is held stays held, whoever withdraws then; so does its answer.
    store.consent(cem, POOLING, granted=False)
    assert act(store, held, "capture")["captured"] == 200
    assert store.balance(bob) == 100


def test_the_part_of_another_member_is_no_redemption_of_its_own(
    store: Api, ada: str, parts: Parts
) -> None:
    bob = rich(store)
    household(store, ada, bob)
    redeem(store, ada, **paying(200), from_household=True)
    part = list(parts.journal.entries(bob))[-1]
    assert part.kind == "hold"
    store.get(f"/v1/redemptions/{part.id}", expect=404)
    act(store, {"redemption_id": part.id}, "capture", expect=404)
