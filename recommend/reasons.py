"""Why a product is shown, in words that a person understands. Pure.

Said of the person's own history alone: never of somebody else's, and never of a sensitive product
unless the person explicitly agreed to that.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias, get_args

from recommend import model as models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loyalty.catalogue.model import Product
    from recommend.due import Habit
    from recommend.merchandising.arrange import Arranged
    from recommend.model import Model, Pick

LANGUAGES = ("en", "fr")
LOCALES = Path(__file__).parent / "locales"
BECAUSE_MAX = 3
"""Most skus that an item names as its reason."""
Code: TypeAlias = Literal[
    "selected",
    "basket",
    "viewing",
    "bought",
    "bought_often",
    "bought_before",
    "goes_with",
    "popular_store",
    "popular_channel",
    "popular",
    "new",
    "similar",
    "same_category",
]
CODES: tuple[Code, ...] = get_args(Code)
_PERIODS = (("month", 30.4), ("week", 7.0), ("day", 1.0))


class Reason(NamedTuple):
    """Why a product is shown: for a machine and for the person.

    Attributes:
        code: one of `CODES`.
        skus: of the person's own that speak for it, best first.
        text: for the person to read.
    """

    code: Code
    skus: tuple[str, ...]
    text: str


class Known(NamedTuple):
    """What may be said to this person.

    Attributes:
        names: of the products that a reason can name.
        habits: how the person buys things; empty without consent.
        cart: what is in the basket.
        viewing: the page that is open.
        given: the items of a session.
        fresh: products that came after the model was trained.
        places: of the request, the most specific first.
        language: of `LANGUAGES`.
    """

    names: Mapping[str, Product]
    habits: Mapping[str, Habit] = {}
    cart: tuple[str, ...] = ()
    viewing: str | None = None
    given: frozenset[str] = frozenset()
    fresh: frozenset[str] = frozenset()
    places: Sequence[str] = ()
    language: str = "en"


def reason_of(arranged: Arranged, model: Model, known: Known) -> Reason:
    """Why this one is shown."""
    pick = arranged.pick
    if arranged.is_pinned:
        return Reason("selected", (), say("selected", known.language))
    if pick.sku in known.habits:
        return _own(pick, known)
    if found := _new(pick, known) or _by_context(pick, known):
        return found
    if pick.part == "shared":
        return _popular(pick.sku, model, known)
    if named := _named(pick.because, known):
        return Reason("bought", named, _with_name("bought", named[0], known))
    return Reason("goes_with", (), say("goes_with", known.language))


def plain(code: Code, language: str, **values: str) -> Reason:
    """A reason that speaks of nobody."""
    return Reason(code, (), say(code, language, **values))


def say(key: str, language: str, **values: str) -> str:
    """The text under a key, in a language, with its `{names}` filled in."""
    return _texts(language)[key].format_map(values)


def interval(days: float, language: str) -> str:
    """Days in the largest unit that says them to a tenth: every 10 days, every 2 weeks."""
    for unit, length in _PERIODS:
        number = max(round(days / length), 1)
        if unit == "day" or abs(days - number * length) <= days / 10:
            break
    return say(f"every_{unit}" if number == 1 else f"every_{unit}s", language, number=str(number))


def _own(pick: Pick, known: Known) -> Reason:
    days = known.habits[pick.sku].typical_days
    if days:
        text = say("bought_often", known.language, interval=interval(days, known.language))
        return Reason("bought_often", (pick.sku,), text)
    return Reason("bought_before", (pick.sku,), say("bought_before", known.language))


def _new(pick: Pick, known: Known) -> Reason | None:
    """A product that came after the model was trained, in its category."""
    product = known.names.get(pick.sku) if pick.sku in known.fresh else None
    if product is None or not product.category:
        return None
    return plain("new", known.language, category=product.category.rpartition("/")[2])


def _by_context(pick: Pick, known: Known) -> Reason | None:
    """The basket or the open page, if the person's own purchases do not speak louder."""
    first = pick.because[0] if pick.because else None
    if first is None or first in known.habits:
        return None
    if first in known.cart:
        named = tuple(sku for sku in pick.because if sku in known.cart)[:BECAUSE_MAX]
        return Reason("basket", named, say("basket", known.language))
    if first == known.viewing:
        return Reason("viewing", (first,), say("viewing", known.language))
    if first in known.given and first in known.names:
        return Reason("similar", (first,), _with_name("similar", first, known))
    return None


def _named(skus: Sequence[str], known: Known) -> tuple[str, ...]:
    """Those whose names can be said: the shop sells them, and the person bought them."""
    own = (sku for sku in skus if sku in known.names and sku in known.habits)
    return tuple(own)[:BECAUSE_MAX]


def _with_name(key: str, sku: str, known: Known) -> str:
    return say(key, known.language, name=known.names[sku].name)


def _popular(sku: str, model: Model, known: Known) -> Reason:
    """Where it is popular: in the most specific place whose list has it."""
    at = int(models.positions(model, [sku])[0])
    for place in known.places:
        listed = model.popular.get(place)
        if at >= 0 and listed is not None and bool((listed.items == at).any()):
            code: Code = "popular_store" if place.startswith("store:") else "popular_channel"
            return plain(code, known.language)
    return plain("popular", known.language)


@cache
def _texts(language: str) -> Mapping[str, str]:
    found: dict[str, str] = json.loads((LOCALES / f"{language}.json").read_text("utf-8"))
    return found
