"""What is left of earlier facts: units and money that come back, bonuses that fall, redemptions."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loyalty.program.book import Book, ExcessError, Returned
from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import Activity, Back, State
from loyalty.program.step import step
from tests.builders import (
    BASE_RULE,
    NOON,
    engagement,
    giving_back,
    line,
    outcomes,
    program,
    purchase,
)
from tests.strategies import lines

if TYPE_CHECKING:
    from loyalty.program.model import Line, Program

RULES = program()
Part = tuple[tuple[str, int], ...]


def written(*activities: Activity, rules: Program = RULES) -> Book:
    """A book with these facts in it."""
    book, state = Book(), State()
    for activity in activities:
        complete = book.complete(activity)
        state, postings = step(rules, state, complete)
        book.record(complete, postings)
    return book


def basket(*lines_: Line) -> Activity:
    return purchase(*lines_, key="p")


@st.composite
def pieces(draw: st.DrawFn) -> tuple[list[Line], list[Part]]:
    """A purchase, and its units in random pieces."""
    bought = draw(st.lists(lines(), min_size=1, max_size=4))
    units = draw(st.permutations([each.sku for each in bought for _ in range(each.quantity)]))
    cuts = sorted(draw(st.sets(st.integers(1, len(units)), max_size=4)) | {len(units)})
    parts = [units[start:end] for start, end in pairwise([0, *cuts])]
    return bought, [
        tuple((sku, part.count(sku)) for sku in sorted(set(part))) for part in parts if part
    ]


@given(pieces())
def test_units_in_whatever_pieces_give_back_every_line_to_the_cent(
    case: tuple[list[Line], list[Part]],
) -> None:
    bought, parts = case
    book = written(basket(*bought))
    units, money = [0] * len(bought), [0] * len(bought)
    for part in parts:
        for each in book.returned(Back("p", part), strict=True):
            units[each.position] += each.quantity
            money[each.position] += each.amount
        book.record(giving_back("p", *part), ())
    assert units == [each.quantity for each in bought]
    assert money == [each.amount for each in bought]
    with pytest.raises(ExcessError):
        book.returned(Back("p"), strict=True)


@given(st.lists(lines(), min_size=1, max_size=4))
def test_a_return_that_names_nothing_is_of_everything(bought: list[Line]) -> None:
    found = written(basket(*bought)).returned(Back("p"))
    assert [(each.quantity, each.amount) for each in found] == [
        (each.quantity, each.amount) for each in bought
    ]


@given(st.lists(lines(), min_size=1, max_size=4), st.lists(st.integers(1, 9000), max_size=4))
def test_money_that_comes_back_falls_on_the_lines_in_proportion_to_the_cent(
    bought: list[Line], amounts: list[int]
) -> None:
    book, left = written(basket(*bought)), sum(each.amount for each in bought)
    for amount in amounts:
        found = book.returned(Back("p", amount=amount))
        assert sum(each.amount for each in found) == min(amount, left)
        assert all(each.quantity == 0 for each in found)
        left -= min(amount, left)
        book.record(giving_back("p", amount=amount), ())
    rest = book.returned(Back("p"))
    assert sum(each.amount for each in rest) == left
    assert [each.quantity for each in rest] == [each.quantity for each in bought]


@settings(max_examples=700)
@given(pieces(), st.data())
def test_of_money_and_units_in_any_mix_no_line_gives_back_more_than_it_cost(
    case: tuple[list[Line], list[Part]], data: st.DataObject
) -> None:
    bought, parts = case
    book = written(basket(*bought))
    money = [0] * len(bought)
    for part in parts:
        amount = data.draw(st.none() | st.integers(1, 5000))
        back = Back("p", None if amount else part, amount)
        for each in book.returned(back):
            assert each.amount >= 0
            money[each.position] += each.amount
        book.record(Activity("return", NOON, back=back), ())
    assert all(back <= each.amount for back, each in zip(money, bought, strict=True))
    for each in book.returned(Back("p")):
        money[each.position] += each.amount
    if any(each.amount for each in bought):
        assert sum(money) == sum(each.amount for each in bought)


def test_an_amount_is_shared_by_what_each_line_cost() -> None:
    book = written(basket(line(1000), line(3000, sku="rye"), line(0, sku="free")))
    assert book.returned(Back("p", amount=1000)) == [
        Returned(0, "milk", 0, 250),
        Returned(1, "rye", 0, 750),
    ]


def test_units_cost_their_part_of_the_line_and_the_last_one_what_is_left() -> None:
    book = written(basket(line(1000, quantity=3)))
    costs = []
    for _ in range(3):
        costs += [each.amount for each in book.returned(Back("p", (("milk", 1),)))]
        book.record(giving_back("p", ("milk", 1)), ())
    assert costs == [333, 333, 334]


def test_units_of_one_sku_come_from_its_lines_one_after_the_other() -> None:
    book = written(basket(line(500, quantity=2), line(900, quantity=3)))
    assert book.returned(Back("p", (("milk", 3),))) == [
        Returned(0, "milk", 2, 500),
        Returned(1, "milk", 1, 300),
    ]


@pytest.mark.parametrize(
    ("back", "number", "missing"),
    [
        (Back("p", (("milk", 3),)), 0, 1),
        (Back("p", (("milk", 2), ("rye", 1))), 1, 1),
        (Back("p", (("milk", 1), ("milk", 2))), 1, 1),
        (Back("p", amount=1001), None, 1),
    ],
)
def test_more_than_is_left_is_refused_with_the_line_that_asks_for_it(
    back: Back, number: int | None, missing: int
) -> None:
    book = written(basket(line(quantity=2)))
    with pytest.raises(ExcessError) as refusal:
        book.returned(back, strict=True)
    assert (refusal.value.number, refusal.value.missing) == (number, missing)
    assert sum(each.quantity for each in book.returned(back)) <= 2


def test_a_second_return_of_everything_is_refused() -> None:
    book = written(basket(), giving_back("p"))
    with pytest.raises(ExcessError) as refusal:
        book.complete(giving_back("p"), strict=True)
    assert (refusal.value.number, refusal.value.missing) == (None, 0)


def test_free_goods_are_worth_their_units_and_no_money() -> None:
    book = written(basket(line(0, quantity=4)))
    undone = book.complete(giving_back("p", ("milk", 1))).undone
    assert undone
    assert (undone.award.weights, undone.award.returned, undone.amount) == ((4,), (1,), 0)
    assert book.returned(Back("p", amount=100)) == []


def test_what_a_return_undoes_is_the_purchase_as_it_stands_now() -> None:
    bought = basket(line(1000), line(1000, sku="rye"))
    book = written(bought, giving_back("p", ("milk", 1)))
    undone = book.complete(giving_back("p", ("rye", 1))).undone
    assert undone
    assert undone.award.returned == undone.award.weights == (1000, 1000)
    assert (undone.award.due_before, undone.award.amount_left) == ({"points": 10}, 0)
    assert (undone.amount, undone.is_last) == (1000, True)


def test_all_of_a_purchase_comes_back_once() -> None:
    bought = basket(line(1000), line(0, sku="free"))
    book = written(bought, giving_back("p", ("milk", 1)))
    late = book.complete(giving_back("p", ("free", 1))).undone
    assert late
    assert late.award.is_undone
    assert not late.is_last
    by_money = written(basket(), giving_back("p", amount=1000)).complete(giving_back("p")).undone
    assert by_money
    assert not by_money.is_last


def test_of_a_purchase_that_is_not_there_nothing_is_known() -> None:
    assert Book().complete(giving_back("p")).undone is None
    assert Book().returned(Back("p")) == []
    Book().record(giving_back("p"), ())


def test_what_is_no_return_stays_as_it_is() -> None:
    for activity in (basket(), engagement("visit"), Activity("passage", NOON)):
        assert written(basket()).complete(activity) is activity


NTH = {"id": "third", "type": "nth_channel", "n": 3, "window_days": 30, "points": 100}
CHANNELS = ("web", "app", "store")


def journey() -> list[Activity]:
    """A purchase on each channel."""
    return [purchase(channel=channel, key=channel) for channel in CHANNELS]


def test_a_bonus_falls_with_one_of_the_channels_it_needs_and_only_once() -> None:
    rules = program(BASE_RULE, NTH)
    book = written(*journey(), rules=rules)
    undone = book.complete(giving_back("web")).undone
    assert undone
    (other,) = undone.others
    assert (other.key, set(other.fallen)) == ("store", {"third"})
    *_, (state, postings) = outcomes(rules, *journey(), giving_back("web"), giving_back("app"))
    assert state.balance == 10
    assert [each.inputs["purchase"] for each in postings] == ["app"]


def test_a_bonus_stands_as_long_as_another_use_of_the_channel_does() -> None:
    rules = program(BASE_RULE, NTH)
    twice = [purchase(channel="web", key="web2"), *journey()]
    first = written(*twice, rules=rules).complete(giving_back("web")).undone
    assert first
    assert first.others == ()
    second = written(*twice, giving_back("web"), rules=rules).complete(giving_back("web2")).undone
    assert second
    assert [each.fallen for each in second.others] == [{"third"}]


def test_an_engagement_that_a_bonus_stands_on_does_not_come_back() -> None:
    rules = program(BASE_RULE, NTH)
    visits = [engagement("visit", channel=channel, key=channel) for channel in ("web", "app")]
    *_, (state, _) = outcomes(rules, *visits, purchase(key="p"), giving_back("p"))
    assert state.balance == 0


def test_what_is_restored_are_the_lots_that_the_redemption_took() -> None:
    hold = Activity("hold", NOON, key="h", points=8, expires_at=NEVER)
    capture = Activity("capture", NOON, key="c", hold="h", points=5)
    rules = program()
    book = written(purchase(key="p"), hold, capture, rules=rules)
    restoring = Activity("restore", NOON, key="r", hold="h")
    complete = book.complete(restoring)
    assert (complete.unit, complete.lots) == ("points", (Lot(NEVER, 5),))
    assert book.complete(replace(restoring, hold="other")).lots == ()
    *_, (state, _) = outcomes(rules, purchase(key="p"), hold, capture, restoring)
    assert state.balance == 10
