"""What time has made due, written into journals; and lots dated anew. Both may be run again.

Nothing waits for a passage to be right: every read settles what is due by itself. It is for those
who read the journal: an expiry becomes an entry with its own explanation on the day it happens.
Reminders are not sent from here: whoever sends them asks `GET /v1/expiries` beforehand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loyalty.journal.appending import is_written
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft
from loyalty.journal.late import redating
from loyalty.kit.idempotency import fingerprint
from loyalty.program.model import POINTS, Activity
from loyalty.program.passage import settle
from loyalty.program.simulate import expiry_month, redated
from loyalty.program.tiers import standing_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import TypeAlias

    from loyalty.journal.drafts import Stores
    from loyalty.journal.scan import JournalScan, MemberHead
    from loyalty.program.model import Program

    Progress: TypeAlias = Callable[[int, int, str], None]

PASSAGE_SOURCE = "upkeep:passage"
REDATE_SOURCE = "upkeep:redate"


class NothingToRedateError(Exception):
    """The two versions date this unit's points in the same way, or one does not have it."""


@dataclass(slots=True)
class Done:
    """What an upkeep did, or would do.

    Args:
        members: with something due.
        written: entries that were written; 0 in a dry run.
        moved: points by what happens and unit (`expiry points`), or members (`tier`).
    """

    members: int = 0
    written: int = 0
    moved: Counter[str] = field(default_factory=Counter)


def passage(
    *, at: datetime, scan: JournalScan, stores: Stores, is_dry: bool, progress: Progress
) -> Done:
    """Post what time has done to each member: lots that expired, holds that ran out, tiers lost.

    One entry a member and day of the programme: what becomes due later that day waits for the
    next, and is right all the same whenever it is read.

    Args:
        at: now.
        scan: the journals.
        stores: where to write.
        is_dry: count only.
        progress: for each member.

    Raises:
        NoProgramError: none is published.
    """
    program, done = stores.programs.at(at), Done()
    total = scan.member_count()
    day = at.astimezone(program.zone).date().isoformat()
    for number, head in enumerate(scan.heads(), 1):
        due = _due(head, program, at)
        if due:
            done.members += 1
            done.moved.update(due)
            if not is_dry:
                key = f"passage/{head.member_id}/{day}"
                activity = Activity("passage", at, key=key)
                draft = _draft(head.member_id, activity, PASSAGE_SOURCE, at, program)
                done.written += is_written(draft, stores)
        progress(number, max(total, number), "members")
    return done


def _due(head: MemberHead, program: Program, at: datetime) -> Counter[str]:
    state, postings = settle(head.state, at)
    due: Counter[str] = Counter()
    for posting in postings:
        due[f"{posting.kind} {posting.unit}"] += posting.points
    if program.ladder and state.tier:
        joined_at = state.joined_at
        now = standing_at(program.ladder, state.tier, at, zone=program.zone, joined_at=joined_at)
        due["tier"] += now.tier != state.tier.tier
    return Counter({what: count for what, count in due.items() if count})


@dataclass(slots=True)
class Redating:
    """Whom a redating affects.

    Args:
        done: members and entries.
        months: points by the month in which they expired before and expire then.
    """

    done: Done = field(default_factory=Done)
    before: Counter[str] = field(default_factory=Counter)
    after: Counter[str] = field(default_factory=Counter)


def redate(
    unit: str,
    *,
    from_version: int,
    at: datetime,
    scan: JournalScan,
    stores: Stores,
    is_dry: bool,
    progress: Progress,
) -> Redating:
    """Date each member's lots of one unit anew, by the policy that rules now; never into the past.

    A new version leaves the lots that are there alone; this is the decision to change them. Each
    member is redated to a version once: stopped and run again, it goes on where it was.

    Args:
        unit: which point currency.
        from_version: the version that dated the lots.
        at: now.
        scan: the journals.
        stores: where to write.
        is_dry: say beforehand whom it would affect, and write nothing.
        progress: for each member.

    Raises:
        NothingToRedateError: both versions date the unit alike, or one does not have it.
        NoProgramError: there is no such version.
    """
    newer, older = stores.programs.at(at), stores.programs.version(from_version)
    policies = {name: pair for name, pair in redating(newer, older).items() if name == unit}
    if not policies:
        raise NothingToRedateError
    result = Redating()
    total = scan.member_count()
    for number, head in enumerate(scan.heads(), 1):
        moved = redated(head.state, policies, at, newer.zone)
        key = _redate_key(head.member_id, newer, unit)
        if moved and not stores.journal.seen([key]):
            result.done.members += 1
            for each in moved:
                result.before[expiry_month(each.before, newer.zone)] += each.points
                result.after[expiry_month(each.after, newer.zone)] += each.points
            if not is_dry:
                activity = Activity("redate", at, key=key, unit=unit, redating=policies)
                versions = {"older_version": from_version}
                draft = _draft(head.member_id, activity, REDATE_SOURCE, at, newer, **versions)
                result.done.written += is_written(draft, stores)
        progress(number, max(total, number), "members")
    return result


def _redate_key(member_id: str, newer: Program, unit: str) -> str:
    """One key a member, version and unit: lots are dated anew once."""
    key = f"redate/{member_id}/{newer.version}"
    return key if unit == POINTS else f"{key}/{unit}"


def _draft(
    member_id: str,
    activity: Activity,
    source: str,
    at: datetime,
    program: Program,
    **more: int,
) -> Draft:
    return Draft(
        member_id=member_id,
        key=activity.key,
        # The key says all that the entry is about, so whoever runs it again means the same.
        fingerprint=fingerprint({"key": activity.key}),
        source=source,
        received_at=at,
        activity=activity,
        document={**activity_to_document(activity), **more},
        program=program,
    )
