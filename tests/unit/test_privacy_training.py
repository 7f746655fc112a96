"""What one member can change is bounded, and nothing but noisy sums reaches a guarded model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommend import packing
from recommend.dataset import Basket, Dataset, build
from recommend.model import EVERYWHERE, Settings, Weights, popular, rank
from recommend.privacy import training
from recommend.privacy.accounting import cost_of
from recommend.privacy.model import Budget, Cost, TooManyMembersError
from recommend.privacy.noise import Noise
from recommend.privacy.popularity import votes_of
from recommend.privacy.training import Guard, Guarded, dp_choice, train_guarded
from recommend.privacy.vectors import ROW_UNIT, directions, noisy_products, rows_of
from recommend.privacy.votes import CELLS_MAX, UNIT, Votes, bounded, release, sums, threshold

DAY = 86_400.0
SKUS = [f"p{number}" for number in range(6)]
SILENT = Noise(lambda size: b"\x00\x00\x00\x00\x00\x00\x00\x80" * (size // 8))
"""Draws the middle each time, so that all noise is 0: to look at what lies under it."""
SMALL = Settings(factors=4, people_min=2)

baskets = st.lists(
    st.builds(
        Basket,
        member=st.sampled_from("abcdef"),
        at=st.floats(0, 90 * DAY, allow_nan=False),
        place=st.lists(st.sampled_from(["store:1", "channel:web"]), unique=True).map(tuple),
        items=st.lists(st.sampled_from(SKUS), min_size=1, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=30,
)


def guard(noise: Noise, *, epsilon: float = 1.0, delta: float = 1e-6) -> Guard:
    return Guard(cost_of(epsilon, delta), 90 * DAY, Budget(epsilon, 20.0, 0, delta), noise)


def summed(dataset: Dataset, length: float) -> dict[tuple[str, str], int]:
    votes = bounded(votes_of(dataset, at=90 * DAY, half_life_days=30.0), length)
    found = sums(votes)
    places = (*dataset.places, EVERYWHERE)
    return {
        (places[cell // len(dataset.items)], dataset.items[cell % len(dataset.items)].decode()): n
        for cell, n in zip(found.cell.tolist(), found.total.tolist(), strict=True)
    }


@given(stream=baskets, length=st.sampled_from([0.25, 0.5, 1.0, 3.0]))
def test_no_member_moves_all_sums_together_by_more_than_the_length(
    stream: list[Basket], length: float
) -> None:
    gone = stream[0].member
    whole = summed(build(stream), length)
    rest = [each for each in stream if each.member != gone]
    without = summed(build(rest), length) if rest else {}
    assert without.keys() <= whole.keys()
    moved = np.array([whole[cell] - without.get(cell, 0) for cell in whole], dtype=np.float64)
    assert (moved >= 0).all()
    assert np.linalg.norm(moved) <= length * UNIT


@given(stream=baskets)
def test_no_member_moves_the_products_by_more_than_one(stream: list[Basket]) -> None:
    def products(kept: list[Basket]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        names = sorted({each.member for each in kept})
        pairs = sorted({(names.index(b.member), SKUS.index(sku)) for b in kept for sku in b.items})
        member, item = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        rows = rows_of(member, item, len(names), len(SKUS))
        return noisy_products(rows, 1.0, SILENT)

    gone = stream[0].member
    moved = products(stream) - products([each for each in stream if each.member != gone])
    assert np.linalg.norm(moved) <= 1.0
    assert ROW_UNIT**2 < 2**53


def test_a_member_with_many_cells_keeps_the_heaviest() -> None:
    count = CELLS_MAX + 50
    weight = np.linspace(0.1, 1.0, count)
    found = bounded(Votes(np.zeros(count, dtype=np.int64), np.arange(count), weight), 1.0)
    assert sorted(found.cell.tolist()) == list(range(50, count))


def test_noise_is_as_strong_as_said_on_every_cell_that_shows() -> None:
    people, cells = 4_000, 2_000
    member = np.repeat(np.arange(people), cells // 100)
    cell = (np.arange(len(member)) * 37) % cells
    votes = Votes(member, cell, np.ones(len(member)))
    exact = sums(bounded(votes, 2.0))
    spread = []
    for seed in range(3):
        noise = Noise.seeded(seed)
        noisy = exact.total + noise.gaussian(len(exact.total), 1.5 * 2.0 * UNIT)
        spread.append((noisy - exact.total).std() / UNIT)
        found = release(
            votes, length=2.0, multiplier=1.5, delta=1e-8, people_min=1, noise=Noise.seeded(seed)
        )
        np.testing.assert_array_equal(
            found.total, noisy[noisy >= threshold(2.0, 1.5, 1e-8, 1) * UNIT]
        )
    assert spread == pytest.approx([3.0] * 3, rel=0.1)


def test_what_one_member_alone_bought_does_not_show() -> None:
    votes = Votes(np.zeros(5, dtype=np.int64), np.arange(5), np.ones(5))
    for seed in range(200):
        found = release(
            votes, length=1.0, multiplier=2.0, delta=1e-6, people_min=1, noise=Noise.seeded(seed)
        )
        assert not len(found.cell)


def test_fewer_people_than_asked_do_not_show_an_item_and_a_crowd_does() -> None:
    few, many = np.arange(9), np.arange(9, 500)
    votes = Votes(
        np.concatenate([few, many]),
        np.concatenate([np.zeros(9), np.ones(491)]).astype(np.int64),
        np.ones(500),
    )
    for seed in range(200):
        found = release(
            votes, length=1.0, multiplier=2.0, delta=1e-8, people_min=10, noise=Noise.seeded(seed)
        )
        assert found.cell.tolist() == [1]


def test_directions_of_a_crowd_stand_out_and_those_of_noise_do_not() -> None:
    people, items = 6_000, 40
    taste = np.arange(people) % 2
    rng = np.random.default_rng(5)
    bought = rng.random((people, items)) < np.where(
        (np.arange(items) % 2)[None, :] == taste[:, None], 0.5, 0.02
    )
    member, item = np.nonzero(bought)
    rows = rows_of(member, item, people, items)
    found = directions(noisy_products(rows, 20.0, Noise.seeded(1)), 20.0, 8)
    assert found.items.shape[1] >= 2
    cosine = found.items[:, :2] @ found.items[:, :2].T
    same = (np.arange(items)[:, None] + np.arange(items)[None, :]) % 2 == 0
    assert cosine[same].mean() > 3 * np.abs(cosine[~same]).mean()
    empty = rows_of(member[:0], item[:0], people, items)
    assert directions(noisy_products(empty, 20.0, Noise.seeded(1)), 20.0, 8).items.shape == (
        items,
        0,
    )


def crowd(people: int) -> list[Basket]:
    """A shop of three best sellers, two tastes, and something that one member alone buys."""
    return [
        Basket(
            f"m{number}",
            (day + 1) * DAY,
            (f"store:{number % 2}",),
            ("milk", "bread", f"taste{number % 2}", *(("secret",) if not number else ())),
        )
        for number in range(people)
        for day in range(60, 63)
    ]


@pytest.fixture(scope="module")
def guarded() -> Guarded:
    return train_guarded(build(crowd(900)), SMALL, guard(Noise.seeded(1), epsilon=8.0))


def test_the_best_sellers_are_known_and_the_secret_is_not(guarded: Guarded) -> None:
    model = guarded.model
    names = {name.decode() for name in model.items.tolist()}
    assert names == {"milk", "bread", "taste0", "taste1"}
    assert {each.sku for each in popular(model, (), 2)} == {"bread", "milk"}
    assert "taste1" not in [each.sku for each in popular(model, ("store:0",), 3)]


def test_ones_own_history_counts_as_before(guarded: Guarded) -> None:
    picks = rank(guarded.model, [(0.0, ("secret",)), (DAY, ("secret",))], (), 3)
    assert ("secret", "personal") in [(each.sku, each.part) for each in picks]


def test_the_card_tells_the_mode_and_no_exact_count(guarded: Guarded) -> None:
    privacy = guarded.facts["privacy"]
    assert isinstance(privacy, dict)
    assert (privacy["mode"], privacy["epsilon"]) == ("dp", 8.0)
    assert privacy["members_about"] != 900
    assert "baskets" not in guarded.facts


def test_a_guarded_model_can_be_packed_and_unpacked(guarded: Guarded) -> None:
    arrays, values = packing.pack(guarded.model), packing.values_of(guarded.model)
    packing.check_sizes(arrays, values)
    packing.check_values(arrays)


@given(stream=baskets)
@settings(max_examples=15)
def test_a_small_shop_gives_a_valid_model_of_nothing(stream: list[Basket]) -> None:
    model = train_guarded(build(stream), SMALL, guard(Noise.seeded(2))).model
    assert not len(model.items)
    assert popular(model, ("store:1",), 5) == []
    assert rank(model, [(0.0, ("p1",))], (), 5)[0].sku == "p1"


def test_the_dataset_reaches_the_model_through_the_released_numbers_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two shops that release the same give the same bytes, whatever else differs between them."""
    seen = []
    original = training._bare

    def spy(released: training._Released, settings: Settings, at: float) -> object:
        seen.append(released)
        return original(released, settings, at)

    monkeypatch.setattr(training, "_bare", spy)
    one = train_guarded(build(crowd(900)), SMALL, guard(Noise.seeded(1), epsilon=8.0)).model
    again = original(seen[0], SMALL, 90 * DAY)
    two = replace(again, weights=one.weights)
    for name, values in packing.pack(one).items():
        assert values.tobytes() == packing.pack(two)[name].tobytes(), name


def test_a_better_candidate_is_drawn_more_often() -> None:
    drawn = [
        dp_choice(
            np.array([100.0, 130.0, 90.0]),
            guard(Noise.seeded(n), epsilon=1.0)._replace(cost=Cost(5.0, 0.1, 1e-8)),
        )
        for n in range(300)
    ]
    share = drawn.count(1) / 300
    # exp(3) / (1 + exp(3) + exp(-1)) = .94
    assert 0.87 < share < 0.99


def test_with_too_few_to_choose_by_the_default_stands() -> None:
    """Whatever the noise: members with a single basket say nothing of the next one."""
    single = [each for each in crowd(900) if each.at == 61 * DAY]
    for seed in range(5):
        found = train_guarded(build(single), SMALL, guard(Noise.seeded(seed), epsilon=8.0))
        assert found.model.weights == training.GRID[0]
        assert "Default weights" in found.note


def test_a_single_candidate_needs_no_draw() -> None:
    grid = (Weights(1.0, 0.5, 0.0),)
    found = train_guarded(build(crowd(40)), SMALL, guard(Noise.seeded(1)), grid=grid)
    assert found.model.weights == grid[0]


def test_more_members_than_delta_is_for_are_refused() -> None:
    with pytest.raises(TooManyMembersError, match="CARNET_MODEL_DELTA"):
        train_guarded(build(crowd(900)), SMALL, guard(Noise.seeded(1), delta=1e-3))
