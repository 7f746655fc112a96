"""Points, the journal and each entry, as they are read back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from loyalty.kit.clock import now
from tests.builders import BASE_RULE, program_document, purchase_body

if TYPE_CHECKING:
    from tests.builders import Api

NDJSON = {"Content-Type": "application/x-ndjson"}


def pages(api: Api, path: str, limit: int) -> list[dict[str, Any]]:
    """All entries of a journal, page by page; at most a hundred pages."""
    found: list[dict[str, Any]] = []
    cursor = ""
    for _ in range(100):
        page = api.get(f"{path}?limit={limit}{cursor}", expect=200).get_json()
        found += page["entries"]
        assert len(page["entries"]) <= limit
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
    raise AssertionError("the cursor never ends")


def test_a_journal_is_paged_without_gap_or_overlap(shop: Api) -> None:
    member, other = shop.enrol(("card", "1")), shop.enrol(("card", "2"))
    for number in range(120):
        shop.buy(member, 100 * number)
        if number % 10 == 0:
            shop.buy(other)
    path = f"/v1/members/{member}/journal"
    for limit in (2, 7, 40, 120, 200):
        entries = pages(shop, path, limit)
        assert [each["seq"] for each in entries] == list(range(120, 0, -1))
    assert {each["member_id"] for each in entries} == {member}
    assert entries[0]["balance_after"] == sum(range(120)) == shop.balance(member)


def test_entries_that_arrive_while_paging_shift_nothing(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    for _ in range(6):
        shop.buy(member)
    path = f"/v1/members/{member}/journal?limit=3"
    first = shop.get(path).get_json()
    shop.buy(member)
    second = shop.get(f"{path}&cursor={first['next_cursor']}").get_json()
    assert [each["seq"] for each in second["entries"]] == [3, 2, 1]
    assert second["next_cursor"] is None


def test_a_new_member_has_nothing(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    shown = shop.get(f"/v1/members/{member}/points", expect=200).get_json()
    assert (shown["balance"], shown["lots"]) == (0, [])
    journal = shop.get(f"/v1/members/{member}/journal", expect=200).get_json()
    assert journal == {"entries": [], "next_cursor": None}


def test_an_entry_says_why_in_words_and_numbers(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    entry_id = shop.buy(member, 2190, channel="web")["entry_id"]
    entry = shop.get(f"/v1/entries/{entry_id}", expect=200).get_json()
    [posting] = entry["postings"]
    assert posting["text"] == "21.90 EUR at 1 for every 1.00 EUR, rounded down: 21."
    assert (posting["rule"], posting["points"], posting["inputs"]["basis"]) == ("base", 21, 2190)
    assert (entry["kind"], entry["channel"], entry["store"]) == ("purchase", "web", "S1")
    assert entry["program_version"] == 1
    shop.post("/v1/program/versions", {"program": program_document()}, expect=201)
    assert shop.get(f"/v1/entries/{entry_id}").get_json() == entry


def test_there_is_no_such_entry(shop: Api) -> None:
    for name in ("0" * 24, "nonsense", "%00", "$gt"):
        answer = shop.get(f"/v1/entries/{name}", expect=404)
        assert answer.get_json()["code"] == "entry_not_found"


def test_points_expire_at_the_moment_they_are_read(api: Api) -> None:
    program = program_document(expires_after_months=1, time_zone="Europe/Berlin")
    api.post("/v1/program/versions", {"program": program}, expect=201)
    member = api.enrol(("card", "1"))
    api.buy(member, 1000, occurred_at="2024-01-31T10:00:00+01:00")
    assert api.balance(member) == 0
    api.buy(member, 500)
    shown = api.get(f"/v1/members/{member}/points").get_json()
    assert shown["balance"] == 5
    assert [lot["points"] for lot in shown["lots"]] == [5]
    assert shown["lots"][0]["expires_at"] > shown["as_of"]


def test_an_adjustment_keeps_its_reason_and_who_answers_for_it(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    body = {"external_id": "case-1", "points": 50, "reason": "a lost receipt", "actor": "desk 3"}
    path = f"/v1/members/{member}/adjustments"
    entry_id = shop.post(path, body, expect=201).get_json()["entry_id"]
    activity = shop.get(f"/v1/entries/{entry_id}").get_json()["activity"]
    assert (activity["reason"], activity["actor"]) == ("a lost receipt", "desk 3")


def test_multichannel_bonuses_are_paid(api: Api) -> None:
    rules = (
        {"id": "base", "type": "spend", "points": 1, "per_amount": 100},
        {"id": "first", "type": "first_on_channel", "points": 5},
        {"id": "third", "type": "nth_channel", "n": 3, "window_days": 30, "points": 200},
    )
    api.post("/v1/program/versions", {"program": program_document(*rules)}, expect=201)
    member = api.enrol(("card", "1"))
    gained = [api.buy(member, 1000, channel=each)["points"] for each in ("store", "web", "app")]
    assert gained == [15, 15, 215]
    assert api.buy(member, 1000, channel="app")["points"] == 10


def test_points_of_an_answer_are_those_of_the_main_unit(api: Api) -> None:
    stamp = {"id": "stamp", "type": "fixed", "per": "basket", "points": 3, "unit": "stamps"}
    document = program_document(BASE_RULE, stamp, units={"stamps": {}})
    api.post("/v1/program/versions", {"program": document}, expect=201)
    bought = api.buy(api.enrol(), 1000)
    assert (bought["points"], bought["balance"], bought["units"]) == (10, 10, {"stamps": 3})
    entry = api.get(f"/v1/entries/{bought['entry_id']}", expect=200).get_json()
    assert (entry["points"], entry["balance_after"]) == (10, 10)


def test_an_answer_about_the_past_counts_nothing_that_has_lapsed_since(api: Api) -> None:
    stamp = {"id": "stamp", "type": "fixed", "per": "basket", "points": 3, "unit": "stamps"}
    lapse = {"expiry": {"idle_days": 30}}
    document = program_document(BASE_RULE, stamp, units={"points": lapse, "stamps": lapse})
    api.post("/v1/program/versions", {"program": document}, expect=201)
    member = api.enrol()
    long_ago = (now() - timedelta(days=60)).isoformat()
    bought = api.buy(member, 1000, occurred_at=long_ago)
    assert (bought["points"], bought["balance"], bought["units"]) == (10, 0, {"stamps": 0})
    assert api.balance(member) == 0
    again = now().replace(microsecond=0)
    api.buy(member, 1000, occurred_at=again.isoformat())
    (lot,) = api.get(f"/v1/members/{member}/points", expect=200).get_json()["lots"]
    assert timedelta(days=30) <= datetime.fromisoformat(lot["expires_at"]) - again
    assert datetime.fromisoformat(lot["expires_at"]) - again <= timedelta(days=31)


def test_a_version_rules_from_its_start_and_reads_back_as_sent(shop: Api) -> None:
    double = {"id": "base", "type": "spend", "points": 2, "per_amount": 100}
    member = shop.enrol(("card", "1"))
    starts = now().replace(year=now().year + 1).isoformat()
    body = {"program": program_document(double), "starts_at": starts}
    published = shop.post("/v1/program/versions", body, expect=201).get_json()
    assert published["version"] == 2
    assert shop.buy(member, 1000)["points"] == 10
    assert shop.get("/v1/program", expect=200).get_json()["version"] == 1
    versions = shop.get("/v1/program/versions", expect=200).get_json()["versions"]
    assert [each["version"] for each in versions] == [2, 1]
    assert versions[0] == published
    answer = shop.post("/v1/program/versions", {"program": program_document()}, expect=201)
    assert answer.get_json()["starts_at"] == published["starts_at"]


def test_the_catalogue_completes_the_lines(api: Api) -> None:
    dairy = {"id": "dairy", "type": "fixed", "points": 7, "only": {"categories": ["Dairy"]}}
    api.post("/v1/program/versions", {"program": program_document(dairy)}, expect=201)
    product = b'{"sku":"milk","name":"Milk","category":"Dairy/Milk","brand":"Meadow"}\n'
    api.call("PUT", "/v1/products", data=product, headers=NDJSON, expect=200)
    member = api.enrol(("card", "1"))
    assert api.buy(member)["points"] == 7
    own = [{"sku": "oats", "quantity": 1, "amount": 1, "category": "Dairy"}]
    assert api.buy(member, lines=own)["points"] == 7
    wrong = [{"sku": "milk", "quantity": 1, "amount": 1, "category": "Bread"}]
    assert api.buy(member, lines=wrong)["points"] == 7


def test_products_are_replaced_and_read_back(api: Api) -> None:
    lines = b'\n{"sku":"a","name":"A","brand":"X"}\n\n{"sku":"b","name":"B"}\n'
    written = api.call("PUT", "/v1/products", data=lines, headers=NDJSON, expect=200)
    assert written.get_json() == {"written": 2}
    api.call("PUT", "/v1/products", data=b'{"sku":"a","name":"A2"}', headers=NDJSON, expect=200)
    shown = api.get("/v1/products/a", expect=200).get_json()
    assert (shown["name"], shown["brand"], shown["rebuyable"]) == ("A2", "", True)
    api.get("/v1/products/c", expect=404)
    stores = b'{"id":"S1","name":"Main street","time_zone":"Europe/Berlin","latitude":52.5}\n'
    written = api.call("PUT", "/v1/stores", data=stores, headers=NDJSON, expect=200)
    assert written.get_json() == {"written": 1}
    empty = api.call("PUT", "/v1/products", data=b"", headers=NDJSON, expect=200)
    assert empty.get_json() == {"written": 0}


def test_a_purchase_may_be_years_old_but_not_of_tomorrow(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    shop.buy(member, occurred_at="1990-01-01T00:00:00+14:00")
    tomorrow = purchase_body(member, occurred_at=f"{now().year + 1}-01-02T00:00:00Z")
    assert shop.post("/v1/purchases", tomorrow, expect=409).get_json()["code"] == "in_the_future"
