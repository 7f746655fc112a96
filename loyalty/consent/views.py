"""Consents over HTTP."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import TYPE_CHECKING, Any

import orjson
from flask import Response, g, request

from loyalty.access.links import InvalidLinkError, LinkMint
from loyalty.consent import ages, due, gpc, imports, opt_in, service
from loyalty.consent.ages import ImplausibleAgeError
from loyalty.consent.model import (
    RIGHTS,
    UNSTATED,
    AgeUnknownError,
    AlreadyConfirmedError,
    DecidedInFutureError,
    Decision,
    GuardianRequiredError,
    MethodForbiddenError,
    NotForMinorsError,
    RecordNotFoundError,
    UnknownNoticeError,
    UnknownPurposeError,
)
from loyalty.consent.notices import NoticeNotFoundError
from loyalty.consent.opt_in import OptIn
from loyalty.consent.receipts import CONTENT_TYPE, ControllerBook, receipt_of
from loyalty.consent.schemas import (
    AgeSchema,
    ConfirmedSchema,
    ConfirmSchema,
    ConsentsSchema,
    ConsentsWriteSchema,
    DueQuerySchema,
    DueSchema,
    ImportLineSchema,
    ImportVerdictSchema,
    PageSchema,
    RecordSchema,
    RecordsSchema,
    ShownAgeSchema,
)
from loyalty.consent.service import Circumstances
from loyalty.consent.store import ConsentStore
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.errors import TooLargeError, UnsupportedMediaError
from loyalty.kit.http import (
    NDJSON_TYPE,
    ORJSON_OPTIONS,
    Answer,
    Blueprint,
    idempotency_key,
    invalid,
    ndjson_lines,
    provided,
    refusal_of_line,
    replayed,
)
from loyalty.kit.idempotency import KeyReusedError, fingerprint
from loyalty.kit.settings import Settings
from loyalty.members.model import MemberNotFoundError
from loyalty.members.store import MemberStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from loyalty.consent.imports import Verdict
    from loyalty.consent.model import Change, Record, Standing
    from loyalty.consent.notices import Notice
    from loyalty.consent.purposes import Purpose

blp = Blueprint("consent", __name__, description="What members agree to, and the records of it.")

# What a browser's token may say of how a decision was made; the rest only the shop can know.
TOKEN_METHODS = frozenset({"form", UNSTATED})
_FLAG_EXAMPLE = {
    "purpose": "personalisation",
    "channel": None,
    "granted": True,
    "status": "granted",
    "decided_at": "2026-03-01T09:30:00Z",
    "expires_at": "2029-03-01T09:30:00Z",
}
_DECIDED_EXAMPLE = {
    "purpose": "personalisation",
    "channel": None,
    "granted": True,
    "status": "granted",
    "expires_at": "2029-03-01T09:30:00Z",
}
_RECORD_EXAMPLE = {
    "id": "69a4120c7f1b2c3d4e5f6071",
    "member_id": "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f",
    "seq": 1,
    "kind": "decision",
    "decisions": [_DECIDED_EXAMPLE],
    "consents": [_FLAG_EXAMPLE],
    "restricted": False,
    "method": "form",
    "notice_version": "privacy-2026-01",
    "language": "en",
    "evidence": {"form": "checkout, box not ticked before"},
    "decided_at": "2026-03-01T09:30:00Z",
    "recorded_at": "2026-03-01T09:30:00Z",
    "recorded_by": "k3y1d0000000",
    "hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "previous": "",
}
_IMPORT_EXAMPLE = {
    "identifier": {"type": "email", "value": "ada@example.com"},
    "decisions": [{"purpose": "marketing", "channel": "email", "granted": True}],
    "decided_at": "2025-05-01T10:00:00Z",
    "source": "old newsletter tool, export of May",
    "notice_reference": "newsletter form, version of 2025-01",
}


def flags_body(
    standing: Standing, purposes: Mapping[str, Purpose], at: datetime
) -> list[dict[str, Any]]:
    """Every purpose and channel that members decide on, in one order, asked or not."""
    return [
        _flag(standing, purpose.name, channel, at)
        for purpose in purposes.values()
        if purpose.needs_consent
        for channel in purpose.channels or (None,)
    ]


def _flag(standing: Standing, purpose: str, channel: str | None, at: datetime) -> dict[str, Any]:
    state = standing.state(purpose, channel)
    return {
        "purpose": purpose,
        "channel": channel,
        "granted": standing.allows(purpose, channel, at=at),
        "status": state.status if state else None,
        "decided_at": state.at if state else None,
        "expires_at": state.expires_at if state else None,
    }


def record_body(record: Record, purposes: Mapping[str, Purpose]) -> dict[str, Any]:
    """A record as JSON."""
    return {
        "id": record.id,
        "member_id": record.member_id,
        "seq": record.seq,
        "kind": record.kind,
        "decisions": [_decided(each) for each in record.decisions],
        "consents": flags_body(record.standing, purposes, record.recorded_at),
        "restricted": record.standing.restricted,
        "method": record.method,
        "notice_version": record.notice_version,
        "language": record.language,
        "evidence": record.evidence,
        "decided_at": record.decided_at,
        "recorded_at": record.recorded_at,
        "recorded_by": record.recorded_by,
        "hash": record.hash,
        "previous": record.previous,
    }


def _decided(change: Change) -> dict[str, Any]:
    return {
        "purpose": change.purpose,
        "channel": change.channel,
        "granted": change.granted,
        "status": change.status,
        "expires_at": change.expires_at,
    }


@blp.route("/members/<member:member_id>/consents", methods=["GET"])
@blp.requires("consents:read", member_token=True, purpose=RIGHTS)
@blp.response(
    200,
    ConsentsSchema,
    example={"member_id": "m_…", "restricted": False, "consents": [_FLAG_EXAMPLE]},
)
@blp.raises(MemberNotFoundError)
def show(member_id: str) -> Answer:
    """Read what a member agrees to now."""
    consents = provided(ConsentStore)
    standing = consents.standing(member_id)
    if standing.seq == 0 and not provided(MemberStore).exists(member_id):
        raise MemberNotFoundError
    return {
        "member_id": member_id,
        "restricted": standing.restricted,
        "consents": flags_body(standing, consents.purposes.all(), now()),
    }


@blp.route("/members/<member:member_id>/consents", methods=["PUT"])
@blp.requires("consents:write", member_token=True, purpose=RIGHTS)
@blp.idempotent()
@blp.arguments(
    ConsentsWriteSchema,
    example={
        "decisions": [
            {"purpose": "personalisation", "granted": True},
            {"purpose": "marketing", "channel": "email", "granted": False},
        ],
        "method": "form",
    },
)
@blp.response(200, RecordSchema, example=_RECORD_EXAMPLE)
@blp.raises(
    MemberNotFoundError,
    UnknownPurposeError,
    UnknownNoticeError,
    DecidedInFutureError,
    GuardianRequiredError,
    NotForMinorsError,
    AgeUnknownError,
    MethodForbiddenError,
    KeyReusedError,
)
def write(body: dict[str, Any], member_id: str) -> Answer:
    """Record what a member decided.

    Granting and withdrawing are the same call. It holds on the very next request on every worker.
    What is not named stays as it was. `{"purpose": "marketing", "granted": false}` without a
    channel withdraws from all of them; with `"objection": true` only the member's own later yes
    can lift it. A yes for a channel with double opt-in is `pending`, which counts as no, until the
    link that is sent there is used. A server says by `method` how the member decided: what it
    leaves out counts as `unstated`, which lifts no objection. With `Sec-GPC: 1` the browser's
    refusal is recorded too, of what the body does not name.
    """
    if g.caller.member_id is not None:
        # What a browser does not say is its form: the member's own act.
        if body["method"] not in TOKEN_METHODS:
            raise MethodForbiddenError
        body = {**body, "method": "form"}
    consents, members = provided(ConsentStore), provided(MemberStore)
    done = service.recorded(
        member_id,
        [Decision(**each) for each in body["decisions"]],
        _circumstances(body),
        consents=consents,
        members=members,
        opt_in=provided(OptIn),
    )
    if gpc.is_signalled(request.environ):
        service.note_signal(member_id, at=now(), by=g.caller.id, consents=consents, members=members)
    shown = record_body(done.record, consents.purposes.all())
    return replayed(shown, 200, is_replay=done.is_replay)


def _circumstances(body: Mapping[str, Any]) -> Circumstances:
    key = idempotency_key()
    evidence = dict(body.get("evidence", {}))
    if "guardian" in body:
        evidence["guardian"] = body["guardian"]
    return Circumstances(
        "decision",
        body["method"],
        now(),
        g.caller.id,
        body.get("notice_version"),
        body.get("language"),
        evidence or None,
        body.get("decided_at"),
        gpc.is_signalled(request.environ),
        (key, fingerprint(body)) if key else None,
    )


@blp.route("/members/<member:member_id>/consents/records", methods=["GET"])
@blp.requires("consents:read", member_token=True, purpose=RIGHTS)
@blp.arguments(PageSchema, location="query")
@blp.response(200, RecordsSchema, example={"records": [_RECORD_EXAMPLE], "next_cursor": None})
@blp.raises(MemberNotFoundError, UnknownCursorError)
def records(query: dict[str, Any], member_id: str) -> Answer:
    """List a member's consent records, newest first."""
    limit, consents = query["limit"], provided(ConsentStore)
    found = consents.page(member_id, before_seq=cursor.read(query.get("cursor")), limit=limit)
    if not found and not provided(MemberStore).exists(member_id):
        raise MemberNotFoundError
    more = cursor.write(found[-1].seq) if len(found) == limit else None
    purposes = consents.purposes.all()
    return {"records": [record_body(each, purposes) for each in found], "next_cursor": more}


@blp.route("/members/<member:member_id>/consents/records/<record_id>/receipt", methods=["GET"])
@blp.requires("consents:read", member_token=True, purpose=RIGHTS)
@blp.response(
    200,
    {"type": "object"},
    content_type=CONTENT_TYPE,
    example={"@type": "dpv:ConsentReceipt", "dct:identifier": "receipt-69a4120c7f1b2c3d4e5f6071"},
)
@blp.raises(RecordNotFoundError)
def receipt(member_id: str, record_id: str) -> Answer:
    """Read the receipt of a record: ISO/IEC TS 27560:2023 as JSON-LD, in the terms of the DPV."""
    consents = provided(ConsentStore)
    record = consents.get(member_id, record_id)
    body = receipt_of(
        record,
        notice=_notice(record, consents),
        purposes=consents.purposes.all(),
        controller=provided(ControllerBook).controller(),
    )
    return Response(orjson.dumps(body, option=ORJSON_OPTIONS), content_type=CONTENT_TYPE)


def _notice(record: Record, consents: ConsentStore) -> Notice | None:
    try:
        return consents.notices.get(record.notice_version) if record.notice_version else None
    except NoticeNotFoundError:
        return None


@blp.route("/members/<member:member_id>/age", methods=["PUT"])
@blp.requires("members:write", purpose=RIGHTS)
@blp.arguments(AgeSchema, example={"country": "FR", "born_on": "2013-05-31", "method": "form"})
@blp.response(
    200,
    ShownAgeSchema,
    example={"member_id": "m_…", "is_minor": True, "adult_from": "2028-06-01T00:00:00Z"},
)
@blp.raises(MemberNotFoundError, ImplausibleAgeError)
def put_age(body: dict[str, Any], member_id: str) -> Answer:
    """Say when and where a member was born. Kept sealed.

    Below the country's age of digital consent (Art. 8 GDPR) a member agrees only with a guardian,
    and not at all to what is not offered to minors. What a minor had agreed to alone ends. A
    guardian's yes ends in the month after the member comes of age; then the member is asked.
    """
    at = now()
    record = ages.set_age(
        member_id,
        body["country"],
        _day(body["born_on"]),
        at=at,
        by=g.caller.id,
        method=body["method"],
        consents=provided(ConsentStore),
        members=provided(MemberStore),
    )
    age = record.standing.age
    is_minor = age is not None and age.is_minor(at)
    adult_from = age.adult_from if age else None
    return {"member_id": member_id, "is_minor": is_minor, "adult_from": adult_from}


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise invalid({"born_on": ["Is not a day that exists."]}) from error


@blp.route("/consents/confirm", methods=["POST"])
@blp.public()
@blp.arguments(ConfirmSchema, example={"token": "gAAAAABnxyz123-_="})
@blp.response(
    200,
    ConfirmedSchema,
    example={"purpose": "marketing", "channel": "email", "confirmed_at": "2026-03-01T09:30:00Z"},
)
@blp.raises(InvalidLinkError, AlreadyConfirmedError)
def confirm(body: dict[str, Any]) -> Answer:
    """Confirm a yes that waits, by the token of the link that was sent.

    The link holds for seven days and for one use. Reading it changes nothing: only this does.
    """
    record = opt_in.confirm(
        body["token"],
        at=now(),
        links=provided(LinkMint),
        consents=provided(ConsentStore),
        members=provided(MemberStore),
    )
    (change,) = record.decisions
    return {
        "purpose": change.purpose,
        "channel": change.channel,
        "confirmed_at": record.recorded_at,
    }


@blp.route("/consents/due", methods=["GET"])
@blp.requires("consents:read", purpose=RIGHTS)
@blp.arguments(DueQuerySchema, location="query")
@blp.response(200, DueSchema, example={"members": [], "next_cursor": None})
@blp.raises(UnknownPurposeError)
def list_due(query: dict[str, Any]) -> Answer:
    """List whom to ask again: whose yes ends or ended, or was given under older words.

    Never one who refused within the purpose's interval, who objected, or whose data is restricted.
    A page looks at a bounded number of members, so it can be short or empty; go on until
    `next_cursor` is null.
    """
    page = due.due(
        query["purpose"],
        query.get("channel"),
        within_days=query["within_days"],
        after=query["cursor"],
        limit=query["limit"],
        at=now(),
        consents=provided(ConsentStore),
    )
    return {"members": [each._asdict() for each in page.found], "next_cursor": page.after}


@blp.route("/consents/import", methods=["POST"])
@blp.requires("consents:write", bulk=True, purpose=RIGHTS)
@blp.ndjson_body(ImportLineSchema, example=_IMPORT_EXAMPLE)
@blp.response(
    200,
    ImportVerdictSchema,
    content_type=NDJSON_TYPE,
    example={"line": 1, "status": "recorded", "record_id": "69a4120c7f1b2c3d4e5f6071"},
)
@blp.raises(TooLargeError, UnsupportedMediaError)
def post_import() -> Answer:
    """Import what people agreed to before, with where it comes from.

    NDJSON, a member's decisions a line; at most 10,000 lines of 16 KiB. The answer is a verdict a
    line. The same line again is `replayed`, so a cut import is simply sent again. An import never
    overrides what the member decided later, nor a withdrawal or an objection of any time: it is on
    record then, and the decision's `status` says what holds.
    """
    verdicts = imports.import_lines(
        ndjson_lines(line_bytes_max=imports.LINE_BYTES_MAX),
        at=now(),
        by=g.caller.id,
        line_seconds=provided(Settings).database_timeout_seconds,
        consents=provided(ConsentStore),
        members=provided(MemberStore),
    )
    return Response(b"".join(_verdicts(verdicts)), content_type=NDJSON_TYPE)


def _verdicts(verdicts: Iterable[Verdict]) -> Iterator[bytes]:
    for each in verdicts:
        option = ORJSON_OPTIONS | orjson.OPT_APPEND_NEWLINE
        yield orjson.dumps({"line": each.line, **_verdict(each)}, option=option)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    if verdict.record is not None:
        return {
            "status": "replayed" if verdict.is_replay else "recorded",
            "record_id": verdict.record.id,
            "decisions": [_decided(each) for each in verdict.record.decisions],
        }
    error = verdict.error
    if error is None:
        raise RuntimeError("a verdict is a record or a refusal")
    return {"status": "refused", "problem": refusal_of_line(error)}


def note_signal() -> None:
    """Before a view: record what a known member's browser says by `Sec-GPC: 1`, once.

    The request counts as a refusal by itself, whether or not there is anything new to record. A
    decision that the request itself brings comes first: `write` looks at the signal afterwards.
    """
    if not gpc.is_signalled(request.environ) or "caller" not in g:
        return
    member_id = g.caller.member_id or (request.view_args or {}).get("member_id")
    if member_id is None or request.endpoint == "consent.write":
        return
    consents, members = provided(ConsentStore), provided(MemberStore)
    with suppress(MemberNotFoundError):
        service.note_signal(member_id, at=now(), by=g.caller.id, consents=consents, members=members)
