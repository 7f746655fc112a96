"""Which awards are paid, and how much: groups, priorities, limits, budgets, ways of factors."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.program.model import Count, State
from loyalty.program.stacking import period_names
from loyalty.program.step import step
from tests.builders import (
    BASE_RULE,
    NOON,
    after,
    awarded,
    engagement,
    giving_back,
    line,
    outcomes,
    program,
    purchase,
)
from tests.strategies import AWARDS, Event, play, programs

if TYPE_CHECKING:
    from loyalty.program.model import Activity, Posting, Program

DAY = timedelta(days=1)


def fixed(points: int, **more: Any) -> dict[str, Any]:
    """Fixed points a basket."""
    return {"id": f"f{points}", "type": "fixed", "per": "basket", "points": points, **more}


def times(factor: str, **more: Any) -> dict[str, Any]:
    """A multiplier."""
    return {"id": f"x{factor.replace('.', '-')}", "type": "multiplier", "factor": factor, **more}


def limited(most: int, mode: str = "truncate", *, period: str = "lifetime") -> Program:
    """A point for each unit of currency, so many in a period."""
    return program({**BASE_RULE, "points_max": {period: most}, "mode": mode})


def paid(rules: Program, *activities: Activity) -> list[int]:
    """What each of them was paid."""
    return [sum(each.points for each in postings) for _, postings in outcomes(rules, *activities)]


def who_paid(postings: tuple[Posting, ...]) -> list[str]:
    return [posting.rule for posting in postings]


@pytest.mark.parametrize(("way", "expected"), [("first", ["f5", "f9"]), ("best", ["f7", "f9"])])
def test_of_a_group_the_first_or_the_best_pays_and_others_are_not_touched(
    way: str, expected: list[str]
) -> None:
    rules = program(
        fixed(5, group="one"),
        fixed(7, group="one"),
        fixed(6, group="one"),
        fixed(9),
        groups={"one": way},
    )
    assert who_paid(step(rules, State(), purchase())[1]) == expected


def test_of_equals_the_first_is_the_best() -> None:
    rules = program(
        fixed(5, id="a", group="one"), fixed(5, id="b", group="one"), groups={"one": "best"}
    )
    assert who_paid(step(rules, State(), purchase())[1]) == ["a"]


def test_a_rule_of_a_group_that_is_not_about_the_activity_does_not_stand_in_the_way() -> None:
    rules = program(
        fixed(5, group="one", only={"channels": ["web"]}),
        fixed(3, group="one"),
        groups={"one": "first"},
    )
    assert awarded(rules, purchase()) == 3
    assert awarded(rules, purchase(channel="web")) == 5


def test_groups_choose_among_spend_rules_before_anything_is_multiplied() -> None:
    double = {**BASE_RULE, "id": "double", "points": 2, "group": "spend"}
    rules = program({**BASE_RULE, "group": "spend"}, double, times("3"), groups={"spend": "best"})
    assert awarded(rules, purchase()) == 60


def test_groups_choose_among_factors_too() -> None:
    rules = program(
        BASE_RULE, times("2", group="m"), times("3", group="m"), times("1.5"), groups={"m": "best"}
    )
    assert awarded(rules, purchase()) == 10 + 20 + 5


def test_the_greater_priority_is_asked_first_whatever_the_order_of_the_document() -> None:
    rules = program(
        fixed(5, group="one"), fixed(3, group="one", priority=1), groups={"one": "first"}
    )
    assert awarded(rules, purchase()) == 3


@pytest.mark.parametrize(
    ("mode", "points"),
    [("soft", [40, 40, 40, 0]), ("truncate", [40, 40, 20, 0]), ("hard", [40, 40, 0, 0])],
)
def test_at_a_limit_of_points_the_last_award_overshoots_is_cut_or_is_refused(
    mode: str, points: list[int]
) -> None:
    bought = purchase(line(4000))
    assert paid(limited(100, mode), bought, bought, bought, bought) == points


def test_after_what_was_refused_whole_a_smaller_award_still_fits() -> None:
    rules = limited(100, "hard")
    assert paid(rules, purchase(line(9000)), purchase(line(2000)), purchase(line(1000))) == [
        90,
        0,
        10,
    ]


def test_an_award_that_was_cut_says_what_it_would_have_been() -> None:
    _, (posting,) = outcomes(limited(25), purchase(), purchase(line(4000)))[1]
    assert (posting.points, posting.inputs["cut"]) == (
        15,
        {"wanted": 40, "limit": "lifetime", "mode": "truncate"},
    )


@pytest.mark.parametrize(
    ("period", "gap", "second"),
    [
        ("day", timedelta(hours=11), 5),
        ("day", timedelta(hours=12), 10),
        ("week", DAY, 10),  # 1 March 2026 is a Sunday.
        ("month", 30 * DAY, 5),
        ("month", 31 * DAY, 10),
        ("year", 305 * DAY, 5),
        ("year", 306 * DAY, 10),
        ("lifetime", 3000 * DAY, 5),
    ],
)
def test_a_limit_of_points_begins_anew_with_each_period(
    period: str, gap: timedelta, second: int
) -> None:
    rules = limited(15, period=period)
    assert paid(rules, purchase(), purchase(at=NOON + gap)) == [10, second]


def test_the_smallest_of_several_limits_counts() -> None:
    rules = program({**BASE_RULE, "points_max": {"day": 15, "month": 22}, "times_max": {"year": 4}})
    days = [purchase(at=NOON + number * DAY) for number in (0, 0, 1, 2)]
    assert paid(rules, *days) == [10, 5, 7, 0]
    assert paid(rules, days[0], days[0], days[0]) == [10, 5, 0]
    third = [purchase(at=NOON + number * DAY) for number in (1, 2, 3, 4)]
    assert paid(rules, *third) == [10, 10, 2, 0]


def test_factors_multiply_what_was_paid_of_the_spend_points() -> None:
    rules = program({**BASE_RULE, "points_max": {"day": 15}}, times("2"))
    assert paid(rules, purchase(), purchase(), purchase()) == [20, 10, 0]


def test_counts_are_kept_for_all_periods_of_a_limited_rule() -> None:
    rules = program({**BASE_RULE, "points_max": {"day": 15}, "times_max": {"lifetime": 9}})
    state = after(rules, purchase(), purchase())
    assert state.counters == {
        "base": {"lifetime": Count("lifetime", 2, 15), "day": Count("2026-03-01", 2, 15)}
    }


def test_a_whole_return_frees_what_the_purchase_used_of_a_limit() -> None:
    rules = limited(15)
    first, again = purchase(key="a"), purchase(key="c", at=NOON + DAY)
    assert paid(rules, first, giving_back("a"), again) == [10, -10, 10]
    assert paid(rules, first, giving_back("a", amount=999), again)[2] == 5


def test_a_return_frees_nothing_of_a_period_that_is_over() -> None:
    rules = limited(15, period="day")
    first, next_day = purchase(key="a"), NOON + DAY
    state = after(rules, first, purchase(key="b", at=next_day), giving_back("a", at=next_day))
    assert state.counters["base"]["day"] == Count("2026-03-02", 1, 10)


def test_what_comes_back_after_all_was_undone_frees_nothing_again() -> None:
    rules = program({**BASE_RULE, "times_max": {"lifetime": 3}})
    basket = purchase(line(1000, sku="a"), line(0, sku="free"), key="p")
    state = after(
        rules, purchase(key="o"), basket, giving_back("p", ("a", 1)), giving_back("p", ("free", 1))
    )
    assert state.counters["base"]["lifetime"] == Count("lifetime", 1, 10)
    assert state.purchases == 1


@pytest.mark.parametrize(
    ("mode", "left", "points"),
    [
        ("truncate", 100, 10),
        ("truncate", 4, 4),
        ("truncate", 0, 0),
        ("truncate", -3, 0),
        ("soft", 4, 10),
        ("soft", 0, 0),
        ("hard", 10, 10),
        ("hard", 9, 0),
    ],
)
def test_a_budget_is_for_all_members_together(mode: str, left: int, points: int) -> None:
    rules = program({**BASE_RULE, "budget": 1000, "mode": mode})
    assert awarded(rules, purchase(budgets={"base": left})) == points


def test_where_nobody_says_what_is_left_a_budget_stands_in_nobodys_way() -> None:
    rules = program({**BASE_RULE, "budget": 5})
    assert awarded(rules, purchase()) == 10


def test_what_was_granted_when_it_was_recorded_is_never_exceeded_later() -> None:
    rules = program({**BASE_RULE, "budget": 1000})
    bought = purchase(grants={"base": 4}, budgets={"base": 0})
    assert awarded(rules, bought) == 4
    assert awarded(rules, replace(bought, grants={"base": 0})) == 0
    assert awarded(rules, replace(bought, grants={"base": 40})) == 10
    (posting,) = step(rules, State(), bought)[1]
    assert posting.inputs["cut"] == {"wanted": 10, "limit": "budget", "mode": "truncate"}


def test_what_a_budget_cuts_is_counted_as_it_was_paid() -> None:
    rules = program({**BASE_RULE, "budget": 1000, "points_max": {"day": 12}})
    assert paid(rules, purchase(budgets={"base": 4}), purchase(), purchase()) == [4, 8, 0]


@pytest.mark.parametrize(("way", "points"), [("add", 10 + 10 + 5), ("multiply", 30), ("best", 20)])
def test_factors_add_up_multiply_each_other_or_only_the_best_counts(way: str, points: int) -> None:
    rules = program(BASE_RULE, times("2"), times("1.5"), multipliers=way)
    assert awarded(rules, purchase()) == points


def test_factors_that_multiply_each_other_do_so_in_the_order_of_their_priority() -> None:
    one = program(BASE_RULE, times("1.5"), times("1.1"), multipliers="multiply")
    other = program(BASE_RULE, times("1.5"), times("1.1", priority=1), multipliers="multiply")
    # 10 + 5 + floor(1.5), and 10 + 1 + floor(5.5).
    assert (awarded(one, purchase()), awarded(other, purchase())) == (16, 16)
    finer = purchase(line(1300))
    # 13 + floor(6.5) + floor(1.9), and 13 + floor(1.3) + floor(7.0).
    assert (awarded(one, finer), awarded(other, finer)) == (20, 21)


def test_factors_that_multiply_see_of_some_lines_only_their_share() -> None:
    rules = program(
        BASE_RULE, times("2"), times("3", only={"skus": ["wine"]}), multipliers="multiply"
    )
    # 40 on the wine and 10 on the milk; doubled that is 100, of which 80 are the wine's.
    assert awarded(rules, purchase(line(1000), line(4000, sku="wine"))) == 100 + 160


def test_the_best_factor_is_found_for_each_unit() -> None:
    stamps = {"unit": "stamps"}
    rules = program(
        BASE_RULE,
        {**BASE_RULE, "id": "stamp", **stamps},
        times("2"),
        times("3"),
        times("1.5", **stamps),
        units={"stamps": {}},
        multipliers="best",
    )
    assert after(rules, purchase()).balances == {"points": 30, "stamps": 15}


def test_a_multiplier_multiplies_the_points_of_its_own_unit() -> None:
    stamp = {**BASE_RULE, "id": "stamp", "unit": "stamps", "per_amount": 500}
    rules = program(BASE_RULE, stamp, times("3", unit="stamps"), units={"stamps": {}})
    assert after(rules, purchase()).balances == {"points": 10, "stamps": 6}


def test_what_a_rule_offers_in_vain_is_not_counted() -> None:
    review = {"id": "r", "type": "engagement", "engagement": "review", "points": 10}
    rules = program(
        {**review, "group": "one", "times_max": {"day": 1}},
        {**review, "id": "s", "points": 30, "group": "one", "times_max": {"lifetime": 1}},
        groups={"one": "best"},
    )
    # The group picks before limits are met: the best is spent, and the other is not asked.
    assert paid(rules, engagement("review"), engagement("review")) == [30, 0]


def test_periods_are_named_so_that_later_ones_are_greater() -> None:
    rules = program(time_zone="Europe/Berlin")
    names = [period_names(rules, NOON + number * DAY) for number in range(800)]
    for period in ("day", "week", "month", "year"):
        ordered = [each[period] for each in names]
        assert ordered == sorted(ordered)
    assert period_names(rules, NOON) == {
        "day": "2026-03-01",
        "week": "2026-W09",
        "month": "2026-03",
        "year": "2026",
        "lifetime": "lifetime",
    }


@settings(max_examples=700)
@given(programs(), AWARDS)
def test_no_limit_is_ever_exceeded(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        for rule_id, counts in each.after.counters.items():
            rule = rules.by_id[rule_id]
            for period, count in counts.items():
                assert 0 <= count.times <= rule.times_max.get(period, count.times)  # type: ignore[call-overload]
                most = rule.points_max.get(period, count.points)  # type: ignore[call-overload]
                assert 0 <= count.points <= most or rule.mode == "soft"


@settings(max_examples=700)
@given(programs(), AWARDS, st.data())
def test_a_budget_is_never_exceeded_except_softly(
    rules: Program, events: list[Event], data: st.DataObject
) -> None:
    left = dict.fromkeys(rules.budgets, data.draw(st.integers(0, 300)))
    happened = [
        event._replace(what=replace(event.what, budgets=left))  # type: ignore[type-var]
        for event in events
    ]
    for each in play(rules, happened):
        for posting in each.postings:
            if posting.rule in left and rules.by_id[posting.rule].mode != "soft":
                assert posting.points <= left[posting.rule]


@settings(max_examples=700)
@given(programs(), AWARDS)
def test_of_a_group_at_most_one_rule_pays(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        groups = [
            rules.by_id[rule].group for rule in who_paid(each.postings) if rule in rules.by_id
        ]
        named = [group for group in groups if group]
        assert len(named) == len(set(named))
