"""What stands behind the pages and is read by the tests: codes, requests, and a log of looks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from loyalty.access import model as keys
from loyalty.accesslog.model import Place, Tally
from loyalty.kit.clock import now

if TYPE_CHECKING:
    from app import Parts


class SmallDesk:
    """Reads the real outbox and the real requests, and writes looks of the shop into the log."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def codes(self, member_id: str) -> list[str]:
        """The codes that were sent to a member, oldest first."""
        sent = self.parts.outbox.waiting(after=None, limit=100, at=now())
        return [
            each.content["code"]
            for each in sent
            if (each.member_id, each.kind) == (member_id, "identity_code")
        ]

    @property
    def asked(self) -> list[tuple[str | None, str, str]]:
        """Whose requests there are, of which kind, by which proof; oldest first."""
        found = self.parts.database["privacy_requests"].find().sort("received_at")
        return [(each["member"], each["kind"], each["proof"]) for each in found]

    def looked(self, member_id: str) -> None:
        """A till and an e-mail tool of the shop have looked at the member's data."""
        begun, last = (datetime.fromisoformat(f"2026-03-0{each}T09:00Z") for each in (1, 4))
        for name, purpose, times in (("Till 3", "loyalty_programme", 12), ("Mail", "marketing", 1)):
            key, _ = keys.mint(name, frozenset(), at=begun, channel=None, store=None)
            self.parts.keys.add(key)
            place = Place(member_id, key.id, purpose, "/v1/members/lookup", begun.date())
            self.parts.accesslog.add({place: Tally(times, begun, last)})
