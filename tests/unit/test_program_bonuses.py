"""Multipliers, fixed points, engagements and the bonuses for using several channels."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.builders import (
    BASE_RULE,
    NOON,
    after,
    awarded,
    engagement,
    giving_back,
    line,
    program,
    purchase,
)

if TYPE_CHECKING:
    from loyalty.program.model import Activity

MILK = line(1200, sku="milk", category="Food/Dairy", quantity=3)
WINE = line(10_000, sku="wine", category="Drinks", brand="Boon")
DAY = timedelta(days=1)
MOMENT = timedelta(milliseconds=1)


def times(factor: str, **more: Any) -> dict[str, Any]:
    """A multiplier."""
    return {
        "id": f"times-{factor.replace('.', '-')}",
        "type": "multiplier",
        "factor": factor,
        **more,
    }


def fixed(points: int, **more: Any) -> dict[str, Any]:
    """Fixed points."""
    return {"id": "fixed", "type": "fixed", "points": points, **more}


def nth(n: int, **more: Any) -> dict[str, Any]:
    """A bonus for the n-th channel within thirty days."""
    return {
        "id": f"nth-{n}",
        "type": "nth_channel",
        "n": n,
        "window_days": 30,
        "points": 100,
    } | more


def visit(channel: str, *, days: float = 0) -> Activity:
    """Something that earns nothing by itself, some days after noon."""
    return engagement("visit", at=NOON + timedelta(days=days), channel=channel)


@pytest.mark.parametrize(
    ("amount", "factor", "rounding", "points"),
    [
        (500, "3", "floor", 15),
        (400, "1.5", "floor", 6),
        (1999, "1.5", "floor", 28),
        (1999, "1.5", "half_up", 29),
        (1999, "1.5", "ceiling", 29),
        (1000, "1.1", "ceiling", 11),
        (1000, "1", "ceiling", 10),
        (99, "999.999", "ceiling", 0),
    ],
)
def test_a_multiplier_multiplies_the_spend_points(
    amount: int, factor: str, rounding: str, points: int
) -> None:
    rules = program(BASE_RULE, times(factor, rounding=rounding))
    assert awarded(rules, purchase(line(amount))) == points


def test_a_multiplier_for_a_product_multiplies_the_points_of_its_lines() -> None:
    rules = program(BASE_RULE, times("3", only={"skus": ["milk"]}))
    assert awarded(rules, purchase(MILK, WINE)) == 112 + 2 * 12


def test_a_multiplier_excluding_a_product_leaves_its_lines_alone() -> None:
    rules = program(BASE_RULE, times("2", excluding={"brands": ["Boon"]}))
    assert awarded(rules, purchase(MILK, WINE)) == 112 + 12


def test_points_of_a_part_of_the_lines_are_its_exact_share() -> None:
    # 4 points stand on 450: the 150 of the milk have a third of them, and so has the bonus.
    rules = program(BASE_RULE, times("4", only={"skus": ["milk"]}))
    bought = purchase(line(150), line(300, sku="wine"))
    assert awarded(rules, bought) == 4 + 4


def test_multipliers_add_up_and_do_not_multiply_each_other() -> None:
    rules = program(BASE_RULE, times("2"), times("3"))
    assert awarded(rules, purchase(line(1000))) == 10 + 10 + 20


def test_a_multiplier_leaves_fixed_points_alone() -> None:
    assert awarded(program(BASE_RULE, times("2"), fixed(50)), purchase(line(1000))) == 70


def test_a_multiplier_multiplies_what_all_spend_rules_give() -> None:
    extra = {**BASE_RULE, "id": "extra", "only": {"skus": ["wine"]}}
    rules = program(BASE_RULE, extra, times("2", only={"skus": ["wine"]}))
    assert awarded(rules, purchase(MILK, WINE)) == 112 + 100 + 200


def test_a_multiplier_without_spend_points_gives_nothing() -> None:
    on_web = {**BASE_RULE, "only": {"channels": ["web"]}}
    assert awarded(program(on_web, times("2")), purchase()) == 0
    assert awarded(program(BASE_RULE, times("2")), engagement("visit")) == 0


@pytest.mark.parametrize(
    ("channel", "store", "points"), [("app", None, 20), ("store", "S1", 10), ("app", "S1", 20)]
)
def test_a_multiplier_for_a_channel(channel: str, store: str | None, points: int) -> None:
    rules = program(BASE_RULE, times("2", only={"channels": ["app"]}))
    assert awarded(rules, purchase(channel=channel, store=store)) == points


@pytest.mark.parametrize(("per", "points"), [("unit", 8), ("line", 4), ("basket", 2)])
def test_fixed_points_for_each_unit_line_or_basket(per: str, points: int) -> None:
    assert awarded(program(fixed(2, per=per)), purchase(MILK, line(0, sku="bag"))) == points


@pytest.mark.parametrize(("per", "points"), [("unit", 6), ("line", 2), ("basket", 2)])
def test_fixed_points_for_some_products_only(per: str, points: int) -> None:
    rules = program(fixed(2, per=per, only={"categories": ["Food"]}))
    assert awarded(rules, purchase(MILK, WINE)) == points
    assert awarded(rules, purchase(WINE)) == 0


def test_fixed_points_are_for_purchases() -> None:
    assert awarded(program(fixed(5, per="basket")), engagement("visit")) == 0


def test_an_engagement_pays_for_its_own_type() -> None:
    rules = program({"id": "e", "type": "engagement", "engagement": "review", "points": 30})
    assert awarded(rules, engagement("review")) == 30
    assert awarded(rules, engagement("follow")) == 0
    assert awarded(rules, purchase()) == 0


def test_an_engagement_may_pay_on_some_channels_or_in_some_stores_only() -> None:
    rule = {"id": "e", "type": "engagement", "engagement": "visit", "points": 30}
    on_web = program({**rule, "only": {"channels": ["web"]}})
    not_on_web = program({**rule, "excluding": {"channels": ["web"]}})
    in_store = program({**rule, "only": {"stores": ["S1"]}})
    assert awarded(on_web, visit("web")) == awarded(not_on_web, visit("app")) == 30
    assert awarded(on_web, visit("app")) == awarded(not_on_web, visit("web")) == 0
    assert awarded(in_store, visit("store")) == 0


def test_the_second_channel_within_the_window_pays() -> None:
    rules = program(nth(2))
    assert awarded(rules, visit("web")) == 0
    assert awarded(rules, visit("web", days=1), visit("web")) == 0
    assert awarded(rules, visit("app", days=1), visit("web")) == 100


def test_only_the_very_number_pays_not_more_and_not_less() -> None:
    rules = program(nth(3))
    two = (visit("web"), visit("app"))
    assert awarded(rules, visit("app"), visit("web")) == 0
    assert awarded(rules, visit("store"), *two) == 100
    assert awarded(rules, visit("social"), *two, visit("store")) == 0


def test_rules_for_two_and_for_three_channels_pay_one_after_the_other() -> None:
    rules = program(nth(2), nth(3, points=500))
    assert after(rules, visit("web"), visit("app"), visit("store")).balance == 600


def test_purchases_and_engagements_on_a_channel_count_alike() -> None:
    rules = program(nth(2))
    assert awarded(rules, purchase(channel="store"), visit("web")) == 100


@pytest.mark.parametrize(("gap", "points"), [(30 * DAY, 100), (30 * DAY + MOMENT, 0)])
def test_a_channel_counts_until_the_window_has_passed(gap: timedelta, points: int) -> None:
    second = engagement("visit", at=NOON + gap, channel="app")
    assert awarded(program(nth(2)), second, visit("web")) == points


def test_the_last_activity_on_a_channel_keeps_it_in_the_window() -> None:
    rules = program(nth(2))
    lately = (visit("web"), visit("web", days=20))
    assert awarded(rules, visit("app", days=45), *lately) == 100


def test_a_channel_that_comes_back_after_the_window_counts_again() -> None:
    rules = program(nth(2))
    both = (visit("web"), visit("app"))
    assert awarded(rules, visit("web", days=20), *both) == 0
    assert awarded(rules, visit("app", days=45), *both, visit("web", days=40)) == 100


def test_only_says_on_which_channel_the_bonus_is_reached_not_which_ones_count() -> None:
    rules = program(nth(2, only={"channels": ["app"]}))
    assert awarded(rules, visit("app"), visit("web")) == 100
    assert awarded(rules, visit("web"), visit("app")) == 0


def test_the_first_activity_ever_on_a_channel_pays_once() -> None:
    rules = program({"id": "hello", "type": "first_on_channel", "points": 20})
    assert awarded(rules, visit("web")) == 20
    assert awarded(rules, visit("app"), visit("web")) == 20
    assert awarded(rules, visit("web", days=2000), visit("web")) == 0


def test_a_welcome_to_one_channel_is_not_paid_on_others() -> None:
    hello = {"id": "hello", "type": "first_on_channel", "points": 20}
    rules = program({**hello, "only": {"channels": ["app"]}})
    assert awarded(rules, visit("web")) == 0
    assert awarded(rules, purchase(channel="app"), visit("web")) == 20


def alive(factor: str = "2", **more: Any) -> dict[str, Any]:
    """A multiplier while two channels were used in the last fourteen days."""
    return {
        "id": "alive",
        "type": "channels_multiplier",
        "channels_min": 2,
        "window_days": 14,
        "factor": factor,
        **more,
    }


@pytest.mark.parametrize(("days", "points"), [(0, 20), (14, 20), (14.001, 10)])
def test_spend_points_multiply_while_enough_channels_are_alive(days: float, points: int) -> None:
    rules = program(BASE_RULE, alive())
    bought = purchase(at=NOON + timedelta(days=days), channel="store")
    assert awarded(rules, bought, visit("web")) == points


def test_the_channel_of_the_purchase_itself_is_alive() -> None:
    rules = program(BASE_RULE, alive())
    assert awarded(rules, purchase(channel="web"), visit("web")) == 10
    assert awarded(rules, purchase(channel="store"), visit("web")) == 20


def test_a_channels_multiplier_may_be_about_some_lines_only() -> None:
    rules = program(BASE_RULE, alive(only={"categories": ["Food"]}))
    assert awarded(rules, purchase(MILK, WINE), visit("web")) == 112 + 12


def test_it_adds_to_other_multipliers() -> None:
    rules = program(BASE_RULE, alive("1.5"), times("2"))
    assert awarded(rules, purchase(line(1000)), visit("web")) == 10 + 10 + 5


def keyed(channel: str, days: float = 0) -> Activity:
    """A purchase on a channel, named after it."""
    return purchase(channel=channel, at=NOON + timedelta(days=days), key=f"{channel}-{days}")


def test_a_bonus_falls_with_the_purchase_that_it_stands_on() -> None:
    rules = program(BASE_RULE, nth(2))
    state = after(rules, keyed("web"), keyed("app", 1), giving_back("web-0", at=NOON + 2 * DAY))
    assert state.balance == 10
    # A part that comes back leaves the channel used, and the bonus.
    part = giving_back("web-0", amount=500, at=NOON + 2 * DAY)
    assert after(rules, keyed("web"), keyed("app", 1), part).balance == 10 + 10 + 100 - 5


def test_a_bonus_stays_while_another_use_of_the_channel_stands() -> None:
    rules = program(BASE_RULE, nth(2))
    happened = (keyed("web"), keyed("web", 0.5), keyed("app", 1))
    back = [giving_back(f"web-{day}", at=NOON + 2 * DAY) for day in (0, 0.5)]
    assert after(rules, *happened, back[0]).balance == 20 + 100
    assert after(rules, *happened, *back).balance == 10


def test_a_bonus_stays_while_enough_other_channels_stand() -> None:
    rules = program(BASE_RULE, alive("2", channels_min=2))
    happened = (keyed("web"), keyed("app"), keyed("store", 1))
    back = [giving_back(key, at=NOON + 2 * DAY) for key in ("web-0", "app-0")]
    # On the app it stood on the web alone, in the store on both.
    assert after(rules, *happened).balance == 10 + 20 + 20
    assert after(rules, *happened, back[0]).balance == 10 + 20
    assert after(rules, *happened, *back).balance == 10


def test_a_bonus_that_is_to_be_kept_stays_whatever_it_stood_on() -> None:
    rules = program(BASE_RULE, nth(2, on_return="keep"))
    back = giving_back("web-0", at=NOON + 2 * DAY)
    assert after(rules, keyed("web"), keyed("app", 1), back).balance == 10 + 100


def test_a_bonus_that_fell_is_not_taken_back_again_with_its_own_purchase() -> None:
    rules = program(BASE_RULE, nth(2))
    back = [giving_back(key, at=NOON + 2 * DAY) for key in ("web-0", "app-1")]
    assert after(rules, keyed("web"), keyed("app", 1), *back).balance == 0
    assert after(rules, keyed("web"), keyed("app", 1), *back[::-1]).balance == 0


def test_a_whole_return_frees_the_first_visit_and_the_channel() -> None:
    hello = {"id": "hello", "type": "first_on_channel", "points": 20}
    rules = program(BASE_RULE, hello)
    again = purchase(channel="web", at=NOON + 2 * DAY, key="again")
    state = after(rules, keyed("web"), giving_back("web-0", at=NOON + DAY), again)
    assert state.balance == 10 + 20
    assert after(rules, keyed("web"), giving_back("web-0", at=NOON + DAY)).uses == {"web": 0}


def test_a_whole_return_leaves_a_channel_that_was_used_since() -> None:
    hello = {"id": "hello", "type": "first_on_channel", "points": 20}
    rules = program(BASE_RULE, hello)
    back = giving_back("web-0", at=NOON + 2 * DAY)
    assert after(rules, keyed("web"), keyed("web", 1), back).balance == 10
    assert after(rules, keyed("web"), keyed("web", 1), back).uses == {"web": 1}
