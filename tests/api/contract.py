"""Holds each answer to the OpenAPI document: status, content type and body as documented."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import orjson

from app import openapi

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.test import TestResponse

PROBLEM = "application/problem+json"
# An operation does not list what any server can answer to any request.
ANYWHERE = frozenset({404, 405, 413, 500})


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the code."""
    return openapi()


def conforms(app: Flask, method: str, path: str, response: TestResponse) -> None:
    """Assert that an answer is what the document says.

    Args:
        app: the application that answered.
        method: of the request.
        path: of the request, without a query.
        response: the answer.
    """
    if response.status_code >= 400:
        _is_problem(response)
    operation = _operation(app, method, path)
    if operation is None or method in {"OPTIONS", "HEAD"}:
        return
    documented = operation["responses"].get(str(response.status_code))
    if documented is None:
        where = f"{method} {path} answers {response.status_code}, which is not documented"
        assert response.status_code in ANYWHERE, where
        return
    content = documented.get("content")
    if content is None:
        assert not response.data
        return
    assert response.mimetype in content, (response.mimetype, list(content))
    if response.is_json:
        _valid(content[response.mimetype]["schema"], orjson.loads(response.data))


def _is_problem(response: TestResponse) -> None:
    assert response.mimetype == PROBLEM, response.data
    body = orjson.loads(response.data)
    _valid({"$ref": "#/components/schemas/Problem"}, body)
    assert body["status"] == response.status_code
    assert body["request_id"] == response.headers["X-Request-Id"]


def _operation(app: Flask, method: str, path: str) -> dict[str, Any] | None:
    """The documented operation that a request meets, if any."""
    rules = app.url_map.bind("localhost")
    if not rules.test(path, method):
        return None
    rule, _ = rules.match(path, method, return_rule=True)
    template = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
    operation: dict[str, Any] | None = document()["paths"].get(template, {}).get(method.lower())
    return operation


def _valid(schema: dict[str, Any], body: Any) -> None:
    _validator(orjson.dumps(schema)).validate(body)


@cache
def _validator(schema: bytes) -> Any:
    whole = {**orjson.loads(schema), "components": document()["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
