"""What is asked of a simulation over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import ValidationError, fields

from loyalty.kit.fields import Moment, Text, Whole
from loyalty.kit.schemas import Input
from loyalty.program.document import ProgramSchema
from loyalty.program.units_document import UnitWorthSchema
from loyalty.simulation.model import SAMPLE_MEMBERS_MAX, SEED_CHARS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping


class SampleSchema(Input):
    """Whom to look at: at most so many members, or so many of a hundred."""

    members = Whole(1, SAMPLE_MEMBERS_MAX)
    percent = Whole(1, 100)
    seed = Text(
        SEED_CHARS_MAX,
        pattern="^[A-Za-z0-9_-]+$",
        metadata={"description": "The same seed draws the same members."},
    )

    extra_json_schema: ClassVar[dict[str, Any]] = {"not": {"required": ["members", "percent"]}}

    def check(self, data: Mapping[str, Any]) -> None:
        """One way to say how many."""
        if "members" in data and "percent" in data:
            raise ValidationError({"percent": ["Give either members or percent."]})


class SimulationSchema(Input):
    """A draft to run over the past."""

    program = fields.Nested(ProgramSchema, required=True)
    starts_at = Moment(metadata={"description": "The beginning of the journal if absent."})
    ends_at = Moment(metadata={"description": "Now if absent."})
    sample = fields.Nested(SampleSchema)
    worth = fields.Nested(
        UnitWorthSchema,
        metadata={"description": "What points cost, in place of the worth in the programmes."},
    )
