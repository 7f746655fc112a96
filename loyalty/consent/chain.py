"""What makes tampering with consent records show: each names the hash of the one before it.

A chain alone does not show that its end was cut off. So a checkpoint keeps a keyed sum over all
records: the sum, mod 2^256, of an HMAC of each record's hash. Addition does not mind the order, and
what an erasure takes away can be subtracted. Pure.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MODULUS = 2**256
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


class Tally(NamedTuple):
    """A keyed sum over some records, and how many they are."""

    sum: int = 0
    records: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally((self.sum + other.sum) % MODULUS, self.records + other.records)


class Checkpoint(NamedTuple):
    """What all records that were made before a moment came to.

    `until` is compared with the time in a record's id; `number` counts checkpoints from 1.
    """

    number: int
    made_at: datetime
    until: datetime
    tally: Tally


class BadCheckpointError(Exception):
    """The text is not a checkpoint, or not one made under this secret."""


def hash_of(document: Mapping[str, Any]) -> str:
    """SHA-256 over a record as it is kept, all of it but the hash itself."""
    body = {name: value for name, value in document.items() if name != "hash"}
    return hashlib.sha256(_canonical(body)).hexdigest()


def tally(hashes: Iterable[str], secret: bytes) -> Tally:
    """The keyed sum over the hashes of records."""
    total = Tally()
    for each in hashes:
        mark = hmac.digest(secret, each.encode(), "sha256")
        total = total.plus(Tally(int.from_bytes(mark), 1))
    return total


def sign(checkpoint: Checkpoint, secret: bytes) -> str:
    """The checkpoint as a text that can be kept outside, with its MAC."""
    number, made_at, until, (total, count) = checkpoint
    body = _canonical([number, made_at, until, f"{total:064x}", count])
    return f"{_encode(body)}.{_encode(_mac(body, secret))}"


def read(text: str, secret: bytes) -> Checkpoint:
    """The checkpoint of a text.

    Raises:
        BadCheckpointError: it is forged, or no checkpoint.
    """
    try:
        body, mac = (base64.urlsafe_b64decode(part) for part in text.strip().split("."))
    except (binascii.Error, ValueError) as error:
        raise BadCheckpointError from error
    if not hmac.compare_digest(mac, _mac(body, secret)):
        raise BadCheckpointError
    number, made_at, until, total, count = orjson.loads(body)
    return Checkpoint(
        number,
        datetime.fromisoformat(made_at),
        datetime.fromisoformat(until),
        Tally(int(total, 16), count),
    )


def _mac(body: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, b"checkpoint\0" + body, "sha256")


def _encode(body: bytes) -> str:
    return base64.urlsafe_b64encode(body).decode()


def _canonical(value: Any) -> bytes:  # noqa: ANN401  # any value that BSON holds
    return orjson.dumps(value, default=_plain, option=_SORTED)


def _plain(value: Any) -> str:  # noqa: ANN401  # as above
    """What JSON has no word for: a sealed value by its digest, an id by its digits."""
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)
