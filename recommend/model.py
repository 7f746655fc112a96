"""Learns what goes with what, and ranks it for one person from the history handed in.

Pure: no clock, no file, no database. A `Model` holds items only: no member's name and no vector of
a member. A person's taste is worked out from the history passed in with the request and forgotten
with the answer, so withdrawing consent leaves nothing of that person to serve. It leaves to others:
consent and which history it allows (`recommend.service`), arrays from baskets
(`recommend.dataset`), choosing settings and weights (`recommend.choose`) and files
(`recommend.artefact`).

Four parts are added up, each of the size of 1:

- personal (`recommend.personal`): 1.0 is a purchase just now, older and weaker evidence less.
- shared (`recommend.shared`): recency-weighted popularity of the place, the best seller having 1.0.
- collaborative (`recommend.collaborative`): what people with such purchases buy; 1.0 is what a
  person's best item gets, on average.
- together (`recommend.together`): what lies in one basket with the cart and the open page, the best
  item having 1.0; nothing without either.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from recommend import collaborative as parts
from recommend import learning, personal, shared
from recommend import together as baskets
from recommend.collaborative import Collaborative
from recommend.dataset import Dataset, Ints, Names, Offsets, matrix
from recommend.due import waiting_days
from recommend.personal import BASKETS_MAX, Ageing, Taste
from recommend.shared import EVERYWHERE, Counting, Floats32, Popular
from recommend.taste import NOTHING_ELSE, Context, History
from recommend.together import Together

__all__ = [
    "BASKETS_MAX",
    "EVERYWHERE",
    "LIMIT_MAX",
    "PARTS",
    "Asked",
    "Exclude",
    "Floats32",
    "History",
    "Model",
    "Part",
    "Pick",
    "Popular",
    "Scores",
    "Settings",
    "Weights",
    "asked_of",
    "best_first",
    "blend",
    "collaborative_for",
    "popular",
    "positions",
    "rank",
    "score",
    "similar",
    "train",
]

LIMIT_MAX = 1_000
"""Most picks one call gives."""
FACTORS_MAX = 512
ITERATIONS_MAX = 1_000
SPARE_PICKS = 32
"""Candidates taken beyond the limit, so that a few excluded items cost no second look."""
BECAUSE_MAX = 3
"""Most SKUs that an answer gives as the reason of a pick."""

Part: TypeAlias = Literal["personal", "shared", "collaborative", "together"]
Floats64: TypeAlias = npt.NDArray[np.float64]
Exclude: TypeAlias = Callable[[str], bool] | Collection[str]
"""SKUs not to show: a set, or a function that says True of them. A frozenset costs nothing."""
Progress: TypeAlias = Callable[[int, int], None]
"""Called with (iterations done, iterations in all)."""

PARTS: tuple[Part, ...] = ("personal", "shared", "collaborative", "together")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to train and score.

    Defaults serve where people buy the same again; `recommend.choose` finds a shop's own.

    Attributes:
        factors: longest vector of an item, 1 to 512; how long it is, the data decides. Short ones
            give less of the trained-on people away: attack AUC .61 at 16 factors, .91 at 64.
        alpha: mean confidence in a purchase that ALS is to have, above 0; None: chosen by the data.
        regularization: of ALS, above 0; None: chosen by the data.
        iterations: of ALS, 1 to 1,000.
        half_life_days: age at which a purchase counts half in popularity.
        decay_per_basket: how much of a purchase's weight outlives one more basket, 0 to 1.
        personal_half_life_days: age at which a purchase counts half for the person who made it.
        exponent: power of the evidence that is its personal score, above 0, at most 1.
        repeats: whether what a person bought already is worth showing again.
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
    personal_half_life_days: float = 180.0
    exponent: float = 0.33
    repeats: bool = True
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
            "personal_half_life_days": 0 < self.personal_half_life_days < np.inf,
            "exponent": 0 < self.exponent <= 1,
            "people_min": self.people_min >= 1,
            "popular_max": self.popular_max >= 1,
            "seed": self.seed >= 0,
        }
        if wrong := [name for name, fine in checks.items() if not fine]:
            raise ValueError(f"settings out of range: {', '.join(wrong)}")

    @property
    def ageing(self) -> Ageing:
        """How a person's own purchases fade."""
        return Ageing(self.decay_per_basket, self.personal_half_life_days)

    @property
    def counting(self) -> Counting:
        """How lists of best sellers are made."""
        return Counting(self.half_life_days, self.people_min, self.popular_max)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each part counts; only the ratios matter to a ranking.

    The defaults serve shops where people buy the same again (measured on Online Retail).
    """

    personal: float = 1.0
    shared: float = 0.8
    collaborative: float = 0.2
    together: float = 0.5

    def __post_init__(self) -> None:
        """Refuse weights that are negative or not numbers."""
        if not all(0 <= weight < np.inf for weight in self.as_tuple()):
            raise ValueError("a weight must be a finite number that is not negative")

    def as_tuple(self) -> tuple[float, float, float, float]:
        """The weights in the order of `PARTS`."""
        return self.personal, self.shared, self.collaborative, self.together


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of items. Nothing of a person is in it. Arrays may be read-only.

    Attributes:
        items: (n,) SKUs in UTF-8, sorted bytewise; each has `people_min` people behind it.
        collaborative: what they have to do with each other.
        item_people: (n,) number of different people who bought it.
        popular: place -> its best sellers; always has `EVERYWHERE`. Categories and seasons are
            places of their own.
        together: what lies in one basket with what.
        weights: of the four parts.
        settings: it was trained with.
        rebuy_days: (n,) days within which hardly anybody buys it again; NaN where unknown.
    """

    items: Names
    collaborative: Collaborative
    item_people: Ints
    popular: Mapping[str, Popular]
    together: Together
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


class Sparse(NamedTuple):
    """A part that speaks of few items: (m,) positions, each once, and (m,) values."""

    at: Offsets
    values: Floats32


@dataclass(frozen=True)
class Scores:
    """The four parts, unweighted, for the model's n items and m more of the member's own.

    Attributes:
        own: m SKUs of the member's history that the model does not hold (too few people behind
            them to be shared); they are positions n to n + m - 1.
        personal, together: of few items.
        shared: (n + m,) of all.
        collaborative: (n + m,) of all.
        hidden: positions that are not to be shown.
    """

    own: tuple[str, ...]
    personal: Sparse
    shared: Floats32
    collaborative: Floats32
    together: Sparse
    hidden: Offsets

    @cached_property
    def parts(self) -> Floats32:
        """(4, n + m) in the order of `PARTS`."""
        found = np.zeros((len(PARTS), len(self.shared)), dtype=np.float32)
        found[0, self.personal.at] = self.personal.values
        found[1], found[2] = self.shared, self.collaborative
        found[3, self.together.at] = self.together.values
        return found


def train(
    dataset: Dataset,
    settings: Settings,
    weights: Weights | None = None,
    *,
    progress: Progress | None = None,
    threads: int = 0,
    collaborative: bool = True,
    categories: Mapping[str, str] | None = None,
    start: Model | None = None,
    draft: bool = False,
) -> Model:
    """Learn a model. A dataset too small to share anything gives a valid model of no items.

    Args:
        dataset: what people bought.
        settings: how to learn.
        weights: of the parts.
        progress: told after each iteration.
        threads: of learning, 0 for all cores.
        collaborative: False leaves that part out: popular lists alone, in milliseconds.
        categories: path of a SKU's category, such as "Dairy/Milk"; for people's stated interests.
        start: a model of nearly the same data: its collaborative choices are taken over and its
            vectors gone on from, in a fraction of the time.
        draft: leave the collaborative part where it was chosen: to compare by, and to start from.
    """
    people = _people(dataset)
    kept = np.flatnonzero(people >= settings.people_min)
    position = np.full(len(dataset.items), -1, dtype=np.int32)
    position[kept] = np.arange(len(kept), dtype=np.int32)
    # As wide as the widest that is kept: the array's type must not tell of a SKU that is not.
    items = np.array(dataset.items[kept].tolist(), dtype=np.bytes_)
    learnt, together = parts.nothing(len(kept)), baskets.nothing(len(kept))
    if collaborative:
        learnt = learning.learn(
            matrix(dataset)[:, kept],
            _limits(settings),
            progress=progress,
            threads=threads,
            start=_aligned(start, items) if start else None,
            draft=draft,
        )
        together = baskets.learn(dataset, position, people[kept], settings.people_min)
    return Model(
        items=items,
        collaborative=learnt,
        item_people=people[kept],
        popular=_popular_lists(dataset, position, items, settings, categories or {}),
        together=together,
        weights=weights or Weights(),
        settings=settings,
        rebuy_days=waiting_days(dataset, settings.people_min)[kept],
    )


def _people(dataset: Dataset) -> Ints:
    """(items,) number of different people who bought each."""
    bought = matrix(replace(dataset, signal_at=dataset.signal_at[:0]))
    return np.asarray(bought.getnnz(axis=0), dtype=np.int32)


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


def _popular_lists(
    dataset: Dataset,
    position: Ints,
    items: Names,
    settings: Settings,
    categories: Mapping[str, str],
) -> dict[str, Popular]:
    seen = shared.seen_at(dataset, position, settings.people_min)
    seen |= shared.seen_in_seasons(dataset, position, settings.people_min)
    if categories:
        paths = [categories.get(name.decode(), "") for name in items.tolist()]
        seen |= shared.seen_in_categories(seen[EVERYWHERE], paths)
    lists = {name: shared.best(one, settings.counting) for name, one in seen.items()}
    return {name: found for name, found in lists.items() if len(found.items) or name == EVERYWHERE}


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


class Asked(NamedTuple):
    """Whom a ranking is for, as the model knows it: `at` are positions of the taste's SKUs."""

    taste: Taste
    at: Offsets
    context: Context


def asked_of(model: Model, history: History, context: Context) -> Asked:
    """What the model knows of somebody, worked out once for all that is asked."""
    taste = personal.taste(history, context, model.settings.ageing)
    return Asked(taste, positions(model, taste.skus), context)


def score(
    model: Model, history: History, places: Sequence[str], context: Context = NOTHING_ELSE
) -> Scores:
    """Score the whole catalogue for one member; `places` most specific first.

    The collaborative part and that of the cart stay at 0, unworked, where they weigh nothing.
    """
    return _score(model, asked_of(model, history, context), places)


def _score(
    model: Model,
    asked: Asked,
    places: Sequence[str],
    preferences: Floats32 | None = None,
) -> Scores:
    taste, at, context = asked
    size = len(model.items)
    outside = np.flatnonzero(at < 0)
    everywhere = at.copy()
    everywhere[outside] = np.arange(size, size + len(outside))
    length = size + len(outside)
    likings = personal.liking(taste.evidence, model.settings.exponent)
    return Scores(
        own=tuple(taste.skus[n] for n in outside.tolist()),
        personal=Sparse(everywhere, likings.astype(np.float32)),
        shared=shared.scores(
            model.popular, length, places, at=context.at, interests=context.interests
        ),
        collaborative=(
            collaborative_for(model, at, taste.evidence, length)
            if preferences is None
            else np.concatenate([preferences, np.zeros(len(outside), dtype=np.float32)])
        ),
        together=_together(model, context),
        hidden=everywhere[: taste.bought] if not model.settings.repeats else everywhere[:0],
    )


def collaborative_for(model: Model, at: Offsets, evidence: Floats64, length: int) -> Floats32:
    """(length,) preferences as the collaborative part has them, 0 for what it does not know."""
    found = np.zeros(length, dtype=np.float32)
    if model.weights.collaborative:
        found[: len(model.items)] = parts.scores(model.collaborative, at, evidence)
    return found


def _together(model: Model, context: Context) -> Sparse:
    """What goes with the cart and the open page, the best being 1.0."""
    here = _here(model, context)
    at, values = baskets.beside(model.together, here, np.ones(len(here)))
    highest = values.max(initial=0.0)
    return Sparse(at, (values / highest if highest else values).astype(np.float32))


def _here(model: Model, context: Context) -> Offsets:
    """Positions of what is in the cart and on the open page, each once."""
    if not (context.cart or context.viewing) or not model.weights.together:
        return np.zeros(0, dtype=np.int64)
    names = dict.fromkeys((*context.cart, *((context.viewing,) if context.viewing else ())))
    at = positions(model, list(names))
    return at[at >= 0]


def blend(scores: Scores, weights: Weights) -> Floats32:
    """(n + m,) weighted sum of the four parts; 0 for what is hidden."""
    own, popularity, preference, beside = (np.float32(weight) for weight in weights.as_tuple())
    total = scores.collaborative * preference
    total += scores.shared * popularity
    total[scores.personal.at] += own * scores.personal.values
    total[scores.together.at] += beside * scores.together.values
    total[scores.hidden] = 0
    return total


def rank(
    model: Model,
    history: History,
    places: Sequence[str],
    limit: int,
    *,
    exclude: Exclude = (),
    context: Context = NOTHING_ELSE,
    preferences: Floats32 | None = None,
    asked: Asked | None = None,
) -> list[Pick]:
    """The best items for one member, best first; items already bought are among them.

    Where nothing is known of the person it gives `popular`. Items for which nothing speaks (a score
    of 0 or less) are left out, so fewer than `limit` may come back; so is what is in the cart or on
    the open page.

    Args:
        model: trained, or loaded read-only.
        history: what consent allows to be looked at, newest last.
        places: most specific first; the first `PLACES_MAX` count.
        limit: most picks to give, 0 to `LIMIT_MAX`.
        exclude: SKUs never to give.
        context: what else is known: cart, page, feedback, interests and the time.
        preferences: (n,) of the collaborative part, if worked out already (`recommend.batch`).
        asked: history and context as the model knows them, if worked out already.

    Raises:
        ValueError: limit is out of range.
    """
    _limit(limit)
    excluded = _test(exclude)
    here = frozenset((*context.cart, context.viewing))
    asked = asked or asked_of(model, history, context)
    if not asked.taste.skus:
        return popular(model, places, limit, exclude, at=context.at, interests=context.interests)
    scores = _score(model, asked, places, preferences)
    total = blend(scores, model.weights)
    chosen: list[tuple[int, str]] = []
    for best in _widening(total, limit):
        named = ((n, _sku(model, scores, n)) for n in best.tolist())
        shown = ((n, sku) for n, sku in named if sku not in here and not excluded(sku))
        chosen = list(islice(shown, limit))
        if len(chosen) == limit:
            break
    where = np.array([n for n, _ in chosen], dtype=np.int64)
    values, told = total[where].tolist(), _told(model, asked, scores, where)
    return [Pick(sku, v, *why) for (_, sku), v, why in zip(chosen, values, told, strict=True)]


def _told(
    model: Model, asked: Asked, scores: Scores, where: Offsets
) -> list[tuple[Part, tuple[str, ...]]]:
    """Of each pick the part that added most, and the SKUs of the person's own that did.

    What is popular has no reason of the person's own, and what was bought before is its own reason.
    """
    shares = _shares(model, scores, where)
    leading = [PARTS[part] for part in shares.argmax(axis=0).tolist()]
    turns = [n for n, part in enumerate(leading) if part in {"collaborative", "together"}]
    reasons = _reasons(model, asked, where[turns], shares[:, turns]) if turns else []
    because = dict(zip(turns, reasons, strict=True))
    skus = asked.taste.skus
    turn_of = {n: turn for turn, n in enumerate(scores.personal.at.tolist())}
    for turn, part in enumerate(leading):
        if part == "personal":
            because[turn] = (skus[turn_of[int(where[turn])]],)
    return [(part, because.get(turn, ())) for turn, part in enumerate(leading)]


def _reasons(model: Model, asked: Asked, where: Offsets, shares: Floats64) -> list[tuple[str, ...]]:
    """Of each item the SKUs of the taste that add most to it, at most `BECAUSE_MAX`."""
    taste, at, context = asked
    said = _contributions(model, at, taste.evidence, where)
    totals = np.maximum(said, 0).sum(axis=1, keepdims=True)
    said *= shares[2][:, None] / np.where(totals > 0, totals, 1.0)
    turn_of = {n: turn for turn, n in enumerate(at.tolist())}
    for n in _here(model, context).tolist():
        said[:, turn_of[n]] += baskets.likeness(model.together, n, where) * shares[3]
    order = np.argsort(-said, axis=1, kind="stable")[:, :BECAUSE_MAX]
    return [
        tuple(taste.skus[turn] for turn in turns if said[row, turn] > 0)
        for row, turns in enumerate(order.tolist())
    ]


def _shares(model: Model, scores: Scores, where: Offsets) -> Floats64:
    """(4, picks) what each part adds to each pick."""
    found = np.zeros((len(PARTS), len(where)))
    found[1], found[2] = scores.shared[where], scores.collaborative[where]
    for row, part in ((0, scores.personal), (3, scores.together)):
        value_of = dict(zip(part.at.tolist(), part.values.tolist(), strict=True))
        found[row] = [value_of.get(n, 0.0) for n in where.tolist()]
    found *= np.array(model.weights.as_tuple())[:, None]
    return found


def _contributions(model: Model, at: Offsets, evidence: Floats64, where: Offsets) -> Floats64:
    """(picks, evidence) what each piece of evidence that may be named adds to each preference."""
    found = np.zeros((len(where), len(at)))
    held = np.flatnonzero((at >= 0) & (evidence > 0))
    inside = np.flatnonzero(where < len(model.items))
    if not len(held) or not len(inside) or not model.weights.collaborative:
        return found
    # Of what may be named only: enough people bought the two.
    found[inside] = parts.named(model.collaborative, at, evidence, where[inside])
    return found


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


def _test(exclude: Exclude) -> Callable[[str], bool]:
    if callable(exclude):
        return exclude
    return frozenset(exclude).__contains__


def _limit(limit: int) -> int:
    if not 0 <= limit <= LIMIT_MAX:
        raise ValueError(f"limit must be 0 to {LIMIT_MAX}")
    return limit


def popular(
    model: Model,
    places: Sequence[str],
    limit: int,
    exclude: Exclude = (),
    *,
    at: float | None = None,
    interests: Sequence[str] = (),
) -> list[Pick]:
    """Best sellers of the most specific place that has any, filled up from wider places.

    Knows nothing of the person but what is handed in, so it serves those who gave no consent.
    `at` is the moment of asking in POSIX seconds, for the season; `interests` are category paths.
    Other arguments, limits and errors are those of `rank`.
    """
    _limit(limit)
    excluded = _test(exclude)
    values = shared.scores(model.popular, len(model.items), places, at=at, interests=interests)
    picks: list[Pick] = []
    for best in _widening(values, limit):
        named = ((n, model.items[n].decode()) for n in best.tolist())
        shown = ((n, sku) for n, sku in named if not excluded(sku))
        picks = [Pick(sku, float(values[n]), "shared") for n, sku in islice(shown, limit)]
        if len(picks) == limit:
            break
    return picks


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
