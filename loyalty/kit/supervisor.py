"""Keeps the service up: the embedded database and gunicorn as children, one stop for all.

If mongod dies, it is started again on the same data; requests in between get a 503 and a retry
finds what was acknowledged. If gunicorn's master dies, everything stops and the exit code says so.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loyalty.kit.embedded import EmbeddedDatabaseError, EmbeddedMongo, die_with_parent
from loyalty.kit.observe import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from loyalty.kit.settings import Settings

POLL_SECONDS = 0.1
STOP_SECONDS_MAX = 15.0
# A database that dies more often than this within a minute is not helped by another start.
REVIVALS_A_MINUTE_MAX = 30


class StopAsked(BaseException):  # a wish, not an error
    """SIGTERM or Ctrl-C reached this process."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into `StopAsked`, so that every `finally` runs."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        raise StopAsked

    before = [signal.signal(each, ask) for each in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield
    finally:
        for each, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(each, handler)


@contextmanager
def owned_database(settings: Settings) -> Iterator[tuple[str, EmbeddedMongo | None]]:
    """The service's database: the one of the setting, or an embedded one that this process owns.

    Raises:
        DirectoryInUseError: another service owns the data directory.
        EmbeddedDatabaseError: it cannot run here.
    """
    if settings.mongodb_uri:
        yield settings.mongodb_uri, None
        return
    mongod = EmbeddedMongo(settings.data_dir)
    try:
        mongod.start()
        yield mongod.uri, mongod
    finally:
        mongod.stop()


def serve(uri: str, mongod: EmbeddedMongo | None, metrics_dir: str) -> int:
    """Run gunicorn until it ends or a stop is asked for; gunicorn's exit code."""
    environment = {
        **os.environ,
        "CARNET_MONGODB_URI": uri,
        "PROMETHEUS_MULTIPROC_DIR": metrics_dir,
        # Workers are the parallelism; BLAS threads beside them only get in each other's way.
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:loyalty.kit.server"]
    gunicorn = subprocess.Popen(  # noqa: S603  # our own command
        [*command, "app:create_app()"],
        env=environment,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # no other threads are running
    )
    try:
        return _watch(gunicorn, mongod)
    except StopAsked:
        return 0
    finally:
        _stop(gunicorn)


def _watch(gunicorn: subprocess.Popen[bytes], mongod: EmbeddedMongo | None) -> int:
    revived_at: list[float] = []
    while (code := gunicorn.poll()) is None:
        if mongod is not None and mongod.pid is None:
            revived_at = [at for at in revived_at if at > time.monotonic() - 60]
            if len(revived_at) >= REVIVALS_A_MINUTE_MAX:
                raise EmbeddedDatabaseError("mongod keeps dying; see mongod.log in the data dir.")
            revived_at.append(time.monotonic())
            _revive(mongod)
        time.sleep(POLL_SECONDS)
    return code


def _revive(mongod: EmbeddedMongo) -> None:
    log().error("database_died", action="starting it again")
    try:
        mongod.revive()
    except EmbeddedDatabaseError:
        # It may have been killed while it was starting: the next round tries again.
        log().error("database_died_while_starting")
    else:
        log().info("database_is_back")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
