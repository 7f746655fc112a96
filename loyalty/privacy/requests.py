"""Open a request, and answer it: complete, refuse, extend. Each within its deadline."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

from loyalty.kit.errors import UnavailableError
from loyalty.kit.idempotency import KeyReusedError, fingerprint
from loyalty.members.model import MemberNotFoundError
from loyalty.messages.model import Message
from loyalty.privacy.model import (
    DAY,
    MONTHS,
    MONTHS_EXTENDED,
    PROOFS,
    TRIES_A_DAY_MAX,
    AlreadyExtendedError,
    AnsweredByItselfError,
    ErasesItselfError,
    Request,
    RequestClosedError,
    RequestOpenError,
    Step,
    TooManyRightsRequestsError,
    months_after,
    request_id,
    require_proof,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.messages.model import MessageKind
    from loyalty.privacy.model import Kind
    from loyalty.privacy.service import Desk

OPEN_ATTEMPTS_MAX = 8
MESSAGE_KEPT = timedelta(days=30)
# These are answered by the request itself; a message that one was received would be noise.
AT_ONCE = frozenset({"access", "portability", "restriction", "objection"})
# These take effect by a call of their own, which answers the request, too.
EXERCISED = frozenset({"restriction", "objection"})
# A retry of these gives all the data once more, so it counts as often as it comes.
EXPORTS = frozenset({"access", "portability"})


class Opened(NamedTuple):
    """A request, and whether it had been there before."""

    request: Request
    is_replay: bool


def open_request(
    member_id: str,
    kind: Kind,
    *,
    proof: str,
    at: datetime,
    by: str,
    desk: Desk,
    request_key: str | None = None,
    details: Mapping[str, Any] | None = None,
    language: str = "en",
) -> Request:
    """The member's open request of a kind: one that is there already, or a new one.

    Args:
        member_id: whose.
        kind: which right.
        proof: how the member was recognised: `login`, `code`, or `shop` for the shop's own key.
        at: now.
        by: the id of who asks.
        desk: the stores.
        request_key: sent again with the same details, it leads to the same request.
        details: what the member wrote; JSON values, sealed at rest.
        language: of the messages about it.

    Raises:
        IdentityNotProvenError: the proof is none.
        MemberNotFoundError: there is no such member.
        TooManyRightsRequestsError: the member asked for it too often in 24 hours.
        KeyReusedError: the idempotency key came with another request before.
    """
    require_proof(proof)
    draft = _draft(
        member_id,
        kind,
        proof=proof,
        received_at=at,
        at=at,
        by=by,
        details=details,
        language=language,
        request_key=request_key,
    )
    return opened(draft, at=at, desk=desk).request


def record_request(
    member_id: str,
    kind: Kind,
    *,
    received_at: datetime,
    is_proven: bool,
    at: datetime,
    by: str,
    desk: Desk,
    request_key: str | None = None,
    details: Mapping[str, Any] | None = None,
    language: str = "en",
) -> Opened:
    """Keep a request that reached the shop by letter, by telephone or in a store.

    Args:
        member_id: whose.
        kind: which right.
        received_at: when it came in: the deadline counts from here.
        is_proven: whether it is sure that the member sent it; otherwise it waits for that.
        at: now.
        by: the id of who records it.
        desk: the stores.
        request_key: as in `open_request`.
        details: as in `open_request`.
        language: of the messages about it.

    Raises:
        MemberNotFoundError, TooManyRightsRequestsError, KeyReusedError: as `open_request`.
    """
    proof = "shop" if is_proven else ""
    draft = _draft(
        member_id,
        kind,
        proof=proof,
        received_at=received_at,
        at=at,
        by=by,
        details=details,
        language=language,
        request_key=request_key,
    )
    return opened(draft, at=at, desk=desk)


def opened(draft: Request, *, at: datetime, desk: Desk) -> Opened:
    """Keep a draft, unless the member has an open request of its kind: then that one."""
    member_id = draft.member_id or ""
    # Keyed: a bare digest of a member's words could tell whether a guess at them is right.
    mark = hmac.digest(desk.code_secret, draft.fingerprint.encode(), "sha256").hex()
    draft = replace(draft, fingerprint=mark)
    for _ in range(OPEN_ATTEMPTS_MAX):
        if seen := _seen(draft, desk):
            return Opened(_met(seen, draft, at, desk), is_replay=True)
        if not desk.members.exists(member_id):
            raise MemberNotFoundError
        _require_few(draft, at, desk)
        try:
            desk.requests.add(draft)
        except RequestOpenError:
            # Another one is open by now; or the id, drawn within one millisecond, was taken.
            draft = replace(draft, id=request_id(at, secrets.randbelow(2**20)))
            continue
        _note_try(draft, at, desk, is_new=True)
        if draft.kind not in AT_ONCE:
            tell(draft, "request_received", at=at, desk=desk)
        return Opened(draft, is_replay=False)
    raise UnavailableError("Too many requests of this member at once; nothing was written.")


def complete_by_hand(request: Request, *, at: datetime, by: str, desk: Desk) -> Request:
    """Say of a request that the shop answered it.

    Raises:
        AnsweredByItselfError: it is for a restriction, or an objection: these take effect by a call
            of their own, which answers the request.
        ErasesItselfError, RequestClosedError: as `complete`.
    """
    if request.is_open and request.kind in EXERCISED:
        raise AnsweredByItselfError(f"POST /v1/members/{{member_id}}/{request.kind} answers it.")
    return complete(request, at=at, by=by, desk=desk)


def complete(request: Request, *, at: datetime, by: str, desk: Desk) -> Request:
    """Answer a request; the member is told.

    Raises:
        ErasesItselfError: it is one for erasure.
        RequestClosedError: it was answered before.
    """
    if request.kind == "erasure":
        raise ErasesItselfError
    done = close(request, "done", at=at, by=by, desk=desk)
    tell(done, "request_done", at=at, desk=desk)
    return done


def refuse(request: Request, reason: str, *, at: datetime, by: str, desk: Desk) -> Request:
    """Refuse a request, with the reason that the member is told (Art. 12(4)).

    Raises:
        RequestClosedError: it was answered before, or the erasure has begun.
    """
    if request.erasure_id:
        raise RequestClosedError("being carried out")
    refused = close(request, "refused", at=at, by=by, desk=desk, reason=reason)
    tell(refused, "request_done", at=at, desk=desk)
    return refused


def extend(request: Request, reason: str, *, at: datetime, by: str, desk: Desk) -> Request:
    """Give a request two more months, once, with the reason that the member is told (Art. 12(3)).

    Raises:
        AlreadyExtendedError: it was extended before.
        RequestClosedError: it was answered before.
    """
    if not request.is_open:
        raise RequestClosedError(request.status)
    if request.is_extended:
        raise AlreadyExtendedError
    due_at = months_after(request.received_at, MONTHS_EXTENDED)
    changes = {"is_extended": True, "due_at": due_at}
    step = Step("extended", at, by)
    extended = desk.requests.change(request, changes, step=step, reason=reason)
    if extended is None:
        raise AlreadyExtendedError
    tell(extended, "request_extended", at=at, desk=desk)
    return extended


def close(
    request: Request, status: str, *, at: datetime, by: str, desk: Desk, reason: str | None = None
) -> Request:
    """Give a request its end, exactly once.

    Raises:
        RequestClosedError: it has one.
    """
    changes = {"status": status, "closed_at": at}
    step = Step(status, at, by)
    closed = None
    if request.is_open:
        closed = desk.requests.change(request, changes, step=step, reason=reason)
    if closed is None:
        raise RequestClosedError(desk.requests.get(request.id).status)
    return closed


def tell(request: Request, kind: MessageKind, *, at: datetime, desk: Desk) -> None:
    """Ask the shop's tool to tell the member how the request stands.

    Nobody is told of an erasure that is carried out: the message would be erased with all else,
    before it is sent. That it is refused, or takes longer, is told with the reason.
    """
    is_put_off = request.status == "refused" or request.is_extended
    if request.member_id is None or (request.kind == "erasure" and not is_put_off):
        return
    content = {
        "request_id": request.id,
        "request": request.kind,
        "status": request.status,
        "received_at": request.received_at,
        "due_at": request.due_at,
        "reason": request.reason,
    }
    message = Message(
        id=str(ObjectId()),
        member_id=request.member_id,
        kind=kind,
        channel="email",
        language=request.language,
        content=content,
        created_at=at,
        expires_at=at + MESSAGE_KEPT,
    )
    desk.outbox.post(message)


def _draft(
    member_id: str,
    kind: Kind,
    *,
    proof: str,
    received_at: datetime,
    at: datetime,
    by: str,
    details: Mapping[str, Any] | None,
    language: str,
    request_key: str | None,
) -> Request:
    mark = fingerprint({"member": member_id, "kind": kind, "details": details or {}})
    return Request(
        id=request_id(at, secrets.randbelow(2**20)),
        member_id=member_id,
        kind=kind,
        status="open" if proof in PROOFS else "waiting_for_identity",
        proof=proof,
        received_at=received_at,
        due_at=months_after(received_at, MONTHS),
        by=by,
        language=language,
        details=details,
        steps=(Step("received", received_at, by),),
        request_key=request_key,
        fingerprint=mark,
    )


def _seen(draft: Request, desk: Desk) -> Request | None:
    """The request that a draft repeats.

    Raises:
        KeyReusedError: its idempotency key came with another request.
    """
    if draft.request_key and (seen := desk.requests.by_request(draft.request_key)):
        if seen.fingerprint != draft.fingerprint:
            raise KeyReusedError
        return seen
    return desk.requests.open_of(draft.member_id or "", draft.kind)


def _met(seen: Request, draft: Request, at: datetime, desk: Desk) -> Request:
    """A request that was asked for again, perhaps with the proof that it waited for."""
    if seen.is_open or seen.kind in EXPORTS:
        _require_few(seen, at, desk)
        _note_try(seen, at, desk, is_new=False)
        seen = _with_words(seen, draft, at, desk)
    if seen.status != "waiting_for_identity" or draft.proof not in PROOFS:
        return seen
    # The month began when the request came in; what was not sure was only from whom.
    changes = {"status": "open", "proof": draft.proof}
    step = Step("identified", at, draft.by)
    return desk.requests.change(seen, changes, step=step) or desk.requests.get(seen.id)


def _with_words(seen: Request, draft: Request, at: datetime, desk: Desk) -> Request:
    """An open request with what the member writes now; of a retry under the same key nothing."""
    text = (draft.details or {}).get("text")
    is_retry = draft.request_key is not None and seen.request_key == draft.request_key
    if not text or not seen.is_open or is_retry:
        return seen
    return desk.requests.add_words(seen, text, Step("added", at, draft.by)) or seen


def _require_few(draft: Request, at: datetime, desk: Desk) -> None:
    most = TRIES_A_DAY_MAX[draft.kind]
    tries = desk.requests.tries(draft.member_id or "", draft.kind, since=at - DAY)
    if len(tries) >= most:
        raise TooManyRightsRequestsError(tries[-most] + DAY - at)


def _note_try(request: Request, at: datetime, desk: Desk, *, is_new: bool) -> None:
    """Count a try, then look again: of many at once no more get through than there may be."""
    desk.requests.note_try(request.id, at)
    most = TRIES_A_DAY_MAX[request.kind]
    tries = desk.requests.tries(request.member_id or "", request.kind, since=at - DAY)
    if len(tries) > most:
        if is_new:
            desk.requests.take_back(request.id)
        raise TooManyRightsRequestsError(tries[-most] + DAY - at)
