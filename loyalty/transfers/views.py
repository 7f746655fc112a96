"""Transfers over HTTP."""

from __future__ import annotations

from typing import Any

from flask import g

from loyalty.consent.model import ConsentRequiredError
from loyalty.journal.drafts import Stores
from loyalty.journal.model import (
    FactErasedError,
    InsufficientPointsError,
    MemberBusyError,
    PointsOutOfRangeError,
    UnknownUnitError,
)
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, note_look, provided, replayed
from loyalty.members.model import InvalidIdentifierError, KeyReusedError, MemberNotFoundError
from loyalty.program.lots import available
from loyalty.program.model import POINTS
from loyalty.transfers import service
from loyalty.transfers.model import SelfTransferError
from loyalty.transfers.schemas import TransferredSchema, TransferSchema
from loyalty.versions.model import NoProgramError

blp = Blueprint("transfers", __name__, description="Points that change hands.")

_GIVER = "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f"
_RECEIVER = "m_0123456789abcdef0123456789abcdef"


@blp.route("/transfers", methods=["POST"])
@blp.requires("transfers:write", purpose="points_transfer")
@blp.arguments(
    TransferSchema,
    example={
        "external_id": "gift-17",
        "giver": {"member": _GIVER},
        "receiver": {"identifier": {"type": "card", "value": "9300 1234 5678"}},
        "points": 100,
    },
)
@blp.response(
    201,
    TransferredSchema,
    example={
        "entry_id": "69a4120c7f1b2c3d4e5f6071",
        "giver_id": _GIVER,
        "receiver_id": _RECEIVER,
        "points": 100,
        "unit": "points",
        "balance": 21,
    },
)
@blp.raises(
    ConsentRequiredError,
    InsufficientPointsError,
    SelfTransferError,
    UnknownUnitError,
    MemberNotFoundError,
    InvalidIdentifierError,
    FactErasedError,
    KeyReusedError,
    MemberBusyError,
    NoProgramError,
    PointsOutOfRangeError,
)
def post_transfer(body: dict[str, Any]) -> Answer:
    """Give points from one member to another.

    Only where both have agreed to `points_transfer`. The points keep the dates on which they
    become active and expire.
    """
    done = service.transfer(body, caller=g.caller, at=now(), stores=provided(Stores))
    note_look(done.entry.member_id)
    entry, unit = done.entry, body.get("unit", POINTS)
    answer = {
        "entry_id": entry.id,
        "giver_id": entry.member_id,
        "receiver_id": entry.activity["receiver"],
        "points": body["points"],
        "unit": unit,
        "balance": available(entry.state.lots.get(unit, ()), entry.received_at),
    }
    return replayed(answer, 201, is_replay=done.is_replay)
