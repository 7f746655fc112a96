"""Certificates of erasures and lists of tombstones, signed so that anybody can check them.

Ed25519 under a key that is derived from the root secret: the public half is in each certificate.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from loyalty.privacy.erasures import Erasure

SCHEMA = "carnet-erasure-certificate/1"
LIST_SCHEMA = "carnet-tombstones/1"
BACKUPS = (
    "Personal fields were encrypted under a key of this member's own, which is destroyed. It lies "
    "in no backup of the data, so a restored one cannot be read. After a restore, "
    "`carnet restore-check` erases the member's documents again by the list of tombstones."
)
KEPT = (
    {
        "what": "for each former entry of the journal: day, channel, store, amounts, points",
        "why": "accounting (Art. 17(3)(b) GDPR); without member, product or hour",
    },
    {
        "what": "a keyed hash of each former receipt's number",
        "why": "so that no receipt is awarded twice; it names nobody and cannot be reversed",
    },
    {
        "what": "that requests of this kind were received and answered, and when",
        "why": "accountability (Art. 5(2) GDPR); without member",
    },
    {
        "what": "the random number of the former member in the list of tombstones",
        "why": "to erase again what a restored backup would bring back; it leads to nobody",
    },
)


class InvalidCertificateError(Exception):
    """The text is not what was signed, or was signed by somebody else."""


class Signer:
    """Signs documents under the shop's key.

    Args:
        seed: 32 bytes, the seed of the Ed25519 key.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.public_key = base64.b64encode(public).decode()

    def sign(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The document with `public_key` and `signature`, over its canonical JSON."""
        whole = {**document, "public_key": self.public_key}
        signature = base64.b64encode(self._key.sign(canonical(whole))).decode()
        return {**orjson.loads(canonical(whole)), "signature": signature}

    def verify(self, document: Mapping[str, Any]) -> None:
        """Check that this shop signed the document.

        Raises:
            InvalidCertificateError: it did not, or the document was changed.
        """
        if document.get("public_key") != self.public_key:
            raise InvalidCertificateError("It was signed under another key.")
        verify(document)


def canonical(document: Mapping[str, Any]) -> bytes:
    """The one JSON text of a document: sorted names, no spaces, times in UTC as RFC 3339."""
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)


def verify(document: Mapping[str, Any]) -> None:
    """Check a signature against the public key that the document itself names.

    Raises:
        InvalidCertificateError: the document was changed, or is not signed.
    """
    unsigned = {name: value for name, value in document.items() if name != "signature"}
    try:
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(document["public_key"]))
        public.verify(base64.b64decode(document["signature"]), canonical(unsigned))
    except (InvalidSignature, KeyError, TypeError, ValueError) as error:
        raise InvalidCertificateError("The signature does not fit the document.") from error


def certificate_of(erasure: Erasure, *, at: datetime) -> dict[str, Any]:
    """What is certified of an erasure, before it is signed. Nothing in it is personal.

    What was found when it began is gone, as the last pass saw, also where a pass was killed before
    it could count; and more may have been erased than was found, if requests were in flight.
    """
    found, went = dict(erasure.found or {}), dict(erasure.erased)
    return {
        "schema": SCHEMA,
        "id": erasure.id,
        "reason": erasure.reason,
        "asked_for_at": erasure.asked_at,
        "begun_at": erasure.begun_at,
        "key_destroyed_at": erasure.shredded_at,
        "verified_at": at,
        "passes": erasure.passes,
        "found": found,
        "erased": {name: max(found.get(name, 0), went.get(name, 0)) for name in {*found, *went}},
        "left": {},
        "kept": [dict(each) for each in KEPT],
        "backups": BACKUPS,
        "consent_records": dict(erasure.contribution) if erasure.contribution else None,
    }


def signed_list(erasures: Iterable[Erasure], *, at: datetime, signer: Signer) -> Iterator[bytes]:
    """The list of tombstones as lines of JSON; the last one signs those before it."""
    digest, count = hashlib.sha256(), 0
    for count, each in enumerate(erasures, 1):  # noqa: B007  # the last number is the count
        stone = {"erasure": each.id, "member_id": each.member_id, "begun_at": each.begun_at}
        line = canonical(stone) + b"\n"
        digest.update(line)
        yield line
    seal = {"schema": LIST_SCHEMA, "at": at, "count": count, "sha256": digest.hexdigest()}
    yield canonical(signer.sign(seal)) + b"\n"


def read_list(lines: Iterable[bytes], *, signer: Signer) -> list[dict[str, Any]]:
    """The tombstones of a list that this shop signed.

    Raises:
        InvalidCertificateError: a line was changed, is missing, or was added.
    """
    digest, stones, seal = hashlib.sha256(), [], None
    for line in lines:
        try:
            document = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidCertificateError("A line is not JSON.") from error
        if seal is not None:
            raise InvalidCertificateError("There is something after the signature.")
        if isinstance(document, dict) and document.get("schema") == LIST_SCHEMA:
            seal = document
            continue
        digest.update(line)
        stones.append(document)
    if seal is None:
        raise InvalidCertificateError("The signature at the end is missing.")
    signer.verify(seal)
    if (seal.get("count"), seal.get("sha256")) != (len(stones), digest.hexdigest()):
        raise InvalidCertificateError("The lines are not those that were signed.")
    return stones
