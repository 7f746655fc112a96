"""What pages show and carry, as values: sessions, choices, masked identifiers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError, ForbiddenError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

Status: TypeAlias = Literal[
    "granted", "refused", "withdrawn", "objected", "pending", "expired", "unknown"
]
Answer: TypeAlias = Literal["yes", "no"]
ExportForm: TypeAlias = Literal["json", "html"]

# What the member may have shown to be; a link in an e-mail shows no more than access to a mailbox
# that the mail was forwarded to.
LINK = "link"
PROVEN = frozenset({"login", "code"})
# Between the parts of a field's name: a purpose's own name has no colon.
_PART = ":"
_CHOICE, _SHOWN = "choice", "shown"
_MASK = "•••"
_TAIL = 4


class NotProvenError(ForbiddenError):
    """The member came by a link only, and wants what takes more."""

    code = "identity_not_proven"
    title = "This takes a code that is sent to you, or a login to the shop just now"


class BeingErasedError(ConflictError):
    """The member asked for the erasure: until it is done nothing is shown and nothing decided."""

    code = "being_erased"
    title = "Your data is being erased, as you asked"


class Session(NamedTuple):
    """Somebody at the preference centre; travels sealed in a hidden field of every form.

    `proof` is how the member was recognised (`link`, `login`, `code`), `proven_until` until when
    that is worth something, `began_at` when the member came: a session is renewed, not for ever.
    """

    member_id: str
    began_at: datetime
    proof: str = LINK
    proven_until: datetime | None = None

    def is_proven(self, at: datetime) -> bool:
        """Whether rights may be exercised in it."""
        return self.proof in PROVEN and self.proven_until is not None and at <= self.proven_until


class Purpose(NamedTuple):
    """A use that the member decides on, in the words of one language."""

    name: str
    title: str
    why: str
    benefit: str
    # None stands for a purpose that holds everywhere.
    channels: tuple[str | None, ...] = (None,)


class Use(NamedTuple):
    """A use that rests on something else than consent, in the words of one language."""

    title: str
    why: str
    basis: str


class Notice(NamedTuple):
    """The text that a decision is taken on, and its version."""

    version: str
    text: str


class Standings(NamedTuple):
    """What holds now: a status for each purpose and channel, and whether all use is restricted."""

    statuses: Mapping[tuple[str, str | None], Status]
    is_restricted: bool = False

    def of(self, purpose: str, channel: str | None) -> Status:
        """What was never asked is unknown, and unknown means no."""
        return self.statuses.get((purpose, channel), "unknown")


class Choice(NamedTuple):
    """A decision of the member on one purpose, on one channel where the purpose has channels."""

    purpose: str
    channel: str | None
    granted: bool


class Receipt(NamedTuple):
    """A record of decisions, as the history shows it."""

    id: str
    seq: int
    kind: str
    recorded_at: datetime
    method: str
    notice_version: str | None
    decisions: Sequence[tuple[str, str | None, Status]]


class Identified(NamedTuple):
    """How a channel knows the member, without saying it."""

    kind: str
    masked: str


class Activity(NamedTuple):
    """Something the member did, in short."""

    kind: str
    channel: str
    occurred_at: datetime
    points: int


class Summary(NamedTuple):
    """What is known of a member, in short."""

    enrolled_at: datetime
    identifiers: Sequence[Identified]
    points: int
    pending: int
    tier: str | None
    activities: Sequence[Activity]


class Look(NamedTuple):
    """Somebody of the shop looked at the member's data."""

    who: str
    purpose: str
    first_at: datetime
    last_at: datetime
    times: int


class Asked(NamedTuple):
    """A request to exercise a right, and until when it has to be answered."""

    id: str
    due_at: datetime


def field_of(purpose: str, channel: str | None) -> str:
    """The name of the form's field in which a choice stands."""
    return _PART.join((_CHOICE, purpose, channel or ""))


def shown_of(purpose: str, channel: str | None) -> str:
    """The name of the field that says what the form showed when it was written."""
    return _PART.join((_SHOWN, purpose, channel or ""))


def answer_of(status: Status) -> Answer | None:
    """Which of a form's two answers a status is; none where nobody was asked yet."""
    if status in ("unknown", "expired"):
        return None
    return "yes" if status in ("granted", "pending") else "no"


def choices_of(form: Mapping[str, str], purposes: Sequence[Purpose]) -> list[Choice]:
    """What a form changes: only where the answer differs from what the form itself showed.

    A form that was opened before a withdrawal on another channel still shows the old yes. Sending
    it must not grant anew what the member did not touch.
    """
    places = [(each.name, channel) for each in purposes for channel in each.channels]
    return [
        Choice(purpose, channel, granted=answer == "yes")
        for purpose, channel in places
        if (answer := form.get(field_of(purpose, channel))) in ("yes", "no")
        and answer != form.get(shown_of(purpose, channel))
    ]


def masked(kind: str, value: str) -> str:
    """An identifier of which its owner recognises which it is, and nobody learns it."""
    if kind == "email":
        name, _, domain = value.rpartition("@")
        return f"{name[:1]}{_MASK}@{domain[:1]}{_MASK}.{domain.rpartition('.')[2]}"
    if kind == "phone":
        return f"{value[:3]} {_MASK} {value[-2:]}"
    tail = value[-_TAIL:] if len(value) > 2 * _TAIL else value[-1:]
    return f"{_MASK} {tail}"
