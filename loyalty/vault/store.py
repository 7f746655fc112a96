"""Values sealed by the driver's explicit client-side encryption, under a key for each owner.

The keys lie in a database of their own, wrapped by the master key, so that they are backed up apart
from what they seal: a backup of the data without them is noise. An owner is a member, or a
household for its name. A key is cached for a millisecond, so a shredded one opens nothing anywhere.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from bson.codec_options import CodecOptions
from pymongo import ASCENDING, IndexModel
from pymongo.encryption import ClientEncryption
from pymongo.errors import BulkWriteError, DuplicateKeyError, EncryptionError, PyMongoError
from pymongo.read_concern import ReadConcern

from loyalty.kit.mongo import is_away
from loyalty.vault.model import ShreddedError, VaultClosedError
from loyalty.vault.ring import MongoCryptError, Ring, key_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bson.binary import Binary
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.masters import Masters

# Zero would mean for ever.
KEY_CACHE_MS = 1
# Once for a key that is not there yet, once for a master key that is new.
ATTEMPTS_MAX = 3
REWRAP_PAGE = 500
# Random, not deterministic: two seals of one value do not look alike.
_SEAL = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
_DUPLICATE = 11000


class Vault:
    """The collection `keys` of the vault's database, and what is sealed under them.

    Args:
        database: the vault's own.
        masters: what wraps the keys.
        reload: reads the masters again, for a service that runs while they are rotated.
    """

    def __init__(
        self,
        database: Database[Document],
        masters: Masters,
        *,
        reload: Callable[[], Masters] | None = None,
    ) -> None:
        self.database = database
        self.masters = masters
        # As the driver itself reads it: a key is there when it can no longer be rolled back, so
        # nothing is ever sealed under one that a failover takes away.
        self._keys = database.get_collection("keys", read_concern=ReadConcern("majority"))
        self._reload = reload or (lambda: masters)
        self._opened: tuple[Masters, ClientEncryption[Document]] | None = None

    def create_indexes(self) -> None:
        """Idempotent."""
        by_owner = IndexModel(
            [("keyAltNames", ASCENDING)],
            name="owner",
            unique=True,
            partialFilterExpression={"keyAltNames": {"$exists": True}},
        )
        self._keys.create_indexes([by_owner])

    def seal(self, owner: str, value: Any) -> Binary:  # noqa: ANN401  # any BSON value
        """The value, readable only with the owner's key, which is made on first use.

        Args:
            owner: the id of a member or a household.
            value: any BSON value: a text, a number, a document.

        Raises:
            VaultClosedError: the owner's key is there and cannot be unwrapped now.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                return self.crypt.encrypt(value, _SEAL, key_alt_name=owner)
            except EncryptionError as error:
                _pass_on_if_away(error)
                # A key that is there by now was made in between, or is wrapped by a newer master.
                if self.has_key(owner):
                    self._take_fresh_masters()
                else:
                    self._make_key(owner)
        raise VaultClosedError

    def open(self, sealed: Binary) -> Any:  # noqa: ANN401  # any BSON value
        """The value that was sealed.

        Raises:
            ShreddedError: its owner's key is gone.
            VaultClosedError: the key is there and cannot be unwrapped now.
        """
        for _ in range(ATTEMPTS_MAX):
            used = self.masters
            try:
                return self.crypt.decrypt(sealed)
            except EncryptionError as error:
                _pass_on_if_away(error)
                if self._keys.find_one({"_id": key_id_of(sealed)}, {"_id": 1}) is None:
                    raise ShreddedError from error
                self._retry_or_close(used, error)
        raise VaultClosedError

    def open_all(self, sealed: Sequence[Binary]) -> list[Any]:
        """The values that were sealed, in their order, by one read of keys; None for the shredded.

        Raises:
            VaultClosedError: a key is there and cannot be unwrapped now.
        """
        if not sealed:
            return []
        if not self.masters.are_local:
            return [self._open_or_none(each) for each in sealed]
        query = {"_id": {"$in": list({key_id_of(each) for each in sealed})}}
        for _ in range(ATTEMPTS_MAX):
            used = self.masters
            ring = Ring(self._keys, used.providers)
            ring.load(query)
            try:
                return [ring.open(each) if ring.opens(each) else None for each in sealed]
            except MongoCryptError as error:
                self._retry_or_close(used, error)
        raise VaultClosedError

    def seal_all(self, values: Sequence[tuple[str, Any]]) -> list[Binary]:
        """Seal many values, each for its owner, in their order; see `seal`.

        Raises:
            VaultClosedError: a key is there and cannot be unwrapped now.
        """
        if not values:
            return []
        if not self._fresh_masters().are_local:
            return [self.seal(owner, value) for owner, value in values]
        owners = [owner for owner, _ in values]
        for _ in range(ATTEMPTS_MAX):
            ring = self._ring_of(owners)
            try:
                return [ring.seal(owner, value, _SEAL) for owner, value in values]
            except MongoCryptError:
                self._take_fresh_masters()
        raise VaultClosedError

    def shred(self, owner: str) -> bool:
        """Destroy an owner's key for good; whether there was one.

        Whoever begins to open something after this has returned fails, on every worker.
        """
        is_gone = self._keys.delete_one({"keyAltNames": owner}).deleted_count == 1
        # Whoever read the key just before has forgotten it by then.
        time.sleep(2 * KEY_CACHE_MS / 1000)
        return is_gone

    def has_key(self, owner: str) -> bool:
        """Whether the owner has a key."""
        return self._keys.find_one({"keyAltNames": owner}, {"_id": 1}) is not None

    def owners(self, prefix: str, *, limit: int) -> list[str]:
        """Owners that have a key and whose id begins so, at most so many."""
        query = {"keyAltNames": {"$regex": f"^{re.escape(prefix)}"}}
        found = self._keys.find(query, {"keyAltNames": 1}).limit(limit)
        return [each["keyAltNames"][0] for each in found]

    def rewrap(self, progress: Callable[[int, int], None]) -> int:
        """Wrap the keys anew that are not wrapped by the current master; how many were not.

        What they seal is not touched. Safe to stop and to run again.

        Raises:
            VaultClosedError: a key cannot be unwrapped.
        """
        masters = self._fresh_masters()
        query = _wrapped_otherwise(masters)
        total, done, last = self._keys.count_documents(query), 0, None
        while ids := self._page(query, last):
            try:
                self.crypt.rewrap_many_data_key(
                    {"_id": {"$in": ids}}, provider=masters.current, master_key=masters.master_key
                )
            except EncryptionError as error:
                _pass_on_if_away(error)
                raise VaultClosedError from error
            done, last = done + len(ids), ids[-1]
            progress(done, max(done, total))
        return done

    def wrapped(self) -> dict[str, int]:
        """How many keys each master wraps."""
        groups = [{"$group": {"_id": "$masterKey.provider", "count": {"$sum": 1}}}]
        return {each["_id"]: each["count"] for each in self._keys.aggregate(groups)}

    @property
    def crypt(self) -> ClientEncryption[Document]:
        """The driver's explicit encryption with the masters known now."""
        opened = self._opened
        if opened is None or opened[0] is not self.masters:
            opened = (self.masters, self._client_encryption())
            self._opened = opened
        return opened[1]

    def _client_encryption(self) -> ClientEncryption[Document]:
        codec: CodecOptions[Document] = CodecOptions(tz_aware=True)
        return ClientEncryption(
            self.masters.providers,
            f"{self.database.name}.keys",
            self.database.client,
            codec,
            key_expiration_ms=KEY_CACHE_MS,
        )

    def _page(self, query: Document, last: Binary | None) -> list[Binary]:
        after = {"_id": {"$gt": last}} if last else {}
        found = self._keys.find({**query, **after}, {"_id": 1}).sort("_id", ASCENDING)
        return [each["_id"] for each in found.limit(REWRAP_PAGE)]

    def _open_or_none(self, sealed: Binary) -> Any:  # noqa: ANN401  # any BSON value
        try:
            return self.open(sealed)
        except ShreddedError:
            return None

    def _ring_of(self, owners: Sequence[str]) -> Ring:
        """The keys of the owners; those that are missing are made. Two reads at most."""
        ring = Ring(self._keys, self.masters.providers)
        query = {"keyAltNames": {"$in": list(set(owners))}}
        ring.load(query)
        if missing := ring.without_key(owners):
            try:
                self._keys.insert_many(ring.made(missing, self.masters.current), ordered=False)
            except BulkWriteError as error:
                if not _is_duplicate(error):
                    raise
            # Somebody else may have made one of them first.
            ring.load(query)
        return ring

    def _make_key(self, owner: str) -> None:
        masters = self._fresh_masters()
        try:
            self.crypt.create_data_key(
                masters.current, master_key=masters.master_key, key_alt_names=[owner]
            )
        except DuplicateKeyError:
            return
        except EncryptionError as error:
            _pass_on_if_away(error)
            if not isinstance(error.cause, DuplicateKeyError):
                raise VaultClosedError from error

    def _fresh_masters(self) -> Masters:
        """The masters as they are now: a new key is never wrapped by one that is being left."""
        self._take_fresh_masters()
        return self.masters

    def _retry_or_close(self, used: Masters, error: Exception) -> None:
        """Return if there are other masters to try by now.

        Raises:
            VaultClosedError: there are none.
        """
        self._take_fresh_masters()
        if self.masters == used:
            raise VaultClosedError from error

    def _take_fresh_masters(self) -> bool:
        """Whether the masters are others than those known so far."""
        fresh = self._reload()
        if fresh == self.masters:
            return False
        self.masters = fresh
        return True


def _wrapped_otherwise(masters: Masters) -> Document:
    """What finds the keys that another master wraps, in a KMS also another key of the same one."""
    wanted = {"provider": masters.current, **(masters.master_key or {})}
    return {"$or": [{f"masterKey.{name}": {"$ne": each}} for name, each in wanted.items()]}


def _is_duplicate(error: BulkWriteError) -> bool:
    return all(each.get("code") == _DUPLICATE for each in error.details.get("writeErrors", []))


def _pass_on_if_away(error: EncryptionError) -> None:
    """A database that is away is not a key that is gone.

    Raises:
        PyMongoError: what the driver met on the way to the keys.
    """
    if isinstance(error.cause, PyMongoError) and is_away(error.cause):
        raise error.cause
