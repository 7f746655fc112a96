"""Look for tampering in the consent records: chains that do not hold, and sums that do not.

A chain shows a field that was changed, a record that was left out or put in, two that changed
places. A checkpoint shows an end that was cut off: see `chain`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from loyalty.consent.chain import Checkpoint
    from loyalty.consent.store import ConsentStore, Scanned

FINDINGS_MAX = 100
# A record is on disk so long after its id was made: longer than any request lasts.
SETTLED = timedelta(seconds=60)
STEP = 1000


class Finding(NamedTuple):
    """Where something is wrong: `record_id` is "" where there is no record to name."""

    member_id: str
    seq: int
    record_id: str
    problem: str


class Verdict(NamedTuple):
    """What a check found; at most a hundred findings are kept, all are counted."""

    records: int
    members: int
    problems: int
    findings: tuple[Finding, ...]
    checkpoint: Checkpoint | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def checkpoint(*, at: datetime, consents: ConsentStore, settled: timedelta = SETTLED) -> str:
    """Keep what all settled records come to; the text is to be kept outside as well."""
    return consents.keep_checkpoint(made_at=at, until=at - settled)


def verify(
    *,
    consents: ConsentStore,
    progress: Callable[[int, int], None],
    against: str | None = None,
) -> Verdict:
    """Check every chain, and the sum of a checkpoint.

    Args:
        consents: where the records are.
        progress: called with what is done and about the total.
        against: a checkpoint that was kept outside; the newest kept inside, if absent.

    Raises:
        BadCheckpointError: it is forged.
    """
    kept = consents.read_checkpoint(against) if against else consents.newest_checkpoint()
    walk = _Walk()
    total = consents.count()
    findings: list[Finding] = []
    count = 0
    for each in _all(walk, consents, kept):
        if isinstance(each, int):
            progress(each, max(total, each))
            continue
        count += 1
        if count <= FINDINGS_MAX:
            findings.append(each)
    progress(walk.records, max(total, walk.records))
    return Verdict(walk.records, walk.members, count, tuple(findings), kept)


def _all(walk: _Walk, consents: ConsentStore, kept: Checkpoint | None) -> Iterator[Finding | int]:
    for scanned in consents.scan():
        yield from walk.see(scanned)
        if walk.records % STEP == 0:
            yield walk.records
    yield from walk.end()
    if kept is not None:
        yield from _sums(kept, consents)


def _sums(kept: Checkpoint, consents: ConsentStore) -> Iterator[Finding]:
    there = consents.tally(kept.until).plus(consents.taken(kept))
    if there == kept.tally:
        return
    missing = kept.tally.records - there.records
    what = f"{abs(missing)} records are {'missing' if missing > 0 else 'too many'}"
    text = f"checkpoint {kept.number} does not hold: {what if missing else 'records differ'}"
    yield Finding("", 0, "", text)


class _Walk:
    """Goes through the records of each member from the newest to the first."""

    def __init__(self) -> None:
        self.records = 0
        self.members = 0
        self._newer: Scanned | None = None

    def see(self, scanned: Scanned) -> Iterator[Finding]:
        """What is wrong with a record, or between it and the one after it."""
        self.records += 1
        newer = self._newer
        if newer is None or newer.member_id != scanned.member_id:
            self.members += 1
            yield from self.end()
        else:
            yield from _link(newer, scanned)
        if not scanned.is_sound:
            yield _finding(scanned, "the record is not what its hash says")
        self._newer = scanned

    def end(self) -> Iterator[Finding]:
        """What is wrong with the beginning of the chain that was walked last."""
        first = self._newer
        if first is not None and (first.seq != 1 or first.previous):
            yield _finding(first, "the chain does not begin here: earlier records are missing")


def _link(newer: Scanned, older: Scanned) -> Iterator[Finding]:
    if newer.seq != older.seq + 1:
        yield _finding(newer, f"records {older.seq + 1} to {newer.seq - 1} are missing")
    elif newer.previous != older.hash:
        yield _finding(newer, "it does not stand on the record before it")


def _finding(scanned: Scanned, problem: str) -> Finding:
    return Finding(scanned.member_id, scanned.seq, scanned.id, problem)
