"""Tiers: where a member stands on a ladder, by period, entry, grace and returns."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import bson
import pytest
from bson.codec_options import CodecOptions
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.lots import day_start
from loyalty.program.tiers import (
    GRACE_DAYS_MAX,
    ROLLING_DAYS_MAX,
    Ladder,
    Standing,
    Tier,
    counted,
    from_list,
    next_tier,
    standing_at,
    tier_of,
    to_list,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

BRONZE, SILVER, GOLD = TIERS = (
    Tier("bronze", "Bronze", 0),
    Tier("silver", "Silver", 100, ("free shipping",)),
    Tier("gold", "Gold", 200),
)
BERLIN = ZoneInfo("Europe/Berlin")
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


def when(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    """A local time, such as `2026-03-01` (its first moment) or `2026-03-01 18:30`."""
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def ladder(period: Any, **more: Any) -> Ladder:
    return Ladder(**{"tiers": TIERS, "measure": "spend", "period": period, **more})


class Event(NamedTuple):
    """An amount at a moment; a return counts on the day of its purchase."""

    at: datetime
    amount: int
    on: datetime | None = None


class Member:
    """A member of one ladder, to whom one thing happens after the other."""

    def __init__(
        self, steps: Ladder, *, zone: ZoneInfo = BERLIN, joined_at: datetime | None = None
    ) -> None:
        self.steps = steps
        self.zone = zone
        self.joined_at = joined_at
        self.standing: Standing | None = None

    def does(self, text: str, amount: int, *, on: str | None = None) -> str:
        return self.meets(
            Event(when(text, self.zone), amount, None if on is None else when(on, self.zone))
        )

    def meets(self, event: Event) -> str:
        self.standing = counted(
            self.steps,
            self.standing,
            event.amount,
            event.at,
            on=event.on,
            zone=self.zone,
            joined_at=self.joined_at,
        )
        return self.standing.tier

    def at(self, moment: datetime) -> Standing:
        return standing_at(
            self.steps, self.standing, moment, zone=self.zone, joined_at=self.joined_at
        )

    def tier(self, text: str) -> str:
        return self.at(when(text, self.zone)).tier


# Lifetime.


@pytest.mark.parametrize(
    ("spent", "more", "tier"),
    [
        (0, 6000, "Bronze"),
        (0, 15000, "Silver"),
        (0, 25000, "Gold"),
        (4000, 500, "Bronze"),
        (8000, 3000, "Silver"),
        (18000, 3000, "Gold"),
        (22000, 5000, "Gold"),
    ],
)
def test_tiers_by_total_spend(spent: int, more: int, tier: str) -> None:
    # ERPNext, loyalty programme with tiers by total spend.
    steps = ladder(
        "lifetime",
        tiers=(Tier("b", "Bronze", 0), Tier("s", "Silver", 10000), Tier("g", "Gold", 20000)),
    )
    member = Member(steps)
    member.does("2026-01-01", spent)
    member.does("2026-02-01", more)
    assert tier_of(steps, member.at(when("2026-02-01"))).name == tier


def test_a_lifetime_tier_is_for_life_and_knows_since_when() -> None:
    member = Member(ladder("lifetime"))
    assert member.does("2026-01-05", 99) == "bronze"
    assert member.does("2026-01-06", 1) == "silver"
    assert member.does("2026-01-07", 50) == "silver"
    assert member.at(when("2099-01-01")).since == when("2026-01-06")
    assert member.tier("2099-01-01") == "silver"


def test_a_return_takes_a_lifetime_tier_at_once_without_grace() -> None:
    member = Member(ladder("lifetime"))
    member.does("2026-01-05", 250)
    assert member.does("2026-02-01", -100) == "silver"
    assert member.at(when("2026-02-01")).since == when("2026-02-01")


def test_a_return_takes_a_lifetime_tier_when_the_grace_is_over() -> None:
    member = Member(ladder("lifetime", grace_days=30))
    member.does("2026-01-05", 250)
    # The clocks change in between: it is the time of day that counts.
    assert member.does("2026-03-10 14:00", -200) == "gold"
    assert member.tier("2026-04-09 13:59") == "gold"
    assert member.at(when("2026-04-09 13:59")).falls_at == when("2026-04-09 14:00")
    assert member.tier("2026-04-09 14:00") == "bronze"


def test_what_is_reached_again_within_the_grace_is_kept() -> None:
    member = Member(ladder("lifetime", grace_days=30))
    member.does("2026-01-05", 200)
    member.does("2026-02-01", -50)
    assert member.does("2026-02-20", 50) == "gold"
    assert member.at(when("2026-06-01")).falls_at is None
    assert member.at(when("2026-06-01")).since == when("2026-01-05")


def test_the_fall_leads_to_what_is_earned_by_then() -> None:
    member = Member(ladder("lifetime", grace_days=30))
    member.does("2026-01-05", 200)
    member.does("2026-02-01", -200)
    assert member.does("2026-02-20", 120) == "gold"
    assert member.tier("2026-03-03") == "silver"


@pytest.mark.parametrize("period", ["lifetime", "rolling", "calendar", "anniversary"])
def test_returns_can_leave_the_standing_as_it_is(period: str) -> None:
    member = Member(ladder(period, on_return="keep"))
    member.does("2026-01-05", 250)
    before = member.at(when("2026-02-01"))
    assert member.does("2026-02-01", -250) == "gold"
    assert member.at(when("2026-02-01")) == before


@pytest.mark.parametrize("period", ["lifetime", "rolling", "calendar", "anniversary"])
def test_no_amount_falls_below_zero(period: str) -> None:
    member = Member(ladder(period))
    member.does("2026-01-05", 50)
    member.does("2026-01-05", -80)
    assert member.at(when("2026-01-05")).amount == 0
    assert member.does("2026-01-05", 100) == "silver"


@pytest.mark.parametrize("period", ["lifetime", "rolling"])
def test_without_periods_the_review_is_on_the_first_of_a_month(period: str) -> None:
    member = Member(ladder(period, entry="at_review"))
    assert member.does("2026-03-20", 250) == "bronze"
    assert member.tier("2026-03-31 23:59") == "bronze"
    assert member.tier("2026-04-01") == "gold"
    assert member.at(when("2026-07-01")).since == when("2026-04-01")


# Rolling.


def test_a_day_counts_for_the_rolling_days_and_then_no_more() -> None:
    member = Member(ladder("rolling", rolling_days=30))
    # 1 March to 30 March are 30 days; the clocks change on the 29th.
    assert member.does("2026-03-01 20:00", 100) == "silver"
    assert member.tier("2026-03-30 23:59") == "silver"
    assert member.tier("2026-03-31") == "bronze"
    assert member.at(when("2026-05-01")).since == when("2026-03-31")
    assert member.at(when("2026-05-01")).days == ()


def test_a_rolling_tier_falls_step_by_step() -> None:
    member = Member(ladder("rolling", rolling_days=30))
    member.does("2026-04-01", 100)
    assert member.does("2026-04-11", 100) == "gold"
    assert [member.tier(day) for day in ("2026-04-30", "2026-05-01", "2026-05-11")] == [
        "gold",
        "silver",
        "bronze",
    ]


def test_a_rolling_tier_falls_when_the_grace_is_over() -> None:
    member = Member(ladder("rolling", rolling_days=30, grace_days=10))
    member.does("2026-04-01", 150)
    # Short from 1 May on, so due on 11 May.
    assert member.at(when("2026-05-01")).falls_at == when("2026-05-11")
    assert member.tier("2026-05-10 23:59") == "silver"
    assert member.tier("2026-05-11") == "bronze"
    assert member.does("2026-05-09", 100) == "silver"
    assert member.tier("2026-05-11") == "silver"


def test_in_rolling_days_only_the_raise_waits_for_the_review() -> None:
    member = Member(ladder("rolling", rolling_days=40, entry="at_review"))
    member.does("2026-03-20", 100)
    assert member.tier("2026-04-01") == "silver"
    # 20 March plus 40 days.
    assert member.tier("2026-04-28 23:59") == "silver"
    assert member.tier("2026-04-29") == "bronze"


def test_what_has_left_by_the_review_does_not_raise() -> None:
    member = Member(ladder("rolling", rolling_days=10, entry="at_review"))
    member.does("2026-03-20", 100)
    assert member.tier("2026-04-01") == "bronze"
    assert member.tier("2027-04-01") == "bronze"


def test_a_return_counts_on_the_day_of_its_purchase() -> None:
    member = Member(ladder("rolling", rolling_days=30))
    member.does("2026-04-01", 100)
    member.does("2026-04-20", 100)
    assert member.does("2026-04-21", -60, on="2026-04-01") == "silver"
    assert member.at(when("2026-04-21")).days == (("2026-04-01", 40), ("2026-04-20", 100))
    # The other 40 leave with 1 April: what is left is the whole of 20 April.
    assert member.tier("2026-05-01") == "silver"
    assert member.does("2026-05-02", -40, on="2026-04-01") == "silver"
    assert member.at(when("2026-05-02")).amount == 100


def test_what_lies_before_the_rolling_days_changes_nothing() -> None:
    member = Member(ladder("rolling", rolling_days=30))
    assert member.does("2026-05-01", 100, on="2026-04-01") == "bronze"
    assert member.at(when("2026-05-01")).days == ()
    assert member.does("2026-05-01", 100, on="2026-04-02") == "silver"


def test_nothing_counts_for_a_day_to_come() -> None:
    member = Member(ladder("rolling", rolling_days=30))
    member.does("2026-05-01", 100, on="2026-05-02")
    assert member.at(when("2026-05-01")).days == (("2026-05-01", 100),)


def test_the_days_are_those_of_the_zone() -> None:
    steps = ladder("rolling", rolling_days=1)
    moment = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
    auckland = Member(steps, zone=ZoneInfo("Pacific/Auckland"))
    auckland.meets(Event(moment, 100))
    # 00:30 on 2 March there, thirteen hours ahead.
    assert auckland.at(moment).days == (("2026-03-02", 100),)
    assert auckland.at(moment).until == datetime(2026, 3, 2, 11, tzinfo=UTC)


# Calendar.


def test_what_a_year_earned_is_kept_through_the_next() -> None:
    member = Member(ladder("calendar"))
    assert member.does("2025-12-31 23:59", 200) == "gold"
    assert member.tier("2026-12-31 23:59") == "gold"
    assert member.tier("2027-01-01") == "bronze"


def test_a_review_sets_what_the_closed_period_earned() -> None:
    member = Member(ladder("calendar"))
    member.does("2025-06-01", 200)
    assert member.does("2026-06-01", 120) == "gold"
    assert member.tier("2027-01-01") == "silver"
    assert member.at(when("2027-01-01")).amount == 0
    assert member.at(when("2027-01-01")).amount_before == 120


def test_at_review_raises_only_when_the_period_ends() -> None:
    member = Member(ladder("calendar", entry="at_review"))
    assert member.does("2026-02-01", 200) == "bronze"
    assert next_tier(member.steps, member.at(when("2026-02-01"))) == (SILVER, 0)
    assert member.tier("2026-12-31 23:59") == "bronze"
    assert member.at(when("2027-06-01")).since == when("2027-01-01")
    assert member.tier("2027-12-31 23:59") == "gold"
    assert member.tier("2028-01-01") == "bronze"


@pytest.mark.parametrize(
    ("calendar", "first", "last", "next_first"),
    [
        ("year", "2024-01-01", "2024-12-31", "2025-01-01"),
        ("half_year", "2024-01-01", "2024-06-30", "2024-07-01"),
        ("half_year", "2024-07-01", "2024-12-31", "2025-01-01"),
        ("quarter", "2024-01-01", "2024-03-31", "2024-04-01"),
        ("quarter", "2024-10-01", "2024-12-31", "2025-01-01"),
        ("month", "2024-02-01", "2024-02-29", "2024-03-01"),
    ],
)
def test_the_amount_is_that_of_the_period(
    calendar: str, first: str, last: str, next_first: str
) -> None:
    member = Member(ladder("calendar", calendar=calendar))
    member.does(f"{first} 00:00", 60)
    assert member.does(f"{last} 23:59", 60) == "silver"
    assert member.at(when(f"{last} 23:59")).period == first
    member.does(f"{next_first} 00:00", 7)
    after = member.at(when(next_first))
    assert (after.period, after.amount, after.amount_before) == (next_first, 7, 120)


def test_a_fall_at_a_review_takes_effect_after_the_grace() -> None:
    member = Member(ladder("calendar", grace_days=31))
    member.does("2025-06-01", 200)
    assert member.at(when("2027-01-15")).falls_at == when("2027-02-01")
    assert member.tier("2027-01-31 23:59") == "gold"
    assert member.at(when("2027-05-01")).since == when("2027-02-01")
    assert member.tier("2027-02-01") == "bronze"


@pytest.mark.parametrize("entry", ["at_once", "at_review"])
def test_within_the_grace_the_new_period_can_save_the_tier(entry: str) -> None:
    member = Member(ladder("calendar", grace_days=31, entry=entry))
    member.does("2025-06-01", 200)
    member.tier("2026-01-01")
    member.does("2026-01-01", 0)
    assert member.does("2027-01-20", 200) == "gold"
    assert member.tier("2028-12-31 23:59") == "gold"


def test_a_grace_longer_than_the_period_ends_when_a_later_one_suffices() -> None:
    member = Member(ladder("calendar", calendar="month", grace_days=45))
    member.does("2026-01-10", 200)
    # January carries February. March begins short of gold, so the fall is due on 15 April.
    assert member.at(when("2026-03-01")).falls_at == when("2026-04-15")
    assert member.tier("2026-04-14") == "gold"
    assert member.tier("2026-04-15") == "bronze"
    assert member.does("2026-04-14", 200) == "gold"
    # April carries May, so short from 1 June, due on 16 July.
    assert member.at(when("2026-06-01")).falls_at == when("2026-07-16")


def test_a_return_within_the_period_takes_what_it_had_earned() -> None:
    member = Member(ladder("calendar"))
    member.does("2025-06-01", 100)
    assert member.does("2026-02-01", 200) == "gold"
    # 2025 still carries silver.
    assert member.does("2026-03-01", -150, on="2026-02-01") == "silver"
    assert member.tier("2027-01-01") == "bronze"


def test_a_return_of_a_closed_period_changes_nothing_in_this_one() -> None:
    member = Member(ladder("calendar"))
    member.does("2025-12-31 23:59", 200)
    member.does("2026-01-10", 100)
    before = member.at(when("2026-01-11"))
    assert member.does("2026-01-11", -200, on="2025-12-31 23:59") == "gold"
    assert member.at(when("2026-01-11")) == before
    member.does("2026-01-12", -40, on="2026-01-01")
    assert member.at(when("2026-01-12")).amount == 60


# Anniversary.


def test_a_year_begins_on_the_day_of_joining() -> None:
    member = Member(ladder("anniversary"), joined_at=when("2025-05-17 18:00"))
    assert member.does("2026-05-16 23:59", 100) == "silver"
    assert member.does("2026-05-17 00:00", 50) == "silver"
    assert member.at(when("2026-05-17")).period == "2026-05-17"
    assert member.at(when("2026-05-17")).amount == 50
    assert member.tier("2027-05-16 23:59") == "silver"
    assert member.tier("2027-05-17") == "bronze"


def test_who_joined_on_a_leap_day_begins_at_the_end_of_february() -> None:
    member = Member(ladder("anniversary"), joined_at=when("2024-02-29"))
    periods = [
        member.at(when(day)).period
        for day in ("2025-02-27", "2025-02-28", "2028-02-28", "2028-02-29", "2029-02-28")
    ]
    assert periods == ["2024-02-29", "2025-02-28", "2027-02-28", "2028-02-29", "2029-02-28"]


def test_the_day_of_joining_is_one_of_the_zone() -> None:
    member = Member(ladder("anniversary"), joined_at=datetime(2025, 5, 17, 22, 30, tzinfo=UTC))
    assert member.at(when("2026-06-01")).period == "2026-05-18"


def test_without_a_day_of_joining_the_year_is_the_calendar_s() -> None:
    member = Member(ladder("anniversary", calendar="month"))
    member.does("2026-05-17", 100)
    assert member.at(when("2026-05-17")).period == "2026-01-01"
    assert member.tier("2027-12-31") == "silver"
    assert member.tier("2028-01-01") == "bronze"


# What is shown, and other versions.


def test_a_new_member_is_in_the_lowest_tier_since_joining() -> None:
    member = Member(ladder("lifetime"), joined_at=when("2026-01-05"))
    standing = member.at(when("2026-03-01"))
    assert (standing.tier, standing.since, standing.amount) == ("bronze", when("2026-01-05"), 0)
    assert Member(ladder("lifetime")).at(when("2026-03-01")).since == when("2026-03-01")


def test_the_next_tier_and_what_is_missing() -> None:
    member = Member(ladder("lifetime"))
    member.does("2026-01-05", 30)
    assert next_tier(member.steps, member.at(when("2026-01-05"))) == (SILVER, 70)
    member.does("2026-01-06", 90)
    assert next_tier(member.steps, member.at(when("2026-01-06"))) == (GOLD, 80)
    member.does("2026-01-07", 90)
    assert next_tier(member.steps, member.at(when("2026-01-07"))) is None


def test_an_id_of_another_version_is_worked_out_afresh() -> None:
    old = ladder("lifetime", tiers=(Tier("basic", "Basic", 0), Tier("plus", "Plus", 150)))
    member = Member(old)
    assert member.does("2026-01-05", 170) == "plus"
    held = member.at(when("2026-01-05"))
    member.steps = ladder("lifetime")
    assert tier_of(member.steps, held) == SILVER
    assert next_tier(member.steps, held) == (GOLD, 30)
    assert member.tier("2026-02-01") == "silver"
    assert member.does("2026-02-02", 30) == "gold"


def test_a_fall_from_a_tier_of_another_version_is_no_longer_due() -> None:
    tiers = (Tier("basic", "Basic", 0), Tier("plus", "Plus", 150))
    member = Member(ladder("lifetime", tiers=tiers, grace_days=30))
    member.does("2026-01-05", 150)
    assert member.does("2026-02-01", -30) == "plus"
    member.steps = ladder("lifetime", grace_days=30)
    assert member.at(when("2026-02-02")).falls_at is None
    assert member.tier("2026-06-01") == "silver"


@pytest.mark.parametrize("kept_until", [("calendar", "2027-01-01"), ("rolling", "2027-02-01")])
def test_another_kind_of_ladder_keeps_the_tier_as_if_just_reached(
    kept_until: tuple[str, str],
) -> None:
    period, end = kept_until
    member = Member(ladder("lifetime"))
    member.does("2020-01-05", 150)
    member.steps = ladder(period)
    assert member.does("2026-02-01", 10) == "silver"
    assert member.at(when("2026-02-01")).since == when("2020-01-05")
    assert member.at(when(end) - timedelta(seconds=1)).tier == "silver"
    assert member.tier(end) == "bronze"


def test_other_points_are_not_taken_for_these() -> None:
    member = Member(ladder("lifetime", measure="points", unit="miles"))
    member.does("2026-01-05", 199)
    member.steps = ladder("lifetime", measure="points")
    assert member.does("2026-01-06", 1) == "silver"
    assert member.at(when("2026-01-06")).amount == 101


@pytest.mark.parametrize(
    "wrong",
    [
        {"tiers": ()},
        {"tiers": (SILVER, GOLD)},
        {"tiers": (BRONZE, GOLD, SILVER)},
        {"tiers": (BRONZE, SILVER, SILVER)},
        {"tiers": (BRONZE, Tier("bronze", "Bronze", 10))},
        {"rolling_days": 0},
        {"rolling_days": ROLLING_DAYS_MAX + 1},
        {"grace_days": -1},
        {"grace_days": GRACE_DAYS_MAX + 1},
    ],
)
def test_what_is_no_ladder_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"(ladder|threshold)"):
        ladder("lifetime", **wrong)


@pytest.mark.parametrize("period", ["lifetime", "rolling", "calendar", "anniversary"])
@pytest.mark.parametrize(
    "moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)]
)
def test_no_moment_is_too_far(period: str, moment: datetime) -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Pago_Pago"):
        member = Member(
            ladder(period, grace_days=GRACE_DAYS_MAX), zone=ZoneInfo(zone), joined_at=moment
        )
        member.meets(Event(moment, 150))
        assert member.meets(Event(moment, -20, moment)) == "silver"
        assert member.at(moment).amount == 130


# Properties.

ZONES = ("UTC", "Europe/Berlin", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe")
START = datetime(2023, 11, 1, tzinfo=UTC)
HOURS = 24 * 1200
moments = st.one_of(
    st.integers(0, HOURS).map(lambda hours: START + timedelta(hours=hours)),
    # Edges of days and months are where it could go wrong.
    st.builds(
        lambda month, zone, seconds: (
            day_start(date(2024 + month // 12, month % 12 + 1, 1), ZoneInfo(zone))
            + timedelta(seconds=seconds)
        ),
        st.integers(0, 36),
        st.sampled_from(ZONES),
        st.sampled_from((-1, 0, 1)),
    ),
)


@st.composite
def members(draw: st.DrawFn) -> Member:
    """A new member of any ladder."""
    steps = ladder(
        draw(st.sampled_from(("lifetime", "rolling", "calendar", "anniversary"))),
        rolling_days=draw(st.sampled_from((1, 7, 30, 365, 366))),
        calendar=draw(st.sampled_from(("year", "half_year", "quarter", "month"))),
        entry=draw(st.sampled_from(("at_once", "at_review"))),
        grace_days=draw(st.sampled_from((0, 1, 31, 100, 366))),
    )
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    return Member(steps, zone=zone, joined_at=draw(st.none() | moments))


@st.composite
def lives(draw: st.DrawFn, *, purchases_max: int = 12) -> list[Event]:
    """Purchases and some returns of them, in their order; no more comes back than was bought."""
    bought = [
        Event(at, draw(st.integers(1, 150)))
        for at in draw(st.lists(moments, max_size=purchases_max))
    ]
    returned = [
        Event(at, -draw(st.integers(1, purchase.amount)), purchase.at)
        for purchase in bought
        if (at := draw(st.none() | moments)) is not None and at > purchase.at
    ]
    return sorted([*bought, *returned], key=lambda event: event.at)


def lived(member: Member, events: Sequence[Event]) -> Member:
    for event in events:
        member.meets(event)
    return member


@given(members(), lives(), moments, st.lists(moments, max_size=6))
def test_time_passes_in_any_steps_with_the_same_result(
    member: Member, events: list[Event], end: datetime, stops: list[datetime]
) -> None:
    lived(member, [event for event in events if event.at <= end])
    at_once = member.at(end)
    last_at = max((event.at for event in events if event.at <= end), default=START)
    # Before anything happened, it is the first look that a member without joining begins at.
    looks = [at for at in sorted(stops) if last_at <= at <= end and member.standing]
    for at in looks:
        member.standing = member.at(at)
    assert member.at(end) == at_once


@given(members(), lives(), st.lists(moments, max_size=6))
def test_looking_in_between_changes_nothing(
    member: Member, events: list[Event], looks: list[datetime]
) -> None:
    plain = lived(Member(member.steps, zone=member.zone, joined_at=member.joined_at), events)
    for event in sorted([*events, *(Event(at, 0) for at in looks)], key=lambda each: each.at):
        if event.amount or member.standing:
            member.meets(event)
    end = START + timedelta(hours=HOURS + 24 * 366)
    assert not events or member.at(end) == plain.at(end)


@given(members(), lives(), moments, st.permutations([10, 60, 120]))
def test_the_order_of_purchases_at_one_time_does_not_matter(
    member: Member, events: list[Event], at: datetime, amounts: list[int]
) -> None:
    lived(member, [event for event in events if event.at <= at])
    before = member.standing
    lived(member, [Event(at, amount) for amount in sorted(amounts)])
    in_order, member.standing = member.standing, before
    assert lived(member, [Event(at, amount) for amount in amounts]).standing == in_order


@given(members(), lives(), moments)
def test_the_order_of_two_purchases_of_one_day_does_not_matter(
    member: Member, events: list[Event], at: datetime
) -> None:
    day = at.astimezone(member.zone).date()
    morning, evening = (
        datetime(day.year, day.month, day.day, hour, tzinfo=member.zone) for hour in (8, 20)
    )
    lived(member, [event for event in events if event.at < morning])
    before = member.standing
    one = lived(member, [Event(morning, 70), Event(evening, 40)]).at(evening)
    member.standing = before
    other = lived(member, [Event(morning, 40), Event(evening, 70)]).at(evening)
    # Only since when a tier is held can tell them apart.
    assert (one.tier, one.amount, one.days, one.period, one.falls_at) == (
        other.tier,
        other.amount,
        other.days,
        other.period,
        other.falls_at,
    )


@given(members(), lives(), moments)
def test_a_standing_reads_back_from_bson(member: Member, events: list[Event], at: datetime) -> None:
    standing = lived(member, events).at(at)
    document = bson.decode(bson.encode({"tier": to_list(standing)}), OPTIONS)
    assert from_list(document["tier"]) == standing


@given(st.sampled_from((1, 7, 366)), st.integers(1, 3), st.sampled_from(ZONES))
def test_a_standing_stays_small(rolling_days: int, step_days: int, zone: str) -> None:
    member = Member(ladder("rolling", rolling_days=rolling_days), zone=ZoneInfo(zone))
    for day in range(0, 800, step_days):
        member.meets(Event(START + timedelta(days=day), 1))
        assert member.standing is not None
        assert len(member.standing.days) <= rolling_days
        assert member.standing.amount == sum(amount for _, amount in member.standing.days)
    packed = bson.encode({"tier": to_list(member.at(START + timedelta(days=800)))})
    assert len(packed) <= 200 + 20 * rolling_days


@given(members(), lives(purchases_max=30).flatmap(st.permutations))
def test_facts_out_of_order_keep_a_standing_small_and_whole(
    member: Member, events: list[Event]
) -> None:
    for event in events:
        member.meets(event)
        assert member.standing is not None
        days = [day for day, _ in member.standing.days]
        assert days == sorted(set(days))
        if days:
            first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
            assert (last - first).days < member.steps.rolling_days
            assert member.standing.amount == sum(amount for _, amount in member.standing.days)
        assert member.standing.amount >= 0


def justified(member: Member, events: Sequence[Event], at: datetime) -> int:
    """The plain answer: the rank that what counts at a moment reaches, day by day."""
    zone, steps = member.zone, member.steps
    days = [
        ((event.on or event.at).astimezone(zone).date(), event.at, event.amount)
        for event in events
        if event.at <= at
    ]
    today = at.astimezone(zone).date()
    if steps.period == "lifetime":
        return steps.rank_for(sum(amount for _, _, amount in days))
    if steps.period == "rolling":
        since = today - timedelta(days=steps.rolling_days - 1)
        return steps.rank_for(sum(amount for day, _, amount in days if since <= day <= today))
    start = first_day(member, today)
    before = first_day(member, start - timedelta(days=1))
    now = sum(amount for day, _, amount in days if day >= start)
    # A return after a period's end changes nothing there.
    closed = sum(
        amount
        for day, moment, amount in days
        if before <= day < start and moment.astimezone(zone).date() < start
    )
    return steps.rank_for(max(now, closed))


def first_day(member: Member, day: date) -> date:
    """Back, one day at a time, to the day on which a period begins."""
    steps, joined_at = member.steps, member.joined_at
    months = {"year": (1,), "half_year": (1, 7), "quarter": (1, 4, 7, 10)}
    joined = None if joined_at is None else joined_at.astimezone(member.zone).date()
    while True:
        if steps.period == "anniversary" and joined:
            leaps = (joined.month, joined.day) == (2, 29) and (day + timedelta(days=1)).day == 1
            if (day.month, day.day) == (joined.month, joined.day) or (leaps and day.month == 2):
                return day
        elif day.day == 1:
            calendar = "year" if steps.period == "anniversary" else steps.calendar
            if calendar == "month" or day.month in months[calendar]:
                return day
        day -= timedelta(days=1)


@given(members(), lives(purchases_max=6), moments)
def test_a_tier_is_never_above_what_the_amount_justifies_plus_grace(
    member: Member, events: list[Event], at: datetime
) -> None:
    events = [event for event in events if event.at <= at]
    standing = lived(member, events).at(at)
    rank = member.steps.ranks[standing.tier]
    # What was justified within the grace, looked at on each day and after each event.
    since = at - timedelta(days=member.steps.grace_days, hours=2)
    looks = [at, *(event.at for event in events if event.at >= since)]
    looks += [at - timedelta(days=day) for day in range(1, member.steps.grace_days + 1)]
    assert rank <= max(justified(member, events, look) for look in looks)
    if standing.falls_at is None:
        assert rank <= justified(member, events, at)
    if member.steps.entry == "at_once":
        assert rank >= justified(member, events, at)


@given(lives(), st.sampled_from(("at_once", "at_review")))
def test_a_lifetime_amount_is_the_sum_of_all(events: list[Event], entry: str) -> None:
    member = Member(ladder("lifetime", entry=entry))
    amounts = list(accumulate(event.amount for event in events))
    for event, amount in zip(events, amounts, strict=True):
        member.meets(event)
        assert member.at(event.at).amount == amount


def test_many_years_pass_in_a_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # A bound on the work, not on the time: each step looks up a start of a day or two.
    looked_up: list[date] = []

    def counting(day: date, zone: ZoneInfo) -> datetime:
        looked_up.append(day)
        return day_start(day, zone)

    monkeypatch.setattr("loyalty.program.tiers.day_start", counting)
    for period in ("rolling", "calendar", "anniversary"):
        member = Member(ladder(period, calendar="month", grace_days=366))
        for day in range(400):
            member.meets(Event(START + timedelta(days=day), 1))
        looked_up.clear()
        assert member.tier("2900-01-01") == "bronze"
        assert len(looked_up) < 25
        looked_up.clear()
        assert member.standing is not None
        assert member.at(START + timedelta(days=399, minutes=1)) is member.standing
        assert not looked_up
