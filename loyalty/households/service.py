"""Make households, let members in, and say whose points may be spent together at this moment.

A pool is a view: nobody's points leave a member's journal before they are spent.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, NamedTuple

from loyalty.consent import gate
from loyalty.consent.model import HOUSEHOLD_POOLING
from loyalty.households.model import Belonging, Household, Share
from loyalty.households.store import HouseholdExistsError
from loyalty.kit.idempotency import KeyReusedError, fingerprint
from loyalty.members.model import MemberNotFoundError
from loyalty.program.lots import available
from loyalty.program.model import POINTS
from loyalty.program.passage import settle

if TYPE_CHECKING:
    from datetime import datetime

    from loyalty.consent.store import ConsentStore
    from loyalty.households.store import HouseholdStore
    from loyalty.journal.drafts import Stores
    from loyalty.journal.model import Head
    from loyalty.members.store import MemberStore


class Created(NamedTuple):
    """A household, and whether the request had been carried out before."""

    household: Household
    is_replay: bool


def new_household_id() -> str:
    """A random id that cannot be guessed."""
    return f"h_{secrets.token_hex(16)}"


def create(
    name: str | None, *, at: datetime, request_key: str | None, households: HouseholdStore
) -> Created:
    """Make a household, still without members.

    Raises:
        KeyReusedError: the idempotency key came with another name before.
    """
    mark = fingerprint({"name": name})
    fresh = Household(new_household_id(), name, at)
    request = (request_key, mark) if request_key else None
    seen = households.request(request_key) if request_key else None
    if seen is None:
        try:
            households.add(fresh, request=request)
        except HouseholdExistsError:
            # The same request came through in between, on another worker.
            seen = households.request(request_key) if request_key else None
            if seen is None:
                raise
        else:
            return Created(fresh, is_replay=False)
    household_id, seen_mark = seen
    if seen_mark != mark:
        raise KeyReusedError
    return Created(households.get(household_id), is_replay=True)


def join(
    household_id: str,
    member_id: str,
    *,
    at: datetime,
    households: HouseholdStore,
    members: MemberStore,
) -> Household:
    """Put a member into a household; the same again changes nothing.

    Raises:
        HouseholdNotFoundError, MemberNotFoundError: there is no such household or member.
        InOtherHouseholdError: the member is in another one.
        HouseholdFullError: there are twelve already.
    """
    if not members.exists(member_id):
        raise MemberNotFoundError
    households.join(Belonging(member_id, household_id, at))
    return households.get(household_id)


def contributors(
    household_id: str, *, at: datetime, households: HouseholdStore, consents: ConsentStore
) -> list[str]:
    """The members whose points the household may spend now, longest belonging first.

    Where they stand on `household_pooling` is read live: who was never asked is out, and who
    withdrew is out with the next request.

    Raises:
        HouseholdNotFoundError: there is no such household.
    """
    return agreeing(households.pool_of(household_id), at=at, consents=consents)


def agreeing(member_ids: list[str], *, at: datetime, consents: ConsentStore) -> list[str]:
    """Those of a household's members who agree to pooling now, in their order."""
    return list(gate.permits(member_ids, HOUSEHOLD_POOLING, at=at, consents=consents))


def shares(
    household_id: str,
    *,
    at: datetime,
    households: HouseholdStore,
    stores: Stores,
    unit: str = POINTS,
) -> list[Share]:
    """What each contributor has in the pool at a moment; their sum is what can be spent.

    Args:
        household_id: whose pool.
        at: the moment; what is pending, held or expired then is not counted.
        households: who belongs to it.
        stores: consents and journals.
        unit: which of the programme's units of points.

    Raises:
        HouseholdNotFoundError: there is no such household.
    """
    ids = contributors(household_id, at=at, households=households, consents=stores.consents)
    heads = stores.journal.heads(ids)
    return [Share(each, spendable(heads.get(each), unit, at)) for each in ids]


def spendable(head: Head | None, unit: str, at: datetime) -> int:
    """What a member can give to the pool: neither pending, held nor expired at that moment.

    Never below zero: one member's debt takes nothing from what the others have.
    """
    if head is None:
        return 0
    state, _ = settle(head.state, at)
    return max(0, available(state.lots.get(unit, ()), at))
