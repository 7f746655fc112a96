"""Was this person in the training? Attacks on a model that try to tell, and how well they do.

Pure. The attacker has the model and a person's whole history, the most one can have, and knows of
other people whether they were trained on. Each attack gives a person a score, higher for "was in";
an AUC of .5 is guessing, 1.0 is certainty (Shokri et al. 2017, arXiv:1610.05820). Scores are taken
as they are and as the distance to what models give that were trained without the person (Carlini et
al. 2022, arXiv:2112.03570: what is unusual for this person, not for people). All reading of a model
goes through `features`: a part that a model learns to have needs an attack there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from recommend.model import positions, score, similar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recommend.dataset import Floats, Offsets
    from recommend.model import Floats32, History, Model

ATTACKS = ("reconstruction", "left out", "popular", "crowd", "similar")
"""What `features` gives, in its order."""
ITEMS_MAX = 5
"""Items of a person that are left out one by one, or whose neighbours are looked at."""
NEIGHBOURS = 20
FLOOR = 1e-3
RESAMPLES = 1_000
FALSE_SHARE = 0.01
"""Share of people who were not in and are taken for in, at which the true share is stated."""
GOAL = 0.55
MODEST, STRONG = 0.6, 0.75
Flags: TypeAlias = npt.NDArray[np.bool_]


class Person(NamedTuple):
    """A person as the attacker knows one: the history, and the places of the last basket."""

    history: History
    places: tuple[str, ...]


class Shadow(NamedTuple):
    """What the attacker's own models give.

    Attributes:
        features: (people, attacks) of a model trained as the target is, on others.
        was_in: (people,) whether it was trained on the person.
    """

    features: Floats
    was_in: Flags


class Finding(NamedTuple):
    """How well the strongest attack does.

    Attributes:
        attack: its name; chosen on one half of the people, measured on the other.
        auc: .5 is guessing.
        low: lower end of its 95% interval, by the bootstrap.
        high: upper end.
        true_share: of those who were in, at `FALSE_SHARE` of false alarms.
        people_in: measured people who were in.
        people_out: measured people who were not.
        all: AUC of every attack, on the same people.
    """

    attack: str
    auc: float
    low: float
    high: float
    true_share: float
    people_in: int
    people_out: int
    all: Mapping[str, float]


def features(model: Model, people: Sequence[Person]) -> Floats:
    """(people, attacks) scores of each attack, in the order of `ATTACKS`; 0 where it cannot say."""
    # What weighs nothing in an answer is in the model all the same, and an attacker reads it.
    weights = replace(model.weights, shared=1.0, collaborative=1.0)
    model = replace(model, weights=weights)
    found = np.zeros((len(people), len(ATTACKS)))
    for row, person in enumerate(people):
        at = _held(model, person)
        if len(at):
            found[row] = _features(model, person, at)
    return found


def _features(model: Model, person: Person, at: Offsets) -> tuple[float, ...]:
    parts = score(model, person.history, person.places).parts[:, : len(model.items)]
    own = len({sku for _, skus in person.history for sku in skus})
    return (
        _standing_out(parts[2], at),
        _left_out(model, person, at),
        float(np.log(np.maximum(parts[1, at], FLOOR)).mean()),
        len(at) / own,
        _agreement(model, at),
    )


def _held(model: Model, person: Person) -> Offsets:
    """Positions of the person's items that the model holds, rarest first."""
    found = positions(model, sorted({sku for _, skus in person.history for sku in skus}))
    held = found[found >= 0]
    return held[np.argsort(model.item_people[held], kind="stable")]


def _standing_out(values: Floats32, at: Offsets) -> float:
    """How far these stand above all, in standard deviations of all."""
    spread = float(values.std())
    return float((values[at].mean() - values.mean()) / spread) if spread > 0 else 0.0


def _left_out(model: Model, person: Person, at: Offsets) -> float:
    """How well the rarest items are guessed from the rest of the history."""
    scores = []
    for position in at[:ITEMS_MAX].tolist():
        sku = model.items[position].decode()
        rest = [(when, tuple(s for s in skus if s != sku)) for when, skus in person.history]
        values = score(model, rest, ()).parts[2, : len(model.items)]
        scores.append(_standing_out(values, np.array([position])))
    return float(np.mean(scores))


def _agreement(model: Model, at: Offsets) -> float:
    """Share of the person's own among the neighbours of the rarest items."""
    own = {model.items[position].decode() for position in at.tolist()}
    found = [
        pick.sku in own
        for position in at[:ITEMS_MAX].tolist()
        for pick in similar(model, model.items[position].decode(), NEIGHBOURS)
    ]
    return float(np.mean(found)) if found else 0.0


def calibrated(target: Floats, shadows: Sequence[Shadow]) -> Floats:
    """(people, attacks) the scores less what models without the person give on average.

    In units of how much these differ between models, over all people. A person who was in every
    shadow is measured by the mean over people.
    """
    without = np.array([~each.was_in for each in shadows])[:, :, None]
    scores = np.array([each.features for each in shadows])
    count = without.sum(axis=0)
    mean = (scores * without).sum(axis=0) / np.maximum(count, 1)
    mean = np.where(count > 0, mean, mean.mean(axis=0))
    spread = np.sqrt((((scores - mean) ** 2) * without).sum(axis=(0, 1)) / max(1, count.sum()))
    return np.asarray((target - mean) / np.maximum(spread, 1e-12))


def strongest(target: Floats, was_in: Flags, shadows: Sequence[Shadow], seed: int) -> Finding:
    """The strongest attack: learnt and chosen on a random half of people, measured on the other.

    Args:
        target: (people, attacks) features of the attacked model.
        was_in: (people,) the truth.
        shadows: the attacker's own models; none is allowed.
        seed: of the halves and the bootstrap.

    Raises:
        ValueError: fewer than eight people in or out, so that there are no halves.
    """
    if min(int(was_in.sum()), int((~was_in).sum())) < 8:  # noqa: PLR2004  # two in each quarter
        raise ValueError("too few people to measure an attack")
    rng = np.random.default_rng(seed)
    choosing = _half(was_in, rng)
    learning = np.zeros_like(choosing)
    learning[choosing] = _half(was_in[choosing], rng)
    scores = _all_scores(target, was_in, shadows, learning)
    first = choosing & ~learning
    seen = {name: auc(values[first], was_in[first]) for name, values in scores.items()}
    turned = {
        name: values[~choosing] * (1 if seen[name] >= 0.5 else -1)  # noqa: PLR2004  # guessing
        for name, values in scores.items()
    }
    name = max(seen, key=lambda each: abs(seen[each] - 0.5))
    return _finding(name, turned, was_in[~choosing], rng)


def _finding(
    name: str, scores: Mapping[str, Floats], truth: Flags, rng: np.random.Generator
) -> Finding:
    low, high = interval(scores[name], truth, rng)
    return Finding(
        attack=name,
        auc=auc(scores[name], truth),
        low=low,
        high=high,
        true_share=true_share(scores[name], truth),
        people_in=int(truth.sum()),
        people_out=int((~truth).sum()),
        all={each: auc(values, truth) for each, values in scores.items()},
    )


def _half(was_in: Flags, rng: np.random.Generator) -> Flags:
    """A random half of those in and of those out."""
    chosen = np.zeros(len(was_in), dtype=np.bool_)
    for group in (np.flatnonzero(was_in), np.flatnonzero(~was_in)):
        chosen[rng.permutation(group)[: len(group) // 2]] = True
    return chosen


def _all_scores(
    target: Floats, was_in: Flags, shadows: Sequence[Shadow], learning: Flags
) -> dict[str, Floats]:
    """Every attack's scores by name: plain, calibrated, and all of them weighed together."""
    scores = {name: target[:, column] for column, name in enumerate(ATTACKS)}
    table = target
    if shadows:
        beside = calibrated(target, shadows)
        scores.update({f"{name}, calibrated": beside[:, n] for n, name in enumerate(ATTACKS)})
        table = np.hstack([target, beside])
    scores["all together"] = _together(table, was_in, learning)
    return scores


def _together(table: Floats, was_in: Flags, learning: Flags) -> Floats:
    """Fisher's linear discriminant, learnt on some of the people."""
    spread = table.std(axis=0)
    scaled = (table - table.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    inside, outside = scaled[learning & was_in], scaled[learning & ~was_in]
    within = np.atleast_2d(np.cov(inside.T)) + np.atleast_2d(np.cov(outside.T))
    ridge = within + 0.1 * np.eye(len(within))
    return np.asarray(scaled @ np.linalg.solve(ridge, inside.mean(axis=0) - outside.mean(axis=0)))


def auc(scores: Floats, was_in: Flags) -> float:
    """Probability that a person who was in scores higher than one who was not; ties count half."""
    inside, outside = int(was_in.sum()), int((~was_in).sum())
    ranks = float(rankdata(scores)[was_in].sum())
    return (ranks - inside * (inside + 1) / 2) / (inside * outside)


def true_share(scores: Floats, was_in: Flags) -> float:
    """Share of those in who score above all but `FALSE_SHARE` of those out."""
    outside = np.sort(scores[~was_in])
    alarms = int(FALSE_SHARE * len(outside))
    return float((scores[was_in] > outside[len(outside) - 1 - alarms]).mean())


def interval(scores: Floats, was_in: Flags, rng: np.random.Generator) -> tuple[float, float]:
    """95% interval of the AUC: people in and out are drawn again, with replacement."""
    inside, outside = scores[was_in], scores[~was_in]
    drawn = np.zeros(RESAMPLES)
    truth = np.arange(len(scores)) < len(inside)
    for turn in range(RESAMPLES):
        again = [rng.choice(each, len(each)) for each in (inside, outside)]
        drawn[turn] = auc(np.concatenate(again), truth)
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return float(low), float(high)


def verdict(found: Finding) -> str:
    """What a finding means, in plain words."""
    said = f"AUC {found.auc:.2f} ({found.low:.2f} to {found.high:.2f}; .50 is guessing)"
    if found.auc <= GOAL and found.high > MODEST:
        people = found.people_in + found.people_out
        return f"{said}: {people} members are too few to say whether anybody can be told."
    if found.low <= 0.5 and found.auc <= GOAL:  # noqa: PLR2004  # guessing
        return f"{said}: whether somebody was in the training cannot be told from this model."
    if found.auc <= GOAL:
        return f"{said}: hardly better than guessing; within the goal of {GOAL}."
    if found.auc <= MODEST:
        return f"{said}: a little better than guessing; above the goal of {GOAL}."
    if found.auc <= STRONG:
        return f"{said}: the model gives away who was in the training more often than not."
    return f"{said}: the model gives away who was in the training. CARNET_MODEL_PRIVACY=dp helps."
