"""What holds for `step` under every programme and in every life of a member."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.lots import NEVER, balance_of
from loyalty.program.model import Activity, Posting, Program, State
from loyalty.program.step import OverdrawnError, points_of, step
from tests.builders import NOON, program, program_document, purchase
from tests.strategies import (
    AWARDS,
    EVER,
    IN_ORDER,
    LIMITED,
    MULTIPLIER,
    SPEND,
    Back,
    Event,
    Life,
    Played,
    compiled,
    documents,
    give_back,
    play,
    programs,
    purchases,
    weights_of,
)

if TYPE_CHECKING:
    from datetime import datetime
    from random import Random

MAY_GO_NEGATIVE = st.just("may_go_negative")
WITHIN_BALANCE = st.just("within_balance")
PERCENTS = st.tuples(*[st.integers(0, 100)] * 4)
ALL = (100,) * 4


@given(programs(), EVER)
def test_the_balance_is_the_sum_of_the_lots_and_of_all_postings(
    rules: Program, events: list[Event]
) -> None:
    posted = 0
    for each in play(rules, events):
        posted += sum(posting.points for posting in each.postings)
        assert each.after.balance == balance_of(each.after.lots) == posted


@given(programs(policies=WITHIN_BALANCE), EVER)
def test_returns_within_the_balance_leave_no_debt(rules: Program, events: list[Event]) -> None:
    assert all(each.after.balance >= 0 for each in play(rules, events))


@given(programs(policies=MAY_GO_NEGATIVE), EVER)
def test_only_a_return_deepens_a_debt(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        if each.after.balance < min(0, each.before.balance):
            assert each.activity.kind == "return"


@given(programs(), EVER)
def test_only_expiry_returns_and_corrections_take_points(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        taking = {posting.kind for posting in each.postings if posting.points < 0}
        assert taking <= {"expiry", "clawback", "adjustment"}


@given(programs(), EVER)
def test_lots_are_sorted_one_an_end_and_hold_points_or_one_debt(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        ends = [lot.expires_at for lot in each.after.lots]
        assert ends == sorted(set(ends))
        if each.after.balance < 0:
            assert ends == [NEVER]
        else:
            assert all(lot.points > 0 for lot in each.after.lots)


@given(programs(), IN_ORDER)
def test_the_size_of_the_state_is_bounded_by_the_programme(
    rules: Program, events: list[Event]
) -> None:
    periods = {rule.id: rule.times_max.keys() for rule in rules.rules if rule.times_max}
    for each in play(rules, events):
        assert len(each.after.lots) <= lots_max(rules)
        assert each.after.channels.keys() <= rules.channels
        assert each.after.counters.keys() <= periods.keys()
        assert all(kept.keys() == periods[rule] for rule, kept in each.after.counters.items())


def test_lots_stay_bounded_in_a_year_of_daily_purchases() -> None:
    rules = program(expires_after_months=1)
    daily = [Event(timedelta(days=1), purchase()) for _ in range(365)]
    assert max(len(each.after.lots) for each in play(rules, daily)) == lots_max(rules)


def lots_max(rules: Program) -> int:
    """One lot for each day on which points that are still valid can have been earned."""
    return 31 * rules.expires_after_months + 1 if rules.expires_after_months else 1


@given(programs(), EVER)
def test_step_changes_nothing_that_it_was_given_and_answers_the_same_again(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        given_then = deepcopy((each.before, each.activity))
        again = step(rules, each.before, each.activity)
        assert again == (each.after, each.postings)
        assert (each.before, each.activity) == given_then


@given(programs(), AWARDS)
def test_a_rule_that_gives_nothing_posts_nothing(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert all(posting.points for posting in each.postings)


@given(programs(policies=MAY_GO_NEGATIVE), purchases(), st.lists(PERCENTS, max_size=4))
def test_all_returns_of_a_purchase_take_back_exactly_what_it_awarded(
    rules: Program, bought: Activity, pieces: list[tuple[int, ...]]
) -> None:
    life = [bought_now(rules, bought)]
    awarded = points_of(life[0].postings)
    for percents in (*pieces, ALL):
        return_now(rules, life, percents)
    assert sum(points_of(each.postings) for each in life[1:]) == -awarded
    assert life[-1].after.balance == 0


@given(programs(policies=MAY_GO_NEGATIVE), purchases(), st.lists(PERCENTS, min_size=1, max_size=6))
def test_many_small_returns_take_back_what_one_large_one_does(
    rules: Program, bought: Activity, pieces: list[tuple[int, ...]]
) -> None:
    life = [bought_now(rules, bought)]
    for percents in pieces:
        return_now(rules, life, percents)
    undone = life[-1].activity.undone
    assert undone
    together = [sum(pair) for pair in zip(undone.returned_before, undone.returned_now, strict=True)]
    at_once = replace(
        undone,
        returned_before=(0,) * len(together),
        returned_now=tuple(together),
        clawback_due_before=0,
    )
    once, _ = step(rules, life[0].after, replace(life[-1].activity, undone=at_once))
    assert once.balance == life[-1].after.balance


@given(programs(policies=MAY_GO_NEGATIVE), purchases(), PERCENTS, PERCENTS)
def test_a_return_never_takes_more_than_was_awarded_nor_gives(
    rules: Program, bought: Activity, first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    life = [bought_now(rules, bought)]
    for percents in (first, second):
        return_now(rules, life, percents)
    taken = [-points_of(each.postings) for each in life[1:]]
    assert min(taken) >= 0
    assert sum(taken) <= points_of(life[0].postings)


def bought_now(rules: Program, bought: Activity) -> Played:
    after, postings = step(rules, State(), bought)
    return Played(State(), bought, after, postings)


def return_now(rules: Program, life: Life, percents: tuple[int, ...]) -> None:
    activity = give_back(life[0], "purchase-0", percents, life)
    after, postings = step(rules, life[-1].after, activity)
    life.append(Played(life[-1].after, activity, after, postings))


@given(documents(), AWARDS, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_in_the_document_does_not_matter(
    document: dict[str, Any], events: list[Event], random: Random
) -> None:
    shuffled = random.sample(document["rules"], len(document["rules"]))
    one = play(compiled(document), events)
    other = play(compiled({**document, "rules": shuffled}), events)
    assert [each.after for each in one] == [each.after for each in other]
    assert [by_rule(each.postings) for each in one] == [by_rule(each.postings) for each in other]


def by_rule(postings: tuple[Posting, ...]) -> list[Posting]:
    return sorted(postings, key=lambda posting: posting.rule)


@given(st.lists(MULTIPLIER, min_size=1, max_size=4), SPEND, purchases())
def test_each_multiplier_adds_what_it_adds_alone(
    multipliers: list[dict[str, Any]], spend: dict[str, Any], bought: Activity
) -> None:
    base = {**spend, "id": "base"}
    named = [{**rule, "id": f"times-{number}"} for number, rule in enumerate(multipliers)]
    alone = points_for([base], bought)
    added = [points_for([base, rule], bought) - alone for rule in named]
    assert points_for([base, *named], bought) == alone + sum(added)


def points_for(rules: list[dict[str, Any]], bought: Activity) -> int:
    return step(compiled(program_document(*rules)), State(), bought)[0].balance


@given(documents(rules=LIMITED), AWARDS)
def test_limits_leave_out_exactly_what_is_above_them_in_some_period(
    document: dict[str, Any], events: list[Event]
) -> None:
    rules = compiled(document)
    unlimited = [{**rule, "times_max": {}} for rule in document["rules"]]
    expected: list[list[Posting]] = []
    paid: Counter[tuple[str, str, str]] = Counter()
    for each in play(compiled({**document, "rules": unlimited}), events):
        periods = periods_of(each.activity.occurred_at.astimezone(rules.zone))
        expected.append([])
        for posting in each.postings:
            limits = next((r.times_max for r in rules.rules if r.id == posting.rule), {})
            spots = [(posting.rule, period, periods[period]) for period in limits]
            if all(paid[spot] < limits[spot[1]] for spot in spots):
                paid.update(spots)
                expected[-1].append(posting)
    limited = [
        [posting for posting in each.postings if posting.kind != "expiry"]
        for each in play(rules, events)
    ]
    assert limited == [[p for p in each if p.kind != "expiry"] for each in expected]


def periods_of(local: datetime) -> dict[Any, str]:
    monday = local.date() - timedelta(days=local.weekday())
    return {
        "day": str(local.date()),
        "week": str(monday),
        "month": f"{local.year}-{local.month}",
        "lifetime": "",
    }


@given(programs(), EVER, st.integers(-5000, -1))
def test_a_correction_by_hand_never_takes_more_than_there_is(
    rules: Program, events: list[Event], points: int
) -> None:
    life = play(rules, events)
    state = life[-1].after if life else State()
    at = life[-1].activity.occurred_at if life else NOON
    correction = Activity("adjustment", at, points=points)
    if state.balance + points < 0:
        with pytest.raises(OverdrawnError):
            step(rules, state, correction)
    else:
        assert step(rules, state, correction)[0].balance == state.balance + points


def test_a_return_without_its_purchase_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="purchase"):
        step(program(), State(), Activity("return", NOON, "store"))


def test_a_life_of_the_generator_has_returns_in_it() -> None:
    bought = Event(timedelta(), purchase())
    life = play(program(), [bought, Event(timedelta(), Back(0, ALL))])
    assert [each.activity.kind for each in life] == ["purchase", "return"]
    assert weights_of(life[0].activity) == (1000,)
    assert life[-1].after.balance == 0
