"""Training: read what consent allows, choose, learn, compare, keep, promote."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.kit.clock import now
from recommend import artefact
from recommend.artefact import ArtefactError
from recommend.choose import Choice, choose
from recommend.dataset import build
from recommend.model import Settings, train
from recommend.privacy.service import reserve
from recommend.privacy.training import Guard, K, train_guarded
from recommend.training import depot as depots
from recommend.training.comparison import Served, Verdict, judge, sanity_of_private
from recommend.training.model import ModelChangedError, NoModelError, mode_of, version_name
from recommend.training.reading import Roll, agreed_baskets, agreed_signals
from recommend.training.withdrawals import withdrawn_since, withdrew_meanwhile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from loyalty.privacy.erasures import ErasureStore
    from recommend.dataset import Dataset
    from recommend.model import Model
    from recommend.privacy.model import Budget
    from recommend.privacy.noise import Noise
    from recommend.privacy.store import PrivacyLedger
    from recommend.service import Sources
    from recommend.training.depot import Depot
    from recommend.training.model import Version

    Progress = Callable[[str, int, int], None]

READINGS_MAX = 2
"""Times that all is read and learnt, because somebody withdrew while it was."""
_NOT_COMPARED = "Not compared with others on members: that would be outside the privacy budget."
_CHANGED = "Another model was put into service while this one was trained."


class Privacy(NamedTuple):
    """How a shop has its models trained under differential privacy."""

    budget: Budget
    ledger: PrivacyLedger
    noise: Noise


class Trainer(NamedTuple):
    """What a training stands on.

    Attributes:
        sources: journal, consents, catalogue.
        depot: where the models are.
        factors: of the collaborative part.
        erasures: of members; None where nobody erases.
        threads: of learning; 0 for all cores.
        privacy: for models in which no member can be made out; None for plain ones.
    """

    sources: Sources
    depot: Depot
    factors: int
    erasures: ErasureStore | None = None
    threads: int = 0
    privacy: Privacy | None = None


class Learnt(NamedTuple):
    """One reading and what was learnt from it.

    Attributes:
        began_at: when the reading began; who withdraws later is counted from here.
        dataset: what was read.
        choice: of weights.
        model: what is to be served.
        readings: how often all was read.
        withdrawn: members who withdrew while this, the last reading, was learnt from.
        privacy: the mode, and what it cost, for the card.
    """

    began_at: datetime
    dataset: Dataset
    choice: Choice
    model: Model
    readings: int
    withdrawn: int
    privacy: Mapping[str, Any]


class Trained(NamedTuple):
    """What a training made, and whether it is served."""

    version: str
    learnt: Learnt
    verdict: Verdict
    promoted: bool
    seconds: float

    @property
    def model(self) -> Model:
        """The model."""
        return self.learnt.model

    @property
    def choice(self) -> Choice:
        """How its weights were chosen."""
        return self.learnt.choice

    @property
    def baskets(self) -> int:
        """How many baskets it was learnt from."""
        return self.learnt.dataset.n_baskets

    @property
    def members(self) -> int:
        """How many members it was learnt from."""
        return self.learnt.dataset.n_members


def train_and_promote(
    trainer: Trainer,
    *,
    at: datetime,
    progress: Progress,
    by: str = "command",
    force: bool = False,
    clock: Callable[[], datetime] = now,
) -> Trained:
    """Train on the journal and, if the result is fit, serve it on every node.

    A member who withdraws while it runs is looked for before anything is promoted; if there is one,
    all is read and learnt anew, once.

    Args:
        trainer: what it stands on.
        at: the moment of training; names the version.
        progress: called with a stage, what is done and the total of it; may raise to stop.
        by: who wants it, for the model card.
        force: serve the result whatever the comparison says.
        clock: tells each page of members the time.

    Raises:
        BudgetSpentError, LedgerBusyError: the privacy budget has no room; nothing was read.
        TooManyMembersError: the delta is too large for the number of members.
    """
    began = time.perf_counter()
    depot = trainer.depot
    version = version_name(at)
    guard = _guard(version, at, trainer.privacy) if trainer.privacy else None
    before = depot.store.current()
    learnt = _learn(trainer, guard, progress, clock)
    old = _served(trainer, before.version if before else None, at=clock())
    progress("compare", 0, 1)
    learnt, verdict = _judged(learnt, old, trainer)
    progress("compare", 1, 1)
    created_at, promoted = learnt.began_at, False
    seconds = time.perf_counter() - began
    facts = _facts(learnt, verdict, old, by=by, seconds=seconds)
    artefact.save(learnt.model, depot.root, version, created_at=created_at.timestamp(), facts=facts)
    depots.publish(depot, version, created_at=created_at, refused=not verdict.is_fit)
    if verdict.is_fit or force:
        generation = None if force else before.generation if before else 0
        try:
            depots.promote(depot, version, at=clock(), by=by, force=True, generation=generation)
            promoted = True
        except ModelChangedError:
            verdict = replace(verdict, reasons=(_CHANGED,))
    depots.prune(depot)
    seconds = time.perf_counter() - began
    return Trained(version, learnt, verdict, promoted, seconds)


def _guard(version: str, at: datetime, privacy: Privacy) -> Guard:
    """What this training may spend, taken from the budget before anything is read.

    Once for all its readings: of these one alone is ever kept.
    """
    entry = reserve(version, at=at, budget=privacy.budget, ledger=privacy.ledger)
    return Guard(entry.cost, at.timestamp(), privacy.budget, privacy.noise)


def _learn(
    trainer: Trainer, guard: Guard | None, progress: Progress, clock: Callable[[], datetime]
) -> Learnt:
    """Read and learn; again if somebody withdrew meanwhile, but not for ever."""
    learnt = _read_and_learn(trainer, guard, progress, clock, 1)
    for reading in range(2, READINGS_MAX + 1):
        if not learnt.withdrawn:
            break
        learnt = _read_and_learn(trainer, guard, progress, clock, reading)
    return learnt


def _read_and_learn(
    trainer: Trainer,
    guard: Guard | None,
    progress: Progress,
    clock: Callable[[], datetime],
    reading: int,
) -> Learnt:
    began_at, roll = clock(), Roll()
    baskets = agreed_baskets(trainer.sources, progress=progress, clock=clock, roll=roll)
    # A private training bounds what a member adds to sums over purchases; feedback stays out of it.
    heard = () if guard is not None else agreed_signals(trainer.sources, roll, clock=clock)
    dataset = build(baskets, heard)
    settings = Settings(factors=trainer.factors)
    privacy: Mapping[str, Any] = {"privacy": {"mode": "plain"}}
    if guard is not None:
        guarded = train_guarded(dataset, settings, guard, progress=progress)
        model, privacy = guarded.model, guarded.facts
        choice = Choice(model.weights, (), {}, K, guarded.note)
    else:
        choice, model = _learn_from(dataset, settings, trainer, progress)
    withdrawn = withdrew_meanwhile(
        began_at, roll, at=clock(), consents=trainer.sources.consents, erasures=trainer.erasures
    )
    return Learnt(began_at, dataset, choice, model, reading, withdrawn, privacy)


def _judged(learnt: Learnt, old: Served | None, trainer: Trainer) -> tuple[Learnt, Verdict]:
    """Compare; where what is served must not stay and the new choice is worse, keep the old choice.

    A refusal would leave members who withdrew behind the served model. So its settings, which were
    good enough until now, are learnt anew from what consent allows today.
    """
    if trainer.privacy is not None:
        # A comparison on members, and what follows from it, would tell of them outside the budget.
        reasons = sanity_of_private(learnt.model, old)
        return learnt, Verdict(tuple(reasons), (), (_NOT_COMPARED,))
    seed, threads = learnt.model.settings.seed, trainer.threads
    verdict = judge(
        learnt.model, learnt.dataset, old, k=learnt.choice.k, seed=seed, threads=threads
    )
    if verdict.is_fit or not verdict.comparisons or not old or not old.withdrawn or not old.model:
        return learnt, verdict
    settings, weights = old.model.settings, old.model.weights
    paths = trainer.sources.catalogue.categories()
    again = train(learnt.dataset, settings, weights, threads=threads, categories=paths)
    note = (
        f"The new choice was refused, and {old.withdrawn} members withdrew since {old.version} was "
        "trained: its settings were learnt anew without them."
    )
    kept = Verdict((), verdict.comparisons, (*verdict.reasons, *verdict.notes, note))
    return learnt._replace(model=again), kept


def _learn_from(
    dataset: Dataset, settings: Settings, trainer: Trainer, progress: Progress
) -> tuple[Choice, Model]:
    progress("weigh", 0, 1)
    choice = choose(
        dataset,
        settings,
        settings.seed,
        progress=lambda done, total: progress("weigh", done, total),
        threads=trainer.threads,
    )
    model = train(
        dataset,
        choice.settings or settings,
        choice.weights,
        progress=lambda done, total: progress("learn", done, total),
        threads=trainer.threads,
        categories=trainer.sources.catalogue.categories(),
        start=choice.model,
    )
    return choice, model


def _served(trainer: Trainer, version: str | None, *, at: datetime) -> Served | None:
    """What is served now, as far as it can be read."""
    if version is None:
        return None
    try:
        kept = trainer.depot.store.get(version)
    except NoModelError:
        return None
    model: Model | None
    try:
        depots.fetch(trainer.depot, version)
        model = artefact.load(trainer.depot.root, version, verify=False)
    except (ArtefactError, NoModelError):
        model = None
    withdrawn = withdrawn_since(
        kept.created_at, at=at, consents=trainer.sources.consents, erasures=trainer.erasures
    )
    return Served(
        version,
        model,
        kept.created_at.timestamp(),
        int(kept.card.get("n_items", 0)),
        int(kept.facts.get("members", 0)),
        withdrawn,
        mode_of(kept.facts),
    )


def _counts(learnt: Learnt, seconds: float) -> dict[str, float]:
    """What was counted; of a private model what is told comes out of noise alone."""
    if mode_of(learnt.privacy) != "plain":
        return {}
    return {
        "baskets": learnt.dataset.n_baskets,
        "members": learnt.dataset.n_members,
        "readings": learnt.readings,
        "withdrawn_meanwhile": learnt.withdrawn,
        "seconds": round(seconds, 2),
    }


def _facts(
    learnt: Learnt, verdict: Verdict, old: Served | None, *, by: str, seconds: float
) -> dict[str, Any]:
    """What the model card says beside the model itself. It names nobody."""
    choice = learnt.choice
    return {
        **_counts(learnt, seconds),
        **learnt.privacy,
        "chosen_by": choice.note,
        "k": choice.k,
        "metrics": {
            name: {
                "recall": each.recall,
                "hit_rate": each.hit_rate,
                "ndcg": each.ndcg,
                "members": each.members,
            }
            for name, each in choice.confirmed.items()
        },
        "verdict": verdict.as_fact(),
        "previous": old.version if old else None,
        "trained_by": by,
    }


def versions(depot: Depot) -> list[tuple[Version, str]]:
    """Every version that is kept with its status in one word, newest first."""
    current = depot.store.current()
    return [(each, each.status(current)) for each in depot.store.all()]


def version_of(depot: Depot, name: str | None) -> tuple[Version, str]:
    """One version, or the served one, with its status.

    Raises:
        NoModelError: there is none.
    """
    current = depot.store.current()
    if name is None and current is None:
        raise NoModelError("No model is served: train one.")
    found = depot.store.get(name or (current.version if current else ""))
    return found, found.status(current)


def facts_of(trained: Trained) -> Mapping[str, Any]:
    """What a job tells of a training."""
    return {
        "version": trained.version,
        "promoted": trained.promoted,
        "reasons": list(trained.verdict.reasons),
        "notes": list(trained.verdict.notes),
        "items": len(trained.model.items),
        **_counts(trained.learnt, trained.seconds),
    }
