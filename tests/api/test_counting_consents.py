"""Decisions are counted over time, each record once, and without a member in it."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from loyalty.counts.model import Cell
from loyalty.counts.service import counted
from loyalty.kit.clock import now
from tests.builders import mint_key
from tests.races.test_races import race

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

DAY = timedelta(days=1)
NOON = datetime.combine(date(2026, 3, 10), time(12), UTC)
PATH = "/v1/consents/counts"
PERSONAL = {"purpose": "personalisation", "channel": None, "granted": True}
MAIL = {"purpose": "marketing", "channel": "email", "granted": True}


def decided(parts: Parts, at: datetime, *decisions: dict[str, Any], method: str = "form") -> None:
    """A record as it is kept, of any time."""
    record_id = ObjectId()
    document = {"member": f"m_{record_id}", "seq": 1, "decisions": list(decisions), "flags": {}}
    parts.database["consents"].insert_one(
        {**document, "_id": record_id, "method": method, "recorded_at": at}
    )


def found(parts: Parts, at: datetime = NOON) -> dict[Cell, int]:
    """All that was ever decided, by the counts."""
    first = (at - 60 * DAY).date()
    return dict(counted(first, at.date(), "day", at=at, counts=parts.counts).totals)


def test_decisions_are_counted_by_all_that_the_shop_asks(api: Api) -> None:
    member, other = api.enrol(), api.enrol()
    api.consent(member, "personalisation")
    api.consent(other, "personalisation")
    api.consent(member, "marketing", channel="email", granted=False)
    body = api.get(PATH, expect=200).get_json()
    totals = {
        (each["purpose"], each["channel"], each["method"]): each["decisions"]
        for each in body["totals"]
    }
    assert totals == {
        ("personalisation", None, "unstated"): 2,
        ("marketing", "email", "unstated"): 1,
    }
    assert len(body["periods"]) == 30
    assert body["periods"][-1]["counts"] == body["totals"]


def test_a_status_that_is_kept_is_the_one_that_counts(parts: Parts) -> None:
    statuses = ("granted", "refused", "withdrawn", "objected", "pending")
    for status in statuses:
        decided(parts, NOON - DAY, {**PERSONAL, "granted": False, "status": status})
    decided(parts, NOON - DAY, MAIL, method="import")
    decided(parts, NOON - DAY, {**MAIL, "granted": False})
    assert found(parts) == {
        **{Cell("personalisation", None, "form", status): 1 for status in statuses},
        Cell("marketing", "email", "import", "granted"): 1,
        Cell("marketing", "email", "form", "refused"): 1,
    }


def test_days_that_are_over_are_read_once(parts: Parts) -> None:
    for number in range(1, 6):
        decided(parts, NOON - number * DAY, PERSONAL, MAIL)
    before = found(parts)
    parts.database["consents"].delete_many({"recorded_at": {"$lt": NOON - DAY}})
    assert found(parts) == before
    assert sum(before.values()) == 10
    assert parts.counts.advance(NOON.date()) == 0


def test_today_is_counted_as_it_is_asked_for(parts: Parts) -> None:
    for number in range(1, 4):
        decided(parts, NOON, PERSONAL)
        assert sum(found(parts).values()) == number
    next_day = NOON + DAY
    assert sum(found(parts, next_day).values()) == 3


def test_just_after_midnight_yesterday_is_not_closed_yet(parts: Parts) -> None:
    midnight = datetime.combine(NOON.date(), time(), UTC)
    decided(parts, midnight - timedelta(seconds=2), PERSONAL)
    early = midnight + timedelta(minutes=1)
    assert sum(found(parts, early).values()) == 1
    # Still under way at midnight, and written after it.
    decided(parts, midnight - timedelta(seconds=1), PERSONAL)
    assert sum(found(parts, early).values()) == 2
    assert sum(found(parts, NOON).values()) == 2


def test_many_who_ask_at_once_count_nothing_twice(parts: Parts) -> None:
    for number in range(1, 40):
        decided(parts, NOON - number * DAY, PERSONAL)
    answers = race([lambda: found(parts) for _ in range(8)])
    assert {sum(each.values()) for each in answers} == {39}
    assert sum(found(parts).values()) == 39


def test_counting_reads_an_index_and_only_the_days_it_needs(parts: Parts) -> None:
    for number in range(1, 50):
        decided(parts, NOON - number * DAY, PERSONAL)
    found(parts)
    end = datetime.combine(NOON.date(), time(), UTC)
    plan = parts.database.command(
        "explain",
        {"find": "consents", "filter": {"recorded_at": {"$gte": end, "$lt": end + DAY}}},
        verbosity="executionStats",
    )
    assert plan["executionStats"]["totalDocsExamined"] == 0
    assert plan["executionStats"]["totalKeysExamined"] <= 1


def test_spans_and_steps_are_held_to_their_bounds(api: Api) -> None:
    query = {"from": "2026-01-01", "to": "2026-03-31", "step": "month"}
    months = api.get(PATH, expect=200, query_string=query).get_json()["periods"]
    assert [each["from"] for each in months] == ["2026-01-01", "2026-02-01", "2026-03-01"]
    backward = {"from": "2026-03-02", "to": "2026-03-01"}
    assert api.get(PATH, expect=409, query_string=backward).get_json()["code"] == "backward_span"
    long = {"from": "2000-01-01", "to": "2026-03-01"}
    assert api.get(PATH, expect=409, query_string=long).get_json()["code"] == "too_many_periods"
    for name, value in (("from", "2026-02-30"), ("to", "yesterday"), ("step", "hour")):
        mistake = api.get(PATH, expect=422, query_string={name: value}).get_json()
        assert mistake["errors"][0]["field"] == name


@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/csv"])
def test_no_member_is_in_it(api: Api, kind: str) -> None:
    member = api.enrol(("email", "ada@example.org"))
    api.consent(member, "personalisation")
    text = api.get(PATH, headers={"Accept": kind}, expect=200).get_data(as_text=True)
    assert "ersonalisation" in text
    assert not re.search("m_[0-9a-f]{32}|ada@", text)


def test_it_is_a_page_without_script_and_a_table(api: Api) -> None:
    api.consent(api.enrol(), "marketing", channel="email")
    page = api.get(PATH, headers={"Accept": "text/html"}, expect=200)
    text = page.get_data(as_text=True)
    assert "<svg" in text
    assert "<script" not in text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    sheet = api.get(PATH, headers={"Accept": "text/csv"}, expect=200).get_data(as_text=True)
    rows = list(csv.reader(io.StringIO(sheet, newline="")))
    today = now().date().isoformat()
    assert rows[1:] == [[today, today, "marketing", "email", "unstated", rows[1][5], "1"]]


def test_only_who_may_sees_it(api: Api, parts: Parts) -> None:
    api.speaking_with(mint_key(parts, "consents:read")).get(PATH, expect=403)
