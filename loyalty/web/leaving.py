"""Pages behind links in e-mails: one-click unsubscribe (RFC 8058), and the second opt-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, request

from loyalty.access.links import LINK_CHARS_MAX, InvalidLinkError
from loyalty.kit.clock import now
from loyalty.kit.errors import FieldError, InvalidError, UnsupportedMediaError
from loyalty.kit.http import Blueprint as Declared
from loyalty.kit.http import provided
from loyalty.web import backing, pages, sessions

if TYPE_CHECKING:
    from flask import Response

blp = Blueprint("leaving", __name__)
pages.serve_people(blp)

FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
FIELD, WORD = "List-Unsubscribe", "One-Click"


@blp.get("/unsubscribe/<link>")
@Declared.public()
def ask(link: str) -> Response:
    """Show a button. A scanner that follows every link of an e-mail changes nothing."""
    centre = provided(backing.Centre)
    _, channel = sessions.read_unsubscribe(link, at=now(), door=centre.door)
    return pages.page("unsubscribe.html", pages.words(), channel=channel, link=link, is_done=False)


@blp.post("/unsubscribe/<link>")
@Declared.public()
def leave(link: str) -> Response:
    """End marketing on the link's channel: no login, no cookie, no redirect, no second question.

    It is answered alike the first time, the hundredth, and for a member that was erased: in each
    case no more of it is sent, which is all that the receiver asks.
    """
    centre, at = provided(backing.Centre), now()
    member_id, channel = sessions.read_unsubscribe(link, at=at, door=centre.door)
    _require_one_click()
    backing.unsubscribe(member_id, channel, at=at, centre=centre)
    return pages.page("unsubscribe.html", pages.words(), channel=channel, link=link, is_done=True)


def _require_one_click() -> None:
    """RFC 8058, section 3.1: the body says that it is a click and not a fetch."""
    if request.mimetype not in FORMS:
        raise UnsupportedMediaError(f"Send the body as {' or '.join(FORMS)}.")
    if request.form.get(FIELD) != WORD:
        mistake = FieldError(FIELD, f"Must be {WORD}.")
        raise InvalidError(f"{FIELD}: {mistake.message}", errors=(mistake,))


@blp.get("/confirm")
@Declared.public()
def ask_to_confirm() -> Response:
    """Show a button; following the link changes nothing."""
    token = request.args.get("token", "")
    if not 0 < len(token) <= LINK_CHARS_MAX:
        raise InvalidLinkError
    return pages.page("confirm.html", pages.words(), token=token, is_done=False)


@blp.post("/confirm")
@Declared.public()
def confirm() -> Response:
    """Confirm the consent that waits for it."""
    token = request.form.get("token", "")
    backing.confirm(token, at=now(), centre=provided(backing.Centre))
    return pages.page("confirm.html", pages.words(), token=token, is_done=True)
