"""The bare service: a Flask that sets deadlines and turns every failure into problem+json."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING

import pymongo
from flask import Flask, Response, request
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException

from loyalty.kit.errors import CarnetError, UnavailableError
from loyalty.kit.http import OrjsonProvider, access_of, problem, refusal
from loyalty.kit.mongo import is_away
from loyalty.kit.observe import log

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from loyalty.kit.settings import Settings


class Service(Flask):
    """Flask, with one deadline for all database work of a request."""

    json_provider_class = OrjsonProvider

    def __init__(self, name: str, settings: Settings) -> None:
        super().__init__(name, static_folder=None)
        self.settings = settings
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        self.config["MAX_CONTENT_LENGTH"] = settings.body_bytes_max
        self.after_request(_keep_private)
        self.register_error_handler(CarnetError, refusal)
        self.register_error_handler(HTTPException, _http_exception)
        self.register_error_handler(PyMongoError, _driver_error)
        self.register_error_handler(Exception, _bug)

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: no view is a coroutine, and asking costs a dozen calls a request."""
        return func

    def full_dispatch_request(self) -> Response:
        """Answer within the deadline; bulk views set one for each chunk instead."""
        access = access_of(self.view_functions.get(request.endpoint or ""))
        if access and access.is_bulk:
            request.max_content_length = self.settings.bulk_bytes_max
            return super().full_dispatch_request()
        with pymongo.timeout(self.settings.database_timeout_seconds):
            return super().full_dispatch_request()


def _keep_private(response: Response) -> Response:
    """No cache between us and the caller keeps an answer about a person."""
    headers = response.headers
    headers.add("X-Content-Type-Options", "nosniff")
    if "Cache-Control" not in headers:
        headers.add("Cache-Control", "no-store")
    return response


def _http_exception(error: HTTPException) -> Response | HTTPException:
    """The framework's own refusals: 404, 405, 413 and the like."""
    if error.code is None or error.code < HTTPStatus.BAD_REQUEST:
        return error
    status = HTTPStatus(error.code)
    answer = problem(
        status,
        code=status.name.lower(),
        title=status.phrase,
        detail=status.description or status.phrase,
    )
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            answer.headers[name] = value
    return answer


def _driver_error(error: PyMongoError) -> Response:
    if is_away(error):
        log().warning("database_away", kind=type(error).__name__)
        return refusal(UnavailableError("The database does not answer. Nothing is lost: retry."))
    return _bug(error)


def _bug(error: Exception) -> Response:
    """A bug of ours. The log gets the kind and the places; a message might quote someone's data."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames]
    log().error("unhandled", kind=type(error).__name__, places=places)
    return problem(
        500,
        code="internal_error",
        title="Something went wrong on our side",
        detail="The fault is logged under the request id. Retrying the same request is safe.",
    )
