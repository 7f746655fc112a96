"""Which variant a member gets, and changing experiments."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from recommend.artefact import ArtefactError, Served, describe, load
from recommend.experiments.model import VARIANTS_MAX, assigned, changed, made, require_rules
from recommend.feedback.model import recommendation_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime
    from pathlib import Path

    from recommend.experiments.model import Experiment, Variant, Wish
    from recommend.experiments.store import ExperimentStore
    from recommend.model import Model

EXPERIMENT_SECONDS_MAX = 5.0
VERSIONS_MAX = 3
RETRY_SECONDS = 60.0


class Experiments:
    """The experiment that runs, as it was at most five seconds ago; safe between threads."""

    def __init__(
        self, store: ExperimentStore, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self._monotonic = monotonic
        self._known: tuple[float, Experiment | None] = (float("-inf"), None)

    def variant_for(self, member_id: str, at: datetime) -> Variant | None:
        """The variant that a member gets at a moment; None for one who is in no experiment.

        To be asked only for a member who agrees to personalisation at that moment: nobody else
        takes part. It reads nothing of the member and writes nothing.
        """
        read_at, running = self._known
        if self._monotonic() - read_at >= EXPERIMENT_SECONDS_MAX:
            read_at = self._monotonic()
            running = self.store.running()
            self._known = (read_at, running)
        if running is None or not running.is_live(at):
            return None
        return assigned(running, member_id)

    def forget(self) -> None:
        """Read it anew when it is asked for next."""
        self._known = (float("-inf"), None)


class Shelves:
    """Versions of the model beside the one that is served: three at most, the newest used ones.

    A version that cannot be loaded is None, and is tried again after a minute: whoever asked ranks
    with the version that is served to all. So it is with a plain version where the shop has models
    under differential privacy alone.
    """

    def __init__(
        self,
        root: Path,
        *,
        is_private: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._is_private = is_private
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._loaded: OrderedDict[str, tuple[float, Served | None]] = OrderedDict()
        self._reweighted: dict[tuple[object, ...], tuple[Model | None, Served | None]] = {}

    def served(self, version: str) -> Served | None:
        """The version, loaded when it is asked for first."""
        with self._guard:
            read_at, found = self._loaded.get(version, (float("-inf"), None))
            if found is None and self._monotonic() - read_at >= RETRY_SECONDS:
                found = self._load(version)
                self._loaded[version] = (self._monotonic(), found)
            self._loaded.move_to_end(version)
            while len(self._loaded) > VERSIONS_MAX:
                self._loaded.popitem(last=False)
        return found

    def reweighted(self, served: Served, weights: Mapping[str, float]) -> Served:
        """The same model with other weights of some parts: one copy of its frame, not of arrays."""
        key = (served.version, tuple(sorted(weights.items())))
        with self._guard:
            known, found = self._reweighted.get(key, (None, None))
            # A version that was loaded anew is another model under the same name.
            if found is None or known is not served.model:
                fresh = replace(served.model.weights, **weights)
                found = Served(served.version, replace(served.model, weights=fresh))
                if len(self._reweighted) >= VARIANTS_MAX:
                    self._reweighted.clear()
                self._reweighted[key] = served.model, found
        return found

    def _load(self, version: str) -> Served | None:
        try:
            facts = describe(self._root, version).get("facts", {})
            mode = facts.get("privacy", {}).get("mode", "plain")
            if self._is_private and mode == "plain":
                return None
            return Served(version, load(self._root, version))
        except ArtefactError:
            return None


def served_for(
    variant: Variant | None, served: Served | None, shelves: Shelves | None
) -> Served | None:
    """What a variant ranks with: its own version, or the one that is served to all, reweighted.

    A version that is gone, or broken, is no reason to show nothing.
    """
    if variant is None or served is None or shelves is None:
        return served
    if variant.model_version:
        served = shelves.served(variant.model_version) or served
    return shelves.reweighted(served, variant.weights) if variant.weights else served


class Put(NamedTuple):
    """An experiment as it is kept now, and whether it is new."""

    experiment: Experiment
    is_new: bool


def put(
    name: str,
    wish: Wish,
    *,
    at: datetime,
    store: ExperimentStore,
    rule_sets: Callable[[], Collection[str]] = tuple,
) -> Put:
    """Make an experiment, or change one; the same again changes nothing.

    `rule_sets` gives the names of the shop's sets of rules; asked for when it begins.

    Raises:
        ExperimentInconsistentError: its parts do not fit together.
        ExperimentFixedError: it has begun, and this would change what it asks.
        ExperimentsOverlapError: it would run beside another one.
        ExperimentBusyError: somebody else changes it at this moment.
        TooManyExperimentsError: there is no room for a new one.
    """
    before = store.find(name)
    begins = wish.status == "running" and (before is None or before.status == "draft")
    if begins and any(each.rules_set for each in wish.variants):
        require_rules(wish, rule_sets())
    if before is None:
        fresh = made(name, wish, secrets.token_hex(16), at=at)
        store.put(fresh, None)
        return Put(fresh, is_new=True)
    after = changed(before, wish, at=at)
    if after != before:
        store.put(after, before)
    return Put(after, is_new=False)


def answer_id(variant: Variant | None) -> str:
    """A fresh id for an answer: feedback that names it counts for the variant that it shows."""
    return recommendation_id(variant.origin if variant else None, secrets.token_hex(8))
