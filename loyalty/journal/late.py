"""Facts where they belong in time, whenever they arrive.

The order of facts is that of their time, then of their keys. A fact that is newer than all others
stands on the head. An older one is folded where it belongs: from the newest state that knows of
nothing later, all facts since are folded again, each at the rules of its time. What that changes is
posted as one correction that names each entry. A reversal does the same with a fact left out.

Decisions stay: what was redeemed, adjusted or transferred is a fact at its own time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.journal.codec import activity_of, posting_from_document, posting_to_document
from loyalty.journal.drafts import EMPTY, built, entry_after
from loyalty.journal.model import EntryNotFoundError, Head, ReturnExceedsPurchaseError
from loyalty.journal.store import RESTATING
from loyalty.kit.errors import FieldError
from loyalty.program.book import Book, ExcessError
from loyalty.program.model import DECISIONS, POINTS, Activity, Posting
from loyalty.program.step import step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from loyalty.journal.drafts import Draft, Stores
    from loyalty.journal.model import Entry
    from loyalty.program.model import Kind, Program, State
    from loyalty.program.validity import UnitPolicy
    from loyalty.versions.service import ProgramShelf

    Postings = tuple[Posting, ...]

_TICK = timedelta(milliseconds=1)
# The facts that one correction restates, so that it stays far below a document's 16 MB.
CORRECTS_MAX = 1000


def planned(
    head: Head | None, draft: Draft, stores: Stores, *, unwritten: Sequence[Entry] = ()
) -> list[Entry]:
    """The entries that a draft makes: its own, and a correction of others if it comes late.

    Args:
        head: where the member's journal stands, with what is planned and not written yet.
        draft: the fact.
        stores: where the journal is.
        unwritten: the planned entries that the head stands on, in their order.

    Raises:
        ReturnExceedsPurchaseError: more comes back than is left.
        InsufficientPointsError, HoldExpiredError, TooManyHoldsError, PointsOutOfRangeError:
        as they say.
    """
    if draft.activity.kind == "reversal":
        return _reversed(head, draft, stores)
    if draft.activity.kind in DECISIONS:
        draft = _on_top(draft, head)
    draft = _completed(draft, stores)
    if head is None or head.state.last is None or draft.order > head.state.last:
        return [entry_after(head, draft)]
    return _folded(head, draft, stores, unwritten)


def restated(entries: Iterable[Entry]) -> dict[str, Postings]:
    """The newest postings of each fact that a correction restated, by its key.

    Args:
        entries: in the order of the journal.
    """
    found = {}
    for entry in entries:
        if entry.kind in RESTATING:
            for each in entry.activity["corrects"]:
                found[each["key"]] = tuple(posting_from_document(one) for one in each["postings"])
    return found


class Fact(NamedTuple):
    """An activity and the programme that ruled it."""

    activity: Activity
    program: Program


def facts_of(entries: Sequence[Entry], programs: ProgramShelf) -> list[Fact]:
    """The facts that entries hold, without those that were reversed."""
    reversed_keys = {
        key for entry in entries if entry.kind == "reversal" for key in entry.activity["undoes"]
    }
    return [
        _fact(entry, programs)
        for entry in entries
        if entry.kind not in RESTATING and entry.key not in reversed_keys
    ]


def fold(base: State, facts: Iterable[Fact]) -> tuple[State, dict[str, tuple[Activity, Postings]]]:
    """The state after facts in the order of their time, and what each of them moved, by key."""
    state, book = base, Book()
    found = {}
    for fact in sorted(facts, key=lambda each: (each.activity.occurred_at, each.activity.key)):
        activity = book.complete(fact.activity)
        state, postings = step(fact.program, state, activity)
        book.record(activity, postings)
        found[activity.key] = (activity, postings)
    return state, found


def _fact(entry: Entry, programs: ProgramShelf) -> Fact:
    program = programs.version(entry.program_version)
    activity = activity_of(entry)
    if activity.kind == "redate":
        older = programs.version(entry.activity["older_version"])
        both = redating(program, older)
        own = {unit: pair for unit, pair in both.items() if unit == activity.unit}
        activity = replace(activity, redating=own)
    return Fact(activity, program)


def redating(newer: Program, older: Program) -> dict[str, tuple[UnitPolicy, UnitPolicy]]:
    """For each unit in both versions whose policies differ, the newer and the older policy."""
    return {
        unit: (policy, older.units[unit])
        for unit, policy in newer.units.items()
        if unit in older.units and older.units[unit] != policy
    }


def _on_top(draft: Draft, head: Head | None) -> Draft:
    """A decision is taken on what is known, so it comes after all of that."""
    if head is None or head.state.last is None or draft.order > head.state.last:
        return draft
    at = head.state.last[0] + _TICK
    return replace(draft, activity=replace(draft.activity, occurred_at=at))


def _completed(draft: Draft, stores: Stores) -> Draft:
    """The draft with what it undoes, as far as that is known now.

    Raises:
        ReturnExceedsPurchaseError: more comes back than is left.
    """
    if draft.activity.back is None and draft.activity.kind != "restore":
        return draft
    activity = replace(draft.activity, key=draft.key)
    facts = _related(draft.member_id, _refers_to(activity), stores)
    try:
        complete, told = _judged(activity, facts)
    except ExcessError as error:
        raise _excess(error) from error
    return replace(draft, activity=complete, document={**draft.document, **told})


def _judged(activity: Activity, facts: Sequence[_Moved]) -> tuple[Activity, dict[str, Any]]:
    """The activity with what it undoes, and what its document says of that.

    Raises:
        ExcessError: more comes back than is left.
    """
    book = _book(facts)
    try:
        complete = book.complete(activity, strict=True)
    except ExcessError as error:
        # What came back later took what was left; it may have been less when this came back.
        order = activity.occurred_at, activity.key
        book = _book([each for each in facts if each.order < order])
        complete = book.complete(activity, strict=True)
        if not _leaves_enough(complete, facts):
            raise error from None
    return complete, _told(complete, book)


def _leaves_enough(activity: Activity, facts: Sequence[_Moved]) -> bool:
    """Whether later returns that say how much they take still find it."""
    order = activity.occurred_at, activity.key
    later = [each for each in facts if each.order > order]
    book = _book([*(each for each in facts if each.order < order), _Moved(activity, ())])
    for each in later:
        back = each.activity.back
        is_open = back is None or (back.lines is None and back.amount is None)
        try:
            book.complete(each.activity, strict=not is_open)
        except ExcessError:
            return False
        book.record(*each)
    return True


def _told(activity: Activity, book: Book) -> dict[str, Any]:
    """What a return's document says of the lines that come back, and of the facts it undoes."""
    if activity.back is None or activity.undone is None:
        return {}
    undone = activity.undone
    return {
        "returned": [each._asdict() for each in book.returned(activity.back)],
        "undoes": [undone.award.key, *(each.key for each in undone.others)],
    }


def _excess(error: ExcessError) -> ReturnExceedsPurchaseError:
    if error.number is None:
        if error.missing:
            mistake = FieldError("amount", f"{error.missing} more than is left.")
            return ReturnExceedsPurchaseError(mistake.message, errors=(mistake,))
        return ReturnExceedsPurchaseError("Nothing is left of this purchase.")
    mistake = FieldError(f"lines.{error.number}.quantity", f"{error.missing} more than is left.")
    return ReturnExceedsPurchaseError(mistake.message, errors=(mistake,))


class _Moved(NamedTuple):
    """A fact and what it moved, by all that is known now."""

    activity: Activity
    postings: Postings

    @property
    def order(self) -> tuple[datetime, str]:
        """Where the fact belongs among the member's."""
        return self.activity.occurred_at, self.activity.key


def _related(member_id: str, key: str, stores: Stores) -> list[_Moved]:
    """All that one return is about, in the order of its time, out of a few indexed reads."""
    entries = stores.journal.related(member_id, key)
    newest = restated(stores.journal.restating(member_id, [entry.key for entry in entries]))
    facts = [_Moved(activity_of(each), newest.get(each.key, each.postings)) for each in entries]
    return sorted(facts, key=lambda fact: fact.order)


def _book(facts: Iterable[_Moved]) -> Book:
    book = Book()
    for activity, postings in facts:
        book.record(activity, postings)
    return book


def _refers_to(activity: Activity) -> str:
    """The key of the fact that an activity cannot be folded without."""
    if activity.back:
        return activity.back.purchase_key
    return resolution_key(activity.hold) if activity.kind == "restore" else ""


def resolution_key(hold_key: str) -> str:
    """The one key under which a hold is resolved: captured or released, whichever comes first."""
    return f"resolution/{hold_key}"


class _Stretch(NamedTuple):
    """The newest state that knows of nothing later than some fact, and all entries since."""

    base: State
    entries: list[Entry]


def _stretch(
    member_id: str,
    floor: tuple[datetime, str],
    needed: set[str],
    stores: Stores,
    unwritten: Sequence[Entry] = (),
) -> _Stretch:
    """The stretch to fold again.

    Args:
        member_id: whose.
        floor: the order of the oldest fact that has to be in it.
        needed: keys of facts that have to be in it.
        stores: where from.
        unwritten: entries that are to be thought of on top.
    """
    entries: list[Entry] = []
    for entry in chain(reversed(unwritten), stores.journal.backwards(member_id)):
        last = entry.state.last
        if not needed and last is not None and last < floor:
            return _Stretch(entry.state, entries[::-1])
        entries.append(entry)
        if entry.kind == "reversal":
            needed.update(entry.activity["undoes"])
        elif entry.kind != "correction":
            floor = min(floor, (entry.occurred_at, entry.key))
            needed.discard(entry.key)
            if refers_to := _refers_to(activity_of(entry)):
                needed.add(refers_to)
    return _Stretch(EMPTY, entries[::-1])


def _folded(head: Head, draft: Draft, stores: Stores, unwritten: Sequence[Entry]) -> list[Entry]:
    """The entry of a late fact, and the correction of what it changes."""
    activity = replace(draft.activity, key=draft.key, undone=None)
    needed = {key for key in [_refers_to(activity)] if key}
    stretch = _stretch(draft.member_id, draft.order, needed, stores, unwritten)
    facts = [*facts_of(stretch.entries, stores.programs), Fact(activity, draft.program)]
    state, found = fold(stretch.base, facts)
    _, postings = found.pop(draft.key)
    own = built(
        draft,
        seq=head.seq + 1,
        postings=postings,
        state=state,
        balance_after=head.state.balance + _points(postings),
    )
    changes = _changes(stretch.entries, found)
    return [own, *_corrections(draft, changes, own, state)]


def _corrections(
    draft: Draft, changes: Sequence[_Change], own: Entry, state: State
) -> Iterator[Entry]:
    """The correction of what changed: one entry, or more where one document could not hold it."""
    balance = own.balance_after
    for number, begin in enumerate(range(0, len(changes), CORRECTS_MAX)):
        chunk = changes[begin : begin + CORRECTS_MAX]
        postings = _differences(chunk, because=draft.key)
        balance += _points(postings)
        restating = _restating(draft, chunk, kind="correction")
        if number:
            restating = replace(restating, key=f"{restating.key}/{number}")
        yield built(
            restating,
            seq=own.seq + 1 + number,
            postings=postings,
            state=state,
            balance_after=balance,
        )


def _reversed(head: Head | None, draft: Draft, stores: Stores) -> list[Entry]:
    """The entry that undoes a mistaken one: all is as if that had never been.

    Raises:
        EntryNotFoundError: the member has no such entry.
    """
    key = draft.document["undoes"][0]
    wrong = stores.journal.by_key(key)
    if head is None or wrong is None or wrong.member_id != draft.member_id:
        raise EntryNotFoundError
    stretch = _stretch(draft.member_id, (wrong.occurred_at, key), {key}, stores)
    facts = facts_of(stretch.entries, stores.programs)
    state, found = fold(stretch.base, [each for each in facts if each.activity.key != key])
    changes = _changes(stretch.entries, {**found, key: (draft.activity, ())})
    restating = _restating(draft, changes, kind="reversal")
    undoing = {**restating.document, "undoes": draft.document["undoes"]}
    return [
        built(
            replace(restating, key=draft.key, fingerprint=draft.fingerprint, document=undoing),
            seq=head.seq + 1,
            postings=_differences(changes, because=draft.key),
            state=state,
            balance_after=state.balance,
        )
    ]


class _Change(NamedTuple):
    """A fact whose postings are others now."""

    entry: Entry
    was: Postings
    activity: Activity
    now: Postings


def _changes(
    entries: Sequence[Entry], found: Mapping[str, tuple[Activity, Postings]]
) -> list[_Change]:
    newest = restated(entries)
    changes = []
    for entry in entries:
        if entry.key not in found:
            continue
        was = newest.get(entry.key, entry.postings)
        activity, now = found[entry.key]
        if was != now:
            changes.append(_Change(entry, was, activity, now))
    return changes


def _differences(changes: Sequence[_Change], *, because: str) -> Postings:
    """What the changes move, by fact, rule and unit."""
    postings = []
    for entry, was, _, now in changes:
        sums: dict[tuple[str, str], list[int]] = {}
        for side, each in ((0, was), (1, now)):
            for posting in each:
                pair = sums.setdefault((posting.rule, posting.unit), [0, 0])
                pair[side] += posting.points
        for (rule, unit), (before, after) in sums.items():
            if before != after:
                inputs = {
                    "entry": entry.id,
                    "kind": entry.kind,
                    "was": before,
                    "now": after,
                    "because": because,
                }
                postings.append(
                    Posting(rule, "correction", after - before, inputs=inputs, unit=unit)
                )
    return tuple(postings)


def _restating(draft: Draft, changes: Sequence[_Change], *, kind: Kind) -> Draft:
    """The draft of an entry that restates others."""
    corrects = [
        {
            "key": change.entry.key,
            "entry": change.entry.id,
            "postings": [posting_to_document(each) for each in change.now],
        }
        for change in changes
    ]
    undoes = {
        award.key
        for change in changes
        if change.activity.undone
        for award in change.activity.undone.others
    }
    document: dict[str, Any] = {**draft.document, "corrects": corrects}
    if kind == "correction":
        document = {"because": draft.key, "corrects": corrects}
    if undoes:
        document["undoes"] = sorted(undoes)
    activity = Activity(kind, draft.received_at, key=f"{kind}/{draft.key}")
    return replace(draft, key=activity.key, fingerprint="", activity=activity, document=document)


def _points(postings: Postings) -> int:
    return sum(posting.points for posting in postings if posting.unit == POINTS)
