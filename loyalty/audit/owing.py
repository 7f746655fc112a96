"""Read the heads of all journals for what is owed, and for what expires soon."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.audit.liability import Breakage, Fate, Outstanding, count, expiring, fates, report
from loyalty.consent import gate
from loyalty.consent.model import MARKETING
from loyalty.kit.errors import ConflictError
from loyalty.program.sampling import draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from loyalty.audit.liability import Expiring
    from loyalty.consent.store import ConsentStore
    from loyalty.jobs.model import JobFunction, Report
    from loyalty.journal.drafts import Stores
    from loyalty.journal.scan import JournalScan, MemberHead

KIND = "liability"
# What one request answers for: about a second's work.
MEMBERS_MAX = 10_000
SAMPLE_MEMBERS = 200
SAMPLE_SEED = "breakage"
HEADS_A_PAGE_MAX = 2_000
EXPIRIES_DAYS_MAX = 366
_NOTHING = Fate(0, 0)


class TooManyMembersError(ConflictError):
    """The shop is too large to be summed up within one request."""

    code = "too_many_members"
    title = "There are too many members for one request"


def require_small(scan: JournalScan) -> None:
    """Let a shop pass that one request can sum up.

    Raises:
        TooManyMembersError: it is larger.
    """
    if scan.member_count() > MEMBERS_MAX:
        detail = f"Above {MEMBERS_MAX} members, POST to the same address for a job."
        raise TooManyMembersError(detail)


def liability(
    *,
    at: datetime,
    scan: JournalScan,
    stores: Stores,
    progress: Callable[[int, int, str], None],
) -> dict[str, Any]:
    """What is owed to all members, as the heads of their journals say at this moment.

    Args:
        at: the moment; what has expired by then is not owed, posted or not.
        scan: the journals.
        stores: the versions, and the journals of the sample for breakage.
        progress: several times a second.

    Raises:
        NoProgramError: none is published.
    """
    program = stores.programs.at(at)
    ids = _told(scan, progress)
    sample = draw(ids, seed=SAMPLE_SEED, members=SAMPLE_MEMBERS)
    sums: dict[str, Outstanding] = {}
    breakage: dict[str, Breakage] = {}
    idle = _idle_units(stores)
    for done, head in enumerate(scan.heads(), 1):
        due = count(sums, head.state, at, program.zone)
        if sample.has(head.member_id):
            entries = scan.entries(head.member_id)
            found = fates(entries, stores.programs, due, at)
            for unit in program.units.keys() - idle:
                breakage.setdefault(unit, Breakage()).add(found.get(unit, _NOTHING))
        progress(done, max(sample.of, done), "members")
    return {
        "at": at,
        "currency": program.currency,
        "program_version": program.version,
        "members": sample.of,
        "units": report(sums, breakage, program),
    }


def _told(scan: JournalScan, progress: Callable[[int, int, str], None]) -> Iterator[str]:
    total = scan.member_count()
    for done, member_id in enumerate(scan.member_ids(), 1):
        progress(done, max(total, done), "draw")
        yield member_id


def _idle_units(stores: Stores) -> set[str]:
    """The units that any version lets expire by inactivity."""
    programs = (stores.programs.version(each.number) for each in stores.programs.all())
    return {
        unit
        for program in programs
        for unit, policy in program.units.items()
        if policy.expiry.idle_months or policy.expiry.idle_days
    }


def job(scan: JournalScan, stores: Stores, clock: Callable[[], datetime]) -> JobFunction:
    """The function that sums up a large shop. It only reads, so it may be begun again."""

    def run(_: Mapping[str, Any], told: Report) -> Mapping[str, Any]:
        return liability(at=clock(), scan=scan, stores=stores, progress=told.progress)

    return run


class ExpiryPage(NamedTuple):
    """A page of members with what expires, and the member after whom the next one begins."""

    found: list[tuple[str, list[Expiring]]]
    after: str | None


def expiries(
    *,
    within_days: int,
    channel: str | None,
    after: str,
    limit: int,
    at: datetime,
    scan: JournalScan,
    consents: ConsentStore,
) -> ExpiryPage:
    """Whose points expire soon, in the order of the members' ids.

    It looks at a bounded number of members, so a page can be short, or empty, before the last.

    Args:
        within_days: within so many days from now.
        channel: only members who agree to marketing there, read live.
        after: only members with greater ids.
        limit: members at most.
        at: now.
        scan: the journals.
        consents: what members agree to.
    """
    until = at + timedelta(days=within_days)
    heads = scan.heads_page(after, limit=HEADS_A_PAGE_MAX)
    due = [(head, list(expiring(head.state, at, until=until))) for head in heads]
    rows = [(head.member_id, each) for head, each in due if each]
    if channel:
        ids = [member_id for member_id, _ in rows]
        allowed = gate.permits(ids, MARKETING, channel, at=at, consents=consents)
        rows = [row for row in rows if row[0] in allowed]
    if len(rows) > limit:
        return ExpiryPage(rows[:limit], rows[limit - 1][0])
    return ExpiryPage(rows, _last(heads))


def _last(heads: list[MemberHead]) -> str | None:
    return heads[-1].member_id if len(heads) == HEADS_A_PAGE_MAX else None
