"""`python -m benchmarks.privacy FILE`: what differential privacy costs, and what an attacker gets.

On a file of purchases as `carnet evaluate` takes it. Recall is of the last baskets of members with
three or more, out of the whole catalogue; the plain model and its weights are those of a training,
and under differential privacy the median of `DRAWS` trainings is shown, for each has noise of its
own. The attack is that of `carnet model audit`.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from recommend.choose import choose
from recommend.dataset import build, hold_out
from recommend.evaluate import measure, served
from recommend.files import read
from recommend.model import Settings, train
from recommend.privacy.accounting import cost_of
from recommend.privacy.audit import audit
from recommend.privacy.model import Budget
from recommend.privacy.noise import Noise
from recommend.privacy.training import Guard, train_guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from recommend.dataset import Dataset, Truth
    from recommend.evaluate import Metrics
    from recommend.model import Model
    from recommend.privacy.attack import Finding

DRAWS = 3
MEASURED = 2_000


class Way(NamedTuple):
    """A way to train, by name, and how many trainings stand for it."""

    name: str
    learn: Callable[[Dataset], Model]
    draws: int


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@click.option("--epsilon", "epsilons", type=float, multiple=True, default=(1.0, 3.0, 8.0))
@click.option("--delta", default=1e-6, show_default=True)
@click.option("--factors", default=32, show_default=True)
@click.option("--people-min", default=10, show_default=True)
@click.option("--members", default=2_000, show_default=True, help="Attacked; 0: no attack.")
def main(  # noqa: PLR0917  # options of a command
    file: Path,
    epsilons: tuple[float, ...],
    delta: float,
    factors: int,
    people_min: int,
    members: int,
) -> None:
    """Compare plain models of FILE with such as no member can be made out in."""
    dataset = build(read(file).baskets())
    settings = Settings(factors=factors, people_min=people_min)
    guarded = partial(_guarded, settings, delta, float(dataset.basket_at.max()))
    ways = [
        Way("plain", partial(_plain, settings), 1),
        *(Way(f"dp, epsilon {each:g}", guarded(each), DRAWS) for each in epsilons),
    ]
    table = Table("", "recall@10", "hit rate@10", "products", "vectors", "AUC", "TPR at 1%", "s")
    for way in ways:
        table.add_row(*_row(way, dataset, members))
    title = f"{file.name}: {dataset.n_members:,} members, {len(dataset.items):,} products"
    Console(width=120).print(title, table)


def _plain(settings: Settings, dataset: Dataset) -> Model:
    choice = choose(dataset, settings, settings.seed)
    return train(dataset, choice.settings or settings, choice.weights, start=choice.model)


def _guarded(
    settings: Settings, delta: float, at: float, epsilon: float
) -> Callable[[Dataset], Model]:
    budget = Budget(epsilon, epsilon, 0, delta)
    guard = Guard(cost_of(epsilon, delta), at, budget, Noise())
    return lambda dataset: train_guarded(dataset, settings, guard).model


def _row(way: Way, dataset: Dataset, members: int) -> Sequence[str]:
    history, truths = hold_out(dataset)
    drawn = np.random.default_rng(1).permutation(len(truths))[:MEASURED]
    sample = [truths[each] for each in drawn.tolist()]
    began = time.perf_counter()
    models = [way.learn(history) for _ in range(way.draws)]
    seconds = (time.perf_counter() - began) / way.draws
    found = sorted(_measured(each, history, sample) for each in models)
    middle = found[len(found) // 2]
    vectors = int(np.median([each.collaborative.taste.any(axis=0).sum() for each in models]))
    attacked = audit(dataset, way.learn, members=members) if members else None
    spread = f" ({found[0][0]:.4f} to {found[-1][0]:.4f})" if way.draws > 1 else ""
    return (
        way.name,
        f"{middle[0]:.4f}{spread}",
        f"{middle[1]:.3f}",
        str(len(models[0].items)),
        str(vectors),
        *_attack(attacked),
        f"{seconds:.1f}",
    )


def _measured(model: Model, history: Dataset, sample: Sequence[Truth]) -> tuple[float, float]:
    found: Metrics = measure(
        served(model),
        [history.baskets_of(each.member) for each in sample],
        [each.items for each in sample],
        [each.place for each in sample],
    )
    return found.recall, found.hit_rate


def _attack(found: Finding | None) -> tuple[str, str]:
    if found is None:
        return "", ""
    return f"{found.auc:.3f} ({found.low:.3f} to {found.high:.3f})", f"{found.true_share:.1%}"


if __name__ == "__main__":
    main()
