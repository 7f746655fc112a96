"""Intervals and tests beside published examples and scipy."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from recommend.experiments.statistics import (
    Moments,
    Ratio,
    always_valid,
    means,
    proportions,
    ratios,
    share_mismatch,
    wilson,
)

# Newcombe 1998, Statistics in Medicine 17, table II, method 10: (x1, n1, x2, n2, low, high).
NEWCOMBE = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (10, 10, 0, 20, 0.6791, 1.0000),
    (10, 10, 0, 10, 0.6075, 1.0000),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
]


@pytest.mark.parametrize("published", NEWCOMBE)
def test_differences_of_proportions_are_newcombes(
    published: tuple[int, int, int, int, float, float],
) -> None:
    x1, n1, x2, n2, low, high = published
    found = proportions((x2, n2), (x1, n1))
    assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)
    assert found.difference == pytest.approx(x1 / n1 - x2 / n2)


def test_one_proportion_is_wilsons() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857, table I: 81 of 263, and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=6e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=6e-5)
    for count in (0, 3, 17, 20):
        low, high = stats.binomtest(count, 20).proportion_ci(method="wilson")
        assert wilson(count, 20) == pytest.approx((low, high))


def test_the_test_of_two_proportions_is_the_chi_square_of_the_table() -> None:
    table = [[56, 14], [48, 32]]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert proportions((48, 80), (56, 70)).p_value == pytest.approx(expected)


def test_differences_of_means_are_welchs() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.lognormal(3, 1, 80), rng.lognormal(3.3, 0.7, 45)
    expected = stats.ttest_ind(b, a, equal_var=False)
    sums = [Moments(len(x), float(x.mean()), float(x.var(ddof=1))) for x in (a, b)]
    found = means(*sums)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_equal_numbers_without_any_spread_are_no_difference() -> None:
    still = Moments(20, 5.0, 0.0)
    assert means(still, still).p_value == 1
    assert means(still, still._replace(mean=6.0)).p_value == 0


def ratio_of(x: np.ndarray, y: np.ndarray) -> Ratio:
    sums = (x.sum(), y.sum(), (x * x).sum(), (x * y).sum(), (y * y).sum())
    return Ratio(len(x), *map(float, sums))


def test_a_ratio_takes_the_member_for_the_unit() -> None:
    # Clicks of one member hang together, so clicks alone would look surer than they are.
    rng = np.random.default_rng(5)
    errors, spread = [], []
    for _ in range(300):
        taste = rng.beta(0.5, 4, 400)
        shown = rng.integers(1, 30, 400)
        clicks = rng.binomial(shown, taste)
        half = np.ones(400, dtype=bool)
        half[::2] = False
        found = ratios(ratio_of(shown[half], clicks[half]), ratio_of(shown[~half], clicks[~half]))
        errors.append((found.high - found.low) / 2 / 1.96)
        spread.append(found.difference)
    assert np.mean(errors) == pytest.approx(np.std(spread), rel=0.15)
    naive = sqrt(2 * 0.11 * 0.89 / (200 * 15))
    assert np.mean(errors) > 1.5 * naive


def test_where_nothing_was_shown_nothing_is_said() -> None:
    nothing = Ratio(10, 0, 0, 0, 0, 0)
    found = ratios(nothing, ratio_of(np.full(10, 5), np.arange(10)))
    assert found.low == -np.inf
    assert found.p_value == 1


def test_a_mismatch_is_the_chi_square_test() -> None:
    expected = stats.chisquare([520, 480], [500, 500]).pvalue
    assert share_mismatch([520, 480], [50, 50]) == pytest.approx(expected)
    assert share_mismatch([5200, 4700], [50, 50]) < 0.001
    assert share_mismatch([100, 0], [50, 0]) == 1
    assert share_mismatch([0, 0], [50, 50]) == 1


def test_looking_again_and_again_fools_the_plain_interval_only() -> None:
    """Two variants alike, looked at 40 times: how often each interval ever leaves zero out."""
    rng = np.random.default_rng(11)
    runs, looks = 300, np.arange(250, 10_001, 250)
    plain = always = 0
    for _ in range(runs):
        a, b = (np.cumsum(rng.random(10_000) < 0.1)[looks - 1] for _ in range(2))
        share = (a + b) / (2 * looks)
        error = np.sqrt(2 * share * (1 - share) / looks)
        distance = np.abs(a - b) / looks
        halves = [
            always_valid(e, 2 * n) for e, n in zip(error.tolist(), looks.tolist(), strict=True)
        ]
        plain += bool((distance > 1.96 * error).any())
        always += bool((distance > np.array(halves)).any())
    assert plain / runs > 0.15
    assert always / runs < 0.05


def test_the_members_that_are_missing_would_show_the_difference() -> None:
    found = proportions((100, 1000), (120, 1000))
    assert found.low < 0 < found.high
    assert found.more_members
    grown = (2000 + found.more_members) / 2000
    larger = proportions(
        (round(100 * grown), round(1000 * grown)), (round(120 * grown), round(1000 * grown))
    )
    # Four times out of five: 2.8 standard errors away from zero.
    assert larger.difference / ((larger.high - larger.low) / 3.92) == pytest.approx(2.8, abs=0.03)
    assert proportions((100, 1000), (100, 1000)).more_members is None
