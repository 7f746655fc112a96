"""Consent: unknown means no, and a withdrawal holds on the very next request, anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from loyalty.consent import service
from loyalty.kit.clock import now
from tests.builders import Api, dump, mint_key, unique

if TYPE_CHECKING:
    from app import Parts


@pytest.fixture
def member(shop: Api) -> str:
    return shop.enrol(("card", "1"))


def flags(api: Api, member: str) -> dict[str, bool]:
    shown = api.get(f"/v1/members/{member}/consents", expect=200).get_json()["consents"]
    return {
        each["purpose"] + (f":{each['channel']}" if each["channel"] else ""): each["granted"]
        for each in shown
    }


def share(api: Api, member: str, *, expect: int, **overrides: Any) -> Any:
    body = {"external_id": unique("share"), "channel": "web", "member": member, "type": "share"}
    return api.post("/v1/engagements", {**body, **overrides}, expect=expect)


def test_what_was_never_asked_is_no(shop: Api, member: str) -> None:
    shown = flags(shop, member)
    assert not any(shown.values())
    assert {"personalisation", "social_engagement", "staff_view", "analytics"} < shown.keys()
    assert {"marketing:email", "marketing:sms", "marketing:push"} < shown.keys()


def test_a_decision_changes_what_it_names_and_nothing_else(shop: Api, member: str) -> None:
    shop.consent(member, "personalisation")
    shop.consent(member, "marketing", channel="email")
    agreed = {name for name, granted in flags(shop, member).items() if granted}
    assert agreed == {"personalisation", "marketing:email"}
    shop.consent(member, "personalisation", granted=False)
    assert {name for name, granted in flags(shop, member).items() if granted} == {"marketing:email"}


def test_the_last_of_two_decisions_in_one_request_holds(shop: Api, member: str) -> None:
    both = [{"purpose": "analytics", "granted": granted} for granted in (True, False)]
    shop.put(f"/v1/members/{member}/consents", {"decisions": both}, expect=200)
    assert not flags(shop, member)["analytics"]


def test_a_withdrawal_is_never_late_on_another_instance(
    shop: Api, elsewhere: Api, member: str
) -> None:
    stale = 0
    for number in range(100):
        granted = number % 2 == 0
        writer, reader = (shop, elsewhere) if number % 4 < 2 else (elsewhere, shop)
        writer.consent(member, "social_engagement", granted=granted)
        stale += flags(reader, member)["social_engagement"] != granted
        answer = share(reader, member, expect=201 if granted else 403)
        stale += (answer.status_code == 201) != granted
    assert stale == 0


@pytest.mark.parametrize(
    "social",
    [{"type": "follow"}, {"type": "share"}, {"type": "review", "channel": "social"}],
    ids=["follow", "share", "on a social channel"],
)
def test_social_engagement_needs_its_consent(
    shop: Api, parts: Parts, member: str, social: dict[str, str]
) -> None:
    shop.consent(member, "personalisation")
    before = dump(parts.database)
    assert share(shop, member, expect=403, **social).get_json()["code"] == "consent_required"
    assert dump(parts.database) == before
    shop.consent(member, "social_engagement")
    share(shop, member, expect=201, **social)


def test_a_stranger_on_a_network_is_not_even_enrolled(shop: Api, parts: Parts) -> None:
    before = dump(parts.database)
    body = {
        "external_id": "1",
        "channel": "social",
        "type": "follow",
        "identifier": {"type": "social:insta", "value": "ada"},
    }
    shop.post("/v1/engagements", body, expect=403)
    assert dump(parts.database) == before


def test_other_engagement_needs_none(shop: Api, member: str) -> None:
    share(shop, member, expect=201, type="review")


def test_a_retry_gets_its_answer_after_a_withdrawal_too(shop: Api, member: str) -> None:
    shop.consent(member, "social_engagement")
    first = share(shop, member, expect=201, external_id="1")
    shop.consent(member, "social_engagement", granted=False)
    again = share(shop, member, expect=201, external_id="1")
    assert again.data == first.data
    assert again.headers["Idempotent-Replay"] == "true"
    share(shop, member, expect=403, external_id="2")


def test_staff_sees_a_history_only_where_the_member_agrees(
    shop: Api, parts: Parts, member: str
) -> None:
    staff = shop.speaking_with(mint_key(parts, "staff:read"))
    back_office = shop.speaking_with(mint_key(parts, "journal:read"))
    paths = (f"/v1/members/{member}/journal", f"/v1/entries/{shop.buy(member)['entry_id']}")
    for granted in (None, True, False, True):
        if granted is not None:
            shop.consent(member, "staff_view", granted=granted)
        for path in paths:
            staff.get(path, expect=200 if granted else 403)
            back_office.get(path, expect=200)


def test_a_restriction_stops_what_needs_consent_and_not_the_till(
    shop: Api, parts: Parts, member: str
) -> None:
    shop.consent(member, "personalisation")
    how: dict[str, Any] = {"at": now(), "by": "tests", "method": "request"}
    how |= {"consents": parts.consents, "members": parts.members}
    for restricted in (True, False):
        service.restrict(member, restricted=restricted, **how)
        shown = shop.get(f"/v1/members/{member}/consents", expect=200).get_json()
        assert shown["restricted"] is restricted
        assert flags(shop, member)["personalisation"] is not restricted
        shop.buy(member)
        path = f"/v1/members/{member}/recommendations"
        reason = shop.get(path, expect=200).get_json()["reason"]
        assert reason == ("no_consent" if restricted else "no_model")


def test_every_decision_stays_on_record_newest_first(shop: Api, member: str) -> None:
    decision = {"purpose": "analytics", "granted": True}
    notice = {"version": "privacy-2026-01", "texts": {"en": "We count."}}
    shop.post("/v1/notices", notice, expect=201)
    body = {"decisions": [decision], "method": "till", "notice_version": "privacy-2026-01"}
    receipt = shop.put(f"/v1/members/{member}/consents", body, expect=200).get_json()
    for number in range(11):
        shop.consent(member, "analytics", granted=number % 2 == 0)
    seen = []
    path = f"/v1/members/{member}/consents/records?limit=5"
    page = shop.get(path, expect=200).get_json()
    while True:
        seen += page["records"]
        if not page["next_cursor"]:
            break
        page = shop.get(f"{path}&cursor={page['next_cursor']}", expect=200).get_json()
    assert [each["seq"] for each in seen] == list(range(12, 0, -1))
    assert seen[-1] == receipt
    assert (receipt["method"], receipt["notice_version"]) == ("till", "privacy-2026-01")
    (decided,) = receipt["decisions"]
    assert decided.items() >= {**decision, "channel": None, "status": "granted"}.items()


def test_nobody_decides_nothing(shop: Api) -> None:
    decisions = {"decisions": [{"purpose": "analytics", "granted": True}]}
    shop.put("/v1/members/m_" + "0" * 32 + "/consents", decisions, expect=404)


def test_only_a_yes_that_is_known_to_be_the_members_own_lifts_an_objection(
    shop: Api, member: str
) -> None:
    path = f"/v1/members/{member}/consents"
    objection = {"purpose": "marketing", "granted": False, "objection": True}
    shop.put(path, {"decisions": [objection], "method": "form"}, expect=200)
    yes = {"purpose": "marketing", "channel": "email", "granted": True}
    for unknown in ({}, {"method": "till"}):
        record = shop.put(path, {"decisions": [yes], **unknown}, expect=200).get_json()
        assert record["method"] == unknown.get("method", "unstated")
        assert not flags(shop, member)["marketing:email"]
    shop.put(path, {"decisions": [yes], "method": "call"}, expect=200)
    assert flags(shop, member)["marketing:email"]
