"""All journals one after the other, for what looks at the whole shop. It only reads.

Members come in the order of their ids, page by page, so that memory stays flat and a database that
starts anew in between ends nothing but the page. Who was erased is passed by; what is left of that
for the accounts are shells, which name nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bson import ObjectId
from pymongo import ASCENDING, DESCENDING

from loyalty.journal.codec import entry_from_document, state_from_document
from loyalty.journal.model import ENDED
from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from loyalty.journal.model import Entry
    from loyalty.journal.secrecy import Secrecy
    from loyalty.kit.mongo import Document
    from loyalty.program.model import State

MEMBERS_A_PAGE = 500
# Entries belong to texts, shells to ids of their own, all of them greater than this one.
_NOBODY = ObjectId(bytes(12))


class MemberHead(NamedTuple):
    """Where one member's journal stands: its last entry, and the state after it."""

    member_id: str
    entry_id: str
    seq: int
    state: State


class JournalScan:
    """Every member's journal, for audits, simulations and sums."""

    def __init__(self, database: Database[Document], secrecy: Secrecy) -> None:
        self._secrecy = secrecy
        self._journal = database["journal"]
        self._budgets = database["budgets"]
        self._members = database["members"]

    def member_count(self) -> int:
        """About how many members there are, for a progress bar: read off, not counted."""
        return self._members.estimated_document_count()

    def member_ids(self) -> Iterator[str]:
        """The members that have a journal, in order: one key of the index each."""
        after = ""
        while found := self._page(after, [], MEMBERS_A_PAGE):
            ids = [each["_id"] for each in found]
            ended = self._ended(ids)
            yield from (each for each in ids if each not in ended)
            after = ids[-1]

    def heads(self, *, after: str = "") -> Iterator[MemberHead]:
        """The heads of all journals, in the order of the members: one document each.

        Args:
            after: only members with greater ids.
        """
        while found := self.heads_page(after, limit=MEMBERS_A_PAGE):
            yield from found
            after = found[-1].member_id

    def heads_page(self, after: str, *, limit: int) -> list[MemberHead]:
        """The heads of the next members after one."""
        names = {"entry": "_id", "seq": "seq", "state": "state"}
        newest = {name: {"$first": f"${field}"} for name, field in names.items()}
        living = {"$match": {"state": {"$ne": None}}}
        found = self._page(after, [living], limit, newest)
        return [
            MemberHead(
                each["_id"], str(each["entry"]), each["seq"], state_from_document(each["state"])
            )
            for each in found
        ]

    def documents(self, member_id: str) -> list[Document]:
        """A member's entries as they are kept, opened, oldest first, readable or not.

        None of a member who is being erased: nothing goes before the end is marked, so what was
        read before that is whole.
        """
        found = self._journal.find({"member": member_id}).sort("seq", ASCENDING)
        try:
            read = [self._secrecy.opened(each) for each in found]
        except MemberNotFoundError:
            return []
        return [] if self._ended([member_id]) else read

    def entries(self, member_id: str) -> list[Entry]:
        """A member's entries, oldest first; none of a member who is being erased."""
        return [entry_from_document(each) for each in self.documents(member_id)]

    def shells(self) -> Iterator[Document]:
        """What is left of erased entries, as it is kept, in no order."""
        return iter(self._journal.find({"member": {"$gte": _NOBODY}}))

    def spent(self) -> dict[str, int]:
        """What each campaign's budget counts as spent."""
        return {each["_id"]: each["spent"] for each in self._budgets.find()}

    def unique_indexes(self) -> set[str]:
        """The names of the unique indexes that guard the journal."""
        found = self._journal.index_information()
        return {name for name, index in found.items() if index.get("unique")}

    def _ended(self, member_ids: list[str]) -> set[str]:
        """Which members' journals have been ended."""
        query = {"member": {"$in": member_ids}, "kind": ENDED, "gone_at": {"$exists": True}}
        return {each["member"] for each in self._journal.find(query, {"member": 1}, hint="gone")}

    def _page(
        self, after: str, stages: list[Document], limit: int, wanted: Document | None = None
    ) -> list[Document]:
        pipeline: list[Document] = [
            {"$match": {"member": {"$gt": after}}},
            # In the index's own order, so that one entry of each member is all that is looked at.
            {"$sort": {"member": ASCENDING, "seq": DESCENDING}},
            {"$group": {"_id": "$member", **(wanted or {})}},
            *stages,
            {"$limit": limit},
        ]
        return list(self._journal.aggregate(pipeline))
