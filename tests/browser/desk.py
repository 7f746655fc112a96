"""What other nouns answer for the pages, small: codes in the real outbox, requests in a list."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from loyalty.kit.errors import TooManyRequestsError
from loyalty.messages.model import Message
from loyalty.web.model import Asked, Look, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app import Parts
    from loyalty.web.model import ExportForm

CODES_MAX = 3


class SmallDesk:
    """Keeps what was asked; three codes a member, then no more."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.asked: list[tuple[str, str, str]] = []
        self.details: list[Mapping[str, Any] | None] = []
        self.restricted: list[bool] = []
        self.confirmed: list[str] = []

    def ask(
        self,
        member_id: str,
        kind: str,
        *,
        proof: str,
        language: str,  # noqa: ARG002
        at: datetime,
        details: Mapping[str, Any] | None = None,
    ) -> Asked:
        self.asked.append((member_id, kind, proof))
        self.details.append(details)
        return Asked("r_0123456789abcdef", at + timedelta(days=30))

    def export(
        self,
        member_id: str,
        *,
        form: ExportForm,
        language: str,
        at: datetime,  # noqa: ARG002
    ) -> Iterator[bytes]:
        yield f'{{"form": "{form}", "language": "{language}", '.encode()
        yield f'"member_id": "{member_id}"}}'.encode()

    def restrict(self, member_id: str, *, restricted: bool, at: datetime) -> None:  # noqa: ARG002
        self.restricted.append(restricted)

    def send_code(self, member_id: str, *, language: str, at: datetime) -> Sent:
        if len(list(self.parts.outbox.held(member_id))) >= CODES_MAX:
            raise TooManyRequestsError
        until = at + timedelta(minutes=10)
        code = f"{secrets.randbelow(10**6):06}"
        content = {"code": code}
        self.parts.outbox.post(
            Message(
                str(ObjectId()), member_id, "identity_code", "email", language, content, at, until
            )
        )
        return Sent("email", until)

    def check_code(self, member_id: str, code: str, *, at: datetime) -> bool:  # noqa: ARG002
        return code in self.codes(member_id)

    def codes(self, member_id: str) -> list[str]:
        return [each.data["content"]["code"] for each in self.parts.outbox.held(member_id)]

    def looks(self, member_id: str, *, limit: int) -> Sequence[Look]:  # noqa: ARG002
        begun, last = datetime.fromisoformat("2026-03-01T09:00Z"), "2026-03-04T16:20Z"
        till = Look("Till 3", "loyalty_programme", begun, datetime.fromisoformat(last), 12)
        return [till, Look("E-mail tool", "marketing", begun, begun, 1)][:limit]

    def confirm(self, token: str, *, at: datetime) -> None:  # noqa: ARG002
        self.confirmed.append(token)
