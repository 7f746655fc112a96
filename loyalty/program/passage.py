"""What time alone does to a state: holds run out, points expire, pending ones become active.

Computed whenever a state is read, so nothing waits for a nightly job to be right, and the same
however often it is asked in between: `settle(settle(s, t1), t2) == settle(s, t2)`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loyalty.program.lots import awake, balance_of, expire, give_back, is_waking
from loyalty.program.model import Posting, State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from loyalty.program.lots import Lots
    from loyalty.program.model import Held


def settle(state: State, at: datetime) -> tuple[State, tuple[Posting, ...]]:
    """The state at a moment, and what moved on the way there."""
    if not _is_due(state, at):
        return state, ()
    postings: list[Posting] = []
    for key, held in sorted(state.holds.items(), key=lambda pair: (pair[1].expires_at, pair[0])):
        if held.expires_at > at:
            break
        state = _expired(state, held.expires_at, postings)
        state = _let_go(state, key, held, postings)
    return _awake(_expired(state, at, postings), at), tuple(postings)


def without(holds: Mapping[str, Held], key: str) -> dict[str, Held]:
    """The holds but one."""
    return {name: held for name, held in holds.items() if name != key}


def _is_due(state: State, at: datetime) -> bool:
    return (
        any(
            lots and (lots[0].expires_at <= at or is_waking(lots, at=at))
            for lots in state.lots.values()
        )
        or any(held.expires_at <= at for held in state.holds.values())
        or any(idle_at <= at and _has(state, unit) for unit, idle_at in state.idle_at.items())
    )


def _has(state: State, unit: str) -> bool:
    return balance_of(state.lots.get(unit, ())) > 0


def _let_go(state: State, key: str, held: Held, postings: list[Posting]) -> State:
    """A hold that ran out: its points go back to their lots."""
    lots = give_back(state.lots.get(held.unit, ()), held.lots)
    inputs = {"hold": key, "held": held.points, "expired_at": held.expires_at}
    postings.append(Posting("hold", "release", held.points, inputs=inputs, unit=held.unit))
    state = replace(state, lots={**state.lots, held.unit: lots}, holds=without(state.holds, key))
    # What had expired in the meantime goes at once.
    return _expired(state, held.expires_at, postings)


def _expired(state: State, at: datetime, postings: list[Posting]) -> State:
    left = dict(state.lots)
    for unit, lots, points in _leaving(state, at):
        left[unit] = lots
        postings.append(Posting("expiry", "expiry", -points, unit=unit))
    return replace(state, lots=left)


def _awake(state: State, at: datetime) -> State:
    return replace(state, lots={unit: awake(lots, at=at) for unit, lots in state.lots.items()})


def _leaving(state: State, at: datetime) -> Iterator[tuple[str, Lots, int]]:
    """The units of which something expires by a moment, with what stays and what goes."""
    # In an order of their own: that in which they came in is not kept when a state is written.
    for unit, lots in sorted(state.lots.items()):
        idle_at = state.idle_at.get(unit)
        if idle_at and idle_at <= at and _has(state, unit):
            yield unit, (), balance_of(lots)
            continue
        valid, points = expire(lots, at=at)
        if points:
            yield unit, valid, points
