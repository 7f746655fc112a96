"""Members and identifiers in MongoDB.

An identifier's document is keyed by a keyed hash of its value, so that it is unique across all
members and can be found without being readable; the value itself is encrypted for display.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet
from pymongo import ASCENDING, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError

from loyalty.kit.mongo import transact
from loyalty.members.model import (
    IDENTIFIERS_MAX,
    Identifier,
    IdentifierNotFoundError,
    IdentifierTakenError,
    LinkedIdentifier,
    Member,
    MemberFacts,
    MemberNotFoundError,
    Profile,
    TooManyIdentifiersError,
    read_birthday,
    write_birthday,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document


_FACTS = {"_id": 0, "enrolled_at": 1, "profile": 1, "referrer.member": 1}


class EnrolmentExistsError(Exception):
    """The enrolment with this idempotency key was done before."""


class MemberStore:
    """The collections `members` and `identifiers`."""

    def __init__(self, database: Database[Document], *, pepper: bytes, display_key: bytes) -> None:
        self._client = database.client
        self._members = database["members"]
        self._identifiers = database["identifiers"]
        self._pepper = pepper
        self._cipher = Fernet(base64.urlsafe_b64encode(display_key))

    def create_indexes(self) -> None:
        """Idempotent."""
        self._identifiers.create_indexes([IndexModel([("member", ASCENDING)], name="member")])
        request_index = IndexModel(
            [("request.key", ASCENDING)],
            name="request_key",
            unique=True,
            partialFilterExpression={"request.key": {"$exists": True}},
        )
        self._members.create_indexes([request_index])

    def resolve(self, identifier: Identifier) -> str | None:
        """The id of the member with that identifier: one read by primary key."""
        found = self._identifiers.find_one({"_id": self._hash(identifier)}, {"member": 1})
        return found["member"] if found else None

    def resolve_all(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The ids of the members with those identifiers; what is nobody's is missing."""
        hashes = {self._hash(each): each for each in identifiers}
        found = self._identifiers.find({"_id": {"$in": list(hashes)}}, {"member": 1})
        return {hashes[each["_id"]]: each["member"] for each in found}

    def exists(self, member_id: str) -> bool:
        """Whether there is such a member."""
        return self._members.find_one({"_id": member_id}, {"_id": 1}) is not None

    def get(self, member_id: str) -> Member:
        """The member with its identifiers, decrypted.

        Raises:
            MemberNotFoundError: there is none.
        """
        document = self._members.find_one({"_id": member_id})
        if document is None:
            raise MemberNotFoundError
        linked = self._identifiers.find({"member": member_id}).limit(IDENTIFIERS_MAX)
        identifiers = tuple(self._linked(each) for each in linked)
        return Member(
            document["_id"],
            document["status"],
            document["enrolled_at"],
            identifiers,
            self._profile(document),
        )

    def about(self, member_id: str) -> MemberFacts:
        """What an award may need to know of a member: one read by primary key.

        Raises:
            MemberNotFoundError: there is no such member.
        """
        found = self._members.find_one({"_id": member_id}, _FACTS)
        if found is None:
            raise MemberNotFoundError
        birthday, segments = self._profile(found)
        referrer_id = found.get("referrer", {}).get("member")
        return MemberFacts(found["enrolled_at"], birthday, segments, referrer_id)

    def set_profile(self, member_id: str, profile: Profile) -> None:
        """Put a profile in the place of the one that is there.

        Raises:
            MemberNotFoundError: there is no such member.
        """
        sealed: Document = {"segments": sorted(profile.segments)}
        if profile.birthday:
            text = write_birthday(profile.birthday)
            sealed["birthday"] = self._cipher.encrypt(text.encode())
        done = self._members.update_one({"_id": member_id}, {"$set": {"profile": sealed}})
        if not done.matched_count:
            raise MemberNotFoundError

    def note_login(self, member_id: str, *, at: datetime) -> None:
        """Keep that the shop has just recognised the member by a login: it is active."""
        self._members.update_one({"_id": member_id}, {"$max": {"login_at": at}})

    def request(self, request_key: str) -> tuple[str, str] | None:
        """The member and the fingerprint of an enrolment with that idempotency key."""
        found = self._members.find_one({"request.key": request_key}, {"request": 1})
        return (found["_id"], found["request"]["fingerprint"]) if found else None

    def add(
        self,
        member: Member,
        identifiers: Sequence[Identifier],
        *,
        request: tuple[str, str] | None = None,
    ) -> None:
        """Keep a new member and claim its identifiers, all or nothing.

        Args:
            member: the new member.
            identifiers: what leads to it.
            request: the idempotency key and the fingerprint of the enrolment.

        Raises:
            IdentifierTakenError: one belongs to another member.
            EnrolmentExistsError: the idempotency key was used.
        """
        document = _member_document(member, request)
        claims = [self._claim(each, member.id, member.enrolled_at) for each in identifiers]

        def write(session: ClientSession) -> None:
            try:
                self._members.insert_one(document, session=session)
            except DuplicateKeyError as error:
                raise EnrolmentExistsError from error
            self._insert(claims, session)

        transact(self._client, write)

    def add_all(self, enrolments: Sequence[tuple[Member, Sequence[Identifier], str]]) -> None:
        """Keep many new members with their identifiers and request keys, all or nothing.

        Raises:
            IdentifierTakenError: an identifier belongs to somebody, or a request key was used.
        """
        documents = [_member_document(member, (key, "")) for member, _, key in enrolments]
        claims = [
            self._claim(each, member.id, member.enrolled_at)
            for member, identifiers, _ in enrolments
            for each in identifiers
        ]

        def write(session: ClientSession) -> None:
            try:
                self._members.insert_many(documents, session=session)
            except BulkWriteError as error:
                if _is_duplicate(error):
                    raise IdentifierTakenError from error
                raise
            self._insert(claims, session)

        transact(self._client, write)

    def requested(self, request_keys: Sequence[str]) -> dict[str, str]:
        """The members that were enrolled under those of the request keys that were used."""
        query = {"request.key": {"$in": list(request_keys)}}
        found = self._members.find(query, {"request.key": 1})
        return {each["request"]["key"]: each["_id"] for each in found}

    def link(self, member_id: str, identifiers: Sequence[Identifier], *, at: datetime) -> None:
        """Claim more identifiers for a member; those it already has stay as they are.

        Raises:
            MemberNotFoundError: there is no such member.
            IdentifierTakenError: one belongs to another member.
            TooManyIdentifiersError: the member would have more than fifty.
        """
        claims = [self._claim(each, member_id, at) for each in identifiers]

        def write(session: ClientSession) -> None:
            # The write makes two links of one member meet, so that the limit holds.
            change = {"$set": {"linked_at": at}}
            done = self._members.update_one({"_id": member_id}, change, session=session)
            if not done.matched_count:
                raise MemberNotFoundError
            self._insert_fresh(member_id, claims, session)

        transact(self._client, write)

    def promote(
        self,
        member_id: str,
        identifiers: Sequence[Identifier],
        *,
        at: datetime,
        request: tuple[str, str] | None = None,
    ) -> None:
        """Make a provisional member an active one, with more identifiers, all or nothing.

        Args:
            member_id: the provisional member.
            identifiers: what else leads to it from now on.
            at: when.
            request: the idempotency key and the fingerprint of the enrolment.

        Raises:
            IdentifierTakenError: it is active by now, or an identifier belongs to another member.
            TooManyIdentifiersError: the member would have more than fifty.
            EnrolmentExistsError: the idempotency key was used.
        """
        claims = [self._claim(each, member_id, at) for each in identifiers]
        change: Document = {"status": "active"}
        if request:
            change["request"] = {"key": request[0], "fingerprint": request[1]}

        def write(session: ClientSession) -> None:
            query = {"_id": member_id, "status": "provisional"}
            try:
                done = self._members.update_one(query, {"$set": change}, session=session)
            except DuplicateKeyError as error:
                raise EnrolmentExistsError from error
            if not done.matched_count:
                raise IdentifierTakenError
            self._insert_fresh(member_id, claims, session)

        transact(self._client, write)

    def unlink(self, member_id: str, identifier_id: str) -> None:
        """Free an identifier.

        Raises:
            IdentifierNotFoundError: the member has none with that id.
        """
        query = {"member": member_id, "ref": identifier_id}
        if not self._identifiers.delete_one(query).deleted_count:
            raise IdentifierNotFoundError

    def addresses(self, member_ids: Sequence[str], kind: str) -> dict[str, str]:
        """The newest identifier of a type (such as `email`) of each member that has one."""
        query = {"member": {"$in": list(member_ids)}, "type": kind}
        found = self._identifiers.find(query).sort("linked_at", ASCENDING)
        return {each["member"]: self._reveal(each).value for each in found}

    def _insert_fresh(self, member_id: str, claims: list[Document], session: ClientSession) -> None:
        """Insert the claims that the member does not hold yet."""
        query = {"member": member_id}
        held = {each["_id"] for each in self._identifiers.find(query, session=session)}
        fresh = [claim for claim in claims if claim["_id"] not in held]
        if len(held) + len(fresh) > IDENTIFIERS_MAX:
            raise TooManyIdentifiersError
        self._insert(fresh, session)

    def _insert(self, claims: list[Document], session: ClientSession) -> None:
        try:
            if claims:
                self._identifiers.insert_many(claims, session=session)
        except BulkWriteError as error:
            if _is_duplicate(error):
                raise IdentifierTakenError from error
            raise

    def _hash(self, identifier: Identifier) -> str:
        text = f"{identifier.type}\0{identifier.value}".encode()
        return hmac.new(self._pepper, text, hashlib.sha256).hexdigest()

    def _claim(self, identifier: Identifier, member_id: str, at: datetime) -> Document:
        return {
            "_id": self._hash(identifier),
            "member": member_id,
            "ref": secrets.token_hex(8),
            "type": identifier.type,
            "sealed": self._cipher.encrypt(identifier.value.encode()),
            "linked_at": at,
        }

    def _profile(self, document: Document) -> Profile:
        kept = document.get("profile", {})
        sealed = kept.get("birthday")
        birthday = read_birthday(self._cipher.decrypt(sealed).decode()) if sealed else None
        return Profile(birthday, frozenset(kept.get("segments", ())))

    def _reveal(self, document: Document) -> Identifier:
        return Identifier(document["type"], self._cipher.decrypt(document["sealed"]).decode())

    def _linked(self, document: Document) -> LinkedIdentifier:
        return LinkedIdentifier(document["ref"], self._reveal(document), document["linked_at"])


def _member_document(member: Member, request: tuple[str, str] | None) -> Document:
    document: Document = {
        "_id": member.id,
        "status": member.status,
        "enrolled_at": member.enrolled_at,
    }
    if request:
        document["request"] = {"key": request[0], "fingerprint": request[1]}
    return document


def _is_duplicate(error: BulkWriteError) -> bool:
    return any(each.get("code") == 11000 for each in error.details.get("writeErrors", []))  # noqa: PLR2004
