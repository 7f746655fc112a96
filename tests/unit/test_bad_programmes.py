"""Programmes that a shop might write by mistake: where the mistake is, and what it is told."""

from __future__ import annotations

from typing import Any

import pytest
from marshmallow import ValidationError

from loyalty.kit.fields import flatten
from loyalty.program.document import ProgramSchema, check, read

LADDER = [
    {"id": "bronze", "name": "Bronze", "threshold": 0},
    {"id": "silver", "name": "Silver", "threshold": 50_000},
    {"id": "gold", "name": "Gold", "threshold": 100_000, "benefits": ["Free delivery"]},
]
TIERS = {"measure": "spend", "period": "calendar", "calendar": "year", "ladder": LADDER}
GOOD: dict[str, Any] = {
    "name": "Corner shop",
    "currency": "EUR",
    "time_zone": "Europe/Berlin",
    "channels": ["store", "web", "app"],
    "units": {"stamps": {"expiry": {"months": 12}}},
    "groups": {"weekend": "best"},
    "tiers": TIERS,
    "rules": [
        {"id": "base", "type": "spend", "points": 1, "per_amount": 100},
        {"id": "tenth", "type": "every_nth", "n": 10, "points": 5, "unit": "stamps"},
        {"id": "saturday", "type": "multiplier", "factor": "2", "group": "weekend"},
    ],
}
FIXED = {"id": "new", "type": "fixed", "points": 50, "per": "basket"}
REVIEW = {"id": "new", "type": "engagement", "engagement": "review", "points": 50}
VISITS = {"id": "new", "type": "every_nth", "counts": "visits", "n": 5, "points": 50}
HELLO = {"id": "new", "type": "first_on_channel", "points": 50}
TIMES = {"id": "new", "type": "multiplier", "factor": "2"}
FRIENDS = {"id": "new", "type": "referral", "friend_points": 5, "referrer_points": 5}
JOURNEY = {"id": "new", "type": "journey", "points": 50}
PAYMENT = {"points": 100, "amount": 50}
BEGIN, END = "2026-06-01T00:00:00+02:00", "2026-07-01T00:00:00+02:00"
DEGREES = {"latitude": 52.5, "longitude": 13.4}
NAME = "Must be lower-case letters, digits, - and _, with a letter first."
NO_NAME = "A name has up to 40 lower-case letters, digits, - and _, with a letter first."
SEGMENT = "Must be lower-case letters, digits, - and _, with a letter or a digit first."
MISSING = "Missing data for required field."
CLOCK = "Must be a time of day, such as 16:00."
NEVER = "All of these are excluded: the rule could never pay."
FIXED_DATE = "One fixed date is set for all: leave this or `on` out."
SHARE = 'Must be a share up to 1 as text, such as "0.5".'
SUM = "Must be between 1 and 1000000000000."


def mistakes(document: Any) -> list[tuple[str, str]]:
    """The places of a document's mistakes and what is said there."""
    try:
        check(ProgramSchema().load(document))
    except ValidationError as error:
        return flatten(error.messages)
    return []


def test_the_programme_in_which_the_mistakes_are_made_has_none() -> None:
    assert mistakes(GOOD) == []


def when(**conditions: Any) -> dict[str, Any]:
    """A rule under conditions."""
    return {**FIXED, "when": conditions}


@pytest.mark.parametrize(
    ("rule", "place", "message"),
    [
        # What is not there.
        ({**FIXED, "unit": "stars"}, "unit", "The programme has no unit stars."),
        ({**FIXED, "group": "summer"}, "group", "The programme has no group summer."),
        (when(tiers=["gold", "platin"]), "when.tiers.1", "The programme has no tier platin."),
        (
            {**JOURNEY, "first_channels": ["till"]},
            "first_channels.0",
            "The programme has no channel till.",
        ),
        ({**FIXED, "id": "base"}, "id", "Rule 0 has the same id."),
        (
            {**TIMES, "unit": "stamps"},
            "type",
            "No spend rule pays stamps: there is nothing to multiply.",
        ),
        # Names and words.
        ({**FIXED, "group": "Week End"}, "group", NAME),
        (when(segments=["New customers"]), "when.segments.0", SEGMENT),
        (
            when(weekdays=["mon", "tues"]),
            "when.weekdays.1",
            "Must be one of: mon, tue, wed, thu, fri, sat, sun.",
        ),
        (when(weekdays=[]), "when.weekdays", "Must have 1 to 7 items."),
        (
            when(stages=["new"]),
            "when.stages.0",
            "Must be one of: acquisition, trial, loyal, at_risk, lapsed.",
        ),
        (
            when(payment=["paypal"]),
            "when.payment.0",
            "Must be one of: cash, card, wallet, invoice, gift_card, points.",
        ),
        (
            when(fulfilment=["delivered"]),
            "when.fulfilment.0",
            "Must be one of: carried, shipped, collected.",
        ),
        (when(wether="sunny"), "when.wether", "Unknown field."),
        ({**FIXED, "mode": "cut"}, "mode", "Must be one of: soft, truncate, hard."),
        (
            {**FIXED, "on_return": "drop"},
            "on_return",
            "Must be one of: proportional, while_it_holds, when_undone, keep.",
        ),
        ({**JOURNEY, "first": "review"}, "first", "Must be one of: view, cart, wish, click."),
        # Times.
        (when(starts_at=END, ends_at=BEGIN), "when.ends_at", "Must be after starts_at."),
        (when(starts_at=BEGIN, ends_at=BEGIN), "when.ends_at", "Must be after starts_at."),
        (
            when(starts_at="1 June 2026"),
            "when.starts_at",
            "Must be an RFC 3339 time with offset between 1990 and 2200: 2026-03-01T09:30:00Z.",
        ),
        (
            when(starts_at="2026-06-31T00:00:00Z"),
            "when.starts_at",
            "Is not a date and time that exists.",
        ),
        (when(hours={"from": "9:00", "to": "12:00"}), "when.hours.from", CLOCK),
        (when(hours={"from": "24:00", "to": "06:00"}), "when.hours.from", CLOCK),
        (when(hours={"from": "09:00"}), "when.hours.to", MISSING),
        (
            when(hours={"from": "09:00", "to": "09:00"}),
            "when.hours.to",
            "Must differ from the time where the hours begin.",
        ),
        (
            when(clock="store"),
            "when.clock",
            "It says whose hours and weekdays are meant, and neither is set.",
        ),
        (
            when(birthday={"days_before": 200}),
            "when.birthday.days_before",
            "Must be between 0 and 180.",
        ),
        # Numbers that cannot be.
        (
            when(basket_min_amount=5000, basket_max_amount=4000),
            "when.basket_max_amount",
            "Must not be below basket_min_amount.",
        ),
        (when(basket_min_amount=49.9), "when.basket_min_amount", "Must be a whole number."),
        (
            when(near=[{**DEGREES, "latitude": 91, "radius_m": 5000}]),
            "when.near.0.latitude",
            "Must be between -90 and 90.",
        ),
        (when(near=[DEGREES]), "when.near.0.radius_m", MISSING),
        ({**FIXED, "priority": 1001}, "priority", "Must be between -1000 and 1000."),
        ({**FIXED, "budget": 0}, "budget", SUM),
        ({**FIXED, "points_max": {"month": 0}}, "points_max.month", SUM),
        ({"id": "new", "type": "streak", "n": 4}, "points", MISSING),
        ({"id": "new", "type": "every_nth", "n": 10}, "points", MISSING),
        (
            {"id": "new", "type": "every_nth", "n": 1, "points": 5},
            "n",
            "Must be between 2 and 1000.",
        ),
        ({"id": "new", "type": "milestone", "at": 0, "points": 5}, "at", SUM),
        ({**JOURNEY, "within_hours": 2000}, "within_hours", "Must be between 1 and 1440."),
        (
            {"id": "new", "type": "nth_channel", "n": 2, "window_days": 4000, "points": 5},
            "window_days",
            "Must be between 1 and 3660.",
        ),
        # Rules that could never pay.
        (
            {"id": "new", "type": "referral"},
            "friend_points",
            "Neither the friend nor the referrer would get points.",
        ),
        (
            {**FIXED, "only": {"channels": ["web"]}, "excluding": {"channels": ["web", "app"]}},
            "only.channels",
            NEVER,
        ),
        (
            {**FIXED, "excluding": {"channels": ["web", "app", "store"]}},
            "excluding.channels",
            "All channels are excluded: the rule could never pay.",
        ),
        (
            {**FIXED, "only": {"stores": ["S1"]}, "excluding": {"stores": ["S1"]}},
            "only.stores",
            NEVER,
        ),
        (
            {**FIXED, "only": {"brands": ["Alba"]}, "excluding": {"brands": ["Alba", "Boon"]}},
            "only.brands",
            NEVER,
        ),
        (
            {**REVIEW, "when": {"basket_min_amount": 5000}},
            "when.basket_min_amount",
            "A rule of type engagement has no basket.",
        ),
        (
            {**VISITS, "when": {"payment": ["cash"]}},
            "when.payment",
            "A rule that counts visits has no basket.",
        ),
        (
            {**VISITS, "only": {"skus": ["milk"]}},
            "only.skus",
            "A rule that counts visits has no products.",
        ),
        (
            {**HELLO, "when": {"quantity_min": 2}},
            "when.quantity_min",
            "A rule of type first_on_channel has no products.",
        ),
        (
            {**FRIENDS, "only": {"skus": ["milk"]}},
            "only.skus",
            "A rule of type referral has no products.",
        ),
        (
            {**FRIENDS, "when": {"basket_min_amount": 2000}},
            "when.basket_min_amount",
            "The referrer, who is paid too, buys nothing then.",
        ),
        (
            when(first_purchase=True, stages=["loyal"]),
            "when.stages",
            "Before the first purchase a member is in acquisition.",
        ),
        (
            {**FIXED, "points_max": {"day": 40}, "mode": "hard"},
            "points_max.day",
            "One award is 50, more than 40: the rule could never pay.",
        ),
        (
            {**FIXED, "budget": 49, "mode": "hard"},
            "budget",
            "One award is 50, more than 49: the rule could never pay.",
        ),
        (
            {**FIXED, "mode": "soft"},
            "mode",
            "It says what happens at points_max or budget, and neither is set.",
        ),
        (
            {**JOURNEY, "first_channels": ["web"], "only": {"channels": ["web"]}},
            "other_channel",
            "Looking and buying both are on web: no other channel can follow.",
        ),
        # Groups.
        (
            {**FIXED, "group": "weekend"},
            "group",
            "A group is of one kind: saturday gives a factor.",
        ),
        # Conditions.
        (when(condition=True), "when.condition", "Must be text."),
        (when(condition="at.hour\t< 9"), "when.condition", "Must not contain control characters."),
        (
            when(near=[{**DEGREES, "longitude": "13.4", "radius_m": 5000}]),
            "when.near.0.longitude",
            "Must be a number.",
        ),
        (when(condition=""), "when.condition", "Must have 1 to 2000 characters."),
        (
            when(condition="basket.amont > 5000"),
            "when.condition",
            "Line 1, column 1: there is no name basket.amont: did you mean basket.amount?",
        ),
        (
            when(condition="at.hour < 12 &&\n basket.amount > '50'"),
            "when.condition",
            "Line 2, column 16: > does not go with a whole number and a text.",
        ),
        (
            when(condition="basket.amount"),
            "when.condition",
            "Line 1, column 1: a condition is a yes or no, and this is not.",
        ),
        (
            when(condition="member.tier = 'gold'"),
            "when.condition",
            "Line 1, column 13: = is not understood here: write == to compare.",
        ),
    ],
)
def test_a_rule(rule: dict[str, Any], place: str, message: str) -> None:
    # Three good rules come before it.
    document = {**GOOD, "rules": [*GOOD["rules"], rule]}
    assert mistakes(document) == [(f"rules.3.{place}", message)]


def test_a_group_of_units_that_are_not_alike() -> None:
    stamps = {**FIXED, "id": "stamps", "unit": "stamps", "group": "weekend"}
    rules = [GOOD["rules"][0], {**FIXED, "group": "weekend"}, stamps]
    mistake = "The best of points and stamps cannot be told: they are not alike."
    assert mistakes({**GOOD, "rules": rules}) == [("rules.2.group", mistake)]
    assert mistakes({**GOOD, "rules": rules, "groups": {"weekend": "first"}}) == []


def unit(**policy: Any) -> dict[str, Any]:
    """A change that makes another unit."""
    return {"units": {"stamps": {}, "coins": policy}}


def tiers(**change: Any) -> dict[str, Any]:
    """A change of the ladder."""
    return {"tiers": {**TIERS, **change}}


def ladder(*thresholds: int) -> dict[str, Any]:
    """A change of the ladder's thresholds."""
    steps = [{**tier, "threshold": at} for tier, at in zip(LADDER, thresholds, strict=True)]
    return tiers(ladder=steps)


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        ({"time_zone": "Europe/Bonn"}, "time_zone", "There is no time zone Europe/Bonn."),
        # Units and how long they last.
        ({"units": {"stamps": {}, "Gold coins": {}}}, "units.Gold coins", NO_NAME),
        (
            {"units": {"stamps": {}, **{f"u{number}": {} for number in range(8)}}},
            "units",
            "Must have at most 8 names.",
        ),
        ({"units": ["stamps"]}, "units", "Must be an object."),
        (unit(channels=["till"]), "units.coins.channels.0", "The programme has no channel till."),
        (unit(expiry={"months": 12, "on": "2027-12-31"}), "units.coins.expiry.months", FIXED_DATE),
        (
            unit(expiry={"end_of": "year", "each_year_on": "03-31"}),
            "units.coins.expiry.each_year_on",
            "The end is set by end_of already: leave one of them out.",
        ),
        (
            unit(expiry={"each_year_on": "02-30"}),
            "units.coins.expiry.each_year_on",
            "Must be a month and a day that exists, such as 03-31.",
        ),
        (unit(expiry={"on": "2027-02-29"}), "units.coins.expiry.on", "There is no such day."),
        (
            unit(expiry={"on": "31.12.2027"}),
            "units.coins.expiry.on",
            "Must be a date, such as 2027-12-31.",
        ),
        (unit(expiry={"years": 2}), "units.coins.expiry.years", "Unknown field."),
        (
            unit(pending=14),
            "units.coins.pending",
            'Must be {"days": …}, {"until": …} or "return_window".',
        ),
        (unit(pending={"days": 0}), "units.coins.pending.days", "Must be between 1 and 366."),
        (
            unit(pending={"days": 30}, expiry={"days": 29}),
            "units.coins.pending",
            "Points earned on 1 January would expire before they can be spent.",
        ),
        (
            unit(pending="return_window", expiry={"end_of": "year"}),
            "units.coins.pending",
            "Points earned on 2 December would expire before they can be spent.",
        ),
        (
            unit(pending={"until": "2027-06-01"}, expiry={"on": "2027-03-31"}),
            "units.coins.pending",
            "The points would expire on 2027-03-31 before they can be spent.",
        ),
        (
            unit(pending={"days": 30}, expiry={"idle_days": 30}),
            "units.coins.pending",
            "Points that wait 30 days can be lost as idle before.",
        ),
        (
            {
                "expires_after_months": 12,
                "units": {"stamps": {}, "points": {"expiry": {"days": 9}}},
            },
            "expires_after_months",
            "The expiry of points is set in units already.",
        ),
        (
            unit(worth={"points": 0, "amount": 1}),
            "units.coins.worth.points",
            "Must be between 1 and 1000000.",
        ),
        # Groups.
        ({"groups": {"weekend": "most"}}, "groups.weekend", "Must be one of: first, best."),
        (
            {"groups": {"weekend": "best", "summer": "best"}},
            "groups.summer",
            "No rule is in this group.",
        ),
        # The ladder.
        (
            ladder(0, 50_000, 50_000),
            "tiers.ladder.2.threshold",
            "Must be above the 50000 of silver before it.",
        ),
        (
            ladder(0, 50_000, 40_000),
            "tiers.ladder.2.threshold",
            "Must be above the 50000 of silver before it.",
        ),
        (
            ladder(1, 50_000, 100_000),
            "tiers.ladder.0.threshold",
            "The first tier is where everybody begins: it needs 0.",
        ),
        (
            tiers(ladder=[*LADDER, {"id": "gold", "name": "Gold", "threshold": 200_000}]),
            "tiers.ladder.3.id",
            "gold is named twice.",
        ),
        (tiers(ladder=[]), "tiers.ladder", "Must have 1 to 20 items."),
        (tiers(measure="points", unit="stars"), "tiers.unit", "The programme has no unit stars."),
        (tiers(unit="stamps"), "tiers.unit", "The ladder counts spend, not points of a unit."),
        (
            tiers(period="quarterly"),
            "tiers.period",
            "Must be one of: lifetime, rolling, calendar, anniversary.",
        ),
        (
            tiers(rolling_days=90),
            "tiers.rolling_days",
            "Only for the period rolling; here it is calendar.",
        ),
        (
            {"tiers": {**TIERS, "period": "lifetime"}},
            "tiers.calendar",
            "Only for the period calendar; here it is lifetime.",
        ),
        (
            {
                "tiers": {
                    "measure": "spend",
                    "period": "rolling",
                    "rolling_days": 730,
                    "ladder": LADDER,
                }
            },
            "tiers.rolling_days",
            "Must be between 1 and 366.",
        ),
        # Points as money, returns, stages.
        ({"points_payment": {**PAYMENT, "share_max": "1.2"}}, "points_payment.share_max", SHARE),
        ({"points_payment": {**PAYMENT, "share_max": 0.5}}, "points_payment.share_max", SHARE),
        (
            {"points_payment": {**PAYMENT, "share_max": "0.0"}},
            "points_payment.share_max",
            "With a share of 0 nobody can pay with points.",
        ),
        (
            {"points_payment": {**PAYMENT, "step": 5}},
            "points_payment.step",
            "5 points are no whole amount of money: take a multiple of 2.",
        ),
        (
            {"points_payment": {**PAYMENT, "unit": "stars"}},
            "points_payment.unit",
            "The programme has no unit stars.",
        ),
        ({"points_payment": {"points": 100}}, "points_payment.amount", MISSING),
        (
            {"returns": {"balance": "only_pending"}},
            "returns.balance",
            "No unit has pending points: nothing could ever be taken back.",
        ),
        (
            {"returns": {"window_days": 14}},
            "returns.window_days",
            'No unit is pending until the "return_window" is over.',
        ),
        (
            {"stages": {"at_risk_after_days": 90, "lapsed_after_days": 90}},
            "stages.lapsed_after_days",
            "A member is at risk after 90 days; lapsed must come later.",
        ),
        (
            {"stages": {"at_risk_after_days": 200}},
            "stages.lapsed_after_days",
            "A member is at risk after 200 days; lapsed must come later.",
        ),
        ({"multipliers": "sum"}, "multipliers", "Must be one of: add, multiply, best."),
    ],
)
def test_a_programme(change: dict[str, Any], place: str, message: str) -> None:
    assert mistakes({**GOOD, **change}) == [(place, message)]


@pytest.mark.parametrize(
    "change",
    [
        # They can be spent on their last day.
        unit(pending={"days": 30}, expiry={"days": 30}),
        unit(pending={"days": 30}, expiry={"idle_days": 31}),
        unit(pending="return_window", expiry={"months": 2, "end_of": "year"}),
        # The last points before one fixed date for all are always too late.
        unit(pending={"days": 30}, expiry={"on": "2027-12-31"}),
        unit(pending={"until": "2027-12-31"}, expiry={"on": "2027-12-31"}),
        unit(expiry={"each_year_on": "02-29"}),
        unit(expiry={"months": 12, "idle_months": 6}),
        ladder(0, 1, 2),
        tiers(measure="points", unit="stamps"),
        {"points_payment": PAYMENT},
        {"points_payment": {**PAYMENT, "step": 4, "share_max": "0.0001"}},
        {"returns": {"balance": "only_pending"}, "units": {"stamps": {"pending": {"days": 5}}}},
        {"returns": {"window_days": 60}, "units": {"stamps": {"pending": "return_window"}}},
        {"stages": {"at_risk_after_days": 179}},
    ],
)
def test_a_programme_just_beside_a_mistake_passes(change: dict[str, Any]) -> None:
    document: Any = {**GOOD, **change}
    assert mistakes(document) == []
    assert read(ProgramSchema().load(document), version=1).name == document["name"]


@pytest.mark.parametrize(
    "rule",
    [
        when(starts_at=BEGIN, ends_at=END),
        when(hours={"from": "22:00", "to": "06:00"}, clock="store"),
        when(hours={"from": "00:00", "to": "24:00"}),
        when(basket_min_amount=5000, basket_max_amount=5000),
        when(first_purchase=True, stages=["acquisition", "loyal"]),
        when(near=[{"latitude": -90, "longitude": 180.0, "radius_m": 1}]),
        {**FIXED, "points_max": {"day": 50}, "budget": 50, "mode": "hard"},
        {**FIXED, "only": {"skus": ["a"], "brands": ["Alba"]}, "excluding": {"skus": ["a"]}},
        {**JOURNEY, "first_channels": ["web"], "only": {"channels": ["web", "app"]}},
        {**JOURNEY, "first_channels": ["web"], "other_channel": False},
        {**HELLO, "when": {"basket_min_amount": 5000}},
        {"id": "new", "type": "referral", "referrer_points": 1},
        {**FRIENDS, "referrer_points": 0, "when": {"basket_min_amount": 2000}},
    ],
)
def test_a_rule_just_beside_a_mistake_passes(rule: dict[str, Any]) -> None:
    document: Any = {**GOOD, "rules": [*GOOD["rules"], rule]}
    assert mistakes(document) == []
    assert "new" in read(ProgramSchema().load(document), version=1).by_id
