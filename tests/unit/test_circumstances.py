"""`when`: the time, the basket, the member and the place that a rule asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from loyalty.program.circumstances import stage_of
from loyalty.program.model import About, Activity, Payment, State
from loyalty.program.step import step
from tests.builders import NOON, after, awarded, engagement, line, program, purchase

BERLIN_GATE = {"latitude": 52.5163, "longitude": 13.3777, "radius_m": 1000}


def pays(when: dict[str, Any], activity: Activity, *earlier: Activity, **frame: Any) -> bool:
    """Whether a rule with these circumstances pays for the activity."""
    kind = {"type": "fixed", "per": "basket"}
    if activity.kind == "engagement":
        kind = {"type": "engagement", "engagement": activity.engagement}
    rules = program({"id": "r", "points": 1, "when": when, **kind}, **frame)
    return awarded(rules, activity, *earlier) == 1


def bought(at: str, **more: Any) -> Activity:
    """A purchase at a moment."""
    return purchase(at=datetime.fromisoformat(at), **more)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-03-01T10:59:59.999Z", False),
        ("2026-03-01T11:00:00Z", True),
        ("2026-03-31T21:59:59.999Z", True),
        ("2026-03-31T22:00:00Z", False),
    ],
)
def test_a_rule_pays_from_its_start_and_before_its_end(at: str, *, expected: bool) -> None:
    when = {"starts_at": "2026-03-01T12:00:00+01:00", "ends_at": "2026-04-01T00:00:00+02:00"}
    assert pays(when, bought(at)) is expected


@pytest.mark.parametrize(
    ("hours", "at", "expected"),
    [
        (("16:00", "18:00"), "2026-03-02T14:59:59Z", False),
        (("16:00", "18:00"), "2026-03-02T15:00:00Z", True),
        (("16:00", "18:00"), "2026-03-02T16:59:59Z", True),
        (("16:00", "18:00"), "2026-03-02T17:00:00Z", False),
        # In summer time four in the afternoon is an hour earlier in UTC.
        (("16:00", "18:00"), "2026-07-02T14:00:00Z", True),
        (("22:00", "02:00"), "2026-03-02T21:00:00Z", True),
        (("22:00", "02:00"), "2026-03-02T23:30:00Z", True),
        (("22:00", "02:00"), "2026-03-03T00:59:59Z", True),
        (("22:00", "02:00"), "2026-03-03T01:00:00Z", False),
        (("22:00", "02:00"), "2026-03-02T20:59:59Z", False),
        (("22:00", "24:00"), "2026-03-02T22:59:59Z", True),
        (("22:00", "24:00"), "2026-03-02T23:00:00Z", False),
        (("00:00", "24:00"), "2026-03-02T23:00:00Z", True),
    ],
)
def test_hours_are_the_programmes_and_may_go_over_midnight(
    hours: tuple[str, str], at: str, *, expected: bool
) -> None:
    when = {"hours": {"from": hours[0], "to": hours[1]}}
    assert pays(when, bought(at), time_zone="Europe/Berlin") is expected


@pytest.mark.parametrize(
    ("clock", "zone", "expected"),
    [
        # At 23:30 UTC on a Sunday it is Monday in Berlin and still Sunday in New York.
        ("program", "", True),
        ("program", "America/New_York", True),
        ("store", "America/New_York", False),
        ("store", "Europe/Vienna", True),
        # A store whose zone is not known is in the programme's.
        ("store", "", True),
    ],
)
def test_a_weekday_is_the_programmes_or_the_stores(
    clock: str, zone: str, *, expected: bool
) -> None:
    when = {"weekdays": ["mon"], "clock": clock}
    activity = bought("2026-03-01T23:30:00Z", store="S1", about=About(zone=zone))
    assert pays(when, activity, time_zone="Europe/Berlin") is expected


def test_hours_in_a_store_are_on_its_own_clock() -> None:
    when = {"hours": {"from": "08:00", "to": "09:00"}, "clock": "store"}
    activity = bought("2026-03-02T13:30:00Z", about=About(zone="America/New_York"))
    assert pays(when, activity)
    assert not pays({**when, "clock": "program"}, activity)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"basket_min_amount": 3000}, True),
        ({"basket_min_amount": 3001}, False),
        ({"basket_max_amount": 3000}, True),
        ({"basket_max_amount": 2999}, False),
        ({"quantity_min": 5}, True),
        ({"quantity_min": 6}, False),
        ({"lines_min_amount": 3000}, True),
        ({"lines_min_amount": 3001}, False),
    ],
)
def test_the_basket_has_to_be_large_enough_and_not_too_large(
    when: dict[str, int], *, expected: bool
) -> None:
    basket = purchase(line(1000, quantity=2, tax=190), line(2000, sku="rye", quantity=3))
    assert pays(when, basket) is expected


@pytest.mark.parametrize(
    ("when", "points"),
    [
        ({"quantity_min": 2}, 2),
        ({"quantity_min": 3}, 0),
        ({"lines_min_amount": 1000}, 2),
        ({"lines_min_amount": 1001}, 0),
        ({"basket_min_amount": 3000}, 2),
    ],
)
def test_least_quantities_are_of_the_rules_own_lines_and_a_least_basket_of_all(
    when: dict[str, int], points: int
) -> None:
    rule = {"id": "r", "type": "fixed", "points": 1, "only": {"skus": ["milk"]}, "when": when}
    basket = purchase(line(1000, quantity=2), line(2000, sku="rye", quantity=3))
    assert awarded(program(rule), basket) == points


@pytest.mark.parametrize(
    ("methods", "expected"),
    [(("card",), True), (("cash", "wallet"), True), (("cash",), False), ((), False)],
)
def test_any_of_the_means_of_payment_will_do(methods: tuple[str, ...], *, expected: bool) -> None:
    when = {"payment": ["card", "wallet"]}
    assert pays(when, purchase(payment=Payment(methods=methods))) is expected


@pytest.mark.parametrize(
    ("fulfilment", "expected"), [("collected", True), ("shipped", False), ("", False)]
)
def test_goods_have_to_reach_the_member_in_that_way(fulfilment: str, *, expected: bool) -> None:
    assert pays({"fulfilment": ["collected"]}, purchase(fulfilment=fulfilment)) is expected


def test_a_first_purchase_is_the_first_that_was_not_wholly_returned() -> None:
    when = {"first_purchase": True}
    assert pays(when, purchase())
    assert pays(when, purchase(), engagement("visit"))
    assert not pays(when, purchase(key="b"), purchase(key="a"))


@pytest.mark.parametrize(
    ("in_days", "expected"),
    [(None, False), (8, False), (7, True), (0, True), (-2, True), (-3, False)],
)
def test_a_birthday_is_near_from_so_many_days_before_to_so_many_after(
    in_days: int | None, *, expected: bool
) -> None:
    when = {"birthday": {"days_before": 7, "days_after": 2}}
    assert pays(when, purchase(about=About(birthday_in_days=in_days))) is expected


def test_a_birthday_alone_is_the_day_itself() -> None:
    for in_days in (-1, 0, 1):
        about = About(birthday_in_days=in_days)
        assert pays({"birthday": {}}, purchase(about=about)) is (in_days == 0)


@pytest.mark.parametrize(
    ("joined_at", "on", "expected"),
    [
        ("2025-03-10T12:00Z", "2026-03-09", True),
        ("2025-03-10T12:00Z", "2026-03-10", True),
        ("2025-03-10T12:00Z", "2026-03-11", True),
        ("2025-03-10T12:00Z", "2026-03-08", False),
        ("2025-03-10T12:00Z", "2026-03-12", False),
        # The day of joining itself is no anniversary.
        ("2025-03-10T12:00Z", "2025-03-10", False),
        ("2025-03-10T12:00Z", "2025-03-11", False),
        # Late on the 9th in UTC is the 10th in Berlin.
        ("2025-03-09T23:30Z", "2026-03-11", True),
        # 29 February is the 28th in a year without one.
        ("2024-02-29T12:00Z", "2025-02-27", True),
        ("2024-02-29T12:00Z", "2025-03-01", True),
        ("2024-02-29T12:00Z", "2025-03-02", False),
        ("2024-02-29T12:00Z", "2028-03-01", True),
        ("2024-02-29T12:00Z", "2028-02-27", False),
        # Across the turn of the year.
        ("2024-12-31T12:00Z", "2026-01-01", True),
        ("2025-01-01T12:00Z", "2025-12-31", True),
    ],
)
def test_an_anniversary_of_joining_is_near(joined_at: str, on: str, *, expected: bool) -> None:
    when = {"anniversary": {"days_before": 1, "days_after": 1}}
    about = About(joined_at=datetime.fromisoformat(joined_at))
    activity = bought(f"{on}T12:00:00Z", about=about)
    assert pays(when, activity, time_zone="Europe/Berlin") is expected


def test_who_joined_when_nobody_knows_has_no_anniversary() -> None:
    assert not pays({"anniversary": {"days_before": 180, "days_after": 180}}, purchase())


@pytest.mark.parametrize(
    ("segments", "expected"),
    [({"vip"}, True), ({"staff", "vip"}, True), ({"staff"}, False), ((), False)],
)
def test_a_member_is_in_any_of_the_segments(segments: Any, *, expected: bool) -> None:
    about = About(segments=frozenset(segments))
    assert pays({"segments": ["vip", "gold"]}, purchase(about=about)) is expected


def had(*days_ago: int) -> State:
    """A member who bought so many days ago."""
    return after(program(), *(purchase(at=NOON - timedelta(days=days)) for days in days_ago))


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        (State(), "acquisition"),
        (had(10), "trial"),
        (had(20, 10), "trial"),
        (had(20, 10, 0), "loyal"),
        (had(300, 200, 59), "loyal"),
        (had(300, 200, 60), "at_risk"),
        (had(60), "at_risk"),
        (had(179), "at_risk"),
        (had(180), "lapsed"),
    ],
)
def test_where_a_member_stands_with_the_shop(state: State, stage: str) -> None:
    assert stage_of(program(), state, NOON) == stage


def test_stages_are_as_the_programme_sets_them() -> None:
    stages = {"loyal_purchases_min": 2, "at_risk_after_days": 5, "lapsed_after_days": 7}
    rules = program(stages=stages)
    assert [stage_of(rules, had(*days), NOON) for days in ((4,), (9, 4), (5,), (7,))] == [
        "trial",
        "loyal",
        "at_risk",
        "lapsed",
    ]


def test_a_stage_is_that_before_the_activity() -> None:
    assert pays({"stages": ["acquisition"]}, purchase())
    assert pays({"stages": ["trial"]}, purchase(key="b"), purchase(key="a"))
    later = NOON + timedelta(days=200)
    assert pays({"stages": ["lapsed"]}, purchase(at=later, key="b"), purchase(key="a"))
    assert pays({"stages": ["acquisition"]}, engagement("visit"))


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        # The parliament is 300 metres away, the television tower 2,200, and its degree is wrong.
        ((52.5186, 13.3763), True),
        ((52.5208, 13.4094), False),
        ((-52.5163, 13.3777), False),
        (None, False),
    ],
)
def test_a_store_lies_in_a_region(place: tuple[float, float] | None, *, expected: bool) -> None:
    assert pays({"near": [BERLIN_GATE]}, purchase(about=About(place=place))) is expected


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        # A degree of latitude is 111.2 km everywhere; one of longitude half of that at 60 degrees.
        ((0.0, 0.0), (1.0, 0.0), 111_195),
        ((60.0, 10.0), (60.0, 11.0), 55_597),
        ((0.0, 179.5), (0.0, -179.5), 111_195),
        # Berlin to Paris: 878 km.
        ((52.52, 13.405), (48.8566, 2.3522), 877_466),
    ],
)
def test_distances_are_those_over_the_earth(
    one: tuple[float, float], other: tuple[float, float], metres: int
) -> None:
    circle = {"latitude": other[0], "longitude": other[1]}
    activity = purchase(about=About(place=one))
    assert pays({"near": [{**circle, "radius_m": metres + 100}]}, activity)
    assert not pays({"near": [{**circle, "radius_m": metres - 100}]}, activity)


def test_any_of_several_regions_will_do() -> None:
    far = {"latitude": 0, "longitude": 0, "radius_m": 1}
    assert pays({"near": [far, BERLIN_GATE]}, purchase(about=About(place=(52.5163, 13.3777))))


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("basket.amount == 1000 && basket.quantity == 1 && basket.lines == 1", True),
        ("basket.tax == 190 && basket.discount == 5", True),
        ('channel == "store" && store == "S1" && kind == "purchase"', True),
        ('"card" in payment.methods && payment.gift_card == 7', True),
        ('member.stage == "acquisition" && member.purchases == 0 && member.tier == ""', True),
        ('"vip" in member.segments && member.joined_days == 10', True),
        ("at.year == 2026 && at.month == 3 && at.day == 1 && at.weekday == 7", True),
        ("at.hour == 13 && at.minute == 0", True),
        ('lines.exists(line, line.sku == "milk" && line.quantity == 1)', True),
        ('lines.exists(line, line.category == "Dairy")', False),
        ("details.rating >= 4", False),
        ("member.balance > 0", False),
    ],
)
def test_a_condition_sees_the_activity_and_the_member_before_it(
    condition: str, *, expected: bool
) -> None:
    activity = purchase(
        line(1000, tax=190, discount=5),
        store="S1",
        payment=Payment(7, 0, ("card",)),
        about=About(joined_at=NOON - timedelta(days=10, hours=5), segments=frozenset({"vip"})),
    )
    assert pays({"condition": condition}, activity, time_zone="Europe/Berlin") is expected


def test_a_condition_sees_the_details_of_an_engagement() -> None:
    when = {"condition": "details.rating >= 4 && details.has_photo"}
    good = engagement("review", details={"rating": 5, "has_photo": True})
    assert pays(when, good)
    assert not pays(when, replace(good, details={"rating": 3, "has_photo": True}))
    assert not pays(when, replace(good, details={}))


def test_all_that_is_set_must_hold() -> None:
    when = {"weekdays": ["sun"], "basket_min_amount": 1000, "segments": ["vip"]}
    about = About(segments=frozenset({"vip"}))
    assert pays(when, purchase(about=about))
    assert not pays(when, purchase(line(999), about=about))
    assert not pays(when, purchase())
    assert not pays(when, purchase(about=about, at=NOON + timedelta(days=1)))


def test_a_tier_is_asked_for_by_its_name() -> None:
    ladder = {
        "measure": "spend",
        "period": "lifetime",
        "counts_current": False,
        "ladder": [
            {"id": "basic", "name": "Basic", "threshold": 0},
            {"id": "gold", "name": "Gold", "threshold": 1000},
        ],
    }
    assert pays({"tiers": ["basic"]}, purchase(), tiers=ladder)
    assert pays({"tiers": ["gold"]}, purchase(key="b"), purchase(key="a"), tiers=ladder)
    assert not pays({"tiers": ["gold"]}, purchase(), tiers=ladder)


def test_what_a_rule_asks_for_does_not_change_what_is_counted() -> None:
    rule = {"id": "r", "type": "fixed", "points": 1, "when": {"first_purchase": True}}
    state, _ = step(program(rule), State(), purchase(at=datetime(2026, 1, 1, tzinfo=UTC)))
    assert (state.purchases, state.bought_at) == (1, datetime(2026, 1, 1, tzinfo=UTC))
