"""How ranking, training and memory grow with the catalogue, and ranking with a person's history.

All data are made up, of the same shape at each size. Ratios are to the smallest size.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from benchmarks.measure import Row
from benchmarks.ranking import PICKS, made_up
from recommend import artefact, learning
from recommend.model import rank

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.cases import Advance, Size
    from benchmarks.stage import Stage
    from recommend.model import History

THREADS = 2
FACTORS = 64
"""Of both views while ranking; 256 MB each for a million items."""
TRAINED_FACTORS = 32
BASKETS = (10, 60, 200)
LINES = 10
"""Items of a basket, and of each member that is trained on."""
LINES_AN_ITEM = 3
REPEATS = 15
MODEL = "held"


class Sizes(NamedTuple):
    """Items of each step, and of the model whose history or memory is looked at."""

    steps: tuple[int, ...]
    one: int


FULL = Sizes((10_000, 100_000, 1_000_000), 100_000)
QUICK = Sizes((500, 1_000), 1_000)
ADVANCES = 4


def growth(_stage: Stage, size: Size, advance: Advance) -> list[Row]:
    """Rows of ranking by items and by baskets, of training by items, and of memory."""
    sizes = FULL if size.rounds > 2 else QUICK
    rows = []
    for part in (_ranking, _histories, _training, _memory):
        rows += part(sizes)
        advance()
    return rows


def _ranking(sizes: Sizes) -> list[Row]:
    spent = []
    for n_items in sizes.steps:
        model = made_up(n_items, FACTORS, np.random.default_rng(7))
        spent.append(_ms(partial(rank, model, _past(n_items, 3), (), PICKS)))
    return _rows(
        "ranking one", "items", sizes.steps, spent, "memory bandwidth: all item vectors are read"
    )


def _histories(sizes: Sizes) -> list[Row]:
    model = made_up(sizes.one, FACTORS, np.random.default_rng(7))
    spent = [_ms(partial(rank, model, _past(sizes.one, count), (), PICKS)) for count in BASKETS]
    reason = "the closed user step over the different items bought; 200 baskets are looked at"
    return _rows("ranking one", "baskets", BASKETS, spent, reason)


def _past(n_items: int, baskets: int) -> History:
    """Baskets a week apart of items drawn at random."""
    drawn = np.random.default_rng(11).integers(0, n_items, (baskets, LINES)).tolist()
    return [(n * 604_800.0, tuple(f"p{item:07d}" for item in row)) for n, row in enumerate(drawn)]


def _training(sizes: Sizes) -> list[Row]:
    spent = []
    for n_items in sizes.steps:
        counts = _counts(n_items)
        began_at = time.perf_counter()
        learning.learn(
            counts, learning.Limits(factors=TRAINED_FACTORS, people_min=1), threads=THREADS
        )
        spent.append((time.perf_counter() - began_at) * 1e3)
    reason = "products of sparse matrices with item vectors, and counting pairs of items"
    return _rows("training", "items", sizes.steps, spent, reason)


def _counts(n_items: int) -> sparse.csr_matrix:
    """Members with items of a neighbourhood each, `LINES_AN_ITEM` lines an item on average."""
    random = np.random.default_rng(7)
    members = n_items * LINES_AN_ITEM // LINES
    near = random.integers(0, n_items, (members, 1)) + random.integers(0, 40, (members, LINES))
    where = (np.repeat(np.arange(members), LINES), near.ravel() % n_items)
    ones = np.ones(members * LINES, dtype=np.float32)
    return sparse.csr_matrix((ones, where), shape=(members, n_items))


def _memory(sizes: Sizes) -> list[Row]:
    """A fresh process that has ranked with a model beside one that has only what it imports."""
    with tempfile.TemporaryDirectory(prefix="carnet-bench-") as directory:
        model = made_up(sizes.one, FACTORS, np.random.default_rng(7))
        path = artefact.save(model, Path(directory), MODEL, created_at=0.0)
        mib = sum(file.stat().st_size for file in path.iterdir()) / 2**20
        without, having = _held([]), _held([directory, MODEL, str(sizes.one)])
    return [
        Row(
            name=f"memory with {sizes.one:,} items",
            value=having["Anonymous"],
            unit="MiB of its own",
            limited_by="the scores of one ranking; the mapped model is shared by workers",
            peer_name="the same process without a model",
            peer=without["Anonymous"],
            ratio=round(having["Anonymous"] / without["Anonymous"], 2),
            details={"model_mib": round(mib, 1), "with": having, "without": without},
        )
    ]


def _held(arguments: Sequence[str]) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.held", *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)  # noqa: S603  # ours
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _ms(work: Callable[[], object]) -> float:
    """Median milliseconds, after once to warm up."""
    work()
    spent = []
    for _ in range(REPEATS):
        began_at = time.perf_counter()
        work()
        spent.append((time.perf_counter() - began_at) * 1e3)
    return median(spent)


def _rows(
    what: str, of: str, steps: Sequence[int], spent: Sequence[float], limited_by: str
) -> list[Row]:
    """A row a size beside the first of them."""
    return [
        Row(
            name=f"{what}, {step:,} {of}",
            value=round(each, 2),
            unit="ms",
            limited_by=limited_by,
            peer_name=f"{steps[0]:,} {of}",
            peer=round(spent[0], 2),
            ratio=round(each / spent[0], 2),
            details={"times_as_many": step / steps[0]},
        )
        for step, each in zip(steps, spent, strict=True)
    ]
