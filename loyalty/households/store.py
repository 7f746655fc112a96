"""Households in MongoDB. Who belongs where is keyed by member: one household each, anywhere."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet
from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from loyalty.households.model import (
    HOUSEHOLD_MEMBERS_MAX,
    Belonging,
    Household,
    HouseholdFullError,
    HouseholdNotFoundError,
    InOtherHouseholdError,
    NotInHouseholdError,
)
from loyalty.kit.mongo import transact

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document


class HouseholdExistsError(Exception):
    """A household was made under this idempotency key before."""


class HouseholdStore:
    """The collections `households` and `household_members`. A name is encrypted."""

    def __init__(self, database: Database[Document], *, display_key: bytes) -> None:
        self._client = database.client
        self._households = database["households"]
        self._belongings = database["household_members"]
        self._cipher = Fernet(base64.urlsafe_b64encode(display_key))

    def create_indexes(self) -> None:
        """Idempotent."""
        request_index = IndexModel(
            [("request.key", ASCENDING)],
            name="request_key",
            unique=True,
            partialFilterExpression={"request.key": {"$exists": True}},
        )
        self._households.create_indexes([request_index])
        # A member's own document is unique by its key; this is for the household's list.
        order = [("household", ASCENDING), ("joined_at", ASCENDING), ("_id", ASCENDING)]
        self._belongings.create_indexes([IndexModel(order, name="household")])

    def add(self, household: Household, *, request: tuple[str, str] | None = None) -> None:
        """Keep a new household, without members.

        Args:
            household: the new one.
            request: the idempotency key and the fingerprint of the request.

        Raises:
            HouseholdExistsError: the idempotency key was used.
        """
        document: Document = {"_id": household.id, "created_at": household.created_at}
        if household.name is not None:
            document["sealed"] = self._cipher.encrypt(household.name.encode())
        if request:
            document["request"] = {"key": request[0], "fingerprint": request[1]}
        try:
            self._households.insert_one(document)
        except DuplicateKeyError as error:
            raise HouseholdExistsError from error

    def request(self, request_key: str) -> tuple[str, str] | None:
        """The household and the fingerprint of a request with that idempotency key."""
        found = self._households.find_one({"request.key": request_key}, {"request": 1})
        return (found["_id"], found["request"]["fingerprint"]) if found else None

    def get(self, household_id: str) -> Household:
        """The household with its members.

        Raises:
            HouseholdNotFoundError: there is none.
        """
        found = self._households.find_one({"_id": household_id}, {"created_at": 1, "sealed": 1})
        if found is None:
            raise HouseholdNotFoundError
        sealed = found.get("sealed")
        name = self._cipher.decrypt(sealed).decode() if sealed else None
        members = self._belongings.find({"household": household_id}).sort(_ORDER)
        bounded = members.limit(HOUSEHOLD_MEMBERS_MAX)
        return Household(household_id, name, found["created_at"], tuple(map(_belonging, bounded)))

    def pool_of(self, household_id: str) -> list[str]:
        """The ids of a household's members, longest belonging first, whatever they agree to.

        Who may be drawn on is for `service.contributors` to say.

        Raises:
            HouseholdNotFoundError: there is no such household.
        """
        return [each.member_id for each in self.get(household_id).members]

    def of(self, member_id: str) -> Belonging | None:
        """Where a member belongs: one read by primary key."""
        found = self._belongings.find_one({"_id": member_id})
        return _belonging(found) if found else None

    def join(self, belonging: Belonging) -> None:
        """Put a member into a household; one who is there already stays as before.

        Raises:
            HouseholdNotFoundError: there is no such household.
            InOtherHouseholdError: the member is in another one.
            HouseholdFullError: the household has twelve members.
        """

        def write(session: ClientSession) -> None:
            # The write makes two who join one household meet, so that the limit holds.
            done = self._households.update_one(
                {"_id": belonging.household_id}, {"$inc": {"joins": 1}}, session=session
            )
            if not done.matched_count:
                raise HouseholdNotFoundError
            seen = self._belongings.find_one({"_id": belonging.member_id}, session=session)
            if seen is None:
                self._insert(belonging, session)
            elif seen["household"] != belonging.household_id:
                raise InOtherHouseholdError

        transact(self._client, write)

    def leave(self, household_id: str, member_id: str) -> None:
        """Take a member out of a household.

        Raises:
            NotInHouseholdError: the member is not in it.
        """
        query = {"_id": member_id, "household": household_id}
        if not self._belongings.delete_one(query).deleted_count:
            raise NotInHouseholdError

    def _insert(self, belonging: Belonging, session: ClientSession) -> None:
        query = {"household": belonging.household_id}
        if self._belongings.count_documents(query, session=session) >= HOUSEHOLD_MEMBERS_MAX:
            raise HouseholdFullError
        document = {
            "_id": belonging.member_id,
            "household": belonging.household_id,
            "joined_at": belonging.joined_at,
        }
        try:
            self._belongings.insert_one(document, session=session)
        except DuplicateKeyError as error:
            raise InOtherHouseholdError from error


_ORDER = [("joined_at", ASCENDING), ("_id", ASCENDING)]


def _belonging(document: Document) -> Belonging:
    return Belonging(document["_id"], document["household"], document["joined_at"])
