"""Rewards and points as payment, as values: who may take what, and what points are worth."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import PERIODS, PointsPayment
from loyalty.rewards.model import (
    REASONS,
    REWARD_TYPES,
    VALUES,
    Reward,
    Taker,
    objection,
    period_start,
    refused,
)
from loyalty.rewards.payment import (
    PaymentExceedsShareError,
    PaymentStepError,
    check,
    quote,
    worth,
)
from loyalty.rewards.pool import allot
from loyalty.rewards.schemas import PerMemberSchema, RewardSchema, ValueSchema
from loyalty.rewards.service import reward_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OFF = Reward("five-off", "5 EUR off", "amount_off", 500, {"amount": 500})
RICH = Taker("gold", {"points": 10_000})
CENT = PointsPayment(points=100, amount=100, step=100)


def body(**overrides: Any) -> dict[str, Any]:
    """A line of the catalogue."""
    plain = {"id": "five-off", "name": "5 EUR off", "type": "amount_off", "price": 500}
    return {**plain, "value": {"amount": 500}, **overrides}


@pytest.mark.parametrize(
    ("limits", "more", "reason"),
    [
        ({}, {}, None),
        ({"starts_at": NOON}, {}, None),
        ({"starts_at": NOON + HOUR}, {}, "not_started"),
        ({"ends_at": NOON + HOUR}, {}, None),
        ({"ends_at": NOON}, {}, "ended"),
        ({"channels": frozenset({"app"})}, {"channel": "app"}, None),
        ({"channels": frozenset({"app"})}, {"channel": "web"}, "other_channel"),
        ({"channels": frozenset({"app"})}, {}, None),
        ({"stores": frozenset({"S1"})}, {"store": "S2"}, "other_store"),
        ({"stores": frozenset({"S1"})}, {"store": "S1"}, None),
        ({"tiers": frozenset({"gold"})}, {"taker": RICH}, None),
        ({"tiers": frozenset({"gold"})}, {"taker": replace(RICH, tier="tin")}, "tier_needed"),
        ({"tiers": frozenset({"gold"})}, {"taker": replace(RICH, tier=None)}, "tier_needed"),
        ({"tiers": frozenset({"gold"})}, {}, None),
        ({"per_member": {"day": 2}}, {"taken": {"day": 1}}, None),
        ({"per_member": {"day": 2}}, {"taken": {"day": 2}}, "limit_reached"),
        ({"per_member": {"day": 2, "year": 3}}, {"taken": {"day": 1, "year": 3}}, "limit_reached"),
        ({"stock": 5}, {"left": 1}, None),
        ({"stock": 5}, {"left": 0}, "out_of_stock"),
        ({"price": 10_000}, {"taker": RICH}, None),
        ({"price": 10_001}, {"taker": RICH}, "insufficient_points"),
        ({"unit": "miles", "price": 1}, {"taker": RICH}, "insufficient_points"),
    ],
)
def test_what_keeps_a_reward_from_being_taken(
    limits: dict[str, Any], more: dict[str, Any], reason: str | None
) -> None:
    if taken := more.pop("taken", None):
        more["taker"] = replace(RICH, taken={"five-off": taken})
    assert objection(replace(OFF, **limits), at=NOON, **more) == reason


def test_of_several_reasons_the_first_is_given() -> None:
    reward = replace(
        OFF,
        starts_at=NOON + HOUR,
        ends_at=NOON,
        channels=frozenset({"app"}),
        stores=frozenset({"S1"}),
        tiers=frozenset({"gold"}),
        per_member={"day": 1},
    )
    found = []
    poor = Taker(None, {}, {"five-off": {"day": 1}})
    lifted: list[dict[str, Any]] = [
        {"starts_at": None},
        {"ends_at": None},
        {"channels": frozenset()},
        {"stores": frozenset()},
        {"tiers": frozenset()},
        {"per_member": {}},
    ]
    for lift in lifted:
        found.append(objection(reward, at=NOON, channel="web", store="S2", taker=poor, left=0))
        reward = replace(reward, **lift)
    found.append(objection(reward, at=NOON, taker=poor, left=0))
    found.append(objection(reward, at=NOON, taker=poor, left=1))
    assert tuple(found) == REASONS


def test_every_reason_but_the_lack_of_points_is_a_refusal_that_names_a_field() -> None:
    for reason in REASONS:
        if reason != "insufficient_points":
            error = refused(reason)
            assert error.errors[0].field in {"reward", "channel", "store"}


@pytest.mark.parametrize(
    ("period", "start"),
    [
        ("day", datetime(2026, 3, 31, 22, tzinfo=UTC)),
        ("week", datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("month", datetime(2026, 3, 31, 22, tzinfo=UTC)),
        ("year", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        ("lifetime", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_period_begins_at_midnight_of_the_zone(period: Any, start: datetime) -> None:
    # In Berlin it is the first of April, a Wednesday, and summer since Sunday.
    at = datetime(2026, 3, 31, 22, 30, tzinfo=UTC)
    assert period_start(period, at, ZoneInfo("Europe/Berlin")) == start


def test_there_is_a_limit_for_each_period() -> None:
    assert set(PerMemberSchema().fields) == set(PERIODS)


def test_each_type_says_which_values_it_has() -> None:
    named = {each for required, optional in VALUES.values() for each in required + optional}
    assert set(VALUES) == set(REWARD_TYPES)
    assert named == set(ValueSchema().fields)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("amount_off", {"amount": 500}),
        ("percent_off", {"percent": "12.5", "amount_max": 2000}),
        ("product", {"sku": "mug", "quantity": 2}),
        ("shipping", {}),
        ("gift_card", {"amount": 1000}),
        ("access", {"access": "presale-2026"}),
        ("donation", {"amount": 100, "recipient": "Lifeboats"}),
    ],
)
def test_a_reward_of_each_type_is_read(kind: str, value: dict[str, Any]) -> None:
    reward = reward_of(RewardSchema().load(body(type=kind, value=value)))
    assert (reward.type, reward.value, reward.unit) == (kind, value, "points")


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        ({"type": "percent_off"}, "value"),
        ({"type": "product", "value": {}}, "value"),
        ({"value": {"amount": 500, "sku": "mug"}}, "value"),
        ({"value": {"amount": 0}}, "value"),
        ({"type": "percent_off", "value": {"percent": "101"}}, "value"),
        ({"type": "percent_off", "value": {"percent": "0.0"}}, "value"),
        ({"price": 0}, "price"),
        ({"stock": -1}, "stock"),
        ({"per_member": {"decade": 1}}, "per_member"),
        ({"starts_at": "2026-03-02T00:00:00Z", "ends_at": "2026-03-01T00:00:00Z"}, "ends_at"),
        ({"id": "a/b"}, "id"),
    ],
)
def test_a_reward_that_makes_no_sense_is_refused(overrides: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        RewardSchema().load(body(**overrides))
    assert list(refusal.value.messages_dict) == [place]


@pytest.mark.parametrize(
    ("basket", "available", "terms", "points", "amount"),
    [
        (4990, 620, CENT, 600, 600),
        (550, 620, CENT, 500, 500),
        (4990, 99, CENT, 0, 0),
        (4990, -50, CENT, 0, 0),
        (1000, 9999, replace(CENT, share_max=Fraction(1, 2)), 500, 500),
        (999, 9999, PointsPayment(1, 1, 1, Fraction(1, 3)), 333, 333),
        # 250 points are worth 1 EUR: 1250 of them pay 5.00 of 5.49.
        (549, 9999, PointsPayment(250, 100, 250), 1250, 500),
        (549, 9999, PointsPayment(250, 100, 10), 1370, 548),
        (549, 9999, PointsPayment(1, 5, 1), 109, 545),
    ],
)
def test_how_much_of_a_basket_points_can_pay(
    basket: int, available: int, terms: PointsPayment, points: int, amount: int
) -> None:
    assert quote(basket, available, terms) == (points, amount)


terms = st.builds(
    PointsPayment,
    points=st.integers(1, 1000),
    amount=st.integers(1, 1000),
    step=st.integers(1, 500),
    share_max=st.fractions(min_value=Fraction(1, 100), max_value=1, max_denominator=100),
)


@given(basket=st.integers(1, 10**9), available=st.integers(-1000, 10**9), terms=terms)
def test_a_quote_is_the_most_that_is_accepted(
    basket: int, available: int, terms: PointsPayment
) -> None:
    points, amount = quote(basket, available, terms)
    assert 0 <= points <= max(0, available)
    assert amount <= basket * terms.share_max
    if amount:
        check(points, basket, terms)
    more = points + terms.step
    if more <= available and worth(more, terms):
        with pytest.raises(PaymentExceedsShareError):
            check(more, basket, terms)


def test_points_come_in_steps_that_are_worth_something() -> None:
    with pytest.raises(PaymentStepError):
        check(150, 10_000, CENT)
    with pytest.raises(PaymentStepError):
        check(1, 10_000, PointsPayment(100, 1))


def lot(points: int, days: int | None = None, **more: Any) -> Lot:
    """Points that expire in so many days."""
    return Lot(NEVER if days is None else NOON + timedelta(days=days), points, **more)


def test_of_a_pool_the_soonest_expiring_points_go_first_whoever_has_them() -> None:
    lots = {"ada": (lot(50, 20), lot(50)), "bob": (lot(30, 10), lot(30, 30))}
    assert allot(30, lots, at=NOON) == {"bob": 30}
    assert allot(70, lots, at=NOON) == {"bob": 30, "ada": 40}
    assert allot(100, lots, at=NOON) == {"bob": 50, "ada": 50}
    assert allot(999, lots, at=NOON) == {"bob": 60, "ada": 100}


def test_of_points_that_expire_together_those_of_the_first_named_go_first() -> None:
    lots = {"bob": (lot(50, 20),), "ada": (lot(50, 20),)}
    assert allot(60, lots, at=NOON) == {"bob": 50, "ada": 10}


def test_debts_pending_and_expired_points_are_not_in_the_pool() -> None:
    lots = {
        "ada": (lot(-40),),
        "bob": (lot(30, -1), lot(20, 5, active_at=NOON + HOUR), lot(10, 9)),
    }
    assert allot(60, lots, at=NOON) == {"bob": 10}
