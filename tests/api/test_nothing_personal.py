"""Nothing personal in logs, metrics, errors or URLs, and no identifier readable in the database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from loyalty.kit.observe import configure_logs
from tests.builders import dump, mint_key, purchase_body, unique

if TYPE_CHECKING:
    import pytest

    from app import Parts
    from tests.builders import Api

# Each way of saying who somebody is, with a word in it that must not turn up elsewhere.
WHO = {
    "card": "CANARYCARD1234",
    "email": "Canary.Mail@Example.com",
    "phone": "+49 1512 3456789",
    "app": "canary-app-0001",
    "social:insta": "@CanaryHandle",
    "marketplace:bay": "canary-market-1",
}
SECRETS = re.compile(r"canary|1512 ?3456789", re.IGNORECASE)
NDJSON = {"Content-Type": "application/x-ndjson"}


def identified(kind: str) -> dict[str, Any]:
    return {"identifier": {"type": kind, "value": WHO[kind]}}


def everything_that_works(shop: Api) -> None:
    """Call each operation with something personal in each field that takes it."""
    member = shop.enrol(*WHO.items())
    for kind in WHO:
        found = shop.post("/v1/members/lookup", identified(kind), expect=200).get_json()
        assert found["id"] == member
        body = purchase_body("", external_id=unique("canary"), **identified(kind))
        del body["member"]
        shop.post("/v1/purchases", body, expect=201)
        assert shop.post("/v1/purchases", body, expect=201).headers["Idempotent-Replay"]
    path = f"/v1/members/{member}"
    extra = {"type": "email", "value": "canary.two@example.com"}
    shown = shop.post(f"{path}/identifiers", extra, expect=200).get_json()
    shop.call("DELETE", f"{path}/identifiers/{shown['identifiers'][-1]['id']}", expect=204)
    for purpose in ("personalisation", "social_engagement", "staff_view"):
        shop.consent(member, purpose)
    shop.consent(member, "marketing", channel="email")
    share = {"external_id": "canary-1", "channel": "social", "type": "share"}
    shop.post("/v1/engagements", {**share, **identified("social:insta")}, expect=201)
    adjustment = {"external_id": "canary", "points": 5, "reason": "canary", "actor": "canary"}
    shop.post(f"{path}/adjustments", adjustment, expect=201)
    shop.put(f"{path}/profile", {"birthday": "--02-29", "segments": ["canary"]}, expect=200)
    shop.post("/v1/households", {"name": "canary"}, expect=201)
    for read in ("", "/points", "/journal", "/consents", "/consents/records", "/recommendations"):
        shop.get(f"{path}{read}", expect=200)
    shop.post(f"{path}/token", {}, expect=201)
    shop.get("/v1/picks?channel=email", expect=200)
    key = {"Idempotency-Key": "canary"}
    shop.post("/v1/members", {"identifiers": [{"type": "app", "value": "canary9"}]}, headers=key)


def every_refusal(shop: Api, other: Api) -> list[str]:
    """The texts of refusals of requests that hold something personal, in the wrong place too."""
    nobody = "m_" + "0" * 32
    bodies: list[tuple[str, str, Any]] = [
        ("POST", "/v1/members", {"identifiers": [{"type": "card", "value": WHO["card"]}]}),
        ("POST", "/v1/members", {"identifiers": [{"type": "email", "value": "canary"}]}),
        ("POST", "/v1/members", {"identifiers": [{"type": "phone", "value": "canary"}]}),
        ("POST", "/v1/members", {"identifiers": [{"type": "canary", "value": "1"}]}),
        ("POST", "/v1/members", {"identifiers": ["canary"]}),
        ("POST", "/v1/members", {"identifiers": "canary"}),
        ("POST", "/v1/members/lookup", {"identifier": {"type": "app", "value": "canary-none"}}),
        ("POST", "/v1/members/lookup", {"identifier": {"type": "app", "value": "canary\0"}}),
        ("POST", "/v1/purchases", purchase_body(nobody, external_id="canary")),
        ("POST", "/v1/purchases", purchase_body("canary")),
        ("POST", "/v1/purchases", purchase_body(nobody, channel="canary")),
        ("POST", "/v1/purchases", purchase_body(nobody, occurred_at="canary")),
        ("POST", "/v1/purchases", purchase_body(nobody, currency="canary")),
        ("POST", "/v1/purchases", purchase_body(nobody, store="canary/canary")),
        ("POST", "/v1/returns", {"external_id": "canary", "channel": "canary", "purchase": {}}),
        ("PUT", f"/v1/members/{nobody}/consents", {"decisions": [{"purpose": "canary"}]}),
        ("PUT", f"/v1/members/{nobody}/consents", {"decisions": [], "method": "canary"}),
        ("POST", f"/v1/members/{nobody}/token", {"expires_in_seconds": "canary"}),
        ("POST", f"/v1/members/{nobody}/adjustments", {"points": "canary", "actor": 1}),
        ("POST", "/v1/program/versions", {"program": {"rules": [{"type": "canary"}]}}),
    ]
    texts = [
        shop.call(method, path, json=body).get_data(as_text=True) for method, path, body in bodies
    ]
    queries = ("/v1/picks?channel=canary", "/v1/members/canary@example.com", "/canary@example.com")
    texts += [shop.get(path).get_data(as_text=True) for path in queries]
    broken = b'{"identifier": {"type": "email", "value": "canary@example.com'
    for path in ("/v1/members", "/v1/purchases"):
        answer = shop.call("POST", path, data=broken, headers={"Content-Type": "application/json"})
        texts.append(answer.get_data(as_text=True))
    lines = b'{"sku":"canary","name":5}\n{"canary\n{"sku":"x","name":"y","image_url":"canary"}\n'
    for path in ("/v1/products", "/v1/stores"):
        answer = shop.call("PUT", path, data=lines, headers=NDJSON, expect=422)
        texts.append(answer.get_data(as_text=True))
    texts += [
        other.call(method, path, json=body, expect=403).get_data(as_text=True)
        for method, path, body in bodies
    ]
    return texts


def test_it_is_in_no_log_no_metric_and_no_error(
    capfd: pytest.CaptureFixture[str], shop: Api, parts: Parts
) -> None:
    configure_logs()  # pytest gives this phase of the test a stream of its own
    everything_that_works(shop)
    errors = every_refusal(shop, shop.speaking_with(mint_key(parts)))
    metrics = shop.get("/metrics", expect=200).get_data(as_text=True)
    captured = capfd.readouterr()
    assert '"route":"/v1/purchases"' in captured.err
    assert 'route="/v1/purchases"' in metrics
    places = {"log": captured.err, "output": captured.out, "metrics": metrics}
    places |= {f"error {number}": text for number, text in enumerate(errors)}
    assert {place for place, text in places.items() if SECRETS.search(text)} == set()
    # A log line names the route, not the path: a member's id is personal too.
    assert not re.search(r"m_[0-9a-f]{32}", captured.err + metrics + "".join(errors))


def test_no_operation_takes_an_identifier_in_its_url(shop: Api) -> None:
    for rule in shop.client.application.url_map.iter_rules():
        assert not rule.arguments & {"identifier", "email", "phone", "card", "value"}, rule.rule


def test_no_identifier_is_readable_in_the_database(shop: Api, parts: Parts) -> None:
    member = shop.enrol(*WHO.items())
    for kind in WHO:
        body = purchase_body("", **identified(kind))
        del body["member"]
        shop.post("/v1/purchases", body, expect=201)
    share = {"external_id": "1", "channel": "web", "type": "visit"}
    shop.post("/v1/engagements", {**share, **identified("email")}, expect=201)
    raw = repr(dump(parts.database))
    assert member in raw
    assert SECRETS.search(raw) is None


def test_what_is_sealed_differs_each_time_and_what_is_hashed_needs_the_secret(
    shop: Api, parts: Parts
) -> None:
    shop.enrol(("card", "1"))
    first = parts.database["identifiers"].find_one({})
    parts.database["identifiers"].delete_many({})
    shop.enrol(("card", "1"))
    second = parts.database["identifiers"].find_one({})
    assert first is not None
    assert second is not None
    assert first["_id"] == second["_id"]
    assert first["sealed"] != second["sealed"]
