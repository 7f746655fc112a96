"""One click ends marketing on a channel (RFC 8058), and following a link changes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.access.links import LinkMint
from loyalty.kit.clock import now
from loyalty.web import sessions
from loyalty.web.backing import Centre
from loyalty.web.sessions import Door
from tests.builders import dump

if TYPE_CHECKING:
    from flask import Flask

    from app import Parts
    from tests.builders import Api

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
HTML = {"Accept": "text/html"}


def mailed(api: Api, member: str, channel: str = "email") -> dict[str, Any]:
    body = {"use": "unsubscribe", "channel": channel}
    answer: dict[str, Any] = api.post(f"/v1/members/{member}/links", body, expect=201).get_json()
    return answer


def agreed(api: Api) -> str:
    member = api.enrol(("email", "ada@example.com"))
    for channel in ("email", "sms"):
        api.consent(member, "marketing", channel=channel)
    return member


def granted(api: Api, member: str) -> set[str]:
    answer = api.get(f"/v1/members/{member}/consents", expect=200).get_json()
    return {each["channel"] for each in answer["consents"] if each["granted"]}


def records(parts: Parts, member: str) -> int:
    return len(parts.consents.page(member, before_seq=None, limit=200))


def test_the_headers_of_the_mail_are_ready(api: Api) -> None:
    link = mailed(api, agreed(api))
    assert link["expires_at"] is None
    assert link["headers"] == {
        "List-Unsubscribe": f"<{link['url']}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert mailed(api, agreed_by_text(api), "sms")["headers"] == {}


def agreed_by_text(api: Api) -> str:
    return api.enrol(("phone", "+4915123456789"))


@pytest.mark.parametrize("content_type", [None, "multipart/form-data"])
def test_one_click_holds_at_once(api: Api, content_type: str | None) -> None:
    member = agreed(api)
    url = mailed(api, member)["url"]
    # As a mail provider sends it: nothing but the body.
    answer = api.client.post(url, data=ONE_CLICK, content_type=content_type)
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers
    assert granted(api, member) == {"sms"}


def test_it_works_again_and_again_and_writes_once(api: Api, parts: Parts) -> None:
    member = agreed(api)
    url = mailed(api, member)["url"]
    before = records(parts, member)
    for _ in range(5):
        assert api.client.post(url, data=ONE_CLICK).status_code == 200
    assert records(parts, member) == before + 1
    api.consent(member, "marketing", channel="email")
    assert api.client.post(url, data=ONE_CLICK).status_code == 200
    assert granted(api, member) == {"sms"}


def test_a_no_is_recorded_for_one_who_was_never_asked(api: Api, parts: Parts) -> None:
    member = api.enrol(("email", "ada@example.com"))
    url = mailed(api, member)["url"]
    assert api.client.post(url, data=ONE_CLICK).status_code == 200
    (record,) = parts.consents.page(member, before_seq=None, limit=5)
    assert (record.method, record.recorded_by) == ("link", "unsubscribe-link")
    assert [(each.flag, each.status) for each in record.decisions] == [
        ("marketing:email", "refused")
    ]


def test_looking_changes_nothing(api: Api, parts: Parts) -> None:
    member = agreed(api)
    url = mailed(api, member)["url"]
    before = dump(parts.database)
    for method in ("GET", "HEAD"):
        assert api.client.open(url, method=method, headers=HTML).status_code == 200
    assert dump(parts.database) == before


def test_a_mail_outlives_the_member(api: Api, parts: Parts) -> None:
    member = agreed(api)
    url = mailed(api, member)["url"]
    for name in ("members", "consents", "identifiers"):
        parts.database[name].delete_many({})
    answer = api.client.post(url, data=ONE_CLICK)
    assert answer.status_code == 200
    assert records(parts, member) == 0


def test_a_forged_link_and_one_for_something_else_are_refused(
    api: Api, app: Flask, parts: Parts
) -> None:
    member = agreed(api)
    at = now()
    door: Door = app.extensions["carnet"][Centre].door
    good = sessions.unsubscribe_link(member, "email", door=door)
    stranger = Door(LinkMint(b"x" * 32), door.tokens)
    bad = (
        "x",
        good[:-4],
        good[:-3] + "abc",
        "a" * 2000,
        "é",
        sessions.unsubscribe_link(member, "email", door=stranger),
        sessions.preferences_link(member, at=at, lasts=timedelta(days=1), door=door),
    )
    before = dump(parts.database)
    for text in bad:
        path = f"/unsubscribe/{text}"
        answer = api.client.post(path, data=ONE_CLICK)
        assert (answer.status_code, answer.mimetype) == (403, "application/problem+json")
        assert api.client.get(path, headers=HTML).status_code == 403
    assert dump(parts.database) == before
    assert api.client.post(f"/unsubscribe/{good}", data=ONE_CLICK).status_code == 200


def test_a_link_fits_into_a_field_and_the_long_one_of_old_mails_still_holds(
    api: Api, app: Flask
) -> None:
    member, at = agreed(api), now()
    door: Door = app.extensions["carnet"][Centre].door
    assert len(sessions.unsubscribe_link(member, "email", door=door)) <= 60
    claims = {"member": member, "channel": "email"}
    old = door.links.mint(sessions.UNSUBSCRIBE, claims, at=at, lasts=None)
    assert api.client.post(f"/unsubscribe/{old}", data=ONE_CLICK).status_code == 200
    assert granted(api, member) == {"sms"}


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"data": {}}, 415),
        ({"data": {"List-Unsubscribe": "Maybe"}}, 422),
        ({"data": {"list-unsubscribe": "One-Click"}}, 422),
        ({"json": ONE_CLICK}, 415),
        ({"data": b"List-Unsubscribe=One-Click", "content_type": "text/plain"}, 415),
    ],
)
def test_a_post_that_is_no_click_changes_nothing(
    api: Api, more: dict[str, Any], status: int
) -> None:
    member = agreed(api)
    answer = api.client.post(mailed(api, member)["url"], **more)
    assert answer.status_code == status
    assert granted(api, member) == {"email", "sms"}


def waiting(api: Api, parts: Parts) -> tuple[str, str]:
    """A member whose yes waits, and the link that was posted."""
    purposes = api.get("/v1/purposes", expect=200).get_json()["purposes"]
    marketing = next(each for each in purposes if each["name"] == "marketing")
    body = {"purposes": [{**marketing, "double_opt_in": ["email"]}]}
    api.put("/v1/purposes", body, expect=200)
    member = api.enrol(("email", "ada@example.com"))
    api.consent(member, "marketing", channel="email")
    (message,) = parts.outbox.waiting(after=None, limit=2, at=now())
    return member, message.content["url"]


def test_the_second_opt_in_waits_for_a_press(api: Api, parts: Parts) -> None:
    member, url = waiting(api, parts)
    before = dump(parts.database)
    answer = api.client.get(url, headers=HTML)
    assert answer.status_code == 200
    assert "Was it you?" in answer.get_data(as_text=True)
    assert dump(parts.database) == before
    assert granted(api, member) == set()
    data = {"token": url.partition("token=")[2]}
    assert api.client.post("/confirm", data=data, headers=HTML).status_code == 200
    assert granted(api, member) == {"email"}
    again = api.client.post("/confirm", data=data, headers=HTML)
    assert again.status_code == 409
    assert "nothing left to confirm" in again.get_data(as_text=True)


def test_a_forged_confirmation_is_refused(api: Api) -> None:
    assert api.client.get("/confirm", headers=HTML).status_code == 403
    assert api.client.post("/confirm", data={"token": "abc"}).status_code == 403
    assert api.client.post("/confirm").status_code == 403
