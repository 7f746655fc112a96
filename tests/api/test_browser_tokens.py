"""A member's token: opens that member's own things, for fifteen minutes, in a browser."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from pymongo.database import Database

from app import create_app
from loyalty.access.tokens import AUDIENCE, ISSUER, TOKEN_SECONDS_MAX, TYPE
from loyalty.kit.clock import now
from loyalty.kit.http import access_of
from tests.api.test_authentication import PAGES, PUBLIC, operations
from tests.builders import Api, dump

if TYPE_CHECKING:
    from app import Parts
    from loyalty.kit.settings import Settings

OWN_PATHS = ("", "/points", "/journal", "/consents", "/consents/records", "/recommendations")


def token_of(api: Api, member: str, seconds: int = 900) -> Api:
    """The member's browser."""
    body = {"expires_in_seconds": seconds}
    minted = api.post(f"/v1/members/{member}/token", body, expect=201).get_json()
    return api.speaking_with(minted["token"])


def test_a_member_reads_and_writes_the_own_things(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    bought = shop.buy(member, 700)
    browser = token_of(shop, member)
    for path in OWN_PATHS:
        browser.get(f"/v1/members/{member}{path}", expect=200)
    browser.consent(member, "personalisation")
    assert browser.get(f"/v1/entries/{bought['entry_id']}", expect=200).get_json()["points"] == 7


def test_another_member_is_out_of_reach(shop: Api) -> None:
    mine, other = shop.enrol(("card", "1")), shop.enrol(("card", "2"))
    bought = shop.buy(other)
    browser = token_of(shop, mine)
    for path in OWN_PATHS:
        answer = browser.get(f"/v1/members/{other}{path}", expect=403)
        assert answer.get_json()["code"] == "not_your_member"
    decision = {"decisions": [{"purpose": "personalisation", "granted": True}]}
    browser.put(f"/v1/members/{other}/consents", decision, expect=403)
    # Whether it exists is nobody's business either.
    missing = browser.get("/v1/entries/" + "0" * 24, expect=404).get_json()
    hidden = browser.get(f"/v1/entries/{bought['entry_id']}", expect=404).get_json()
    assert hidden["detail"] == missing["detail"]


def test_what_is_not_for_browsers_stays_shut(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    browser = token_of(shop, member)
    app = shop.client.application
    before = dump(parts.database)
    for method, path, rule in operations(app):
        access = access_of(app.view_functions[rule.endpoint])
        if rule.rule in PUBLIC | PAGES or access is None or access.member_token:
            continue
        own = path.replace("m_" + "0" * 32, member)
        answer = browser.call(method, own, json={}, expect=403)
        assert answer.get_json()["code"] == "not_your_member", path
    assert dump(parts.database) == before


def claims_of(member: str, **changes: Any) -> dict[str, Any]:
    at = now()
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": member,
        "iat": at,
        "exp": at + timedelta(seconds=TOKEN_SECONDS_MAX),
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


FORGERIES: dict[str, tuple[dict[str, Any], str, str]] = {
    "another audience": ({"aud": "carnet:staff"}, "HS256", TYPE),
    "no audience": ({"aud": None}, "HS256", TYPE),
    "another issuer": ({"iss": "somebody"}, "HS256", TYPE),
    "another type": ({}, "HS256", "JWT"),
    "unsigned": ({}, "none", TYPE),
    "another algorithm": ({}, "HS512", TYPE),
    "no end": ({"exp": None}, "HS256", TYPE),
    "no beginning": ({"iat": None}, "HS256", TYPE),
    "nobody": ({"sub": None}, "HS256", TYPE),
    "expired": (
        {"iat": now() - timedelta(minutes=10), "exp": now() - timedelta(seconds=5)},
        "HS256",
        TYPE,
    ),
    "longer than we allow": (
        {"exp": now() + timedelta(seconds=TOKEN_SECONDS_MAX + 60), "iat": now()},
        "HS256",
        TYPE,
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
# PyJWT warns that a key is short for HS512: the forger's problem.
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_forged_or_stale_token_is_nobody(api: Api, parts: Parts, name: str) -> None:
    changes, algorithm, kind = FORGERIES[name]
    member = api.enrol()
    secret: Any = None if algorithm == "none" else parts.tokens._secret
    forged = jwt.encode(
        claims_of(member, **changes), secret, algorithm=algorithm, headers={"typ": kind}
    )
    api.speaking_with(forged).get(f"/v1/members/{member}", expect=401)


def test_a_token_signed_with_another_secret_is_nobody(api: Api) -> None:
    member = api.enrol()
    forged = jwt.encode(claims_of(member), "x" * 32, algorithm="HS256", headers={"typ": TYPE})
    api.speaking_with(forged).get(f"/v1/members/{member}", expect=401)


def test_the_same_claims_signed_rightly_pass(api: Api, parts: Parts) -> None:
    member = api.enrol()
    good = parts.tokens.mint(member, at=now(), seconds=60)
    api.speaking_with(good).get(f"/v1/members/{member}", expect=200)


def test_nobody_mints_more_than_fifteen_minutes(api: Api, parts: Parts) -> None:
    member = api.enrol()
    path = f"/v1/members/{member}/token"
    answer = api.post(path, {"expires_in_seconds": 901}, expect=422)
    assert answer.get_json()["errors"][0]["field"] == "expires_in_seconds"
    token = parts.tokens.mint(member, at=now(), seconds=99_999)
    read = jwt.decode(token, options={"verify_signature": False})
    assert read["exp"] - read["iat"] == TOKEN_SECONDS_MAX


def test_no_token_for_nobody(api: Api) -> None:
    api.post("/v1/members/m_" + "0" * 32 + "/token", {}, expect=404)


def test_a_browser_of_an_allowed_origin_may_ask_and_call(settings: Settings) -> None:
    app = create_app(replace(settings, cors_origins=("https://shop.example",)))
    asks = {
        "Origin": "https://shop.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    path = "/v1/members/m_" + "0" * 32 + "/consents"
    client = app.test_client()
    # A browser sends no credential with this question, and takes anything but 2xx for a no.
    answer = client.options(path, headers=asks)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    stranger = client.options(path, headers={**asks, "Origin": "https://elsewhere.example"})
    assert "Access-Control-Allow-Origin" not in stranger.headers
    app.extensions["carnet"][Database].client.close()


def test_without_the_setting_no_origin_is_allowed(api: Api) -> None:
    answer = api.client.get("/health/live", headers={"Origin": "https://shop.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers
