"""The bare service: a Flask that sets deadlines and turns every failure into problem+json."""

from __future__ import annotations

import time
import traceback
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

import pymongo
from flask import Flask, Request, Response
from flask.globals import app_ctx, request_ctx
from pymongo.errors import PyMongoError
from werkzeug.exceptions import HTTPException

from loyalty.kit.errors import CarnetError, UnavailableError
from loyalty.kit.http import OrjsonProvider, access_of, problem, refusal
from loyalty.kit.mongo import is_away
from loyalty.kit.observe import log, note, request_id_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from flask.typing import ResponseReturnValue

    from loyalty.kit.http import Access
    from loyalty.kit.settings import Settings

    # (the Authorization header, what the view declares, the member in the path) -> who calls
    Admit: TypeAlias = Callable[[str, Access, str | None], Any]


_REFUSED = 400


class Background(Protocol):
    """Something that runs beside the requests, in a thread of its own."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within seconds."""


class Watcher(Protocol):
    """Who is told, in each request, whose data a caller was shown."""

    def note(self, caller: Any, member_id: str, purpose: str, route: str) -> None:  # noqa: ANN401  # kit knows no callers
        """Keep it; at once and without waiting for anything."""


class Service(Flask):
    """Flask with a gate before each view, a deadline on the database and a line about each request.

    These are methods and not hooks, with Flask's objects fetched once: hooks and proxies would cost
    a read as much as its own work does.
    """

    json_provider_class = OrjsonProvider

    def __init__(self, name: str, settings: Settings, *, admit: Admit) -> None:
        super().__init__(name, static_folder=None)
        self.settings = settings
        self._admit = admit
        self.watcher: Watcher | None = None
        self.background: list[Background] = []
        self.url_map.strict_slashes = False
        self.url_map.merge_slashes = False
        self.config["MAX_CONTENT_LENGTH"] = settings.body_bytes_max
        self.register_error_handler(CarnetError, refusal)
        self.register_error_handler(HTTPException, _http_exception)
        self.register_error_handler(PyMongoError, _driver_error)
        self.register_error_handler(Exception, _bug)

    def start_background(self) -> None:
        """Start what runs beside the requests: in a worker process, never at import."""
        for each in self.background:
            each.start()

    def stop_background(self) -> None:
        """End it; each takes seconds at most."""
        for each in self.background:
            each.stop()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: no view is a coroutine, and asking costs a dozen calls a request."""
        return func

    def full_dispatch_request(self) -> Response:
        """Answer a request, whatever it is; every answer passes here."""
        began_at = time.perf_counter()
        request, own = request_ctx.request, app_ctx.g
        own.request_id = request_id = request_id_of(request)
        response = self._answer(request)
        headers = response.headers
        headers.add("X-Request-Id", request_id)
        headers.add("X-Content-Type-Options", "nosniff")
        if "Cache-Control" not in headers:
            # No cache between us and the caller keeps an answer about a person.
            headers.add("Cache-Control", "no-store")
        key = ""
        if "caller" in own:
            key = own.caller.id
            if response.status_code < _REFUSED:
                self._note_look(request, own.caller)
        seconds = time.perf_counter() - began_at
        note(request, response, seconds=seconds, request_id=request_id, key=key)
        return response

    def _note_look(self, request: Request, caller: Any) -> None:  # noqa: ANN401  # kit knows no callers
        """Tell the watcher of the member in the path, if the view says what it shows them for."""
        watcher, access, rule = self.watcher, self._access(request), request.url_rule
        if watcher is not None and access is not None and access.purpose and rule is not None:
            member_id = (request.view_args or {}).get("member_id")
            if member_id is not None:
                watcher.note(caller, member_id, access.purpose_for(caller.scopes), rule.rule)

    def look_noter(self, caller: Any) -> Callable[[str], None]:  # noqa: ANN401  # kit knows no callers
        """What tells the watcher of a member that this request shows, if its view says what for."""
        request, watcher = request_ctx.request, self.watcher
        access = self._access(request)
        if watcher is None or access is None or not access.purpose or request.url_rule is None:
            return _note_nothing
        purpose, route = access.purpose_for(caller.scopes), request.url_rule.rule
        return lambda member_id: watcher.note(caller, member_id, purpose, route)

    def preprocess_request(self) -> ResponseReturnValue | None:
        """Let nobody past who may not: on by default, a public view opts out."""
        request = request_ctx.request
        access = self._access(request)
        # A browser asks with OPTIONS, before and without any credential, whether it may call.
        if access and not access.is_public and request.method != "OPTIONS":
            member_id = (request.view_args or {}).get("member_id")
            authorization = request.headers.get("Authorization", "")
            app_ctx.g.caller = self._admit(authorization, access, member_id)
        return super().preprocess_request()

    def _answer(self, request: Request) -> Response:
        """Answer within the deadline; bulk views set one for each chunk instead."""
        access = self._access(request)
        if access and access.is_bulk:
            request.max_content_length = self.settings.bulk_bytes_max
            return super().full_dispatch_request()
        with pymongo.timeout(self.settings.database_timeout_seconds):
            return super().full_dispatch_request()

    def _access(self, request: Request) -> Access | None:
        return access_of(self.view_functions.get(request.endpoint or ""))


def _note_nothing(_member_id: str) -> None:
    """Nobody watches, or the view shows nothing of a member."""


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
