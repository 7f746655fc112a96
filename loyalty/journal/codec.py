"""Entries as documents and back. The one place that knows how a fact is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from loyalty.journal.model import Entry
from loyalty.program import tiers
from loyalty.program.lots import ALWAYS, Lot
from loyalty.program.model import (
    POINTS,
    About,
    Activity,
    Back,
    Count,
    Glance,
    Held,
    Line,
    Payment,
    Posting,
    Progress,
    Seen,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loyalty.kit.mongo import Document
    from loyalty.program.lots import Lots


def entry_to_document(entry: Entry) -> Document:
    """The entry as MongoDB keeps it."""
    return {
        "_id": ObjectId(entry.id),
        "member": entry.member_id,
        "seq": entry.seq,
        "key": entry.key,
        "fingerprint": entry.fingerprint,
        "kind": entry.kind,
        "channel": entry.channel,
        "store": entry.store,
        "source": entry.source,
        "occurred_at": entry.occurred_at,
        "received_at": entry.received_at,
        "activity": entry.activity,
        "program_version": entry.program_version,
        "currency": entry.currency,
        "postings": [posting_to_document(each) for each in entry.postings],
        "balance_after": entry.balance_after,
        "state": state_to_document(entry.state),
    }


def entry_from_document(document: Document) -> Entry:
    """The entry that a document holds."""
    return Entry(
        id=str(document["_id"]),
        member_id=document["member"],
        seq=document["seq"],
        key=document["key"],
        fingerprint=document["fingerprint"],
        kind=document["kind"],
        channel=document["channel"],
        store=document["store"],
        source=document["source"],
        occurred_at=document["occurred_at"],
        received_at=document["received_at"],
        activity=document["activity"],
        program_version=document["program_version"],
        currency=document["currency"],
        postings=tuple(posting_from_document(each) for each in document["postings"]),
        balance_after=document["balance_after"],
        state=state_from_document(document["state"]),
    )


def posting_to_document(posting: Posting) -> Document:
    """The posting, without what is empty."""
    document: Document = {
        "rule": posting.rule,
        "kind": posting.kind,
        "points": posting.points,
        "inputs": posting.inputs,
    }
    if posting.lines:
        document["lines"] = list(posting.lines)
    if posting.unit != POINTS:
        document["unit"] = posting.unit
    if posting.legs:
        document["legs"] = list(posting.legs)
    return document


def posting_from_document(document: Document) -> Posting:
    """The posting that a document holds."""
    return Posting(
        document["rule"],
        document["kind"],
        document["points"],
        tuple(document.get("lines", ())),
        document["inputs"],
        document.get("unit", POINTS),
        tuple(document.get("legs", ())),
    )


def state_to_document(state: State) -> Document:
    """The state, small: lists instead of objects, and nothing where there is nothing."""
    document: Document = {
        "channels": {channel: _packed_uses(seen) for channel, seen in state.channels.items()},
    }
    if POINTS in state.lots:
        document["lots"] = [_packed(lot) for lot in state.lots[POINTS]]
    if state.last:
        document["last"] = list(state.last)
    for name, pack in _PACKERS.items():
        if value := getattr(state, name):
            document[name] = pack(value)
    units = {unit: lots for unit, lots in state.lots.items() if unit != POINTS}
    if units:
        document["units"] = {unit: [_packed(lot) for lot in lots] for unit, lots in units.items()}
    return document


def state_from_document(document: Document) -> State:
    """The state that a document holds."""
    lots = {POINTS: _lots(document["lots"])} if "lots" in document else {}
    for unit, packed in document.get("units", {}).items():
        lots[unit] = _lots(packed)
    read = {name: unpack(document[name]) for name, unpack in _UNPACKERS.items() if name in document}
    channels = {channel: _uses(packed) for channel, packed in document["channels"].items()}
    return State(lots=lots, channels=channels, **read)


def _packed(lot: Lot) -> list[Any]:
    return [lot.expires_at, lot.points] if lot.active_at == ALWAYS else list(lot)


def _lots(packed: Iterable[Sequence[Any]]) -> Lots:
    return tuple(Lot(*each) for each in packed)


def _packed_uses(seen: Sequence[Seen]) -> Any:
    """A moment alone where no key was kept."""
    if len(seen) == 1 and not seen[0].key:
        return seen[0].at
    return [list(each) for each in seen]


def _uses(packed: Any) -> tuple[Seen, ...]:
    if isinstance(packed, list):
        return tuple(Seen(*each) for each in packed)
    return (Seen(packed, ""),)


def _same(value: Any) -> Any:
    return value


_PACKERS: Mapping[str, Callable[[Any], Any]] = {
    "counters": lambda counters: {
        rule: {period: list(count) for period, count in counts.items()}
        for rule, counts in counters.items()
    },
    "uses": dict,
    "purchases": _same,
    "bought_at": _same,
    "tier": tiers.to_list,
    "holds": lambda holds: [
        [key, held.points, held.unit, [_packed(lot) for lot in held.lots], held.expires_at]
        for key, held in holds.items()
    ],
    "glances": lambda glances: [[*glance[:4], list(glance.skus)] for glance in glances],
    "progress": lambda progress: {rule: list(each) for rule, each in progress.items()},
    "idle_at": dict,
    "joined_at": _same,
}
_UNPACKERS: Mapping[str, Callable[[Any], Any]] = {
    "last": tuple,
    "counters": lambda packed: {
        rule: {period: Count(*count) for period, count in counts.items()}
        for rule, counts in packed.items()
    },
    "uses": dict,
    "purchases": _same,
    "bought_at": _same,
    "tier": tiers.from_list,
    "holds": lambda packed: {
        key: Held(points, unit, _lots(lots), expires_at)
        for key, points, unit, lots, expires_at in packed
    },
    "glances": lambda packed: tuple(
        Glance(at, key, engagement, channel, tuple(skus))
        for at, key, engagement, channel, skus in packed
    ),
    "progress": lambda packed: {rule: Progress(*each) for rule, each in packed.items()},
    "idle_at": dict,
    "joined_at": _same,
}

_LINE_DEFAULTS = {"tax": 0, "discount": 0, "category": "", "brand": ""}
# What an activity's document holds as it is, where it is not the default.
_PLAIN = (
    "shipping_amount",
    "discount_amount",
    "coupon_amount",
    "fulfilment",
    "engagement",
    "points",
    "hold",
    "expires_at",
)


def activity_to_document(activity: Activity) -> Document:
    """What the activity was, without what is empty."""
    document: Document = {name: value for name in _PLAIN if (value := getattr(activity, name))}
    if activity.kind == "purchase":
        document["lines"] = [_line_to_document(line) for line in activity.lines]
    if activity.payment != _NO_PAYMENT:
        document["payment"] = _payment_to_document(activity.payment)
    if activity.skus:
        document["skus"] = list(activity.skus)
    if activity.details:
        document["details"] = dict(activity.details)
    if activity.about != _NOTHING_KNOWN:
        document["about"] = _about_to_document(activity.about)
    if activity.unit != POINTS:
        document["unit"] = activity.unit
    if activity.lots:
        document["lots"] = [list(lot) for lot in activity.lots]
    if activity.grants:
        document["grants"] = dict(activity.grants)
    if activity.back:
        document.update(_back_to_document(activity.back))
    return document


_NO_PAYMENT = Payment()
_NOTHING_KNOWN = About()


def _payment_to_document(payment: Payment) -> Document:
    document: Document = {
        "gift_card_amount": payment.gift_card_amount,
        "points_amount": payment.points_amount,
    }
    if payment.methods:
        document["methods"] = list(payment.methods)
    return document


def _about_to_document(about: About) -> Document:
    document: Document = {
        "joined_at": about.joined_at,
        "segments": sorted(about.segments),
        "is_referred": about.is_referred,
        "zone": about.zone,
        "place": list(about.place) if about.place else None,
    }
    document = {name: value for name, value in document.items() if value}
    if about.birthday_in_days is not None:
        # 0 is today.
        document["birthday_in_days"] = about.birthday_in_days
    return document


def _back_to_document(back: Back) -> Document:
    document: Document = {"purchase_key": back.purchase_key}
    if back.lines is not None:
        document["back_lines"] = [list(each) for each in back.lines]
    if back.amount is not None:
        document["back_amount"] = back.amount
    return document


def _line_to_document(line: Line) -> Document:
    document: Document = {"sku": line.sku, "quantity": line.quantity, "amount": line.amount}
    for name, default in _LINE_DEFAULTS.items():
        value = getattr(line, name)
        if value != default:
            document[name] = value
    return document


def activity_of(entry: Entry) -> Activity:
    """The activity of an entry, as `step` saw it; a return's or undoing's still to be completed."""
    document = entry.activity
    plain = {name: document[name] for name in _PLAIN if name in document}
    if "payment" in document:
        payment = dict(document["payment"])
        plain["payment"] = Payment(**{**payment, "methods": tuple(payment.get("methods", ()))})
    if "about" in document:
        plain["about"] = _about(document["about"])
    if "purchase_key" in document:
        plain["back"] = _back(document)
    return Activity(
        kind=entry.kind,
        occurred_at=entry.occurred_at,
        channel=entry.channel,
        store=entry.store,
        key=entry.key,
        lines=tuple(Line(**line) for line in document.get("lines", ())),
        skus=tuple(document.get("skus", ())),
        details=document.get("details", {}),
        unit=document.get("unit", POINTS),
        lots=_lots(document.get("lots", ())),
        grants=document.get("grants", {}),
        **plain,
    )


def _about(document: Mapping[str, Any]) -> About:
    place = document.get("place")
    return About(
        joined_at=document.get("joined_at"),
        birthday_in_days=document.get("birthday_in_days"),
        segments=frozenset(document.get("segments", ())),
        is_referred=document.get("is_referred", False),
        zone=document.get("zone", ""),
        place=(place[0], place[1]) if place else None,
    )


def _back(document: Mapping[str, Any]) -> Back:
    lines = document.get("back_lines")
    return Back(
        document["purchase_key"],
        None if lines is None else tuple((sku, quantity) for sku, quantity in lines),
        document.get("back_amount"),
    )
