"""Erase members: in steps that may be stopped anywhere and begun again, up to a certificate.

The order is what makes it final. First a tombstone, in the vault's database. Then each pass ends
the journal, destroys the key and has every holder remove what it keeps. A request that was in
flight during the first pass may still write something; so another pass follows when those are
surely over, and only one that finds nothing at all leads to the certificate.
"""

from __future__ import annotations

import secrets
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.privacy.certificate import certificate_of
from loyalty.privacy.erasures import ErasureLeaseLostError, new_erasure_id
from loyalty.privacy.model import RequestClosedError, Step
from loyalty.privacy.requests import close

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from loyalty.jobs.model import JobFunction, Report
    from loyalty.privacy.erasures import Erasure
    from loyalty.privacy.model import Request
    from loyalty.privacy.service import Desk

KIND = "erasure"
BY = "erasure"
# No request works for so long: each has a deadline of seconds on all its database work.
IN_FLIGHT = timedelta(seconds=30)
PASSES_MAX = 6
AT_ONCE_MAX = 100
ROUNDS_MAX = 1000
IDLE_ROUNDS_MAX = 90
POLL_SECONDS = 1.0


class ErasureIncompleteError(Exception):
    """Something goes on writing about a member that is being erased: a bug of ours."""


class Eraser(NamedTuple):
    """Who erases: the stores, the clock, how to wait so many seconds, and whom to tell.

    `progress` gets (done, total, stage) several times a second, as a job's report does.
    """

    desk: Desk
    clock: Callable[[], datetime]
    wait: Callable[[float], None]
    progress: Callable[[int, int, str], None]
    in_flight: timedelta = IN_FLIGHT


def erase_member(member_id: str, *, reason: str, eraser: Eraser) -> Erasure:
    """Erase one member now, whoever asked for it; returns when it is certified.

    Args:
        member_id: whom.
        reason: a word for the certificate: `request`, `inactivity`.
        eraser: with what.

    Raises:
        ErasureIncompleteError: the member's data keeps coming back.
    """
    at = eraser.clock()
    begun = eraser.desk.erasures.begin(
        new_erasure_id(), member_id, reason=reason, asked_at=at, at=at
    )
    for error in _to_the_end([begun], eraser):
        raise error
    return eraser.desk.erasures.get(begun.id)


def start(member_id: str, *, reason: str, eraser: Eraser) -> Erasure:
    """Erase a member at once and leave the last look and the certificate to `work`.

    For whoever erases many, one after the other, and does not want to wait for each.
    """
    at = eraser.clock()
    begun = eraser.desk.erasures.begin(
        new_erasure_id(), member_id, reason=reason, asked_at=at, at=at
    )
    return advance(begun.id, eraser) or eraser.desk.erasures.get(begun.id)


def work(eraser: Eraser) -> list[str]:
    """Carry out every erasure that was asked for or was left lying; the ids of those begun here.

    Safe to stop anywhere, to run again, and to run in several processes at once.

    Raises:
        ErasureIncompleteError: one that cannot be ended; all others were carried out first.
    """
    desk, known = eraser.desk, Counter[str]()
    stuck: list[ErasureIncompleteError] = []
    for _ in range(ROUNDS_MAX):
        for request in desk.requests.to_erase(limit=AT_ONCE_MAX):
            _begin(request, eraser)
        found = desk.erasures.unfinished(limit=AT_ONCE_MAX + len(known))
        fresh = [each for each in found if each.id not in known]
        if not fresh:
            break
        known.update(each.id for each in fresh)
        stuck += _to_the_end(fresh, eraser)
    if stuck:
        raise stuck[0]
    return sorted(known)


def job(eraser: Callable[[Report], Eraser]) -> JobFunction:
    """The function that carries out what was asked for; it may be begun again at any time."""

    def run(_: Mapping[str, Any], told: Report) -> Mapping[str, Any]:
        return {"erasures": work(eraser(told))}

    return run


def advance(erasure_id: str, eraser: Eraser) -> Erasure | None:
    """Do the next pass of an erasure, if it is due and nobody else is at it.

    Raises:
        ErasureIncompleteError: it had too many passes.
    """
    desk, lease_id = eraser.desk, secrets.token_hex(8)
    erasure = desk.erasures.claim(erasure_id, lease_id, at=eraser.clock())
    if erasure is None:
        return None
    try:
        if eraser.clock() < due_at(erasure, eraser):
            return erasure
        if erasure.passes >= PASSES_MAX:
            raise ErasureIncompleteError
        return _pass(erasure, lease_id, eraser)
    except ErasureLeaseLostError:
        return None
    finally:
        desk.erasures.let_go(erasure_id, lease_id)


def due_at(erasure: Erasure, eraser: Eraser) -> datetime:
    """When the next pass may begin: at once, or when what was in flight is surely over."""
    if erasure.passed_at is None:
        return erasure.begun_at
    return erasure.passed_at + eraser.in_flight


def _begin(request: Request, eraser: Eraser) -> None:
    """Put the tombstone up for a request, unless it was refused at this moment."""
    desk, at = eraser.desk, eraser.clock()
    if request.erasure_id is None:
        step = Step("begun", at, BY)
        changed = desk.requests.change(request, {"erasure_id": new_erasure_id()}, step=step)
        if changed is None:
            return
        request = changed
    begun = desk.erasures.begin(
        request.erasure_id or new_erasure_id(),
        request.member_id or "",
        reason="request",
        asked_at=request.received_at,
        at=at,
        request_id=request.id,
    )
    if begun.id != request.erasure_id:
        desk.erasures.answer_also(begun.id, request.id)
        desk.requests.change(request, {"erasure_id": begun.id}, step=Step("joined", at, BY))


def _to_the_end(erasures: list[Erasure], eraser: Eraser) -> list[ErasureIncompleteError]:
    """Go on with these until all are done, or others work at those that are left.

    Returns:
        What was met by those that cannot be ended: they keep nobody else waiting.
    """
    left, idle_rounds = {each.id: each for each in erasures}, 0
    stuck: list[ErasureIncompleteError] = []
    total = len(left)

    def beat(*_: object) -> None:
        eraser.progress(total - len(left), total, "erasing")

    for _ in range(ROUNDS_MAX):
        idle_rounds += 1
        for erasure_id, before in list(left.items()):
            beat()
            try:
                after = _advanced(erasure_id, eraser._replace(progress=beat))
            except ErasureIncompleteError as error:
                stuck.append(error)
                del left[erasure_id]
                continue
            if (after.passes, after.done_at) != (before.passes, before.done_at):
                idle_rounds = 0
            left[erasure_id] = after
        left = {name: each for name, each in left.items() if each.done_at is None}
        if not left or idle_rounds > IDLE_ROUNDS_MAX:
            beat()
            break
        _wait_for(list(left.values()), total, eraser)
    return stuck


def _advanced(erasure_id: str, eraser: Eraser) -> Erasure:
    return advance(erasure_id, eraser) or eraser.desk.erasures.get(erasure_id)


def _wait_for(left: list[Erasure], total: int, eraser: Eraser) -> None:
    """Wait until the first of these is due, a second at a time so that a job can be stopped."""
    until = min(due_at(each, eraser) for each in left)
    for _ in range(int(eraser.in_flight.total_seconds()) + 1):
        eraser.progress(total - len(left), total, "waiting for requests in flight")
        seconds = (until - eraser.clock()).total_seconds()
        # Nothing to wait for means that another eraser is at it.
        eraser.wait(min(seconds, POLL_SECONDS) if seconds > 0 else POLL_SECONDS)
        if seconds <= POLL_SECONDS:
            return


def _pass(erasure: Erasure, lease_id: str, eraser: Eraser) -> Erasure:
    """Remove what is there; certify if there was nothing and this is not the first time."""
    desk, member_id, store = eraser.desk, erasure.member_id, eraser.desk.erasures
    if erasure.found is None:
        _note_before(erasure, lease_id, eraser)
    at = eraser.clock()
    desk.journal.end(member_id)
    had_key = desk.vault.shred(member_id)
    if erasure.shredded_at is None:
        store.note(erasure.id, lease_id, at=at, fields={"shredded_at": at})
    went: Counter[str] = Counter()
    for holder in desk.holders:
        counts = holder.erase(member_id)
        erasure = store.note(erasure.id, lease_id, at=eraser.clock(), erased=counts)
        went.update(counts)
        eraser.progress(0, 1, "erasing")
    is_clean = not had_key and not went.total() and not _holds(member_id, desk)
    at = eraser.clock()
    fields = {"passes": erasure.passes + 1, "passed_at": at}
    erasure = store.note(erasure.id, lease_id, at=at, fields=fields)
    return _certify(erasure, lease_id, eraser) if is_clean and erasure.passes > 1 else erasure


def _note_before(erasure: Erasure, lease_id: str, eraser: Eraser) -> None:
    """Count what there is about the member while it can be read, and what its consents add up to.

    Exactly once, and kept before anything is destroyed: whoever goes on later would see less.
    """
    desk, member_id = eraser.desk, erasure.member_id
    # Two nouns may say something of one document: it is one that goes.
    found: dict[str, set[str]] = {}
    for holder in desk.holders:
        for held in holder.held(member_id):
            found.setdefault(held.collection, set()).add(held.id)
    fields: dict[str, Any] = {"found": {name: len(ids) for name, ids in found.items()}}
    if desk.ledger is not None:
        fields["contribution"] = dict(desk.ledger.contribution(member_id))
    desk.erasures.note(erasure.id, lease_id, at=eraser.clock(), fields=fields)


def _holds(member_id: str, desk: Desk) -> bool:
    return any(True for holder in desk.holders for _ in holder.held(member_id))


def _certify(erasure: Erasure, lease_id: str, eraser: Eraser) -> Erasure:
    desk, at = eraser.desk, eraser.clock()
    certificate = desk.signer.sign(certificate_of(erasure, at=at))
    if erasure.request_id:
        # Before the last step: a request is never left open beside a finished erasure.
        _close(erasure, at, desk)
    return desk.erasures.finish(erasure.id, lease_id, certificate, at=at)


def _close(erasure: Erasure, at: datetime, desk: Desk) -> None:
    try:
        close(desk.requests.get(erasure.request_id or ""), "done", at=at, by=BY, desk=desk)
    except RequestClosedError:
        return
