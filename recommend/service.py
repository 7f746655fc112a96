"""What to show a member next: consent first, then the model, and good service without either.

Nothing is written here and nothing of a person is kept: the taste is worked out from the history
that today's consent allows, and forgotten with the answer.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION
from loyalty.kit.clock import now
from loyalty.members.model import MemberNotFoundError
from recommend import model as models
from recommend.dataset import Basket, build
from recommend.experiments.service import served_for
from recommend.taste import NOTHING_ELSE, Context

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from loyalty.catalogue.model import Product, Restrictions
    from loyalty.catalogue.store import CatalogueStore
    from loyalty.consent.store import ConsentStore
    from loyalty.journal.store import JournalStore, PastBasket
    from loyalty.members.store import MemberStore
    from recommend.artefact import Shelf
    from recommend.experiments.model import Variant
    from recommend.experiments.service import Experiments, Shelves
    from recommend.feedback.store import FeedbackStore
    from recommend.taste import Signal

Reason = Literal["consent", "no_consent", "no_history", "no_model", "browser_signal", "held_out"]

# Bounds the cost of a request whatever the member's history; older baskets weigh under .9**60.
HISTORY_BASKETS_MAX = 60
COLD_BASKETS_MAX = 5000
COLD_SECONDS_MAX = 30.0
BECAUSE: dict[models.Part, str] = {
    "personal": "Because you bought it before",
    "shared": "Popular here right now",
    "collaborative": "Goes with what you buy",
}


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


@dataclass(frozen=True, slots=True)
class Recommended:
    """One product to show, and why in plain words."""

    sku: str
    product: Product | None
    score: float
    part: models.Part


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


def recommend(
    member_id: str,
    *,
    channel: str | None,
    store: str | None,
    limit: int,
    at: datetime,
    gpc: bool = False,
    shelf: Shelf,
    popularity: Popularity,
    sources: Sources,
    shelves: Shelves | None = None,
) -> Answer:
    """What to show a member, personal only if the member agrees to that at this moment.

    Only who agrees takes part in an experiment. `gpc` says that the request carries `Sec-GPC: 1`,
    which counts as a refusal; `popularity` stands in while the shelf has no model; `shelves` has
    the versions that variants name.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    asked = gate.ask(member_id, PERSONALISATION, at=at, consents=sources.consents, gpc=gpc)
    if not asked.is_known and not sources.members.exists(member_id):
        raise MemberNotFoundError
    refusal: Reason = "browser_signal" if gpc else "no_consent"
    variant = sources.experiments.variant_for(member_id, at) if asked.permit else None
    served = served_for(variant, shelf.served(), shelves)
    places = places_of(channel, store)
    restrictions = sources.catalogue.restrictions()
    if served is None:
        reason: Reason = "no_model" if asked.permit else refusal
        picks = models.popular(popularity.model(), places, limit, restrictions.hidden)
        return _answer(picks, reason, None, sources.catalogue)
    history: list[PastBasket] = []
    context = NOTHING_ELSE
    if variant is not None and variant.serve != "model":
        shown = limit if variant.serve == "popular" else 0
        picks = models.popular(served.model, places, shown, restrictions.hidden)[:shown]
        return _answer(picks, "held_out", served.version, sources.catalogue, variant)
    if asked.permit:
        since = sources.history_since(at)
        history = sources.journal.history(asked.permit, limit=HISTORY_BASKETS_MAX, since=since)
        signals = sources.feedback.signals(asked.permit, since=since)
        context = context_of(signals, restrictions.sensitive, at=at)
    picks, reason = pick(
        served.model,
        history,
        places,
        limit,
        allowed=asked.permit is not None,
        restrictions=restrictions,
        context=context,
    )
    reason = refusal if asked.permit is None else reason
    return _answer(picks, reason, served.version, sources.catalogue, variant)


def pick(
    model: models.Model,
    history: Sequence[PastBasket],
    places: Sequence[str],
    limit: int,
    *,
    allowed: bool,
    restrictions: Restrictions,
    context: Context = NOTHING_ELSE,
) -> tuple[list[models.Pick], Reason]:
    """The picks for one member, and why they are personal or not.

    Args:
        model: what is served.
        history: the newest purchases and returns, newest first; empty without consent.
        places: names of places, the most specific first.
        limit: how many at most.
        allowed: whether the member agrees to personalisation.
        restrictions: what is not shown or not used.
        context: what else is known at this moment.
    """
    taste = taste_of(history, restrictions.sensitive)
    if not allowed or not taste:
        reason: Reason = "no_history" if allowed else "no_consent"
        return models.popular(model, places, limit, restrictions.hidden), reason
    excluded = restrictions.hidden
    if restrictions.one_off:
        bought = {sku for _, skus in taste for sku in skus}
        excluded = excluded | (restrictions.one_off & bought)
    picks = models.rank(model, taste, places, limit, exclude=excluded, context=context)
    return picks, "consent"


def context_of(signals: Sequence[Signal], sensitive: frozenset[str], *, at: datetime) -> Context:
    """What a member's feedback says, without what is said of sensitive products."""
    kept = tuple(each for each in signals if each.sku not in sensitive)
    return Context(at=at.timestamp(), signals=kept)


def places_of(channel: str | None, store: str | None) -> tuple[str, ...]:
    """The names under which popularity is counted, the most specific first."""
    named = (("store", store), ("channel", channel))
    return tuple(f"{kind}:{name}" for kind, name in named if name)


def taste_of(
    history: Sequence[PastBasket], sensitive: frozenset[str]
) -> list[tuple[float, tuple[str, ...]]]:
    """The baskets that a member kept, oldest first, as the model takes a history."""
    return [(past.occurred_at.timestamp(), skus) for past, skus in kept(history, sensitive)]


def kept(
    history: Sequence[PastBasket], sensitive: frozenset[str]
) -> list[tuple[PastBasket, tuple[str, ...]]]:
    """Each purchase with the skus that were kept of it, oldest first; empty ones are left out.

    Args:
        history: purchases and returns, newest first; a return takes off the purchases before it.
        sensitive: skus that are not used as input.
    """
    back: dict[str, int] = {}
    baskets: list[tuple[PastBasket, tuple[str, ...]]] = []
    for past in history:
        if not back and not past.is_return:
            # Nothing came back since: the usual case, and the history is long.
            skus = [sku for sku in past.quantities if sku not in sensitive]
            if skus:
                baskets.append((past, tuple(skus)))
            continue
        skus = []
        for sku, quantity in past.quantities.items():
            returned = min(max(quantity, 0), back.get(sku, 0))
            back[sku] = back.get(sku, 0) - returned - min(quantity, 0)
            if quantity > returned and sku not in sensitive:
                skus.append(sku)
        if skus:
            baskets.append((past, tuple(skus)))
    baskets.reverse()
    return baskets


def as_baskets(past: Iterable[PastBasket], sensitive: frozenset[str]) -> Iterable[Basket]:
    """Purchases as the dataset takes them, without sensitive products."""
    for each in past:
        skus = tuple(
            sku for sku, units in each.quantities.items() if units > 0 and sku not in sensitive
        )
        if skus:
            place = places_of(each.channel, each.store)
            yield Basket(each.member_id, each.occurred_at.timestamp(), place, skus)


def _answer(
    picks: Sequence[models.Pick],
    reason: Reason,
    version: str | None,
    catalogue: CatalogueStore,
    variant: Variant | None = None,
) -> Answer:
    products = catalogue.products([each.sku for each in picks])
    items = tuple(
        Recommended(each.sku, products.get(each.sku), each.score, each.part) for each in picks
    )
    return Answer(reason == "consent", reason, version, items, variant)
