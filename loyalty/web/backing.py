"""What the pages ask of the nouns, in one place: each function is one question or one order.

The pages know nothing of stores. What another noun answers for the pages (rights, the log of who
looked, double opt-in) comes in by a protocol; where nobody answers, the page says that it is not
available.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from loyalty.consent import service as consent
from loyalty.consent.model import (
    MARKETING,
    MARKETING_CHANNELS,
    PURPOSES,
    PURPOSES_BY_CHANNEL,
    Decision,
)
from loyalty.journal.wallet import wallet
from loyalty.kit.errors import UnavailableError
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
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from loyalty.consent.model import Record
    from loyalty.journal.drafts import Stores
    from loyalty.program.model import Program
    from loyalty.web.model import Asked, ExportForm, Look, Sent, Session, Status
    from loyalty.web.sessions import Door
    from loyalty.web.texts import Words

ACTIVITIES_SHOWN = 5
HISTORY_PAGE = 10
LOOKS_PAGE = 50
# What rests on the contract, the law or a legitimate interest: the register's names.
USES = ("loyalty_programme", "accounting", "rights", "security")


class Way(NamedTuple):
    """How a decision reached us: the record's method, and who wrote it."""

    method: str
    by: str


BY_FORM = Way("form", "preference-centre")
BY_LINK = Way("link", "unsubscribe-link")


class Rights(Protocol):
    """Exercises a member's rights."""

    def ask(  # noqa: D102  # said by the class
        self,
        member_id: str,
        kind: str,
        *,
        proof: str,
        language: str,
        at: datetime,
        details: Mapping[str, Any] | None = None,
    ) -> Asked: ...

    def export(  # noqa: D102
        self, member_id: str, *, form: ExportForm, language: str, at: datetime
    ) -> Iterator[bytes]: ...

    def restrict(self, member_id: str, *, restricted: bool, at: datetime) -> None: ...  # noqa: D102

    def send_code(self, member_id: str, *, language: str, at: datetime) -> Sent: ...  # noqa: D102

    def check_code(self, member_id: str, code: str, *, at: datetime) -> bool: ...  # noqa: D102


class Watching(Protocol):
    """Knows who looked at a member's data."""

    def looks(self, member_id: str, *, limit: int) -> Sequence[Look]: ...  # noqa: D102


class OptIn(Protocol):
    """Confirms a consent that waits for the second step."""

    def confirm(self, token: str, *, at: datetime) -> None: ...  # noqa: D102


class Centre(NamedTuple):
    """What the pages stand on."""

    door: Door
    stores: Stores
    rights: Rights | None = None
    watching: Watching | None = None
    opt_in: OptIn | None = None


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


def purposes(say: Words, centre: Centre) -> tuple[Purpose, ...]:  # noqa: ARG001
    """All that a member decides on, in the order of the page."""
    return tuple(
        Purpose(
            name,
            say(f"purpose.{name}.title"),
            say(f"purpose.{name}.why"),
            say(f"purpose.{name}.benefit"),
            MARKETING_CHANNELS if name in PURPOSES_BY_CHANNEL else (None,),
        )
        for name in PURPOSES
    )


def other_uses(say: Words, centre: Centre) -> tuple[Use, ...]:  # noqa: ARG001
    """All that is done without asking, and what entitles the shop to it."""
    return tuple(
        Use(say(f"use.{name}.title"), say(f"use.{name}.why"), say(f"use.{name}.basis"))
        for name in USES
    )


def titles(say: Words, centre: Centre) -> dict[str, str]:
    """What to call each purpose and each other use, by name."""
    asked = {each.name: each.title for each in purposes(say, centre)}
    return {name: say(f"use.{name}.title") for name in USES} | asked


def notice(say: Words, centre: Centre) -> Notice | None:  # noqa: ARG001
    """The notice on which decisions of this page are taken; none is published today."""
    return None


def standings(member_id: str, centre: Centre) -> Standings:
    """What holds now, read live."""
    flags = centre.stores.consents.head(member_id)[1]
    places = [(name, channel) for name in PURPOSES for channel in channels_of(name)]
    return Standings(
        {
            (name, channel): _status(granted=flags.allows(name, channel))
            for name, channel in places
            if _was_asked(flags.granted, name, channel)
        }
    )


def channels_of(purpose: str) -> tuple[str | None, ...]:
    """The channels of a purpose, or None alone for one that holds everywhere."""
    return MARKETING_CHANNELS if purpose in PURPOSES_BY_CHANNEL else (None,)


def _was_asked(granted: Mapping[str, bool], purpose: str, channel: str | None) -> bool:
    return Decision(purpose, granted=False, channel=channel).flag in granted


def _status(*, granted: bool) -> Status:
    return "granted" if granted else "refused"


def decide(
    member_id: str,
    choices: Sequence[Choice],
    *,
    notice_version: str | None,
    language: str,  # noqa: ARG001  # a record will name the language of the notice
    has_signal: bool,  # noqa: ARG001  # a record will say it
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
    """
    return _receipt(
        _record(member_id, choices, BY_FORM, at=at, centre=centre, notice_version=notice_version)
    )


def note_signal(member_id: str, *, at: datetime, centre: Centre) -> None:
    """Record, once, that the member's browser refuses sharing and profiling (`Sec-GPC: 1`)."""


def withdraw_all(member_id: str, *, at: datetime, centre: Centre) -> Receipt | None:
    """Refuse every purpose on every channel at once; None where all is refused already."""
    held = standings(member_id, centre)
    places = [(name, channel) for name in PURPOSES for channel in channels_of(name)]
    return _refuse(member_id, places, held, at, centre)


def stop_marketing(member_id: str, *, at: datetime, centre: Centre) -> Receipt | None:
    """Object to marketing on every channel; None where that holds already."""
    held = standings(member_id, centre)
    places = [(MARKETING, channel) for channel in MARKETING_CHANNELS]
    return _refuse(member_id, places, held, at, centre)


def unsubscribe(member_id: str, channel: str, *, at: datetime, centre: Centre) -> bool:
    """End marketing on a channel at once; whether there was anything to end.

    A mail provider may send the same click many times: only the first writes. For a member that is
    gone there is nothing left to send, so what was asked for holds.
    """
    if standings(member_id, centre).of(MARKETING, channel) in ("refused", "withdrawn", "objected"):
        return False
    choice = Choice(MARKETING, channel, granted=False)
    try:
        _record(member_id, [choice], BY_LINK, at=at, centre=centre)
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
    """The receipt of a record as a document the member can keep; None if there is none."""
    found = centre.stores.consents.page(member_id, before_seq=seq + 1, limit=1)
    if not found or found[0].seq != seq:
        return None
    record = found[0]
    return {
        "id": record.id,
        "recorded_at": record.recorded_at,
        "method": record.method,
        "notice_version": record.notice_version,
        "decisions": [
            {"purpose": each.purpose, "channel": each.channel, "granted": each.granted}
            for each in record.decisions
        ],
    }


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


def looks(member_id: str, centre: Centre) -> Sequence[Look]:
    """Who looked at the member's data, newest first.

    Raises:
        UnavailableError: no log of that is kept.
    """
    if centre.watching is None:
        raise UnavailableError
    return centre.watching.looks(member_id, limit=LOOKS_PAGE)


def send_code(session: Session, *, language: str, at: datetime, centre: Centre) -> Sent:
    """Have a code sent to the member."""
    return _rights(centre).send_code(session.member_id, language=language, at=at)


def check_code(session: Session, code: str, *, at: datetime, centre: Centre) -> bool:
    """Whether it is the code; tries are bounded."""
    return _rights(centre).check_code(session.member_id, code, at=at)


def export(
    session: Session, form: ExportForm, *, language: str, at: datetime, centre: Centre
) -> Iterator[bytes]:
    """All that is held about the member: as a page (Art. 15), or for another program (Art. 20)."""
    kind = "portability" if form == "json" else "access"
    _ask(session, kind, language=language, at=at, centre=centre)
    return _rights(centre).export(session.member_id, form=form, language=language, at=at)


def correct(session: Session, text: str, *, language: str, at: datetime, centre: Centre) -> Asked:
    """Ask for a correction, in the member's words."""
    details = {"text": text}
    return _ask(session, "rectification", language=language, at=at, centre=centre, details=details)


def restrict(session: Session, *, restricted: bool, at: datetime, centre: Centre) -> None:
    """Stop every use that the member may stop, or let it go on."""
    _rights(centre).restrict(session.member_id, restricted=restricted, at=at)


def erase(session: Session, *, language: str, at: datetime, centre: Centre) -> Asked:
    """Ask for the erasure; from here on nothing of the member is used."""
    return _ask(session, "erasure", language=language, at=at, centre=centre)


def _rights(centre: Centre) -> Rights:
    if centre.rights is None:
        raise UnavailableError
    return centre.rights


def confirm(token: str, *, at: datetime, centre: Centre) -> None:
    """Confirm the consent that a link of a double opt-in stands for.

    Raises:
        UnavailableError: there is no double opt-in.
    """
    if centre.opt_in is None:
        raise UnavailableError
    centre.opt_in.confirm(token, at=at)


def _ask(
    session: Session,
    kind: str,
    *,
    language: str,
    at: datetime,
    centre: Centre,
    details: Mapping[str, Any] | None = None,
) -> Asked:
    """Open a request to exercise a right; one of the kind that is open already is given back."""
    return _rights(centre).ask(
        session.member_id,
        kind,
        proof=session.proof,
        language=language,
        at=at,
        details=details,
    )


def _refuse(
    member_id: str,
    places: Sequence[tuple[str, str | None]],
    held: Standings,
    at: datetime,
    centre: Centre,
) -> Receipt | None:
    open_ = [place for place in places if held.of(*place) not in ("refused", "objected")]
    if not open_:
        return None
    choices = [Choice(*place, granted=False) for place in open_]
    return _receipt(_record(member_id, choices, BY_FORM, at=at, centre=centre))


def _record(
    member_id: str,
    choices: Sequence[Choice],
    way: Way,
    *,
    at: datetime,
    centre: Centre,
    notice_version: str | None = None,
) -> Record:
    return consent.record(
        member_id,
        [Decision(each.purpose, granted=each.granted, channel=each.channel) for each in choices],
        method=way.method,
        notice_version=notice_version,
        at=at,
        by=way.by,
        consents=centre.stores.consents,
        members=centre.stores.members,
    )


def _receipt(record: Record) -> Receipt:
    return Receipt(
        record.id,
        record.seq,
        record.recorded_at,
        record.method,
        record.notice_version,
        [(each.purpose, each.channel, _status(granted=each.granted)) for each in record.decisions],
    )
