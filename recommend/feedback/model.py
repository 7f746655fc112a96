"""Feedback as values: events, their keys, and why one is not kept. Pure."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from loyalty.kit.errors import ConflictError, TooManyRequestsError
from recommend.taste import Kind, Signal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from loyalty.kit.errors import CarnetError

KINDS: tuple[Kind, ...] = get_args(Kind)
IMPRESSION: Kind = "impression"
EVENTS_MAX = 500
SKUS_MAX = 50
# So that a page that reports in a loop cannot fill the disk: nobody looks at so much in a day.
MEMBER_DAY_MAX = 2000
# What a device could not send for longer says little of what its owner wants now.
AGE_MAX = timedelta(days=31)
KEPT_MAX = timedelta(days=36 * 31)

NAME_PATTERN = "^[a-z][a-z0-9_-]{0,63}$"
RECOMMENDATION_PATTERN = "^[A-Za-z0-9_.-]{1,160}$"
_ORIGIN = re.compile(r"([a-z][a-z0-9_-]{0,63})\.([a-z][a-z0-9_-]{0,63})\.[0-9a-f]{16}\Z")

Status: TypeAlias = Literal["recorded", "replayed", "not_recorded", "refused"]
NotRecorded: TypeAlias = Literal["no_consent", "browser_signal", "sensitive"]


class TooOldError(ConflictError):
    """The event happened longer ago than feedback is taken."""

    code = "too_old"
    title = "The event happened too long ago"


class TooMuchFeedbackError(TooManyRequestsError):
    """A member has more events on a day than a person makes."""

    code = "too_much_feedback"
    title = "There is more feedback of this member on that day than is kept"
    retry_after_seconds = 86_400


class Event(NamedTuple):
    """One thing that a member did, or was shown.

    Attributes:
        external_id: the sender's own.
        member_id: who.
        kind: what.
        skus: on which products, as they stood on the page.
        at: when.
        channel: where.
        store: in which store.
        stars: of a review, 1 to 5; 0 otherwise.
        placement: the shop's word for the place on the page.
        recommendation: the id of the answer that was shown.
        experiment: whose variant was shown.
        variant: which one.
    """

    external_id: str
    member_id: str
    kind: Kind
    skus: tuple[str, ...]
    at: datetime
    channel: str
    store: str | None = None
    stars: int = 0
    placement: str | None = None
    recommendation: str | None = None
    experiment: str | None = None
    variant: str | None = None

    def signals(self) -> Iterator[Signal]:
        """What it says, product by product."""
        at = self.at.timestamp()
        return (Signal(at, self.kind, sku, self.stars) for sku in self.skus)


class Verdict(NamedTuple):
    """What became of one event.

    Attributes:
        event: its place in the batch, from 0.
        id: the sender's own, if it could be read.
        status: `recorded`; `replayed`: it was there; `not_recorded`: it may not be kept, and
            `reason` says why; `refused`: it is wrong, and `error` says how.
        reason: why it may not be kept.
        error: what is wrong.
    """

    event: int
    id: str | None
    status: Status
    reason: NotRecorded | None = None
    error: CarnetError | None = None


def key_of(source: str, external_id: str) -> str:
    """The key under which an event exists once: who sent it and the sender's own id for it."""
    return hashlib.sha256(f"{source}/{external_id}".encode()).hexdigest()[:40]


def is_same(kept: Event, sent: Event, *, has_time: bool) -> bool:
    """Whether an event that came again is the one that was kept.

    Args:
        kept: as it was kept, perhaps without products that may not be kept.
        sent: as it came now.
        has_time: whether the sender said when; otherwise it was the moment at which it came.
    """
    alike = sent._replace(skus=kept.skus, at=sent.at if has_time else kept.at)
    return alike == kept and set(kept.skus) <= set(sent.skus)


def origin_of(recommendation: str) -> tuple[str, str] | None:
    """The experiment and the variant that an answer's id names, if it names one."""
    found = _ORIGIN.match(recommendation)
    return (found[1], found[2]) if found else None


def recommendation_id(origin: tuple[str, str] | None, nonce: str) -> str:
    """The id of an answer: it says under which experiment and variant it was made, and no more.

    Args:
        origin: the names of the experiment and of the variant.
        nonce: sixteen hexadecimal digits that no other answer has.
    """
    return ".".join((*(origin or ("r",)), nonce))
