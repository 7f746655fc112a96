"""Recommendations over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flask import request

from loyalty.catalogue.model import ProductNotFoundError
from loyalty.consent.gpc import is_signalled
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, answer, provided
from loyalty.kit.settings import Settings
from loyalty.members.model import MemberNotFoundError
from recommend import artefact, service
from recommend.artefact import Shelf
from recommend.experiments.service import Shelves, answer_id
from recommend.newcomers import NewProducts
from recommend.reasons import LANGUAGES
from recommend.schemas import (
    ModelCardSchema,
    RecommendationsSchema,
    SessionSchema,
    ShownSchema,
    SimilarSchema,
    WhereSchema,
)
from recommend.service import Given, NoModelError, Popularity, Question, Sources

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    "because": "You usually buy it every 2 weeks",
    "reason_code": "bought_often",
    "because_skus": ["milk-1l"],
    "rules": ["boost: own-brand"],
}
_SHOWN = {
    "personalised": True,
    "reason": "consent",
    "model_version": "20260301T020000Z",
    "recommendation_id": "own-taste.control.5d41402abc4b2a76",
    "experiment": "own-taste",
    "variant": "control",
    "items": [_ITEM],
}
_NEAR = {**_ITEM, "because": "Goes with Oats 500 g", "reason_code": "similar", "because_skus": []}
_CARD = {
    "version": "20260301T020000Z",
    "trained_at": "2026-03-01T02:00:00Z",
    "mode": "plain",
    "epsilon": None,
    "k": 10,
    "items": 4120,
    "places": 31,
    "weights": {"personal": 1.0, "shared": 0.8, "collaborative": 0.2, "together": 0.5},
    "facts": {
        "baskets": 91234,
        "members": 3012,
        "k": 10,
        "metrics": {
            "chosen": {"recall": 0.223, "hit_rate": 0.82, "ndcg": 0.21, "members": 602},
            "global_top": {"recall": 0.038, "hit_rate": 0.26, "ndcg": 0.04, "members": 602},
        },
    },
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
        "because": item.why.text,
        "reason_code": item.why.code,
        "because_skus": item.why.skus,
        "rules": item.rules,
    }


def _shown(found: service.Answer) -> dict[str, Any]:
    return {
        "personalised": found.personalised,
        "reason": found.reason,
        "model_version": found.model_version,
        "recommendation_id": answer_id(found.variant),
        "experiment": found.variant.experiment if found.variant else None,
        "variant": found.variant.name if found.variant else None,
        "items": [_item(each) for each in found.items],
    }


def _question(given: Mapping[str, Any]) -> Question:
    """What a query or a body asks for."""
    return Question(
        at=now(),
        limit=given["limit"],
        channel=given.get("channel"),
        store=given.get("store"),
        cart=tuple(given.get("cart", ())),
        viewing=given.get("viewing"),
        exclude=tuple(given.get("exclude", ())),
        categories=tuple(given.get("category", ())),
        brands=tuple(given.get("brand", ())),
        interests=tuple(given.get("interest", ())),
        language=_language(),
    )


def _language() -> str:
    """The first language of the request that reasons are written in, else English."""
    if not request.environ.get("HTTP_ACCEPT_LANGUAGE"):
        return LANGUAGES[0]
    wanted = (tag.partition("-")[0].lower() for tag, quality in request.accept_languages if quality)
    return next((tag for tag in wanted if tag in LANGUAGES), LANGUAGES[0])


@blp.route("/members/<member:member_id>/recommendations")
@blp.requires("recommendations:read", member_token=True, purpose="personalisation")
@blp.arguments(WhereSchema, location="query")
@blp.response(
    200,
    RecommendationsSchema,
    example={"member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f", **_SHOWN},
)
@blp.raises(MemberNotFoundError)
def recommendations(query: dict[str, Any], member_id: str) -> Answer:
    """Recommend products to a member.

    Personal only while the member agrees to `personalisation`; otherwise what is popular in that
    store and channel, shown only with at least ten different people behind each product. The answer
    says which and why. What is sold out there, hidden or excluded is not shown, nor what was just
    bought; sensitive products neither count nor show without `sensitive_personalisation`. The
    shop's rules (`PUT /v1/merchandising/default`) have the last word on the order. With `Sec-GPC:
    1` it is never personal, whatever is on record, and the first time that refusal is recorded;
    otherwise nothing is written.
    """
    found = service.recommend(
        member_id,
        _question(query),
        gpc=is_signalled(request.environ),
        shelf=provided(Shelf),
        popularity=provided(Popularity),
        sources=provided(Sources),
        shelves=provided(Shelves),
        new_products=provided(NewProducts),
    )
    return answer({"member_id": member_id, **_shown(found)})


@blp.route("/recommendations/session", methods=["POST"])
@blp.requires("recommendations:read")
@blp.arguments(SessionSchema, example={"items": [{"sku": "oats-500"}], "channel": "web"})
@blp.response(200, ShownSchema, example={**_SHOWN, "reason": "session", "items": [_NEAR]})
@blp.raises()
def recommend_for_session(body: dict[str, Any]) -> Answer:
    """Recommend products that go with a list of items, without any member.

    Nothing is stored: send the items again with the next call. An item is something that was
    looked at unless its `kind` says otherwise. Sensitive products are passed over.
    """
    found = service.session(
        [Given(**each) for each in body["items"]],
        _question(body),
        shelf=provided(Shelf),
        popularity=provided(Popularity),
        sources=provided(Sources),
    )
    return answer(_shown(found))


@blp.route("/products/<sku>/similar")
@blp.requires("recommendations:read")
@blp.arguments(SimilarSchema, location="query")
@blp.response(
    200,
    ShownSchema,
    example={**_SHOWN, "personalised": False, "reason": "no_consent", "items": [_NEAR]},
)
@blp.raises(ProductNotFoundError)
def similar_products(query: dict[str, Any], sku: str) -> Answer:
    """List products that go with a product.

    Those that the same people buy, then what is popular in its category. Nobody's data is used.
    """
    found = service.similar(
        sku,
        _question(query),
        shelf=provided(Shelf),
        popularity=provided(Popularity),
        sources=provided(Sources),
    )
    return answer(_shown(found))


@blp.route("/model")
@blp.requires("recommendations:read")
@blp.response(200, ModelCardSchema, example=_CARD)
@blp.raises(NoModelError)
def show_model() -> Answer:
    """Read the card of the model that is served.

    When it was trained, how private it is, and how good on held-out baskets beside baselines.
    """
    served = provided(Shelf).served()
    if served is None:
        raise NoModelError
    try:
        meta = artefact.describe(provided(Settings).model_dir, served.version)
    except artefact.ArtefactError as error:
        # Served from memory, and its files are gone: the courier brings them back.
        raise NoModelError from error
    facts = meta["facts"]
    privacy = facts.get("privacy", facts)
    return {
        "version": served.version,
        "trained_at": datetime.fromtimestamp(meta["created_at"], UTC),
        "mode": privacy.get("mode", "plain"),
        "epsilon": privacy.get("epsilon"),
        "k": served.model.settings.people_min,
        "items": len(served.model.items),
        "places": len(served.model.popular) - 1,
        "weights": meta["weights"],
        "facts": facts,
    }
