"""Runs beside the requests: fetches the model that is to be served, and has a new one trained.

Every worker looks once a second at which model is to be served (one document by its id). Once a
minute one worker of all looks whether the model has to be trained anew: because members who stand
behind it withdrew, or because it is old.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pymongo
from pymongo.errors import PyMongoError

from loyalty.kit.clock import now
from loyalty.kit.errors import CarnetError
from loyalty.kit.observe import log
from recommend.artefact import ArtefactError
from recommend.training import depot as depots
from recommend.training.jobs import ask, latest
from recommend.training.withdrawals import withdrawn_since

if TYPE_CHECKING:
    from collections.abc import Callable

    from loyalty.jobs.runner import Runner
    from loyalty.jobs.store import JobStore
    from recommend.privacy.model import Budget
    from recommend.training.depot import Depot
    from recommend.training.service import Trainer

LOOK_SECONDS = 1.0
CHECK_EVERY = timedelta(seconds=60)
LOOK_SECONDS_MAX = 5.0
"""The longest one look at the database may take; fetching a model has its own, by piece."""
RETRY_SECONDS = 10.0
"""From one failure of a fetch to the next try."""
REPAIR_SECONDS = 3600.0
"""From one repair to the next: what is whole and cannot be read is of another program's form."""
COMPLAIN_SECONDS = 60.0
STOP_SECONDS_MAX = 5.0
REST_MIN = timedelta(hours=1)
"""Least time from one training to the next that is begun by itself."""
REST_TIMES = 10
"""And so many times as long as the last one took: training takes a tenth of the time at most."""


@dataclass(frozen=True, slots=True)
class Rules:
    """When a model is trained anew by itself.

    Attributes:
        withdrawals: as soon as so many members behind the served model withdrew; 0: never for that.
        hours: as soon as it is so old; 0: never for that.
    """

    withdrawals: int = 1
    hours: float = 24.0

    def within(self, budget: Budget | None) -> Rules:
        """The same, where each training takes from a privacy budget; None: it does not.

        A member who withdrew cannot be made out in a private model, so that is no reason to spend.
        Trainings by age are spread evenly over the budget's days; where it is for ever, a person
        decides what it is spent on.
        """
        if budget is None:
            return self
        if not budget.days or not self.hours:
            return Rules(0, 0.0)
        trainings = max(1, int(budget.total / budget.epsilon))
        return Rules(0, max(self.hours, budget.days * 24 / trainings))

    @property
    def are_off(self) -> bool:
        """Whether nothing is ever trained by itself."""
        return not self.withdrawals and not self.hours


class Courier:
    """Keeps the model of this node the one that is to be served. One a process."""

    def __init__(
        self,
        depot: Depot,
        tend: Callable[[], object] = lambda: None,
        *,
        is_broken: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._depot = depot
        self._tend = tend
        self._is_broken = is_broken
        self._monotonic = monotonic
        self._generation: int | None = None
        self._try_at = float("-inf")
        self._repair_at = float("-inf")
        self._complained_at = float("-inf")
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> bool:
        """Fetch and serve what is to be served, if that is something else; whether all is done.

        Raises:
            ArtefactError: it could not be fetched whole, or written; what was served goes on.
            CarnetError: a file of it is not there.
            PyMongoError: the database is away.
        """
        with pymongo.timeout(LOOK_SECONDS_MAX):
            current = self._depot.store.current()
        generation = current.generation if current else 0
        is_broken = self._is_broken() and self._monotonic() >= self._repair_at
        if generation == self._generation and not is_broken:
            return True
        if self._monotonic() < self._try_at:
            return False
        # What fails is large, and is not tried again at once.
        self._try_at = self._monotonic() + RETRY_SECONDS
        if not depots.deliver(self._depot, verify=is_broken):
            self._try_at = float("-inf")
            return False
        if is_broken:
            self._repair_at = self._monotonic() + REPAIR_SECONDS
        self._try_at = float("-inf")
        self._generation = generation
        return True

    def start(self) -> None:
        """Look every second from now on. After the fork, only."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._loop, name="models", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End; a fetch under way is left to be cleared away."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS_MAX)
            self._thread = None

    def _loop(self) -> None:
        while True:
            self._try(self.look)
            self._try(self._tend)
            if self._stopped.wait(LOOK_SECONDS):
                return

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (ArtefactError, CarnetError, PyMongoError, OSError) as error:
            self._complain(error)
        except Exception as error:  # noqa: BLE001  # the thread outlives whatever befalls a look
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        if self._monotonic() - self._complained_at >= COMPLAIN_SECONDS:
            self._complained_at = self._monotonic()
            log().warning("model_courier", kind=type(error).__name__)


class Tender:
    """Has the model trained anew when that is due. One a process; one of all does it at a time."""

    def __init__(
        self,
        trainer: Trainer,
        jobs: JobStore,
        runner: Runner,
        rules: Rules,
        *,
        clock: Callable[[], datetime] = now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trainer, self._jobs, self._runner, self._rules = trainer, jobs, runner, rules
        self._clock, self._monotonic = clock, monotonic
        self._check_at = monotonic() + CHECK_EVERY.total_seconds()

    def tend(self) -> bool:
        """Look at most once a minute; whether a training was asked for.

        Raises:
            PyMongoError: the database is away.
            CarnetError: the job could not be queued.
        """
        if self._rules.are_off or self._monotonic() < self._check_at:
            return False
        self._check_at = self._monotonic() + CHECK_EVERY.total_seconds()
        at = self._clock()
        with pymongo.timeout(LOOK_SECONDS_MAX):
            # Half a period of grace: workers' looks do not fall on the same moment.
            if not self._trainer.depot.store.claim_check(at=at, since=at - CHECK_EVERY / 2):
                return False
            return self.check(at)

    def check(self, at: datetime) -> bool:
        """Ask for a training if one is due; whether it was."""
        reason = self.due(at)
        if not reason:
            return False
        asked = ask(at=at, by=reason, request_key=None, jobs=self._jobs, runner=self._runner)
        if not asked.is_replay:
            log().info("model_training_due", reason=reason, job=asked.job.id)
        return not asked.is_replay

    def due(self, at: datetime) -> str:
        """Why a training is due: "withdrawals" or "age"; "" if none is.

        Nothing is trained by itself before a first model was put into service by somebody.
        """
        store = self._trainer.depot.store
        current = store.current()
        if current is None:
            return ""
        served = store.get(current.version)
        if at - self._last_try() < self._rest(float(served.facts.get("seconds", 0))):
            return ""
        if self._rules.hours and at - served.created_at >= timedelta(hours=self._rules.hours):
            return "age"
        enough = self._rules.withdrawals
        if enough and enough <= withdrawn_since(
            served.created_at,
            at=at,
            consents=self._trainer.sources.consents,
            erasures=self._trainer.erasures,
            enough=enough,
        ):
            return "withdrawals"
        return ""

    def _last_try(self) -> datetime:
        """When a model was last trained or tried to, whatever came of it."""
        versions = self._trainer.depot.store.all()
        tries = [each.created_at for each in versions[:1]]
        return max([*tries, *latest(self._jobs)], default=datetime.min.replace(tzinfo=UTC))

    def _rest(self, seconds: float) -> timedelta:
        return max(REST_MIN, timedelta(seconds=seconds * REST_TIMES))
