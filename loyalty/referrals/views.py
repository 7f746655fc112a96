"""Referrals over HTTP."""

from __future__ import annotations

from typing import Any

from loyalty.journal.drafts import Stores
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, provided, replayed
from loyalty.members.model import MemberNotFoundError
from loyalty.referrals import service
from loyalty.referrals.model import (
    CircularReferralError,
    HasBoughtError,
    ReferralChainTooLongError,
    ReferrerRecordedError,
    SelfReferralError,
    UnknownReferralCodeError,
    show_code,
)
from loyalty.referrals.schemas import ReferralCodeSchema, ReferralSchema, ReferrerSchema
from loyalty.referrals.store import ReferralStore

blp = Blueprint("referrals", __name__, description="Members who bring members.")

_MEMBER = "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f"


@blp.route("/members/<member:member_id>/referral-code", methods=["POST"])
@blp.requires("members:write", member_token=True, purpose="loyalty_programme")
@blp.response(201, ReferralCodeSchema, example={"member_id": _MEMBER, "code": "7K3M-9Q2T"})
@blp.raises(MemberNotFoundError)
def give_code(member_id: str) -> Answer:
    """Get a member's referral code.

    Made at the first call, and the same ever after: later calls answer it again, with
    `Idempotent-Replay: true`.
    """
    given = service.give_code(member_id, referrals=provided(ReferralStore))
    body = {"member_id": member_id, "code": show_code(given.code)}
    return replayed(body, 201, is_replay=given.is_replay)


@blp.route("/members/<member:member_id>/referrer", methods=["POST"])
@blp.requires("members:write", purpose="loyalty_programme")
@blp.arguments(ReferrerSchema, example={"code": "7K3M-9Q2T"})
@blp.response(
    201,
    ReferralSchema,
    example={
        "member_id": _MEMBER,
        "referrer_id": "m_0123456789abcdef0123456789abcdef",
        "recorded_at": "2026-03-01T09:30:00Z",
    },
)
@blp.raises(
    MemberNotFoundError,
    UnknownReferralCodeError,
    ReferrerRecordedError,
    SelfReferralError,
    HasBoughtError,
    CircularReferralError,
    ReferralChainTooLongError,
)
def record_referrer(body: dict[str, Any], member_id: str) -> Answer:
    """Record who referred a member.

    Once, and before the member's first purchase: the first referrer stays. The same code again
    changes nothing. What a referral pays is the programme's.
    """
    referred = service.record_referrer(
        member_id,
        body["code"],
        at=now(),
        referrals=provided(ReferralStore),
        stores=provided(Stores),
    )
    referral = referred.referral
    answer = {
        "member_id": referral.member_id,
        "referrer_id": referral.referrer_id,
        "recorded_at": referral.recorded_at,
    }
    return replayed(answer, 201, is_replay=referred.is_replay)
