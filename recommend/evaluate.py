"""Says how good a model is, next to plain baselines, and chooses the weights of its parts.

Pure: no clock, no file, no database; the same seed gives the same answer. Every figure ranks the
whole catalogue, items already bought included: metrics on a sample of items mislead (Krichene and
Rendle 2020, doi:10.1145/3394486.3403226). It leaves to others: learning and scoring
(`recommend.model`), what is held out (`recommend.dataset.hold_out`), and keeping figures.

The held-out baskets are the last of each member, so some of what popularity is counted from is
younger than some of them. That flatters every method alike, as in the literature.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np

from recommend.dataset import Dataset, Truth, hold_out
from recommend.model import (
    Floats32,
    History,
    Model,
    Pick,
    Scores,
    Settings,
    Weights,
    best_first,
    blend,
    popular,
    positions,
    rank,
    score,
    train,
)

K_DEFAULT = 10
MEMBERS_MAX = 2_000
"""Most held-out members that weights are chosen and reported on."""
MEMBERS_MIN = 50
"""Fewer held-out members than this choose noise."""
DEFAULT_WEIGHTS = Weights()
GRID: tuple[Weights, ...] = (
    DEFAULT_WEIGHTS,
    *(
        Weights(1.0, shared, collaborative)
        for shared in (0.2, 0.8, 2.0)
        for collaborative in (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
        if (shared, collaborative) != (DEFAULT_WEIGHTS.shared, DEFAULT_WEIGHTS.collaborative)
    ),
    Weights(0.0, 0.2, 1.0),
    Weights(0.0, 0.8, 1.0),
)
"""Tried in this order, the first of equals winning: shops where people buy again, then others."""

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


@dataclass(frozen=True, slots=True)
class Choice:
    """Weights, and what they were chosen by.

    Attributes:
        weights: the best of `GRID` by recall, or the default.
        tried: weights -> metrics on the members chosen on; empty where there were too few.
        confirmed: "chosen", "default" and the baselines -> metrics on members not chosen on.
        k: length of the lists.
        note: one sentence on how they were chosen, for the model card.
    """

    weights: Weights
    tried: tuple[tuple[Weights, Metrics], ...]
    confirmed: Mapping[str, Metrics]
    k: int
    note: str


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


def choose_weights(
    dataset: Dataset, settings: Settings, seed: int, *, k: int = K_DEFAULT, threads: int = 0
) -> Choice:
    """Choose the weights of the three parts on the shop's own held-out last baskets.

    Trains once on what is left, scores the parts once a member, and blends them in every way of
    `GRID`. Half of at most `MEMBERS_MAX` members drawn at random choose; the other half confirm, so
    that the figures reported are not those chosen by. With fewer than `MEMBERS_MIN` held-out
    members the default weights are returned, and the note says so.
    """
    history, truths = hold_out(dataset)
    if len(truths) < MEMBERS_MIN:
        few = f"{len(truths)} members with a basket to hold out; {MEMBERS_MIN} are needed"
        return Choice(DEFAULT_WEIGHTS, (), {}, k, f"Default weights: only {few}.")
    model = train(history, settings, threads=threads)
    drawn = np.random.default_rng(seed).permutation(len(truths))[:MEMBERS_MAX]
    sample = [truths[n] for n in drawn.tolist()]
    half = len(sample) // 2
    tried = _try_all(model, history, sample[:half], k)
    weights = max(tried, key=lambda row: row[1].recall)[0]
    confirmed = _confirm(model, weights, history, sample[half:], k)
    note = f"Best recall@{k} of {len(GRID)} blends on {half} members, confirmed on others."
    return Choice(weights, tried, confirmed, k, note)


def _try_all(
    model: Model, history: Dataset, sample: Sequence[Truth], k: int
) -> tuple[tuple[Weights, Metrics], ...]:
    rows = [_blends(model, history, truth, k) for truth in sample]
    return tuple((weights, _average(row[n] for row in rows)) for n, weights in enumerate(GRID))


def _blends(
    model: Model, history: Dataset, truth: Truth, k: int
) -> list[tuple[float, float, float]]:
    """Figures of one member for each blend of `GRID`: scored once, blended many times."""
    scores = score(model, history.baskets_of(truth.member), truth.place)
    wanted = _wanted(model, scores, truth.items)
    totals = (blend(scores, weights) for weights in GRID)
    return [_figures(_top(total, k), wanted, k) for total in totals]


def _wanted(model: Model, scores: Scores, skus: Sequence[str]) -> list[str]:
    """The true basket as position labels; an item that cannot be ranked keeps its name, a miss."""
    own = {sku: len(model.items) + n for n, sku in enumerate(scores.own)}
    found = positions(model, skus).tolist()
    at = [own.get(sku, -1) if n < 0 else n for n, sku in zip(found, skus, strict=True)]
    return [str(n) if n >= 0 else f"missing {sku}" for n, sku in zip(at, skus, strict=True)]


def _top(total: Floats32, k: int) -> list[str]:
    best = best_first(total, k)
    return [str(n) for n in best[total[best] > 0].tolist()]


def _confirm(
    model: Model, weights: Weights, history: Dataset, sample: Sequence[Truth], k: int
) -> dict[str, Metrics]:
    rankers = {
        "chosen": served(replace(model, weights=weights)),
        "default": served(replace(model, weights=DEFAULT_WEIGHTS)),
        **baselines(model),
    }
    histories = [history.baskets_of(truth.member) for truth in sample]
    items = [truth.items for truth in sample]
    places = [truth.place for truth in sample]
    return {name: measure(ranker, histories, items, places, k) for name, ranker in rankers.items()}


def _figures(ranked: Sequence[str], truth: Collection[str], k: int) -> tuple[float, float, float]:
    return recall_at(ranked, truth, k), hit_rate_at(ranked, truth, k), ndcg_at(ranked, truth, k)


def _average(rows: Iterable[tuple[float, float, float]]) -> Metrics:
    table = np.array(list(rows), dtype=np.float64).reshape(-1, len(fields(Metrics)) - 1)
    recall, hit_rate, ndcg = table.mean(axis=0).tolist() if len(table) else (0.0, 0.0, 0.0)
    return Metrics(recall, hit_rate, ndcg, len(table))


def _skus(picks: Iterable[Pick]) -> list[str]:
    return [pick.sku for pick in picks]
