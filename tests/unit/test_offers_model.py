"""Which rules are offers here and now, what is missing, and in which order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.model import About, Match, State
from loyalty.program.tiers import Tier
from loyalty.rewards.model import Reward
from recommend.offers.model import (
    Holding,
    Liked,
    Offer,
    Place,
    in_common_order,
    in_own_order,
    reward_offer,
    rule_offers,
    tier_offer,
    visible,
)
from tests.builders import BASE_RULE, NOON, after, awarded, engagement, program, purchase

DAY = timedelta(days=1)
HERE = Place("store", "S1", NOON)


def offered(
    *rules: dict[str, Any], state: State | None = None, place: Place = HERE, **known: Any
) -> list[Offer]:
    about = About(**known)
    holding = Holding(program(BASE_RULE, *rules), state or State(), known.pop("tier", ""), about)
    return rule_offers(holding, place, {"milk": "Whole milk"})


def rule(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": "it", "type": kind, **more}


DOUBLE = rule("multiplier", factor="2")
HELLO = rule("first_on_channel", points=20)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (
            rule("multiplier", factor="2", only={"categories": ["Dairy"], "skus": ["milk"]}),
            "2 times the points on Whole milk, Dairy",
        ),
        (
            rule("fixed", points=50, per="unit", only={"skus": ["milk"]}),
            "50 points extra for each on Whole milk",
        ),
        (rule("engagement", engagement="review", points=1), "1 point for this: review"),
        (
            rule("nth_channel", n=2, window_days=30, points=100),
            "100 points for using 2 channels within 30 days",
        ),
        (HELLO, "20 points for the first time on: store"),
        (rule("every_nth", n=10, points=99), "99 points for every 10 purchases"),
        (rule("milestone", measure="spend", at=50_00, points=500), "500 points once at 50.00 EUR"),
        (rule("streak", period="week", n=4, points=40), "40 points for buying in 4 weeks running"),
        (
            rule("referral", friend_points=50, referrer_points=200),
            "200 points when a friend whom you referred buys first",
        ),
    ],
)
def test_each_kind_of_rule_is_said_in_words(made: dict[str, Any], text: str) -> None:
    (offer,) = offered(made)
    assert offer.text == text


def test_the_plain_points_of_every_purchase_are_no_offer() -> None:
    assert offered() == []
    (special,) = offered(rule("spend", points=3, per_amount=100, only={"channels": ["store"]}))
    assert special.text == "3 points for every 1.00 EUR"


def test_only_what_holds_here_and_now_is_offered() -> None:
    for made, place in (
        ({**DOUBLE, "only": {"channels": ["web"]}}, HERE),
        ({**DOUBLE, "only": {"stores": ["S2"]}}, HERE),
        ({**DOUBLE, "excluding": {"channels": ["store"]}}, HERE),
        ({**DOUBLE, "when": {"starts_at": (NOON + DAY).isoformat()}}, HERE),
        ({**DOUBLE, "when": {"ends_at": NOON.isoformat()}}, HERE),
        ({**DOUBLE, "when": {"weekdays": ["mon"]}}, HERE),
    ):
        assert offered(made, place=place) == [], made
    anywhere = Place(None, None, NOON)
    assert (
        len(offered({**DOUBLE, "only": {"channels": ["web"], "stores": ["S2"]}}, place=anywhere))
        == 1
    )


def test_what_only_the_till_settles_is_said_and_not_judged() -> None:
    when = {
        "hours": {"from": "18:00", "to": "20:00"},
        "basket_min_amount": 20_00,
        "payment": ["gift_card"],
    }
    (offer,) = offered({**DOUBLE, "when": when})
    assert (
        offer.text
        == "2 times the points from 20.00 EUR, between 18:00 and 20:00, paid by gift card"
    )


def test_circumstances_of_the_member_are_judged() -> None:
    for_segment = {**DOUBLE, "when": {"segments": ["vip"]}}
    assert offered(for_segment) == []
    assert len(offered(for_segment, segments=frozenset({"vip"}))) == 1
    first = {**DOUBLE, "when": {"first_purchase": True}}
    assert len(offered(first)) == 1
    assert offered(first, state=after(program(), purchase())) == []


def test_what_the_member_has_had_is_not_offered_again() -> None:
    once = rule("engagement", engagement="review", points=5, times_max={"month": 1})
    rules = program(BASE_RULE, once)
    state = after(rules, engagement("review"))
    assert offered(once, state=state) == []
    assert len(offered(once, state=state, place=replace_at(NOON + 40 * DAY))) == 1
    assert offered(HELLO, state=after(program(BASE_RULE, HELLO), purchase())) == []
    milestone = rule("milestone", measure="purchases", at=1, points=5)
    assert offered(milestone, state=after(program(BASE_RULE, milestone), purchase())) == []
    second = rule("nth_channel", n=1 + 1, window_days=30, points=5)
    both = after(program(BASE_RULE, second), purchase(), purchase(channel="web", at=NOON + DAY))
    assert offered(second, state=both, place=replace_at(NOON + DAY)) == []


def replace_at(at: Any) -> Place:
    return HERE._replace(at=at)


@given(done=st.integers(0, 25), n=st.integers(2, 12))
def test_what_is_missing_is_what_the_programme_then_asks_for(done: int, n: int) -> None:
    nth = rule("every_nth", n=n, points=7)
    rules = program(BASE_RULE, nth)
    past = [purchase(at=NOON + number * DAY, key=f"k{number}") for number in range(done)]
    state = after(rules, *past)
    (offer,) = offered(nth, state=state, place=replace_at(NOON + done * DAY))
    assert offer.missing
    assert offer.missing.amount == n - done % n
    due = offer.missing.amount == 1
    more = purchase(at=NOON + done * DAY, key="next")
    assert (awarded(rules, more, *past) == 10 + 7) is due


def test_rewards_and_tiers_say_what_is_missing() -> None:
    reward = Reward("mug", "A mug", "product", 100, {"sku": "mug"})
    near = reward_offer(reward, 88)
    assert near.missing
    assert (near.text, near.missing.text, near.progress) == (
        "A mug for 100 points",
        "12 points more",
        0.88,
    )
    assert reward_offer(reward, 300).missing is None
    assert reward_offer(reward, -5).progress == 0
    tier = tier_offer(Tier("gold", "Gold", 100_00), 25_00, "spend", "EUR")
    assert tier.missing
    assert (tier.missing.text, tier.progress) == ("25.00 EUR more", 0.75)


def bonus(name: str, **more: Any) -> Offer:
    return Offer("bonus", name, name, **more)


def test_hidden_products_are_in_no_offer() -> None:
    hidden = frozenset({"pills"})
    only = Match(skus=frozenset({"pills"}))
    both = Match(skus=frozenset({"pills", "milk"}))
    offers = [bonus("a", only=only), bonus("b", only=both), bonus("c", sku="pills"), bonus("d")]
    found = visible(offers, hidden)
    assert [each.id for each in found] == ["b", "d"]
    assert found[0].only.skus == {"milk"}


def test_the_own_order_puts_first_what_is_liked_near_and_ending() -> None:
    taste = [Liked(0.8, "milk", "Whole milk", "Dairy/Milk", "Meadow"), Liked(0.2, "tea")]
    offers = [
        bonus("other", only=Match(categories=frozenset({"Toys"}))),
        bonus("dairy", only=Match(categories=frozenset({"Dairy"}))),
        bonus("tea", only=Match(skus=frozenset({"tea"}))),
        bonus("far", progress=0.1),
        bonus("soon", ends_at=NOON + DAY),
    ]
    found = in_own_order(offers, taste, NOON)
    assert [each.offer.id for each in found] == ["dairy", "soon", "tea", "other", "far"]
    assert [each.because for each in found][:3] == ["Dairy", "", "tea"]


@given(st.permutations(["a", "b", "c", "d"]))
def test_without_a_taste_the_order_is_everybodys(names: list[str]) -> None:
    ends = {"c": NOON + DAY, "d": NOON + 2 * DAY}
    offers = [replace(bonus(name), ends_at=ends.get(name)) for name in names]
    assert [each.offer.id for each in in_common_order(offers)] == ["c", "d", "a", "b"]
