"""Rules of which items are listed together, against a count by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recommend import neighbours

Rows = list[set[int]]
shops = st.lists(st.sets(st.integers(0, 7), max_size=6), min_size=1, max_size=25)


def bought(rows: Rows, size: int = 8) -> sparse.csr_matrix:
    table = np.zeros((len(rows), size), dtype=np.float32)
    for person, items in enumerate(rows):
        table[person, sorted(items)] = 1 + person % 3
    return sparse.csr_matrix(table)


def by_hand(rows: Rows, one: int, two: int) -> tuple[int, float]:
    """People who bought both, and their shares over the root of both items' people."""
    both = [items for items in rows if {one, two} <= items]
    people = [sum(item in items for items in rows) for item in (one, two)]
    return len(both), sum(1 / len(items) for items in both) / np.sqrt(np.prod(people) or 1)


@given(rows=shops, people_min=st.integers(1, 4))
def test_a_pair_is_listed_if_and_only_if_enough_people_bought_both(
    rows: Rows, people_min: int
) -> None:
    found = neighbours.learn(bought(rows), people_min=people_min)
    for one in range(8):
        here = found.of(one)
        listed = dict(zip(found.items[here].tolist(), found.values[here].tolist(), strict=True))
        wanted = {two: by_hand(rows, one, two) for two in range(8) if two != one}
        wanted = {two: pair for two, pair in wanted.items() if pair[0] >= people_min}
        assert list(listed) == sorted(wanted)
        assert list(listed.values()) == pytest.approx([wanted[two][1] for two in listed], rel=1e-5)


@given(rows=shops, most=st.integers(1, 3))
def test_the_best_few_of_an_item_are_kept(rows: Rows, most: int) -> None:
    whole = neighbours.learn(bought(rows), people_min=1)
    few = neighbours.learn(bought(rows), people_min=1, listed_max=most)
    for item in range(8):
        every = np.sort(whole.values[whole.of(item)])[::-1]
        np.testing.assert_allclose(np.sort(few.values[few.of(item)])[::-1], every[:most], rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_and_threads_make_no_difference(
    monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    rows = [set(np.random.default_rng(n).integers(0, 30, 9).tolist()) for n in range(60)]
    table = bought(rows, 30)
    whole = neighbours.learn(table, people_min=2)
    monkeypatch.setattr(neighbours, "BLOCK_PAIRS", 40)
    small = neighbours.learn(table, people_min=2, threads=threads)
    np.testing.assert_array_equal(whole.ptr, small.ptr)
    np.testing.assert_array_equal(whole.items, small.items)
    np.testing.assert_allclose(whole.values, small.values)


def test_the_longest_lists_go_first_when_there_are_too_many_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "PAIRS_MAX", 50)
    rows = [set(range(8)), *({0, 1} for _ in range(3))]
    found = neighbours.learn(bought(rows), people_min=1)
    assert (found.items[found.of(0)].tolist(), len(found.items)) == ([1], 2)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_an_empty_shop_has_no_neighbours(shape: tuple[int, int]) -> None:
    found = neighbours.learn(sparse.csr_matrix(shape, dtype=np.float32), people_min=1)
    assert (len(found.items), found.ptr.tolist()) == (0, [0] * (shape[1] + 1))
