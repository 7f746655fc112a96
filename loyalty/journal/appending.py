"""Append facts to journals, whoever else is writing there.

An award is optimistic: one read of the head, one durable insert. Whether the fact was there already
shows when the unique index refuses it, so a fresh award pays nothing for that question. What comes
late or moves a campaign's budget, what touches more than one journal or something beside it, goes
in one transaction.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from loyalty.journal import late
from loyalty.journal.drafts import Draft, Recorded, granted, replay
from loyalty.journal.model import (
    FactErasedError,
    Head,
    KeySeenError,
    MemberBusyError,
    StaleHeadError,
)
from loyalty.journal.ripples import ripples_of
from loyalty.kit.errors import ConflictError
from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from pymongo.client_session import ClientSession

    from loyalty.journal.drafts import Stores
    from loyalty.journal.model import Entry

    Along: TypeAlias = Callable[[ClientSession, Sequence[Entry]], None]
    """What else is written in the same transaction as the entries; it may refuse all of it."""

# Under 50 writers at one member the unluckiest needed 31 tries; the request's deadline cuts first.
APPEND_ATTEMPTS_MAX = 200
RETRY_SECONDS_MAX = 0.004
# Entries whose postings take of a campaign's budget, or give back to it.
_GRANTING = frozenset({"purchase", "engagement", "referral", "correction", "reversal"})


def append(draft: Draft, stores: Stores, *, along: Along | None = None) -> Recorded:
    """Write a fact into the member's journal, where it belongs in time.

    Args:
        draft: the fact.
        stores: where to.
        along: what else to write in the same transaction, given the entries; it may refuse.

    Raises:
        MemberNotFoundError: there is no such member.
        KeyReusedError: the key belongs to another fact.
        InsufficientPointsError, HoldExpiredError, TooManyHoldsError: the state does not allow it.
        ReturnExceedsPurchaseError: more comes back than is left.
        PointsOutOfRangeError: the balance could not be kept exactly.
        FactErasedError: the fact was there, and was erased with its member.
        MemberBusyError: too many writers at this member; nothing was written.
    """
    return append_together([draft], stores, along=along)[0]


def is_written(draft: Draft, stores: Stores) -> bool:
    """Whether a draft of long work became an entry now; of who was erased meanwhile none does.

    Raises:
        As `append`, but for what was erased.
    """
    try:
        return not append(draft, stores).is_replay
    except (FactErasedError, MemberNotFoundError):
        return False


class Follow(NamedTuple):
    """A fact that depends on what another, written with it, does.

    `draw` gets the entries of the drafts before and gives this one's draft.
    """

    key: str
    fingerprint: str
    draw: Callable[[Sequence[Entry]], Draft]


def append_together(
    drafts: Sequence[Draft | Follow], stores: Stores, *, along: Along | None = None
) -> list[Recorded]:
    """Write several facts, of one member or of several, all or nothing.

    Returns:
        The entry of each draft, in their order.

    Raises:
        As `append`.
    """
    for attempt in range(APPEND_ATTEMPTS_MAX):
        try:
            entries = _try(drafts, stores, along=along)
        except (KeySeenError, ConflictError) as error:
            # Replay before state: a twin of this request may have done what now stands in its way.
            if seen := _seen(drafts, stores):
                return seen
            if isinstance(error, ConflictError):
                raise
        except StaleHeadError:
            # A random pause lets one of many writers through at a time.
            time.sleep(random.random() * RETRY_SECONDS_MAX * min(attempt, 4))  # noqa: S311
        else:
            return [Recorded(entry, is_replay=False) for entry in entries]
    raise MemberBusyError


def _seen(drafts: Sequence[Draft | Follow], stores: Stores) -> list[Recorded]:
    """The entries of the drafts if they are there already; they were written together.

    Raises:
        KeyReusedError: a key came with another body.
    """
    found = [stores.journal.by_key(draft.key) for draft in drafts]
    return [
        replay(entry, draft.fingerprint)
        for entry, draft in zip(found, drafts, strict=True)
        if entry is not None
    ]


def _try(drafts: Sequence[Draft | Follow], stores: Stores, *, along: Along | None) -> list[Entry]:
    """One attempt to write the drafts; the entry of each."""
    plans = _plan(drafts, stores)
    if ripples := ripples_of(plans, stores):
        plans = _plan([*drafts, *ripples], stores)
    entries = [entry for _, plan in plans for entry in plan]
    budgets = {rule for draft, _ in plans for rule in draft.program.budgets}
    if along is None and len(entries) == 1 and not (budgets and _spent(plans)):
        stores.journal.append(entries[0])
        return entries
    written = _transact(plans, stores, along=along, budgets=budgets)
    return [plan[0] for _, plan in written[: len(drafts)]]


_Plans = list[tuple[Draft, list["Entry"]]]


def _plan(drafts: Sequence[Draft | Follow], stores: Stores) -> _Plans:
    """The entries of each draft, one standing on the other where they are of one member."""
    heads: dict[str, Head | None] = {}
    plans: _Plans = []
    for each in drafts:
        draft = each if isinstance(each, Draft) else each.draw([plan[0] for _, plan in plans])
        member_id = draft.member_id
        if member_id not in heads:
            heads[member_id] = stores.journal.head(member_id)
            if heads[member_id] is None and not stores.members.exists(member_id):
                raise MemberNotFoundError
        unwritten = [
            entry for other, plan in plans if other.member_id == member_id for entry in plan
        ]
        plan = late.planned(heads[member_id], draft, stores, unwritten=unwritten)
        heads[member_id] = Head(plan[-1].seq, plan[-1].state)
        plans.append((draft, plan))
    return plans


def _transact(plans: _Plans, stores: Stores, *, along: Along | None, budgets: set[str]) -> _Plans:
    """Write the planned entries and what goes along with them, all or nothing."""
    journal, written = stores.journal, plans

    def work(session: ClientSession) -> Sequence[Entry]:
        nonlocal written
        if budgets and _spent(plans):
            written = _within_budgets(plans, journal.spent(budgets, session), stores)
            journal.spend(_spent(written), session)
        entries = [entry for _, plan in written for entry in plan]
        if along:
            along(session, entries)
        return entries

    journal.append_together(work)
    return written


def _within_budgets(plans: _Plans, spent: Mapping[str, int], stores: Stores) -> _Plans:
    """The plans again, each with what those before it left of each campaign's budget."""
    drafts: list[Draft] = []
    taken = dict(spent)
    for draft, _ in plans:
        budgets = draft.program.budgets
        left = {rule: budget - taken.get(rule, 0) for rule, budget in budgets.items()}
        drafts.append(replace(draft, activity=replace(draft.activity, budgets=left)))
        if budgets and len(plans) > 1:
            now = _spent(_plan(drafts, stores))
            taken = {rule: spent.get(rule, 0) + now.get(rule, 0) for rule in {*spent, *now}}
    return _plan(drafts, stores)


def _spent(plans: _Plans) -> dict[str, int]:
    """What the planned entries take of each campaign's budget; below zero: give back."""
    sums: dict[str, int] = {}
    for draft, plan in plans:
        for entry in plan:
            if entry.kind in _GRANTING:
                for rule, points in granted(entry.postings, draft.program).items():
                    sums[rule] = sums.get(rule, 0) + points
    return {rule: points for rule, points in sums.items() if points}
