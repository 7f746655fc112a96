"""Figures of ranked lists against values worked by hand and against one definition a member."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.dataset import Ints
from recommend.evaluate import hit_rate_at, ndcg_at, recall_at
from recommend.measures import (
    METRICS,
    Ragged,
    among,
    coverage,
    intervals,
    new_share,
    novelty,
    per_member,
    ragged,
    recall_by_length,
)

CODES = st.integers(0, 9)
TRUTHS = st.sets(CODES, min_size=1, max_size=6)
LISTS = st.lists(CODES, unique=True, max_size=4)
MEMBERS = st.lists(st.tuples(LISTS, TRUTHS), min_size=1, max_size=8)
K = 4


Rows = list[tuple[list[int], set[int]]]


def lists_of(rows: list[list[int]], k: int = K) -> Ints:
    return np.array([row + [-1] * (k - len(row)) for row in rows], dtype=np.int32).reshape(-1, k)


def sets_of(rows: list[set[int]]) -> Ragged:
    pairs = [(n, code) for n, row in enumerate(rows) for code in row]
    members, codes = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    return ragged(members, codes.astype(np.int32), len(rows))


def test_each_metric_by_hand() -> None:
    # Hits at places 1 and 3; three right answers, one of them never shown.
    ((recall, ndcg, hit_rate, precision, mrr),) = per_member(
        lists_of([[7, 1, 5, 2]]), sets_of([{7, 5, 9}])
    ).tolist()
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    assert recall == pytest.approx(2 / 3)
    assert ndcg == pytest.approx((1 + 1 / math.log2(4)) / best)
    assert (hit_rate, precision, mrr) == (1.0, 0.5, 1.0)


def test_the_first_hit_sets_the_reciprocal_rank() -> None:
    figures = per_member(lists_of([[1, 2, 3], [1, 2]]), sets_of([{3}, {9}]))
    assert figures[:, METRICS.index("mrr")].tolist() == [pytest.approx(1 / 3), 0.0]


def test_an_empty_place_of_a_list_is_no_hit() -> None:
    shown = np.array([[0, -1]], dtype=np.int32)
    assert among(shown, sets_of([{0, 1}])).tolist() == [[True, False]]
    assert per_member(shown, Ragged(np.array([0, 0]), np.zeros(0, dtype=np.int32))).tolist() == [
        [0.0] * len(METRICS)
    ]


@given(MEMBERS)
def test_whole_arrays_say_what_one_member_at_a_time_says(members: Rows) -> None:
    shown, truths = [row for row, _ in members], [wanted for _, wanted in members]
    figures = per_member(lists_of(shown), sets_of(truths))
    for row, ranked, wanted in zip(figures, shown, truths, strict=True):
        names, right = [str(code) for code in ranked], [str(code) for code in wanted]
        assert row[0] == pytest.approx(recall_at(names, right, K))
        assert row[1] == pytest.approx(ndcg_at(names, right, K))
        assert row[2] == hit_rate_at(names, right, K)
    assert ((figures >= 0) & (figures <= 1 + 1e-12)).all()


@given(MEMBERS, st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(members: Rows, chance: random.Random) -> None:
    order = list(range(len(members)))
    chance.shuffle(order)
    one = per_member(lists_of([m[0] for m in members]), sets_of([m[1] for m in members]))
    moved = [members[n] for n in order]
    two = per_member(lists_of([m[0] for m in moved]), sets_of([m[1] for m in moved]))
    assert np.array_equal(one[order], two)


@given(MEMBERS)
def test_a_right_answer_named_twice_counts_once(members: Rows) -> None:
    pairs = [(n, code) for n, (_, wanted) in enumerate(members) for code in wanted] * 2
    rows, codes = np.array(pairs, dtype=np.int64).T
    doubled = ragged(rows, codes.astype(np.int32), len(members))
    once = sets_of([wanted for _, wanted in members])
    assert np.array_equal(doubled.values, once.values)
    assert np.array_equal(doubled.ptr, once.ptr)


@given(MEMBERS)
def test_recall_rises_with_the_length_and_ends_at_recall(members: Rows) -> None:
    shown, truths = lists_of([m[0] for m in members]), sets_of([m[1] for m in members])
    curve = recall_by_length(shown, truths)
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(per_member(shown, truths)[:, 0].mean())


@given(MEMBERS, TRUTHS)
def test_parts_of_the_right_answers_make_up_the_whole(members: Rows, some: set[int]) -> None:
    truths = sets_of([wanted for _, wanted in members])
    other = sets_of([some] * len(members))
    inside, outside = (truths.where(other, inside=yes) for yes in (True, False))
    assert np.array_equal(inside.sizes + outside.sizes, truths.sizes)
    wanted = np.isin(np.arange(10), list(some))
    assert np.array_equal(truths.only(wanted).values, inside.values)
    everyone = np.ones(len(members), dtype=np.bool_)
    assert np.array_equal(truths.of(everyone).values, truths.values)


def test_coverage_counts_different_items() -> None:
    assert coverage(lists_of([[1, 2], [2, 3]]), 6) == 0.5
    assert coverage(lists_of([]), 0) == 0.0


def test_novelty_is_in_bits() -> None:
    # Of 8 members all have item 0 (0 bits), one has item 1 (3 bits), nobody item 2 (as if one had).
    people = np.array([8, 1, 0], dtype=np.int32)
    assert novelty(lists_of([[0, 1], [2]]), people, 8) == pytest.approx((0 + 3 + 3) / 3)
    assert novelty(lists_of([[]]), people, 8) == 0.0


def test_new_is_what_the_member_does_not_have() -> None:
    assert new_share(lists_of([[1, 2], [1, 2]]), sets_of([{1, 2}, {1}])) == 0.25
    assert new_share(lists_of([[]]), sets_of([{1}])) == 0.0


def test_an_interval_holds_the_mean_narrows_with_members_and_repeats_with_a_seed() -> None:
    values = np.random.default_rng(1).random((400, 1))
    ((low, high),) = intervals(values, seed=3)
    ((wide_low, wide_high),) = intervals(values[:40], seed=3)
    assert low < values.mean() < high
    assert high - low < wide_high - wide_low
    # The normal approximation: 1.96 standard errors to each side.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    assert np.array_equal(intervals(values, seed=3), intervals(values, seed=3))
    assert intervals(np.zeros((0, 2)), seed=3).tolist() == [[0.0, 0.0], [0.0, 0.0]]
