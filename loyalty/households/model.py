"""A household and its refusals, as values. Points stay in each member's own journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from loyalty.kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

HOUSEHOLD_MEMBERS_MAX = 12


class HouseholdNotFoundError(NotFoundError):
    """No household has that id."""

    code = "household_not_found"
    title = "There is no such household"


class NotInHouseholdError(NotFoundError):
    """The member is in no household, or not in this one."""

    code = "not_in_household"
    title = "The member is not in the household"


class InOtherHouseholdError(ConflictError):
    """A member is in one household at a time."""

    code = "in_other_household"
    title = "The member is in another household"


class HouseholdFullError(ConflictError):
    """A household has at most twelve members."""

    code = "household_full"
    title = "The household has as many members as allowed"


@dataclass(frozen=True, slots=True)
class Belonging:
    """A member's place in a household."""

    member_id: str
    household_id: str
    joined_at: datetime


@dataclass(frozen=True, slots=True)
class Household:
    """Members who may pool points, longest belonging first. The name is personal."""

    id: str
    name: str | None
    created_at: datetime
    members: tuple[Belonging, ...] = ()

    def __repr__(self) -> str:
        return f"Household({self.id})"


class Share(NamedTuple):
    """What one member has in the pool: the points of the member's own journal."""

    member_id: str
    points: int
