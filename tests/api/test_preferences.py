"""The preference centre, form by form, without a browser: what it shows, changes and refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pymongo.database import Database
from pymongo.errors import AutoReconnect

from app import create_app
from loyalty.access.links import LinkMint
from loyalty.kit.clock import now
from loyalty.kit.observe import configure_logs
from loyalty.web import backing, sessions
from loyalty.web.backing import HISTORY_PAGE, Centre
from loyalty.web.model import Session, field_of, shown_of
from loyalty.web.pages import FORM_BYTES_MAX
from loyalty.web.sessions import Door
from tests.browser.desk import SmallDesk
from tests.builders import dump, mint_key, program_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Flask
    from werkzeug.test import TestResponse

    from app import Parts
    from loyalty.kit.settings import Settings
    from tests.builders import Api

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
STEPS = [
    "",
    "/choices",
    "/withdraw",
    "/stop-marketing",
    "/history",
    "/receipt",
    "/looks",
    "/rights",
    "/code",
    "/code/enter",
    "/code/check",
    "/download",
    "/correct",
    "/restrict",
    "/erasing",
    "/erase",
]
PROVEN_STEPS = ["/download", "/correct", "/restrict", "/erasing", "/erase"]


class Visitor(NamedTuple):
    """Somebody with a browser at the preference centre."""

    api: Api
    member: str
    session: str

    def post(
        self, step: str, *, expect: int = 200, choices: Mapping[str, str] | None = None, **form: str
    ) -> TestResponse:
        """Send a step's form."""
        data = {"session": self.session, "language": "en", **form, **(choices or {})}
        answer = self.api.client.post(f"/preferences{step}", data=data, headers=HTML)
        assert answer.status_code == expect, answer.get_data(as_text=True)
        return answer

    def choose(self, *, shown: str = "", **answers: str) -> TestResponse:
        """Send the form of choices; a purpose's field is `purpose` or `purpose__channel`."""
        form: dict[str, str] = {}
        for name, answer in answers.items():
            place = (name.partition("__")[0], name.partition("__")[2] or None)
            form |= {field_of(*place): answer, shown_of(*place): shown}
        return self.post("/choices", choices=form)

    def flags(self) -> dict[str, bool]:
        """What the member agrees to, by the API."""
        answer = self.api.get(f"/v1/members/{self.member}/consents", expect=200).get_json()
        return {
            f"{each['purpose']}:{each['channel'] or ''}".rstrip(":"): each["granted"]
            for each in answer["consents"]
        }


def restricted(visitor: Visitor) -> bool:
    answer = visitor.api.get(f"/v1/members/{visitor.member}/consents", expect=200)
    return bool(answer.get_json()["restricted"])


def session_in(answer: TestResponse) -> str:
    found = re.search(r'name="session" value="([^"]+)"', answer.get_data(as_text=True))
    assert found
    return unescape(found[1])


def door_of(app: Flask) -> Door:
    centre: Centre = app.extensions["carnet"][Centre]
    return centre.door


def seen(answer: TestResponse) -> str:
    return unescape(answer.get_data(as_text=True))


@pytest.fixture
def desk(parts: Parts) -> SmallDesk:
    """What stands behind the pages."""
    return SmallDesk(parts)


@pytest.fixture
def visitor(shop: Api) -> Visitor:
    """A member who came by a link."""
    member = shop.enrol(("card", "930012345678"), ("email", "ada.lovelace@example.com"))
    return entered(shop, member)


def entered(api: Api, member: str) -> Visitor:
    link = link_of(api, member)["url"].partition("link=")[2]
    answer = api.client.post("/preferences", data={"link": link}, headers=HTML)
    assert answer.status_code == 200
    return Visitor(api, member, session_in(answer))


def link_of(api: Api, member: str, **body: Any) -> dict[str, Any]:
    wanted = {"use": "preferences", **body}
    answer: dict[str, Any] = api.post(f"/v1/members/{member}/links", wanted, expect=201).get_json()
    return answer


def proven(visitor: Visitor, desk: SmallDesk) -> Visitor:
    visitor.post("/code")
    answer = visitor.post("/code/check", code=desk.codes(visitor.member)[-1])
    return visitor._replace(session=session_in(answer))


def test_a_link_names_the_public_address_and_expires(api: Api) -> None:
    member = api.enrol()
    link = link_of(api, member, expires_in_days=2)
    assert re.fullmatch(r"http://127\.0\.0\.1:8000/preferences\?link=[\w=-]+", link["url"])
    assert member not in link["url"]
    assert link["headers"] == {}
    assert link["expires_at"] < (now() + timedelta(days=2, seconds=1)).isoformat()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "use"),
        ({"use": "session"}, "use"),
        ({"use": "preferences", "channel": "email"}, "channel"),
        ({"use": "unsubscribe"}, "channel"),
        ({"use": "unsubscribe", "channel": "fax"}, "channel"),
        ({"use": "unsubscribe", "channel": "email", "expires_in_days": 1}, "expires_in_days"),
        ({"use": "preferences", "expires_in_days": 31}, "expires_in_days"),
    ],
)
def test_a_link_for_nothing_is_refused(api: Api, body: dict[str, Any], field: str) -> None:
    answer = api.post(f"/v1/members/{api.enrol()}/links", body, expect=422).get_json()
    assert answer["errors"][0]["field"] == field


def test_links_take_their_own_scope_and_a_member(api: Api, parts: Parts) -> None:
    member = api.enrol()
    body = {"use": "preferences"}
    other = api.speaking_with(mint_key(parts, "members:write"))
    other.post(f"/v1/members/{member}/links", body, expect=403)
    token = parts.tokens.mint(member, at=now(), seconds=60)
    api.speaking_with(token).post(f"/v1/members/{member}/links", body, expect=403)
    api.post("/v1/members/m_" + "0" * 32 + "/links", body, expect=404)


def test_following_a_link_shows_a_button_and_writes_nothing(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("email", "ada.lovelace@example.com"))
    url = link_of(shop, member)["url"]
    before = dump(parts.database)
    for method in ("GET", "HEAD"):
        answer = shop.client.open(url, method=method, headers=HTML)
        assert answer.status_code == 200
        # Not "ada": a random link contains three given letters once in a while.
        assert "lovelace" not in seen(answer).lower()
        assert member not in seen(answer)
    assert dump(parts.database) == before


def test_the_page_shows_what_is_known_and_hides_what_identifies(visitor: Visitor) -> None:
    visitor.api.buy(visitor.member, 4700)
    text = seen(visitor.post(""))
    assert ">47<" in text
    assert "a•••@e•••.com" in text
    assert "••• 5678" in text
    for secret in ("lovelace", "example.com", "93001234"):
        assert secret not in text


def test_what_is_chosen_holds_on_the_next_request(visitor: Visitor) -> None:
    assert "Saved" in seen(visitor.choose(personalisation="yes", marketing__email="yes"))
    assert visitor.flags()["personalisation"]
    assert visitor.flags()["marketing:email"]
    visitor.choose(shown="yes", marketing__email="no")
    assert not visitor.flags()["marketing:email"]
    assert visitor.flags()["personalisation"]
    found = visitor.api.get(f"/v1/members/{visitor.member}/recommendations", expect=200)
    assert found.get_json()["personalised"] is False  # there is no model, but consent holds
    assert found.get_json()["reason"] != "no_consent"
    visitor.post("/withdraw")
    found = visitor.api.get(f"/v1/members/{visitor.member}/recommendations", expect=200)
    assert found.get_json()["reason"] == "no_consent"


def test_a_form_that_was_open_before_a_withdrawal_does_not_undo_it(visitor: Visitor) -> None:
    visitor.choose(personalisation="yes")
    visitor.api.consent(visitor.member, "personalisation", granted=False)
    # The old form still says yes, because it said so when it was opened.
    answer = visitor.choose(shown="yes", personalisation="yes")
    assert "changed nothing" in seen(answer)
    assert not visitor.flags()["personalisation"]


def test_withdrawing_everything_is_one_press_and_one_record(visitor: Visitor) -> None:
    visitor.choose(personalisation="yes", marketing__sms="yes", analytics="yes")
    visitor.post("/withdraw")
    assert not any(visitor.flags().values())
    path = f"/v1/members/{visitor.member}/consents/records"
    count = len(visitor.api.get(path, expect=200).get_json()["records"])
    visitor.post("/withdraw")
    assert len(visitor.api.get(path, expect=200).get_json()["records"]) == count


def test_stopping_advertising_leaves_the_rest(visitor: Visitor) -> None:
    visitor.choose(personalisation="yes", marketing__sms="yes", marketing__post="yes")
    visitor.post("/stop-marketing")
    granted = {name for name, is_granted in visitor.flags().items() if is_granted}
    assert granted == {"personalisation"}


def test_every_decision_is_in_the_history_page_by_page(visitor: Visitor) -> None:
    for number in range(HISTORY_PAGE + 3):
        visitor.api.consent(visitor.member, "analytics", granted=not number % 2)
    first = seen(visitor.post("/history"))
    ids = re.findall(r"Receipt ([0-9a-f]{24})", first)
    assert len(ids) == HISTORY_PAGE
    older = re.search(r'name="before" value="(\d+)" class', first)
    assert older
    second = seen(visitor.post("/history", before=older[1]))
    ids += re.findall(r"Receipt ([0-9a-f]{24})", second)
    assert len(set(ids)) == HISTORY_PAGE + 3
    assert "Older decisions" not in second
    # The other language shows the same page of the list.
    assert f'name="before" value="{older[1]}"' in second
    assert "Reçu" in seen(visitor.post("/history", before=older[1], speak="fr"))


def test_a_receipt_is_a_file_to_keep(visitor: Visitor) -> None:
    visitor.choose(personalisation="yes")
    answer = visitor.post("/receipt", seq="1")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="receipt.json"'
    assert answer.get_json()["@type"] == "dpv:ConsentReceipt"
    for nonsense in ("2", "0", "-1", "x", "9" * 40):
        visitor.post("/receipt", seq=nonsense, expect=403)


@pytest.mark.parametrize("step", STEPS)
def test_no_step_without_a_session(shop: Api, app: Flask, parts: Parts, step: str) -> None:
    member = shop.enrol()
    at, door = now(), door_of(app)
    old = at - timedelta(minutes=16)
    stranger = Door(LinkMint(b"x" * 32), door.tokens)
    bad = {
        "nothing": {},
        "nonsense": {"session": "x"},
        "a link of another use": {
            "session": sessions.preferences_link(member, at=at, lasts=timedelta(days=1), door=door)
        },
        "unsubscribing": {"link": sessions.unsubscribe_link(member, "email", door=door)},
        "too old": {"session": sessions.seal(Session(member, old), at=old, door=door)},
        "longer than a visit": {
            "session": sessions.seal(Session(member, at - timedelta(hours=3)), at=at, door=door)
        },
        "forged": {"session": sessions.seal(Session(member, at), at=at, door=stranger)},
    }
    before = dump(parts.database)
    for name, form in bad.items():
        answer = shop.client.post(f"/preferences{step}", data=form, headers=HTML)
        assert answer.status_code == 403, name
        assert "This link does not open anything" in seen(answer), name
    answer = shop.client.post(f"/preferences{step}", data={"token": "a.b.c"}, headers=HTML)
    assert answer.status_code == 401
    assert dump(parts.database) == before
    if step:
        assert shop.client.get(f"/preferences{step}", headers=HTML).status_code == 403


def test_a_login_is_worth_as_long_on_the_pages_as_elsewhere(
    shop: Api, app: Flask, parts: Parts
) -> None:
    member, at = shop.enrol(("card", "1")), now()
    logged_in_at = at - timedelta(minutes=14)
    token = parts.tokens.mint(member, at=at, seconds=60, proof="login", proven_at=logged_in_at)
    session = sessions.enter({"token": token}, at=at, door=door_of(app))
    assert session.is_proven(at)
    assert not session.is_proven(logged_in_at + timedelta(minutes=15, seconds=1))


def test_a_members_token_opens_the_page(shop: Api, parts: Parts) -> None:
    member = shop.enrol()
    token = parts.tokens.mint(member, at=now(), seconds=60)
    answer = shop.client.post("/preferences", data={"token": token}, headers=HTML)
    assert answer.status_code == 200
    # A token alone says that the shop knows the member, not that the member has just logged in.
    Visitor(shop, member, session_in(answer)).post("/erasing", expect=403)


@pytest.mark.parametrize("step", PROVEN_STEPS)
def test_a_link_alone_exercises_no_right(visitor: Visitor, desk: SmallDesk, step: str) -> None:
    answer = visitor.post(step, form="json", details="x", sure="yes", expect=403)
    assert "show that it is you" in seen(answer)
    assert desk.asked == []
    assert not restricted(visitor)


def test_a_proof_is_worth_something_for_fifteen_minutes(
    visitor: Visitor, desk: SmallDesk, app: Flask
) -> None:
    at = now()
    for age, expect in ((14, 200), (16, 403)):
        then = at - timedelta(minutes=age)
        session = sessions.proven(Session(visitor.member, then), "code", at=then)
        sealed = sessions.seal(session, at=at, door=door_of(app))
        visitor._replace(session=sealed).post("/erasing", expect=expect)
    assert desk.asked == []


def test_a_code_opens_what_a_link_does_not(visitor: Visitor, desk: SmallDesk) -> None:
    wrong = visitor.post("/code/check", code="12", expect=403)
    assert "not the code" in seen(wrong)
    visitor = proven(visitor, desk)
    for form, kind in (("json", "portability"), ("html", "access")):
        answer = visitor.post("/download", form=form)
        assert answer.headers["Content-Disposition"] == f'attachment; filename="my-data.{form}"'
        assert answer.headers["Cache-Control"] == "no-store"
        assert visitor.member in answer.get_data(as_text=True)
        assert desk.asked[-1] == (visitor.member, kind, "code")
    visitor.post("/correct", details="It is Lovelace.")
    assert desk.asked[-1] == (visitor.member, "rectification", "code")
    visitor.post("/correct", details="  ", expect=422)
    visitor.choose(personalisation="yes")
    visitor.post("/restrict", restricted="yes")
    assert restricted(visitor)
    assert not visitor.flags()["personalisation"]
    assert "we only keep your data" in seen(visitor.post("")).replace("At your request we", "we")
    visitor.post("/restrict", restricted="no")
    assert not restricted(visitor)
    assert visitor.flags()["personalisation"]


def test_an_erasure_takes_a_tick(visitor: Visitor, desk: SmallDesk) -> None:
    visitor = proven(visitor, desk)
    assert "cannot be undone" in seen(visitor.post("/erasing"))
    assert "Tick the box" in seen(visitor.post("/erase", expect=422))
    assert desk.asked == []
    answer = visitor.post("/erase", sure="yes")
    assert desk.asked == [(visitor.member, "erasure", "code")]
    assert not any(visitor.flags().values())
    assert restricted(visitor)
    # The session is over with the page, and a link that is still about opens nothing.
    assert "session" not in seen(answer)
    for step in ("", "/history", "/choices"):
        assert "Your data is being erased" in seen(visitor.post(step, expect=409))


def test_too_often_is_said_in_plain_words(visitor: Visitor, desk: SmallDesk) -> None:
    assert desk
    for _ in range(3):
        visitor.post("/code")
    answer = visitor.post("/code", expect=429)
    assert "too often" in seen(answer)
    assert 0 < int(answer.headers["Retry-After"]) <= 3600


def test_who_looked_is_shown_with_the_reason(visitor: Visitor, desk: SmallDesk) -> None:
    assert "Nobody has looked so far" in seen(visitor.post("/looks"))
    desk.looked(visitor.member)
    page = seen(visitor.post("/looks"))
    assert "Till 3" in page
    assert "Running your membership" in page
    assert page.count("Till 3") == 1


def test_a_member_that_is_gone_has_no_page(visitor: Visitor, parts: Parts) -> None:
    parts.database["members"].delete_one({"_id": visitor.member})
    answer = visitor.post("", expect=404)
    assert "This membership no longer exists" in seen(answer)


def test_a_page_is_private(visitor: Visitor) -> None:
    answer = visitor.post("")
    headers = answer.headers
    assert headers["Content-Security-Policy"] == (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in headers
    text = seen(answer)
    assert "<script" not in text
    assert "style=" not in text
    assert not re.search(r"(?:href|src|action)=\"(?:https?:)?//", text)


def test_only_named_origins_may_embed(settings: Settings, parts: Parts) -> None:
    assert parts
    origins = ("https://shop.example", "https://app.shop.example")
    app = create_app(
        replace(settings, embed_origins=origins, public_url="https://shop.example/loyalty/")
    )
    answer = app.test_client().get("/preferences?link=x", headers=HTML)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.endswith(f"frame-ancestors {' '.join(origins)}")
    assert "X-Frame-Options" not in answer.headers
    # Behind a path of the shop's site, every address of the page has it.
    assert '"/loyalty/preferences/style.css' in answer.get_data(as_text=True)
    app.extensions["carnet"][Database].client.close()


def test_a_program_is_answered_in_json_and_a_browser_in_html(shop: Api) -> None:
    path = "/preferences?link=nonsense"
    for accept, kind in (
        ("text/html", "text/html"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/problem+json"),
        ("text/html;q=0", "application/problem+json"),
    ):
        answer = shop.client.get(path, headers={"Accept": accept})
        assert (answer.status_code, answer.mimetype) == (403, kind)


def test_a_form_has_a_limit(visitor: Visitor) -> None:
    answer = visitor.post("/correct", details="x" * FORM_BYTES_MAX, expect=413)
    assert "too long" in seen(answer)


def test_a_bug_of_ours_and_a_database_that_is_away_are_pages_too(
    visitor: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = False
    for error, status, text in (
        (RuntimeError("ada.lovelace"), 500, "went wrong on our side"),
        (AutoReconnect("ada.lovelace"), 503, "not available right now"),
    ):
        answer = refused_by(error, visitor, monkeypatch)
        assert answer.status_code == status
        assert text in seen(answer)
        assert "lovelace" not in seen(answer)


def refused_by(error: Exception, visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> TestResponse:
    """What a page answers when whatever it asks fails."""

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(backing, "require_member", fail)
        patch.setattr(backing, "shop_name", fail)
        patch.setattr(backing, "zone", fail)
        data = {"session": visitor.session}
        return visitor.api.client.post("/preferences", data=data, headers=HTML)


def test_what_the_shop_writes_is_text_and_no_markup(api: Api) -> None:
    body = {"program": program_document(name="<script>alert(1)</script>")}
    api.post("/v1/program/versions", body, expect=201)
    member = api.enrol(("app", "<b>x</b><i>"))
    text = entered(api, member).post("").get_data(as_text=True)
    assert "&lt;script&gt;" in text
    assert "<script>" not in text
    assert "<i>" not in text


def test_an_objection_to_advertising_covers_every_channel(visitor: Visitor) -> None:
    visitor.choose(marketing__sms="yes")
    visitor.post("/stop-marketing")
    text = seen(visitor.post(""))
    assert "You objected to this" in text
    # The shop cannot lift it; the member can, here.
    visitor.api.put(
        f"/v1/members/{visitor.member}/consents",
        {
            "decisions": [{"purpose": "marketing", "channel": "sms", "granted": True}],
            "method": "till",
        },
    )
    assert not visitor.flags()["marketing:sms"]
    visitor.choose(shown="no", marketing__sms="yes")
    assert visitor.flags()["marketing:sms"]


def test_a_yes_that_waits_is_shown_as_that_even_over_an_objection(visitor: Visitor) -> None:
    purposes = visitor.api.get("/v1/purposes", expect=200).get_json()["purposes"]
    marketing = next(each for each in purposes if each["name"] == "marketing")
    body = {"purposes": [{**marketing, "double_opt_in": ["email"]}]}
    visitor.api.put("/v1/purposes", body, expect=200)
    visitor.post("/stop-marketing")
    text = seen(visitor.choose(shown="no", marketing__email="yes"))
    assert "We sent you a message" in text
    assert "look for our message" in text
    assert not visitor.flags()["marketing:email"]
    assert "To be confirmed" in seen(visitor.post("/history"))


def test_a_decision_stands_on_the_notice_that_the_page_showed(visitor: Visitor) -> None:
    texts = {"en": "We look at <what> you buy.", "fr": "Nous regardons vos achats."}
    body = {"version": "privacy-2026-11", "texts": texts}
    visitor.api.post("/v1/notices", body, expect=201)
    page = visitor.post("").get_data(as_text=True)
    assert "We look at &lt;what&gt; you buy." in page
    assert 'name="notice" value="privacy-2026-11"' in page
    visitor.post(
        "/choices",
        choices={field_of("analytics", None): "yes", shown_of("analytics", None): ""},
        notice="privacy-2026-11",
        language="fr",
    )
    path = f"/v1/members/{visitor.member}/consents/records"
    record = visitor.api.get(path, expect=200).get_json()["records"][0]
    assert (record["notice_version"], record["language"]) == ("privacy-2026-11", "fr")


def test_a_yes_that_has_run_out_is_shown_as_that(visitor: Visitor) -> None:
    decision = {"purpose": "analytics", "granted": True, "expires_at": "2026-01-01T00:00:00Z"}
    path = f"/v1/members/{visitor.member}/consents"
    visitor.api.put(path, {"decisions": [decision]}, expect=200)
    assert "Your yes has run out" in seen(visitor.post(""))


def test_the_browsers_signal_is_recorded_once(visitor: Visitor) -> None:
    visitor.choose(personalisation="yes", analytics="yes")
    data = {"session": visitor.session, "language": "en"}
    for _ in range(3):
        visitor.api.client.post("/preferences", data=data, headers={**HTML, "Sec-GPC": "1"})
    assert not visitor.flags()["personalisation"]
    path = f"/v1/members/{visitor.member}/consents/records"
    records = visitor.api.get(path, expect=200).get_json()["records"]
    assert [each["kind"] for each in records] == ["signal", "decision"]
    assert "Your browser asked for it" in seen(visitor.post("/history"))


def test_the_browsers_signal_is_told(visitor: Visitor) -> None:
    data = {"session": visitor.session, "language": "en"}
    for value, is_told in (("1", True), ("0", False)):
        headers = {**HTML, "Sec-GPC": value}
        answer = visitor.api.client.post("/preferences", data=data, headers=headers)
        assert ("Global Privacy Control" in seen(answer)) is is_told


def test_nothing_personal_is_logged(
    capfd: pytest.CaptureFixture[str], visitor: Visitor, desk: SmallDesk
) -> None:
    configure_logs()
    visitor = proven(visitor, desk)
    for step in STEPS:
        data = {"session": visitor.session, "details": "canary", "code": "canary"}
        visitor.api.client.post(f"/preferences{step}", data=data)
    visitor.api.client.get(link_of(visitor.api, visitor.member)["url"])
    written = capfd.readouterr().err
    assert '"route":"/preferences/history"' in written
    assert not re.search(r"canary|lovelace|m_[0-9a-f]{32}|gAAAA|link=", written)
