"""A model that is clearly worse does not serve; noise refuses nobody; nothing is gone unseen."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from recommend.dataset import Basket, Dataset, build
from recommend.model import Model, Settings, Weights, train
from recommend.training.comparison import (
    DRAWS,
    TOLERANCE,
    Comparison,
    Served,
    compare,
    judge,
    sanity,
    sanity_of_private,
)
from recommend.training.model import (
    Current,
    NothingToRollBackToError,
    Version,
    back_from,
    to_keep,
    version_name,
)
from recommend.training.telling import versions_table
from tests.builders import NOON

DAY = 86_400.0
SMALL = Settings(factors=4, iterations=3, people_min=3)
RECALLS = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def shop(members: int = 80, baskets: int = 5, *, began: float = 0.0) -> Dataset:
    """Everybody buys bread and the same thing of their own again and again."""
    return build(
        Basket(f"m{m:03}", began + n * DAY + m, ("channel:web",), ("bread", f"own-{m % 16}"))
        for m in range(members)
        for n in range(baskets)
    )


def trained(dataset: Dataset, weights: Weights | None = None) -> Model:
    return train(dataset, SMALL, weights or Weights(1.0, 0.2, 0.0))


def served(model: Model, **overrides: object) -> Served:
    usual = Served("v1", model, 1e12, len(model.items), 80, 0)
    return replace(usual, **overrides)  # type: ignore[arg-type]


def found(comparisons: tuple[Comparison, ...]) -> dict[str, Comparison]:
    return {each.rival: each for each in comparisons}


@given(RECALLS)
def test_a_model_is_never_worse_than_itself(recalls: list[float]) -> None:
    beside = compare("itself", recalls, recalls, seed=7)
    assert (beside.relative, beside.low, beside.high) == (0.0, 0.0, 0.0)
    assert not beside.is_clearly_worse


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
def test_the_interval_lies_within_the_differences_and_turns_round(
    pairs: list[tuple[float, float]],
) -> None:
    ours, theirs = (list(each) for each in zip(*pairs, strict=True))
    one, other = compare("b", ours, theirs, seed=7), compare("a", theirs, ours, seed=7)
    gaps = [mine - its for mine, its in pairs]
    assert min(gaps) - 1e-9 <= one.low <= one.high <= max(gaps) + 1e-9
    assert one.low == pytest.approx(-other.high)
    assert not (one.is_clearly_worse and other.is_clearly_worse)


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    rng = np.random.default_rng(5)
    gaps = rng.normal(0.1, 0.2, 400)
    beside = compare("x", gaps.tolist(), [0.0] * 400, seed=7)
    half = 1.96 * gaps.std() / 20
    assert beside.low == pytest.approx(gaps.mean() - half, abs=0.003)
    assert beside.high == pytest.approx(gaps.mean() + half, abs=0.003)
    assert DRAWS >= 1000


def test_a_small_loss_is_borne_and_an_uncertain_one_too() -> None:
    theirs = [0.5] * 200
    just_under = [0.5 * (1 - TOLERANCE * 0.9)] * 200
    assert not compare("x", just_under, theirs, seed=7).is_clearly_worse
    assert compare("x", [0.48] * 200, theirs, seed=7).is_clearly_worse
    noisy = [1.0, 0.0] * 4
    assert not compare("x", noisy, [0.55] * 8, seed=7).is_clearly_worse


def test_both_must_be_of_the_same_members() -> None:
    with pytest.raises(ValueError, match="same members"):
        compare("x", [0.1], [0.1, 0.2], seed=7)


def test_weights_that_are_clearly_worse_are_refused_and_the_reason_says_so() -> None:
    dataset = shop()
    old = served(trained(dataset))
    verdict = judge(trained(dataset, Weights(0.0, 1.0, 0.0)), dataset, old, k=2, seed=7)
    assert not verdict.is_fit
    assert found(verdict.comparisons)["previous_settings"].is_clearly_worse
    assert any("previous settings" in each for each in verdict.reasons)


def test_better_weights_are_promoted() -> None:
    dataset = shop()
    old = served(trained(dataset, Weights(0.0, 1.0, 0.0)))
    verdict = judge(trained(dataset), dataset, old, k=2, seed=7)
    assert verdict.is_fit
    assert found(verdict.comparisons)["previous_settings"].low > 0


def test_what_loses_to_a_plain_way_is_refused_unless_what_serves_loses_too() -> None:
    dataset = shop()
    bad, good = trained(dataset, Weights(0.0, 1.0, 0.0)), trained(dataset)
    refused = judge(bad, dataset, served(good), k=2, seed=7)
    assert any("personal top" in each for each in refused.reasons)
    excused = judge(bad, dataset, served(bad), k=2, seed=7)
    assert excused.is_fit
    assert any("personal top" in each for each in excused.notes)


def test_a_first_model_has_to_beat_the_best_sellers_alone() -> None:
    dataset = shop()
    verdict = judge(trained(dataset), dataset, None, k=2, seed=7)
    assert verdict.is_fit
    assert found(verdict.comparisons).keys() == {"global_top"}


def test_the_served_model_is_asked_what_it_cannot_have_seen_alone() -> None:
    dataset = shop()
    model = trained(dataset)
    seen = judge(model, dataset, served(model, created_at=1e12), k=2, seed=7)
    assert "previous_model" not in found(seen.comparisons)
    assert any("seen" in each for each in seen.notes)
    # Trained before any of the last baskets, on another shop's people: it knows nothing of these.
    other = trained(shop(began=-1e6))
    unseen = judge(model, dataset, served(other, created_at=-1.0), k=2, seed=7)
    assert found(unseen.comparisons)["previous_model"].members == 80


def test_another_privacy_mode_is_not_held_against_a_model() -> None:
    dataset = shop()
    good, bad = trained(dataset), trained(dataset, Weights(0.0, 1.0, 0.0))
    verdict = judge(bad, dataset, served(good, mode="dp"), k=2, seed=7)
    assert verdict.is_fit
    assert any("privacy mode" in each for each in verdict.notes)
    many = served(good, n_items=10 * len(good.items))
    assert sanity(good, 80, many) != []
    assert sanity_of_private(good, many) == []
    assert sanity_of_private(good, replace(many, mode="dp")) != []


def test_a_model_of_nothing_is_refused() -> None:
    empty = trained(build([]))
    assert "Nothing to learn" in sanity(empty, 0, None)[0]
    assert not judge(empty, build([]), None, k=10, seed=7).is_fit


def test_most_products_gone_is_refused_unless_so_many_withdrew() -> None:
    model = trained(shop())
    twice = len(model.items) * 2 + 1
    assert "Is the data whole" in sanity(model, 80, served(model, n_items=twice))[0]
    assert sanity(model, 80, served(model, n_items=twice - 1)) == []
    many = served(model, n_items=twice, n_members=200, withdrawn=120)
    assert sanity(model, 80, many) == []
    few = served(model, n_items=twice, n_members=200, withdrawn=3)
    (reason,) = sanity(model, 80, few)
    assert "3 members who withdrew" in reason
    nobody = trained(build([]))
    assert sanity(nobody, 0, served(model, withdrawn=80)) == []


def test_too_few_members_are_no_reason_to_refuse() -> None:
    dataset = shop(members=20)
    verdict = judge(trained(dataset), dataset, served(trained(dataset)), k=2, seed=7)
    assert verdict.is_fit
    assert "Not compared" in verdict.notes[0]


def test_the_verdict_is_the_same_each_time() -> None:
    dataset = shop()
    model, old = trained(dataset), served(trained(dataset, Weights(1.0, 2.0, 0.0)))
    one, other = (judge(model, dataset, old, k=2, seed=7, threads=n) for n in (1, 2))
    assert one.as_fact() == other.as_fact()


def version(number: int, *, promoted: int | None = None, back: bool = False) -> Version:
    at = NOON + timedelta(days=number)
    return Version(
        version_name(at),
        at,
        {},
        (),
        promoted_at=NOON + timedelta(days=promoted) if promoted is not None else None,
        rolled_back_at=at if back else None,
    )


def current(served_: Version) -> Current:
    return Current(served_.version, 1, NOON, "")


def test_one_goes_back_to_what_served_last_and_was_not_taken_back() -> None:
    first, second = version(1, promoted=1), version(2, promoted=2)
    wrong, never, now_ = version(3, promoted=3, back=True), version(4), version(5, promoted=5)
    kept = [first, second, wrong, never, now_]
    assert back_from(kept, current(now_)) == second
    # What was promoted again counts from then.
    again = version(1, promoted=4)
    assert back_from([again, second, now_], current(now_)) == again
    with pytest.raises(NothingToRollBackToError):
        back_from([never, wrong, now_], current(now_))


def test_what_can_be_gone_back_to_is_kept_whatever_was_refused_since() -> None:
    served_ = [version(n, promoted=n) for n in range(1, 6)]
    refused = [version(n) for n in range(6, 12)]
    kept = to_keep([*served_, *refused], current(served_[0]), 3)
    assert kept == {each.version for each in (*served_[2:], refused[-1], served_[0])}
    assert to_keep([], None, 3) == set()


def test_the_list_of_models_shows_every_figure_in_80_columns() -> None:
    facts = {"members": 2_469_000, "baskets": 155_848_000, "metrics": {"chosen": {"recall": 0.14}}}
    card = {"n_items": 1_041_000, "facts": facts}
    version = Version("20261125T123257389Z", NOON, card, ())
    written = StringIO()
    Console(width=80, file=written).print(versions_table([(version, "rolled_back")]))
    text = written.getvalue()
    assert all(each in text for each in ("1,041,000", "2,469,000", "155,848,000", "0.1400"))
