"""Products that came into the catalogue after the model was trained, ready to be recommended.

What they are like is worked out beside the requests, once for each model and set of new products; a
request takes what is ready. Nothing of a person is in it.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from loyalty.kit.clock import now
from loyalty.kit.observe import log
from recommend import content

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from loyalty.catalogue.store import CatalogueStore
    from recommend.artefact import Served
    from recommend.content import Newcomers

LOOK_SECONDS = 5.0
NEW_FOR = timedelta(days=60)
NEW_MAX = 500
"""Newest products that are looked at."""
VERSIONS_MAX = 4
"""Models at once that it is worked out for: the served one and those of variants."""
RETRY_SECONDS = 60.0
"""From one failure to the next try."""


class NewProducts:
    """The newcomers to a served model; safe between threads."""

    def __init__(
        self,
        catalogue: CatalogueStore,
        *,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue = catalogue
        self._clock = clock
        self._monotonic = monotonic
        self._looked_at = float("-inf")
        self._skus: tuple[str, ...] = ()
        self._ready: dict[str, tuple[tuple[str, ...], Newcomers]] = {}
        self._retry_at = float("-inf")
        self._guard = threading.Lock()

    def beside(self, served: Served) -> Newcomers | None:
        """What is ready for this model; None where nothing is new. One small read in 5 s."""
        if self._monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = self._monotonic()
            self._skus = self._catalogue.added_since(self._clock() - NEW_FOR, limit=NEW_MAX)
        if not self._skus:
            return None
        ready = self._ready.get(served.version)
        if ready is None or ready[0] != self._skus:
            self._begin(served)
        # What was ready for fewer products will do, but never for another model.
        return ready[1] if ready else None

    def refresh(self, served: Served) -> None:
        """Work it out now: reads the words of the model's products and of the new ones."""
        skus = self._skus
        held = [name.decode() for name in served.model.items.tolist()]
        words = {
            each.sku: content.words(name=each.name, category=each.category, brand=each.brand)
            for each in self._catalogue.described([*held, *skus])
        }
        found = content.newcomers(served.model, words)
        # The newest few: a dictionary keeps the order in which they came.
        kept = [each for each in self._ready.items() if each[0] != served.version]
        self._ready = dict([*kept, (served.version, (skus, found))][-VERSIONS_MAX:])

    def _begin(self, served: Served) -> None:
        is_time = self._monotonic() >= self._retry_at
        if is_time and self._guard.acquire(blocking=False):
            threading.Thread(
                target=self._run, args=(served,), name="newcomers", daemon=True
            ).start()

    def _run(self, served: Served) -> None:
        try:
            self.refresh(served)
        except Exception as error:  # noqa: BLE001  # beside the requests: they go on without
            self._retry_at = self._monotonic() + RETRY_SECONDS
            log().warning("newcomers_not_read", kind=type(error).__name__)
        finally:
            self._guard.release()
