"""What holds for `step` under every programme and in every life of a member."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.program.awards import LEGS_MAX
from loyalty.program.book import Book
from loyalty.program.lots import NEVER, Lot, available
from loyalty.program.model import Activity, Back, Posting, Program, State
from loyalty.program.step import (
    GLANCES_MAX,
    HOLDS_MAX,
    HoldGoneError,
    OverdrawnError,
    TooManyHoldsError,
    check,
    points_of,
    step,
)
from loyalty.program.validity import Expiry, UnitPolicy
from tests import strategies
from tests.builders import NOON, adjustment, after, outcomes, program, program_document, purchase
from tests.strategies import (
    AWARDS,
    EVER,
    IN_NO_ORDER,
    LIMITED,
    MULTIPLIER,
    PLAIN,
    SPEND,
    Event,
    compiled,
    documents,
    is_refused,
    play,
    programs,
    purchases,
    units_of,
)

if TYPE_CHECKING:
    from random import Random

# Each of these plays whole lives under whole programmes: few show what there is.
FEW = settings(max_examples=50)
MAY_GO_NEGATIVE = st.just("may_go_negative")
PERCENTS = st.tuples(*[st.integers(0, 100)] * 4)
TAKING = {"expiry", "clawback", "adjustment", "hold", "transfer"}
FALLING = ("proportional", "while_it_holds", "when_undone")
# A purchase is judged by rules of its own, and comes back with all that it earned.
JUDGING = st.one_of(PLAIN, SPEND).flatmap(
    lambda rule: st.sampled_from(FALLING).map(lambda way: {**rule, "on_return": way})
)


@FEW
@given(programs(), EVER)
def test_the_balance_of_each_unit_is_the_sum_of_its_lots_and_of_all_its_postings(
    rules: Program, events: list[Event]
) -> None:
    posted: Counter[str] = Counter()
    for each in play(rules, events):
        for posting in each.postings:
            posted[posting.unit] += posting.points
        assert posted == Counter(each.after.balances)
        assert each.after.balance == posted["points"]


@FEW
@given(programs(), IN_NO_ORDER)
def test_step_takes_any_activity_in_any_order(rules: Program, events: list[Event]) -> None:
    posted: Counter[str] = Counter()
    for each in play(rules, events):
        posted.update({posting.unit: 0 for posting in each.postings})
        for posting in each.postings:
            posted[posting.unit] += posting.points
        assert posted == Counter(each.after.balances)


@FEW
@given(programs(), EVER)
def test_lots_are_sorted_one_a_pair_of_dates_and_hold_points_or_one_debt(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        for lots in each.after.lots.values():
            dates = [(lot.expires_at, lot.active_at) for lot in lots]
            assert dates == sorted(set(dates))
            if any(lot.points <= 0 for lot in lots):
                assert [lot.expires_at for lot in lots] == [NEVER]


@FEW
@given(programs(policies=st.sampled_from(("within_balance", "only_pending"))), EVER)
def test_returns_within_the_balance_leave_no_debt(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert all(balance >= 0 for balance in each.after.balances.values())


@FEW
@given(programs(policies=MAY_GO_NEGATIVE), EVER)
def test_only_a_return_deepens_a_debt(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        for unit, balance in each.after.balances.items():
            if balance < min(0, each.before.balances.get(unit, 0)):
                assert each.activity.kind == "return"


@FEW
@given(programs(), EVER)
def test_only_time_returns_and_decisions_take_points(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert {posting.kind for posting in each.postings if posting.points < 0} <= TAKING


@FEW
@given(programs(), EVER)
def test_the_size_of_the_state_is_bounded_by_the_programme(
    rules: Program, events: list[Event]
) -> None:
    periods = {
        rule.id: rule.times_max.keys() | rule.points_max.keys()
        for rule in rules.rules
        if rule.times_max or rule.points_max
    }
    for each in play(rules, events):
        state = each.after
        assert state.channels.keys() | state.uses.keys() <= rules.channels
        assert all(1 <= len(seen) <= LEGS_MAX for seen in state.channels.values())
        assert state.counters.keys() <= periods.keys()
        assert all(kept.keys() == periods[rule] for rule, kept in state.counters.items())
        assert len(state.holds) <= HOLDS_MAX
        assert len(state.glances) <= GLANCES_MAX
        assert state.progress.keys() <= rules.by_id.keys()
        assert state.lots.keys() | state.idle_at.keys() <= rules.units.keys() | {"stamps"}


@pytest.mark.parametrize(
    ("unit", "lots_max"),
    [
        ({"expiry": {"months": 1}}, 32),
        ({"expiry": {"months": 1, "end_of": "month"}}, 2),
        ({"expiry": {"days": 10}, "pending": {"days": 3}}, 11),
        ({"pending": {"days": 7}}, 7 + 1),
        ({}, 1),
    ],
)
def test_lots_stay_bounded_in_a_year_of_daily_purchases(
    unit: dict[str, Any], lots_max: int
) -> None:
    rules = program(units={"points": unit})
    state, most = State(), 0
    for day in range(365):
        state, _ = step(rules, state, purchase(at=NOON + timedelta(days=day)))
        most = max(most, len(state.lots["points"]))
    assert most == lots_max


@FEW
@given(programs(), EVER)
def test_step_changes_nothing_that_it_was_given_and_answers_the_same_again(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        given_then = deepcopy((each.before, each.activity))
        again = step(rules, each.before, each.activity)
        assert again == (each.after, each.postings)
        assert (each.before, each.activity) == given_then


@FEW
@given(programs(), EVER)
def test_the_state_knows_the_newest_fact(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert each.after.last == (each.activity.occurred_at, each.activity.key)


@FEW
@given(programs(PLAIN), AWARDS)
def test_a_rule_that_gives_nothing_posts_nothing(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        assert all(posting.points for posting in each.postings)


@FEW
@given(programs(), EVER)
def test_purchases_are_counted_until_all_of_them_has_come_back(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        undone = each.activity.undone
        gained = int(each.activity.kind == "purchase") - int(bool(undone and undone.is_last))
        assert each.after.purchases == each.before.purchases + gained


def returned(
    rules: Program, bought: Activity, parts: list[tuple[tuple[str, int], ...] | None]
) -> list[tuple[State, tuple[Posting, ...]]]:
    """A purchase and the returns of some of its units, None for all that are left."""
    bought = replace(bought, key="p")
    backs = [
        Activity("return", NOON, "store", key=f"r{number}", back=Back("p", part))
        for number, part in enumerate(parts)
        if part != ()
    ]
    return outcomes(rules, bought, *backs)


@FEW
@given(programs(JUDGING, MAY_GO_NEGATIVE), purchases(), st.lists(PERCENTS, max_size=4))
def test_all_returns_of_a_purchase_take_back_exactly_what_it_awarded(
    rules: Program, bought: Activity, pieces: list[tuple[int, ...]]
) -> None:
    parts = [units_of(bought, percents) for percents in pieces]
    *_, (state, _) = returned(rules, bought, [*parts, None])
    assert not any(state.balances.values())


@FEW
@given(programs(JUDGING, MAY_GO_NEGATIVE), purchases(), st.lists(PERCENTS, max_size=5))
def test_many_small_returns_take_back_what_one_large_one_does(
    rules: Program, bought: Activity, pieces: list[tuple[int, ...]]
) -> None:
    left = Counter({line.sku: 0 for line in bought.lines})
    for line in bought.lines:
        left[line.sku] += line.quantity
    whole, parts = left.copy(), []
    for percents in pieces:
        part = Counter(dict(units_of(bought, percents))) & left
        left -= part
        parts.append(tuple(part.items()))
    together = tuple((whole - left).items())
    one_by_one = returned(rules, bought, list(parts))[-1][0]
    at_once = returned(rules, bought, [together])[-1][0]
    assert one_by_one.balances == at_once.balances
    assert one_by_one.purchases == at_once.purchases


@FEW
@given(programs(JUDGING, MAY_GO_NEGATIVE), purchases(), st.lists(PERCENTS, max_size=4))
def test_a_return_never_takes_more_than_was_awarded_nor_gives(
    rules: Program, bought: Activity, pieces: list[tuple[int, ...]]
) -> None:
    first, *others = returned(rules, bought, [units_of(bought, each) for each in pieces])
    taken = [-points_of(postings) for _, postings in others]
    assert min(taken, default=0) >= 0
    assert sum(taken) <= points_of(first[1])


@FEW
@given(documents(), AWARDS, st.randoms(use_true_random=False))
def test_without_groups_the_order_of_the_rules_in_the_document_does_not_matter(
    document: dict[str, Any], events: list[Event], random: Random
) -> None:
    shuffled = random.sample(document["rules"], len(document["rules"]))
    one = play(compiled(document), events)
    other = play(compiled({**document, "rules": shuffled}), events)
    assert [each.after for each in one] == [each.after for each in other]
    assert [by_rule(each.postings) for each in one] == [by_rule(each.postings) for each in other]


def by_rule(postings: tuple[Posting, ...]) -> list[Posting]:
    return sorted(postings, key=lambda posting: posting.rule)


@FEW
@given(st.lists(MULTIPLIER, min_size=1, max_size=4), SPEND, purchases())
def test_each_multiplier_adds_what_it_adds_alone(
    multipliers: list[dict[str, Any]], spend: dict[str, Any], bought: Activity
) -> None:
    base = {**spend, "id": "base"}
    named = [{**rule, "id": f"times-{number}"} for number, rule in enumerate(multipliers)]
    alone = points_for([base], bought)
    added = [points_for([base, rule], bought) - alone for rule in named]
    assert points_for([base, *named], bought) == alone + sum(added)


@FEW
@given(st.lists(MULTIPLIER, min_size=1, max_size=4), SPEND, purchases())
def test_multiplying_gives_at_least_what_adding_does_and_the_best_at_most(
    multipliers: list[dict[str, Any]], spend: dict[str, Any], bought: Activity
) -> None:
    # Rounded up, no part of what was multiplied before is lost.
    named = [
        {**rule, "id": f"times-{number}", "rounding": "ceiling"}
        for number, rule in enumerate(multipliers)
    ]
    base = {**spend, "id": "base"}
    best, added, multiplied = (
        points_for([base, *named], bought, multipliers=way) for way in ("best", "add", "multiply")
    )
    assert points_for([base], bought) <= best <= added <= multiplied


def points_for(rules: list[dict[str, Any]], bought: Activity, **more: Any) -> int:
    return step(compiled(program_document(*rules, **more)), State(), bought)[0].balance


@FEW
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
        "year": f"{local.year}",
        "lifetime": "",
    }


@FEW
@given(programs(), EVER, st.sampled_from(("adjustment", "hold", "transfer")), st.integers(1, 3000))
def test_a_decision_never_takes_more_than_can_be_spent(
    rules: Program, events: list[Event], kind: Any, points: int
) -> None:
    life = play(rules, events)
    state, at = life[-1].after, life[-1].activity.occurred_at
    signed = -points if kind == "adjustment" else points
    taking = Activity(kind, at, points=signed, key="taking", expires_at=NEVER)
    settled, _ = step(rules, state, Activity("passage", at))
    there = available(settled.lots.get("points", ()), at)
    assert is_refused(state, taking) is (points > there)
    if points <= there:
        later = step(rules, state, taking)[0]
        assert available(later.lots["points"], at) == there - points


def test_pending_points_cannot_be_spent() -> None:
    rules = program(units={"points": {"pending": {"days": 5}}})
    state = after(rules, purchase(), adjustment(3))
    check(state, adjustment(-3))
    with pytest.raises(OverdrawnError, match="The balance is 3"):
        check(state, adjustment(-4))
    check(state, adjustment(-13, at=NOON + timedelta(days=5)))


def hold(points: int, key: str = "h", *, days: int = 1) -> Activity:
    expires_at = NOON + timedelta(days=days)
    return Activity("hold", NOON, key=key, points=points, expires_at=expires_at)


def resolving(kind: Any, points: int = 0, *, days: int = 0) -> Activity:
    return Activity(kind, NOON + timedelta(days=days), key="c", hold="h", points=points)


def test_a_hold_counts_against_the_balance_at_once() -> None:
    state = after(program(), purchase(), hold(7))
    assert state.balance == 3
    with pytest.raises(OverdrawnError, match="The balance is 3"):
        check(state, hold(4, "other"))


def test_a_capture_takes_for_good_and_gives_back_what_was_not_needed() -> None:
    held = after(program(), purchase(), hold(7))
    captured, (posting,) = step(program(), held, resolving("capture", 5))
    assert (captured.balance, captured.holds, posting.points) == (5, {}, 2)
    with pytest.raises(HoldGoneError):
        check(captured, resolving("capture", 5))
    with pytest.raises(OverdrawnError, match="The hold is over 7"):
        check(held, resolving("capture", 8))


def test_a_release_gives_everything_back() -> None:
    held = after(program(), purchase(), hold(7))
    released, (posting,) = step(program(), held, resolving("release"))
    assert (released.balance, released.holds, posting.points) == (10, {}, 7)


@pytest.mark.parametrize("kind", ["capture", "release"])
def test_a_hold_that_ran_out_cannot_be_resolved(kind: str) -> None:
    held = after(program(), purchase(), hold(7))
    with pytest.raises(HoldGoneError):
        check(held, resolving(kind, days=1))
    state, (posting,) = step(program(), held, resolving(kind, days=1))
    assert (state.balance, posting.kind) == (10, "release")


def test_there_are_only_so_many_open_holds() -> None:
    holds = [hold(1, f"h{number}") for number in range(HOLDS_MAX)]
    state = after(program(), purchase(*[purchase().lines[0]] * 9), *holds)
    with pytest.raises(TooManyHoldsError):
        check(state, hold(1, "more"))
    later = replace(hold(1, "more"), occurred_at=NOON + timedelta(days=1))
    check(state, later)


def test_a_transfer_takes_points_with_their_dates_and_brings_them_so() -> None:
    rules = program(expires_after_months=1)
    state, (posting,) = outcomes(rules, purchase(), Activity("transfer", NOON, points=4))[-1]
    lots = after(rules, replace(purchase(), lines=(purchase().lines[0],))).lots["points"]
    assert (state.balance, posting.points) == (6, -4)
    (given_lot,) = (Lot(*each) for each in posting.inputs["lots"])
    assert given_lot == lots[0]._replace(points=4)
    receiving = Activity("transfer", NOON, points=4, lots=(given_lot,))
    received, (posting,) = step(program(), State(), receiving)
    assert received.lots == {"points": (given_lot,)}
    late = replace(receiving, occurred_at=NOON + timedelta(days=60))
    assert [each.points for each in step(program(), State(), late)[1]] == [4, -4]


def test_lots_are_dated_anew_and_no_points_move() -> None:
    older = UnitPolicy(expiry=Expiry(months=1))
    newer = UnitPolicy(expiry=Expiry(months=2))
    state = after(program(expires_after_months=1), purchase())
    redating = {"points": (newer, older), "stamps": (newer, older)}
    at = NOON + timedelta(days=3)
    later, (posting,) = step(program(), state, Activity("redate", at, redating=redating))
    assert later.lots["points"] == (Lot(datetime(2026, 5, 2, tzinfo=UTC), 10),)
    assert (posting.kind, posting.points, posting.unit) == ("redate", 0, "points")
    assert step(program(), later, Activity("redate", at, redating={}))[1] == ()


def test_a_correction_by_hand_may_take_points_as_far_as_they_go() -> None:
    state = after(program(), purchase())
    check(state, adjustment(-10))
    with pytest.raises(OverdrawnError):
        check(state, adjustment(-11))
    assert step(program(), state, adjustment(-10))[0].balance == 0


def test_lives_of_the_generator_have_everything_in_them() -> None:
    seen: set[str] = set()

    @settings(max_examples=300, database=None, derandomize=True)
    @given(programs(), EVER)
    def look(rules: Program, events: list[Event]) -> None:
        for each in play(rules, events):
            seen.update((each.activity.kind, *(posting.kind for posting in each.postings)))

    look()
    kinds = {"purchase", "return", "engagement", "adjustment", "hold", "capture", "release"}
    kinds |= {"restore", "transfer", "referral", "passage", "expiry", "clawback", "spend"}
    assert kinds | {"multiplier", "fixed", "every_nth", "milestone"} <= seen


def test_a_book_of_a_life_knows_what_came_back() -> None:
    events = [
        Event(timedelta(), purchase()),
        Event(timedelta(), strategies.Back(0, (100,) * 4)),
        Event(timedelta(), strategies.Back(0, (100,) * 4)),
    ]
    life = play(program(), events)
    assert [each.activity.kind for each in life] == ["purchase", "return", "return"]
    assert [bool(each.activity.undone and each.activity.undone.is_last) for each in life] == [
        False,
        True,
        False,
    ]
    assert life[-1].after.balance == 0
    assert Book().complete(life[0].activity) is life[0].activity
