"""What the shop owes its members in points, and when it falls away. Pure: states come in as values.

A customer's points are a material right (IFRS 15, B40): part of the price of what was sold is owed
until they are spent or expire. What is shown is what that is worked out from: points outstanding,
their worth, when they expire, and an estimate of breakage (B44 to B47), which an accountant has to
judge. Pending points are owed as well: they are counted, and told apart. So are held ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.journal.late import facts_of, restated
from loyalty.program.clawback import AWARDS
from loyalty.program.lots import NEVER
from loyalty.program.money import rounded
from loyalty.program.passage import settle
from loyalty.program.sampling import Moments
from loyalty.program.simulate import expected_expiries, expiry_month
from loyalty.program.validity import UnitPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from loyalty.journal.model import Entry
    from loyalty.program.model import Activity, Posting, Program, State
    from loyalty.versions.service import ProgramShelf

METHOD = (
    "Estimate. Of the points awarded to a random sample of members (returns taken off) whose "
    "validity, as dated when they were awarded, has ended by now, the share that expired unspent. "
    "It is taken to hold for points that will expire; the past need not repeat itself. "
    "Points without an end have no estimate, nor do units that expire by inactivity."
)
_NO_POLICY = UnitPolicy()


@dataclass(slots=True)
class Outstanding:
    """The points of one unit over all members.

    Args:
        points: in lots, without debts; `pending` of them cannot be spent yet.
        held: set aside by open holds, not in `points`.
        debt: what members owe, as a positive number.
        by_month: of `points`, by the month of the last day on which they are valid.
        holders: members that have any.
    """

    points: int = 0
    pending: int = 0
    held: int = 0
    debt: int = 0
    holders: int = 0
    by_month: Counter[str] = field(default_factory=Counter)


def count(
    sums: dict[str, Outstanding], state: State, at: datetime, zone: ZoneInfo
) -> dict[str, int]:
    """Count one member's points as they are at a moment, by the same rules as reading them.

    Returns:
        What time has let expire since the member's last entry, by unit.
    """
    state, passed = settle(state, at)
    for unit, lots in state.lots.items():
        told = sums.setdefault(unit, Outstanding())
        for expires_at, points in expected_expiries(lots, state.idle_at.get(unit)):
            told.points += points
            told.by_month[expiry_month(expires_at, zone)] += points
        told.pending += sum(lot.points for lot in lots if lot.active_at > at)
        told.debt -= sum(lot.points for lot in lots if lot.points < 0)
        told.holders += any(lot.points > 0 for lot in lots)
    for held in state.holds.values():
        sums.setdefault(held.unit, Outstanding()).held += held.points
    expired: Counter[str] = Counter()
    for posting in passed:
        if posting.rule == "expiry":
            expired[posting.unit] -= posting.points
    return expired


class Fate(NamedTuple):
    """Of one member's points of one unit whose validity has ended: all, and what expired."""

    ended: int
    expired: int


def fates(
    entries: Sequence[Entry], programs: ProgramShelf, due: Mapping[str, int], at: datetime
) -> dict[str, Fate]:
    """What became of a member's points whose validity has ended by now, by unit.

    Args:
        entries: the member's, in the order of the journal.
        programs: the versions, whose policies dated the points.
        due: what time has let expire since the last entry.
        at: now.
    """
    newest = restated(entries)
    own = {entry.key: entry.postings for entry in entries}
    facts = facts_of(entries, programs)
    by_key = {fact.activity.key: (fact.activity, fact.program) for fact in facts}
    ended: Counter[str] = Counter()
    expired = Counter(due)
    for activity, program in by_key.values():
        for posting in newest.get(activity.key, own[activity.key]):
            if posting.rule == "expiry":
                expired[posting.unit] -= posting.points
            elif _has_ended(posting, activity, program, by_key, at):
                ended[posting.unit] += posting.points
    units = ended.keys() | expired.keys()
    return {unit: Fate(max(0, ended[unit]), max(0, expired[unit])) for unit in units}


def _has_ended(
    posting: Posting,
    activity: Activity,
    program: Program,
    by_key: Mapping[str, tuple[Activity, Program]],
    at: datetime,
) -> bool:
    """Whether what a posting awarded, or took back of an award, could be spent until before now."""
    if posting.kind == "clawback":
        activity, program = by_key.get(posting.inputs["purchase"], (activity, program))
    elif posting.kind not in AWARDS and not (posting.kind == "adjustment" and posting.points > 0):
        return False
    policy = program.units.get(posting.unit, _NO_POLICY)
    return policy.dates(activity.occurred_at, program.zone).expires_at <= at


class Breakage:
    """The share of a unit's points that expire unspent, over a sample of members."""

    def __init__(self) -> None:
        self.members = 0
        self._ended, self._expired = Moments(), Moments()
        self._products = 0

    def add(self, fate: Fate) -> None:
        """Count one member."""
        self.members += 1
        self._ended.add(fate.ended)
        self._expired.add(fate.expired)
        self._products += fate.ended * fate.expired

    def rate(self) -> tuple[float, float] | None:
        """The share and its standard error; None where nothing has ended yet.

        The error is that of a ratio of two totals (Cochran, Sampling Techniques, section 2.11).
        """
        ended, expired = self._ended.total, self._expired.total
        if not ended:
            return None
        share = min(1.0, expired / ended)
        if self.members == 1:
            return share, 1.0
        residues = (
            self._expired.squares - 2 * share * self._products + share**2 * self._ended.squares
        )
        variance = max(0.0, residues) * self.members / (self.members - 1)
        return share, variance**0.5 / ended


def report(
    sums: Mapping[str, Outstanding], breakage: Mapping[str, Breakage], program: Program
) -> list[dict[str, Any]]:
    """What is owed, unit by unit, in points and in money.

    Args:
        sums: over all members.
        breakage: over a sample of them; a unit that is missing has no estimate.
        program: that rules now; its units say what points are worth.
    """
    return [
        _unit(unit, sums[unit], breakage.get(unit), program.units.get(unit, _NO_POLICY))
        for unit in sorted(sums)
    ]


def worth_of(points: int, policy: UnitPolicy) -> int | None:
    """What points are worth in minor units, rounded half up; None where nobody said."""
    amount, per = policy.worth
    return rounded(points * amount, per, "half_up") if amount else None


def _unit(
    unit: str, told: Outstanding, breakage: Breakage | None, policy: UnitPolicy
) -> dict[str, Any]:
    return {
        "unit": unit,
        "members": told.holders,
        "outstanding": _both(told.points, policy),
        "pending": _both(told.pending, policy),
        "held": _both(told.held, policy),
        "debt": _both(told.debt, policy),
        "by_month": [
            {"month": month, **_both(points, policy)}
            for month, points in sorted(told.by_month.items())
        ],
        "breakage": _breakage(told, breakage, policy),
    }


def _both(points: int, policy: UnitPolicy) -> dict[str, Any]:
    return {"points": points, "amount": worth_of(points, policy)}


def _breakage(
    told: Outstanding, breakage: Breakage | None, policy: UnitPolicy
) -> dict[str, Any] | None:
    rate = breakage.rate() if breakage else None
    if rate is None or breakage is None:
        return None
    share, error = rate
    ending = told.points - told.by_month.get("never", 0)
    return {
        "rate": round(share, 4),
        "standard_error": round(error, 4),
        "members": breakage.members,
        # To the nearest point: an estimate claims no more.
        "expected": _both(round(ending * share), policy),
        "method": METHOD,
    }


class Expiring(NamedTuple):
    """Points of one member that expire at a moment if nothing more happens."""

    unit: str
    points: int
    expires_at: datetime


def expiring(state: State, at: datetime, *, until: datetime) -> Iterator[Expiring]:
    """What of a member's points expires after a moment and up to another, soonest first."""
    state, _ = settle(state, at)
    sums: Counter[tuple[datetime, str]] = Counter()
    for unit, lots in state.lots.items():
        for expires_at, points in expected_expiries(lots, state.idle_at.get(unit)):
            if expires_at <= min(until, NEVER):
                sums[expires_at, unit] += points
    for (expires_at, unit), points in sorted(sums.items()):
        yield Expiring(unit, points, expires_at)
