"""The shapes of transfers on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.journal.schemas import external_id_field
from loyalty.kit.fields import Text, Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.model import MEMBER_ID_PATTERN
from loyalty.members.schemas import IdentifierSchema
from loyalty.program.document import POINTS_MAX, name_field

if TYPE_CHECKING:
    from collections.abc import Mapping


class PartySchema(Input):
    """One side of a transfer."""

    member = Text(34, pattern=MEMBER_ID_PATTERN)
    identifier = fields.Nested(IdentifierSchema)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": ["member"]}, {"required": ["identifier"]}]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """Exactly one of the two names the member."""
        if ("member" in data) == ("identifier" in data):
            raise ValidationError("Name the member by member or by identifier, not both.", "member")


class TransferSchema(Input):
    """Points that change hands."""

    external_id = external_id_field()
    giver = fields.Nested(PartySchema, required=True)
    receiver = fields.Nested(PartySchema, required=True)
    points = Whole(1, POINTS_MAX, required=True)
    unit = name_field(metadata={"description": "Which point currency; `points` if absent."})


class TransferredSchema(Output):
    """What the giver has left. The receiver's balance is the receiver's own business."""

    entry_id = fields.String(required=True)
    giver_id = fields.String(required=True)
    receiver_id = fields.String(required=True)
    points = fields.Integer(required=True)
    unit = fields.String(required=True)
    balance = fields.Integer(required=True, metadata={"description": "The giver's, after it."})
