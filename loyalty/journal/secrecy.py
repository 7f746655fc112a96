"""What of an entry is not kept in plain: its mark instead of its key, and sealed free text.

The mark is a keyed hash of the key. It stays when a person is erased, and keeps a receipt from
being awarded twice without saying whose it was. Free text about a member is sealed under the
member's own key. An entry without any, such as a purchase, costs no more than the hash.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from loyalty.members.model import MemberNotFoundError
from loyalty.vault.model import ShreddedError

if TYPE_CHECKING:
    from loyalty.kit.mongo import Document
    from loyalty.vault.store import Vault

MARK_BYTES = 16
# What callers can write freely about a member.
FREE = frozenset({"details", "reason", "actor"})
SEALED = "sealed"


class Secrecy:
    """Marks keys, seals and opens documents of entries."""

    def __init__(self, mark_key: bytes, vault: Vault) -> None:
        self._mark_key = mark_key
        self._vault = vault

    def mark(self, key: str) -> bytes:
        """The mark of a key: 16 bytes. Its secret never changes, or facts could come again."""
        return hmac.digest(self._mark_key, key.encode(), "sha256")[:MARK_BYTES]

    def sealed(self, document: Document) -> Document:
        """A document as it is kept: with its mark, and its free text sealed."""
        document["mark"] = self.mark(document["key"])
        activity = document["activity"]
        if free := FREE & activity.keys():
            rest = {name: value for name, value in activity.items() if name not in free}
            rest[SEALED] = self._vault.seal(
                document["member"], {name: activity[name] for name in sorted(free)}
            )
            document["activity"] = rest
        return document

    def opened(self, document: Document) -> Document:
        """A document with its free text readable.

        Raises:
            MemberNotFoundError: the member is being erased.
        """
        activity = document.get("activity")
        if type(activity) is not dict or SEALED not in activity:
            return document
        try:
            free = self._vault.open(activity[SEALED])
        except ShreddedError as error:
            raise MemberNotFoundError from error
        rest = {name: value for name, value in activity.items() if name != SEALED}
        return {**document, "activity": {**rest, **free}}
