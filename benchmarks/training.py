"""Training the whole blend with its automatic choice beside one plain run of `implicit` ALS.

Both get two threads and the same purchases, of the items that enough people bought; the peer gets
vectors as long as the blend may choose at the most. Each runs once: seconds, not microseconds.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.measure import Row
from loyalty.importing.complete_journey import Journey
from recommend.choose import choose
from recommend.dataset import Basket, Dataset, build, matrix
from recommend.model import Settings, train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.cases import Advance, Size
    from benchmarks.stage import Stage
    from recommend.model import Model

GOAL = 2.0
THREADS = 2
ROUNDS = 15
DAY_SECONDS = 86_400.0
BASKETS, LINES = 3, 10
"""Of each made-up member: thirty different items, so that there is something to explore."""


class Spent(NamedTuple):
    """Seconds by the clock and of all CPUs."""

    wall: float
    cpu: float


def training(_stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """A row for people who explore, made up, and one for a grocer's real year."""
    full = size.rounds > 2
    settings = Settings() if full else Settings(factors=16)
    rows = []
    for name, dataset in (
        ("explorers", clustered(*(10_000, 10_000) if full else (400, 200))),
        ("Complete Journey", _journey(size.year_households)),
    ):
        rows.append(_row(name, dataset, settings))
        advance()
    return rows


def clustered(members: int, n_items: int) -> Dataset:
    """Members of two tastes each out of one to every hundred items, some items sought after."""
    random = np.random.default_rng(7)
    clusters = max(n_items // 100, 2)
    theirs = random.integers(0, clusters, (members, 2))
    wanted = 1 / np.arange(1, n_items // clusters + 1) ** 0.6

    def baskets() -> Iterator[Basket]:
        for member, tastes in enumerate(theirs.tolist()):
            size = BASKETS * LINES
            which = random.choice(tastes, size)
            place = random.choice(len(wanted), size, p=wanted / wanted.sum())
            items = (which + clusters * place).reshape(BASKETS, LINES)
            for n, row in enumerate(items.tolist()):
                skus = tuple(f"p{item:07d}" for item in row)
                yield Basket(f"m{member}", (n * 30 + member % 30) * DAY_SECONDS, ("web",), skus)

    return build(baskets())


def _journey(households: int | None) -> Dataset:
    """The Complete Journey, a place for each basket as if it were one shop."""
    columns = Journey(households).purchases()
    found: dict[tuple[str, str, float], list[str]] = {}
    for member, sku, basket, at in zip(
        *(columns[name] for name in ("member", "item", "basket", "at")), strict=True
    ):
        assert isinstance(at, datetime)
        key = (str(member), str(basket), at.timestamp())
        found.setdefault(key, []).append(str(sku))
    return build(
        Basket(member, at, ("store",), tuple(skus)) for (member, _, at), skus in found.items()
    )


def _row(name: str, dataset: Dataset, settings: Settings) -> Row:
    ours, model = _spent(lambda: _blend(dataset, settings))
    theirs, _ = _spent(lambda: _als(dataset, settings))
    ratio = ours.wall / theirs.wall
    return Row(
        name=f"training, {name}",
        value=round(ours.wall, 1),
        unit="s",
        limited_by="the peer's rounds are most of its time; ours are pairs, filters and the choice",
        peer_name=f"implicit's ALS, {ROUNDS} rounds, {settings.factors} factors",
        peer=round(theirs.wall, 1),
        ratio=round(ratio, 2),
        goal=f"<= {GOAL:g}",
        is_met=ratio <= GOAL,
        details={
            "cpu_seconds": [round(ours.cpu, 1), round(theirs.cpu, 1)],
            "lines": len(dataset.basket_items),
            "factors": [
                model.collaborative.taste.shape[1],
                model.collaborative.smooth.shape[1],
            ],
        },
    )


def _blend(dataset: Dataset, settings: Settings) -> Model:
    choice = choose(dataset, settings, settings.seed, threads=THREADS)
    return train(
        dataset,
        choice.settings or settings,
        choice.weights,
        threads=THREADS,
        start=choice.model,
    )


def _als(dataset: Dataset, settings: Settings) -> AlternatingLeastSquares:
    learner = AlternatingLeastSquares(
        factors=settings.factors, iterations=ROUNDS, num_threads=THREADS, random_state=settings.seed
    )
    bought = matrix(dataset)
    table = bought[:, np.flatnonzero(bought.getnnz(axis=0) >= settings.people_min)]
    # BLAS threads under those of implicit would make it ten times slower.
    with threadpool_limits(1, "blas"):
        learner.fit(table, show_progress=False)
    return learner


def _spent(work: Callable[[], Any]) -> tuple[Spent, Any]:
    began_at, used = time.perf_counter(), time.process_time()
    found = work()
    return Spent(time.perf_counter() - began_at, time.process_time() - used), found
