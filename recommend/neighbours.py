"""Which items are bought by the same people, as a short list for each item. Pure.

Two items are listed together only when enough different people bought both (`people_min`): a list
that a single person's purchases could have made would tell on that person. So whatever is shown or
explained from here has that many people behind the pair itself, not just behind each item.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

LISTED_MAX = 64
"""Most neighbours kept of an item; on a set of 41,000 places 64 rank as well as 200."""
PAIRS_MAX = 300_000_000
"""Most pairs counted; people with the longest lists, who say least about a pair, go first."""
BLOCK_PAIRS = 10_000_000
"""Pairs counted at once by a thread: some 200 MB at the most."""
THREADS_MAX = 4
HALF = 2.0**-31
"""Puts a person's share below the unit that counts the people, in one float64; see `_Counting`."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """For each of n items, those that the same people bought.

    Attributes:
        ptr: (n + 1,) int64; item i has the entries `ptr[i]:ptr[i + 1]`.
        items: (m,) int32 positions of the others, rising within an item; never the item itself.
        values: (m,) float32 above 0: shares of people in common over the root of both popularities.
    """

    ptr: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    values: npt.NDArray[np.float32]

    def of(self, item: int) -> slice:
        """Where the entries of an item are."""
        return slice(int(self.ptr[item]), int(self.ptr[item + 1]))


def nobody(size: int) -> Neighbours:
    """No neighbours for each of so many items."""
    return Neighbours(
        np.zeros(size + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int32),
        np.zeros(0, dtype=np.float32),
    )


def learn(
    counts: sparse.csr_matrix,
    *,
    people_min: int,
    listed_max: int = LISTED_MAX,
    threads: int = 1,
) -> Neighbours:
    """Count pairs in blocks and keep the best of each item.

    A person with d different items gives each pair 1 / d, and a pair is divided by the root of both
    items' people: the linear graph filter of Shen et al. 2021 (doi:10.1145/3459637.3482264).

    Args:
        counts: (members, n) csr; anything above 0 is a purchase.
        people_min: fewest people who bought both, for a pair to be listed.
        listed_max: most neighbours of an item.
        threads: 0 for all cores, at most `THREADS_MAX`; the lists are the same whatever their
            number.
    """
    bought = _bounded(counts)
    people = np.maximum(np.asarray(bought.getnnz(axis=0), dtype=np.float64), 1)
    counting = _Counting(bought)

    def listed(block: slice) -> sparse.csr_matrix:
        return _best(counting.pairs(block), block.start, people, people_min, listed_max)

    # Products of sparse matrices run beside each other: scipy lets go of the interpreter's lock.
    with ThreadPoolExecutor(min(threads or os.cpu_count() or 1, THREADS_MAX)) as pool:
        rows = list(pool.map(listed, counting.blocks()))
    if not rows:
        return nobody(counts.shape[1])
    kept = sparse.vstack(rows, format="csr")
    return Neighbours(
        kept.indptr.astype(np.int64), kept.indices.astype(np.int32), kept.data.astype(np.float32)
    )


def _bounded(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Ones where something was bought, without the longest lists if there are too many pairs."""
    bought = (counts > 0).astype(np.float64).tocsr()
    lengths = np.sort(np.diff(bought.indptr))
    within = np.searchsorted(np.cumsum(lengths.astype(np.float64) ** 2), PAIRS_MAX, side="right")
    if within == len(lengths):
        return bought
    longest = lengths[within - 1] if within else 0
    return bought[np.flatnonzero(np.diff(bought.indptr) <= longest)]


class _Counting:
    """The item-item matrix in blocks of rows, each entry two numbers in one.

    The whole part counts the people who bought both; what is behind the point, times 1 / `HALF`, is
    the sum of their shares, which is never above the count. One product gives both. Counts up to
    2**20 leave 32 bits behind the point.
    """

    def __init__(self, bought: sparse.csr_matrix) -> None:
        self._lengths = np.maximum(np.diff(bought.indptr), 1)
        self._shares = (sparse.diags(1 + HALF / self._lengths) @ bought).tocsr()
        self._others = bought.T.tocsr()

    def blocks(self) -> Iterator[slice]:
        """Items, as many at a time as have `BLOCK_PAIRS`."""
        cost = np.cumsum(self._others @ self._lengths.astype(np.float64))
        first = 0
        while first < len(cost):
            spent = cost[first - 1] if first else 0.0
            last = max(int(np.searchsorted(cost, spent + BLOCK_PAIRS, side="right")), first + 1)
            yield slice(first, last)
            first = last

    def pairs(self, block: slice) -> sparse.csr_matrix:
        """The rows of these items."""
        return (self._others[block] @ self._shares).tocsr()


def _best(
    pairs: sparse.csr_matrix,
    first: int,
    people: npt.NDArray[np.float64],
    people_min: int,
    listed_max: int,
) -> sparse.csr_matrix:
    """Of a block of rows, the pairs with enough people behind them, the best few of each row."""
    others, both = pairs.indices, pairs.data
    bounds = pairs.indptr.astype(np.int64)
    if people_min > 1:
        # Few pairs have that many: the rest of the work is on those alone.
        enough = np.flatnonzero(both >= people_min)
        others, both = others[enough], both[enough]
        bounds = np.searchsorted(enough, bounds)
    shares = both - np.floor(both)
    shares *= (1 / np.sqrt(people) / HALF)[others]
    best = _largest(bounds, shares, listed_max + 1)
    row = np.searchsorted(bounds, best, side="right") - 1
    best = best[others[best] != row + first]
    row = np.searchsorted(bounds, best, side="right") - 1
    values = shares[best] / np.sqrt(people[row + first])
    kept = _largest(np.searchsorted(row, np.arange(pairs.shape[0] + 1)), values, listed_max)
    # From coordinates, so that the others of a row stand in rising order.
    shape = pairs.shape
    found = sparse.csr_matrix((values[kept], (row[kept], others[best[kept]])), shape=shape)
    found.sort_indices()
    return found


def _largest(
    bounds: npt.NDArray[np.int64], values: npt.NDArray[np.float64], most: int
) -> npt.NDArray[np.int64]:
    """Positions of the `most` largest values between each two bounds, rising."""
    kept = [np.arange(0)]
    lengths = np.diff(bounds)
    for at in np.flatnonzero(lengths).tolist():
        start, length = int(bounds[at]), int(lengths[at])
        if length <= most:
            kept.append(np.arange(start, start + length))
        else:
            here = np.argpartition(values[start : start + length], length - most)
            kept.append(np.sort(here[length - most :]) + start)
    return np.concatenate(kept)
