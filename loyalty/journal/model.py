"""An entry, and the refusals of the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty.kit.errors import ConflictError, NotFoundError, UnavailableError
from loyalty.program.model import POINTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.program.model import Kind, Posting, State


# Kinds of documents that are no entries: the end of an erased member's journal, and what is left
# of an erased entry for the accounts.
ENDED, ERASED = "erasure", "erased"
# What an activity says of the pseudonyms in it that stand for erased members.
ERASED_PARTIES = "erased_parties"


class EntryNotFoundError(NotFoundError):
    """The journal has no such entry."""

    code = "entry_not_found"
    title = "There is no such entry"


class PurchaseNotFoundError(NotFoundError):
    """The purchase that the return names is not in the journal."""

    code = "purchase_not_found"
    title = "There is no such purchase"


class ReturnExceedsPurchaseError(ConflictError):
    """More is returned than was bought, or than is left after earlier returns."""

    code = "return_exceeds_purchase"
    title = "More is returned than was bought"


class InsufficientPointsError(ConflictError):
    """It would take more points than the member can spend."""

    code = "insufficient_points"
    title = "The member has not enough points"


class HoldExpiredError(ConflictError):
    """The points that were held went back to the member when the hold expired."""

    code = "hold_expired"
    title = "The hold has expired"


class HoldResolvedError(ConflictError):
    """The hold was captured or released before, in another way than is asked for now."""

    code = "hold_resolved"
    title = "The hold was resolved before"


class TooManyHoldsError(ConflictError):
    """The member has as many open holds as may be; capture or release one first."""

    code = "too_many_holds"
    title = "The member has too many open holds"


class FactErasedError(ConflictError):
    """The fact was recorded, and erased since with the member whose it was."""

    code = "fact_erased"
    title = "This was recorded before, for a member who was erased since"


class PointsOutOfRangeError(ConflictError):
    """The balance would be a number that JSON readers cannot hold exactly."""

    code = "points_out_of_range"
    title = "So many points cannot be kept"


class NotReversibleError(ConflictError):
    """The entry is of a kind that is undone by its own means."""

    code = "not_reversible"
    title = "This entry cannot be reversed"


class UnknownUnitError(ConflictError):
    """The programme has no such point currency."""

    code = "unknown_unit"
    title = "The programme has no such unit"


class UnknownChannelError(ConflictError):
    """The programme has no such channel."""

    code = "unknown_channel"
    title = "The programme has no such channel"


class WrongCurrencyError(ConflictError):
    """The purchase is in another currency than the programme."""

    code = "wrong_currency"
    title = "The purchase is not in the programme's currency"


class InFutureError(ConflictError):
    """The activity claims to have happened later than now."""

    code = "in_the_future"
    title = "The activity lies in the future"


class PaymentExceedsTotalError(ConflictError):
    """More was paid than was charged."""

    code = "payment_exceeds_total"
    title = "The payments exceed the purchase's total"


class MemberBusyError(UnavailableError):
    """So many writers meet at one member that this one gave up; nothing was written."""

    code = "member_busy"
    title = "Too many writers for this member at once"


class StaleHeadError(Exception):
    """The member's journal went on since its head was read."""


class KeySeenError(Exception):
    """The key is in the journal already."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a member's journal stands: the number of the last entry and the state after it."""

    seq: int
    state: State


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact. Immutable; `postings` say what it moved and why, `state` is what follows.

    `key` is the sender's own id for the fact, under the name of who speaks: channel, store, kind.
    `activity` is what came in, completed with what the catalogue knew, so that the journal alone
    is enough to compute everything again.
    """

    id: str
    member_id: str
    seq: int
    key: str
    fingerprint: str
    kind: Kind
    channel: str
    store: str | None
    source: str
    occurred_at: datetime
    received_at: datetime
    activity: Mapping[str, Any]
    program_version: int
    currency: str
    postings: tuple[Posting, ...]
    balance_after: int
    state: State

    @property
    def points(self) -> int:
        """What the entry changed of the main unit, expired points included."""
        return sum(posting.points for posting in self.postings if posting.unit == POINTS)


def key_of(kind: Kind, channel: str, store: str | None, external_id: str) -> str:
    """The key under which a fact exists once.

    The same receipt of the same shop is one fact, whoever sends it, however often, and whichever
    member it is claimed for. Store ids have no slash, so no two facts share a key.
    """
    return f"{kind}/{channel}/{store or ''}/{external_id}"
