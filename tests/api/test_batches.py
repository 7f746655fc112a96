"""A till that was offline: a verdict for each line, and the same journal as line by line."""

from __future__ import annotations

import io
import json
import random
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo.errors import AutoReconnect

from loyalty.batches import service, views
from loyalty.batches.facts import raw_lines
from loyalty.batches.model import LINE_BYTES_MAX, LINES_MAX
from loyalty.batches.service import Turnstile
from loyalty.journal.store import JournalStore
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from loyalty.kit.service import Service
from loyalty.members.store import MemberStore
from tests.builders import BASE_RULE, mint_key, program_document, purchase_body, unique

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flask import Flask
    from werkzeug.test import TestResponse

    from app import Parts
    from loyalty.journal.model import Entry
    from tests.builders import Api

    Line = dict[str, Any]

SEED = 20260301
BEGAN = now() - timedelta(days=3)
RULES = (
    BASE_RULE,
    {"id": "hello", "type": "first_on_channel", "points": 20},
    {"id": "wink", "type": "engagement", "engagement": "review", "points": 30}
    | {"points_max": {"day": 60}},
    {"id": "both", "type": "nth_channel", "n": 2, "window_days": 1, "points": 100},
)


def upload(api: Api, lines: Iterable[Line | bytes], **headers: str) -> TestResponse:
    """Send lines; the answer has been read and let go when this returns."""
    body = b"\n".join(
        each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines
    )
    names = {f"Carnet-{name.title()}": value for name, value in headers.items()}
    names["Content-Type"] = "application/x-ndjson"
    answer = api.call("POST", "/v1/batches", data=body, headers=names)
    answer.get_data()
    answer.close()
    return answer


def read(answer: TestResponse) -> tuple[list[Line], Line]:
    """The verdicts and the summary of an answer."""
    assert answer.status_code == 200, answer.get_data(as_text=True)
    *verdicts, last = map(json.loads, answer.get_data().splitlines())
    summary: Line = last["summary"]
    assert summary["lines"] == len(verdicts)
    for status in ("recorded", "replayed", "refused"):
        assert summary[status] == sum(each["status"] == status for each in verdicts)
    assert [each["line"] for each in verdicts] == sorted(each["line"] for each in verdicts)
    return verdicts, summary


def sent(api: Api, *lines: Line | bytes, **headers: str) -> list[Line]:
    """The verdicts of an upload."""
    return read(upload(api, lines, **headers))[0]


def at(minutes: float) -> str:
    """A time of the past days."""
    return (BEGAN + timedelta(minutes=minutes)).isoformat()


def bought(member: str, amount: int = 1000, *, minutes: float = 0, **more: Any) -> Line:
    """A line with a purchase."""
    names = ("terminal", "sequence")
    envelope: Line = {name: more.pop(name) for name in names if name in more}
    body = purchase_body(member, amount, **more)
    return {"type": "purchase", "at": at(minutes), **envelope, "body": body}


def came_back(external_id: str, *, minutes: float = 0, **more: Any) -> Line:
    """A line with a return of a whole purchase."""
    body = {
        "external_id": unique("return"),
        "channel": "store",
        "store": "S1",
        "purchase": {"external_id": external_id},
        **more,
    }
    return {"type": "return", "at": at(minutes), "body": body}


def engaged(member: str, kind: str = "review", *, minutes: float = 0, **more: Any) -> Line:
    """A line with an engagement."""
    body = {"external_id": unique("e"), "channel": "web", "member": member, "type": kind, **more}
    return {"type": "engagement", "at": at(minutes), "body": body}


@pytest.fixture(autouse=True)
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Exception]]:
    """Faults of ours; a test that makes some clears them. The lines would hide them."""
    seen: list[Exception] = []
    note = service._note_fault

    def noted(error: Exception) -> None:
        seen.append(error)
        note(error)

    monkeypatch.setattr(service, "_note_fault", noted)
    yield seen
    assert seen == []


@pytest.fixture
def member(shop: Api) -> str:
    return shop.enrol(("card", "1"))


def codes(verdicts: Iterable[Line]) -> list[str]:
    """What became of each line, in one word."""
    return [
        each["problem"]["code"] if each["status"] == "refused" else each["status"]
        for each in verdicts
    ]


# One line


def test_each_type_is_recorded_with_its_points_and_the_balance_after_it(
    shop: Api, member: str
) -> None:
    lines = [
        bought(member, 2000, external_id="R1"),
        came_back("R1", minutes=5),
        bought(member, 700, minutes=9),
        engaged(member, minutes=10),
    ]
    verdicts, summary = read(upload(shop, lines))
    assert [each["status"] for each in verdicts] == ["recorded"] * 4
    # The balance is right after the line as it was written: purchases first, then what comes back.
    assert [each["points"] for each in verdicts] == [20, -20, 7, 0]
    assert shop.balance(member) == 7
    assert summary["recorded"] == 4
    assert summary["clock_offset_seconds"] == 0
    assert datetime.fromisoformat(verdicts[0]["occurred_at"]) == BEGAN


def test_what_is_there_already_is_replayed_whichever_way_it_came(shop: Api, member: str) -> None:
    line = bought(member, 2000)
    single = shop.buy(member, 500, occurred_at=at(1))
    first = sent(shop, line)
    once_more = sent(shop, line)
    assert codes(once_more) == ["replayed"]
    assert once_more[0] == {**first[0], "status": "replayed"}
    same = {**line["body"], "occurred_at": line["at"]}
    answer = shop.post("/v1/purchases", same, expect=201)
    assert answer.headers["Idempotent-Replay"] == "true"
    assert answer.get_json()["entry_id"] == first[0]["entry_id"] != single["entry_id"]
    assert shop.balance(member) == 25


def test_a_lost_answer_of_the_single_call_is_found_again_by_the_batch(
    shop: Api, member: str
) -> None:
    body = purchase_body(member, 2000, occurred_at=at(0))
    entry = shop.post("/v1/purchases", body, expect=201).get_json()
    [verdict] = sent(shop, {"type": "purchase", "body": body})
    assert (verdict["status"], verdict["entry_id"]) == ("replayed", entry["entry_id"])


def test_a_receipt_twice_in_one_batch_counts_once_and_a_changed_one_is_refused(
    shop: Api, member: str
) -> None:
    line = bought(member, 2000, minutes=5)
    # Earlier by its own claim, but it comes second.
    lines = [{"sku": "wine", "quantity": 1, "amount": 1}]
    other = {**line, "at": at(0), "body": {**line["body"], "lines": lines}}
    assert codes(sent(shop, line, line, other)) == ["recorded", "replayed", "key_reused"]
    assert shop.balance(member) == 20


@pytest.mark.parametrize(
    ("line", "code", "field"),
    [
        (b"{", "malformed_line", None),
        (b"[]", "malformed_line", None),
        (b'"canary"', "malformed_line", None),
        (b"{}", "invalid", "type"),
        (b'{"type": "gift"}', "invalid", "type"),
        (b'{"type": "purchase"}', "invalid", "body"),
        ({"at": "yesterday"}, "invalid", "at"),
        ({"at": None}, "invalid", "at"),
        ({"surprise": 1}, "invalid", "surprise"),
        ({"sequence": 0}, "invalid", "sequence"),
        ({"sequence": 5}, "invalid", "sequence"),
        ({"terminal": "a/b"}, "invalid", "terminal"),
        ({"body": {"lines": []}}, "invalid", "body.lines"),
        ({"body": {"occurred_at": at(0)}}, "invalid", "at"),
        ({"body": {"channel": "fax"}}, "unknown_channel", "body.channel"),
        ({"body": {"currency": "USD"}}, "wrong_currency", "body.currency"),
        ({"body": {"member": "m_" + "0" * 32}}, "member_not_found", None),
        ({"at": "2199-01-01T00:00:00Z"}, "in_the_future", "body.occurred_at"),
    ],
)
def test_a_wrong_line_says_why_and_stops_no_other(
    shop: Api, member: str, line: Any, code: str, field: str | None
) -> None:
    if isinstance(line, dict):
        good = bought(member)
        body = {**good["body"], **line.pop("body", {})}
        line = {**good, **line, "body": body}
    first, wrong, last = sent(shop, bought(member), line, bought(member, minutes=1))
    assert codes([first, wrong, last]) == ["recorded", code, "recorded"]
    problem = wrong["problem"]
    assert field in [None, *(each["field"] for each in problem.get("errors", []))]
    assert problem["title"]
    assert problem["detail"]
    assert "canary" not in json.dumps(wrong)
    assert wrong["retry"] is False
    assert shop.balance(member) == 20


def test_without_any_time_a_line_is_refused(shop: Api, member: str) -> None:
    line = bought(member)
    del line["at"]
    [verdict] = sent(shop, line)
    assert verdict["problem"]["errors"][0]["field"] == "at"


def test_a_refusal_is_the_one_of_the_single_call(shop: Api, member: str) -> None:
    share = engaged(member, "share", channel="social")
    shop.buy(member, 100, external_id="R1")
    back = came_back("R1", lines=[{"sku": "milk", "quantity": 2}])
    verdicts = sent(shop, share, back)
    assert codes(verdicts) == ["consent_required", "return_exceeds_purchase"]
    for path, line, verdict in (
        ("/v1/engagements", share, verdicts[0]),
        ("/v1/returns", back, verdicts[1]),
    ):
        alone = shop.post(path, {**line["body"], "occurred_at": line["at"]}).get_json()
        problem = verdict["problem"]
        for name in ("code", "title", "status", "detail"):
            assert problem[name] == alone[name]
        places = [f"body.{each['field']}" for each in alone.get("errors", [])]
        assert [each["field"] for each in problem.get("errors", [])] == places


def test_consent_is_asked_line_by_line_when_its_turn_comes(shop: Api, member: str) -> None:
    other = shop.enrol(("card", "2"))
    shop.consent(other, "social_engagement")
    lines = [engaged(each, "share", channel="social") for each in (member, other)]
    assert codes(sent(shop, *lines)) == ["consent_required", "recorded"]


def test_a_bound_key_speaks_for_its_own_only(shop: Api, parts: Parts, member: str) -> None:
    key = mint_key(parts, "activities:write", channel="store", store="S1")
    till = shop.speaking_with(key)
    lines = [bought(member), bought(member, store="S2"), bought(member, channel="web", store="S1")]
    assert codes(sent(till, *lines)) == ["recorded", "bound_key", "bound_key"]


def test_an_unknown_card_gets_a_provisional_member_as_in_the_single_call(shop: Api) -> None:
    line = bought("")
    del line["body"]["member"]
    line["body"]["identifier"] = {"type": "card", "value": "new"}
    assert codes(sent(shop, line, line)) == ["recorded", "replayed"]
    assert codes(sent(shop, line)) == ["replayed"]


def test_plain_lines_are_written_together_and_the_rest_alone(
    shop: Api, member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = bought("", minutes=3)
    del card["body"]["member"]
    card["body"]["identifier"] = {"type": "card", "value": "1"}
    shop.buy(member, 100, external_id="R1", occurred_at=at(2))
    late, back = bought(shop.enrol(), minutes=5), came_back("R1", minutes=4)
    shop.buy(late["body"]["member"], occurred_at=at(9))
    together: list[int] = []
    append_many = JournalStore.append_many

    def watched(store: JournalStore, entries: Sequence[Entry]) -> Sequence[Entry]:
        together.append(len(entries))
        return append_many(store, entries)

    monkeypatch.setattr(JournalStore, "append_many", watched)
    lines = [card, engaged(member, minutes=6), late, bought(shop.enrol()), back]
    assert codes(sent(shop, *lines)) == ["recorded"] * 5
    assert together == [3]


# The batch as a whole


def life(members: Sequence[str], count: int, rng: random.Random) -> list[Line]:
    """What some members did, in the order of time; some of it comes back."""
    lines: list[Line] = []
    receipts: list[str] = []
    for number in range(count):
        who, minutes = rng.choice(members), float(number)
        if receipts and rng.random() < 0.15:
            receipt = receipts.pop(rng.randrange(len(receipts)))
            lines.append(came_back(receipt, minutes=minutes, channel="web", store="S1"))
            lines[-1]["body"]["purchase"] = {
                "external_id": receipt,
                "channel": "store",
                "store": "S1",
            }
        elif rng.random() < 0.3:
            channel = rng.choice(["web", "app"])
            lines.append(engaged(who, minutes=minutes, channel=channel))
        else:
            receipts.append(unique("R"))
            amount = rng.randrange(100, 5000)
            lines.append(bought(who, amount, minutes=minutes, external_id=receipts[-1]))
    return lines


def renamed(lines: Iterable[Line], members: dict[str, str], suffix: str) -> list[Line]:
    """The same life of other members, under other keys."""
    text = json.dumps(list(lines))
    for old, new in members.items():
        text = text.replace(old, new)
    renewed: list[Line] = json.loads(text)
    for line in renewed:
        line["body"]["external_id"] += suffix
        if "purchase" in line["body"]:
            line["body"]["purchase"]["external_id"] += suffix
    return renewed


_PATHS = {"purchase": "/v1/purchases", "return": "/v1/returns", "engagement": "/v1/engagements"}


@pytest.mark.parametrize("chunk", [7, 200])
def test_a_batch_in_any_order_ends_like_the_calls_one_by_one(
    api: Api, parts: Parts, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    print(f"seed {SEED}")  # noqa: T201  # shown when the test fails
    rng = random.Random(SEED)  # noqa: S311
    monkeypatch.setattr(service, "CHUNK", chunk)
    api.post("/v1/program/versions", {"program": program_document(*RULES)}, expect=201)
    first = [api.enrol() for _ in range(4)]
    lines = life(first, 60, rng)
    for line in lines:
        api.post(_PATHS[line["type"]], {**line["body"], "occurred_at": line["at"]}, expect=201)
    expected = [shown(parts, each) for each in first]
    for round_ in range(3):
        members = {each: api.enrol() for each in first}
        again = renamed(lines, members, f"+{round_}")
        if round_:
            rng.shuffle(again)
        verdicts, summary = read(upload(api, again))
        assert summary["recorded"] == len(lines), codes(verdicts)
        assert [shown(parts, each) for each in members.values()] == expected
        assert codes(sent(api, *again)) == ["replayed"] * len(lines)
        assert [shown(parts, each) for each in members.values()] == expected


def shown(parts: Parts, member: str) -> Any:
    """Where a member stands, without the names of facts."""
    head = parts.journal.head(member)
    assert head
    state = head.state
    assert sum(each.points for each in parts.journal.entries(member)) == state.balance
    visits = {channel: [seen.at for seen in uses] for channel, uses in state.channels.items()}
    return state.balances, state.lots, state.counters, visits, state.last and state.last[0]


def test_a_budget_is_not_overspent_by_a_batch(api: Api) -> None:
    budgeted = {"id": "base", "type": "fixed", "points": 40, "budget": 100}
    api.post("/v1/program/versions", {"program": program_document(budgeted)}, expect=201)
    lines = [bought(api.enrol(), minutes=number) for number in range(5)]
    assert [each["points"] for each in sent(api, *lines)] == [40, 40, 20, 0, 0]


@pytest.mark.parametrize("chunk", [1, 2, 200])
def test_a_return_that_comes_before_its_purchase_waits_for_it(
    shop: Api, member: str, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(service, "CHUNK", chunk)
    monkeypatch.setattr(views, "MEMORY_BYTES", 100)
    lines: list[Line | bytes] = [
        bought(member, 100, minutes=0),
        came_back("R1", minutes=9),
        b"",
        came_back("nowhere", minutes=9),
        bought(member, 2000, minutes=5, external_id="R1"),
        bought(member, 300, minutes=6),
    ]
    verdicts = sent(shop, *lines)
    assert [each["line"] for each in verdicts] == [1, 2, 4, 5, 6]
    expected = ["recorded", "recorded", "purchase_not_found", "recorded", "recorded"]
    assert codes(verdicts) == expected
    assert verdicts[1]["points"] == -20
    assert verdicts[2]["retry"] is True
    assert shop.balance(member) == 4


def test_only_so_many_returns_wait(shop: Api, member: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CHUNK", 1)
    monkeypatch.setattr(service, "WAITING_MAX", 1)
    lines = [came_back("R1", minutes=9), came_back("R2", minutes=9)]
    lines += [bought(member, minutes=1, external_id=each) for each in ("R1", "R2")]
    verdicts = sent(shop, *lines)
    assert codes(verdicts) == ["recorded", "purchase_not_found", "recorded", "recorded"]
    assert verdicts[1]["retry"] is True
    assert codes(sent(shop, *lines)) == ["replayed", "recorded", "replayed", "replayed"]


def test_what_concerns_the_whole_request_is_one_problem(shop: Api, parts: Parts) -> None:
    assert shop.post("/v1/batches", {}).status_code == 415
    assert upload(shop, [], clock="noon").status_code == 422
    assert upload(shop, [], terminal="a b").status_code == 422
    nobody = shop.speaking_with(mint_key(parts, "points:read"))
    assert upload(nobody, [b"{}"]).status_code == 403
    assert read(upload(shop, []))[1]["lines"] == 0


def test_a_body_that_broke_off_records_nothing(shop: Api, member: str, app: Flask) -> None:
    text = json.dumps(bought(member)).encode() + b"\n"
    answer = app.test_client().open(
        "/v1/batches",
        method="POST",
        headers={"Authorization": f"Bearer {shop.key}", "Content-Type": "application/x-ndjson"},
        environ_overrides={
            "wsgi.input": io.BytesIO(text),
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": str(len(text) + 1),
        },
    )
    assert answer.status_code == 400
    assert answer.get_json()["code"] == "incomplete_body"
    assert shop.balance(member) == 0


def test_a_body_above_the_limit_is_refused(
    shop: Api, member: str, monkeypatch: pytest.MonkeyPatch, app: Flask
) -> None:
    assert isinstance(app, Service)
    monkeypatch.setattr(app, "settings", replace(app.settings, bulk_bytes_max=1000))
    assert upload(shop, [bought(member)] * 20).status_code == 413
    assert shop.balance(member) == 0


def test_only_so_many_batches_at_a_time_and_a_place_is_given_back(
    shop: Api, app: Flask, member: str
) -> None:
    turnstile = app.extensions["carnet"][Turnstile] = Turnstile(1)
    leave = turnstile.enter()
    refused = upload(shop, [bought(member)])
    assert refused.status_code == 503
    assert refused.get_json()["code"] == "batches_busy"
    assert int(refused.headers["Retry-After"]) >= 1
    leave()
    leave()
    for _ in range(3):
        assert upload(shop, [b"{"]).status_code == 200
        assert upload(shop, [], clock="never").status_code == 422


# Limits


def test_lines_beyond_the_limit_are_not_read_and_the_answer_says_so(shop: Api, member: str) -> None:
    lines: list[Line | bytes] = [
        bought(member),
        *[b""] * (LINES_MAX - 2),
        bought(member, minutes=1),
    ]
    assert codes(sent(shop, *lines)) == ["recorded", "recorded"]
    verdicts = sent(shop, *lines, b"x", b"y")
    assert codes(verdicts) == ["replayed", "replayed", "too_many_lines"]
    assert verdicts[-1]["line"] == LINES_MAX + 1
    assert str(LINES_MAX) in verdicts[-1]["problem"]["detail"]


def test_a_line_that_is_too_long_is_refused_alone(shop: Api, member: str) -> None:
    long = b'{"x": "' + b"x" * (3 * LINE_BYTES_MAX) + b'"}'
    exact = b'"' + b"x" * (LINE_BYTES_MAX - 2) + b'"'
    verdicts = sent(shop, bought(member), long, exact, exact + b" ", bought(member))
    expected = ["recorded", "line_too_long", "malformed_line", "line_too_long", "recorded"]
    assert codes(verdicts) == expected


def test_lines_are_read_whatever_ends_them() -> None:
    body = io.BytesIO(b"a\r\n\n  \nb\n\nc")
    assert [(each.number, each.text.strip()) for each in raw_lines(body)] == [
        (1, b"a"),
        (4, b"b"),
        (6, b"c"),
    ]


def receipts(members: Sequence[str], name: str, count: int) -> bytes:
    """A body with receipts of some members in turn, a point each."""
    lines = (
        bought(
            members[number % len(members)],
            100,
            external_id=f"{name}-{number}",
            minutes=number / 10,
            sequence=number + 1,
            terminal=name,
        )
        for number in range(count)
    )
    return b"\n".join(json.dumps(each).encode() for each in lines)


def streamed(api: Api, body: bytes) -> int:
    """How many lines are recorded of a body; it and the answer are streams."""
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/x-ndjson"}
    answer = api.client.post("/v1/batches", data=io.BytesIO(body), headers=headers)
    assert isinstance(answer.response, Iterable)
    count = sum(block.count(b'"status":"recorded"') for block in answer.response)  # type: ignore[misc, arg-type]
    answer.close()
    return count


def test_ten_thousand_lines_are_one_batch(shop: Api, parts: Parts) -> None:
    members = [shop.enrol() for _ in range(100)]
    assert streamed(shop, receipts(members, "t", LINES_MAX)) == LINES_MAX
    assert parts.database["journal"].count_documents({}) == LINES_MAX
    assert {shop.balance(each) for each in members[::10]} == {100}


def test_memory_is_flat(shop: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MEMORY_BYTES", 50_000)
    members = [shop.enrol() for _ in range(100)]
    peaks = []
    for name, count in (("warm", 400), ("few", 400), ("many", 4000)):
        body = receipts(members, name, count)
        tracemalloc.start()
        assert streamed(shop, body) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # Ten times the lines, of which only their numbers are kept: some 270 bytes each.
    assert peaks[2] < peaks[1] + 1_500_000, peaks


# Clocks


def test_a_clock_that_is_behind_is_corrected_and_both_times_are_kept(
    shop: Api, parts: Parts, member: str
) -> None:
    slow = now() - timedelta(hours=2)
    line = bought(member, minutes=0)
    verdicts, summary = read(upload(shop, [line], clock=slow.isoformat()))
    assert summary["clock_offset_seconds"] == pytest.approx(7200, abs=5)
    ours = datetime.fromisoformat(verdicts[0]["occurred_at"])
    assert ours - BEGAN == timedelta(seconds=summary["clock_offset_seconds"])
    entry = parts.journal.get(verdicts[0]["entry_id"])
    assert entry
    assert entry.occurred_at == ours
    assert entry.activity["came"] == {"clock": BEGAN}
    # The difference is measured anew each time; the fact is the same.
    assert codes(sent(shop, line, clock=(slow + timedelta(seconds=40)).isoformat())) == ["replayed"]
    assert codes(sent(shop, line)) == ["replayed"]


def test_a_clock_that_is_ahead_does_not_put_awards_into_the_future(shop: Api, member: str) -> None:
    fast = now() + timedelta(hours=3)
    line = {**bought(member), "at": fast.isoformat()}
    assert codes(sent(shop, line)) == ["in_the_future"]
    assert codes(sent(shop, line, clock=fast.isoformat())) == ["recorded"]


def test_a_clock_that_is_nearly_right_touches_no_time(shop: Api, member: str) -> None:
    near = (now() - timedelta(seconds=1)).isoformat()
    verdicts, summary = read(upload(shop, [bought(member)], clock=near))
    assert summary["clock_offset_seconds"] == 0
    assert datetime.fromisoformat(verdicts[0]["occurred_at"]) == BEGAN


@pytest.mark.parametrize("days", [-400, -2, 2])
def test_a_clock_that_is_too_far_off_refuses_the_whole(shop: Api, member: str, days: int) -> None:
    clock = (now() + timedelta(days=days)).isoformat()
    answer = upload(shop, [bought(member)], clock=clock)
    assert answer.status_code == 409
    assert answer.get_json()["code"] == "clock_implausible"
    assert shop.balance(member) == 0


# Numbers


def numbered(member: str, *numbers: int, terminal: str = "till-3", store: str = "S1") -> list[Line]:
    """Purchases with these numbers."""
    return [
        bought(member, minutes=each, sequence=each, terminal=terminal, store=store)
        for each in numbers
    ]


def tills(api: Api, lines: Iterable[Line | bytes], **headers: str) -> dict[str, Line]:
    """What the summary says of each till."""
    summary = read(upload(api, lines, **headers))[1]
    assert summary["gaps"] == sum(each["missing_count"] for each in summary["tills"])
    return {f"{each['store']}/{each['terminal']}": each for each in summary["tills"]}


def test_a_missing_number_is_reported_and_refuses_nothing(shop: Api, member: str) -> None:
    found = tills(shop, numbered(member, 1, 2, 5, 9))["S1/till-3"]
    assert (found["first"], found["last"]) == (1, 9)
    assert (found["missing"], found["missing_count"]) == ([[3, 4], [6, 8]], 5)
    assert shop.balance(member) == 40


def test_numbers_go_on_from_batch_to_batch_for_each_till_of_each_store(
    shop: Api, member: str
) -> None:
    tills(shop, numbered(member, 1, 2, 3))
    found = tills(
        shop,
        [
            *numbered(member, 6, 7),
            *numbered(member, 4, terminal="till-4"),
            *numbered(member, 9, store="S2"),
        ],
    )
    assert found["S1/till-3"]["missing"] == [[4, 5]]
    assert found["S1/till-4"]["missing"] == found["S2/till-3"]["missing"] == []
    assert tills(shop, numbered(member, 8))["S1/till-3"]["missing"] == []


def test_a_batch_that_is_sent_again_has_no_gap(
    shop: Api, member: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CHUNK", 2)
    lines = numbered(member, 1, 2, 3, 4, 5)
    tills(shop, lines[:3])
    found = tills(shop, lines)["S1/till-3"]
    assert (found["missing"], found["earlier_count"], found["repeated_count"]) == ([], 3, 0)


def test_a_number_twice_and_one_of_a_refused_line_are_counted(shop: Api, member: str) -> None:
    good = numbered(member, 1, 2, 2)
    wrong = {**numbered(member, 3)[0], "type": "gift"}
    verdicts, summary = read(upload(shop, [*good, wrong]))
    assert [each["sequence"] for each in verdicts] == [1, 2, 2, 3]
    [found] = summary["tills"]
    assert (found["last"], found["repeated_count"], found["missing"]) == (3, 1, [])


def test_a_till_may_be_named_once_for_all_lines(shop: Api, parts: Parts, member: str) -> None:
    lines = [bought(member, sequence=4, minutes=1), bought(member, minutes=2)]
    verdicts, summary = read(upload(shop, lines, terminal="till-9"))
    assert [each["terminal"] for each in summary["tills"]] == ["till-9"]
    entry = parts.journal.get(verdicts[0]["entry_id"])
    assert entry
    assert entry.activity["came"] == {"terminal": "till-9", "sequence": 4}


# Trouble


def test_a_fault_at_one_line_is_that_lines_alone(
    shop: Api,
    member: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    faults: list[Exception],
) -> None:
    resolve = MemberStore.resolve

    def broken(store: MemberStore, identifier: Any) -> str | None:
        if identifier.value == "666":
            raise RuntimeError("canary")
        return resolve(store, identifier)

    monkeypatch.setattr(MemberStore, "resolve", broken)
    line = bought("", minutes=1)
    del line["body"]["member"]
    line["body"]["identifier"] = {"type": "card", "value": "666"}
    verdicts = sent(shop, bought(member), line, bought(member, minutes=2))
    assert codes(verdicts) == ["recorded", "internal_error", "recorded"]
    assert verdicts[1]["retry"] is True
    assert "canary" not in json.dumps(verdicts) + capfd.readouterr().err
    faults.clear()


def test_a_database_that_goes_away_leaves_lines_to_send_again(
    shop: Api, member: str, monkeypatch: pytest.MonkeyPatch, faults: list[Exception]
) -> None:
    monkeypatch.setattr(service, "CHUNK", 10)
    lines = [bought(member, minutes=number) for number in range(50)]
    tries = 0

    def away(*_: Any) -> Any:
        nonlocal tries
        tries += 1
        raise AutoReconnect("canary")

    with monkeypatch.context() as patch:
        patch.setattr(JournalStore, "head", away)
        patch.setattr(JournalStore, "standings", away)
        verdicts, summary = read(upload(shop, lines))
    assert codes(verdicts) == ["unavailable"] * 50
    assert summary["retry"] == 50
    assert tries < 10
    assert all(each["retry"] for each in verdicts)
    assert "canary" not in json.dumps(verdicts)
    faults.clear()
    assert codes(sent(shop, *lines)) == ["recorded"] * 50


def test_nothing_personal_is_in_an_answer_or_a_log(
    shop: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs()  # pytest gives this phase of the test a stream of its own
    email = {"type": "email", "value": "canary@example.com"}
    owner = shop.enrol(("email", "canary@example.com"))
    good = bought("", external_id="canary-1")
    del good["body"]["member"]
    good["body"]["identifier"] = email
    lines: list[Line | bytes] = [good, good]
    changes: list[Line] = [{"currency": "USD"}, {"store": "canary/"}, {"member": owner}]
    for kind in ("email", "phone", "canary"):
        changes.append({"identifier": {"type": kind, "value": "canary"}})  # noqa: PERF401
    for change in changes:
        body = {**good["body"], "external_id": "canary", **change}
        lines += [{**good, "body": body}, {**good, "type": "canary"}, b'{"canary']
    answer = upload(shop, lines)
    read(answer)
    text = answer.get_data(as_text=True) + capfd.readouterr().err
    assert "canary" not in text
    assert owner not in text
