"""Rewards in the store: how many are gone, whoever takes them, holds them or gives them back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.journal.model import HoldExpiredError
from loyalty.kit.mongo import transact
from loyalty.program.model import PERIODS
from loyalty.rewards import store as rewards_store
from loyalty.rewards.model import (
    OutOfStockError,
    Reward,
    RewardLimitReachedError,
    RewardNotFoundError,
    TooManyRewardsError,
    period_start,
)
from loyalty.rewards.store import SWEEP_MAX, Taking
from tests.builders import NOON, unique

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.client_session import ClientSession

    from app import Parts

MINUTE = timedelta(minutes=1)
MUG = Reward("mug", "A mug", "product", 300, {"sku": "mug"})
RARE = replace(MUG, stock=2)
FULL = Reward(
    "gala",
    "Gala",
    "access",
    900,
    {"access": "gala-2026"},
    unit="stars",
    tiers=frozenset({"gold", "silver"}),
    channels=frozenset({"app"}),
    stores=frozenset({"S1"}),
    starts_at=NOON,
    ends_at=NOON + timedelta(days=30),
    stock=40,
    per_member={"year": 1},
)


def in_transaction(parts: Parts, work: Callable[[ClientSession], None]) -> None:
    """As the journal does it: all of it or nothing."""
    transact(parts.database.client, work)


def take(
    parts: Parts,
    reward: Reward,
    *,
    member: str = "m_ada",
    at: datetime = NOON,
    until: datetime = NOON + 15 * MINUTE,
) -> str:
    """Take a piece; the hold's key."""
    taking = Taking(unique("hold"), reward.id, member, at, until)
    since = {period: period_start(period, at) for period in PERIODS}
    in_transaction(parts, lambda session: parts.rewards.take(taking, reward, since, session))
    return taking.hold


def keep(parts: Parts, hold: str) -> None:
    """Capture a hold."""
    in_transaction(parts, lambda session: parts.rewards.keep(hold, session))


def give_back(parts: Parts, hold: str) -> None:
    """Release a hold, or undo its capture."""
    in_transaction(parts, lambda session: parts.rewards.give_back(hold, session))


def left(parts: Parts, reward: Reward = RARE, at: datetime = NOON) -> int:
    """How many are left."""
    return parts.rewards.left([reward], at=at)[reward.id]


def test_a_reward_reads_back_as_it_was_put(parts: Parts) -> None:
    parts.rewards.put([MUG, FULL])
    assert parts.rewards.get("gala") == FULL
    assert parts.rewards.all() == [FULL, MUG]
    with pytest.raises(RewardNotFoundError):
        parts.rewards.get("none")


def test_a_reward_that_comes_again_is_replaced_and_what_is_gone_stays_gone(parts: Parts) -> None:
    parts.rewards.put([RARE])
    keep(parts, take(parts, RARE))
    more = replace(RARE, stock=5, name="The mug")
    parts.rewards.put([more])
    assert parts.rewards.get("mug") == more
    assert left(parts, more) == 4


def test_no_more_rewards_than_can_be_listed(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewards_store, "REWARDS_MAX", 2)
    parts.rewards.put([MUG, FULL])
    parts.rewards.put([replace(MUG, price=1)])
    with pytest.raises(TooManyRewardsError):
        parts.rewards.put([MUG, replace(MUG, id="third")])
    assert [each.id for each in parts.rewards.all()] == ["gala", "mug"]


def test_a_stock_lasts_for_so_many_and_no_more(parts: Parts) -> None:
    parts.rewards.put([RARE])
    assert left(parts) == 2
    take(parts, RARE)
    take(parts, RARE, member="m_bob")
    assert left(parts) == 0
    before = parts.database["reward_takings"].count_documents({})
    with pytest.raises(OutOfStockError):
        take(parts, RARE, member="m_cem")
    assert parts.database["reward_takings"].count_documents({}) == before


def test_what_is_given_back_may_be_taken_again_and_only_once(parts: Parts) -> None:
    parts.rewards.put([RARE])
    hold = take(parts, RARE)
    keep(parts, hold)
    assert left(parts) == 1
    for _ in range(2):
        give_back(parts, hold)
        assert left(parts) == 2


def test_what_expired_holds_had_is_left_again_by_itself(parts: Parts) -> None:
    parts.rewards.put([RARE])
    kept, lost = take(parts, RARE), take(parts, RARE)
    keep(parts, kept)
    end = NOON + 15 * MINUTE
    assert left(parts, at=end - MINUTE) == 0
    assert left(parts, at=end) == 1
    take(parts, RARE, at=end, until=end + MINUTE)
    assert left(parts, at=end) == 0
    with pytest.raises(OutOfStockError):
        take(parts, RARE, at=end, until=end + MINUTE)
    # The piece went to somebody else: too late for a capture, whatever a slow clock says.
    with pytest.raises(HoldExpiredError):
        keep(parts, lost)
    keep(parts, kept)


def test_more_expired_holds_than_one_taking_clears_away(parts: Parts) -> None:
    stock = SWEEP_MAX + 10
    many = replace(RARE, stock=stock)
    parts.rewards.put([many])
    end = NOON + MINUTE
    parts.database["reward_takings"].insert_many(
        {
            "_id": f"h{number}",
            "reward": "mug",
            "member": "m_ada",
            "taken_at": NOON,
            "expires_at": end,
            "is_counted": True,
        }
        for number in range(stock)
    )
    parts.database["reward_counters"].update_one({"_id": "mug"}, {"$set": {"taken": stock}})
    for taken in range(1, 4):
        take(parts, many, at=end, until=end + MINUTE)
        assert left(parts, many, at=end) == stock - taken
    assert parts.database["reward_takings"].count_documents({"expires_at": end}) == 0


@pytest.mark.parametrize(
    ("limit", "later", "is_allowed"),
    [
        ({"day": 1}, timedelta(hours=11), False),
        ({"day": 1}, timedelta(hours=13), True),
        ({"month": 1}, timedelta(days=30), False),
        ({"month": 1}, timedelta(days=31), True),
        ({"lifetime": 1}, timedelta(days=4000), False),
        ({"day": 2}, timedelta(0), True),
    ],
)
def test_one_member_takes_it_so_often_in_a_period(
    parts: Parts, limit: Any, later: timedelta, *, is_allowed: bool
) -> None:
    reward = replace(MUG, per_member=limit)
    parts.rewards.put([reward])
    keep(parts, take(parts, reward))
    take(parts, reward, member="m_bob")
    at = NOON + later
    if is_allowed:
        take(parts, reward, at=at, until=at + MINUTE)
        return
    with pytest.raises(RewardLimitReachedError):
        take(parts, reward, at=at, until=at + MINUTE)


def test_what_came_back_does_not_count_against_the_member(parts: Parts) -> None:
    reward = replace(MUG, per_member={"lifetime": 1})
    parts.rewards.put([reward])
    take(parts, reward)
    end = NOON + 15 * MINUTE
    hold = take(parts, reward, at=end, until=end + MINUTE)
    give_back(parts, hold)
    take(parts, reward, at=end, until=end + MINUTE)


def test_how_often_a_member_took_what(parts: Parts) -> None:
    limited = replace(MUG, per_member={"day": 9})
    other = replace(limited, id="cup")
    parts.rewards.put([limited, other, FULL])
    yesterday = NOON - timedelta(days=1)
    keep(parts, take(parts, limited, at=yesterday))
    take(parts, limited)
    take(parts, limited, member="m_bob")
    since = {period: period_start(period, NOON) for period in PERIODS}
    ask = parts.rewards.taken
    found = ask("m_ada", [limited, other, FULL, replace(MUG, id="free")], since=since, at=NOON)
    # NOON is on a Sunday, the first of its month.
    assert found == {"mug": {"day": 1, "week": 2, "month": 1, "year": 2, "lifetime": 2}}
    late = ask("m_ada", [limited], since=since, at=NOON + 15 * MINUTE)
    assert late["mug"]["day"] == 0
    assert ask("m_ada", [MUG], since=since, at=NOON) == {}


def test_what_no_counter_stands_on_goes_by_itself(parts: Parts) -> None:
    parts.rewards.put([MUG])
    take(parts, MUG)
    indexes = parts.database["reward_takings"].index_information()
    assert indexes["expired"]["expireAfterSeconds"] == 0
    assert indexes["expired"]["partialFilterExpression"] == {"is_counted": False}
    kept = parts.database["reward_takings"].find_one({}) or {}
    assert (kept["is_counted"], kept["expires_at"]) == (False, NOON + 15 * MINUTE)
    keep(parts, kept["_id"])
    assert (parts.database["reward_takings"].find_one({}) or {})["expires_at"] is None
