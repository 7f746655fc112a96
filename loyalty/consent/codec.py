"""Consent records as MongoDB documents, and back. Nothing but shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from loyalty.consent.chain import hash_of
from loyalty.consent.model import Age, Change, FlagState, Record, Said, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loyalty.kit.mongo import Document

# Short names: the states of all flags stand in every record.
_STATE = {
    "status": "s",
    "at": "at",
    "method": "by",
    "expires_at": "until",
    "notice_version": "notice",
    "pending": "pending",
    "pending_at": "pending_at",
    "has_signal": "signal",
}


def flag_field(flag: str) -> str:
    """Where a record's document holds the state of a flag."""
    return f"flags.{flag}"


def document_of(record: Record, sealed: Any) -> Document:  # noqa: ANN401  # sealed evidence or None
    """A record as it is kept, with its hash."""
    standing = record.standing
    document: Document = {
        "_id": ObjectId(record.id),
        "member": record.member_id,
        "seq": record.seq,
        "kind": record.kind,
        "decisions": [_change_document(each) for each in record.decisions],
        "flags": {name: _state_document(each) for name, each in standing.flags.items()},
        "restricted": standing.restricted,
        "age": standing.age._asdict() if standing.age else None,
        "newest_at": standing.newest_at,
        "method": record.method,
        "notice_version": record.notice_version,
        "language": record.language,
        "evidence": sealed,
        "signal": record.has_signal,
        "decided_at": record.decided_at,
        "recorded_at": record.recorded_at,
        "recorded_by": record.recorded_by,
        "previous": record.previous,
    }
    if record.request:
        document["request"] = {"key": record.request[0], "fingerprint": record.request[1]}
    document["hash"] = hash_of(document)
    return document


def record_of(document: Document, evidence: Mapping[str, Any] | None) -> Record:
    """The record of a document, with its evidence opened."""
    request = document.get("request")
    return Record(
        id=str(document["_id"]),
        member_id=document["member"],
        seq=document["seq"],
        kind=document["kind"],
        decisions=tuple(_change(each) for each in document["decisions"]),
        standing=standing_of(document),
        method=document["method"],
        decided_at=document["decided_at"],
        recorded_at=document["recorded_at"],
        recorded_by=document["recorded_by"],
        previous=document["previous"],
        hash=document["hash"],
        notice_version=document["notice_version"],
        language=document["language"],
        evidence=evidence,
        has_signal=document["signal"],
        request=(request["key"], request["fingerprint"]) if request else None,
    )


def standing_of(document: Document) -> Standing:
    """Where a member stands by a record, or by a part of one."""
    age = document.get("age")
    return Standing(
        document["seq"],
        document.get("hash", ""),
        document.get("newest_at"),
        {name: _state(each) for name, each in document.get("flags", {}).items()},
        document["restricted"],
        Age(**age) if age else None,
    )


def said_of(document: Document) -> Iterator[Said]:
    """What a record says, decision by decision."""
    for each in document["decisions"]:
        yield Said(
            _change(each),
            document["decided_at"],
            document["method"],
            str(document["_id"]),
            document["notice_version"],
            document["signal"],
        )


def _change_document(change: Change) -> Document:
    return {**change._asdict(), "granted": change.granted}


def _change(document: Document) -> Change:
    return Change(**{name: document[name] for name in Change._fields})


def _state_document(state: FlagState) -> Document:
    """A state without what is empty in it."""
    pairs = zip(_STATE.values(), state, strict=True)
    return {short: value for short, value in pairs if value not in (None, "", False)}


def _state(document: Document) -> FlagState:
    return FlagState(
        document["s"],
        document["at"],
        document["by"],
        document.get("until"),
        document.get("notice"),
        document.get("pending", ""),
        document.get("pending_at"),
        document.get("signal", False),
    )
