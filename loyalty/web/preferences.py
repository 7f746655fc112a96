"""The preference centre: plain forms, one POST a step, each of which carries the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from flask import Blueprint, Response, request

from loyalty.access.links import InvalidLinkError
from loyalty.kit.clock import now
from loyalty.kit.errors import InvalidError
from loyalty.kit.http import ORJSON_OPTIONS, provided
from loyalty.kit.http import Blueprint as Declared
from loyalty.web import backing, pages, sessions
from loyalty.web import rights as wishes
from loyalty.web.model import NotProvenError, Session, choices_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loyalty.web.model import ExportForm
    from loyalty.web.texts import Words

blp = Blueprint("preferences", __name__, url_prefix="/preferences")
pages.serve_people(blp)

DETAILS_MAX = 2000
CODE_MAX = 12
_DIGITS_MAX = 18
_EXPORTS: dict[str, tuple[ExportForm, str]] = {
    "json": ("json", "application/json"),
    "html": ("html", "text/html; charset=utf-8"),
}


class Visit(NamedTuple):
    """One step of a member at the preference centre."""

    session: Session
    say: Words
    at: datetime
    centre: backing.Centre

    @property
    def member_id(self) -> str:
        """Whose page it is."""
        return self.session.member_id

    def page(self, template: str, here: str, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
        """A page whose forms carry the session on.

        Args:
            template: its file.
            here: the path that shows it again, in another language.
            status: of the answer.
            values: what it shows.
        """
        known = {
            "session": sessions.seal(self.session, at=self.at, door=self.centre.door),
            "here": here,
            "is_proven": self.session.is_proven(self.at),
            "message": None,
        }
        return pages.page(template, self.say, status=status, **(known | values))


def _visit() -> Visit:
    """Who sent the form, and that they are still a member.

    Raises:
        InvalidLinkError, InvalidKeyError: the form does not say, or not any more.
        MemberNotFoundError: the member is gone.
        BeingErasedError: the member is about to be.
    """
    centre, at = provided(backing.Centre), now()
    session = sessions.enter(request.form, at=at, door=centre.door)
    backing.require_member(session.member_id, centre)
    wishes.require_staying(session.member_id, centre=centre)
    if _has_signal():
        backing.note_signal(session.member_id, at=at, centre=centre)
    return Visit(session, pages.words(), at, centre)


def _proven_visit() -> Visit:
    visit = _visit()
    if not visit.session.is_proven(visit.at):
        raise NotProvenError
    return visit


@blp.get("/style.css")
@Declared.public()
def style() -> Response:
    """The style sheet of all pages."""
    return pages.style()


@blp.get("")
@Declared.public()
def landing() -> Response:
    """Show a button and nothing else: whatever fetches the links of e-mails learns nothing."""
    link = request.args.get("link", "")
    centre = provided(backing.Centre)
    sessions.enter({"link": link}, at=now(), door=centre.door)
    return pages.page("landing.html", pages.words(), link=link)


@blp.get("/<path:step>")
@Declared.public()
def astray(step: str) -> Response:  # noqa: ARG001  # whichever it is
    """A step's address typed into the browser holds no session: say how to come back."""
    raise InvalidLinkError


@blp.post("")
@Declared.public()
def home() -> Response:
    """Show what is known, why, and what the member agrees to."""
    return _home(_visit())


def _home(visit: Visit, message: str | None = None) -> Response:
    centre, say = visit.centre, visit.say
    return visit.page(
        "home.html",
        "/preferences",
        summary=backing.summary(visit.member_id, at=visit.at, centre=centre),
        purposes=backing.purposes(say, centre),
        uses=backing.other_uses(say, centre),
        standings=backing.standings(visit.member_id, at=visit.at, centre=centre),
        notice=backing.notice(say, centre),
        sends_signal=_has_signal(),
        message=message,
    )


@blp.post("/choices")
@Declared.public()
def save() -> Response:
    """Record what the member changed."""
    visit = _visit()
    choices = choices_of(request.form, backing.purposes(visit.say, visit.centre))
    if not choices:
        return _home(visit, visit.say("saved.nothing"))
    receipt = backing.decide(
        visit.member_id,
        choices,
        notice_version=request.form.get("notice") or None,
        language=visit.say.language,
        has_signal=_has_signal(),
        at=visit.at,
        centre=visit.centre,
    )
    is_waiting = any(status == "pending" for *_, status in receipt.decisions)
    key = "saved.pending" if is_waiting else "saved.done"
    return _home(visit, visit.say(key, receipt=receipt.id))


@blp.post("/withdraw")
@Declared.public()
def withdraw() -> Response:
    """Withdraw everything at once."""
    visit = _visit()
    backing.withdraw_all(visit.member_id, at=visit.at, centre=visit.centre)
    return _home(visit, visit.say("saved.withdrawn"))


@blp.post("/stop-marketing")
@Declared.public()
def stop_marketing() -> Response:
    """Object to marketing on every channel."""
    visit = _visit()
    backing.stop_marketing(visit.member_id, at=visit.at, centre=visit.centre)
    return _home(visit, visit.say("saved.stopped"))


@blp.post("/history")
@Declared.public()
def history() -> Response:
    """Show what the member decided, newest first."""
    visit = _visit()
    before = _number("before")
    found, older = backing.history(visit.member_id, before_seq=before, centre=visit.centre)
    return visit.page(
        "history.html",
        "/preferences/history",
        receipts=found,
        older=older,
        before=before,
        titles=backing.titles(visit.say, visit.centre),
    )


@blp.post("/receipt")
@Declared.public()
def receipt() -> Response:
    """Give a decision's receipt as a file to keep."""
    visit = _visit()
    found = backing.receipt(visit.member_id, _number("seq") or 0, centre=visit.centre)
    if found is None:
        raise InvalidLinkError
    return _download(orjson.dumps(found, option=ORJSON_OPTIONS), "receipt.json", "application/json")


@blp.post("/looks")
@Declared.public()
def looks() -> Response:
    """Show who looked at the member's data, and what for."""
    visit = _visit()
    found = wishes.looks(visit.member_id, centre=visit.centre)
    return visit.page(
        "looks.html",
        "/preferences/looks",
        looks=found,
        titles=backing.titles(visit.say, visit.centre),
    )


@blp.post("/rights")
@Declared.public()
def rights() -> Response:
    """Show what the member can ask for."""
    return _rights(_visit())


def _rights(visit: Visit, message: str | None = None) -> Response:
    held = backing.standings(visit.member_id, at=visit.at, centre=visit.centre)
    return visit.page(
        "rights.html",
        "/preferences/rights",
        message=message,
        is_restricted=held.is_restricted,
        details_max=DETAILS_MAX,
    )


@blp.post("/code")
@Declared.public()
def send_code() -> Response:
    """Have a code sent to the member."""
    visit = _visit()
    sent = wishes.send_code(
        visit.session, language=visit.say.language, at=visit.at, centre=visit.centre
    )
    return _enter_code(visit, visit.say("code.sent", way=visit.say(f"code.by.{sent.channel}")))


@blp.post("/code/enter")
@Declared.public()
def enter_code() -> Response:
    """Show where the code goes."""
    return _enter_code(_visit())


def _enter_code(visit: Visit, message: str | None = None, error: str | None = None) -> Response:
    status = 200 if error is None else 403
    return visit.page(
        "code.html", "/preferences/code/enter", status=status, message=message, error=error
    )


@blp.post("/code/check")
@Declared.public()
def check_code() -> Response:
    """Let in who knows the code, for fifteen minutes."""
    visit = _visit()
    code = request.form.get("code", "").replace(" ", "")[:CODE_MAX]
    if not wishes.check_code(visit.session, code, at=visit.at, centre=visit.centre):
        return _enter_code(visit, error=visit.say("code.wrong"))
    session = sessions.proven(visit.session, "code", at=visit.at)
    return _rights(visit._replace(session=session), visit.say("code.right"))


@blp.post("/download")
@Declared.public()
def download() -> Response:
    """Give all that is held about the member: for reading, or for another program."""
    visit = _proven_visit()
    form, content_type = _EXPORTS.get(request.form.get("form", ""), _EXPORTS["html"])
    parts = wishes.export(
        visit.session, form, language=visit.say.language, at=visit.at, centre=visit.centre
    )
    return _download(_begun(parts), f"my-data.{form}", content_type)


@blp.post("/correct")
@Declared.public()
def correct() -> Response:
    """Ask for a correction, in the member's own words."""
    visit = _proven_visit()
    text = request.form.get("details", "").strip()[:DETAILS_MAX]
    if not text:
        raise InvalidError
    asked = wishes.correct(
        visit.session, text, language=visit.say.language, at=visit.at, centre=visit.centre
    )
    return _rights(visit, visit.say("correct.asked", day=visit.say.date(asked.due_at)))


@blp.post("/restrict")
@Declared.public()
def restrict() -> Response:
    """Stop every use that the member may stop, or let it go on."""
    visit = _proven_visit()
    restricted = request.form.get("restricted") != "no"
    wishes.restrict(
        visit.session,
        restricted=restricted,
        language=visit.say.language,
        at=visit.at,
        centre=visit.centre,
    )
    key = "restrict.stopped" if restricted else "restrict.resumed"
    return _rights(visit, visit.say(key))


@blp.post("/erasing")
@Declared.public()
def erasing() -> Response:
    """Say what an erasure does, and ask whether it is meant."""
    return _erasing(_proven_visit())


def _erasing(visit: Visit, error: str | None = None) -> Response:
    status = 200 if error is None else 422
    return visit.page("erasing.html", "/preferences/erasing", status=status, error=error)


@blp.post("/erase")
@Declared.public()
def erase() -> Response:
    """Ask for the erasure. From here on nothing of the member is used, and the session is over."""
    visit = _proven_visit()
    if request.form.get("sure") != "yes":
        return _erasing(visit, visit.say("erasing.not_sure"))
    asked = wishes.erase(
        visit.session, language=visit.say.language, at=visit.at, centre=visit.centre
    )
    return pages.page("erased.html", visit.say, asked=asked)


def _has_signal() -> bool:
    """Whether the browser refuses sharing and profiling: Global Privacy Control, exactly `1`."""
    return request.headers.get("Sec-GPC") == "1"


def _number(name: str) -> int | None:
    """A whole number of the form, or None for the first page."""
    text = request.form.get(name, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    return int(text) if is_number else None


def _begun(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The same stream, begun: what is refused at the start is refused with a page."""
    first = next(parts, b"")
    return _chained(first, parts)


def _chained(first: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from parts


def _download(body: bytes | Iterator[bytes], name: str, content_type: str) -> Response:
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Referrer-Policy": "no-referrer",
        # Whoever opens an export in a browser runs nothing that somebody wrote into their data.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
    }
    return Response(body, 200, headers, content_type=content_type)
