"""Record what members decide: read where they stand, compute the next record, append it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

from loyalty.consent import gpc, rules
from loyalty.consent.asking import changes_of, checked, flags_of, noticed
from loyalty.consent.model import (
    REFUSED,
    Change,
    DecidedInFutureError,
    Record,
    Said,
    Standing,
)
from loyalty.consent.store import RequestSeenError, StaleRecordError
from loyalty.kit.errors import FieldError, UnavailableError
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from loyalty.consent.model import Age, Decision, FlagState, Kind
    from loyalty.consent.opt_in import OptIn
    from loyalty.consent.store import ConsentStore
    from loyalty.members.store import MemberStore

APPEND_ATTEMPTS_MAX = 64
# A no said to be so near to now was said now: clocks of shops differ by that, and a withdrawal must
# not lose against the grant before it because of a clock. A yes gains nothing by that.
CLOCK_TOLERANCE = timedelta(minutes=2)


class Recorded(NamedTuple):
    """A record, and whether the request had been carried out before."""

    record: Record
    is_replay: bool


class Circumstances(NamedTuple):
    """What is the same for all decisions of a record; see `record`."""

    kind: Kind
    method: str
    at: datetime
    by: str
    notice_version: str | None = None
    language: str | None = None
    evidence: Mapping[str, Any] | None = None
    decided_at: datetime | None = None
    has_signal: bool = False
    request: tuple[str, str] | None = None


class Next(NamedTuple):
    """What a record is to change; None leaves as it is."""

    changes: Sequence[Change] = ()
    restricted: bool | None = None
    age: Age | None = None


def record(
    member_id: str,
    decisions: Sequence[Decision],
    *,
    method: str,
    notice_version: str | None = None,
    at: datetime,
    by: str,
    consents: ConsentStore,
    members: MemberStore,
    language: str | None = None,
    evidence: Mapping[str, Any] | None = None,
    decided_at: datetime | None = None,
    has_signal: bool = False,
    request: tuple[str, str] | None = None,
    opt_in: OptIn | None = None,
) -> Record:
    """Append what a member decided. It holds for the next request on every worker.

    Args:
        member_id: who.
        decisions: what; of two on one purpose and channel the last counts.
        method: how it was given, one of `METHODS`.
        notice_version: what the member had read.
        at: now.
        by: the key, or what else wrote it.
        consents: where to.
        members: who there is.
        language: of the notice; needed if it has several.
        evidence: what shows that it was given: kept sealed. `guardian` in it is a guardian's.
        decided_at: when it was decided, if not now: it never overrides what was decided later.
        has_signal: whether the request carried `Sec-GPC: 1`.
        request: the idempotency key and the fingerprint of the body.
        opt_in: posts the links that confirm a yes on channels with a double opt-in; without it
            such a yes waits for ever.

    Raises:
        MemberNotFoundError, UnknownPurposeError, UnknownNoticeError, DecidedInFutureError,
        GuardianRequiredError, NotForMinorsError, AgeUnknownError, KeyReusedError: as they say.
    """
    how = Circumstances(
        "decision", method, at, by, notice_version, language, evidence, decided_at, has_signal
    )._replace(request=request)
    return recorded(
        member_id, decisions, how, consents=consents, members=members, opt_in=opt_in
    ).record


def recorded(
    member_id: str,
    decisions: Sequence[Decision],
    how: Circumstances,
    *,
    consents: ConsentStore,
    members: MemberStore,
    opt_in: OptIn | None = None,
) -> Recorded:
    """The same as `record`, and whether the request was seen before.

    Raises:
        MemberNotFoundError, UnknownPurposeError, UnknownNoticeError, DecidedInFutureError,
        GuardianRequiredError, NotForMinorsError, AgeUnknownError, KeyReusedError: as they say.
    """
    how = how._replace(request=consents.marked(how.request))
    if seen := _replay(member_id, how.request, consents):
        return seen
    how = how._replace(
        language=noticed(how.notice_version, how.language, consents),
        decided_at=_moment(how.decided_at, how.at, is_no=not any(e.granted for e in decisions)),
    )
    purposes = checked(
        decisions, consents.purposes.all(), lambda: consents.standing(member_id).flags
    )

    def draw(standing: Standing) -> Next:
        return Next(changes_of(decisions, standing, how, purposes))

    try:
        fresh = append(member_id, draw, how, consents=consents, members=members)
    except RequestSeenError:
        seen = _replay(member_id, how.request, consents)
        if seen is None:
            raise
        return seen
    if opt_in is not None:
        opt_in.post(fresh)
    return Recorded(fresh, is_replay=False)


def restrict(
    member_id: str,
    *,
    restricted: bool,
    at: datetime,
    by: str,
    method: str,
    consents: ConsentStore,
    members: MemberStore,
) -> Record:
    """Restrict what is done with a member's data (Art. 18 GDPR), or lift that.

    While it is restricted, nothing is done on consent or on a legitimate interest. What the
    contract needs goes on: a till still awards points to a member who shows the card. The
    decisions stay as they are and hold again when it is lifted.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    how = Circumstances("restriction", method, at, by)
    return append(
        member_id, lambda _: Next(restricted=restricted), how, consents=consents, members=members
    )


def withdraw_all(
    member_id: str,
    *,
    at: datetime,
    by: str,
    method: str,
    consents: ConsentStore,
    members: MemberStore,
    restricted: bool = True,
) -> Record:
    """Withdraw all that a member ever agreed to, in one record; used when an erasure is asked for.

    It says no to every use there is, also to what was never asked: a till that was offline may
    bring a yes later that was said before, and that must not outlive this.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    uses = flags_of(consents.purposes.all())

    def draw(standing: Standing) -> Next:
        names = dict.fromkeys([*standing.flags, *uses])
        return Next([_refusal(name) for name in names], restricted or standing.restricted)

    how = Circumstances("withdrawal", method, at, by)
    return append(member_id, draw, how, consents=consents, members=members)


def note_signal(
    member_id: str, *, at: datetime, by: str, consents: ConsentStore, members: MemberStore
) -> Record | None:
    """Record that a known member's browser sent `Sec-GPC: 1`; None if there is nothing new in it.

    Raises:
        MemberNotFoundError: there is no such member.
    """

    def draw(standing: Standing) -> Next | None:
        news = gpc.unrecorded(standing)
        return Next([Change(each, None, REFUSED) for each in news]) if news else None

    how = Circumstances("signal", "browser_signal", at, by, has_signal=True)
    return append_if(member_id, draw, how, consents=consents, members=members)


def append(
    member_id: str,
    draw: Callable[[Standing], Next],
    how: Circumstances,
    *,
    consents: ConsentStore,
    members: MemberStore,
) -> Record:
    """The same as `append_if`, for what there is always something to write of."""
    fresh = append_if(member_id, draw, how, consents=consents, members=members)
    if fresh is None:
        raise RuntimeError("nothing was drawn")
    return fresh


def append_if(
    member_id: str,
    draw: Callable[[Standing], Next | None],
    how: Circumstances,
    *,
    consents: ConsentStore,
    members: MemberStore,
) -> Record | None:
    """Append the record that `draw` makes of where the member stands; None if it makes none.

    Raises:
        MemberNotFoundError: there is no such member.
        RequestSeenError: the request was recorded before.
    """
    for _ in range(APPEND_ATTEMPTS_MAX):
        standing = consents.standing(member_id)
        if standing.seq == 0 and not members.exists(member_id):
            raise MemberNotFoundError
        drawn = draw(standing)
        if drawn is None:
            return None
        fresh = _record(member_id, standing, drawn, how, consents)
        try:
            hash_ = consents.append(fresh)
        except StaleRecordError:
            continue
        return Record(**{**_fields(fresh), "hash": hash_})
    raise UnavailableError("Too many decisions of this member at once; nothing was written.")


def first_record(
    member_id: str, decisions: Sequence[Decision], *, method: str, at: datetime, by: str
) -> Record:
    """The first record of a member, for an import of many; it knows the built-in purposes only."""
    how = Circumstances("decision", method, at, by, decided_at=at)
    changes = changes_of(decisions, Standing(), how, checked(decisions))
    return _drawn(member_id, Standing(), Next(changes), how, lambda: ())


def _record(
    member_id: str, standing: Standing, drawn: Next, how: Circumstances, consents: ConsentStore
) -> Record:
    # Without a time of its own, it was decided after all that is there: whatever two clocks say.
    newest = standing.newest_at or how.at
    decided_at = how.decided_at or max(how.at, newest)
    how = how._replace(decided_at=decided_at)
    return _drawn(member_id, standing, drawn, how, lambda: consents.said(member_id))


def _drawn(
    member_id: str,
    standing: Standing,
    drawn: Next,
    how: Circumstances,
    said_before: Callable[[], Any],
) -> Record:
    record_id = str(ObjectId())
    decided_at = how.decided_at or how.at
    said = [
        Said(each, decided_at, how.method, record_id, how.notice_version, how.has_signal)
        for each in drawn.changes
    ]
    flags = _flags(standing, said, said_before)
    newest = standing.newest_at
    after = Standing(
        standing.seq + 1,
        "",
        (max(newest, decided_at) if newest else decided_at) if said else newest,
        flags,
        standing.restricted if drawn.restricted is None else drawn.restricted,
        standing.age if drawn.age is None else drawn.age,
    )
    return Record(
        id=record_id,
        member_id=member_id,
        seq=after.seq,
        kind=how.kind,
        decisions=tuple(each._replace(status=flags[each.flag].status) for each in drawn.changes),
        standing=after,
        method=how.method,
        decided_at=decided_at,
        recorded_at=how.at,
        recorded_by=how.by,
        previous=standing.hash,
        notice_version=how.notice_version,
        language=how.language,
        evidence=how.evidence,
        has_signal=how.has_signal,
        request=how.request,
    )


def _flags(
    standing: Standing, said: Sequence[Said], said_before: Callable[[], Any]
) -> dict[str, FlagState]:
    """The flags after a record: a step each, or the whole fold anew if it came late."""
    if rules.is_late(said, standing.newest_at):
        return rules.fold([*said_before(), *said])
    flags = dict(standing.flags)
    for each in said:
        flags[each.change.flag] = rules.after(flags, each)
    return flags


def _fields(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in Record.__slots__}


def _refusal(flag: str) -> Change:
    purpose, _, channel = flag.partition(":")
    return Change(purpose, channel or None, REFUSED)


def _moment(decided_at: datetime | None, at: datetime, *, is_no: bool) -> datetime | None:
    """When it was decided, or None for now.

    Raises:
        DecidedInFutureError: it lies in the future.
    """
    if decided_at is None or (is_no and abs(at - decided_at) <= CLOCK_TOLERANCE):
        return None
    if decided_at - at > CLOCK_TOLERANCE:
        mistake = FieldError("decided_at", "Lies in the future.")
        raise DecidedInFutureError(mistake.message, errors=(mistake,))
    return min(decided_at, at)


def _replay(
    member_id: str, request: tuple[str, str] | None, consents: ConsentStore
) -> Recorded | None:
    """What the same request did before.

    Raises:
        KeyReusedError: it came with another body.
    """
    seen = consents.by_request(member_id, request[0]) if request else None
    if seen is None:
        return None
    if seen.request != request:
        raise KeyReusedError
    return Recorded(seen, is_replay=True)
