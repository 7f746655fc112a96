"""Plain methods that a recommender has to beat, in their strongest form.

Pure; the same seed gives the same lists. Each method scores the whole catalogue for a block of
members at once. None of them is kept from an item because few people stand behind it, and what
they leave open is filled up with best sellers, so that nobody is beaten for an empty place.

Each gives two lists a member: with what the member has already, and without. Which of the two is
the better one depends on the data (people re-buy milk, and watch a film once); who compares takes
the better one, and so does a rival no injustice.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import all_pairs_knn
from scipy import sparse
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from recommend.dataset import Dataset, Floats, Ints, Offsets, matrix
from recommend.measures import NOWHERE

Floats32: TypeAlias = npt.NDArray[np.float32]
Scorer: TypeAlias = Callable[[Offsets], Floats32]
"""(b,) positions of asked members -> (b, n) scores of the whole catalogue."""
Progress: TypeAlias = Callable[[int, int], None]

BLOCK_CELLS = 20_000_000
"""Scores held at once: 80 MB of them."""
GROUP = 64
"""Items of which only the best is looked at first, when the best k of a row are sought."""
DAY_SECONDS = 86_400.0
HALF_LIFE_DAYS = 30.0
DECAY_PER_BASKET = 0.9
FILLING = 0.01
"""What the best seller is worth beside one purchase of one's own."""
TIE = 0.5
"""How much "newest" is worth beside one more basket: it decides between equals only."""
ALS_ITERATIONS = 15
ALS_REGULARIZATION = 0.1
ALS_STRENGTHS = ((64, 10.0), (128, 1.0), (256, 40.0))
"""Factors and alpha: what serves best differs from shop to shop; the best of them is shown."""
NEIGHBOURS = 100


class Lists(NamedTuple):
    """Both forms of one method: (m, k) item codes each, best first, -1 where a list ends early."""

    everything: Ints
    only_new: Ints


class Rival(NamedTuple):
    """A method: a name for machines, one for people, and how it scores."""

    name: str
    label: str
    scorer: Scorer


class Asked(NamedTuple):
    """Who is ranked for.

    Attributes:
        had: csr (m, n) float32, baskets with that item, of each asked member.
        rows: (m,) row in the dataset; -1 for somebody without a history.
        unsold: items that nobody bought, such as those of held-out baskets alone: never listed.
    """

    had: sparse.csr_matrix
    rows: Offsets
    unsold: Offsets


def asked(dataset: Dataset, rows: Offsets) -> Asked:
    """Gather the histories of the members in these rows; -1 is somebody without one."""
    counts = matrix(dataset)
    return Asked(_rows_of(counts, rows), rows, np.flatnonzero(counts.getnnz(axis=0) == 0))


def rivals(dataset: Dataset, who: Asked, *, seed: int, threads: int = 0) -> Iterator[Rival]:
    """One after the other, each learned when its turn comes, so that one at a time is in memory.

    What would be the same as another one on this data (recency without times, decay where nobody
    has two baskets) is left out.
    """
    top = popularity(dataset, np.ones(dataset.n_baskets))
    filling = _filling(top)
    yield Rival("global_top", "Best sellers", _same_for_all(top, who))
    recent = popularity(dataset, recency(dataset))
    timed = len(np.unique(dataset.basket_at)) > 1
    if timed:
        yield Rival("recent_top", "Recent best sellers", _same_for_all(recent, who))
    yield Rival("personal_top", "Own favourites", _sparse(_own(dataset, who), filling))
    if dataset.n_baskets > dataset.n_members:
        decayed = _rows_of(_weighted(dataset, decay(dataset)), who.rows)
        yield Rival("personal_decayed", "Own recent favourites", _sparse(decayed, _filling(recent)))
    counts = matrix(dataset)
    for factors, alpha in ALS_STRENGTHS:
        label = f"ALS alone (alpha {alpha:g})"
        learner = _als(counts, factors, alpha, seed=seed, threads=threads)
        yield Rival("als_alone", label, _factors(learner, who, filling))
    yield Rival("item_item", "Item-item", _item_item(counts, who, threads, filling))


def rank(scorer: Scorer, who: Asked, k: int, *, progress: Progress | None = None) -> Lists:
    """Both lists of every asked member, in blocks of bounded memory."""
    members, items = who.had.shape
    lists = Lists(*(np.full((members, k), NOWHERE, dtype=np.int32) for _ in Lists._fields))
    step = max(1, BLOCK_CELLS // max(items, 1))
    for first in range(0, members, step):
        block = np.arange(first, min(first + step, members))
        scores = scorer(block)
        scores[:, who.unsold] = -np.inf
        found = _best(scores, who.had[block], k)
        for whole, part in zip(lists, found, strict=True):
            whole[block, : part.shape[1]] = part
        if progress:
            progress(int(block[-1]) + 1, members)
    return lists


def _best(scores: Floats32, had: sparse.csr_matrix, k: int) -> Lists:
    """The best new ones, and the best of those together with what the member has already.

    Nothing else can be in the second list, so the catalogue is searched once for both.
    """
    own = _padded(had)
    rows = np.arange(len(scores))[:, None]
    values = np.where(own >= 0, scores[rows, own], -np.inf)
    lined, at = had.nonzero()
    scores[lined, at] = -np.inf
    new = top_columns(scores, k)
    both = np.concatenate([new, own], axis=1)
    worth = np.concatenate([np.where(new >= 0, scores[rows, new], -np.inf), values], axis=1)
    order = np.lexsort((both, -worth), axis=1)[:, :k]
    everything = np.take_along_axis(np.where(np.isfinite(worth), both, NOWHERE), order, axis=1)
    return Lists(everything, new)


def _padded(had: sparse.csr_matrix) -> Ints:
    """(b, most) the items of each row, filled up with -1."""
    sizes = np.diff(had.indptr)
    wide = np.full((had.shape[0], int(sizes.max(initial=0))), NOWHERE, dtype=np.int32)
    wide[np.arange(wide.shape[1]) < sizes[:, None]] = had.indices
    return wide


def top_columns(scores: Floats32, k: int) -> Ints:
    """(b, min(k, n)) columns of the highest scores of each row, best first; -1 for -inf.

    Exact: the k best of a row are in the k groups of columns whose best are highest. Equal scores
    go by column within what was found.
    """
    rows, width = scores.shape
    k = min(k, width)
    if width > 4 * GROUP * k:
        scores = np.pad(scores, ((0, 0), (0, -width % GROUP)), constant_values=-np.inf)
        best = scores.reshape(rows, -1, GROUP).max(axis=2)
        groups = np.argpartition(-best, k - 1, axis=1)[:, :k]
        columns = (groups[:, :, None] * GROUP + np.arange(GROUP)).reshape(rows, -1)
        columns = np.sort(columns, axis=1)
    else:
        columns = np.broadcast_to(np.arange(width), (rows, width))
    worth = np.take_along_axis(scores, columns, axis=1)
    if k < worth.shape[1]:
        chosen = np.sort(np.argpartition(-worth, k - 1, axis=1)[:, :k], axis=1)
        columns = np.take_along_axis(columns, chosen, axis=1)
        worth = np.take_along_axis(worth, chosen, axis=1)
    order = np.argsort(-worth, axis=1, kind="stable")
    columns = np.where(np.isfinite(worth), columns, NOWHERE)
    return np.take_along_axis(columns, order, axis=1).astype(np.int32)


def popularity(dataset: Dataset, weights: Floats) -> Floats:
    """(n,) for each item the sum of the weights of the baskets it is in."""
    lines = weights[dataset.line_basket()]
    counts = np.bincount(dataset.basket_items, weights=lines, minlength=len(dataset.items))
    return counts.astype(np.float64)


def recency(dataset: Dataset) -> Floats:
    """(b,) half the weight for each `HALF_LIFE_DAYS` before the newest basket."""
    age_days = (dataset.basket_at.max(initial=-np.inf) - dataset.basket_at) / DAY_SECONDS
    return np.asarray(0.5 ** (age_days / HALF_LIFE_DAYS))


def decay(dataset: Dataset) -> Floats:
    """(b,) `DECAY_PER_BASKET` for each newer basket of the same member."""
    last = np.searchsorted(dataset.basket_member, dataset.basket_member, side="right") - 1
    return np.asarray(DECAY_PER_BASKET ** (last - np.arange(dataset.n_baskets)))


def _own(dataset: Dataset, who: Asked) -> sparse.csr_matrix:
    """Number of baskets, and of equals the item of the newest basket first."""
    last = np.searchsorted(dataset.basket_member, dataset.basket_member, side="right") - 1
    newest = _weighted(dataset, 1 / (1.0 + last - np.arange(dataset.n_baskets)), most=True)
    return who.had + _rows_of(newest, who.rows) * np.float32(TIE)


def _weighted(dataset: Dataset, weights: Floats, *, most: bool = False) -> sparse.csr_matrix:
    """Matrix (members, n): sum, or most, of the weights of a member's baskets with an item."""
    line_basket = dataset.line_basket()
    rows = dataset.basket_member[line_basket].astype(np.int64)
    keys = rows * len(dataset.items) + dataset.basket_items
    order = np.argsort(keys, kind="stable")
    unique, starts = np.unique(keys[order], return_index=True)
    add = np.maximum if most else np.add
    values = weights[line_basket][order]
    merged = add.reduceat(values, starts) if len(starts) else values
    shape = (dataset.n_members, len(dataset.items))
    at = (unique // max(shape[1], 1), unique % max(shape[1], 1))
    return sparse.csr_matrix((merged.astype(np.float32), at), shape=shape)


def _rows_of(values: sparse.csr_matrix, rows: Offsets) -> sparse.csr_matrix:
    """These rows, an empty one for -1."""
    nobody = sparse.csr_matrix((1, values.shape[1]), dtype=values.dtype)
    stacked = sparse.vstack([values, nobody], format="csr")
    found = stacked[np.where(rows < 0, values.shape[0], rows)]
    found.sort_indices()
    return found


def _filling(popular: Floats) -> Floats32:
    """(n,) `FILLING` for the best seller, falling by rank to just above 0."""
    order = np.lexsort((np.arange(len(popular)), -popular))
    filling = np.empty(len(popular), dtype=np.float32)
    filling[order] = FILLING * (1 - np.arange(len(popular)) / max(len(popular), 1))
    return filling


def _same_for_all(popular: Floats, who: Asked) -> Scorer:
    ranked = _filling(popular)
    return lambda block: np.tile(ranked, (len(who.rows[block]), 1))


def _sparse(scores: sparse.csr_matrix, filling: Floats32) -> Scorer:
    def scorer(block: Offsets) -> Floats32:
        return np.asarray(scores[block].toarray() + filling, dtype=np.float32)

    return scorer


def _als(
    counts: sparse.csr_matrix, factors: int, alpha: float, *, seed: int, threads: int
) -> AlternatingLeastSquares:
    """Hu, Koren, Volinsky 2008, as `implicit` does it."""
    # BLAS threads under those of implicit make it ten times slower; it warns about them.
    with threadpool_limits(1, "blas"):
        learner = AlternatingLeastSquares(
            factors=min(factors, max(1, min(counts.shape))),
            regularization=ALS_REGULARIZATION,
            alpha=alpha,
            iterations=ALS_ITERATIONS,
            num_threads=threads,
            random_state=seed,
        )
        learner.fit(counts, show_progress=False)
    return learner


def _factors(learner: AlternatingLeastSquares, who: Asked, filling: Floats32) -> Scorer:
    nobody = np.zeros((1, learner.user_factors.shape[1]), dtype=np.float32)
    people = np.concatenate([learner.user_factors, nobody])[who.rows]
    items = np.ascontiguousarray(learner.item_factors.T)
    return lambda block: people[block] @ items + np.float32(1e-6) * filling


def _item_item(counts: sparse.csr_matrix, who: Asked, threads: int, filling: Floats32) -> Scorer:
    """Cosine of who bought what; an item speaks for itself and its nearest (Sarwar et al. 2001)."""
    lengths = np.sqrt(np.maximum(counts.getnnz(axis=0), 1))
    cosine = counts.copy()
    cosine.data = (1 / lengths[counts.indices]).astype(np.float64)
    nearest = all_pairs_knn(cosine, NEIGHBOURS, show_progress=False, num_threads=threads)
    nearest = sparse.csr_matrix(nearest, dtype=np.float32)

    def scorer(block: Offsets) -> Floats32:
        return np.asarray((who.had[block] @ nearest).toarray() + np.float32(1e-4) * filling)

    return scorer
