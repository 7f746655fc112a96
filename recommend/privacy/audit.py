"""The audit of a model: trains as it was trained on a random half of the members, and attacks that.

Pure. Of the half that was left out it is known that they were not in, which nobody can know of the
model that is served: so the attacked model is its twin, of the same settings, weights and privacy.
Nothing of the twins is kept, and only figures over many people come out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from recommend.dataset import of_members
from recommend.privacy.attack import Person, Shadow, features, strongest, verdict
from recommend.privacy.model import TooFewMembersError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from recommend.artefact import Fact
    from recommend.dataset import Dataset
    from recommend.model import Model
    from recommend.privacy.attack import Finding, Flags

MEMBERS = 2_000
"""Members that are attacked, by default: half of them were in, and half are measured."""
SHADOWS = 4
MEMBERS_MIN = 60


def audit(
    dataset: Dataset,
    learn: Callable[[Dataset], Model],
    *,
    members: int = MEMBERS,
    shadows: int = SHADOWS,
    seed: int = 7,
    progress: Callable[[str, int, int], None] | None = None,
) -> Finding:
    """Attack a twin of a model.

    Args:
        dataset: baskets of members who agree, as a training reads them.
        learn: trains as the model was trained.
        members: how many members are attacked at most.
        shadows: models that the attacker trains beside it, on other halves.
        seed: of who is in which half.
        progress: called with a stage, what is done and the total of it.

    Raises:
        TooFewMembersError: fewer than `MEMBERS_MIN` members.
    """
    if dataset.n_members < MEMBERS_MIN:
        raise TooFewMembersError(
            f"{dataset.n_members} members agree to personalisation; {MEMBERS_MIN} are needed"
        )
    told = progress or (lambda *_: None)
    rng = np.random.default_rng(seed)
    halves = [_half(dataset.n_members, rng) for _ in range(1 + shadows)]
    rows = np.sort(rng.permutation(dataset.n_members)[:members])
    people = [_person(dataset, row) for row in rows.tolist()]
    seen = []
    for number, half in enumerate(halves):
        told("attack", number, len(halves))
        seen.append(features(learn(of_members(dataset, half)), people))
    told("attack", len(halves), len(halves))
    beside = [Shadow(one, half[rows]) for one, half in zip(seen[1:], halves[1:], strict=True)]
    return strongest(seen[0], halves[0][rows], beside, seed)


def _half(members: int, rng: np.random.Generator) -> Flags:
    chosen = np.zeros(members, dtype=np.bool_)
    chosen[rng.permutation(members)[: members // 2]] = True
    return chosen


def _person(dataset: Dataset, row: int) -> Person:
    first, end = np.searchsorted(dataset.basket_member, [row, row + 1]).tolist()
    places = dataset.places_of(end - 1) if end > first else ()
    return Person(dataset.baskets_of(row), places)


def facts_of(found: Finding) -> Mapping[str, Fact]:
    """A finding as it stands in a model card."""
    return {
        "attack": found.attack,
        "auc": round(found.auc, 3),
        "auc_low": round(found.low, 3),
        "auc_high": round(found.high, 3),
        "true_share_at_1_percent_false": round(found.true_share, 3),
        "people_in": found.people_in,
        "people_out": found.people_out,
        "verdict": verdict(found),
    }
