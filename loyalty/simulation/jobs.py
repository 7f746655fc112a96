"""A simulation as a job: what is refused beforehand, and what its worker does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.kit.clock import now
from loyalty.simulation.model import question_of
from loyalty.simulation.result import body_of
from loyalty.simulation.service import period_of, simulate
from loyalty.versions.service import require_sound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.jobs.model import JobFunction, Report
    from loyalty.simulation.service import Sources
    from loyalty.versions.service import ProgramShelf

KIND = "simulation"


def check(body: Mapping[str, Any], *, at: datetime, shelf: ProgramShelf) -> None:
    """Refuse at once what the job would fail on.

    Raises:
        InvalidProgramError: the draft's parts do not fit together.
        EmptyPeriodError: the period ends before it begins.
        NoProgramError: nothing is published, so nothing was ever awarded.
    """
    require_sound(body["program"])
    period_of(question_of(body), at=at)
    shelf.at(at)


def job(sources: Sources) -> JobFunction:
    """The function that carries a simulation out. It only reads, so it may be begun again."""

    def run(params: Mapping[str, Any], report: Report) -> Mapping[str, Any]:
        found = simulate(question_of(params), at=now(), sources=sources, progress=report.progress)
        return body_of(found)

    return run
