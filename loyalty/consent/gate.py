"""The gate: may this use of these members' data happen now? One function decides, read live.

All that it asks for stands in a member's newest consent record: one indexed read. A restriction
(Art. 18 GDPR) closes what stands on consent or on a legitimate interest; what the contract or the
law needs goes on, so that a till can still award points to a member who shows the card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loyalty.consent.gpc import SIGNALLED
from loyalty.consent.model import (
    MARKETING,
    OBJECTED,
    PERSONALISATION,
    ConsentRequiredError,
    Standing,
    flag_of,
)
from loyalty.consent.purposes import built_in
from loyalty.vault.permit import Permit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from loyalty.consent.store import ConsentStore

__all__ = ["Answer", "Permit", "ask", "ask_each", "permit", "permits", "permits_for", "require"]


class Answer(NamedTuple):
    """What the gate says of one member: a permit or none, and whether it knows the member."""

    permit: Permit | None
    is_known: bool


def permits(
    member_ids: Sequence[str],
    purpose: str,
    channel: str | None = None,
    *,
    at: datetime,
    consents: ConsentStore,
    gpc: bool = False,
) -> dict[str, Permit]:
    """Permits for those of some members whose data may be used; who is missing may not.

    Args:
        member_ids: whose data.
        purpose: what for.
        channel: on which marketing channel; for personalisation: profiling for marketing there.
        at: now.
        consents: where the records are.
        gpc: whether the request carries `Sec-GPC: 1`, which closes profiling, sharing, statistics.
    """
    uses = ((purpose, channel),)
    return permits_for(member_ids, uses, at=at, consents=consents, gpc=gpc)[0]


def permits_for(
    member_ids: Sequence[str],
    uses: Sequence[tuple[str, str | None]],
    *,
    at: datetime,
    consents: ConsentStore,
    gpc: bool = False,
) -> list[dict[str, Permit]]:
    """The same for several uses of the same members' data, decided on one read: a dict a use."""
    standings = consents.standings(member_ids) if member_ids else {}
    nothing = Standing()
    return [
        {
            each: Permit(each, purpose, channel)
            for each in member_ids
            if allows(standings.get(each, nothing), purpose, channel, at=at, gpc=gpc)
        }
        for purpose, channel in uses
    ]


def permit(
    member_id: str,
    purpose: str,
    channel: str | None = None,
    *,
    at: datetime,
    consents: ConsentStore,
    gpc: bool = False,
) -> Permit | None:
    """A permit for one member, or None."""
    return ask(member_id, purpose, channel, at=at, consents=consents, gpc=gpc).permit


def ask(
    member_id: str,
    purpose: str,
    channel: str | None = None,
    *,
    at: datetime,
    consents: ConsentStore,
    gpc: bool = False,
) -> Answer:
    """The same with whether the member has any record, so that nobody has to look it up again."""
    uses = ((purpose, channel),)
    return ask_each(member_id, uses, at=at, consents=consents, gpc=gpc)[0]


def ask_each(
    member_id: str,
    uses: Sequence[tuple[str, str | None]],
    *,
    at: datetime,
    consents: ConsentStore,
    gpc: bool = False,
) -> list[Answer]:
    """The same for several uses of one member's data, decided on one read: an answer a use."""
    flags = tuple(flag for purpose, channel in uses for flag in _flags(purpose, channel))
    standing = consents.standing_on(member_id, flags)
    return [
        Answer(
            Permit(member_id, purpose, channel)
            if allows(standing, purpose, channel, at=at, gpc=gpc)
            else None,
            standing.seq > 0,
        )
        for purpose, channel in uses
    ]


def require(
    member_id: str,
    purpose: str,
    channel: str | None = None,
    *,
    at: datetime,
    consents: ConsentStore,
    gpc: bool = False,
) -> Permit:
    """Pass the gate or refuse.

    Raises:
        ConsentRequiredError: the member does not agree to this use.
    """
    found = permit(member_id, purpose, channel, at=at, consents=consents, gpc=gpc)
    if found is None:
        raise ConsentRequiredError(f"The member has not agreed to {purpose}.")
    return found


def allows(
    standing: Standing, purpose: str, channel: str | None, *, at: datetime, gpc: bool
) -> bool:
    """The decision itself, on what the newest record says. Every use comes through here."""
    if gpc and purpose in SIGNALLED:
        return False
    known = built_in().get(purpose)
    if known is not None and not known.needs_consent:
        return known.basis != "legitimate_interest" or not _is_stopped(standing, purpose)
    if purpose == PERSONALISATION and channel is not None:
        # Art. 21(2): an objection to marketing covers profiling for it.
        spoken = standing.state(MARKETING, channel)
        is_objected = spoken is not None and spoken.status == OBJECTED
        return not is_objected and standing.allows(purpose, at=at)
    return standing.allows(purpose, channel, at=at)


def _is_stopped(standing: Standing, purpose: str) -> bool:
    found = standing.flags.get(purpose)
    return standing.restricted or (found is not None and found.status == OBJECTED)


def _flags(purpose: str, channel: str | None) -> tuple[str, ...]:
    if purpose == PERSONALISATION and channel is not None:
        return purpose, MARKETING, flag_of(MARKETING, channel)
    return (flag_of(purpose, channel),)
