"""Recommendations over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import request

from loyalty.consent.gpc import is_signalled
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, answer, provided
from loyalty.members.model import MemberNotFoundError
from recommend import service
from recommend.artefact import Shelf
from recommend.experiments.service import Shelves, answer_id
from recommend.schemas import RecommendationsSchema, WhereSchema
from recommend.service import BECAUSE, Popularity, Sources

if TYPE_CHECKING:
    from recommend.service import Recommended

blp = Blueprint("personalisation", __name__, description="What to show a person next.")

_ITEM = {
    "sku": "milk-1l",
    "name": "Whole milk 1 l",
    "category": "Dairy/Milk",
    "brand": "Meadow",
    "price": {"amount": 119, "currency": "EUR"},
    "image_url": None,
    "score": 2.71,
    "because": "Because you bought it before",
}


def _item(item: Recommended) -> dict[str, Any]:
    product = item.product
    price = product.price if product else None
    return {
        "sku": item.sku,
        "name": product.name if product else None,
        "category": product.category if product else None,
        "brand": product.brand if product else None,
        "price": {"amount": price.amount, "currency": price.currency} if price else None,
        "image_url": product.image_url if product else None,
        "score": round(item.score, 4),
        "because": BECAUSE[item.part],
    }


@blp.route("/members/<member:member_id>/recommendations")
@blp.requires("recommendations:read", member_token=True, purpose="personalisation")
@blp.arguments(WhereSchema, location="query")
@blp.response(
    200,
    RecommendationsSchema,
    example={
        "member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
        "personalised": True,
        "reason": "consent",
        "model_version": "20260301T020000Z",
        "recommendation_id": "own-taste.control.5d41402abc4b2a76",
        "experiment": "own-taste",
        "variant": "control",
        "items": [_ITEM],
    },
)
@blp.raises(MemberNotFoundError)
def recommendations(query: dict[str, Any], member_id: str) -> Answer:
    """Recommend products to a member.

    Personal only while the member agrees to `personalisation`; otherwise what is popular in that
    store and channel, shown only with at least ten different people behind each product. The answer
    says which and why. With `Sec-GPC: 1` it is never personal, whatever is on record, and the first
    time that refusal is recorded; otherwise nothing is written.
    """
    found = service.recommend(
        member_id,
        channel=query.get("channel"),
        store=query.get("store"),
        limit=query["limit"],
        at=now(),
        gpc=is_signalled(request.environ),
        shelf=provided(Shelf),
        popularity=provided(Popularity),
        sources=provided(Sources),
        shelves=provided(Shelves),
    )
    body = {
        "member_id": member_id,
        "personalised": found.personalised,
        "reason": found.reason,
        "model_version": found.model_version,
        "recommendation_id": answer_id(found.variant),
        "experiment": found.variant.experiment if found.variant else None,
        "variant": found.variant.name if found.variant else None,
        "items": [_item(each) for each in found.items],
    }
    return answer(body)
