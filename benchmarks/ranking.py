"""Ranking beside `implicit`'s own: one member and many at once, the whole blend against ALS alone.

The model is made up: the arrays are of the true sizes, and no training is waited for.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

from benchmarks.measure import Row, compare_speeds
from recommend.batch import rank_many
from recommend.collaborative import Collaborative, Form
from recommend.dataset import Basket, build
from recommend.model import Settings, Weights, rank, train
from recommend.neighbours import Neighbours

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from benchmarks.cases import Advance, Size
    from benchmarks.stage import Stage
    from recommend.model import History, Model

PICKS, BOUGHT, NEIGHBOURS = 20, 27, 64
GOAL = 1 / 1.5
ROUNDS = 3


def ranking(_stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """A row a comparison: singles against both kinds of `recommend`, many against its batch."""
    n_items, factors, people = (41_000, 256, 200) if size.rounds > 2 else (2_000, 32, 20)
    random = np.random.default_rng(7)
    model = made_up(n_items, factors, random)
    bought = np.array([random.permutation(n_items)[:BOUGHT] for _ in range(people)])
    histories: list[History] = [[(0.0, tuple(f"p{n:07d}" for n in row))] for row in bought.tolist()]
    peer, table = _peer(bought, n_items, factors, random)
    rows = []
    for name, ours, theirs in (
        (
            "ranking one, ALS vector kept",
            lambda: _singly(model, histories),
            lambda: _ask(peer, table),
        ),
        (
            "ranking one, ALS folding in",
            lambda: _singly(model, histories),
            lambda: _ask(peer, table, again=True),
        ),
        (
            "ranking many",
            lambda: rank_many(model, histories, (), PICKS),
            lambda: peer.recommend(np.arange(people), table, N=PICKS),
        ),
    ):
        rows.append(_beside(name, ours, theirs, people))
        advance()
    return rows


def made_up(n_items: int, factors: int, random: np.random.Generator) -> Model:
    """A model of so many items with arrays as a training leaves them."""
    names = (f"p{n:07d}" for n in range(n_items))
    settings = Settings(people_min=1, factors=factors)
    frame = train(
        build([Basket("m", 0.0, (), tuple(names))]), settings, Weights(), collaborative=False
    )
    vectors = random.standard_normal((2, n_items, factors), dtype=np.float32) * np.float32(0.1)
    near = Neighbours(
        np.arange(n_items + 1, dtype=np.int64) * NEIGHBOURS,
        np.sort(random.integers(0, n_items, (n_items, NEIGHBOURS), dtype=np.int32)).ravel(),
        random.random(n_items * NEIGHBOURS, dtype=np.float32) * 0.1,
    )
    people = random.integers(10, 500, n_items).astype(np.float32)
    form = Form(1.0, 1.0, 1.0, 40.0, 40.0, 30.0)
    part = Collaborative(vectors[0], vectors[1], people, near, form)
    return replace(frame, collaborative=part)


def _peer(
    bought: npt.NDArray[np.int64], n_items: int, factors: int, random: np.random.Generator
) -> tuple[AlternatingLeastSquares, sparse.csr_matrix]:
    shape = (len(bought), n_items)
    where = (np.repeat(np.arange(len(bought)), BOUGHT), bought.ravel())
    table = sparse.csr_matrix((np.ones(bought.size, dtype=np.float32), where), shape=shape)
    peer = AlternatingLeastSquares(factors=factors, num_threads=1)
    peer.item_factors = random.standard_normal((n_items, factors)).astype(np.float32)
    peer.user_factors = random.standard_normal((len(bought), factors)).astype(np.float32)
    return peer, table


def _singly(model: Model, histories: list[History]) -> None:
    for history in histories:
        rank(model, history, (), PICKS)


def _ask(peer: AlternatingLeastSquares, table: sparse.csr_matrix, *, again: bool = False) -> None:
    for n in range(table.shape[0]):
        peer.recommend(n, table[n], N=PICKS, recalculate_user=again)


def _beside(
    name: str, ours: Callable[[], object], theirs: Callable[[], object], people: int
) -> Row:
    ours()
    theirs()
    speeds = [(people / _seconds(ours), people / _seconds(theirs)) for _ in range(ROUNDS)]
    return compare_speeds(
        name,
        [mine for mine, _ in speeds],
        "implicit's recommend, equal factors, one thread",
        [its for _, its in speeds],
        unit="members/s",
        limited_by="memory bandwidth: all item vectors are read",
        goal=GOAL,
        details={},
    )


def _seconds(work: Callable[[], object]) -> float:
    began_at = time.perf_counter()
    work()
    return time.perf_counter() - began_at
