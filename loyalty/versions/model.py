"""A published version, and why one may be refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty.kit.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class InvalidProgramError(ConflictError):
    """The parts of the document do not fit together; `errors` names each place."""

    code = "invalid_program"
    title = "The programme has a mistake"


class PastStartError(ConflictError):
    """A version may not begin in the past: what was awarded stays as it was."""

    code = "starts_in_the_past"
    title = "A version cannot start in the past or before its predecessor"


class NoProgramError(ConflictError):
    """Nothing is awarded before the first programme is published."""

    code = "no_program"
    title = "No programme is published yet"


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable version of the programme's document and the time from which it rules.

    The first version rules from the beginning of time, so that a shop's past can be imported.
    """

    number: int
    document: Mapping[str, Any]
    starts_at: datetime
    published_at: datetime
    published_by: str
    request_key: str | None = None
    fingerprint: str = ""
