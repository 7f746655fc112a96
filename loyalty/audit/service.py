"""Audit the whole journal, or some members of it. It reads and mends nothing."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.audit.checks import BROKEN, examined
from loyalty.audit.model import Finding, Report
from loyalty.journal.codec import entry_from_document
from loyalty.journal.drafts import granted
from loyalty.journal.model import ERASED_PARTIES
from loyalty.program.sampling import draw
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from loyalty.journal.drafts import Stores
    from loyalty.journal.model import Entry
    from loyalty.journal.scan import JournalScan

# The indexes without which a fact could be written twice.
GUARDS = ("mark", "member_seq")
# What is younger may have another half that is still on its way.
SETTLED = timedelta(minutes=5)
BUDGETED = frozenset({"purchase", "engagement", "referral", "correction"})


class Scope(NamedTuple):
    """What to look at: one member, a sample of so many, or everything."""

    member_id: str | None = None
    sample: int | None = None
    seed: str = "audit"

    @property
    def is_whole(self) -> bool:
        """Whether sums over all members can be judged."""
        return self.member_id is None and self.sample is None


def audit(
    scope: Scope,
    *,
    at: datetime,
    scan: JournalScan,
    stores: Stores,
    progress: Callable[[int, int, str], None],
) -> Report:
    """Work everything out again from the journal and compare.

    Memory holds one member's journal at a time. The service may go on meanwhile: journals only
    grow, so what is read of one is whole up to some entry; what is shared between members is
    judged only as far as it stood still.

    Args:
        scope: whom to look at.
        at: now.
        scan: the journals.
        stores: the versions, and facts of other members.
        progress: called for each member.
    """
    report, sums = Report(), _Sums(at)
    spent_before = scan.spent()
    missing = set(GUARDS) - scan.unique_indexes()
    for name in sorted(missing):
        report.add(Finding("index", name, "Is missing or not unique."))
    total = 1 if scope.member_id else scope.sample or scan.member_count()
    for done, member_id in enumerate(_members(scope, scan), 1):
        entries = _read(member_id, scan, report)
        if entries:
            _examine(entries, stores, report)
            sums.add(entries, stores)
        progress(done, max(total, done), "members")
        report.members += 1
    if scope.is_whole:
        sums.add_shells(scan.shells(), stores)
        sums.judge_budgets(spent_before, scan.spent(), report)
        if days := sums.unbalanced_days():
            _name_transfers(days, scan, report, at)
    else:
        report.notes.append("Budgets and transfers are judged over all members only.")
    return report


def _members(scope: Scope, scan: JournalScan) -> Iterable[str]:
    if scope.member_id:
        return [scope.member_id]
    if scope.sample is None:
        return scan.member_ids()
    sample = draw(scan.member_ids(), seed=scope.seed, members=scope.sample)
    return (each for each in scan.member_ids() if sample.has(each))


def _read(member_id: str, scan: JournalScan, report: Report) -> list[Entry]:
    """A member's entries; none if any of them cannot be read."""
    entries, is_whole = [], True
    for document in scan.documents(member_id):
        report.entries += 1
        try:
            entries.append(entry_from_document(document))
        except BROKEN as error:
            is_whole = False
            detail = f"Reading it ends in {type(error).__name__}."
            report.add(Finding("unreadable", str(document["_id"]), detail))
    return entries if is_whole else []


def _examine(entries: Sequence[Entry], stores: Stores, report: Report) -> None:
    try:
        for finding in examined(entries, stores.programs):
            report.add(finding)
    except BROKEN as error:
        detail = f"Checking it ends in {type(error).__name__}."
        report.add(Finding("unreadable", entries[-1].id, detail))
    for entry in entries:
        # A referral stands on a fact of somebody else, who may have been erased since.
        is_other = entry.kind == "referral" and ERASED_PARTIES not in entry.activity
        if is_other and not stores.journal.seen([entry.activity["because"]]):
            detail = "The purchase that it was paid for is not there."
            report.add(Finding("dangling", entry.id, detail))


class _Sums:
    """What is shared between members, added up: its size is that of rules and of days."""

    def __init__(self, at: datetime) -> None:
        self._settled_at = at - SETTLED
        self._spent: Counter[str] = Counter()
        self._transferred: Counter[tuple[str, str]] = Counter()

    def add(self, entries: Iterable[Entry], stores: Stores) -> None:
        """Count a member's part."""
        for entry in entries:
            if entry.kind in BUDGETED:
                self._spent.update(_granted(entry, stores))
            is_whole = entry.kind == "transfer" and ERASED_PARTIES not in entry.activity
            if is_whole and entry.received_at <= self._settled_at:
                for unit, points in _transferred(entry):
                    self._transferred[_day(entry), unit] += points

    def add_shells(self, shells: Iterable[Mapping[str, Any]], stores: Stores) -> None:
        """Count what erased entries took of budgets."""
        for shell in shells:
            if shell["was"] in BUDGETED:
                budgets = stores.programs.version(shell["program_version"]).budgets
                for each in shell["postings"]:
                    if each["rule"] in budgets:
                        self._spent[each["rule"]] += each["points"]

    def judge_budgets(self, before: dict[str, int], after: dict[str, int], report: Report) -> None:
        """Compare the counters with what was paid; what moved meanwhile lies between."""
        for rule in sorted(before.keys() | after.keys() | self._spent.keys()):
            bounds = sorted((before.get(rule, 0), after.get(rule, 0)))
            paid = self._spent[rule]
            if not bounds[0] <= paid <= bounds[1]:
                detail = f"The counter says {bounds[1]}; the entries paid {paid}."
                report.add(Finding("budget", rule, detail))
            elif bounds[0] != bounds[1]:
                report.notes.append(f"Campaign {rule} went on paying during the audit.")

    def unbalanced_days(self) -> set[str]:
        """The days whose transfers do not add up to nothing."""
        return {day for (day, _), points in self._transferred.items() if points}


def _granted(entry: Entry, stores: Stores) -> dict[str, int]:
    try:
        program = stores.programs.version(entry.program_version)
    except NoProgramError:
        # Found and told already.
        return {}
    return granted(entry.postings, program)


def _transferred(entry: Entry) -> Iterator[tuple[str, int]]:
    for posting in entry.postings:
        if posting.kind == "transfer":
            yield posting.unit, posting.points


def _day(entry: Entry) -> str:
    return entry.received_at.date().isoformat()


def _name_transfers(days: set[str], scan: JournalScan, report: Report, at: datetime) -> None:
    """Look again, at the transfers of those days alone, for the ones without their other half.

    Both halves are written together, and say the same moment at which they were asked for.
    """
    sums: Counter[tuple[datetime, str]] = Counter()
    ids: dict[tuple[datetime, str], list[str]] = {}
    for member_id in scan.member_ids():
        for document in scan.documents(member_id):
            is_young = document.get("received_at", at) > at - SETTLED
            if document.get("kind") != "transfer" or is_young:
                continue
            if ERASED_PARTIES in document["activity"]:
                # Its other half is a shell.
                continue
            entry = entry_from_document(document)
            if _day(entry) in days:
                for unit, points in _transferred(entry):
                    sums[entry.received_at, unit] += points
                    ids.setdefault((entry.received_at, unit), []).append(entry.id)
    for mark, points in sums.items():
        if points:
            detail = f"{points:+} {mark[1]} over all members, where nothing should be left."
            for entry_id in ids[mark]:
                report.add(Finding("transfer", entry_id, detail))
