"""What rights ask of consents and of the journal: the only place that knows how these do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from loyalty.consent import service
from loyalty.consent.asking import checked
from loyalty.consent.model import Decision, UnknownPurposeError
from loyalty.kit.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.consent.store import ConsentStore
    from loyalty.members.store import MemberStore


class Ending(Protocol):
    """The journal, as far as it ends for a member."""

    def end(self, member_id: str) -> int:
        """Let nothing be appended any more; the number of the end. Idempotent."""


class Ledger(Protocol):
    """The consent records, as far as their checkpoint has to know what an erasure took away."""

    def contribution(self, member_id: str) -> Mapping[str, Any]:
        """What the member's records add to the checkpoint; nothing personal."""


class Standing(Protocol):
    """What a member agrees to, as far as rights change it. Each call appends one record."""

    def withdraw_all(self, member_id: str, *, at: datetime, by: str, method: str) -> None:
        """From the next request on, nothing of the member is used for anything."""

    def restrict(
        self, member_id: str, *, restricted: bool, at: datetime, by: str, method: str
    ) -> None:
        """Put the member's data aside (Art. 18), or lift that."""

    def require_purpose(self, purpose: str, channel: str | None) -> None:
        """Refuse what members have no say in: UnknownPurposeError."""

    def object_to(
        self,
        member_id: str,
        *,
        purpose: str,
        channel: str | None,
        at: datetime,
        by: str,
        method: str,
    ) -> None:
        """Object to a purpose (Art. 21); without a channel, on every one."""


class ConsentStanding:
    """Standing by consent records."""

    def __init__(self, consents: ConsentStore, members: MemberStore) -> None:
        self._consents, self._members = consents, members

    def withdraw_all(self, member_id: str, *, at: datetime, by: str, method: str) -> None:
        """Withdraw everything; see `Standing`."""
        service.withdraw_all(
            member_id,
            at=at,
            by=by,
            method=method,
            consents=self._consents,
            members=self._members,
        )

    def restrict(
        self, member_id: str, *, restricted: bool, at: datetime, by: str, method: str
    ) -> None:
        """Put aside, or lift that; see `Standing`."""
        service.restrict(
            member_id,
            restricted=restricted,
            at=at,
            by=by,
            method=method,
            consents=self._consents,
            members=self._members,
        )

    def require_purpose(self, purpose: str, channel: str | None) -> None:
        """Refuse what members have no say in; see `Standing`."""
        objection = Decision(purpose, granted=False, channel=channel, objection=True)
        try:
            checked([objection], self._consents.purposes.all())
        except UnknownPurposeError as error:
            field, message = error.errors[0]
            mistake = FieldError(field.rpartition(".")[2], message)
            raise UnknownPurposeError(message, errors=(mistake,)) from error

    def object_to(
        self,
        member_id: str,
        *,
        purpose: str,
        channel: str | None,
        at: datetime,
        by: str,
        method: str,
    ) -> None:
        """Object; see `Standing`."""
        service.record(
            member_id,
            [Decision(purpose, granted=False, channel=channel, objection=True)],
            method=method,
            at=at,
            by=by,
            consents=self._consents,
            members=self._members,
        )


class ConsentLedger:
    """What an erasure takes off the consents' checkpoints, for the certificate."""

    def __init__(self, consents: ConsentStore) -> None:
        self._consents = consents

    def contribution(self, member_id: str) -> Mapping[str, Any]:
        """By checkpoint, the sum and the number of records; see `Ledger`."""
        return {
            str(number): {"sum": f"{lost.sum:064x}", "records": lost.records}
            for number, lost in self._consents.contribution(member_id)
        }
