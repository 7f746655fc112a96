"""Turn what callers report into drafts: resolve the member, look up, and append."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.access.model import speak_for
from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION, SOCIAL_ENGAGEMENT, ConsentRequiredError
from loyalty.journal.appending import append
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft, Recorded, Stores, replay, reused
from loyalty.journal.model import (
    EntryNotFoundError,
    InFutureError,
    NotReversibleError,
    PaymentExceedsTotalError,
    UnknownChannelError,
    UnknownUnitError,
    WrongCurrencyError,
    key_of,
)
from loyalty.kit.clock import days_to
from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.members.model import MemberNotFoundError, normal
from loyalty.members.service import enrol_provisional, fingerprint
from loyalty.program.model import (
    BROWSING,
    POINTS,
    SOCIAL_ENGAGEMENTS,
    About,
    Activity,
    Line,
    Payment,
    Program,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.catalogue.model import Product
    from loyalty.members.model import Identifier, MemberFacts
    from loyalty.program.model import Kind

# Tills' clocks run ahead by minutes, not by hours.
CLOCK_AHEAD_MAX = timedelta(minutes=5)
# What can be a mistake of its own: the rest is undone by its own means.
REVERSIBLE = frozenset({"purchase", "engagement", "return", "adjustment"})


def record_purchase(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Award a purchase.

    Raises:
        MemberNotFoundError, UnknownChannelError, WrongCurrencyError, InFutureError,
        PaymentExceedsTotalError, BoundKeyError, KeyReusedError, MemberBusyError,
        InvalidIdentifierError, NoProgramError: as they say.
    """
    return _record(body, "purchase", draw_purchase, caller=caller, at=at, stores=stores)


def record_engagement(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores, gpc: bool = False
) -> Recorded:
    """Award an engagement; what happens on social networks only with the member's consent.

    Args:
        body: what is reported.
        caller: who reports it.
        at: now.
        stores: where to.
        gpc: whether the request carries `Sec-GPC: 1`: then nothing is kept for profiling.

    Raises:
        ConsentRequiredError: the engagement is social and the member has not agreed.
        MemberNotFoundError, UnknownChannelError, InFutureError, BoundKeyError, KeyReusedError,
        MemberBusyError, InvalidIdentifierError, NoProgramError: as they say.
    """
    return _record(
        body, "engagement", draw_engagement, caller=caller, at=at, stores=stores, gpc=gpc
    )


class Report(NamedTuple):
    """What a caller reports of a member: the body, the store it speaks for, the fact's key."""

    body: Mapping[str, Any]
    store: str | None
    key: str
    caller: Caller
    at: datetime
    gpc: bool = False


def _record(
    body: Mapping[str, Any],
    kind: Kind,
    draw: Callable[[Report, Stores], Draft],
    *,
    caller: Caller,
    at: datetime,
    stores: Stores,
    gpc: bool = False,
) -> Recorded:
    store = speak_for(caller, body["channel"], body.get("store"))
    key = key_of(kind, body["channel"], store, body["external_id"])
    report = Report(body, store, key, caller, at, gpc)
    return recorded(
        key,
        lambda: draw(report, stores),
        lambda: mark_of(body, named(body, stores), store),
        stores,
    )


def recorded(
    key: str, draw: Callable[[], Draft], mark: Callable[[], str], stores: Stores
) -> Recorded:
    """Append a fact, or give the entry that it has already.

    Args:
        key: the fact's.
        draw: gives its draft, or refuses.
        mark: gives the fingerprint of what came now; asked only if `draw` refuses.
        stores: where to.

    Raises:
        KeyReusedError: the key came with another body.
        CarnetError: what `draw` and `append` raise.
    """
    try:
        draft = draw()
    except (ConflictError, NotFoundError, ConsentRequiredError):
        # Replay before state: what was recorded keeps its answer, whatever has changed since.
        if seen := stores.journal.by_key(key):
            return replay(seen, mark())
        raise
    return append(draft, stores)


def draw_purchase(report: Report, stores: Stores) -> Draft:
    """The draft of a purchase.

    Raises:
        MemberNotFoundError, UnknownChannelError, WrongCurrencyError, InFutureError,
        PaymentExceedsTotalError, InvalidIdentifierError, NoProgramError: as they say.
    """
    body = report.body
    occurred_at = occurred(body, report.at)
    program = ruling(body["channel"], occurred_at, stores)
    _check_money(body, program)
    member_id = _resolve(report, program, stores)
    known = stores.catalogue.products([line["sku"] for line in body["lines"]])
    activity = Activity(
        kind="purchase",
        occurred_at=occurred_at,
        channel=body["channel"],
        store=report.store,
        key=report.key,
        lines=complete_lines(body["lines"], known),
        shipping_amount=body.get("shipping_amount", 0),
        discount_amount=body.get("discount_amount", 0),
        coupon_amount=body.get("coupon_amount", 0),
        fulfilment=body.get("fulfilment", ""),
        payment=_payment(body),
        about=about_of(report.store, program, member_id, occurred_at, stores),
    )
    return _draft(report, activity, member_id, program)


_NO_PAYMENT = Payment()
_NOTHING_KNOWN = About()


def _payment(body: Mapping[str, Any]) -> Payment:
    payment = body.get("payment")
    if not payment:
        return _NO_PAYMENT
    return Payment(
        payment.get("gift_card_amount", 0),
        payment.get("points_amount", 0),
        tuple(payment.get("methods", ())),
    )


def about_of(
    store_id: str | None, program: Program, member_id: str, at: datetime, stores: Stores
) -> About:
    """What the programme's rules ask about the member and the store; nothing else is looked up."""
    about = _NOTHING_KNOWN
    if program.needs_member:
        facts = stores.members.about(member_id)
        about = About(
            joined_at=facts.joined_at,
            birthday_in_days=_birthday_in_days(facts, at, program),
            segments=facts.segments,
            is_referred=facts.is_referred,
        )
    if program.needs_store and store_id:
        store = stores.catalogue.store(store_id)
        if store is not None:
            place = None
            if store.latitude is not None and store.longitude is not None:
                place = (store.latitude, store.longitude)
            about = replace(about, zone=store.time_zone, place=place)
    return about


def _birthday_in_days(facts: MemberFacts, at: datetime, program: Program) -> int | None:
    if facts.birthday is None:
        return None
    return days_to(*facts.birthday, on=at.astimezone(program.zone).date())


def _require(report: Report, purpose: str, stores: Stores) -> None:
    """Pass the gate for whom the body names, at this moment.

    Raises:
        ConsentRequiredError: the member has not agreed, or is nobody.
    """
    member_id = named(report.body, stores) or ""
    gate.require(member_id, purpose, at=report.at, consents=stores.consents, gpc=report.gpc)


def draw_engagement(report: Report, stores: Stores) -> Draft:
    """The draft of an engagement.

    Raises:
        ConsentRequiredError, MemberNotFoundError, UnknownChannelError, InFutureError,
        InvalidIdentifierError, NoProgramError: as they say.
    """
    body = report.body
    occurred_at = occurred(body, report.at)
    program = ruling(body["channel"], occurred_at, stores)
    # Before anybody is enrolled: a stranger has agreed to nothing.
    if body["type"] in SOCIAL_ENGAGEMENTS or body["channel"].startswith("social"):
        _require(report, SOCIAL_ENGAGEMENT, stores)
    if body["type"] in BROWSING:
        _require(report, PERSONALISATION, stores)
    member_id = _resolve(report, program, stores)
    activity = Activity(
        kind="engagement",
        occurred_at=occurred_at,
        channel=body["channel"],
        store=report.store,
        key=report.key,
        engagement=body["type"],
        skus=tuple(body.get("skus", ())),
        details=body.get("details", {}),
        about=about_of(report.store, program, member_id, occurred_at, stores),
    )
    return _draft(report, activity, member_id, program)


def adjust(
    member_id: str, body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Correct a balance by hand; the entry holds the reason and who answers for it.

    Raises:
        InsufficientPointsError: it would take more than there is.
        UnknownUnitError: the programme has no such unit.
        MemberNotFoundError, KeyReusedError, MemberBusyError, NoProgramError: as they say.
    """
    program = stores.programs.at(at)
    unit = body.get("unit", POINTS)
    if unit not in program.units:
        mistake = FieldError("unit", "The programme has no such unit.")
        raise UnknownUnitError(mistake.message, errors=(mistake,))
    key = key_of("adjustment", "", None, body["external_id"])
    draft = Draft(
        member_id=member_id,
        key=key,
        fingerprint=fingerprint({**body, "member": member_id}),
        source=caller.id,
        received_at=at,
        activity=Activity("adjustment", at, points=body["points"], unit=unit, key=key),
        document={**body, "unit": unit} if unit != POINTS else dict(body),
        program=program,
    )
    return append(draft, stores)


def reverse(
    entry_id: str, body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores
) -> Recorded:
    """Undo a mistaken entry: all is as if it had never been.

    Raises:
        EntryNotFoundError: there is no such entry.
        NotReversibleError: it is of a kind that is undone by its own means, or was undone before.
        KeyReusedError, MemberBusyError: as they say.
    """
    wrong = stores.journal.get(entry_id)
    if wrong is None:
        raise EntryNotFoundError
    if wrong.kind not in REVERSIBLE:
        raise NotReversibleError(f"An entry of kind {wrong.kind} cannot be reversed.")
    # One key an entry: it is reversed once, whoever asks.
    key = f"reversal/{wrong.key}"
    draft = Draft(
        member_id=wrong.member_id,
        key=key,
        fingerprint=fingerprint({**body, "entry": entry_id}),
        source=caller.id,
        received_at=at,
        activity=Activity("reversal", at, key=key),
        document={**body, "undoes": [wrong.key]},
        program=stores.programs.version(wrong.program_version),
    )
    return append(draft, stores)


def named(body: Mapping[str, Any], stores: Stores) -> str | None:
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


def _resolve(report: Report, program: Program, stores: Stores) -> str:
    """The member that a body names, enrolled now if it is unknown and the programme does that.

    Raises:
        MemberNotFoundError: nobody has the identifier and the programme enrols no unknown ones.
        KeyReusedError: nobody has the identifier, and the fact is somebody else's already.
        InvalidIdentifierError: the value is not of its type.
    """
    if found := named(report.body, stores):
        return found
    if not program.enrols_unknown:
        raise MemberNotFoundError
    if stores.journal.by_key(report.key):
        raise reused()
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


def _draft(report: Report, activity: Activity, member_id: str, program: Program) -> Draft:
    document = activity_to_document(activity)
    document["external_id"] = report.body["external_id"]
    return Draft(
        member_id=member_id,
        key=report.key,
        fingerprint=mark_of(report.body, member_id, report.store),
        source=report.caller.id,
        received_at=report.at,
        activity=activity,
        document=document,
        program=program,
    )


def mark_of(body: Mapping[str, Any], member_id: str | None, store: str | None) -> str:
    """The fingerprint of a body: the same however it names the member, and under either store."""
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
    off = body.get("discount_amount", 0) + body.get("coupon_amount", 0)
    payment = body.get("payment")
    if not (payment or off):
        return
    total = sum(line["amount"] + line.get("tax", 0) for line in body["lines"])
    total += body.get("shipping_amount", 0)
    if off > total:
        mistake = FieldError("discount_amount", "Exceeds, with the coupons, what was charged.")
        raise PaymentExceedsTotalError(mistake.message, errors=(mistake,))
    paid = _payment(body)
    if paid.gift_card_amount + paid.points_amount > total - off:
        mistake = FieldError("payment", "Exceeds the lines with tax and the shipping.")
        raise PaymentExceedsTotalError(mistake.message, errors=(mistake,))
