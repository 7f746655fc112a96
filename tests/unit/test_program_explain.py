"""Every posting says why, in words and with the right numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given

from loyalty.program import explain as explaining
from loyalty.program.clawback import AWARDS
from loyalty.program.explain import explain, money
from loyalty.program.lots import NEVER, Lot
from loyalty.program.model import (
    About,
    Activity,
    Award,
    Payment,
    Posting,
    Program,
    State,
    Undone,
)
from loyalty.program.money import ROUNDINGS
from loyalty.program.step import step
from loyalty.program.validity import Expiry, UnitPolicy
from tests.builders import BASE_RULE, NOON, after, engagement, line, program, purchase
from tests.strategies import EVER, Event, play, programs

if TYPE_CHECKING:
    from collections.abc import Callable

EARNED_10 = "The purchase earned 10; the returned part of it, rounded half up, takes back"
WAS_10 = {"entry": "e1", "kind": "purchase", "was": 10, "because": "late"}
CLAWED = {"awarded": 20, "due": 10, "rounding": "half_up", "policy": "within_balance"}
FALLEN = {**CLAWED, "fallen": ["third"]}
FALLEN_7 = (
    "What 'third' stood on was returned: of 20 earned this, rounded half up, takes back 7 "
    "(not more than the balance)."
)
TOO_SHORT_10 = (
    "The purchase earned 20; the returned part of it, rounded half up, takes back 10. "
    "'big' is lost whole: the basket that is left is too small for it."
)
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
    said = f"{text} by hand or by a coupon; the entry names the reason and the actor."
    assert why(program(), correction, purchase()) == [said]


def returned(rules: Program, half: int = 500) -> Undone:
    """The return of a part of the only purchase."""
    _, postings = step(rules, State(), purchase())
    return Undone(Award("p", NOON, postings, weights=(1000,), returned=(half,)), half)


@pytest.mark.parametrize(
    ("policy", "spent", "text"),
    [
        ("may_go_negative", 8, f"{EARNED_10} 5."),
        ("within_balance", 8, f"{EARNED_10} 2 (not more than the balance)."),
        ("within_balance", 5, f"{EARNED_10} 5."),
    ],
)
def test_a_return(policy: str, spent: int, text: str) -> None:
    rules = program(returns={"balance": policy})
    spending = Activity("adjustment", NOON, points=-spent)
    back = Activity("return", NOON, undone=returned(rules))
    assert why(rules, back, purchase(), spending) == [text]


def test_a_return_that_takes_only_what_is_pending() -> None:
    units = {"points": {"pending": {"days": 10}}}
    rules = program(returns={"balance": "only_pending"}, units=units)
    back = Activity("return", NOON + timedelta(days=20), undone=returned(rules))
    text = f"{EARNED_10} 0 (not more than what is pending)."
    assert why(rules, back, purchase()) == [text]


STAMPS: dict[str, Any] = {"units": {"stamps": {}}}


def test_another_unit_is_named() -> None:
    rule = {"id": "s", "type": "fixed", "points": 2, "per": "unit", "unit": "stamps"}
    said = "2 for each of 3 (unit): 6 stamps."
    assert why(program(rule, **STAMPS), purchase(line(quantity=3))) == [said]


@pytest.mark.parametrize(
    ("counts", "bought", "texts"),
    [
        (
            "purchases",
            2,
            [
                "With 1 more, the count of purchases is 1; every 2 pay, not this time: 0.",
                "With 1 more, the count of purchases is 2; every 2 pay, once now: 50.",
            ],
        ),
        (
            "units",
            3,
            [
                "With 3 more, the count of units is 3; every 2 pay, once now: 50.",
                "With 3 more, the count of units is 6; every 2 pay, 2 times now: 100.",
            ],
        ),
    ],
)
def test_every_nth(counts: str, bought: int, texts: list[str]) -> None:
    rules = program({"id": "e", "type": "every_nth", "n": 2, "counts": counts, "points": 50})
    first, second = (purchase(line(quantity=bought)) for _ in range(2))
    assert why(rules, first) + why(rules, second, first) == texts


@pytest.mark.parametrize(
    ("measure", "at", "texts"),
    [
        (
            "purchases",
            2,
            [
                "With 1 more, 1 of 2 purchases are reached, not there yet: 0.",
                "With 1 more, 2 of 2 purchases are reached, the milestone pays: 50.",
            ],
        ),
        (
            "spend",
            1500,
            [
                "With 10.00 EUR more, 10.00 EUR of 15.00 EUR are reached, not there yet: 0.",
                "With 10.00 EUR more, 20.00 EUR of 15.00 EUR are reached, the milestone pays: 50.",
            ],
        ),
    ],
)
def test_a_milestone(measure: str, at: int, texts: list[str]) -> None:
    rules = program({"id": "m", "type": "milestone", "measure": measure, "at": at, "points": 50})
    assert why(rules, purchase()) + why(rules, purchase(), purchase()) == texts


def test_a_streak() -> None:
    rules = program({"id": "s", "type": "streak", "n": 2, "period": "month", "points": 50})
    april = purchase(at=NOON.replace(month=4))
    assert why(rules, purchase()) + why(rules, april, purchase()) == [
        "Bought in 1 of 2 months running, not there yet: 0.",
        "Bought in 2 of 2 months running, the streak pays: 50.",
    ]


def test_a_journey() -> None:
    rules = program({"id": "j", "type": "journey", "points": 50})
    looked = replace(engagement("view", at=NOON - timedelta(minutes=90)), skus=("milk",))
    said = (
        "50 for buying on store within 168 hours after 'view' on web (full hours between them: 1)."
    )
    assert why(rules, purchase(), looked) == [said]


def test_a_referral() -> None:
    rules = program({"id": "r", "type": "referral", "friend_points": 20, "referrer_points": 30})
    friend = purchase(about=About(is_referred=True))
    assert why(rules, friend) + why(rules, Activity("referral", NOON)) == [
        "20 for the first purchase of a member who was referred.",
        "30 for referring a member who has now bought for the first time.",
    ]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"points_max": {"day": 15}}, "The rule's limit for a day leaves 5 of them."),
        ({"points_max": {"week": 15}}, "The rule's limit for a week leaves 5 of them."),
        ({"points_max": {"month": 15}}, "The rule's limit for a month leaves 5 of them."),
        ({"points_max": {"year": 15}}, "The rule's limit for a year leaves 5 of them."),
        ({"points_max": {"lifetime": 15}}, "The rule's limit for a member leaves 5 of them."),
    ],
)
def test_a_limit_says_what_it_left(limit: dict[str, Any], words: str) -> None:
    rules = program({**BASE_RULE, **limit})
    said = "10.00 EUR at 1 for every 1.00 EUR, rounded down: 10."
    assert why(rules, purchase(), purchase()) == [f"{said} {words}"]


def test_of_two_limits_the_narrower_is_told_with_what_the_rule_itself_gave() -> None:
    rules = program({**BASE_RULE, "points_max": {"day": 8, "lifetime": 5}})
    said = "10.00 EUR at 1 for every 1.00 EUR, rounded down: 10."
    assert why(rules, purchase()) == [f"{said} The rule's limit for a member leaves 5 of them."]


def test_a_budget_says_what_it_left() -> None:
    rules = program({"id": "f", "type": "fixed", "points": 50, "budget": 1000})
    bought = purchase(budgets={"f": 20})
    said = "50 for each of 1 (unit): 50. The campaign's budget leaves 20 of them."
    assert why(rules, bought) == [said]


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Europe/Berlin", "15 March 2026"),
        ("UTC", "14 March 2026, 23:00 (UTC)"),
    ],
)
def test_pending_points_say_from_when_they_can_be_spent(zone: str, words: str) -> None:
    rules = program(time_zone="Europe/Berlin", units={"points": {"pending": {"days": 14}}})
    _, (posting,) = step(rules, State(), purchase())
    text = explain(posting, currency="EUR", zone=ZoneInfo(zone))
    said = "10.00 EUR at 1 for every 1.00 EUR, rounded down: 10."
    assert text == f"{said} Can be spent from {words} on."


LATER = NOON + timedelta(minutes=30)
HOLD = Activity("hold", NOON, points=6, key="h", expires_at=LATER)
RAN_OUT = "The hold ran out on 1 March 2026, 12:30 (UTC): 6 go back with the dates they had."
HELD = "6 set aside for a redemption until 1 March 2026, 12:30 (UTC)."


@pytest.mark.parametrize(
    ("activity", "texts"),
    [
        (HOLD, [HELD]),
        (
            Activity("capture", NOON, points=4, hold="h"),
            ["Of 6 that were set aside 4 were redeemed, 2 go back."],
        ),
        (
            Activity("release", NOON, hold="h"),
            ["The hold was released: 6 go back with the dates they had."],
        ),
        (
            Activity("passage", LATER),
            ["The hold ran out on 1 March 2026, 12:30 (UTC): 6 go back with the dates they had."],
        ),
    ],
)
def test_a_redemption(activity: Activity, texts: list[str]) -> None:
    earlier = (purchase(),) if activity is HOLD else (purchase(), HOLD)
    assert why(program(), activity, *earlier) == texts


@pytest.mark.parametrize(
    ("activity", "texts"),
    [
        (
            Activity("restore", NOON, lots=(Lot(NEVER, 6),)),
            ["The redemption was undone: 6 go back with the dates they had."],
        ),
        (
            Activity("transfer", NOON, points=6),
            ["6 went to another member with the dates they had."],
        ),
        (
            Activity("transfer", NOON, points=6, lots=(Lot(NEVER, 6),)),
            ["6 came from another member with the dates they had."],
        ),
        (
            Activity(
                "redate",
                NOON,
                redating={"points": (UnitPolicy(expiry=Expiry(months=1)), UnitPolicy())},
            ),
            ["0 moved: what is there was dated anew by the programme's new terms."],
        ),
    ],
)
def test_points_that_move(activity: Activity, texts: list[str]) -> None:
    assert why(program(), activity, purchase()) == texts


@pytest.mark.parametrize(
    ("posting", "text"),
    [
        (
            Posting("base", "correction", 5, inputs={**WAS_10, "now": 15}),
            "+5: 'base' moved 10 with the purchase e1; by what is known now it is 15.",
        ),
        (
            Posting("base", "correction", -10, inputs={**WAS_10, "now": 0}, unit="stamps"),
            "-10 stamps: 'base' moved 10 with the purchase e1; by what is known now it is 0.",
        ),
        (
            Posting("return", "clawback", -7, inputs=FALLEN),
            FALLEN_7,
        ),
        (
            Posting("return", "clawback", 2, inputs={**CLAWED, "due": -2}),
            "The purchase earned 20; the returned part of it, rounded half up, gives back 2.",
        ),
        (
            Posting("return", "clawback", -10, inputs={**CLAWED, "too_short": ["big"]}),
            TOO_SHORT_10,
        ),
        (
            # In a journal, times are text.
            Posting("redemption", "hold", -6, inputs={"expires_at": "2026-03-01T12:30:00+00:00"}),
            HELD,
        ),
    ],
)
def test_what_a_journal_holds(posting: Posting, text: str) -> None:
    assert explain(posting, currency="EUR") == text


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


def test_whatever_a_rule_can_pay_has_a_sentence() -> None:
    assert explaining._SENTENCES.keys() >= AWARDS


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
            wanted = posting.inputs.get("cut", {}).get("wanted", posting.points)
            assert recomputed(posting, each.activity, rules) == wanted


def recomputed(posting: Posting, activity: Activity, rules: Program) -> int:
    """The points that follow from a posting's inputs, for whoever reads it years later."""
    inputs, kind = posting.inputs, posting.kind
    points = getattr(rules.by_id.get(posting.rule), "points", 0)
    if kind == "spend" and inputs["per"] == "basket":
        exact = Fraction(inputs["basis"] * inputs["points"], inputs["per_amount"])
        return ROUNDINGS[inputs["rounding"]](exact)
    if kind == "multiplier":
        exact = Fraction(inputs["base"]) * (Fraction(inputs["factor"]) - 1)
        return ROUNDINGS[inputs["rounding"]](exact)
    if kind == "clawback" and inputs["policy"] == "may_go_negative":
        return -int(inputs["due"])
    if kind in COUNTED:
        return COUNTED[kind](inputs) * int(points)
    # What expired, what a line-by-line rule gave and what a poor balance could give back are
    # facts of the moment: their numbers stand in the posting itself.
    given: int = inputs.get("cut", {}).get("wanted", posting.points)
    return activity.points if kind == "adjustment" else given


# How often a rule's points were earned, by the posting's inputs.
COUNTED: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(("engagement", "nth_channel", "first_on_channel", "journey"), lambda _: 1),
    "fixed": lambda inputs: inputs["count"],
    "every_nth": lambda inputs: inputs["due"],
    "milestone": lambda inputs: inputs["count"] >= inputs["at"],
    "streak": lambda inputs: inputs["count"] >= inputs["n"],
}
