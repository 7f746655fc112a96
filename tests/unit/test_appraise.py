"""The protocol: who sees what, how rivals are shown, and data at the edges."""

import random
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommend.appraise import (
    Appraisal,
    NothingToEvaluateError,
    Task,
    appraise,
    file_task,
    last_basket_task,
)
from recommend.dataset import Basket, Dataset, build
from recommend.model import Settings
from recommend.report.appraisal import page_of
from recommend.report.page import render

DAY = 86_400.0
SMALL = Settings(factors=4, people_min=1, iterations=3)
CATALOGUE = [f"i{n:02d}" for n in range(40)]
UNKNOWN_AT = float("nan")
SHARES = ("recall", "ndcg", "hit_rate", "precision", "mrr", "coverage", "new_share")


def rebuyers(people: int = 40, days: int = 4) -> Dataset:
    """Everybody buys the same three items of their own each time, and one at random."""
    chance = random.Random(3)  # noqa: S311 - a test's data
    own = {f"m{n}": tuple(chance.sample(CATALOGUE, 3)) for n in range(people)}
    return build(
        Basket(member, day * DAY, (), (*skus, chance.choice(CATALOGUE)))
        for member, skus in own.items()
        for day in range(days)
    )


def found(task: Task, k: int = 5, seed: int = 1, start: Settings = SMALL) -> Appraisal:
    return appraise(task, start, k=k, seed=seed, progress=lambda *_: None, threads=1)


def answers_of(task: Task, member: int) -> list[str]:
    codes = task.truths.values[task.truths.ptr[member] : task.truths.ptr[member + 1]]
    return [task.history.items[code].decode() for code in codes.tolist()]


def test_the_last_basket_is_the_right_answer_and_nowhere_else() -> None:
    dataset = rebuyers()
    task = last_basket_task(dataset, seed=1)
    for n, row in enumerate(task.rows.tolist()):
        *before, (at, last) = dataset.baskets_of(row)
        assert task.history.baskets_of(row) == before
        assert sorted(answers_of(task, n)) == sorted(last)
        assert task.at[n] == at


def test_the_choice_sees_last_baskets_of_a_fifth_and_the_others_are_reported() -> None:
    task = last_basket_task(rebuyers(), seed=1)
    assert int(task.chosen_on.sum()) == 8
    seen = np.bincount(task.choosing.basket_member, minlength=40)
    assert (seen[task.rows[task.chosen_on]] == 4).all()
    assert (seen[task.rows[~task.chosen_on]] == 3).all()
    appraisal = found(task)
    assert appraisal.model.reported.members == 32
    assert appraisal.model.everyone.members == 40


def test_members_with_fewer_than_three_baskets_are_history_only() -> None:
    baskets = [Basket("few", day * DAY, (), ("a",)) for day in range(2)]
    baskets += [Basket("many", day * DAY, (), ("a",)) for day in range(3)]
    task = last_basket_task(build(baskets), seed=1)
    assert task.rows.tolist() == [1]
    assert task.history.n_baskets == 4


def test_where_nobody_has_three_baskets_it_says_what_is_needed() -> None:
    with pytest.raises(NothingToEvaluateError, match="nobody has 3 baskets or more"):
        last_basket_task(build([Basket("m", 0.0, (), ("a", "b"))]), seed=1)
    with pytest.raises(NothingToEvaluateError, match="no right answers"):
        file_task(rebuyers(), np.zeros(0, dtype=np.int64), [])


def test_the_model_comes_first_and_beats_best_sellers_where_people_buy_again() -> None:
    appraisal = found(last_basket_task(rebuyers(), seed=1))
    recalls = {each.name: each.reported.recall for each in appraisal.results}
    assert appraisal.results[0].name == "carnet"
    assert recalls["carnet"] > 2 * recalls["global_top"]
    assert appraisal.rival.name == max(
        (n for n in recalls if n != "carnet"), key=recalls.__getitem__
    )
    assert {each.form for each in appraisal.results[1:]} <= {"old and new", "only new"}
    assert appraisal.data["repeated_share"] > 0.7  # type: ignore[operator]


def test_gains_are_differences_of_the_figures_within_their_intervals() -> None:
    appraisal = found(last_basket_task(rebuyers(), seed=1))
    for gain in appraisal.gains:
        ours = getattr(appraisal.model.reported, gain.metric)
        theirs = getattr(appraisal.rival.reported, gain.metric)
        assert gain.model == pytest.approx(ours)
        assert gain.rival == pytest.approx(theirs)
        assert gain.difference == pytest.approx(ours - theirs)
        assert gain.low - 1e-9 <= gain.difference <= gain.high + 1e-9
        assert gain.model_low - 1e-9 <= gain.model <= gain.model_high + 1e-9


def test_a_rival_takes_the_form_that_serves_it_better() -> None:
    """Nobody ever gets again what they have: then lists without it are the better ones."""
    dataset = build(Basket(f"m{n}", 0.0, (), tuple(CATALOGUE[n % 20 :][:8])) for n in range(40))
    held = [(n, CATALOGUE[(n % 20 + 8) % 40], UNKNOWN_AT) for n in range(40)]
    appraisal = found(file_task(dataset, np.arange(40), held))
    assert {each.form for each in appraisal.results[1:]} == {"only new"}
    again = [(n, CATALOGUE[n % 20], UNKNOWN_AT) for n in range(40)]
    personal = found(file_task(dataset, np.arange(40), again)).results[2]
    assert (personal.name, personal.form) == ("personal_top", "old and new")
    assert personal.reported.recall > 0.4


def test_members_and_items_without_history_count_as_they_come() -> None:
    dataset = build(Basket(f"m{n}", 0.0, (), ("top", f"own{n}")) for n in range(6))
    answers = [(0, "top", UNKNOWN_AT), (0, "never seen", UNKNOWN_AT), (1, "top", UNKNOWN_AT)]
    appraisal = found(file_task(dataset, np.array([2, -1]), [*answers, *answers]))
    assert appraisal.data["unknown_members"] == 1
    assert appraisal.data["unknown_answers"] == 1
    assert appraisal.data["answers"] == 3
    by_label = {group.label: group for group in appraisal.groups}
    assert by_label["nothing known"].members == 1
    assert by_label["nothing known"].recall == 1.0
    best = next(each for each in appraisal.results if each.name == "global_top")
    assert best.reported.recall == pytest.approx((0.5 + 1.0) / 2)


def test_groups_by_length_of_history_take_everybody_once() -> None:
    chance = random.Random(5)  # noqa: S311 - a test's data
    baskets = [
        Basket(f"m{n}", day * DAY, (), tuple(chance.sample(CATALOGUE, 2)))
        for n in range(30)
        for day in range(3 + n % 7)
    ]
    appraisal = found(last_basket_task(build(baskets), seed=1))
    lengths = [each for each in appraisal.groups if each.kind == "Length of their history"]
    assert sum(each.members for each in lengths) == appraisal.model.reported.members
    assert len(lengths) == 3


def test_the_same_seed_gives_the_same_and_the_curve_ends_at_recall() -> None:
    one, two = (found(last_basket_task(rebuyers(), seed=2), seed=2) for _ in range(2))
    assert one == two
    for name, values in one.curve.items():
        result = next(each for each in one.results if each.name == name)
        assert values[-1] == pytest.approx(result.reported.recall)


@pytest.mark.parametrize(
    "baskets",
    [
        [Basket("m", day * DAY, (), ("only",)) for day in range(3)],
        [Basket(f"m{n}", day * DAY, (), ("only",)) for n in range(3) for day in range(3)],
        [Basket(f"m{n}", 0.0, (), ("a", f"b{day}")) for n in range(3) for day in range(4)],
    ],
)
def test_tiny_shops_have_figures_too(baskets: list[Basket]) -> None:
    appraisal = found(last_basket_task(build(baskets), seed=1), k=10)
    for result in appraisal.results:
        assert 0 <= result.reported.recall <= 1
        assert 0 <= result.reported.coverage <= 1
    assert appraisal.rival.reported.recall > 0


def test_a_list_must_have_a_length() -> None:
    for k in (0, 1_001):
        with pytest.raises(ValueError, match="k must be"):
            found(last_basket_task(rebuyers(3), seed=1), k=k)


def test_with_a_floor_of_people_there_is_a_row_as_served() -> None:
    """What three people have is shown to others without the floor, and not with a floor of four."""
    baskets = [Basket(f"m{n}", 0.0, (), ("top", f"pair{n // 3}")) for n in range(12)]
    held = [(n, f"pair{n // 3}", UNKNOWN_AT) for n in range(12)]
    task = file_task(build([*baskets, Basket("x", 0.0, (), ("top",))]), np.full(12, 12), held)
    appraisal = found(task, k=10, start=replace(SMALL, people_min=4))
    assert appraisal.served is not None
    assert [each.name for each in appraisal.results[:2]] == ["carnet", "carnet_served"]
    assert appraisal.model.reported.coverage > appraisal.served.reported.coverage
    assert appraisal.served.reported.recall == 0.0
    assert "carnet_served" not in {each.name for each in appraisal.rivals}
    assert appraisal.chosen["settings"]["people_min"] == 4
    assert found(task, k=10).served is None


LINES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 6)), min_size=1, max_size=40
)


@settings(max_examples=25)
@given(LINES, LINES, st.integers(1, 12), st.integers(1, 3))
def test_whatever_the_files_hold_there_are_figures_within_bounds(
    train: list[tuple[int, int, int]],
    test: list[tuple[int, int, int]],
    k: int,
    people_min: int,
) -> None:
    baskets = [Basket(f"m{m}", at * DAY, (), (f"i{item}",)) for m, item, at in train]
    dataset = build(baskets)
    rows = {name: n for n, name in enumerate(dict.fromkeys(each.member for each in baskets))}
    known = np.array([rows.get(f"m{n}", -1) for n in range(5)])
    asked = sorted({member for member, _, _ in test})
    answers = [(asked.index(m), f"i{item}", at * DAY) for m, item, at in test]
    tasks = [file_task(dataset, known[asked], answers)]
    with suppress(NothingToEvaluateError):
        tasks.append(last_basket_task(dataset, seed=k))
    for task in tasks:
        appraisal = found(task, k=k, start=replace(SMALL, people_min=people_min, iterations=1))
        for result in appraisal.results:
            for figures in (result.reported, result.everyone):
                assert figures.members > 0
                assert all(0 <= getattr(figures, name) <= 1 + 1e-9 for name in SHARES)
        assert render(page_of(appraisal, title="any")).startswith("<!doctype html>")
