"""The shapes of feedback on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError, fields

from loyalty.batches.schemas import LineProblemSchema
from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.kit.fields import Choice, Items, Moment, Strict, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.members.schemas import IdentifierSchema
from loyalty.program.document import channel_field
from recommend.feedback.model import (
    EVENTS_MAX,
    IMPRESSION,
    KINDS,
    NAME_PATTERN,
    RECOMMENDATION_PATTERN,
    SKUS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class EventSchema(Input):
    """One thing that a member did on a product, or was shown."""

    id = Text(
        128,
        metadata={
            "description": "Your own id: the event is kept once under it. May be left out where "
            "the request has an `Idempotency-Key`.",
        },
    )
    member = Text(34, pattern=MEMBER_ID_PATTERN)
    identifier = fields.Nested(IdentifierSchema)
    kind = Choice(KINDS, required=True)
    sku = Text(64, metadata={"examples": ["milk-1l"]})
    skus = Items(
        Text(64), SKUS_MAX, length_min=1, metadata={"description": "A list that was shown."}
    )
    stars = Whole(1, 5, metadata={"description": "Of a review."})
    at = Moment(metadata={"description": "Now, if absent."})
    channel = channel_field(required=True, metadata={"examples": ["web"]})
    store = Text(64, pattern=STORE_PATTERN)
    placement = Text(
        64, pattern=NAME_PATTERN, metadata={"description": "Your word for the place on the page."}
    )
    recommendation_id = Text(
        160,
        pattern=RECOMMENDATION_PATTERN,
        metadata={"description": "Of the answer that was shown; it names experiment and variant."},
    )
    experiment = Text(64, pattern=NAME_PATTERN)
    variant = Text(64, pattern=NAME_PATTERN)

    def check(self, data: Mapping[str, Any]) -> None:
        """One product or a list, stars of a review only, a variant of an experiment."""
        # Who is held out is shown nothing, and that is an exposure, too.
        is_exposure = data.get("kind") == IMPRESSION and bool(
            {"experiment", "recommendation_id"} & data.keys()
        )
        named = ("sku" in data) + ("skus" in data)
        if named != 1 and not (is_exposure and named == 0):
            raise ValidationError("Name the product by sku, or several by skus.", "sku")
        if "stars" in data and data.get("kind") != "review":
            raise ValidationError("Only a review has stars.", "stars")
        if ("experiment" in data) != ("variant" in data):
            raise ValidationError("Experiment and variant come together.", "variant")
        if "member" in data and "identifier" in data:
            raise ValidationError("Name the member by member or by identifier, not both.", "member")


class _OneByOne(Strict, fields.Nested):
    """An object that is read later, by itself: what is wrong with one is no other's fault."""

    def read(self, value: Any) -> Any:  # noqa: ANN401  # the signature of the field
        """The object as it came."""
        if type(value) is not dict:
            raise ValidationError("Must be an object.")
        return value


class FeedbackSchema(Input):
    """What members did, several events at a time."""

    events = Items(_OneByOne(EventSchema), EVENTS_MAX, length_min=1, required=True)


class FeedbackVerdictSchema(Output):
    """What became of one event."""

    event = fields.Integer(required=True, metadata={"description": "Its place, from 0."})
    id = fields.String(allow_none=True, required=True)
    status = fields.String(
        required=True, metadata={"enum": ["recorded", "replayed", "not_recorded", "refused"]}
    )
    reason = fields.String(
        metadata={
            "enum": ["no_consent", "browser_signal", "sensitive"],
            "description": "Why it may not be kept.",
        }
    )
    problem = fields.Nested(LineProblemSchema)


class FeedbackVerdictsSchema(Output):
    """A verdict an event, in their order, and how many of each."""

    recorded = fields.Integer(required=True)
    replayed = fields.Integer(required=True)
    not_recorded = fields.Integer(required=True)
    refused = fields.Integer(required=True)
    verdicts = fields.List(fields.Nested(FeedbackVerdictSchema), required=True)
