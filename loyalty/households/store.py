"""Households in MongoDB. Who belongs where is keyed by member: one household each, anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from loyalty.kit.errors import UnavailableError
from loyalty.kit.mongo import transact
from loyalty.vault.model import Held, ShreddedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.store import Vault


class HouseholdExistsError(Exception):
    """A household was made under this idempotency key before."""


class HouseholdStore:
    """The collections `households` and `household_members`. It is a `vault.model.Holder`.

    A name is sealed under the household's own key, as it is about all of them.
    """

    def __init__(self, database: Database[Document], vault: Vault) -> None:
        self._client = database.client
        self._households = database["households"]
        self._belongings = database["household_members"]
        self._vault = vault

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
            document["sealed"] = self._vault.seal(household.id, household.name)
        if request:
            # Sealed like the name: a bare digest of it tells right guesses.
            mark = self._vault.seal(household.id, request[1])
            document["request"] = {"key": request[0], "fingerprint": mark}
        try:
            self._households.insert_one(document)
        except DuplicateKeyError as error:
            raise HouseholdExistsError from error

    def request(self, request_key: str) -> tuple[str, str] | None:
        """The household and the fingerprint of a request with that idempotency key."""
        found = self._households.find_one({"request.key": request_key}, {"request": 1})
        if found is None:
            return None
        try:
            return found["_id"], str(self._vault.open(found["request"]["fingerprint"]))
        except ShreddedError as error:
            raise UnavailableError("The household is being erased: try again.") from error

    def get(self, household_id: str) -> Household:
        """The household with its members.

        Raises:
            HouseholdNotFoundError: there is none, or it is being erased.
        """
        found = self._households.find_one({"_id": household_id}, {"created_at": 1, "sealed": 1})
        if found is None:
            raise HouseholdNotFoundError
        name = self._name(found)
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

    def held(self, member_id: str) -> Iterator[Held]:
        """Where the member belongs, and the household; see `vault.model.Holder`."""
        belonging = self._belongings.find_one({"_id": member_id})
        if belonging is None:
            return
        place = {name: belonging[name] for name in ("household", "joined_at")}
        yield Held("household_members", member_id, "household", place)
        found = self._households.find_one({"_id": belonging["household"]})
        if found:
            kept_apart = ("_id", "sealed", "request")
            own = {name: each for name, each in found.items() if name not in kept_apart}
            if "request" in found:
                own["request"] = {"key": found["request"]["key"]}
            try:
                data = {**own, "name": self._name(found)}
            except HouseholdNotFoundError:
                return
            yield Held("households", found["_id"], "household", data)

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Take the member out, and a household without members away with its name and key.

        See `vault.model.Holder`. The belonging goes last: it says where to go on after a stop.
        """
        gone = {"households": 0, "household_members": 0}

        def write(session: ClientSession) -> None:
            found = self._belongings.find_one({"_id": member_id}, session=session)
            if found:
                household_id = found["household"]
                counted = self._empty(household_id, member_id, session)
                gone.update(households=counted, household_members=1)
                alone.append(household_id)

        alone: list[str] = []
        transact(self._client, write)
        if alone and not self._households.find_one({"_id": alone[-1]}, {"_id": 1}):
            self._vault.shred(alone[-1])
            self._belongings.delete_one({"_id": member_id, "household": alone[-1]})
        return gone

    def _empty(self, household_id: str, member_id: str, session: ClientSession) -> int:
        """Remove a household that has no other member; how many were removed."""
        own, others = {"_id": household_id}, {"household": household_id, "_id": {"$ne": member_id}}
        if not self._belongings.find_one(others, session=session):
            return self._households.delete_one(own, session=session).deleted_count
        # The write makes two who leave together, or one who joins, meet: the second one sees it.
        self._households.update_one(own, {"$inc": {"joins": 1}}, session=session)
        self._belongings.delete_one({"_id": member_id}, session=session)
        return 0

    def _name(self, document: Document) -> str | None:
        """A household's name.

        Raises:
            HouseholdNotFoundError: its key is gone.
        """
        sealed = document.get("sealed")
        try:
            name: str | None = self._vault.open(sealed) if sealed else None
        except ShreddedError as error:
            raise HouseholdNotFoundError from error
        return name

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
