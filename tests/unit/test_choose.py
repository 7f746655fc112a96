"""The choice of settings and weights, where people buy again and where they explore."""

import random
from dataclasses import replace

import pytest

from recommend.choose import DEFAULT_WEIGHTS, MEMBERS_MIN, choose
from recommend.dataset import Basket, Dataset, build, hold_out_random
from recommend.model import Settings, Weights, rank, train

DAY = 86_400.0
SMALL = Settings(factors=8, people_min=1, iterations=4)
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


def explorers(people: int, seed: int = 3, *, baskets: int = 4) -> Dataset:
    """Two tastes; nobody ever buys an item twice."""
    chance = random.Random(seed)  # noqa: S311 - a test's data
    found = []
    for n in range(people):
        taste = chance.sample(CATALOGUE[n % 2 :: 2], 16)
        size = len(taste) // baskets
        found += [
            Basket(f"m{n}", day * DAY, ("web",), tuple(taste[size * day : size * day + size]))
            for day in range(baskets)
        ]
    return build(found)


def test_with_too_few_members_the_weights_are_the_default_and_it_says_so() -> None:
    choice = choose(rebuyers(MEMBERS_MIN - 1), SMALL, seed=1)
    assert (choice.weights, choice.tried, dict(choice.confirmed)) == (DEFAULT_WEIGHTS, (), {})
    assert (choice.settings, choice.model) == (None, None)
    assert choice.note.startswith("Default weights: only 49 members")
    assert choose(build([]), SMALL, seed=1).weights == DEFAULT_WEIGHTS


def test_where_nobody_buys_twice_what_was_had_is_not_shown_again() -> None:
    choice = choose(explorers(120), SMALL, seed=1, k=5)
    assert choice.settings is not None
    assert not choice.settings.repeats
    assert choice.confirmed["chosen"].recall > choice.confirmed["personal_top"].recall
    model = train(explorers(120), choice.settings, choice.weights, start=choice.model)
    had = CATALOGUE[::2][:8]
    shown = {pick.sku for pick in rank(model, [(0.0, tuple(had))], (), 10)}
    assert shown
    assert shown.isdisjoint(had)


def test_where_people_buy_again_the_personal_part_is_chosen() -> None:
    choice = choose(rebuyers(120), SMALL, seed=1, k=5)
    assert choice.settings is not None
    assert (choice.weights.personal, choice.settings.repeats) == (1.0, True)
    assert choice.confirmed["chosen"].recall > choice.confirmed["global_top"].recall


def test_of_single_baskets_a_random_share_is_held_out() -> None:
    choice = choose(explorers(120, baskets=1), SMALL, seed=1)
    assert "a random fifth of the items" in choice.note
    assert choice.settings is not None
    assert not choice.settings.repeats


def test_the_same_seed_chooses_the_same() -> None:
    one, two = (choose(rebuyers(60), SMALL, seed=5, threads=n) for n in (1, 2))
    assert one == two
    assert one.tried


def test_a_budget_that_runs_out_stops_early_and_says_so() -> None:
    dataset, ticks = rebuyers(60), iter(range(10_000))
    full = choose(dataset, SMALL, seed=5)
    short = choose(dataset, SMALL, seed=5, budget_seconds=3, clock=lambda: float(next(ticks)))
    assert "the time ran out" in short.note
    assert "the time ran out" not in full.note
    assert dict(short.tried).items() <= dict(full.tried).items()
    assert len(short.tried) < len(full.tried)


def test_progress_ends_where_it_should() -> None:
    told: list[tuple[int, int]] = []
    choose(rebuyers(60), SMALL, seed=5, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_was_tried_best_is_what_is_chosen() -> None:
    choice = choose(rebuyers(90), replace(SMALL, people_min=8), seed=5)
    assert choice.settings is not None
    chosen = [
        worth
        for point, worth in choice.tried
        if point.weights == choice.weights
        and point.settings(SMALL) == replace(choice.settings, people_min=SMALL.people_min)
    ]
    start = choice.tried[0][1]
    assert chosen
    assert chosen[0] >= start


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_random_share_leaves_two_items_and_takes_one(share: float) -> None:
    dataset = explorers(10, baskets=2)
    history, truths = hold_out_random(dataset, share, 3)
    assert [truth.member for truth in truths] == list(range(10))
    for truth in truths:
        left = {sku for _, skus in history.baskets_of(truth.member) for sku in skus}
        assert left.isdisjoint(truth.items)
        assert (len(left) >= 2, len(left) + len(truth.items)) == (True, 16)
    again = hold_out_random(dataset, share, 3)[1]
    assert again == truths


def test_weights_are_of_four_parts() -> None:
    assert Weights(1.0, 0.5, 0.25, 0.125).as_tuple() == (1.0, 0.5, 0.25, 0.125)
