"""Puts candidates in the order that the shop's rules want. Pure and deterministic.

Whatever the rules say: nothing forbidden or hidden is shown, nothing twice, never more than was
asked for, and never more of a kind than an `at_most` allows. A pinned product keeps to that too.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heapreplace
from typing import TYPE_CHECKING, NamedTuple

from recommend.merchandising.model import (
    AtMost,
    Diversity,
    Factor,
    Hide,
    Pin,
    in_force,
    key_by,
)
from recommend.model import Pick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import TypeAlias

    from loyalty.catalogue.model import Product
    from recommend.merchandising.model import Rule, Where

    Products: TypeAlias = Mapping[str, Product]


class Arranged(NamedTuple):
    """A product to show, and the rules that touched it: `boost: own-brand`, `pin: summer`."""

    pick: Pick
    rules: tuple[str, ...] = ()
    is_pinned: bool = False


class _Candidate(NamedTuple):
    sku: str
    score: float
    arranged: Arranged


def pinned_skus(rules: Sequence[Rule], where: Where) -> list[str]:
    """The skus that the rules in force pin by name: whoever arranges has to know these products."""
    pins = (each for each in in_force(rules, where) if isinstance(each, Pin))
    return list(dict.fromkeys(sku for pin in pins for sku in pin.match.skus))


def arrange(
    candidates: Sequence[Pick],
    rules: Sequence[Rule],
    products: Products,
    where: Where,
    limit: int,
    *,
    forbidden: Callable[[str], bool],
) -> list[Arranged]:
    """The best `limit` of the candidates as the rules want them, best first.

    The cost is bounded by the candidates times the limit. Without a rule in force, they come by
    their score, equals in the order they came in.

    Args:
        candidates: best first.
        rules: of a set; those that do not hold there and then are passed over.
        products: the candidates' and those of `pinned_skus`, as far as the catalogue has them.
        where: when and where it is shown.
        limit: how many at most.
        forbidden: says True of a sku that must not be shown.
    """
    active = in_force(rules, where)
    hides = [each for each in active if isinstance(each, Hide)]

    def is_shown(sku: str) -> bool:
        product = products.get(sku)
        return not forbidden(sku) and not any(each.match.covers(sku, product) for each in hides)

    factors = [each for each in active if isinstance(each, Factor)]
    best = _weighed((each for each in candidates if is_shown(each.sku)), factors, products)
    table = _Table(active, products)
    queue = _Queue(best, table)
    pins = _Pins(active, best, products, limit, is_shown)
    shown: list[Arranged] = []
    for position in range(1, limit + 1):
        chosen = pins.take(position, table) or queue.take()
        if chosen is not None:
            table.add(chosen.sku)
            shown.append(chosen.arranged)
    return shown


def _weighed(
    picks: Iterable[Pick], factors: Sequence[Factor], products: Products
) -> list[_Candidate]:
    """Each sku once, by its score times the factors; equals in the order they came in."""
    found: dict[str, _Candidate] = {}
    for pick in picks:
        if pick.sku in found:
            continue
        touched = [each for each in factors if each.match.covers(pick.sku, products.get(pick.sku))]
        score = max(pick.score, 0.0)
        for each in touched:
            score *= each.factor
        arranged = Arranged(pick, tuple(each.label for each in touched))
        found[pick.sku] = _Candidate(pick.sku, score, arranged)
    return sorted(found.values(), key=lambda each: -each.score)


class _Table:
    """What is on the table already, counted as the rules count."""

    def __init__(self, active: Sequence[Rule], products: Products) -> None:
        self._products = products
        self._caps = [each for each in active if isinstance(each, AtMost)]
        self._mixes = [each for each in active if isinstance(each, Diversity)]
        self._capped: Counter[tuple[int, str]] = Counter()
        self._mixed: Counter[tuple[int, str]] = Counter()
        self._skus: set[str] = set()

    def add(self, sku: str) -> None:
        self._skus.add(sku)
        self._capped.update(self._cap_keys(sku))
        self._mixed.update(self._mix_keys(sku))

    def fits(self, sku: str) -> bool:
        """Whether it is not there yet and no cap is reached. Once False, it stays False."""
        return sku not in self._skus and all(
            self._capped[n, key] < self._caps[n].n for n, key in self._cap_keys(sku)
        )

    def discount(self, sku: str) -> float:
        """How many times the score of one more like it counts."""
        value = 1.0
        for n, key in self._mix_keys(sku):
            value *= (1.0 - self._mixes[n].strength) ** self._mixed[n, key]
        return value

    def _mix_keys(self, sku: str) -> Iterator[tuple[int, str]]:
        product = self._products.get(sku)
        for n, each in enumerate(self._mixes):
            key = key_by(each.by, each.depth, product)
            if key is not None:
                yield n, key

    def _cap_keys(self, sku: str) -> Iterator[tuple[int, str]]:
        product = self._products.get(sku)
        for n, each in enumerate(self._caps):
            key = each.key(sku, product)
            if key is not None:
                yield n, key


class _Queue:
    """Candidates by what they are worth beside what is on the table.

    That only ever falls, so what is at the top and still worth what it was put there for is best:
    most candidates are never looked at again.
    """

    def __init__(self, best: Sequence[_Candidate], table: _Table) -> None:
        self._table = table
        # Sorted, so a heap already. Equals stay in the order they came in.
        self._heap = [(-each.score, order, each) for order, each in enumerate(best)]

    def take(self) -> _Candidate | None:
        """The best that fits; None when there is no more."""
        heap, table = self._heap, self._table
        while heap:
            stored, order, each = heap[0]
            worth = -each.score * table.discount(each.sku)
            if not table.fits(each.sku):
                heappop(heap)
            elif worth > stored:
                heapreplace(heap, (worth, order, each))
            else:
                heappop(heap)
                return each
        return None


class _Pins:
    """Which rule has which position, and what it may put there."""

    def __init__(
        self,
        active: Sequence[Rule],
        best: Sequence[_Candidate],
        products: Products,
        limit: int,
        is_shown: Callable[[str], bool],
    ) -> None:
        self._pins = [each for each in active if isinstance(each, Pin)]
        self._by_position = _positions(self._pins, limit)
        self._wanted = [
            list(_wanted(pin, best, products, is_shown)) if n in self._by_position.values() else []
            for n, pin in enumerate(self._pins)
        ]

    def take(self, position: int, table: _Table) -> _Candidate | None:
        """What the rule of that position puts there; None if no rule has it, or nothing fits."""
        n = self._by_position.get(position)
        for each in () if n is None else self._wanted[n]:
            if n is not None and table.fits(each.sku):
                pick, rules, _ = each.arranged
                arranged = Arranged(pick, (*rules, self._pins[n].label), is_pinned=True)
                return each._replace(arranged=arranged)
        return None


def _positions(pins: Sequence[Pin], limit: int) -> dict[int, int]:
    """Position -> number of the rule; an earlier rule wins, a share moves to the next free one."""
    taken: dict[int, int] = {}
    for n, pin in enumerate(pins):
        for position in pin.positions:
            taken.setdefault(position, n)
    for n, pin in enumerate(pins):
        for nth in range(int(limit * pin.share + 1e-9)):
            # In the middle of each stretch of the list, so that the share holds down to its end.
            position = 1 + int((nth + 0.5) / pin.share)
            while position in taken:
                position += 1
            taken[position] = n
    return {position: n for position, n in taken.items() if position <= limit}


def _wanted(
    pin: Pin, best: Sequence[_Candidate], products: Products, is_shown: Callable[[str], bool]
) -> Iterator[_Candidate]:
    """The pinned skus that the catalogue has, in the rule's order, then what else it matches."""
    known = {each.sku: each for each in best}
    for sku in pin.match.skus:
        if sku in products and is_shown(sku):
            yield known.get(sku) or _Candidate(sku, 0.0, Arranged(Pick(sku, 0.0, "shared")))
    yield from (each for each in best if pin.match.covers(each.sku, products.get(each.sku)))
