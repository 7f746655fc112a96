"""Item vectors under differential privacy: principal directions of the noisy co-purchase matrix.

Pure. "Analyze Gauss" (Dwork, Talwar, Thakurta, Zhang 2014, doi:10.1145/2591796.2591883): each
member's row of purchases is held to length 1, so that adding or removing one member changes the sum
of their outer products by 1 at most (Frobenius); to that sum symmetric noise is added, and all that
follows, the directions and the folding in of a member, is worked out from the noisy matrix alone.

It needs a crowd: noise of deviation s on d items has directions of its own up to 2 s sqrt(d) strong
(Wigner). A direction is kept only if it is stronger than that edge; a shop where no more than the
first direction is (that one is popularity again) goes without vectors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh

if TYPE_CHECKING:
    from recommend.dataset import Offsets
    from recommend.model import Floats32, Floats64
    from recommend.privacy.noise import Noise

ITEMS_MAX = 2_000
"""Most items with a vector: the matrix has the square of it in cells, and noise grows with it."""
DIRECTIONS_MIN = 2
"""Fewer directions than this above the noise say no more than the popular lists."""
EDGE_MARGIN = 1.1
"""How far above the edge of the noise a direction must stand."""
ROW_UNIT = 1 << 12
"""A row's entry of 1 as a whole number."""


class Vectors(NamedTuple):
    """Directions of the items that are above the noise.

    Attributes:
        items: (d, f) a direction a column, f possibly 0; each scaled by its strength, the first
            having 1.
        edge: how strong directions of pure noise get.
        strengths: (f,) of the directions, strongest first.
    """

    items: Floats32
    edge: float
    strengths: Floats64


def rows_of(member: Offsets, item: Offsets, n_members: int, n_items: int) -> sparse.csr_matrix:
    """(n_members, n_items) whole numbers: which items each bought, of length `ROW_UNIT` at most.

    Args:
        member: row of the member of each different pair.
        item: column of its item.
        n_members: number of rows.
        n_items: number of columns.
    """
    counts = np.bincount(member, minlength=n_members)
    entry = np.floor(ROW_UNIT / np.sqrt(np.maximum(counts, 1))).astype(np.int64)
    return sparse.csr_matrix((entry[member], (member, item)), shape=(n_members, n_items))


def noisy_products(rows: sparse.csr_matrix, multiplier: float, noise: Noise) -> Floats64:
    """(d, d) symmetric: the sum of the rows' outer products with noise, a member adding 1 at most.

    The noise is drawn for the upper triangle and mirrored: what a member changes there, the
    diagonal included, is no longer than what it changes in the whole.
    """
    exact = np.asarray((rows.T @ rows).todense(), dtype=np.int64)
    upper = np.triu_indices(len(exact))
    noisy = np.zeros_like(exact)
    noisy[upper] = exact[upper] + noise.gaussian(len(upper[0]), multiplier * ROW_UNIT**2)
    full = noisy + np.triu(noisy, 1).T
    return np.asarray(full / float(ROW_UNIT**2))


def directions(products: Floats64, multiplier: float, most: int) -> Vectors:
    """The strongest directions above the edge of the noise, at most so many."""
    size = len(products)
    edge = EDGE_MARGIN * 2 * multiplier * float(np.sqrt(size))
    values, found = _strongest(products, min(most, size))
    above = values > edge
    values, found = values[above], found[:, above]
    if len(values) < DIRECTIONS_MIN:
        return Vectors(np.zeros((size, 0), dtype=np.float32), edge, values)
    scaled = found * np.sqrt(values / values[0])
    return Vectors(scaled.astype(np.float32), edge, values)


def _strongest(products: Floats64, count: int) -> tuple[Floats64, Floats64]:
    """Eigenvalues, highest first, with their vectors as columns; signs fixed."""
    if not count:
        return np.zeros(0), np.zeros((len(products), 0))
    if count * 4 >= len(products):
        values, found = eigh(products)
    else:
        values, found = eigsh(products, k=count, which="LA", v0=np.ones(len(products)))
    order = np.argsort(-values)[:count]
    values, found = values[order], found[:, order]
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(len(order))])
    return values, found * np.where(signs == 0, 1.0, signs)
