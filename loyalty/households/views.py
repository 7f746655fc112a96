"""Households over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.consent.store import ConsentStore
from loyalty.households import service
from loyalty.households.model import (
    HouseholdFullError,
    HouseholdNotFoundError,
    InOtherHouseholdError,
    NotInHouseholdError,
)
from loyalty.households.schemas import (
    BelongingSchema,
    HouseholdSchema,
    NewHouseholdSchema,
    PoolQuerySchema,
    PoolSchema,
)
from loyalty.households.store import HouseholdStore
from loyalty.journal.drafts import Stores
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, idempotency_key, note_look, provided, replayed
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import MemberNotFoundError
from loyalty.members.store import MemberStore

if TYPE_CHECKING:
    from loyalty.households.model import Household

blp = Blueprint("households", __name__, description="Members who spend their points together.")

_ID = "h_0123456789abcdef0123456789abcdef"
_MEMBER = "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f"
_AT = "2026-03-01T09:30:00Z"
_EMPTY_EXAMPLE = {"id": _ID, "name": "Elm Street", "created_at": _AT, "members": []}
_EXAMPLE = {
    **_EMPTY_EXAMPLE,
    "members": [{"member_id": _MEMBER, "joined_at": _AT, "is_pooling": True}],
}


def _body(household: Household) -> dict[str, Any]:
    ids = [each.member_id for each in household.members]
    for member_id in ids:
        note_look(member_id)
    pooling = set(service.agreeing(ids, at=now(), consents=provided(ConsentStore)))
    return {
        "id": household.id,
        "name": household.name,
        "created_at": household.created_at,
        "members": [
            {
                "member_id": each.member_id,
                "joined_at": each.joined_at,
                "is_pooling": each.member_id in pooling,
            }
            for each in household.members
        ],
    }


@blp.route("/households", methods=["POST"])
@blp.requires("households:write", purpose="loyalty_programme")
@blp.idempotent()
@blp.arguments(NewHouseholdSchema, example={"name": "Elm Street"})
@blp.response(201, HouseholdSchema, example=_EMPTY_EXAMPLE)
@blp.raises(KeyReusedError)
def create(body: dict[str, Any]) -> Answer:
    """Make a household.

    Its members come in one by one. Send an `Idempotency-Key`, so that a retry makes no second one.
    """
    created = service.create(
        body.get("name"),
        at=now(),
        request_key=idempotency_key(),
        households=provided(HouseholdStore),
    )
    return replayed(_body(created.household), 201, is_replay=created.is_replay)


@blp.route("/households/<household_id>")
@blp.requires("households:read", purpose="household_pooling")
@blp.response(200, HouseholdSchema, example=_EXAMPLE)
@blp.raises(HouseholdNotFoundError)
def show(household_id: str) -> Answer:
    """Read a household and its members."""
    return _body(provided(HouseholdStore).get(household_id))


@blp.route("/households/<household_id>/members/<member:member_id>", methods=["PUT"])
@blp.requires("households:write", purpose="loyalty_programme")
@blp.response(200, HouseholdSchema, example=_EXAMPLE)
@blp.raises(HouseholdNotFoundError, MemberNotFoundError, InOtherHouseholdError, HouseholdFullError)
def join(household_id: str, member_id: str) -> Answer:
    """Put a member into a household.

    A member is in one household at a time, and a household has twelve members at most. The
    member's points are in the pool only while the member agrees to `household_pooling`.
    """
    household = service.join(
        household_id,
        member_id,
        at=now(),
        households=provided(HouseholdStore),
        members=provided(MemberStore),
    )
    return _body(household)


@blp.route("/households/<household_id>/members/<member:member_id>", methods=["DELETE"])
@blp.requires("households:write", member_token=True, purpose="loyalty_programme")
@blp.response(204)
@blp.raises(NotInHouseholdError)
def leave(household_id: str, member_id: str) -> None:
    """Take a member out of a household.

    The member's points go along: they never left the member's own journal.
    """
    provided(HouseholdStore).leave(household_id, member_id)


@blp.route("/households/<household_id>/points")
@blp.requires("households:read", purpose="household_pooling")
@blp.arguments(PoolQuerySchema, location="query")
@blp.response(
    200,
    PoolSchema,
    example={
        "household_id": _ID,
        "unit": "points",
        "points": 21,
        "members": [{"member_id": _MEMBER, "points": 21}],
        "as_of": _AT,
    },
)
@blp.raises(HouseholdNotFoundError)
def show_points(query: dict[str, Any], household_id: str) -> Answer:
    """Read what a household can spend together.

    The points that those members can spend who agree to `household_pooling` at this moment. They
    stay in each member's own journal until they are spent; a withdrawal holds on the next request.
    """
    at = now()
    shares = service.shares(
        household_id,
        at=at,
        households=provided(HouseholdStore),
        stores=provided(Stores),
        unit=query["unit"],
    )
    for each in shares:
        note_look(each.member_id)
    return {
        "household_id": household_id,
        "unit": query["unit"],
        "points": sum(each.points for each in shares),
        "members": [each._asdict() for each in shares],
        "as_of": at,
    }


@blp.route("/members/<member:member_id>/household")
@blp.requires("households:read", member_token=True, purpose="loyalty_programme")
@blp.response(
    200,
    BelongingSchema,
    example={"member_id": _MEMBER, "household_id": _ID, "joined_at": _AT},
)
@blp.raises(NotInHouseholdError)
def show_belonging(member_id: str) -> Answer:
    """Read which household a member is in."""
    belonging = provided(HouseholdStore).of(member_id)
    if belonging is None:
        raise NotInHouseholdError
    return {
        "member_id": belonging.member_id,
        "household_id": belonging.household_id,
        "joined_at": belonging.joined_at,
    }
