"""Entries as documents and back. The one place that knows how a fact is written down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from loyalty.journal.model import Entry
from loyalty.program.lots import Lot
from loyalty.program.model import Activity, Line, Payment, Posting, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.kit.mongo import Document


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
    return document


def posting_from_document(document: Document) -> Posting:
    """The posting that a document holds."""
    return Posting(
        document["rule"],
        document["kind"],
        document["points"],
        tuple(document.get("lines", ())),
        document["inputs"],
    )


def state_to_document(state: State) -> Document:
    """The state, small: lists instead of objects, and no counters where there are none."""
    document: Document = {
        "lots": [[lot.expires_at, lot.points] for lot in state.lots],
        "channels": dict(state.channels),
    }
    if state.counters:
        document["counters"] = {
            rule: {period: list(count) for period, count in counts.items()}
            for rule, counts in state.counters.items()
        }
    return document


def state_from_document(document: Document) -> State:
    """The state that a document holds."""
    return State(
        lots=tuple(Lot(expires_at, points) for expires_at, points in document["lots"]),
        channels=document["channels"],
        counters={
            rule: {period: (name, count) for period, (name, count) in counts.items()}
            for rule, counts in document.get("counters", {}).items()
        },
    )


_LINE_DEFAULTS = {"tax": 0, "discount": 0, "category": "", "brand": ""}


def activity_to_document(activity: Activity) -> Document:
    """What a purchase or engagement was, without what is empty.

    A return and an adjustment have shapes of their own: see the service.
    """
    if activity.kind == "engagement":
        return {"engagement": activity.engagement}
    document: Document = {"lines": [_line_to_document(line) for line in activity.lines]}
    if activity.shipping_amount:
        document["shipping_amount"] = activity.shipping_amount
    payment = activity.payment
    if payment.gift_card_amount or payment.points_amount:
        document["payment"] = {
            "gift_card_amount": payment.gift_card_amount,
            "points_amount": payment.points_amount,
        }
    return document


def _line_to_document(line: Line) -> Document:
    document: Document = {"sku": line.sku, "quantity": line.quantity, "amount": line.amount}
    for name, default in _LINE_DEFAULTS.items():
        value = getattr(line, name)
        if value != default:
            document[name] = value
    return document


def lines_of(document: Mapping[str, Any]) -> tuple[Line, ...]:
    """The lines of a purchase's document."""
    return tuple(Line(**line) for line in document.get("lines", ()))


def activity_of(entry: Entry) -> Activity:
    """The activity of a purchase's or engagement's entry, as `step` saw it."""
    document = entry.activity
    return Activity(
        kind=entry.kind,
        occurred_at=entry.occurred_at,
        channel=entry.channel,
        store=entry.store,
        lines=lines_of(document),
        shipping_amount=document.get("shipping_amount", 0),
        payment=Payment(**document.get("payment", {})),
        engagement=document.get("engagement", ""),
        points=document.get("points", 0),
    )
