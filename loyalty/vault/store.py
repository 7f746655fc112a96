"""Values sealed by the driver's explicit client-side encryption, under a key for each owner.

The keys lie in a database of their own, wrapped by the master key, so that they are backed up apart
from what they seal: a backup of the data without them is noise. An owner is a member, or a
household for its name. A key is cached for a millisecond, so a shredded one opens nothing anywhere.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from bson.codec_options import CodecOptions
from pymongo import ASCENDING, IndexModel
from pymongo.encryption import ClientEncryption
from pymongo.errors import DuplicateKeyError, EncryptionError, PyMongoError

from loyalty.kit.mongo import is_away
from loyalty.vault.model import ShreddedError

if TYPE_CHECKING:
    from bson.binary import Binary
    from pymongo.database import Database

    from loyalty.kit.mongo import Document
    from loyalty.vault.masters import Masters

# Zero would mean for ever.
KEY_CACHE_MS = 1
# Random, not deterministic: two seals of one value do not look alike.
_SEAL = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"


class Vault:
    """The collection `keys` of the vault's database, and what is sealed under them."""

    def __init__(self, database: Database[Document], masters: Masters) -> None:
        self.database = database
        self._keys = database["keys"]
        self._masters = masters

    @functools.cached_property
    def _crypt(self) -> ClientEncryption[Document]:
        codec: CodecOptions[Document] = CodecOptions(tz_aware=True)
        return ClientEncryption(
            self._masters.providers,
            f"{self.database.name}.keys",
            self.database.client,
            codec,
            key_expiration_ms=KEY_CACHE_MS,
        )

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
        """
        try:
            return self._crypt.encrypt(value, _SEAL, key_alt_name=owner)
        except EncryptionError as error:
            _pass_on_if_away(error)
            self._make_key(owner)
        return self._crypt.encrypt(value, _SEAL, key_alt_name=owner)

    def open(self, sealed: Binary) -> Any:  # noqa: ANN401  # any BSON value
        """The value that was sealed.

        Raises:
            ShreddedError: its owner's key is gone.
        """
        try:
            return self._crypt.decrypt(sealed)
        except EncryptionError as error:
            _pass_on_if_away(error)
            raise ShreddedError from error

    def shred(self, owner: str) -> bool:
        """Destroy an owner's key for good; whether there was one."""
        return self._keys.delete_one({"keyAltNames": owner}).deleted_count == 1

    def has_key(self, owner: str) -> bool:
        """Whether the owner has a key."""
        return self._keys.find_one({"keyAltNames": owner}, {"_id": 1}) is not None

    def _make_key(self, owner: str) -> None:
        masters = self._masters
        try:
            self._crypt.create_data_key(
                masters.current, master_key=masters.master_key, key_alt_names=[owner]
            )
        except DuplicateKeyError:
            return
        except EncryptionError as error:
            if not isinstance(error.cause, DuplicateKeyError):
                raise


def _pass_on_if_away(error: EncryptionError) -> None:
    """A database that is away is not a key that is gone.

    Raises:
        PyMongoError: what the driver met on the way to the keys.
    """
    if isinstance(error.cause, PyMongoError) and is_away(error.cause):
        raise error.cause
