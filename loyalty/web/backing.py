"""What the pages ask of consents and of the programme, each function one question or one order.

What they ask for members' rights is in `rights`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.consent import opt_in as double_opt_in
from loyalty.consent import service as consent
from loyalty.consent.asking import flags_of
from loyalty.consent.model import (
    GRANTED,
    MARKETING,
    OBJECTED,
    PENDING,
    Decision,
    UnknownPurposeError,
)
from loyalty.consent.notices import NoticeNotFoundError
from loyalty.consent.receipts import receipt_of
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
    from loyalty.consent import purposes as known
    from loyalty.consent.model import Record, Standing
    from loyalty.consent.notices import Notice as Published
    from loyalty.consent.opt_in import OptIn
    from loyalty.consent.receipts import Controller, ControllerBook
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
    """What the pages stand on; `url` is where browsers reach them.

    `looks_at` gives who looked at a member's data, at most so many, newest first.
    """

    door: Door
    stores: Stores
    desk: Desk
    jobs: JobStore
    runner: Runner
    opt_in: OptIn
    url: str
    controllers: ControllerBook
    looks_at: Callable[[str, int], Sequence[Looked]]


def shop_name(at: datetime, centre: Centre) -> str:
    """The name of the programme that rules now; nothing before the first is published."""
    program = _program(at, centre)
    return program.name if program else ""


def controller(centre: Centre) -> Controller:
    """Who answers for the processing (Art. 13(1)(a)); empty where the shop has not said."""
    return centre.controllers.controller()


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
        for each in _known(centre)
        if each.needs_consent
    )


def other_uses(say: Words, centre: Centre) -> tuple[Use, ...]:
    """All that is done without asking, and what entitles the shop to it."""
    return tuple(
        Use(text.title, text.description, say(f"basis.{each.basis}", article=each.article))
        for each in _known(centre)
        if not each.needs_consent
        for text in [each.text(say.language)]
    )


def titles(say: Words, centre: Centre) -> dict[str, str]:
    """What to call each purpose, by name."""
    return {each.name: each.text(say.language).title for each in _known(centre)}


def notice(say: Words, centre: Centre) -> Notice | None:
    """The newest notice, on which decisions of this page are taken; None before the first."""
    newest = centre.stores.consents.notices.page(before=None, limit=1)
    if not newest:
        return None
    return Notice(newest[0].version, newest[0].texts[_language_of(newest[0], say.language)])


def standings(member_id: str, *, at: datetime, centre: Centre) -> Standings:
    """What holds now, read live."""
    standing = centre.stores.consents.standing(member_id)
    places = [(each.name, channel) for each in _known(centre) for channel in channels_of(each)]
    statuses = {place: _status(standing, *place, at) for place in places}
    return Standings(statuses, standing.restricted)


def channels_of(purpose: known.Purpose) -> tuple[str | None, ...]:
    """The channels of a purpose, or None alone for one that holds everywhere."""
    return purpose.channels or (None,)


def _known(centre: Centre) -> Sequence[known.Purpose]:
    return list(centre.stores.consents.purposes.all().values())


def _status(standing: Standing, purpose: str, channel: str | None, at: datetime) -> Status:
    state = standing.state(purpose, channel)
    if state is None:
        return "unknown"
    if state.pending:
        # Over an old no, or an objection, a yes waits as well.
        return "pending"
    return "expired" if state.status == GRANTED and not state.holds(at) else state.status


def _language_of(notice: Published, language: str) -> str:
    """The language in which the page shows a notice: the page's, if the notice has it."""
    return next(each for each in (language, "en", *notice.texts) if each in notice.texts)


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
        GuardianRequiredError, NotForMinorsError, AgeUnknownError: as they say.
    """
    shown = _notice(notice_version, centre)
    record = consent.record(
        member_id,
        [Decision(each.purpose, granted=each.granted, channel=each.channel) for each in choices],
        method=BY_FORM.method,
        notice_version=shown.version if shown else None,
        language=_language_of(shown, language) if shown else None,
        has_signal=has_signal,
        at=at,
        by=BY_FORM.by,
        consents=centre.stores.consents,
        members=centre.stores.members,
        opt_in=centre.opt_in,
    )
    return _receipt(record)


def _notice(version: str | None, centre: Centre) -> Published | None:
    try:
        return centre.stores.consents.notices.get(version) if version else None
    except NoticeNotFoundError:
        return None


def note_signal(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Record, once, that the member's browser refuses sharing and profiling (`Sec-GPC: 1`)."""
    stores = centre.stores
    consent.note_signal(
        member_id, at=at, by=BY_FORM.by, consents=stores.consents, members=stores.members
    )


def withdraw_all(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Withdraw all that the member agreed to, at once; no record where all is refused already."""
    stores = centre.stores
    flags = stores.consents.standing(member_id).flags
    is_open = any(each.status in (GRANTED, PENDING) or each.pending for each in flags.values())
    # A yes that was said earlier and comes later is met by a no that stands on record.
    if is_open or not flags.keys() >= set(flags_of(stores.consents.purposes.all())):
        consent.withdraw_all(
            member_id,
            at=at,
            by=BY_FORM.by,
            method=BY_FORM.method,
            consents=stores.consents,
            members=stores.members,
            restricted=False,
        )


def stop_marketing(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Object to marketing (Art. 21(2) GDPR): on every channel, and only the member lifts it."""
    state = centre.stores.consents.standing(member_id).state(MARKETING)
    if state is None or state.status != OBJECTED:
        objection = Decision(MARKETING, granted=False, objection=True)
        _record(member_id, objection, BY_FORM, at=at, centre=centre)


def unsubscribe(member_id: str, channel: str, *, at: datetime, centre: Centre) -> bool:
    """End marketing on a channel at once; whether there was anything to end.

    A mail provider may send the same click many times: only the first writes. For a member that is
    gone there is nothing left to send, so what was asked for holds.
    """
    state = centre.stores.consents.standing(member_id).state(MARKETING, channel)
    if state is not None and state.status not in (GRANTED, PENDING) and not state.pending:
        return False
    try:
        refusal = Decision(MARKETING, granted=False, channel=channel)
        _record(member_id, refusal, BY_LINK, at=at, centre=centre)
    except (MemberNotFoundError, UnknownPurposeError):
        # Nor is there anything to end on a channel that the shop gave up and the member never took.
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
    """The receipt of a record (ISO/IEC TS 27560) for the member to keep; None if there is none."""
    consents = centre.stores.consents
    found = consents.page(member_id, before_seq=seq + 1, limit=1)
    if not found or found[0].seq != seq:
        return None
    return receipt_of(
        found[0],
        notice=_notice(found[0].notice_version, centre),
        purposes=consents.purposes.all(),
        controller=centre.controllers.controller(),
    )


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
        InvalidLinkError: it is forged or expired, or its member is gone.
        AlreadyConfirmedError: it was used, or the member has decided otherwise since.
    """
    double_opt_in.confirm(
        token,
        at=at,
        links=centre.door.links,
        consents=centre.stores.consents,
        members=centre.stores.members,
    )


def _record(member_id: str, decision: Decision, way: Way, *, at: datetime, centre: Centre) -> None:
    consent.record(
        member_id,
        [decision],
        method=way.method,
        at=at,
        by=way.by,
        consents=centre.stores.consents,
        members=centre.stores.members,
    )


def _receipt(record: Record) -> Receipt:
    return Receipt(
        record.id,
        record.seq,
        record.kind,
        record.recorded_at,
        record.method,
        record.notice_version,
        [
            # A yes that waits leaves the flag where it was; the member wants to see the yes.
            (each.purpose, each.channel, PENDING if each.asked == PENDING else each.status)
            for each in record.decisions
        ],
    )
