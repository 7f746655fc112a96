"""A draft over the past, and a whole year's import, each beside the simplest loop for the work."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from benchmarks.measure import compare_speeds
from loyalty.importing.complete_journey import PROGRAM, Journey
from loyalty.importing.service import few_collections, import_journey
from loyalty.kit.clock import now
from loyalty.program.document import ProgramSchema
from loyalty.simulation.model import question_of
from loyalty.simulation.service import Sources, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from benchmarks.cases import Size
    from benchmarks.measure import Row
    from benchmarks.stage import Stage

    Open = Callable[[Stage, str], Parts]

BATCH = 1000


def simulation(stage: Stage, size: Size, advance: Callable[[], None]) -> list[Row]:
    """A draft over a year of every member, in activities a second."""
    rules: list[dict[str, Any]] = [dict(rule) for rule in PROGRAM["rules"]]
    rules[0].update(points=2, per_amount=300)
    document: Any = ProgramSchema().load({**PROGRAM, "rules": rules})
    question = question_of(
        {"program": document, "from": datetime(2017, 1, 1, tzinfo=UTC), "to": now()}
    )
    sources = Sources(stage.parts.scan, stage.parts.stores)
    ours, simplest = [], []
    for _ in range(size.step_repeats):
        began_at = time.perf_counter()
        done = simulate(question, at=now(), sources=sources, progress=lambda *_: None)
        ours.append(done.facts / (time.perf_counter() - began_at))
        began_at = time.perf_counter()
        count = _simplest_simulation(stage.parts)
        simplest.append(count / (time.perf_counter() - began_at))
        advance()
    row = compare_speeds(
        "simulation of a draft",
        ours,
        "reading the same documents and two roundings each",
        simplest,
        unit="activities/s",
        limited_by="one core of Python: every fact decoded, and folded in both worlds",
        goal=None,
        details={"members": len(stage.members)},
    )
    return [row]


def _simplest_simulation(parts: Parts) -> int:
    """What anybody would write first: no returns, no tiers, no limits, no lots."""
    current = draft = count = 0
    for document in parts.database["journal"].find({"kind": "purchase"}):
        amount = sum(line["amount"] for line in document["activity"]["lines"])
        current += amount // 100
        draft += amount * 2 // 300
        count += 1
    assert draft <= current
    return count


def year(stage: Stage, size: Size, advance: Callable[[], None], opened: Open) -> list[Row]:
    """The whole Complete Journey once, and the simplest loop over the same table."""
    journey = Journey(size.year_households)
    parts = opened(stage, "carnet-year")
    began_at = time.perf_counter()
    done = import_journey(journey, at=now(), stores=parts.stores, progress=lambda *_: None)
    ours = done.entries / (time.perf_counter() - began_at)
    parts.database.client.drop_database(parts.database.name)
    advance()
    began_at = time.perf_counter()
    with few_collections():
        count = _simplest_import(journey, parts)
    simplest = count / (time.perf_counter() - began_at)
    parts.database.client.drop_database(parts.database.name)
    parts.database.client.close()
    advance()
    assert count == done.entries
    row = compare_speeds(
        "import of the whole year",
        [ours],
        "insert_many of points and baskets, no members, consents or states",
        [simplest],
        unit="baskets/s",
        limited_by="one core of Python, and a transaction for each group of members",
        goal=None,
        details={"baskets": count, "members": done.members, "products": done.products},
    )
    return [row]


def _simplest_import(journey: Journey, parts: Parts) -> int:
    """What anybody would write first: a point a unit of currency, and a running balance."""
    waiting: list[dict[str, Any]] = []
    count = 0
    for household in journey.households():
        balance = 0
        for receipt in household.receipts:
            points = sum(line["amount"] for line in receipt.lines) // 100
            balance += points
            waiting.append(
                {
                    "member": household.number,
                    "key": receipt.number,
                    "at": receipt.at,
                    "lines": receipt.lines,
                    "points": points,
                    "balance": balance,
                }
            )
            count += 1
            if len(waiting) == BATCH:
                parts.database["simplest"].insert_many(waiting)
                waiting = []
    if waiting:
        parts.database["simplest"].insert_many(waiting)
    return count
