"""Coupons over HTTP: made in bulk, used once, given back, checked at a till without a network."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import tracemalloc
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from loyalty.coupons.codes import CouponMint, _check
from loyalty.coupons.model import Coupon
from loyalty.coupons.service import Coupons
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from tests.builders import dump, mint_key, unique

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from tests.builders import Api

CAMPAIGNS = "/v1/coupons/campaigns"
REDEMPTIONS = "/v1/coupons/redemptions"
CHECK = "/v1/coupons/check"
DAY = timedelta(days=1)
DOCUMENT = Path(__file__).parents[2] / "docs" / "coupons.md"


def moment(days: float = 0) -> str:
    """So many days from now."""
    return (now() + days * DAY).isoformat()


def campaign_body(**overrides: Any) -> dict[str, Any]:
    return {
        "id": unique("campaign"),
        "name": "Five euros",
        "benefit": {"type": "amount_off", "amount": 500, "currency": "EUR"},
        "starts_at": moment(-5),
        "ends_at": moment(30),
        **overrides,
    }


def codes_of(api: Api, campaign: str, *, batch: str = "a", count: int = 1) -> list[dict[str, Any]]:
    """The codes of a batch."""
    body = {"batch": batch, "count": count}
    answer = api.post(f"{CAMPAIGNS}/{campaign}/codes", body, expect=201)
    return [orjson.loads(line) for line in answer.data.splitlines()]


def made(api: Api, **overrides: Any) -> tuple[str, dict[str, Any]]:
    """A new campaign's id and the only coupon of it."""
    body = campaign_body(**overrides)
    api.post(CAMPAIGNS, body, expect=201)
    return body["id"], codes_of(api, body["id"])[0]


def showing(code: str, **overrides: Any) -> dict[str, Any]:
    return {"code": code, "channel": "store", "store": "S1", **overrides}


def using(code: str, **overrides: Any) -> dict[str, Any]:
    return showing(code, **{"external_id": unique("use"), **overrides})


def ended(api: Api, parts: Parts, campaign: str) -> None:
    """Let a campaign be over, as it will be one day."""
    api.client.application.extensions["carnet"][Coupons].store._known.clear()
    over = {"$set": {"starts_at": now() - 9 * DAY, "ends_at": now() - DAY}}
    parts.database["coupon_campaigns"].update_one({"_id": campaign}, over)


# Campaigns


@pytest.mark.parametrize(
    "benefit",
    [
        {"type": "amount_off", "amount": 500, "currency": "EUR"},
        {"type": "percent_off", "percent": 15},
        {"type": "product", "sku": "milk"},
        {"type": "shipping"},
    ],
)
def test_what_a_campaign_gives_is_in_the_answer_to_its_use(
    api: Api, benefit: dict[str, Any]
) -> None:
    campaign, coupon = made(api, benefit=benefit)
    looked = api.post(CHECK, showing(coupon["code"]), expect=200).get_json()
    assert looked["valid"]
    assert looked["coupon"]["benefit"] == benefit
    used = api.post(REDEMPTIONS, using(coupon["code"]), expect=201).get_json()
    assert used["benefit"] == benefit
    assert (used["campaign"], used["serial"]) == (campaign, 1)


def test_a_campaign_is_read_and_listed_as_it_was_made(api: Api) -> None:
    bodies = [campaign_body(channels=["store"], stores=["S1"]) for _ in range(3)]
    answers = [api.post(CAMPAIGNS, body, expect=201).get_json() for body in bodies]
    assert [each["number"] for each in answers] == [1, 2, 3]
    page = api.get(f"{CAMPAIGNS}?limit=2", expect=200).get_json()
    assert page["campaigns"] == [answers[2], answers[1]]
    rest = api.get(f"{CAMPAIGNS}?limit=2&cursor={page['next_cursor']}", expect=200).get_json()
    assert rest == {"campaigns": [answers[0]], "next_cursor": None}
    one = api.get(f"{CAMPAIGNS}/{bodies[0]['id']}", expect=200).get_json()
    assert one == {**answers[0], "codes_made": 0, "codes_used": 0}


def test_a_campaign_counts_what_was_made_and_what_is_used_now(api: Api) -> None:
    campaign, first = made(api)
    second, *_ = codes_of(api, campaign, batch="b", count=4)
    done = api.post(REDEMPTIONS, using(first["code"]), expect=201).get_json()
    api.post(REDEMPTIONS, using(second["code"]), expect=201)
    api.post(f"{REDEMPTIONS}/{done['id']}/void", {}, expect=201)
    shown = api.get(f"{CAMPAIGNS}/{campaign}", expect=200).get_json()
    assert (shown["codes_made"], shown["codes_used"]) == (5, 1)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_the_same_campaign_again_gets_the_same_answer(
    api: Api, parts: Parts, headers: dict[str, str]
) -> None:
    body = campaign_body()
    first = api.post(CAMPAIGNS, body, headers=headers, expect=201)
    before = dump(parts.database)
    again = api.post(CAMPAIGNS, body, headers=headers, expect=201)
    assert again.data == first.data
    assert again.headers["Idempotent-Replay"] == "true"
    assert "Idempotent-Replay" not in first.headers
    ended(api, parts, body["id"])
    api.post(CAMPAIGNS, body, headers=headers, expect=201)
    for other in ({"name": "Six euros"}, {"id": unique()} if headers else {"stores": ["S2"]}):
        answer = api.post(CAMPAIGNS, {**body, **other}, headers=headers, expect=422)
        assert answer.get_json()["code"] == "key_reused"
    assert dump(parts.database).keys() == before.keys()
    assert parts.database["coupon_campaigns"].count_documents({}) == 1


@pytest.mark.parametrize(
    ("starts", "ends"), [(2, 1), (2, 2), (-9, -1), (-1, 3700), (None, -1), (None, 0)]
)
def test_a_campaign_that_cannot_be_is_refused(
    api: Api, parts: Parts, starts: int | None, ends: int
) -> None:
    body = campaign_body(ends_at=moment(ends))
    del body["starts_at"]
    if starts is not None:
        body["starts_at"] = moment(starts)
    before = dump(parts.database)
    problem = api.post(CAMPAIGNS, body, expect=409).get_json()
    assert problem["code"] == "campaign_period"
    assert problem["errors"][0]["field"] == "ends_at"
    assert dump(parts.database) == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": "Spring"}, "id"),
        ({"id": "a/b"}, "id"),
        ({"id": "a\n"}, "id"),
        ({"id": {"$gt": ""}}, "id"),
        ({"extra": 1}, "extra"),
        ({"benefit": {"type": "gold"}}, "benefit.type"),
        ({"benefit": {"type": "percent_off", "percent": 101}}, "benefit.percent"),
        ({"benefit": {"type": "percent_off", "percent": 1.5}}, "benefit.percent"),
        ({"benefit": {"type": "amount_off", "amount": 0, "currency": "EUR"}}, "benefit.amount"),
        ({"benefit": {"type": "amount_off", "amount": 5}}, "benefit.currency"),
        ({"benefit": {"type": "points", "points": 0}}, "benefit.points"),
        ({"benefit": {"type": "shipping", "sku": "x"}}, "benefit.sku"),
        ({"ends_at": None}, "ends_at"),
        ({"channels": ["WEB"]}, "channels.0"),
        ({"stores": ["a/b"]}, "stores.0"),
        ({"stores": ["S"] * 1001}, "stores"),
        ({"basket_min_amount": -1}, "basket_min_amount"),
    ],
)
def test_a_campaign_with_a_mistake_names_it(
    api: Api, parts: Parts, changes: dict[str, Any], field: str
) -> None:
    before = dump(parts.database)
    problem = api.post(CAMPAIGNS, campaign_body(**changes), expect=422).get_json()
    assert field in [each["field"] for each in problem["errors"]]
    assert dump(parts.database) == before


# Codes


def test_the_same_batch_again_gives_the_same_codes(api: Api, parts: Parts) -> None:
    campaign, _ = made(api)
    path, body = f"{CAMPAIGNS}/{campaign}/codes", {"batch": "b", "count": 9}
    first = api.post(path, body, expect=201)
    before = dump(parts.database)
    again = api.post(path, body, expect=201)
    assert again.data == first.data
    assert again.headers["Idempotent-Replay"] == "true"
    assert "Idempotent-Replay" not in first.headers
    other = api.post(path, {**body, "count": 8}, expect=422).get_json()
    assert other["code"] == "key_reused"
    assert dump(parts.database) == before


def test_all_codes_of_all_campaigns_differ(api: Api) -> None:
    campaigns = [made(api)[0] for _ in range(2)]
    codes = [
        each
        for campaign in campaigns
        for b in "bc"
        for each in codes_of(api, campaign, batch=b, count=50)
    ]
    assert len({each["code"] for each in codes}) == len(codes) == 200
    assert len({each["short_code"] for each in codes}) == 200


def test_codes_come_as_csv_to_whoever_asks_for_it(api: Api) -> None:
    campaign, coupon = made(api)
    path, body = f"{CAMPAIGNS}/{campaign}/codes", {"batch": "a", "count": 1}
    answer = api.post(path, body, headers={"Accept": "text/csv"}, expect=201)
    assert answer.mimetype == "text/csv"
    (row,) = csv.DictReader(io.StringIO(answer.get_data(as_text=True)))
    assert row == {name: str(value) for name, value in coupon.items()}


def test_no_codes_are_made_of_what_is_over_but_a_batch_is_sent_again(
    api: Api, parts: Parts
) -> None:
    campaign, coupon = made(api)
    ended(api, parts, campaign)
    # The day in the signed code is that of the shortened campaign: a real one never changes.
    assert codes_of(api, campaign)[0]["short_code"] == coupon["short_code"]
    body = {"batch": "b", "count": 1}
    problem = api.post(f"{CAMPAIGNS}/{campaign}/codes", body, expect=409).get_json()
    assert problem["code"] == "campaign_ended"
    problem = api.post(f"{CAMPAIGNS}/nothing/codes", body, expect=404).get_json()
    assert problem["code"] == "campaign_not_found"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"batch": "b", "count": 0}, "count"),
        ({"batch": "b", "count": 100_001}, "count"),
        ({"batch": "b", "count": True}, "count"),
        ({"batch": "", "count": 1}, "batch"),
        ({"batch": {"$gt": ""}, "count": 1}, "batch"),
        ({"count": 1}, "batch"),
    ],
)
def test_a_batch_with_a_mistake_names_it(api: Api, body: dict[str, Any], field: str) -> None:
    campaign, _ = made(api)
    problem = api.post(f"{CAMPAIGNS}/{campaign}/codes", body, expect=422).get_json()
    assert field in [each["field"] for each in problem["errors"]]


def test_a_hundred_thousand_codes_stream_through_little_memory(api: Api, parts: Parts) -> None:
    campaign, _ = made(api)
    path = f"{CAMPAIGNS}/{campaign}/codes"
    headers = {"Authorization": f"Bearer {api.key}"}
    body = {"batch": "big", "count": 100_000}
    with api.client.post(path, json=body, headers=headers, buffered=False) as answer:
        chunks = iter(answer.response)
        lines = next(chunks).count(b"\n")
        # Looking at each piece of memory is slow, so for a tenth of the way only.
        tracemalloc.start()
        traced = [(len(chunk), chunk.count(b"\n")) for chunk in islice(chunks, 40)]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        lines += sum(chunk.count(b"\n") for chunk in chunks)
    assert lines + sum(count for _, count in traced) == 100_000
    assert sum(size for size, _ in traced) > 1_500_000
    assert peak < 300_000
    assert parts.database["coupon_batches"].count_documents({}) == 2
    assert parts.database["coupon_uses"].count_documents({}) == 0


# Use


def forged(code: str) -> str:
    """The code with another last character of its proof, and the check that fits it."""
    plain = code.replace("-", "")[:-1]
    body = plain[:-1] + ("0" if plain[-1] != "0" else "1")
    return body + _check(body)


def mistyped(code: str) -> str:
    """The code with one wrong character."""
    return code[:-1] + ("0" if code[-1] != "0" else "1")


def refused(api: Api, parts: Parts, body: dict[str, Any], code: str, field: str) -> None:
    """Assert that a check and a use say the same reason, and that nothing is written."""
    before = dump(parts.database)
    looked = api.post(CHECK, body, expect=200).get_json()
    assert (looked["valid"], looked["reason"]) == (False, code)
    problem = api.post(REDEMPTIONS, {**body, "external_id": "1"}, expect=409).get_json()
    assert problem["code"] == code
    assert problem["detail"] == looked["detail"]
    assert [each["field"] for each in problem["errors"]] == [field]
    assert dump(parts.database) == before


# What a campaign says, what a caller shows, and the code and the field of the refusal.
LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "early": ({"starts_at": moment(1)}, {}, "coupon_not_started", "occurred_at"),
    "channel": ({"channels": ["web", "app"]}, {}, "coupon_channel", "channel"),
    "store": ({"stores": ["S2"]}, {}, "coupon_store", "store"),
    "many stores": ({"stores": [f"T{each}" for each in range(9)]}, {}, "coupon_store", "store"),
    "basket": (
        {"basket_min_amount": 2000},
        {"basket_amount": 1999},
        "coupon_basket",
        "basket_amount",
    ),
    "unknown basket": ({"basket_min_amount": 1}, {}, "coupon_basket", "basket_amount"),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_does_not_count_here_and_now_is_refused_with_its_reason(
    api: Api, parts: Parts, name: str
) -> None:
    limits, shown, code, field = LIMITS[name]
    _, coupon = made(api, **limits)
    refused(api, parts, showing(coupon["code"], **shown), code, field)


def test_a_campaign_for_some_stores_wants_to_know_the_store(api: Api, parts: Parts) -> None:
    _, coupon = made(api, stores=["S1"])
    body = {"code": coupon["code"], "channel": "store"}
    refused(api, parts, body, "coupon_store", "store")


@pytest.mark.parametrize("spelling", ["code", "short_code"])
def test_a_typing_error_is_told_from_a_forgery(api: Api, parts: Parts, spelling: str) -> None:
    _, coupon = made(api)
    refused(api, parts, showing(mistyped(coupon[spelling])), "coupon_mistyped", "code")
    refused(api, parts, showing(forged(coupon[spelling])), "coupon_forged", "code")
    refused(api, parts, showing("COUPON FOR YOU ALONE 2026"), "coupon_mistyped", "code")


def test_the_codes_of_another_shop_are_forgeries(api: Api, parts: Parts) -> None:
    made(api)
    other = CouponMint(seed=b"o" * 32, short_key=b"p" * 32)
    for code in (other.signed(Coupon(1, 1), last_day=now().date()), other.short(Coupon(1, 1))):
        refused(api, parts, showing(code), "coupon_forged", "code")


def test_the_limits_themselves_count(api: Api) -> None:
    limits = {"channels": ["store"], "stores": ["S1"], "basket_min_amount": 2000}
    _, coupon = made(api, **limits)
    api.post(REDEMPTIONS, using(coupon["code"], basket_amount=2000), expect=201)


def test_a_campaign_of_which_nothing_is_known_is_not_found(api: Api, parts: Parts) -> None:
    code = parts.coupon_mint.short(Coupon(77, 1))
    assert api.post(CHECK, showing(code), expect=200).get_json()["reason"] == "campaign_not_found"
    problem = api.post(REDEMPTIONS, using(code), expect=404).get_json()
    assert problem["code"] == "campaign_not_found"
    api.get(f"{CAMPAIGNS}/nothing", expect=404)
    api.get(f"{CAMPAIGNS}/nothing/conflicts", expect=404)


def test_a_check_writes_nothing_and_takes_nothing(api: Api, parts: Parts) -> None:
    campaign, coupon = made(api)
    before = dump(parts.database)
    for code in (coupon["code"], coupon["short_code"].lower(), coupon["short_code"]):
        looked = api.post(CHECK, showing(code), expect=200).get_json()
        assert looked["valid"]
        assert (looked["coupon"]["campaign"], looked["coupon"]["serial"]) == (campaign, 1)
        assert looked["reason"] is looked["detail"] is None
    assert dump(parts.database) == before


@pytest.mark.parametrize(("first", "second"), [("code", "short_code"), ("short_code", "code")])
def test_the_use_of_one_spelling_is_the_use_of_the_other(api: Api, first: str, second: str) -> None:
    _, coupon = made(api)
    api.post(REDEMPTIONS, using(coupon[first], channel="web"), expect=201)
    problem = api.post(REDEMPTIONS, using(coupon[second]), expect=409).get_json()
    assert problem["code"] == "coupon_used"
    assert re.fullmatch(r"Used on channel web at \d{4}-\d\d-\d\dT[\d:]{8}Z\.", problem["detail"])
    looked = api.post(CHECK, showing(coupon[second]), expect=200).get_json()
    assert (looked["reason"], looked["detail"]) == ("coupon_used", problem["detail"])


def test_a_retry_gets_its_answer_whatever_has_changed_since(api: Api, parts: Parts) -> None:
    campaign, coupon = made(api)
    body = using(coupon["code"], basket_amount=1000, member=api.enrol())
    first = api.post(REDEMPTIONS, body, expect=201)
    assert "Idempotent-Replay" not in first.headers
    parts.database["members"].delete_many({})
    ended(api, parts, campaign)
    before = dump(parts.database)
    for again in (body, {**body, "code": coupon["short_code"]}):
        answer = api.post(REDEMPTIONS, again, expect=201)
        assert answer.data == first.data
        assert answer.headers["Idempotent-Replay"] == "true"
    assert dump(parts.database) == before


def test_an_external_id_with_another_body_is_refused(api: Api, parts: Parts) -> None:
    campaign, coupon = made(api)
    second, *_ = codes_of(api, campaign, batch="b")
    body = using(coupon["code"])
    api.post(REDEMPTIONS, body, expect=201)
    before = dump(parts.database)
    for other in ({"code": second["code"]}, {"basket_amount": 5}, {"occurred_at": moment()}):
        problem = api.post(REDEMPTIONS, {**body, **other}, expect=422).get_json()
        assert problem["code"] == "key_reused"
    assert dump(parts.database) == before
    api.post(REDEMPTIONS, {**body, "code": second["code"], "store": "S2"}, expect=201)


def test_a_member_has_to_be_one(api: Api, parts: Parts) -> None:
    _, coupon = made(api)
    before = dump(parts.database)
    body = using(coupon["code"], member="m_" + "0" * 32)
    assert api.post(REDEMPTIONS, body, expect=404).get_json()["code"] == "member_not_found"
    assert dump(parts.database) == before


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"code": "short"}, "code"),
        ({"code": "0" * 201}, "code"),
        ({"code": "Ö" * 20}, "code"),
        ({"code": "0" * 20 + "\n"}, "code"),
        ({"code": {"$gt": ""}}, "code"),
        ({"channel": "WEB"}, "channel"),
        ({"store": "a/b"}, "store"),
        ({"basket_amount": "5"}, "basket_amount"),
        ({"external_id": ""}, "external_id"),
        ({"occurred_at": "yesterday"}, "occurred_at"),
        ({"member": "Ada"}, "member"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_redemption_with_a_mistake_names_it(
    api: Api, parts: Parts, changes: dict[str, Any], field: str
) -> None:
    _, coupon = made(api)
    before = dump(parts.database)
    body = {**using(coupon["code"]), **changes}
    problem = api.post(REDEMPTIONS, body, expect=422).get_json()
    assert field in [each["field"] for each in problem["errors"]]
    assert dump(parts.database) == before


# Given back


def test_a_coupon_that_was_given_back_can_be_used_again(api: Api) -> None:
    _, coupon = made(api)
    first = api.post(REDEMPTIONS, using(coupon["code"]), expect=201).get_json()
    path = f"{REDEMPTIONS}/{first['id']}/void"
    done = api.post(path, {}, expect=201)
    assert done.get_json()["redemption_id"] == first["id"]
    assert "Idempotent-Replay" not in done.headers
    body = using(coupon["code"], channel="web")
    second = api.post(REDEMPTIONS, body, expect=201).get_json()
    assert second["id"] != first["id"]
    again = api.post(path, {}, expect=201)
    assert again.data == done.data
    assert again.headers["Idempotent-Replay"] == "true"
    assert api.post(CHECK, showing(coupon["code"])).get_json()["reason"] == "coupon_used"


@pytest.mark.parametrize("redemption_id", ["x", "1-1-01", "1-2-00", "9-1-00", "1-1-02"])
def test_what_was_never_redeemed_cannot_be_given_back(
    api: Api, parts: Parts, redemption_id: str
) -> None:
    _, coupon = made(api)
    api.post(REDEMPTIONS, using(coupon["code"]), expect=201)
    before = dump(parts.database)
    problem = api.post(f"{REDEMPTIONS}/{redemption_id}/void", {}, expect=404).get_json()
    assert problem["code"] == "redemption_not_found"
    assert dump(parts.database) == before


# Bound keys


def test_a_bound_key_speaks_for_its_own_channel_and_store_only(api: Api, parts: Parts) -> None:
    till = api.speaking_with(mint_key(parts, "coupons:redeem", channel="store", store="S7"))
    campaign, coupon = made(api)
    elsewhere = ({"channel": "web"}, {"store": "S1"})
    before = dump(parts.database)
    for place in elsewhere:
        for path, body in ((CHECK, showing), (REDEMPTIONS, using)):
            problem = till.post(path, {**body(coupon["code"]), **place}, expect=403).get_json()
            assert problem["code"] == "bound_key"
    assert dump(parts.database) == before
    unplaced = using(coupon["code"])
    del unplaced["store"]
    assert till.post(REDEMPTIONS, unplaced, expect=201).get_json()["store"] == "S7"
    others = codes_of(api, campaign, batch="b", count=3)
    places: list[dict[str, Any]] = [{"store": "S1"}, {"channel": "web"}, {}]
    for other, place in zip(others, places, strict=True):
        taken = {**using(other["code"]), **place}
        if not place:
            del taken["store"]
        done = api.post(REDEMPTIONS, taken, expect=201).get_json()
        problem = till.post(f"{REDEMPTIONS}/{done['id']}/void", {}, expect=403).get_json()
        assert problem["code"] == "bound_key"
    till.post(f"{REDEMPTIONS}/1-1-00/void", {}, expect=201)


# Offline


def test_what_a_till_took_offline_counts_from_when_it_took_it(api: Api, parts: Parts) -> None:
    campaign, coupon = made(api)
    ended(api, parts, campaign)
    assert api.post(CHECK, showing(coupon["code"])).get_json()["reason"] == "coupon_expired"
    for days in (-10, -0.5):
        body = using(coupon["code"], occurred_at=moment(days))
        problem = api.post(REDEMPTIONS, body, expect=409).get_json()
        expected = "coupon_not_started" if days == -10 else "coupon_expired"
        assert (problem["code"], problem["errors"][0]["field"]) == (expected, "occurred_at")
    ahead = using(coupon["code"], occurred_at=moment(1))
    assert api.post(REDEMPTIONS, ahead, expect=409).get_json()["code"] == "in_the_future"
    taken_at = moment(-2)
    done = api.post(REDEMPTIONS, using(coupon["code"], occurred_at=taken_at), expect=201)
    assert datetime.fromisoformat(done.get_json()["occurred_at"]) == datetime.fromisoformat(
        taken_at
    )


def test_a_coupon_that_two_tills_took_is_a_conflict_for_the_shop(api: Api) -> None:
    campaign, coupon = made(api)
    path = f"{CAMPAIGNS}/{campaign}/conflicts"
    first = using(coupon["code"], store="S1", occurred_at=moment(-1), member=api.enrol())
    second = using(coupon["code"], store="S2", occurred_at=moment(-2))
    won = api.post(REDEMPTIONS, first, expect=201).get_json()
    # A caller that only asks has given nothing away: no conflict.
    api.post(REDEMPTIONS, using(coupon["code"]), expect=409)
    assert api.get(path, expect=200).get_json() == {"conflicts": [], "next_cursor": None}
    for _ in range(3):
        problem = api.post(REDEMPTIONS, second, expect=409).get_json()
        assert problem["code"] == "coupon_used"
    (noted,) = api.get(path, expect=200).get_json()["conflicts"]
    assert noted["first"] == {
        "redemption_id": won["id"],
        "channel": "store",
        "store": "S1",
        "occurred_at": won["occurred_at"],
    }
    assert noted["second"]["external_id"] == second["external_id"]
    assert noted["second"]["store"] == "S2"
    assert first["member"] not in str(noted)


def test_conflicts_are_listed_page_by_page(api: Api) -> None:
    campaign, coupon = made(api)
    api.post(REDEMPTIONS, using(coupon["code"]), expect=201)
    late = [using(coupon["code"], occurred_at=moment()) for _ in range(5)]
    for body in late:
        api.post(REDEMPTIONS, body, expect=409)
    seen: list[str] = []
    after = ""
    for size in (2, 2, 1):
        path = f"{CAMPAIGNS}/{campaign}/conflicts?limit=2{after}"
        page = api.get(path, expect=200).get_json()
        assert len(page["conflicts"]) == size
        seen += [each["second"]["external_id"] for each in page["conflicts"]]
        after = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == [body["external_id"] for body in reversed(late)]


def test_a_till_hears_that_nothing_changed_until_something_does(api: Api, parts: Parts) -> None:
    campaign, coupon = made(api)
    first = api.get("/v1/coupons/key", expect=200)
    assert [each["id"] for each in first.get_json()["campaigns"]] == [campaign]
    known = {"If-None-Match": first.headers["ETag"]}
    api.post(REDEMPTIONS, using(coupon["code"]), expect=201)
    unchanged = api.get("/v1/coupons/key", headers=known, expect=304)
    assert unchanged.headers["ETag"] == first.headers["ETag"]
    made(api)
    changed = api.get("/v1/coupons/key", headers=known, expect=200)
    assert len(changed.get_json()["campaigns"]) == 2
    ended(api, parts, campaign)
    left = api.get("/v1/coupons/key", expect=200).get_json()["campaigns"]
    assert campaign not in [each["id"] for each in left]


def test_the_documented_till_checks_codes_without_a_network(
    api: Api, parts: Parts, tmp_path: Path
) -> None:
    script = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    assert len(script) == 1
    (tmp_path / "till.py").write_text(script[0])
    limits = {"channels": ["store"], "stores": ["S1"], "basket_min_amount": 2000}
    _, good = made(api, **limits)
    _, elsewhere = made(api, stores=["S2"])
    _, dear = made(api, basket_min_amount=5000)
    _, early = made(api, starts_at=moment(1))
    over, old = made(api)
    ended(api, parts, over)
    (tmp_path / "coupons.json").write_bytes(api.get("/v1/coupons/key", expect=200).data)
    code = good["code"]
    shown = {
        code: {"type": "amount_off", "amount": 500, "currency": "EUR"},
        mistyped(code): "mistyped",
        forged(code): "forged",
        good["short_code"]: "mistyped",
        "": "mistyped",
        elsewhere["code"]: "not valid here and now",
        dear["code"]: "not valid here and now",
        early["code"]: "not valid here and now",
        old["code"]: "over, or newer than the list",
        code.lower(): "taken before",
    }
    done = subprocess.run(
        [sys.executable, "-I", "till.py", "store", "S1", "3190"],
        cwd=tmp_path,
        input="".join(f"{each}\n" for each in shown),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    said = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert dict(zip(shown, said, strict=True)) == shown


# Secrets


def spoken_of(api: Api, code: str, said: Callable[[], str]) -> str:
    """All that is answered and logged about a code, but for the stream that makes it."""
    bodies: list[tuple[str, Any]] = [
        (CHECK, showing(code)),
        (CHECK, showing(code, channel=code)),
        (CHECK, showing(code, extra=code)),
        (CHECK, showing(code + "!")),
        (REDEMPTIONS, using(code, channel="web")),
        (REDEMPTIONS, using(mistyped(code))),
        (REDEMPTIONS, using(code, occurred_at=moment())),
        (REDEMPTIONS, using(code, occurred_at=code)),
        (REDEMPTIONS, using(code, external_id=[code])),
    ]
    texts = [api.post(path, body).get_data(as_text=True) for path, body in bodies]
    texts += [api.get(f"{CAMPAIGNS}?limit=9").get_data(as_text=True)]
    campaign = orjson.loads(texts[-1])["campaigns"][0]["id"]
    texts += [api.get(f"{CAMPAIGNS}/{campaign}/conflicts").get_data(as_text=True)]
    return "".join([*texts, said()])


@pytest.mark.parametrize("spelling", ["code", "short_code"])
def test_a_code_is_in_no_answer_no_log_and_no_document(
    api: Api, parts: Parts, capfdbinary: pytest.CaptureFixture[bytes], spelling: str
) -> None:
    configure_logs()
    _, coupon = made(api)
    code = coupon[spelling]

    def said() -> str:
        streams = capfdbinary.readouterr()
        return (streams.out + streams.err + repr(dump(parts.database)).encode()).decode()

    # What comes before the proof is no secret: it is campaign and serial.
    proof = code[20:60] if spelling == "code" else code[12:23]
    text = spoken_of(api, code, said)
    assert '"route":"/v1/coupons/redemptions"' in text
    assert proof not in text
