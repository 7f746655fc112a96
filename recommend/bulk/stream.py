"""Picks for a whole audience, batch by batch: consent at the start and at the end of each.

Drawing works the picks out and writing joins address, products and links to them. A stream does
both at once; a job draws, and each download of it writes. Memory holds one batch.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pymongo
from pymongo.errors import PyMongoError

from loyalty.consent import gate
from loyalty.consent.model import MARKETING, PERSONALISATION, SENSITIVE_PERSONALISATION
from loyalty.kit.clock import now
from loyalty.kit.mongo import is_away
from loyalty.web.sessions import unsubscribe_link
from recommend import model as models
from recommend import service
from recommend.batch import preferences
from recommend.bulk.model import Draft, Item, Row
from recommend.due import Habit
from recommend.merchandising.arrange import Arranged
from recommend.reasons import Known, reason_of
from recommend.selection import asked_of, places_of, select
from recommend.service import HISTORY_BASKETS_MAX, SIGNALS_MAX, terms_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from loyalty.catalogue.model import Product
    from loyalty.journal.store import PastBasket
    from loyalty.vault.permit import Permit
    from loyalty.web.sessions import Door
    from recommend.artefact import Shelf
    from recommend.bulk.cursors import Cursors
    from recommend.bulk.model import Question
    from recommend.selection import Terms
    from recommend.service import Popularity, Sources
    from recommend.taste import Signal

Result = TypeVar("Result")

BATCH = 64
# Tries of a batch while the database is away.
ATTEMPTS_MAX = 3
# A row that waits longer for a slow reader is asked about again before it leaves.
FRESH_SECONDS = 1.0
_BOTH = (False, True)
# Reasons of picks that consent to personalisation had a part in.
_PERSONAL = frozenset({"consent", "no_history"})
# Marketing channels whose address is an identifier that we hold.
ADDRESS_TYPES = {"email": "email", "sms": "phone", "phone": "phone", "push": "app"}


class Ground(NamedTuple):
    """What drawing and writing stand on.

    Attributes:
        shelf: of models.
        popularity: stands in while the shelf has none.
        sources: all that a recommendation may read.
        door: mints the links for unsubscribing.
        url: where browsers reach the service's pages.
        cursors: of rows.
        batch_seconds: the deadline of each batch's reads.
        clock: tells each batch the time.
        monotonic: tells how long a row has waited.
    """

    shelf: Shelf
    popularity: Popularity
    sources: Sources
    door: Door
    url: str
    cursors: Cursors
    batch_seconds: float
    clock: Callable[[], datetime] = now
    monotonic: Callable[[], float] = time.monotonic


def stream(question: Question, ground: Ground, *, after: str = "") -> Iterator[Row]:
    """One row for each member who agrees to marketing on the channel, in order of id.

    Consent is read before anything of a member is used, once more when the batch is ready, and
    again for rows that a slow reader keeps waiting: who withdraws in between is left out.

    Args:
        question: what is asked for.
        ground: what it stands on.
        after: go on after this member.
    """
    last = after
    while ids := _next_ids(last, ground):
        rows = steadily(partial(_batch, ids, question, ground), ground)
        yield from paced(rows, question, ground)
        last = ids[-1]


def _next_ids(last: str, ground: Ground) -> list[str]:
    consents = ground.sources.consents
    return steadily(lambda: consents.members_after(last, limit=BATCH), ground)


def _batch(ids: Sequence[str], question: Question, ground: Ground) -> list[Row]:
    agreed = agreed_of(ids, question, ground)
    return _written(draw(agreed, question, ground), agreed, question, ground)


def steadily(read: Callable[[], Result], ground: Ground) -> Result:
    """What some reads give, within a batch's deadline.

    They are begun again when the database went away: an election breaks no download of an hour.

    Raises:
        PyMongoError: the database stays away, or refuses.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        try:
            with pymongo.timeout(ground.batch_seconds):
                return read()
        except PyMongoError as error:
            if not is_away(error):
                raise
    with pymongo.timeout(ground.batch_seconds):
        return read()


class Agreed(NamedTuple):
    """Who may be written to on the channel, whose taste may be used for that, and all of it."""

    marketing: Mapping[str, Permit]
    personal: Mapping[str, Permit]
    sensitive: Mapping[str, Permit]


def agreed_of(ids: Sequence[str], question: Question, ground: Ground) -> Agreed:
    """Read live. Of personal picks only those of members who may be written to at all."""
    channel = question.channel
    marketing, personal, sensitive = gate.permits_for(
        ids,
        (
            (MARKETING, channel),
            (PERSONALISATION, channel),
            (SENSITIVE_PERSONALISATION, None),
        ),
        at=ground.clock(),
        consents=ground.sources.consents,
    )
    both = {member: permit for member, permit in personal.items() if member in marketing}
    return Agreed(marketing, both, {each: sensitive[each] for each in both if each in sensitive})


def draw(agreed: Agreed, question: Question, ground: Ground) -> list[Draft]:
    """The picks of those who may be written to, and why they are personal or not."""
    sources, at = ground.sources, ground.clock()
    served = ground.shelf.served()
    model = served.model if served else ground.popularity.model()
    permits = agreed.personal if served else {}
    since = sources.history_since(at)
    histories = sources.journal.histories(permits.values(), limit=HISTORY_BASKETS_MAX, since=since)
    said = sources.feedback.signals_of(permits.values(), limit=SIGNALS_MAX, since=since)
    terms = {kind: _terms(question, at, sources, sensitive=kind) for kind in _BOTH}
    own = {
        member: _hearing(terms[member in agreed.sensitive], said.get(member, ()))
        for member in permits
    }
    asked = [asked_of(histories.get(member, ()), own[member]) for member in permits]
    rows = dict(zip(permits, preferences(model, asked), strict=True))
    found = []
    for member in agreed.marketing:
        draft = _ranked(
            member,
            history=histories.get(member, ()),
            model=model,
            question=question,
            is_allowed=member in permits,
            terms=own.get(member, terms[False]),
            row=rows.get(member),
        )
        if served is None and member in agreed.personal:
            draft = draft._replace(reason="no_model")
        found.append(draft._replace(model_version=served.version if served else None))
    return found


def _terms(question: Question, at: datetime, sources: Sources, *, sensitive: bool) -> Terms:
    """What picking goes by: the same restrictions, stock and rules as of a single request."""
    asked = service.Question(at=at, limit=question.limit, store=question.store)
    return terms_for(asked, sources, agrees_to_sensitive=sensitive)


def _hearing(terms: Terms, signals: Sequence[Signal]) -> Terms:
    """The same with what one member's feedback says."""
    if not signals:
        return terms
    return replace(terms, context=terms.context._replace(signals=tuple(signals)))


def _ranked(
    member: str,
    *,
    history: Sequence[PastBasket],
    model: models.Model,
    question: Question,
    is_allowed: bool,
    terms: Terms,
    row: models.Floats32 | None,
) -> Draft:
    """The one place where a member of an audience is ranked."""
    places = places_of(None, question.store)
    found = select(
        model,
        history,
        places,
        question.limit,
        allowed=is_allowed,
        terms=terms,
        preferences=row,
    )
    return _draft(member, found.reason, None, found.items)


def write(drafts: Sequence[Draft], question: Question, ground: Ground) -> Iterator[Row]:
    """Rows of what was drawn earlier, of those who agree at this moment.

    Who does not agree to personalisation any more gets popular picks, and what must not be shown
    by now is left out.
    """

    def rows() -> list[Row]:
        agreed = agreed_of([each.member_id for each in drafts], question, ground)
        return _written(drafts, agreed, question, ground)

    yield from paced(steadily(rows, ground), question, ground)


def _written(
    drafts: Sequence[Draft], agreed: Agreed, question: Question, ground: Ground
) -> list[Row]:
    """Join addresses, products and links; consent is read once more when all is there."""
    sources = ground.sources
    addresses = _addresses(agreed.marketing, question, ground)
    terms, freer = (_terms(question, ground.clock(), sources, sensitive=each) for each in _BOTH)
    served = ground.shelf.served()
    model = served.model if served else ground.popularity.model()
    wanted = {sku for each in drafts for pick in each.picks for sku in (pick.sku, *pick.because)}
    products = sources.catalogue.products(sorted(wanted))
    still = agreed_of([each.member_id for each in drafts], question, ground)
    rows = []
    for draft in drafts:
        if draft.member_id not in still.marketing or draft.member_id not in agreed.marketing:
            continue
        # Feedback is in a pick without a history, too: what was dismissed is not there.
        if draft.reason in _PERSONAL and draft.member_id not in still.personal:
            draft = _popular(draft, question, ground, terms)  # noqa: PLW2901  # another row for the same member
            products = {**products, **sources.catalogue.products([e.sku for e in draft.picks])}
        is_sensitive = draft.member_id in still.sensitive and draft.reason == "consent"
        items = items_of(draft, products, freer if is_sensitive else terms, question, model)
        rows.append(_row(draft, items, addresses.get(draft.member_id), question, ground))
    return rows


def _popular(draft: Draft, question: Question, ground: Ground, terms: Terms) -> Draft:
    """What a member gets who has just withdrawn: nothing of the member is in it."""
    served = ground.shelf.served()
    model = served.model if served else ground.popularity.model()
    places = places_of(None, question.store)
    found = select(model, (), places, question.limit, allowed=False, terms=terms)
    version = served.version if served else None
    return _draft(draft.member_id, "no_consent", version, found.items)


def _draft(member: str, reason: str, version: str | None, items: Sequence[Arranged]) -> Draft:
    pinned = [each.pick.sku for each in items if each.is_pinned]
    return Draft(member, reason, version, [each.pick for each in items], pinned)


def _addresses(permits: Mapping[str, Permit], question: Question, ground: Ground) -> dict[str, str]:
    kind = ADDRESS_TYPES.get(question.channel)
    return ground.sources.members.addresses(permits.values(), kind) if kind and permits else {}


def _row(
    draft: Draft, items: tuple[Item, ...], address: str | None, question: Question, ground: Ground
) -> Row:
    leave = unsubscribe_link(draft.member_id, question.channel, door=ground.door)
    return Row(
        member_id=draft.member_id,
        address=address,
        personalised=draft.reason == "consent",
        reason=draft.reason,
        model_version=draft.model_version,
        campaign=question.campaign,
        unsubscribe_url=f"{ground.url}/unsubscribe/{leave}",
        items=items,
        cursor=ground.cursors.write(draft.member_id, question),
    )


def items_of(
    draft: Draft,
    products: Mapping[str, Product],
    terms: Terms,
    question: Question,
    model: models.Model,
) -> tuple[Item, ...]:
    """Picks with all that a template shows of them; what must not be shown is left out. Pure."""
    found = []
    known = _sayable(draft, products, terms, question)
    for each in draft.picks:
        if each.sku in terms.restrictions.hidden or any(each.sku in some for some in terms.hidden):
            continue
        product = products.get(each.sku)
        url = product.url if product else None
        arranged = Arranged(each, is_pinned=each.sku in draft.pinned)
        found.append(
            Item(
                sku=each.sku,
                score=round(each.score, 4),
                name=product.name if product else None,
                price=product.price if product else None,
                image_url=product.image_url if product else None,
                url=tagged(url, question) if url else None,
                because=reason_of(arranged, model, known).text,
            )
        )
    return tuple(found)


def _sayable(
    draft: Draft, products: Mapping[str, Product], terms: Terms, question: Question
) -> Known:
    """What the reasons of a row may speak of: by name what of the member's own speaks for it."""
    own = {sku for each in draft.picks for sku in each.because}
    own |= {each.sku for each in draft.picks if each.part == "personal"}
    own -= terms.restrictions.sensitive
    habits = dict.fromkeys(own, Habit(0.0)) if draft.reason == "consent" else {}
    return Known(products, habits, places=places_of(None, question.store))


def tagged(url: str, question: Question) -> str:
    """A product's address with the campaign in it, as web analytics read it; else as it is.

    `utm_*` that the shop has set itself stay.
    """
    if question.campaign is None:
        return url
    parts = urlsplit(url)
    own = parse_qsl(parts.query, keep_blank_values=True)
    there = {name for name, _ in own}
    tags = (
        ("utm_source", "carnet"),
        ("utm_medium", question.channel),
        ("utm_campaign", question.campaign),
    )
    extra = urlencode([(name, value) for name, value in tags if name not in there])
    query = "&".join(each for each in (parts.query, extra) if each)
    return urlunsplit(parts._replace(query=query))


def paced(rows: Sequence[Row], question: Question, ground: Ground) -> Iterator[Row]:
    """The rows of a batch; after a wait, only of those who still agree."""
    left, asked_at = list(rows), ground.monotonic()
    while left:
        if ground.monotonic() - asked_at > FRESH_SECONDS:
            left, asked_at = confirmed(left, question, ground), ground.monotonic()
        if left:
            yield left.pop(0)


def confirmed(rows: Sequence[Row], question: Question, ground: Ground) -> list[Row]:
    """Those of some rows whose members agree to them at this moment."""
    ids = [each.member_id for each in rows]
    agreed = steadily(lambda: agreed_of(ids, question, ground), ground)
    sensitive = ground.sources.catalogue.restrictions().sensitive
    return [each for each in rows if _may_leave(each, agreed, sensitive)]


def _may_leave(row: Row, agreed: Agreed, sensitive: frozenset[str]) -> bool:
    """Whether the member agrees to all that a row was made of."""
    if row.member_id not in agreed.marketing:
        return False
    if row.reason in _PERSONAL and row.member_id not in agreed.personal:
        return False
    return row.member_id in agreed.sensitive or all(e.sku not in sensitive for e in row.items)
