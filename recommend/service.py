"""What to show a member next: consent first, then the model, and good service without either.

Nothing is written here and nothing of a person is kept: the taste is worked out from the history
that today's consent allows, and forgotten with the answer. What is picked from what is known is in
`recommend.selection`.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from loyalty.catalogue.model import EVERY_PLACE
from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION, SENSITIVE_PERSONALISATION
from loyalty.kit.clock import now
from loyalty.kit.errors import NotFoundError
from loyalty.members.model import MemberNotFoundError
from recommend import model as models
from recommend import reasons
from recommend.content import fresh_picks
from recommend.dataset import build
from recommend.due import habits
from recommend.experiments.service import served_for
from recommend.merchandising.model import DEFAULT, Where, in_force
from recommend.selection import (
    Reason,
    Terms,
    as_baskets,
    places_of,
    select,
    select_for,
    similar_to,
    taste_of,
)
from recommend.taste import STRENGTHS, Context, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from loyalty.catalogue.model import Product
    from loyalty.catalogue.stock import StockStore
    from loyalty.catalogue.store import CatalogueStore
    from loyalty.consent.store import ConsentStore
    from loyalty.journal.store import JournalStore, PastBasket
    from loyalty.members.store import MemberStore
    from recommend.artefact import Served, Shelf
    from recommend.experiments.model import Variant
    from recommend.experiments.service import Experiments, Shelves
    from recommend.feedback.store import FeedbackStore
    from recommend.merchandising.arrange import Arranged
    from recommend.merchandising.store import RuleStore
    from recommend.newcomers import NewProducts
    from recommend.taste import Kind

# Bounds the cost of a request whatever the member's history; older baskets weigh under .9**60.
HISTORY_BASKETS_MAX = 60
SIGNALS_MAX = 200
"""Newest pieces of feedback that a request looks at."""
COLD_BASKETS_MAX = 5000
COLD_SECONDS_MAX = 30.0
# What says nothing of liking, or the contrary.
_NO_LIKING = frozenset(kind for kind, strength in STRENGTHS.items() if strength <= 0)
_USES = ((PERSONALISATION, None), (SENSITIVE_PERSONALISATION, None))


class NoModelError(NotFoundError):
    """Nothing was trained yet."""

    code = "no_model"
    title = "There is no model yet"


class Sources(NamedTuple):
    """All that a recommendation may read."""

    journal: JournalStore
    consents: ConsentStore
    members: MemberStore
    catalogue: CatalogueStore
    # From when on the rules of retention let purchases be used, as of a moment.
    history_since: Callable[[datetime], datetime]
    feedback: FeedbackStore
    experiments: Experiments
    stock: StockStore
    rules: RuleStore


class Question(NamedTuple):
    """What to show: where, when, how many, on which page, and what not.

    `categories` and `brands` are those to choose from, all if empty; `interests` are categories
    that the person named as such; `rules` names the shop's set.
    """

    at: datetime
    limit: int
    channel: str | None = None
    store: str | None = None
    cart: tuple[str, ...] = ()
    viewing: str | None = None
    exclude: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    interests: tuple[str, ...] = ()
    language: str = "en"
    rules: str = DEFAULT

    @property
    def places(self) -> tuple[str, ...]:
        """The names of its places, the most specific first."""
        return places_of(self.channel, self.store)


class Given(NamedTuple):
    """One item of a session: what somebody did with a product, and when if that is known."""

    sku: str
    kind: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Recommended:
    """One product to show, why, and which of the shop's rules touched it."""

    sku: str
    product: Product | None
    score: float
    why: reasons.Reason
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What to show, whether it is personal, and why it is or is not."""

    personalised: bool
    reason: Reason
    model_version: str | None
    items: tuple[Recommended, ...]
    variant: Variant | None = None


class Popularity:
    """Popular picks while there is no model: from the shop's newest purchases, k-anonymous.

    Worked out at most twice a minute a worker, from a bounded number of purchases of members who
    agree to personalisation at that moment. Nothing at all where the shop has what members share
    under differential privacy: these lists would be outside its budget.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        is_plain: bool = True,
        monotonic: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._sources = sources
        self._is_plain = is_plain
        self._clock = clock
        self._monotonic = monotonic
        self._model: models.Model | None = None
        self._made_at = float("-inf")
        self._guard = threading.Lock()

    def model(self) -> models.Model:
        """A model of popular lists alone."""
        with self._guard:
            if self._model is None or self._monotonic() - self._made_at > COLD_SECONDS_MAX:
                self._model = self._make()
                self._made_at = self._monotonic()
            return self._model

    def _make(self) -> models.Model:
        if not self._is_plain:
            return models.train(build([]), models.Settings(), collaborative=False)
        at = self._clock()
        since = self._sources.history_since(at)
        newest = self._sources.journal.recent(limit=COLD_BASKETS_MAX)
        recent = [each for each in newest if each.occurred_at >= since]
        agreed = gate.permits(
            sorted({each.member_id for each in recent}),
            PERSONALISATION,
            at=at,
            consents=self._sources.consents,
        )
        sensitive = self._sources.catalogue.restrictions().sensitive
        baskets = as_baskets((each for each in recent if each.member_id in agreed), sensitive)
        return models.train(build(baskets), models.Settings(), collaborative=False)


class _Asked(NamedTuple):
    """What the gate said, and what it let be read."""

    refusal: Reason | None
    agrees_to_sensitive: bool = False
    history: Sequence[PastBasket] = ()
    signals: Sequence[Signal] = ()


def recommend(
    member_id: str,
    question: Question,
    *,
    gpc: bool = False,
    shelf: Shelf,
    popularity: Popularity,
    sources: Sources,
    shelves: Shelves | None = None,
    new_products: NewProducts | None = None,
) -> Answer:
    """What to show a member, personal only if the member agrees to that at this moment.

    Only who agrees takes part in an experiment. `gpc` says that the request carries `Sec-GPC: 1`,
    which counts as a refusal; `popularity` stands in while the shelf has no model; `shelves` has
    the versions that variants name, and `new_products` what came after the model was trained.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    served = shelf.served()
    asked = _asked(member_id, question.at, gpc=gpc, has_model=served is not None, sources=sources)
    agrees = asked.refusal is None
    variant = sources.experiments.variant_for(member_id, question.at) if agrees else None
    if variant is not None:
        question = _varied(question, variant)
        served = served_for(variant, served, shelves)
    is_held_out = variant is not None and variant.serve != "model"
    terms = terms_for(
        question,
        sources,
        agrees_to_sensitive=asked.agrees_to_sensitive,
        signals=tuple(asked.signals),
    )
    model, version = _model(served, popularity)
    allowed = agrees and not is_held_out
    fresh = _fresh(served, asked.history, question, terms, new_products) if allowed else ()
    found = select(
        model,
        asked.history,
        question.places,
        question.limit,
        allowed=allowed,
        terms=terms,
        newcomers=fresh,
    )
    known = _sayable(found.items, question, terms, sources, taste=found.taste)
    known = known._replace(fresh=frozenset(each.sku for each in fresh))
    items = [(each, reasons.reason_of(each, model, known)) for each in found.items]
    reason: Reason = "held_out" if is_held_out else asked.refusal or found.reason
    return replace(_answer(items, reason, version, known), variant=variant)


def _fresh(
    served: Served | None,
    history: Sequence[PastBasket],
    question: Question,
    terms: Terms,
    new_products: NewProducts | None,
) -> Sequence[models.Pick]:
    """Picks of products that the model does not know yet, by what they are like."""
    found = new_products.beside(served) if new_products and served else None
    if served is None or found is None:
        return ()
    taste = taste_of(history, terms.restrictions.sensitive)
    return fresh_picks(served.model, found, taste, question.places, question.limit)


def _varied(question: Question, variant: Variant) -> Question:
    """The question as a variant has it asked: by other rules, or for nothing at all."""
    limit = 0 if variant.serve == "nothing" else question.limit
    return question._replace(limit=limit, rules=variant.rules_set or question.rules)


def session(
    given: Sequence[Given],
    question: Question,
    *,
    shelf: Shelf,
    popularity: Popularity,
    sources: Sources,
) -> Answer:
    """What goes with a list of items: nobody is asked for, and nothing is read or kept of anybody.

    Purchases are a history; without any, all that was liked counts as one basket. What was looked
    at, put into the cart or dismissed is not shown again; what was bought is when it is due.
    """
    served = shelf.served()
    at = question.at.timestamp()
    signals = tuple(_signal(each, at) for each in given if each.kind != "purchase")
    terms = terms_for(question, sources, agrees_to_sensitive=False, signals=signals)
    seen = frozenset(each.sku for each in signals)
    terms = replace(terms, hidden=(*terms.hidden, seen))
    model, version = _model(served, popularity)
    taste = _taste(given, at, terms.restrictions.sensitive)
    found = select_for(
        model, taste, question.places, question.limit, allowed=served is not None, terms=terms
    )
    reason: Reason = "no_model" if served is None else found.reason
    bought = taste if any(each.kind == "purchase" for each in given) else ()
    names = [each.sku for each in given]
    known = _sayable(found.items, question, terms, sources, taste=bought, given=names)
    items = [(each, reasons.reason_of(each, model, known)) for each in found.items]
    return _answer(items, "session" if reason == "consent" else reason, version, known)


def similar(
    sku: str,
    question: Question,
    *,
    shelf: Shelf,
    popularity: Popularity,
    sources: Sources,
) -> Answer:
    """What goes with a product, filled up with what is popular in its category.

    Raises:
        ProductNotFoundError: the catalogue lacks the product.
    """
    product = sources.catalogue.product(sku)
    served = shelf.served()
    terms = terms_for(question, sources, agrees_to_sensitive=False)
    model, version = _model(served, popularity)
    found, by_category = similar_to(
        model,
        product,
        question.places,
        question.limit,
        terms=terms,
        same_category=lambda: sources.catalogue.selection((product.category,), ()),
    )
    known = _sayable(found, question, terms, sources)
    items = []
    for each in found:
        code: reasons.Code = "same_category" if each.pick.sku in by_category else "similar"
        code = "selected" if each.is_pinned else code
        words = {"name": product.name, "category": product.category.rpartition("/")[2]}
        items.append((each, reasons.plain(code, question.language, **words)))
    return _answer(items, "no_consent" if served else "no_model", version, known)


def terms_for(
    question: Question,
    sources: Sources,
    *,
    agrees_to_sensitive: bool,
    signals: tuple[Signal, ...] = (),
) -> Terms:
    """What picking goes by there and then: restrictions, stock, rules, the page.

    All of it is the shop's and cached for at most five seconds; `signals` are the person's.
    """
    restrictions = sources.catalogue.restrictions()
    if agrees_to_sensitive:
        restrictions = restrictions.without_sensitive()
    where = Where(question.at, question.channel, question.store)
    sold_out = [sources.stock.sold_out(place) for place in (EVERY_PLACE, *question.places)]
    only = None
    if question.categories or question.brands:
        only = sources.catalogue.selection(question.categories, question.brands)
    return Terms(
        restrictions=restrictions,
        hidden=(*sold_out, frozenset(question.exclude)),
        only=only,
        rules=in_force(sources.rules.current(question.rules).rules, where),
        where=where,
        products=sources.catalogue.products,
        context=Context(
            at=question.at.timestamp(),
            cart=question.cart,
            viewing=question.viewing,
            signals=signals,
            interests=question.interests,
        ),
    )


def _asked(member_id: str, at: datetime, *, gpc: bool, has_model: bool, sources: Sources) -> _Asked:
    """Ask the gate, and read what it allows of the member.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    consents = sources.consents
    asked, sensitive = gate.ask_each(member_id, _USES, at=at, consents=consents, gpc=gpc)
    if not asked.is_known and not sources.members.exists(member_id):
        raise MemberNotFoundError
    if asked.permit is None:
        return _Asked("browser_signal" if gpc else "no_consent")
    if not has_model:
        return _Asked("no_model")
    since = sources.history_since(at)
    history = sources.journal.history(asked.permit, limit=HISTORY_BASKETS_MAX, since=since)
    signals = sources.feedback.signals(asked.permit, limit=SIGNALS_MAX, since=since)
    return _Asked(None, sensitive.permit is not None, history, signals)


def _model(served: Served | None, popularity: Popularity) -> tuple[models.Model, str | None]:
    return (served.model, served.version) if served else (popularity.model(), None)


def _signal(given: Given, at: float) -> Signal:
    kind: Kind = given.kind  # type: ignore[assignment]  # the schema knows no other
    return Signal(given.at.timestamp() if given.at else at, kind, given.sku)


def _taste(
    given: Sequence[Given], at: float, sensitive: frozenset[str]
) -> list[tuple[float, tuple[str, ...]]]:
    """The baskets that a session's items make, oldest first."""
    usable = [each for each in given if each.sku not in sensitive]
    bought = [each for each in usable if each.kind == "purchase"]
    liked = bought or [each for each in usable if each.kind not in _NO_LIKING]
    baskets: dict[float, list[str]] = {}
    for each in liked:
        # Things of one visit make one basket, whatever the second of each click.
        is_dated = each.at is not None and bool(bought)
        when = each.at.timestamp() if is_dated and each.at else at
        baskets.setdefault(when, []).append(each.sku)
    return [(when, tuple(baskets[when])) for when in sorted(baskets)]


def _sayable(
    items: Sequence[Arranged],
    question: Question,
    terms: Terms,
    sources: Sources,
    *,
    taste: Sequence[tuple[float, tuple[str, ...]]] = (),
    given: Sequence[str] = (),
) -> reasons.Known:
    """What the reasons may speak of; the products of the items are among the names."""
    sensitive = terms.restrictions.sensitive
    wanted = {sku: None for each in items for sku in (each.pick.sku, *each.pick.because)}
    return reasons.Known(
        names=sources.catalogue.products([sku for sku in wanted if sku not in sensitive]),
        habits=habits(taste, wanted) if taste else {},
        cart=question.cart,
        viewing=question.viewing,
        given=frozenset(given),
        places=question.places,
        language=question.language,
    )


def _answer(
    items: Sequence[tuple[Arranged, reasons.Reason]],
    reason: Reason,
    version: str | None,
    known: reasons.Known,
) -> Answer:
    shown = tuple(
        Recommended(each.pick.sku, known.names.get(each.pick.sku), each.pick.score, why, each.rules)
        for each, why in items
    )
    return Answer(reason in ("consent", "session"), reason, version, shown)
