"""Many activities of many members at once: an import, or a rebuilt till.

Each draft goes through the same `entry_after` as a single award, and each entry through the same
two unique indexes. What meets another writer goes through the single path again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING

from loyalty.journal.appending import is_written
from loyalty.journal.drafts import EMPTY, entry_after, granted
from loyalty.journal.model import Head
from loyalty.journal.ripples import ripples_of
from loyalty.kit.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from loyalty.journal.drafts import Draft, Stores
    from loyalty.journal.model import Entry

MEMBERS_A_READ = 50
ENTRIES_A_WRITE = 1000
# What needs no look at anything but the head.
PLAIN = frozenset({"purchase", "engagement"})
_FRESH = Head(0, EMPTY)


def append_all(
    drafts_by_member: Iterable[Sequence[Draft]],
    stores: Stores,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Append drafts, member by member in their order of time; what is there already is skipped.

    Args:
        drafts_by_member: for each member all drafts to append; a member may come once.
        stores: where to.
        progress: called with the number of drafts that were dealt with since the last call.

    Returns:
        How many entries were written.
    """
    written = 0
    groups = iter(drafts_by_member)
    # One write is on its way while the next is worked out: MongoDB and Python both have a core.
    with ThreadPoolExecutor(1) as writer:
        pending: Future[int] | None = None
        while group := list(islice(groups, MEMBERS_A_READ)):
            astray: set[str] = set()
            for drafts, entries in _chunks(_entries(group, astray, stores)):
                if pending:
                    written += pending.result()
                pending = writer.submit(_write, drafts, entries, astray, stores)
            progress(sum(len(drafts) for drafts in group))
        if pending:
            written += pending.result()
    return written


def _entries(
    group: Sequence[Sequence[Draft]], astray: set[str], stores: Stores
) -> Iterator[tuple[Draft, Entry]]:
    """The entries of the drafts; `astray` takes the members of whom one needs more than a head."""
    keys = [draft.key for drafts in group for draft in drafts]
    seen = stores.journal.seen(keys)
    heads = stores.journal.standings([drafts[0].member_id for drafts in group if drafts])
    for drafts in group:
        head = heads.get(drafts[0].member_id, _FRESH) if drafts else None
        if head is None:
            # Erased since: its journal does not begin anew.
            continue
        for draft in sorted(drafts, key=lambda each: (each.activity.occurred_at, each.key)):
            if draft.key not in seen:
                entry = entry_after(head, draft)
                if _is_late(head, draft) or _moves_more(draft, entry, stores):
                    astray.add(draft.member_id)
                head = Head(entry.seq, entry.state)
                yield draft, entry


def _chunks(
    pairs: Iterator[tuple[Draft, Entry]],
) -> Iterator[tuple[list[Draft], list[Entry]]]:
    while chunk := list(islice(pairs, ENTRIES_A_WRITE)):
        yield [draft for draft, _ in chunk], [entry for _, entry in chunk]


def _write(drafts: list[Draft], entries: list[Entry], astray: set[str], stores: Stores) -> int:
    """Write entries as they were worked out; how many.

    `astray` are members whose journal took another course than was thought, by a draft that came
    twice or by another writer. Their entries no longer fit, so their drafts go one by one.
    """
    planned = [entry for entry in entries if entry.member_id not in astray]
    refused = stores.journal.append_many(planned)
    astray.update(entry.member_id for entry in refused)
    kept = {entry.id for entry in planned[: len(planned) - len(refused)]}
    again = [draft for draft, entry in zip(drafts, entries, strict=True) if entry.id not in kept]
    return len(kept) + sum(is_written(draft, stores) for draft in again)


def append_plain(drafts: Sequence[Draft], stores: Stores) -> dict[int, Entry]:
    """Append, all at once, those drafts that need no more than a head and an insert.

    Args:
        drafts: of any members, in any order, each key once.
        stores: where to.

    Returns:
        The entries by the positions of their drafts. A draft that is missing was not written here:
        it comes late, moves more than its member's journal, was refused, is there already or met
        another writer. `append` settles it.
    """
    written: dict[int, Entry] = {}
    planned = _planned(drafts, stores)
    # Each round loses at least one member, so there are no more rounds than members.
    while planned:
        refused = stores.journal.append_many([entry for _, entry in planned])
        done = len(planned) - len(refused)
        written.update(planned[:done])
        if not refused:
            break
        seen = stores.journal.seen([entry.key for entry in refused])
        astray = {entry.member_id for entry in refused if entry.key in seen}
        astray.add(refused[0].member_id)
        planned = [each for each in planned[done:] if each[1].member_id not in astray]
    return written


def _planned(drafts: Sequence[Draft], stores: Stores) -> list[tuple[int, Entry]]:
    """The entries of the plain drafts, each standing on the one before; with their positions."""
    positions: dict[str, list[int]] = {}
    for position, draft in enumerate(drafts):
        positions.setdefault(draft.member_id, []).append(position)
    heads = stores.journal.standings(list(positions))
    planned = []
    for member_id, own in positions.items():
        head = heads.get(member_id)
        is_ended = head is None and member_id in heads
        if is_ended or (head is None and not stores.members.exists(member_id)):
            continue
        for position in sorted(own, key=lambda each: drafts[each].order):
            entry = _plain(head, drafts[position], stores)
            if entry is None:
                # What comes after it would stand on it.
                break
            planned.append((position, entry))
            head = Head(entry.seq, entry.state)
    return planned


def _plain(head: Head | None, draft: Draft, stores: Stores) -> Entry | None:
    """The draft's entry on the head, unless it takes more than that."""
    if _is_late(head, draft) or draft.activity.kind not in PLAIN:
        return None
    try:
        entry = entry_after(head, draft)
    except ConflictError:
        return None
    return None if _moves_more(draft, entry, stores) else entry


def _is_late(head: Head | None, draft: Draft) -> bool:
    return head is not None and head.state.last is not None and draft.order <= head.state.last


def _moves_more(draft: Draft, entry: Entry, stores: Stores) -> bool:
    """Whether the entry takes of a budget, or does something to another member."""
    is_granted = bool(granted(entry.postings, draft.program))
    return is_granted or bool(ripples_of([(draft, [entry])], stores))
