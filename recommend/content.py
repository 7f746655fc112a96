"""Products that nobody, or too few, bought yet: scored by the products most like them. Pure.

Likeness is that of the words of category, brand and name, rare words counting more (tf-idf cosine).
A new product gets the mean of what the products most like it get for a person, less the further
they are; so it is personal from its first day on, and rests on items that enough people bought.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from recommend.model import Pick, best_first, positions, score

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from recommend.dataset import Offsets
    from recommend.model import History, Model

ALIKE = 20
"""Products most like a new one that its score is taken from."""
FRESH_MAX = 5_000
"""Most new products at once; of more, the first by SKU."""
BLOCK = 64
"""New products compared at once: 100 MB with 100,000 products that share a word."""
WORDS_MAX = 32
"""Most words of a product that count."""
WORD = re.compile(r"\w{2,40}")


class Newcomers(NamedTuple):
    """Products beside a model, with what they are taken to be like. Good for that model only.

    Attributes:
        skus: m names, sorted; none of them is in the model.
        table: (m, n) csr; a row sums to the likeness of the nearest product, at most 1.
    """

    skus: tuple[str, ...]
    table: sparse.csr_matrix


def words(*, name: str = "", category: str = "", brand: str = "") -> frozenset[str]:
    """What is known of a product: levels of its category's path, its brand, words of its name."""
    levels = [level.strip().lower() for level in category.split("/") if level.strip()]
    paths = ["in " + "/".join(levels[: depth + 1]) for depth in range(len(levels))]
    brands = [f"by {brand.strip().lower()}"] if brand.strip() else []
    return frozenset([*paths, *brands, *WORD.findall(name.lower())][:WORDS_MAX])


def newcomers(model: Model, products: Mapping[str, Collection[str]]) -> Newcomers:
    """What each product that the model does not hold is like.

    Args:
        model: that is served.
        products: SKU -> `words` of what may be shown, of the model's items and the new ones.
    """
    skus = sorted(products)
    at = positions(model, skus)
    fresh = np.flatnonzero(at < 0)[:FRESH_MAX]
    table = _weighed([products[sku] for sku in skus])
    held = np.flatnonzero(at >= 0)
    spread = sparse.csr_matrix(
        (np.ones(len(held)), (held, at[held])), shape=(len(skus), len(model.items))
    )
    names = tuple(skus[n] for n in fresh.tolist())
    across = (table.T @ spread).tocsr()
    blocks = [_nearest((table[some] @ across).tocsr()) for some in _blocks(fresh)]
    empty = sparse.csr_matrix((0, len(model.items)), dtype=np.float32)
    return Newcomers(names, sparse.vstack([empty, *blocks], format="csr"))


def _blocks(rows: Offsets) -> list[Offsets]:
    """Few enough rows at once that their likeness to all products may be held."""
    return [rows[first : first + BLOCK] for first in range(0, len(rows), BLOCK)]


def _weighed(rows: Sequence[Collection[str]]) -> sparse.csr_matrix:
    """(products, words) of length 1 a row, rare words counting more."""
    column: dict[str, int] = {}
    pairs = [
        (n, column.setdefault(word, len(column)))
        for n, row in enumerate(rows)
        for word in sorted(row)
    ]
    at = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    seen = np.bincount(at[:, 1], minlength=len(column))
    rarity = np.log1p(len(rows) / np.maximum(seen, 1))
    lengths = np.sqrt(np.bincount(at[:, 0], weights=rarity[at[:, 1]] ** 2, minlength=len(rows)))
    values = rarity[at[:, 1]] / lengths[at[:, 0]]
    return sparse.csr_matrix((values, (at[:, 0], at[:, 1])), shape=(len(rows), len(column)))


def _nearest(likeness: sparse.csr_matrix) -> sparse.csr_matrix:
    """Of each row the `ALIKE` largest, scaled to sum to the largest of them."""
    rows = [likeness[n] for n in range(likeness.shape[0])]
    for row in rows:
        if row.nnz > ALIKE:
            row.data[row.data < np.partition(row.data, row.nnz - ALIKE)[row.nnz - ALIKE]] = 0
        if row.nnz:
            row.data *= row.data.max() / row.data.sum()
        row.eliminate_zeros()
    return sparse.vstack(rows, format="csr").astype(np.float32)


def fresh_picks(
    model: Model, fresh: Newcomers, history: History, places: Sequence[str], limit: int
) -> list[Pick]:
    """The best new products for one member, with scores that compare with those of `rank`.

    What the person bought again and again does not count here, only what is shared.
    """
    if not fresh.skus or not limit:
        return []
    scores = score(model, history, places)
    size, weights = len(model.items), model.weights
    known = weights.shared * scores.shared[:size]
    known = known + weights.collaborative * scores.collaborative[:size]
    values = np.asarray(fresh.table @ known, dtype=np.float32)
    best: Offsets = best_first(values, limit)
    return [Pick(fresh.skus[n], float(values[n]), "collaborative") for n in best if values[n] > 0]
