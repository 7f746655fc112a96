"""Take a member out of the journal for good: end it, unname it elsewhere, and leave shells.

The end is an entry at the head's next number, so that whoever wrote on the head meets it; only then
anything goes. Every step may be stopped anywhere and begun again.
"""

from __future__ import annotations

import os
import random
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING, ReplaceOne
from pymongo.errors import DuplicateKeyError

from loyalty.journal.model import ENDED, ERASED_PARTIES, MemberBusyError
from loyalty.journal.renaming import drawn
from loyalty.journal.shells import forfeiture_of, shell_of
from loyalty.kit.clock import now
from loyalty.kit.mongo import transact
from loyalty.vault.model import Held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.journal.renaming import Renaming
    from loyalty.journal.secrecy import Secrecy
    from loyalty.kit.mongo import Document

ENTRIES_A_CHUNK = 200
# More than are written at one member within the deadline of a request.
PLACES_HELD = 1000
END_ATTEMPTS_MAX = 1000
ROUNDS_MAX = 100
# By then no writer is left that read the journal before its end: then the end goes too.
END_KEPT = timedelta(days=1)
# Entries that say who else took part.
_SHARED = frozenset({"transfer", "hold", "referral"})
_CATEGORIES = {"purchase": "purchases", "return": "purchases", "engagement": "engagements"}


class JournalEraser:
    """What the journal holds about a member, and how it goes. A `Holder`.

    It updates and deletes, which the service's own database user may not.
    """

    def __init__(
        self,
        database: Database[Document],
        secrecy: Secrecy,
        *,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._client = database.client
        self._journal = database["journal"]
        self._secrecy = secrecy
        self._clock = clock

    def held(self, member_id: str) -> Iterator[Held]:
        """Every entry of the member, oldest first, opened; nothing of one who was erased."""
        query = {"member": member_id, "kind": {"$ne": ENDED}}
        for each in self._journal.find(query).sort("seq", ASCENDING):
            data = self._secrecy.opened(each)
            entry_id = str(data.pop("_id"))
            data.pop("mark")
            yield Held("journal", entry_id, _CATEGORIES.get(data["kind"], "points"), data)

    def end(self, member_id: str) -> int:
        """End the member's journal: from here on nothing can be written; the end's number.

        Raises:
            MemberBusyError: too many writers at this member; nothing was ended.
        """
        for _ in range(END_ATTEMPTS_MAX):
            newest = self._newest(member_id)
            seq: int = newest["seq"] if newest else 0
            if newest and newest["kind"] == ENDED:
                return seq
            try:
                self._journal.insert_one(end_of(member_id, seq + 1, at=self._clock()))
            except DuplicateKeyError:
                continue
            return seq + 1
        raise MemberBusyError

    def erase(self, member_id: str) -> Mapping[str, int]:
        """End the journal, unname the member in others' journals, and leave shells of its own."""
        head = self.end(member_id) - 1
        renamed = erased = 0
        for _ in range(ROUNDS_MAX):
            # Only what was there before: a writer that read an old head may still find the place of
            # an entry that went, and what it wrote leads to another's journal, too.
            known = self._ids(member_id)
            # First of all: what leads to those journals goes with the member's own.
            others = self._others(member_id)
            renamed += sum(self._unname(each, member_id, keys) for each, keys in others.items())
            for begin in range(0, len(known), ENTRIES_A_CHUNK):
                erased += self._erase_chunk(member_id, known[begin : begin + ENTRIES_A_CHUNK], head)
            if not known:
                break
        return {"journal": erased, "journal_of_others": renamed}

    def _ids(self, member_id: str) -> list[ObjectId]:
        """The ids of the member's entries, oldest first: a hundred bytes each."""
        query = {"member": member_id, "kind": {"$ne": ENDED}}
        found = self._journal.find(query, {"_id": 1}).sort("seq", ASCENDING)
        return [each["_id"] for each in found]

    def _ends(self, member_id: str, entries: Sequence[Document], head: int) -> list[Document]:
        """An end in each of the newest places that become free.

        Whoever read an old head, and is only now about to write on it, must still meet something.
        """
        at = self._clock()
        places = [each["seq"] for each in entries if each["seq"] > head - PLACES_HELD]
        return [end_of(member_id, seq, at=at) for seq in places]

    def _newest(self, member_id: str) -> Document | None:
        wanted = {"seq": 1, "kind": 1}
        return self._journal.find_one({"member": member_id}, wanted, sort=[("seq", DESCENDING)])

    def _erase_chunk(self, member_id: str, entry_ids: Sequence[ObjectId], head: int) -> int:
        """Put shells in the place of entries; how many."""
        count = 0

        def write(session: ClientSession) -> None:
            nonlocal count
            query = {"_id": {"$in": list(entry_ids)}}
            entries = list(self._journal.find(query, session=session).sort("seq", ASCENDING))
            count = len(entries)
            if entries:
                shells = _shells(entries, head)
                ids = [each["_id"] for each in entries]
                ends = self._ends(member_id, entries, head)
                self._journal.delete_many({"_id": {"$in": ids}}, session=session)
                self._journal.insert_many([*shells, *ends], session=session)

        transact(self._client, write)
        return count

    def _others(self, member_id: str) -> dict[str, set[str]]:
        """Members whose journals name this one, and which keys of its facts they may name."""
        others: dict[str, set[str]] = {}
        query = {"member": member_id, "kind": {"$in": ["transfer", "hold"]}}
        for entry in self._journal.find(query, {"key": 1, "kind": 1, "activity": 1}):
            for other, keys in self._named_by(entry):
                others.setdefault(other, set()).update(keys)
        paid = self._by_key(f"referral/{member_id}")
        if paid:
            others.setdefault(paid["member"], set()).add(paid["activity"]["because"])
        others.pop(member_id, None)
        return others

    def _named_by(self, entry: Document) -> Iterator[tuple[str, Sequence[str]]]:
        activity, key = entry["activity"], entry["key"]
        if entry["kind"] == "transfer":
            # Either half may name the other side; the sender's id is that of both.
            yield activity.get("giver") or activity["receiver"], [key.removesuffix("/in")]
        elif "part_of" in activity:
            if taken := self._by_key(activity["part_of"]):
                yield taken["member"], []
        else:
            yield from ((part["member_id"], [key]) for part in activity["parts"])

    def _by_key(self, key: str) -> Document | None:
        """The living entry of a fact."""
        query = {"mark": self._secrecy.mark(key), "key": {"$exists": True}}
        return self._journal.find_one(query, {"member": 1, "activity.because": 1})

    def _unname(self, other: str, member_id: str, keys: set[str]) -> int:
        """Replace the member's names in another's journal, all at once; in how many entries.

        An empty correction goes on top, so that nobody who read a name writes it down again.
        """
        count = 0

        def write(session: ClientSession) -> None:
            nonlocal count
            found = self._journal.find({"member": other}, session=session)
            documents = list(found.sort("seq", ASCENDING))
            entries = [each for each in documents if "key" in each]
            order = [(each["occurred_at"], each["key"]) for each in entries]
            renaming = drawn(member_id, keys, order)
            # Where the other is erased as well, its shells take the marks: they stay what they
            # were, or a fact of the two would be known by neither.
            is_ended = len(entries) != len(documents)
            renamed = [self._unnamed(each, renaming, keeps_mark=is_ended) for each in entries]
            changed = [new for old, new in zip(entries, renamed, strict=True) if new != old]
            count = len(changed)
            if changed:
                replacing = [ReplaceOne({"_id": each["_id"]}, each) for each in changed]
                self._journal.bulk_write(replacing, session=session)
                if not is_ended:
                    self._journal.insert_one(self._on_top(renamed[-1]), session=session)

        transact(self._client, write)
        return count

    def _unnamed(self, document: Document, renaming: Renaming, *, keeps_mark: bool) -> Document:
        new: Document = renaming.of(document)
        if new == document:
            return document
        if not keeps_mark:
            new["mark"] = self._secrecy.mark(new["key"])
        if new["kind"] in _SHARED and new["activity"] != document["activity"]:
            gone = [*new["activity"].get(ERASED_PARTIES, ()), renaming.pseudonym]
            new["activity"][ERASED_PARTIES] = gone
        if new["kind"] == "transfer" or "part_of" in new["activity"]:
            # A digest of what named the member could tell whether a guess is right.
            new["fingerprint"] = secrets.token_hex(32)
        return new

    def _on_top(self, newest: Document) -> Document:
        """A correction that corrects nothing, on the newest entry."""
        key, at = f"correction/erasure/{secrets.token_hex(16)}", self._clock()
        same = ("member", "program_version", "currency", "balance_after", "state")
        own: dict[str, Any] = {
            "_id": ObjectId(),
            "seq": newest["seq"] + 1,
            "key": key,
            "mark": self._secrecy.mark(key),
            "fingerprint": "",
            "kind": "correction",
            "channel": "",
            "store": None,
            "source": "erasure",
            "occurred_at": at,
            "received_at": at,
            "activity": {"because": newest["key"], "corrects": []},
            "postings": [],
        }
        return {**own, **{name: newest[name] for name in same}}


def end_of(member_id: str, seq: int, *, at: datetime) -> Document:
    """The end of a journal, in the place of the entry of that number."""
    return {
        "member": member_id,
        "seq": seq,
        "kind": ENDED,
        "mark": os.urandom(16),
        "gone_at": at + END_KEPT,
    }


def _shells(entries: Sequence[Document], head: int) -> list[Document]:
    """The shells of entries, and of what the newest of all leaves; in no order that tells."""
    shells = [shell_of(each) for each in entries]
    if entries[-1]["seq"] == head and (forfeited := forfeiture_of(entries[-1])):
        shells.append(forfeited)
    random.SystemRandom().shuffle(shells)
    return shells
