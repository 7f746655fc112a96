"""Rules of the collaborative part: the closed forms, their split by item, and whom pairs need."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from recommend import collaborative, latent, learning
from recommend.collaborative import Collaborative, Form
from recommend.learning import Limits

ITEMS = 60
TASTES = 4


def counts(people: int = 240, seed: int = 3) -> sparse.csr_matrix:
    """Four kinds of people, each buying mostly its own fifteen items and a few of the others."""
    random = np.random.default_rng(seed)
    likes = np.full((people, ITEMS), 0.02)
    for person in range(people):
        first = person % TASTES * 15
        likes[person, first : first + 15] = 0.5
    return sparse.csr_matrix(random.poisson(likes).astype(np.float32))


@pytest.fixture(scope="module")
def part() -> Collaborative:
    return learning.learn(counts(), Limits(factors=16, people_min=3))


def as_positions(items: list[int]) -> npt.NDArray[np.int64]:
    return np.array(items, dtype=np.int64)


people = st.lists(
    st.tuples(st.integers(-1, ITEMS - 1), st.floats(-2, 4).filter(lambda n: abs(n) > 0.01)),
    unique_by=lambda pair: pair[0],
    min_size=1,
    max_size=25,
)


def test_what_others_of_the_taste_buy_comes_first(part: Collaborative) -> None:
    for taste in range(TASTES):
        own = as_positions([taste * 15 + n for n in range(6)])
        values = collaborative.scores(part, own, np.ones(6))
        values[own] = -np.inf
        assert set(np.argsort(-values)[:9] // 15) == {taste}


def test_als_is_folded_in_by_its_closed_form() -> None:
    """Against the normal equations over all the items, as the paper states them."""
    random = np.random.default_rng(1)
    vectors = random.standard_normal((ITEMS, 8)).astype(np.float32)
    part = collaborative.of_vectors(vectors, alpha=20.0, regularization=0.7)
    own, weights = as_positions([3, 9, 40]), np.array([1.0, 3.0, -1.0])
    strengths = np.array([1.0, 2.0, -1.0])
    trust = np.ones(ITEMS)
    trust[own] = np.maximum(20 * np.abs(strengths) / np.sqrt(4), 1)
    liked = np.zeros(ITEMS)
    liked[own] = strengths > 0
    left = vectors.T @ (trust[:, None] * vectors) + 0.7 * np.eye(8)
    vector = np.linalg.solve(left, vectors.T @ (trust * liked))
    np.testing.assert_allclose(
        collaborative.scores(part, own, weights), vectors @ vector, rtol=1e-3, atol=1e-4
    )


@given(person=people)
def test_both_ways_to_solve_give_the_same(
    part: Collaborative, person: list[tuple[int, float]]
) -> None:
    """More items than factors are solved by factors, fewer by items."""
    wide = np.hstack([part.taste, np.zeros((ITEMS, 40), dtype=np.float32)])
    own = as_positions([item for item, _ in person])
    weights = np.array([weight for _, weight in person])
    np.testing.assert_allclose(
        collaborative.scores(part, own, weights),
        collaborative.scores(replace(part, taste=wide), own, weights),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip


@given(person=people)
def test_what_each_item_adds_sums_to_the_score(
    part: Collaborative, person: list[tuple[int, float]]
) -> None:
    own = as_positions([item for item, _ in person])
    weights = np.array([weight for _, weight in person])
    targets = np.arange(ITEMS)
    split = collaborative.contributions(part, own, weights, targets)
    assert split.shape == (ITEMS, len(own))
    assert not split[:, own < 0].any()
    np.testing.assert_allclose(
        split.sum(axis=1), collaborative.scores(part, own, weights), rtol=1e-3, atol=1e-4
    )


def test_als_is_asked_about_the_best_by_the_graph_alone(
    part: Collaborative, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = as_positions([0, 1, 2])
    whole = collaborative.scores(part, own, np.ones(3))
    graph = collaborative.scores(replace(part, form=replace(part.form, taste=0.0)), own, np.ones(3))
    monkeypatch.setattr(collaborative, "CANDIDATES", 5)
    some = collaborative.scores(part, own, np.ones(3))
    best = np.argsort(-graph)[:5]
    np.testing.assert_allclose(some[best], whole[best], rtol=1e-5)
    np.testing.assert_allclose(np.delete(some, best), np.delete(graph, best), rtol=1e-5)


def test_a_pair_that_too_few_bought_is_neither_near_nor_a_reason() -> None:
    """The vectors tie the pair; two people are behind it, and three are asked for."""
    pairs = [(0, 1)] * 2 + [(0, 2)] * 4 + [(1, 2)] * 4
    table = np.zeros((len(pairs), 3), dtype=np.float32)
    for person, pair in enumerate(pairs):
        table[person, list(pair)] = 1
    part = learning.learn(sparse.csr_matrix(table), Limits(factors=2, people_min=3))
    assert [item for item, _ in collaborative.nearest(part, 0, 5)] == [2]
    tied = replace(part, form=Form(smooth=1.0), smooth=np.ones((3, 1), dtype=np.float32))
    own = as_positions([0, 2])
    assert collaborative.because(tied, own, np.ones(2), as_positions([1]), 3) == [[1]]
    assert collaborative.contributions(tied, own, np.ones(2), as_positions([1]))[0, 0] > 0


def test_the_strongest_reason_is_named_first(part: Collaborative) -> None:
    own = as_positions([0, 1, -1, 30])
    weights = np.array([5.0, 1.0, 9.0, 1.0])
    split = collaborative.contributions(part, own, weights, as_positions([2]))[0]
    (named,) = collaborative.because(part, own, weights, as_positions([2]), 2)
    assert named == sorted(named, key=lambda n: -split[n])
    assert set(named) <= {0, 1}


def test_vectors_that_are_private_in_themselves_name_any_pair() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    part = collaborative.of_vectors(vectors, alpha=5.0, regularization=1.0)
    assert [item for item, _ in collaborative.nearest(part, 0, 5)] == [1]
    assert collaborative.because(part, as_positions([0]), np.ones(1), as_positions([1]), 2) == [[0]]


def test_an_empty_person_scores_nothing(part: Collaborative) -> None:
    for own in ([], [-1]):
        assert not collaborative.scores(part, as_positions(own), np.ones(len(own))).any()


def test_whitened_vectors_come_back_but_for_a_turn() -> None:
    vectors = np.random.default_rng(4).standard_normal((30, 6)).astype(np.float32)
    again = latent.coloured(latent.whitened(vectors, 2.5), 2.5)
    np.testing.assert_allclose(again @ again.T, vectors @ vectors.T, rtol=1e-3, atol=1e-3)


def test_low_pass_vectors_are_the_singular_vectors() -> None:
    table = counts()
    found = latent.low_pass(table, TASTES, seed=1, threads=1)
    exact = np.linalg.svd(latent.normalised(table).toarray())[2][:TASTES].T
    np.testing.assert_allclose(np.abs(found.T @ exact), np.eye(TASTES), atol=0.02)


def test_the_same_seed_learns_the_same_whatever_the_threads() -> None:
    one, two = (learning.learn(counts(), Limits(factors=16), threads=n) for n in (1, 2))
    assert one.form == two.form
    np.testing.assert_array_equal(one.taste, two.taste)
    np.testing.assert_array_equal(one.smooth, two.smooth)


def test_going_on_from_a_part_gives_nearly_the_same(part: Collaborative) -> None:
    again = learning.learn(counts(), Limits(factors=16, people_min=3), start=part)
    assert replace(again.form, scale=part.form.scale) == part.form
    own = as_positions([0, 1, 2, 31])
    before, after = (collaborative.scores(each, own, np.ones(4)) for each in (part, again))
    assert np.corrcoef(before, after)[0, 1] > 0.98


def test_a_draft_is_what_was_chosen_and_going_on_from_it_gives_nearly_the_same(
    part: Collaborative,
) -> None:
    limits = Limits(factors=16, people_min=3)
    draft = learning.learn(counts(), limits, draft=True)
    assert replace(draft.form, scale=0.0) == replace(part.form, scale=0.0)
    assert draft.people.sum() < part.people.sum()
    whole = learning.learn(counts(), limits, start=draft)
    np.testing.assert_array_equal(whole.people, part.people)
    np.testing.assert_array_equal(whole.neighbours.items, part.neighbours.items)
    own = as_positions([0, 1, 2, 31])
    before, after = (collaborative.scores(each, own, np.ones(4)) for each in (part, whole))
    assert np.corrcoef(before, after)[0, 1] > 0.98


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (1, 5), (5, 1), (4, 4)])
def test_a_shop_too_small_says_nothing_or_little(shape: tuple[int, int]) -> None:
    table = sparse.csr_matrix(np.eye(*shape, dtype=np.float32))
    part = learning.learn(table, Limits(people_min=1))
    own = np.arange(min(shape), dtype=np.int64)
    assert len(collaborative.scores(part, own, np.ones(len(own)))) == shape[1]


def test_what_is_hidden_is_not_seen_and_nothing_is_lost() -> None:
    table = counts()
    split = learning.hide(table, 5)
    hidden = sparse.csr_matrix(table.shape, dtype=np.float32).tolil()
    hidden[split.people] = split.hidden
    assert abs(split.seen + hidden.tocsr() - table).nnz == 0
    assert (split.hidden.getnnz(axis=1) >= 1).all()
    assert (split.seen[split.people].getnnz(axis=1) >= 1).all()


@given(
    members=st.integers(0, 10**6), items=st.integers(0, 10**6), lines=st.integers(0, 10**8),
    limit=st.integers(1, 512),
)  # fmt: skip
def test_lengths_tried_keep_to_the_limit_and_the_data(
    members: int, items: int, lines: int, limit: int
) -> None:
    found = learning.candidates(members, items, lines, limit)
    assert list(found) == sorted(set(found))
    assert all(1 <= width <= limit and width < max(members, items, 2) for width in found)
    assert bool(found) == (min(members, items) > 1 and lines > 0)


def test_looking_broadly_first_finds_the_same_best(monkeypatch: pytest.MonkeyPatch) -> None:
    bought = counts()
    people = latent.people_of(bought)
    smooth = latent.low_pass(bought, 8, seed=1, threads=1) * np.sqrt(people)[:, None]
    part = replace(
        collaborative.nothing(ITEMS),
        smooth=smooth.astype(np.float32),
        people=people.astype(np.float32),
        form=Form(smooth=1.0),
    )
    own, weights = as_positions([0, 1, 2, 31]), np.array([3.0, 1.0, 1.0, 1.0])
    folded = collaborative.fold_in(part, own, weights)
    everything = collaborative.scores_of(part, folded)
    monkeypatch.setattr(collaborative, "BROAD", 5)
    monkeypatch.setattr(collaborative, "SHORTLISTED", 29)
    shortened = collaborative.scores_of(part, folded)
    best = np.argsort(-everything)[:15]
    assert best.tolist() == np.argsort(-shortened)[:15].tolist()
    np.testing.assert_allclose(shortened[best], everything[best], rtol=1e-5)
    np.testing.assert_allclose(collaborative.scores_of_many(part, [folded])[0], shortened, 1e-5)
