"""Evidence of one person: how it fades, what feedback adds, and what it makes of a ranking."""

import random
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.dataset import Basket, build, matrix
from recommend.model import Model, Settings, Weights, popular, rank, train
from recommend.personal import Ageing, liking, taste
from recommend.taste import NOTHING_ELSE, Context, Kind, Signal

DAY = 86_400.0
STILL = Ageing(1.0, 36_500.0)
SKUS = [f"s{n}" for n in range(8)]


def evidence(context: Context, *history: tuple[float, tuple[str, ...]]) -> dict[str, float]:
    found = taste(history, context, STILL)
    return dict(zip(found.skus, found.evidence.tolist(), strict=True))


@pytest.fixture(scope="module")
def shop() -> Model:
    """Tea goes with milk, and gin with lime; in winter a year ago people bought soup."""
    stream = [
        *(Basket(f"t{n}", 400 * DAY, ("web",), ("tea", "milk")) for n in range(8)),
        *(Basket(f"g{n}", 401 * DAY, ("web",), ("gin", "lime")) for n in range(6)),
        *(Basket(f"w{n}", 20 * DAY, ("web",), ("soup",)) for n in range(5)),
    ]
    settings = Settings(factors=4, people_min=2, iterations=3)
    categories = {"gin": "Drinks/Spirits", "tea": "Drinks/Hot", "soup": "Food"}
    return train(build(stream), settings, Weights(1.0, 0.8, 0.0), categories=categories)


def test_a_purchase_fades_by_baskets_and_by_days() -> None:
    history = [(0.0, ("old", "both")), (10 * DAY, ("both",))]
    found = taste(history, NOTHING_ELSE, Ageing(0.5, 10.0))
    assert dict(zip(found.skus, found.evidence.tolist(), strict=True)) == pytest.approx(
        {"both": 1.0 + 0.25, "old": 0.25}
    )
    later = taste(history, Context(at=20 * DAY), Ageing(0.5, 10.0))
    np.testing.assert_allclose(later.evidence, found.evidence / 2)


def test_feedback_counts_by_its_strength_and_cools() -> None:
    signals = (Signal(0.0, "wish", "a"), Signal(14 * DAY, "view", "b"))
    found = evidence(Context(at=14 * DAY, signals=signals))
    assert found == pytest.approx({"a": 0.25, "b": 0.1})


@pytest.mark.parametrize(
    "signal",
    [Signal(0.0, "dismissal", "a"), Signal(0.0, "review", "a", 1), Signal(0.0, "return", "a")],
)
def test_some_feedback_speaks_against(signal: Signal) -> None:
    assert evidence(Context(at=0.0, signals=(signal,)))["a"] < 0


def test_looking_often_is_not_buying_often() -> None:
    signals = tuple(Signal(0.0, "view", "a") for _ in range(400))
    assert evidence(Context(at=0.0, signals=signals)) == {"a": 1.0}


def test_an_impression_says_nothing() -> None:
    assert evidence(Context(at=0.0, signals=(Signal(0.0, "impression", "a"),))) == {}


def test_doubt_grows_slower_than_evidence() -> None:
    np.testing.assert_allclose(liking(np.array([4.0, 0.0, -4.0]), 0.5), [2.0, 0.0, -2.0])


def test_a_cart_alone_is_a_taste(shop: Model) -> None:
    model = replace(shop, weights=Weights(1.0, 0.4, 0.0, 1.0))
    picks = rank(model, [], (), 5, context=Context(cart=("gin",)))
    assert (picks[0].sku, picks[0].part, picks[0].because) == ("lime", "together", ("gin",))
    assert "gin" not in {pick.sku for pick in picks}


def test_what_goes_with_the_open_page_leads_and_the_page_is_not_shown(shop: Model) -> None:
    picks = rank(shop, [(400 * DAY, ("soup",))], (), 5, context=Context(viewing="tea"))
    beside = next(pick for pick in picks if pick.sku == "milk")
    assert (beside.part, beside.because) == ("shared", ()) or beside.because == ("tea",)
    assert "tea" not in {pick.sku for pick in picks}
    plain = rank(shop, [(400 * DAY, ("soup",))], (), 5)
    assert beside.score > next(pick.score for pick in plain if pick.sku == "milk")


def test_a_dismissed_item_sinks(shop: Model) -> None:
    history = [(400 * DAY, ("tea",))]
    against = Context(at=400 * DAY, signals=(Signal(400 * DAY, "dismissal", "milk"),))
    assert "milk" in {pick.sku for pick in rank(shop, history, (), 5)}
    assert "milk" not in {pick.sku for pick in rank(shop, history, (), 5, context=against)}


def test_stated_interests_lead_for_those_without_a_history(shop: Model) -> None:
    assert popular(shop, (), 5)[0].sku != "gin"
    assert popular(shop, (), 5, interests=("Drinks/Spirits",))[0].sku == "gin"
    assert {p.sku for p in popular(shop, (), 2, interests=("Drinks",))} == {"gin", "tea"}
    assert popular(shop, (), 5, interests=("Nowhere",)) == popular(shop, (), 5)
    asked = Context(interests=("Drinks/Spirits",))
    assert rank(shop, [], (), 1, context=asked)[0].sku == "gin"


def test_the_season_of_a_year_ago_counts(shop: Model) -> None:
    def score(at: float) -> float:
        return next(p.score for p in popular(shop, (), 9, at=at) if p.sku == "soup")

    assert score((365 + 20) * DAY) > 10 * score((365 + 200) * DAY)


def test_what_is_had_is_not_shown_where_nobody_buys_again(shop: Model) -> None:
    once = replace(shop, settings=replace(shop.settings, repeats=False))
    history = [(400 * DAY, ("tea", "own"))]
    assert {"tea", "own"}.isdisjoint({pick.sku for pick in rank(once, history, (), 9)})
    seen = Context(signals=(Signal(0.0, "view", "gin"),))
    assert "gin" in {pick.sku for pick in rank(once, history, (), 9, context=seen)}


def test_weak_feedback_is_in_the_matrix_and_never_below_nothing() -> None:
    bought = [Basket("a", 1.0, (), ("x", "y")), Basket("b", 1.0, (), ("x",))]
    signals = [
        ("a", Signal(2.0, "dismissal", "y")),
        ("b", Signal(2.0, "wish", "y")),
        ("c", Signal(2.0, "view", "x")),
        ("c", Signal(2.0, "dismissal", "y")),
    ]
    counts = matrix(build(bought, signals)).toarray()
    np.testing.assert_allclose(counts, np.array([[1.0, 0.0], [1.0, 0.5], [0.1, 0.0]]))


signals_of = st.lists(
    st.builds(
        Signal,
        at=st.floats(0, 1e6),
        kind=st.sampled_from(get_args(Kind)),
        sku=st.sampled_from(["tea", "milk", "gin", "lime", "soup", "own"]),
        stars=st.integers(0, 5),
    ),
    max_size=30,
)


@given(signals_of, st.integers(0, 9))
def test_the_order_of_feedback_does_not_matter(signals: list[Signal], seed: int) -> None:
    shuffled = signals.copy()
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - a test's data
    one = evidence(Context(at=1e6, signals=tuple(signals)))
    two = evidence(Context(at=1e6, signals=tuple(shuffled)))
    assert one == pytest.approx(two)


@given(
    signals_of,
    st.lists(st.sampled_from(["tea", "milk", "gin", "own"]), max_size=3),
    st.sets(st.sampled_from(["tea", "milk", "lime", "soup"])),
    st.sampled_from([None, "tea", "gin", "unknown"]),
)
def test_whatever_is_known_scores_are_numbers_and_what_is_excluded_is_not_shown(
    shop: Model, signals: list[Signal], cart: list[str], banned: set[str], viewing: str | None
) -> None:
    context = Context(at=2e6, cart=tuple(cart), viewing=viewing, signals=tuple(signals))
    history = [(0.0, ("tea", "own"))]
    picks = rank(shop, history, ("web",), 5, exclude=banned, context=context)
    assert picks == rank(shop, history, ("web",), 5, exclude=banned, context=context)
    shown = {pick.sku for pick in picks}
    assert len(shown) == len(picks)
    assert shown.isdisjoint({*banned, *cart, viewing})
    own = {"tea", "own", *cart, viewing, *(signal.sku for signal in signals)}
    for pick in picks:
        assert np.isfinite(pick.score)
        assert pick.score > 0
        assert len(pick.because) <= 3
        assert own.issuperset(pick.because)
