"""The checks of one member's journal: everything is worked out again and compared.

The journal alone says what has to be: each fact is folded under the version of its time, in the
order of time, and what comes out has to be what the entries and their corrections say.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING

from loyalty.audit.model import Finding
from loyalty.journal.codec import (
    posting_to_document,
    state_from_document,
    state_to_document,
)
from loyalty.journal.drafts import EMPTY
from loyalty.journal.late import facts_of, fold, restated
from loyalty.journal.store import RESTATING
from loyalty.program.model import POINTS, State
from loyalty.program.step import step
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loyalty.journal.model import Entry
    from loyalty.program.model import Activity, Posting
    from loyalty.versions.service import ProgramShelf

# What a document that was tampered with can do to code that trusts it.
BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError)
_STATE_PARTS = tuple(each.name for each in fields(State))


def examined(entries: Sequence[Entry], programs: ProgramShelf) -> Iterator[Finding]:
    """All that is wrong with a member's journal.

    Args:
        entries: all of them, in the order of the journal.
        programs: the versions.
    """
    yield from _numbering(entries)
    yield from _references(entries)
    yield from _undone_twice(entries)
    yield from _sums(entries)
    unknown = list(_unknown_versions(entries, programs))
    if unknown:
        yield from unknown
        return
    try:
        yield from list(_folded(entries, programs))
    except BROKEN as error:
        yield Finding("cannot_fold", entries[-1].id, f"Folding ends in {type(error).__name__}.")


def _numbering(entries: Sequence[Entry]) -> Iterator[Finding]:
    for number, entry in enumerate(entries, 1):
        if entry.seq != number:
            yield Finding("gap", entry.id, f"Has number {entry.seq} and should have {number}.")
            break
    keys = Counter(entry.key for entry in entries)
    for entry in entries:
        if keys[entry.key] > 1:
            yield Finding("key_twice", entry.id, "Another entry has the same key.")


def _references(entries: Sequence[Entry]) -> Iterator[Finding]:
    """Entries that refer to facts which the journal does not hold."""
    ids = {entry.key: entry.id for entry in entries}
    for entry in entries:
        for what, key in _referred(entry):
            if key not in ids:
                yield Finding("dangling", entry.id, f"The {what} is not in the journal.")
        for each in entry.activity.get("corrects", ()):
            if ids.get(each["key"]) != each["entry"]:
                yield Finding("dangling", entry.id, "The entry that it corrects is not there.")


def _referred(entry: Entry) -> Iterator[tuple[str, str]]:
    document = entry.activity
    yield from (("entry that it undoes", key) for key in document.get("undoes", ()))
    if entry.kind == "correction":
        yield "reason of the correction", document["because"]
    if "purchase_key" in document:
        yield "purchase that came back", document["purchase_key"]
    if entry.kind in ("capture", "release", "restore"):
        yield "hold", document["hold"]
    for posting in entry.postings:
        yield from (("use of a channel that a bonus stands on", key) for key in posting.legs)


def _undone_twice(entries: Sequence[Entry]) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    captured = {entry.activity["hold"] for entry in entries if entry.kind == "capture"}
    for entry in entries:
        for mark in _ends(entry):
            if mark in seen:
                yield Finding("undone_twice", entry.id, f"{mark[0]} for the second time.")
            seen.add(mark)
        if entry.kind == "restore" and entry.activity["hold"] not in captured:
            yield Finding("dangling", entry.id, "What it gives back was never captured.")


def _ends(entry: Entry) -> Iterator[tuple[str, str]]:
    """What an entry ends for good."""
    if entry.kind == "reversal":
        yield from (("Reverses an entry", key) for key in entry.activity["undoes"][:1])
    elif entry.kind in ("capture", "release"):
        yield "Resolves a hold", entry.activity["hold"]
    elif entry.kind == "restore":
        yield "Undoes a redemption", entry.activity["hold"]


def _sums(entries: Sequence[Entry]) -> Iterator[Finding]:
    """What was moved adds up, at each entry and at the head."""
    moved: Counter[str] = Counter()
    is_told = False
    for entry in entries:
        for posting in entry.postings:
            moved[posting.unit] += posting.points
        if moved[POINTS] != entry.balance_after and not is_told:
            is_told = True
            detail = f"Says {entry.balance_after}; until then {moved[POINTS]} were moved."
            yield Finding("balance_after", entry.id, detail)
    head = entries[-1]
    balances = head.state.balances
    for unit in sorted(moved.keys() | balances.keys()):
        held = balances.get(unit, 0)
        if moved[unit] != held:
            detail = f"{moved[unit]} {unit} were moved in all; the lots hold {held}."
            yield Finding("sum", head.id, detail)


def _unknown_versions(entries: Sequence[Entry], programs: ProgramShelf) -> Iterator[Finding]:
    for entry in entries:
        numbers = [entry.program_version]
        if entry.kind == "redate":
            numbers.append(entry.activity.get("older_version", 0))
        for number in numbers:
            try:
                programs.version(number)
            except NoProgramError:
                yield Finding("unknown_version", entry.id, f"There is no version {number}.")


def _folded(entries: Sequence[Entry], programs: ProgramShelf) -> Iterator[Finding]:
    state, found = fold(EMPTY, facts_of(entries, programs))
    yield from _postings(entries, found)
    head = entries[-1]
    if parts := _differing(state, head.state):
        detail = f"The head's {', '.join(parts)} would be others."
        yield Finding("state", head.id, detail)
    yield from _chain(entries, programs)


def _postings(
    entries: Sequence[Entry], found: Mapping[str, tuple[Activity, tuple[Posting, ...]]]
) -> Iterator[Finding]:
    """Each fact's newest postings against what the fold gives; a reversed fact's are none."""
    newest = restated(entries)
    for entry in entries:
        if entry.kind in RESTATING:
            continue
        said = newest.get(entry.key, entry.postings)
        _, due = found.get(entry.key, (None, ()))
        if _plain(said) != _plain(due):
            detail = f"Says {_told(said)}; the facts come to {_told(due)}."
            yield Finding("postings", entry.id, detail)


def _chain(entries: Sequence[Entry], programs: ProgramShelf) -> Iterator[Finding]:
    """The states along the way: each follows from the one before it.

    What came late or undid something was folded from further back: only the head's can be told.
    """
    before = EMPTY
    for entry in entries[:-1]:
        is_on_top = before.last is None or (entry.occurred_at, entry.key) > before.last
        if entry.kind not in RESTATING and is_on_top and not _needs_book(entry):
            (fact,) = facts_of([entry], programs)
            after, _ = step(fact.program, before, fact.activity)
            if parts := _differing(after, entry.state):
                detail = f"The {', '.join(parts)} after it would be others."
                yield Finding("state", entry.id, detail)
        before = entry.state


def _needs_book(entry: Entry) -> bool:
    return entry.kind in ("return", "restore")


def _differing(due: State, said: State) -> list[str]:
    """Which parts of two states differ, once both have been written down."""
    written = state_from_document(state_to_document(due))
    kept = state_from_document(state_to_document(said))
    return [part for part in _STATE_PARTS if getattr(written, part) != getattr(kept, part)]


def _plain(postings: Sequence[Posting]) -> list[object]:
    """Postings as they are written down: a tuple and a list are the same there."""
    return [_lists(posting_to_document(each)) for each in postings]


def _lists(value: object) -> object:
    if isinstance(value, dict):
        return {name: _lists(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_lists(each) for each in value]
    return value


def _told(postings: Sequence[Posting]) -> str:
    points: Counter[str] = Counter()
    for posting in postings:
        points[posting.unit] += posting.points
    moved = ", ".join(f"{count} {unit}" for unit, count in sorted(points.items()))
    return f"{moved} in {len(postings)} postings" if moved else "nothing"
