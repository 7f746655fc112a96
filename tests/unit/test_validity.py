"""From when and until when points are valid: the policy of a unit and the dates it gives."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loyalty.program.lots import ALWAYS, NEVER, Lot, day_end
from loyalty.program.validity import Expiry, UnitPolicy

BERLIN, UTC_ZONE = ZoneInfo("Europe/Berlin"), ZoneInfo("UTC")
ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia")]
)
DAYS = st.dates(date(2000, 1, 1), date(2150, 1, 1))
LATELY = st.datetimes(
    datetime(2024, 1, 1),  # noqa: DTZ001  # hypothesis makes it aware
    datetime(2026, 6, 1),  # noqa: DTZ001  # same
    timezones=st.just(UTC),
)
EXPIRIES = st.one_of(
    st.just(Expiry()),
    st.builds(Expiry, months=st.integers(1, 40)),
    st.builds(Expiry, days=st.integers(1, 900)),
    st.builds(Expiry, months=st.integers(0, 5), days=st.integers(0, 40), end_of=st.just("month")),
    st.builds(Expiry, months=st.integers(0, 14), end_of=st.just("year")),
    st.builds(Expiry, months=st.integers(0, 14), each_year_on=st.sampled_from(((3, 31), (2, 29)))),
    st.builds(Expiry, on=st.just(date(2026, 12, 31))),
)


@pytest.mark.parametrize(
    ("expiry", "earned_on", "last_day"),
    [
        (Expiry(), "2026-01-10", None),
        (Expiry(idle_months=6), "2026-01-10", None),
        (Expiry(months=1), "2025-01-25", "2025-02-25"),
        (Expiry(months=1), "2025-01-31", "2025-02-28"),
        (Expiry(months=1), "2024-01-31", "2024-02-29"),
        (Expiry(months=12), "2024-02-29", "2025-02-28"),
        (Expiry(days=90), "2026-01-10", "2026-04-10"),
        (Expiry(months=1, days=3), "2026-01-31", "2026-03-03"),
        (Expiry(end_of="month"), "2026-02-10", "2026-02-28"),
        (Expiry(end_of="month"), "2024-02-29", "2024-02-29"),
        (Expiry(months=12, end_of="month"), "2026-03-31", "2027-03-31"),
        (Expiry(days=1, end_of="month"), "2026-03-31", "2026-04-30"),
        (Expiry(end_of="year"), "2026-12-31", "2026-12-31"),
        (Expiry(months=3, end_of="year"), "2026-10-01", "2027-12-31"),
        (Expiry(each_year_on=(3, 31)), "2026-03-31", "2026-03-31"),
        (Expiry(each_year_on=(3, 31)), "2026-04-01", "2027-03-31"),
        (Expiry(months=12, each_year_on=(3, 31)), "2026-04-01", "2028-03-31"),
        # 29 February is the 28th in a year without one.
        (Expiry(each_year_on=(2, 29)), "2026-01-10", "2026-02-28"),
        (Expiry(each_year_on=(2, 29)), "2026-03-01", "2027-02-28"),
        (Expiry(each_year_on=(2, 29)), "2028-02-28", "2028-02-29"),
        (Expiry(on=date(2027, 12, 31)), "2026-01-10", "2027-12-31"),
        (Expiry(on=date(2027, 12, 31)), "2027-12-31", "2027-12-31"),
    ],
)
def test_the_last_valid_day(expiry: Expiry, earned_on: str, last_day: str | None) -> None:
    expected = date.fromisoformat(last_day) if last_day else None
    assert expiry.last_day(date.fromisoformat(earned_on)) == expected


@given(EXPIRIES, DAYS)
def test_points_are_valid_on_the_day_on_which_they_are_earned(expiry: Expiry, day: date) -> None:
    last = expiry.last_day(day)
    assert last is None or last >= day


@given(EXPIRIES, DAYS, st.integers(0, 400))
def test_what_is_earned_later_is_not_lost_earlier(expiry: Expiry, day: date, later: int) -> None:
    first, second = expiry.last_day(day), expiry.last_day(day + timedelta(days=later))
    # Nothing expires at all once a fixed date for all is past.
    assert second is None or (first is not None and first <= second)


@given(EXPIRIES, LATELY, ZONES)
def test_a_lot_ends_with_its_last_day_in_the_zone(
    expiry: Expiry, earned_at: datetime, zone: ZoneInfo
) -> None:
    lot = UnitPolicy(expiry=expiry).dates(earned_at, zone)
    last = expiry.last_day(earned_at.astimezone(zone).date())
    assert lot == Lot(day_end(last, zone) if last else NEVER, 0, ALWAYS)
    assert lot.expires_at > earned_at


def test_the_day_of_earning_is_the_day_in_the_programmes_zone() -> None:
    # Half past eleven at night in UTC on the 30th is already the 31st in Berlin.
    earned_at = datetime(2025, 1, 30, 23, 30, tzinfo=UTC)
    lot = UnitPolicy(expiry=Expiry(months=2)).dates(earned_at, BERLIN)
    # The 31st of March is the last valid day; summer time has begun: midnight is 22:00 UTC.
    assert lot.expires_at == datetime(2025, 3, 31, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("policy", "active_at"),
    [
        (UnitPolicy(), ALWAYS),
        (UnitPolicy(pending_days=1), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        # The 29th of March has 23 hours.
        (UnitPolicy(pending_days=2), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        (UnitPolicy(pending_until=date(2026, 3, 28)), ALWAYS),
        (UnitPolicy(pending_until=date(2026, 4, 1)), datetime(2026, 3, 31, 22, tzinfo=UTC)),
        (
            UnitPolicy(pending_days=9, pending_until=date(2026, 4, 1)),
            datetime(2026, 4, 5, 22, tzinfo=UTC),
        ),
    ],
)
def test_pending_points_become_active_with_a_day(policy: UnitPolicy, active_at: datetime) -> None:
    assert policy.dates(datetime(2026, 3, 28, 9, tzinfo=UTC), BERLIN).active_at == active_at


@pytest.mark.parametrize(
    ("expiry", "ends_at"),
    [
        (Expiry(), None),
        (Expiry(months=1), None),
        (Expiry(idle_days=30), datetime(2026, 3, 2, 23, tzinfo=UTC)),
        (Expiry(idle_months=1), datetime(2026, 2, 28, 23, tzinfo=UTC)),
        (Expiry(idle_months=2, idle_days=1), datetime(2026, 4, 1, 22, tzinfo=UTC)),
    ],
)
def test_idle_points_last_through_the_last_day_of_the_time(
    expiry: Expiry, ends_at: datetime | None
) -> None:
    assert expiry.idle_at(datetime(2026, 1, 31, 9, tzinfo=UTC), BERLIN) == ends_at


def redated(lot: Lot, older: Expiry, newer: Expiry, *, on: str = "2026-06-01") -> Lot:
    """The lot dated anew on a day at noon."""
    at = datetime.fromisoformat(f"{on}T12:00Z")
    return UnitPolicy(expiry=newer).redated(lot, UnitPolicy(expiry=older), at=at, zone=UTC_ZONE)


def ends(day: str, points: int = 10) -> Lot:
    """A lot that is last valid on a day."""
    return Lot(day_end(date.fromisoformat(day), UTC_ZONE), points)


@pytest.mark.parametrize(
    ("lot", "older", "newer", "expected"),
    [
        (ends("2027-01-31"), Expiry(months=12), Expiry(months=24), ends("2028-01-31")),
        (ends("2027-01-31"), Expiry(months=12), Expiry(), Lot(NEVER, 10)),
        (ends("2027-01-31"), Expiry(months=12), Expiry(months=6), ends("2026-07-31")),
        # Shortened never into the past: what would have ended lives to the end of today.
        (ends("2026-07-31"), Expiry(months=12), Expiry(months=1), ends("2026-06-01")),
        # Of the days that end together the last counts: the 29th to the 31st of January.
        (ends("2027-02-28"), Expiry(months=1), Expiry(days=10), ends("2026-06-11")),
        (ends("2026-06-30"), Expiry(months=1, end_of="month"), Expiry(days=60), ends("2026-07-30")),
        # When it grew cannot be told: in doubt it was today.
        (Lot(NEVER, 10), Expiry(), Expiry(months=12), ends("2027-06-01")),
        (Lot(NEVER, -10), Expiry(months=12), Expiry(months=24), Lot(NEVER, -10)),
        # The older policy dates nothing like this: another did, and its date stays.
        (ends("2026-12-23"), Expiry(), Expiry(months=1), ends("2026-12-23")),
    ],
)
def test_a_lot_is_dated_anew_as_if_the_new_policy_had_ruled_when_it_last_grew(
    lot: Lot, older: Expiry, newer: Expiry, expected: Lot
) -> None:
    assert redated(lot, older, newer) == expected


@given(LATELY, EXPIRIES, EXPIRIES, ZONES)
def test_dating_anew_is_in_the_members_favour_and_never_into_the_past(
    earned_at: datetime, older: Expiry, newer: Expiry, zone: ZoneInfo
) -> None:
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    old, new = UnitPolicy(expiry=older), UnitPolicy(expiry=newer)
    lot = old.dates(earned_at, zone)._replace(points=10)
    if lot.expires_at <= at:
        return
    dated = new.redated(lot, old, at=at, zone=zone)
    assert dated.expires_at > at
    assert dated.expires_at >= min(
        new.dates(earned_at, zone).expires_at, new.dates(at, zone).expires_at
    )
    assert (dated.points, dated.active_at) == (lot.points, lot.active_at)


@given(
    st.datetimes(datetime(1990, 1, 3), datetime(2199, 1, 1)),  # noqa: DTZ001  # made aware below
    st.integers(1, 240),
    ZONES,
)
def test_points_live_for_the_months_they_are_promised(
    earned: datetime, months: int, zone: ZoneInfo
) -> None:
    earned_at = earned.replace(tzinfo=UTC)
    lot = UnitPolicy(expiry=Expiry(months=months)).dates(earned_at, zone)
    lived = lot.expires_at - earned_at
    assert timedelta(days=28 * months) <= lived <= timedelta(days=31 * months + 2)
