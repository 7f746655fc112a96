"""Rights over HTTP: those of a member, and the desk where the shop answers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import Response, g, request

from loyalty.access.tokens import TOKEN_SECONDS_MAX, TokenMint
from loyalty.consent.model import UnknownPurposeError
from loyalty.jobs.runner import Runner
from loyalty.jobs.store import JobStore
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.http import Answer, Blueprint, answer, idempotency_key, provided, replayed
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import MemberNotFoundError
from loyalty.members.store import MemberStore
from loyalty.privacy import export, identity, requests, rights
from loyalty.privacy.certificate import SCHEMA as CERTIFICATE_SCHEMA
from loyalty.privacy.model import (
    KINDS,
    AlreadyExtendedError,
    AnsweredByItselfError,
    ErasesItselfError,
    ErasureNotFoundError,
    IdentityNotProvenError,
    InvalidCodeError,
    NoAddressError,
    RequestClosedError,
    RequestNotFoundError,
    TooManyCodesError,
    TooManyRightsRequestsError,
    id_of,
    number_of,
)
from loyalty.privacy.schemas import (
    AnswerReasonSchema,
    CodeSentSchema,
    IdentityCodeSchema,
    MemberErasureSchema,
    MemberExportRequestSchema,
    MemberExportSchema,
    MemberObjectionSchema,
    MemberRectificationSchema,
    MemberRequestsSchema,
    MemberRestrictionSchema,
    MessageLanguageSchema,
    PrivacyRequestSchema,
    PrivacyRequestsSchema,
    ProvenTokenSchema,
    ReceivedRequestSchema,
    RequestsQuerySchema,
)
from loyalty.privacy.service import Desk

if TYPE_CHECKING:
    from datetime import datetime

    from loyalty.privacy.model import Request

blp = Blueprint("privacy", __name__, description="The rights of members, and answering them.")

PURPOSE = "rights"
OWN_REQUESTS_MAX = 200
_MEMBER = "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f"
REQUEST_EXAMPLE = {
    "id": "r_0019c9f2a3b40001",
    "member_id": _MEMBER,
    "kind": "erasure",
    "article": "Art. 17",
    "status": "open",
    "proof": "login",
    "received_at": "2026-03-01T09:30:00Z",
    "due_at": "2026-04-01T09:30:00Z",
    "is_extended": False,
    "is_overdue": False,
    "closed_at": None,
    "reason": None,
    "details": None,
    "erasure_id": None,
    "steps": [{"what": "received", "at": "2026-03-01T09:30:00Z", "by": "member"}],
}
_EXPORT_EXAMPLE = {
    "schema": export.SCHEMA,
    "member_id": _MEMBER,
    "made_at": "2026-03-01T09:30:00Z",
    "language": "en",
    "categories": {"requests": {"heading": "Your requests about your data"}},
    "data": [
        {
            "category": "requests",
            "collection": "privacy_requests",
            "id": "r_0019c9f2a3b40001",
            "data": {"kind": "access", "status": "open"},
        }
    ],
    "count": 1,
}
_CERTIFICATE_EXAMPLE = {
    "schema": CERTIFICATE_SCHEMA,
    "id": "e_" + "0" * 32,
    "found": {"journal": 12},
    "erased": {"journal": 12},
    "left": {},
    "signature": "…",
}
_HTML = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}
_EXERCISES = (
    IdentityNotProvenError,
    KeyReusedError,
    MemberNotFoundError,
    TooManyRightsRequestsError,
)


def body_of(found: Request, at: datetime) -> dict[str, Any]:
    """A request as every answer shows it."""
    return {
        "id": found.id,
        "member_id": found.member_id,
        "kind": found.kind,
        "article": KINDS[found.kind],
        "status": found.status,
        "proof": found.proof,
        "received_at": found.received_at,
        "due_at": found.due_at,
        "is_extended": found.is_extended,
        "is_overdue": found.is_overdue(at),
        "closed_at": found.closed_at,
        "reason": found.reason,
        "details": found.details,
        "erasure_id": found.erasure_id,
        "steps": [each._asdict() for each in found.steps],
    }


def _accepted(found: Request, at: datetime) -> Response:
    """A request that is to be answered; one of another moment was there before."""
    return replayed(body_of(found, at), 202, is_replay=found.received_at != at)


def _asking(member_id: str, language: str = "en") -> rights.Asking:
    """Who exercises a right of a member, how that was proven, when and under which key."""
    key = idempotency_key()
    is_member = g.caller.member_id is not None
    return rights.Asking(
        proof=g.caller.proof if is_member else "shop",
        by="member" if is_member else g.caller.id,
        at=now(),
        desk=provided(Desk),
        # All browsers call as the same key: a member's own ids are not another member's.
        request_key=f"{member_id}:{key}" if key else None,
        language=language,
    )


@blp.route("/members/<member:member_id>/export", methods=["POST"])
@blp.requires("privacy:write", member_token=True, bulk=True, purpose=PURPOSE)
@blp.idempotent()
@blp.arguments(MemberExportRequestSchema, example={"form": "json", "language": "en"})
@blp.response(200, MemberExportSchema, example=_EXPORT_EXAMPLE)
@blp.doc(responses={200: {"content": _HTML}})
@blp.raises(*_EXERCISES)
def export_member(body: dict[str, Any], member_id: str) -> Answer:
    """Export all that is held about a member.

    As a stream: JSON, or with `form: html` (or `Accept: text/html`) one page to read, print and
    keep. It is made at this moment and never stored. A member's token needs proof: a login of the
    last fifteen minutes, or a code. At most five in 24 hours for each right.
    """
    asking = _asking(member_id, body["language"])
    opened = rights.ask(member_id, body["right"], asking)
    best = request.accept_mimetypes.best_match(["application/json", "text/html"])
    form: export.Form = "html" if "text/html" in (best, f"text/{body['form']}") else "json"
    found = export.stream(
        member_id, form=form, language=asking.language, at=asking.at, desk=asking.desk
    )
    return _download(export.answering(found, opened, asking), form)


def _download(found: Any, form: export.Form) -> Response:  # noqa: ANN401  # an iterator of bytes
    kind = "text/html; charset=utf-8" if form == "html" else "application/json"
    response = Response(found, content_type=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="my-data.{form}"'
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@blp.route("/members/<member:member_id>/erase", methods=["POST"])
@blp.requires("privacy:write", member_token=True, purpose=PURPOSE)
@blp.idempotent()
@blp.response(202, PrivacyRequestSchema, example=REQUEST_EXAMPLE)
@blp.raises(*_EXERCISES)
def erase_member(member_id: str) -> Answer:
    """Erase a member.

    From this answer on nothing of the member is used; a job removes it within about a minute, and
    then every address of the member answers 404. The request shows the id of the erasure as soon as
    it has begun: `GET /v1/privacy/erasures/{erasure_id}` gives the signed certificate. It cannot be
    undone. There is no body.
    """
    asking = _asking(member_id)
    found = rights.erase(member_id, asking, jobs=provided(JobStore), runner=provided(Runner))
    return _accepted(found, asking.at)


@blp.route("/members/<member:member_id>/restriction", methods=["POST"])
@blp.requires("privacy:write", member_token=True, purpose=PURPOSE)
@blp.idempotent()
@blp.arguments(MemberRestrictionSchema, example={"restricted": True})
@blp.response(200, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "kind": "restriction"})
@blp.raises(*_EXERCISES)
def restrict_member(body: dict[str, Any], member_id: str) -> Answer:
    """Put a member's data aside, or lift that.

    While it is restricted nothing is used that needs consent or rests on the shop's interest; what
    the contract and the law ask for goes on. It holds on the next request.
    """
    asking = _asking(member_id)
    return body_of(rights.restrict(member_id, asking, **body), asking.at)


@blp.route("/members/<member:member_id>/objection", methods=["POST"])
@blp.requires("privacy:write", member_token=True, purpose=PURPOSE)
@blp.idempotent()
@blp.arguments(MemberObjectionSchema, example={"purpose": "marketing"})
@blp.response(200, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "kind": "objection"})
@blp.raises(*_EXERCISES, UnknownPurposeError)
def object_to(body: dict[str, Any], member_id: str) -> Answer:
    """Object to a use of a member's data.

    To marketing on all channels if nothing else is said; to any purpose of the shop that stands on
    consent or on a legitimate interest. It holds on the next request.
    """
    asking = _asking(member_id)
    return body_of(rights.object_to(member_id, asking, **body), asking.at)


@blp.route("/members/<member:member_id>/rectification", methods=["POST"])
@blp.requires("privacy:write", member_token=True, purpose=PURPOSE)
@blp.idempotent()
@blp.arguments(MemberRectificationSchema, example={"text": "My birthday is 29 February."})
@blp.response(202, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "kind": "rectification"})
@blp.raises(*_EXERCISES)
def rectify(body: dict[str, Any], member_id: str) -> Answer:
    """Ask for a correction of what is held about a member.

    In the member's words. The shop corrects the profile and the identifiers with the operations for
    that, and completes the request.
    """
    asking = _asking(member_id, body["language"])
    found = rights.ask(member_id, "rectification", asking, {"text": body["text"]})
    return _accepted(found, asking.at)


@blp.route("/members/<member:member_id>/requests", methods=["GET"])
@blp.requires("privacy:read", member_token=True, purpose=PURPOSE)
@blp.response(200, MemberRequestsSchema, example={"requests": [REQUEST_EXAMPLE]})
@blp.raises(MemberNotFoundError)
def own_requests(member_id: str) -> Answer:
    """List the newest requests of a member."""
    if not provided(MemberStore).exists(member_id):
        raise MemberNotFoundError
    found, at = provided(Desk).requests.of_member(member_id, limit=OWN_REQUESTS_MAX), now()
    return {"requests": [body_of(each, at) for each in found]}


@blp.route("/members/<member:member_id>/requests", methods=["POST"])
@blp.requires("privacy:write", purpose=PURPOSE)
@blp.idempotent()
@blp.arguments(ReceivedRequestSchema, example={"kind": "rectification", "identity_proven": False})
@blp.response(201, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "kind": "rectification"})
@blp.raises(KeyReusedError, MemberNotFoundError, TooManyRightsRequestsError)
def record_request(body: dict[str, Any], member_id: str) -> Answer:
    """Record a request that came by letter, by telephone or in a store.

    Its month begins when it came in. An open one of the same kind is given back instead of a second
    one; if that waits for proof of who the member is and this call vouches for it, it goes on. An
    erasure that is vouched for begins at once; a restriction and an objection take effect by
    `/restriction` and `/objection`, which answer the request that is open.
    """
    asking = _asking(member_id, body["language"])
    recorded = requests.record_request(
        member_id,
        body["kind"],
        received_at=min(body.get("received_at", asking.at), asking.at),
        is_proven=body["identity_proven"],
        details={"text": body["text"]} if "text" in body else None,
        language=asking.language,
        at=asking.at,
        by=asking.by,
        desk=asking.desk,
        request_key=asking.request_key,
    )
    found = recorded.request
    if found.kind == "erasure" and found.status == "open":
        rights.start_erasure(found, asking, jobs=provided(JobStore), runner=provided(Runner))
    return replayed(body_of(found, asking.at), 201, is_replay=recorded.is_replay)


@blp.route("/members/<member:member_id>/identity-code", methods=["POST"])
@blp.requires("privacy:write", member_token=True, purpose=PURPOSE)
@blp.arguments(MessageLanguageSchema, example={"language": "en"})
@blp.response(
    202, CodeSentSchema, example={"channel": "email", "expires_at": "2026-03-01T09:40:00Z"}
)
@blp.raises(MemberNotFoundError, NoAddressError, TooManyCodesError)
def send_code(body: dict[str, Any], member_id: str) -> Answer:
    """Send a member a code to prove who it is.

    Six digits, by e-mail or else by text message, through the shop's own tool, which fetches it
    from `GET /v1/messages`. It is good for ten minutes and five tries; three an hour may be sent.
    """
    sent = identity.send_code(member_id, language=body["language"], at=now(), desk=provided(Desk))
    return answer({"channel": sent.channel, "expires_at": sent.expires_at}, 202)


@blp.route("/members/<member:member_id>/identity-code/check", methods=["POST"])
@blp.requires("privacy:write", member_token=True, purpose=PURPOSE)
@blp.arguments(IdentityCodeSchema, example={"code": "012345"})
@blp.response(
    200,
    ProvenTokenSchema,
    example={"token": "eyJhbGciOi…", "expires_at": "2026-03-01T09:45:00Z", "proof": "code"},
)
@blp.raises(MemberNotFoundError, InvalidCodeError)
def check_code(body: dict[str, Any], member_id: str) -> Answer:
    """Exchange a code for a token that proves who the member is.

    With it the member's browser can exercise rights, for fifteen minutes.
    """
    at = now()
    if not identity.check_code(member_id, body["code"], at=at, desk=provided(Desk)):
        raise InvalidCodeError
    token = provided(TokenMint).mint(
        member_id, at=at, seconds=TOKEN_SECONDS_MAX, proof="code", proven_at=at
    )
    expires_at = at.replace(microsecond=0) + timedelta(seconds=TOKEN_SECONDS_MAX)
    return {"token": token, "expires_at": expires_at, "proof": "code"}


@blp.route("/privacy/requests", methods=["GET"])
@blp.requires("privacy:read", purpose=PURPOSE)
@blp.arguments(RequestsQuerySchema, location="query")
@blp.response(
    200, PrivacyRequestsSchema, example={"requests": [REQUEST_EXAMPLE], "next_cursor": None}
)
@blp.raises(UnknownCursorError)
def list_requests(query: dict[str, Any]) -> Answer:
    """List members' requests, newest first.

    `overdue=true` gives those alone that should have been answered by now.
    """
    at, limit, position = now(), query["limit"], cursor.read(query.get("cursor"))
    found = provided(Desk).requests.page(
        status=query.get("status"),
        overdue_at=at if query["overdue"] == "true" else None,
        before_id=None if position is None else id_of(position),
        limit=limit,
    )
    more = cursor.write(number_of(found[-1].id)) if len(found) == limit else None
    return answer({"requests": [body_of(each, at) for each in found], "next_cursor": more})


@blp.route("/privacy/requests/<request_id>", methods=["GET"])
@blp.requires("privacy:read", purpose=PURPOSE)
@blp.response(200, PrivacyRequestSchema, example=REQUEST_EXAMPLE)
@blp.raises(RequestNotFoundError)
def show_request(request_id: str) -> Answer:
    """Read a request: how it stands, and what happened to it."""
    return body_of(provided(Desk).requests.get(request_id), now())


@blp.route("/privacy/requests/<request_id>/complete", methods=["POST"])
@blp.requires("privacy:write", purpose=PURPOSE)
@blp.response(200, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "status": "done"})
@blp.raises(RequestNotFoundError, RequestClosedError, ErasesItselfError, AnsweredByItselfError)
def complete_request(request_id: str) -> Answer:
    """Complete a request that was answered.

    The member is told. A request for erasure is completed by the erasure alone, one for restriction
    or objection by `POST /v1/members/{member_id}/restriction` or `/objection`.
    """
    desk, at = provided(Desk), now()
    found = desk.requests.get(request_id)
    return body_of(requests.complete_by_hand(found, at=at, by=g.caller.id, desk=desk), at)


@blp.route("/privacy/requests/<request_id>/refuse", methods=["POST"])
@blp.requires("privacy:write", purpose=PURPOSE)
@blp.arguments(AnswerReasonSchema, example={"reason": "The identity could not be established."})
@blp.response(200, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "status": "refused"})
@blp.raises(RequestNotFoundError, RequestClosedError)
def refuse_request(body: dict[str, Any], request_id: str) -> Answer:
    """Refuse a request, with the reason.

    The member is told the reason, as Art. 12(4) asks; an erasure that has begun is not refused.
    """
    desk, at = provided(Desk), now()
    found = desk.requests.get(request_id)
    return body_of(requests.refuse(found, body["reason"], at=at, by=g.caller.id, desk=desk), at)


@blp.route("/privacy/requests/<request_id>/extend", methods=["POST"])
@blp.requires("privacy:write", purpose=PURPOSE)
@blp.arguments(AnswerReasonSchema, example={"reason": "The history is in three archives."})
@blp.response(200, PrivacyRequestSchema, example={**REQUEST_EXAMPLE, "is_extended": True})
@blp.raises(RequestNotFoundError, RequestClosedError, AlreadyExtendedError)
def extend_request(body: dict[str, Any], request_id: str) -> Answer:
    """Extend the deadline of a request by two months, once.

    The member is told the reason, as Art. 12(3) asks.
    """
    desk, at = provided(Desk), now()
    found = desk.requests.get(request_id)
    return body_of(requests.extend(found, body["reason"], at=at, by=g.caller.id, desk=desk), at)


@blp.route("/privacy/erasures/<erasure_id>", methods=["GET"])
@blp.requires("privacy:read", purpose=PURPOSE)
@blp.response(
    200,
    MemberErasureSchema,
    example={
        "id": "e_" + "0" * 32,
        "status": "done",
        "passes": 2,
        "begun_at": "2026-03-01T09:30:00Z",
        "done_at": "2026-03-01T09:30:40Z",
        "certificate": _CERTIFICATE_EXAMPLE,
    },
)
@blp.raises(ErasureNotFoundError)
def show_erasure(erasure_id: str) -> Answer:
    """Read how far an erasure is, and its certificate.

    The certificate is signed with the shop's key and says nothing of whom it is about.
    """
    found = provided(Desk).erasures.get(erasure_id)
    return {
        "id": found.id,
        "status": "done" if found.done_at else "running",
        "passes": found.passes,
        "begun_at": found.begun_at,
        "done_at": found.done_at,
        "certificate": found.certificate,
    }
