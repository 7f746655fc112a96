"""Ranking many at once gives what ranking one by one gives."""

from dataclasses import replace

import numpy as np
import pytest

from recommend import batch
from recommend.dataset import Basket, build
from recommend.model import History, Model, Settings, Weights, rank, train

ITEMS = 40


def basket(random: np.random.Generator) -> tuple[str, ...]:
    first = int(random.integers(0, 4)) * 10
    return tuple(f"p{first + n:02d}" for n in random.permutation(10)[:4].tolist())


@pytest.fixture(scope="module")
def model() -> Model:
    random = np.random.default_rng(5)
    stream = [Basket(f"m{n % 90}", float(n), ("web",), basket(random)) for n in range(300)]
    return train(build(stream), Settings(factors=8, people_min=2), Weights(0.3, 0.2, 1.0))


@pytest.fixture(scope="module")
def histories() -> list[History]:
    random = np.random.default_rng(6)
    some: list[History] = [
        [(float(n), basket(random)) for n in range(int(random.integers(1, 5)))] for _ in range(30)
    ]
    return [*some, [], [(1.0, ("unknown",))]]


@pytest.mark.parametrize("collaborative", [0.0, 1.0])
@pytest.mark.parametrize("cells", [1, 3 * ITEMS, 4_000_000])
def test_many_at_once_get_what_each_alone_gets(
    model: Model,
    histories: list[History],
    monkeypatch: pytest.MonkeyPatch,
    cells: int,
    collaborative: float,
) -> None:
    monkeypatch.setattr(batch, "BLOCK_CELLS", cells)
    mixed = replace(model, weights=replace(model.weights, collaborative=collaborative))
    exclude = frozenset({"p03", "p21"})
    together = batch.rank_many(mixed, histories, ("web",), 7, exclude)
    alone = [rank(mixed, history, ("web",), 7, exclude=exclude) for history in histories]
    assert len(together) == len(histories)
    for many, one in zip(together, alone, strict=True):
        assert [pick.score for pick in many] == pytest.approx(
            [pick.score for pick in one], rel=1e-4
        )
        assert [pick.sku for pick in many] == [pick.sku for pick in one]


def test_nobody_gets_nothing(model: Model) -> None:
    assert batch.rank_many(model, [], (), 5) == []
