"""Models under kill -9 of who makes them and who fetches them: never a broken one, never stuck."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recommend import artefact
from recommend.artefact import Shelf
from recommend.training import depot as depots
from recommend.training.depot import Depot
from recommend.training.watch import Courier
from tests.races.process import ROOT, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app import Parts
    from loyalty.kit.settings import Settings

KILLS = 3
SEED = 20260302


@contextmanager
def running(role: str, settings: Settings, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own, killed at the end."""
    arguments = [role, settings.mongodb_uri, settings.database, str(root)]
    command = [sys.executable, "-m", "tests.races.model_node", *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)  # noqa: S603  # ours
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def rounds(process: subprocess.Popen[bytes], count: int) -> None:
    """Wait until it has done so many more rounds, or has ended."""
    assert process.stdout
    assert process.stdout.read(count) == b"." * count, "the process ended by itself"


def serving(root: Path) -> str | None:
    """What a worker that starts now would serve; it checks every sum."""
    shelf = Shelf(root)
    served = shelf.served()
    assert shelf.problem is None
    return served.version if served else None


def test_a_kill_at_any_moment_leaves_every_node_with_a_whole_model(
    parts: Parts, settings: Settings, tmp_path: Path
) -> None:
    chance = random.Random(SEED)  # noqa: S311  # not a secret
    maker, follower = tmp_path / "maker", tmp_path / "follower"
    for _ in range(KILLS):
        with (
            running("make", settings, maker) as making,
            running("follow", settings, follower),
        ):
            rounds(making, 2)
            until(lambda: artefact.current(follower) is not None, "the node fetches a model")
            # In the middle of whatever they are at.
            threading.Event().wait(chance.uniform(0, 0.1))
        for root in (maker, follower):
            assert serving(root), f"seed {SEED}"
    store = parts.models
    current = store.current()
    assert current
    assert current.generation >= KILLS
    for root in (maker, follower):
        depot = Depot(root, store)
        until(Courier(depot).look, "the node follows")
        assert serving(root) == current.version
        assert artefact.is_whole(root, current.version)
    depots.prune(Depot(maker, store))
    # What a kill left behind and is younger than what serves goes with the next model.
    assert all(each > current.version for each in store.strays())
