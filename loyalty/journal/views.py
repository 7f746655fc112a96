"""Activities, points and the journal over HTTP."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from flask import g, request

from loyalty.access.model import BoundKeyError
from loyalty.consent import gate
from loyalty.consent.gpc import is_signalled
from loyalty.consent.model import STAFF_VIEW, ConsentRequiredError
from loyalty.consent.schemas import PageSchema
from loyalty.consent.service import note_signal
from loyalty.journal import exchanges, returns, service
from loyalty.journal.codec import posting_to_document
from loyalty.journal.drafts import Stores
from loyalty.journal.model import (
    EntryNotFoundError,
    FactErasedError,
    InFutureError,
    InsufficientPointsError,
    MemberBusyError,
    NotReversibleError,
    PaymentExceedsTotalError,
    PointsOutOfRangeError,
    PurchaseNotFoundError,
    ReturnExceedsPurchaseError,
    UnknownChannelError,
    UnknownUnitError,
    WrongCurrencyError,
)
from loyalty.journal.schemas import (
    AdjustmentSchema,
    EngagementSchema,
    EntrySchema,
    ExchangedSchema,
    ExchangeSchema,
    JournalSchema,
    PointsSchema,
    PurchaseSchema,
    RecordedSchema,
    ReturnSchema,
    ReversalSchema,
)
from loyalty.journal.wallet import wallet
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import Answer, Blueprint, answer, note_look, provided, replayed
from loyalty.members.model import (
    IdentifierTakenError,
    InvalidIdentifierError,
    KeyReusedError,
    MemberNotFoundError,
)
from loyalty.program.explain import explain
from loyalty.program.lots import available, pending_of
from loyalty.program.model import POINTS
from loyalty.program.passage import settle
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from loyalty.journal.drafts import Recorded
    from loyalty.journal.model import Entry

blp = Blueprint("points", __name__, description="What members did, and the points it moved.")

_MEMBER = "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f"
_POSTING = {
    "rule": "base",
    "kind": "spend",
    "points": 21,
    "text": "21.90 EUR at 1 for every 1.00 EUR, rounded down: 21.",
}
_RECORDED = {
    "entry_id": "69a4120c7f1b2c3d4e5f6071",
    "member_id": _MEMBER,
    "seq": 1,
    "points": 21,
    "balance": 21,
    "program_version": 1,
    "postings": [_POSTING],
}
_PURCHASE = {
    "external_id": "R-20260301-0042",
    "channel": "store",
    "store": "S1",
    "identifier": {"type": "card", "value": "9300 1234 5678"},
    "currency": "EUR",
    "occurred_at": "2026-03-01T09:30:00+01:00",
    "lines": [{"sku": "milk-1l", "quantity": 2, "amount": 2190, "tax": 153}],
}
_ENTRY = {
    "id": "69a4120c7f1b2c3d4e5f6071",
    "member_id": _MEMBER,
    "seq": 1,
    "kind": "purchase",
    "channel": "store",
    "store": "S1",
    "occurred_at": "2026-03-01T08:30:00Z",
    "received_at": "2026-03-01T08:30:01Z",
    "activity": {"lines": [{"sku": "milk-1l", "quantity": 2, "amount": 2190}]},
    "program_version": 1,
    "points": 21,
    "balance_after": 21,
    "postings": [{**_POSTING, "lines": [], "inputs": {"basis": 2190, "per_amount": 100}}],
}
_RESOLVING = (MemberNotFoundError, InvalidIdentifierError, IdentifierTakenError)
_RECORDING = (
    FactErasedError,
    KeyReusedError,
    MemberBusyError,
    BoundKeyError,
    NoProgramError,
    InFutureError,
    PointsOutOfRangeError,
)


def _recorded(recorded: Recorded) -> Answer:
    note_look(recorded.entry.member_id)
    return replayed(told(recorded), 201, is_replay=recorded.is_replay)


def told(recorded: Recorded) -> dict[str, Any]:
    """What an activity did, as `RecordedSchema` shows it; the same whenever it is asked again."""
    entry, zone = recorded.entry, _zone(recorded.entry)
    # A fact of the past leaves what was true then; the answer is about when it came in.
    state = settle(entry.state, entry.received_at)[0]
    lots = state.lots
    body = {
        "entry_id": entry.id,
        "member_id": entry.member_id,
        "seq": entry.seq,
        "points": entry.points,
        "balance": available(lots.get(POINTS, ()), entry.received_at),
        "program_version": entry.program_version,
        "postings": [
            {
                "rule": each.rule,
                "kind": each.kind,
                "points": each.points,
                **({"unit": each.unit} if each.unit != POINTS else {}),
                "text": explain(each, currency=entry.currency, zone=zone),
            }
            for each in entry.postings
        ],
    }
    if pending := pending_of(lots.get(POINTS, ()), entry.received_at):
        body["pending"] = pending
    if others := {
        unit: available(lots[unit], entry.received_at) for unit in lots if unit != POINTS
    }:
        body["units"] = others
    if entry.state.tier:
        body["tier"] = entry.state.tier.tier
    return body


def _zone(entry: Entry) -> ZoneInfo:
    """The clock of the programme that ruled the entry, for the times in its sentences."""
    return provided(Stores).programs.version(entry.program_version).zone


def _entry(entry: Entry) -> dict[str, Any]:
    zone = _zone(entry)
    return {
        "id": entry.id,
        "member_id": entry.member_id,
        "seq": entry.seq,
        "kind": entry.kind,
        "channel": entry.channel,
        "store": entry.store,
        "occurred_at": entry.occurred_at,
        "received_at": entry.received_at,
        "activity": entry.activity,
        "program_version": entry.program_version,
        "points": entry.points,
        "balance_after": entry.balance_after,
        "postings": [
            {
                "lines": [],
                **posting_to_document(each),
                "text": explain(each, currency=entry.currency, zone=zone),
            }
            for each in entry.postings
        ],
    }


@blp.route("/purchases", methods=["POST"])
@blp.requires("activities:write", purpose="loyalty_programme")
@blp.arguments(PurchaseSchema, example=_PURCHASE)
@blp.response(201, RecordedSchema, example=_RECORDED)
@blp.raises(
    *_RESOLVING, *_RECORDING, UnknownChannelError, WrongCurrencyError, PaymentExceedsTotalError
)
def post_purchase(body: dict[str, Any]) -> Answer:
    """Award a purchase.

    Exactly once for its `external_id` at that channel and store, whoever sends it and however
    often: a retry gets the same answer with `Idempotent-Replay: true`, and the same id with another
    body is refused. The points are durable when the answer arrives. A receipt that was erased with
    its member stays refused for ever, with `fact_erased`.
    """
    _note_signal(body)
    return _recorded(
        service.record_purchase(body, caller=g.caller, at=now(), stores=provided(Stores))
    )


@blp.route("/returns", methods=["POST"])
@blp.requires("activities:write", purpose="loyalty_programme")
@blp.arguments(
    ReturnSchema,
    example={
        "external_id": "R-20260305-0007",
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": "R-20260301-0042"},
        "lines": [{"sku": "milk-1l", "quantity": 1}],
    },
)
@blp.response(201, RecordedSchema, example={**_RECORDED, "points": -11, "balance": 10})
@blp.raises(
    *_RECORDING,
    MemberNotFoundError,
    UnknownChannelError,
    PurchaseNotFoundError,
    ReturnExceedsPurchaseError,
)
def post_return(body: dict[str, Any]) -> Answer:
    """Take back a purchase, whole or in part.

    The points of the returned lines go at the rate the purchase itself earned, bonuses included,
    whatever today's rules say. A purchase may come back on another channel than it was made on.
    """
    return _recorded(
        returns.record_return(body, caller=g.caller, at=now(), stores=provided(Stores))
    )


@blp.route("/exchanges", methods=["POST"])
@blp.requires("activities:write", purpose="loyalty_programme")
@blp.arguments(
    ExchangeSchema,
    example={
        "external_id": "X-20260305-0001",
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": "R-20260301-0042"},
        "returned": [{"sku": "milk-1l", "quantity": 1}],
        "currency": "EUR",
        "lines": [{"sku": "oat-1l", "quantity": 1, "amount": 1295}],
    },
)
@blp.response(
    201,
    ExchangedSchema,
    example={"returned": {**_RECORDED, "points": -11, "balance": 10}, "bought": _RECORDED},
)
@blp.raises(
    *_RECORDING,
    MemberNotFoundError,
    UnknownChannelError,
    WrongCurrencyError,
    PaymentExceedsTotalError,
    PurchaseNotFoundError,
    ReturnExceedsPurchaseError,
)
def post_exchange(body: dict[str, Any]) -> Answer:
    """Take goods back and award those that go out instead, both or neither.

    What comes back falls at the rules of its purchase, what goes out earns at today's.
    """
    done = exchanges.record_exchange(body, caller=g.caller, at=now(), stores=provided(Stores))
    answer_body = {"returned": told(done.returned), "bought": told(done.bought)}
    return replayed(answer_body, 201, is_replay=done.bought.is_replay)


@blp.route("/engagements", methods=["POST"])
@blp.requires("activities:write", purpose="loyalty_programme")
@blp.arguments(
    EngagementSchema,
    example={
        "external_id": "review-8812",
        "channel": "web",
        "member": _MEMBER,
        "type": "review",
    },
)
@blp.response(201, RecordedSchema, example=_RECORDED)
@blp.raises(*_RESOLVING, *_RECORDING, UnknownChannelError, ConsentRequiredError)
def post_engagement(body: dict[str, Any]) -> Answer:
    """Award an engagement: a review, a visit, a follow.

    What happens on social networks (follow, share, anything on a social channel) is recorded only
    with the member's consent to `social_engagement`.
    """
    _note_signal(body)
    return _recorded(
        service.record_engagement(
            body,
            caller=g.caller,
            at=now(),
            stores=provided(Stores),
            gpc=is_signalled(request.environ),
        )
    )


def _note_signal(body: dict[str, Any]) -> None:
    """Record what the browser of a known member says by `Sec-GPC: 1`, forwarded by the shop."""
    stores = provided(Stores)
    if is_signalled(request.environ) and (member_id := service.named(body, stores)):
        with suppress(MemberNotFoundError):
            note_signal(
                member_id,
                at=now(),
                by=g.caller.id,
                consents=stores.consents,
                members=stores.members,
            )


@blp.route("/members/<member:member_id>/adjustments", methods=["POST"])
@blp.requires("adjustments:write", purpose="loyalty_programme")
@blp.arguments(
    AdjustmentSchema,
    example={
        "external_id": "case-4711",
        "points": 50,
        "reason": "The till lost a receipt",
        "actor": "service desk 3",
    },
)
@blp.response(201, RecordedSchema, example=_RECORDED)
@blp.raises(
    MemberNotFoundError,
    FactErasedError,
    KeyReusedError,
    MemberBusyError,
    NoProgramError,
    InsufficientPointsError,
    PointsOutOfRangeError,
    UnknownUnitError,
)
def post_adjustment(body: dict[str, Any], member_id: str) -> Answer:
    """Correct a balance by hand, with a reason and who answers for it."""
    return _recorded(
        service.adjust(member_id, body, caller=g.caller, at=now(), stores=provided(Stores))
    )


@blp.route("/entries/<entry_id>/reversal", methods=["POST"])
@blp.requires("adjustments:write", purpose="loyalty_programme")
@blp.arguments(
    ReversalSchema,
    example={"reason": "Scanned for the wrong customer", "actor": "service desk 3"},
)
@blp.response(201, RecordedSchema, example={**_RECORDED, "points": -21, "balance": 0})
@blp.raises(
    EntryNotFoundError,
    MemberNotFoundError,
    NotReversibleError,
    KeyReusedError,
    MemberBusyError,
    NoProgramError,
    PointsOutOfRangeError,
)
def post_reversal(body: dict[str, Any], entry_id: str) -> Answer:
    """Undo a mistaken entry: all is as if it had never been, later awards included.

    For goods that come back there are returns. A reversal is one new entry; nothing is changed.
    """
    return _recorded(
        service.reverse(entry_id, body, caller=g.caller, at=now(), stores=provided(Stores))
    )


@blp.route("/members/<member:member_id>/points")
@blp.requires("points:read", member_token=True, purpose="loyalty_programme")
@blp.response(
    200,
    PointsSchema,
    example={
        "member_id": _MEMBER,
        "balance": 21,
        "pending": 0,
        "held": 0,
        "lots": [{"points": 21, "expires_at": None}],
        "units": {},
        "tier": None,
        "stage": "trial",
        "as_of": "2026-03-01T09:30:00Z",
    },
)
@blp.raises(MemberNotFoundError)
def show_points(member_id: str) -> Answer:
    """Read a member's points, further point currencies, and tier.

    One indexed read, however long the journal. Expired points are gone the moment they expire,
    pending ones are there the moment they become active, and the tier is reviewed on reading.
    """
    stores, moment = provided(Stores), now()
    head = stores.journal.head(member_id)
    if head is None and not stores.members.exists(member_id):
        raise MemberNotFoundError
    return answer(
        {"member_id": member_id, **wallet(head, stores.programs, moment), "as_of": moment}
    )


@blp.route("/members/<member:member_id>/journal")
@blp.requires(
    "journal:read",
    "staff:read",
    member_token=True,
    purpose="loyalty_programme",
    purpose_by_scope={"staff:read": STAFF_VIEW},
)
@blp.arguments(PageSchema, location="query")
@blp.response(200, JournalSchema, example={"entries": [_ENTRY], "next_cursor": None})
@blp.raises(MemberNotFoundError, UnknownCursorError, ConsentRequiredError)
def list_journal(query: dict[str, Any], member_id: str) -> Answer:
    """List a member's journal, newest first, each posting explained.

    With `staff:read` alone only where the member agreed to `staff_view`.
    """
    stores, limit = provided(Stores), query["limit"]
    _staff_gate(member_id, stores)
    found = stores.journal.page(member_id, before_seq=cursor.read(query.get("cursor")), limit=limit)
    if not found and not stores.members.exists(member_id):
        raise MemberNotFoundError
    more = cursor.write(found[-1].seq) if len(found) == limit and found[-1].seq > 1 else None
    return {"entries": [_entry(each) for each in found], "next_cursor": more}


@blp.route("/entries/<entry_id>")
@blp.requires(
    "journal:read",
    "staff:read",
    member_token=True,
    purpose="loyalty_programme",
    purpose_by_scope={"staff:read": STAFF_VIEW},
)
@blp.response(200, EntrySchema, example=_ENTRY)
@blp.raises(EntryNotFoundError, ConsentRequiredError)
def show_entry(entry_id: str) -> Answer:
    """Read one entry: why these points?

    Years later too: each posting holds the numbers that led to it, and the version that ruled.
    """
    stores = provided(Stores)
    entry = stores.journal.get(entry_id)
    # To a member's token, somebody else's entry does not exist.
    if entry is None or g.caller.member_id not in (None, entry.member_id):
        raise EntryNotFoundError
    _staff_gate(entry.member_id, stores)
    note_look(entry.member_id)
    return _entry(entry)


def _staff_gate(member_id: str, stores: Stores) -> None:
    """Shop staff sees a member's history only if the member agreed to that."""
    caller = g.caller
    if caller.member_id is None and "journal:read" not in caller.scopes:
        gate.require(member_id, STAFF_VIEW, at=now(), consents=stores.consents)
