"""Every refusal is problem+json with the request's id, the framework's own included."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

import pytest
from pymongo.database import Database

from app import create_app
from loyalty.kit.clock import now
from tests.builders import Api, dump, purchase_body

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app import Parts
    from loyalty.kit.settings import Settings

NDJSON = {"Content-Type": "application/x-ndjson"}


def test_an_unknown_path_is_404(api: Api) -> None:
    for path in ("/nowhere", "/v1", "/v1/members/lookup", "/v1//program", "/v1/members/m_1/points"):
        expected = 405 if path.endswith("lookup") else 404
        answer = api.get(path, expect=expected)
        assert answer.get_json()["status"] == expected


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/purchases", {"POST", "OPTIONS"}),
        ("GET", "/v1/members/lookup", {"POST", "OPTIONS"}),
        ("POST", "/v1/program", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE", "/v1/products", {"PUT", "OPTIONS"}),
        ("NONSENSE", "/v1/picks", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_405_and_says_which_are_right(
    api: Api, method: str, path: str, allow: set[str]
) -> None:
    answer = api.call(method, path, expect=405)
    assert set(answer.headers["Allow"].split(", ")) == allow


def test_options_names_exactly_what_is_there(api: Api) -> None:
    answer = api.call("OPTIONS", "/v1/members/lookup", expect=200)
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "", 415),
        (b"{}", "application/x-ndjson", 415),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b"--x--", "multipart/form-data; boundary=x", 415),
        (b"{}", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"3", "application/json", 422),
        (b'{"external_id":"' + b"x" * 10_000_000 + b'"}', "application/json", 413),
    ],
    ids=range(13),
)
def test_a_body_that_cannot_be_read_is_refused_by_its_kind(
    shop: Api, parts: Parts, body: bytes, content_type: str, status: int
) -> None:
    before = dump(parts.database)
    headers = {"Content-Type": content_type} if content_type else {}
    shop.call("POST", "/v1/purchases", data=body, headers=headers, expect=status)
    assert dump(parts.database) == before


@pytest.fixture
def small(settings: Settings, api: Api) -> Iterator[Api]:
    """A service that takes bulk bodies of 10 kB."""
    app = create_app(replace(settings, bulk_bytes_max=10_000))
    yield Api(app.test_client(), api.key)
    app.extensions["carnet"][Database].client.close()


def test_a_bulk_body_above_its_limit_is_413_and_writes_nothing(small: Api, parts: Parts) -> None:
    line = b'{"sku":"%d","name":"Something that is sold"}\n'
    body = b"".join(line % number for number in range(400))
    small.call("PUT", "/v1/products", data=body, headers=NDJSON, expect=413)
    assert parts.database["products"].count_documents({}) == 0


def test_a_line_above_its_limit_is_413(api: Api, parts: Parts) -> None:
    body = b'{"sku":"1","name":"One"}\n{"sku":"2","name":"' + b"x" * 20_000 + b'"}\n'
    api.call("PUT", "/v1/products", data=body, headers=NDJSON, expect=413)
    assert parts.database["products"].count_documents({}) == 0


def test_a_bug_is_500_and_tells_nobody_what_it_stumbled_over(
    api: Api, capfd: pytest.CaptureFixture[str], settings: Settings
) -> None:
    app = create_app(settings)

    def stumble() -> NoReturn:
        raise RuntimeError("canary-ada@example.com")

    app.view_functions["operation.live"] = stumble
    answer = Api(app.test_client(), api.key).get("/health/live", expect=500)
    assert answer.get_json()["code"] == "internal_error"
    assert b"canary" not in answer.data
    logged = capfd.readouterr().err
    assert '"kind":"RuntimeError"' in logged
    assert "canary" not in logged
    app.extensions["carnet"][Database].client.close()


def test_a_request_keeps_a_sound_id_and_loses_any_other(api: Api) -> None:
    for given, is_kept in (
        ("till-7.42_a", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("two words", False),
        ('"}{', False),
        ("ä", False),
    ):
        answer = api.get("/nowhere", headers={"X-Request-Id": given}, expect=404)
        assert (answer.headers["X-Request-Id"] == given) == is_kept
        assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]


def test_a_database_that_is_away_is_503_with_retry_after(settings: Settings) -> None:
    nowhere = "mongodb://127.0.0.1:9/?directConnection=true"
    app = create_app(replace(settings, mongodb_uri=nowhere, database_timeout_seconds=0.2))
    caller = Api(app.test_client(), "carnet_abcdefghijkl_" + "x" * 43)
    began = now()
    for path in ("/v1/program", "/health/ready"):
        answer = caller.get(path, expect=503)
        assert int(answer.headers["Retry-After"]) >= 1
    caller.get("/health/live", expect=200)
    assert (now() - began).total_seconds() < 5  # no hang; the goal is 3 s
    app.extensions["carnet"][Database].client.close()


def test_a_refused_purchase_names_a_stable_code(shop: Api) -> None:
    member = shop.enrol(("card", "1"))
    for changes, status, code in (
        ({"channel": "pigeon"}, 409, "unknown_channel"),
        ({"currency": "USD"}, 409, "wrong_currency"),
        ({"occurred_at": "2199-01-01T00:00:00Z"}, 409, "in_the_future"),
        ({"payment": {"gift_card_amount": 1001}}, 409, "payment_exceeds_total"),
        ({"member": "m_" + "0" * 32}, 404, "member_not_found"),
    ):
        body = {**purchase_body(member), **changes}
        assert shop.post("/v1/purchases", body, expect=status).get_json()["code"] == code


def test_without_a_programme_nothing_is_awarded(api: Api) -> None:
    member = api.enrol(("card", "1"))
    answer = api.post("/v1/purchases", purchase_body(member), expect=409)
    assert answer.get_json()["code"] == "no_program"
    api.get("/v1/program", expect=409)
