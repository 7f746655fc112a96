"""Learns what goes with what, and ranks it for one person from the history handed in.

Pure: no clock, no file, no database. A `Model` holds items only: no member's name and no vector of
a member. A person's taste is worked out from the history passed in with the request and forgotten
with the answer, so withdrawing consent leaves nothing of that person to serve. It leaves to others:
consent and which history it allows (`recommend.service`), arrays from baskets
(`recommend.dataset`), choosing weights (`recommend.evaluate`) and files (`recommend.artefact`).

Three parts are added up, each in the unit "one basket's worth of evidence" so that weights compare:

- personal: each basket with the item gives `decay_per_basket ** age`, the newest basket having age
  0. 1.0 means "was in the last basket"; the most is 1 / (1 - decay), 10 at .9.
- shared: recency-weighted popularity of the place, the best seller having 1.0.
- collaborative (`recommend.collaborative`): what people with such purchases buy; 1.0 is what a
  person's best item gets, on average.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from recommend import collaborative as parts
from recommend import learning
from recommend.collaborative import Collaborative
from recommend.dataset import Dataset, Ints, Names, Offsets, matrix
from recommend.due import waiting_days
from recommend.taste import NOTHING_ELSE, Context

EVERYWHERE = "everywhere"
"""The place that every basket counts for."""
BASKETS_MAX = 200
"""Newest baskets of a history that are looked at; the 200th weighs 1e-9 at a decay of .9."""
PLACES_MAX = 8
"""Places of a request that are looked at, most specific first."""
LIMIT_MAX = 1_000
"""Most picks one call gives."""
FACTORS_MAX = 512
ITERATIONS_MAX = 1_000
SCORE_FLOOR = 1e-3
"""Least popularity in a list, so that a list can be chained behind another and still be seen."""
CHAIN_STEP = 0.99
"""How far below the end of a list the next, wider one begins."""
SPARE_PICKS = 32
"""Candidates taken beyond the limit, so that a few excluded items cost no second look."""
DAY_SECONDS = 86_400.0

Part: TypeAlias = Literal["personal", "shared", "collaborative"]
Floats32: TypeAlias = npt.NDArray[np.float32]
Floats64: TypeAlias = npt.NDArray[np.float64]
History: TypeAlias = Sequence[tuple[float, tuple[str, ...]]]
"""(POSIX seconds, SKUs) of each basket, newest last; only the newest `BASKETS_MAX` count."""
Exclude: TypeAlias = Callable[[str], bool] | Collection[str]
"""SKUs not to show: a set, or a function that says True of them. A frozenset costs nothing."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with (iterations done, iterations in all)."""

PARTS: tuple[Part, ...] = ("personal", "shared", "collaborative")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train and score.

    Defaults were chosen on a random fifth of the customers of Online Retail (next basket,
    recall@10 of the whole catalogue); ALS of that alone gets .137 there, the default blend .223.

    Attributes:
        factors: longest vector of an item, 1 to 512; how long it is, the data decides. Short ones
            give less of the trained-on people away: attack AUC .61 at 16 factors, .91 at 64.
        alpha: mean confidence in a purchase that ALS is to have, above 0; None: chosen by the data.
        regularization: of ALS, above 0; None: chosen by the data.
        iterations: of ALS, 1 to 1,000.
        half_life_days: age at which a purchase counts half in popularity.
        decay_per_basket: how much of an item's personal score outlives one more basket, 0 to 1.
        people_min: fewest different people behind anything shared (k-anonymity), at least 1.
        popular_max: most items kept in a place's list.
        seed: of ALS; the same seed and data give the same model.
    """

    factors: int = 256
    alpha: float | None = None
    regularization: float | None = None
    iterations: int = 6
    half_life_days: float = 30.0
    decay_per_basket: float = 0.9
    people_min: int = 10
    popular_max: int = 500
    seed: int = 7

    def __post_init__(self) -> None:
        """Refuse settings that could not be trained with."""
        checks = {
            "factors": 1 <= self.factors <= FACTORS_MAX,
            "alpha": self.alpha is None or self.alpha > 0,
            "regularization": self.regularization is None or self.regularization > 0,
            "iterations": 1 <= self.iterations <= ITERATIONS_MAX,
            "half_life_days": self.half_life_days > 0,
            "decay_per_basket": 0 < self.decay_per_basket <= 1,
            "people_min": self.people_min >= 1,
            "popular_max": self.popular_max >= 1,
            "seed": self.seed >= 0,
        }
        if wrong := [name for name, fine in checks.items() if not fine]:
            raise ValueError(f"settings out of range: {', '.join(wrong)}")


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts; only the ratios matter to a ranking.

    The defaults serve shops where people buy the same again (measured on Online Retail).
    """

    personal: float = 1.0
    shared: float = 0.8
    collaborative: float = 0.2

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not numbers."""
        if not all(0 <= weight < np.inf for weight in self.as_tuple()):
            raise ValueError("a weight must be a finite number that is not negative")

    def as_tuple(self) -> tuple[float, float, float]:
        """The weights in the order of `PARTS`."""
        return self.personal, self.shared, self.collaborative


@dataclass(frozen=True, slots=True)
class Popular:
    """A place's best sellers.

    Attributes:
        items: (m,) positions in the model's items, best first.
        scores: (m,) never rising, from 1.0 down to `SCORE_FLOOR` at the least.
    """

    items: Ints
    scores: Floats32


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of items. Nothing of a person is in it. Arrays may be read-only.

    Attributes:
        items: (n,) SKUs in UTF-8, sorted bytewise; each has `people_min` people behind it.
        collaborative: what they have to do with each other.
        item_people: (n,) number of different people who bought it.
        popular: place -> its best sellers; always has `EVERYWHERE`.
        weights: of the three parts.
        settings: it was trained with.
        rebuy_days: (n,) days within which hardly anybody buys it again; NaN where unknown.
    """

    items: Names
    collaborative: Collaborative
    item_people: Ints
    popular: Mapping[str, Popular]
    weights: Weights = field(default_factory=Weights)
    settings: Settings = field(default_factory=Settings)
    rebuy_days: Floats32 = field(default_factory=lambda: np.zeros(0, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class Pick:
    """One recommended item.

    Attributes:
        sku: the item.
        score: higher is better; comparable within one answer only.
        part: the part that contributed most.
        because: SKUs of the person's own that speak most for it, best first; often empty.
    """

    sku: str
    score: float
    part: Part
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """The three parts, unweighted, for the model's n items and m more of the member's own.

    Attributes:
        own: m SKUs of the member's history that the model does not hold (too few people behind
            them to be shared); they are positions n to n + m - 1.
        parts: (3, n + m) in the order of `PARTS`.
    """

    own: tuple[str, ...]
    parts: Floats32


def train(
    dataset: Dataset,
    settings: Settings,
    weights: Weights | None = None,
    *,
    progress: Progress | None = None,
    threads: int = 0,
    collaborative: bool = True,
    start: Model | None = None,
) -> Model:
    """Learn a model. A dataset too small to share anything gives a valid model of no items.

    `threads` are those of learning, 0 for all cores. Without the collaborative part there are
    popular lists alone, in milliseconds. `start` is a model of nearly the same data: its choices
    are taken over and its vectors gone on from, in a fraction of the time.
    """
    counts = matrix(dataset)
    people = np.asarray(counts.getnnz(axis=0), dtype=np.int32)
    kept = np.flatnonzero(people >= settings.people_min)
    together = parts.nothing(len(kept))
    if collaborative:
        before = _aligned(start, dataset.items[kept]) if start else None
        together = learning.learn(
            counts[:, kept], _limits(settings), progress=progress, threads=threads, start=before
        )
    return Model(
        # As wide as the widest that is kept: the array's type must not tell of a SKU that is not.
        items=np.array(dataset.items[kept].tolist(), dtype=np.bytes_),
        collaborative=together,
        item_people=people[kept],
        popular=_popular_lists(dataset, kept, settings),
        weights=weights or Weights(),
        settings=settings,
        rebuy_days=waiting_days(dataset, settings.people_min)[kept],
    )


def _limits(settings: Settings) -> learning.Limits:
    return learning.Limits(
        factors=settings.factors,
        people_min=settings.people_min,
        iterations=settings.iterations,
        alpha=settings.alpha,
        regularization=settings.regularization,
        seed=settings.seed,
    )


def _aligned(start: Model, items: Names) -> Collaborative:
    """The collaborative part of another model for these items; it knows nothing of new ones."""
    at = positions(start, [name.decode() for name in items.tolist()])
    return parts.rearranged(start.collaborative, at)


def _popular_lists(dataset: Dataset, kept: Offsets, settings: Settings) -> dict[str, Popular]:
    position = np.full(len(dataset.items), -1, dtype=np.int32)
    position[kept] = np.arange(len(kept), dtype=np.int32)
    line_basket = dataset.line_basket()
    lists = {}
    for place, name in enumerate(dataset.places):
        lines = np.flatnonzero(dataset.at_place(place)[line_basket])
        lists[name] = _popular_list(dataset, line_basket, lines, position, settings)
    everything = np.arange(len(line_basket))
    lists[EVERYWHERE] = _popular_list(dataset, line_basket, everything, position, settings)
    return {name: found for name, found in lists.items() if len(found.items) or name == EVERYWHERE}


def _popular_list(
    dataset: Dataset, line_basket: Offsets, lines: Offsets, position: Ints, settings: Settings
) -> Popular:
    """Rank items by the sum over different people of `0.5 ** (age / half-life)`.

    A person counts once an item, by the latest purchase, so that nobody can push an item up by
    buying it often; and an item shows only with `people_min` people behind it at this place.
    """
    latest = _latest_per_person(dataset, line_basket, lines)
    items = position[dataset.basket_items[latest]]
    enough = np.bincount(items[items >= 0], minlength=1) >= settings.people_min
    seen = (items >= 0) & enough[items]
    return _best(items[seen], dataset.basket_at[line_basket[latest[seen]]], settings)


def _latest_per_person(dataset: Dataset, line_basket: Offsets, lines: Offsets) -> Offsets:
    """Of these lines, the newest of each (member, item)."""
    newest_first = lines[::-1]
    members = dataset.basket_member[line_basket[newest_first]].astype(np.int64)
    keys = members * len(dataset.items) + dataset.basket_items[newest_first]
    return newest_first[np.unique(keys, return_index=True)[1]]


def _best(items: Ints, times: Floats64, settings: Settings) -> Popular:
    if not len(items):
        return Popular(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
    # Ages from the newest of these lines, not of the whole dataset: scaling to 1 makes the two the
    # same, and a place that closed long ago does not sink to 0 / 0.
    age_days = (times.max() - times) / DAY_SECONDS
    scores = np.bincount(items, weights=0.5 ** (age_days / settings.half_life_days))
    present = np.unique(items)
    order = np.lexsort((present, -scores[present]))[: settings.popular_max]
    best = present[order].astype(np.int32)
    scaled = np.maximum(scores[best] / scores[best[0]], SCORE_FLOOR)
    return Popular(best, scaled.astype(np.float32))


def positions(model: Model, skus: Sequence[str]) -> Offsets:
    """(len(skus),) position of each SKU in the model's items, -1 where it does not hold it."""
    items, width = model.items, model.items.dtype.itemsize
    found = np.full(len(skus), -1, dtype=np.int64)
    if not len(items):
        return found
    raw = [sku.encode() for sku in skus]
    # A longer needle would make numpy widen, and so copy, the whole of the items at each request.
    fits = [n for n, name in enumerate(raw) if len(name) <= width and b"\0" not in name]
    needles = np.array([raw[n] for n in fits], dtype=items.dtype)
    places = np.minimum(np.searchsorted(items, needles), len(items) - 1)
    found[fits] = np.where(items[places] == needles, places, -1)
    return found


@dataclass(frozen=True, slots=True)
class _Tally:
    """Each SKU of a history once, with its number of baskets and its decayed number."""

    skus: list[str]
    counts: Floats64
    decayed: Floats64


def _tally(history: History, decay: float) -> _Tally:
    counts: dict[str, int] = {}
    decayed: dict[str, float] = {}
    weight = 1.0
    for _, skus in reversed(history[-BASKETS_MAX:]):
        for sku in dict.fromkeys(skus):
            counts[sku] = counts.get(sku, 0) + 1
            decayed[sku] = decayed.get(sku, 0.0) + weight
        weight *= decay
    return _Tally(
        list(counts),
        np.array(list(counts.values()), dtype=np.float64),
        np.array(list(decayed.values()), dtype=np.float64),
    )


def score(model: Model, history: History, places: Sequence[str]) -> Scores:
    """Score the whole catalogue for one member; `places` most specific first.

    A collaborative weight of 0 leaves that part at 0, unworked.
    """
    tally = _tally(history, model.settings.decay_per_basket)
    at = positions(model, tally.skus)
    outside = np.flatnonzero(at < 0)
    size = len(model.items)
    table = np.zeros((len(PARTS), size + len(outside)), dtype=np.float32)
    if model.weights.collaborative:
        table[2, :size] = parts.scores(model.collaborative, at, tally.counts)
    for items, scores in _chain(model, places):
        table[1, items] = np.maximum(table[1, items], scores)
    at[outside] = np.arange(size, size + len(outside))
    table[0, at] = tally.decayed
    return Scores(tuple(tally.skus[n] for n in outside), table)


def _chain(model: Model, places: Sequence[str]) -> Iterator[tuple[Ints, Floats32]]:
    """Lists of the places, most specific first; each begins just below the end of the one before.

    So an item of a more specific list always comes before one that only a wider list names.
    """
    top = 1.0
    for place in dict.fromkeys((*places[:PLACES_MAX], EVERYWHERE)):
        listed = model.popular.get(place)
        if listed is not None and len(listed.items):
            yield listed.items, listed.scores * np.float32(top)
            top *= float(listed.scores[-1]) * CHAIN_STEP


def blend(scores: Scores, weights: Weights) -> Floats32:
    """(n + m,) weighted sum of the three parts."""
    return np.asarray(weights.as_tuple(), dtype=np.float32) @ scores.parts


def rank(
    model: Model,
    history: History,
    places: Sequence[str],
    limit: int,
    *,
    exclude: Exclude = (),
    context: Context = NOTHING_ELSE,
) -> list[Pick]:
    """The best items for one member, best first; items already bought are among them.

    An empty history gives `popular`. Items for which nothing speaks (a score of 0) are left out, so
    fewer than `limit` may come back.

    Args:
        model: trained, or loaded read-only.
        history: what consent allows to be looked at, newest last.
        places: most specific first; the first `PLACES_MAX` count.
        limit: most picks to give, 0 to `LIMIT_MAX`.
        exclude: SKUs never to give.
        context: what else is known: cart, page, feedback.

    Raises:
        ValueError: limit is out of range.
    """
    if not history:
        return popular(model, places, limit, exclude)
    scores = score(model, history, places)
    total = blend(scores, model.weights)
    excluded = _test(exclude)
    in_cart = frozenset(context.cart)
    chosen: list[tuple[int, str]] = []
    for best in _widening(total, _limit(limit)):
        named = ((n, _sku(model, scores, n)) for n in best.tolist())
        chosen = [(n, sku) for n, sku in named if sku not in in_cart and not excluded(sku)][:limit]
        if len(chosen) == limit:
            break
    return [Pick(sku, float(total[n]), _part(model, scores, n)) for n, sku in chosen]


def _widening(total: Floats32, limit: int) -> Iterator[Offsets]:
    """Positions of the best few, then of four times as many, until all above 0 have been seen."""
    take = limit + SPARE_PICKS
    seen_all = False
    while not seen_all:
        best = best_first(total, take)
        positive = best[total[best] > 0]
        yield positive
        seen_all = len(positive) < take or take >= len(total)
        take *= 4


def best_first(values: Floats32, count: int) -> Offsets:
    """Positions of the `count` highest values, best first, equals by position; no full sort."""
    if not count:
        return np.arange(0)
    if count < len(values):
        edge = np.partition(values, len(values) - count)[len(values) - count]
        above = np.flatnonzero(values > edge)
        level = np.flatnonzero(values == edge)[: count - len(above)]
    else:
        above, level = np.arange(len(values)), np.arange(0)
    return np.concatenate([above[np.lexsort((above, -values[above]))], level])


def _sku(model: Model, scores: Scores, position: int) -> str:
    size = len(model.items)
    if position >= size:
        return scores.own[position - size]
    return str(model.items[position].decode())


def _part(model: Model, scores: Scores, position: int) -> Part:
    return PARTS[int(np.argmax(scores.parts[:, position] * model.weights.as_tuple()))]


def _test(exclude: Exclude) -> Callable[[str], bool]:
    if callable(exclude):
        return exclude
    return frozenset(exclude).__contains__


def _limit(limit: int) -> int:
    if not 0 <= limit <= LIMIT_MAX:
        raise ValueError(f"limit must be 0 to {LIMIT_MAX}")
    return limit


def popular(model: Model, places: Sequence[str], limit: int, exclude: Exclude = ()) -> list[Pick]:
    """Best sellers of the most specific place that has any, filled up from wider places.

    Knows nothing of the person, so it serves those who gave no consent. Arguments, limits and
    errors are those of `rank`.
    """
    _limit(limit)
    excluded = _test(exclude)
    picks: dict[str, Pick] = {}
    for items, scores in _chain(model, places):
        for name, value in zip(model.items[items].tolist(), scores.tolist(), strict=True):
            if len(picks) >= limit:
                return list(picks.values())
            sku = name.decode()
            if sku not in picks and not excluded(sku):
                picks[sku] = Pick(sku, value, "shared")
    return list(picks.values())


def similar(model: Model, sku: str, limit: int) -> list[Pick]:
    """Items nearest to one, best first, without itself: of those that enough people bought with it.

    An item that the model does not hold gives an empty list. Limits and errors are those of `rank`.
    """
    (at,) = positions(model, [sku]).tolist()
    count = _limit(limit)
    if at < 0:
        return []
    found = parts.nearest(model.collaborative, at, count)
    return [Pick(model.items[n].decode(), value, "collaborative") for n, value in found]
