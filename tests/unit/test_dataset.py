"""Rules of turning baskets into arrays."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.dataset import Basket, Dataset, build, hold_out, matrix

DAY = 86_400.0

baskets = st.builds(
    Basket,
    member=st.sampled_from(["ann", "bob", "cy"]),
    at=st.floats(0, 1e9),
    place=st.lists(st.sampled_from(["channel:web", "store:S1"]), unique=True).map(tuple),
    items=st.lists(st.sampled_from(["a", "bb", "é", "日本"]), max_size=4).map(tuple),
)


def basket(member: str, day: float, *items: str, place: tuple[str, ...] = ()) -> Basket:
    return Basket(member, day * DAY, place, items)


def all_baskets(dataset: Dataset) -> list[list[tuple[float, tuple[str, ...]]]]:
    return [dataset.baskets_of(row) for row in range(dataset.n_members)]


def test_baskets_are_grouped_by_member_and_ordered_by_time() -> None:
    dataset = build([basket("b", 3, "x"), basket("a", 2, "y"), basket("b", 1, "z", "x")])
    assert dataset.basket_member.tolist() == [0, 0, 1]
    assert all_baskets(dataset) == [[(DAY, ("z", "x")), (3 * DAY, ("x",))], [(2 * DAY, ("y",))]]


def test_items_are_sorted_by_their_bytes() -> None:
    dataset = build([basket("a", 1, "é", "b", "Z", "aa", "a")])
    assert dataset.items.tolist() == [b"Z", b"a", b"aa", b"b", "é".encode()]


def test_places_keep_to_their_basket_when_baskets_move() -> None:
    late = basket("a", 9, "x", place=("store:S1", "channel:web"))
    dataset = build([late, basket("a", 1, "x", place=("channel:app",)), basket("a", 5, "x")])
    assert [dataset.places_of(n) for n in range(3)] == [
        ("channel:app",),
        (),
        ("channel:web", "store:S1"),
    ]
    assert dataset.at_place(dataset.places.index("store:S1")).tolist() == [False, False, True]


def test_an_item_or_place_named_twice_in_a_basket_counts_once() -> None:
    dataset = build([basket("a", 1, "x", "x", place=("p", "p"))])
    assert dataset.skus(0) == ("x",)
    assert dataset.places_of(0) == ("p",)


def test_a_basket_without_items_is_left_out() -> None:
    assert build([basket("a", 1)]).n_members == 0


def test_the_matrix_counts_baskets() -> None:
    dataset = build([basket("a", 1, "x", "y"), basket("a", 2, "x"), basket("b", 1, "y")])
    assert matrix(dataset).toarray().tolist() == [[2, 1], [0, 1]]


def test_an_empty_stream_gives_an_empty_dataset() -> None:
    dataset = build([])
    history, truths = hold_out(dataset)
    assert (dataset.n_members, len(dataset.items), truths) == (0, 0, [])
    assert matrix(history).shape == (0, 0)


def test_the_stream_is_read_once() -> None:
    assert build(iter([basket("a", 1, "x")])).n_baskets == 1


@pytest.mark.parametrize("name", ["", "a\0", "\0"])
def test_an_item_that_a_bytes_array_would_confuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="NUL"):
        build([basket("a", 1, name)])


@pytest.mark.parametrize("at", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_is_refused(at: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        build([basket("a", at, "x")])


def test_the_last_basket_of_members_with_three_is_held_out() -> None:
    three = [basket("a", day, f"a{day}", place=("p",)) for day in (1, 2, 3)]
    two = [basket("b", day, f"b{day}") for day in (1, 2)]
    history, truths = hold_out(build([*two, *three]))
    assert [(t.member, t.at, t.place, t.items) for t in truths] == [(1, 3 * DAY, ("p",), ("a3",))]
    assert [len(own) for own in all_baskets(history)] == [2, 2]
    assert b"a3" in history.items.tolist()


@given(st.lists(baskets, max_size=30))
def test_nothing_is_lost_or_added(stream: list[Basket]) -> None:
    dataset = build(stream)
    seen = sorted(
        (float(dataset.basket_at[n]), dataset.places_of(n), tuple(sorted(dataset.skus(n))))
        for n in range(dataset.n_baskets)
    )
    wanted = [b for b in stream if b.items]
    assert seen == sorted((b.at, tuple(sorted(b.place)), tuple(sorted({*b.items}))) for b in wanted)


@given(st.lists(baskets, max_size=30))
def test_holding_out_parts_the_lines_in_two(stream: list[Basket]) -> None:
    dataset = build(stream)
    history, truths = hold_out(dataset)
    held = sum(len(truth.items) for truth in truths)
    assert len(history.basket_items) + held == len(dataset.basket_items)
    for truth in truths:
        own = history.baskets_of(truth.member)
        assert len(own) >= 2
        assert own[-1][0] <= truth.at


@given(st.lists(baskets, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(stream: list[Basket], shuffle: random.Random) -> None:
    distinct = list({(b.member, b.at): b for b in stream}.values())
    shuffled = distinct.copy()
    shuffle.shuffle(shuffled)
    one, two = build(distinct), build(shuffled)

    def plain(dataset: Dataset) -> list[list[tuple[float, list[str]]]]:
        return sorted([(at, sorted(skus)) for at, skus in own] for own in all_baskets(dataset))

    assert one.items.tolist() == two.items.tolist()
    assert plain(one) == plain(two)


def test_it_holds_no_member_name() -> None:
    dataset = build([basket("member-jane-doe", 1, "x", place=("p",))])
    assert "jane" not in repr(dataset)
    assert dataset.basket_member.dtype == np.int32
