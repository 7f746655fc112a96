"""Sums over members to which each adds only so much, and noise that hides any one of them.

Pure. A *vote* is what one member adds to one cell (a place and an item, say). All votes of a member
together are held to a length (the square root of the sum of their squares), so that adding or
removing a member moves all sums together by that length at most: the Gaussian mechanism then needs
noise of `multiplier` times that length in each cell (Dwork and Roth 2014, appendix A). Cells that
nobody voted for are not looked at; that a cell exists at all shows only above a threshold that the
votes of one member pass with probability `delta` at most (Gopi et al. 2020, arXiv:2002.09745).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from recommend.dataset import Floats, Offsets
    from recommend.privacy.noise import Noise

UNIT = 1 << 20
"""A vote of 1 as a whole number; what a vote is rounded by is lost, never gained."""
CELLS_MAX = 300
"""Most cells one member votes for: the largest votes stay."""


class Votes(NamedTuple):
    """Votes as three arrays of one length.

    Attributes:
        member: row of the member.
        cell: number of the cell; a member votes once for a cell.
        weight: above 0, at most 1.
    """

    member: Offsets
    cell: Offsets
    weight: Floats


class Sums(NamedTuple):
    """Cells and what the members gave them, in `UNIT`s."""

    cell: Offsets
    total: Offsets


def bounded(votes: Votes, length: float) -> Votes:
    """The votes with each member's held to `CELLS_MAX` cells and to this length, in whole `UNIT`s.

    `weight` is a whole number of `UNIT`s afterwards.
    """
    order = np.lexsort((votes.cell, -votes.weight, votes.member))
    member, cell, weight = votes.member[order], votes.cell[order], votes.weight[order]
    first = np.searchsorted(member, member)
    kept = np.arange(len(member)) - first < CELLS_MAX
    member, cell, weight = member[kept], cell[kept], weight[kept]
    lengths = np.sqrt(np.bincount(member, weights=weight**2))
    scale = np.minimum(1.0, length / np.maximum(lengths, 1e-300))
    # One part in a million less, so that no rounding of the root makes it longer than `length`.
    whole = np.floor(weight * scale[member] * (1 - 1e-6) * UNIT)
    return Votes(member, cell, whole)


def sums(votes: Votes) -> Sums:
    """What each cell got: exact, for these are whole numbers far below 2^53."""
    cell, place = np.unique(votes.cell, return_inverse=True)
    total = np.bincount(place, weights=votes.weight, minlength=len(cell))
    return Sums(cell, np.rint(total).astype(np.int64))


def threshold(length: float, multiplier: float, delta: float, people_min: int) -> float:
    """The least noisy sum that shows, in votes.

    What one member alone, or fewer than `people_min` together, can give a cell passes it with a
    probability of `delta / CELLS_MAX` at most: by the first, that a member's cells show costs
    `delta`; by the second, a list is k-anonymous but for that probability.
    """
    most = min(1.0, length)
    margin = float(-ndtri(delta / CELLS_MAX)) * multiplier * length
    return max(1, people_min - 1) * most + margin


def release(
    votes: Votes,
    *,
    length: float,
    multiplier: float,
    delta: float,
    people_min: int,
    noise: Noise,
) -> Sums:
    """The sums with noise, in `UNIT`s, of the cells that pass the threshold.

    Args:
        votes: what each member gives.
        length: that all votes of a member are held to.
        multiplier: standard deviation of the noise over `length`.
        delta: probability that a cell shows which only one member voted for.
        people_min: fewest people behind a cell that shows.
        noise: where it comes from.
    """
    exact = sums(bounded(votes, length))
    noisy = exact.total + noise.gaussian(len(exact.cell), multiplier * length * UNIT)
    shows = noisy >= threshold(length, multiplier, delta, people_min) * UNIT
    return Sums(exact.cell[shows], noisy[shows])
