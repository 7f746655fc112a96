"""Picks what to show from what is known: the model, a history, the page, and the shop's rules.

Pure but for what `Terms.products` reads. Recommendations, sessions and picks for whole audiences
all come through `select`, so that what holds for one of them holds for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

import numpy as np

from loyalty.catalogue.model import Restrictions
from recommend import model as models
from recommend.dataset import Basket
from recommend.due import DAY_SECONDS, WAITING_DAYS_MAX, bought_since, habits, waiting
from recommend.fatigue import penalties
from recommend.merchandising.arrange import Arranged, arrange, pinned_skus
from recommend.taste import NOTHING_ELSE

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from loyalty.catalogue.model import Product
    from loyalty.journal.store import PastBasket
    from recommend.merchandising.model import Rule, Where
    from recommend.model import Floats32, Model, Pick
    from recommend.taste import Context

    History: TypeAlias = list[tuple[float, tuple[str, ...]]]

Reason: TypeAlias = Literal[
    "consent", "no_consent", "no_history", "no_model", "browser_signal", "session", "held_out"
]
CANDIDATES_SPARE = 100
"""Candidates beyond four times the limit that the shop's rules can choose from."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What picking goes by, beside the model and what is known of the person.

    Attributes:
        restrictions: what is not shown or not used.
        hidden: further sets of skus that are not shown: sold out there, excluded by the caller.
        only: the skus that may be shown; None for all.
        rules: the shop's, in their order.
        where: when and where it is shown; without it no rule holds and nothing is held back.
        products: those of some skus that the catalogue has; the rules need to know them.
        context: cart, page and feedback. Its time counts if `where` has none.
    """

    restrictions: Restrictions = field(default_factory=Restrictions)
    hidden: tuple[Collection[str], ...] = ()
    only: frozenset[str] | None = None
    rules: Sequence[Rule] = ()
    where: Where | None = None
    products: Callable[[Sequence[str]], Mapping[str, Product]] = lambda _skus: {}
    context: Context = NOTHING_ELSE

    @property
    def at(self) -> float | None:
        """POSIX seconds of the request, if that is known."""
        return self.where.at.timestamp() if self.where else self.context.at


class Selection(NamedTuple):
    """What to show, best first, why it is personal or not, and the history that it stands on."""

    items: list[Arranged]
    reason: Reason
    taste: History


class _Known(NamedTuple):
    """The person as far as consent allows, and what must not be shown to them."""

    taste: History
    context: Context
    factors: Mapping[str, float]
    forbidden: Callable[[str], bool]


def select(
    model: Model,
    history: Sequence[PastBasket],
    places: Sequence[str],
    limit: int,
    *,
    allowed: bool,
    terms: Terms,
    newcomers: Sequence[Pick] = (),
    preferences: Floats32 | None = None,
) -> Selection:
    """The picks for one person, as the shop's rules want them.

    Args:
        model: what is served.
        history: the newest purchases and returns, newest first; empty without consent.
        places: names of places, the most specific first.
        limit: how many at most.
        allowed: whether the person agrees to personalisation.
        terms: what else it goes by.
        newcomers: picks of products that the model does not hold, with scores that compare.
        preferences: of the collaborative part, if worked out already (`recommend.batch`).
    """
    taste = taste_of(history, terms.restrictions.sensitive) if allowed else []
    return select_for(
        model,
        taste,
        places,
        limit,
        allowed=allowed,
        terms=terms,
        newcomers=newcomers,
        preferences=preferences,
    )


def select_for(
    model: Model,
    taste: History,
    places: Sequence[str],
    limit: int,
    *,
    allowed: bool,
    terms: Terms,
    newcomers: Sequence[Pick] = (),
    preferences: Floats32 | None = None,
) -> Selection:
    """The same for a history as the model takes it."""
    known = _known(model, taste, terms, allowed=allowed)
    is_plain = not terms.rules and not known.factors and not newcomers
    count = limit if is_plain else min(limit * 4 + CANDIDATES_SPARE, models.LIMIT_MAX)
    picks, reason = _ranked(model, known, places, count, preferences, allowed=allowed)
    if allowed and newcomers:
        seen = {each.sku for each in picks}
        fresh = (each for each in newcomers if each.sku not in seen)
        picks += [each for each in fresh if not known.forbidden(each.sku)]
    if known.factors or newcomers:
        picks = _sunk(picks, known.factors)
    if terms.only is not None and len(picks) < limit:
        picks += fill(model, limit - len(picks), picks, known.forbidden)
    return Selection(_arranged(picks, limit, terms, known.forbidden), reason, taste)


def pick(
    model: Model,
    history: Sequence[PastBasket],
    places: Sequence[str],
    limit: int,
    *,
    allowed: bool,
    restrictions: Restrictions,
    context: Context = NOTHING_ELSE,
    terms: Terms | None = None,
) -> tuple[list[Pick], Reason]:
    """The picks of `select` alone; `terms` stands above `restrictions` and `context`."""
    terms = terms or Terms(restrictions=restrictions, context=context)
    found = select(model, history, places, limit, allowed=allowed, terms=terms)
    return [each.pick for each in found.items], found.reason


def similar_to(
    model: Model,
    product: Product,
    places: Sequence[str],
    limit: int,
    *,
    terms: Terms,
    same_category: Callable[[], frozenset[str]],
) -> tuple[list[Arranged], frozenset[str]]:
    """What goes with a product, filled up with the best sellers of its category.

    Args:
        model: what is served.
        product: which.
        places: names of places, the most specific first.
        limit: how many at most.
        terms: what else it goes by.
        same_category: the skus of that category; asked for only if they are needed.

    Returns:
        The products, and the skus of those that are there for their category alone.
    """
    known = _known(model, [], terms, allowed=False)

    def forbidden(each: str) -> bool:
        return each == product.sku or known.forbidden(each)

    count = min(limit * 4 + CANDIDATES_SPARE, models.LIMIT_MAX)
    picks = [each for each in models.similar(model, product.sku, count) if not forbidden(each.sku)]
    near = {each.sku for each in picks}
    if len(picks) < limit and product.category:
        inside = same_category()

        def outside(each: str) -> bool:
            return each not in inside or each in near or forbidden(each)

        more = models.popular(model, places, count, outside)
        picks += more or fill(model, limit - len(picks), picks, outside)
    items = _arranged(picks, limit, terms, forbidden)
    return items, frozenset(each.pick.sku for each in items) - near


def fill(
    model: Model, count: int, picks: Sequence[Pick], forbidden: Callable[[str], bool]
) -> list[Pick]:
    """So many more of the model's items by how many people bought them, behind what is picked."""
    taken = {each.sku for each in picks}
    found: list[Pick] = []
    for n in np.argsort(-model.item_people, kind="stable").tolist():
        if len(found) >= count:
            break
        sku = model.items[n].decode()
        if sku not in taken and not forbidden(sku):
            found.append(models.Pick(sku, 0.0, "shared"))
    return found


def _known(model: Model, taste: History, terms: Terms, *, allowed: bool) -> _Known:
    """What of the person may be used, and what may be shown."""
    context = _admissible(terms.context, terms.restrictions.sensitive)
    at = terms.at
    factors: Mapping[str, float] = {}
    if not allowed:
        context = context._replace(signals=())
    elif context.signals and at is not None:
        factors = penalties(context.signals, at, bought_at=bought_since(taste, 0.0))
    resting = frozenset() if at is None else _waiting(model, taste, at)
    gone = {sku for sku, factor in factors.items() if factor <= 0}
    unsold = _unsold(model, taste, context, terms)
    return _Known(taste, context, factors, _forbidding(terms, taste, (gone, resting, unsold)))


def _unsold(model: Model, taste: History, context: Context, terms: Terms) -> frozenset[str]:
    """What feedback alone names and nobody ever sold: a browser may report any sku."""
    bought = bought_since(taste, 0.0) if context.signals else {}
    named = {each.sku: None for each in context.signals if each.strength > 0}
    skus = [sku for sku in named if sku not in bought]
    if not skus:
        return frozenset()
    places = models.positions(model, skus).tolist()
    strange = [sku for sku, place in zip(skus, places, strict=True) if place < 0]
    return frozenset(strange).difference(terms.products(strange)) if strange else frozenset()


def _waiting(model: Model, taste: History, at: float) -> frozenset[str]:
    """What was bought too short a time ago."""
    recent = bought_since(taste, at - WAITING_DAYS_MAX * DAY_SECONDS)
    if not recent:
        return frozenset()
    skus, days = list(recent), np.full(len(recent), np.nan)
    if len(model.rebuy_days):
        places = models.positions(model, skus)
        days = np.where(places >= 0, model.rebuy_days[places], np.nan)
    passed = (at - np.fromiter(recent.values(), dtype=np.float64)) / DAY_SECONDS
    # A person's own interval only shortens an item's, so most need not be worked out.
    maybe = np.flatnonzero(~(passed >= days)).tolist()
    item_days = {skus[n]: float(days[n]) for n in maybe if not np.isnan(days[n])}
    return waiting(habits(taste, frozenset(skus[n] for n in maybe)), item_days, at)


def _forbidding(
    terms: Terms, taste: History, personal: tuple[Collection[str], ...]
) -> Callable[[str], bool]:
    """Says True of what must not be shown. A union of sets would cost each request a copy."""
    context, one_off = terms.context, terms.restrictions.one_off
    page = {*context.cart, *((context.viewing,) if context.viewing else ())}
    has = {sku for _, skus in taste for sku in skus} & one_off if one_off else ()
    given = (terms.restrictions.hidden, *terms.hidden, page, has, *personal)
    sets = [each for each in given if each]
    only = terms.only
    if only is None:
        return lambda sku: any(sku in each for each in sets)
    return lambda sku: sku not in only or any(sku in each for each in sets)


def _admissible(context: Context, sensitive: frozenset[str]) -> Context:
    """The context without sensitive products."""
    if not sensitive or context is NOTHING_ELSE:
        return context
    return context._replace(
        cart=tuple(sku for sku in context.cart if sku not in sensitive),
        viewing=None if context.viewing in sensitive else context.viewing,
        signals=tuple(each for each in context.signals if each.sku not in sensitive),
    )


def asked_of(history: Sequence[PastBasket], terms: Terms) -> tuple[History, Context]:
    """What `select` ranks for, from the same: for whoever works out preferences beforehand."""
    sensitive = terms.restrictions.sensitive
    return taste_of(history, sensitive), _admissible(terms.context, sensitive)


def _ranked(
    model: Model,
    known: _Known,
    places: Sequence[str],
    count: int,
    preferences: Floats32 | None,
    *,
    allowed: bool,
) -> tuple[list[Pick], Reason]:
    context = known.context
    is_known = known.taste or context.cart or context.viewing or context.signals
    if not allowed or not is_known:
        reason: Reason = "no_history" if allowed else "no_consent"
        # What somebody likes is used with consent alone, even where they named it themselves.
        liked = context.interests if allowed else ()
        picks = models.popular(
            model, places, count, known.forbidden, at=context.at, interests=liked
        )
        return picks, reason
    forbidden = known.forbidden
    picks = models.rank(
        model,
        known.taste,
        places,
        count,
        exclude=forbidden,
        context=context,
        preferences=preferences,
    )
    is_personal = known.taste or any(each.part != "shared" for each in picks)
    return picks, "consent" if is_personal else "no_history"


def _sunk(picks: Iterable[Pick], factors: Mapping[str, float]) -> list[Pick]:
    """The picks with what makes some of them sink, best first."""
    weighed = (
        replace(each, score=each.score * factors[each.sku]) if each.sku in factors else each
        for each in picks
    )
    return sorted(weighed, key=lambda each: -each.score)


def _arranged(
    picks: list[Pick], limit: int, terms: Terms, forbidden: Callable[[str], bool]
) -> list[Arranged]:
    if not terms.rules or terms.where is None:
        return [Arranged(each) for each in picks[:limit]]
    skus = dict.fromkeys([each.sku for each in picks] + pinned_skus(terms.rules, terms.where))
    products = terms.products(list(skus))
    return arrange(picks, terms.rules, products, terms.where, limit, forbidden=forbidden)


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
