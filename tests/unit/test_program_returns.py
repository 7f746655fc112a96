"""Returns take points back at the purchase's own rate, whatever the rules say by then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.journal import returns
from loyalty.journal.model import ReturnExceedsPurchaseError
from loyalty.program.model import Activity, Line, Program, State, Undone
from loyalty.program.step import step
from tests.builders import BASE_RULE, NOON, line, program, purchase
from tests.strategies import lines, weights_of

NEGATIVE = {"balance": "may_go_negative", "rounding": "half_up"}
WITHIN = {"balance": "within_balance", "rounding": "half_up"}


def bought(rules: Program, *lines_: Line, **more: Any) -> tuple[State, Undone]:
    """The state after a purchase, and the purchase as a return of nothing yet sees it."""
    basket = purchase(*lines_, **more)
    state, postings = step(rules, State(), basket)
    weights = weights_of(basket)
    nothing = (0,) * len(weights)
    return state, Undone("p", postings, weights, nothing, nothing, 0)


def taken(rules: Program, state: State, undone: Undone, *now: int) -> int:
    """What a return of so much of each line takes back."""
    back = Undone(
        undone.purchase_key, undone.postings, undone.weights, undone.returned_before, now, 0
    )
    return state.balance - step(rules, state, Activity("return", NOON, undone=back))[0].balance


@pytest.mark.parametrize(("amount", "points"), [(100, 0), (500, 0), (1000, 1), (2000, 2)])
def test_a_part_of_a_purchase_takes_its_part_of_the_points_rounded_half_up(
    amount: int, points: int
) -> None:
    rules = program({**BASE_RULE, "per_amount": 1000})
    state, undone = bought(rules, line(2190, tax=145))
    assert taken(rules, state, undone, amount) == points


@pytest.mark.parametrize(("rounding", "points"), [("floor", 1), ("half_up", 2), ("ceiling", 2)])
def test_the_rounding_of_returns_is_the_programmes(rounding: str, points: int) -> None:
    rules = program(returns={"rounding": rounding})
    state, undone = bought(rules, line(300))
    assert taken(rules, state, undone, 150) == points


def test_each_line_takes_back_what_stands_on_it() -> None:
    double = {
        "id": "double",
        "type": "multiplier",
        "factor": "2",
        "only": {"skus": ["wine"]},
    }
    rules = program(BASE_RULE, double)
    state, undone = bought(rules, line(1000), line(1000, sku="wine"))
    assert taken(rules, state, undone, 1000, 0) == 10
    assert taken(rules, state, undone, 0, 1000) == 20


def test_a_line_that_earned_nothing_takes_nothing() -> None:
    rules = program({**BASE_RULE, "excluding": {"skus": ["wine"]}})
    state, undone = bought(rules, line(1000), line(5000, sku="wine"))
    assert taken(rules, state, undone, 0, 5000) == 0
    assert taken(rules, state, undone, 1000, 0) == 10


def test_a_bonus_for_the_basket_goes_in_proportion_to_value() -> None:
    bonus = {"id": "bonus", "type": "fixed", "points": 70, "per": "basket"}
    rules = program(bonus)
    state, undone = bought(rules, line(2000), line(2000, sku="wine"))
    assert taken(rules, state, undone, 0, 2000) == 35


def test_points_for_free_goods_go_with_the_rest_of_the_basket() -> None:
    gift = {"id": "gift", "type": "fixed", "points": 8, "only": {"skus": ["sample"]}}
    rules = program(gift)
    state, undone = bought(rules, line(1000), line(0, sku="sample"))
    assert taken(rules, state, undone, 1000, 0) == 8


def test_a_basket_of_free_goods_goes_unit_by_unit() -> None:
    rules = program({"id": "gift", "type": "fixed", "points": 2})
    state, undone = bought(rules, line(0, quantity=4))
    assert undone.weights == (4,)
    assert taken(rules, state, undone, 1) == 2


def spent(rules: Program, state: State, points: int) -> State:
    return step(rules, state, Activity("adjustment", NOON, points=-points))[0]


@pytest.mark.parametrize(("policy", "points", "left"), [(WITHIN, 50, 0), (NEGATIVE, 150, -100)])
def test_what_was_spent_meanwhile_is_owed_or_forgiven(
    policy: dict[str, str], points: int, left: int
) -> None:
    rules = program(returns=policy)
    state, undone = bought(rules, line(15_000))
    poorer = spent(rules, state, 100)
    assert taken(rules, poorer, undone, 15_000) == points
    assert poorer.balance - points == left


def test_within_the_balance_nothing_is_taken_from_a_debt_nor_given_to_it() -> None:
    state, undone = bought(program(returns=NEGATIVE), line(10_000))
    in_debt = step(
        program(returns=NEGATIVE),
        spent(program(), state, 60),
        Activity("return", NOON, undone=replace(undone, returned_now=(10_000,))),
    )[0]
    assert in_debt.balance == -60
    assert step(program(), in_debt, Activity("adjustment", NOON, points=5))[0].balance == -55
    assert taken(program(returns=WITHIN), in_debt, undone, 10_000) == 0


def test_what_was_forgiven_once_is_not_claimed_by_the_next_return() -> None:
    rules = program(returns=WITHIN)
    state, undone = bought(rules, line(10_000))
    broke = spent(rules, state, 100)
    first = Undone("p", undone.postings, (10_000,), (0,), (5000,), 0)
    after_first, (posting,) = step(rules, broke, Activity("return", NOON, undone=first))
    assert (posting.points, posting.inputs["due"]) == (0, 50)
    richer = step(rules, after_first, purchase(line(20_000)))[0]
    second = Undone("p", undone.postings, (10_000,), (5000,), (5000,), 50)
    assert step(rules, richer, Activity("return", NOON, undone=second))[0].balance == 200 - 50


def test_a_return_takes_back_bonuses_too_and_leaves_counters_and_channels() -> None:
    welcome = {"id": "hi", "type": "first_on_channel", "points": 40, "times_max": {"lifetime": 1}}
    rules = program(BASE_RULE, welcome)
    state, undone = bought(rules, line(1000))
    back = Undone("p", undone.postings, (1000,), (0,), (1000,), 0)
    after, _ = step(rules, state, Activity("return", NOON, "web", undone=back))
    assert after.balance == 0
    assert (after.channels, after.counters) == (state.channels, state.counters)


def test_expired_points_of_the_purchases_entry_are_not_part_of_its_award() -> None:
    rules = program(expires_after_months=1)
    old = step(rules, State(), purchase(at=NOON))[0]
    later = NOON.replace(month=6)
    state, postings = step(rules, old, purchase(at=later))
    assert [each.kind for each in postings] == ["expiry", "spend"]
    undone = Undone("p", postings, (1000,), (0,), (1000,), 0)
    assert step(rules, state, Activity("return", later, undone=undone))[0].balance == 0


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[Line], list[list[dict[str, Any]]]]:
    """A purchase, and its units in random pieces."""
    basket = draw(st.lists(lines(), min_size=1, max_size=4))
    units = draw(st.permutations([each.sku for each in basket for _ in range(each.quantity)]))
    cuts = sorted(draw(st.sets(st.integers(1, len(units)), max_size=4)) | {len(units)})
    parts = [units[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]
    return basket, [
        [{"sku": sku, "quantity": part.count(sku)} for sku in sorted(set(part))] for part in parts
    ]


@given(pieces())
def test_units_in_whatever_pieces_give_back_every_line_to_the_cent(
    case: tuple[list[Line], list[list[dict[str, Any]]]],
) -> None:
    basket, parts = case
    back = [returns.Returned(position, "", 0, 0) for position in range(len(basket))]
    for part in parts:
        for each in returns._allot(basket, back, part):
            held = back[each.position]
            back[each.position] = held._replace(
                quantity=held.quantity + each.quantity, amount=held.amount + each.amount
            )
    assert [(each.quantity, each.amount) for each in back] == [
        (each.quantity, each.amount) for each in basket
    ]


@given(st.lists(lines(), min_size=1, max_size=4))
def test_a_return_that_names_nothing_is_of_everything(basket: list[Line]) -> None:
    none = [returns.Returned(position, "", 0, 0) for position in range(len(basket))]
    back = returns._allot(basket, none, None)
    assert [each.amount for each in back] == [each.amount for each in basket]


def test_more_than_is_left_is_refused_with_the_line_that_asks_for_it() -> None:
    basket, none = [line(quantity=2)], [returns.Returned(0, "", 0, 0)]
    with pytest.raises(ReturnExceedsPurchaseError) as refusal:
        returns._allot(basket, none, [{"sku": "milk", "quantity": 3}])
    assert refusal.value.errors[0] == ("lines.0.quantity", "1 more than is left.")


def test_a_second_return_of_everything_is_refused() -> None:
    gone = [returns.Returned(0, "milk", 1, 1000)]
    with pytest.raises(ReturnExceedsPurchaseError):
        returns._allot([line()], gone, None)
