"""Rights on the pages: what a member asks for, put to the desk where the shop answers.

All of it refuses as `privacy.rights` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.privacy import export as exports
from loyalty.privacy import identity
from loyalty.privacy import rights as desk_of
from loyalty.privacy.rights import Asking
from loyalty.web.model import Asked, BeingErasedError, Look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from loyalty.privacy.identity import Sent
    from loyalty.privacy.model import Kind, Request
    from loyalty.web.backing import Centre
    from loyalty.web.model import ExportForm, Session

BY = "preference-centre"
LOOKS_PAGE = 50


def require_staying(member_id: str, *, centre: Centre) -> None:
    """Let nobody in who asked for the erasure, though it takes a minute to be done.

    Raises:
        BeingErasedError: it is asked for, and sure from whom.
    """
    asked = centre.desk.requests.open_of(member_id, "erasure")
    if asked is not None and asked.status == "open":
        raise BeingErasedError


def send_code(session: Session, *, language: str, at: datetime, centre: Centre) -> Sent:
    """Have a code sent to the member.

    Raises:
        MemberNotFoundError, NoAddressError, TooManyCodesError: as they say.
    """
    return identity.send_code(session.member_id, language=language, at=at, desk=centre.desk)


def check_code(session: Session, code: str, *, at: datetime, centre: Centre) -> bool:
    """Whether it is the code; tries are bounded."""
    return identity.check_code(session.member_id, code, at=at, desk=centre.desk)


def export(
    session: Session, form: ExportForm, *, language: str, at: datetime, centre: Centre
) -> Iterator[bytes]:
    """All that is held about the member: as a page (Art. 15), or for another program (Art. 20)."""
    asking = _asking(session, language=language, at=at, centre=centre)
    kind: Kind = "portability" if form == "json" else "access"
    opened = desk_of.ask(session.member_id, kind, asking)
    found = exports.stream(session.member_id, form=form, language=language, at=at, desk=centre.desk)
    return exports.answering(found, opened, asking)


def correct(session: Session, text: str, *, language: str, at: datetime, centre: Centre) -> Asked:
    """Ask for a correction, in the member's words."""
    asking = _asking(session, language=language, at=at, centre=centre)
    return _asked(desk_of.ask(session.member_id, "rectification", asking, {"text": text}))


def restrict(
    session: Session, *, restricted: bool, language: str, at: datetime, centre: Centre
) -> None:
    """Stop every use that the member may stop, or let it go on."""
    asking = _asking(session, language=language, at=at, centre=centre)
    desk_of.restrict(session.member_id, asking, restricted=restricted)


def erase(session: Session, *, language: str, at: datetime, centre: Centre) -> Asked:
    """Ask for the erasure; from here on nothing of the member is used."""
    asking = _asking(session, language=language, at=at, centre=centre)
    return _asked(desk_of.erase(session.member_id, asking, jobs=centre.jobs, runner=centre.runner))


def _asking(session: Session, *, language: str, at: datetime, centre: Centre) -> Asking:
    return Asking(session.proof, BY, at, centre.desk, language=language)


def looks(member_id: str, *, centre: Centre) -> Sequence[Look]:
    """Who looked at the member's data, newest first: a line for each key, purpose and day.

    The log has one for each route, too; a member would see the same line again and again.
    """
    lines: dict[tuple[object, str, str], Look] = {}
    for each in centre.looks_at(member_id, LOOKS_PAGE):
        place, tally = each.place, each.tally
        who = each.key_name or place.key_id
        seen = lines.get((place.day, place.key_id, place.purpose))
        lines[place.day, place.key_id, place.purpose] = Look(
            who,
            place.purpose,
            min(tally.first_at, seen.first_at) if seen else tally.first_at,
            max(tally.last_at, seen.last_at) if seen else tally.last_at,
            tally.times + (seen.times if seen else 0),
        )
    return sorted(lines.values(), key=lambda each: each.last_at, reverse=True)


def _asked(request: Request) -> Asked:
    return Asked(request.id, request.due_at)
