"""Popular lists under differential privacy: recent first, by place, each member counted little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recommend.privacy.votes import UNIT, Votes
from recommend.shared import DAY_SECONDS, EVERYWHERE, SCORE_FLOOR, Popular

if TYPE_CHECKING:
    from recommend.dataset import Dataset, Floats, Offsets
    from recommend.privacy.votes import Sums

PLACE_WEIGHT = 0.5
"""A vote for an item at a place beside one for the item everywhere."""


def votes_of(dataset: Dataset, *, at: float, half_life_days: float) -> Votes:
    """A vote of each member for each item, everywhere and at each place it was bought at.

    It weighs `0.5 ** (age / half-life)` of the latest purchase. The cell is
    `place * len(items) + item`, the last place being everywhere.

    Args:
        dataset: baskets of members.
        at: POSIX seconds of the training: ages are from there, for the newest purchase's time is
            somebody's.
        half_life_days: age at which a vote weighs half.
    """
    line, place = _pairs(dataset)
    basket = dataset.line_basket()[line]
    cell = place * len(dataset.items) + dataset.basket_items[line]
    age_days = np.maximum(at - dataset.basket_at[basket], 0.0) / DAY_SECONDS
    weight = 0.5 ** (age_days / half_life_days)
    weight[place != len(dataset.places)] *= PLACE_WEIGHT
    return heaviest(dataset.basket_member[basket].astype(np.int64), cell, weight)


def heaviest(member: Offsets, cell: Offsets, weight: Floats) -> Votes:
    """One vote a member and cell: the one that weighs most."""
    order = np.lexsort((-weight, cell, member))
    member, cell, weight = member[order], cell[order], weight[order]
    is_first = np.ones(len(member), dtype=np.bool_)
    is_first[1:] = (member[1:] != member[:-1]) | (cell[1:] != cell[:-1])
    is_first &= weight > 0
    return Votes(member[is_first], cell[is_first], weight[is_first])


def _pairs(dataset: Dataset) -> tuple[Offsets, Offsets]:
    """(line, place) of every line: once everywhere, and once at each place of its basket."""
    line_basket = dataset.line_basket()
    counts = np.diff(dataset.place_ptr)[line_basket]
    line = np.repeat(np.arange(len(line_basket)), counts)
    start = dataset.place_ptr[line_basket[line]]
    within = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    places = dataset.basket_places[start + within].astype(np.int64)
    everywhere = np.full(len(line_basket), len(dataset.places), dtype=np.int64)
    lines = np.concatenate([np.arange(len(line_basket)), line])
    return lines, np.concatenate([everywhere, places])


def lists_of(
    released: Sums, places: tuple[str, ...], n_items: int, limit: int
) -> tuple[Offsets, dict[str, Popular]]:
    """The items that are in any list, and the lists by place, from what was released.

    Args:
        released: noisy sums by cell of `votes_of`.
        places: names of the places.
        n_items: number of items that cells were numbered by.
        limit: most items in a list.

    Returns:
        Positions of the items, rising; and the lists, whose items are positions among those.
    """
    place, item = released.cell // max(n_items, 1), released.cell % max(n_items, 1)
    kept = np.unique(item)
    lists = {}
    for number, name in enumerate((*places, EVERYWHERE)):
        here = place == number
        if here.any() or name == EVERYWHERE:
            lists[name] = _list(np.searchsorted(kept, item[here]), released.total[here], limit)
    return kept, lists


def _list(items: Offsets, totals: Offsets, limit: int) -> Popular:
    order = np.lexsort((items, -totals))[:limit]
    best = totals[order] / UNIT
    scaled = np.maximum(best / max(float(best[0]), SCORE_FLOOR), SCORE_FLOOR) if len(best) else best
    return Popular(items[order].astype(np.int32), scaled.astype(np.float32))
