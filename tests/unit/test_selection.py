"""What one selection for all callers holds to, whatever the model says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.catalogue.model import Product, Restrictions
from recommend.dataset import Basket, build
from recommend.model import Pick, Settings, train
from recommend.selection import Terms, fill, select_for
from recommend.taste import Context, Signal

if TYPE_CHECKING:
    from collections.abc import Sequence

DAY = 86_400.0
STREAM = [
    Basket(f"p{n}", 0.0, (), ("milk", "oats", *(("jam",) if n % 2 else ("tea",))))
    for n in range(20)
]
MODEL = train(build(STREAM), Settings(factors=2, iterations=1), collaborative=False)
TASTE: list[tuple[float, tuple[str, ...]]] = [(0.0, ("milk",)), (DAY, ("oats",))]


def skus(terms: Terms, *, allowed: bool = True, newcomers: tuple[Pick, ...] = ()) -> list[str]:
    found = select_for(MODEL, TASTE, (), 10, allowed=allowed, terms=terms, newcomers=newcomers)
    return [each.pick.sku for each in found.items]


def test_a_newcomer_stands_where_its_score_puts_it_and_never_where_it_is_hidden() -> None:
    new = (Pick("new", 1e6, "collaborative"), Pick("gone", 1e6, "collaborative"))
    terms = Terms(hidden=({"gone"},))
    found = skus(terms, newcomers=new)
    assert found[0] == "new"
    assert "gone" not in found
    assert "new" not in skus(terms, allowed=False, newcomers=new)


def test_what_is_in_the_cart_hidden_or_open_is_not_shown_to_anybody() -> None:
    context = Context(at=90 * DAY, cart=("milk",), viewing="jam")
    terms = Terms(restrictions=Restrictions(hidden=frozenset({"tea"})), context=context)
    for allowed in (True, False):
        assert skus(terms, allowed=allowed) == ["oats"]


def test_feedback_moves_nothing_without_consent() -> None:
    signals = tuple(Signal(90 * DAY, "dismissal", "milk") for _ in range(3))
    told = Terms(context=Context(at=90 * DAY, signals=signals))
    untold = Terms(context=Context(at=90 * DAY))
    assert "milk" not in skus(told)
    assert skus(told, allowed=False) == skus(untold, allowed=False)


def test_a_choice_is_filled_up_with_what_most_people_bought() -> None:
    found = fill(MODEL, 2, [Pick("milk", 1.0, "shared")], lambda sku: sku == "oats")
    assert [each.sku for each in found] == ["jam", "tea"]
    assert skus(Terms(only=frozenset({"tea", "unknown"}))) == ["tea"]


def test_what_only_feedback_names_is_shown_if_the_catalogue_has_it() -> None:
    viewed = tuple(Signal(90 * DAY, "view", sku) for sku in ("made-up", "brand-new", "jam"))
    context = Context(at=90 * DAY, signals=viewed)
    sold = {"brand-new": Product("brand-new", "Brand new")}

    def products(asked: Sequence[str]) -> dict[str, Product]:
        return {sku: sold[sku] for sku in asked if sku in sold}

    found = skus(Terms(context=context, products=products))
    assert "made-up" not in found
    assert {"brand-new", "jam"} <= set(found)
