"""Rules of learning and ranking, with known right answers."""

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.dataset import Basket, build, matrix
from recommend.model import (
    BASKETS_MAX,
    EVERYWHERE,
    LIMIT_MAX,
    History,
    Model,
    Pick,
    Popular,
    Settings,
    Weights,
    best_first,
    blend,
    popular,
    positions,
    rank,
    score,
    similar,
    train,
)

DAY = 86_400.0
SMALL = Settings(factors=8, people_min=1, iterations=10, alpha=10.0, regularization=0.1)
TASTES = 20
RED = tuple(f"red{n:02d}" for n in range(TASTES))
BLUE = tuple(f"blue{n:02d}" for n in range(TASTES))


def bought(
    people: int, *items: str, day: float = 0, place: str = "", tag: str = "m"
) -> list[Basket]:
    where = (place,) if place else ()
    return [Basket(f"{tag}{n}", day * DAY, where, items) for n in range(people)]


def checkerboard() -> list[Basket]:
    """Two groups of people; each buys all of its own colour but one item, a different one each."""
    return [
        Basket(f"{colour[0]}{n}", n * DAY, (), tuple(sku for sku in colour if sku != colour[n]))
        for colour in (RED, BLUE)
        for n in range(TASTES)
    ]


@pytest.fixture(scope="module")
def tastes() -> Model:
    return train(build(checkerboard()), SMALL, Weights(0.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def shop() -> Model:
    """Three best sellers everywhere; the store S1 sells mostly tea, the web mostly salt."""
    stream = [
        *bought(6, "tea", place="store:S1", tag="s"),
        *bought(5, "milk", place="store:S1", tag="s", day=-60),
        *bought(9, "salt", place="channel:web", tag="w"),
        *bought(7, "soap", place="channel:web", tag="w"),
        *bought(3, "rare", place="channel:web", tag="w"),
    ]
    return train(build(stream), replace(SMALL, people_min=3))


def skus(picks: Sequence[Pick]) -> list[str]:
    return [pick.sku for pick in picks]


@pytest.mark.parametrize("colour", [RED, BLUE])
@pytest.mark.parametrize("member", range(0, TASTES, 5))
def test_the_withheld_item_is_the_top_pick(
    tastes: Model, colour: tuple[str, ...], member: int
) -> None:
    own = tuple(sku for sku in colour if sku != colour[member])
    (pick,) = rank(tastes, [(0.0, own)], (), 1, exclude=frozenset(own))
    assert (pick.sku, pick.part) == (colour[member], "collaborative")


def test_similar_items_are_of_the_same_taste(tastes: Model) -> None:
    found = skus(similar(tastes, RED[3], 2 * TASTES))
    assert set(found) == set(RED) - {RED[3]}


def test_nothing_is_similar_to_an_unknown_item(tastes: Model) -> None:
    assert similar(tastes, "green", 5) == []


def test_the_seed_makes_the_model_whatever_the_threads() -> None:
    dataset = build(checkerboard())
    one, two = train(dataset, SMALL, threads=1), train(dataset, SMALL, threads=2)
    np.testing.assert_array_equal(one.collaborative.taste, two.collaborative.taste)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    train(build(checkerboard()), SMALL, progress=lambda done, total: seen.append((done, total)))
    done, totals = zip(*seen, strict=True)
    assert len(set(totals)) == 1
    assert list(done) == sorted(done)
    assert done[-1] == totals[0]


def test_an_item_with_one_person_too_few_is_nowhere_in_the_model() -> None:
    stream = [*bought(10, "known"), *bought(9, "hidden")]
    model = train(build(stream), replace(SMALL, people_min=10))
    assert model.items.tolist() == [b"known"]
    assert model.item_people.tolist() == [10]
    assert skus(popular(model, (), 10)) == ["known"]


def test_a_place_hides_an_item_that_too_few_bought_there() -> None:
    stream = [
        *bought(3, "tea", place="store:S1"),
        *bought(2, "gin", place="store:S1"),
        *bought(5, "gin", place="store:S2", tag="other"),
    ]
    model = train(build(stream), replace(SMALL, people_min=3))
    assert model.items[model.popular["store:S1"].items].tolist() == [b"tea"]
    assert skus(popular(model, ("store:S1",), 10)) == ["tea", "gin"]


def test_one_person_buying_often_does_not_make_an_item_popular() -> None:
    often = [Basket("fan", day * DAY, ("web",), ("fad",)) for day in range(50)]
    last = bought(3, "bread", day=49, place="web")
    model = train(build([*often, *bought(2, "fad", day=49, place="web"), *last]), SMALL)
    for place in ("web", EVERYWHERE):
        assert model.popular[place].scores.tolist() == [1.0, 1.0]


def test_a_purchase_counts_half_after_a_half_life_and_the_latest_one_counts() -> None:
    stream = [
        *bought(4, "new", day=60),
        *bought(4, "old", day=30, tag="o"),
        *bought(4, "old", day=0, tag="o"),
    ]
    model = train(build(stream), replace(SMALL, half_life_days=30.0))
    shared = model.popular[EVERYWHERE]
    assert model.items[shared.items].tolist() == [b"new", b"old"]
    np.testing.assert_allclose(shared.scores, [1.0, 0.5])


def test_a_place_that_closed_long_ago_still_has_a_list() -> None:
    stream = [*bought(2, "new", day=200_000), *bought(2, "old", place="store:S1", tag="o")]
    model = train(build(stream), SMALL)
    assert model.popular["store:S1"].scores.tolist() == [1.0]
    assert skus(popular(model, (), 5)) == ["new", "old"]


def test_a_place_keeps_so_many_items_and_no_more() -> None:
    stream = [basket for n in range(9) for basket in bought(n + 1, f"i{n}")]
    model = train(build(stream), replace(SMALL, popular_max=3))
    assert skus(popular(model, (), 10)) == ["i8", "i7", "i6"]


@pytest.mark.parametrize("stream", [[], bought(1, "a"), bought(2, "a", "b")])
def test_too_little_data_gives_a_model_of_no_items(stream: list[Basket]) -> None:
    model = train(build(stream), Settings())
    assert (len(model.items), model.collaborative.taste.shape) == (0, (0, 0))
    assert popular(model, ("web",), 5) == []
    assert rank(model, [], (), 5) == []
    assert rank(model, [(0.0, ("a",))], (), 5) == [Pick("a", 1.0, "personal", ("a",))]
    assert similar(model, "a", 5) == []


def test_without_a_history_the_most_specific_place_leads_and_wider_ones_fill(shop: Model) -> None:
    wanted = ["tea", "milk", "salt", "soap", "rare"]
    assert skus(rank(shop, [], ("store:S1", "channel:web"), 10)) == wanted
    assert skus(popular(shop, ("store:S9", "store:S1"), 10)) == wanted
    assert skus(popular(shop, ("store:S9",), 2)) == ["salt", "soap"]


def test_popular_and_the_shared_part_agree(shop: Model) -> None:
    places = ("store:S1", "channel:web")
    shared = score(shop, [(0.0, ("unknown",))], places).parts[1]
    picks = popular(shop, places, 10)
    assert [float(shared[positions(shop, [p.sku])[0]]) for p in picks] == [p.score for p in picks]
    assert all(one.score > two.score for one, two in pairwise(picks))


def test_scores_do_not_depend_on_places_not_asked_for(shop: Model) -> None:
    only = {name: shop.popular[name] for name in ("store:S1", EVERYWHERE)}
    lone = replace(shop, popular=only)
    history = [(0.0, ("tea", "soap"))]
    one, two = score(shop, history, ("store:S1",)), score(lone, history, ("store:S1",))
    np.testing.assert_array_equal(one.parts, two.parts)


def test_personal_scores_are_a_power_of_the_evidence() -> None:
    model = train(build([]), replace(SMALL, exponent=0.5))
    history = [(0.0, ("a", "b")), (1.0, ("a", "a")), (2.0, ("c",))]
    scores = score(model, history, ())
    got = dict(zip(scores.own, scores.parts[0].tolist(), strict=True))
    wanted = {"a": (0.9 + 0.81) ** 0.5, "b": 0.9, "c": 1.0}
    assert got == pytest.approx(wanted, rel=1e-3)


def test_an_item_of_her_own_that_nobody_else_bought_is_hers_alone(shop: Model) -> None:
    history = [(0.0, ("secret",)), (1.0, ("secret", "tea"))]
    first = next(pick for pick in rank(shop, history, (), 10) if pick.sku == "secret")
    assert (first.part, first.because) == ("personal", ("secret",))
    assert "secret" not in skus(rank(shop, [(0.0, ("tea",))], (), 10))


def test_the_part_that_gave_most_is_named(shop: Model) -> None:
    model = replace(shop, weights=Weights(1.0, 0.8, 0.0))
    parts = {pick.sku: pick.part for pick in rank(model, [(0.0, ("rare",))], (), 10)}
    assert (parts["rare"], parts["salt"]) == ("personal", "shared")


def test_only_so_many_baskets_count(shop: Model) -> None:
    history = [(0.0, ("ancient",)), *((1.0, ("tea",)) for _ in range(BASKETS_MAX))]
    assert "ancient" not in skus(rank(shop, history, (), 10))


def test_a_great_exclusion_still_fills_the_limit() -> None:
    many = [f"i{n:04d}" for n in range(600)]
    settings = replace(SMALL, popular_max=600)
    model = train(build(bought(2, *many)), settings, Weights(1.0, 0.8, 0.0))
    banned = frozenset(many[:590])
    assert skus(rank(model, [(0.0, (many[0],))], (), 5, exclude=banned)) == many[590:595]


@pytest.mark.parametrize("limit", [-1, LIMIT_MAX + 1])
def test_a_limit_out_of_range_is_refused(shop: Model, limit: int) -> None:
    for history in ([], [(0.0, ("tea",))]):
        with pytest.raises(ValueError, match="limit"):
            rank(shop, history, (), limit)
    with pytest.raises(ValueError, match="limit"):
        similar(shop, "tea", limit)


names = st.sampled_from(
    ["tea", "milk", "salt", "soap", "rare", "own", "a-name-longer-than-any", "é"]
)
histories = st.lists(st.tuples(st.just(0.0), st.lists(names, max_size=4).map(tuple)), max_size=5)


@given(histories, st.sets(names), st.integers(0, 10))
def test_limits_and_exclusions_hold(
    shop: Model, history: History, banned: set[str], limit: int
) -> None:
    picks = rank(shop, history, ("store:S1",), limit, exclude=banned)
    assert picks == rank(shop, history, ("store:S1",), limit, exclude=lambda sku: sku in banned)
    assert len(picks) <= limit
    assert banned.isdisjoint(skus(picks))
    assert len({*skus(picks)}) == len(picks)
    assert [p.score for p in picks] == sorted((p.score for p in picks), reverse=True)


@given(histories, st.integers(1, 10))
def test_a_ranking_is_the_full_sort_of_the_blend(shop: Model, history: History, limit: int) -> None:
    if not history:
        return
    scores = score(shop, history, ())
    total = blend(scores, shop.weights)
    order = np.lexsort((np.arange(len(total)), -total))
    everything = [*(name.decode() for name in shop.items.tolist()), *scores.own]
    wanted = [everything[n] for n in order if total[n] > 0][:limit]
    assert skus(rank(shop, history, (), limit)) == wanted


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 45))
def test_the_best_come_first_and_equals_by_position(values: list[int], count: int) -> None:
    array = np.array(values, dtype=np.float32)
    wanted = np.lexsort((np.arange(len(array)), -array))[:count]
    assert best_first(array, count).tolist() == wanted.tolist()


def test_names_that_are_not_items_are_not_found(shop: Model) -> None:
    odd = ["", "tea\0", "te", "teaa", "zzz", "tea" * 50, "tea"]
    assert (positions(shop, odd) >= 0).tolist() == [False] * 6 + [True]


def test_a_read_only_model_ranks(shop: Model) -> None:
    part = shop.collaborative
    part = replace(part, taste=part.taste.copy(), smooth=part.smooth.copy())
    frozen = replace(shop, items=shop.items.copy(), collaborative=part)
    for array in (frozen.items, part.taste, part.smooth):
        array.flags.writeable = False
    history = [(0.0, ("tea", "own"))]
    assert rank(frozen, history, ("store:S1",), 5) == rank(shop, history, ("store:S1",), 5)


def test_a_model_has_one_row_an_item_and_none_a_person(tastes: Model) -> None:
    people = matrix(build(checkerboard())).shape[0]
    assert {field.name for field in fields(Model)} == {
        "items", "collaborative", "item_people", "popular", "together", "weights", "settings",
        "rebuy_days",
    }  # fmt: skip
    assert people == len(tastes.items) == len(tastes.collaborative.taste)
    assert all(isinstance(one, Popular) for one in tastes.popular.values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"factors": 0}, {"alpha": 0.0}, {"regularization": 0.0}, {"iterations": 0},
        {"half_life_days": 0.0}, {"decay_per_basket": 0.0}, {"decay_per_basket": 1.1},
        {"personal_half_life_days": 0.0}, {"exponent": 0.0}, {"exponent": 1.1},
        {"people_min": 0}, {"popular_max": 0}, {"seed": -1}, {"factors": 10_000},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**(asdict(SMALL) | wrong))


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_weights_are_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        Weights(shared=weight)
