"""Plain methods against the same thing done slowly, and what each must find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import recommend.rivals
from recommend.dataset import Basket, Dataset, Ints, build
from recommend.rivals import Asked, Lists, asked, rank, rivals, top_columns

DAY = 86_400.0


def shop() -> Dataset:
    """Everybody buys `top`; `a` is of one's own; `fresh` is what people buy of late."""
    baskets = [Basket(f"m{n}", 0.0, (), ("top", f"own{n}")) for n in range(6)]
    baskets += [Basket(f"m{n}", 400 * DAY, (), ("fresh", f"own{n}")) for n in range(3)]
    baskets += [Basket("m0", day * DAY, (), ("old",)) for day in range(1, 4)]
    return build(baskets)


def found(dataset: Dataset, k: int = 3, rows: list[int] | None = None) -> dict[str, Lists]:
    who = asked(dataset, np.array(range(dataset.n_members) if rows is None else rows))
    return {
        each.name: rank(each.scorer, who, k) for each in rivals(dataset, who, seed=1, threads=1)
    }


def names(dataset: Dataset, codes: Ints) -> list[str]:
    return [dataset.items[code].decode() for code in codes.tolist() if code >= 0]


def test_each_method_does_what_its_name_says() -> None:
    dataset = shop()
    lists = found(dataset)
    assert names(dataset, lists["global_top"].everything[0])[0] == "top"
    assert names(dataset, lists["recent_top"].everything[0])[0] == "fresh"
    assert names(dataset, lists["personal_top"].everything[0])[0] == "old"
    assert names(dataset, lists["personal_decayed"].everything[0])[0] == "old"
    assert set(lists) == {
        "global_top",
        "recent_top",
        "personal_top",
        "personal_decayed",
        "als_alone",
        "item_item",
    }


def test_of_ones_own_with_as_many_baskets_the_newest_comes_first() -> None:
    dataset = build([Basket("m", 0.0, (), ("z",)), Basket("m", DAY, (), ("a",))] * 2)
    personal = found(dataset, 2)["personal_top"].everything
    assert names(dataset, personal[0]) == ["a", "z"]


def test_the_second_list_has_nothing_that_the_member_has() -> None:
    dataset = shop()
    for lists in found(dataset).values():
        mine = {sku for _, skus in dataset.baskets_of(0) for sku in skus}
        assert not mine & set(names(dataset, lists.only_new[0]))
        assert len(names(dataset, lists.only_new[0])) == 3


def test_what_a_method_leaves_open_is_filled_with_best_sellers() -> None:
    dataset = shop()
    personal = found(dataset, 8)["personal_top"].everything[5]
    assert names(dataset, personal)[:2] == ["own5", "top"] or names(dataset, personal)[0] == "top"
    assert (personal >= 0).all()


def test_somebody_without_history_gets_best_sellers() -> None:
    dataset = shop()
    for name, lists in found(dataset, rows=[-1]).items():
        best = "fresh" if name in ("recent_top", "personal_decayed") else "top"
        assert names(dataset, lists.everything[0])[0] == best, name


def test_without_times_and_without_second_baskets_what_would_be_the_same_is_left_out() -> None:
    dataset = build(Basket(f"m{n}", 0.0, (), ("a", f"b{n}")) for n in range(4))
    assert set(found(dataset)) == {"global_top", "personal_top", "als_alone", "item_item"}


def test_items_bought_together_find_each_other() -> None:
    pairs = [(f"l{n % 5}", f"r{n % 5}") for n in range(60)]
    baskets = [Basket(f"m{n}", 0.0, (), pair) for n, pair in enumerate(pairs)]
    dataset = build([*baskets, Basket("asked", 0.0, (), ("l3",))])
    lists = found(dataset, 1, rows=[60])
    assert names(dataset, lists["item_item"].only_new[0]) == ["r3"]
    assert names(dataset, lists["als_alone"].only_new[0]) == ["r3"]


def test_a_catalogue_of_one_item_leaves_places_open() -> None:
    lists = found(build([Basket("m", 0.0, (), ("a",)), Basket("n", 0.0, (), ("a",))]), 3)
    for name, pair in lists.items():
        assert pair.everything.tolist() == [[0, -1, -1]] * 2, name
        assert pair.only_new.tolist() == [[-1, -1, -1]] * 2, name


@given(st.integers(1, 5), st.integers(1, 1_000), st.integers(1, 40), st.integers(0, 1_000))
def test_the_best_columns_are_those_of_a_full_sort(
    k: int, width: int, different: int, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    scores = chance.integers(-different, different, (2, width)).astype(np.float32)
    got = np.take_along_axis(scores, top_columns(scores, k), axis=1)
    assert np.array_equal(got, -np.sort(-scores, axis=1)[:, :k])


def test_groups_of_columns_lose_nothing_at_the_edges() -> None:
    for best in (0, 63, 64, 699):
        scores = np.zeros((1, 700), dtype=np.float32)
        scores[0, best] = 1.0
        assert top_columns(scores, 2)[0, 0] == best
        assert len(set(top_columns(scores, 2)[0].tolist())) == 2
    assert top_columns(np.full((1, 3), -np.inf, dtype=np.float32), 2).tolist() == [[-1, -1]]


def test_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(4)
    scores = chance.random((30, 50)).astype(np.float32)
    had = sparse.csr_matrix((chance.random((30, 50)) < 0.2).astype(np.float32))
    who = Asked(had, np.arange(30), np.arange(0))
    whole = rank(lambda block: scores[block].copy(), who, 5)
    monkeypatch.setattr(recommend.rivals, "BLOCK_CELLS", 7 * 50)
    assert np.array_equal(rank(lambda block: scores[block].copy(), who, 5), whole)
    assert np.array_equal(whole.everything, np.argsort(-scores, axis=1)[:, :5])
    hidden = np.where(had.toarray() > 0, -np.inf, scores)
    assert np.array_equal(whole.only_new, np.argsort(-hidden, axis=1)[:, :5])
