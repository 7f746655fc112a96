"""What a noun says of what it keeps about a member, and how a sealed value can be out of reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from loyalty.kit.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ShreddedError(Exception):
    """The owner's key is gone for good: nobody can read what was sealed under it."""


class VaultClosedError(UnavailableError):
    """A key is there and cannot be unwrapped: the KMS is away, or the master key is another one."""

    def __init__(self) -> None:
        super().__init__("The keys of what is sealed are out of reach right now.")


class Held(NamedTuple):
    """One document that is about a member, readable, as an export shows it.

    `collection` and `id` say where it lies; `category` is the word of the register for what it is;
    `data` is the document, opened, in JSON's types and times.
    """

    collection: str
    id: str
    category: str
    data: Mapping[str, Any]


class Holder(Protocol):
    """A noun that keeps something about members. Whoever keeps something must be one."""

    def held(self, member_id: str) -> Iterator[Held]:
        """Every document about the member, as a stream; nothing for one who is not known."""

    def erase(self, member_id: str) -> Mapping[str, int]:
        """Remove all of it for good; how many documents of each collection went.

        Idempotent: it may be stopped anywhere and begun again. What must stay for the accounts
        stays without anything that leads to a person.
        """
