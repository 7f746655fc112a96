"""`Sec-GPC: 1` refuses profiling, sharing and statistics: for the request, and on record once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.consent import gate, gpc
from loyalty.kit.clock import now
from tests.builders import dump, unique

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

# The specification: the field's value is exactly 1; anything else is as if it were not there.
TABLE: list[tuple[list[tuple[str, str]], bool]] = [
    ([], False),
    ([("Sec-GPC", "1")], True),
    ([("sec-gpc", "1")], True),
    ([("SEC-GPC", "1")], True),
    ([("Sec-GPC", "0")], False),
    ([("Sec-GPC", " 1")], False),
    ([("Sec-GPC", "")], False),
    ([("Sec-GPC", "true")], False),
    ([("Sec-GPC", "01")], False),
    ([("Sec-GPC", "1, 1")], False),
    ([("Sec-GPC", "1"), ("Sec-GPC", "1")], False),
    ([("DNT", "1")], False),
]
NAMES = [str(each) for each, _ in TABLE]
SIGNAL = {"Sec-GPC": "1"}


@pytest.fixture
def member(shop: Api) -> str:
    return shop.enrol(("card", "1"))


def callers(shop: Api, member: str) -> dict[str, Api]:
    token = shop.post(f"/v1/members/{member}/token", {}, expect=201).get_json()["token"]
    return {"key": shop, "token": shop.speaking_with(token)}


def agree(shop: Api, member: str) -> None:
    decisions = [{"purpose": purpose, "granted": True} for purpose in gpc.SIGNALLED]
    shop.put(f"/v1/members/{member}/consents", {"decisions": decisions}, expect=200)


def methods(parts: Parts, member: str) -> list[str]:
    return [each.method for each in parts.consents.page(member, before_seq=None, limit=50)][::-1]


@pytest.mark.parametrize("caller", ["key", "token"])
@pytest.mark.parametrize(("headers", "counts"), TABLE, ids=NAMES)
def test_the_table_of_the_specification_on_a_read(
    shop: Api,
    parts: Parts,
    member: str,
    caller: str,
    headers: list[tuple[str, str]],
    *,
    counts: bool,
) -> None:
    agree(shop, member)
    speaker = callers(shop, member)[caller]
    all_headers = [("Authorization", f"Bearer {speaker.key}"), *headers]
    path = f"/v1/members/{member}/recommendations"
    shown = speaker.client.get(path, headers=all_headers).get_json()
    assert (shown["reason"] == "browser_signal") is counts
    assert not shown["personalised"]
    assert methods(parts, member) == ["unstated", *["browser_signal"] * counts]
    for purpose in gpc.SIGNALLED:
        found = gate.permit(member, purpose, at=now(), consents=parts.consents)
        assert (found is None) is counts


@pytest.mark.parametrize(("headers", "counts"), TABLE, ids=NAMES)
def test_the_table_of_the_specification_on_a_write(
    shop: Api, parts: Parts, member: str, headers: list[tuple[str, str]], *, counts: bool
) -> None:
    agree(shop, member)
    body = {
        "external_id": unique("view"),
        "channel": "web",
        "member": member,
        "type": "view",
        "skus": ["milk"],
    }
    all_headers = [("Authorization", f"Bearer {shop.key}"), *headers]
    answer = shop.client.post("/v1/engagements", json=body, headers=all_headers)
    assert answer.status_code == (403 if counts else 201), answer.data
    assert methods(parts, member) == ["unstated", *["browser_signal"] * counts]


def test_it_is_recorded_once_however_often_it_comes(shop: Api, parts: Parts, member: str) -> None:
    path = f"/v1/members/{member}/points"

    def ask(_: int) -> int:
        return shop.speaking_with(shop.key).get(path, headers=SIGNAL).status_code

    with ThreadPoolExecutor(4) as workers:
        assert set(workers.map(ask, range(12))) == {200}
    assert methods(parts, member) == ["browser_signal"]
    (record,) = parts.consents.page(member, before_seq=None, limit=5)
    assert {each.purpose for each in record.decisions} == set(gpc.SIGNALLED)
    assert {each.status for each in record.decisions} == {"refused"}
    assert record.has_signal


def test_what_is_refused_already_is_not_recorded_again(
    shop: Api, parts: Parts, member: str
) -> None:
    for purpose in gpc.SIGNALLED:
        shop.consent(member, purpose, granted=False)
    before = dump(parts.database)
    shop.get(f"/v1/members/{member}/recommendations", headers=SIGNAL, expect=200)
    assert dump(parts.database) == before


def test_a_yes_that_comes_with_the_signal_is_kept_and_the_signal_still_counts(
    shop: Api, parts: Parts, member: str
) -> None:
    body = {"decisions": [{"purpose": "personalisation", "granted": True}]}
    shop.put(f"/v1/members/{member}/consents", body, headers=SIGNAL, expect=200)
    assert methods(parts, member) == ["unstated", "browser_signal"]
    path = f"/v1/members/{member}/recommendations"
    for _ in range(2):
        shown = shop.get(path, headers=SIGNAL, expect=200).get_json()
        assert (shown["personalised"], shown["reason"]) == (False, "browser_signal")
    assert methods(parts, member) == ["unstated", "browser_signal"]
    assert shop.get(path, expect=200).get_json()["reason"] != "no_consent"
    for purpose, agrees in (("personalisation", True), ("sharing", False), ("analytics", False)):
        found = gate.permit(member, purpose, at=now(), consents=parts.consents)
        assert (found is not None) is agrees


def test_an_older_yes_is_withdrawn_by_it(shop: Api, parts: Parts, member: str) -> None:
    agree(shop, member)
    shop.get(f"/v1/members/{member}", headers=SIGNAL, expect=200)
    standing = parts.consents.standing(member)
    assert {standing.flags[each].status for each in gpc.SIGNALLED} == {"withdrawn"}
    assert {standing.flags[each].method for each in gpc.SIGNALLED} == {"browser_signal"}


def test_a_stranger_leaves_nothing_behind(shop: Api, parts: Parts) -> None:
    before = dump(parts.database)
    nobody = "m_" + "0" * 32
    shop.get(f"/v1/members/{nobody}/recommendations", headers=SIGNAL, expect=404)
    shop.get(f"/v1/members/{nobody}/points", headers=SIGNAL, expect=404)
    shop.client.get("/v1/members/x/points", headers=SIGNAL)
    shop.client.get("/health/live", headers=SIGNAL)
    assert dump(parts.database) == before


def test_marketing_and_the_programme_are_not_what_it_speaks_of(
    shop: Api, parts: Parts, member: str
) -> None:
    shop.consent(member, "marketing", channel="email")
    shop.get(f"/v1/members/{member}/points", headers=SIGNAL, expect=200)
    asked: dict[str, Any] = {"at": now(), "consents": parts.consents, "gpc": True}
    assert gate.permit(member, "marketing", "email", **asked) is not None
    assert gate.permit(member, "loyalty_programme", **asked) is not None


def test_the_site_says_that_it_honours_it(shop: Api) -> None:
    answer = shop.client.get("/.well-known/gpc.json")
    assert answer.status_code == 200
    assert answer.mimetype == "application/json"
    assert answer.get_json() == {"gpc": True, "lastUpdate": gpc.LAST_UPDATE}
