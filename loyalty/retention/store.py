"""Rules, the lease of a run, warnings, and who was last there when, in MongoDB."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.journal.erasing import end_of
from loyalty.journal.model import ENDED
from loyalty.retention.model import (
    ACTIVE_KINDS,
    LEASE,
    PASSIVE_METHODS,
    KeptRules,
    LeaseTakenError,
    RetentionBusyError,
    Rules,
    Seen,
    Warned,
)
from loyalty.vault.model import Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from pymongo.database import Database

    from loyalty.kit.mongo import Document

MEMBERS_A_PAGE = 200
ENTRIES_AT_ONCE = 20
_RULES, _LEASE = "rules", "lease"


class RetentionStore:
    """The collections `retention` and `retention_warnings`; of others it reads times only."""

    def __init__(self, database: Database[Document]) -> None:
        self._retention = database["retention"]
        self._warnings = database["retention_warnings"]
        self._members = database["members"]
        self._journal = database["journal"]
        self._consents = database["consents"]
        self._requests = database["privacy_requests"]

    def create_indexes(self) -> None:
        """Idempotent."""
        by_time = IndexModel([("enrolled_at", ASCENDING), ("_id", ASCENDING)], name="enrolled_at")
        self._members.create_indexes([by_time])

    def rules(self) -> KeptRules:
        """The rules that hold: those that were set, or the program's own."""
        found = self._retention.find_one({"_id": _RULES})
        if found is None:
            return KeptRules(Rules())
        kept: dict[str, Any] = found["rules"]
        known = {name: kept[name] for name in Rules.__slots__ if name in kept}
        known["passive_engagements"] = tuple(known["passive_engagements"])
        return KeptRules(Rules(**known), found["changed_at"], found["changed_by"])

    def set_rules(self, rules: Rules, *, at: datetime, by: str) -> None:
        """Put rules in the place of those that held."""
        fresh = {"rules": asdict(rules), "changed_at": at, "changed_by": by}
        self._retention.replace_one({"_id": _RULES}, fresh, upsert=True)

    def take_lease(self, lease_id: str, *, at: datetime) -> None:
        """Begin a run.

        Raises:
            RetentionBusyError: another one is at it.
        """
        query = {"_id": _LEASE, "until": {"$lt": at}}
        change = {"$set": {"holder": lease_id, "until": at + LEASE}}
        try:
            self._retention.update_one(query, change, upsert=True)
        except DuplicateKeyError as error:
            raise RetentionBusyError from error

    def renew_lease(self, lease_id: str, *, at: datetime) -> None:
        """Go on with a run.

        Raises:
            LeaseTakenError: another one has begun.
        """
        query = {"_id": _LEASE, "holder": lease_id}
        done = self._retention.update_one(query, {"$set": {"until": at + LEASE}})
        if not done.matched_count:
            raise LeaseTakenError

    def drop_lease(self, lease_id: str) -> None:
        """End a run."""
        self._retention.delete_one({"_id": _LEASE, "holder": lease_id})

    def count(self, enrolled_before: datetime) -> int:
        """How many members are old enough to be looked at."""
        return self._members.count_documents({"enrolled_at": {"$lt": enrolled_before}})

    def member_ids(self, enrolled_before: datetime) -> Iterator[str]:
        """The members that were enrolled before a time, in the order of their ids, page by page."""
        after = ""
        query: Document = {"enrolled_at": {"$lt": enrolled_before}}
        while True:
            page = self._members.find({**query, "_id": {"$gt": after}}, {"_id": 1})
            found = [each["_id"] for each in page.sort("_id", ASCENDING).limit(MEMBERS_A_PAGE)]
            if not found:
                return
            yield from found
            after = found[-1]

    def seen(self, member_id: str, *, enough: datetime, passive: tuple[str, ...]) -> Seen | None:
        """When a member was last there, or None for nobody.

        The journal's end is read before all else: whatever comes later stands after it.

        Args:
            member_id: whom.
            enough: a time at or after it is found as soon as possible, the newest or not.
            passive: kinds of engagement that do not count.
        """
        newest = self._journal.find_one(
            {"member": member_id}, {"seq": 1, "kind": 1}, sort=[("seq", DESCENDING)]
        ) or {"seq": 0, "kind": ""}
        wanted = {"enrolled_at": 1, "status": 1, "login_at": 1}
        member = self._members.find_one({"_id": member_id}, wanted)
        if member is None:
            return None
        last_at, language = member["enrolled_at"], "en"
        last_at = max(last_at, member.get("login_at") or last_at)
        if record := self._newest_record(member_id):
            last_at = max(last_at, record["recorded_at"])
            language = record.get("language") or language
        if last_at < enough:
            last_at = self._newest_act(member_id, last_at, enough, passive)
        if last_at < enough and self._is_kept(member_id):
            return None
        is_ended = newest["kind"] == ENDED
        return Seen(member["status"], last_at, language, is_ended, newest["seq"])

    def end(self, member_id: str, *, seq: int, at: datetime) -> bool:
        """Close a journal after an entry; see `Ended`."""
        try:
            self._journal.insert_one(end_of(member_id, seq + 1, at=at))
        except DuplicateKeyError:
            return False
        return True

    def warned(self, member_id: str) -> Warned | None:
        """When a member was warned."""
        found = self._warnings.find_one({"_id": member_id})
        return _warned(found) if found else None

    def all_warned(self) -> set[str]:
        """The members who are warned at this moment."""
        return {each["_id"] for each in self._warnings.find({}, {"_id": 1})}

    def warn(self, member_id: str, warned: Warned) -> Warned:
        """Keep that a member is warned, before the message is posted; or what was kept before."""
        fresh = {"$setOnInsert": asdict(warned)}
        self._warnings.update_one({"_id": member_id}, fresh, upsert=True)
        return self.warned(member_id) or warned

    def note_posted(self, member_id: str, stage: str) -> None:
        """Keep that the message of a warning was posted."""
        self._warnings.update_one({"_id": member_id}, {"$set": {f"is_{stage}_posted": True}})

    def unposted(self) -> Iterator[tuple[str, str, Warned]]:
        """Warnings whose message a run that was stopped may not have posted: member and stage."""
        for stage in ("first", "last"):
            query = {f"{stage}_at": {"$ne": None}, f"is_{stage}_posted": {"$ne": True}}
            for each in self._warnings.find(query):
                yield each["_id"], stage, _warned(each)

    def warn_again(self, member_id: str, message_id: str, *, at: datetime) -> None:
        """Keep that a member gets the last warning; the first call counts."""
        change = {"$set": {"last_id": message_id, "last_at": at}}
        self._warnings.update_one({"_id": member_id, "last_at": None}, change)

    def unwarn(self, member_id: str) -> None:
        """Forget that a member was warned: it came back."""
        self._warnings.delete_one({"_id": member_id})

    def held(self, member_id: str) -> Iterator[Held]:
        """That a member was warned; see `vault.model.Holder`."""
        if warned := self.warned(member_id):
            data = {"first_at": warned.first_at, "last_at": warned.last_at}
            yield Held("retention_warnings", member_id, "retention", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Forget that a member was warned; see `vault.model.Holder`."""
        deleted = self._warnings.delete_one({"_id": member_id}).deleted_count
        return {"retention_warnings": deleted}

    def _is_kept(self, member_id: str) -> bool:
        """Whether the member asked to keep the data (Art. 18), or waits for an answer."""
        record = self._consents.find_one(
            {"member": member_id}, {"restricted": 1}, sort=[("seq", DESCENDING)]
        )
        if record and record.get("restricted"):
            return True
        query = {"member": member_id, "is_open": True}
        return self._requests.find_one(query, {"_id": 1}) is not None

    def _newest_record(self, member_id: str) -> Document | None:
        """The newest decision of the member's own: one step of the index, rarely a few."""
        query = {"member": member_id, "method": {"$nin": list(PASSIVE_METHODS)}}
        wanted = {"recorded_at": 1, "language": 1}
        return self._consents.find_one(query, wanted, sort=[("seq", DESCENDING)])

    def _newest_act(
        self, member_id: str, last_at: datetime, enough: datetime, passive: tuple[str, ...]
    ) -> datetime:
        """From the newest entry backwards until one is new enough: one, for who is active."""
        query = {
            "member": member_id,
            "kind": {"$in": list(ACTIVE_KINDS)},
            "activity.engagement": {"$nin": list(passive)},
        }
        found = self._journal.find(query, {"_id": 0, "occurred_at": 1}).sort("seq", DESCENDING)
        for each in found.batch_size(ENTRIES_AT_ONCE):
            last_at = max(last_at, each["occurred_at"])
            if last_at >= enough:
                break
        return last_at


def _warned(document: Document) -> Warned:
    return Warned(**{name: document[name] for name in Warned.__slots__})
