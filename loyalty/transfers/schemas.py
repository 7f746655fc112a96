"""The shapes of transfers on the wire."""

from __future__ import annotations

from marshmallow import fields

from loyalty.journal.schemas import external_id_field
from loyalty.kit.fields import Whole
from loyalty.kit.schemas import Input, Output
from loyalty.members.schemas import PartySchema
from loyalty.program.document import POINTS_MAX, name_field


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
