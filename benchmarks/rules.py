"""How the cost of `step` grows with the number of rules, beside the simplest loop over them."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.measure import Row
from loyalty.journal.codec import activity_of
from loyalty.program.document import ProgramSchema, check, read
from loyalty.program.model import State
from loyalty.program.step import step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.cases import Size
    from benchmarks.stage import Stage
    from loyalty.program.model import Activity, Program

COUNTS = (1, 10, 100)
ROUNDS = 7
# What a rule that cannot match may cost beside one that pays.
UNMATCHED_GOAL = 0.1


class _Simple(NamedTuple):
    """A rule of the simplest loop."""

    id: str
    skus: frozenset[str]
    points: int


class _Measured(NamedTuple):
    """Microseconds an activity: of `step`, and of the simplest loop that pays the same points."""

    ours: float
    simplest: float


def growth(stage: Stage, _: Size, advance: Callable[[], None]) -> list[Row]:
    """`step` with 1, 10 and 100 rules that all pay, and with as many that never can."""
    history = _history(stage)
    skus = _frequent(history)
    paying = {count: _measure(count, skus, history) for count in COUNTS}
    advance()
    idle = {count: _measure(count, ["no such sku"], history) for count in COUNTS}
    advance()
    few, many = COUNTS[0], COUNTS[-1]
    a_rule = (paying[many].ours - paying[few].ours) / (many - few)
    unmatched = (idle[many].ours - idle[few].ours) / (many - few)
    rows = [
        Row(
            name=f"step(), {count} rules that pay",
            value=round(paying[count].ours, 1),
            unit="µs/activity",
            limited_by="a posting each: its words, numbers and place on the receipt",
            peer_name="the simplest loop over the same rules and lines",
            peer=round(paying[count].simplest, 1),
            ratio=round(paying[count].ours / paying[count].simplest, 2),
            goal="at most linear" if count > few else "",
            is_met=paying[count].ours <= count * paying[few].ours if count > few else None,
        )
        for count in COUNTS
    ]
    rows.append(
        Row(
            name="step(), a rule that cannot match",
            value=round(unmatched, 2),
            unit="µs/rule",
            limited_by="one look at the basket's skus",
            peer_name="a rule that pays",
            peer=round(a_rule, 2),
            ratio=round(unmatched / a_rule, 3),
            goal=f"{UNMATCHED_GOAL:.0%} at most",
            is_met=unmatched <= UNMATCHED_GOAL * a_rule,
            details={str(count): round(idle[count].ours, 1) for count in COUNTS},
        )
    )
    return rows


def _history(stage: Stage) -> list[Activity]:
    """The purchases of the member with the most of them."""
    entries = [list(stage.parts.journal.entries(member)) for member in stage.members]
    longest = max(entries, key=len)
    return [activity_of(entry) for entry in longest if entry.kind == "purchase"]


def _frequent(history: Sequence[Activity]) -> list[str]:
    return sorted({line.sku for activity in history for line in activity.lines})


def _measure(count: int, skus: Sequence[str], history: Sequence[Activity]) -> _Measured:
    rules = [
        {"id": f"r{number}", "type": "fixed", "points": 5, "per": "basket", "only": {"skus": skus}}
        for number in range(count)
    ]
    program = _program(rules)
    loops = [_Simple(f"r{number}", frozenset(skus), 5) for number in range(count)]
    told = [posting for activity in history for posting in _simplest(loops, activity)]
    assert _points(program, history) == sum(posting["points"] for posting in told)
    ours = _seconds(lambda: _fold(program, history))
    simplest = _seconds(lambda: [_simplest(loops, activity) for activity in history])
    return _Measured(ours / len(history) * 1e6, simplest / len(history) * 1e6)


def _program(rules: Sequence[dict[str, Any]]) -> Program:
    document: Any = ProgramSchema().load(
        {
            "name": "Benchmark",
            "currency": "USD",
            "channels": ["store", "web", "app", "call_centre", "social"],
            "rules": list(rules),
        }
    )
    check(document)
    return read(document, version=1)


def _points(program: Program, history: Sequence[Activity]) -> int:
    return _fold(program, history).balance


def _fold(program: Program, history: Sequence[Activity]) -> State:
    state = State()
    for activity in history:
        state, _ = step(program, state, activity)
    return state


def _simplest(rules: Sequence[_Simple], activity: Activity) -> list[dict[str, Any]]:
    """What anybody would write first: what each rule pays and for which lines, and no more."""
    postings = []
    for rule in rules:
        lines = [place for place, line in enumerate(activity.lines) if line.sku in rule.skus]
        if lines:
            postings.append({"rule": rule.id, "points": rule.points, "lines": lines})
    return postings


def _seconds(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began_at = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began_at)
    return median(seconds)
