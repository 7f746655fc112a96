"""The OpenAPI document says what the code does, and is served with its page, offline."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson
import pytest

from loyalty.access.model import SCOPES
from tests.api.contract import document

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.builders import Api

FILE = Path(__file__).parents[2] / "openapi" / "openapi.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PUBLIC = {"/.well-known/gpc.json", "/health/live", "/health/ready", "/v1/consents/confirm"}
OPERATIONS = [
    pytest.param(path, method, operation, id=f"{method} {path}")
    for path, item in document()["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
]


def contents(operation: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each content of an operation: where, of which type, and its description."""
    parts = {"request": operation.get("requestBody", {}), **operation["responses"]}
    for where, part in parts.items():
        for kind, content in part.get("content", {}).items():
            yield where, kind, content


def test_the_committed_file_is_the_code() -> None:
    assert orjson.loads(FILE.read_bytes()) == document()


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_an_operation_is_documented_in_full(
    path: str, method: str, operation: dict[str, Any]
) -> None:
    assert operation["summary"]
    assert operation["summary"][0].isupper()
    assert operation["tags"]
    is_public = path in PUBLIC
    assert bool(operation["security"]) != is_public
    errors = {status for status in operation["responses"] if status >= "400"}
    assert {"422"} <= errors if is_public else {"401", "403", "422", "503"} <= errors
    if "requestBody" in operation:
        assert {"413", "415"} <= errors
    for where, kind, content in contents(operation):
        has_example = "example" in content or content.get("examples")
        assert has_example or (path, kind) == ("/metrics", "text/plain"), (method, where)
    for scheme in operation["security"]:
        for scopes in scheme.values():
            assert set(scopes) <= SCOPES.keys()


@pytest.mark.parametrize(("path", "method", "operation"), OPERATIONS)
def test_its_examples_are_of_its_schemas(path: str, method: str, operation: dict[str, Any]) -> None:
    for where, kind, content in contents(operation):
        whole = {**content["schema"], "components": document()["components"]}
        validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        examples = [each["value"] for each in content.get("examples", {}).values()]
        examples += [content["example"]] if "example" in content else []
        for example in examples:
            assert validator.is_valid(example), (path, method, where, kind, example)


def test_every_reference_leads_somewhere() -> None:
    text = orjson.dumps(document()).decode()
    for name in set(re.findall(r'"\$ref":"#/([^"]+)"', text)):
        place: Any = document()
        for step in name.split("/"):
            place = place[step]


def test_the_document_is_of_openapi_3_1() -> None:
    assert document()["openapi"].startswith("3.1")
    for schema in document()["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DIALECT, **schema})


def test_the_page_needs_nothing_from_elsewhere(api: Api) -> None:
    page = api.client.get("/docs/").get_data(as_text=True)
    assert "swagger-ui" in page
    for name in re.findall(r"""(?:src|href)=["']([^"']+)["']""", page):
        assert not name.startswith(("http:", "https:", "//")), name
        path = name if name.startswith("/") else f"/docs/{name.removeprefix('./')}"
        with api.client.get(path) as answer:
            assert answer.status_code == 200, path
    assert api.client.get("/openapi.json").get_json() == document()
    assert api.client.get("/").location == "/docs/"
