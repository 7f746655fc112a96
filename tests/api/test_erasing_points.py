"""A member is erased from the journal and what stands on it; others and the accounts stay right."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import bson
import pytest

from loyalty.audit.owing import liability
from loyalty.audit.service import Scope, audit
from loyalty.journal.erasing import JournalEraser
from loyalty.journal.model import ENDED
from loyalty.kit.clock import now
from tests.api.test_coupons import CAMPAIGNS, REDEMPTIONS, campaign_body, codes_of
from tests.api.test_redeeming import OFF, PAYMENT, act, household, paying, put, redeem
from tests.api.test_transferring import transfer
from tests.builders import BASE_RULE, program_document, purchase_body

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

CANARY = "canary"
# What the members' own stores erase.
ELSEWHERE = {
    "members",
    "households",
    "household_members",
    "consents",
    "api_keys",
    "program_versions",
    "meta",
}
REFERRAL = {"id": "friends", "type": "referral", "friend_points": 50, "referrer_points": 200}
BUDGETED = {"id": "extra", "type": "first_on_channel", "points": 5, "budget": 1200}
FRAME: dict[str, Any] = {"points_payment": PAYMENT, "expires_after_months": 24}


@pytest.fixture
def club(api: Api) -> Api:
    """A shop with referrals, a campaign, rewards and points as payment."""
    document = program_document(BASE_RULE, REFERRAL, BUDGETED, **FRAME)
    api.post("/v1/program/versions", {"program": document}, expect=201)
    put(api, {**OFF, "price": 10, "stock": 9, "per_member": {"lifetime": 5}})
    return api


def eraser_of(parts: Parts) -> JournalEraser:
    return JournalEraser(parts.database, parts.secrecy)


def erase(parts: Parts, member: str) -> None:
    """As the erasure goes: the end first, then the key, then all holders, then the member."""
    eraser = eraser_of(parts)
    eraser.end(member)
    parts.vault.shred(member)
    for holder in (eraser, parts.rewards, parts.coupons):
        holder.erase(member)
    parts.database["members"].delete_one({"_id": member})


def found(parts: Parts, *texts: str) -> list[tuple[str, str]]:
    """Where any of the texts stands, in all that the stores here keep."""
    places = []
    for name in set(parts.database.list_collection_names()) - ELSEWHERE:
        for document in parts.database[name].find({"kind": {"$ne": ENDED}}):
            raw = bson.encode(document)
            places += [(name, text) for text in texts if text.encode() in raw]
    return places


def is_audited(parts: Parts) -> bool:
    report = audit(
        Scope(),
        at=now() + timedelta(hours=1),
        scan=parts.scan,
        stores=parts.stores,
        progress=lambda *_: None,
    )
    assert report.findings == []
    return True


def owed(parts: Parts) -> int:
    """All points that members have or hold."""
    scan, stores = parts.scan, parts.stores
    body = liability(at=now(), scan=scan, stores=stores, progress=lambda *_: None)
    places = ("outstanding", "held")
    return sum(each[place]["points"] for each in body["units"] for place in places)


def totals(parts: Parts) -> Counter[tuple[Any, ...]]:
    """Points by day, channel, unit and kind of posting, over entries and shells."""
    sums: Counter[tuple[Any, ...]] = Counter()
    for each in parts.database["journal"].find({"kind": {"$ne": ENDED}}):
        day = (each.get("day") or each["occurred_at"]).date()
        for posting in each["postings"]:
            unit = posting.get("unit", "points")
            sums[day, each["channel"], unit, posting["kind"]] += posting["points"]
    return Counter({place: points for place, points in sums.items() if points})


def money(parts: Parts) -> int:
    """What was charged for goods, over entries and shells."""
    lines = parts.database["journal"].find({"kind": "purchase"})
    amounts = [line["amount"] for each in lines for line in each["activity"]["lines"]]
    amounts += [each["amount"] for each in parts.scan.shells() if each["was"] == "purchase"]
    return sum(amounts)


def referred(club: Api, referrer: str, friend: str) -> None:
    code = club.post(f"/v1/members/{referrer}/referral-code", None, expect=201).get_json()["code"]
    club.post(f"/v1/members/{friend}/referrer", {"code": code}, expect=201)


def lived(club: Api, member: str, other: str, third: str) -> dict[str, Any]:
    """A life of the member that touches everything, with canaries wherever a caller can write."""
    referred(club, other, member)
    referred(club, member, third)
    for each in (member, other, third):
        club.consent(each, "points_transfer")
    first = purchase_body(member, 90_000, external_id=f"{CANARY}-1", channel="web")
    del first["store"]
    first["lines"][0]["sku"] = f"{CANARY}-sku"
    club.post("/v1/purchases", first, expect=201)
    club.buy(member, 3000, external_id=f"{CANARY}-2")
    for each in (other, third):
        club.buy(each, 50_000)
    body = {"external_id": f"{CANARY}-3", "channel": "web", "member": member, "type": "review"}
    club.post("/v1/engagements", {**body, "details": {f"{CANARY}_x": 5}}, expect=201)
    note = {"points": 30, "reason": f"{CANARY} reason", "actor": f"{CANARY} actor"}
    given = {"external_id": f"{CANARY}-4", **note}
    entry = club.post(f"/v1/members/{member}/adjustments", given, expect=201).get_json()
    wrong = {"reason": f"{CANARY} again", "actor": f"{CANARY} actor"}
    club.post(f"/v1/entries/{entry['entry_id']}/reversal", wrong, expect=201)
    back = {"external_id": f"{CANARY}-5", "channel": "store", "store": "S1"}
    back["purchase"] = {"external_id": f"{CANARY}-2"}  # type: ignore[assignment]
    club.post("/v1/returns", back, expect=201)
    gifts = [(member, other, 40), (other, member, 30), (member, third, 10)]
    for number, (giver, receiver, points) in enumerate(gifts):
        gift = transfer(giver, receiver, points, external_id=f"{CANARY}-g{number}")
        club.post("/v1/transfers", gift, expect=201)
    household(club, member, other, third)
    mine: dict[str, Any] = {"external_id": f"{CANARY}-h", "from_household": True}
    taken = redeem(club, member, external_id=f"{CANARY}-r", capture=True)
    redeem(club, member, external_id=f"{CANARY}-o")
    held = redeem(club, member, **paying(1300), **mine)
    assert len(held["from_members"]) > 1
    act(club, held, "capture")
    club.buy(member, 5000, external_id=f"{CANARY}-6")
    open_one = redeem(club, other, **paying(900), from_household=True)
    assert {each["member_id"] for each in open_one["from_members"]} >= {member, third}
    campaign = campaign_body()
    club.post(CAMPAIGNS, campaign, expect=201)
    code = codes_of(club, campaign["id"])[0]["code"]
    use = {"code": code, "channel": "store", "member": member, "store": "S1"}
    coupon = {**use, "external_id": f"{CANARY}-c"}
    club.post(REDEMPTIONS, coupon, expect=201)
    twice = {**use, "external_id": f"{CANARY}-d", "occurred_at": now().isoformat()}
    club.post(REDEMPTIONS, twice, expect=409)
    return {"first": first, "open": open_one, "taken": taken, "coupon": coupon}


def explained(club: Api, member: str) -> Any:
    """What the member is told: the points, and of each fact how many it moved and why."""
    entries = club.get(f"/v1/members/{member}/journal?limit=100", expect=200).get_json()["entries"]
    points = club.get(f"/v1/members/{member}/points", expect=200).get_json()
    del points["as_of"]
    texts = [
        (each["kind"], each["points"], [posting["text"] for posting in each["postings"]])
        for each in entries
        if each["kind"] != "correction"
    ]
    return points, texts


def test_nothing_of_an_erased_member_is_left_and_all_others_stay_as_they_were(
    club: Api, parts: Parts
) -> None:
    member, other, third = club.enrol(), club.enrol(), club.enrol()
    life = lived(club, member, other, third)
    assert is_audited(parts)
    assert {name for name, _ in found(parts, CANARY)} >= {
        "journal",
        "reward_takings",
        "coupon_uses",
        "coupon_conflicts",
    }
    before, sums, spent = (
        [explained(club, each) for each in (other, third)],
        totals(parts),
        money(parts),
    )
    erase(parts, member)

    assert found(parts, CANARY, member) == []
    assert is_audited(parts)
    assert [explained(club, each) for each in (other, third)] == before
    assert money(parts) == spent
    difference = totals(parts)
    difference.subtract(sums)
    left = {place[3]: points for place, points in difference.items() if points}
    # What was owed to the member is booked as forfeited, and what was held comes back first.
    assert set(left) == {"forfeiture", "release"}
    assert left["forfeiture"] < 0 < left["release"]
    # The same receipts are refused for ever, to whomever.
    for claimed in (member, other, third):
        answer = club.post("/v1/purchases", {**life["first"], "member": claimed}, expect=409)
        assert answer.get_json()["code"] == "fact_erased"
    club.post("/v1/purchases", purchase_body(member), expect=404)
    # The others go on: the hold that the member had a part in, and further facts.
    act(club, life["open"], "capture")
    act(club, life["open"], "undo")
    act(club, life["taken"], "undo", expect=404)
    club.buy(other, 1000)
    club.buy(third, 1000, occurred_at="2026-01-01T10:00:00Z")
    assert is_audited(parts)
    assert found(parts, CANARY, member) == []
    club.post(REDEMPTIONS, {**life["coupon"], "member": other}, expect=409)


def test_what_is_owed_falls_by_what_the_member_had(club: Api, parts: Parts) -> None:
    member, other = club.enrol(), club.enrol()
    club.buy(member, 90_000)
    club.buy(other, 50_000)
    redeem(club, member)
    before, had = owed(parts), club.balance(member)
    erase(parts, member)
    assert owed(parts) == before - had - 10
    forfeited = [each for each in parts.scan.shells() if each["was"] == "forfeiture"]
    (shell,) = forfeited
    booked = {each["kind"]: each["points"] for each in shell["postings"]}
    assert booked == {"forfeiture": -had - 10, "release": 10}
    assert all("occurred_at" not in each for each in parts.scan.shells())


def test_an_export_holds_every_document_that_is_the_members(club: Api, parts: Parts) -> None:
    member, other, third = club.enrol(), club.enrol(), club.enrol()
    lived(club, member, other, third)
    told = [
        each
        for holder in (eraser_of(parts), parts.rewards, parts.coupons)
        for each in holder.held(member)
    ]
    there = {
        (name, str(document["_id"]))
        for name in set(parts.database.list_collection_names()) - ELSEWHERE
        for document in parts.database[name].find({"member": member})
    }
    assert {(each.collection, each.id) for each in told} == there
    assert len(told) == len(there)
    text = json.dumps([each.data for each in told], default=lambda value: value.isoformat())
    for planted in (" reason", " actor", " again", "_x", "-sku", "-1", "-g0", "-h", "-c", "-d"):
        assert f"{CANARY}{planted}" in text


def test_free_text_lies_sealed_and_reads_as_it_was(club: Api, parts: Parts) -> None:
    member = club.enrol()
    club.buy(member, 1000)
    body = {"external_id": "1", "points": 3, "reason": "a secret", "actor": "an agent"}
    entry = club.post(f"/v1/members/{member}/adjustments", body, expect=201).get_json()
    assert found(parts, "a secret", "an agent") == []
    shown = club.get(f"/v1/entries/{entry['entry_id']}", expect=200).get_json()
    assert shown["activity"]["reason"] == "a secret"
    kept = list(parts.database["journal"].find({"member": member}).sort("seq", 1))
    assert ["sealed" in each["activity"] for each in kept] == [False, True]


def test_erasing_again_changes_nothing(club: Api, parts: Parts) -> None:
    member, other, third = club.enrol(), club.enrol(), club.enrol()
    lived(club, member, other, third)
    erase(parts, member)
    before = list(parts.database["journal"].find().sort("_id", 1))
    assert eraser_of(parts).erase(member) == {"journal": 0, "journal_of_others": 0}
    assert sum(parts.coupons.erase(member).values()) == 0
    assert sum(parts.rewards.erase(member).values()) == 0
    assert list(parts.database["journal"].find().sort("_id", 1)) == before


def test_a_batch_says_that_a_fact_was_erased(club: Api, parts: Parts) -> None:
    member, other = club.enrol(), club.enrol()
    body = purchase_body(member, 1000, external_id="R1")
    club.post("/v1/purchases", body, expect=201)
    erase(parts, member)
    lines = [
        {"type": "purchase", "at": now().isoformat(), "body": {**body, "member": each}}
        for each in (other, member)
    ]
    answer = club.call(
        "POST",
        "/v1/batches",
        data="\n".join(json.dumps(each) for each in lines),
        headers={"Content-Type": "application/x-ndjson"},
        expect=200,
    )
    verdicts = [json.loads(each) for each in answer.data.splitlines()]
    codes = [each["problem"]["code"] for each in verdicts if "line" in each]
    assert codes == ["fact_erased", "fact_erased"]


def test_a_piece_that_was_held_comes_back_and_one_that_was_taken_stays_gone(
    club: Api, parts: Parts
) -> None:
    member = club.enrol()
    club.buy(member, 90_000)
    redeem(club, member, capture=True)
    redeem(club, member)
    reward = parts.rewards.get("off")
    assert parts.rewards.left([reward], at=now()) == {"off": 7}
    erase(parts, member)
    assert parts.rewards.left([reward], at=now()) == {"off": 7}
    assert parts.rewards.left([reward], at=now() + timedelta(days=40)) == {"off": 8}


def test_the_end_of_a_journal_says_nothing_and_goes_by_itself(club: Api, parts: Parts) -> None:
    member = club.enrol()
    club.buy(member, 1000)
    erase(parts, member)
    journal = parts.database["journal"]
    # At the end and in the place of the entry: nobody can write on an old head.
    ends = list(journal.find({"member": member}).sort("seq"))
    assert [each["seq"] for each in ends] == [1, 2]
    for end in ends:
        assert end.keys() == {"_id", "member", "seq", "kind", "mark", "gone_at"}
    gone = journal.index_information()["gone"]
    assert (gone["key"], gone["expireAfterSeconds"]) == ([("gone_at", 1)], 0)


def test_a_used_coupon_stays_used_and_its_conflict_is_still_told(club: Api, parts: Parts) -> None:
    member, campaign = club.enrol(), campaign_body()
    club.post(CAMPAIGNS, campaign, expect=201)
    code = codes_of(club, campaign["id"])[0]["code"]
    use = {"code": code, "channel": "store", "store": "S1", "member": member}
    club.post(REDEMPTIONS, {**use, "external_id": "1"}, expect=201)
    club.post(
        REDEMPTIONS, {**use, "external_id": "2", "occurred_at": now().isoformat()}, expect=409
    )
    erase(parts, member)
    (told,) = club.get(f"{CAMPAIGNS}/{campaign['id']}/conflicts", expect=200).get_json()[
        "conflicts"
    ]
    assert told["second"]["external_id"] == "erased"
    del use["member"]
    club.post(REDEMPTIONS, {**use, "external_id": "3"}, expect=409)
