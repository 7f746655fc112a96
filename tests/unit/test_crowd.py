"""Whatever was bought by whomever: nothing in a model has fewer than `people_min` people behind it.

And what is sensitive changes not one byte of a model, nor of any answer.
"""

from __future__ import annotations

import math
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.catalogue.model import Restrictions
from loyalty.journal.store import PastBasket
from recommend import packing
from recommend.dataset import Basket, build
from recommend.model import EVERYWHERE, Model, Pick, Settings, Weights, popular, similar, train
from recommend.selection import kept, pick, places_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

DAY = 86_400.0
SKUS = ("bread", "milk", "pills", "soap", "tea", "test-kit")
SENSITIVE = frozenset({"pills", "test-kit"})
PLACES = ("channel:web", "store:1", "store:2")
START = datetime(2026, 3, 1, tzinfo=UTC)
SENSITIVE_HIDDEN = Restrictions(hidden=SENSITIVE, sensitive=SENSITIVE, one_off=frozenset())
Lives: TypeAlias = dict[str, list[PastBasket]]
# Each array of a model, and how the tests below look at it. A new one has to be looked at, too.
LOOKED_AT = {
    "items", "collaborative", "item_people", "popular", "together", "weights", "settings",
    "rebuy_days",
}  # fmt: skip

streams = st.lists(
    st.builds(
        Basket,
        member=st.sampled_from("abcdefgh"),
        at=st.integers(0, 60).map(lambda day: day * DAY),
        place=st.lists(st.sampled_from(PLACES), unique=True, max_size=2).map(tuple),
        items=st.lists(st.sampled_from(SKUS), min_size=1, max_size=4, unique=True).map(tuple),
    ),
    max_size=40,
)


def people(stream: Sequence[Basket], sku: str, place: str = EVERYWHERE) -> int:
    """Different members who bought it there."""
    return len(
        {
            each.member
            for each in stream
            if sku in each.items and (place == EVERYWHERE or place in each.place)
        }
    )


def returning(stream: Sequence[Basket], sku: str) -> int:
    """Different members who bought it on two days or more."""
    days: dict[str, set[float]] = {}
    for each in stream:
        if sku in each.items:
            days.setdefault(each.member, set()).add(each.at // DAY)
    return sum(len(each) > 1 for each in days.values())


def both(stream: Sequence[Basket], one: str, other: str, *, in_one_basket: bool) -> int:
    """Different members who bought both, in one basket or ever."""
    if in_one_basket:
        return len({each.member for each in stream if {one, other} <= {*each.items}})
    ever: dict[str, set[str]] = {}
    for each in stream:
        ever.setdefault(each.member, set()).update(each.items)
    return sum({one, other} <= skus for skus in ever.values())


def names(model: Model, positions: Collection[int]) -> list[str]:
    return [model.items[n].decode() for n in positions]


def test_every_array_of_a_model_is_looked_at() -> None:
    assert {each.name for each in fields(Model)} == LOOKED_AT


@given(stream=streams, people_min=st.integers(1, 5))
@settings(max_examples=60)
def test_nothing_shows_without_so_many_people_behind_it(
    stream: list[Basket], people_min: int
) -> None:
    small = Settings(factors=2, people_min=people_min, iterations=1)
    model = train(build(stream), small, Weights(1.0, 1.0, 1.0), threads=1)
    held = names(model, range(len(model.items)))
    assert set(held) == {sku for sku in SKUS if people(stream, sku) >= people_min}
    assert model.item_people.tolist() == [people(stream, sku) for sku in held]
    assert len(model.collaborative.people) == len(model.rebuy_days) == len(held)
    for ptr, items, together in (
        (model.together.ptr, model.together.items, True),
        (model.collaborative.neighbours.ptr, model.collaborative.neighbours.items, False),
    ):
        for n, sku in enumerate(held):
            for other in names(model, items[ptr[n] : ptr[n + 1]].tolist()):
                assert both(stream, sku, other, in_one_basket=together) >= people_min
    for sku, days in zip(held, model.rebuy_days.tolist(), strict=True):
        assert math.isnan(days) is (returning(stream, sku) < people_min)
    for place, listed in model.popular.items():
        for sku in names(model, listed.items.tolist()):
            assert people(stream, sku, place) >= people_min, (place, sku)
    for place in PLACES:
        for each in popular(model, (place,), 10):
            assert people(stream, each.sku) >= people_min
    for sku in SKUS:
        assert all(people(stream, each.sku) >= people_min for each in similar(model, sku, 10))


@given(stream=streams)
@settings(max_examples=20)
def test_an_item_of_too_few_changes_nothing_that_others_are_shown(stream: list[Basket]) -> None:
    """Who else bought what one member alone bought cannot be seen: the list is the same."""
    small = Settings(factors=2, people_min=2, iterations=1)
    mine = [*stream, Basket("z", 0.0, ("store:1",), ("unique",))]
    ours = [*stream, Basket("z", 0.0, ("store:1",), ("other",))]
    one, two = (train(build(each), small, collaborative=False) for each in (mine, ours))
    assert packing.pack(one).keys() == packing.pack(two).keys()
    for name, values in packing.pack(one).items():
        assert values.tobytes() == packing.pack(two)[name].tobytes(), name


def past(member: str, day: int, quantities: dict[str, int], *, is_return: bool) -> PastBasket:
    return PastBasket(
        member_id=member,
        occurred_at=START + timedelta(days=day),
        channel="web",
        store="1",
        quantities=quantities,
        is_return=is_return,
    )


def basket(skus: Collection[str], *, is_return: bool) -> st.SearchStrategy[dict[str, int]]:
    """Quantities of some products, possibly of none; below 0 for a return."""
    units = st.integers(-2, -1) if is_return else st.integers(1, 3)
    return st.dictionaries(st.sampled_from(sorted(skus)), units, max_size=3)


@st.composite
def lives(draw: st.DrawFn) -> tuple[Lives, Lives]:
    """Histories of some members, newest first: without what is sensitive, and with it."""
    plain: Lives = {}
    secret: Lives = {}
    for member in draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1)):
        plain[member], secret[member] = [], []
        for day in sorted(draw(st.lists(st.integers(0, 30), unique=True, max_size=6)))[::-1]:
            is_return = draw(st.booleans())
            harmless = draw(basket(set(SKUS) - SENSITIVE, is_return=is_return))
            hidden = draw(basket(SENSITIVE, is_return=is_return))
            if harmless:
                plain[member].append(past(member, day, harmless, is_return=is_return))
            if harmless or hidden:
                both = {**hidden, **harmless}
                secret[member].append(past(member, day, both, is_return=is_return))
    return plain, secret


def learnt(histories: Lives) -> Model:
    stream = [
        Basket(member, each.occurred_at.timestamp(), places_of(each.channel, each.store), skus)
        for member, history in histories.items()
        for each, skus in kept(history, SENSITIVE)
    ]
    small = Settings(factors=2, people_min=1, iterations=1)
    return train(build(stream), small, Weights(1.0, 1.0, 1.0), threads=1)


@given(both=lives())
@settings(max_examples=60)
def test_what_is_sensitive_changes_no_byte_of_a_model_nor_of_an_answer(
    both: tuple[Lives, Lives],
) -> None:
    plain, secret = both
    one, two = learnt(plain), learnt(secret)
    assert packing.values_of(one) == packing.values_of(two)
    for name, values in packing.pack(one).items():
        assert values.tobytes() == packing.pack(two)[name].tobytes(), name
    for member, history in plain.items():
        before = answered(one, history)
        assert before == answered(two, secret[member])
        assert not SENSITIVE & {each.sku for each in before[0]}


def answered(model: Model, history: Sequence[PastBasket]) -> tuple[list[Pick], str]:
    places = ("store:1",)
    return pick(model, history, places, 10, allowed=True, restrictions=SENSITIVE_HIDDEN)
