"""Audits a version of the model as it was trained, and keeps the finding with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from recommend.artefact import load
from recommend.dataset import build
from recommend.model import train
from recommend.privacy.accounting import cost_of
from recommend.privacy.audit import MEMBERS, SHADOWS, audit, facts_of
from recommend.privacy.model import Budget
from recommend.privacy.noise import Noise
from recommend.privacy.training import Guard, train_guarded
from recommend.training import depot as depots
from recommend.training.service import version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from recommend.dataset import Basket, Dataset
    from recommend.model import Model
    from recommend.privacy.attack import Finding
    from recommend.training.depot import Depot


class Inspected(NamedTuple):
    """A version and what its audit found."""

    version: str
    mode: str
    finding: Finding


def inspect(
    baskets: Iterable[Basket],
    *,
    depot: Depot,
    version: str | None,
    at: float,
    members: int = MEMBERS,
    shadows: int = SHADOWS,
    progress: Callable[[str, int, int], None] | None = None,
) -> Inspected:
    """Audit a version, by default the one that is served.

    What is trained for it is thrown away; it costs nothing of the privacy budget, for nothing of it
    is served. The finding itself is worked out from members and has no noise: it is for the shop.

    Args:
        baskets: of members who agree at this moment.
        depot: where the models are.
        version: which one.
        at: POSIX seconds.
        members: how many members are attacked at most.
        shadows: models that the attacker trains.
        progress: called with a stage, what is done and the total of it.

    Raises:
        ArtefactError: its files are broken.
        NoModelError: there is no such version, or none is served.
        TooFewMembersError: too few members agree to measure anything.
    """
    found, _ = version_of(depot, version)
    name = found.version
    depots.fetch(depot, name)
    mode, learn = _learner(found.facts, load(depot.root, name), at)
    finding = audit(build(baskets), learn, members=members, shadows=shadows, progress=progress)
    depot.store.note(name, "audit", facts_of(finding))
    return Inspected(name, mode, finding)


def _learner(
    facts: Mapping[str, Any], model: Model, at: float
) -> tuple[str, Callable[[Dataset], Model]]:
    """How the version was trained: its mode, settings and weights."""
    privacy = facts.get("privacy", {"mode": "plain"})
    if privacy["mode"] == "plain":
        return "plain", lambda dataset: train(dataset, model.settings, model.weights)
    epsilon, delta = privacy["epsilon"], privacy["delta"]
    guard = Guard(cost_of(epsilon, delta), at, Budget(epsilon, epsilon, 0, delta), Noise())
    grid = (model.weights,)
    return "dp", lambda dataset: train_guarded(dataset, model.settings, guard, grid=grid).model
