"""The shapes of recommendations on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.catalogue.schemas import STORE_PATTERN, PriceSchema
from loyalty.kit.fields import Choice, Instant, Items, Moment, QueryItems, QueryWhole, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.program.document import channel_field
from recommend.reasons import CODES
from recommend.shared import INTERESTS_MAX
from recommend.taste import STRENGTHS

LIMIT_MAX = 100
CART_MAX = 50
EXCLUDED_MAX = 200
CHOSEN_MAX = 20
GIVEN_MAX = 200
GIVEN_KINDS = ("purchase", *(kind for kind in STRENGTHS if kind != "impression"))
_CART = "In the basket now: they go into the ranking and are not shown again."
_VIEWING = "The sku of the page that is open."
_INTEREST = "Categories that the person named as interests: they come first while nothing is known."
_CATEGORY = "Choose from these paths only, such as `Dairy`: all below them."


def _skus(length_max: int, description: str) -> QueryItems:
    return QueryItems(
        Text(64, length_min=0), length_max, metadata={"description": f"Skus. {description}"}
    )


class _PlaceSchema(Input):
    channel = channel_field(metadata={"description": "Where it will be shown."})
    store = Text(64, pattern=STORE_PATTERN, metadata={"description": "In which store."})
    limit = QueryWhole(1, LIMIT_MAX, load_default=10)


class WhereSchema(_PlaceSchema):
    """For which place and page, how many, and what not.

    A list is the name given several times, or once with commas between.
    """

    cart = _skus(CART_MAX, _CART)
    viewing = Text(64, metadata={"description": _VIEWING})
    # marshmallow takes declared fields off the class, so its own attribute is not touched.
    exclude = _skus(EXCLUDED_MAX, "Not to be shown.")  # type: ignore[assignment]
    category = QueryItems(Text(200, length_min=0), CHOSEN_MAX, metadata={"description": _CATEGORY})
    brand = QueryItems(
        Text(100, length_min=0), CHOSEN_MAX, metadata={"description": "Choose from these only."}
    )
    interest = QueryItems(
        Text(200, length_min=0), INTERESTS_MAX, metadata={"description": _INTEREST}
    )


class SimilarSchema(_PlaceSchema):
    """For which place, and how many."""


class GivenSchema(Input):
    """One item of a session."""

    sku = Text(64, required=True)
    kind = Choice(
        GIVEN_KINDS, load_default="view", metadata={"description": "What was done with it."}
    )
    at = Moment(metadata={"description": "When; now if absent."})


class SessionSchema(Input):
    """What somebody did in a session, on which page they are, and what to show."""

    items = Items(fields.Nested(GivenSchema), GIVEN_MAX, load_default=())
    channel = channel_field(metadata={"description": "Where it will be shown."})
    store = Text(64, pattern=STORE_PATTERN, metadata={"description": "In which store."})
    limit = Whole(1, LIMIT_MAX, load_default=10)
    cart = Items(Text(64), CART_MAX, load_default=(), metadata={"description": _CART})
    viewing = Text(64, metadata={"description": _VIEWING})
    exclude = Items(Text(64), EXCLUDED_MAX, load_default=())  # type: ignore[assignment]
    category = Items(Text(200), CHOSEN_MAX, load_default=(), metadata={"description": _CATEGORY})
    brand = Items(Text(100), CHOSEN_MAX, load_default=())
    interest = Items(Text(200), INTERESTS_MAX, load_default=(), metadata={"description": _INTEREST})


class RecommendedSchema(Output):
    """One product to show."""

    sku = fields.String(required=True)
    name = fields.String(allow_none=True, required=True)
    category = fields.String(allow_none=True, required=True)
    brand = fields.String(allow_none=True, required=True)
    price = fields.Nested(PriceSchema, allow_none=True, required=True)
    image_url = fields.String(allow_none=True, required=True)
    score = fields.Float(
        required=True, metadata={"description": "Before the shop's rules; compares in one answer."}
    )
    because = fields.String(
        required=True,
        metadata={"description": "For the customer to read, in the language of `Accept-Language`."},
    )
    reason_code = fields.String(required=True, metadata={"enum": list(CODES)})
    because_skus = fields.List(
        fields.String(), required=True, metadata={"description": "Of the member's own or the page."}
    )
    rules = fields.List(
        fields.String(),
        required=True,
        metadata={"description": "The shop's rules that touched it, such as `boost: own-brand`."},
    )


class ShownSchema(Output):
    """What to show, and whether and why it is personal."""

    personalised = fields.Boolean(required=True)
    reason = fields.String(
        required=True,
        metadata={
            "enum": [
                "consent",
                "no_consent",
                "no_history",
                "no_model",
                "browser_signal",
                "held_out",
                "session",
            ]
        },
    )
    model_version = fields.String(allow_none=True, required=True)
    recommendation_id = fields.String(
        required=True, metadata={"description": "For feedback on what is shown of it."}
    )
    experiment = fields.String(
        allow_none=True, required=True, metadata={"description": "That runs and has this member."}
    )
    variant = fields.String(allow_none=True, required=True)
    items = fields.List(fields.Nested(RecommendedSchema), required=True)


class RecommendationsSchema(ShownSchema):
    """The same, for a member."""

    member_id = fields.String(required=True)


class ModelCardSchema(Output):
    """What is known of the model that is served. Nothing of a person is in it."""

    version = fields.String(required=True)
    trained_at = Instant(required=True)
    mode = fields.String(required=True, metadata={"enum": ["plain", "dp"]})
    epsilon = fields.Float(
        allow_none=True, required=True, metadata={"description": "Of differential privacy."}
    )
    k = fields.Integer(
        required=True, metadata={"description": "Fewest different people behind anything shared."}
    )
    items = fields.Integer(required=True, metadata={"description": "Products that it holds."})
    places = fields.Integer(
        required=True, metadata={"description": "Stores and channels with a list of their own."}
    )
    weights = fields.Dict(keys=fields.String(), values=fields.Float(), required=True)
    facts = fields.Dict(
        keys=fields.String(),
        required=True,
        metadata={"description": "Figures on held-out baskets beside those of the baselines."},
    )
