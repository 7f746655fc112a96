"""Recommendations over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from flask import Response, request

from loyalty.consent.gpc import is_signalled
from loyalty.kit.clock import now
from loyalty.kit.http import NDJSON_TYPE, Answer, Blueprint, answer, look_noter, provided
from loyalty.kit.settings import Settings
from loyalty.members.model import MemberNotFoundError
from recommend import picks, service
from recommend.artefact import Shelf
from recommend.experiments.service import Shelves, answer_id
from recommend.schemas import AudienceSchema, RecommendationsSchema, WhereSchema
from recommend.service import BECAUSE, Popularity, Sources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
_PICKS_EXAMPLE = (
    '{"member_id":"m_…","address":"ada@example.com","personalised":true,"reason":"consent",'
    '"items":[{"sku":"milk-1l","score":2.71}]}\n'
)


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


@blp.route("/picks")
@blp.requires("picks:read", bulk=True, purpose="marketing")
@blp.arguments(AudienceSchema, location="query")
@blp.response(200, {"type": "string"}, content_type=NDJSON_TYPE, example=_PICKS_EXAMPLE)
@blp.raises()
def list_picks(query: dict[str, Any]) -> Answer:
    """Stream picks for everyone who agreed to marketing on a channel.

    NDJSON, a member a line, with the address of the channel where there is one. Consent is read
    live while the stream runs. Members who do not agree to personalisation get popular picks.
    """
    audience = picks.Audience(
        channel=query["channel"],
        limit=query["limit"],
        clock=now,
        shelf=provided(Shelf),
        popularity=provided(Popularity),
        sources=provided(Sources),
    )
    seconds = provided(Settings).database_timeout_seconds
    rows = picks.stream(audience, batch_seconds=seconds * 5)
    return Response(_lines(rows, look_noter()), content_type=NDJSON_TYPE)


def _lines(rows: Iterator[picks.MemberPicks], note_look: Callable[[str], None]) -> Iterator[bytes]:
    for row in rows:
        note_look(row.member_id)
        body = {
            "member_id": row.member_id,
            "address": row.address,
            "personalised": row.personalised,
            "reason": row.reason,
            "items": [{"sku": each.sku, "score": round(each.score, 4)} for each in row.items],
        }
        yield orjson.dumps(body) + b"\n"
