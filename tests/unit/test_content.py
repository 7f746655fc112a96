"""A product that nobody bought yet is shown to those who buy what is like it."""

import numpy as np
import pytest

from recommend.content import Newcomers, fresh_picks, newcomers, words
from recommend.dataset import Basket, build
from recommend.model import Model, Settings, Weights, train

KINDS = ("tea", "soap")
FRESH = {f"new-{kind}": words(name=f"{kind} special", category=f"Shop/{kind}") for kind in KINDS}
PRODUCTS = FRESH | {
    f"{kind}{n}": words(name=f"{kind} number {n}", category=f"Shop/{kind}")
    for kind in KINDS
    for n in range(8)
}


@pytest.fixture(scope="module")
def model() -> Model:
    random = np.random.default_rng(2)
    stream = []
    for n in range(80):
        kind = KINDS[n % 2]
        items = tuple(f"{kind}{k}" for k in random.permutation(8)[:4].tolist())
        stream.append(Basket(f"m{n}", float(n), (), items))
    return train(build(stream), Settings(factors=8, people_min=3), Weights(1.0, 0.1, 1.0))


@pytest.fixture(scope="module")
def fresh(model: Model) -> Newcomers:
    return newcomers(model, PRODUCTS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_product_comes_first_to_whom_its_like_is_bought_by(
    model: Model, fresh: Newcomers, kind: str
) -> None:
    picks = fresh_picks(model, fresh, [(0.0, (f"{kind}0", f"{kind}1", f"{kind}2"))], (), 5)
    assert picks[0].sku == f"new-{kind}"
    assert picks[0].score > 0


def test_only_what_the_model_lacks_is_new(fresh: Newcomers) -> None:
    assert fresh.skus == tuple(sorted(FRESH))


def test_a_new_product_is_never_above_the_best_it_is_like(fresh: Newcomers) -> None:
    assert fresh.table.sum(axis=1).max() <= 1 + 1e-6


def test_a_product_without_words_is_like_nothing(model: Model) -> None:
    alone = newcomers(model, {**PRODUCTS, "blank": words(), "odd": words(name="zzz")})
    picks = fresh_picks(model, alone, [(0.0, ("tea0",))], (), 10)
    assert {pick.sku for pick in picks} <= set(FRESH)


def test_no_products_are_no_newcomers(model: Model) -> None:
    nobody = newcomers(model, {})
    assert fresh_picks(model, nobody, [(0.0, ("tea0",))], (), 5) == []
    assert nobody.skus == ()


def test_the_levels_of_a_category_are_words_of_their_own() -> None:
    assert words(category="Dairy/Milk", brand="Acme") == {"in dairy", "in dairy/milk", "by acme"}
