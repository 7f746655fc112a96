"""Turns a stream of baskets into integer arrays that a model can be trained on.

Pure: no clock, no file, no database. It is for counting who bought what, when and where, without
holding on to anybody's identity: a member is a row number here, and the name is dropped when the
stream ends. It leaves to others: reading activities from the journal and what makes a basket or a
place of them, asking for consent (a basket that consent does not allow must never be in the
stream), and all learning (`recommend.model`).
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recommend.taste import Signal

HOLD_OUT_BASKETS_MIN = 3
"""Fewer baskets than this and a member is history only (the next-basket task of the literature)."""
HOLD_OUT_ITEMS_MIN = 3
"""Fewer items than this and a member is history only, where items are held out."""

Ints = npt.NDArray[np.int32]
Offsets = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class Basket:
    """What one member bought at one time.

    Attributes:
        member: any name of the member; used to tell members apart, then forgotten.
        at: POSIX seconds.
        place: names of the places the basket counts for, e.g. `("channel:web", "store:S1")`.
        items: SKUs; an item named twice counts once.
    """

    member: str
    at: float
    place: tuple[str, ...]
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """Held-out items: the right answer to "what does this member buy next?".

    Attributes:
        member: row of the member in the dataset it was held out from, and in the history left.
        at: POSIX seconds of the basket held out, or of the newest one where items were.
        place: names of the places it counts for, sorted.
        items: SKUs, at least one.
    """

    member: int
    at: float
    place: tuple[str, ...]
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Baskets as arrays, grouped by member and ordered by time within a member.

    With b baskets, i items, l lines (an item in a basket), p basket-place pairs and s signals:

    Attributes:
        items: (i,) SKUs in UTF-8, sorted bytewise, each once.
        places: names of places, sorted; a place id is a position in it.
        n_members: number of members; rows are 0 to n_members - 1, in order of first appearance.
        basket_member: (b,) row of the member, never falling.
        basket_at: (b,) POSIX seconds.
        basket_ptr: (b + 1,) basket n has the lines `basket_ptr[n]:basket_ptr[n + 1]`.
        basket_items: (l,) positions in `items`.
        place_ptr: (b + 1,) basket n has the places `place_ptr[n]:place_ptr[n + 1]`.
        basket_places: (p,) positions in `places`.
        signal_member: (s,) row of the member; weak feedback is in no order.
        signal_item: (s,) position in `items`.
        signal_at: (s,) POSIX seconds.
        signal_strength: (s,) a purchase being 1; below 0 speaks against the item.
    """

    items: Names
    places: tuple[str, ...]
    n_members: int
    basket_member: Ints
    basket_at: Floats
    basket_ptr: Offsets
    basket_items: Ints
    place_ptr: Offsets
    basket_places: Ints
    signal_member: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    signal_item: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    signal_at: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float64))
    signal_strength: Floats = field(default_factory=lambda: np.zeros(0, dtype=np.float64))

    @property
    def n_baskets(self) -> int:
        """Number of baskets."""
        return len(self.basket_at)

    def line_basket(self) -> Offsets:
        """(l,) number of the basket that each line belongs to."""
        return np.repeat(np.arange(self.n_baskets), np.diff(self.basket_ptr))

    def baskets_of(self, member: int) -> list[tuple[float, tuple[str, ...]]]:
        """(time, SKUs) of each basket of the member in this row, newest last."""
        first, last = np.searchsorted(self.basket_member, [member, member + 1])
        return [(float(self.basket_at[n]), self.skus(n)) for n in range(first, last)]

    def skus(self, basket: int) -> tuple[str, ...]:
        """SKUs of one basket."""
        lines = self.basket_items[self.basket_ptr[basket] : self.basket_ptr[basket + 1]]
        return tuple(name.decode() for name in self.items[lines].tolist())

    def places_of(self, basket: int) -> tuple[str, ...]:
        """Names of the places of one basket, sorted."""
        ids = self.basket_places[self.place_ptr[basket] : self.place_ptr[basket + 1]]
        return tuple(sorted(self.places[place] for place in ids))

    def at_place(self, place: int) -> npt.NDArray[np.bool_]:
        """(b,) True where the basket counts for the place with this id."""
        pair_basket = np.repeat(np.arange(self.n_baskets), np.diff(self.place_ptr))
        chosen = np.zeros(self.n_baskets, dtype=np.bool_)
        chosen[pair_basket[self.basket_places == place]] = True
        return chosen


def build(baskets: Iterable[Basket], signals: Iterable[tuple[str, Signal]] = ()) -> Dataset:
    """Read a stream of baskets once, in any order, then one of (member, weak feedback).

    Memory is some 4 bytes a line and 40 a basket, and while the stream lasts one table of member
    names; no `Basket` is kept. Baskets without items are left out. Of two baskets of a member at
    the same second the one that came first counts as the older.

    Raises:
        ValueError: an item is empty or contains NUL (a bytes array could not tell it from another),
            or cannot be written in UTF-8; or a time is not a finite number.
    """
    stream = _Stream()
    for basket in baskets:
        if basket.items:
            stream.add(basket)
    for member, signal in signals:
        stream.hear(member, signal)
    return stream.dataset()


def matrix(dataset: Dataset) -> sparse.csr_matrix:
    """Count baskets: scipy csr (n_members, n_items) float32, entry = baskets with that item.

    Weak feedback adds its strength, all that of a member on an item at most 1 either way; an entry
    that comes to 0 or less is left out.
    """
    rows = dataset.basket_member[dataset.line_basket()]
    shape = (dataset.n_members, len(dataset.items))
    ones = np.ones(len(rows), dtype=np.float32)
    counts = sparse.csr_matrix((ones, (rows, dataset.basket_items)), shape=shape)
    if not len(dataset.signal_at):
        return counts
    where = (dataset.signal_member, dataset.signal_item)
    heard = sparse.csr_matrix((dataset.signal_strength, where), shape=shape, dtype=np.float32)
    np.clip(heard.data, -1.0, 1.0, out=heard.data)
    counts = sparse.csr_matrix(counts + heard)
    np.maximum(counts.data, 0.0, out=counts.data)
    counts.eliminate_zeros()
    return counts


def hold_out(dataset: Dataset) -> tuple[Dataset, list[Truth]]:
    """Take away the last basket of every member with at least three (`HOLD_OUT_BASKETS_MIN`).

    Returns:
        What is left, with the same rows, items and places; and one truth a member, by row.
    """
    counts = np.bincount(dataset.basket_member, minlength=dataset.n_members)
    last = np.cumsum(counts)[counts >= HOLD_OUT_BASKETS_MIN] - 1
    truths = [_truth(dataset, basket) for basket in last.tolist()]
    kept = np.delete(np.arange(dataset.n_baskets), last)
    return _heard_before(_select(dataset, kept), truths), truths


def hold_out_random(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, list[Truth]]:
    """Take away a random share of the items of every member with at least three.

    For people of whom nothing but one basket is known, or no order. At least one item goes and at
    least two stay; an item that goes is gone from all the member's baskets. The same seed takes the
    same.

    Returns:
        What is left, with the same rows, items and places; and one truth a member, by row.
    """
    members = dataset.basket_member[dataset.line_basket()].astype(np.int64)
    keys, line_pair = np.unique(
        members * max(len(dataset.items), 1) + dataset.basket_items, return_inverse=True
    )
    owner = keys // max(len(dataset.items), 1)
    taken = _drawn(owner, dataset.n_members, share, seed)
    truths = [_drawn_truth(dataset, keys[pairs]) for pairs in _runs(owner, taken)]
    return _heard_before(_without(dataset, taken[line_pair]), truths), truths


def _drawn(owner: Offsets, n_members: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """(pairs,) True for a random share of each owner's pairs; `owner` never falls."""
    counts = np.bincount(owner, minlength=n_members)
    takes = np.where(counts >= HOLD_OUT_ITEMS_MIN, np.maximum(np.round(counts * share), 1), 0)
    takes = np.minimum(takes, np.maximum(counts - 2, 0))
    order = np.lexsort((np.random.default_rng(seed).random(len(owner)), owner))
    turn = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    taken = np.zeros(len(owner), dtype=np.bool_)
    taken[order] = turn < takes[owner]
    return taken


def _runs(owner: Offsets, taken: npt.NDArray[np.bool_]) -> list[Offsets]:
    """The taken pairs of each owner that has any."""
    pairs = np.flatnonzero(taken)
    return np.split(pairs, np.flatnonzero(np.diff(owner[pairs])) + 1) if len(pairs) else []


def _drawn_truth(dataset: Dataset, keys: Offsets) -> Truth:
    member = int(keys[0] // len(dataset.items))
    last = int(np.searchsorted(dataset.basket_member, member, side="right")) - 1
    names = dataset.items[keys % len(dataset.items)].tolist()
    return Truth(
        member=member,
        at=float(dataset.basket_at[last]),
        place=dataset.places_of(last),
        items=tuple(name.decode() for name in names),
    )


def _without(dataset: Dataset, gone: npt.NDArray[np.bool_]) -> Dataset:
    """Without some lines, and without the baskets that this empties."""
    line_basket = dataset.line_basket()[~gone]
    sizes = np.bincount(line_basket, minlength=dataset.n_baskets)
    ptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    left = replace(dataset, basket_ptr=ptr, basket_items=dataset.basket_items[~gone])
    return _select(left, np.flatnonzero(sizes))


def _heard_before(dataset: Dataset, truths: list[Truth]) -> Dataset:
    """Without the feedback of members from the time of what was held out of them."""
    if not len(dataset.signal_at):
        return dataset
    until = np.full(dataset.n_members, np.inf)
    until[[truth.member for truth in truths]] = [truth.at for truth in truths]
    kept = dataset.signal_at < until[dataset.signal_member]
    return replace(
        dataset,
        signal_member=dataset.signal_member[kept],
        signal_item=dataset.signal_item[kept],
        signal_at=dataset.signal_at[kept],
        signal_strength=dataset.signal_strength[kept],
    )


def of_members(dataset: Dataset, is_chosen: npt.NDArray[np.bool_]) -> Dataset:
    """The baskets of some members only; rows are numbered anew, items and places stay.

    Args:
        dataset: baskets of more members.
        is_chosen: (n_members,) whose to keep.
    """
    kept = np.flatnonzero(is_chosen[dataset.basket_member])
    row = np.cumsum(is_chosen, dtype=np.int32) - np.int32(1)
    chosen = _select(dataset, kept)
    return replace(chosen, n_members=int(is_chosen.sum()), basket_member=row[chosen.basket_member])


def subset(dataset: Dataset, baskets: Offsets) -> Dataset:
    """Only these baskets, by number and in rising order; rows, items and places stay the same."""
    return _select(dataset, baskets)


def _truth(dataset: Dataset, basket: int) -> Truth:
    return Truth(
        member=int(dataset.basket_member[basket]),
        at=float(dataset.basket_at[basket]),
        place=dataset.places_of(basket),
        items=dataset.skus(basket),
    )


def _select(dataset: Dataset, kept: Offsets) -> Dataset:
    basket_ptr, basket_items = _gather(dataset.basket_ptr, dataset.basket_items, kept)
    place_ptr, basket_places = _gather(dataset.place_ptr, dataset.basket_places, kept)
    return replace(
        dataset,
        basket_member=dataset.basket_member[kept],
        basket_at=dataset.basket_at[kept],
        basket_ptr=basket_ptr,
        basket_items=basket_items,
        place_ptr=place_ptr,
        basket_places=basket_places,
    )


def _gather(ptr: Offsets, values: Ints, order: Offsets) -> tuple[Offsets, Ints]:
    """Ragged `values[order]`: the runs that `ptr` bounds in another order, and their bounds."""
    lengths = np.diff(ptr)[order]
    moved = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    source = np.repeat(ptr[order] - moved[:-1], lengths) + np.arange(moved[-1])
    return moved, values[source]


@dataclass(slots=True)
class _Ragged:
    """Runs of names, held as numbers in order of first appearance."""

    codes: dict[str, int] = field(default_factory=dict)
    values: "array[int]" = field(default_factory=lambda: array("i"))
    ptr: "array[int]" = field(default_factory=lambda: array("q", [0]))

    def add(self, names: Iterable[str]) -> None:
        codes = self.codes
        self.values.extend(codes.setdefault(name, len(codes)) for name in dict.fromkeys(names))
        self.ptr.append(len(self.values))

    def in_order(self, rank: Ints) -> Ints:
        return rank[np.array(self.values, dtype=np.int32)]


@dataclass(slots=True)
class _Stream:
    """What `build` remembers while it reads."""

    members: dict[str, int] = field(default_factory=dict)
    member: "array[int]" = field(default_factory=lambda: array("i"))
    at: "array[float]" = field(default_factory=lambda: array("d"))
    items: _Ragged = field(default_factory=_Ragged)
    places: _Ragged = field(default_factory=_Ragged)
    signal_member: "array[int]" = field(default_factory=lambda: array("i"))
    signal_item: "array[int]" = field(default_factory=lambda: array("i"))
    signal_at: "array[float]" = field(default_factory=lambda: array("d"))
    signal_strength: "array[float]" = field(default_factory=lambda: array("d"))

    def hear(self, member: str, signal: Signal) -> None:
        codes = self.items.codes
        self.signal_member.append(self.members.setdefault(member, len(self.members)))
        self.signal_item.append(codes.setdefault(signal.sku, len(codes)))
        self.signal_at.append(signal.at)
        self.signal_strength.append(signal.strength)

    def add(self, basket: Basket) -> None:
        self.member.append(self.members.setdefault(basket.member, len(self.members)))
        self.at.append(basket.at)
        self.items.add(basket.items)
        self.places.add(basket.place)

    def dataset(self) -> Dataset:
        names = np.array(list(_encoded(self.items.codes)) or [], dtype=np.bytes_)
        items, item_rank = _sorted(names)
        places = sorted(self.places.codes)
        place_rank = _ranks(np.array([self.places.codes[name] for name in places], dtype=np.int64))
        return _select(
            Dataset(
                items=items,
                places=tuple(places),
                n_members=len(self.members),
                basket_member=np.array(self.member, dtype=np.int32),
                basket_at=_finite(np.array(self.at, dtype=np.float64)),
                basket_ptr=np.array(self.items.ptr, dtype=np.int64),
                basket_items=self.items.in_order(item_rank),
                place_ptr=np.array(self.places.ptr, dtype=np.int64),
                basket_places=self.places.in_order(place_rank),
                signal_member=np.array(self.signal_member, dtype=np.int32),
                signal_item=item_rank[np.array(self.signal_item, dtype=np.int32)],
                signal_at=_finite(np.array(self.signal_at, dtype=np.float64)),
                signal_strength=np.array(self.signal_strength, dtype=np.float64),
            ),
            np.lexsort([np.array(self.at), np.array(self.member)]),
        )


def _encoded(names: Iterable[str]) -> Iterator[bytes]:
    for name in names:
        if not name or "\0" in name:
            raise ValueError(f"an item's name must not be empty or contain NUL: {name!r}")
        yield name.encode()


def _sorted(names: Names) -> tuple[Names, Ints]:
    order = np.argsort(names, kind="stable")
    return names[order], _ranks(order)


def _ranks(order: Offsets) -> Ints:
    """Inverse of a permutation: where each old position went."""
    ranks = np.empty(len(order), dtype=np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    return ranks


def _finite(times: Floats) -> Floats:
    if not np.isfinite(times).all():
        raise ValueError("a time must be a finite number of POSIX seconds")
    return times
