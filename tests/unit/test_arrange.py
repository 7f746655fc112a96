"""What holds of every list that the shop's rules arrange, and what each rule does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from loyalty.catalogue.model import Product
from recommend.merchandising.arrange import arrange, pinned_skus
from recommend.merchandising.model import (
    AtMost,
    Diversity,
    Factor,
    Hide,
    Match,
    Pin,
    Rule,
    Scope,
    Where,
    key_by,
)
from recommend.model import Pick

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recommend.merchandising.arrange import Arranged

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE = Where(NOON, "web", None)
ALWAYS = Scope()
SKUS = [f"p{n}" for n in range(12)]
PRODUCTS = {
    sku: Product(
        sku,
        sku.upper(),
        ("Dairy/Milk", "Dairy/Cheese", "Bakery", "")[n % 4],
        ("Meadow", "Hill", "")[n % 3],
        tags=("own",) if n % 5 == 0 else (),
    )
    for n, sku in enumerate(SKUS[:-1])
}
"""All but the last one are in the catalogue."""
BEST_FIRST = [Pick(sku, 12.0 - n, "shared") for n, sku in enumerate(SKUS)]


def arranged(
    *rules: Rule,
    limit: int = 12,
    forbidden: Sequence[str] = (),
    picks: Sequence[Pick] = BEST_FIRST,
    where: Where = HERE,
) -> list[Arranged]:
    return arrange(
        picks, rules, PRODUCTS, where, limit, forbidden=frozenset(forbidden).__contains__
    )


def order(*rules: Rule, **more: Any) -> list[str]:
    return [each.pick.sku for each in arranged(*rules, **more)]


some_skus = st.lists(st.sampled_from(SKUS), max_size=4)
matches = st.builds(
    Match,
    some_skus.map(tuple),
    st.lists(st.sampled_from(["Dairy", "Dairy/Milk", "Bakery"]), max_size=2).map(tuple),
    st.frozensets(st.sampled_from(["Meadow", "Hill"]), max_size=2),
    st.frozensets(st.just("own")),
)
sides: Any = st.sampled_from(["category", "brand"])
rules = st.lists(
    st.one_of(
        st.builds(Factor, st.just("f"), st.just(ALWAYS), matches, st.floats(0, 100)),
        st.builds(
            Pin,
            st.just("p"),
            st.just(ALWAYS),
            matches,
            st.lists(st.integers(1, 15), max_size=3).map(tuple),
            st.sampled_from([0.0, 0.1, 0.34, 1.0]),
        ),
        st.builds(Hide, st.just("h"), st.just(ALWAYS), matches),
        st.builds(
            AtMost,
            st.just("m"),
            st.just(ALWAYS),
            st.integers(1, 4),
            st.one_of(st.none(), sides),
            st.one_of(st.none(), st.integers(1, 2)),
            matches,
        ),
        st.builds(Diversity, st.just("d"), st.just(ALWAYS), st.floats(0, 1), sides),
    ),
    max_size=6,
)
candidates = st.lists(
    st.builds(Pick, st.sampled_from(SKUS), st.floats(-1, 10), st.just("shared")), max_size=15
)


@given(candidates, rules, st.sets(st.sampled_from(SKUS)), st.integers(0, 12))
def test_whatever_the_rules_say(
    picks: list[Pick], rules: list[Rule], banned: set[str], limit: int
) -> None:
    found = arranged(*rules, picks=picks, forbidden=sorted(banned), limit=limit)
    skus = [each.pick.sku for each in found]
    assert len(skus) <= limit
    assert len(set(skus)) == len(skus)
    assert banned.isdisjoint(skus)
    pinned = {sku for sku in pinned_skus(rules, HERE) if sku in PRODUCTS}
    assert set(skus) <= {each.sku for each in picks} | pinned
    for rule in rules:
        if isinstance(rule, Hide):
            assert not any(rule.match.covers(sku, PRODUCTS.get(sku)) for sku in skus)
        if isinstance(rule, AtMost):
            keys = [rule.key(sku, PRODUCTS.get(sku)) for sku in skus]
            assert all(keys.count(key) <= rule.n for key in keys if key is not None)
    assert found == arranged(*rules, picks=picks, forbidden=sorted(banned), limit=limit)


@given(candidates, st.integers(0, 12))
def test_without_rules_the_candidates_come_by_their_score(picks: list[Pick], limit: int) -> None:
    picks.sort(key=lambda each: -max(each.score, 0.0))
    skus = [each.sku for each in picks]
    once = [each for n, each in enumerate(picks) if each.sku not in skus[:n]]
    assert [each.pick for each in arranged(picks=picks, limit=limit)] == once[:limit]


@given(candidates, rules, st.integers(1, 12))
def test_no_place_is_left_empty_that_something_could_take(
    picks: list[Pick], rules: list[Rule], limit: int
) -> None:
    soft = [each for each in rules if isinstance(each, Factor | Diversity | Pin)]
    found = arranged(*soft, picks=picks, limit=limit)
    assert len(found) >= min(len({each.sku for each in picks}), limit)


def test_a_boost_lifts_and_a_bury_sinks_and_each_says_so() -> None:
    boost = Factor("own", ALWAYS, Match(skus=("p5",)), 3.0)
    bury = Factor("slow", ALWAYS, Match(brands=frozenset({"Meadow"})), 0.01)
    found = arranged(boost, bury)
    assert found[0].pick.sku == "p5"
    assert found[0].rules == ("boost: own",)
    assert {each.pick.sku for each in found[-4:]} == {"p0", "p3", "p6", "p9"}
    assert all(each.rules == ("bury: slow",) for each in found[-4:])
    assert found[1].rules == ()


def test_a_pin_takes_its_positions_and_the_rest_moves_down() -> None:
    found = arranged(Pin("top", ALWAYS, Match(skus=("p9", "p8")), (1, 3)))
    assert [each.pick.sku for each in found[:4]] == ["p9", "p0", "p8", "p1"]
    assert (found[0].is_pinned, found[0].rules) == (True, ("pin: top",))
    assert not found[1].is_pinned


def test_a_pinned_product_is_shown_that_nothing_else_speaks_for() -> None:
    found = arranged(Pin("new", ALWAYS, Match(skus=("p7",)), (2,)), picks=BEST_FIRST[:2])
    assert [each.pick.sku for each in found] == ["p0", "p7", "p1"]


def test_a_pin_that_the_catalogue_lacks_is_not_shown() -> None:
    assert order(Pin("typo", ALWAYS, Match(skus=("p11",)), (1,)), picks=BEST_FIRST[:2]) == [
        "p0",
        "p1",
    ]


def test_a_share_is_kept_and_spread() -> None:
    share = Pin("own", ALWAYS, Match(tags=frozenset({"own"})), share=0.2)
    found = arranged(share, picks=BEST_FIRST[1:], limit=10)
    assert [n for n, each in enumerate(found, start=1) if each.is_pinned] == [3, 8]
    assert [each.pick.sku for each in found if each.is_pinned] == ["p5", "p10"]


halves: Any = st.sampled_from([0.0, 0.5, 1.0])
whole_scores = st.lists(
    st.builds(Pick, st.sampled_from(SKUS), st.integers(-1, 9), st.just("shared")), max_size=15
)
"""With halves as strengths all sums are exact, so that equals are equal however they are added."""


@given(whole_scores, halves, halves, st.integers(0, 12))
def test_diversity_takes_the_best_beside_what_is_shown_already(
    picks: list[Pick], by_category: float, by_brand: float, limit: int
) -> None:
    mixes = [Diversity("c", ALWAYS, by_category), Diversity("b", ALWAYS, by_brand, "brand")]
    once = [each for n, each in enumerate(picks) if each.sku not in [x.sku for x in picks[:n]]]
    left = sorted(once, key=lambda each: -max(each.score, 0.0))
    shown: list[str] = []

    def worth(pick: Pick) -> float:
        value = max(pick.score, 0.0)
        product = PRODUCTS.get(pick.sku)
        for mix in mixes:
            key = key_by(mix.by, None, product)
            if key is not None:
                same = [sku for sku in shown if key_by(mix.by, None, PRODUCTS.get(sku)) == key]
                value *= (1.0 - mix.strength) ** len(same)
        return value

    while left and len(shown) < limit:
        best = max(left, key=worth)
        left.remove(best)
        shown.append(best.sku)
    assert order(*mixes, picks=picks, limit=limit) == shown


def test_of_two_pins_of_one_place_the_earlier_rule_has_it() -> None:
    first = Pin("a", ALWAYS, Match(skus=("p5",)), (1,))
    second = Pin("b", ALWAYS, Match(skus=("p6",)), (1, 2))
    assert order(first, second)[:2] == ["p5", "p6"]


def test_at_most_so_many_of_a_brand() -> None:
    brands = [
        key_by("brand", None, PRODUCTS.get(sku)) for sku in order(AtMost("b", ALWAYS, 1, "brand"))
    ]
    assert brands.count("Meadow") == brands.count("Hill") == 1
    # What has no brand is not counted as one.
    assert brands.count(None) > 1


def test_full_diversity_shows_each_category_once_before_any_comes_again() -> None:
    found = order(
        Diversity("mix", ALWAYS, 1.0),
        picks=[each for n, each in enumerate(BEST_FIRST) if n % 4 != 3],
    )
    assert [PRODUCTS[sku].category for sku in found[:3]] == ["Dairy/Milk", "Dairy/Cheese", "Bakery"]


def test_a_category_counts_down_to_its_depth() -> None:
    found = order(AtMost("c", ALWAYS, 1, "category", depth=1))
    assert [
        sku for sku in found if PRODUCTS.get(sku, Product("", "")).category.startswith("Dairy")
    ] == ["p0"]


def test_a_rule_holds_only_there_and_then() -> None:
    hour = timedelta(hours=1)
    for scope, holds in (
        (Scope(channels=frozenset({"web"})), True),
        (Scope(channels=frozenset({"app"})), False),
        (Scope(stores=frozenset({"S1"})), False),
        (Scope(starts_at=NOON, ends_at=NOON + hour), True),
        (Scope(starts_at=NOON + hour), False),
        (Scope(ends_at=NOON), False),
    ):
        found = order(Hide("h", scope, Match(skus=("p0",))))
        assert ("p0" not in found) is holds
        assert scope.holds(HERE) is holds


def test_a_category_means_all_below_it_and_nothing_beside() -> None:
    match = Match(categories=("Dairy",))
    assert match.covers("x", Product("x", "x", "Dairy/Milk"))
    assert match.covers("x", Product("x", "x", "Dairy"))
    assert not match.covers("x", Product("x", "x", "Dairy-free"))
    assert not match.covers("x", None)
