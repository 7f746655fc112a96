"""Compare sides fairly: many short rounds, taken in turn, and the median of the rounds' ratios.

What disturbs a machine for a second disturbs both sides of a round, so that their ratio stands.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.load import Seen

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Side:
    """One contestant: how to run one round of it, and whose CPU time to read meanwhile."""

    name: str
    run: Callable[[str], Seen]
    pids: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Round:
    """What one side did in one round; CPU in microseconds a call, by process group."""

    per_second: float
    latency_ms: float
    cpu_us: Mapping[str, float]


@dataclass
class Row:
    """One line of the results. `value` is ours, `peer` the other side's, in `unit`."""

    name: str
    value: float
    unit: str
    limited_by: str
    peer_name: str = ""
    peer: float | None = None
    ratio: float | None = None
    ratio_range: tuple[float, float] | None = None
    goal: str = ""
    is_met: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)


def in_turn(
    sides: Sequence[Side], rounds: int, advance: Callable[[], None]
) -> dict[str, list[Round]]:
    """Run every side once a round, forwards and backwards by turns.

    The order changes so that no side always runs on what the other one left behind.
    """
    seen: dict[str, list[Round]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            seen[side.name].append(_round(side, f"{number}{sides.index(side)}{os.getpid() % 1000}"))
            advance()
    return seen


def _round(side: Side, label: str) -> Round:
    before = {name: cpu_seconds(pids) for name, pids in side.pids.items()}
    seen = side.run(label)
    cpu_us = {
        name: round((cpu_seconds(pids) - before[name]) / seen.sent * 1e6)
        for name, pids in side.pids.items()
    }
    cpu_us["client"] = round(seen.cpu_seconds / seen.sent * 1e6)
    assert seen.answers, f"{side.name}: nothing came back"
    return Round(seen.per_second, median(seen.latencies_ms), cpu_us)


def cpu_seconds(pids: Sequence[int]) -> float:
    """The CPU time that processes have used so far, user and system, all threads."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS_PER_SECOND


def compare(
    name: str,
    ours: Sequence[Round],
    peer_name: str,
    theirs: Sequence[Round],
    *,
    unit: str,
    limited_by: str,
    goal: float | None = None,
) -> Row:
    """A row for two sides that ran in turn; the goal is a least ratio."""
    return compare_speeds(
        name,
        [each.per_second for each in ours],
        peer_name,
        [each.per_second for each in theirs],
        unit=unit,
        limited_by=limited_by,
        goal=goal,
        details={"ours": _details(ours), "peer": _details(theirs)},
    )


def compare_speeds(
    name: str,
    ours: Sequence[float],
    peer_name: str,
    theirs: Sequence[float],
    *,
    unit: str,
    limited_by: str,
    goal: float | None,
    details: dict[str, Any],
) -> Row:
    """A row out of speeds, round by round: the median of the ratios, and its middle half."""
    ratios = sorted(our / their for our, their in zip(ours, theirs, strict=True))
    ratio, quarter = median(ratios), len(ratios) // 4
    return Row(
        name=name,
        value=round(median(ours), 1),
        unit=unit,
        limited_by=limited_by,
        peer_name=peer_name,
        peer=round(median(theirs), 1),
        ratio=round(ratio, 3),
        ratio_range=(round(ratios[quarter], 3), round(ratios[-1 - quarter], 3)),
        goal=f">= {goal:.2g}" if goal else "",
        is_met=ratio >= goal if goal else None,
        details=details,
    )


def _details(rounds: Sequence[Round]) -> dict[str, Any]:
    groups = rounds[0].cpu_us
    return {
        "rounds": len(rounds),
        "per_second": [round(each.per_second, 1) for each in rounds],
        "median_latency_ms": round(median(each.latency_ms for each in rounds), 2),
        "cpu_us_per_call": {
            group: round(median(each.cpu_us[group] for each in rounds)) for group in groups
        },
    }


def memory_mib(pid: int) -> tuple[float, float]:
    """Resident and proportional memory of a process, in MiB."""
    sizes = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        sizes[name.rstrip(":")] = int(size) / 1024
    return round(sizes["Rss"], 1), round(sizes["Pss"], 1)
