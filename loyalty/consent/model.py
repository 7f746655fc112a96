"""Purposes, decisions and the gate, as values. Unknown means no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loyalty.kit.errors import ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

PERSONALISATION = "personalisation"
MARKETING = "marketing"
SOCIAL_ENGAGEMENT = "social_engagement"
STAFF_VIEW = "staff_view"
ANALYTICS = "analytics"
HOUSEHOLD_POOLING = "household_pooling"
POINTS_TRANSFER = "points_transfer"

PURPOSES: dict[str, str] = {
    PERSONALISATION: "choose what to show from what the member did",
    MARKETING: "send offers on a channel",
    SOCIAL_ENGAGEMENT: "track what the member does on social networks",
    STAFF_VIEW: "show the member's history to shop staff",
    ANALYTICS: "count the member in statistics shared between people",
    HOUSEHOLD_POOLING: "let the household spend the member's points",
    POINTS_TRANSFER: "give points to other members and receive points from them",
}
# The only purpose that is agreed to channel by channel; the others hold everywhere.
PURPOSES_BY_CHANNEL = frozenset({MARKETING})
MARKETING_CHANNELS = ("email", "sms", "phone", "push", "post", "social")
METHODS = ("form", "till", "call", "import", "browser_signal")


class ConsentRequiredError(ForbiddenError):
    """The member has not agreed to this use."""

    code = "consent_required"
    title = "The member has not agreed to this"


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no to one purpose, on one channel where the purpose has channels."""

    purpose: str
    granted: bool
    channel: str | None = None

    @property
    def flag(self) -> str:
        """The name of the flag it sets."""
        return flag_of(self.purpose, self.channel)


@dataclass(frozen=True, slots=True)
class Flags:
    """What a member agrees to at this moment: the newest decision on each purpose and channel."""

    granted: Mapping[str, bool] = field(default_factory=dict)

    def allows(self, purpose: str, channel: str | None = None) -> bool:
        """Whether this use is agreed to. What was never asked is refused."""
        return self.granted.get(flag_of(purpose, channel)) is True


@dataclass(frozen=True, slots=True)
class Record:
    """What a member decided, when, how and on which notice. Never changed, never deleted."""

    id: str
    member_id: str
    seq: int
    decisions: tuple[Decision, ...]
    flags: Flags
    method: str
    notice_version: str | None
    recorded_at: datetime
    recorded_by: str


def flag_of(purpose: str, channel: str | None) -> str:
    """The name of a flag: `personalisation`, `marketing:email`."""
    return f"{purpose}:{channel}" if channel else purpose


def decided(flags: Flags, decisions: Sequence[Decision]) -> Flags:
    """The flags after the decisions."""
    return Flags({**flags.granted, **{each.flag: each.granted for each in decisions}})
