"""Feedback as it is kept: bounded reads from the index, and nothing left after an erasure."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from recommend.feedback.model import Event, key_of
from recommend.feedback.store import SHOWN_MAX, FeedbackStore
from tests.builders import NOON, dump, permit, unique
from tests.store.watching import Plan, watching

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings

MINUTE = timedelta(minutes=1)


def add(feedback: FeedbackStore, member: str, *kinds: Any, sku: str = "milk", **more: Any) -> None:
    """Events a minute apart."""
    events = [
        Event(unique("event"), member, kind, (sku,), NOON + place * MINUTE, "web", **more)
        for place, kind in enumerate(kinds)
    ]
    feedback.add({key_of("web", each.external_id): each for each in events}, at=NOON)


def test_many_impressions_push_no_act_out(parts: Parts) -> None:
    store = parts.feedback
    add(store, "m_a", "cart", *["impression"] * 300, "click", sku="milk")
    found = store.signals(permit("m_a"), limit=5)
    assert [each.kind for each in found if each.kind != "impression"] == ["cart", "click"]
    assert len(found) == SHOWN_MAX + 2
    assert found == sorted(found, key=lambda each: each.at)
    since = NOON + 299 * MINUTE
    assert len(store.signals(permit("m_a"), since=since)) == 3


def test_a_read_is_bounded_whatever_was_reported(parts: Parts, settings: Settings) -> None:
    add(parts.feedback, "m_a", *["click", "impression"] * 400)
    add(parts.feedback, "m_b", *["click"] * 50)
    with watching(settings) as watch:
        found = FeedbackStore(watch.database).signals(permit("m_a"), limit=20)
        assert len(found) == 20 + SHOWN_MAX
        plan = watch.plan()
    assert plan == Plan({"member_at"}, keys=20, documents=20, returned=20)


def test_a_days_events_are_counted_from_the_index(parts: Parts, settings: Settings) -> None:
    add(parts.feedback, "m_a", *["click", "impression"] * 20)
    add(parts.feedback, "m_b", "view")
    with watching(settings) as watch:
        store = FeedbackStore(watch.database)
        assert store.counts(["m_a", "m_b", "m_c"], NOON, NOON + 10 * MINUTE) == {
            "m_a": 10,
            "m_b": 1,
        }
        plan = watch.plan()
    assert plan.indexes == {"member_at"}
    assert plan.documents == 0


def test_a_scan_gives_everybodys_acts_and_nobody_elses(parts: Parts) -> None:
    for member in ("m_a", "m_b", "m_c"):
        add(parts.feedback, member, "click", "impression", "cart")
    found = list(parts.feedback.scan([permit("m_c"), permit("m_a")]))
    assert [(member, each.kind) for member, each in found] == [
        ("m_a", "click"),
        ("m_a", "cart"),
        ("m_c", "click"),
        ("m_c", "cart"),
    ]
    since = NOON + MINUTE
    shown = list(parts.feedback.scan([permit("m_a")], since=since, shown=True))
    assert sorted(each.kind for _, each in shown) == ["cart", "impression"]
    assert parts.feedback.signals_of([permit("m_a"), permit("m_d")]).keys() == {"m_a"}
    assert list(parts.feedback.member_ids()) == ["m_a", "m_b", "m_c"]


def test_all_of_a_member_is_shown_and_goes(parts: Parts) -> None:
    store = parts.feedback
    add(store, "m_a", "review", stars=4, store="S1", placement="home", recommendation="r.0")
    add(store, "m_b", "click")
    (held,) = store.held("m_a")
    assert (held.collection, held.category) == ("feedback", "feedback")
    document = parts.database["feedback"].find_one({"member": "m_a"}) or {}
    assert document.keys() - {"_id", "member", "is_shown"} == held.data.keys()
    assert held.id == document["_id"]
    assert store.erase("m_a") == {"feedback": 1}
    before = dump(parts.database)
    assert store.erase("m_a") == {"feedback": 0}
    assert list(store.held("m_a")) == []
    assert dump(parts.database) == before
    assert [each["member"] for each in before["feedback"]] == ["m_b"]


@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_events_come_does_not_matter(parts: Parts, seed: int) -> None:
    kinds: list[Any] = ["view", "cart", "impression", "click", "dismissal"]
    events = {
        f"k{place}": Event(f"{place}", "m_a", kind, (f"s{place}",), NOON + place * MINUTE, "web")
        for place, kind in enumerate(kinds * 4)
    }
    expected = [signal for each in events.values() for signal in each.signals()]
    arrivals = [*events, *events]
    Random(seed).shuffle(arrivals)  # noqa: S311  # a test's order
    for key in arrivals:
        parts.feedback.add({key: events[key]}, at=NOON)
    assert parts.feedback.signals(permit("m_a")) == expected


def test_what_was_there_already_is_told_and_left(parts: Parts) -> None:
    first = Event("1", "m_a", "click", ("milk",), NOON, "web")
    other = Event("2", "m_a", "click", ("tea",), NOON, "web")
    assert parts.feedback.add({"k1": first}, at=NOON) == set()
    again = first._replace(skus=("tea",))
    assert parts.feedback.add({"k1": again, "k2": other}, at=NOON) == {"k1"}
    assert parts.feedback.seen(["k1", "k2", "k3"]) == {"k1": first, "k2": other}
