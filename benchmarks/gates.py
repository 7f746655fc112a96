"""What the gate of consent costs a request, beside the one bare read that it cannot do without."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measure import Row
from loyalty.consent import gate, service
from loyalty.consent.model import PERSONALISATION, Decision
from loyalty.kit.clock import now
from loyalty.members.model import Member
from loyalty.members.service import new_member_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from app import Parts
    from benchmarks.cases import Size
    from benchmarks.stage import Stage

RECORDS = (10, 1000)
GOAL_MS = 1.0
WARMUP = 50


def cost(stage: Stage, size: Size, advance: Callable[[], None]) -> list[Row]:
    """The gate and the bare read in turn, for members with few records and with many."""
    rows = []
    for records in RECORDS:
        member = _decided(stage.parts, records)
        ours, bare = _in_turn(stage.parts, member, size.latency_pairs)
        rows.append(
            Row(
                name=f"gate at {records:,} records",
                value=round(ours, 3),
                unit="ms, one client",
                limited_by="one round trip to mongod, and the driver",
                peer_name="find_one of the newest record's flag",
                peer=round(bare, 3),
                ratio=round(ours / bare, 3),
                goal=f"under {GOAL_MS:g} ms",
                is_met=ours < GOAL_MS,
                details={"calls_each": size.latency_pairs},
            )
        )
        advance()
    return rows


def _decided(parts: Parts, records: int) -> str:
    """A member who decided so often, on all sorts of things."""
    member = Member(new_member_id(), "active", now())
    parts.members.add(member, [])
    channels = ("email", "sms", "push")
    for number in range(records):
        marketing = Decision("marketing", number % 2 == 0, channels[number % 3])
        service.record(
            member.id,
            [Decision(PERSONALISATION, granted=True), marketing],
            method="form",
            at=now(),
            by="benchmark",
            consents=parts.consents,
            members=parts.members,
        )
    return member.id


def _in_turn(parts: Parts, member: str, calls: int) -> tuple[float, float]:
    """Milliseconds at the median: of the gate, and of the bare read."""
    consents = parts.database["consents"]
    wanted = {"_id": 0, f"flags.{PERSONALISATION}": 1}

    def ours() -> bool:
        at = now()
        return gate.permit(member, PERSONALISATION, at=at, consents=parts.consents) is not None

    def bare() -> bool:
        found = consents.find_one({"member": member}, wanted, sort=[("seq", -1)])
        return found is not None and found["flags"][PERSONALISATION]["s"] == "granted"

    seen: tuple[list[float], list[float]] = [], []
    for number in range(calls + WARMUP):
        for side, spent in zip((ours, bare), seen, strict=True):
            began = time.perf_counter()
            assert side()
            if number >= WARMUP:
                spent.append((time.perf_counter() - began) * 1e3)
    return median(seen[0]), median(seen[1])
