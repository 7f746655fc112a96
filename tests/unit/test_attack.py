"""An audit finds a leak that was planted, and cries no wolf."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.dataset import Basket, Dataset, Floats, build, of_members
from recommend.model import Model, Settings, Weights, train
from recommend.privacy.attack import (
    ATTACKS,
    Finding,
    Flags,
    Person,
    Shadow,
    auc,
    calibrated,
    features,
    interval,
    strongest,
    true_share,
    verdict,
)
from recommend.privacy.audit import audit, facts_of
from recommend.privacy.model import TooFewMembersError

DAY = 86_400.0
PEOPLE = 240
SMALL = Settings(factors=4, people_min=1, iterations=3)


def shop(seed: int = 1) -> Dataset:
    """People without any taste: each buys twelve of 60 items at random, on three days."""
    rng = np.random.default_rng(seed)
    return build(
        Basket(
            f"m{number}", day * DAY, (), tuple(f"p{n:02}" for n in rng.choice(60, 4, replace=False))
        )
        for number in range(PEOPLE)
        for day in range(3)
    )


def memorising(dataset: Dataset) -> Model:
    """As many factors as needed to know every person: the planted leak."""
    return train(dataset, replace(SMALL, factors=60, iterations=15, regularization=0.01), threads=1)


def blind(dataset: Dataset) -> Model:
    """Learns nothing but which items there are."""
    names = dataset.items.tolist()
    same = [Basket(f"x{n}", 0.0, (), tuple(name.decode() for name in names)) for n in range(20)]
    return train(build(same), SMALL, collaborative=False)


def test_a_model_that_memorises_is_found_out() -> None:
    found = audit(shop(), memorising, members=PEOPLE, shadows=2)
    assert found.low > 0.6
    assert found.auc > 0.75
    assert "gives away" in verdict(found)


def test_a_model_that_learnt_nothing_of_anybody_is_not_accused() -> None:
    found = audit(shop(), blind, members=PEOPLE, shadows=2)
    assert found.low <= 0.5 <= found.high
    assert found.true_share < 0.2
    assert "cannot be told" in verdict(found)


@pytest.mark.parametrize("seed", range(5))
def test_random_scores_are_no_attack(seed: int) -> None:
    rng = np.random.default_rng(seed)
    was_in = np.arange(800) % 2 == 0
    shadows = [Shadow(rng.normal(size=(800, 5)), rng.random(800) < 0.5) for _ in range(3)]
    found = strongest(rng.normal(size=(800, 5)), was_in, shadows, seed)
    assert abs(found.auc - 0.5) < 0.1
    assert found.low < found.auc < found.high
    assert found.people_in + found.people_out == 400


def test_calibration_finds_what_is_unusual_for_a_person_only() -> None:
    """People differ a hundred times more than membership does; against themselves it shows."""
    rng = np.random.default_rng(3)
    own = rng.normal(scale=100.0, size=(600, 5))
    was_in = np.arange(600) % 2 == 0

    def seen(inside: Flags) -> Floats:
        noise = rng.normal(scale=0.5, size=(600, 5))
        return np.asarray(own + 2.0 * inside[:, None] + noise)

    halves = [rng.random(600) < 0.5 for _ in range(6)]
    shadows = [Shadow(seen(each), each) for each in halves]
    target = seen(was_in)
    assert auc(target[:, 0], was_in) < 0.6
    assert auc(calibrated(target, shadows)[:, 0], was_in) > 0.95
    assert "calibrated" in strongest(target, was_in, shadows, 1).attack


def test_an_attack_that_points_the_wrong_way_is_turned() -> None:
    was_in = np.arange(400) % 2 == 0
    scores = np.random.default_rng(1).normal(size=(400, 5))
    scores[:, 2] -= 3 * was_in
    assert strongest(scores, was_in, [], 1).auc > 0.9


def test_too_few_people_are_refused() -> None:
    few = of_members(shop(), np.arange(PEOPLE) < 20)
    with pytest.raises(TooFewMembersError, match="20 members"):
        audit(few, blind)
    with pytest.raises(ValueError, match="too few"):
        strongest(np.zeros((10, 5)), np.arange(10) < 5, [], 1)


@given(
    scores=st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2).filter(
        lambda rows: {flag for _, flag in rows} == {True, False}
    )
)
def test_auc_is_the_share_of_pairs_in_order(scores: list[tuple[int, bool]]) -> None:
    inside = [value for value, flag in scores if flag]
    outside = [value for value, flag in scores if not flag]
    pairs = [(one > two) + 0.5 * (one == two) for one in inside for two in outside]
    values = np.array([value for value, _ in scores], dtype=np.float64)
    assert auc(values, np.array([flag for _, flag in scores])) == pytest.approx(np.mean(pairs))


def test_the_true_share_allows_one_false_alarm_in_a_hundred() -> None:
    outside, inside = np.arange(200.0), np.array([150.0, 197.5, 199.5, 300.0])
    scores, was_in = np.concatenate([outside, inside]), np.arange(204) >= 200
    assert true_share(scores, was_in) == 0.75


def test_the_interval_covers_the_estimate_and_narrows() -> None:
    widths = []
    for size in (100, 1_600):
        rng = np.random.default_rng(2)
        was_in = np.arange(size) % 2 == 0
        scores = rng.normal(size=size) + was_in
        low, high = interval(scores, was_in, rng)
        assert low < auc(scores, was_in) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_a_person_of_whom_the_model_holds_nothing_scores_nothing() -> None:
    model = train(shop(), SMALL, Weights(1.0, 1.0, 1.0), threads=1)
    found = features(model, [Person([(0.0, ("unheard",))], ()), Person([], ())])
    assert found.shape == (2, len(ATTACKS))
    assert not found.any()


@pytest.mark.parametrize(
    ("value", "low", "word"),
    [
        (0.51, 0.48, "cannot be told"),
        (0.54, 0.52, "within the goal"),
        (0.58, 0.55, "above the goal"),
        (0.7, 0.65, "more often than not"),
        (0.9, 0.85, "CARNET_MODEL_PRIVACY=dp"),
    ],
)
def test_the_verdict_is_in_plain_words(value: float, low: float, word: str) -> None:
    found = Finding("popular", value, low, value + 0.02, 0.02, 500, 500, {"popular": value})
    assert word in verdict(found)
    assert facts_of(found)["auc"] == value


def test_few_members_clear_no_model() -> None:
    found = Finding("popular", 0.49, 0.31, 0.65, 0.0, 16, 17, {"popular": 0.49})
    assert "33 members are too few" in verdict(found)


def test_some_members_keep_their_baskets_and_the_rest_is_gone() -> None:
    whole = shop()
    chosen = np.arange(PEOPLE) % 3 == 1
    some = of_members(whole, chosen)
    assert some.n_members == chosen.sum()
    for row, old in enumerate(np.flatnonzero(chosen).tolist()):
        assert some.baskets_of(row) == whole.baskets_of(old)
