"""Give points from one member to another: two entries, both or neither.

The points keep their dates, so a transfer makes nothing last longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.consent import gate
from loyalty.consent.model import POINTS_TRANSFER, ConsentRequiredError
from loyalty.journal.appending import Follow, append_together
from loyalty.journal.codec import activity_to_document
from loyalty.journal.drafts import Draft, Recorded, Stores, replay
from loyalty.journal.model import UnknownUnitError, key_of
from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.kit.idempotency import fingerprint
from loyalty.members.model import MemberNotFoundError, normal
from loyalty.program.lots import Lot
from loyalty.program.model import POINTS, Activity
from loyalty.transfers.model import SelfTransferError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.journal.model import Entry


def transfer(body: Mapping[str, Any], *, caller: Caller, at: datetime, stores: Stores) -> Recorded:
    """Give points; the giver's entry.

    Raises:
        ConsentRequiredError: one of the two has not agreed to transfers.
        InsufficientPointsError: the giver has not so many to spend.
        SelfTransferError, UnknownUnitError, MemberNotFoundError, InvalidIdentifierError,
        KeyReusedError, MemberBusyError: as they say.
    """
    key = key_of("transfer", "", None, body["external_id"])
    mark = fingerprint(body)
    try:
        giver, receiver = (_party(body, side, stores) for side in ("giver", "receiver"))
        _check(giver, receiver, body, at, stores)
    except (ConflictError, NotFoundError, ConsentRequiredError):
        if seen := stores.journal.by_key(key):
            return replay(seen, mark)
        raise
    order = _Order(mark, caller, at, stores)
    unit = body.get("unit", POINTS)
    given = Activity("transfer", at, points=body["points"], unit=unit, key=key)

    def received(entries: Sequence[Entry]) -> Draft:
        lots = tuple(Lot(*each) for each in entries[0].postings[-1].inputs["lots"])
        moment = entries[0].occurred_at
        activity = Activity("transfer", moment, key=f"{key}/in", unit=unit, lots=lots)
        return order.draft(receiver, activity, giver=giver)

    drafts: list[Draft | Follow] = [
        order.draft(giver, given, receiver=receiver),
        Follow(f"{key}/in", mark, received),
    ]
    return append_together(drafts, stores)[0]


def _party(body: Mapping[str, Any], side: str, stores: Stores) -> str:
    named = body[side]
    if "member" in named:
        member_id: str | None = named["member"]
    else:
        value = named["identifier"]
        place = f"{side}.identifier.value"
        member_id = stores.members.resolve(normal(value["type"], value["value"], place=place))
    if member_id is None or not stores.members.exists(member_id):
        raise MemberNotFoundError(errors=(FieldError(side, "There is no such member."),))
    return member_id


def _check(
    giver: str, receiver: str, body: Mapping[str, Any], at: datetime, stores: Stores
) -> None:
    if giver == receiver:
        mistake = FieldError("receiver", "Is the giver.")
        raise SelfTransferError(mistake.message, errors=(mistake,))
    if body.get("unit", POINTS) not in stores.programs.at(at).units:
        mistake = FieldError("unit", "The programme has no such unit.")
        raise UnknownUnitError(mistake.message, errors=(mistake,))
    for member_id in (giver, receiver):
        gate.require(member_id, POINTS_TRANSFER, at=at, consents=stores.consents)


class _Order(NamedTuple):
    """What is the same on both sides."""

    mark: str
    caller: Caller
    at: datetime
    stores: Stores

    def draft(self, member_id: str, activity: Activity, **more: str) -> Draft:
        """One side's draft."""
        return Draft(
            member_id=member_id,
            key=activity.key,
            fingerprint=self.mark,
            source=self.caller.id,
            received_at=self.at,
            activity=activity,
            document={**activity_to_document(activity), **more},
            program=self.stores.programs.at(self.at),
        )
