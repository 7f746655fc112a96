"""The entries that a redemption writes: one, or one for each member of a pool, all or none.

The taker's own entry comes first and is the redemption, even if none of the points are the
taker's. Those of the other members are its parts, each under a key that names its member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.journal.appending import append_together
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft
from loyalty.journal.late import resolution_key
from loyalty.journal.model import ERASED_PARTIES
from loyalty.kit.idempotency import fingerprint
from loyalty.program.model import Activity
from loyalty.rewards.pool import allot

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from pymongo.client_session import ClientSession

    from loyalty.access.model import Caller
    from loyalty.journal.drafts import Recorded, Stores
    from loyalty.journal.model import Entry
    from loyalty.program.model import Program
    from loyalty.rewards.orders import Order, Wanted

    Also: TypeAlias = Callable[[ClientSession], None]
    """What is written with the entries of a reward; a payment alone needs no transaction."""


class Part(NamedTuple):
    """One member's points in a hold, and the key of that member's entry."""

    member_id: str
    key: str
    points: int


class Desk(NamedTuple):
    """Who resolves a redemption, where, when, and under which programme."""

    caller: Caller
    channel: str
    store: str | None
    at: datetime
    program: Program


def undoing_key(hold_key: str) -> str:
    """The key of the undoing of a capture."""
    return f"undo/{hold_key}"


def parts_of(held: Entry) -> list[Part]:
    """The parts of a hold, the taker's first, without those of members who were erased since."""
    gone = held.activity.get(ERASED_PARTIES, ())
    return [Part(**each) for each in held.activity["parts"] if each["member_id"] not in gone]


def parts_for(order: Order, given: Mapping[str, int]) -> list[Part]:
    """The parts of a hold to be, of the points of each member, the taker first."""
    return [
        Part(each, order.key if each == order.member_id else _part_key(each, order.key), points)
        for each, points in given.items()
    ]


def holds(order: Order, wanted: Wanted, parts: Sequence[Part]) -> list[Draft]:
    """What to write for a hold."""
    own: dict[str, Any] = {
        "external_id": order.body["external_id"],
        "held": wanted.points,
        "value": dict(wanted.value),
        "parts": [part._asdict() for part in parts],
    }
    if reward := wanted.reward:
        own["reward"] = {"id": reward.id, "name": reward.name, "type": reward.type}
    desk = Desk(order.caller, order.body["channel"], order.store, order.at, order.program)
    return [
        _draft(
            part,
            Activity(
                "hold",
                order.at,
                desk.channel,
                desk.store,
                key=part.key,
                points=part.points,
                unit=wanted.unit,
                expires_at=order.expires_at,
            ),
            own if part.key == order.key else {"part_of": order.key},
            mark=order.mark,
            desk=desk,
        )
        for part in parts
    ]


def resolutions(
    parts: Sequence[Part], points: int, captured: Mapping[str, int], unit: str, *, desk: Desk
) -> list[Draft]:
    """What to write to resolve a hold.

    Args:
        parts: of the hold, the taker's first.
        points: how many are captured in all; 0 is a release.
        captured: those of each member.
        unit: of the points.
        desk: who does it.
    """
    own_key = parts[0].key
    mark = fingerprint({"captured": points})
    drafts = []
    for part in parts:
        activity = Activity(
            "capture" if points else "release",
            desk.at,
            desk.channel,
            desk.store,
            key=resolution_key(part.key),
            points=captured[part.member_id],
            unit=unit,
            hold=part.key,
        )
        own = {"captured": points} if part.key == own_key else {"part_of": own_key}
        drafts.append(_draft(part, activity, own, mark=mark, desk=desk))
    return drafts


def captured_of(held: Entry, points: int, stores: Stores) -> dict[str, int]:
    """How many points of each member to capture: if not all, the soonest-expiring ones.

    What is no longer held gives none; whoever writes that meets the refusal of the hold itself.
    """
    parts = parts_of(held)
    if len(parts) == 1 or points in (0, held.activity["held"]):
        return {part.member_id: min(points, part.points) for part in parts}
    heads = stores.journal.heads([part.member_id for part in parts])
    lots = {
        part.member_id: head.state.holds[part.key].lots
        for part in parts
        if (head := heads.get(part.member_id)) and part.key in head.state.holds
    }
    given = allot(points, lots, at=held.occurred_at)
    return {part.member_id: given.get(part.member_id, 0) for part in parts}


def undoings(held: Entry, unit: str, *, desk: Desk) -> list[Draft]:
    """What to write to undo a capture; the journal knows which lots go back."""
    drafts = []
    for part in parts_of(held):
        key = undoing_key(part.key)
        activity = Activity(
            "restore", desk.at, desk.channel, desk.store, key=key, unit=unit, hold=part.key
        )
        own = {} if part.key == held.key else {"part_of": held.key}
        mark = fingerprint({"undone": held.key})
        drafts.append(_draft(part, activity, own, mark=mark, desk=desk))
    return drafts


def write(drafts: Sequence[Draft], stores: Stores, also: Also | None) -> Recorded:
    """Write all entries of a redemption, and what goes with them, or nothing; the first entry.

    Raises:
        InsufficientPointsError, HoldExpiredError, TooManyHoldsError, KeyReusedError,
        MemberNotFoundError, MemberBusyError: as they say.
        ConflictError: whatever `also` refuses.
    """
    along = (lambda session, _: also(session)) if also else None
    return append_together(drafts, stores, along=along)[0]


def _part_key(member_id: str, key: str) -> str:
    return f"part/{member_id}/{key}"


def _draft(
    part: Part, activity: Activity, own: Mapping[str, Any], *, mark: str, desk: Desk
) -> Draft:
    return Draft(
        member_id=part.member_id,
        key=activity.key,
        fingerprint=mark,
        source=desk.caller.id,
        received_at=desk.at,
        activity=activity,
        document={**activity_to_document(activity), **own},
        program=desk.program,
    )
