"""Returns take points back at the purchase's own rate, whatever the rules say by then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.program.lots import Lot, available, pending_of
from loyalty.program.model import About, Activity, Back, State
from loyalty.program.step import step
from tests.builders import (
    BASE_RULE,
    NOON,
    adjustment,
    after,
    engagement,
    giving_back,
    line,
    outcomes,
    program,
    purchase,
)

if TYPE_CHECKING:
    from loyalty.program.model import Line, Posting, Program

NEGATIVE = {"balance": "may_go_negative", "rounding": "half_up"}
WITHIN = {"balance": "within_balance", "rounding": "half_up"}
PENDING = {"balance": "only_pending", "rounding": "half_up"}
WAITS = {"points": {"pending": {"days": 14}}}
LADDER = [
    {"id": "basic", "name": "Basic", "threshold": 0},
    {"id": "gold", "name": "Gold", "threshold": 1500},
]


def basket(*lines_: Line, **more: Any) -> Activity:
    """A purchase with the key p."""
    return purchase(*lines_, key="p", **more)


def back(*lines_: tuple[str, int], **more: Any) -> Activity:
    """A return of it, whole or in part."""
    return giving_back("p", *lines_, **more)


def taken(rules: Program, bought: Activity, *returns: Activity) -> int:
    """What returns take in all."""
    return after(rules, bought).balance - after(rules, bought, *returns).balance


def last(rules: Program, *activities: Activity) -> tuple[Posting, ...]:
    """What the last of them moves."""
    return outcomes(rules, *activities)[-1][1]


@pytest.mark.parametrize(("amount", "points"), [(100, 0), (500, 0), (1000, 1), (2000, 2)])
def test_a_part_of_a_purchase_takes_its_part_of_the_points_rounded_half_up(
    amount: int, points: int
) -> None:
    rules = program({**BASE_RULE, "per_amount": 1000})
    assert taken(rules, basket(line(2190, tax=145)), back(amount=amount)) == points


@pytest.mark.parametrize(("rounding", "points"), [("floor", 1), ("half_up", 2), ("ceiling", 2)])
def test_the_rounding_of_returns_is_the_programmes(rounding: str, points: int) -> None:
    rules = program(returns={"rounding": rounding})
    assert taken(rules, basket(line(300)), back(amount=150)) == points


def test_each_line_takes_back_what_stands_on_it() -> None:
    double = {"id": "double", "type": "multiplier", "factor": "2", "only": {"skus": ["wine"]}}
    rules = program(BASE_RULE, double)
    bought = basket(line(1000), line(1000, sku="wine"))
    assert taken(rules, bought, back(("milk", 1))) == 10
    assert taken(rules, bought, back(("wine", 1))) == 20


def test_by_value_all_points_fall_with_the_basket_whatever_they_stand_on() -> None:
    rules = program({**BASE_RULE, "only": {"skus": ["wine"]}}, returns={"by": "value"})
    bought = basket(line(1000), line(1000, sku="wine"))
    assert taken(rules, bought, back(("milk", 1))) == 5
    assert taken(rules, bought, back(("wine", 1))) == 5


def test_a_line_that_earned_nothing_takes_nothing() -> None:
    rules = program({**BASE_RULE, "excluding": {"skus": ["wine"]}})
    bought = basket(line(1000), line(5000, sku="wine"))
    assert taken(rules, bought, back(("wine", 1))) == 0
    assert taken(rules, bought, back(("milk", 1))) == 10


def test_a_bonus_for_the_basket_goes_in_proportion_to_value() -> None:
    rules = program({"id": "bonus", "type": "fixed", "points": 70, "per": "basket"})
    assert taken(rules, basket(line(2000), line(2000, sku="wine")), back(("wine", 1))) == 35


def test_points_for_free_goods_go_with_the_rest_of_the_basket() -> None:
    gift = {"id": "gift", "type": "fixed", "points": 8, "only": {"skus": ["sample"]}}
    bought = basket(line(1000), line(0, sku="sample"))
    assert taken(program(gift), bought, back(("milk", 1))) == 8


def test_a_basket_of_free_goods_goes_unit_by_unit() -> None:
    rules = program({"id": "gift", "type": "fixed", "points": 2})
    assert taken(rules, basket(line(0, quantity=4)), back(("milk", 1))) == 2


@pytest.mark.parametrize(("policy", "points", "left"), [(WITHIN, 50, 0), (NEGATIVE, 150, -100)])
def test_what_was_spent_meanwhile_is_owed_or_forgiven(
    policy: dict[str, str], points: int, left: int
) -> None:
    happened = (basket(line(15_000)), adjustment(-100), back())
    (posting,) = last(program(returns=policy), *happened)
    assert (posting.points, posting.inputs["due"]) == (-points, 150)
    assert after(program(returns=policy), *happened).balance == left


def test_within_the_balance_nothing_is_taken_from_a_debt_nor_given_to_it() -> None:
    negative, within = program(returns=NEGATIVE), program(returns=WITHIN)
    in_debt = after(negative, basket(line(10_000)), adjustment(-60), back())
    assert in_debt.balance == -60
    assert step(negative, in_debt, adjustment(5))[0].balance == -55
    state, _ = outcomes(within, basket(line(100)), back(), state=in_debt)[-1]
    assert state.balance == -59


def test_what_was_forgiven_once_is_not_claimed_by_the_next_return() -> None:
    rules = program(returns=WITHIN)
    half = [back(amount=5000), back(amount=5000)]
    happened = (basket(line(10_000)), adjustment(-100), half[0])
    (posting,) = last(rules, *happened)
    assert (posting.points, posting.inputs["due"]) == (0, 50)
    assert after(rules, *happened, purchase(line(20_000)), half[1]).balance == 200 - 50


def test_only_pending_points_can_be_taken_where_the_policy_says_so() -> None:
    rules = program(returns=PENDING, units=WAITS)
    bought = basket(line(10_000))
    assert after(rules, bought, back(amount=5000)).balance == 50
    active = NOON + timedelta(days=15)
    (posting,) = last(rules, bought, back(at=active))
    assert (posting.points, posting.inputs["due"]) == (0, 100)


def test_pending_points_of_other_purchases_are_not_taken_instead_of_the_purchases_own() -> None:
    rules = program(returns=PENDING, units=WAITS)
    at = NOON + timedelta(days=15)
    waiting = purchase(line(400), at=at, key="w")
    lots = after(rules, basket(), waiting, back(at=at)).lots["points"]
    assert (available(lots, at), pending_of(lots, at)) == (10, 4)


def test_a_return_takes_from_the_purchases_own_lot_before_others() -> None:
    rules = program(expires_after_months=1)
    older, newer = NOON - timedelta(days=5), NOON
    state = after(rules, purchase(at=older, key="o"), basket(line(3000), at=newer), back())
    assert state.lots == {"points": (Lot(datetime(2026, 3, 25, tzinfo=UTC), 10),)}


def test_a_return_takes_the_purchases_pending_points_before_those_that_can_be_spent() -> None:
    rules = program(units=WAITS)
    other = purchase(line(3000), at=NOON - timedelta(days=20), key="o")
    waiting = purchase(at=NOON + timedelta(days=1), key="w")
    at = NOON + timedelta(days=2)
    lots = after(rules, other, basket(), waiting, back(at=at)).lots["points"]
    assert (available(lots, at), pending_of(lots, at)) == (30, 10)
    assert lots[-1].active_at == datetime(2026, 3, 16, tzinfo=UTC)


def test_a_bonus_of_another_purchase_leaves_that_purchases_lot() -> None:
    nth = {"id": "n", "type": "nth_channel", "n": 2, "window_days": 30, "points": 5}
    rules = program(BASE_RULE, nth, expires_after_months=1)
    later = NOON + timedelta(days=3)
    happened = (basket(channel="web"), purchase(channel="app", at=later, key="q"))
    state = after(rules, *happened, back(at=later))
    assert state.lots == {"points": (Lot(datetime(2026, 4, 5, tzinfo=UTC), 10),)}


def test_a_bonus_of_another_purchase_falls_in_its_own_unit_and_is_told_once() -> None:
    nth = {"id": "n", "type": "nth_channel", "n": 2, "window_days": 30, "points": 5}
    stamp = {"id": "stamp", "type": "fixed", "per": "basket", "points": 1, "unit": "stamps"}
    rules = program(BASE_RULE, nth, stamp, units={"stamps": {}})
    later = NOON + timedelta(days=3)
    happened = (basket(channel="web"), purchase(channel="app", at=later, key="q"), back(at=later))
    fell = [each for each in last(rules, *happened) if each.inputs["purchase"] == "q"]
    assert [(each.unit, each.points, each.inputs["fallen"]) for each in fell] == [
        ("points", -5, ["n"])
    ]
    own = last(rules, *happened, giving_back("q", key="r2", at=later))
    assert [(each.unit, each.points) for each in own] == [("points", -10), ("stamps", -1)]
    assert not any("fallen" in each.inputs for each in own)


def test_a_whole_return_frees_counters_first_visits_and_channels() -> None:
    welcome = {"id": "hi", "type": "first_on_channel", "points": 40, "times_max": {"lifetime": 1}}
    rules = program(BASE_RULE, welcome)
    state = after(rules, basket(), back())
    assert (state.balance, state.purchases, state.uses) == (0, 0, {"store": 0})
    assert state.counters["hi"]["lifetime"][1:] == (0, 0)
    assert after(rules, basket(), back(), purchase(key="q")).balance == 50


def test_a_return_of_a_part_leaves_counters_first_visits_and_channels() -> None:
    welcome = {"id": "hi", "type": "first_on_channel", "points": 40, "times_max": {"lifetime": 1}}
    rules = program(BASE_RULE, welcome)
    before, state = after(rules, basket()), after(rules, basket(), back(amount=999))
    assert (state.channels, state.counters) == (before.channels, before.counters)
    assert (state.purchases, state.uses) == (1, {"store": 1})


def test_expired_points_of_the_purchases_entry_are_not_part_of_its_award() -> None:
    rules = program(expires_after_months=1)
    later = NOON.replace(month=6)
    happened = (purchase(key="old"), basket(at=later))
    assert [each.kind for each in last(rules, *happened)] == ["expiry", "spend"]
    assert after(rules, *happened, back(at=later)).balance == 0


BONUS = {"id": "bonus", "type": "fixed", "per": "basket", "points": 20}


@pytest.mark.parametrize(
    ("on_return", "half", "whole"),
    [("proportional", 10, 20), ("when_undone", 0, 20), ("keep", 0, 0), ("while_it_holds", 10, 20)],
)
def test_a_rule_says_what_becomes_of_its_points(on_return: str, half: int, whole: int) -> None:
    rules = program({**BONUS, "on_return": on_return})
    bought = basket(line(1000), line(1000, sku="rye"))
    first, second = back(("milk", 1)), back(("rye", 1))
    assert taken(rules, bought, first) == half
    assert taken(rules, bought, first, second) == taken(rules, bought, back()) == whole


@pytest.mark.parametrize(("amount", "points"), [(500, 5), (501, 20), (1000, 20)])
def test_a_bonus_that_needs_a_least_basket_falls_whole_once_too_little_is_left(
    amount: int, points: int
) -> None:
    when = {"basket_min_amount": 1500}
    rules = program({**BONUS, "when": when, "on_return": "while_it_holds"})
    assert taken(rules, basket(line(2000)), back(amount=amount)) == points
    (posting,) = last(rules, basket(line(2000)), back(amount=amount))
    assert posting.inputs.get("too_short", []) == (["bonus"] if points == 20 else [])


def test_spend_points_with_a_least_amount_fall_whole_once_too_little_is_left() -> None:
    rule = {**BASE_RULE, "amount_min": 1500, "on_return": "while_it_holds"}
    assert taken(program(rule), basket(line(2000)), back(amount=600)) == 20


def test_each_unit_is_taken_back_for_itself() -> None:
    stamp = {"id": "stamp", "type": "fixed", "points": 1, "unit": "stamps"}
    rules = program(BASE_RULE, stamp, units={"stamps": {}})
    bought = basket(line(1000, quantity=4))
    assert after(rules, bought, back(("milk", 1))).balances == {"points": 7, "stamps": 3}
    assert [(each.unit, each.points) for each in last(rules, bought, back())] == [
        ("points", -10),
        ("stamps", -4),
    ]


def test_a_return_of_what_earned_only_another_unit_says_nothing_of_points() -> None:
    stamp = {"id": "stamp", "type": "fixed", "points": 1, "unit": "stamps"}
    (posting,) = last(program(stamp, units={"stamps": {}}), basket(), back())
    assert (posting.unit, posting.points) == ("stamps", -1)


def test_a_return_of_what_earned_nothing_is_told_all_the_same() -> None:
    (posting,) = last(program(rules=[]), basket(), back())
    assert (posting.kind, posting.points, posting.inputs["due"]) == ("clawback", 0, 0)


def test_a_return_of_a_purchase_that_was_reversed_moves_nothing() -> None:
    orphan = Activity("return", NOON, "store", key="r", back=Back("gone"))
    assert step(program(), State(), orphan)[1] == ()


def tiered(**more: Any) -> Program:
    ladder = {"measure": "spend", "period": "lifetime", "ladder": LADDER, **more}
    return program(tiers=ladder)


def tier_after(rules: Program, *activities: Activity) -> str:
    standing = after(rules, *activities).tier
    assert standing
    return standing.tier


@pytest.mark.parametrize(("on_return", "tier"), [("subtract", "basic"), ("keep", "gold")])
def test_what_came_back_does_not_carry_a_tier_unless_the_ladder_keeps_it(
    on_return: str, tier: str
) -> None:
    rules = tiered(on_return=on_return)
    assert tier_after(rules, basket(line(1500))) == "gold"
    assert tier_after(rules, basket(line(1500)), back(amount=1)) == tier


def test_purchases_count_for_a_tier_until_all_of_them_has_come_back() -> None:
    steps = [LADDER[0], {**LADDER[1], "threshold": 2}]
    rules = tiered(measure="purchases", ladder=steps)
    bought = (purchase(key="o"), basket(line(sku="a"), line(0, sku="free")))
    assert tier_after(rules, *bought, back(("free", 1))) == "gold"
    assert tier_after(rules, *bought, back(("a", 1))) == "basic"
    again = (purchase(key="q"), back(("free", 1)))
    assert tier_after(rules, *bought, back(("a", 1)), *again) == "gold"


def test_points_that_were_taken_back_do_not_count_for_a_tier_of_points() -> None:
    steps = [LADDER[0], {**LADDER[1], "threshold": 12}]
    rules = tiered(measure="points", ladder=steps)
    assert tier_after(rules, basket(line(1500))) == "gold"
    assert tier_after(rules, basket(line(1500)), back(amount=700)) == "basic"


@pytest.mark.parametrize(("counts_current", "points"), [(True, 30), (False, 15)])
def test_a_purchase_counts_for_the_tier_that_its_own_rules_see_or_for_the_next(
    counts_current: bool,  # noqa: FBT001  # a parameter of the case
    points: int,
) -> None:
    double = {"id": "d", "type": "multiplier", "factor": "2", "when": {"tiers": ["gold"]}}
    ladder = {"measure": "spend", "period": "lifetime", "ladder": LADDER}
    rules = program(BASE_RULE, double, tiers={**ladder, "counts_current": counts_current})
    assert after(rules, purchase(line(1500))).balance == points
    assert after(rules, purchase(line(1500)), purchase()).balance == points + 20


def test_a_tier_of_points_counts_what_is_earned_and_not_what_is_given_by_hand() -> None:
    steps = [LADDER[0], {**LADDER[1], "threshold": 12}]
    rules = tiered(measure="points", ladder=steps)
    assert tier_after(rules, purchase(), adjustment(100)) == "basic"
    assert tier_after(rules, purchase(), purchase()) == "gold"
    assert tier_after(rules, purchase(), engagement("visit")) == "basic"


def test_a_tier_is_lost_as_time_goes_by() -> None:
    rules = tiered(period="rolling", rolling_days=30)
    visit = engagement("visit", at=NOON + timedelta(days=30))
    before = engagement("visit", at=NOON + timedelta(days=29))
    assert tier_after(rules, purchase(line(1500)), before) == "gold"
    assert tier_after(rules, purchase(line(1500)), visit) == "basic"


def test_years_since_joining_are_the_members_own() -> None:
    rules = tiered(period="anniversary")
    about = About(joined_at=datetime(2025, 3, 10, tzinfo=UTC))
    bought = purchase(line(1500), about=about)
    year_on = engagement("visit", at=datetime(2027, 3, 9, 12, tzinfo=UTC), about=about)
    later = engagement("visit", at=datetime(2027, 3, 10, 12, tzinfo=UTC), about=about)
    assert tier_after(rules, bought, year_on) == "gold"
    assert tier_after(rules, bought, later) == "basic"
