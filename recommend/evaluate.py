"""Says how good a model is, next to plain baselines.

Pure: no clock, no file, no database; the same seed gives the same answer. Every figure ranks the
whole catalogue, items already bought included: metrics on a sample of items mislead (Krichene and
Rendle 2020, doi:10.1145/3394486.3403226). It leaves to others: learning and scoring
(`recommend.model`), what is held out (`recommend.dataset.hold_out`), the choice of settings and
weights (`recommend.choose`), and keeping figures.

The held-out baskets are the last of each member, so some of what popularity is counted from is
younger than some of them. That flatters every method alike, as in the literature.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np

from recommend.model import History, Model, Pick, Weights, popular, rank

K_DEFAULT = 10
Ranker: TypeAlias = Callable[[History, Sequence[str], int], list[str]]
"""(history, places, k) -> at most k SKUs, best first."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Averages over members, each 0 to 1.

    Attributes:
        recall: hits in the top k over the size of the true basket.
        hit_rate: share of members with at least one hit.
        ndcg: discounted gain of the hits over that of the best possible order.
        members: number of members averaged over; 0 gives zeros.
    """

    recall: float
    hit_rate: float
    ndcg: float
    members: int


def recall_at(ranked: Sequence[str], truth: Collection[str], k: int) -> float:
    """Hits in the first k over the size of the true basket; 0 for an empty basket."""
    wanted = set(truth)
    return len(wanted.intersection(ranked[:k])) / len(wanted) if wanted else 0.0


def hit_rate_at(ranked: Sequence[str], truth: Collection[str], k: int) -> float:
    """1.0 if any of the first k is in the true basket, else 0.0."""
    return float(not set(truth).isdisjoint(ranked[:k]))


def ndcg_at(ranked: Sequence[str], truth: Collection[str], k: int) -> float:
    """Normalised discounted cumulative gain with gains 0 and 1 (Jarvelin and Kekalainen 2002).

    A hit at place p (from 1) gains 1 / log2(p + 1); divided by the gain of min(k, basket) hits
    placed first. 0 for an empty basket.
    """
    wanted = set(truth)
    gains = [1 / math.log2(place + 2) for place in range(k)]
    best = sum(gains[: len(wanted)])
    got = sum(gain for gain, sku in zip(gains, ranked, strict=False) if sku in wanted)
    return got / best if best else 0.0


def measure(
    ranker: Ranker,
    histories: Sequence[History],
    truths: Sequence[Collection[str]],
    places: Sequence[Sequence[str]],
    k: int = K_DEFAULT,
) -> Metrics:
    """Average a ranker over members; the three sequences go member by member.

    Raises:
        ValueError: the sequences differ in length.
    """
    cases = zip(histories, truths, places, strict=True)
    return _average(_figures(ranker(seen, at, k), truth, k) for seen, truth, at in cases)


def evaluate(
    model: Model,
    histories: Sequence[History],
    truths: Sequence[Collection[str]],
    places: Sequence[Sequence[str]],
    k: int = K_DEFAULT,
) -> Metrics:
    """Average the model as it would be served; errors are those of `measure`."""
    return measure(served(model), histories, truths, places, k)


def served(model: Model) -> Ranker:
    """What `model.rank` gives: the blend with the model's own weights."""
    return lambda history, places, k: _skus(rank(model, history, places, k))


def global_top(model: Model) -> Ranker:
    """Baseline: the best sellers everywhere, the same for everybody."""
    return lambda _history, _places, k: _skus(popular(model, (), k))


def personal_top(history: History, places: Sequence[str], k: int) -> list[str]:
    """Baseline: the member's own items by number of baskets, then by the newest basket."""
    del places
    counts: dict[str, tuple[int, int]] = {}
    for turn, (_, skus) in enumerate(history):
        for sku in set(skus):
            counts[sku] = (counts.get(sku, (0, 0))[0] + 1, turn)
    return sorted(counts, key=lambda sku: (*(-part for part in counts[sku]), sku))[:k]


def als_alone(model: Model) -> Ranker:
    """Baseline: the collaborative part by itself."""
    alone = replace(model, weights=Weights(0.0, 0.0, 1.0))
    return lambda history, places, k: _skus(rank(alone, history, places, k))


def baselines(model: Model) -> dict[str, Ranker]:
    """The rankers that a model has to beat, by name."""
    return {
        "global_top": global_top(model),
        "personal_top": personal_top,
        "als_alone": als_alone(model),
    }


def _figures(ranked: Sequence[str], truth: Collection[str], k: int) -> tuple[float, float, float]:
    return recall_at(ranked, truth, k), hit_rate_at(ranked, truth, k), ndcg_at(ranked, truth, k)


def _average(rows: Iterable[tuple[float, float, float]]) -> Metrics:
    table = np.array(list(rows), dtype=np.float64).reshape(-1, len(fields(Metrics)) - 1)
    recall, hit_rate, ndcg = table.mean(axis=0).tolist() if len(table) else (0.0, 0.0, 0.0)
    return Metrics(recall, hit_rate, ndcg, len(table))


def _skus(picks: Iterable[Pick]) -> list[str]:
    return [pick.sku for pick in picks]
