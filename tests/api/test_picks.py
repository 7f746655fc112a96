"""Picks for audiences: three forms, downloads that go on, exports that forget who withdraws."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import orjson
import pyarrow.parquet as pq
import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout

from loyalty.accesslog.watch import Watch
from loyalty.catalogue.model import Price, Product
from loyalty.catalogue.store import CatalogueStore
from loyalty.consent import service as consents
from loyalty.consent.model import Decision
from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from recommend import artefact
from recommend.bulk import exports, store, stream
from recommend.bulk.model import Question
from recommend.bulk.store import ExportStore
from recommend.dataset import Basket, build
from recommend.model import Settings as ModelSettings
from recommend.model import train
from tests.builders import Api, dump, unique

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings

MAIL = "/v1/picks?channel=email&limit=3"
EXPORTS = "/v1/picks/exports"
FORMULA = '=HYPERLINK("https://evil.example";"Käse, 50 % ✓")'
PRODUCTS = (
    Product("milk", FORMULA, price=Price(119, "EUR"), url="https://shop.example/milk?a=1"),
    Product("bread", "Bread", image_url="https://shop.example/b.png"),
    Product("jam", "Jam", price=Price(300, "JPY")),
    Product("pills", "Pills", sensitive=True),
)


class Mailing(NamedTuple):
    """A shop whose model knows four products; `ada` buys bread and agrees to be known by it."""

    api: Api
    parts: Parts
    ada: str
    members: list[str]

    def rows(self, path: str = MAIL, **more: Any) -> list[dict[str, Any]]:
        answer = self.api.get(path, expect=200, **more)
        return [orjson.loads(line) for line in answer.data.splitlines()]

    def export(self, **body: Any) -> dict[str, Any]:
        """An export that is done."""
        asked = self.api.post(EXPORTS, {"channel": "email", "limit": 3, **body}, expect=202)
        assert self.run()
        path = f"{EXPORTS}/{asked.get_json()['id']}"
        found: dict[str, Any] = self.api.get(path, expect=200).get_json()
        assert found["status"] == "done", found
        return found

    def run(self) -> bool:
        """One job, if one waits."""
        runner: Runner = self.api.client.application.extensions["carnet"][Runner]
        return runner.run_one()

    def downloaded(self, export: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
        return self.rows(f"{EXPORTS}/{export['id']}/download?format=ndjson{query}")


def decide(parts: Parts, member: str, purpose: str, *, granted: bool = True) -> None:
    channel = "email" if purpose == "marketing" else None
    consents.record(
        member,
        [Decision(purpose, granted, channel)],
        method="form",
        at=now(),
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


@pytest.fixture
def mailing(shop: Api, parts: Parts, settings: Settings) -> Mailing:
    skus = ("milk", "bread", "jam", "pills")
    baskets = [Basket(f"b{n}", float(n), ("store:S1",), skus[: 4 - n % 2]) for n in range(30)]
    model = train(build(baskets), ModelSettings(factors=4), collaborative=False)
    artefact.save(model, settings.model_dir, "tests", created_at=0.0)
    artefact.promote(settings.model_dir, "tests")
    parts.catalogue.put_products(PRODUCTS)
    members = sorted(shop.enrol(("email", f"{unique('who')}@example.org")) for _ in range(6))
    for member in members:
        decide(parts, member, "marketing")
    ada = members[2]
    decide(parts, ada, "personalisation")
    shop.buy(ada, lines=[{"sku": "bread", "quantity": 1, "amount": 100}])
    shop.buy(ada, lines=[{"sku": "bread", "quantity": 1, "amount": 100}])
    return Mailing(shop, parts, ada, members)


def test_a_row_has_all_that_a_mail_needs(mailing: Mailing) -> None:
    found = {each["member_id"]: each for each in mailing.rows(f"{MAIL}&campaign=spring-1")}
    assert list(found) == mailing.members
    ada, bob = found[mailing.ada], found[mailing.members[0]]
    assert (ada["personalised"], ada["reason"]) == (True, "consent")
    assert (bob["personalised"], bob["reason"]) == (False, "no_consent")
    assert ada["address"].endswith("@example.org")
    assert (ada["model_version"], ada["campaign"]) == ("tests", "spring-1")
    assert ada["items"][0]["sku"] == "bread"
    assert ada["items"][0]["because"] == "You bought it before"
    milk = next(each for each in bob["items"] if each["sku"] == "milk")
    assert milk["name"] == FORMULA
    assert milk["price"] == {"amount": 119, "currency": "EUR"}
    tags = "utm_source=carnet&utm_medium=email&utm_campaign=spring-1"
    assert milk["url"] == f"https://shop.example/milk?a=1&{tags}"
    assert "pills" not in str(found)


def test_the_unsubscribe_link_of_a_row_ends_marketing_on_the_channel(mailing: Mailing) -> None:
    link = urlsplit(mailing.rows()[0]["unsubscribe_url"]).path
    body = {"List-Unsubscribe": "One-Click"}
    assert mailing.api.client.post(link, data=body).status_code == 200
    assert [each["member_id"] for each in mailing.rows()] == mailing.members[1:]


def test_all_forms_say_the_same_of_the_same_audience(mailing: Mailing) -> None:
    nested = mailing.rows()
    file = io.BytesIO(mailing.api.get(f"{MAIL}&format=parquet", expect=200).data)
    typed = pq.read_table(file).to_pylist()
    text = mailing.api.get(f"{MAIL}&format=csv", expect=200).get_data(as_text=True)
    flat = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    for row, parquet, cells in zip(nested, typed, flat, strict=True):
        for name in ("member_id", "reason", "model_version", "cursor"):
            assert row[name] == parquet[name] == cells[name]
        assert row["address"] == parquet["address"] == cells["email"]
        assert str(row["personalised"]).lower() == cells["personalised"]
        for number, item in enumerate(row["items"], start=1):
            other = parquet["items"][number - 1]
            price = item["price"] or {"amount": None, "currency": None}
            assert (other["price_amount"], other["price_currency"]) == tuple(price.values())
            assert (other["sku"], other["name"]) == (item["sku"], item["name"])
            assert cells[f"pick_{number}_sku"] == item["sku"]
            assert cells[f"pick_{number}_name"].removeprefix("'") == item["name"]
            shown = {"milk": "1.19", "jam": "300"}.get(item["sku"], "")
            assert cells[f"pick_{number}_price"] == shown
    assert f'"\'{FORMULA.replace(chr(34), chr(34) * 2)}"' in text


@pytest.mark.parametrize(
    ("accept", "query", "kind"),
    [
        ("*/*", "", "application/x-ndjson"),
        ("text/csv", "", "text/csv"),
        ("application/vnd.apache.parquet, */*;q=0.1", "", "application/vnd.apache.parquet"),
        ("application/json", "", "application/x-ndjson"),
        ("text/csv", "&format=ndjson", "application/x-ndjson"),
    ],
)
def test_the_form_is_by_name_or_by_accept(api: Api, accept: str, query: str, kind: str) -> None:
    answer = api.get(f"{MAIL}{query}", headers={"Accept": accept}, expect=200)
    assert answer.mimetype == kind
    assert answer.headers["Vary"] == "Accept"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="picks-email.')


def test_nobody_agreed_is_a_header_alone(api: Api) -> None:
    assert api.get(MAIL, expect=200).data == b""
    lines = api.get(f"{MAIL}&format=csv", expect=200).data.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(b'"member_id","email","personalised"')
    file = io.BytesIO(api.get(f"{MAIL}&format=parquet", expect=200).data)
    assert pq.read_table(file).num_rows == 0


def test_a_broken_download_goes_on_behind_each_row(mailing: Mailing) -> None:
    whole = mailing.rows()
    for number, row in enumerate(whole):
        rest = mailing.rows(f"{MAIL}&after={row['cursor']}")
        assert [each["member_id"] for each in rest] == mailing.members[number + 1 :]
    for wrong in (f"/v1/picks?channel=sms&after={row['cursor']}", f"{MAIL}&after=AAAA"):
        refused = mailing.api.get(wrong, expect=404).get_json()
        assert refused["code"] == "unknown_cursor"
        assert refused["errors"][0]["field"] == "after"


def test_a_store_of_which_nothing_is_known_shows_what_is_popular(mailing: Mailing) -> None:
    everywhere = [each["items"] for each in mailing.rows()]
    assert [each["items"] for each in mailing.rows(f"{MAIL}&store=S9")] == everywhere


def test_rows_that_wait_for_a_slow_reader_are_asked_about_again(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "FRESH_SECONDS", -1.0)
    headers = {"Authorization": f"Bearer {mailing.api.key}"}
    lines = mailing.api.client.get(MAIL, headers=headers, buffered=False).iter_encoded()
    first = orjson.loads(next(lines))["member_id"]
    decide(mailing.parts, mailing.members[3], "marketing", granted=False)
    decide(mailing.parts, mailing.ada, "personalisation", granted=False)
    rest = [orjson.loads(line)["member_id"] for line in lines]
    gone = {mailing.members[3], mailing.ada}
    assert [first, *rest] == [each for each in mailing.members if each not in gone]


def test_a_database_that_goes_away_for_a_moment_breaks_no_stream(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, failures = stream.draw, iter([AutoReconnect("gone"), NetworkTimeout("gone")])

    def failing(*args: Any) -> Any:
        for failure in failures:
            raise failure
        return draw(*args)

    monkeypatch.setattr(stream, "draw", failing)
    assert [each["member_id"] for each in mailing.rows()] == mailing.members
    failures = iter([AutoReconnect("gone")] * stream.ATTEMPTS_MAX)
    headers = {"Authorization": f"Bearer {mailing.api.key}"}
    with pytest.raises(AutoReconnect):
        mailing.api.client.get(MAIL, headers=headers)


def test_an_export_gives_what_the_stream_gives(mailing: Mailing) -> None:
    export = mailing.export(format="csv", campaign="spring")
    assert (export["rows"], export["channel"], export["limit"]) == (6, "email", 3)
    rows = mailing.downloaded(export)
    live = mailing.rows(f"{MAIL}&campaign=spring")
    for row in (*rows, *live):
        row.pop("unsubscribe_url")
    assert rows == live
    path = f"{EXPORTS}/{export['id']}/download"
    assert mailing.api.get(path, expect=200).mimetype == "text/csv"
    assert mailing.api.get(f"{path}?format=parquet", expect=200).data[:4] == b"PAR1"


def test_what_the_shop_pinned_is_called_so_in_a_stream_and_in_an_export(mailing: Mailing) -> None:
    pin = {"id": "p", "type": "pin", "match": {"skus": ["milk"]}, "positions": [1]}
    mailing.api.put("/v1/merchandising/default", {"rules": [pin]}, expect=200)
    for rows in (mailing.rows(), mailing.downloaded(mailing.export())):
        first = [each["items"][0] for each in rows]
        assert {each["sku"] for each in first} == {"milk"}
        assert {each["because"] for each in first} == {"Selected by the shop"}


def test_an_export_goes_on_behind_each_row_too(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (exports, stream):
        monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(exports, "PART_BATCHES", 1)
    export = mailing.export()
    assert mailing.parts.database["picks_parts"].count_documents({}) == 3
    for number, row in enumerate(mailing.downloaded(export)):
        rest = mailing.downloaded(export, f"&after={row['cursor']}")
        assert [each["member_id"] for each in rest] == mailing.members[number + 1 :]


def test_who_withdraws_between_the_job_and_the_download_is_not_in_it(mailing: Mailing) -> None:
    export = mailing.export()
    decide(mailing.parts, mailing.members[0], "marketing", granted=False)
    decide(mailing.parts, mailing.ada, "personalisation", granted=False)
    found = {each["member_id"]: each for each in mailing.downloaded(export)}
    assert list(found) == mailing.members[1:]
    ada, bob = found[mailing.ada], found[mailing.members[1]]
    assert (ada["personalised"], ada["reason"]) == (False, "no_consent")
    assert ada["items"] == bob["items"]
    decide(mailing.parts, mailing.members[0], "marketing")
    assert [each["member_id"] for each in mailing.downloaded(export)] == mailing.members


def test_what_must_not_be_shown_by_now_is_not_in_the_download(mailing: Mailing) -> None:
    export = mailing.export()
    catalogue: CatalogueStore = mailing.api.client.application.extensions["carnet"][CatalogueStore]
    catalogue.put_products([Product("bread", "Bread", sensitive=True)])
    assert "bread" not in str([each["items"] for each in mailing.downloaded(export)])


def test_an_export_that_is_not_done_cannot_be_downloaded(mailing: Mailing) -> None:
    asked = mailing.api.post(EXPORTS, {"channel": "email"}, expect=202)
    export = asked.get_json()
    path = f"{EXPORTS}/{export['id']}"
    assert asked.headers["Location"] == path
    assert (export["status"], export["limit"], export["rows"]) == ("queued", 5, 0)
    refused = mailing.api.get(f"{path}/download", expect=409).get_json()
    assert refused["code"] == "export_not_ready"
    mailing.api.post(f"/v1/jobs/{export['job_id']}/cancel", None, expect=200)
    assert mailing.api.get(path, expect=200).get_json()["status"] == "cancelled"
    mailing.api.get(f"{path}/download", expect=409)


def test_an_export_is_asked_for_once_under_a_key(mailing: Mailing) -> None:
    key = {"Idempotency-Key": unique("key")}
    body = {"channel": "email", "format": "csv"}
    answers = [mailing.api.post(EXPORTS, body, headers=key, expect=202) for _ in range(2)]
    assert answers[0].get_json() == answers[1].get_json()
    assert answers[1].headers["Idempotent-Replay"] == "true"
    other = mailing.api.post(EXPORTS, {"channel": "sms"}, headers=key, expect=422).get_json()
    assert other["code"] == "key_reused"
    assert mailing.parts.database["picks_exports"].count_documents({}) == 1


def test_an_export_that_has_expired_is_not_there_and_its_key_is_destroyed(
    mailing: Mailing,
) -> None:
    export = mailing.export()
    parts = mailing.parts
    assert parts.vault.has_key(export["id"])
    past = {"$set": {"expires_at": now() - timedelta(seconds=1)}}
    parts.database["picks_exports"].update_one({"_id": export["id"]}, past)
    for path in ("", "/download"):
        refused = mailing.api.get(f"{EXPORTS}/{export['id']}{path}", expect=404).get_json()
        assert refused["code"] == "export_not_found"
    fresh = mailing.export()
    assert not parts.vault.has_key(export["id"])
    assert parts.vault.has_key(fresh["id"])
    assert parts.database["picks_parts"].distinct("export") == [fresh["id"]]


def test_an_export_that_was_fetched_can_be_removed(mailing: Mailing) -> None:
    export = mailing.export()
    path = f"{EXPORTS}/{export['id']}"
    mailing.api.call("DELETE", path, expect=204)
    for again in (("GET", path), ("GET", f"{path}/download"), ("DELETE", path)):
        mailing.api.call(*again, expect=404)
    mailing.parts.eraser_exports.sweep(now())
    assert not mailing.parts.vault.has_key(export["id"])
    assert mailing.parts.database["picks_parts"].count_documents({}) == 0


def test_only_so_many_exports_are_kept_and_a_retry_still_finds_its_own(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "EXPORTS_MAX", 2)
    body, key = {"channel": "email"}, {"Idempotency-Key": unique("key")}
    first = mailing.api.post(EXPORTS, body, headers=key, expect=202).get_json()
    mailing.api.post(EXPORTS, body, expect=202)
    refused = mailing.api.post(EXPORTS, body, expect=409).get_json()
    assert refused["code"] == "too_many_exports"
    assert mailing.api.post(EXPORTS, body, headers=key, expect=202).get_json() == first
    mailing.api.call("DELETE", f"{EXPORTS}/{first['id']}", expect=204)
    mailing.api.post(EXPORTS, body, expect=202)


def test_nothing_that_is_kept_names_anybody(mailing: Mailing) -> None:
    mailing.export()
    kept = dump(mailing.parts.database)
    text = str(kept["picks_parts"] + kept["picks_exports"] + kept["jobs"])
    assert "example.org" not in text
    assert "bread" not in text
    assert not any(each in text for each in mailing.members if each != mailing.members[-1])


def test_downloading_is_a_look_at_each_member_and_is_counted(mailing: Mailing) -> None:
    export = mailing.export()
    watch: Watch = mailing.api.client.application.extensions["carnet"][Watch]
    watch.flush()
    mailing.parts.database["access_log"].delete_many({})
    mailing.downloaded(export)
    watch.flush()
    found = list(mailing.parts.database["access_log"].find({"purpose": "marketing"}))
    assert sorted(each["member"] for each in found) == mailing.members
    text = mailing.api.get("/metrics", expect=200).get_data(as_text=True)
    line = 'carnet_picks_rows_total{channel="email",format="ndjson",personalised="true"}'
    assert line in text


def test_nobody_stands_in_the_log_and_without_a_key_there_is_nothing(
    capfd: pytest.CaptureFixture[str], mailing: Mailing
) -> None:
    configure_logs()  # pytest gives this phase of the test a stream of its own
    export = mailing.export()
    mailing.downloaded(export)
    logged = capfd.readouterr()
    said = logged.out + logged.err
    assert "/v1/picks/exports/<export_id>/download" in said
    for each in mailing.members:
        assert each not in said
    assert "example.org" not in said
    for path in (MAIL, f"{EXPORTS}/{export['id']}", f"{EXPORTS}/{export['id']}/download"):
        Api(mailing.api.client, "nonsense").get(path, expect=401)


def test_an_erased_member_is_in_no_part_and_no_download(mailing: Mailing) -> None:
    export = mailing.export()
    parts = mailing.parts
    holder = next(e for e in parts.eraser_desk.holders if isinstance(e, ExportStore))
    [held] = holder.held(mailing.ada)
    assert (held.collection, held.category) == ("picks_parts", "picks")
    assert "bread" in held.data["items"]
    assert holder.erase(mailing.ada) == {"picks_parts": 1}
    assert list(holder.held(mailing.ada)) == []
    assert holder.erase(mailing.ada) == {"picks_parts": 0}
    found = [each["member_id"] for each in mailing.downloaded(export)]
    assert found == [each for each in mailing.members if each != mailing.ada]


def test_a_stranger_is_held_nowhere(parts: Parts) -> None:
    nobody = "m_" + "0" * 32
    assert list(parts.exports.held(nobody)) == []
    assert parts.exports.erase(nobody) == {"picks_parts": 0}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "channel"),
        ({"channel": "pigeon"}, "channel"),
        ({"channel": "email", "limit": 0}, "limit"),
        ({"channel": "email", "limit": 101}, "limit"),
        ({"channel": "email", "format": "xlsx"}, "format"),
        ({"channel": "email", "campaign": "a b"}, "campaign"),
        ({"channel": "email", "segment": "x"}, "segment"),
    ],
)
def test_what_an_export_cannot_be_is_named(api: Api, body: dict[str, Any], field: str) -> None:
    refused = api.post(EXPORTS, body, expect=422).get_json()
    assert refused["errors"][0]["field"] == field


def test_sensitive_products_are_mailed_to_whom_agrees_to_that_alone(
    mailing: Mailing, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, ada = mailing.api, mailing.ada
    for _ in range(2):
        api.buy(ada, lines=[{"sku": "pills", "quantity": 1, "amount": 100}])
    assert "pills" not in str(mailing.rows(MAIL))
    api.consent(ada, "sensitive_personalisation")
    (own,) = (each for each in mailing.rows(MAIL) if each["member_id"] == ada)
    assert "pills" in {each["sku"] for each in own["items"]}
    # A row that waits for a slow reader is asked about again.
    monkeypatch.setattr(stream, "FRESH_SECONDS", -1.0)
    headers = {"Authorization": f"Bearer {api.key}"}
    lines = api.client.get(MAIL, headers=headers, buffered=False).iter_encoded()
    next(lines)
    api.consent(ada, "sensitive_personalisation", granted=False)
    assert "pills" not in str(list(lines))


def test_no_cursor_is_a_formula(parts: Parts) -> None:
    question = Question("email", 3)
    made = [parts.cursors.write(f"m_{n:032x}", question) for n in range(500)]
    assert not any(each.startswith(("-", "+", "=", "@")) for each in made)
    assert parts.cursors.read(made[7], question) == f"m_{7:032x}"
