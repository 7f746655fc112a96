"""Record decisions, and the gate: may this use of a member's data happen now?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import ObjectId

from loyalty.consent.model import ConsentRequiredError, Flags, Record, decided
from loyalty.consent.store import StaleRecordError
from loyalty.kit.errors import UnavailableError
from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from loyalty.consent.model import Decision
    from loyalty.consent.store import ConsentStore
    from loyalty.members.store import MemberStore

APPEND_ATTEMPTS_MAX = 64


def record(
    member_id: str,
    decisions: Sequence[Decision],
    *,
    method: str,
    notice_version: str | None,
    at: datetime,
    by: str,
    consents: ConsentStore,
    members: MemberStore,
) -> Record:
    """Append what a member decided. It holds for the next request on every worker.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    for _ in range(APPEND_ATTEMPTS_MAX):
        seq, flags = consents.head(member_id)
        if seq == 0 and not members.exists(member_id):
            raise MemberNotFoundError
        fresh = Record(
            id=str(ObjectId()),
            member_id=member_id,
            seq=seq + 1,
            decisions=tuple(decisions),
            flags=decided(flags, decisions),
            method=method,
            notice_version=notice_version,
            recorded_at=at,
            recorded_by=by,
        )
        try:
            consents.append(fresh)
        except StaleRecordError:
            continue
        return fresh
    raise UnavailableError("Too many decisions of this member at once; nothing was written.")


def first_record(
    member_id: str, decisions: Sequence[Decision], *, method: str, at: datetime, by: str
) -> Record:
    """The first record of a member, for an import."""
    return Record(
        id=str(ObjectId()),
        member_id=member_id,
        seq=1,
        decisions=tuple(decisions),
        flags=decided(Flags(), decisions),
        method=method,
        notice_version=None,
        recorded_at=at,
        recorded_by=by,
    )


def flags_of(member_id: str, *, consents: ConsentStore) -> Flags:
    """What a member agrees to now, read live: nothing of it is ever cached."""
    return consents.head(member_id)[1]


def allowed(
    member_id: str, purpose: str, channel: str | None = None, *, consents: ConsentStore
) -> bool:
    """The gate. Whether the member agrees, at this moment, to this use."""
    return flags_of(member_id, consents=consents).allows(purpose, channel)


def require(member_id: str, purpose: str, *, consents: ConsentStore) -> None:
    """Pass the gate or refuse.

    Raises:
        ConsentRequiredError: the member does not agree to this use.
    """
    if not allowed(member_id, purpose, consents=consents):
        raise ConsentRequiredError(f"The member has not agreed to {purpose}.")
