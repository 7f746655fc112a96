"""What was shown often without a click sinks, and comes up again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.fatigue import DISMISSED_DAYS, FLOOR, HALF_LIFE_DAYS, penalties
from recommend.taste import STRENGTHS, Kind, Signal

DAY = 86_400.0
AT = 200 * DAY


def seen(times: int, *, days_ago: float = 0.0, kind: Kind = "impression") -> list[Signal]:
    return [Signal(AT - days_ago * DAY, kind, "milk")] * times


def test_five_impressions_halve_it_and_a_half_life_later_it_is_half_forgotten() -> None:
    assert penalties(seen(5), AT) == pytest.approx({"milk": 0.5})
    later = penalties(seen(5, days_ago=HALF_LIFE_DAYS), AT)
    assert later == pytest.approx({"milk": 0.5**0.5})
    assert penalties(seen(500), AT) == {"milk": FLOOR}


@pytest.mark.parametrize("kind", ["view", "click", "cart", "wish", "share", "review"])
def test_whoever_took_notice_is_not_tired_of_what_came_before(kind: Kind) -> None:
    shown = seen(5, days_ago=2)
    assert penalties([*shown, *seen(1, days_ago=1, kind=kind)], AT) == {}
    again = [*seen(1, days_ago=3, kind=kind), *shown]
    assert penalties(again, AT)["milk"] < 1


def test_a_purchase_counts_as_notice() -> None:
    assert penalties(seen(5, days_ago=2), AT, bought_at={"milk": AT - DAY}) == {}


def test_what_was_dismissed_is_gone_for_ninety_days_or_until_it_is_bought() -> None:
    assert penalties(seen(1, days_ago=1, kind="dismissal"), AT) == {"milk": 0.0}
    assert penalties(seen(1, days_ago=DISMISSED_DAYS, kind="dismissal"), AT) == {}
    gone = seen(1, days_ago=5, kind="dismissal")
    assert penalties(gone, AT, bought_at={"milk": AT - DAY}) == {}


signals = st.lists(
    st.builds(
        Signal,
        st.floats(0, AT),
        st.sampled_from(sorted(STRENGTHS)),
        st.sampled_from(["a", "b"]),
    ),
    max_size=30,
)


@given(signals)
def test_a_factor_never_lifts_and_the_order_of_reports_does_not_matter(
    given_: list[Signal],
) -> None:
    found = penalties(given_, AT)
    assert all(factor == 0 or FLOOR <= factor < 1 for factor in found.values())
    assert penalties(given_[::-1], AT) == pytest.approx(found)
