"""The register of processing is what is configured, and leaves no collection out."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from app import initialise
from loyalty.access import model as keys
from loyalty.consent.purposes import built_in
from loyalty.kit.clock import now
from loyalty.register.model import ALIASES, CATEGORIES, COLLECTIONS, purposes
from loyalty.retention.model import BOUNDS
from tests.builders import mint_key

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

ROOT = Path(__file__).parents[2]
PATH = "/v1/privacy/register"


def test_every_collection_of_the_database_is_in_it(parts: Parts, settings: Settings) -> None:
    initialise(settings, parts)
    there = set(parts.database.list_collection_names())
    there |= {f"vault:{name}" for name in parts.vault.database.list_collection_names()}
    assert there <= COLLECTIONS.keys()


def test_every_collection_that_the_code_names_is_in_it() -> None:
    named = set()
    for folder in ("loyalty", "recommend"):
        for file in (ROOT / folder).rglob("*.py"):
            named |= set(re.findall(r'\bdatabase\["([a-z_]+)"\]', file.read_text()))
    assert len(named) > 20
    assert {each for each in named if each not in COLLECTIONS} == set()


def test_its_tables_fit_together() -> None:
    used = {name for names in COLLECTIONS.values() for name in names}
    assert used <= CATEGORIES.keys()
    for purpose in purposes(built_in()):
        assert {ALIASES.get(each, each) for each in purpose.categories} <= CATEGORIES.keys()
    assert {each.rule for each in CATEGORIES.values() if each.rule} <= BOUNDS.keys()


def test_keys_are_recipients_of_what_their_scopes_open(api: Api, parts: Parts) -> None:
    tool, text = keys.mint(
        "E-mail tool", frozenset({"messages:read"}), at=now(), channel=None, store=None
    )
    gone, _ = keys.mint("Old", frozenset({"messages:read"}), at=now(), channel=None, store=None)
    for key in (tool, gone):
        parts.keys.add(key)
    parts.keys.revoke(gone.id, at=now())
    found = api.get(PATH, expect=200).get_json()["purposes"]
    rights = next(each for each in found if each["name"] == "rights")
    recipients = {each["key_id"]: each["scopes"] for each in rights["recipients"]}
    assert recipients[tool.id] == ["messages:read"]
    staff = next(each for each in found if each["name"] == "staff_view")
    assert "staff:read" in {scope for each in staff["recipients"] for scope in each["scopes"]}
    assert gone.id not in recipients
    api.speaking_with(text).get(PATH, expect=403)


def test_retention_in_it_is_the_one_that_is_set(api: Api) -> None:
    rules = api.get("/v1/retention", expect=200).get_json()
    fresh = {name: rules[name] for name in rules if not name.startswith("changed")}
    api.put("/v1/retention", {**fresh, "access_log_days": 77}, expect=200)
    found = api.get(PATH, expect=200).get_json()["categories"]
    access = next(each for each in found if each["name"] == "access")
    assert access["kept"].startswith("77 days")
    assert access["collections"] == ["access_log"]


def test_the_controller_is_named_by_the_shop(api: Api) -> None:
    assert api.get(PATH, expect=200).get_json()["controller"] == {}
    named = {"name": "Meadow", "contact": "privacy@meadow.example"}
    assert api.put(f"{PATH}/controller", named, expect=200).get_json() == named
    assert api.get(PATH, expect=200).get_json()["controller"] == named


def test_it_is_a_table_for_a_spreadsheet_without_formulas(api: Api, parts: Parts) -> None:
    key, _ = keys.mint(
        "=HYPERLINK(A1)", frozenset({"messages:read"}), at=now(), channel=None, store=None
    )
    parts.keys.add(key)
    answer = api.get(PATH, headers={"Accept": "text/csv"}, expect=200)
    assert answer.mimetype == "text/csv"
    rows = list(csv.reader(io.StringIO(answer.get_data(as_text=True), newline="")))
    assert [row[0] for row in rows[1:]] == [each.name for each in purposes(built_in())]
    assert not [each for row in rows for each in row if each.startswith(("=", "+", "-", "@"))]


def test_it_is_a_page_that_runs_nothing(api: Api, parts: Parts) -> None:
    hostile = "<script>alert(1)</script>"
    key, _ = keys.mint(hostile, frozenset({"messages:read"}), at=now(), channel=None, store=None)
    parts.keys.add(key)
    answer = api.get(PATH, headers={"Accept": "text/html"}, expect=200)
    text = answer.get_data(as_text=True)
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.findall(r"""(?:src|href)=["']?(?:https?:|//)""", text)


def test_only_who_may_sees_it(api: Api, parts: Parts) -> None:
    api.speaking_with(mint_key(parts, "members:read")).get(PATH, expect=403)


def test_receipts_and_pages_name_the_controller_that_the_shop_named(api: Api) -> None:
    member = api.enrol()
    decision = {"decisions": [{"purpose": "analytics", "granted": True}]}
    record = api.put(f"/v1/members/{member}/consents", decision, expect=200).get_json()
    path = f"/v1/members/{member}/consents/records/{record['id']}/receipt"
    unnamed = api.get(path, expect=200).get_json()["dpv:hasRecordOfActivity"]
    assert unnamed["dpv:hasJurisdiction"] == []
    named = {"name": "Meadow", "contact": "privacy@meadow.example", "country": "FR"}
    api.put(f"{PATH}/controller", named, expect=200)
    told = api.get(path, expect=200).get_json()["dpv:hasRecordOfActivity"]
    assert told["dpv:hasJurisdiction"] == ["loc:FR"]
    assert told["dpv:hasDataController"]["dpv:hasName"] == "Meadow"
    link = api.post(f"/v1/members/{member}/links", {"use": "preferences"}, expect=201).get_json()
    page = api.client.get(link["url"], headers={"Accept": "text/html"}).get_data(as_text=True)
    assert "Responsible for your data: Meadow, privacy@meadow.example." in page
    api.put(f"{PATH}/controller", {**named, "country": "France"}, expect=422)


def test_a_notice_changes_purposes_that_there_are(api: Api) -> None:
    body = {"texts": {"en": "We look."}, "purposes": ["zzz"]}
    answer = api.post("/v1/notices", body, expect=409).get_json()
    assert (answer["code"], answer["errors"][0]["field"]) == ("unknown_purpose", "purposes.0")
    assert api.get("/v1/notices", expect=200).get_json()["notices"] == []
