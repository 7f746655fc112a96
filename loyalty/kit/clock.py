"""The one place that reads the clock. Times are aware, in UTC, at the millisecond MongoDB keeps."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment in UTC, cut to the millisecond."""
    return to_millisecond(datetime.now(UTC))


def to_millisecond(moment: datetime) -> datetime:
    """The same moment in UTC without the microseconds that MongoDB would drop."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)
