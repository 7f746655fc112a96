"""What a return or an undoing needs to know of earlier facts, kept while facts are folded.

Pure: whoever folds records each fact here, and asks for what a later one undoes. The journal fills
a book with the few entries that one return is about; a fold of a stretch of a journal fills it with
all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.program.clawback import AWARDS
from loyalty.program.lots import Lot
from loyalty.program.model import Activity, Award, Back, Posting, Undone
from loyalty.program.money import share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loyalty.program.lots import Lots
    from loyalty.program.model import Line


class ExcessError(Exception):
    """More comes back than is left.

    Args:
        number: which of the return's lines, or None for the return as a whole.
        missing: how many units too many; 0 if nothing is left at all.
    """

    def __init__(self, number: int | None, missing: int = 0) -> None:
        super().__init__(number, missing)
        self.number = number
        self.missing = missing


class Returned(NamedTuple):
    """What of one line of the purchase comes back: units, and their part of the line's amount."""

    position: int
    sku: str
    quantity: int
    amount: int


@dataclass(slots=True)
class _Sale:
    """A fact that earned something, and what has become of it."""

    activity: Activity
    postings: tuple[Posting, ...]
    weights: tuple[int, ...]
    units_back: list[int]
    weight_back: list[int]
    due: dict[str, int] = field(default_factory=dict)
    fallen: set[str] = field(default_factory=set)

    @property
    def is_undone(self) -> bool:
        return bool(self.weights) and tuple(self.weight_back) == self.weights


class Book:
    """Facts that something can still be taken back of."""

    def __init__(self) -> None:
        self._sales: dict[str, _Sale] = {}
        self._standing_on: dict[str, list[str]] = {}
        self._captured: dict[str, tuple[str, Lots]] = {}

    def record(self, activity: Activity, postings: tuple[Posting, ...]) -> None:
        """Note a fact and what it moved. Facts come in the order of their time."""
        if activity.kind in ("purchase", "engagement"):
            self._record_sale(activity, postings)
        elif activity.back:
            self._record_return(activity, postings)
        elif activity.kind == "capture":
            self._captured[activity.hold] = _captured(postings)

    def complete(self, activity: Activity, *, strict: bool = False) -> Activity:
        """The activity with what it undoes.

        Args:
            activity: any; only a return and an undoing need something.
            strict: refuse what is more than is left, instead of taking what is there.

        Raises:
            ExcessError: more comes back than is left.
        """
        if activity.back:
            return replace(activity, undone=self._undone(activity.back, strict=strict))
        if activity.kind == "restore" and activity.hold in self._captured:
            unit, lots = self._captured[activity.hold]
            return replace(activity, unit=unit, lots=lots)
        return activity

    def returned(self, back: Back, *, strict: bool = False) -> list[Returned]:
        """Which units of which lines come back, and what they cost.

        Raises:
            ExcessError: more comes back than is left, or nothing is left at all.
        """
        sale = self._sales.get(back.purchase_key)
        if sale is None:
            return []
        if back.amount is not None:
            found = _by_amount(sale, back.amount, strict=strict)
        else:
            found = _by_units(sale, back.lines, strict=strict)
        if strict and not found:
            raise ExcessError(None)
        return found

    def _record_sale(self, activity: Activity, postings: tuple[Posting, ...]) -> None:
        lines = activity.lines
        weights = _weights(lines)
        empty = [0] * len(lines)
        self._sales[activity.key] = _Sale(activity, postings, weights, empty, list(empty))
        for leg in {leg for posting in postings for leg in posting.legs}:
            self._standing_on.setdefault(leg, []).append(activity.key)

    def _record_return(self, activity: Activity, postings: tuple[Posting, ...]) -> None:
        back = activity.back
        sale = self._sales.get(back.purchase_key) if back else None
        if back and sale:
            for each in self.returned(back):
                sale.units_back[each.position] += each.quantity
                weight = each.amount if _is_by_amount(sale) else each.quantity
                sale.weight_back[each.position] += weight
        for posting in postings:
            if posting.kind != "clawback":
                continue
            other = self._sales.get(posting.inputs["purchase"])
            if other:
                unit = posting.unit
                other.due[unit] = other.due.get(unit, 0) + posting.inputs["due"]
                other.fallen.update(posting.inputs.get("fallen", ()))

    def _undone(self, back: Back, *, strict: bool) -> Undone | None:
        sale = self._sales.get(back.purchase_key)
        if sale is None:
            return None
        found = self.returned(back, strict=strict)
        award = _award(sale, found)
        # Free units, or goods whose money was back already, may still come after all is undone.
        is_last = award.is_undone and not sale.is_undone
        others = tuple(self._falling(back.purchase_key)) if is_last else ()
        return Undone(award, sum(each.amount for each in found), others, is_last=is_last)

    def _falling(self, key: str) -> list[Award]:
        """The awards of other facts of which a bonus falls when this one is wholly undone."""
        found = []
        for other in self._standing_on.get(key, ()):
            sale = self._sales[other]
            fallen = {
                posting.rule
                for posting in sale.postings
                if key in posting.legs and self._falls(posting.inputs, key)
            }
            if fallen - sale.fallen and not sale.is_undone:
                found.append(replace(_award(sale, []), fallen=frozenset(sale.fallen | fallen)))
        return found

    def _falls(self, inputs: Mapping[str, Any], key: str) -> bool:
        """Whether too few channels are left on which a bonus stands."""
        standing = [
            leg for leg in inputs["legs"] if any(each != key and self._stands(each) for each in leg)
        ]
        needed: int = inputs["legs_min"]
        return len(standing) < needed

    def _stands(self, key: str) -> bool:
        sale = self._sales.get(key)
        return sale is None or not sale.is_undone


def _captured(postings: Sequence[Posting]) -> tuple[str, Lots]:
    """The unit and the lots that a redemption took for good."""
    for posting in postings:
        if posting.kind == "capture":
            return posting.unit, tuple(Lot(*each) for each in posting.inputs["lots"])
    return "", ()


def _weights(lines: Sequence[Line]) -> tuple[int, ...]:
    """What part of a purchase each line is: its amount, or its units if all were free."""
    amounts = tuple(line.amount for line in lines)
    return amounts if any(amounts) else tuple(line.quantity for line in lines)


def _is_by_amount(sale: _Sale) -> bool:
    return any(line.amount for line in sale.activity.lines)


def _award(sale: _Sale, found: Sequence[Returned]) -> Award:
    """What the fact earned, with what has come back when `found` is back too."""
    returned = list(sale.weight_back)
    is_by_amount = _is_by_amount(sale)
    for each in found:
        returned[each.position] += each.amount if is_by_amount else each.quantity
    amounts = sum(line.amount for line in sale.activity.lines)
    return Award(
        key=sale.activity.key,
        channel=sale.activity.channel,
        occurred_at=sale.activity.occurred_at,
        postings=tuple(each for each in sale.postings if each.kind in AWARDS),
        weights=sale.weights,
        returned=tuple(returned),
        due_before=dict(sale.due),
        fallen=frozenset(sale.fallen),
        amount_left=amounts - sum(returned) if is_by_amount else 0,
    )


def _by_units(
    sale: _Sale, wanted: Sequence[tuple[str, int]] | None, *, strict: bool
) -> list[Returned]:
    """Which units of which lines come back; all that are left if nothing is named."""
    lines = sale.activity.lines
    left = [line.quantity - sale.units_back[position] for position, line in enumerate(lines)]
    if wanted is None:
        return [
            Returned(position, line.sku, units, _amount_left(sale, position))
            for position, (line, units) in enumerate(zip(lines, left, strict=True))
            if units
        ]
    taken = [0] * len(lines)
    for number, (sku, quantity) in enumerate(wanted):
        missing = _take(sku, quantity, lines, left, taken)
        if missing and strict:
            raise ExcessError(number, missing)
    return [_units(sale, position, units) for position, units in enumerate(taken) if units]


def _take(sku: str, quantity: int, lines: Sequence[Line], left: list[int], taken: list[int]) -> int:
    """Take units of a sku from the lines that have some left; how many are missing."""
    for position, line in enumerate(lines):
        if line.sku == sku and quantity:
            units = min(quantity, left[position])
            left[position] -= units
            taken[position] += units
            quantity -= units
    return quantity


def _units(sale: _Sale, position: int, units: int) -> Returned:
    line = sale.activity.lines[position]
    before = sale.units_back[position]
    # Cumulative, so that returning unit by unit gives back the whole amount to the cent.
    amount = line.amount * (before + units) // line.quantity - line.amount * before // line.quantity
    left = _amount_left(sale, position)
    is_last = before + units == line.quantity
    return Returned(position, line.sku, units, left if is_last else min(amount, left))


def _amount_left(sale: _Sale, position: int) -> int:
    if not _is_by_amount(sale):
        return 0
    return sale.activity.lines[position].amount - sale.weight_back[position]


def _by_amount(sale: _Sale, amount: int, *, strict: bool) -> list[Returned]:
    """An amount comes back without goods: it falls on what is left of each line in proportion."""
    if not _is_by_amount(sale):
        return []
    left = [weight - back for weight, back in zip(sale.weights, sale.weight_back, strict=True)]
    total = sum(left)
    if strict and amount > total:
        raise ExcessError(None, amount - total)
    amount = min(amount, total)
    upto = [share(each, of=amount, total=total) for each in accumulate(left, initial=0)]
    return [
        Returned(position, sale.activity.lines[position].sku, 0, after - before)
        for position, (before, after) in enumerate(pairwise(upto))
        if after > before
    ]
