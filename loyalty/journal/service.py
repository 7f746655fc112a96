"""Turn what callers report into entries: resolve, look up, `step`, append.

An award is optimistic: one read of the head, one durable insert. Whether the fact was there
already shows when the unique index refuses it, so a fresh award pays nothing for that question.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

from loyalty.access.model import speak_for
from loyalty.consent import service as consent
from loyalty.consent.model import SOCIAL_ENGAGEMENT, ConsentRequiredError
from loyalty.journal.codec import activity_to_document
from loyalty.journal.model import (
    Entry,
    Head,
    InFutureError,
    InsufficientPointsError,
    KeySeenError,
    MemberBusyError,
    PaymentExceedsTotalError,
    PointsOutOfRangeError,
    StaleHeadError,
    UnknownChannelError,
    WrongCurrencyError,
    key_of,
)
from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.members.model import KeyReusedError, MemberNotFoundError, normal
from loyalty.members.service import enrol_provisional, fingerprint
from loyalty.program.model import (
    SOCIAL_ENGAGEMENTS,
    Activity,
    Line,
    Payment,
    Program,
    State,
)
from loyalty.program.step import OverdrawnError, step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.catalogue.model import Product
    from loyalty.catalogue.store import CatalogueStore
    from loyalty.consent.store import ConsentStore
    from loyalty.journal.store import JournalStore
    from loyalty.members.model import Identifier
    from loyalty.members.store import MemberStore
    from loyalty.program.model import Kind
    from loyalty.versions.service import ProgramShelf

# The greatest whole number that every JSON reader holds exactly (RFC 8259, section 6).
BALANCE_MAX = 2**53 - 1
# Under 50 writers at one member the unluckiest needed 31 tries; the request's deadline cuts first.
APPEND_ATTEMPTS_MAX = 200
RETRY_SECONDS_MAX = 0.004
# Tills' clocks run ahead by minutes, not by hours.
CLOCK_AHEAD_MAX = timedelta(minutes=5)


class Stores(NamedTuple):
    """All that recording an activity may touch."""

    journal: JournalStore
    members: MemberStore
    consents: ConsentStore
    catalogue: CatalogueStore
    programs: ProgramShelf


class Recorded(NamedTuple):
    """An entry, and whether it had been there before this request."""

    entry: Entry
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A fact that is complete except for the member's state: what `append` writes on a head."""

    member_id: str
    key: str
    fingerprint: str
    source: str
    received_at: datetime
    activity: Activity
    document: Mapping[str, Any]
    program: Program


def record_purchase(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Award a purchase.

    Raises:
        MemberNotFoundError, UnknownChannelError, WrongCurrencyError, InFutureError,
        PaymentExceedsTotalError, BoundKeyError, KeyReusedError, MemberBusyError,
        InvalidIdentifierError, NoProgramError: as they say.
    """
    return _record(body, "purchase", _purchase, caller=caller, at=at, stores=stores)


def record_engagement(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Award an engagement; what happens on social networks only with the member's consent.

    Raises:
        ConsentRequiredError: the engagement is social and the member has not agreed.
        MemberNotFoundError, UnknownChannelError, InFutureError, BoundKeyError, KeyReusedError,
        MemberBusyError, InvalidIdentifierError, NoProgramError: as they say.
    """
    return _record(body, "engagement", _engagement, caller=caller, at=at, stores=stores)


class _Report(NamedTuple):
    """What a caller reports of a member: the body, the store it speaks for, the fact's key."""

    body: Mapping[str, Any]
    store: str | None
    key: str
    caller: Caller
    at: datetime


def _record(
    body: Mapping[str, Any],
    kind: Kind,
    draw: Callable[[_Report, Stores], Draft],
    *,
    caller: Caller,
    at: datetime,
    stores: Stores,
) -> Recorded:
    store = speak_for(caller, body["channel"], body.get("store"))
    key = key_of(kind, body["channel"], store, body["external_id"])
    report = _Report(body, store, key, caller, at)
    try:
        draft = draw(report, stores)
    except (ConflictError, NotFoundError, ConsentRequiredError):
        # Replay before state: what was recorded keeps its answer, whatever has changed since.
        if seen := stores.journal.by_key(key):
            return replay(seen, _fingerprint(body, _named(body, stores), store))
        raise
    return append(draft, stores)


def _purchase(report: _Report, stores: Stores) -> Draft:
    body = report.body
    occurred_at = occurred(body, report.at)
    program = ruling(body["channel"], occurred_at, stores)
    _check_money(body, program)
    member_id = _resolve(report, program, stores)
    payment = body.get("payment", {})
    known = stores.catalogue.products([line["sku"] for line in body["lines"]])
    activity = Activity(
        kind="purchase",
        occurred_at=occurred_at,
        channel=body["channel"],
        store=report.store,
        lines=complete_lines(body["lines"], known),
        shipping_amount=body.get("shipping_amount", 0),
        payment=Payment(**payment) if payment else _NO_PAYMENT,
    )
    return _draft(report, activity, member_id, program)


_NO_PAYMENT = Payment()


def _engagement(report: _Report, stores: Stores) -> Draft:
    body = report.body
    occurred_at = occurred(body, report.at)
    program = ruling(body["channel"], occurred_at, stores)
    if body["type"] in SOCIAL_ENGAGEMENTS or body["channel"].startswith("social"):
        # Before anybody is enrolled: a stranger has agreed to nothing.
        consent.require(_named(body, stores) or "", SOCIAL_ENGAGEMENT, consents=stores.consents)
    activity = Activity(
        kind="engagement",
        occurred_at=occurred_at,
        channel=body["channel"],
        store=report.store,
        engagement=body["type"],
    )
    return _draft(report, activity, _resolve(report, program, stores), program)


def adjust(
    member_id: str, body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Correct a balance by hand; the entry holds the reason and who answers for it.

    Raises:
        InsufficientPointsError: it would take more than there is.
        MemberNotFoundError, KeyReusedError, MemberBusyError, NoProgramError: as they say.
    """
    activity = Activity(kind="adjustment", occurred_at=at, points=body["points"])
    draft = Draft(
        member_id=member_id,
        key=key_of("adjustment", "", None, body["external_id"]),
        fingerprint=fingerprint({**body, "member": member_id}),
        source=caller.id,
        received_at=at,
        activity=activity,
        document={
            "points": body["points"],
            "reason": body["reason"],
            "actor": body["actor"],
            "external_id": body["external_id"],
        },
        program=stores.programs.at(at),
    )
    return append(draft, stores)


def append(
    draft: Draft, stores: Stores, *, complete: Callable[[Draft], Draft] | None = None
) -> Recorded:
    """Write a draft on top of the member's journal, whoever else is writing there.

    Args:
        draft: the fact.
        stores: where to.
        complete: what has to be read anew on every try, because it depends on the head.

    Raises:
        MemberNotFoundError: there is no such member.
        KeyReusedError: the key belongs to another fact.
        InsufficientPointsError: the fact would overdraw.
        PointsOutOfRangeError: the balance could not be kept exactly.
        MemberBusyError: too many writers at this member; nothing was written.
    """
    for attempt in range(APPEND_ATTEMPTS_MAX):
        head = stores.journal.head(draft.member_id)
        if head is None and not stores.members.exists(draft.member_id):
            raise MemberNotFoundError
        try:
            entry = entry_after(head, complete(draft) if complete else draft)
            stores.journal.append(entry)
        except KeySeenError:
            return _seen(draft, stores)
        except ConflictError:
            # Replay before state: a twin of this request may have done what now stands in its way.
            if seen := stores.journal.by_key(draft.key):
                return replay(seen, draft.fingerprint)
            raise
        except StaleHeadError:
            # A random pause lets one of many writers through at a time.
            time.sleep(random.random() * RETRY_SECONDS_MAX * min(attempt, 4))  # noqa: S311
            continue
        return Recorded(entry, is_replay=False)
    raise MemberBusyError


def entry_after(head: Head | None, draft: Draft) -> Entry:
    """The entry that a draft makes on a head: the pure heart of every write.

    Raises:
        InsufficientPointsError: it would overdraw.
        PointsOutOfRangeError: the balance could not be kept exactly.
    """
    before = head.state if head else _EMPTY
    try:
        state, postings = step(draft.program, before, draft.activity)
    except OverdrawnError as error:
        raise InsufficientPointsError(str(error)) from error
    if abs(state.balance) > BALANCE_MAX:
        raise PointsOutOfRangeError
    activity = draft.activity
    return Entry(
        id=str(ObjectId()),
        member_id=draft.member_id,
        seq=head.seq + 1 if head else 1,
        key=draft.key,
        fingerprint=draft.fingerprint,
        kind=activity.kind,
        channel=activity.channel,
        store=activity.store,
        source=draft.source,
        occurred_at=activity.occurred_at,
        received_at=draft.received_at,
        activity=draft.document,
        program_version=draft.program.version,
        currency=draft.program.currency,
        postings=postings,
        balance_after=state.balance,
        state=state,
    )


_EMPTY = State()


def replay(seen: Entry, mark: str) -> Recorded:
    """The entry of a fact that is there already.

    Args:
        seen: the entry.
        mark: the fingerprint of the request that came now.

    Raises:
        KeyReusedError: the same key came with another body.
    """
    if seen.fingerprint != mark:
        raise _reused()
    return Recorded(seen, is_replay=True)


def _reused() -> KeyReusedError:
    mistake = FieldError("external_id", "Was used before with another body.")
    return KeyReusedError(errors=(mistake,))


def _seen(draft: Draft, stores: Stores) -> Recorded:
    seen = stores.journal.by_key(draft.key)
    if seen is None:  # pragma: no cover  # entries are never deleted while their key is in use
        raise MemberBusyError
    return replay(seen, draft.fingerprint)


def _named(body: Mapping[str, Any], stores: Stores) -> str | None:
    """The member that a body names by id or by identifier, if the identifier is anybody's.

    Raises:
        InvalidIdentifierError: the value is not of its type.
    """
    if "member" in body:
        member_id: str = body["member"]
        return member_id
    return stores.members.resolve(_identifier(body))


def _identifier(body: Mapping[str, Any]) -> Identifier:
    return normal(body["identifier"]["type"], body["identifier"]["value"])


def _resolve(report: _Report, program: Program, stores: Stores) -> str:
    """The member that a body names, enrolled now if it is unknown and the programme does that.

    Raises:
        MemberNotFoundError: nobody has the identifier and the programme enrols no unknown ones.
        KeyReusedError: nobody has the identifier, and the fact is somebody else's already.
        InvalidIdentifierError: the value is not of its type.
    """
    if found := _named(report.body, stores):
        return found
    if not program.enrols_unknown:
        raise MemberNotFoundError
    if stores.journal.by_key(report.key):
        raise _reused()
    identifier = _identifier(report.body)
    return enrol_provisional(identifier, at=report.at, members=stores.members)


def complete_lines(
    lines: Sequence[Mapping[str, Any]], known: Mapping[str, Product]
) -> tuple[Line, ...]:
    """The lines of a body, with category and brand of the catalogue where it has the sku."""
    return tuple(_line(each, known.get(each["sku"])) for each in lines)


def _line(body: Mapping[str, Any], product: Product | None) -> Line:
    if product is None:
        return Line(**body)
    return Line(
        body["sku"],
        body["quantity"],
        body["amount"],
        body.get("tax", 0),
        body.get("discount", 0),
        product.category,
        product.brand,
    )


def _draft(report: _Report, activity: Activity, member_id: str, program: Program) -> Draft:
    document = activity_to_document(activity)
    document["external_id"] = report.body["external_id"]
    return Draft(
        member_id=member_id,
        key=report.key,
        fingerprint=_fingerprint(report.body, member_id, report.store),
        source=report.caller.id,
        received_at=report.at,
        activity=activity,
        document=document,
        program=program,
    )


def _fingerprint(body: Mapping[str, Any], member_id: str | None, store: str | None) -> str:
    claims = {name: value for name, value in body.items() if name != "identifier"}
    return fingerprint({**claims, "member": member_id, "store": store})


def occurred(body: Mapping[str, Any], at: datetime) -> datetime:
    """When it happened: as the body says, else now.

    Raises:
        InFutureError: later than a clock that runs ahead can explain.
    """
    occurred_at: datetime = body.get("occurred_at", at)
    if occurred_at > at + CLOCK_AHEAD_MAX:
        mistake = FieldError("occurred_at", "Lies in the future.")
        raise InFutureError(mistake.message, errors=(mistake,))
    return occurred_at


def ruling(channel: str, occurred_at: datetime, stores: Stores) -> Program:
    """The programme that rules an activity on a channel.

    Raises:
        NoProgramError: none is published.
        UnknownChannelError: it has no such channel.
    """
    program = stores.programs.at(occurred_at)
    if channel not in program.channels:
        mistake = FieldError("channel", "The programme has no such channel.")
        raise UnknownChannelError(mistake.message, errors=(mistake,))
    return program


def _check_money(body: Mapping[str, Any], program: Program) -> None:
    if body["currency"] != program.currency:
        mistake = FieldError("currency", f"The programme is in {program.currency}.")
        raise WrongCurrencyError(mistake.message, errors=(mistake,))
    payment = body.get("payment")
    if payment:
        total = sum(line["amount"] + line.get("tax", 0) for line in body["lines"])
        if sum(payment.values()) > total + body.get("shipping_amount", 0):
            mistake = FieldError("payment", "Exceeds the lines with tax and the shipping.")
            raise PaymentExceedsTotalError(mistake.message, errors=(mistake,))
