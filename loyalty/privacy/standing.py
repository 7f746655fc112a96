"""What rights ask of consents and of the journal: the only place that knows how these do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pymongo.errors import DuplicateKeyError

from loyalty.consent.model import (
    MARKETING,
    MARKETING_CHANNELS,
    PURPOSES,
    PURPOSES_BY_CHANNEL,
    Decision,
)
from loyalty.consent.service import record
from loyalty.kit.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.consent.store import ConsentStore
    from loyalty.kit.mongo import Database, Document
    from loyalty.members.store import MemberStore

END_ATTEMPTS_MAX = 64


class Ending(Protocol):
    """The journal, as far as it ends for a member."""

    def end(self, member_id: str) -> int:
        """Let nothing be appended any more; the number of the end. Idempotent."""


class Ledger(Protocol):
    """The consent records, as far as their checkpoint has to know what an erasure took away."""

    def contribution(self, member_id: str) -> Mapping[str, Any]:
        """What the member's records add to the checkpoint; nothing personal."""


class Standing(Protocol):
    """What a member agrees to, as far as rights change it. Each call appends one record."""

    def withdraw_all(self, member_id: str, *, at: datetime, by: str, method: str) -> None:
        """From the next request on, nothing of the member is used for anything."""

    def restrict(
        self, member_id: str, *, restricted: bool, at: datetime, by: str, method: str
    ) -> None:
        """Put the member's data aside (Art. 18), or lift that."""

    def object_to(
        self,
        member_id: str,
        *,
        purpose: str,
        channel: str | None,
        at: datetime,
        by: str,
        method: str,
    ) -> None:
        """Object to a purpose (Art. 21); without a channel, on every one."""


class ConsentStanding:
    """Standing by consent records."""

    def __init__(self, consents: ConsentStore, members: MemberStore) -> None:
        self._consents, self._members = consents, members

    def withdraw_all(self, member_id: str, *, at: datetime, by: str, method: str) -> None:
        """Withdraw everything; see `Standing`."""
        pairs = [(each, None) for each in PURPOSES if each not in PURPOSES_BY_CHANNEL]
        marketing = [(MARKETING, channel) for channel in MARKETING_CHANNELS]
        self._record(member_id, [*pairs, *marketing], at=at, by=by, method=method)

    def restrict(
        self, member_id: str, *, restricted: bool, at: datetime, by: str, method: str
    ) -> None:
        """Put aside, or lift that; see `Standing`."""
        if not restricted:
            raise UnavailableError("A restriction is lifted by granting again.")
        self.withdraw_all(member_id, at=at, by=by, method=method)

    def object_to(
        self,
        member_id: str,
        *,
        purpose: str,
        channel: str | None,
        at: datetime,
        by: str,
        method: str,
    ) -> None:
        """Object; see `Standing`."""
        channels: tuple[str | None, ...] = (channel,)
        if channel is None and purpose in PURPOSES_BY_CHANNEL:
            channels = MARKETING_CHANNELS
        pairs = [(purpose, each) for each in channels]
        self._record(member_id, pairs, at=at, by=by, method=method)

    def _record(
        self,
        member_id: str,
        pairs: Sequence[tuple[str, str | None]],
        *,
        at: datetime,
        by: str,
        method: str,
    ) -> None:
        decisions = [
            Decision(purpose, granted=False, channel=channel) for purpose, channel in pairs
        ]
        record(
            member_id,
            decisions,
            method=method,
            notice_version=None,
            at=at,
            by=by,
            consents=self._consents,
            members=self._members,
        )


class JournalEnd:
    """Ends journals by an entry in the place of the next one."""

    def __init__(self, database: Database[Document]) -> None:
        self._journal = database["journal"]

    def end(self, member_id: str) -> int:
        """End it; see `Ending`."""
        for _ in range(END_ATTEMPTS_MAX):
            newest = self._journal.find_one(
                {"member": member_id}, {"seq": 1, "kind": 1}, sort=[("seq", -1)]
            ) or {"seq": 0, "kind": ""}
            seq: int = newest["seq"]
            if newest["kind"] == "erasure":
                return seq
            mark = {"member": member_id, "seq": seq + 1, "kind": "erasure"}
            try:
                self._journal.insert_one({**mark, "key": f"erasure/{member_id}"})
            except DuplicateKeyError:
                continue
            return seq + 1
        raise UnavailableError("The journal of the member grows too fast to be ended.")
