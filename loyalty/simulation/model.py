"""What is asked of a simulation, and what may stand in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty.kit.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

# Values that stand on fewer members are not told: they would be about persons.
MEMBERS_BESIDE_MIN = 10
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
SEED_CHARS_MAX = 40
SAMPLE_MEMBERS_MAX = 10_000_000


class EmptyPeriodError(ConflictError):
    """The period ends before it begins."""

    code = "empty_period"
    title = "The period is empty"


@dataclass(frozen=True, slots=True)
class Question:
    """What to simulate.

    Args:
        document: the draft, as its schema loads it.
        starts_at: from when; None for the beginning of the journal.
        ends_at: before when; None for the moment at which it is carried out.
        members: look at so many members at most.
        percent: look at so many of a hundred.
        seed: another one draws another sample.
        worth: minor units for so many points of the main unit, in place of the programmes' own.
    """

    document: Mapping[str, Any]
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    members: int | None = None
    percent: int = 100
    seed: str = ""
    worth: tuple[int, int] | None = None

    @property
    def is_sampled(self) -> bool:
        """Whether not all members are looked at."""
        return self.members is not None or self.percent < 100  # noqa: PLR2004  # per cent


def question_of(body: Mapping[str, Any]) -> Question:
    """The question of a request's body, as its schema loads it, or of a job's parameters."""
    sample = body.get("sample", {})
    worth = body.get("worth")
    return Question(
        document=body["program"],
        starts_at=body.get("starts_at"),
        ends_at=body.get("ends_at"),
        members=sample.get("members"),
        percent=sample.get("percent", 100),
        seed=sample.get("seed", ""),
        worth=(worth["amount"], worth["points"]) if worth else None,
    )
