"""What was asked at the desk and sent by the outbox, read from the real stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts


class DeskBook(NamedTuple):
    """Looks behind the desk."""

    parts: Parts

    @property
    def asked(self) -> list[tuple[str, str, str]]:
        """Member, right and proof of each request, in their order."""
        return [(each["member"], each["kind"], each["proof"]) for each in self._requests()]

    def is_restricted(self, member_id: str) -> bool:
        """Whether the member's data is put aside now."""
        return self.parts.consents.standing(member_id).restricted

    def codes(self, member_id: str) -> list[str]:
        """The codes that were sent to a member, oldest first."""
        found = list(self.parts.outbox.held(member_id))
        return [each.data["content"]["code"] for each in found if "code" in each.data["content"]]

    def details(self, member_id: str) -> list[Any]:
        """What a member wrote into the requests."""
        return [each.data["details"] for each in self.parts.requests.held(member_id)]

    def _requests(self) -> Iterator[Any]:
        return iter(self.parts.database["privacy_requests"].find().sort("_id"))
