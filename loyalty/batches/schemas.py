"""The shapes of a batch's lines and of its answer's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from marshmallow import ValidationError, fields

from loyalty.journal.schemas import EngagementSchema, PurchaseSchema, ReturnSchema
from loyalty.kit.fields import Choice, Instant, Moment, Text, Whole
from loyalty.kit.http import FieldErrorSchema
from loyalty.kit.schemas import Input, Output

if TYPE_CHECKING:
    from collections.abc import Mapping

TERMINAL_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$"
SEQUENCE_MAX = 2**53 - 1


class _BatchLineSchema(Input):
    terminal = Text(
        64,
        pattern=TERMINAL_PATTERN,
        metadata={
            "description": "Which till of the store; `Carnet-Terminal` if absent.",
            "examples": ["till-3"],
        },
    )
    sequence = Whole(
        1,
        SEQUENCE_MAX,
        metadata={
            "description": "The till's own count of its lines, so that a missing one is noticed."
        },
    )
    at = Moment(
        metadata={
            "description": "When it happened, by the till's clock. Instead of `body.occurred_at`; "
            "one of the two is needed."
        }
    )

    def check(self, data: Mapping[str, Any]) -> None:
        """A line that waited somewhere says when it happened, once."""
        if ("at" in data) == ("occurred_at" in data["body"]):
            raise ValidationError("Say when it happened by at or by body.occurred_at.", "at")


class BatchPurchaseSchema(_BatchLineSchema):
    """A line with a purchase."""

    type = Choice(("purchase",), required=True)
    body = fields.Nested(
        PurchaseSchema, required=True, metadata={"description": "As for POST /purchases."}
    )


class BatchReturnSchema(_BatchLineSchema):
    """A line with a return."""

    type = Choice(("return",), required=True)
    body = fields.Nested(
        ReturnSchema, required=True, metadata={"description": "As for POST /returns."}
    )


class BatchEngagementSchema(_BatchLineSchema):
    """A line with an engagement."""

    type = Choice(("engagement",), required=True)
    body = fields.Nested(
        EngagementSchema, required=True, metadata={"description": "As for POST /engagements."}
    )


class LineProblemSchema(Output):
    """Why a line was refused: what the single call would have said."""

    code = fields.String(required=True, metadata={"description": "Stable: branch on this."})
    title = fields.String(required=True)
    status = fields.Integer(
        required=True, metadata={"description": "The single call's HTTP status."}
    )
    detail = fields.String(required=True)
    errors = fields.List(fields.Nested(FieldErrorSchema))


class VerdictSchema(Output):
    """What became of one line."""

    line = fields.Integer(required=True, metadata={"description": "From 1, blank ones counted."})
    sequence = fields.Integer(metadata={"description": "As the line says."})
    status = fields.String(required=True, metadata={"enum": ["recorded", "replayed", "refused"]})
    entry_id = fields.String()
    points = fields.Integer(metadata={"description": "Gained, or lost below 0."})
    balance = fields.Integer(metadata={"description": "To be spent right after this line."})
    occurred_at = Instant(metadata={"description": "By our clock."})
    problem = fields.Nested(LineProblemSchema)
    retry = fields.Boolean(
        metadata={"description": "Of a refused line: whether sending it again later may help."}
    )


class TillSchema(Output):
    """What the numbers of one till say."""

    store = fields.String(allow_none=True, required=True)
    terminal = fields.String(required=True)
    first = fields.Integer(required=True)
    last = fields.Integer(required=True)
    missing = fields.List(
        fields.List(fields.Integer()),
        required=True,
        metadata={"description": "Ranges that never came, both ends included; at most 100."},
    )
    missing_count = fields.Integer(required=True)
    repeated_count = fields.Integer(
        required=True, metadata={"description": "Lines whose number another line had."}
    )
    earlier_count = fields.Integer(
        required=True,
        metadata={"description": "Numbers not above the highest of the batches before."},
    )


class SummarySchema(Output):
    """The counts of a batch."""

    lines = fields.Integer(required=True, metadata={"description": "Verdicts given."})
    recorded = fields.Integer(required=True)
    replayed = fields.Integer(required=True)
    refused = fields.Integer(required=True)
    retry = fields.Integer(
        required=True, metadata={"description": "How many of the refused may be sent again."}
    )
    clock_offset_seconds = fields.Float(
        required=True, metadata={"description": "What was added to each of the till's times."}
    )
    gaps = fields.Integer(required=True, metadata={"description": "Numbers missing in all."})
    tills = fields.List(fields.Nested(TillSchema), required=True)


class BatchSummarySchema(Output):
    """The last line of the answer. Without it the answer was cut: send the batch again."""

    summary = fields.Nested(SummarySchema, required=True)
