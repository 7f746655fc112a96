"""Where the bars and lines of a report stand in a picture 100 wide, as pure numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from recommend.report.model import Chart, Curve, Line, Mark

WIDTH = 100.0
HEIGHT = 50.0
TICKS_MAX = 10


class Placed(NamedTuple):
    """One bar: its width, where its interval begins and ends (None without), and what it says."""

    label: str
    text: str
    mark: Mark
    width: float
    low: float | None
    high: float | None


class Drawn(NamedTuple):
    """One line as points of an SVG polyline, and its last value."""

    label: str
    mark: Mark
    points: str
    last: float


class Axes(NamedTuple):
    """A curve: its lines, the value at the upper edge and the places named below."""

    lines: list[Drawn]
    highest: float
    ticks: list[int]


def bars_of(chart: Chart) -> list[Placed]:
    """Bars in one scale: the longest bar or interval reaches the edge."""
    ends = [end for bar in chart.bars for end in (bar.value, bar.high or 0.0)]
    scale = WIDTH / (max(ends, default=0.0) or 1.0)

    def at(value: float | None) -> float | None:
        return None if value is None else round(max(value, 0.0) * scale, 2)

    return [
        Placed(bar.label, bar.text, bar.mark, at(bar.value) or 0.0, at(bar.low), at(bar.high))
        for bar in chart.bars
    ]


def axes_of(curve: Curve) -> Axes:
    """Lines in one scale, the first place at the left edge and the last at the right."""
    highest = max((value for line in curve.lines for value in line.values), default=0.0)
    places = max((len(line.values) for line in curve.lines), default=0)
    drawn = [_drawn(line, places, highest or 1.0) for line in curve.lines if line.values]
    step = max(1, -(-places // TICKS_MAX))
    return Axes(
        drawn,
        highest,
        [1, *range(step, places + 1, step)] if step > 1 else list(range(1, places + 1)),
    )


def _drawn(line: Line, places: int, highest: float) -> Drawn:
    across = WIDTH / max(places - 1, 1)
    points = " ".join(
        f"{round(n * across, 2)},{round(HEIGHT * (1 - value / highest), 2)}"
        for n, value in enumerate(line.values)
    )
    return Drawn(line.label, line.mark, points, line.values[-1])
