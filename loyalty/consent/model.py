"""Decisions, where they leave a member, and the records of them, as values. Unknown means no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

PERSONALISATION = "personalisation"
# Explicit, Art. 9(2)(a) GDPR: opens nothing without `PERSONALISATION`.
SENSITIVE_PERSONALISATION = "sensitive_personalisation"
MARKETING = "marketing"
SOCIAL_ENGAGEMENT = "social_engagement"
STAFF_VIEW = "staff_view"
ANALYTICS = "analytics"
HOUSEHOLD_POOLING = "household_pooling"
POINTS_TRANSFER = "points_transfer"
SHARING = "sharing"
# Not by consent: see purposes.json.
LOYALTY_PROGRAMME = "loyalty_programme"
ACCOUNTING = "accounting"
RIGHTS = "rights"
SECURITY = "security"

# The built-in purposes that hang on consent.
PURPOSES = (
    PERSONALISATION,
    SENSITIVE_PERSONALISATION,
    MARKETING,
    SOCIAL_ENGAGEMENT,
    STAFF_VIEW,
    ANALYTICS,
    HOUSEHOLD_POOLING,
    POINTS_TRANSFER,
    SHARING,
)
# The only built-in purpose that is agreed to channel by channel; the others hold everywhere.
PURPOSES_BY_CHANNEL = frozenset({MARKETING})
MARKETING_CHANNELS = ("email", "sms", "phone", "push", "post", "social")
METHODS = (
    "form",
    "till",
    "call",
    "import",
    "browser_signal",
    "link",
    "guardian",
    "request",
    "unstated",
)
# What a server's call counts as that does not say how the member decided: no act of the member's.
UNSTATED = "unstated"
# A grant by one of these is the member's own act, so it lifts an objection.
OWN_METHODS = frozenset({"form", "call", "link", "guardian"})
LANGUAGE_PATTERN = "^[a-z]{2}(-[A-Z]{2})?$"

GRANTED: Literal["granted"] = "granted"
REFUSED: Literal["refused"] = "refused"
WITHDRAWN: Literal["withdrawn"] = "withdrawn"
OBJECTED: Literal["objected"] = "objected"
PENDING: Literal["pending"] = "pending"
Status: TypeAlias = Literal["granted", "refused", "withdrawn", "objected", "pending"]
STATUSES: tuple[Status, ...] = (GRANTED, REFUSED, WITHDRAWN, OBJECTED, PENDING)
Asked: TypeAlias = Literal["granted", "refused", "objected", "pending"]
Kind: TypeAlias = Literal["decision", "restriction", "age", "withdrawal", "confirmation", "signal"]


class ConsentRequiredError(ForbiddenError):
    """The member has not agreed to this use."""

    code = "consent_required"
    title = "The member has not agreed to this"


class UnknownPurposeError(ConflictError):
    """The shop has no such purpose, or it does not hang on consent."""

    code = "unknown_purpose"
    title = "There is no such purpose to agree to"


class UnknownNoticeError(ConflictError):
    """The shop published no notice of that version in that language."""

    code = "unknown_notice"
    title = "There is no such notice in that language"


class DecidedInFutureError(ConflictError):
    """The decision was not made yet, by our clock."""

    code = "in_future"
    title = "The time lies in the future"


class GuardianRequiredError(ConflictError):
    """The member is too young to agree alone."""

    code = "guardian_required"
    title = "The member is too young to agree to this without a guardian"


class NotForMinorsError(ConflictError):
    """No minor can agree to this, with a guardian or without."""

    code = "not_for_minors"
    title = "This is not offered to minors"


class AgeUnknownError(ConflictError):
    """The purpose wants the age to be known first."""

    code = "age_unknown"
    title = "The member's age has to be known first"


class MethodForbiddenError(ForbiddenError):
    """A browser's token says that a decision was made in a way only the shop can know of."""

    code = "method_forbidden"
    title = "A browser's token cannot record a decision made that way"


class RecordNotFoundError(NotFoundError):
    """The member has no such record."""

    code = "record_not_found"
    title = "The member has no such record"


class AlreadyConfirmedError(ConflictError):
    """The link was used, or the decision that it would confirm holds no longer."""

    code = "already_confirmed"
    title = "There is nothing left to confirm with this link"


@dataclass(frozen=True, slots=True)
class Decision:
    """What a member says to one purpose, on one channel where the purpose has channels.

    `objection` is Art. 21 GDPR: a refusal that nobody but the member can lift. A refusal of a
    purpose with channels that names none means all of them. `expires_at` ends a grant early.
    """

    purpose: str
    granted: bool
    channel: str | None = None
    objection: bool = False
    expires_at: datetime | None = None

    @property
    def flag(self) -> str:
        """The name of the flag it sets."""
        return flag_of(self.purpose, self.channel)


class Change(NamedTuple):
    """One decision as it is applied to one flag. `status` is where it left the flag then."""

    purpose: str
    channel: str | None
    asked: Asked
    expires_at: datetime | None = None
    status: Status = REFUSED

    @property
    def flag(self) -> str:
        """The name of the flag it sets."""
        return flag_of(self.purpose, self.channel)

    @property
    def granted(self) -> bool:
        """Whether the member said yes."""
        return self.asked in (GRANTED, PENDING)


class Said(NamedTuple):
    """A change with what its record says of it: when, how, where."""

    change: Change
    at: datetime
    method: str
    record_id: str
    notice_version: str | None = None
    has_signal: bool = False


class FlagState(NamedTuple):
    """Where a member stands on one purpose and channel.

    Attributes:
        status: what holds.
        at: when it was decided.
        method: how.
        expires_at: until when a grant holds; None for one that does not end by itself.
        notice_version: what the member had read.
        pending: the record whose link would turn this into a grant; "" for none.
        pending_at: when that was asked for.
        has_signal: whether it was granted by a request that carried `Sec-GPC: 1` itself.
    """

    status: Status
    at: datetime
    method: str
    expires_at: datetime | None = None
    notice_version: str | None = None
    pending: str = ""
    pending_at: datetime | None = None
    has_signal: bool = False

    def holds(self, at: datetime) -> bool:
        """Whether it is a grant that has not run out."""
        return self.status == GRANTED and (self.expires_at is None or at < self.expires_at)


class Age(NamedTuple):
    """What the gate may know of an age: nothing for an adult, the month of coming of age else.

    `adult_from` is the first of the month after the birthday of age, so that no birthday can be
    read from it.
    """

    adult_from: datetime | None = None

    def is_minor(self, at: datetime) -> bool:
        """Whether the member cannot agree alone at that moment."""
        return self.adult_from is not None and at < self.adult_from


@dataclass(frozen=True, slots=True)
class Standing:
    """All that holds for a member at this moment: what the newest record says.

    Attributes:
        seq: the newest record's number; 0 if there is none.
        hash: the newest record's, which the next one names.
        newest_at: the latest time of a decision so far.
        flags: by name, `personalisation` or `marketing:email`.
        restricted: Art. 18: what does not serve the contract or the law stops.
        age: None while it is not known.
    """

    seq: int = 0
    hash: str = ""
    newest_at: datetime | None = None
    flags: Mapping[str, FlagState] = field(default_factory=dict)
    restricted: bool = False
    age: Age | None = None

    def state(self, purpose: str, channel: str | None = None) -> FlagState | None:
        """Where the member stands on a use; an objection to all channels answers for each."""
        found = self.flags.get(flag_of(purpose, channel))
        if found is None and channel:
            whole = self.flags.get(purpose)
            return whole if whole and whole.status == OBJECTED else None
        return found

    def allows(self, purpose: str, channel: str | None = None, *, at: datetime) -> bool:
        """Whether this use is agreed to. What was never asked is refused."""
        found = self.flags.get(flag_of(purpose, channel))
        return not self.restricted and found is not None and found.holds(at)


@dataclass(frozen=True, slots=True)
class Record:
    """What a member decided, when, how and on which notice. Never changed.

    `evidence` is sealed at rest; `decided_at` is when it happened, `recorded_at` when it came.
    """

    id: str
    member_id: str
    seq: int
    kind: Kind
    decisions: tuple[Change, ...]
    standing: Standing
    method: str
    decided_at: datetime
    recorded_at: datetime
    recorded_by: str
    previous: str = ""
    hash: str = ""
    notice_version: str | None = None
    language: str | None = None
    evidence: Mapping[str, Any] | None = None
    has_signal: bool = False
    request: tuple[str, str] | None = None


def flag_of(purpose: str, channel: str | None) -> str:
    """The name of a flag: `personalisation`, `marketing:email`."""
    return f"{purpose}:{channel}" if channel else purpose
