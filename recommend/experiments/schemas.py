"""The shapes of experiments on the wire."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.kit.fields import Choice, Instant, Items, Moment, Strict, Text, Whole
from loyalty.kit.schemas import Input, Output
from recommend.experiments.model import (
    METRICS,
    SERVES,
    SLOTS,
    STATUSES,
    VARIANTS_MAX,
)
from recommend.feedback.model import NAME_PATTERN
from recommend.model import Weights

WINDOW_DAYS_MAX = 90
_VERSION_PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
_PARTS = tuple(each.name for each in dataclasses.fields(Weights))


class _Weights(Strict, fields.Dict):
    """The weight of each part of the model by its name."""

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "minProperties": 1,
        "propertyNames": {"enum": list(_PARTS)},
        "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1000},
    }

    def read(self, value: Any) -> dict[str, float]:  # noqa: ANN401  # the signature of the field
        """The weights as they are."""
        if type(value) is not dict or not value:
            raise ValidationError("Must be an object with a weight for one part or more.")
        for part, weight in value.items():
            if part not in _PARTS:
                raise ValidationError({part: [f"Must be one of: {', '.join(_PARTS)}."]})
            if type(weight) not in (int, float) or not 0 <= weight <= 1000:  # noqa: PLR2004
                raise ValidationError({part: ["Must be a number between 0 and 1000."]})
        return value


class VariantSchema(Input):
    """One way to answer."""

    name = Text(64, pattern=NAME_PATTERN, required=True)
    share = Whole(0, SLOTS, required=True, metadata={"description": "Of all members, in per cent."})
    model_version = Text(64, pattern=_VERSION_PATTERN, allow_none=True)
    weights = _Weights(allow_none=True, metadata={"description": "Of the model's parts."})
    rules_set = Text(64, pattern=NAME_PATTERN, allow_none=True)
    serve = Choice(
        SERVES,
        load_default="model",
        metadata={"description": "`popular` and `nothing` are for a group that is held out."},
    )


class ExperimentWriteSchema(Input):
    """What an experiment is to be. The first variant is the control."""

    variants = Items(fields.Nested(VariantSchema), VARIANTS_MAX, length_min=2, required=True)
    metric = Choice(METRICS, load_default="conversion")
    window_days = Whole(1, WINDOW_DAYS_MAX, load_default=14)
    status = Choice(STATUSES, load_default="draft")
    starts_at = Moment(allow_none=True, load_default=None)
    ends_at = Moment(allow_none=True, load_default=None)
    salt = Text(64, length_min=8, metadata={"description": "A fresh one, if absent."})


class VariantShownSchema(Output):
    """One way to answer."""

    name = fields.String(required=True)
    share = fields.Integer(required=True)
    model_version = fields.String(allow_none=True, required=True)
    weights = fields.Dict(allow_none=True, required=True)
    rules_set = fields.String(allow_none=True, required=True)
    serve = fields.String(required=True, metadata={"enum": list(SERVES)})


class ExperimentSchema(Output):
    """An experiment."""

    name = fields.String(required=True)
    variants = fields.List(fields.Nested(VariantShownSchema), required=True)
    metric = fields.String(required=True, metadata={"enum": list(METRICS)})
    window_days = fields.Integer(required=True)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    salt = fields.String(required=True)
    starts_at = Instant(allow_none=True, required=True)
    ends_at = Instant(allow_none=True, required=True)
    created_at = Instant(allow_none=True, required=True)
    started_at = Instant(allow_none=True, required=True)
    stopped_at = Instant(allow_none=True, required=True)


class ExperimentsSchema(Output):
    """All experiments, by name."""

    experiments = fields.List(fields.Nested(ExperimentSchema), required=True)


class VariantComparisonSchema(Output):
    """What a variant has more than the control."""

    difference = fields.Float(required=True)
    low = fields.Float(required=True, metadata={"description": "95%, right for one look."})
    high = fields.Float(required=True)
    always_low = fields.Float(
        required=True, metadata={"description": "95%, right however often one looks."}
    )
    always_high = fields.Float(required=True)
    p_value = fields.Float(required=True)
    more_members = fields.Integer(
        allow_none=True,
        required=True,
        metadata={"description": "How many more would show a difference of this size."},
    )


class ComparedSchema(Output):
    """By metric; null where too few members stand behind it."""

    click_through = fields.Nested(VariantComparisonSchema, allow_none=True, required=True)
    conversion = fields.Nested(VariantComparisonSchema, allow_none=True, required=True)
    revenue = fields.Nested(VariantComparisonSchema, allow_none=True, required=True)


class OutcomeSchema(Output):
    """What one variant has shown. Counts of fewer than ten members are null."""

    name = fields.String(required=True)
    share = fields.Integer(required=True)
    members = fields.Integer(allow_none=True, required=True)
    impressions = fields.Integer(allow_none=True, required=True)
    clicks = fields.Integer(allow_none=True, required=True)
    click_through = fields.Float(allow_none=True, required=True)
    converted = fields.Integer(
        allow_none=True,
        required=True,
        metadata={"description": "Members who bought a product after it was shown to them."},
    )
    conversion = fields.Float(allow_none=True, required=True)
    buyers = fields.Integer(
        allow_none=True, required=True, metadata={"description": "Who bought anything."}
    )
    revenue = fields.Float(
        allow_none=True, required=True, metadata={"description": "Minor units a member."}
    )
    compared = fields.Nested(ComparedSchema, allow_none=True, required=True)
    verdict = fields.String(required=True)


class ResultsSchema(Output):
    """What an experiment has shown so far."""

    experiment = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    metric = fields.String(required=True, metadata={"enum": list(METRICS)})
    as_of = Instant(required=True)
    mismatch_p = fields.Float(
        allow_none=True,
        required=True,
        metadata={"description": "How likely this spread of members is; null if shares changed."},
    )
    is_mismatched = fields.Boolean(required=True)
    crossed = fields.Integer(allow_none=True, required=True)
    variants = fields.List(fields.Nested(OutcomeSchema), required=True)
    verdict = fields.String(required=True)
