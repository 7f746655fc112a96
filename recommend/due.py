"""When somebody is likely to buy something again. Pure.

What was bought yesterday is seldom what a person wants to see; what is due again is. An item waits
as long as hardly anybody buys it again, and no longer than a quarter of the shortest time in which
this person ever did. Where neither is known, nothing waits. docs/merchandising.md has the figures.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    from recommend.dataset import Dataset

    History: TypeAlias = Sequence[tuple[float, tuple[str, ...]]]
    Days: TypeAlias = npt.NDArray[np.float64]

SOONEST_Z = 2.33
"""One purchase in a hundred comes sooner, where intervals are log-normal: a normal's 1% point."""
OWN_SHARE = 0.25
"""Of the shortest own interval, within which an item waits."""
WAITING_DAYS_MAX = 60.0
"""Nothing waits longer; so that of a long history only the end has to be looked at."""
OWN_PURCHASES_MIN = 3
"""From so many purchases on, the person's own intervals count."""
DAY_SECONDS = 86_400.0


class Habit(NamedTuple):
    """How a person buys one item.

    Attributes:
        last_at: POSIX seconds of the newest purchase.
        typical_days: the median of the person's own intervals; None with too few purchases.
        shortest_days: the shortest of them.
    """

    last_at: float
    typical_days: float | None = None
    shortest_days: float | None = None


def waiting_days(dataset: Dataset, people_min: int) -> npt.NDArray[np.float32]:
    """(n_items,) days within which hardly anybody buys an item again; NaN where unknown.

    Known of items with at least `people_min` people who bought it on two days or more. It comes
    from the mean and the spread of the logarithms of all intervals, each person weighing the same:
    a low quantile itself would tell the interval of one person.
    """
    size = len(dataset.items)
    found = np.full(size, np.nan, dtype=np.float32)
    items, mean, square = _by_person(dataset)
    people = np.bincount(items, minlength=size)
    known = np.flatnonzero(people >= max(people_min, 1))
    sums = [np.bincount(items, weights=each, minlength=size)[known] for each in (mean, square)]
    centre, spread = sums[0] / people[known], sums[1] / people[known]
    deviation = np.sqrt(np.maximum(spread - centre**2, 0.0))
    found[known] = np.exp(centre - SOONEST_Z * deviation)
    return found


def _by_person(dataset: Dataset) -> tuple[npt.NDArray[np.int64], Days, Days]:
    """(item, mean log of the intervals, mean of its square), a row an item and person."""
    persons, items, days = _intervals(dataset)
    firsts = np.flatnonzero(np.diff(persons, prepend=-1) | np.diff(items, prepend=-1))
    if not len(firsts):
        return items, days, days
    logs = np.log(days)
    counts = np.diff(firsts, append=len(days))
    mean = np.add.reduceat(logs, firsts) / counts
    return items[firsts], mean, np.add.reduceat(logs**2, firsts) / counts


def _intervals(
    dataset: Dataset,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Days]:
    """(person, item, days) of each purchase after another one, in that order, on another day."""
    line_basket = dataset.line_basket()
    days = np.floor(dataset.basket_at[line_basket] / DAY_SECONDS)
    persons = dataset.basket_member[line_basket].astype(np.int64)
    items = dataset.basket_items.astype(np.int64)
    order = np.lexsort((days, items, persons))
    persons, items, days = persons[order], items[order], days[order]
    gaps = np.diff(days)
    again = (persons[1:] == persons[:-1]) & (items[1:] == items[:-1]) & (gaps > 0)
    return persons[1:][again], items[1:][again], gaps[again]


def bought_since(history: History, since: float) -> dict[str, float]:
    """POSIX seconds of the newest purchase of each item that was bought after a time."""
    return {sku: at for at, skus in history if at > since for sku in skus}


def habits(history: History, skus: Collection[str]) -> dict[str, Habit]:
    """How a person buys those of some items that are in a history, newest last."""
    bought: dict[str, list[float]] = {}
    for at, basket in history:
        for sku in basket:
            if sku in skus:
                bought.setdefault(sku, []).append(at)
    return {sku: _habit(times) for sku, times in bought.items()}


def _habit(times: Sequence[float]) -> Habit:
    last_at = max(times)
    if len(times) < OWN_PURCHASES_MIN:
        return Habit(last_at)
    days = sorted({at // DAY_SECONDS for at in times})
    gaps = sorted(two - one for one, two in pairwise(days))
    if len(gaps) < OWN_PURCHASES_MIN - 1:
        return Habit(last_at)
    return Habit(last_at, gaps[len(gaps) // 2], gaps[0])


def waiting(
    habits: Mapping[str, Habit], item_days: Mapping[str, float], at: float
) -> frozenset[str]:
    """The items that were bought too short a time ago to be shown again.

    Args:
        habits: the person's.
        item_days: `waiting_days` of the items of which it is known.
        at: POSIX seconds of the request.
    """
    found = set()
    for sku, habit in habits.items():
        days = item_days.get(sku)
        if habit.shortest_days is not None:
            own = OWN_SHARE * habit.shortest_days
            days = own if days is None else min(own, days)
        if days is not None and at - habit.last_at < min(days, WAITING_DAYS_MAX) * DAY_SECONDS:
            found.add(sku)
    return frozenset(found)
