"""The rules of a batch, pure: its limits, the till's clock, verdicts, and missing numbers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from loyalty.journal.model import PurchaseNotFoundError
from loyalty.kit.errors import (
    CarnetError,
    ConflictError,
    FieldError,
    MalformedError,
    TooLargeError,
    UnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

LINES_MAX = 10_000
LINE_BYTES_MAX = 65_536
# Returns that came before their purchase and are tried again when all else is done.
WAITING_MAX = 1000
# What the way here and a clock that is kept right explain: below it no time is touched.
CLOCK_NOISE = timedelta(seconds=5)
# A wrong time zone is 14 hours at most. A clock further off has stopped or was set in between.
CLOCK_OFFSET_MAX = timedelta(hours=24)
TILLS_MAX = 100
RANGES_MAX = 100


class ClockImplausibleError(ConflictError):
    """The till's clock is so far off that its times cannot be corrected by it."""

    code = "clock_implausible"
    title = "The till's clock is too far off"


class IncompleteBodyError(MalformedError):
    """The connection ended before the body did; nothing was recorded."""

    code = "incomplete_body"
    title = "The body ended before it was complete"


class MalformedLineError(MalformedError):
    """A line is not a JSON object."""

    code = "malformed_line"
    title = "The line is not a JSON object"


class LineTooLongError(TooLargeError):
    """A line is above the limit."""

    code = "line_too_long"
    title = "The line is too long"


class TooManyLinesError(TooLargeError):
    """There are more lines than a batch may have; this one and the rest were not read."""

    code = "too_many_lines"
    title = "The batch has too many lines"


class BatchesBusyError(UnavailableError):
    """As many batches are being worked on as leave room for the tills that are online."""

    code = "batches_busy"
    title = "Too many batches at once"
    retry_after_seconds: ClassVar[int] = 5


class InternalError(CarnetError):
    """A fault of ours at this one line."""

    code = "internal_error"
    title = "Something went wrong on our side"


# What may be otherwise when the line is sent again.
_PASSING = (UnavailableError, PurchaseNotFoundError, InternalError)


class Verdict(NamedTuple):
    """What became of one line: an entry, or a refusal.

    `at` is when it happened by our clock; `sequence` is None where the line has none.
    """

    line: int
    sequence: int | None
    status: str
    entry_id: str = ""
    points: int = 0
    balance: int = 0
    at: datetime | None = None
    error: CarnetError | None = None

    @property
    def may_retry(self) -> bool:
        """Whether the same line may be recorded when it is sent again later."""
        return isinstance(self.error, _PASSING)


def refused(line: int, sequence: int | None, error: CarnetError) -> Verdict:
    """The verdict of a line that was not recorded."""
    return Verdict(line, sequence, "refused", error=error)


def clock_offset(clock: datetime | None, at: datetime) -> timedelta:
    """What to add to the till's times so that they are ours.

    Args:
        clock: what the till's clock says as it uploads; None if it does not say.
        at: what ours says.

    Raises:
        ClockImplausibleError: the difference is more than a wrong zone explains.
    """
    offset = at - clock if clock else timedelta()
    if abs(offset) > CLOCK_OFFSET_MAX:
        hours = CLOCK_OFFSET_MAX // timedelta(hours=1)
        mistake = FieldError("Carnet-Clock", f"Is more than {hours} hours off.")
        raise ClockImplausibleError(mistake.message, errors=(mistake,))
    return offset if abs(offset) > CLOCK_NOISE else timedelta()


class Till(NamedTuple):
    """Who counts: a terminal of a store, or of none."""

    store: str
    terminal: str


class Gaps(NamedTuple):
    """What the numbers of one till say.

    Attributes:
        till: which.
        first: the lowest number of this batch.
        last: the highest.
        missing: ranges of numbers that never came, both ends included; at most `RANGES_MAX`.
        missing_count: how many numbers are missing in all.
        repeated_count: how many lines had a number that another line of this batch had.
        earlier_count: how many numbers are not above the highest of the batches before.
    """

    till: Till
    first: int
    last: int
    missing: Sequence[tuple[int, int]]
    missing_count: int
    repeated_count: int
    earlier_count: int


class Numbers:
    """The numbers that came of each till in one batch. Bounded by the lines of a batch."""

    def __init__(self) -> None:
        self._came: dict[Till, set[int]] = {}
        self._lines: dict[Till, int] = {}

    def note(self, till: Till, sequence: int) -> None:
        """A line came with this number; beyond `TILLS_MAX` tills nobody is noted any more."""
        if till in self._came or len(self._came) < TILLS_MAX:
            self._came.setdefault(till, set()).add(sequence)
            self._lines[till] = self._lines.get(till, 0) + 1

    @property
    def highest(self) -> dict[Till, int]:
        """The highest number of each till so far."""
        return {till: max(came) for till, came in self._came.items()}

    def gaps(self, before: Mapping[Till, int]) -> list[Gaps]:
        """What the numbers say, till by till.

        Args:
            before: the highest number that came in earlier batches, of the tills that are known.
        """
        return [self._gaps(till, before.get(till)) for till in self._came]

    def _gaps(self, till: Till, before: int | None) -> Gaps:
        came = sorted(self._came[till])
        new = came if before is None else [each for each in came if each > before]
        missing = missing_between(new if before is None else [before, *new])
        return Gaps(
            till,
            first=came[0],
            last=came[-1],
            missing=missing[:RANGES_MAX],
            missing_count=sum(end - begin + 1 for begin, end in missing),
            repeated_count=self._lines[till] - len(came),
            earlier_count=len(came) - len(new),
        )


def missing_between(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """The ranges between ascending numbers, both ends included."""
    ranges = []
    last: int | None = None
    for each in numbers:
        if last is not None and each > last + 1:
            ranges.append((last + 1, each - 1))
        last = each
    return ranges
