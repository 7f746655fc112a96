"""A process that makes models for all nodes, or one that fetches them, until it is killed."""

from __future__ import annotations

import itertools
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from loyalty.kit.clock import now
from loyalty.kit.mongo import connect, open_database
from recommend import artefact
from recommend.dataset import Basket, build
from recommend.model import Settings, train
from recommend.training import depot as depots
from recommend.training.depot import Depot
from recommend.training.model import version_name
from recommend.training.store import ModelStore
from recommend.training.watch import Courier

if TYPE_CHECKING:
    from datetime import datetime

    from recommend.model import Model


def model_of(number: int) -> Model:
    """A small model, another one for each number."""
    skus = tuple(f"sku-{number}-{n}" for n in range(5))
    baskets = [Basket(f"m{n}", float(n), ("channel:web",), skus) for n in range(3)]
    return train(build(baskets), Settings(factors=4, iterations=1, people_min=2), threads=1)


def make(depot: Depot, at: datetime) -> None:
    """Make one version after the other, and serve each."""
    for number in itertools.count():
        created_at = at + timedelta(milliseconds=number)
        version = version_name(created_at)
        artefact.save(
            model_of(number), depot.root, version, created_at=created_at.timestamp(), facts={}
        )
        depots.publish(depot, version, created_at=created_at, refused=False)
        depots.promote(depot, version, at=created_at, by="tests")
        depots.prune(depot)
        tell()


def follow(depot: Depot) -> None:
    """Fetch whatever is to be served, with several workers' impatience."""
    while True:
        Courier(depot).look()
        tell()


def tell() -> None:
    """Say that another round is done."""
    sys.stdout.write(".")
    sys.stdout.flush()


def main() -> None:
    """`python -m tests.races.model_node make|follow URI DATABASE ROOT`."""
    role, uri, name, root = sys.argv[1:]
    with connect(uri, timeout_seconds=5) as client:
        depot = Depot(Path(root), ModelStore(open_database(client, name)))
        if role == "make":
            make(depot, now())
        follow(depot)


if __name__ == "__main__":
    main()
