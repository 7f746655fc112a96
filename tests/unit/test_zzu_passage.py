"""What time alone does: holds run out, points expire, all that is idle goes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import Held, Posting, Program, State
from loyalty.program.passage import settle, without
from loyalty.program.step import points_of, step
from tests.builders import NOON, adjustment, after, engagement, outcomes, program, purchase
from tests.strategies import EVER, Event, play, programs

MARCH, APRIL, MAY, JUNE = (datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 5, 6))
TICK = timedelta(milliseconds=1)
IDLE: dict[str, Any] = {"units": {"points": {"expiry": {"idle_days": 30}}}}


def moved(postings: tuple[Posting, ...]) -> list[tuple[str, int]]:
    return [(posting.kind, posting.points) for posting in postings]


def held(*lots: Lot, until: datetime) -> Held:
    return Held(sum(lot.points for lot in lots), "points", lots, until)


@settings(max_examples=700)
@given(programs(), EVER, st.integers(0, 200), st.integers(0, 200))
def test_looking_in_between_changes_nothing(
    rules: Program, events: list[Event], days: int, more_days: int
) -> None:
    life = play(rules, events)
    if not life:
        return
    state, at = life[-1].after, life[-1].activity.occurred_at
    first, second = at + timedelta(days=days), at + timedelta(days=days + more_days)
    between, some = settle(state, first)
    direct, everything = settle(state, second)
    late, rest = settle(between, second)
    assert late == direct
    for unit in state.lots:
        assert moved_of(some + rest, unit) == moved_of(everything, unit)


def moved_of(postings: tuple[Posting, ...], unit: str) -> int:
    return sum(posting.points for posting in postings if posting.unit == unit)


@settings(max_examples=700)
@given(programs(), EVER, st.integers(0, 200))
def test_what_time_moves_is_what_it_posts(rules: Program, events: list[Event], days: int) -> None:
    for each in play(rules, events):
        later, postings = settle(each.after, each.activity.occurred_at + timedelta(days=days))
        for unit, balance in later.balances.items():
            assert balance == each.after.balances[unit] + moved_of(postings, unit)


def test_where_nothing_is_due_nothing_happens() -> None:
    state = State(lots={"points": (Lot(APRIL, 5), Lot(NEVER, 5))})
    assert settle(state, APRIL - TICK) == (state, ())
    assert settle(State(), APRIL) == (State(), ())


def test_each_unit_expires_for_itself() -> None:
    state = State(lots={"points": (Lot(APRIL, 5),), "stamps": (Lot(MAY, 3), Lot(JUNE, 1))})
    in_april, postings = settle(state, APRIL)
    assert (moved(postings), postings[0].unit) == ([("expiry", -5)], "points")
    in_may, postings = settle(in_april, MAY)
    assert (moved(postings), postings[0].unit) == ([("expiry", -3)], "stamps")
    assert in_may.balances == {"points": 0, "stamps": 1}


def test_a_hold_that_runs_out_gives_its_points_back_to_their_lots() -> None:
    state = State(
        lots={"points": (Lot(MAY, 40),)},
        holds={"h": held(Lot(APRIL, 10), Lot(MAY, 20), until=MARCH)},
    )
    assert settle(state, MARCH - TICK) == (state, ())
    later, (posting,) = settle(state, MARCH)
    assert later == State(lots={"points": (Lot(APRIL, 10), Lot(MAY, 60))})
    assert (posting.kind, posting.rule, posting.points) == ("release", "hold", 30)
    assert posting.inputs == {"hold": "h", "held": 30, "expired_at": MARCH}


def test_points_whose_lot_expired_while_they_were_held_leave_as_the_hold_runs_out() -> None:
    state = State(
        lots={"points": (Lot(MAY, 40),)},
        holds={"h": held(Lot(APRIL, 10), Lot(JUNE, 20), until=MAY - TICK)},
    )
    before, nothing = settle(state, MAY - 2 * TICK)
    assert (before, nothing) == (state, ())
    later, postings = settle(state, MAY - TICK)
    assert moved(postings) == [("release", 30), ("expiry", -10)]
    assert later.lots == {"points": (Lot(MAY, 40), Lot(JUNE, 20))}


def test_holds_run_out_in_the_order_of_their_time() -> None:
    state = State(
        holds={"late": held(Lot(NEVER, 1), until=MAY), "early": held(Lot(NEVER, 2), until=APRIL)}
    )
    _, postings = settle(state, JUNE)
    assert [posting.inputs["hold"] for posting in postings] == ["early", "late"]
    only_early, _ = settle(state, APRIL)
    assert set(only_early.holds) == {"late"}


def test_a_debt_takes_what_a_hold_gives_back() -> None:
    state = State(
        lots={"points": (Lot(NEVER, -25),)}, holds={"h": held(Lot(JUNE, 30), until=APRIL)}
    )
    assert settle(state, APRIL)[0].lots == {"points": (Lot(JUNE, 5),)}


def test_a_hold_is_taken_out_alone() -> None:
    holds = {name: held(Lot(NEVER, 1), until=MAY) for name in "ab"}
    assert without(holds, "a") == {"b": holds["b"]}


def test_all_of_an_idle_unit_expires_whatever_its_lots_say() -> None:
    state = State(lots={"points": (Lot(MAY, 5), Lot(NEVER, 7))}, idle_at={"points": APRIL})
    assert settle(state, APRIL - TICK) == (state, ())
    idle, postings = settle(state, APRIL)
    assert (moved(postings), idle.lots) == ([("expiry", -12)], {"points": ()})
    assert settle(idle, MAY) == (idle, ())


def test_a_debt_does_not_go_away_by_being_idle() -> None:
    state = State(lots={"points": (Lot(NEVER, -5),)}, idle_at={"points": APRIL})
    assert settle(state, MAY) == (state, ())


def test_what_was_held_when_all_was_lost_as_idle_is_lost_as_the_hold_runs_out() -> None:
    state = State(
        lots={"points": (Lot(NEVER, 7),)},
        holds={"h": held(Lot(NEVER, 3), until=MAY)},
        idle_at={"points": APRIL},
    )
    assert moved(settle(state, MAY)[1]) == [("expiry", -7), ("release", 3), ("expiry", -3)]


@pytest.mark.parametrize(("gap", "balance"), [(timedelta(days=30), 20), (timedelta(days=31), 10)])
def test_purchases_and_engagements_keep_idle_points_alive(gap: timedelta, balance: int) -> None:
    rules = program(**IDLE)
    assert after(rules, purchase(), purchase(at=NOON + gap)).balance == balance
    visited = after(rules, purchase(), engagement("visit", at=NOON + timedelta(days=20)))
    assert settle(visited, NOON + timedelta(days=50))[0].balance == 10
    assert settle(visited, NOON + timedelta(days=51))[0].balance == 0


def test_points_by_hand_after_an_idle_time_are_not_lost_at_once() -> None:
    rules = program(**IDLE)
    given_at = NOON + timedelta(days=40)
    state = after(rules, purchase(), adjustment(5, at=given_at))
    assert settle(state, given_at + timedelta(days=30))[0].balance == 5
    assert settle(state, given_at + timedelta(days=31))[0].balance == 0


def test_points_by_hand_do_not_prolong_an_idle_time_that_is_running() -> None:
    state = after(program(**IDLE), purchase(), adjustment(5, at=NOON + timedelta(days=20)))
    assert settle(state, NOON + timedelta(days=31))[0].balance == 0


def test_a_later_programme_without_idle_time_lets_nothing_be_lost_by_it() -> None:
    state = after(program(**IDLE), purchase())
    later, _ = step(program(), state, purchase(at=NOON + timedelta(days=10)))
    assert settle(later, NOON + timedelta(days=900))[0].balance == 20


def test_what_time_took_is_posted_before_what_the_activity_earned() -> None:
    rules = program(expires_after_months=1)
    _, (_, postings) = outcomes(rules, purchase(), purchase(at=JUNE))
    assert moved(postings) == [("expiry", -10), ("spend", 10)]
    assert points_of(postings) == 10


def test_pending_points_join_the_others_as_they_become_active() -> None:
    lots = (Lot(JUNE, 5), Lot(JUNE, 7, active_at=APRIL), Lot(JUNE, 9, active_at=MAY))
    state = State(lots={"points": lots})
    assert settle(state, APRIL - TICK) == (state, ())
    later, postings = settle(state, APRIL)
    assert later.lots == {"points": (Lot(JUNE, 12), Lot(JUNE, 9, active_at=MAY))}
    assert postings == ()
    assert settle(later, MAY)[0].lots == {"points": (Lot(JUNE, 21),)}
