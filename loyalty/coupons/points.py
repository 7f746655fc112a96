"""Coupons that are worth points: what a use pays into the member's journal, and a void takes back.

A use is written first and pays then, under a key of its own: a retry after a crash in between pays
what is missing, and nothing twice. A void takes the points back first, so that it can be refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loyalty.coupons.model import CouponNeedsMemberError
from loyalty.journal.appending import append
from loyalty.journal.drafts import Draft
from loyalty.journal.model import UnknownUnitError
from loyalty.kit.errors import FieldError
from loyalty.program.model import POINTS, Activity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from loyalty.coupons.model import Campaign, Move
    from loyalty.journal.drafts import Stores


class Benefit(NamedTuple):
    """Points of a unit."""

    points: int
    unit: str


def benefit_of(campaign: Campaign) -> Benefit | None:
    """The points that a campaign's coupons are worth, if they are worth points."""
    benefit: Mapping[str, Any] = campaign.benefit
    if benefit["type"] != "points":
        return None
    return Benefit(benefit["points"], benefit.get("unit", POINTS))


def check_payable(
    benefit: Benefit | None, member_id: str | None, *, at: datetime, stores: Stores
) -> None:
    """Refuse a use that could not be paid.

    Raises:
        CouponNeedsMemberError: points need somebody who gets them.
        UnknownUnitError: the programme has no such unit.
        NoProgramError: none is published.
    """
    if benefit is None:
        return
    if member_id is None:
        mistake = FieldError("member", "Is needed: the coupon is worth points.")
        raise CouponNeedsMemberError(mistake.message, errors=(mistake,))
    if benefit.unit not in stores.programs.at(at).units:
        mistake = FieldError("code", "Is worth points of a unit that the programme lacks.")
        raise UnknownUnitError(mistake.message, errors=(mistake,))


def pay(benefit: Benefit | None, move: Move, *, stores: Stores) -> None:
    """Pay what a use is worth, once."""
    if benefit and move.member:
        _post(benefit.points, benefit.unit, move, f"coupon/{move.id}", stores)


def take_back(benefit: Benefit | None, use: Move, *, stores: Stores) -> None:
    """Take back what a use was worth, once.

    Raises:
        InsufficientPointsError: the member has spent it.
    """
    if benefit and use.member:
        _post(-benefit.points, benefit.unit, use, f"coupon-void/{use.id}", stores)


def _post(points: int, unit: str, move: Move, key: str, stores: Stores) -> None:
    activity = Activity("adjustment", move.received_at, points=points, unit=unit, key=key)
    draft = Draft(
        member_id=move.member or "",
        key=key,
        fingerprint=key,
        source=move.source,
        received_at=move.received_at,
        activity=activity,
        document={"points": points, "unit": unit, "reason": "coupon", "actor": move.id},
        program=stores.programs.at(move.received_at),
    )
    append(draft, stores)
