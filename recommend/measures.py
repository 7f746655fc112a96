"""What a set of ranked lists is worth: figures member by member, and how sure they are.

Pure, and in whole arrays: it never learns, ranks or reads. Items are numbers (codes) here; a list
is a row of `k` codes, best first, -1 where it ends early. It leaves to others: who is asked and
what the right answers are (`recommend.appraise`), and the lists themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from recommend.dataset import Floats, Ints, Offsets

METRICS = ("recall", "ndcg", "hit_rate", "precision", "mrr")
"""Columns of `per_member`."""
BOOTSTRAP_ROUNDS = 1_000
INTERVAL_PERCENT = (2.5, 97.5)
NOWHERE = -1
"""In a list: no item stands here."""
CODES_MAX = 1 << 31

Bools = npt.NDArray[np.bool_]


class Ragged(NamedTuple):
    """A set of item codes for each of m members.

    Attributes:
        ptr: (m + 1,) member n has the codes `values[ptr[n]:ptr[n + 1]]`.
        values: codes, each once a member.
    """

    ptr: Offsets
    values: Ints

    @property
    def sizes(self) -> Offsets:
        """(m,) number of codes of each member."""
        return np.diff(self.ptr)

    def keys(self) -> Offsets:
        """One number for each (member, code), sorted."""
        rows = np.repeat(np.arange(len(self.ptr) - 1), self.sizes)
        return np.sort(rows * CODES_MAX + self.values)

    def only(self, wanted: Bools) -> Ragged:
        """The codes for which `wanted[code]` is True, for the same members."""
        kept = wanted[self.values]
        return Ragged(np.concatenate([[0], np.cumsum(kept)])[self.ptr], self.values[kept])

    def where(self, wanted: Ragged, *, inside: bool) -> Ragged:
        """The codes that are (or are not) in another set of the same member."""
        rows = np.repeat(np.arange(len(self.ptr) - 1), self.sizes)
        kept = np.isin(rows * CODES_MAX + self.values, wanted.keys(), invert=not inside)
        return Ragged(np.concatenate([[0], np.cumsum(kept)])[self.ptr], self.values[kept])

    def of(self, members: Bools) -> Ragged:
        """The sets of these members alone."""
        kept = np.repeat(members, self.sizes)
        ptr = np.concatenate([[0], np.cumsum(self.sizes[members])]).astype(np.int64)
        return Ragged(ptr, self.values[kept])


def ragged(rows: Offsets, codes: Ints, members: int) -> Ragged:
    """Group (member, code) pairs by member; a pair that comes twice counts once."""
    keys = np.unique(rows.astype(np.int64) * CODES_MAX + codes)
    counts = np.bincount(keys // CODES_MAX, minlength=members)
    ptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Ragged(ptr, (keys % CODES_MAX).astype(np.int32))


def among(lists: Ints, sets: Ragged) -> Bools:
    """(m, k) True where the item in this place of a list is in that member's set."""
    keys = sets.keys()
    if not len(keys):
        return np.zeros(lists.shape, dtype=np.bool_)
    wanted = np.arange(len(lists))[:, None] * CODES_MAX + lists
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.asarray((keys[at] == wanted) & (lists != NOWHERE))


def per_member(lists: Ints, truths: Ragged) -> Floats:
    """(m, 5) the `METRICS` of each member, each 0 to 1; all 0 for a member without a right answer.

    - recall: hits over the number of right answers.
    - ndcg: a hit at place p (from 1) gains 1 / log2(p + 1); over the gain of the best possible
      order (Jarvelin and Kekalainen 2002, with gains 0 and 1).
    - hit_rate: 1 with at least one hit.
    - precision: hits over k, also where a list ends early.
    - mrr: 1 / place of the first hit.
    """
    hits = among(lists, truths)
    k = lists.shape[1]
    sizes = np.maximum(truths.sizes, 1)
    gains = 1 / np.log2(np.arange(k) + 2)
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(sizes, k)]
    found = hits.sum(axis=1)
    first = np.where(found > 0, 1 / (np.argmax(hits, axis=1) + 1), 0.0)
    columns = (found / sizes, hits @ gains / best, found > 0, found / k, first)
    return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)


def recall_by_length(lists: Ints, truths: Ragged) -> Floats:
    """(k,) mean recall of the first place alone, of the first two, ... of all."""
    if not len(lists):
        return np.zeros(lists.shape[1])
    found = np.cumsum(among(lists, truths), axis=1)
    return np.asarray((found / np.maximum(truths.sizes, 1)[:, None]).mean(axis=0))


def coverage(lists: Ints, catalogue: int) -> float:
    """Different items in all lists over the number of items that there are."""
    shown = np.unique(lists[lists != NOWHERE])
    return len(shown) / catalogue if catalogue else 0.0


def novelty(lists: Ints, people: Ints, members: int) -> float:
    """Mean self-information of what is shown, in bits: -log2 of the share of members who have it.

    0 means "everybody has it", 10 "one in a thousand does" (Zhou et al. 2010,
    doi:10.1073/pnas.1000488107). An item that nobody has counts as if one member did.

    Args:
        lists: (m, k) codes.
        people: (n,) members who have each item.
        members: of the history.
    """
    shown = lists[lists != NOWHERE]
    if not len(shown) or not members:
        return 0.0
    return float(np.mean(np.log2(members / np.maximum(people[shown], 1))))


def new_share(lists: Ints, histories: Ragged) -> float:
    """Share of what is shown that the member does not have yet."""
    shown = lists != NOWHERE
    return float(1 - among(lists, histories)[shown].mean()) if shown.any() else 0.0


def intervals(columns: Floats, seed: int, rounds: int = BOOTSTRAP_ROUNDS) -> Floats:
    """(c, 2) bounds of the 95% interval of the mean of each of (m, c) columns.

    Percentile bootstrap over members (Efron 1979): members are drawn anew with replacement, the
    same for all columns, so a column of differences gives a paired interval.
    """
    members = len(columns)
    if not members:
        return np.zeros((columns.shape[1], 2))
    chance = np.random.default_rng(seed)
    means = np.empty((rounds, columns.shape[1]))
    for turn in range(rounds):
        drawn = np.bincount(chance.integers(members, size=members), minlength=members)
        means[turn] = drawn @ columns / members
    return np.asarray(np.percentile(means, INTERVAL_PERCENT, axis=0).T)
