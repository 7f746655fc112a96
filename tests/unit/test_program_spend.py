"""Points for money: what counts, how it is rounded, which lines it is about."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.model import Activity, Payment, State
from loyalty.program.step import step
from tests.builders import awarded, line, program, purchase
from tests.strategies import purchases

MILK = line(1200, sku="milk", category="Food/Dairy", brand="Alba")
WINE = line(10_000, sku="wine", category="Drinks/Wine", brand="Boon")
TOY = line(3000, sku="toy")
BASKET = purchase(MILK, WINE, TOY)


def spend(**more: Any) -> dict[str, Any]:
    """One point for each unit of currency."""
    return {"id": "base", "type": "spend", "points": 1, "per_amount": 100, **more}


@pytest.mark.parametrize(
    ("amount", "rule", "points"),
    [
        (10_500, {"per_amount": 1000}, 10),
        (2190, {}, 21),
        (99, {}, 0),
        (1999, {"rounding": "half_up"}, 20),
        (1949, {"rounding": "half_up"}, 19),
        (1950, {"rounding": "half_up"}, 20),
        (1901, {"rounding": "ceiling"}, 20),
        (1999, {"points": 3}, 59),
        (1999, {"points": 5, "per_amount": 1000}, 9),
        (0, {"rounding": "ceiling"}, 0),
    ],
)
def test_points_for_an_amount(amount: int, rule: dict[str, Any], points: int) -> None:
    assert awarded(program(spend(**rule)), purchase(line(amount))) == points


def test_a_basket_is_rounded_as_a_whole_and_lines_one_by_one_if_the_rule_says_so() -> None:
    bought = purchase(line(150), line(150), line(150))
    assert awarded(program(spend()), bought) == 4
    assert awarded(program(spend(per="line")), bought) == 3
    assert awarded(program(spend(per="line", rounding="ceiling")), bought) == 6


@pytest.mark.parametrize(
    ("only", "points"),
    [
        ({"skus": ["milk"]}, 12),
        ({"skus": ["milk", "toy"]}, 42),
        ({"skus": ["Milk"]}, 0),
        ({"categories": ["Food"]}, 12),
        ({"categories": ["Food/Dairy"]}, 12),
        ({"categories": ["Foo"]}, 0),
        ({"categories": ["Drinks/Wine/Red"]}, 0),
        ({"brands": ["Boon"]}, 100),
        ({"skus": ["milk"], "brands": ["Boon"]}, 112),
        ({"channels": ["store"]}, 142),
        ({"channels": ["web", "app"]}, 0),
        ({"channels": ["store"], "skus": ["toy"]}, 30),
        ({"channels": ["web"], "skus": ["toy"]}, 0),
        ({"stores": ["S1"]}, 0),
        ({}, 142),
    ],
)
def test_only_names_the_lines_channels_and_stores_that_earn(
    only: dict[str, list[str]], points: int
) -> None:
    assert awarded(program(spend(only=only)), BASKET) == points


@pytest.mark.parametrize(
    ("excluding", "points"),
    [
        ({"skus": ["milk"]}, 130),
        ({"categories": ["Drinks"]}, 42),
        ({"brands": ["Alba", "Boon"]}, 30),
        ({"channels": ["store"]}, 0),
        ({"channels": ["web"]}, 142),
        ({"stores": ["S1"]}, 142),
        ({"skus": ["milk", "wine", "toy"]}, 0),
    ],
)
def test_excluding_names_those_that_do_not(excluding: dict[str, list[str]], points: int) -> None:
    assert awarded(program(spend(excluding=excluding)), BASKET) == points


def test_excluding_is_stronger_than_only() -> None:
    rule = spend(only={"categories": ["Food", "Drinks"]}, excluding={"brands": ["Boon"]})
    assert awarded(program(rule), BASKET) == 12


def test_a_rule_for_a_store_pays_there_and_not_elsewhere() -> None:
    rules = program(spend(only={"stores": ["S1"]}))
    others = program(spend(excluding={"stores": ["S1"]}))
    assert awarded(rules, purchase(store="S1")) == awarded(others, purchase(store="S2")) == 10
    assert awarded(rules, purchase(store="S2")) == awarded(others, purchase(store="S1")) == 0


@pytest.mark.parametrize(
    ("basis", "points"),
    [
        ({}, 90),
        ({"with_tax": True}, 107),
        ({"before_discounts": True}, 100),
        ({"with_tax": True, "before_discounts": True}, 117),
        ({"shipping_earns": True}, 95),
    ],
)
def test_tax_discounts_and_shipping_count_only_if_the_basis_says_so(
    basis: dict[str, bool], points: int
) -> None:
    bought = purchase(line(9000, tax=1710, discount=1000), shipping_amount=500)
    assert awarded(program(spend(basis=basis)), bought) == points


@pytest.mark.parametrize(
    ("payment", "basis", "points"),
    [
        (Payment(gift_card_amount=5000), {}, 100),
        (Payment(gift_card_amount=5000), {"gift_cards_earn": False}, 50),
        (Payment(points_amount=5000), {}, 50),
        (Payment(points_amount=5000), {"points_payments_earn": True}, 100),
        (Payment(2000, 3000), {"gift_cards_earn": False}, 50),
        (Payment(2000, 3000), {}, 70),
        (Payment(0, 10_000), {}, 0),
    ],
)
def test_gift_cards_are_money_and_points_are_not_unless_the_basis_says_so(
    payment: Payment, basis: dict[str, bool], points: int
) -> None:
    assert awarded(program(spend(basis=basis)), purchase(line(10_000), payment=payment)) == points


@pytest.mark.parametrize(
    ("off", "basis", "points"),
    [
        ({"coupon_amount": 1000}, {}, 90),
        ({"coupon_amount": 1000}, {"coupons_earn": True}, 100),
        ({"discount_amount": 2500}, {}, 75),
        ({"discount_amount": 2500}, {"order_discounts_earn": True}, 100),
        ({"coupon_amount": 1000, "discount_amount": 2500}, {}, 65),
        ({"coupon_amount": 1000, "discount_amount": 2500}, {"coupons_earn": True}, 75),
        ({"coupon_amount": 1000, "payment": Payment(points_amount=4000)}, {}, 50),
        ({"coupon_amount": 10_000}, {}, 0),
    ],
)
def test_discounts_and_coupons_of_the_order_lower_the_basis_unless_they_earn(
    off: dict[str, Any], basis: dict[str, bool], points: int
) -> None:
    assert awarded(program(spend(basis=basis)), purchase(line(10_000), **off)) == points


def test_a_coupon_lowers_each_line_and_tax_and_shipping_in_proportion() -> None:
    milk = program(spend(only={"skus": ["milk"]}))
    assert awarded(milk, purchase(line(4000), line(6000, sku="wine"), coupon_amount=1000)) == 36
    taxed = purchase(line(8000, tax=1000), shipping_amount=1000, coupon_amount=1000)
    assert awarded(program(spend()), taxed) == 72
    assert awarded(program(spend(basis={"with_tax": True, "shipping_earns": True})), taxed) == 90


def test_what_is_paid_with_points_is_taken_off_every_line_in_proportion() -> None:
    rules = program(spend(only={"skus": ["milk"]}))
    bought = purchase(line(4000), line(6000, sku="wine"), payment=Payment(points_amount=5000))
    assert awarded(rules, bought) == 20


def test_points_pay_tax_and_shipping_too_so_half_paid_with_them_is_half_the_basis() -> None:
    half = Payment(points_amount=6500)
    bought = purchase(line(10_000, tax=2000), shipping_amount=1000, payment=half)
    assert awarded(program(spend()), bought) == 50
    assert awarded(program(spend(basis={"with_tax": True})), bought) == 60
    assert awarded(program(spend(basis={"shipping_earns": True})), bought) == 55


def test_what_is_wholly_paid_with_points_earns_nothing_shipping_included() -> None:
    basis = {"shipping_earns": True, "with_tax": True, "before_discounts": True}
    bought = purchase(
        line(900, tax=100, discount=300), shipping_amount=500, payment=Payment(points_amount=1500)
    )
    assert awarded(program(spend(basis={**basis, "before_discounts": True})), bought) == 0


def test_more_points_than_were_charged_earn_nothing_and_take_nothing() -> None:
    bought = purchase(line(1000), payment=Payment(points_amount=9999))
    assert awarded(program(spend()), bought) == 0


def test_taking_payments_off_many_lines_loses_no_cent() -> None:
    bought = purchase(*[line(33)] * 300, payment=Payment(points_amount=4950))
    assert awarded(program(spend(per_amount=1)), bought) == 4950


@given(
    bought=purchases(),
    with_tax=st.booleans(),
    before_discounts=st.booleans(),
    shipping=st.booleans(),
)
def test_the_basis_is_the_exact_share_of_what_was_paid_in_money(
    *, bought: Activity, with_tax: bool, before_discounts: bool, shipping: bool
) -> None:
    basis = {
        "with_tax": with_tax,
        "before_discounts": before_discounts,
        "shipping_earns": shipping,
        "gift_cards_earn": False,
    }
    worth = sum(
        each.amount + with_tax * each.tax + before_discounts * each.discount
        for each in bought.lines
    ) + (shipping * bought.shipping_amount)
    charged = sum(each.amount + each.tax for each in bought.lines) + bought.shipping_amount
    unpaid = charged - bought.payment.gift_card_amount - bought.payment.points_amount
    unpaid -= bought.discount_amount + bought.coupon_amount
    exact = Fraction(worth * unpaid, charged) if charged else worth
    counted = awarded(program(spend(per_amount=1, basis=basis)), bought)
    assert 0 <= counted - exact < 1


def test_shipping_earns_beside_the_lines_that_earn() -> None:
    basis = {"shipping_earns": True}
    rules = program(spend(basis=basis, only={"skus": ["milk"]}))
    assert awarded(rules, purchase(MILK, WINE, shipping_amount=4000)) == 52


def test_shipping_alone_earns_nothing_where_no_line_does() -> None:
    rules = program(spend(basis={"shipping_earns": True}, only={"skus": ["milk"]}))
    assert awarded(rules, purchase(WINE, shipping_amount=4000)) == 0


@pytest.mark.parametrize(("minimum", "points"), [(0, 142), (14_200, 142), (14_201, 0)])
def test_a_minimum_looks_at_the_whole_purchase(minimum: int, points: int) -> None:
    assert awarded(program(spend(amount_min=minimum)), BASKET) == points


def test_a_minimum_counts_lines_that_do_not_earn() -> None:
    rules = program(spend(amount_min=10_000, excluding={"skus": ["wine"]}))
    assert awarded(rules, BASKET) == 42
    assert awarded(rules, purchase(MILK, TOY)) == 0


def test_several_spend_rules_add_up() -> None:
    half = spend(id="extra", per_amount=200)
    assert awarded(program(spend(), half), purchase(line(1999))) == 28


def test_a_posting_names_the_lines_it_stands_on_and_nothing_where_it_is_all() -> None:
    _, (posting,) = step(program(spend(only={"skus": ["milk", "toy"]})), State(), BASKET)
    assert posting.lines == (0, 2)
    _, (posting,) = step(program(spend()), State(), BASKET)
    assert posting.lines == ()
