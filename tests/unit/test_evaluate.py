"""Metrics against values worked by hand."""

import math
import random

import pytest

from recommend.dataset import Basket, Dataset, build, hold_out
from recommend.evaluate import (
    Metrics,
    baselines,
    evaluate,
    hit_rate_at,
    measure,
    ndcg_at,
    personal_top,
    recall_at,
)
from recommend.model import Model, Settings, Weights, train

DAY = 86_400.0
SMALL = Settings(factors=4, people_min=1, iterations=5)
Names = list[tuple[str, ...]]
Cases = tuple[list[list[tuple[float, tuple[str, ...]]]], Names, Names]
CATALOGUE = [f"i{n:02d}" for n in range(40)]


def rebuyers(people: int, seed: int = 3) -> Dataset:
    """Everybody buys the same three items of their own each time, and one at random."""
    chance = random.Random(seed)  # noqa: S311 - a test's data
    own = {f"m{n}": tuple(chance.sample(CATALOGUE, 3)) for n in range(people)}
    return build(
        Basket(member, day * DAY, ("web",), (*skus, chance.choice(CATALOGUE)))
        for member, skus in own.items()
        for day in range(4)
    )


def test_recall_is_hits_over_the_basket() -> None:
    assert recall_at(["a", "b", "c"], ["b", "x", "y", "z"], 3) == 0.25
    assert recall_at(["a", "b", "c"], ["c"], 2) == 0.0
    assert recall_at(["a"], [], 3) == 0.0


def test_hit_rate_is_one_or_nothing() -> None:
    assert hit_rate_at(["a", "b"], ["b", "a"], 2) == 1.0
    assert hit_rate_at(["a", "b"], ["b"], 1) == 0.0


def test_ndcg_by_hand() -> None:
    # Hits at places 1 and 3 of a basket of two: (1 + 1/2) / (1 + 1/log2(3)).
    assert ndcg_at(["a", "b", "c"], ["a", "c"], 3) == pytest.approx(1.5 / (1 + 1 / math.log2(3)))
    assert ndcg_at(["a"], ["a", "b", "c"], 1) == 1.0
    assert ndcg_at(["a", "b"], ["b", "a"], 5) == pytest.approx(1.0)
    assert ndcg_at(["a"], [], 3) == 0.0
    assert ndcg_at([], ["a"], 3) == 0.0


def test_a_ranker_is_averaged_over_members() -> None:
    found = measure(lambda _h, _p, k: ["a", "b"][:k], [[], []], [["a"], ["x"]], [(), ()], 2)
    assert found == Metrics(recall=0.5, hit_rate=0.5, ndcg=0.5, members=2)


def test_no_members_give_zeros() -> None:
    assert measure(personal_top, [], [], []) == Metrics(0.0, 0.0, 0.0, 0)


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        measure(personal_top, [[]], [], [])


def test_ones_own_most_frequent_come_first_and_the_newest_of_equals() -> None:
    history = [(0.0, ("a", "b")), (1.0, ("c", "b")), (2.0, ("d",))]
    assert personal_top(history, (), 3) == ["b", "d", "c"]


def model_and_cases(dataset: Dataset) -> tuple[Model, Cases]:
    history, truths = hold_out(dataset)
    histories = [history.baskets_of(truth.member) for truth in truths]
    model = train(history, SMALL, Weights(1.0, 0.8, 0.2))
    return model, (histories, [t.items for t in truths], [t.place for t in truths])


def test_a_model_beats_the_best_sellers_where_people_buy_again() -> None:
    model, cases = model_and_cases(rebuyers(80))
    blend = evaluate(model, *cases, 5)
    others = {n: measure(r, *cases, 5) for n, r in baselines(model).items()}
    assert blend.recall > 0.75 > 2 * others["global_top"].recall
    assert blend.members == 80
