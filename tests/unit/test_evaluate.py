"""Metrics against values worked by hand, and the choice of weights."""

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from recommend.dataset import Basket, Dataset, Truth, build, hold_out
from recommend.evaluate import (
    DEFAULT_WEIGHTS,
    GRID,
    MEMBERS_MIN,
    Metrics,
    baselines,
    choose_weights,
    evaluate,
    hit_rate_at,
    measure,
    ndcg_at,
    personal_top,
    recall_at,
    served,
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


def explorers(people: int, seed: int = 3) -> Dataset:
    """Two tastes; nobody ever buys an item twice."""
    chance = random.Random(seed)  # noqa: S311 - a test's data
    baskets = []
    for n in range(people):
        taste = chance.sample(CATALOGUE[n % 2 :: 2], 20)
        baskets += [
            Basket(f"m{n}", day * DAY, ("web",), tuple(taste[5 * day : 5 * day + 5]))
            for day in range(4)
        ]
    return build(baskets)


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


def test_with_too_few_members_the_weights_are_the_default_and_it_says_so() -> None:
    choice = choose_weights(rebuyers(MEMBERS_MIN - 1), SMALL, seed=1)
    assert (choice.weights, choice.tried, dict(choice.confirmed)) == (DEFAULT_WEIGHTS, (), {})
    assert choice.note.startswith("Default weights: only 49 members")
    assert choose_weights(build([]), SMALL, seed=1).weights == DEFAULT_WEIGHTS


def test_where_nobody_buys_twice_the_collaborative_part_is_chosen() -> None:
    choice = choose_weights(explorers(120), SMALL, seed=1)
    assert choice.weights.collaborative > choice.weights.personal
    assert choice.confirmed["chosen"].recall > choice.confirmed["default"].recall


def test_where_people_buy_again_the_personal_part_is_chosen() -> None:
    choice = choose_weights(rebuyers(120), SMALL, seed=1, k=5)
    assert choice.weights.personal == 1.0
    assert choice.confirmed["chosen"].recall > choice.confirmed["global_top"].recall


def test_the_same_seed_chooses_the_same() -> None:
    one, two = (choose_weights(rebuyers(60), SMALL, seed=5, threads=n) for n in (1, 2))
    assert one == two


def test_figures_tried_are_those_of_serving() -> None:
    dataset = rebuyers(60)
    choice = choose_weights(dataset, replace(SMALL, people_min=8), seed=5)
    assert [weights for weights, _ in choice.tried] == list(GRID)
    assert max(row.recall for _, row in choice.tried) == dict(choice.tried)[choice.weights].recall
    assert {row.members for _, row in choice.tried} == {30}
    assert choice.confirmed["chosen"].members == 30


def test_blending_scores_once_gives_what_ranking_gives() -> None:
    dataset = rebuyers(60)
    settings = replace(SMALL, people_min=8)
    choice = choose_weights(dataset, settings, seed=5)
    history, truths = hold_out(dataset)
    model = train(history, settings)
    drawn = [truths[n] for n in np.random.default_rng(5).permutation(60).tolist()]

    def again(weights: Weights, sample: list[Truth]) -> Metrics:
        histories = [history.baskets_of(truth.member) for truth in sample]
        items, places = [t.items for t in sample], [t.place for t in sample]
        return measure(served(replace(model, weights=weights)), histories, items, places)

    for weights, metrics in choice.tried:
        assert again(weights, drawn[:30]).recall == pytest.approx(metrics.recall)
    assert choice.confirmed["chosen"] == again(choice.weights, drawn[30:])
