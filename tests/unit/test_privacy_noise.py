"""Noise has the size it is said to have, and its accounting agrees with closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import dp_accounting
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommend.privacy.accounting import cost_of, epsilon_of
from recommend.privacy.model import Budget, Cost
from recommend.privacy.noise import Noise

DRAWS = 20_000
EULER = 0.5772156649


def test_gaussian_noise_has_its_mean_and_deviation() -> None:
    drawn = Noise.seeded(1).gaussian(DRAWS, 1_000.0)
    assert drawn.dtype == np.int64
    # Six standard errors: one seed in 500 million would miss it, and this one is fixed.
    assert abs(drawn.mean()) < 6 * 1_000 / math.sqrt(DRAWS)
    assert drawn.std() == pytest.approx(1_000, rel=6 / math.sqrt(2 * DRAWS))
    assert (np.abs(drawn) > 2_000).mean() == pytest.approx(0.0455, abs=0.01)


def test_gumbel_noise_has_its_mean_and_deviation() -> None:
    drawn = Noise.seeded(2).gumbel(DRAWS)
    assert drawn.mean() == pytest.approx(EULER, abs=0.06)
    assert drawn.std() == pytest.approx(math.pi / math.sqrt(6), rel=0.06)


def test_uniform_numbers_never_touch_their_ends() -> None:
    for byte in (b"\0", b"\xff"):
        (drawn,) = Noise(lambda size, byte=byte: byte * size).uniform(1)  # type: ignore[misc]
        assert 0 < drawn < 1


def test_noise_of_the_system_differs_and_that_of_a_seed_does_not() -> None:
    assert (Noise().gaussian(8, 1e6) != Noise().gaussian(8, 1e6)).any()
    assert (Noise.seeded(3).gaussian(8, 1e6) == Noise.seeded(3).gaussian(8, 1e6)).all()
    one = Noise.seeded(3)
    assert (one.gaussian(8, 1e6) != one.gaussian(8, 1e6)).any()


@pytest.mark.parametrize("multiplier", [0.8, 2.0, 6.5, 40.0])
def test_one_gaussian_release_costs_what_the_closed_form_says(multiplier: float) -> None:
    exact = dp_accounting.get_epsilon_gaussian(multiplier, 1e-6)
    assert exact <= epsilon_of([Cost(multiplier, 0.0, 0.0)], 1e-6) <= exact + 0.002


@pytest.mark.parametrize("times", [2, 9, 30])
def test_gaussian_releases_together_are_one_with_less_noise(times: int) -> None:
    exact = dp_accounting.get_epsilon_gaussian(5.0 / math.sqrt(times), 1e-6)
    assert exact <= epsilon_of([Cost(5.0, 0.0, 0.0)] * times, 1e-6) <= exact + 0.002


def test_choices_add_up_to_no_more_than_their_sum() -> None:
    costs = [Cost(0.0, 0.1, 0.0)] * 8
    assert 0 < epsilon_of(costs, 1e-6) <= 0.8 + 1e-6


def test_delta_that_is_used_up_is_no_privacy() -> None:
    assert epsilon_of([Cost(5.0, 0.0, 5e-7)], 1e-6) < math.inf
    assert epsilon_of([Cost(5.0, 0.0, 5e-7)] * 2, 1e-6) == math.inf


def test_nothing_released_costs_nothing() -> None:
    assert epsilon_of([], 1e-6) == 0.0


@given(epsilon=st.floats(0.05, 5), delta=st.sampled_from([1e-5, 1e-6, 1e-8]))
@settings(max_examples=15)
def test_a_training_costs_what_it_may_and_hardly_less(epsilon: float, delta: float) -> None:
    spent = epsilon_of([cost_of(epsilon, delta)], delta)
    assert spent <= epsilon
    assert spent == pytest.approx(epsilon, rel=0.02, abs=0.003)


@given(costs=st.lists(st.tuples(st.floats(0.7, 50), st.floats(0, 0.3)), max_size=6))
@settings(max_examples=15)
def test_another_release_never_costs_less(costs: list[tuple[float, float]]) -> None:
    known = [Cost(multiplier, round(choice, 1), 1e-9) for multiplier, choice in costs]
    seen = [epsilon_of(known[:count], 1e-6) for count in range(len(known) + 1)]
    assert all(one <= two + 1e-3 for one, two in pairwise(seen))


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"epsilon": 9.0}, {"delta": 0.0}, {"delta": 1.0}, {"days": -1}]
)
def test_a_budget_that_means_nothing_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Budget(**wrong)  # type: ignore[arg-type]


def test_delta_is_small_enough_for_so_many_members() -> None:
    assert Budget(delta=1e-6).members_max == 284_803
    assert Budget(delta=1e-7).members_max > 2_300_000
