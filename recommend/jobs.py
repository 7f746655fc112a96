"""Training: read what consent allows, choose the weights, learn, keep, promote."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION
from loyalty.kit.clock import now
from recommend import artefact
from recommend.choose import choose
from recommend.dataset import Basket, build
from recommend.model import BASKETS_MAX, Settings, train
from recommend.service import kept, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from recommend.choose import Choice
    from recommend.model import Model
    from recommend.service import Sources

PAGE = 500


class Trained(NamedTuple):
    """What a training made."""

    version: str
    model: Model
    choice: Choice
    baskets: int
    seconds: float


def train_and_promote(
    sources: Sources,
    *,
    root: Path,
    factors: int,
    at: datetime,
    progress: Callable[[str, int, int], None],
) -> Trained:
    """Train on the journal and serve the result; every worker swaps it in within a second.

    Args:
        sources: where the journal and the consents are.
        root: the directory of models.
        factors: of the collaborative part.
        at: the moment of training; names the version.
        progress: called with a stage, what is done and the total of it.
    """
    began = time.perf_counter()
    dataset = build(agreed_baskets(sources, progress=progress))
    settings = Settings(factors=factors)
    progress("weigh", 0, 1)
    choice = choose(dataset, settings, settings.seed)
    progress("weigh", 1, 1)
    model = train(
        dataset,
        choice.settings,
        choice.weights,
        start=choice.model,
        progress=lambda done, total: progress("learn", done, total),
    )
    version = at.strftime("%Y%m%dT%H%M%S") + f"{at.microsecond // 1000:03}Z"
    facts: dict[str, artefact.Fact] = {
        "baskets": dataset.n_baskets,
        "chosen_by": choice.note,
        **{f"recall_at_{choice.k}_{name}": each.recall for name, each in choice.confirmed.items()},
    }
    artefact.save(model, root, version, created_at=at.timestamp(), facts=facts)
    artefact.promote(root, version)
    artefact.prune(root)
    return Trained(version, model, choice, dataset.n_baskets, time.perf_counter() - began)


def agreed_baskets(
    sources: Sources,
    *,
    progress: Callable[[str, int, int], None],
    clock: Callable[[], datetime] = now,
) -> Iterator[Basket]:
    """The baskets of members who agree to personalisation at this moment, member by member.

    What was returned is taken off, sensitive products and what is older than the rules of retention
    allow are left out, and a member counts with the newest 200 baskets.
    """
    sensitive = sources.catalogue.restrictions().sensitive
    done, total = 0, sources.consents.count_members()
    for ids in sources.consents.all_member_ids(page=PAGE):
        at = clock()
        agreed = gate.permits(ids, PERSONALISATION, at=at, consents=sources.consents)
        histories = sources.journal.histories(
            agreed.values(), limit=BASKETS_MAX, since=sources.history_since(at)
        )
        for member, history in histories.items():
            for past, skus in kept(history, sensitive):
                place = places_of(past.channel, past.store)
                yield Basket(member, past.occurred_at.timestamp(), place, skus)
        done += len(ids)
        progress("read", done, total)
