"""Consents over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import g

from loyalty.consent import service
from loyalty.consent.model import (
    MARKETING_CHANNELS,
    PURPOSES,
    PURPOSES_BY_CHANNEL,
    Decision,
)
from loyalty.consent.schemas import (
    ConsentsSchema,
    ConsentsWriteSchema,
    PageSchema,
    RecordSchema,
    RecordsSchema,
)
from loyalty.consent.store import ConsentStore
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import Answer, Blueprint, provided
from loyalty.members.model import MemberNotFoundError
from loyalty.members.store import MemberStore

if TYPE_CHECKING:
    from loyalty.consent.model import Flags, Record

blp = Blueprint("consent", __name__, description="What members agree to, and the records of it.")

_FLAG_EXAMPLE = {"purpose": "personalisation", "channel": None, "granted": True}
_RECORD_EXAMPLE = {
    "id": "69a4120c7f1b2c3d4e5f6071",
    "member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
    "seq": 1,
    "decisions": [_FLAG_EXAMPLE],
    "consents": [_FLAG_EXAMPLE],
    "method": "form",
    "notice_version": "privacy-2026-01",
    "recorded_at": "2026-03-01T09:30:00Z",
    "recorded_by": "k3y1d0000000",
}


def _flags(flags: Flags) -> list[dict[str, Any]]:
    """Every purpose and channel with its flag, in one order, asked or not."""
    pairs = [
        (purpose, channel)
        for purpose in PURPOSES
        for channel in (MARKETING_CHANNELS if purpose in PURPOSES_BY_CHANNEL else (None,))
    ]
    return [
        {"purpose": purpose, "channel": channel, "granted": flags.allows(purpose, channel)}
        for purpose, channel in pairs
    ]


def _receipt(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "member_id": record.member_id,
        "seq": record.seq,
        "decisions": [
            {"purpose": each.purpose, "channel": each.channel, "granted": each.granted}
            for each in record.decisions
        ],
        "consents": _flags(record.flags),
        "method": record.method,
        "notice_version": record.notice_version,
        "recorded_at": record.recorded_at,
        "recorded_by": record.recorded_by,
    }


@blp.route("/members/<member:member_id>/consents", methods=["GET"])
@blp.requires("consents:read", member_token=True)
@blp.response(200, ConsentsSchema, example={"member_id": "m_…", "consents": [_FLAG_EXAMPLE]})
@blp.raises(MemberNotFoundError)
def show(member_id: str) -> Answer:
    """Read what a member agrees to now."""
    seq, flags = provided(ConsentStore).head(member_id)
    if seq == 0 and not provided(MemberStore).exists(member_id):
        raise MemberNotFoundError
    return {"member_id": member_id, "consents": _flags(flags)}


@blp.route("/members/<member:member_id>/consents", methods=["PUT"])
@blp.requires("consents:write", member_token=True)
@blp.arguments(
    ConsentsWriteSchema,
    example={
        "decisions": [
            {"purpose": "personalisation", "granted": True},
            {"purpose": "marketing", "channel": "email", "granted": False},
        ],
        "method": "form",
        "notice_version": "privacy-2026-01",
    },
)
@blp.response(200, RecordSchema, example=_RECORD_EXAMPLE)
@blp.raises(MemberNotFoundError)
def write(body: dict[str, Any], member_id: str) -> Answer:
    """Record what a member decided.

    Granting and withdrawing are the same call. It holds on the very next request on every worker.
    What is not named stays as it was. The answer is the receipt.
    """
    record = service.record(
        member_id,
        [Decision(**each) for each in body["decisions"]],
        method=body["method"],
        notice_version=body.get("notice_version"),
        at=now(),
        by=g.caller.id,
        consents=provided(ConsentStore),
        members=provided(MemberStore),
    )
    return _receipt(record)


@blp.route("/members/<member:member_id>/consents/records", methods=["GET"])
@blp.requires("consents:read", member_token=True)
@blp.arguments(PageSchema, location="query")
@blp.response(200, RecordsSchema, example={"records": [_RECORD_EXAMPLE], "next_cursor": None})
@blp.raises(MemberNotFoundError, UnknownCursorError)
def records(query: dict[str, Any], member_id: str) -> Answer:
    """List a member's consent records, newest first."""
    limit = query["limit"]
    found = provided(ConsentStore).page(
        member_id, before_seq=cursor.read(query.get("cursor")), limit=limit
    )
    if not found and not provided(MemberStore).exists(member_id):
        raise MemberNotFoundError
    more = cursor.write(found[-1].seq) if len(found) == limit else None
    return {"records": [_receipt(each) for each in found], "next_cursor": more}
