"""Bars of yes and no over time, as the numbers that a picture needs. Pure.

One picture a purpose and channel: a bar up for what was granted, a bar down for what was not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loyalty.counts.model import Period

WIDTH = 720.0
HALF = 60.0
GAP_SHARE = 0.2


class Bar(NamedTuple):
    """One period: where its bars stand, in the picture's units, and what they say."""

    x: float
    width: float
    up: float
    down: float
    title: str


class Chart(NamedTuple):
    """One purpose and channel. `highest` is the number that reaches the edge."""

    name: str
    granted: int
    refused: int
    highest: int
    bars: list[Bar]


def charts_of(periods: Sequence[Period]) -> list[Chart]:
    """A chart for each purpose and channel about which anything was decided."""
    names = {(cell.purpose, cell.channel) for each in periods for cell in each.counts}
    ordered = sorted(names, key=lambda name: (name[0], name[1] or ""))
    return [_chart(purpose, channel, periods) for purpose, channel in ordered]


def _chart(purpose: str, channel: str | None, periods: Sequence[Period]) -> Chart:
    pairs = [_pair(each, purpose, channel) for each in periods]
    highest = max(max(pair) for pair in pairs)
    slot = WIDTH / len(periods)
    bars = [
        Bar(
            round(number * slot + slot * GAP_SHARE / 2, 2),
            round(slot * (1 - GAP_SHARE), 2),
            round(HALF * yes / highest, 2),
            round(HALF * no / highest, 2),
            f"{_days(period)}: {yes} granted, {no} not",
        )
        for number, (period, (yes, no)) in enumerate(zip(periods, pairs, strict=True))
    ]
    name = purpose.replace("_", " ").capitalize() + (f": {channel}" if channel else "")
    granted, refused = (sum(pair[side] for pair in pairs) for side in (0, 1))
    return Chart(name, granted, refused, highest, bars)


def _pair(period: Period, purpose: str, channel: str | None) -> tuple[int, int]:
    mine = {
        cell: number
        for cell, number in period.counts.items()
        if (cell.purpose, cell.channel) == (purpose, channel)
    }
    yes = sum(number for cell, number in mine.items() if cell.is_given)
    return yes, sum(mine.values()) - yes


def _days(period: Period) -> str:
    if period.first == period.last:
        return period.first.isoformat()
    return f"{period.first.isoformat()} to {period.last.isoformat()}"
