"""Referrals in MongoDB: the fields `referral_code`, `referrer` and `referred` of a member.

They stand in the collection `members`, so that an award learns of a referrer in the one read of a
member, and so that whatever deletes a member deletes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.kit.mongo import transact
from loyalty.members.model import MemberNotFoundError
from loyalty.referrals.model import (
    CHAIN_MAX,
    CircularReferralError,
    Referral,
    ReferralChainTooLongError,
    of_code,
)
from loyalty.vault.model import Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document

_FIELDS = {"referral_code": 1, "referrer": 1, "referred": 1, "referral_mark": 1}


class CodeTakenError(Exception):
    """Another member has that code; try another one."""


class ReferrerThereError(Exception):
    """A referrer of the member was recorded in between; read again."""


class ReferralStore:
    """Who referred whom. A referral is written once and never changed.

    It is a `vault.model.Holder`, to be asked after the members: once a member's document is gone,
    nobody can be referred by it any more.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._client = database.client
        self._members = database["members"]

    def create_indexes(self) -> None:
        """Idempotent."""
        code_index = IndexModel(
            [("referral_code", ASCENDING)],
            name="referral_code",
            unique=True,
            partialFilterExpression={"referral_code": {"$exists": True}},
        )
        # For an erasure: whom the member referred.
        referrer_index = IndexModel(
            [("referrer.member", ASCENDING)],
            name="referrer",
            partialFilterExpression={"referrer.member": {"$exists": True}},
        )
        self._members.create_indexes([code_index, referrer_index])

    def code_of(self, member_id: str) -> str | None:
        """The member's code, if it ever got one.

        Raises:
            MemberNotFoundError: there is no such member.
        """
        code: str | None = self._member(member_id, {"referral_code": 1}).get("referral_code")
        return code

    def give_code(self, member_id: str, code: str) -> bool:
        """Give a member its code; whether it had none and this one is it.

        Raises:
            CodeTakenError: another member has it.
        """
        query = {"_id": member_id, "referral_code": {"$exists": False}}
        try:
            done = self._members.update_one(query, {"$set": {"referral_code": code}})
        except DuplicateKeyError as error:
            raise CodeTakenError from error
        return bool(done.modified_count)

    def by_code(self, code: str) -> str | None:
        """The id of the member with that code: one indexed read."""
        found = self._members.find_one({"referral_code": code}, {"_id": 1})
        return found["_id"] if found else None

    def of(self, member_id: str) -> Referral | None:
        """Who referred a member.

        Raises:
            MemberNotFoundError: there is no such member.
        """
        kept = self._member(member_id, {"referrer": 1}).get("referrer")
        return Referral(member_id, kept.get("member"), kept["at"]) if kept else None

    def add(self, referral: Referral) -> None:
        """Record who referred a member, once, in a way that closes no circle under races either.

        The transaction writes to the member and to its referrer. Where the member referred others
        before, it also walks up from the referrer, and writes to the member at the top of that
        chain. Two referrals that would close a circle together therefore always meet in one
        document: only a top can get a referrer, and what was below it is seen by whoever comes
        second. A newcomer needs no walk, so a chain may be of any length.

        Raises:
            MemberNotFoundError: one of the two does not exist.
            ReferrerThereError: the member has a referrer by now.
            CircularReferralError: the member is above the referrer.
            ReferralChainTooLongError: there are too many above the referrer to tell.
        """
        change = {"referrer": {"member": referral.referrer_id, "at": referral.recorded_at}}

        def write(session: ClientSession) -> None:
            fields = {"referrer": 1, "referred": 1}
            member = self._member(referral.member_id, fields, session)
            if "referrer" in member:
                raise ReferrerThereError
            if member.get("referred") or referral.member_id == referral.referrer_id:
                self._touch(self._top(referral, session), session)
            self._members.update_one({"_id": referral.member_id}, {"$set": change}, session=session)
            counted = self._members.update_one(
                {"_id": referral.referrer_id}, {"$inc": {"referred": 1}}, session=session
            )
            if not counted.matched_count:
                raise MemberNotFoundError

        transact(self._client, write)

    def held(self, member_id: str) -> Iterator[Held]:
        """The member's code and referrals; see `vault.model.Holder`.

        Whom the member referred is said by the times alone: who they are is theirs.
        """
        found = self._members.find_one({"_id": member_id}, _FIELDS)
        if found is None:
            return
        own = {name: each for name, each in found.items() if name not in ("_id", "referral_mark")}
        referred = self._members.find({"referrer.member": member_id}, {"referrer.at": 1})
        times = sorted(each["referrer"]["at"] for each in referred)
        if own or times:
            yield Held("members", member_id, "referrals", {**own, "referred_at": times})

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove what leads to the member from whom it referred; see `vault.model.Holder`.

        They stay referred. The member's own fields go too, if its document is still there.
        """
        fields = {name: "" for name in _FIELDS if name != "_id"}
        self._members.update_one({"_id": member_id}, {"$unset": fields})
        theirs = {"referrer.member": member_id}
        done = self._members.update_many(theirs, {"$unset": {"referrer.member": ""}})
        return {"referrals": done.modified_count}

    def _top(self, referral: Referral, session: ClientSession) -> str:
        """The member above the referrer whom nobody referred."""
        top = referral.referrer_id or ""
        for _ in range(CHAIN_MAX):
            if top == referral.member_id:
                raise of_code(CircularReferralError)
            found = self._members.find_one({"_id": top}, {"referrer.member": 1}, session=session)
            above = found.get("referrer", {}).get("member") if found else None
            if above is None:
                return top
            top = above
        raise of_code(ReferralChainTooLongError)

    def _touch(self, member_id: str, session: ClientSession) -> None:
        # A fresh value each time: an update that changes nothing would meet nobody.
        change = {"$set": {"referral_mark": ObjectId()}}
        self._members.update_one({"_id": member_id}, change, session=session)

    def _member(
        self, member_id: str, fields: Document, session: ClientSession | None = None
    ) -> Document:
        found = self._members.find_one({"_id": member_id}, fields, session=session)
        if found is None:
            raise MemberNotFoundError
        return found
