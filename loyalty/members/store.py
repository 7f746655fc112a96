"""Members and identifiers in MongoDB.

An identifier's document is keyed by a keyed hash of its value, so that it is unique across all
members and can be found without being readable; the value itself is sealed under the member's key,
and so is the profile. While the pepper of the hashes is rotated, an identifier has two documents,
one a pepper, with one `ref`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

from pymongo import ASCENDING, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError

from loyalty.kit.errors import UnavailableError
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
from loyalty.vault.model import Held, ShreddedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from bson.binary import Binary
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.peppers import Pepper, Peppers
    from loyalty.vault.permit import Permit
    from loyalty.vault.store import Vault


_FACTS = {"_id": 0, "enrolled_at": 1, "profile": 1, "referrer": 1}
# Of a member's document: what is said apart, and what `referrals` keeps there and says itself.
_OF_OTHERS = ("profile", "referral_code", "referrer", "referred", "referral_mark")


class EnrolmentExistsError(Exception):
    """The enrolment with this idempotency key was done before."""


class _Claim(NamedTuple):
    """An identifier that a member is to have, sealed; its hashes depend on the stage."""

    identifier: Identifier
    member_id: str
    ref: str
    sealed: Binary
    at: datetime


class MemberStore:
    """The collections `members` and `identifiers`. It is a `vault.model.Holder`."""

    def __init__(self, database: Database[Document], vault: Vault, peppers: Peppers) -> None:
        self._client = database.client
        self._members = database["members"]
        self._identifiers = database["identifiers"]
        self._vault = vault
        self._peppers = peppers

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
        key = keyed_hash(identifier, self._peppers.reading())
        found = self._identifiers.find_one({"_id": key}, {"member": 1})
        return found["member"] if found else None

    def resolve_all(self, identifiers: Sequence[Identifier]) -> dict[Identifier, str]:
        """The ids of the members with those identifiers; what is nobody's is missing."""
        pepper = self._peppers.reading()
        hashes = {keyed_hash(each, pepper): each for each in identifiers}
        found = self._identifiers.find({"_id": {"$in": list(hashes)}}, {"member": 1})
        return {hashes[each["_id"]]: each["member"] for each in found}

    def exists(self, member_id: str) -> bool:
        """Whether there is such a member."""
        return self._members.find_one({"_id": member_id}, {"_id": 1}) is not None

    def get(self, member_id: str) -> Member:
        """The member with its identifiers, opened: three reads, one of them for the key.

        Raises:
            MemberNotFoundError: there is none, or it is being erased.
        """
        document = self._members.find_one({"_id": member_id})
        if document is None:
            raise MemberNotFoundError
        linked = self._linked(member_id)
        sealed = [each["sealed"] for each in linked]
        profile, *values = self._opened([document.get("profile"), *sealed])
        identifiers = (_linked(*pair) for pair in zip(linked, values, strict=True))
        status, enrolled_at = document["status"], document["enrolled_at"]
        return Member(member_id, status, enrolled_at, tuple(identifiers), _profile(profile))

    def about(self, member_id: str) -> MemberFacts:
        """What an award may need to know of a member: one read, and one more for a profile's key.

        Raises:
            MemberNotFoundError: there is no such member, or it is being erased.
        """
        found = self._members.find_one({"_id": member_id}, _FACTS)
        if found is None:
            raise MemberNotFoundError
        birthday, segments = _profile(*self._opened([found.get("profile")]))
        referrer = found.get("referrer")
        referrer_id = referrer.get("member") if referrer else None
        joined_at, is_referred = found["enrolled_at"], referrer is not None
        return MemberFacts(joined_at, birthday, segments, referrer_id, is_referred)

    def set_profile(self, member_id: str, profile: Profile) -> None:
        """Put a profile in the place of the one that is there.

        Raises:
            MemberNotFoundError: there is no such member.
        """
        # Sealing makes a key; nobody gets one who is not there.
        if not self.exists(member_id):
            raise MemberNotFoundError
        birthday = write_birthday(profile.birthday) if profile.birthday else None
        kept = {"birthday": birthday, "segments": sorted(profile.segments)}
        change = {"$set": {"profile": self._vault.seal(member_id, kept)}}
        if not self._members.update_one({"_id": member_id}, change).matched_count:
            raise MemberNotFoundError

    def note_login(self, member_id: str, *, at: datetime) -> None:
        """Keep that the shop has just recognised the member by a login: it is active."""
        self._members.update_one({"_id": member_id}, {"$max": {"login_at": at}})

    def request(self, request_key: str) -> tuple[str, str] | None:
        """The member and the fingerprint of an enrolment with that idempotency key."""
        found = self._members.find_one({"request.key": request_key}, {"request": 1})
        return (found["_id"], self._mark(found["request"]["fingerprint"])) if found else None

    def _mark(self, kept: str | Binary) -> str:
        """The fingerprint of an enrolment. An import has none, and none that is sealed."""
        try:
            return kept if isinstance(kept, str) else str(self._vault.open(kept))
        except ShreddedError as error:
            raise UnavailableError("The member is being erased: try again.") from error

    def _requested(self, member_id: str, request: tuple[str, str]) -> Document:
        """An enrolment's key and fingerprint: sealed, for a bare digest tells right guesses."""
        key, mark = request
        return {"key": key, "fingerprint": self._vault.seal(member_id, mark)}

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
        document = _member_document(member)
        if request:
            document["request"] = self._requested(member.id, request)
        wanted = [(each, member.id, member.enrolled_at) for each in identifiers]
        claims = self._claims(wanted)

        def write(session: ClientSession) -> None:
            try:
                self._members.insert_one(document, session=session)
            except DuplicateKeyError as error:
                raise EnrolmentExistsError from error
            self._insert(claims, self._peppers.writing(session), session)

        transact(self._client, write)

    def add_all(self, enrolments: Sequence[tuple[Member, Sequence[Identifier], str]]) -> None:
        """Keep many new members with their identifiers and request keys, all or nothing.

        Raises:
            IdentifierTakenError: an identifier belongs to somebody, or a request key was used.
        """
        documents = [
            {**_member_document(member), "request": {"key": key, "fingerprint": ""}}
            for member, _, key in enrolments
        ]
        claims = self._claims(
            [
                (each, member.id, member.enrolled_at)
                for member, identifiers, _ in enrolments
                for each in identifiers
            ]
        )

        def write(session: ClientSession) -> None:
            try:
                self._members.insert_many(documents, session=session)
            except BulkWriteError as error:
                if _is_duplicate(error):
                    raise IdentifierTakenError from error
                raise
            self._insert(claims, self._peppers.writing(session), session)

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
        if not self.exists(member_id):
            raise MemberNotFoundError
        claims = self._claims([(each, member_id, at) for each in identifiers])

        def write(session: ClientSession) -> None:
            # The write makes two links of one member meet, so that the limit holds. It counts, as
            # an update that changes nothing, such as the same time again, would meet nobody.
            change = {"$inc": {"links": 1}}
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
        claims = self._claims([(each, member_id, at) for each in identifiers])
        change: Document = {"status": "active"}
        if request:
            change["request"] = self._requested(member_id, request)

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

        # While the pepper is rotated there are two documents, and the second may just be made.
        def write(session: ClientSession) -> None:
            if not self._identifiers.delete_many(query, session=session).deleted_count:
                raise IdentifierNotFoundError

        transact(self._client, write)

    def addresses(self, permits: Iterable[Permit], kind: str) -> dict[str, str]:
        """The newest identifier of a type (such as `email`) of each member that has one.

        Two reads, however many the members are. Who is being erased is left out.
        """
        query = {"member": {"$in": [each.member_id for each in permits]}, "type": kind}
        found = self._identifiers.find(query, {"member": 1, "sealed": 1})
        newest = {each["member"]: each["sealed"] for each in found.sort("linked_at", ASCENDING)}
        values = self._vault.open_all(list(newest.values()))
        return {
            each: value for each, value in zip(newest, values, strict=True) if value is not None
        }

    def held(self, member_id: str) -> Iterator[Held]:
        """The member and its identifiers; see `vault.model.Holder`."""
        document = self._members.find_one({"_id": member_id})
        linked = self._linked(member_id)
        sealed = [document.get("profile") if document else None, *(e["sealed"] for e in linked)]
        try:
            profile, *values = self._opened(sealed)
        except MemberNotFoundError:
            return
        if document:
            own = {name: each for name, each in document.items() if name not in _OF_OTHERS}
            if "request" in own:
                own["request"] = {"key": own["request"]["key"]}
            yield Held("members", member_id, "identity", own)
            if profile:
                yield Held("members", member_id, "profile", profile)
        for each, value in zip(linked, values, strict=True):
            data = {"type": each["type"], "value": value, "linked_at": each["linked_at"]}
            yield Held("identifiers", each["ref"], "identity", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove the member and its identifiers; see `vault.model.Holder`."""
        gone: dict[str, int] = {}

        def write(session: ClientSession) -> None:
            # The member first: whoever links or promotes at the same time writes to it too, and
            # finds nobody when it tries again.
            done = self._members.delete_one({"_id": member_id}, session=session)
            freed = self._identifiers.delete_many({"member": member_id}, session=session)
            gone.update(members=done.deleted_count, identifiers=freed.deleted_count)

        transact(self._client, write)
        return gone

    def _linked(self, member_id: str) -> list[Document]:
        """A member's identifiers, one document each, whatever the stage of a rotation."""
        found = self._identifiers.find({"member": member_id}).limit(2 * IDENTIFIERS_MAX)
        return list({each["ref"]: each for each in found}.values())

    def _opened(self, sealed: Sequence[Binary | None]) -> list[Any]:
        """What one member's sealed values say, None for those that are None.

        Raises:
            MemberNotFoundError: the member's key is gone.
        """
        there = [each for each in sealed if each is not None]
        if len(there) == 1:
            found = [self._open(there[0])]
        else:
            found = self._vault.open_all(there)
            if any(each is None for each in found):
                raise MemberNotFoundError
        values = iter(found)
        return [None if each is None else next(values) for each in sealed]

    def _open(self, sealed: Binary) -> Any:  # noqa: ANN401  # any BSON value
        try:
            return self._vault.open(sealed)
        except ShreddedError as error:
            raise MemberNotFoundError from error

    def _insert_fresh(self, member_id: str, claims: list[_Claim], session: ClientSession) -> None:
        """Insert the claims that the member does not hold yet, under any pepper."""
        found = list(self._identifiers.find({"member": member_id}, {"ref": 1}, session=session))
        hashes, refs = {each["_id"] for each in found}, {each["ref"] for each in found}
        peppers = self._peppers.writing(session)
        fresh = [
            claim
            for claim in claims
            if hashes.isdisjoint(keyed_hash(claim.identifier, each) for each in peppers)
        ]
        if len(refs) + len(fresh) > IDENTIFIERS_MAX:
            raise TooManyIdentifiersError
        self._insert(fresh, peppers, session)

    def _insert(self, claims: list[_Claim], peppers: list[Pepper], session: ClientSession) -> None:
        if not claims:
            return
        documents = [each for claim in claims for each in _documents(claim, peppers)]
        try:
            self._identifiers.insert_many(documents, session=session)
        except BulkWriteError as error:
            if _is_duplicate(error):
                raise IdentifierTakenError from error
            raise

    def _claims(self, wanted: Sequence[tuple[Identifier, str, datetime]]) -> list[_Claim]:
        """Identifiers for members, sealed together."""
        sealed = self._vault.seal_all([(member_id, each.value) for each, member_id, _ in wanted])
        return [
            _Claim(each, member_id, secrets.token_hex(8), value, at)
            for (each, member_id, at), value in zip(wanted, sealed, strict=True)
        ]


def keyed_hash(identifier: Identifier, pepper: Pepper) -> str:
    """What an identifier is found by; nobody can try guesses without the pepper."""
    text = f"{identifier.type}\0{identifier.value}".encode()
    return hmac.new(pepper.key, text, hashlib.sha256).hexdigest()


def _documents(claim: _Claim, peppers: Sequence[Pepper]) -> Iterator[Document]:
    """A document a pepper; the older of two says that the newer is there."""
    for each in peppers:
        document = {
            "_id": keyed_hash(claim.identifier, each),
            "member": claim.member_id,
            "ref": claim.ref,
            "type": claim.identifier.type,
            "sealed": claim.sealed,
            "linked_at": claim.at,
            "pepper": each.number,
        }
        yield document if each is peppers[-1] else {**document, "twin": peppers[-1].number}


def _linked(document: Document, value: str) -> LinkedIdentifier:
    identifier = Identifier(document["type"], value)
    return LinkedIdentifier(document["ref"], identifier, document["linked_at"])


def _profile(kept: Mapping[str, Any] | None) -> Profile:
    if kept is None:
        return Profile()
    birthday = read_birthday(kept["birthday"]) if kept["birthday"] else None
    return Profile(birthday, frozenset(kept["segments"]))


def _member_document(member: Member) -> Document:
    return {"_id": member.id, "status": member.status, "enrolled_at": member.enrolled_at}


def _is_duplicate(error: BulkWriteError) -> bool:
    return any(each.get("code") == 11000 for each in error.details.get("writeErrors", []))  # noqa: PLR2004
