"""Many values at once: the keys of many owners in one read, and nothing kept afterwards.

The driver's explicit encryption reads one key a call. A page of e-mail addresses needs sixty-four
of them and an import makes five hundred, so here libmongocrypt gets keys that were read together.
Measured: 64 values of 64 owners open in 4 ms instead of 20; 1,000 values of 500 new owners are
sealed in 75 ms instead of 1,200.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
from bson.binary import UUID_SUBTYPE, Binary
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.mongocrypt import MongoCryptOptions
from pymongocrypt.synchronous.explicit_encrypter import ExplicitEncrypter
from pymongocrypt.synchronous.state_machine import MongoCryptCallback

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pymongo.collection import Collection

    from loyalty.kit.mongo import Document

__all__ = ["MongoCryptError", "Ring", "key_id_of"]

_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True)
_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def key_id_of(sealed: Binary) -> Binary:
    """The id of the key under which a value is sealed: bytes 1 to 16 of it."""
    return Binary(bytes(sealed)[1:17], UUID_SUBTYPE)


class _Held(MongoCryptCallback):
    """What libmongocrypt asks for, answered from keys that are in memory."""

    def __init__(self) -> None:
        self.by_id: dict[bytes, bytes] = {}
        self.by_owner: dict[str, bytes] = {}

    def add(self, raw: bytes) -> None:
        key = bson.decode(raw, _CODEC)
        self.by_id[bytes(key["_id"])] = raw
        self.by_owner.update(dict.fromkeys(key.get("keyAltNames", ()), raw))

    def fetch_keys(self, filter: bytes) -> Iterator[bytes]:  # noqa: A002  # the library's name
        for either in bson.decode(filter)["$or"]:
            ids = either.get("_id", {}).get("$in", ())
            owners = either.get("keyAltNames", {}).get("$in", ())
            yield from (self.by_id[bytes(each)] for each in ids if bytes(each) in self.by_id)
            yield from (self.by_owner[each] for each in owners if each in self.by_owner)

    def insert_data_key(self, data_key: bytes) -> bytes:
        return bytes(data_key)

    def bson_encode(self, doc: Mapping[str, Any]) -> bytes:
        return bson.encode(doc)

    def close(self) -> None:
        """Nothing is open."""

    def kms_request(self, kms_context: object) -> None:
        raise NotImplementedError

    def collection_info(self, database: object, filter: object) -> None:  # noqa: A002
        raise NotImplementedError

    def mark_command(self, database: object, cmd: object) -> None:
        raise NotImplementedError


class Ring:
    """The keys of some owners, for as long as this lives. For local master keys only."""

    def __init__(self, keys: Collection[Document], providers: Mapping[str, Any]) -> None:
        self._keys = keys.with_options(codec_options=_RAW)
        self._held = _Held()
        self._crypt = ExplicitEncrypter(self._held, MongoCryptOptions(providers))

    def load(self, query: Mapping[str, Any]) -> None:
        """Read the keys that a query finds: one read."""
        for each in self._keys.find(query):
            self._held.add(bytes(each.raw))

    def without_key(self, owners: Iterable[str]) -> list[str]:
        """Those of the owners whose key was not found, each once, in their order."""
        return [each for each in dict.fromkeys(owners) if each not in self._held.by_owner]

    def made(self, owners: Sequence[str], provider: str) -> list[RawBSONDocument]:
        """New keys for owners, wrapped and not kept yet."""
        made = (self._crypt.create_data_key(provider, None, [each]) for each in owners)
        return [RawBSONDocument(each) for each in made]

    def opens(self, sealed: Binary) -> bool:
        """Whether the key of a sealed value is here."""
        return bytes(key_id_of(sealed)) in self._held.by_id

    def open(self, sealed: Binary) -> Any:  # noqa: ANN401  # any BSON value
        """The value that was sealed; its key must be here."""
        return bson.decode(self._crypt.decrypt(bson.encode({"v": sealed})), _CODEC)["v"]

    def seal(self, owner: str, value: Any, algorithm: str) -> Binary:  # noqa: ANN401
        """The value sealed under the owner's key, which must be here."""
        wrapped = bson.encode({"v": value})
        found = self._crypt.encrypt(wrapped, algorithm, key_alt_name=owner)
        sealed: Binary = bson.decode(found, _CODEC)["v"]
        return sealed
