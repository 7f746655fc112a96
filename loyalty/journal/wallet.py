"""What a member has now, worked out of the head of the journal as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.program.circumstances import stage_of
from loyalty.program.lots import NEVER, available, pending_of
from loyalty.program.model import POINTS
from loyalty.program.passage import settle
from loyalty.program.tiers import next_tier, standing_at, tier_of
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from datetime import datetime

    from loyalty.journal.model import Head
    from loyalty.program.lots import Lot
    from loyalty.program.model import Program, State
    from loyalty.versions.service import ProgramShelf


def wallet(head: Head | None, programs: ProgramShelf, at: datetime) -> dict[str, Any]:
    """Points, further units, tier and stage at a moment, as `PointsSchema` shows them."""
    state = settle(head.state, at)[0] if head else None
    program = _ruling(programs, at)
    units = {unit: _unit(state, unit, at) for unit in state.lots if unit != POINTS} if state else {}
    return {
        **_unit(state, POINTS, at),
        "units": units,
        "tier": _tier(state, program, at),
        "stage": stage_of(program, state, at) if state and program else "acquisition",
    }


def _ruling(programs: ProgramShelf, at: datetime) -> Program | None:
    try:
        return programs.at(at)
    except NoProgramError:
        return None


def _unit(state: State | None, unit: str, at: datetime) -> dict[str, Any]:
    lots = state.lots.get(unit, ()) if state else ()
    holds = state.holds.values() if state else ()
    idle_at = state.idle_at.get(unit, NEVER) if state else NEVER
    return {
        "balance": available(lots, at),
        "pending": pending_of(lots, at),
        "held": sum(held.points for held in holds if held.unit == unit),
        "lots": [_lot(lot, at, idle_at) for lot in lots],
    }


def _lot(lot: Lot, at: datetime, idle_at: datetime) -> dict[str, Any]:
    ends_at = min(lot.expires_at, idle_at) if lot.points > 0 else lot.expires_at
    body: dict[str, Any] = {
        "points": lot.points,
        "expires_at": None if ends_at >= NEVER else ends_at,
    }
    if lot.active_at > at:
        body["active_at"] = lot.active_at
    return body


def _tier(state: State | None, program: Program | None, at: datetime) -> dict[str, Any] | None:
    if program is None or program.ladder is None:
        return None
    ladder = program.ladder
    before = state.tier if state else None
    joined_at = state.joined_at if state else None
    standing = standing_at(ladder, before, at, zone=program.zone, joined_at=joined_at)
    tier, above = tier_of(ladder, standing), next_tier(ladder, standing)
    return {
        "id": tier.id,
        "name": tier.name,
        "since": standing.since,
        "falls_at": standing.falls_at,
        "amount": standing.amount,
        "measure": ladder.measure,
        "benefits": list(tier.benefits),
        "next": {"id": above[0].id, "name": above[0].name, "missing": above[1]} if above else None,
    }
