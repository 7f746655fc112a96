"""The shapes of links on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError as Mistake
from marshmallow import fields

from loyalty.consent.model import MARKETING_CHANNELS
from loyalty.kit.fields import Choice, Moment, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.web.sessions import PREFERENCES, UNSUBSCRIBE

if TYPE_CHECKING:
    from collections.abc import Mapping

LINK_DAYS_MAX = 30
LINK_DAYS = 7


class LinkRequestSchema(Input):
    """What the link is for. One for unsubscribing names the channel and never expires."""

    use = Choice((PREFERENCES, UNSUBSCRIBE), required=True)
    channel = Choice(MARKETING_CHANNELS)
    expires_in_days = Whole(1, LINK_DAYS_MAX)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [
            {
                "properties": {"use": {"enum": [PREFERENCES]}},
                "not": {"required": ["channel"]},
            },
            {
                "properties": {"use": {"enum": [UNSUBSCRIBE]}},
                "required": ["channel"],
                "not": {"required": ["expires_in_days"]},
            },
        ]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """A channel to unsubscribe from and nothing else; days for the other use alone."""
        is_leaving = data["use"] == UNSUBSCRIBE
        if is_leaving and "channel" not in data:
            raise Mistake("Name the channel that is unsubscribed from.", "channel")
        if not is_leaving and "channel" in data:
            raise Mistake("A link to the preference centre is for all channels.", "channel")
        if is_leaving and "expires_in_days" in data:
            raise Mistake("A link for unsubscribing does not expire.", "expires_in_days")


class LinkSchema(Output):
    """A link for one member, and the headers of an e-mail that carries it."""

    url = fields.String(required=True)
    expires_at = Moment(required=True, allow_none=True)
    headers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "For unsubscribing by e-mail (RFC 8058); else empty."},
    )
