"""Facts before they are written, and the entry that one makes on a member's head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

from loyalty.journal.model import (
    Entry,
    Head,
    HoldExpiredError,
    InsufficientPointsError,
    PointsOutOfRangeError,
    TooManyHoldsError,
)
from loyalty.kit.errors import FieldError
from loyalty.members.model import KeyReusedError
from loyalty.program.model import State
from loyalty.program.step import (
    HoldGoneError,
    OverdrawnError,
    check,
    step,
)
from loyalty.program.step import TooManyHoldsError as FullError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.catalogue.store import CatalogueStore
    from loyalty.consent.store import ConsentStore
    from loyalty.journal.store import JournalStore
    from loyalty.members.store import MemberStore
    from loyalty.program.model import Activity, Posting, Program
    from loyalty.versions.service import ProgramShelf

# The greatest whole number that every JSON reader holds exactly (RFC 8259, section 6).
BALANCE_MAX = 2**53 - 1
EMPTY = State()


class Stores(NamedTuple):
    """All that recording an activity may touch."""

    journal: JournalStore
    members: MemberStore
    consents: ConsentStore
    catalogue: CatalogueStore
    programs: ProgramShelf


class Recorded(NamedTuple):
    """An entry, and whether it had been there before this request."""

    entry: Entry
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """A fact that is complete except for the member's state: what `append` writes on a head."""

    member_id: str
    key: str
    fingerprint: str
    source: str
    received_at: datetime
    activity: Activity
    document: Mapping[str, Any]
    program: Program

    @property
    def order(self) -> tuple[datetime, str]:
        """Where the fact belongs among the member's."""
        return self.activity.occurred_at, self.key


def entry_after(head: Head | None, draft: Draft) -> Entry:
    """The entry that a draft makes on a head: the pure heart of every write.

    Raises:
        InsufficientPointsError: it would take more than can be spent.
        HoldExpiredError: the hold that it resolves is not open any more.
        TooManyHoldsError: the member has as many open holds as may be.
        PointsOutOfRangeError: the balance could not be kept exactly.
    """
    before = head.state if head else EMPTY
    activity = draft.activity
    if activity.key != draft.key:
        activity = replace(activity, key=draft.key)
    refuse_impossible(before, activity)
    state, postings = step(draft.program, before, activity)
    seq = head.seq + 1 if head else 1
    return built(draft, seq=seq, postings=postings, state=state, balance_after=state.balance)


def built(
    draft: Draft, *, seq: int, postings: tuple[Posting, ...], state: State, balance_after: int
) -> Entry:
    """The draft's entry.

    Raises:
        PointsOutOfRangeError: the balance could not be kept exactly.
    """
    if any(abs(balance) > BALANCE_MAX for balance in state.balances.values()):
        raise PointsOutOfRangeError
    activity = draft.activity
    return Entry(
        id=str(ObjectId()),
        member_id=draft.member_id,
        seq=seq,
        key=draft.key,
        fingerprint=draft.fingerprint,
        kind=activity.kind,
        channel=activity.channel,
        store=activity.store,
        source=draft.source,
        occurred_at=activity.occurred_at,
        received_at=draft.received_at,
        activity=_with_grants(draft, postings),
        program_version=draft.program.version,
        currency=draft.program.currency,
        postings=postings,
        balance_after=balance_after,
        state=state,
    )


def refuse_impossible(before: State, activity: Activity) -> None:
    """Refuse what the state does not allow.

    Raises:
        InsufficientPointsError, HoldExpiredError, TooManyHoldsError: as they say.
    """
    try:
        check(before, activity)
    except OverdrawnError as error:
        mistake = FieldError("points", str(error))
        raise InsufficientPointsError(str(error), errors=(mistake,)) from error
    except HoldGoneError as error:
        raise HoldExpiredError from error
    except FullError as error:
        raise TooManyHoldsError from error


def granted(postings: tuple[Posting, ...], program: Program) -> dict[str, int]:
    """What postings take of each campaign's budget."""
    grants: dict[str, int] = {}
    for posting in postings:
        if posting.rule in program.budgets and posting.points:
            grants[posting.rule] = grants.get(posting.rule, 0) + posting.points
    return grants


def _with_grants(draft: Draft, postings: tuple[Posting, ...]) -> Mapping[str, Any]:
    """The activity's document; what was granted of a budget is part of the fact.

    A campaign serves first who comes first: what a late arrival changes later takes no more of it.
    """
    is_award = draft.activity.kind in ("purchase", "engagement", "referral")
    if not draft.program.budgets or not is_award:
        return draft.document
    nothing = dict.fromkeys(draft.program.budgets, 0)
    return {**draft.document, "grants": {**nothing, **granted(postings, draft.program)}}


def replay(seen: Entry, mark: str) -> Recorded:
    """The entry of a fact that is there already.

    Args:
        seen: the entry.
        mark: the fingerprint of the request that came now.

    Raises:
        KeyReusedError: the same key came with another body.
    """
    if seen.fingerprint != mark:
        raise reused()
    return Recorded(seen, is_replay=True)


def reused() -> KeyReusedError:
    """The refusal of an external id that came with another body before."""
    mistake = FieldError("external_id", "Was used before with another body.")
    return KeyReusedError(errors=(mistake,))
