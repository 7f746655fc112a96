"""What the pages ask of consents and of the programme, each function one question or one order.

What they ask for members' rights is in `rights`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.consent import opt_in, service
from loyalty.consent.model import MARKETING, Decision
from loyalty.consent.notices import NoticeNotFoundError
from loyalty.consent.receipts import Controller, receipt_of
from loyalty.journal.wallet import wallet
from loyalty.members.model import MemberNotFoundError
from loyalty.program.model import UTC_ZONE
from loyalty.versions.model import NoProgramError
from loyalty.web.model import (
    Activity,
    Choice,
    Identified,
    Notice,
    Purpose,
    Receipt,
    Standings,
    Summary,
    Use,
    masked,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from loyalty.accesslog.model import Look as Looked
    from loyalty.consent.model import Record, Standing
    from loyalty.consent.opt_in import OptIn
    from loyalty.consent.purposes import Purpose as Configured
    from loyalty.jobs.runner import Runner
    from loyalty.jobs.store import JobStore
    from loyalty.journal.drafts import Stores
    from loyalty.privacy.service import Desk
    from loyalty.program.model import Program
    from loyalty.web.model import Status
    from loyalty.web.sessions import Door
    from loyalty.web.texts import Words

ACTIVITIES_SHOWN = 5
HISTORY_PAGE = 10


class Way(NamedTuple):
    """How a decision reached us: the record's method, and who wrote it."""

    method: str
    by: str


BY_FORM = Way("form", "preference-centre")
BY_LINK = Way("link", "unsubscribe-link")


class Centre(NamedTuple):
    """What the pages stand on.

    `looks_at` gives who looked at a member's data, at most so many, newest first.
    """

    door: Door
    stores: Stores
    desk: Desk
    jobs: JobStore
    runner: Runner
    opt_in: OptIn
    looks_at: Callable[[str, int], Sequence[Looked]]


def shop_name(at: datetime, centre: Centre) -> str:
    """The name of the programme that rules now; nothing before the first is published."""
    program = _program(at, centre)
    return program.name if program else ""


def zone(at: datetime, centre: Centre) -> ZoneInfo:
    """The shop's time zone."""
    program = _program(at, centre)
    return program.zone if program else UTC_ZONE


def _program(at: datetime, centre: Centre) -> Program | None:
    try:
        return centre.stores.programs.at(at)
    except NoProgramError:
        return None


def require_member(member_id: str, centre: Centre) -> None:
    """Let only a member in.

    Raises:
        MemberNotFoundError: there is none of that id, or not any more.
    """
    if not centre.stores.members.exists(member_id):
        raise MemberNotFoundError


def purposes(say: Words, centre: Centre) -> tuple[Purpose, ...]:
    """All that a member decides on, in the order of the page."""
    return tuple(
        Purpose(each.name, *each.text(say.language), channels_of(each))
        for each in _asked_for(centre)
    )


def _asked_for(centre: Centre) -> list[Configured]:
    return [each for each in centre.stores.consents.purposes.all().values() if each.needs_consent]


def channels_of(purpose: Configured) -> tuple[str | None, ...]:
    """The channels of a purpose, or None alone for one that holds everywhere."""
    return purpose.channels or (None,)


def other_uses(say: Words, centre: Centre) -> tuple[Use, ...]:
    """All that is done without asking, and what entitles the shop to it."""
    return tuple(
        Use(*each.text(say.language)[:2], say(f"basis.{each.basis}"))
        for each in centre.stores.consents.purposes.all().values()
        if not each.needs_consent
    )


def titles(say: Words, centre: Centre) -> dict[str, str]:
    """What to call each purpose and each other use, by name."""
    known = centre.stores.consents.purposes.all()
    return {name: each.text(say.language).title for name, each in known.items()}


def notice(say: Words, centre: Centre) -> Notice | None:
    """The notice on which decisions of this page are taken: the newest that has the language."""
    for each in centre.stores.consents.notices.page(before=None, limit=1):
        text = each.texts.get(say.language)
        return Notice(each.version, text) if text else None
    return None


def standings(member_id: str, *, at: datetime, centre: Centre) -> Standings:
    """What holds now, read live."""
    held = centre.stores.consents.standing(member_id)
    places = [(each.name, name) for each in _asked_for(centre) for name in channels_of(each)]
    return Standings(
        {place: _status(held, place, at) for place in places}, is_restricted=held.restricted
    )


def _status(held: Standing, place: tuple[str, str | None], at: datetime) -> Status:
    found = held.state(*place)
    if found is None or (found.status == "granted" and not found.holds(at)):
        return "unknown"
    return found.status


def decide(
    member_id: str,
    choices: Sequence[Choice],
    *,
    notice_version: str | None,
    language: str,
    has_signal: bool,
    at: datetime,
    centre: Centre,
) -> Receipt:
    """Record what the member chose; it holds for the next request on every worker.

    Args:
        member_id: who decides.
        choices: at least one.
        notice_version: of the notice that the page showed.
        language: of the page.
        has_signal: whether the browser sent `Sec-GPC: 1` along.
        at: now.
        centre: the stores.

    Raises:
        MemberNotFoundError: there is no such member, or not any more.
        UnknownNoticeError, GuardianRequiredError, NotForMinorsError, AgeUnknownError: as they say.
    """
    decisions = [Decision(each.purpose, each.granted, each.channel) for each in choices]
    made = _record(
        member_id,
        decisions,
        BY_FORM,
        at=at,
        centre=centre,
        notice_version=notice_version,
        language=language if notice_version else None,
        has_signal=has_signal,
    )
    return _receipt(made)


def note_signal(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Record, once, that the member's browser refuses sharing and profiling (`Sec-GPC: 1`)."""
    service.note_signal(
        member_id,
        at=at,
        by=BY_FORM.by,
        consents=centre.stores.consents,
        members=centre.stores.members,
    )


def withdraw_all(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Withdraw every yes at once, on every channel; nothing is written where there is none."""
    held = centre.stores.consents.standing(member_id)
    if not any(each.status in ("granted", "pending") for each in held.flags.values()):
        return
    service.withdraw_all(
        member_id,
        at=at,
        by=BY_FORM.by,
        method=BY_FORM.method,
        consents=centre.stores.consents,
        members=centre.stores.members,
        restricted=False,
    )


def stop_marketing(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Object to marketing on every channel (Art. 21(2)): only the member can lift that."""
    objection = Decision(MARKETING, granted=False, objection=True)
    _record(member_id, [objection], BY_FORM, at=at, centre=centre)


def unsubscribe(member_id: str, channel: str, *, at: datetime, centre: Centre) -> bool:
    """End marketing on a channel at once; whether there was anything to end.

    A mail provider may send the same click many times: only the first writes. For a member that is
    gone there is nothing left to send, so what was asked for holds.
    """
    held = centre.stores.consents.standing(member_id).state(MARKETING, channel)
    if held is not None and held.status in ("refused", "withdrawn", "objected"):
        return False
    # Not an objection: that would end what the member wants to have on other channels, too.
    refusal = Decision(MARKETING, granted=False, channel=channel)
    try:
        _record(member_id, [refusal], BY_LINK, at=at, centre=centre)
    except MemberNotFoundError:
        return False
    return True


def history(
    member_id: str, *, before_seq: int | None, centre: Centre
) -> tuple[list[Receipt], int | None]:
    """A page of a member's decisions, newest first, and where the next page begins."""
    found = centre.stores.consents.page(member_id, before_seq=before_seq, limit=HISTORY_PAGE + 1)
    shown = [_receipt(each) for each in found[:HISTORY_PAGE]]
    return shown, shown[-1].seq if len(found) > HISTORY_PAGE else None


def receipt(member_id: str, seq: int, *, centre: Centre) -> dict[str, Any] | None:
    """The receipt of a record, ISO/IEC TS 27560:2023, to keep; None if there is no such record."""
    consents = centre.stores.consents
    found = consents.page(member_id, before_seq=seq + 1, limit=1)
    if not found or found[0].seq != seq:
        return None
    return receipt_of(
        found[0],
        notice=_notice_of(found[0], centre),
        purposes=consents.purposes.all(),
        controller=Controller(centre.opt_in.url),
    )


def _notice_of(record: Record, centre: Centre) -> Any:  # noqa: ANN401  # a notice of the store
    try:
        version = record.notice_version
        return centre.stores.consents.notices.get(version) if version else None
    except NoticeNotFoundError:
        return None


def summary(member_id: str, *, at: datetime, centre: Centre) -> Summary:
    """What is known of a member, in short, with identifiers that only their owner recognises.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    stores = centre.stores
    member = stores.members.get(member_id)
    has = wallet(stores.journal.head(member_id), stores.programs, at)
    entries = stores.journal.page(member_id, before_seq=None, limit=ACTIVITIES_SHOWN)
    return Summary(
        enrolled_at=member.enrolled_at,
        identifiers=[
            Identified(each.identifier.type, masked(each.identifier.type, each.identifier.value))
            for each in member.identifiers
        ],
        points=has["balance"],
        pending=has["pending"],
        tier=has["tier"]["name"] if has["tier"] else None,
        activities=[
            Activity(each.kind, each.channel, each.occurred_at, each.points) for each in entries
        ],
    )


def confirm(token: str, *, at: datetime, centre: Centre) -> None:
    """Confirm the consent that a link of a double opt-in stands for.

    Raises:
        InvalidLinkError, AlreadyConfirmedError: as they say.
    """
    opt_in.confirm(
        token,
        at=at,
        links=centre.opt_in.links,
        consents=centre.stores.consents,
        members=centre.stores.members,
    )


def _record(
    member_id: str,
    decisions: Sequence[Decision],
    way: Way,
    *,
    at: datetime,
    centre: Centre,
    **more: Any,  # noqa: ANN401  # as `consent.service.record` takes them
) -> Record:
    return service.record(
        member_id,
        decisions,
        method=way.method,
        at=at,
        by=way.by,
        consents=centre.stores.consents,
        members=centre.stores.members,
        opt_in=centre.opt_in,
        **more,
    )


def _receipt(record: Record) -> Receipt:
    return Receipt(
        record.id,
        record.seq,
        record.recorded_at,
        record.method,
        record.notice_version,
        [(each.purpose, each.channel, each.status) for each in record.decisions],
    )
