"""Who looked at a member's data is written down, beside the requests, and the member sees it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import AutoReconnect

from loyalty.access import model as keys
from loyalty.access.model import Caller
from loyalty.accesslog import watch as watch_module
from loyalty.accesslog.model import KEPT_MAX, Place, Tally
from loyalty.accesslog.watch import Watch
from loyalty.kit.clock import now
from tests.builders import Api, dump, enrolled, mint_key, purchase_body
from tests.races.test_races import race

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Flask

    from app import Parts
    from loyalty.accesslog.store import AccessLog

PROGRAMME = "loyalty_programme"
TILL = Caller("till7", frozenset())


@pytest.fixture(autouse=True)
def purposes(app: Flask) -> None:
    """The views of these tests say what they use data for, whatever others say."""
    wanted = {
        "members.show": PROGRAMME,
        "members.lookup": PROGRAMME,
        "points.show_points": PROGRAMME,
        "points.post_purchase": PROGRAMME,
        "picks.list_picks": "marketing",
    }
    for endpoint, purpose in wanted.items():
        view: Any = app.view_functions[endpoint]
        view._carnet_access = view._carnet_access._replace(purpose=purpose)


@pytest.fixture
def watch(app: Flask) -> Watch:
    found: Watch = app.extensions["carnet"][Watch]
    return found


def looks(api: Api, watch: Watch, member: str, **query: Any) -> list[tuple[str, str, int]]:
    """The log of a member, without the looks at the log itself: purpose, route, times."""
    watch.flush()
    path = f"/v1/members/{member}/access-log"
    found = api.get(path, expect=200, query_string=query).get_json()["looks"]
    return [
        (each["purpose"], each["route"].rpartition("/")[2], each["times"])
        for each in found
        if not each["route"].endswith("/access-log")
    ]


def test_reads_of_a_day_are_one_line_with_their_number(shop: Api, watch: Watch) -> None:
    member = shop.enrol()
    for _ in range(3):
        shop.get(f"/v1/members/{member}/points", expect=200)
    assert looks(shop, watch, member) == [(PROGRAMME, "points", 3)]


def test_a_line_names_the_key_and_when(shop: Api, parts: Parts, watch: Watch) -> None:
    member = shop.enrol()
    key, text = keys.mint("Till 7", frozenset({"points:read"}), at=now(), channel=None, store=None)
    parts.keys.add(key)
    before = now()
    shop.speaking_with(text).get(f"/v1/members/{member}/points", expect=200)
    watch.flush()
    line = shop.get(f"/v1/members/{member}/access-log", expect=200).get_json()["looks"][0]
    assert (line["key_id"], line["key_name"]) == (key.id, "Till 7")
    assert before <= datetime.fromisoformat(line["first_at"]) <= now()
    assert line["first_at"] == line["last_at"]
    assert line["day"] == line["first_at"][:10]


def test_what_a_member_is_found_by_in_a_body_is_a_look_too(shop: Api, watch: Watch) -> None:
    member = shop.enrol(("card", "4711"))
    body = {"identifier": {"type": "card", "value": "4711"}}
    shop.post("/v1/members/lookup", body, expect=200)
    entry = shop.buy(member)["entry_id"]
    shop.get(f"/v1/entries/{entry}", expect=200)
    assert sorted(looks(shop, watch, member)) == [
        (PROGRAMME, "<entry_id>", 1),
        (PROGRAMME, "lookup", 1),
        (PROGRAMME, "purchases", 1),
    ]


def test_staff_alone_look_for_the_purpose_that_the_member_agreed_to(
    shop: Api, parts: Parts, watch: Watch
) -> None:
    member = shop.enrol()
    shop.consent(member, "staff_view")
    entry = shop.buy(member)["entry_id"]
    watch.flush()
    parts.database["access_log"].delete_many({})
    staff = shop.speaking_with(mint_key(parts, "staff:read"))
    desk = shop.speaking_with(mint_key(parts, "staff:read", "journal:read"))
    for each in (staff, desk):
        each.get(f"/v1/entries/{entry}", expect=200)
    staff.get(f"/v1/members/{member}/journal", expect=200)
    assert sorted(looks(shop, watch, member)) == [
        (PROGRAMME, "<entry_id>", 1),
        ("staff_view", "<entry_id>", 1),
        ("staff_view", "journal", 1),
    ]


def test_a_stream_of_picks_is_a_look_at_each_member_in_it(
    shop: Api, parts: Parts, watch: Watch
) -> None:
    member, silent = shop.enrol(("email", "ada@example.org")), shop.enrol()
    shop.consent(member, "marketing", channel="email")
    shop.get("/v1/picks?channel=email", expect=200).get_data()
    watch.flush()
    found = parts.database["access_log"].find({"purpose": "marketing"})
    assert {each["member"] for each in found} <= {member}
    assert looks(shop, watch, silent) == []


def test_members_who_look_at_their_own_data_are_not_written_down(shop: Api, watch: Watch) -> None:
    member = shop.enrol()
    token = shop.post(f"/v1/members/{member}/token", {}, expect=201).get_json()["token"]
    own = shop.speaking_with(token)
    own.get(f"/v1/members/{member}/points", expect=200)
    own.get(f"/v1/members/{member}/access-log", expect=200)
    # The shop's own call for the token is one.
    assert [line[1] for line in looks(shop, watch, member)] == ["token"]
    assert [line[1] for line in looks(own, watch, member)] == ["token"]


def test_a_refusal_shows_nothing_so_it_is_no_look(shop: Api, parts: Parts, watch: Watch) -> None:
    member, unknown = shop.enrol(), f"m_{'0' * 32}"
    shop.get(f"/v1/members/{unknown}/points", expect=404)
    weak = shop.speaking_with(mint_key(parts, "catalogue:read"))
    weak.get(f"/v1/members/{member}/points", expect=403)
    shop.post("/v1/purchases", {**purchase_body(member), "currency": "USD"}, expect=409)
    watch.flush()
    assert parts.database["access_log"].count_documents({}) == 0


def test_a_read_costs_no_write_of_its_own(shop: Api, parts: Parts) -> None:
    member = shop.enrol()
    before = dump(parts.database)
    shop.get(f"/v1/members/{member}/points", expect=200)
    assert dump(parts.database) == before


def test_another_member_s_log_is_closed_to_a_token(shop: Api) -> None:
    member, other = shop.enrol(), shop.enrol()
    token = shop.post(f"/v1/members/{member}/token", {}, expect=201).get_json()["token"]
    shop.speaking_with(token).get(f"/v1/members/{other}/access-log", expect=403)
    answer = shop.get(f"/v1/members/m_{'0' * 32}/access-log", expect=404)
    assert answer.get_json()["code"] == "member_not_found"


def test_pages_show_each_line_once_newest_day_first(shop: Api, parts: Parts) -> None:
    member = shop.enrol()
    days = [datetime(2026, 3, number, 9, tzinfo=UTC) for number in range(1, 8)]
    parts.accesslog.add(
        {Place(member, "k", PROGRAMME, "/x", at.date()): Tally(1, at, at) for at in days}
    )
    found, query = [], {"limit": 3}
    for _ in range(4):
        path = f"/v1/members/{member}/access-log"
        page = shop.get(path, expect=200, query_string=query).get_json()
        found += [each["day"] for each in page["looks"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [f"2026-03-{number:02}" for number in range(7, 0, -1)]
    shop.get(f"/v1/members/{member}/access-log?cursor=_w", expect=404)


def test_looks_of_many_threads_and_workers_all_count(parts: Parts) -> None:
    member, workers = enrolled(parts), [Watch(parts.accesslog) for _ in range(2)]

    def look(worker: Watch) -> None:
        for _ in range(50):
            worker.note(TILL, member, PROGRAMME, "/points")
            worker.note(TILL, member, "marketing", "/picks")
        worker.flush()

    race([partial(look, each) for each in workers * 4])
    found = parts.accesslog.page(member, before=None, limit=10)
    assert {each.place.purpose: each.tally.times for each in found} == {
        PROGRAMME: 400,
        "marketing": 400,
    }


def test_a_graceful_stop_writes_everything_down(app: Flask, parts: Parts, watch: Watch) -> None:
    member = enrolled(parts)
    app.start_background()  # type: ignore[attr-defined]
    try:
        for _ in range(5):
            watch.note(TILL, member, PROGRAMME, "/points")
    finally:
        app.stop_background()  # type: ignore[attr-defined]
    assert sum(each.tally.times for each in parts.accesslog.page(member, before=None, limit=9)) == 5


class _Away:
    """A log whose database is away."""

    def add(self, _: Mapping[Place, Tally]) -> None:
        raise AutoReconnect


def test_looks_wait_while_the_database_is_away(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, watch = enrolled(parts), Watch(parts.accesslog)
    watch.note(TILL, member, PROGRAMME, "/points")
    log: Any = _Away()
    with monkeypatch.context() as patch:
        patch.setattr(watch, "_log", log)
        with pytest.raises(AutoReconnect):
            watch.flush()
    watch.note(TILL, member, PROGRAMME, "/points")
    watch.flush()
    (look,) = parts.accesslog.page(member, before=None, limit=9)
    assert look.tally.times == 2
    assert look.tally.first_at <= look.tally.last_at


def test_memory_is_bounded_and_what_is_missed_is_said(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[dict[str, Any]] = []
    speaker = SimpleNamespace(error=lambda event, **more: said.append({"event": event, **more}))
    monkeypatch.setattr(watch_module, "log", lambda: speaker)
    monkeypatch.setattr(watch_module, "PLACES_MAX", 2)
    members, watch = [enrolled(parts) for _ in range(4)], Watch(parts.accesslog)
    for member in members:
        watch.note(TILL, member, PROGRAMME, "/points")
    watch.flush()
    counted = [bool(parts.accesslog.page(each, before=None, limit=9)) for each in members]
    assert counted == [True, True, False, False]
    assert said == [{"event": "access_log_full", "missed": 2}]


def test_what_was_in_memory_of_an_erased_member_does_not_come_back(parts: Parts) -> None:
    gone, there = enrolled(parts), enrolled(parts)
    watch = Watch(parts.accesslog)
    for member in (gone, there):
        watch.note(TILL, member, PROGRAMME, "/points")
    parts.database["members"].delete_one({"_id": gone})
    watch.flush()
    assert parts.database["access_log"].distinct("member") == [there]


def test_killed_in_the_middle_it_leaves_nothing_of_an_erased_member(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = enrolled(parts)
    watch = Watch(parts.accesslog)
    watch.note(TILL, gone, PROGRAMME, "/points")
    parts.database["members"].delete_one({"_id": gone})
    monkeypatch.setattr(type(parts.accesslog), "_forget_erased", lambda *_: None)
    watch.flush()
    assert parts.database["access_log"].distinct("member") == []


def test_it_holds_and_erases_what_it_keeps(parts: Parts) -> None:
    member, other = enrolled(parts), enrolled(parts)
    at, log = now(), parts.accesslog
    log.add(
        {Place(each, "k", PROGRAMME, "/x", at.date()): Tally(2, at, at) for each in (member, other)}
    )
    (held,) = log.held(member)
    assert (held.collection, held.category) == ("access_log", "access_log")
    assert (held.data["times"], held.data["key"]) == (2, "k")
    assert log.erase(member) == {"access_log": 1}
    assert log.erase(member) == {"access_log": 0}
    assert list(log.held(member)) == []
    assert len(list(log.held(other))) == 1


def test_old_lines_go(parts: Parts) -> None:
    member, at = enrolled(parts), now()
    ages = (1, 100, 200)
    log: AccessLog = parts.accesslog
    for days in ages:
        past = at - timedelta(days=days)
        log.add({Place(member, "k", PROGRAMME, "/x", past.date()): Tally(1, past, past)})
    assert log.old(at - timedelta(days=150)) == 1
    assert log.sweep(at - timedelta(days=150)) == 1
    assert len(list(log.held(member))) == 2
    index = parts.database["access_log"].index_information()["expired"]
    assert index["expireAfterSeconds"] == KEPT_MAX.total_seconds()
