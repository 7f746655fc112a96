"""A programme's document: every mistake has its exact place and a sentence anyone understands."""

from __future__ import annotations

from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from marshmallow import ValidationError

from loyalty.kit.fields import flatten
from loyalty.program.condition import compile_condition
from loyalty.program.document import ProgramSchema, check, read
from loyalty.program.model import (
    ENGAGEMENTS,
    Basis,
    EveryNthRule,
    JourneyRule,
    Match,
    MilestoneRule,
    MultiplierRule,
    PointsPayment,
    Program,
    ReferralRule,
    Region,
    ReturnPolicy,
    Rule,
    SpendRule,
    Stages,
    StreakRule,
    When,
)
from loyalty.program.tiers import Ladder, Tier
from loyalty.program.validity import Expiry, UnitPolicy
from tests.builders import BASE_RULE, program, program_document
from tests.strategies import compiled, documents

SPEND = BASE_RULE
TIMES = {"id": "m", "type": "multiplier", "factor": "1.5"}
FIXED = {"id": "f", "type": "fixed", "points": 5}
REVIEW = {"id": "e", "type": "engagement", "engagement": "review", "points": 5}
NTH = {"id": "n", "type": "nth_channel", "n": 2, "window_days": 30, "points": 5}
HELLO = {"id": "h", "type": "first_on_channel", "points": 5}
ALIVE = {
    "id": "a",
    "type": "channels_multiplier",
    "channels_min": 2,
    "window_days": 30,
    "factor": "2",
}
FACTOR = 'Must be a number from 1 to 999.999 as text, such as "1.5".'
NAME = "Must be lower-case letters, digits, - and _, with a letter first."
ROUNDINGS = "Must be one of: floor, half_up, ceiling."
MISSING = "Missing data for required field."
RULE_TYPES = (
    "Must be one of: spend, multiplier, channels_multiplier, fixed, engagement, nth_channel, "
    "first_on_channel, every_nth, milestone, streak, journey, referral."
)
TENTH = {"id": "t", "type": "every_nth", "n": 10, "points": 5}
MILESTONE = {"id": "s", "type": "milestone", "at": 5, "points": 5}
STREAK = {"id": "w", "type": "streak", "n": 4, "points": 5}
JOURNEY = {"id": "j", "type": "journey", "points": 5}
FRIENDS = {"id": "r", "type": "referral", "friend_points": 5}


def mistakes(document: Any) -> list[tuple[str, str]]:
    """The places of a document's mistakes and what is said there."""
    try:
        check(ProgramSchema().load(document))
    except ValidationError as error:
        return flatten(error.messages)
    return []


@pytest.mark.parametrize(
    ("rule", "place", "message"),
    [
        ({**TIMES, "factor": 1.5}, "factor", FACTOR),
        ({**TIMES, "factor": "0.5"}, "factor", FACTOR),
        ({**TIMES, "factor": "1,5"}, "factor", FACTOR),
        ({**TIMES, "factor": "1.5\n"}, "factor", "Must not contain control characters."),
        ({**TIMES, "factor": "1000"}, "factor", FACTOR),
        ({**TIMES, "factor": None}, "factor", "Field may not be null."),
        ({"id": "m", "type": "multiplier"}, "factor", MISSING),
        ({**SPEND, "points": 0}, "points", "Must be between 1 and 1000000."),
        ({**SPEND, "points": "1"}, "points", "Must be a whole number."),
        ({**SPEND, "points": True}, "points", "Must be a whole number."),
        ({**SPEND, "points": 1.5}, "points", "Must be a whole number."),
        ({**SPEND, "per_amount": 0}, "per_amount", "Must be between 1 and 1000000000."),
        ({**SPEND, "rounding": "up"}, "rounding", ROUNDINGS),
        ({**SPEND, "per": "unit"}, "per", "Must be one of: basket, line."),
        ({**SPEND, "amount_min": -1}, "amount_min", "Must be between 0 and 1000000000000."),
        ({**SPEND, "basis": {"with_tax": "yes"}}, "basis.with_tax", "Must be true or false."),
        ({**SPEND, "basis": {"tax": True}}, "basis.tax", "Unknown field."),
        ({**SPEND, "points_per": 3}, "points_per", "Unknown field."),
        ({**SPEND, "id": "Base Rule"}, "id", NAME),
        ({**SPEND, "id": ""}, "id", "Must have 1 to 40 characters."),
        ({**SPEND, "type": "cashback"}, "type", RULE_TYPES),
        ({"id": "x"}, "type", RULE_TYPES),
        ({**SPEND, "type": ["spend"]}, "type", RULE_TYPES),
        ("spend", "", "Must be an object."),
        ({**FIXED, "per": "kilo"}, "per", "Must be one of: unit, line, basket."),
        ({**FIXED, "times_max": {"day": 0}}, "times_max.day", "Must be between 1 and 1000."),
        ({**FIXED, "times_max": {"hour": 1}}, "times_max.hour", "Unknown field."),
        ({**FIXED, "only": {"skus": "milk"}}, "only.skus", "Must be a list."),
        ({**FIXED, "only": {"skus": [1]}}, "only.skus.0", "Must be text."),
        ({**FIXED, "only": {"skus": ["a", ""]}}, "only.skus.1", "Must have 1 to 64 characters."),
        ({**FIXED, "excluding": {"colour": ["red"]}}, "excluding.colour", "Unknown field."),
        (
            {**REVIEW, "engagement": "like"},
            "engagement",
            f"Must be one of: {', '.join(ENGAGEMENTS)}.",
        ),
        ({**NTH, "n": 1}, "n", "Must be between 2 and 32."),
        ({**NTH, "window_days": 0}, "window_days", "Must be between 1 and 3660."),
        ({**NTH, "n": 5}, "n", "The programme has only 4 channels."),
        ({**ALIVE, "channels_min": 5}, "channels_min", "The programme has only 4 channels."),
        (
            {**TIMES, "only": {"channels": ["web", "ap"]}},
            "only.channels.1",
            "The programme has no channel ap.",
        ),
        (
            {**HELLO, "excluding": {"channels": ["till"]}},
            "excluding.channels.0",
            "The programme has no channel till.",
        ),
        (
            {**REVIEW, "only": {"skus": ["milk"]}},
            "only.skus",
            "A rule of type engagement has no products.",
        ),
        (
            {**HELLO, "excluding": {"brands": ["Alba"]}},
            "excluding.brands",
            "A rule of type first_on_channel has no products.",
        ),
        (
            {**NTH, "only": {"categories": ["Food"]}},
            "only.categories",
            "A rule of type nth_channel has no products.",
        ),
    ],
)
def test_a_mistake_in_a_rule(rule: Any, place: str, message: str) -> None:
    # Two good rules come before it, so its place is rules.2.
    good = [{**SPEND, "id": "good-0"}, {**FIXED, "id": "good-1"}]
    document = {**program_document(), "rules": [*good, rule]}
    assert mistakes(document) == [(f"rules.2.{place}".rstrip("."), message)]


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ({"currency": "eur"}, "currency", "Must be three capital letters, such as EUR."),
        ({"currency": "€"}, "currency", "Must be three capital letters, such as EUR."),
        ({"time_zone": "Berlin"}, "time_zone", "There is no time zone Berlin."),
        ({"channels": []}, "channels", "Must have 1 to 32 items."),
        ({"channels": ["web", "The Shop"]}, "channels.1", NAME),
        ({"channels": ["web", "app", "web"]}, "channels.2", "web is named twice."),
        ({"channels": {"web": 1}}, "channels", "Must be a list."),
        ({"rules": None}, "rules", "Field may not be null."),
        ({"rules": [SPEND] * 201}, "rules", "Must have 0 to 200 items."),
        ({"rules": [FIXED, SPEND, FIXED]}, "rules.2.id", "Rule 0 has the same id."),
        ({"expires_after_months": 0}, "expires_after_months", "Must be between 1 and 240."),
        ({"expires_after_months": 6.0}, "expires_after_months", "Must be a whole number."),
        ({"unknown_identifier": "ask"}, "unknown_identifier", "Must be one of: enrol, refuse."),
        (
            {"returns": {"balance": "never"}},
            "returns.balance",
            "Must be one of: only_pending, within_balance, may_go_negative.",
        ),
        ({"returns": {"rounding": "down"}}, "returns.rounding", ROUNDINGS),
        ({"name": ""}, "name", "Must have 1 to 100 characters."),
        ({"colour": "red"}, "colour", "Unknown field."),
    ],
)
def test_a_mistake_in_the_document(change: dict[str, Any], place: str, message: str) -> None:
    ((where, what),) = mistakes({**program_document(), **change})
    assert (where, what) == (place, message)


@pytest.mark.parametrize("name", ["name", "currency", "channels", "rules"])
def test_what_must_be_there(name: str) -> None:
    document = program_document()
    del document[name]
    assert mistakes(document) == [(name, MISSING)]


def test_all_mistakes_are_told_at_once() -> None:
    document = program_document({**FIXED, "points": 0}, {**TIMES, "factor": "x"}, currency="euros")
    assert {place for place, _ in mistakes(document)} == {
        "currency",
        "rules.0.points",
        "rules.1.factor",
    }


def test_mistakes_between_the_parts_are_told_at_once_too() -> None:
    document = program_document(
        {**NTH, "n": 9},
        {**NTH, "only": {"channels": ["till"], "skus": ["milk"]}},
        time_zone="Mars/Base",
    )
    assert {place for place, _ in mistakes(document)} == {
        "time_zone",
        "rules.0.n",
        "rules.1.id",
        "rules.1.only.channels.0",
        "rules.1.only.skus",
    }


@pytest.mark.parametrize("document", [None, [], "shop", 3])
def test_what_is_not_an_object_is_no_programme(document: Any) -> None:
    assert mistakes(document) == [("body", "Invalid input type.")]


@pytest.mark.parametrize(
    "rule",
    [TIMES, FIXED, REVIEW, NTH, HELLO, ALIVE, TENTH, MILESTONE, STREAK, JOURNEY, FRIENDS],
)
def test_the_smallest_rule_of_each_type_passes(rule: dict[str, Any]) -> None:
    assert mistakes(program_document(SPEND, rule)) == []


def test_a_programme_may_have_no_rules_yet() -> None:
    assert program(rules=[]).rules == ()


@given(documents())
def test_every_document_of_the_generator_passes(document: dict[str, Any]) -> None:
    # It may happen to draw rules that pay nobody: of those nothing else may be said.
    pointless = ("there is nothing to multiply", "could never pay", "has no basket")
    assert [each for each in mistakes(document) if not any(x in each[1] for x in pointless)] == []


@given(documents())
def test_a_document_that_was_loaded_loads_again_to_the_same_programme(
    document: dict[str, Any],
) -> None:
    loaded: Any = ProgramSchema().load(document)
    assert compiled(loaded) == compiled(document)


def test_what_is_left_out_has_its_default() -> None:
    rules = program(TIMES, SPEND)
    assert rules == Program(
        version=1,
        name="Test shop",
        currency="EUR",
        channels=frozenset({"store", "web", "app", "social"}),
        rules=(
            SpendRule("base", points=1, per_amount=100, basis=Basis()),
            MultiplierRule("m", factor=Fraction(3, 2)),
        ),
        returns=ReturnPolicy("may_go_negative", "half_up", "line", 30),
        enrols_unknown=True,
        units={"points": UnitPolicy()},
        multipliers="add",
        groups={},
        ladder=None,
        stages=Stages(3, 60, 180),
        payment=None,
    )


def test_what_is_given_arrives() -> None:
    loaded: Any = ProgramSchema().load(
        program_document(
            {**FIXED, "only": {"skus": ["a"]}, "excluding": {"stores": ["S1"]}},
            unknown_identifier="refuse",
            expires_after_months=6,
            time_zone="Europe/Berlin",
            returns={"balance": "within_balance", "rounding": "ceiling"},
        )
    )
    rules = read(loaded, version=7)
    assert rules.version == 7
    assert not rules.enrols_unknown
    assert rules.units == {"points": UnitPolicy(expiry=Expiry(months=6))}
    assert rules.zone.key == "Europe/Berlin"
    assert rules.returns == ReturnPolicy("within_balance", "ceiling")
    assert rules.rules[0].only == Match(skus=frozenset({"a"}))
    assert rules.rules[0].excluding == Match(stores=frozenset({"S1"}))


def test_factors_are_exact() -> None:
    _, rule = program(SPEND, {**TIMES, "factor": "1.1"}).rules
    assert isinstance(rule, MultiplierRule)
    assert rule.factor == Fraction(11, 10)


WHEN: dict[str, Any] = {
    "starts_at": "2026-06-01T00:00:00+02:00",
    "ends_at": "2026-07-01T00:00:00Z",
    "weekdays": ["sun", "mon"],
    "hours": {"from": "16:00", "to": "18:30"},
    "clock": "store",
    "basket_min_amount": 1000,
    "basket_max_amount": 9000,
    "lines_min_amount": 500,
    "quantity_min": 2,
    "payment": ["card", "wallet"],
    "fulfilment": ["collected"],
    "first_purchase": True,
    "birthday": {"days_before": 3},
    "anniversary": {"days_before": 1, "days_after": 7},
    "tiers": ["gold"],
    "segments": ["vip"],
    "stages": ["acquisition"],
    "near": [{"latitude": 52, "longitude": 13.4, "radius_m": 900}],
    "condition": "basket.lines > 2 &&\n at.hour < 20",
}
TIERS = {
    "measure": "points",
    "unit": "stamps",
    "period": "rolling",
    "rolling_days": 90,
    "entry": "at_review",
    "grace_days": 30,
    "counts_current": False,
    "on_return": "keep",
    "ladder": [
        {"id": "all", "name": "All", "threshold": 0},
        {"id": "gold", "name": "Gold", "threshold": 10, "benefits": ["Free delivery"]},
    ],
}


def test_all_conditions_arrive() -> None:
    rules = program({**FIXED, "when": WHEN}, tiers=TIERS, units={"stamps": {}})
    assert rules.by_id["f"].when == When(
        starts_at=datetime(2026, 5, 31, 22, tzinfo=UTC),
        ends_at=datetime(2026, 7, 1, tzinfo=UTC),
        weekdays=frozenset({7, 1}),
        hours=(960, 1110),
        clock="store",
        basket_min=1000,
        basket_max=9000,
        lines_min=500,
        quantity_min=2,
        payment=frozenset({"card", "wallet"}),
        fulfilment=frozenset({"collected"}),
        first_purchase=True,
        birthday=(3, 0),
        anniversary=(1, 7),
        tiers=frozenset({"gold"}),
        segments=frozenset({"vip"}),
        stages=frozenset({"acquisition"}),
        regions=(Region(52.0, 13.4, 900),),
        condition=compile_condition(WHEN["condition"]),
    )
    assert rules.ladder == Ladder(
        (Tier("all", "All", 0), Tier("gold", "Gold", 10, ("Free delivery",))),
        measure="points",
        period="rolling",
        unit="stamps",
        rolling_days=90,
        entry="at_review",
        grace_days=30,
        counts_current=False,
        on_return="keep",
    )


def test_the_limits_of_a_rule_arrive() -> None:
    limits = {
        "unit": "stamps",
        "priority": -3,
        "group": "one",
        "times_max": {"year": 5},
        "points_max": {"lifetime": 100},
        "budget": 1000,
        "mode": "soft",
        "on_return": "while_it_holds",
    }
    rules = program({**FIXED, **limits}, units={"stamps": {}}, groups={"one": "first"})
    rule = rules.by_id["f"]
    assert {name: getattr(rule, name) for name in limits} == limits
    assert rules.groups == {"one": "first"}


@pytest.mark.parametrize(
    ("document", "rule"),
    [
        (
            {**TENTH, "counts": "units"},
            EveryNthRule("t", n=10, counts="units", points=5),
        ),
        (
            {**MILESTONE, "measure": "spend"},
            MilestoneRule("s", measure="spend", at=5, points=5),
        ),
        ({**STREAK, "period": "day"}, StreakRule("w", period="day", n=4, points=5)),
        (
            {
                **JOURNEY,
                "first": "cart",
                "first_channels": ["web", "app"],
                "within_hours": 48,
                "same": False,
                "other_channel": False,
            },
            JourneyRule(
                "j",
                first="cart",
                first_channels=frozenset({"web", "app"}),
                within_hours=48,
                same=False,
                other_channel=False,
                points=5,
            ),
        ),
        (JOURNEY, JourneyRule("j", points=5)),
        ({**FRIENDS, "referrer_points": 9}, ReferralRule("r", friend_points=5, referrer_points=9)),
        (
            {**SPEND, "basis": {"order_discounts_earn": True, "coupons_earn": True}},
            SpendRule("base", basis=Basis(order_discounts_earn=True, coupons_earn=True)),
        ),
    ],
)
def test_a_rule_arrives(document: dict[str, Any], rule: Rule) -> None:
    assert program(document).rules == (rule,)


@pytest.mark.parametrize(
    ("document", "policy"),
    [
        ({}, UnitPolicy()),
        ({"pending": {"days": 14}}, UnitPolicy(pending_days=14)),
        ({"pending": {"until": "2027-01-01"}}, UnitPolicy(pending_until=date(2027, 1, 1))),
        ({"pending": "return_window"}, UnitPolicy(pending_days=45)),
        ({"channels": ["web"]}, UnitPolicy(channels=frozenset({"web"}))),
        ({"worth": {"points": 200, "amount": 100}}, UnitPolicy(worth=(100, 200))),
        (
            {"expiry": {"months": 3, "days": 2, "each_year_on": "03-31", "idle_days": 90}},
            UnitPolicy(expiry=Expiry(months=3, days=2, each_year_on=(3, 31), idle_days=90)),
        ),
        (
            {"expiry": {"end_of": "month", "idle_months": 6}},
            UnitPolicy(expiry=Expiry(end_of="month", idle_months=6)),
        ),
        (
            {"expiry": {"on": "2027-12-31"}},
            UnitPolicy(expiry=Expiry(on=date(2027, 12, 31))),
        ),
    ],
)
def test_a_unit_arrives(document: dict[str, Any], policy: UnitPolicy) -> None:
    units = {"other": {"pending": "return_window"}, "coins": document}
    rules = program(units=units, returns={"window_days": 45})
    assert rules.units["coins"] == policy
    assert set(rules.units) == {"points", "other", "coins"}


def test_the_short_form_of_the_expiry_keeps_what_else_is_said_of_the_main_unit() -> None:
    units = {"points": {"pending": {"days": 5}, "channels": ["web"]}}
    rules = program(units=units, expires_after_months=12)
    assert rules.units["points"] == UnitPolicy(
        pending_days=5, expiry=Expiry(months=12), channels=frozenset({"web"})
    )


@pytest.mark.parametrize(
    ("change", "step"), [({}, 2), ({"step": 10}, 10), ({"points": 7, "amount": 5}, 7)]
)
def test_points_are_paid_in_steps_of_whole_money(change: dict[str, int], step: int) -> None:
    payment: Any = {"points": 100, "amount": 50, **change, "share_max": "0.3", "unit": "coins"}
    rules = program(points_payment=payment, units={"coins": {}})
    share = Fraction(3, 10)
    points, amount = payment["points"], payment["amount"]
    assert rules.payment == PointsPayment(points, amount, step, share, "coins")


def test_rules_are_asked_by_stage_then_by_priority_then_in_the_order_of_the_document() -> None:
    rules = program(
        {**HELLO, "id": "hello"},
        {**TIMES, "id": "late-factor", "priority": -1},
        {**FIXED, "id": "egg"},
        {**ALIVE, "id": "factor"},
        {**SPEND, "id": "spend"},
        {**REVIEW, "id": "review", "priority": 5},
        {**SPEND, "id": "spend-first", "priority": 1},
    )
    assert [rule.id for rule in rules.rules] == [
        "spend-first",
        "spend",
        "factor",
        "late-factor",
        "review",
        "hello",
        "egg",
    ]


def test_a_document_of_everything_is_kept_as_it_was_written() -> None:
    document = program_document(
        {**SPEND, "basis": {"with_tax": True}},
        {**FIXED, "when": WHEN, "group": "one"},
        tiers=TIERS,
        units={"stamps": {"pending": {"until": "2027-01-01"}, "expiry": {"on": "2027-12-31"}}},
        groups={"one": "first"},
    )
    loaded: Any = ProgramSchema().load(document)
    assert ProgramSchema().load(loaded) == loaded
    assert loaded["rules"][1]["when"] == {**WHEN, "birthday": {"days_before": 3, "days_after": 0}}
    assert loaded["units"] == document["units"]
