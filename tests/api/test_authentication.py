"""Who is calling, and what that caller may do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from loyalty.access import model as keys
from loyalty.access.model import InvalidKeyError
from loyalty.access.service import Gatekeeper
from loyalty.kit.clock import now
from loyalty.kit.http import Access, access_of
from tests.api.contract import document
from tests.builders import dump, mint_key, purchase_body, unique

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask import Flask
    from werkzeug.routing import Rule

    from app import Parts
    from tests.builders import Api

NOBODY = "m_" + "0" * 32
UNKNOWN_KEY = "carnet_abcdefghijkl_" + "x" * 43
PUBLIC = {
    "/",
    "/.well-known/gpc.json",
    "/docs/",
    "/docs/<path:path>",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/v1/consents/confirm",
}

# Opened by a link or by the session that a form carries: test_preferences and test_unsubscribing
# hold each of them to it.
PAGES = {
    "/confirm",
    "/unsubscribe/<link>",
    "/preferences",
    "/preferences/<path:step>",
    "/preferences/style.css",
    "/preferences/choices",
    "/preferences/withdraw",
    "/preferences/stop-marketing",
    "/preferences/history",
    "/preferences/receipt",
    "/preferences/looks",
    "/preferences/rights",
    "/preferences/code",
    "/preferences/code/enter",
    "/preferences/code/check",
    "/preferences/download",
    "/preferences/correct",
    "/preferences/restrict",
    "/preferences/erasing",
    "/preferences/erase",
}


class Clock:
    """A monotonic clock that the test winds."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer carnet_short_x"},
        {"Authorization": f"Bearer {UNKNOWN_KEY}"},
        {"Authorization": f"Bearer {UNKNOWN_KEY} {UNKNOWN_KEY}"},
        {"Authorization": f"Bearer {UNKNOWN_KEY}\xe9"},
        {"Authorization": "Bearer a.b.c"},
        {"Authorization": "Bearer .."},
    ],
    ids=range(11),
)
def test_whoever_is_not_known_gets_one_and_the_same_answer(
    api: Api, parts: Parts, headers: dict[str, str]
) -> None:
    revoked = mint_key(parts, "program:read")
    parts.keys.revoke(keys.split(revoked)[0], at=now())
    asked = {"X-Request-Id": "same"}
    expected = api.speaking_with(revoked).get("/v1/program", headers=asked, expect=401)
    answer = api.client.get("/v1/program", headers={**headers, **asked})
    assert answer.status_code == 401
    assert answer.data == expected.data
    assert answer.headers["WWW-Authenticate"] == expected.headers["WWW-Authenticate"]


def test_a_wrong_secret_under_a_right_id_is_refused(api: Api) -> None:
    key_id, secret = keys.split(api.key)
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    api.speaking_with(f"carnet_{key_id}_{wrong}").get("/v1/program", expect=401)


def test_a_revocation_holds_within_a_second(parts: Parts) -> None:
    clock = Clock()
    keeper = Gatekeeper(parts.keys, parts.tokens, monotonic=clock)
    text = mint_key(parts, "program:read")
    access = Access(("program:read",))
    keeper.admit(f"Bearer {text}", access, None)
    parts.keys.revoke(keys.split(text)[0], at=now())
    clock.seconds += 1.0
    with pytest.raises(InvalidKeyError):
        keeper.admit(f"Bearer {text}", access, None)


def test_a_key_that_was_refused_as_unknown_works_the_moment_it_is_made(parts: Parts) -> None:
    keeper = Gatekeeper(parts.keys, parts.tokens, monotonic=Clock())
    key, text = keys.mint("later", frozenset(), at=now(), channel=None, store=None)
    with pytest.raises(InvalidKeyError):
        keeper.admit(f"Bearer {text}", Access(()), None)
    parts.keys.add(key)
    with pytest.raises(keys.MissingScopeError):
        keeper.admit(f"Bearer {text}", Access(("program:read",)), None)


def operations(app: Flask) -> Iterator[tuple[str, str, Rule]]:
    """Each method and path of the application, with something in the place of each argument."""
    urls = app.url_map.bind("localhost")
    known = {"member_id": NOBODY, "redemption_id": "0" * 24}
    for rule in app.url_map.iter_rules():
        values = {name: known.get(name, "x") for name in rule.arguments}
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, urls.build(rule.endpoint, values, method=method), rule


def test_every_view_but_the_public_ones_refuses_a_caller_without_a_key(api: Api) -> None:
    app = api.client.application
    open_rules = set()
    for method, path, rule in operations(app):
        access = access_of(app.view_functions[rule.endpoint])
        if access is None or access.is_public:
            open_rules.add(rule.rule)
            continue
        assert api.client.open(path, method=method).status_code == 401, (method, path)
    assert open_rules == PUBLIC | PAGES


def test_every_view_refuses_a_key_without_its_scope_and_writes_nothing(
    api: Api, parts: Parts
) -> None:
    bare = api.speaking_with(mint_key(parts))
    before = dump(parts.database)
    for method, path, rule in operations(api.client.application):
        if rule.rule not in PUBLIC | PAGES:
            answer = bare.call(method, path, json={}, expect=403)
            assert answer.get_json()["code"] == "missing_scope", path
    assert dump(parts.database) == before


def test_each_scope_that_is_documented_opens_its_operation(api: Api, parts: Parts) -> None:
    for template, item in document()["paths"].items():
        for method in item.keys() - {"parameters"}:
            for scope in item[method].get("x-scopes", ()):
                caller = api.speaking_with(mint_key(parts, scope))
                path = re.sub(r"{\w+}", "x", template.replace("{member_id}", NOBODY))
                answer = caller.call(method.upper(), path, json={})
                allowed = answer.status_code not in {401, 403}
                # Nobody agreed to anything, so the gate behind staff:read may refuse.
                assert allowed or answer.get_json()["code"] == "consent_required", (path, scope)


def test_a_key_bound_to_a_channel_speaks_for_no_other(shop: Api, parts: Parts) -> None:
    member = shop.enrol(("card", "1"))
    till = shop.speaking_with(mint_key(parts, "activities:write", channel="store"))
    before = dump(parts.database)
    for path, body in (
        ("/v1/purchases", purchase_body(member, channel="web")),
        (
            "/v1/engagements",
            {"external_id": unique(), "channel": "web", "member": member, "type": "review"},
        ),
        (
            "/v1/returns",
            {"external_id": unique(), "channel": "web", "purchase": {"external_id": "1"}},
        ),
    ):
        assert till.post(path, body, expect=403).get_json()["code"] == "bound_key"
    assert dump(parts.database) == before
    till.post("/v1/purchases", purchase_body(member, channel="store"), expect=201)


def test_a_key_bound_to_a_store_fills_it_in_and_speaks_for_no_other(
    shop: Api, parts: Parts
) -> None:
    member = shop.enrol(("card", "1"))
    till = shop.speaking_with(mint_key(parts, "activities:write", channel="store", store="S7"))
    till.post("/v1/purchases", purchase_body(member, store="S8"), expect=403)
    body = purchase_body(member)
    del body["store"]
    entry_id = till.post("/v1/purchases", body, expect=201).get_json()["entry_id"]
    assert shop.get(f"/v1/entries/{entry_id}", expect=200).get_json()["store"] == "S7"
    purchase = {"external_id": body["external_id"]}
    back = {"external_id": unique(), "channel": "store", "purchase": purchase}
    till.post("/v1/returns", back, expect=201)
    assert shop.balance(member) == 0


def test_a_key_is_kept_as_a_hash_only(api: Api, parts: Parts) -> None:
    _, secret = keys.split(api.key)
    assert secret not in str(dump(parts.database))
