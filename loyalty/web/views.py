"""Links to the pages, over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, provided
from loyalty.kit.settings import Settings
from loyalty.members.model import MemberNotFoundError
from loyalty.web import backing, sessions
from loyalty.web.schemas import LINK_DAYS, LinkRequestSchema, LinkSchema
from loyalty.web.sessions import UNSUBSCRIBE

blp = Blueprint("links", __name__, description="Links for members to the pages of the service.")

ONE_CLICK = "List-Unsubscribe=One-Click"
_LINK = "https://loyalty.shop.example/preferences?link=gAAAAAB…"


@blp.route("/members/<member:member_id>/links", methods=["POST"])
@blp.requires("links:write", purpose="rights")
@blp.arguments(LinkRequestSchema, example={"use": "preferences", "expires_in_days": 7})
@blp.response(
    201, LinkSchema, example={"url": _LINK, "expires_at": "2026-03-08T09:30:00Z", "headers": {}}
)
@blp.raises(MemberNotFoundError)
def mint_link(body: dict[str, Any], member_id: str) -> Answer:
    """Mint a link for a member.

    To the preference centre, where the member sees what is known, decides and exercises rights; or
    to end marketing on a channel with one click. Nothing in a link can be read or guessed. Making
    one writes nothing, so each e-mail can have its own.
    """
    centre, at = provided(backing.Centre), now()
    backing.require_member(member_id, centre)
    if body["use"] == UNSUBSCRIBE:
        return _leaving(member_id, body["channel"], centre), 201, {}
    days = timedelta(days=body.get("expires_in_days", LINK_DAYS))
    text = sessions.preferences_link(member_id, at=at, lasts=days, door=centre.door)
    url = f"{provided(Settings).url}/preferences?link={text}"
    return {"url": url, "expires_at": at + days, "headers": {}}, 201, {}


def _leaving(member_id: str, channel: str, centre: backing.Centre) -> dict[str, Any]:
    text = sessions.unsubscribe_link(member_id, channel, door=centre.door)
    url = f"{provided(Settings).url}/unsubscribe/{text}"
    headers = {"List-Unsubscribe": f"<{url}>", "List-Unsubscribe-Post": ONE_CLICK}
    return {"url": url, "expires_at": None, "headers": headers if channel == "email" else {}}
