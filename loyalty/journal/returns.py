"""Returns: find the purchase, see what of it is left, and take its points back at its own rate."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.access.model import speak_for
from loyalty.journal.codec import lines_of
from loyalty.journal.model import (
    PurchaseNotFoundError,
    ReturnExceedsPurchaseError,
    key_of,
)
from loyalty.journal.service import (
    Draft,
    Recorded,
    Stores,
    append,
    occurred,
    replay,
    ruling,
)
from loyalty.journal.store import RETURNS_MAX
from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.members.service import fingerprint
from loyalty.program.model import Activity, Undone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.journal.model import Entry
    from loyalty.program.model import Line


class Returned(NamedTuple):
    """What of one line of the purchase comes back: units, and their part of the line's amount."""

    position: int
    sku: str
    quantity: int
    amount: int


def record_return(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Take back the points of returned goods, at the rate of the purchase itself.

    Raises:
        PurchaseNotFoundError: the journal has no such purchase.
        ReturnExceedsPurchaseError: more comes back than is left of it.
        UnknownChannelError, InFutureError, BoundKeyError, KeyReusedError,
        MemberBusyError: as they say.
    """
    store = speak_for(caller, body["channel"], body.get("store"))
    key = key_of("return", body["channel"], store, body["external_id"])
    mark = fingerprint({**body, "store": store})
    try:
        occurred_at = occurred(body, at)
        ruling(body["channel"], occurred_at, stores)
        purchase = _purchase(body, store, stores)
    except (ConflictError, NotFoundError):
        if seen := stores.journal.by_key(key):
            return replay(seen, mark)
        raise
    draft = Draft(
        member_id=purchase.member_id,
        key=key,
        fingerprint=mark,
        source=caller.id,
        received_at=at,
        activity=Activity("return", occurred_at, body["channel"], store),
        document={"purchase_key": purchase.key, "external_id": body["external_id"]},
        program=stores.programs.at(purchase.occurred_at),
    )

    def complete(each: Draft) -> Draft:
        earlier = stores.journal.returns_of(purchase.member_id, purchase.key)
        if len(earlier) >= RETURNS_MAX:
            raise ReturnExceedsPurchaseError(f"It came back in {RETURNS_MAX} pieces already.")
        return _completed(each, purchase, earlier, body.get("lines"))

    return append(draft, stores, complete=complete)


def _purchase(body: Mapping[str, Any], store: str | None, stores: Stores) -> Entry:
    """The purchase that is named; without a channel it was made where the return is."""
    named = body["purchase"]
    channel = named.get("channel", body["channel"])
    bought_at = named.get("store", store if "channel" not in named else None)
    key = key_of("purchase", channel, bought_at, named["external_id"])
    purchase = stores.journal.by_key(key)
    if purchase is None:
        raise PurchaseNotFoundError
    return purchase


def _completed(
    draft: Draft,
    purchase: Entry,
    earlier: Sequence[Entry],
    wanted: Sequence[Mapping[str, Any]] | None,
) -> Draft:
    """The draft with what comes back, given the returns so far."""
    lines = lines_of(purchase.activity)
    before = _returned_before(earlier, len(lines))
    now = _allot(lines, before, wanted)
    weights = tuple(line.amount for line in lines)
    by_amount = any(weights)
    undone = Undone(
        purchase_key=purchase.key,
        postings=purchase.postings,
        weights=weights if by_amount else tuple(line.quantity for line in lines),
        returned_before=_weights(before, len(lines), by_amount=by_amount),
        returned_now=_weights(now, len(lines), by_amount=by_amount),
        clawback_due_before=sum(_due(entry) for entry in earlier),
    )
    document = {**draft.document, "returned": [each._asdict() for each in now]}
    return replace(draft, activity=replace(draft.activity, undone=undone), document=document)


def _due(entry: Entry) -> int:
    return sum(each.inputs.get("due", 0) for each in entry.postings if each.kind == "clawback")


def _returned_before(earlier: Sequence[Entry], count: int) -> list[Returned]:
    """What came back of each line so far."""
    sums = [Returned(position, "", 0, 0) for position in range(count)]
    for entry in earlier:
        for each in entry.activity["returned"]:
            held = sums[each["position"]]
            sums[each["position"]] = held._replace(
                quantity=held.quantity + each["quantity"], amount=held.amount + each["amount"]
            )
    return sums


def _weights(returned: Sequence[Returned], count: int, *, by_amount: bool) -> tuple[int, ...]:
    weights = [0] * count
    for each in returned:
        weights[each.position] += each.amount if by_amount else each.quantity
    return tuple(weights)


def _allot(
    lines: Sequence[Line], before: Sequence[Returned], wanted: Sequence[Mapping[str, Any]] | None
) -> list[Returned]:
    """Which units of which lines come back; all that are left if nothing is named.

    Raises:
        ReturnExceedsPurchaseError: more than is left, or nothing is left at all.
    """
    left = [line.quantity - before[position].quantity for position, line in enumerate(lines)]
    if wanted is None:
        wanted = [
            {"sku": line.sku, "quantity": units}
            for line, units in zip(lines, left, strict=True)
            if units
        ]
    taken = [0] * len(lines)
    for number, each in enumerate(wanted):
        missing = _take(each["sku"], each["quantity"], lines, left, taken)
        if missing:
            mistake = FieldError(f"lines.{number}.quantity", f"{missing} more than is left.")
            raise ReturnExceedsPurchaseError(mistake.message, errors=(mistake,))
    if not any(taken):
        raise ReturnExceedsPurchaseError("Nothing is left of this purchase.")
    return [
        _returned(position, lines[position], before[position], units)
        for position, units in enumerate(taken)
        if units
    ]


def _take(sku: str, quantity: int, lines: Sequence[Line], left: list[int], taken: list[int]) -> int:
    """Take units of a sku from the lines that have some left; how many are missing."""
    for position, line in enumerate(lines):
        if line.sku == sku and quantity:
            units = min(quantity, left[position])
            left[position] -= units
            taken[position] += units
            quantity -= units
    return quantity


def _returned(position: int, line: Line, before: Returned, units: int) -> Returned:
    # Cumulative, so that returning unit by unit gives back the whole amount to the cent.
    amount = line.amount * (before.quantity + units) // line.quantity - before.amount
    return Returned(position, line.sku, units, amount)
