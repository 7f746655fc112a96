"""Every posting says why, in words and with the right numbers."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from loyalty.program.explain import explain, money
from loyalty.program.model import Activity, Payment, Posting, Program, State, Undone
from loyalty.program.money import ROUNDINGS
from loyalty.program.step import step
from tests.builders import BASE_RULE, NOON, after, engagement, line, program, purchase
from tests.strategies import EVER, Event, play, programs

EARNED_10 = "The purchase earned 10; the returned part of it, rounded half up, takes back"
MILK = {"only": {"skus": ["milk"]}}


def why(rules: Program, activity: Activity, *earlier: Activity) -> list[str]:
    """What is said about an activity, posting by posting."""
    _, postings = step(rules, after(rules, *earlier), activity)
    return [explain(posting, currency=rules.currency) for posting in postings]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({}, "21.90 EUR at 1 for every 1.00 EUR, rounded down: 21."),
        (
            {"points": 5, "per_amount": 1000, "rounding": "half_up"},
            "21.90 EUR at 5 for every 10.00 EUR, rounded half up: 11.",
        ),
        (
            {"per": "line", "rounding": "ceiling"},
            "21.90 EUR at 1 for every 1.00 EUR line by line, rounded up: 22.",
        ),
    ],
)
def test_spend(rule: dict[str, Any], text: str) -> None:
    assert why(program({**BASE_RULE, **rule}), purchase(line(2190))) == [text]


def test_spend_names_what_is_left_of_the_amount_after_points_were_paid_with() -> None:
    paid = purchase(line(2190), payment=Payment(points_amount=1000))
    assert why(program(), paid)[0].startswith("11.90 EUR at 1")


def test_a_multiplier() -> None:
    app = {"id": "app", "type": "multiplier", "factor": "1.5", "rounding": "half_up"}
    text = "19 spend points times 1.5, rounded half up, add 10."
    assert why(program(BASE_RULE, app), purchase(line(1999)))[1] == text


@pytest.mark.parametrize(
    ("amounts", "text"),
    [
        ((100, 100), "1 spend points times 2.25, rounded down, add 1."),
        ((150, 150), "1.5 spend points times 2.25, rounded down, add 1."),
        ((200, 100), "2 spend points times 2.25, rounded down, add 2."),
        ((150, 300), "about 1.33 spend points times 2.25, rounded down, add 1."),
    ],
)
def test_a_multiplier_on_part_of_the_lines(amounts: tuple[int, int], text: str) -> None:
    rules = program(BASE_RULE, {"id": "m", "type": "multiplier", "factor": "2.25", **MILK})
    bought = purchase(line(amounts[0]), line(amounts[1], sku="wine"))
    assert why(rules, bought)[1] == text


def test_a_channels_multiplier_names_the_channels_in_use() -> None:
    rules = program(
        BASE_RULE,
        {
            "id": "alive",
            "type": "channels_multiplier",
            "channels_min": 2,
            "window_days": 14,
            "factor": "2",
        },
    )
    text = "10 spend points times 2 because 2 channels are in use, rounded down, add 10."
    assert why(rules, purchase(), engagement("visit"))[1] == text


@pytest.mark.parametrize(
    ("per", "text"),
    [("unit", "5 for each of 3 (unit): 15."), ("basket", "5 for each of 1 (basket): 5.")],
)
def test_fixed_points(per: str, text: str) -> None:
    rules = program({"id": "egg", "type": "fixed", "points": 5, "per": per})
    assert why(rules, purchase(line(quantity=3))) == [text]


def test_an_engagement() -> None:
    rules = program({"id": "e", "type": "engagement", "engagement": "review", "points": 30})
    assert why(rules, engagement("review")) == ["30 for the engagement 'review'."]


def test_the_nth_channel() -> None:
    rules = program({"id": "two", "type": "nth_channel", "n": 2, "window_days": 30, "points": 100})
    text = "100 for channel number 2 (app) within 30 days."
    assert why(rules, engagement("visit", channel="app"), engagement("visit")) == [text]


def test_the_first_activity_on_a_channel() -> None:
    rules = program({"id": "hi", "type": "first_on_channel", "points": 20})
    assert why(rules, engagement("visit")) == ["20 for the first activity ever on web."]


def test_expiry() -> None:
    rules = program(expires_after_months=1)
    later = purchase(at=NOON.replace(month=6))
    assert why(rules, later, purchase())[0] == "10 expired before this activity."


@pytest.mark.parametrize(("points", "text"), [(50, "+50"), (-3, "-3")])
def test_a_correction_by_hand(points: int, text: str) -> None:
    correction = Activity("adjustment", NOON, points=points)
    said = f"{text} by hand; the entry names the reason and the actor."
    assert why(program(), correction, purchase()) == [said]


@pytest.mark.parametrize(
    ("policy", "spent", "text"),
    [
        (
            "may_go_negative",
            8,
            f"{EARNED_10} 5.",
        ),
        (
            "within_balance",
            8,
            f"{EARNED_10} 2 (not more than the balance).",
        ),
        (
            "within_balance",
            5,
            f"{EARNED_10} 5.",
        ),
    ],
)
def test_a_return(policy: str, spent: int, text: str) -> None:
    rules = program(returns={"balance": policy})
    _, postings = step(rules, State(), purchase())
    undone = Undone("p", postings, (1000,), (0,), (500,), 0)
    spending = Activity("adjustment", NOON, points=-spent)
    back = Activity("return", NOON, undone=undone)
    assert why(rules, back, purchase(), spending) == [text]


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (2190, "EUR", "21.90 EUR"),
        (5, "USD", "0.05 USD"),
        (2190, "JPY", "2190 JPY"),
        (2190, "KWD", "2.190 KWD"),
        (0, "EUR", "0.00 EUR"),
    ],
)
def test_money_is_written_with_the_decimals_of_its_currency(
    amount: int, currency: str, text: str
) -> None:
    assert money(amount, currency) == text


@given(programs(), EVER)
def test_every_posting_explains_itself_with_its_points(rules: Program, events: list[Event]) -> None:
    for each in play(rules, events):
        for posting in each.postings:
            text = explain(posting, currency=rules.currency)
            assert abs(posting.points) in map(int, re.findall(r"\d+", text))
            assert text.endswith(".")
            assert text[0].isupper() or not text[0].isalpha() or text.startswith("about")


@given(programs(), EVER)
def test_the_numbers_that_a_posting_holds_lead_to_its_points(
    rules: Program, events: list[Event]
) -> None:
    for each in play(rules, events):
        for posting in each.postings:
            assert recomputed(posting, each.activity, rules) == posting.points


def recomputed(posting: Posting, activity: Activity, rules: Program) -> int:
    """The points that follow from a posting's inputs, for whoever reads it years later."""
    fixed = {rule.id: getattr(rule, "points", 0) for rule in rules.rules}
    inputs = posting.inputs
    if posting.kind == "spend" and inputs["per"] == "basket":
        exact = Fraction(inputs["basis"] * inputs["points"], inputs["per_amount"])
        return ROUNDINGS[inputs["rounding"]](exact)
    if posting.kind == "multiplier":
        exact = Fraction(inputs["base"]) * (Fraction(inputs["factor"]) - 1)
        return ROUNDINGS[inputs["rounding"]](exact)
    if posting.kind == "fixed":
        return int(inputs["count"] * inputs["points"])
    if posting.kind == "clawback" and inputs["policy"] == "may_go_negative":
        return -int(inputs["due"])
    if posting.kind in ("engagement", "nth_channel", "first_on_channel"):
        return fixed[posting.rule]
    # What expired, what a line-by-line rule gave and what a poor balance could give back are
    # facts of the moment: their numbers stand in the posting itself.
    return activity.points if posting.kind == "adjustment" else posting.points
