"""Rules of retention, and what they say of one member. Pure: time comes as a value.

Whoever does nothing for long enough is warned twice and then erased. Being sent something, and
opening it, is nothing that a member does; so it does not keep a member.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

from loyalty.kit.errors import ConflictError
from loyalty.program.lots import add_months

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

KIND = "retention"
REASON_INACTIVE = "inactivity"
REASON_PROVISIONAL = "provisional"
# What a member does itself. What only time or the shop does, such as an expiry, is not of it.
ACTIVE_KINDS = ("purchase", "return", "engagement", "hold", "capture", "transfer", "referral")
# Kinds of engagement that are no act of the member: a mail program opens mails by itself.
PASSIVE_ENGAGEMENTS = ("email_open", "email_opened", "newsletter_open", "push_open", "impression")
# Records of consents that say nothing of the member being there.
PASSIVE_METHODS = ("import", "browser_signal")
LAST_CALL = timedelta(days=1)
# A run that is silent for so long counts as dead, and another may begin.
LEASE = timedelta(seconds=60)


class RetentionBusyError(ConflictError):
    """Another run applies the rules at this moment."""

    code = "retention_busy"
    title = "The rules of retention are being applied already"


class LeaseTakenError(Exception):
    """This run was silent for too long: another one has taken over."""


class Bound(NamedTuple):
    """What a rule may be set to, what it is unless set, and what it says."""

    minimum: int
    maximum: int
    default: int
    text: str


BOUNDS: dict[str, Bound] = {
    "model_history_months": Bound(
        1, 600, 24, "Recommendations look at purchases of at most this age."
    ),
    "inactive_months": Bound(
        6, 600, 36, "A member who did nothing for so long is erased, after two warnings."
    ),
    "warning_days": Bound(30, 180, 30, "The first warning comes so long before."),
    "provisional_months": Bound(
        1, 36, 12, "A member whom nobody enrolled, and who did nothing for so long, is erased."
    ),
    "access_log_days": Bound(30, 400, 400, "Looks at members' data are kept for so long."),
    "messages_days": Bound(1, 90, 30, "Messages go after so long, or earlier as they expire."),
    "jobs_days": Bound(1, 30, 30, "Finished jobs and their results are kept for so long."),
    "requests_months": Bound(
        6, 120, 36, "Answered requests of members are kept for so long, as proof."
    ),
    "feedback_months": Bound(
        1, 36, 13, "What members looked at, clicked and were shown is kept for so long."
    ),
}


@dataclass(frozen=True, slots=True)
class Rules:
    """How long each category is kept; `BOUNDS` says what each means and may be."""

    model_history_months: int = BOUNDS["model_history_months"].default
    inactive_months: int = BOUNDS["inactive_months"].default
    warning_days: int = BOUNDS["warning_days"].default
    provisional_months: int = BOUNDS["provisional_months"].default
    access_log_days: int = BOUNDS["access_log_days"].default
    messages_days: int = BOUNDS["messages_days"].default
    jobs_days: int = BOUNDS["jobs_days"].default
    requests_months: int = BOUNDS["requests_months"].default
    feedback_months: int = BOUNDS["feedback_months"].default
    passive_engagements: tuple[str, ...] = PASSIVE_ENGAGEMENTS

    def period(self, name: str) -> int:
        """A rule's number, in the unit that its name ends with."""
        number: int = getattr(self, name)
        return number

    def cutoff(self, name: str, at: datetime) -> datetime:
        """What is older than this goes, by the rule of that name."""
        number = self.period(name)
        if name.endswith("_months"):
            return months_before(at, number)
        return at - timedelta(days=number)


class KeptRules(NamedTuple):
    """The rules with who set them when; nobody has as long as they are the program's own."""

    rules: Rules
    changed_at: datetime | None = None
    changed_by: str | None = None


def months_before(at: datetime, months: int) -> datetime:
    """The same time of day, so many months earlier; the last day of a month that is shorter."""
    day = add_months(at.date(), -months)
    return at.replace(year=day.year, month=day.month, day=day.day)


def history_since(rules: Rules, at: datetime) -> datetime:
    """From when on purchases may be used to choose what to show."""
    return rules.cutoff("model_history_months", at)


@dataclass(frozen=True, slots=True)
class Warned:
    """When a member was warned; the message of a warning has its id before it is posted."""

    first_id: str
    first_at: datetime
    last_id: str | None = None
    last_at: datetime | None = None


class Seen(NamedTuple):
    """What is known of when a member was last there.

    Args:
        status: `active` or `provisional`.
        last_at: the newest of what the member did, enrolment included.
        language: in which to write, as far as it is known.
        is_ended: its journal is closed: an erasure was begun and is to be finished.
        seq: of the last entry of the journal, 0 if there is none.
    """

    status: str
    last_at: datetime
    language: str = "en"
    is_ended: bool = False
    seq: int = 0


Step: TypeAlias = Literal["keep", "back", "warn", "warn_again", "wait", "erase", "forget"]


def next_step(seen: Seen, warned: Warned | None, rules: Rules, at: datetime) -> Step:
    """What the rules ask for with a member at a moment.

    `keep`: nothing; `back`: there again after a warning; `warn`, `warn_again`: a message is due;
    `wait`: warned and not over; `erase`: inactive and warned twice; `forget`: provisional too long.
    """
    if seen.is_ended:
        return "erase"
    if seen.status == "provisional":
        is_over = seen.last_at < rules.cutoff("provisional_months", at)
        return "forget" if is_over else "keep"
    if warned is None:
        return "warn" if seen.last_at < warning_cutoff(rules, at) else "keep"
    if seen.last_at >= min(warned.first_at, warning_cutoff(rules, at)):
        return "back"
    return _after_warning(seen, warned, rules, at)


def _after_warning(seen: Seen, warned: Warned, rules: Rules, at: datetime) -> Step:
    is_over = seen.last_at < rules.cutoff("inactive_months", at)
    if not is_over or warned.first_at > at - timedelta(days=rules.warning_days):
        return "wait"
    if warned.last_at is None:
        return "warn_again"
    return "erase" if warned.last_at <= at - LAST_CALL else "wait"


def warning_cutoff(rules: Rules, at: datetime) -> datetime:
    """Who was last there before this is warned."""
    return rules.cutoff("inactive_months", at) + timedelta(days=rules.warning_days)


def erased_at(warned_at: datetime, seen: Seen, rules: Rules) -> datetime:
    """From when on the member is erased, as a first warning of that time says."""
    inactive_at = seen.last_at
    day = add_months(inactive_at.date(), rules.inactive_months)
    over_at = inactive_at.replace(year=day.year, month=day.month, day=day.day)
    return max(over_at, warned_at + timedelta(days=rules.warning_days)) + LAST_CALL


class Ended(Protocol):
    """Closes a member's journal."""

    def __call__(self, member_id: str, *, seq: int, at: datetime) -> bool:
        """Put the end marker in the place after an entry; False if something stands there.

        So nothing that the member did since is lost: it stands in that place.
        """


class Erase(Protocol):
    """Erases a member, or begins to. Idempotent."""

    def __call__(self, member_id: str, reason: str) -> object:
        """Erase for a reason: `inactivity` or `provisional`."""


class Sweep(NamedTuple):
    """A category that only its age takes away: how much is older than a time, and remove it."""

    rule: str
    category: str
    old: Callable[[datetime], int]
    sweep: Callable[[datetime], int]


@dataclass(slots=True)
class Applied:
    """What a run did, or would do: how many of each category, by what happens to them."""

    is_dry: bool
    looked_at: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, number: int = 1) -> None:
        """Count."""
        self.counts[what] = self.counts.get(what, 0) + number

    def body(self) -> dict[str, object]:
        """The same as JSON."""
        return asdict(self)
