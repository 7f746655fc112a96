"""Rules that count or remember: every n-th, milestones, streaks, journeys, referrals; and units."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.program.awards import LEGS_MAX
from loyalty.program.lots import Lot, available, pending_of
from loyalty.program.model import About, Activity, Progress, State
from loyalty.program.step import GLANCES_MAX, step
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

if TYPE_CHECKING:
    from loyalty.program.model import Program

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STREAK = {"id": "s", "type": "streak", "points": 50}
JOURNEY = {"id": "j", "type": "journey", "points": 20, "within_hours": 48}


def paid(rules: Program, *activities: Activity) -> list[int]:
    """What each of them was paid or lost."""
    return [sum(each.points for each in postings) for _, postings in outcomes(rules, *activities)]


def every(n: int, **more: Any) -> Program:
    """Seven points for every n-th."""
    return program({"id": "n", "type": "every_nth", "n": n, "points": 7, **more})


def days(*on: str) -> list[Activity]:
    """Purchases at noon on these days."""
    return [purchase(at=datetime.fromisoformat(f"{day}T12:00Z"), key=day) for day in on]


def test_every_third_purchase_pays_and_the_count_goes_on() -> None:
    assert paid(every(3), *[purchase()] * 7) == [0, 0, 7, 0, 0, 7, 0]


def test_every_second_piece_pays_as_often_as_it_comes() -> None:
    basket = purchase(line(quantity=5), line(quantity=2, sku="rye"))
    milk = {"counts": "units", "only": {"skus": ["milk"]}}
    assert paid(every(2, **milk), basket, basket, basket) == [14, 21, 14]


def test_every_second_visit_pays_and_purchases_are_none() -> None:
    visit = engagement("visit")
    assert paid(every(2, counts="visits"), visit, purchase(), visit, engagement("share")) == [
        0,
        0,
        7,
        0,
    ]


def test_only_what_the_rule_is_about_counts() -> None:
    web = {"only": {"channels": ["web"], "skus": ["milk"]}}
    bought = [purchase(channel="web"), purchase(), purchase(line(sku="rye"), channel="web")]
    assert paid(every(2, **web), *bought, purchase(channel="web")) == [0, 0, 0, 7]


def test_what_came_back_whole_does_not_count_and_its_own_award_is_taken_back() -> None:
    first, second, third = days("2026-03-01", "2026-03-02", "2026-03-03")
    rules = every(2)
    assert paid(rules, first, giving_back(first.key), second, third) == [0, 0, 0, 7]
    assert paid(rules, first, second, giving_back(second.key), third) == [0, 7, -7, 7]
    half = replace(first, lines=(line(500), line(500, sku="rye")))
    assert paid(rules, half, giving_back(half.key, ("rye", 1)), second) == [0, 0, 7]


@pytest.mark.parametrize(
    ("measure", "at", "expected"),
    [
        ("purchases", 3, [0, 0, 50, 0]),
        ("spend", 2500, [0, 0, 50, 0]),
        ("spend", 500, [50, 0, 0, 0]),
    ],
)
def test_a_milestone_pays_once_when_it_is_reached(
    measure: str, at: int, expected: list[int]
) -> None:
    rule = {"id": "m", "type": "milestone", "points": 50, "measure": measure, "at": at}
    assert paid(program(rule), *[purchase()] * 4) == expected


def test_a_milestone_that_was_undone_can_be_reached_again() -> None:
    rule = {"id": "m", "type": "milestone", "points": 50, "at": 2}
    first, second, third = days("2026-03-01", "2026-03-02", "2026-03-03")
    assert paid(program(rule), first, second, giving_back(second.key), third) == [0, 50, -50, 50]


@pytest.mark.parametrize(
    ("period", "on", "expected"),
    [
        ("day", ["2026-03-01", "2026-03-02", "2026-03-03"], [0, 0, 50]),
        ("day", ["2026-03-01", "2026-03-02", "2026-03-02", "2026-03-03"], [0, 0, 0, 50]),
        ("day", ["2026-03-01", "2026-03-03", "2026-03-04"], [0, 0, 0]),
        # After it was paid the count begins again.
        ("day", [f"2026-03-0{day}" for day in range(1, 7)], [0, 0, 50, 0, 0, 50]),
        # Weeks begin on Monday: Sunday, Monday, and the Sunday after the next.
        ("week", ["2026-03-01", "2026-03-02", "2026-03-15"], [0, 0, 50]),
        ("week", ["2026-03-01", "2026-03-09", "2026-03-16"], [0, 0, 0]),
        # Over the turn of the year.
        ("week", ["2025-12-28", "2025-12-29", "2026-01-05"], [0, 0, 50]),
        ("month", ["2025-11-30", "2025-12-01", "2026-01-31"], [0, 0, 50]),
        ("month", ["2025-11-30", "2026-01-01", "2026-02-01"], [0, 0, 0]),
    ],
)
def test_a_streak_is_so_many_periods_running(
    period: str, on: list[str], expected: list[int]
) -> None:
    assert paid(program({**STREAK, "period": period, "n": 3}), *days(*on)) == expected


def test_a_streaks_days_are_those_of_the_programmes_zone() -> None:
    rules = program({**STREAK, "period": "day", "n": 2}, time_zone="Europe/Berlin")
    late, later = (datetime(2026, 1, 10, hour, 30, tzinfo=UTC) for hour in (22, 23))
    assert paid(rules, purchase(at=late), purchase(at=later)) == [0, 50]


def looked(hours: float = 0, *, kind: str = "view", channel: str = "web", **more: Any) -> Activity:
    """Milk was looked at, some hours after noon."""
    at = NOON + timedelta(hours=hours)
    glance = {"skus": ("milk",), "key": f"{kind}-{channel}-{hours}", **more}
    return engagement(kind, at=at, channel=channel, **glance)


def bought(hours: float = 1, **more: Any) -> Activity:
    """Milk was bought, some hours after noon."""
    return purchase(at=NOON + timedelta(hours=hours), key=f"b-{hours}", **more)


@pytest.mark.parametrize(
    ("rule", "first", "second", "points"),
    [
        ({}, looked(), bought(), 20),
        ({}, looked(), bought(48), 20),
        ({}, looked(), bought(48.001), 0),
        ({}, looked(skus=("rye",)), bought(), 0),
        ({}, looked(skus=("rye", "milk")), bought(), 20),
        ({"same": False}, looked(skus=("rye",)), bought(), 20),
        ({}, looked(channel="store"), bought(), 0),
        ({"other_channel": False}, looked(channel="store"), bought(), 20),
        ({"first": "cart"}, looked(), bought(), 0),
        ({"first": "cart"}, looked(kind="cart"), bought(), 20),
        ({"first_channels": ["app"]}, looked(), bought(), 0),
        ({"first_channels": ["app", "web"]}, looked(), bought(), 20),
        ({"only": {"channels": ["web"]}}, looked(), bought(), 0),
        ({"only": {"skus": ["rye"]}}, looked(), bought(), 0),
    ],
)
def test_a_journey_is_a_purchase_of_what_was_looked_at_elsewhere(
    rule: dict[str, Any], first: Activity, second: Activity, points: int
) -> None:
    assert awarded(program({**JOURNEY, **rule}), second, first) == points


def test_a_glance_leads_to_one_purchase_only() -> None:
    rules = program(JOURNEY)
    assert paid(rules, looked(skus=("milk", "rye")), bought(1), bought(2)) == [0, 20, 0]
    rye = replace(bought(2), lines=(line(sku="rye"),))
    assert paid(rules, looked(), looked(0.5, skus=("rye",)), bought(1), rye) == [0, 0, 20, 20]


def test_what_was_bought_is_not_waiting_to_be_bought_any_more() -> None:
    rules = program({**JOURNEY, "only": {"channels": ["app"]}})
    assert paid(rules, looked(), bought(1), bought(2, channel="app")) == [0, 0, 0]


def test_the_newest_glance_is_the_one_that_led_there() -> None:
    rules = program(JOURNEY)
    _, (posting,) = outcomes(rules, looked(), looked(20, channel="app"), bought(22.5))[-1]
    assert (posting.inputs["first_channel"], posting.inputs["hours"]) == ("app", 2)


def test_only_the_newest_glances_are_remembered_and_only_for_journeys() -> None:
    many = [looked(number / 100) for number in range(GLANCES_MAX + 5)]
    assert len(after(program(JOURNEY), *many).glances) == GLANCES_MAX
    assert after(program(), *many).glances == ()
    assert after(program(JOURNEY), looked(kind="wish")).glances == ()


def test_looking_at_something_is_no_use_of_a_channel() -> None:
    hello = {"id": "h", "type": "first_on_channel", "points": 3}
    nth = {"id": "n", "type": "nth_channel", "n": 2, "window_days": 9, "points": 5}
    rules = program(hello, nth)
    assert paid(rules, looked(channel="web"), looked(channel="app")) == [0, 0]
    assert after(rules, looked()).channels == {}


REFERRAL = {"id": "r", "type": "referral", "friend_points": 30, "referrer_points": 70}
REFERRED = About(is_referred=True)


def test_a_friend_is_paid_with_the_first_purchase_and_the_referrer_when_told() -> None:
    rules = program(REFERRAL)
    assert paid(rules, purchase(about=REFERRED), purchase(about=REFERRED)) == [30, 0]
    assert paid(rules, purchase()) == [0]
    assert paid(rules, engagement("visit", about=REFERRED), purchase(about=REFERRED)) == [0, 30]
    assert paid(rules, Activity("referral", NOON)) == [70]


def test_a_referral_can_ask_for_a_first_purchase_of_some_worth() -> None:
    rule = {**REFERRAL, "referrer_points": 0, "when": {"basket_min_amount": 2000}}
    rules = program(rule)
    assert paid(rules, purchase(about=REFERRED), purchase(line(5000), about=REFERRED)) == [0, 0]
    assert paid(rules, purchase(line(2000), about=REFERRED)) == [30]


def test_a_referral_that_pays_one_side_only_still_says_that_it_happened() -> None:
    rules = program({**REFERRAL, "friend_points": 0})
    _, (posting,) = step(rules, State(), purchase(about=REFERRED))
    assert (posting.kind, posting.points, posting.inputs) == ("referral", 0, {"side": "friend"})


def test_a_whole_return_of_the_first_purchase_makes_the_next_one_the_first() -> None:
    rules = program(REFERRAL)
    first, second = purchase(key="a", about=REFERRED), purchase(key="b", about=REFERRED)
    assert paid(rules, first, giving_back("a"), second) == [30, -30, 30]


STAMP = {"id": "stamp", "type": "fixed", "per": "basket", "points": 1, "unit": "stamps"}


def test_units_are_kept_apart() -> None:
    rules = program(BASE_RULE, STAMP, units={"stamps": {}})
    state = after(rules, purchase(), purchase(key="b"), giving_back("b"))
    assert state.balances == {"points": 10, "stamps": 1}
    assert state.balance == 10
    assert awarded(rules, purchase(), unit="stamps") == 1
    taking = Activity("adjustment", NOON, points=-1, unit="stamps")
    assert step(rules, state, taking)[0].balances == {"points": 10, "stamps": 0}


def test_each_unit_expires_and_waits_by_its_own_policy() -> None:
    units = {
        "points": {"expiry": {"months": 1}, "pending": {"days": 14}},
        "stamps": {"expiry": {"end_of": "year"}},
    }
    state = after(program(BASE_RULE, STAMP, units=units), purchase())
    april, mid_march = datetime(2026, 4, 2, tzinfo=UTC), datetime(2026, 3, 15, tzinfo=UTC)
    assert state.lots == {
        "points": (Lot(april, 10, mid_march),),
        "stamps": (Lot(datetime(2027, 1, 1, tzinfo=UTC), 1),),
    }


def test_a_posting_of_pending_points_says_from_when_they_can_be_spent() -> None:
    rules = program(units={"points": {"pending": "return_window"}}, returns={"window_days": 7})
    state, (posting,) = step(rules, State(), purchase())
    active_at = datetime(2026, 3, 8, tzinfo=UTC)
    assert posting.inputs["pending_until"] == active_at
    lots = state.lots["points"]
    assert (available(lots, NOON), pending_of(lots, NOON)) == (0, 10)
    assert (available(lots, active_at), pending_of(lots, active_at)) == (10, 0)
    free = Activity("adjustment", NOON, points=3)
    assert available(step(rules, state, free)[0].lots["points"], NOON) == 3


def test_the_uses_of_a_channel_are_remembered_only_as_far_as_a_bonus_needs_them() -> None:
    nth = {"id": "n", "type": "nth_channel", "n": 2, "window_days": 9, "points": 5}
    uses = [engagement("visit", at=NOON + n * HOUR, key=f"k{n}") for n in range(9)]
    assert [seen.key for seen in after(program(nth), *uses).channels["web"]] == ["k8", "k7", "k6"]
    assert LEGS_MAX == 3
    assert [seen.key for seen in after(program(), *uses).channels["web"]] == [""]


def test_progress_is_kept_for_rules_that_count() -> None:
    rules = program(
        {"id": "n", "type": "every_nth", "n": 2, "points": 7},
        {"id": "m", "type": "milestone", "points": 50, "measure": "spend", "at": 1500},
        {**STREAK, "period": "month", "n": 2},
    )
    state = after(rules, purchase(), purchase())
    assert state.progress == {
        "n": Progress("1", 2),
        "m": Progress("reached", 2000),
        "s": Progress("2026-03-01", 1),
    }
