"""What is owed, worked out of states; and what a sample of members says of all of them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from statistics import stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.audit.liability import Breakage, Fate, Outstanding, count, expiring, report, worth_of
from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import UTC_ZONE, Held, State
from loyalty.program.sampling import Moments, draw, estimate, mark_of
from loyalty.program.simulate import Spread, expiry_month
from loyalty.program.validity import Expiry, UnitPolicy
from tests.builders import NOON, program

APRIL = datetime(2026, 4, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE = NOON - timedelta(days=1)


def summed(*states: State, at: datetime = NOON) -> dict[str, Outstanding]:
    sums: dict[str, Outstanding] = {}
    for state in states:
        count(sums, state, at, UTC_ZONE)
    return sums


def lots(*each: Lot) -> State:
    return State(lots={"points": each})


def test_points_are_owed_until_the_month_of_their_last_day() -> None:
    found = summed(lots(Lot(APRIL, 30), Lot(NEVER, 5)), lots(Lot(APRIL, 7), Lot(JUNE, 1)))
    assert found["points"].points == 43
    assert found["points"].holders == 2
    assert dict(found["points"].by_month) == {"2026-03": 37, "2026-05": 1, "never": 5}


def test_what_has_expired_is_not_owed_though_no_entry_says_so() -> None:
    sums: dict[str, Outstanding] = {}
    expired = count(sums, lots(Lot(BEFORE, 30), Lot(JUNE, 1)), NOON, UTC_ZONE)
    assert expired == {"points": 30}
    assert sums["points"].points == 1


def test_pending_held_and_owed_points_are_told_apart() -> None:
    pending = lots(Lot(NEVER, 10), Lot(NEVER, 4, JUNE))
    held = State(holds={"h": Held(6, "points", (Lot(NEVER, 6),), JUNE)})
    debtor = lots(Lot(NEVER, -9))
    told = summed(pending, held, debtor)["points"]
    assert (told.points, told.pending, told.held, told.debt) == (14, 4, 6, 9)
    assert told.holders == 1


def test_a_hold_that_ran_out_is_outstanding_again() -> None:
    told = summed(State(holds={"h": Held(6, "points", (Lot(NEVER, 6),), BEFORE)}))["points"]
    assert (told.points, told.held) == (6, 0)


def test_inactivity_ends_points_before_their_own_date() -> None:
    state = State(lots={"points": (Lot(JUNE, 8), Lot(NEVER, 2))}, idle_at={"points": APRIL})
    assert dict(summed(state)["points"].by_month) == {"2026-03": 10}
    (soon,) = expiring(state, NOON, until=NOON + timedelta(days=31))
    assert (soon.points, soon.expires_at) == (10, APRIL)


def test_only_what_expires_within_the_days_is_listed() -> None:
    state = lots(Lot(BEFORE, 3), Lot(APRIL, 7), Lot(JUNE, 5), Lot(NEVER, 9))
    assert [each.points for each in expiring(state, NOON, until=APRIL)] == [7]
    assert [each.points for each in expiring(state, NOON, until=JUNE)] == [7, 5]


def test_the_money_is_the_units_worth_rounded_half_up() -> None:
    policy = UnitPolicy(worth=(1, 200))
    assert [worth_of(points, policy) for points in (99, 100, 299, 300)] == [0, 1, 1, 2]
    assert worth_of(100, UnitPolicy()) is None
    rules = program(units={"points": {"worth": {"points": 100, "amount": 90}}})
    (body,) = report(summed(lots(Lot(NEVER, 1200))), {}, rules)
    assert body["outstanding"] == {"points": 1200, "amount": 1080}
    assert body["breakage"] is None


def test_breakage_is_the_share_that_expired_of_what_came_to_its_end() -> None:
    breakage = Breakage()
    for ended, expired in [(100, 50), (300, 50), (0, 0)]:
        breakage.add(Fate(ended, expired))
    found = breakage.rate()
    assert found
    assert found[0] == pytest.approx(0.25)
    # Residues 25, -25 and 0 of a ratio over 400 points.
    assert found[1] == pytest.approx((1250 * 3 / 2) ** 0.5 / 400)


def test_breakage_falls_on_what_can_expire_only() -> None:
    breakage = Breakage()
    breakage.add(Fate(100, 25))
    breakage.add(Fate(100, 25))
    (body,) = report(
        summed(lots(Lot(APRIL, 80), Lot(NEVER, 1000))), {"points": breakage}, program()
    )
    assert body["breakage"]["expected"]["points"] == 20
    assert body["breakage"]["rate"] == 0.25


def test_without_an_end_there_is_no_estimate() -> None:
    breakage = Breakage()
    breakage.add(Fate(0, 0))
    assert breakage.rate() is None


def test_a_month_is_that_of_the_programmes_clock() -> None:
    rules = program(time_zone="Europe/Berlin")
    policy = UnitPolicy(expiry=Expiry(on=date(2026, 3, 31)))
    ends_at = policy.dates(NOON, rules.zone).expires_at
    assert expiry_month(ends_at, rules.zone) == "2026-03"


IDS = [f"m_{number:032x}" for number in range(400)]


def test_a_sample_is_the_same_every_time_and_another_with_another_seed() -> None:
    first = draw(IDS, seed="a", members=50)
    again = draw(reversed(IDS), seed="a", members=50)
    other = draw(IDS, seed="b", members=50)
    assert first == again
    chosen = {each for each in IDS if first.has(each)}
    assert len(chosen) == 50
    assert chosen != {each for each in IDS if other.has(each)}


@given(st.integers(1, 100))
def test_a_share_of_members_is_rounded_up(percent: int) -> None:
    sample = draw(IDS[:37], seed="", percent=percent)
    assert sample.drawn == -(-37 * percent // 100)
    assert sum(map(sample.has, IDS[:37])) == sample.drawn


def test_nobody_is_drawn_of_nobody() -> None:
    assert draw([], seed="", members=5).drawn == 0
    assert not draw([], seed="", members=5).has(IDS[0])


def test_a_total_is_estimated_with_its_standard_error() -> None:
    values, moments = [3, 0, 8, 5], Moments()
    for value in values:
        moments.add(value)
    found = estimate(moments, looked_at=4, of=10)
    assert found.value == 40
    error = 10 * stdev(values) / 2 * (1 - 4 / 10) ** 0.5
    assert found.standard_error == pytest.approx(error)
    assert (found.low, found.high) == (round(40 - 1.96 * error), round(40 + 1.96 * error))
    whole = estimate(moments, looked_at=4, of=4)
    assert (whole.value, whole.standard_error) == (16, None)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    truth = {each: mark_of(each, "value") % 100 for each in IDS}
    total, held = sum(truth.values()), 0
    for seed in range(200):
        sample = draw(IDS, seed=str(seed), members=60)
        moments = Moments()
        for each in IDS:
            if sample.has(each):
                moments.add(truth[each])
        found = estimate(moments, looked_at=60, of=len(IDS))
        assert found.low is not None
        assert found.high is not None
        held += found.low <= total <= found.high
    assert 180 <= held <= 199


def test_a_percentile_of_few_members_is_not_told() -> None:
    spread = Spread()
    for value in range(1, 201):
        spread.add(value)
    assert spread.quantile(50, beside_min=10) == 100
    assert spread.quantile(5, beside_min=10) == 10
    assert spread.quantile(1, beside_min=10) is None
    assert spread.quantile(99, beside_min=10) is None
