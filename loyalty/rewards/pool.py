"""Points of several members taken as one: soonest-expiring first, whoever has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.consent import gate
from loyalty.consent.model import HOUSEHOLD_POOLING
from loyalty.households.model import NotInHouseholdError
from loyalty.households.service import contributors
from loyalty.members.model import MemberNotFoundError
from loyalty.program.lots import available
from loyalty.program.model import State
from loyalty.program.passage import settle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.consent.store import ConsentStore
    from loyalty.households.store import HouseholdStore
    from loyalty.journal.drafts import Stores
    from loyalty.program.lots import Lots


def allot(points: int, lots_by_member: Mapping[str, Lots], *, at: datetime) -> dict[str, int]:
    """How many points each member gives. Pure.

    Args:
        points: how many are wanted.
        lots_by_member: what each has; of lots that expire together, those of the member named
            first go first.
        at: the moment; what is pending or expired then is not given.

    Returns:
        The points of each member that gives any; their sum is less than `points` where there are
        not so many.
    """
    order = {member_id: position for position, member_id in enumerate(lots_by_member)}
    lots = sorted(
        (lot.expires_at, order[member_id], lot.points, member_id)
        for member_id, held in lots_by_member.items()
        for lot in held
        if lot.points > 0 and lot.active_at <= at < lot.expires_at
    )
    given: dict[str, int] = {}
    for _, _, there, member_id in lots:
        taken = min(points - sum(given.values()), there)
        if taken > 0:
            given[member_id] = given.get(member_id, 0) + taken
    return given


def contributors_with(
    member_id: str, *, at: datetime, households: HouseholdStore, consents: ConsentStore
) -> list[str]:
    """Those whose points a member may use, the member first: of equal lots, the own go first.

    Raises:
        NotInHouseholdError: the member is in no household.
        ConsentRequiredError: the member does not give to the pool, so does not take from it.
    """
    belonging = households.of(member_id)
    if belonging is None:
        raise NotInHouseholdError
    gate.require(member_id, HOUSEHOLD_POOLING, at=at, consents=consents)
    household_id = belonging.household_id
    others = contributors(household_id, at=at, households=households, consents=consents)
    return [member_id, *(each for each in others if each != member_id)]


def lots_of(members: Sequence[str], unit: str, *, at: datetime, stores: Stores) -> dict[str, Lots]:
    """The lots of each member who has points of the unit to spend at a moment.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    heads = stores.journal.heads(members)
    if not heads and not stores.members.exists(members[0]):
        raise MemberNotFoundError
    states = {
        each: settle(heads[each].state if each in heads else State(), at)[0] for each in members
    }
    lots = {each: states[each].lots.get(unit, ()) for each in members}
    return {each: held for each, held in lots.items() if available(held, at) > 0}
