"""Take feedback: each event once, with the member's consent at that moment, a verdict an event.

Whoever has not agreed to personalisation leaves no trace here, and neither does a product that is
sensitive. That is no mistake of the sender, so it is a verdict and not a refusal: a page need not
know who agreed to what.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from marshmallow import ValidationError

from loyalty.access.model import NotYourMemberError, speak_for
from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION, SENSITIVE_PERSONALISATION
from loyalty.journal.model import InFutureError
from loyalty.journal.service import CLOCK_AHEAD_MAX
from loyalty.kit.errors import CarnetError, FieldError, InvalidError
from loyalty.kit.http import invalid
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import normal
from recommend.feedback.model import (
    AGE_MAX,
    MEMBER_DAY_MAX,
    Event,
    TooMuchFeedbackError,
    TooOldError,
    Verdict,
    is_same,
    key_of,
    origin_of,
)
from recommend.feedback.schemas import EventSchema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loyalty.access.model import Caller
    from loyalty.members.model import Identifier
    from recommend.feedback.model import NotRecorded
    from recommend.service import Sources

_EVENT = EventSchema()
_USES = ((PERSONALISATION, None), (SENSITIVE_PERSONALISATION, None))
_DAY = timedelta(days=1)


class Sender(NamedTuple):
    """Who sends events, and how.

    Attributes:
        caller: a key, or a member's own token.
        request_key: the idempotency key, which gives ids to events that have none.
        gpc: whether the request carries `Sec-GPC: 1`, which counts as a refusal.
    """

    caller: Caller
    request_key: str | None = None
    gpc: bool = False


class _Sent(NamedTuple):
    """An event that is well formed: its place, its key, and whose it is as far as that is known."""

    place: int
    key: str
    event: Event
    has_time: bool
    identifier: Identifier | None = None

    def verdict(self, status: Any, reason: NotRecorded | None = None) -> Verdict:  # noqa: ANN401
        return Verdict(self.place, self.event.external_id, status, reason)

    def refused(self, error: CarnetError) -> Verdict:
        return Verdict(self.place, self.event.external_id, "refused", error=error)


def record(
    events: Sequence[Mapping[str, Any]], *, sender: Sender, at: datetime, sources: Sources
) -> list[Verdict]:
    """Keep what may be kept.

    The work of a call is bounded by its events, whatever was reported before.

    Args:
        events: as they came.
        sender: who sends them.
        at: now.
        sources: where members, consents and feedback are.

    Returns:
        A verdict an event, in their order.
    """
    verdicts: dict[int, Verdict] = {}
    sent: list[_Sent] = []
    for place, raw in enumerate(events):
        read = _read(place, raw, sender, at)
        if isinstance(read, Verdict):
            verdicts[place] = read
        else:
            sent.append(read)
    sent, strangers = _resolved(sent, sources)
    reason: NotRecorded = "browser_signal" if sender.gpc else "no_consent"
    verdicts |= {each.place: each.verdict("not_recorded", reason) for each in strangers}
    for verdict in _kept(sent, sender, at, sources):
        verdicts[verdict.event] = verdict
    return [verdicts[place] for place in range(len(events))]


def _read(place: int, raw: Mapping[str, Any], sender: Sender, at: datetime) -> _Sent | Verdict:
    """An event as it is meant, or why it means nothing."""
    given = raw.get("id")
    try:
        return _meant(place, _EVENT.load(raw), sender, at)
    except ValidationError as error:
        refusal: CarnetError = invalid(error.messages)
    except CarnetError as error:
        refusal = error
    return Verdict(place, given if type(given) is str else None, "refused", error=refusal)


def _meant(place: int, body: Mapping[str, Any], sender: Sender, at: datetime) -> _Sent:
    caller = sender.caller
    own_id = body.get("id") or _id_of(place, sender)
    happened_at = _checked_time(body.get("at", at), at)
    store = speak_for(caller, body["channel"], body.get("store"))
    identifier = None
    if "identifier" in body and caller.member_id is None:
        identifier = normal(body["identifier"]["type"], body["identifier"]["value"])
    source = f"{body['channel']}/{store or ''}"
    if caller.member_id is not None:
        # A browser cannot use up the ids of events that are not its own.
        source = f"member/{caller.member_id}/{source}"
    named = body.get("recommendation_id")
    experiment, variant = (named and origin_of(named)) or (None, None)
    event = Event(
        own_id,
        _member(body, caller),
        body["kind"],
        # A page that lists a product twice showed one product.
        tuple(dict.fromkeys(body.get("skus") or [body[name] for name in ("sku",) if name in body])),
        happened_at,
        body["channel"],
        store,
        body.get("stars", 0),
        body.get("placement"),
        named,
        body.get("experiment", experiment),
        body.get("variant", variant),
    )
    return _Sent(place, key_of(source, own_id), event, "at" in body, identifier)


def _id_of(place: int, sender: Sender) -> str:
    if sender.request_key is None:
        raise _mistake("id", "Is needed, unless the request has an Idempotency-Key.")
    return f"{sender.request_key}/{place}"


def _member(body: Mapping[str, Any], caller: Caller) -> str:
    """The member that an event names; "" for one that an identifier names.

    Raises:
        NotYourMemberError: a member's token names somebody else.
        InvalidError: a key names nobody.
    """
    if caller.member_id is not None:
        if "identifier" in body or body.get("member", caller.member_id) != caller.member_id:
            raise NotYourMemberError
        return caller.member_id
    if "member" not in body and "identifier" not in body:
        raise _mistake("member", "Name the member by member or by identifier.")
    return str(body.get("member", ""))


def _checked_time(happened_at: datetime, at: datetime) -> datetime:
    if happened_at > at + CLOCK_AHEAD_MAX:
        mistake = FieldError("at", "Lies in the future.")
        raise InFutureError(mistake.message, errors=(mistake,))
    if happened_at < at - AGE_MAX:
        mistake = FieldError("at", f"Lies more than {AGE_MAX.days} days back.")
        raise TooOldError(mistake.message, errors=(mistake,))
    return happened_at


def _mistake(field: str, message: str) -> InvalidError:
    return InvalidError(f"{field}: {message}", errors=(FieldError(field, message),))


def _resolved(sent: Sequence[_Sent], sources: Sources) -> tuple[list[_Sent], list[_Sent]]:
    """The events with their members, and those of nobody that is known."""
    wanted = [each.identifier for each in sent if each.identifier]
    found = sources.members.resolve_all(wanted) if wanted else {}
    known, strangers = [], []
    for each in sent:
        if each.identifier is None:
            known.append(each)
        elif member_id := found.get(each.identifier):
            known.append(each._replace(event=each.event._replace(member_id=member_id)))
        else:
            strangers.append(each)
    return known, strangers


def _kept(
    sent: Sequence[_Sent], sender: Sender, at: datetime, sources: Sources
) -> Iterator[Verdict]:
    """What became of events whose member is named: replay first, then consent, then room."""
    seen = sources.feedback.seen([each.key for each in sent])
    fresh: dict[str, _Sent] = {}
    again: list[_Sent] = []
    for each in sent:
        if each.key in seen:
            yield _verdict_again(each, seen[each.key])
        elif each.key in fresh:
            again.append(each)
        else:
            fresh[each.key] = each
    members = sorted({each.event.member_id for each in fresh.values()})
    agreed, explicit = gate.permits_for(
        members, _USES, at=at, consents=sources.consents, gpc=sender.gpc
    )
    reason: NotRecorded = "browser_signal" if sender.gpc else "no_consent"
    may: dict[str, _Sent] = {}
    verdicts: dict[str, Verdict] = {}
    sensitive = sources.catalogue.restrictions().sensitive
    for key, each in fresh.items():
        may_all = each.event.member_id in explicit
        skus = tuple(sku for sku in each.event.skus if may_all or sku not in sensitive)
        if each.event.member_id not in agreed:
            verdicts[key] = each.verdict("not_recorded", reason)
        elif each.event.skus and not skus:
            verdicts[key] = each.verdict("not_recorded", "sensitive")
        else:
            may[key] = each._replace(event=each.event._replace(skus=skus))
    verdicts |= _written(may, at, sources)
    yield from verdicts.values()
    yield from (_verdict_twin(each, fresh[each.key], verdicts[each.key]) for each in again)


def _written(may: Mapping[str, _Sent], at: datetime, sources: Sources) -> dict[str, Verdict]:
    """Keep the events for which there is room, and say of each what became of it."""
    full = _without_room(list(may.values()), sources)
    room = {key: each for key, each in may.items() if key not in full}
    there = sources.feedback.add({key: each.event for key, each in room.items()}, at=at)
    # Somebody else was quicker with these.
    seen = sources.feedback.seen(sorted(there))
    verdicts = {key: may[key].refused(TooMuchFeedbackError()) for key in full}
    for key, each in room.items():
        verdicts[key] = _verdict_again(each, seen[key]) if key in seen else each.verdict("recorded")
    return verdicts


def _without_room(sent: Sequence[_Sent], sources: Sources) -> set[str]:
    """The keys of events of members who have too many on that day. Under races a few more pass."""
    by_day: dict[datetime, list[_Sent]] = {}
    for each in sent:
        by_day.setdefault(
            each.event.at.replace(hour=0, minute=0, second=0, microsecond=0), []
        ).append(each)
    full = set()
    for day, events in by_day.items():
        members = sorted({each.event.member_id for each in events})
        counts = Counter(sources.feedback.counts(members, day, day + _DAY))
        for each in events:
            counts[each.event.member_id] += 1
            if counts[each.event.member_id] > MEMBER_DAY_MAX:
                full.add(each.key)
    return full


def _verdict_again(sent: _Sent, kept: Event) -> Verdict:
    if is_same(kept, sent.event, has_time=sent.has_time):
        return sent.verdict("replayed")
    return sent.refused(KeyReusedError())


def _verdict_twin(sent: _Sent, first: _Sent, verdict: Verdict) -> Verdict:
    """Of two events with one key in one batch, the first counts."""
    if not is_same(first.event, sent.event, has_time=sent.has_time):
        return sent.refused(KeyReusedError())
    if verdict.status == "recorded":
        return sent.verdict("replayed")
    return verdict._replace(event=sent.place)
