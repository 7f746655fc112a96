"""The shapes of rules of retention on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.kit.fields import Flag, Items, Moment, Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.retention.model import BOUNDS

_ENGAGEMENT = Text(64, pattern="^[a-z][a-z0-9_-]*$", form="a kind of engagement")


class _RulesIn(Input):
    """All rules; who leaves one out is told."""

    passive_engagements = Items(
        _ENGAGEMENT,
        50,
        required=True,
        metadata={"description": "Kinds of engagement that do not keep a member, such as opens."},
    )


RulesWriteSchema = _RulesIn.from_dict(
    {
        name: Whole(
            bound.minimum, bound.maximum, required=True, metadata={"description": bound.text}
        )
        for name, bound in BOUNDS.items()
    },
    name="RulesWriteSchema",
)


class _RulesOut(Output):
    """All rules, and who set them."""

    passive_engagements = fields.List(fields.String(), required=True)
    changed_at = Moment(allow_none=True, required=True)
    changed_by = fields.String(allow_none=True, required=True)


RulesSchema = _RulesOut.from_dict(
    {
        name: fields.Integer(required=True, metadata={"description": bound.text})
        for name, bound in BOUNDS.items()
    },
    name="RulesSchema",
)


class RunSchema(Input):
    """Whether to write."""

    dry_run = Flag(load_default=False, metadata={"description": "Count only."})
