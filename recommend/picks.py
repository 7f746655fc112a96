"""Picks for a whole audience, as a stream: consent checked at the start and end of each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pymongo

from loyalty.consent.model import MARKETING, PERSONALISATION
from recommend.service import HISTORY_BASKETS_MAX, Reason, pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loyalty.consent.model import Flags
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
    the shelf has no model.
    """

    channel: str
    limit: int
    shelf: Shelf
    popularity: Popularity
    sources: Sources


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
    channel, sources = audience.channel, audience.sources
    agreed = _agreed(ids, channel, sources)
    personal = [member for member, flags in agreed.items() if flags.allows(PERSONALISATION)]
    histories = sources.journal.histories(personal, limit=HISTORY_BASKETS_MAX)
    addresses = _addresses(list(agreed), channel, sources)
    served = audience.shelf.served()
    model = served.model if served else audience.popularity.model()
    restrictions = sources.catalogue.restrictions()
    ready: dict[str, tuple[list[models.Pick], Reason]] = {}
    for member, flags in agreed.items():
        allowed = served is not None and flags.allows(PERSONALISATION)
        history = histories.get(member, []) if allowed else []
        picks, reason = pick(
            model, history, (), audience.limit, allowed=allowed, restrictions=restrictions
        )
        no_model = served is None and flags.allows(PERSONALISATION)
        ready[member] = picks, "no_model" if no_model else reason
    still = _agreed(ids, channel, sources)
    for member, (picks, reason) in ready.items():
        if member in still and (reason != "consent" or still[member].allows(PERSONALISATION)):
            address = addresses.get(member)
            yield MemberPicks(member, address, reason == "consent", reason, picks)


def _agreed(ids: Sequence[str], channel: str, sources: Sources) -> dict[str, Flags]:
    flags = sources.consents.flags_of(ids)
    return {member: each for member, each in flags.items() if each.allows(MARKETING, channel)}


def _addresses(ids: Sequence[str], channel: str, sources: Sources) -> dict[str, str]:
    kind = ADDRESS_TYPES.get(channel)
    return sources.members.addresses(ids, kind) if kind and ids else {}
