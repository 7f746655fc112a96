"""What goes into one basket together. Pure.

For the cart and the page that is open: of each item the items that most often lie in the same
basket. A pair counts only with `people_min` different people who bought both in one basket, and
each person counts once a pair. The likeness is `people / sqrt(people of one * people of other)`,
the people of a pair less a few, so that a handful of chance pairs do not lead. It leaves to
others: what is in the cart, and what people buy at different times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from recommend.dataset import Dataset, Floats, Ints, Offsets
    from recommend.shared import Floats32

PAIRS_MAX = 1_500_000
"""Most pairs that are counted, of the newest baskets; bounds time and memory."""
PAIRS_PER_LINE = 4
"""And most pairs for each line of all baskets, so that a small shop does not count for long."""
BASKET_ITEMS_MAX = 60
"""Greater baskets say little about what goes with what, and are most of the pairs."""
NEIGHBOURS_MAX = 30
"""Most items kept of an item."""
PRIOR_PEOPLE = 5.0
"""Taken off the people of a pair, within the least that a pair needs."""


class Together(NamedTuple):
    """Of each of n items the items it lies in a basket with.

    Attributes:
        ptr: (n + 1,) item i has the entries `ptr[i]:ptr[i + 1]`.
        items: (e,) positions in the model's items.
        scores: (e,) likeness above 0, at most 1; falling within an item.
    """

    ptr: Offsets
    items: Ints
    scores: Floats32


def nothing(size: int) -> Together:
    """A table in which nothing goes with anything."""
    none = np.zeros(0, dtype=np.int32)
    return Together(np.zeros(size + 1, dtype=np.int64), none, none.astype(np.float32))


def learn(dataset: Dataset, position: Ints, people: Ints, people_min: int) -> Together:
    """Count pairs in baskets.

    Args:
        dataset: all baskets.
        position: (items of the dataset,) positions in the model's items, -1 for what is not there.
        people: (n,) different people behind each of the model's items.
        people_min: fewest different people behind a pair.
    """
    size = len(people)
    members, one, other = _pairs(dataset, position)
    one, other, counts = _people_behind(members, one, other, max(people_min, 2))
    if not len(counts):
        return nothing(size)
    sure = counts - np.minimum(PRIOR_PEOPLE, counts / 2)
    likeness = sure / np.sqrt(people[one].astype(np.float64) * people[other])
    return _table(
        np.concatenate([one, other]), np.concatenate([other, one]), np.tile(likeness, 2), size
    )


def beside(table: Together, at: Offsets, weights: Floats) -> tuple[Offsets, Floats]:
    """(m,) positions of what goes with the items at `at`, each once, and (m,) the summed likeness.

    Args:
        table: what goes with what.
        at: (c,) positions.
        weights: (c,) how much each counts.
    """
    runs = [slice(table.ptr[n], table.ptr[n + 1]) for n in at.tolist()]
    if not runs:
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    items = np.concatenate([table.items[run] for run in runs])
    values = np.concatenate(
        [table.scores[run] * weight for run, weight in zip(runs, weights, strict=True)]
    )
    found, where = np.unique(items, return_inverse=True)
    summed: Floats = np.bincount(where, weights=values, minlength=len(found)).astype(np.float64)
    return found.astype(np.int64), summed


def likeness(table: Together, of: int, to: Offsets) -> Floats:
    """(len(to),) how much each of `to` goes with one item; 0 where the table does not say."""
    run = slice(table.ptr[of], table.ptr[of + 1])
    known = dict(zip(table.items[run].tolist(), table.scores[run].tolist(), strict=True))
    return np.array([known.get(n, 0.0) for n in to.tolist()])


def _pairs(dataset: Dataset, position: Ints) -> tuple[Offsets, Offsets, Offsets]:
    """(member, item, greater item) of each pair in the newest baskets, `PAIRS_MAX` at most."""
    sizes = np.diff(dataset.basket_ptr)
    fitting = np.flatnonzero((sizes > 1) & (sizes <= BASKET_ITEMS_MAX))
    newest = fitting[np.lexsort((fitting, -dataset.basket_at[fitting]))]
    total = np.cumsum(sizes[newest] * (sizes[newest] - 1) // 2)
    chosen = newest[total <= min(PAIRS_MAX, PAIRS_PER_LINE * len(dataset.basket_items))]
    found = [
        _pairs_of(dataset, position, chosen[sizes[chosen] == size], int(size))
        for size in np.unique(sizes[chosen])
    ]
    empty = np.zeros(0, dtype=np.int64)
    if not found:
        return empty, empty, empty
    members, one, other = (np.concatenate(column) for column in zip(*found, strict=True))
    kept = np.minimum(one, other) >= 0
    one, other = one[kept], other[kept]
    return members[kept], np.minimum(one, other), np.maximum(one, other)


def _people_behind(
    members: Offsets, one: Offsets, other: Offsets, people_min: int
) -> tuple[Offsets, Offsets, Offsets]:
    """(item, greater item, people) of each pair with enough different people."""
    order = np.lexsort((members, other, one))
    members, one, other = members[order], one[order], other[order]
    is_new_pair = np.ones(len(order), dtype=np.bool_)
    is_new_pair[1:] = (one[1:] != one[:-1]) | (other[1:] != other[:-1])
    is_new_person = is_new_pair.copy()
    is_new_person[1:] |= members[1:] != members[:-1]
    starts = np.flatnonzero(is_new_pair)
    counts = np.add.reduceat(is_new_person.astype(np.int64), starts) if len(starts) else starts
    enough = counts >= people_min
    return one[starts[enough]], other[starts[enough]], counts[enough]


def _pairs_of(
    dataset: Dataset, position: Ints, baskets: Offsets, size: int
) -> tuple[Offsets, Offsets, Offsets]:
    """All pairs of baskets that have the same number of items."""
    lines = dataset.basket_ptr[baskets][:, None] + np.arange(size)
    items = position[dataset.basket_items[lines]].astype(np.int64)
    left, right = np.triu_indices(size, 1)
    members = np.repeat(dataset.basket_member[baskets].astype(np.int64), len(left))
    return members, items[:, left].ravel(), items[:, right].ravel()


def _table(one: Offsets, other: Offsets, likeness: Floats, size: int) -> Together:
    order = np.lexsort((other, -likeness, one))
    one, other, likeness = one[order], other[order], likeness[order]
    starts = np.searchsorted(one, np.arange(size + 1))
    turn = np.arange(len(one)) - starts[one]
    kept = turn < NEIGHBOURS_MAX
    counts = np.bincount(one[kept], minlength=size)
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Together(ptr, other[kept].astype(np.int32), likeness[kept].astype(np.float32))
