"""What many people buy: by place, by category and by season. Pure.

A person counts once an item in a list, by the latest purchase there, so that nobody can push an
item up by buying it often; and an item is in a list only with `people_min` different people behind
it in that very list. It leaves to others: what a single person likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from recommend.dataset import Dataset, Floats, Ints, Offsets

EVERYWHERE = "everywhere"
"""The place that every basket counts for."""
PLACES_MAX = 8
"""Places of a request that are looked at, most specific first."""
INTERESTS_MAX = 8
"""Interests of a request that are looked at."""
CATEGORIES_MAX = 2_000
"""Most categories that get a list of their own, in the order of their paths."""
SCORE_FLOOR = 1e-3
"""Least popularity in a list, so that a list can be chained behind another and still be seen."""
CHAIN_STEP = 0.99
"""How far below the end of a list the next, wider one begins."""
SEASONS = 26
"""Parts of a year: fortnights."""
SEASON_SHARE = 0.3
"""How much the season says beside what is bought now, where a year ago is known."""
SEASON_AGE_DAYS = 180.0
"""Purchases younger than this are news, not season."""
YEAR_SECONDS = 365.2425 * 86_400.0
DAY_SECONDS = 86_400.0

Floats32: TypeAlias = npt.NDArray[np.float32]


class Popular(NamedTuple):
    """A list of best sellers.

    Attributes:
        items: (m,) positions in the model's items, best first.
        scores: (m,) never rising, from 1.0 down to `SCORE_FLOOR` at the least.
    """

    items: Ints
    scores: Floats32


class Counting(NamedTuple):
    """How lists are made.

    Attributes:
        half_life_days: age at which a purchase counts half.
        people_min: fewest different people behind an item of a list.
        popular_max: most items of a list.
    """

    half_life_days: float
    people_min: int
    popular_max: int


class Seen(NamedTuple):
    """The purchases that a list is made of: one a person and item, the latest.

    Attributes:
        items: (l,) positions in the model's items.
        times: (l,) POSIX seconds.
    """

    items: Ints
    times: Floats


def seen_at(dataset: Dataset, position: Ints, people_min: int) -> dict[str, Seen]:
    """Each place, and everywhere, with the purchases that its list is made of.

    Args:
        dataset: all baskets.
        position: (items of the dataset,) positions in the model's items, -1 for what is not there.
        people_min: fewest different people behind an item of a list.
    """
    line_basket = dataset.line_basket()
    found = {}
    for place, name in enumerate(dataset.places):
        lines = np.flatnonzero(dataset.at_place(place)[line_basket])
        found[name] = _seen(dataset, line_basket, lines, position, people_min)
    found[EVERYWHERE] = _seen(
        dataset, line_basket, np.arange(len(line_basket)), position, people_min
    )
    return found


def seen_in_seasons(dataset: Dataset, position: Ints, people_min: int) -> dict[str, Seen]:
    """The purchases of each fortnight of the year and its two neighbours, at least half a year old.

    Nothing where the baskets do not reach back a year.
    """
    times = dataset.basket_at
    if not len(times) or times.max() - times.min() < YEAR_SECONDS - 2 * YEAR_SECONDS / SEASONS:
        return {}
    line_basket = dataset.line_basket()
    old = times < times.max() - SEASON_AGE_DAYS * DAY_SECONDS
    fortnight = _fortnights(times)
    found = {}
    for season in range(SEASONS):
        away = (fortnight - season + 1) % SEASONS
        lines = np.flatnonzero((old & (away <= 2))[line_basket])  # noqa: PLR2004 - and neighbours
        found[_season(season)] = _seen(dataset, line_basket, lines, position, people_min)
    return found


def seen_in_categories(everywhere: Seen, categories: Sequence[str]) -> dict[str, Seen]:
    """The purchases of each category and of each above it; `Dairy/Milk` counts for `Dairy` too.

    Args:
        everywhere: what was bought anywhere.
        categories: (n,) path of each of the model's items, empty where it has none.
    """
    ids: dict[str, int] = {}
    item_of: list[int] = []
    category_of: list[int] = []
    for item, path in enumerate(categories):
        for above in _paths(path):
            item_of.append(item)
            category_of.append(ids.setdefault(above, len(ids)))
    found = {}
    members = np.array(item_of, dtype=np.int64)[np.argsort(category_of, kind="stable")]
    bounds = np.cumsum(np.bincount(category_of, minlength=len(ids))).tolist()
    for name, items in zip(ids, np.split(members, bounds[:-1]), strict=False):
        inside = np.zeros(len(categories), dtype=np.bool_)
        inside[items] = True
        lines = inside[everywhere.items]
        found[_category(name)] = Seen(everywhere.items[lines], everywhere.times[lines])
    return dict(sorted(found.items())[:CATEGORIES_MAX])


def best(seen: Seen, counting: Counting) -> Popular:
    """Rank items by the sum over different people of `0.5 ** (age / half-life)`."""
    items, times = seen
    if not len(items):
        return Popular(np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
    # Ages from the newest of these lines, not of the whole dataset: scaling to 1 makes the two the
    # same, and a place that closed long ago does not sink to 0 / 0.
    age_days = (times.max() - times) / DAY_SECONDS
    scores = np.bincount(items, weights=0.5 ** (age_days / counting.half_life_days))
    present = np.unique(items)
    order = np.lexsort((present, -scores[present]))[: counting.popular_max]
    leading = present[order].astype(np.int32)
    scaled = np.maximum(scores[leading] / scores[leading[0]], SCORE_FLOOR)
    return Popular(leading, scaled.astype(np.float32))


def scores(
    lists: Mapping[str, Popular],
    size: int,
    places: Sequence[str],
    *,
    at: float | None = None,
    interests: Sequence[str] = (),
) -> Floats32:
    """(size,) how popular each item is for somebody at these places, 0 to 1.

    The lists of the places are chained, most specific first: an item of a more specific list comes
    before one that only a wider list names. The season, where it is known, has `SEASON_SHARE` in
    it; what is best in a stated interest stands above all else.
    """
    found = np.zeros(size, dtype=np.float32)
    for listed, top in reversed(list(_chain(lists, places))):
        found[listed.items] = listed.scores * np.float32(top)
    season = lists.get(_season(int(_fortnights(np.array(at))))) if at is not None else None
    if season is not None and len(season.items):
        found *= np.float32(1 - SEASON_SHARE)
        found[season.items] += np.float32(SEASON_SHARE) * season.scores
    wanted = [lists.get(_category(name)) for name in interests[:INTERESTS_MAX]]
    if any(wanted):
        found *= np.float32(0.5)
        for one in wanted:
            if one is not None:
                found[one.items] = np.maximum(found[one.items], 0.5 + 0.5 * one.scores)
    return found


def _seen(
    dataset: Dataset, line_basket: Offsets, lines: Offsets, position: Ints, people_min: int
) -> Seen:
    latest = _latest_per_person(dataset, line_basket, lines)
    items = position[dataset.basket_items[latest]]
    enough = np.bincount(items[items >= 0], minlength=1) >= people_min
    kept = (items >= 0) & enough[items]
    return Seen(items[kept], dataset.basket_at[line_basket[latest[kept]]])


def _latest_per_person(dataset: Dataset, line_basket: Offsets, lines: Offsets) -> Offsets:
    """Of these lines, the newest of each (member, item)."""
    newest_first = lines[::-1]
    members = dataset.basket_member[line_basket[newest_first]].astype(np.int64)
    keys = members * len(dataset.items) + dataset.basket_items[newest_first]
    return newest_first[np.unique(keys, return_index=True)[1]]


def _chain(lists: Mapping[str, Popular], places: Sequence[str]) -> Iterator[tuple[Popular, float]]:
    """Lists of the places, most specific first; each begins just below the one before."""
    top = 1.0
    for place in dict.fromkeys((*places[:PLACES_MAX], EVERYWHERE)):
        listed = lists.get(place)
        if listed is not None and len(listed.items):
            yield listed, top
            top *= float(listed.scores[-1]) * CHAIN_STEP


def _fortnights(times: Floats) -> Offsets:
    return np.floor(times / YEAR_SECONDS % 1.0 * SEASONS).astype(np.int64) % SEASONS


def _season(number: int) -> str:
    return f"season:{number:02}"


def _category(path: str) -> str:
    return f"category:{path.strip('/')}"


def _paths(path: str) -> Iterator[str]:
    """`a/b/c` -> `a`, `a/b`, `a/b/c`."""
    words = path.strip("/").split("/")
    if words != [""]:
        yield from ("/".join(words[: n + 1]) for n in range(len(words)))
