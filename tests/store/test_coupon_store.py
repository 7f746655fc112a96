"""Coupons in MongoDB: numbers without gaps, moves made once, a batch is one document."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.coupons import service, store
from loyalty.coupons.model import (
    MOVES_MAX,
    SERIALS_MAX,
    Campaign,
    CampaignFullError,
    Conflict,
    Coupon,
    CouponUsedError,
    CouponWornError,
    Move,
)
from loyalty.coupons.service import MadeBatch, codes_of
from loyalty.coupons.store import (
    BatchExistsError,
    CampaignExistsError,
    CouponStore,
    MoveExistsError,
)
from tests.builders import NOON, dump, unique
from tests.store.watching import Plan, watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings

COUPON = Coupon(1, 42)


def campaign(**overrides: Any) -> Campaign:
    facts: dict[str, Any] = {
        "id": unique("campaign"),
        "number": 0,
        "name": "Five euros",
        "benefit": {"type": "amount_off", "amount": 500, "currency": "EUR"},
        "starts_at": NOON,
        "ends_at": NOON + timedelta(days=30),
        "channels": ("store",),
        "stores": (),
        "basket_min_amount": 0,
        "created_at": NOON,
        **overrides,
    }
    return Campaign(**facts)


def use(coupon: Coupon = COUPON, *, seq: int = 0, key: str = "") -> Move:
    key = key or unique("key")
    return Move(coupon, seq, "use", "store", "S1", NOON, NOON, "tests", key=key)


def void(coupon: Coupon = COUPON, *, seq: int = 1) -> Move:
    return Move(coupon, seq, "void", "store", "S1", NOON, NOON, "tests")


def conflict(first: Move, *, key: str = "") -> Conflict:
    key = key or unique("key")
    return Conflict(key, first.coupon, first, "R-2", "store", "S2", NOON, NOON)


def test_a_campaign_is_read_as_it_was_made_with_the_next_number(parts: Parts) -> None:
    limits = {"stores": ("S1", "S2"), "basket_min_amount": 5}
    made = [parts.coupons.add_campaign(campaign(**limits)) for _ in range(3)]
    assert [each.number for each in made] == [1, 2, 3]
    for each in made:
        assert parts.coupons.campaign(each.id) == each
        assert parts.coupons.campaign_of_number(each.number) == each
    assert parts.coupons.campaigns(before=None, limit=2) == [made[2], made[1]]
    assert parts.coupons.campaigns(before=2, limit=2) == [made[0]]


def test_an_id_and_a_request_key_are_taken_once(parts: Parts) -> None:
    made = parts.coupons.add_campaign(campaign(request_key="k:1"))
    assert parts.coupons.campaign_of_request("k:1") == made
    for again in (campaign(id=made.id), campaign(request_key="k:1")):
        with pytest.raises(CampaignExistsError):
            parts.coupons.add_campaign(again)
    assert parts.coupons.campaigns(before=None, limit=9) == [made]


def test_those_that_run_are_those_that_are_not_over(parts: Parts) -> None:
    late, early, _ = (
        parts.coupons.add_campaign(campaign(ends_at=NOON + timedelta(days=days)))
        for days in (9, 3, 0)
    )
    assert parts.coupons.running(at=NOON, limit=9) == [early, late]
    assert parts.coupons.running(at=NOON, limit=1) == [early]


def test_batches_take_serials_one_after_the_other(parts: Parts) -> None:
    first = parts.coupons.add_batch(1, "a", count=10)
    second = parts.coupons.add_batch(1, "b", count=5)
    other = parts.coupons.add_batch(2, "a", count=7)
    assert [(each.first, each.count) for each in (first, second, other)] == [
        (1, 10),
        (11, 5),
        (1, 7),
    ]
    assert parts.coupons.batch(1, "b") == second
    assert parts.coupons.batch(2, "b") is None
    assert [parts.coupons.made(number) for number in (1, 2, 3)] == [15, 7, 0]
    with pytest.raises(BatchExistsError):
        parts.coupons.add_batch(1, "a", count=10)


def test_what_codes_cannot_hold_is_not_made(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.coupons.add_batch(1, "a", count=SERIALS_MAX - 5)
    with pytest.raises(CampaignFullError):
        parts.coupons.add_batch(1, "b", count=6)
    assert parts.coupons.add_batch(1, "b", count=5).first == SERIALS_MAX - 4
    monkeypatch.setattr(store, "BATCHES_MAX", 2)
    with pytest.raises(CampaignFullError):
        parts.coupons.add_batch(1, "c", count=1)
    parts.coupons.add_campaign(campaign())
    monkeypatch.setattr(store, "CAMPAIGNS_MAX", 1)
    with pytest.raises(CampaignFullError):
        parts.coupons.add_campaign(campaign())


def test_a_hundred_thousand_codes_are_one_document(parts: Parts) -> None:
    made = parts.coupons.add_campaign(campaign())
    before = dump(parts.database)
    batch = parts.coupons.add_batch(made.number, "a", count=100_000)
    codes = codes_of(MadeBatch(made, batch, is_replay=False), parts.coupon_mint)
    assert parts.coupon_mint.read(next(codes).code) == Coupon(made.number, 1)
    after = dump(parts.database)
    assert len(after.pop("coupon_batches")) == 1
    assert after == {name: held for name, held in before.items() if name != "coupon_batches"}


def test_a_move_is_made_once_and_its_key_used_once(parts: Parts) -> None:
    made = use(key="store/S1/1")
    parts.coupons.add_move(made)
    assert parts.coupons.move(COUPON, 0) == parts.coupons.last_move(COUPON) == made
    assert parts.coupons.use_of_key("store/S1/1") == made
    before = dump(parts.database)
    for again in (use(), use(Coupon(1, 43), key="store/S1/1")):
        with pytest.raises(MoveExistsError):
            parts.coupons.add_move(again)
    assert dump(parts.database) == before


def test_the_last_move_is_that_of_this_coupon(parts: Parts) -> None:
    for serial in (4, 42, 420, 421):
        parts.coupons.add_move(use(Coupon(1, serial)))
    parts.coupons.add_move(use(Coupon(11, 42)))
    parts.coupons.add_move(void())
    parts.coupons.add_move(use(seq=2))
    last = parts.coupons.last_move(COUPON)
    assert last is not None
    assert (last.coupon, last.seq, last.kind) == (COUPON, 2, "use")
    assert parts.coupons.last_move(Coupon(1, 2)) is None
    assert parts.coupons.used(1) == 4


def test_a_coupon_changes_hands_fifty_times_and_no_more() -> None:
    turns = [service._next_turn(None)]
    while turns[-1] < MOVES_MAX - 2:
        turns.append(service._next_turn(void(seq=turns[-1] + 1)))
    assert turns == list(range(0, MOVES_MAX, 2))
    with pytest.raises(CouponWornError):
        service._next_turn(void(seq=MOVES_MAX - 1))
    with pytest.raises(CouponUsedError):
        service._next_turn(use(seq=MOVES_MAX - 2))


def test_a_conflict_is_noted_once_in_order_and_their_number_is_bounded(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CONFLICTS_MAX", 3)
    first = use()
    for key in ("a", "a", "b", "c", "d"):
        parts.coupons.add_conflict(conflict(first, key=key))
    parts.coupons.add_conflict(conflict(use(Coupon(2, 1)), key="e"))
    noted = parts.coupons.conflicts(1, before=None, limit=9)
    assert [each["seq"] for each in noted] == [3, 2, 1]
    assert parts.coupons.conflicts(1, before=3, limit=1) == [noted[1]]
    assert noted[0]["first"]["redemption_id"] == first.id
    assert noted[0]["second"]["store"] == "S2"


def test_a_coupon_and_a_report_are_looked_up_by_one_key(parts: Parts, settings: Settings) -> None:
    for serial in range(1, 60):
        parts.coupons.add_move(use(Coupon(1, serial), key=f"store/S1/{serial}"))
    with watching(settings) as watch:
        coupons = CouponStore(watch.database)
        assert coupons.last_move(COUPON)
        assert watch.plan() == Plan({"_id_"}, keys=1, documents=1, returned=1)
        assert coupons.use_of_key("store/S1/7")
        assert watch.plan() == Plan({"key"}, keys=1, documents=1, returned=1)
        assert coupons.use_of_key("store/S1/0") is None
        assert watch.plan() == Plan({"key"}, keys=0, documents=0, returned=0)


def test_what_is_made_and_where_to_go_on_is_one_key_however_many_batches(
    parts: Parts, settings: Settings
) -> None:
    for number in range(30):
        parts.coupons.add_batch(1, f"b{number}", count=3)
    with watching(settings) as watch:
        assert CouponStore(watch.database).made(1) == 90
        assert watch.plan() == Plan({"campaign_seq"}, keys=1, documents=1, returned=1)


def test_a_campaign_is_read_once(parts: Parts, settings: Settings) -> None:
    made = parts.coupons.add_campaign(campaign())
    with watching(settings) as watch:
        coupons = CouponStore(watch.database)
        for _ in range(3):
            assert coupons.campaign_of_number(made.number) == made
        assert coupons.campaign_of_number(99) is None
        assert len(watch.commands) == 2


def test_known_campaigns_are_thrown_away_when_they_are_too_many(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "CAMPAIGNS_KNOWN_MAX", 2)
    made = [parts.coupons.add_campaign(campaign()) for _ in range(5)]
    for each in made * 2:
        assert parts.coupons.campaign_of_number(each.number) == each
        assert len(parts.coupons._known) <= 2
