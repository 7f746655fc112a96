"""After a restore of the data: what was erased since the backup is erased again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.privacy.scan import places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from loyalty.kit.mongo import Database, Document
    from loyalty.privacy.service import Desk

    Progress = Callable[[int, int, str], None]


class Restored(NamedTuple):
    """What came back with a backup, by collection, and what of it is left after the check."""

    tombstones: int
    members: int
    found: Counter[str]
    erased: Counter[str]
    left: Counter[str]


def take_in(stones: Iterable[Mapping[str, Any]], *, at: datetime, desk: Desk) -> int:
    """Put up the tombstones of a signed list that are not here; how many were missing."""
    return sum(desk.erasures.restore(each, at=at) for each in stones)


def restore_check(
    *,
    database: Database[Document],
    desk: Desk,
    clock: Callable[[], datetime],
    is_dry: bool,
    progress: Progress,
) -> Restored:
    """Find the members of all tombstones anywhere in the database and erase them again.

    Args:
        database: the data that was restored.
        desk: the stores over it and over the vault, which was not.
        clock: gives the present.
        is_dry: only look.
        progress: gets (done, total, stage).
    """
    stones = desk.erasures.by_member()
    found = places(database, stones, progress=progress)
    erased: Counter[str] = Counter()
    if not is_dry:
        for done, member_id in enumerate(sorted(found), 1):
            erased += _again(stones[member_id], member_id, clock(), desk)
            progress(done, len(found), "erasing again")
    left = found if is_dry else places(database, stones, progress=progress)
    return Restored(len(stones), len(found), _sum(found), erased, _sum(left))


def _again(erasure_id: str, member_id: str, at: datetime, desk: Desk) -> Counter[str]:
    """One pass over a member that came back. Nobody is served from a database at this point."""
    desk.journal.end(member_id)
    desk.vault.shred(member_id)
    went: Counter[str] = Counter()
    for holder in desk.holders:
        went.update(holder.erase(member_id))
    went = +went
    desk.erasures.note_again(erasure_id, went, at=at)
    return went


def _sum(found: Mapping[str, Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for each in found.values():
        total.update(each)
    return total
