"""A model in which no member can be made out: all that people share comes out of noise.

Pure. Three things are released from the purchases of members, each under differential privacy for
all that a member ever did: sums by place and item, the noisy matrix of what is bought together, and
how well the candidates did on held-out last baskets. The model is then built from those alone: from
a made-up shop in which `people_min` strangers bought each released item once, put through the very
training that other models get, with the released lists and vectors in their place. So nothing of
the members' baskets reaches a model by another way, whatever else a training learns.

The strangers' shop, the folding in of a member, and every answer are post-processing and cost
nothing. What a member's own request reads of the member's own history is not shared and has no part
in this.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recommend.collaborative import of_vectors
from recommend.dataset import Basket, build, hold_out
from recommend.evaluate import hit_rate_at, recall_at
from recommend.model import EVERYWHERE, Model, Settings, Weights, rank, train
from recommend.privacy.model import Budget, Cost, TooManyMembersError
from recommend.privacy.popularity import heaviest, lists_of, votes_of
from recommend.privacy.vectors import ITEMS_MAX, Vectors, directions, noisy_products, rows_of
from recommend.privacy.votes import release

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from recommend.artefact import Fact
    from recommend.dataset import Dataset, Offsets, Truth
    from recommend.model import Floats64, Popular
    from recommend.privacy.noise import Noise

# How a training's one Gaussian release is divided: precisions add up to that of the whole.
COUNT_SHARE = 0.02
METRICS_SHARE = 0.08
LISTS_SHARE = 0.5
"""With vectors; without them the lists have the share of the vectors as well."""
VECTORS_SHARE = 1 - COUNT_SHARE - METRICS_SHARE - LISTS_SHARE
ALPHA, REGULARIZATION = 5.0, 10.0
"""Of folding a member in: confidence in a purchase, and how much is doubted."""
LENGTH = 0.5
"""That all votes of a member for the lists are held to."""
CROWD_MIN = 1_000.0
"""Fewer members for each unit of the noise multiplier, and vectors are not tried."""
SAMPLE = 4_000
"""About as many members choose the weights."""
K = 10
ASKED_MIN = 20.0
"""Fewer members asked than so many deviations of the noise, and their answers are left out."""
LEFT_OUT = "left_out_metrics"
GRID: tuple[Weights, ...] = tuple(
    Weights(1.0, shared, collaborative)
    for shared in (0.8, 0.2, 2.0)
    for collaborative in (0.0, 1.0, 5.0)
)
"""Weights that are tried; without vectors only those whose collaborative weight is 0. Few, for each
more that is no better makes the draw worse."""


class Guard(NamedTuple):
    """What a training under differential privacy may spend, and when it takes place.

    Attributes:
        cost: what was taken from the ledger for it.
        at: POSIX seconds of the training: public, unlike the time of the newest purchase.
        budget: of which `cost` is one training.
        noise: where the noise comes from.
    """

    cost: Cost
    at: float
    budget: Budget
    noise: Noise


class Guarded(NamedTuple):
    """A model in which no member can be made out.

    Attributes:
        model: what may leave the training.
        facts: for the model card; all of it comes out of noise, too.
        note: one sentence on how the weights were chosen.
    """

    model: Model
    facts: Mapping[str, Fact]
    note: str


@dataclass(frozen=True, slots=True)
class _Released:
    """What came out of the noise: item names, their lists, and vectors if there are any."""

    items: tuple[str, ...]
    lists: Mapping[str, Popular]
    vectors: Vectors
    reason: str = field(default="")


def multiplier(cost: Cost, share: float) -> float:
    """Noise multiplier of a release that has this share of the training's precision."""
    return cost.noise_multiplier / math.sqrt(share)


def train_guarded(
    dataset: Dataset,
    settings: Settings,
    guard: Guard,
    *,
    grid: Sequence[Weights] = GRID,
    progress: Callable[[str, int, int], None] | None = None,
) -> Guarded:
    """Train under differential privacy, choosing the weights under it as well.

    Args:
        dataset: baskets of members who agree.
        settings: factors are the most directions, `people_min` holds as in any training.
        guard: what may be spent.
        grid: weights to choose from.
        progress: called with a stage, what is done and the total of it.

    Raises:
        TooManyMembersError: delta means nothing for so many members.
    """
    told = progress or (lambda *_: None)
    members = noisy_members(dataset.n_members, guard)
    told("learn", 0, 3)
    released = _release(dataset, settings, guard, members)
    told("learn", 1, 3)
    models = _candidates(released, settings, grid, guard.at)
    told("learn", 2, 3)
    model, facts = _choose(models, dataset, guard, members)
    told("learn", 3, 3)
    note = f"Drawn by the exponential mechanism among {len(models)} blends."
    if LEFT_OUT in facts:
        note = "Default weights: too few members to choose by, for this epsilon."
    return Guarded(model, {**_facts(guard, members, released), **facts}, note)


def noisy_members(members: int, guard: Guard) -> int:
    """About how many members there are, as it may be told.

    Raises:
        TooManyMembersError: too many for delta.
    """
    deviation = multiplier(guard.cost, COUNT_SHARE)
    noisy = max(1, members + int(guard.noise.gaussian(1, deviation)[0]))
    if noisy > guard.budget.members_max:
        raise TooManyMembersError(
            f"There are about {noisy:,} members; a delta of {guard.budget.delta:g} is small enough "
            f"for {guard.budget.members_max:,}. Set CARNET_MODEL_DELTA lower."
        )
    return noisy


def _release(dataset: Dataset, settings: Settings, guard: Guard, members: int) -> _Released:
    """Lists and vectors; what depends on the size of the shop depends on its noisy size."""
    weak = multiplier(guard.cost, VECTORS_SHARE)
    is_large = members >= CROWD_MIN * weak
    share = LISTS_SHARE if is_large else LISTS_SHARE + VECTORS_SHARE
    kept, lists = dp_popular(dataset, settings, guard, share)
    items = tuple(name.decode() for name in dataset.items[kept].tolist())
    if not is_large:
        none = Vectors(np.zeros((len(kept), 0), dtype=np.float32), 0.0, np.zeros(0))
        reason = f"left out: about {members:,} members are too few for this epsilon"
        return _Released(items, lists, none, reason)
    vectors = dp_vectors(dataset, kept, lists[EVERYWHERE], settings, guard)
    reason = "" if vectors.items.shape[1] else "left out: nothing stood out from the noise"
    return _Released(items, lists, vectors, reason)


def dp_popular(
    dataset: Dataset, settings: Settings, guard: Guard, share: float
) -> tuple[Offsets, dict[str, Popular]]:
    """Positions in `dataset.items` of what is popular anywhere, and the lists by place.

    Args:
        dataset: baskets of members.
        settings: half-life, people_min and popular_max are used.
        guard: what may be spent.
        share: of the training's precision that goes here.
    """
    votes = votes_of(dataset, at=guard.at, half_life_days=settings.half_life_days)
    released = release(
        votes,
        length=LENGTH,
        multiplier=multiplier(guard.cost, share),
        delta=guard.cost.delta,
        people_min=settings.people_min,
        noise=guard.noise,
    )
    return lists_of(released, dataset.places, len(dataset.items), settings.popular_max)


def dp_vectors(
    dataset: Dataset, kept: Offsets, best: Popular, settings: Settings, guard: Guard
) -> Vectors:
    """Directions for all of the kept items: zero but for the `ITEMS_MAX` most popular."""
    chosen = np.sort(best.items[:ITEMS_MAX]).astype(np.int64)
    column = np.full(len(dataset.items), -1, dtype=np.int64)
    column[kept[chosen]] = np.arange(len(chosen))
    lines = column[dataset.basket_items]
    member = dataset.basket_member[dataset.line_basket()].astype(np.int64)
    ones = np.ones(int((lines >= 0).sum()))
    pairs = heaviest(member[lines >= 0], lines[lines >= 0], ones)
    rows = rows_of(pairs.member, pairs.cell, dataset.n_members, len(chosen))
    weak = multiplier(guard.cost, VECTORS_SHARE)
    found = directions(noisy_products(rows, weak, guard.noise), weak, settings.factors)
    wide = np.zeros((len(kept), found.items.shape[1]), dtype=np.float32)
    wide[chosen] = found.items
    return found._replace(items=wide)


def _candidates(
    released: _Released, settings: Settings, grid: Sequence[Weights], at: float
) -> list[Model]:
    """The models to choose from: one for each of the weights that make a difference."""
    bare = _bare(released, settings, at)
    has_vectors = released.vectors.items.shape[1] > 0
    tried = [each for each in grid if has_vectors or not each.collaborative]
    return [replace(bare, weights=each) for each in tried or [Weights(collaborative=0.0)]]


def _bare(released: _Released, settings: Settings, at: float) -> Model:
    """The model of the strangers' shop, with what was released in the place of what it taught."""
    strangers = (
        Basket(f"{sku} {number}", at, (), (sku,))
        for sku in released.items
        for number in range(settings.people_min)
    )
    frame = train(build(strangers), settings, collaborative=False)
    part = of_vectors(released.vectors.items, alpha=ALPHA, regularization=REGULARIZATION)
    return replace(frame, collaborative=part, popular=released.lists)


def _choose(
    models: Sequence[Model], dataset: Dataset, guard: Guard, members: int
) -> tuple[Model, dict[str, Fact]]:
    """One of the models by the exponential mechanism, and how good it is, out of noise.

    Each member's coin decides alone whether the member is asked, so that who is asked does not
    depend on who else is there. The models have seen the baskets that they are tried on, but only
    through the noise: by differential privacy no basket has a say in its own answer.
    """
    history, truths = hold_out(dataset)
    coins = guard.noise.uniform(len(truths))
    asked = [truth for truth, coin in zip(truths, coins, strict=True) if coin * members < SAMPLE]
    figures = figures_of(models, history, asked)
    chosen = dp_choice(figures[:, :, 0].sum(axis=0), guard)
    metrics = _metrics(figures[:, chosen], guard)
    # By what was released, too few were asked: their draw is noise, and the first is the default.
    return models[0 if LEFT_OUT in metrics else chosen], metrics


def figures_of(models: Sequence[Model], history: Dataset, truths: Sequence[Truth]) -> Floats64:
    """(members, models, 2) recall and hit rate of each model for each member, each 0 to 1."""
    found = np.zeros((len(truths), len(models), 2))
    for row, truth in enumerate(truths):
        seen = history.baskets_of(truth.member)
        for column, model in enumerate(models):
            skus = [each.sku for each in rank(model, seen, truth.place, K)]
            found[row, column] = recall_at(skus, truth.items, K), hit_rate_at(skus, truth.items, K)
    return found


def dp_choice(totals: Floats64, guard: Guard) -> int:
    """Number of the candidate that is drawn, the better the likelier.

    Totals of figures from 0 to 1 over members: another member lowers none and raises each by 1 at
    most, so `exp(epsilon * total)` is private to epsilon (McSherry and Talwar 2007,
    doi:10.1109/FOCS.2007.66, the monotone case).
    """
    return int(np.argmax(guard.cost.epsilon * totals + guard.noise.gumbel(len(totals))))


def _metrics(figures: Floats64, guard: Guard) -> dict[str, Fact]:
    """Recall and hit rate with noise; none if the noise is as large as they are.

    A member adds (recall, hit, 1), of length sqrt(3) at most.
    """
    unit = 1 << 20
    sums = np.append(np.floor(figures * unit).sum(axis=0), len(figures) * unit).astype(np.int64)
    deviation = multiplier(guard.cost, METRICS_SHARE) * math.sqrt(3)
    noisy = (sums + guard.noise.gaussian(3, deviation * unit)) / unit
    asked = float(noisy[2])
    if asked < ASKED_MIN * deviation:
        return {LEFT_OUT: "too few members with a basket to hold out, for this epsilon"}
    recall, hit_rate = (min(1.0, max(0.0, each / asked)) for each in noisy[:2].tolist())
    return {
        f"recall_at_{K}_chosen": round(recall, 4),
        f"hit_rate_at_{K}_chosen": round(hit_rate, 4),
        "noise_of_metrics": round(deviation / asked, 4),
    }


def _facts(guard: Guard, members: int, released: _Released) -> dict[str, Fact]:
    kept = released.vectors.items.shape[1]
    return {
        "privacy": {
            "mode": "dp",
            "epsilon": guard.budget.epsilon,
            "delta": guard.budget.delta,
            "noise_multiplier": round(guard.cost.noise_multiplier, 4),
            "unit": "all that one member ever did",
            "members_about": members,
            "item_vectors": released.reason or f"{kept} directions above the noise",
        }
    }
