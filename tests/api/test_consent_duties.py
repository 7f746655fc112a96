"""Purposes, notices, confirmations, ages, imports, receipts, and asking again."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from loyalty.access.links import LinkMint
from loyalty.consent import ledger, opt_in, service
from loyalty.consent.model import PURPOSES, AlreadyConfirmedError, Decision
from loyalty.consent.purpose_store import PurposeShelf, PurposeStore
from loyalty.consent.purposes import built_in
from loyalty.kit.clock import now
from tests.api.test_authentication import Clock
from tests.builders import dump, mint_key, unique

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

NDJSON = {"Content-Type": "application/x-ndjson"}
NOTICE: dict[str, Any] = {
    "version": "privacy-1",
    "texts": {"en": "We look.\nYou decide.", "fr": "Nous regardons."},
}


@pytest.fixture
def member(api: Api) -> str:
    return api.enrol(("card", "1"), ("email", "ada@example.com"))


def put(api: Api, member: str, *decisions: dict[str, Any], expect: int = 200, **more: Any) -> Any:
    headers = more.pop("headers", {})
    body = {"decisions": list(decisions), **more}
    path = f"/v1/members/{member}/consents"
    return api.put(path, body, expect=expect, headers=headers).get_json()


def yes(purpose: str, channel: str | None = None, **more: Any) -> dict[str, Any]:
    named = {"channel": channel} if channel else {}
    return {"purpose": purpose, "granted": True, **named, **more}


def stands(api: Api, member: str, purpose: str, channel: str | None = None) -> tuple[str, bool]:
    shown = api.get(f"/v1/members/{member}/consents", expect=200).get_json()["consents"]
    (flag,) = [each for each in shown if (each["purpose"], each["channel"]) == (purpose, channel)]
    return flag["status"], flag["granted"]


def changed(api: Api, name: str, **changes: Any) -> None:
    listed = api.get("/v1/purposes", expect=200).get_json()["purposes"]
    (purpose,) = [each for each in listed if each["name"] == name]
    api.put("/v1/purposes", {"purposes": [{**purpose, **changes}]}, expect=200)


# Purposes and notices


def test_purposes_say_what_why_and_what_it_gives_in_both_languages(api: Api) -> None:
    listed = api.get("/v1/purposes", expect=200).get_json()["purposes"]
    assert [each["name"] for each in listed] == list(built_in())
    for each in listed:
        assert each["texts"].keys() == {"en", "fr"}
        assert all(text for words in each["texts"].values() for text in words.values())
        assert (each["basis"] == "consent") == (each["name"] in PURPOSES)


def test_a_shop_adds_a_purpose_of_its_own_and_asks_for_it(api: Api, member: str) -> None:
    put(api, member, yes("newsletter_poll"), expect=409)
    listed = api.get("/v1/purposes").get_json()["purposes"]
    fresh = {**listed[0], "name": "newsletter_poll", "expires_in_months": None}
    api.put("/v1/purposes", {"purposes": [fresh]}, expect=200)
    put(api, member, yes("newsletter_poll"))
    assert stands(api, member, "newsletter_poll") == ("granted", True)


@pytest.mark.parametrize("basis", ["contract", "legitimate_interest", "legal_obligation"])
def test_a_built_in_purpose_never_stands_on_less(api: Api, basis: str) -> None:
    purpose = api.get("/v1/purposes").get_json()["purposes"][0]
    body = {"purposes": [{**purpose, "basis": basis}]}
    refused = api.put("/v1/purposes", body, expect=409).get_json()
    assert refused["code"] == "weaker_basis"
    assert refused["errors"][0]["field"] == "purposes.0.basis"


def test_a_channel_that_is_no_longer_asked_for_can_be_withdrawn(api: Api, member: str) -> None:
    for channel in ("email", "sms"):
        api.consent(member, "marketing", channel=channel)
    marketing = purpose(api, "marketing")
    api.put("/v1/purposes", {"purposes": [{**marketing, "channels": ["email"]}]}, expect=200)
    path = f"/v1/members/{member}/consents"
    no = {"purpose": "marketing", "channel": "sms", "granted": False}
    api.put(path, {"decisions": [{**no, "granted": True}]}, expect=409)
    kept = api.put(path, {"decisions": [no]}, expect=200).get_json()
    assert [each["status"] for each in kept["decisions"]] == ["withdrawn"]
    link = api.post(f"/v1/members/{member}/links", {"use": "unsubscribe", "channel": "sms"})
    click = {"List-Unsubscribe": "One-Click"}
    assert api.client.post(link.get_json()["url"], data=click).status_code == 200


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("marketing", {"channels": [], "double_opt_in": []}, "purposes.0.channels"),
        ("personalisation", {"channels": ["email"]}, "purposes.0.channels"),
        (
            "marketing",
            {"channels": ["sms"], "double_opt_in": ["email"]},
            "purposes.0.double_opt_in",
        ),
    ],
)
def test_a_purpose_is_agreed_to_in_the_way_the_program_asks(
    api: Api, name: str, change: dict[str, list[str]], field: str
) -> None:
    body = {"purposes": [{**purpose(api, name), **change}]}
    refused = api.put("/v1/purposes", body, expect=409).get_json()
    assert [each["field"] for each in refused["errors"]] == [field]


def purpose(api: Api, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = api.get("/v1/purposes").get_json()["purposes"]
    return next(each for each in found if each["name"] == name)


def test_a_changed_purpose_holds_on_every_worker_within_a_second(parts: Parts) -> None:
    clock = Clock()
    shelf = PurposeShelf(PurposeStore(parts.database), monotonic=clock)
    assert shelf.all()["analytics"].expires_in_months == 36
    fresh = built_in()["analytics"]._replace(expires_in_months=1)
    parts.consents.purposes.put([fresh])
    assert shelf.all()["analytics"].expires_in_months == 36
    clock.seconds += 1
    assert shelf.all()["analytics"] == fresh


def test_a_notice_is_kept_word_for_word_and_never_changed(api: Api) -> None:
    made = api.post("/v1/notices", NOTICE, expect=201).get_json()
    assert made["sha256"]["en"] == hashlib.sha256(NOTICE["texts"]["en"].encode()).hexdigest()
    assert api.get("/v1/notices/privacy-1", expect=200).get_json() == made
    again = api.post("/v1/notices", NOTICE, expect=201)
    assert again.headers["Idempotent-Replay"] == "true"
    other = {**NOTICE, "texts": {"en": "We look at more."}}
    assert api.post("/v1/notices", other, expect=409).get_json()["code"] == "notice_exists"
    numbered = api.post("/v1/notices", {"texts": {"en": "Two."}}, expect=201).get_json()
    assert (numbered["version"], numbered["number"]) == ("2", 2)
    listed = api.get("/v1/notices?limit=1", expect=200).get_json()
    assert [each["version"] for each in listed["notices"]] == ["2"]
    rest = api.get(f"/v1/notices?cursor={listed['next_cursor']}", expect=200).get_json()
    assert [each["version"] for each in rest["notices"]] == ["privacy-1"]
    api.get("/v1/notices/none", expect=404)


def test_a_decision_names_a_notice_that_exists_in_that_language(api: Api, member: str) -> None:
    api.post("/v1/notices", NOTICE, expect=201)
    for more, field in (
        ({"notice_version": "privacy-9"}, "notice_version"),
        ({"notice_version": "privacy-1", "language": "de"}, "language"),
        ({"notice_version": "privacy-1"}, "language"),
    ):
        refused = put(api, member, yes("analytics"), expect=409, **more)
        assert (refused["code"], refused["errors"][0]["field"]) == ("unknown_notice", field)
    made = put(api, member, yes("analytics"), notice_version="privacy-1", language="fr")
    assert (made["notice_version"], made["language"]) == ("privacy-1", "fr")


def test_a_repeated_put_is_one_record(api: Api, member: str) -> None:
    headers = {"Idempotency-Key": unique("key")}
    first = put(api, member, yes("analytics"), headers=headers)
    put(api, member, {"purpose": "analytics", "granted": False})
    path = f"/v1/members/{member}/consents"
    again = api.put(path, {"decisions": [yes("analytics")]}, headers=headers, expect=200)
    assert again.get_json()["id"] == first["id"]
    assert again.headers["Idempotent-Replay"] == "true"
    assert stands(api, member, "analytics") == ("withdrawn", False)
    refused = put(api, member, yes("staff_view"), headers=headers, expect=422)
    assert refused["code"] == "key_reused"


def test_a_till_that_was_offline_never_overrides_what_came_later(api: Api, member: str) -> None:
    put(api, member, yes("analytics"))
    put(api, member, {"purpose": "analytics", "granted": False})
    earlier = (now() - timedelta(hours=3)).isoformat()
    late = put(api, member, yes("analytics"), method="till", decided_at=earlier)
    assert late["decided_at"] < late["recorded_at"]
    assert late["decisions"][0] == {
        "purpose": "analytics",
        "channel": None,
        "granted": True,
        "status": "withdrawn",
        "expires_at": late["decisions"][0]["expires_at"],
    }
    assert stands(api, member, "analytics") == ("withdrawn", False)
    future = (now() + timedelta(hours=1)).isoformat()
    refused = put(api, member, yes("analytics"), expect=409, decided_at=future)
    assert (refused["code"], refused["errors"][0]["field"]) == ("in_future", "decided_at")


def test_a_receipt_has_all_that_27560_asks_for(api: Api, member: str) -> None:
    api.post("/v1/notices", NOTICE, expect=201)
    decisions = (
        yes("personalisation"),
        {"purpose": "marketing", "granted": False, "channel": "sms"},
    )
    made = put(api, member, *decisions, notice_version="privacy-1", language="fr")
    path = f"/v1/members/{member}/consents/records/{made['id']}/receipt"
    answer = api.get(path, expect=200)
    assert answer.mimetype == "application/ld+json"
    receipt = orjson.loads(answer.data)
    assert receipt["@type"] == "dpv:ConsentReceipt"
    assert {"dct:identifier", "dct:conformsTo", "@context"} <= receipt.keys()
    record = receipt["dpv:hasRecordOfActivity"]
    assert record["@type"] == "dpv:ConsentRecord"
    assert record["dct:identifier"] == made["id"]
    assert record["dpv:hasDataSubject"]["dct:identifier"] == member
    assert record["dct:language"] == "fr"
    assert record["dpv:hasNotice"]["dct:identifier"] == "privacy-1"
    assert {"dct:conformsTo", "dct:created", "dpv:hasDataController", "dpv:hasJurisdiction"} <= (
        record.keys()
    )
    first, second = record["dpv:hasProcess"]
    for process in (first, second):
        assert process["dpv:hasLegalBasis"] == "eu-gdpr:A6-1-a"
        assert {
            "dpv:hasPurpose",
            "dpv:hasPersonalData",
            "dpv:hasStorageCondition",
            "dpv:hasRecipient",
            "dpv:hasConsentControl",
        } <= process.keys()
    (event,) = first["dpv:hasConsentStatus"]
    assert "dpv:ConsentGiven" in event["@type"]
    assert event["dpv:isIndicatedAtTime"] == made["decided_at"]
    assert first["dpv:hasPurpose"]["skos:prefLabel"] == "Recommandations personnalisées"
    assert "dpv:ConsentRefused" in second["dpv:hasConsentStatus"][0]["@type"]
    api.get(path.replace(made["id"], "0" * 24), expect=404)
    api.get(path.replace(member, "m_" + "0" * 32), expect=404)


# Double opt-in


def token_of(parts: Parts) -> str:
    message = parts.outbox.waiting(after=None, limit=10, at=now())[-1]
    assert message.kind == "confirm_consent"
    token: str = message.content["token"]
    assert token in message.content["url"]
    return token


@pytest.fixture
def doubled(api: Api) -> Api:
    """A shop that wants e-mail addresses to answer for themselves."""
    changed(api, "marketing", double_opt_in=["email"])
    return api


def test_a_yes_by_form_waits_until_the_address_answers(
    doubled: Api, parts: Parts, member: str
) -> None:
    made = put(doubled, member, yes("marketing", "email"))
    assert made["decisions"][0]["status"] == "pending"
    assert stands(doubled, member, "marketing", "email") == ("pending", False)
    token = token_of(parts)
    before = dump(parts.database)
    doubled.client.get(f"/v1/consents/confirm?token={token}")
    assert dump(parts.database) == before
    stranger = doubled.speaking_with("")
    done = stranger.post("/v1/consents/confirm", {"token": token}, expect=200).get_json()
    assert (done["purpose"], done["channel"]) == ("marketing", "email")
    assert stands(doubled, member, "marketing", "email") == ("granted", True)
    before = dump(parts.database)
    again = stranger.post("/v1/consents/confirm", {"token": token}, expect=409).get_json()
    assert again["code"] == "already_confirmed"
    assert dump(parts.database) == before
    assert ledger.verify(consents=parts.consents, progress=lambda *_: None).is_clean


def test_a_link_confirms_nothing_that_was_taken_back(
    doubled: Api, parts: Parts, member: str
) -> None:
    put(doubled, member, yes("marketing", "email"))
    token = token_of(parts)
    put(doubled, member, {"purpose": "marketing", "granted": False, "channel": "email"})
    doubled.post("/v1/consents/confirm", {"token": token}, expect=409)
    assert stands(doubled, member, "marketing", "email")[1] is False


def test_a_confirmed_yes_is_not_asked_twice_and_another_channel_never(
    doubled: Api, parts: Parts, member: str
) -> None:
    put(doubled, member, yes("marketing", "sms"))
    assert parts.outbox.waiting(after=None, limit=10, at=now()) == []
    put(doubled, member, yes("marketing", "email"), method="call")
    assert stands(doubled, member, "marketing", "email") == ("granted", True)
    put(doubled, member, yes("marketing", "email"))
    assert stands(doubled, member, "marketing", "email") == ("granted", True)
    assert parts.outbox.waiting(after=None, limit=10, at=now()) == []


def test_asking_again_and_again_sends_one_link_in_ten_minutes(
    doubled: Api, parts: Parts, member: str
) -> None:
    def waiting() -> int:
        return len(parts.outbox.waiting(after=None, limit=10, at=now()))

    for _ in range(3):
        put(doubled, member, yes("marketing", "email"))
    assert waiting() == 1
    doubled.post("/v1/consents/confirm", {"token": token_of(parts)}, expect=200)
    put(doubled, member, {"purpose": "marketing", "granted": False, "objection": True})
    later = {"at": now() + timedelta(minutes=11), "by": "tests", "method": "form"}
    stores = {"consents": parts.consents, "members": parts.members}
    posting = {"opt_in": opt_in.OptIn(parts.outbox, parts.links, "")}
    decision = Decision("marketing", granted=True, channel="email")
    for _ in range(2):
        done = service.record(member, [decision], **later, **stores, **posting)  # type: ignore[arg-type]
        assert done.standing.flags["marketing:email"].status == "objected"
    assert waiting() == 2
    opt_in.confirm(token_of(parts), at=later["at"], links=parts.links, **stores)  # type: ignore[arg-type]
    assert parts.consents.standing(member).flags["marketing:email"].status == "granted"


def test_yes_and_no_by_turns_fill_nobodys_mailbox(doubled: Api, parts: Parts, member: str) -> None:
    for _ in range(opt_in.LINKS_A_DAY_MAX + 2):
        put(doubled, member, yes("marketing", "email"))
        put(doubled, member, {"purpose": "marketing", "channel": "email", "granted": False})
    assert len(parts.outbox.waiting(after=None, limit=50, at=now())) == opt_in.LINKS_A_DAY_MAX


def test_an_export_does_not_show_what_proves_that_a_mailbox_is_read(
    doubled: Api, parts: Parts, member: str
) -> None:
    put(doubled, member, yes("marketing", "email"))
    token = token_of(parts)
    doubled.post(f"/v1/members/{member}/identity-code", {}, expect=202)
    code = parts.outbox.waiting(after=None, limit=10, at=now())[-1].content["code"]
    exported = doubled.post(f"/v1/members/{member}/export", {}, expect=200)
    shown = [each["data"] for each in exported.get_json()["data"] if each["category"] == "messages"]
    assert {each["kind"] for each in shown} >= {"confirm_consent", "identity_code"}
    assert token not in exported.text
    assert f'"{code}"' not in exported.text


def test_a_page_can_look_at_what_a_link_would_confirm(
    doubled: Api, parts: Parts, member: str
) -> None:
    made = put(doubled, member, yes("marketing", "email"))
    token = token_of(parts)
    before = dump(parts.database)
    asked: dict[str, Any] = {"at": now(), "links": parts.links, "consents": parts.consents}
    seen = opt_in.look(token, **asked)
    assert (seen.member_id, seen.purpose, seen.channel) == (member, "marketing", "email")
    assert seen.record.id == made["id"]
    assert dump(parts.database) == before
    opt_in.confirm(token, **asked, members=parts.members)
    with pytest.raises(AlreadyConfirmedError):
        opt_in.look(token, **asked)


@pytest.mark.parametrize("use", ["forged", "expired", "for something else", "of one erased"])
def test_a_link_that_is_not_valid_says_no_more_than_that(
    doubled: Api, parts: Parts, member: str, use: str
) -> None:
    record = put(doubled, member, yes("marketing", "email"))
    links = doubled.client.application.extensions["carnet"][LinkMint]
    claims = {"member": member, "record": record["id"], "flag": "marketing:email"}
    token = {
        "forged": token_of(parts)[:-4] + "AAA=",
        "expired": links.mint(opt_in.USE, claims, at=now() - timedelta(days=8), lasts=opt_in.LASTS),
        "for something else": links.mint("preferences", claims, at=now(), lasts=None),
        "of one erased": token_of(parts),
    }[use]
    if use == "of one erased":
        parts.consents.erase(member)
    refused = doubled.post("/v1/consents/confirm", {"token": token}, expect=403).get_json()
    assert refused["code"] == "invalid_link"


def test_of_many_uses_at_once_one_confirms(doubled: Api, parts: Parts, member: str) -> None:
    put(doubled, member, yes("marketing", "email"))
    token = token_of(parts)

    def use(_: int) -> bool:
        stores = {"consents": parts.consents, "members": parts.members}
        try:
            opt_in.confirm(token, at=now(), links=parts.links, **stores)  # type: ignore[arg-type]
        except AlreadyConfirmedError:
            return False
        return True

    with ThreadPoolExecutor(8) as workers:
        assert sum(workers.map(use, range(8))) == 1
    assert parts.consents.standing(member).seq == 2


# Ages


def born(years_ago: float) -> str:
    return (now() - timedelta(days=365.25 * years_ago)).date().isoformat()


def set_age(api: Api, member: str, years: float, country: str = "FR") -> dict[str, Any]:
    body = {"country": country, "born_on": born(years)}
    answer: dict[str, Any] = api.put(f"/v1/members/{member}/age", body, expect=200).get_json()
    return answer


GUARDIAN: dict[str, Any] = {
    "method": "guardian",
    "guardian": {"name": "Ada", "evidence": {"form": "signed"}},
}


def test_a_minor_agrees_with_a_guardian_or_not_at_all(api: Api, parts: Parts, member: str) -> None:
    put(api, member, yes("analytics"))
    shown = set_age(api, member, 13)
    assert shown["is_minor"]
    assert shown["adult_from"].endswith("-01T00:00:00Z")
    assert stands(api, member, "analytics") == ("withdrawn", False)
    refused = put(api, member, yes("analytics"), expect=409)
    assert (refused["code"], refused["errors"][0]["field"]) == (
        "guardian_required",
        "decisions.0.purpose",
    )
    assert put(api, member, yes("sharing"), expect=409, **GUARDIAN)["code"] == "not_for_minors"
    made = put(api, member, yes("analytics"), **GUARDIAN)
    assert made["decisions"][0]["expires_at"] == shown["adult_from"]
    put(api, member, {"purpose": "analytics", "granted": False})
    assert born(13) not in repr(dump(parts.database))
    held = [each.data["evidence"] for each in parts.consents.held(member)]
    assert {"country": "FR", "born_on": born(13)} in held


def test_what_waits_over_an_objection_ends_with_a_minors_age(
    doubled: Api, parts: Parts, member: str
) -> None:
    put(doubled, member, {"purpose": "marketing", "granted": False, "objection": True})
    put(doubled, member, yes("marketing", "email"))
    set_age(doubled, member, 13)
    doubled.post("/v1/consents/confirm", {"token": token_of(parts)}, expect=409)
    assert stands(doubled, member, "marketing", "email") == ("objected", False)


@pytest.mark.parametrize(
    ("country", "years", "is_minor"),
    [
        ("BE", 13.2, False),
        ("FR", 13.2, True),
        ("DE", 15.5, True),
        ("DE", 16.2, False),
        ("XX", 15, True),
    ],
)
def test_the_age_of_consent_is_the_country_s(
    api: Api, member: str, country: str, years: float, *, is_minor: bool
) -> None:
    assert set_age(api, member, years, country)["is_minor"] is is_minor
    put(api, member, yes("analytics"), expect=409 if is_minor else 200)


def test_of_an_adult_nothing_is_kept_in_the_open(api: Api, parts: Parts, member: str) -> None:
    assert set_age(api, member, 40) == {
        "member_id": member,
        "is_minor": False,
        "adult_from": None,
    }
    (kept,) = dump(parts.database)["consents"]
    assert kept["age"] == {"adult_from": None}


def test_a_purpose_can_want_the_age_to_be_known(api: Api, member: str) -> None:
    changed(api, "sharing", unknown_age="refused")
    assert put(api, member, yes("sharing"), expect=409)["code"] == "age_unknown"
    set_age(api, member, 40)
    put(api, member, yes("sharing"))


@pytest.mark.parametrize(
    "born_on", ["2999-01-01", "1850-01-01", "2010-02-30", "2010-2-3", 20100203]
)
def test_a_birth_that_cannot_be_is_refused(api: Api, member: str, born_on: object) -> None:
    body = {"country": "FR", "born_on": born_on}
    answer = api.put(f"/v1/members/{member}/age", body)
    assert answer.status_code in {409, 422}
    assert answer.get_json()["errors"][0]["field"] == "born_on"


def test_a_guardian_is_named_with_that_method_and_only_there(api: Api, member: str) -> None:
    for more in ({"method": "guardian"}, {**GUARDIAN, "method": "form"}):
        refused = put(api, member, yes("analytics"), expect=422, **more)
        assert refused["errors"][0]["field"] == "guardian"


def test_a_browser_cannot_say_that_the_shop_heard_it(api: Api, member: str) -> None:
    token = api.post(f"/v1/members/{member}/token", {}, expect=201).get_json()["token"]
    browser = api.speaking_with(token)
    for method in ("call", "link", "till", "import"):
        refused = put(browser, member, yes("analytics"), expect=403, method=method)
        assert refused["code"] == "method_forbidden"
    put(browser, member, yes("analytics"))


# Imports


def imported(api: Api, *lines: Any) -> list[dict[str, Any]]:
    body = b"\n".join(each if isinstance(each, bytes) else orjson.dumps(each) for each in lines)
    answer = api.call("POST", "/v1/consents/import", data=body, headers=NDJSON, expect=200)
    return [orjson.loads(each) for each in answer.data.splitlines()]


def line(member: str, *decisions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "member": member,
        "decisions": list(decisions) or [yes("marketing", "email")],
        "decided_at": "2025-05-01T10:00:00Z",
        "source": "old tool",
        **more,
    }


def test_an_import_keeps_where_it_comes_from_and_can_be_sent_again(
    api: Api, parts: Parts, member: str
) -> None:
    named = line(member, notice_reference="form of 2025-01", evidence={"ip": "192.0.2.7"})
    del named["member"]
    named["identifier"] = {"type": "email", "value": "Ada@example.com"}
    wrong = line("m_" + "0" * 32)
    first = imported(api, named, b"{", wrong, {**named, "source": 5}, b"")
    assert [each["status"] for each in first] == ["recorded", "refused", "refused", "refused"]
    codes = [each["problem"]["code"] for each in first if "problem" in each]
    assert codes == ["malformed", "member_not_found", "invalid"]
    before = dump(parts.database)
    (again,) = imported(api, named)
    assert (again["status"], again["record_id"]) == ("replayed", first[0]["record_id"])
    assert dump(parts.database) == before
    record = parts.consents.get(member, first[0]["record_id"])
    assert record.method == "import"
    assert record.evidence == {
        "source": "old tool",
        "notice_reference": "form of 2025-01",
        "evidence": {"ip": "192.0.2.7"},
    }
    assert stands(api, member, "marketing", "email") == ("granted", True)


def test_an_import_never_overrides_the_members_own_word(api: Api, member: str) -> None:
    put(api, member, yes("marketing", "email"))
    put(api, member, {"purpose": "marketing", "granted": False, "channel": "email"})
    put(api, member, yes("analytics"))
    no = {"purpose": "analytics", "granted": False}
    (verdict,) = imported(api, line(member, yes("marketing", "email"), no))
    assert [each["status"] for each in verdict["decisions"]] == ["withdrawn", "granted"]
    assert stands(api, member, "marketing", "email") == ("withdrawn", False)
    assert stands(api, member, "analytics") == ("granted", True)


def test_the_same_lines_at_once_are_recorded_once(api: Api, parts: Parts, member: str) -> None:
    with ThreadPoolExecutor(4) as workers:
        done = list(
            workers.map(lambda _: imported(api.speaking_with(api.key), line(member)), range(4))
        )
    assert sorted(each["status"] for (each,) in done) == ["recorded", *["replayed"] * 3]
    assert parts.consents.standing(member).seq == 1


# Asking again


def decide(parts: Parts, member: str, granted: bool, months_ago: int, **more: Any) -> None:  # noqa: FBT001
    at = now() - timedelta(days=31 * months_ago)
    service.record(
        member,
        [Decision("personalisation", granted, **more)],
        method="form",
        at=at,
        by="tests",
        consents=parts.consents,
        members=parts.members,
    )


def due(api: Api, query: str = "purpose=personalisation&limit=1") -> dict[str, str]:
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page = api.get(f"/v1/consents/due?{query}{cursor}", expect=200).get_json()
        found |= {each["member_id"]: each["reason"] for each in page["members"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


def test_those_are_asked_again_whose_yes_ends_or_whose_no_is_old(api: Api, parts: Parts) -> None:
    names = ("fresh", "old", "ending", "refused", "long ago", "objected", "restricted", "silent")
    members = {name: api.enrol() for name in names}
    decide(parts, members["fresh"], True, 0)
    decide(parts, members["old"], True, 40)
    decide(parts, members["ending"], True, 1, expires_at=now() + timedelta(days=20))
    decide(parts, members["refused"], False, 2)
    decide(parts, members["long ago"], False, 8)
    decide(parts, members["objected"], False, 8, objection=True)
    decide(parts, members["restricted"], True, 40)
    stores = {"consents": parts.consents, "members": parts.members}
    service.restrict(
        members["restricted"],
        restricted=True,
        at=now(),
        by="t",
        method="request",
        **stores,  # type: ignore[arg-type]
    )
    expected = {
        members["old"]: "expired",
        members["ending"]: "expires",
        members["long ago"]: "refused_long_ago",
    }
    assert due(api) == expected
    notice = {"texts": {"en": "New words."}, "purposes": ["personalisation"]}
    api.post("/v1/notices", {**notice, "purposes": ["analytics"]}, expect=201)
    assert due(api) == expected
    api.post("/v1/notices", notice, expect=201)
    assert due(api) == {**expected, members["fresh"]: "new_notice", members["ending"]: "new_notice"}
    for query in ("purpose=marketing", "purpose=accounting", "purpose=analytics&channel=sms"):
        api.get(f"/v1/consents/due?{query}", expect=409)


def test_the_new_scopes_open_what_they_say(api: Api, parts: Parts) -> None:
    reader = api.speaking_with(mint_key(parts, "notices:read"))
    reader.get("/v1/notices", expect=200)
    reader.get("/v1/purposes", expect=200)
    reader.post("/v1/notices", NOTICE, expect=403)
