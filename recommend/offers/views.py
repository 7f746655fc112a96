"""Offers over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from loyalty.consent.gpc import is_signalled
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, answer, provided
from loyalty.members.model import MemberNotFoundError
from loyalty.versions.model import NoProgramError
from recommend.offers import service
from recommend.offers.model import Place
from recommend.offers.schemas import OffersQuerySchema, OffersSchema
from recommend.offers.service import Desk

if TYPE_CHECKING:
    from recommend.offers.model import Ranked

blp = Blueprint("offers", __name__, description="What the programme gives here and now.")

_SETS = ("channels", "stores", "skus", "categories", "brands")
_OFFER: dict[str, Any] = {
    "kind": "reward",
    "id": "five-off",
    "text": "5 EUR off for 500 points",
    "points": 500,
    "unit": "points",
    "factor": None,
    **{name: [] for name in _SETS},
    "ends_at": None,
    "missing": {"amount": 12, "of": "points", "text": "12 points more"},
    "progress": 0.976,
    "because": None,
}


@blp.route("/members/<member:member_id>/offers")
@blp.requires("recommendations:read", member_token=True, purpose="personalisation")
@blp.arguments(OffersQuerySchema, location="query")
@blp.response(
    200,
    OffersSchema,
    example={
        "member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
        "personalised": True,
        "reason": "consent",
        "as_of": "2026-03-01T09:30:00Z",
        "offers": [_OFFER],
    },
)
@blp.raises(MemberNotFoundError, NoProgramError)
def list_offers(query: dict[str, Any], member_id: str) -> Answer:
    """List what the programme offers a member at a channel and store now, the best first.

    Extra points and bonuses that hold for this member here and now, what is missing for those that
    count, rewards within reach and the next tier. Ranked by what the member likes only while the
    member agrees to `personalisation`; otherwise in the same order for everybody, and the answer
    says which and why. Nothing is written.
    """
    at = now()
    found = service.offers(
        member_id,
        Place(query.get("channel"), query.get("store"), at),
        limit=query["limit"],
        desk=provided(Desk),
        gpc=is_signalled(request.environ),
    )
    body = {
        "member_id": member_id,
        "personalised": found.personalised,
        "reason": found.reason,
        "as_of": at,
        "offers": [_offer(each) for each in found.offers],
    }
    return answer(body)


def _offer(ranked: Ranked) -> dict[str, Any]:
    offer = ranked.offer
    return {
        "kind": offer.kind,
        "id": offer.id,
        "text": offer.text,
        "points": offer.points,
        "unit": offer.unit,
        "factor": offer.factor,
        **{name: sorted(getattr(offer.only, name)) for name in _SETS},
        "ends_at": offer.ends_at,
        "missing": offer.missing._asdict() if offer.missing else None,
        "progress": round(offer.progress, 4),
        "because": f"Because you like {ranked.because}" if ranked.because else None,
    }
