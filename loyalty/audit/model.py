"""What an audit can find, and its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

# What is listed of a database in ruins; all of it is counted.
FINDINGS_MAX = 1000

KINDS: dict[str, str] = {
    "unreadable": "an entry has not the form of an entry",
    "gap": "a journal's numbers do not run from 1 without a gap",
    "key_twice": "a fact is in a journal twice",
    "unknown_version": "an entry names a version of the programme that does not exist",
    "cannot_fold": "the facts cannot be folded",
    "postings": "what an entry moved is not what its facts come to",
    "state": "the state after an entry is not what the facts come to",
    "balance_after": "the balance after an entry is not the sum of what was moved until then",
    "sum": "what was moved in all is not what the lots hold",
    "dangling": "an entry refers to one that is not there",
    "undone_twice": "an entry was reversed, resolved or undone twice",
    "transfer": "what left in a transfer did not arrive, or the other way round",
    "budget": "a campaign's counter is not what the campaign paid",
    "index": "an index that keeps facts from being written twice is missing",
}


class Finding(NamedTuple):
    """One thing that is wrong.

    Args:
        kind: one of `KINDS`.
        place: an entry's id, a rule or an index; never a member.
        detail: in plain words and numbers.
    """

    kind: str
    place: str
    detail: str


@dataclass(slots=True)
class Report:
    """What an audit looked at and found.

    Args:
        members, entries: how many were looked at.
        findings: the first of them.
        counts: how many of each kind there are.
        notes: what could not be judged, and why.
    """

    members: int = 0
    entries: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count a finding, and list it while there is room."""
        self.counts[finding.kind] += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.counts
