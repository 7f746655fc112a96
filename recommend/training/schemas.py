"""The shapes of the model's report on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.kit.fields import Instant, Text
from loyalty.kit.schemas import Input, Output
from recommend.training.report import STATUSES

VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class WhichModelSchema(Input):
    """Which version."""

    version = Text(
        64, pattern=VERSION_PATTERN, metadata={"description": "The served one if absent."}
    )


class ModelFiguresSchema(Output):
    """How one way to rank did on members' held-out last baskets, each 0 to 1."""

    name = fields.String(required=True)
    recall = fields.Float(required=True)
    hit_rate = fields.Float(required=True)
    ndcg = fields.Float(required=True)
    members = fields.Integer(required=True)


class ModelRivalSchema(Output):
    """This model beside a rival, by recall on the same members."""

    rival = fields.String(required=True)
    ours = fields.Float(required=True)
    theirs = fields.Float(required=True)
    relative = fields.Float(required=True, metadata={"description": "(ours - theirs) / theirs."})
    low = fields.Float(required=True, metadata={"description": "95% interval of ours - theirs."})
    high = fields.Float(required=True)
    members = fields.Integer(required=True)


class ModelSchema(Output):
    """A version of the model in short."""

    version = fields.String(required=True)
    status = fields.String(required=True, metadata={"enum": list(STATUSES)})
    created_at = Instant(required=True)
    promoted_at = Instant(required=True, allow_none=True)
    rolled_back_at = Instant(required=True, allow_none=True)
    items = fields.Integer(required=True, metadata={"description": "Products that it holds."})
    members = fields.Integer(required=True, metadata={"description": "It was trained on."})
    baskets = fields.Integer(required=True)
    recall = fields.Float(required=True, allow_none=True)


class ModelsSchema(Output):
    """The versions that are kept, newest first."""

    models = fields.List(fields.Nested(ModelSchema), required=True)


class ModelReportSchema(ModelSchema):
    """What a training found, and whether it was promoted."""

    k = fields.Integer(required=True, metadata={"description": "Length of the lists compared."})
    seconds = fields.Float(required=True)
    trained_by = fields.String(required=True)
    previous = fields.String(
        required=True, allow_none=True, metadata={"description": "What was served at that time."}
    )
    privacy = fields.String(required=True)
    chosen_by = fields.String(required=True)
    weights = fields.Dict(required=True)
    settings = fields.Dict(required=True)
    metrics = fields.List(fields.Nested(ModelFiguresSchema), required=True)
    comparisons = fields.List(fields.Nested(ModelRivalSchema), required=True)
    reasons = fields.List(
        fields.String(), required=True, metadata={"description": "Why it was refused."}
    )
    notes = fields.List(fields.String(), required=True)
    readings = fields.Integer(
        required=True, metadata={"description": "2 if members withdrew while it was trained."}
    )
    withdrawn_meanwhile = fields.Integer(required=True)
    withdrawn_since = fields.Integer(
        required=True,
        metadata={"description": "Members behind it who withdrew or were erased since."},
    )
    findings = fields.Dict(required=True, metadata={"description": "Such as of an audit."})
