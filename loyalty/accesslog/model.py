"""A look as a value: who was shown a member's data, for which purpose, by which route."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import date, datetime

# However long the shop wants looks kept, MongoDB removes them after this.
KEPT_MAX = timedelta(days=400)


class Place(NamedTuple):
    """What looks of one day have in common, and are counted under.

    Args:
        member_id: whose data.
        key_id: the API key that was used.
        purpose: of the register of processing.
        route: the pattern of the address, such as `/v1/members/<member:member_id>/points`.
        day: in UTC.
    """

    member_id: str
    key_id: str
    purpose: str
    route: str
    day: date


class Tally(NamedTuple):
    """How often, from when to when."""

    times: int
    first_at: datetime
    last_at: datetime


class Look(NamedTuple):
    """A line of the log. `key_name` is what the shop calls the key."""

    id: str
    place: Place
    tally: Tally
    key_name: str = ""
