"""What waits to be sent, with where to send it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from loyalty.messages.model import Message
    from loyalty.messages.store import Outbox

    # (members, a type of identifier) -> the newest such identifier of each who has one
    Addresses: TypeAlias = Callable[[Sequence[str], str], Mapping[str, str]]

# The type of identifier that is a channel's address; on other channels the shop's tool knows it.
ADDRESS_KINDS = {"email": "email", "sms": "phone", "phone": "phone"}


class Postman(NamedTuple):
    """The messages, and how to find where they go."""

    outbox: Outbox
    addresses: Addresses


class Addressed(NamedTuple):
    """A message and where it goes, if the member has an address on its channel."""

    message: Message
    address: str | None


def waiting(*, after: str | None, limit: int, at: datetime, postman: Postman) -> list[Addressed]:
    """Messages that were not sent and still hold, oldest first, each with its address.

    Args:
        after: the id of the last message of the page before.
        limit: messages at most.
        at: now.
        postman: the messages and the addresses.
    """
    found = postman.outbox.waiting(after=after, limit=limit, at=at)
    kinds = {ADDRESS_KINDS[each.channel] for each in found if each.channel in ADDRESS_KINDS}
    known = {kind: postman.addresses(_of_kind(found, kind), kind) for kind in kinds}
    return [Addressed(each, _address(each, known)) for each in found]


def _of_kind(messages: Sequence[Message], kind: str) -> list[str]:
    found = (each.member_id for each in messages if ADDRESS_KINDS.get(each.channel) == kind)
    return list(dict.fromkeys(found))


def _address(message: Message, known: Mapping[str, Mapping[str, str]]) -> str | None:
    kind = ADDRESS_KINDS.get(message.channel, "")
    return known.get(kind, {}).get(message.member_id)
