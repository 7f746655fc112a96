"""What was just bought waits; what is due again does not."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recommend.dataset import Basket, build
from recommend.due import (
    WAITING_DAYS_MAX,
    Habit,
    bought_since,
    habits,
    waiting,
    waiting_days,
)

DAY = 86_400.0
MILK = {"milk"}
FORTNIGHTS = [(n * 14 * DAY, ("milk",)) for n in range(4)]


def bought(person: str, item: str, *days: float) -> list[Basket]:
    return [Basket(person, day * DAY, (), (item,)) for day in days]


def test_a_regular_purchase_waits_a_quarter_of_its_interval() -> None:
    own, last = habits(FORTNIGHTS, MILK), 42
    assert own["milk"] == Habit(last * DAY, 14.0, 14.0)
    assert waiting(own, {}, (last + 1) * DAY) == {"milk"}
    assert waiting(own, {}, (last + 3.4) * DAY) == {"milk"}
    assert waiting(own, {}, (last + 3.6) * DAY) == frozenset()


def test_before_there_is_an_interval_of_ones_own_that_of_the_item_counts() -> None:
    own = habits(FORTNIGHTS[:2], MILK)
    assert own["milk"].typical_days is None
    assert waiting(own, {}, 14.1 * DAY) == frozenset()
    assert waiting(own, {"milk": 5.0}, 18 * DAY) == {"milk"}
    assert waiting(own, {"milk": 5.0}, 20 * DAY) == frozenset()


def test_who_buys_more_often_than_others_waits_less() -> None:
    own = habits([(day * DAY, ("milk",)) for day in range(4)], MILK)
    assert waiting(own, {"milk": 5.0}, 3.2 * DAY) == {"milk"}
    assert waiting(own, {"milk": 5.0}, 3.3 * DAY) == frozenset()


def test_several_purchases_of_one_day_tell_no_interval() -> None:
    own = habits([(hour * 3600.0, ("milk",)) for hour in range(5)], MILK)
    assert own["milk"].typical_days is None


def test_of_a_history_only_its_end_is_looked_at() -> None:
    history = [(0.0, ("old",)), (70 * DAY, ("milk",)), (75 * DAY, ("milk", "oats"))]
    assert bought_since(history, 60 * DAY) == {"milk": 75 * DAY, "oats": 75 * DAY}
    own = {"old": Habit(0.0, 400.0, 400.0)}
    assert waiting(own, {}, 59 * DAY) == {"old"}
    assert waiting(own, {}, (WAITING_DAYS_MAX + 1) * DAY) == frozenset()


def test_an_item_has_an_interval_only_with_enough_people_behind_it() -> None:
    nine = [each for n in range(9) for each in bought(f"p{n}", "milk", 0, 10, 20)]
    once = [each for n in range(20) for each in bought(f"q{n}", "milk", 0)]
    assert np.isnan(waiting_days(build([*nine, *once]), 10)).all()
    ten = [*nine, *bought("p9", "milk", 0, 10)]
    assert waiting_days(build(ten), 10).tolist() == [10.0]


def test_somebody_who_buys_very_often_weighs_as_much_as_everybody_else() -> None:
    people = [each for n in range(10) for each in bought(f"p{n}", "milk", 0, 10)]
    often = bought("fan", "milk", *range(200))
    quiet = bought("fan", "milk", 0, 1)
    assert waiting_days(build([*people, *often]), 10) == waiting_days(build([*people, *quiet]), 10)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 60)), max_size=80))
def test_it_is_what_a_plain_loop_says(rows: list[tuple[int, int, int]]) -> None:
    baskets = [Basket(f"m{m}", day * DAY + 5, (), (f"i{i}",)) for m, i, day in rows]
    found = waiting_days(build(baskets), 1)
    for position, item in enumerate(sorted({f"i{i}" for _, i, _ in rows})):
        means, squares = [], []
        for m in range(4):
            days = sorted({day for mm, i, day in rows if (f"i{i}", mm) == (item, m)})
            logs = [math.log(b - a) for a, b in pairwise(days)]
            if logs:
                means.append(sum(logs) / len(logs))
                squares.append(sum(each**2 for each in logs) / len(logs))
        if not means:
            assert np.isnan(found[position])
            continue
        mean = sum(means) / len(means)
        deviation = math.sqrt(max(sum(squares) / len(squares) - mean**2, 0))
        np.testing.assert_allclose(found[position], math.exp(mean - 2.33 * deviation), rtol=1e-5)
