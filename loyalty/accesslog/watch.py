"""Counts looks in memory and writes them down in bulk, once a second, beside the requests.

A read costs no write of its own. What a killed worker had not written yet, a second's looks at
most, is lost; a worker that stops in good order writes everything down first. While the database is
away the looks wait, and are written when it is back; a bulk write that was cut off may then have
counted some of them already.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pymongo.errors import PyMongoError

from loyalty.accesslog.model import Place, Tally
from loyalty.kit.observe import log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.access.model import Caller
    from loyalty.accesslog.store import AccessLog

FLUSH_SECONDS = 1.0
STOP_SECONDS_MAX = 5.0
# Some 20 MB. Above it, looks at further members' data are counted as missed, and the log says so.
PLACES_MAX = 50_000


class Watch:
    """What this process's callers were shown and is not written down yet."""

    def __init__(self, log: AccessLog) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._tallies: dict[tuple[str, str, str, str, int], list[float]] = {}
        self._missed = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def note(self, caller: Caller, member_id: str, purpose: str, route: str) -> None:
        """Count a look. A member who looks at what is their own is nobody to be told of."""
        if caller.member_id is not None:
            return
        at = time.time()
        place = (member_id, caller.id, purpose, route, int(at // 86_400))
        with self._lock:
            tally = self._tallies.get(place)
            if tally is not None:
                tally[0] += 1
                tally[2] = at
            elif len(self._tallies) < PLACES_MAX:
                self._tallies[place] = [1, at, at]
            else:
                self._missed += 1

    def flush(self) -> None:
        """Write down what was counted so far; it is in the log when this returns.

        Raises:
            PyMongoError: the database is away; the looks are kept for the next time.
        """
        with self._flushing:
            with self._lock:
                taken, self._tallies = self._tallies, {}
                missed, self._missed = self._missed, 0
            if missed:
                log().error("access_log_full", missed=missed)
            try:
                self._log.add(_values(taken))
            except PyMongoError:
                self._take_back(taken)
                raise

    def start(self) -> None:
        """Write down every second from now on."""
        if self._thread is None:
            self._stopped.clear()
            self._thread = threading.Thread(target=self._loop, name="access-log", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End, and write down what is left."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS_MAX)
            self._thread = None
        self._try_flush()

    def _loop(self) -> None:
        while not self._stopped.wait(FLUSH_SECONDS):
            self._try_flush()

    def _try_flush(self) -> None:
        if not self._tallies:
            return
        try:
            self.flush()
        except Exception as error:  # noqa: BLE001  # the thread outlives whatever befalls a write
            log().warning("access_log", kind=type(error).__name__)

    def _take_back(self, taken: Mapping[tuple[str, str, str, str, int], list[float]]) -> None:
        """Put tallies back under those that came in meanwhile."""
        with self._lock:
            for place, (times, first_at, _) in taken.items():
                fresh = self._tallies.get(place)
                if fresh is not None:
                    fresh[0] += times
                    fresh[1] = first_at
                elif len(self._tallies) < PLACES_MAX:
                    self._tallies[place] = taken[place]
                else:
                    self._missed += int(times)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _values(taken: Mapping[tuple[str, str, str, str, int], list[float]]) -> dict[Place, Tally]:
    found: dict[Place, Tally] = {}
    for (member_id, key_id, purpose, route, day), (times, first_at, last_at) in taken.items():
        place = Place(member_id, key_id, purpose, route, (_EPOCH + timedelta(days=day)).date())
        found[place] = Tally(int(times), _moment(first_at), _moment(last_at))
    return found


def _moment(seconds: float) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(seconds * 1000))
