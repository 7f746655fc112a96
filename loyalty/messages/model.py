"""A message as a value. Carnet sends nothing itself: the shop's own tool fetches and sends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MessageKind: TypeAlias = Literal[
    "confirm_consent",
    "identity_code",
    "inactivity_warning",
    "request_received",
    "request_extended",
    "request_done",
]


class MessageNotFoundError(NotFoundError):
    """No message has that id, or it expired."""

    code = "message_not_found"
    title = "There is no such message"


class Marked(NamedTuple):
    """When a message was first marked as sent, and whether that was before this call."""

    sent_at: datetime
    is_replay: bool


@dataclass(frozen=True, slots=True)
class Message:
    """Something to tell a member. `content` is sealed at rest: it may hold a code or a link."""

    id: str
    member_id: str
    kind: MessageKind
    channel: str
    language: str
    content: Mapping[str, Any]
    created_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
