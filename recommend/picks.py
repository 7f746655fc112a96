"""Picks for a whole audience, as a stream: consent checked at the start and end of each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pymongo

from loyalty.consent import gate
from loyalty.consent.model import MARKETING, PERSONALISATION
from loyalty.kit.clock import now
from recommend.selection import Reason, pick
from recommend.service import HISTORY_BASKETS_MAX, Question, terms_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from loyalty.vault.permit import Permit
    from recommend import model as models
    from recommend.artefact import Shelf
    from recommend.service import Popularity, Sources

BATCH = 64
# Marketing channels whose address is an identifier that we hold.
ADDRESS_TYPES = {"email": "email", "sms": "phone", "phone": "phone", "push": "app"}


class MemberPicks(NamedTuple):
    """The picks for one member of the audience."""

    member_id: str
    address: str | None
    personalised: bool
    reason: Reason
    items: Sequence[models.Pick]


class Audience(NamedTuple):
    """Whom a stream is for, and what stands behind it.

    `channel` is the marketing channel, `limit` the picks a member; `popularity` stands in while
    the shelf has no model; `clock` tells each batch the time.
    """

    channel: str
    limit: int
    shelf: Shelf
    popularity: Popularity
    sources: Sources
    clock: Callable[[], datetime] = now


def stream(audience: Audience, *, batch_seconds: float) -> Iterator[MemberPicks]:
    """One row for each member who agrees to marketing on the channel, in order of id.

    Memory holds one batch. Consent is read before anything of a member is used, and once more
    just before the rows leave: who withdraws in between is left out.

    Args:
        audience: whom it is for.
        batch_seconds: the deadline of each batch's reads.
    """
    last = ""
    while True:
        with pymongo.timeout(batch_seconds):
            ids = audience.sources.consents.members_after(last, limit=BATCH)
            rows = list(_batch(ids, audience)) if ids else []
        yield from rows
        if not ids:
            return
        last = ids[-1]


def _batch(ids: Sequence[str], audience: Audience) -> Iterator[MemberPicks]:
    agreed = _agreed(ids, audience)
    ready = _ready(agreed, audience)
    addresses = _addresses(agreed.marketing, audience)
    still = _agreed(ids, audience)
    for member, (picks, reason) in ready.items():
        is_still_personal = reason != "consent" or member in still.personal
        if member in still.marketing and is_still_personal:
            address = addresses.get(member)
            yield MemberPicks(member, address, reason == "consent", reason, picks)


class _Agreed(NamedTuple):
    """Who may be written to on the channel, and whose taste may be used for that."""

    marketing: dict[str, Permit]
    personal: dict[str, Permit]


def _agreed(ids: Sequence[str], audience: Audience) -> _Agreed:
    """Read live. Of personal picks only those of members who may be written to at all."""
    channel = audience.channel
    marketing, personal = gate.permits_for(
        ids,
        ((MARKETING, channel), (PERSONALISATION, channel)),
        at=audience.clock(),
        consents=audience.sources.consents,
    )
    both = {member: permit for member, permit in personal.items() if member in marketing}
    return _Agreed(marketing, both)


def _ready(agreed: _Agreed, audience: Audience) -> dict[str, tuple[list[models.Pick], Reason]]:
    """The picks of those who may be written to, and why they are personal or not."""
    sources = audience.sources
    served = audience.shelf.served()
    model = served.model if served else audience.popularity.model()
    permits = agreed.personal if served else {}
    since = sources.history_since(audience.clock())
    histories = sources.journal.histories(permits.values(), limit=HISTORY_BASKETS_MAX, since=since)
    question = Question(at=audience.clock(), limit=audience.limit)
    terms = terms_for(question, sources, agrees_to_sensitive=False)
    ready: dict[str, tuple[list[models.Pick], Reason]] = {}
    for member in agreed.marketing:
        history, allowed = histories.get(member, []), member in permits
        picks, reason = pick(
            model,
            history,
            (),
            audience.limit,
            allowed=allowed,
            restrictions=terms.restrictions,
            terms=terms,
        )
        no_model = served is None and member in agreed.personal
        ready[member] = picks, "no_model" if no_model else reason
    return ready


def _addresses(permits: dict[str, Permit], audience: Audience) -> dict[str, str]:
    kind = ADDRESS_TYPES.get(audience.channel)
    return audience.sources.members.addresses(permits.values(), kind) if kind and permits else {}
