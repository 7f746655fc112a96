"""Profiles and referrals over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from loyalty.kit.observe import configure_logs
from tests.api.test_browser_tokens import token_of
from tests.builders import dump, mint_key

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

NOBODY = "m_" + "0" * 32
NO_PROFILE: dict[str, Any] = {"birthday": None, "segments": []}


def profile_of(api: Api, member: str) -> Any:
    return api.get(f"/v1/members/{member}", expect=200).get_json()["profile"]


def code_of(api: Api, member: str) -> str:
    code: str = api.post(f"/v1/members/{member}/referral-code", None, expect=201).get_json()["code"]
    return code


def refer(api: Api, member: str, code: str, *, expect: int = 201) -> Any:
    return api.post(f"/v1/members/{member}/referrer", {"code": code}, expect=expect)


def refused(api: Api, parts: Parts, member: str, code: str, *, why: str, status: int = 409) -> None:
    """Assert that a referral is refused, the code named and nothing written."""
    before = dump(parts.database)
    answer = refer(api, member, code, expect=status).get_json()
    assert answer["code"] == why
    assert [each["field"] for each in answer["errors"]] == ["code"]
    assert dump(parts.database) == before


def test_a_profile_is_replaced_as_a_whole(api: Api) -> None:
    member = api.enrol(("card", "1"))
    assert profile_of(api, member) == NO_PROFILE
    path = f"/v1/members/{member}/profile"
    full = {"birthday": "--02-29", "segments": ["vip", "organic", "vip"]}
    shown = api.put(path, full, expect=200).get_json()
    assert shown["profile"] == {"birthday": "--02-29", "segments": ["organic", "vip"]}
    assert api.put(path, full, expect=200).get_json() == shown
    assert api.get(f"/v1/members/{member}").get_json() == shown
    # What it showed can be sent back.
    assert api.put(path, shown["profile"], expect=200).get_json() == shown
    for body, rest in (
        ({"segments": ["organic"]}, {"birthday": None, "segments": ["organic"]}),
        ({"birthday": "--12-31"}, {"birthday": "--12-31", "segments": []}),
        ({"birthday": None}, NO_PROFILE),
    ):
        assert api.put(path, body, expect=200).get_json()["profile"] == rest
        assert profile_of(api, member) == rest


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"birthday": "--02-30"}, "birthday"),
        ({"birthday": "1990-02-28"}, "birthday"),
        ({"birthday": {"$gt": ""}}, "birthday"),
        ({"segments": ["ok", "Not OK"]}, "segments.1"),
        ({"segments": [f"s{number}" for number in range(51)]}, "segments"),
        ({"segments": {"$ne": []}}, "segments"),
        ({"name": "Ada"}, "name"),
    ],
    ids=range(7),
)
def test_a_profile_with_a_mistake_names_it_and_changes_nothing(
    api: Api, parts: Parts, body: dict[str, Any], field: str
) -> None:
    member = api.enrol(("card", "1"))
    api.put(f"/v1/members/{member}/profile", {"birthday": "--02-29"}, expect=200)
    before = dump(parts.database)
    answer = api.put(f"/v1/members/{member}/profile", body, expect=422).get_json()
    assert [each["field"] for each in answer["errors"]] == [field]
    assert dump(parts.database) == before


def test_a_browser_reads_the_profile_and_does_not_write_it(api: Api) -> None:
    member = api.enrol(("card", "1"))
    api.put(f"/v1/members/{member}/profile", {"segments": ["vip"]}, expect=200)
    browser = token_of(api, member)
    assert profile_of(browser, member)["segments"] == ["vip"]
    browser.put(f"/v1/members/{member}/profile", {"birthday": "--01-01"}, expect=403)
    refer(browser, member, "7K3M-9Q2T", expect=403)


def test_enrolling_a_provisional_member_keeps_its_profile(shop: Api) -> None:
    body = {
        "external_id": "1",
        "channel": "web",
        "type": "visit",
        "identifier": {"type": "card", "value": "77"},
    }
    member = shop.post("/v1/engagements", body, expect=201).get_json()["member_id"]
    shop.put(f"/v1/members/{member}/profile", {"birthday": "--05-01"}, expect=200)
    assert shop.enrol(("card", "77"), ("email", "ada@example.com")) == member
    assert profile_of(shop, member)["birthday"] == "--05-01"


def test_a_code_stays_the_same_and_a_browser_may_ask_for_its_own(api: Api) -> None:
    member, other = api.enrol(("card", "1")), api.enrol(("card", "2"))
    first = api.post(f"/v1/members/{member}/referral-code", None, expect=201)
    assert "Idempotent-Replay" not in first.headers
    browser = token_of(api, member)
    again = browser.post(f"/v1/members/{member}/referral-code", None, expect=201)
    assert again.data == first.data
    assert again.headers["Idempotent-Replay"] == "true"
    browser.post(f"/v1/members/{other}/referral-code", None, expect=403)
    assert code_of(api, other) != code_of(api, member)
    api.post(f"/v1/members/{NOBODY}/referral-code", None, expect=404)


def test_a_referrer_is_recorded_once_and_the_same_again_is_a_replay(
    shop: Api, parts: Parts
) -> None:
    ada, bob, eve = (shop.enrol(("card", str(number))) for number in range(3))
    code = code_of(shop, ada)
    first = refer(shop, bob, code)
    assert first.get_json()["referrer_id"] == ada
    assert parts.members.about(bob).referrer_id == ada
    for typed in (code, code.lower(), code.replace("-", "")):
        again = refer(shop, bob, typed)
        assert again.data == first.data
        assert again.headers["Idempotent-Replay"] == "true"
    refused(shop, parts, bob, code_of(shop, eve), why="referrer_recorded")
    # Replay before state: a retry after the first purchase is still the same fact.
    shop.buy(bob)
    assert refer(shop, bob, code).data == first.data


def test_who_has_bought_is_not_referred_any_more(shop: Api, parts: Parts) -> None:
    ada, bob = shop.enrol(("card", "1")), shop.enrol(("card", "2"))
    code = code_of(shop, ada)
    visit = {"external_id": "1", "channel": "web", "member": bob, "type": "visit"}
    shop.post("/v1/engagements", visit, expect=201)
    shop.buy(bob)
    refused(shop, parts, bob, code, why="has_bought")
    # Whoever refers may have bought before, and whoever only looked around may be referred.
    eve = shop.enrol(("card", "3"))
    shop.post("/v1/engagements", {**visit, "member": eve, "external_id": "2"}, expect=201)
    refer(shop, eve, code_of(shop, bob))


def test_nobody_refers_themselves_under_another_spelling_either(shop: Api, parts: Parts) -> None:
    ada = shop.enrol(("email", "ada@example.com"), ("card", "1"))
    code = code_of(shop, ada)
    refused(shop, parts, ada, code, why="self_referral")
    for number, own in enumerate((("email", "ada+new@example.com"), ("app", "Ada@Example.com"))):
        twin = shop.enrol(own, ("card", f"9{number}"))
        refused(shop, parts, twin, code, why="self_referral")
    refer(shop, shop.enrol(("email", "bob@example.com")), code)


def test_no_circle_of_two_or_of_four(shop: Api, parts: Parts) -> None:
    ring = [shop.enrol(("card", str(number))) for number in range(4)]
    refer(shop, ring[1], code_of(shop, ring[0]))
    refused(shop, parts, ring[0], code_of(shop, ring[1]), why="circular_referral")
    for above, below in ((1, 2), (2, 3)):
        refer(shop, ring[below], code_of(shop, ring[above]))
    refused(shop, parts, ring[0], code_of(shop, ring[3]), why="circular_referral")


def test_a_code_that_nobody_has(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    for code in ("ZZZZ-ZZZZ", "UUUUUUUU", "0000 0000 0000"):
        refused(shop, parts, member, code, why="unknown_referral_code", status=404)
    assert refer(shop, NOBODY, "ZZZZ-ZZZZ", expect=404).get_json()["code"] == "member_not_found"
    for wrong in ("", "short", "x" * 17, "7K3M_9Q2T", "7K3M-9Q2T\n", 5, {"$gt": ""}):
        answer = shop.post(f"/v1/members/{member}/referrer", {"code": wrong}, expect=422)
        assert answer.get_json()["errors"][0]["field"] == "code"


def test_scopes_of_profile_and_referral(api: Api, parts: Parts) -> None:
    member = api.enrol(("card", "1"))
    reader = api.speaking_with(mint_key(parts, "members:read"))
    assert profile_of(reader, member) == NO_PROFILE
    reader.put(f"/v1/members/{member}/profile", {}, expect=403)
    reader.post(f"/v1/members/{member}/referral-code", None, expect=403)
    refer(reader, member, "ZZZZ-ZZZZ", expect=403)


def test_neither_birthday_nor_code_gets_into_the_log(
    shop: Api, parts: Parts, capfd: pytest.CaptureFixture[str]
) -> None:
    configure_logs()
    ada, bob = shop.enrol(("card", "1")), shop.enrol(("card", "2"))
    shop.put(f"/v1/members/{ada}/profile", {"birthday": "--02-29"}, expect=200)
    shop.put(f"/v1/members/{ada}/profile", {"birthday": "--02-30"}, expect=422)
    code = code_of(shop, ada)
    refer(shop, bob, code)
    said = "".join(capfd.readouterr())
    assert "/profile" in said or "put_profile" in said
    for personal in ("02-29", "02-30", code, code.replace("-", "")):
        assert personal not in said
    assert "02-29" not in repr(dump(parts.database))
