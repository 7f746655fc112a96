"""What stands behind the pages and is read by the tests: codes, requests, and a log of looks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from loyalty.web.model import Look

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app import Parts


class SmallDesk:
    """Reads the real outbox and the real requests; two looks are always in its log."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def codes(self, member_id: str) -> list[str]:
        """The codes that were sent to a member, oldest first."""
        held = self.parts.outbox.held(member_id)
        return [
            each.data["content"]["code"] for each in held if each.data["kind"] == "identity_code"
        ]

    @property
    def asked(self) -> list[tuple[str | None, str, str]]:
        """Whose requests there are, of which kind, by which proof; oldest first."""
        found = self.parts.database["privacy_requests"].find().sort("received_at")
        return [(each["member"], each["kind"], each["proof"]) for each in found]

    def looks(self, member_id: str, *, limit: int) -> Sequence[Look]:  # noqa: ARG002
        """Who looked."""
        begun, last = (datetime.fromisoformat(f"2026-03-0{each}T09:00Z") for each in (1, 4))
        till = Look("Till 3", "loyalty_programme", begun, last, 12)
        return [till, Look("E-mail tool", "marketing", begun, begun, 1)][:limit]
