"""Rights over HTTP: who may exercise them, what they answer, and that they are carried out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from bson import encode

from loyalty.jobs.runner import Runner
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from loyalty.privacy.erasing import Eraser, work
from loyalty.privacy.model import TRIES_A_DAY_MAX
from loyalty.privacy.scan import places
from loyalty.privacy.service import Desk
from tests.builders import dump, mint_key
from tests.desks import whole_desk

if TYPE_CHECKING:
    from app import Parts
    from tests.builders import Api

RIGHTS: dict[str, dict[str, Any]] = {
    "export": {},
    "erase": {},
    "restriction": {"restricted": True},
    "objection": {},
    "rectification": {"text": "My birthday is wrong."},
}
NOBODY = "m_" + "0" * 32


def browser(api: Api, member: str, *, minutes_ago: float | None = None) -> Api:
    """The member's browser, with or without a login so many minutes ago."""
    body: dict[str, Any] = {}
    if minutes_ago is not None:
        body["authenticated_at"] = (now() - timedelta(minutes=minutes_ago)).isoformat()
    minted = api.post(f"/v1/members/{member}/token", body, expect=201).get_json()
    return api.speaking_with(minted["token"])


@pytest.fixture
def member(api: Api) -> str:
    """A member who can be written to."""
    return api.enrol(("card", "CARD1234"), ("email", "ada@example.com"))


@pytest.fixture
def desk(api: Api, parts: Parts) -> Desk:
    """The application's desk, with holders of all that the tests make."""
    whole = whole_desk(parts)
    api.client.application.extensions["carnet"][Desk] = whole
    return whole


def carry_out(desk: Desk) -> list[str]:
    """Work as the job does, without waiting for what is in flight."""
    return work(Eraser(desk, now, lambda _: None, lambda *_: None, timedelta(0)))


@pytest.mark.parametrize("right", RIGHTS)
def test_a_browser_exercises_a_right_with_a_login_of_just_now_only(
    api: Api, member: str, right: str
) -> None:
    path = f"/v1/members/{member}/{right}"
    for stale in (browser(api, member), browser(api, member, minutes_ago=15)):
        refused = stale.post(path, RIGHTS[right], expect=403).get_json()
        assert refused["code"] == "identity_not_proven"
    known = browser(api, member, minutes_ago=14)
    assert known.post(path, RIGHTS[right]).status_code in (200, 202)
    assert api.get("/v1/privacy/requests").get_json()["requests"][0]["proof"] == "login"


@pytest.mark.parametrize("right", RIGHTS)
def test_nobody_exercises_anothers_right(api: Api, parts: Parts, member: str, right: str) -> None:
    other = browser(api, api.enrol(), minutes_ago=1)
    before = dump(parts.database)
    path = f"/v1/members/{member}/{right}"
    assert other.post(path, RIGHTS[right], expect=403).get_json()["code"] == "not_your_member"
    reader = api.speaking_with(mint_key(parts, "privacy:read", "members:write"))
    assert reader.post(path, RIGHTS[right], expect=403).get_json()["code"] == "missing_scope"
    before["keys"] = dump(parts.database)["keys"]
    assert dump(parts.database) == before
    api.post(f"/v1/members/{NOBODY}/{right}", RIGHTS[right], expect=404)


def test_a_login_is_of_the_last_fifteen_minutes(api: Api, member: str) -> None:
    path = f"/v1/members/{member}/token"
    for minutes, proof in ((0, "login"), (14.9, "login"), (15.1, ""), (999, ""), (-5, "")):
        at = (now() - timedelta(minutes=minutes)).isoformat()
        answer = api.post(path, {"authenticated_at": at}, expect=201).get_json()
        assert answer["proof"] == proof, minutes
    assert api.post(path, {}, expect=201).get_json()["proof"] == ""
    api.post(path, {"authenticated_at": "yesterday"}, expect=422)


def test_a_token_without_proof_opens_what_it_always_did(shop: Api) -> None:
    member = shop.enrol()
    plain = browser(shop, member)
    for path in ("", "/points", "/journal", "/consents", "/requests"):
        plain.get(f"/v1/members/{member}{path}", expect=200)
    plain.consent(member, "personalisation")


def test_an_export_is_a_file_or_a_page(api: Api, member: str, desk: Desk) -> None:
    path = f"/v1/members/{member}/export"
    file = api.post(path, {"right": "portability"}, expect=200)
    body = orjson.loads(file.data)
    assert body["member_id"] == member
    assert body["count"] == len(body["data"])
    assert file.headers["Content-Disposition"] == 'attachment; filename="my-data.json"'
    page = api.post(path, {"form": "html", "language": "fr"}, expect=200)
    assert page.mimetype == "text/html"
    assert '<html lang="fr">' in page.get_data(as_text=True)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    asked = api.post(path, {}, headers={"Accept": "text/html"}, expect=200)
    assert asked.data.startswith(b"<!doctype html>")
    found = api.get(f"/v1/members/{member}/requests").get_json()["requests"]
    assert [each["kind"] for each in found] == ["access", "access", "portability"]
    assert {each["status"] for each in found} == {"done"}
    assert len(list(desk.requests.of_member(member, limit=9))) == 3


@pytest.mark.usefixtures("desk")
def test_an_export_has_all_that_a_scan_of_the_database_finds(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "CARD1234"), ("email", "ada@example.com"))
    for _ in range(3):
        shop.buy(member)
    shop.consent(member, "personalisation")
    shop.post(f"/v1/members/{member}/identity-code", {}, expect=202)
    shop.post(f"/v1/members/{member}/rectification", {"text": "wrong"}, expect=202)
    body = orjson.loads(shop.post(f"/v1/members/{member}/export", {}, expect=200).data)
    exported: dict[str, int] = {}
    for each in body["data"]:
        exported[each["collection"]] = exported.get(each["collection"], 0) + 1
    # The answer of the export, posted when its last byte went, is the only thing that is later.
    exported["messages"] += 1
    found = places(parts.database, [member], progress=lambda *_: None)[member]
    assert exported == dict(found)


def test_exports_are_few_and_a_retry_counts(api: Api, member: str) -> None:
    path = f"/v1/members/{member}/export"
    key = {"Idempotency-Key": "again"}
    for _ in range(TRIES_A_DAY_MAX["access"]):
        api.post(path, {}, headers=key, expect=200)
    refused = api.post(path, {}, expect=429)
    assert refused.get_json()["code"] == "too_many_rights_requests"
    assert 86_000 < int(refused.headers["Retry-After"]) <= 86_400
    api.post(path, {"right": "portability"}, expect=200)
    assert len(api.get(f"/v1/members/{member}/requests").get_json()["requests"]) == 2


def test_a_key_is_of_one_member(api: Api) -> None:
    key = {"Idempotency-Key": "mine"}
    for member in (api.enrol(), api.enrol()):
        known = browser(api, member, minutes_ago=0)
        path = f"/v1/members/{member}/rectification"
        first = known.post(path, {"text": "a"}, headers=key, expect=202)
        again = known.post(path, {"text": "a"}, headers=key, expect=202)
        assert again.get_json()["id"] == first.get_json()["id"]
        assert "Idempotent-Replay" not in first.headers
        assert again.headers["Idempotent-Replay"] == "true"
        reused = known.post(path, {"text": "b"}, headers=key, expect=422)
        assert reused.get_json()["code"] == "key_reused"


def test_from_the_answer_on_nothing_of_an_erased_member_is_used(shop: Api, desk: Desk) -> None:
    member = shop.enrol(("email", "ada@example.com"))
    shop.consent(member, "personalisation")
    shop.consent(member, "marketing", channel="email")
    asked = shop.post(f"/v1/members/{member}/erase", {}, expect=202).get_json()
    assert (asked["kind"], asked["status"], asked["article"]) == ("erasure", "open", "Art. 17")
    consents = shop.get(f"/v1/members/{member}/consents", expect=200).get_json()["consents"]
    assert not any(each["granted"] for each in consents)
    reason = shop.get(f"/v1/members/{member}/recommendations").get_json()["reason"]
    assert reason != "consent"
    assert desk.erasures.count() == 0


def test_an_erasure_is_carried_out_and_certified(shop: Api, parts: Parts, desk: Desk) -> None:
    member = shop.enrol(("card", "CARD1234"))
    shop.buy(member)
    key = {"Idempotency-Key": "once"}
    path = f"/v1/members/{member}/erase"
    asked = shop.post(path, {}, headers=key, expect=202).get_json()
    again = shop.post(path, {}, headers=key, expect=202)
    assert again.get_json()["id"] == asked["id"]
    assert again.headers["Idempotent-Replay"] == "true"
    (erasure_id,) = carry_out(desk)
    shown = shop.get(f"/v1/privacy/requests/{asked['id']}", expect=200).get_json()
    assert (shown["status"], shown["member_id"]) == ("done", None)
    assert shown["erasure_id"] == erasure_id
    erasure = shop.get(f"/v1/privacy/erasures/{erasure_id}", expect=200).get_json()
    assert erasure["status"] == "done"
    desk.signer.verify(erasure["certificate"])
    assert member not in str(erasure)
    assert places(parts.database, [member], progress=lambda *_: None) == {}
    for gone in ("", "/consents", "/requests"):
        shop.get(f"/v1/members/{member}{gone}", expect=404)
    shop.post(path, {}, expect=404)
    shop.post(f"/v1/members/{member}/export", {}, expect=404)
    lookup = {"identifier": {"type": "card", "value": "CARD1234"}}
    shop.post("/v1/members/lookup", lookup, expect=404)
    shop.get("/v1/privacy/erasures/e_" + "0" * 32, expect=404)


def test_the_runner_has_a_job_for_it(shop: Api, member: str) -> None:
    shop.post(f"/v1/members/{member}/erase", {}, expect=202)
    (job,) = shop.get("/v1/jobs?kind=erasure", expect=200).get_json()["jobs"]
    assert job["status"] == "queued"
    assert member not in str(job)
    assert "erasure" in shop.client.application.extensions["carnet"][Runner].kinds


def test_an_objection_holds_on_the_next_request(api: Api, member: str) -> None:
    for channel in ("email", "sms"):
        api.consent(member, "marketing", channel=channel)
    api.consent(member, "personalisation")
    answer = api.post(f"/v1/members/{member}/objection", {}, expect=200).get_json()
    assert (answer["status"], answer["kind"]) == ("done", "objection")
    consents = api.get(f"/v1/members/{member}/consents").get_json()["consents"]
    granted = [each["purpose"] for each in consents if each["granted"]]
    assert granted == ["personalisation"]
    path = f"/v1/members/{member}/objection"
    for wrong, field in (
        ({"purpose": "analytics", "channel": "email"}, "channel"),
        ({"purpose": "accounting"}, "purpose"),
    ):
        refused = api.post(path, wrong, expect=409).get_json()
        assert (refused["code"], refused["errors"][0]["field"]) == ("unknown_purpose", field)
    kept = api.get(f"/v1/members/{member}/requests").get_json()["requests"]
    assert [each["status"] for each in kept] == ["done"], "what is refused leaves no request open"
    # Art. 21(1): a legitimate interest is what one objects to in the first place.
    api.post(path, {"purpose": "security"}, expect=200)


def test_a_restriction_is_a_request_that_is_answered_at_once(api: Api, member: str) -> None:
    api.consent(member, "personalisation")
    answer = api.post(f"/v1/members/{member}/restriction", {"restricted": True}, expect=200)
    assert answer.get_json()["status"] == "done"
    consents = api.get(f"/v1/members/{member}/consents").get_json()["consents"]
    assert not any(each["granted"] for each in consents)


def test_the_desk_answers_what_members_ask(api: Api, member: str) -> None:
    known = browser(api, member, minutes_ago=0)
    asked = known.post(f"/v1/members/{member}/rectification", RIGHTS["rectification"], expect=202)
    path = f"/v1/privacy/requests/{asked.get_json()['id']}"
    assert api.get(path, expect=200).get_json()["details"] == RIGHTS["rectification"]
    extended = api.post(f"{path}/extend", {"reason": "Archives."}, expect=200).get_json()
    assert extended["is_extended"]
    assert extended["due_at"] > asked.get_json()["due_at"]
    again = api.post(f"{path}/extend", {"reason": "Archives."}, expect=409).get_json()
    assert again["code"] == "already_extended"
    done = api.post(f"{path}/complete", {}, expect=200).get_json()
    assert [each["what"] for each in done["steps"]] == ["received", "extended", "done"]
    for verb, body in (("complete", {}), ("refuse", {"reason": "x"}), ("extend", {"reason": "x"})):
        closed = api.post(f"{path}/{verb}", body, expect=409).get_json()
        assert closed["code"] == "request_closed"
    api.get("/v1/privacy/requests/r_" + "0" * 16, expect=404)


def test_an_erasure_is_refused_with_a_reason_and_never_completed_by_hand(
    api: Api, parts: Parts, member: str
) -> None:
    asked = api.post(f"/v1/members/{member}/erase", {}, expect=202).get_json()
    path = f"/v1/privacy/requests/{asked['id']}"
    assert api.post(f"{path}/complete", {}, expect=409).get_json()["code"] == "erases_itself"
    refused = api.post(f"{path}/refuse", {"reason": "A debt is open."}, expect=200).get_json()
    assert (refused["status"], refused["reason"]) == ("refused", "A debt is open.")
    (told,) = parts.outbox.waiting(after=None, limit=9, at=now())
    assert (told.kind, told.content["reason"]) == ("request_done", "A debt is open.")
    api.post(f"{path}/refuse", {}, expect=422)


def test_a_letter_is_recorded_with_the_day_it_came(api: Api, member: str) -> None:
    path = f"/v1/members/{member}/requests"
    body = {
        "kind": "erasure",
        "received_at": "2026-03-01T09:30:00Z",
        "identity_proven": False,
        "text": "Please erase me.",
    }
    found = api.post(path, body, expect=201).get_json()
    assert found["status"] == "waiting_for_identity"
    assert found["due_at"] == "2026-04-01T09:30:00Z"
    overdue = api.get("/v1/privacy/requests?overdue=true", expect=200).get_json()["requests"]
    assert [each["id"] for each in overdue] == [found["id"]]
    again = api.post(path, body | {"identity_proven": True}, expect=201)
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.get_json()["status"] == "open"
    waiting = api.get("/v1/privacy/requests?status=waiting_for_identity").get_json()
    assert waiting["requests"] == []
    future = body | {"kind": "access", "received_at": "2199-01-01T00:00:00Z"}
    assert api.post(path, future, expect=201).get_json()["received_at"] < "2199"


def test_a_letter_for_erasure_that_is_vouched_for_begins_at_once(api: Api, member: str) -> None:
    api.consent(member, "personalisation")
    path, body = f"/v1/members/{member}/requests", {"kind": "erasure", "identity_proven": False}
    api.post(path, body, expect=201)
    assert not api.get(f"/v1/members/{member}/consents").get_json()["restricted"]
    api.post(path, body | {"identity_proven": True}, expect=201)
    shown = api.get(f"/v1/members/{member}/consents").get_json()
    assert shown["restricted"]
    assert not any(each["granted"] for each in shown["consents"])
    jobs = api.get("/v1/jobs").get_json()["jobs"]
    assert [each["kind"] for each in jobs] == ["erasure"]


@pytest.mark.parametrize(
    ("kind", "body"), [("restriction", {"restricted": True}), ("objection", {})]
)
def test_nobody_says_that_it_was_done_without_doing_it(
    api: Api, member: str, kind: str, body: dict[str, object]
) -> None:
    letter = {"kind": kind, "identity_proven": True, "text": "Stop it."}
    asked = api.post(f"/v1/members/{member}/requests", letter, expect=201).get_json()
    path = f"/v1/privacy/requests/{asked['id']}"
    refused = api.post(f"{path}/complete", {}, expect=409).get_json()
    assert refused["code"] == "answered_by_itself"
    done = api.post(f"/v1/members/{member}/{kind}", body, expect=200).get_json()
    assert (done["id"], done["status"]) == (asked["id"], "done")


def test_requests_come_in_pages_newest_first(api: Api) -> None:
    for _ in range(5):
        api.post(f"/v1/members/{api.enrol()}/rectification", {"text": "x"}, expect=202)
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = api.get(f"/v1/privacy/requests?limit=2{cursor}", expect=200).get_json()
        seen += [each["id"] for each in page["requests"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5


# --- codes ---


def code_of(parts: Parts) -> str:
    found = parts.outbox.waiting(after=None, limit=99, at=now())
    code: str = found[-1].content["code"]
    return code


def test_a_code_makes_a_token_that_exercises_rights(api: Api, parts: Parts, member: str) -> None:
    plain = browser(api, member)
    path = f"/v1/members/{member}/identity-code"
    sent = plain.post(path, {"language": "fr"}, expect=202).get_json()
    assert sent["channel"] == "email"
    code = code_of(parts)
    wrong = f"{(int(code) + 1) % 10**6:06}"
    refused = plain.post(f"{path}/check", {"code": wrong}, expect=403).get_json()
    assert refused["code"] == "invalid_code"
    proven = plain.post(f"{path}/check", {"code": code}, expect=200).get_json()
    assert proven["proof"] == "code"
    api.speaking_with(proven["token"]).post(f"/v1/members/{member}/export", {}, expect=200)
    plain.post(f"{path}/check", {"code": code}, expect=403)
    plain.post(f"{path}/check", {"code": "12345"}, expect=422)


def test_codes_are_few(api: Api, member: str) -> None:
    path = f"/v1/members/{member}/identity-code"
    for _ in range(3):
        api.post(path, {}, expect=202)
    refused = api.post(path, {}, expect=429)
    assert refused.get_json()["code"] == "too_many_codes"
    assert 3500 < int(refused.headers["Retry-After"]) <= 3600
    unreachable = api.enrol(("card", "2"))
    answer = api.post(f"/v1/members/{unreachable}/identity-code", {}, expect=409)
    assert answer.get_json()["code"] == "no_address"


def test_what_members_and_staff_write_stands_in_no_log(
    api: Api, parts: Parts, member: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs()
    asked = api.post(f"/v1/members/{member}/rectification", {"text": "canary"}, expect=202)
    path = f"/v1/privacy/requests/{asked.get_json()['id']}"
    api.post(f"{path}/refuse", {"reason": "canary"}, expect=200)
    api.post(f"/v1/members/{member}/identity-code", {}, expect=202)
    code = code_of(parts)
    api.post(f"/v1/members/{member}/identity-code/check", {"code": code}, expect=200)
    api.post(f"/v1/members/{member}/export", {}, expect=200)
    api.post(f"/v1/members/{member}/erase", {}, expect=202)
    written = capsys.readouterr()
    assert "/v1/members/<member:member_id>/export" in written.err
    for word in ("canary", code, member, "ada@"):
        assert word not in written.out + written.err
    stored = b"".join(
        encode(each)
        for name in ("privacy_requests", "messages", "jobs")
        for each in dump(parts.database)[name]
    )
    assert b"canary" not in stored
