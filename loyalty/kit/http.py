"""HTTP for the nouns: a blueprint that enforces and documents, strict parsing, problem+json.

A view declares who may call it (`requires` or `public`), what it refuses (`raises`) and what it
answers. This module turns that into checks and into OpenAPI; it knows no noun.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import wraps
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import orjson
from flask import Response, current_app, g, request
from flask.json.provider import JSONProvider
from flask_smorest import Blueprint as SmorestBlueprint
from marshmallow import Schema, ValidationError, fields
from webargs.flaskparser import FlaskParser

from loyalty.kit.errors import (
    CarnetError,
    ConflictError,
    FieldError,
    ForbiddenError,
    InvalidError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedMediaError,
)
from loyalty.kit.fields import QueryItems, flatten

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

View = TypeVar("View", bound="Callable[..., Any]")

Answer: TypeAlias = "dict[str, Any] | Response | tuple[dict[str, Any], int, dict[str, str]]"
"""What a view gives: a body, or a body with a status and headers, or a finished response."""

PROBLEM_TYPE = "application/problem+json"
NDJSON_TYPE = "application/x-ndjson"
STATUS_BY_KIND: tuple[tuple[type[CarnetError], int], ...] = (
    (MalformedError, 400),
    (UnauthenticatedError, 401),
    (ForbiddenError, 403),
    (NotFoundError, 404),
    (ConflictError, 409),
    (TooLargeError, 413),
    (UnsupportedMediaError, 415),
    (InvalidError, 422),
    (TooManyRequestsError, 429),
    (UnavailableError, 503),
)
ORJSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
FIELD_ERRORS_MAX = 20
_JSON = {"Content-Type": "application/json"}
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,128}\Z")
_IDEMPOTENCY_KEY_DOC = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "Your own id for the request: sent again with the same body, it has one effect.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
}


def status_of(kind: type[CarnetError]) -> int:
    """The HTTP status of a refusal: the only place where one meets the other."""
    return next((status for base, status in STATUS_BY_KIND if issubclass(kind, base)), 500)


class FieldErrorSchema(Schema):
    """One mistake in the input."""

    field = fields.String(required=True, metadata={"examples": ["lines.0.quantity"]})
    message = fields.String(required=True, metadata={"examples": ["Must be a whole number."]})


class ProblemSchema(Schema):
    """RFC 9457 problem details."""

    type = fields.String(required=True, metadata={"examples": ["urn:carnet:problem:invalid"]})
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    code = fields.String(required=True, metadata={"description": "Stable: branch on this."})
    request_id = fields.String(required=True)
    errors = fields.List(fields.Nested(FieldErrorSchema))


def problem(
    status: int, *, code: str, title: str, detail: str, errors: tuple[FieldError, ...] = ()
) -> Response:
    """An `application/problem+json` answer. Nothing personal goes into any of its texts."""
    body: dict[str, Any] = {
        "type": f"urn:carnet:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": g.get("request_id", ""),
    }
    if errors:
        body["errors"] = [error._asdict() for error in errors]
    return Response(orjson.dumps(body), status=status, content_type=PROBLEM_TYPE)


def refusal(error: CarnetError) -> Response:
    """The answer to a refusal of our own."""
    answer = problem(
        status_of(type(error)),
        code=error.code,
        title=error.title,
        detail=error.detail,
        errors=error.errors,
    )
    if isinstance(error, (TooManyRequestsError, UnavailableError)):
        answer.headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, UnauthenticatedError):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="carnet"'
    return answer


def refusal_of_line(error: CarnetError) -> dict[str, Any]:
    """The same about one line of many, as the single call would have said it."""
    problem: dict[str, Any] = {
        "code": error.code,
        "title": error.title,
        "status": status_of(type(error)),
        "detail": error.detail,
    }
    if error.errors:
        problem["errors"] = [each._asdict() for each in error.errors]
    return problem


class OrjsonProvider(JSONProvider):
    """JSON by orjson: it refuses NaN and lone surrogates and writes times as RFC 3339."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """`obj` as JSON text."""
        return orjson.dumps(obj, option=ORJSON_OPTIONS).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """The value of a JSON text."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """A JSON response; bytes all the way."""
        payload = orjson.dumps(self._prepare_response_obj(args, kwargs), option=ORJSON_OPTIONS)
        return Response(payload, content_type="application/json")


class StrictParser(FlaskParser):
    """Reads JSON bodies and query strings, refuses what was not asked for, names each mistake."""

    def parse(self, argmap: Any, req: Any = None, *, location: str | None = None, **_: Any) -> Any:
        """The body or the query as the schema loads it; the schema refuses unknown names.

        Raises:
            InvalidError: with each mistake and its place.
        """
        given = req or request
        is_query = location == "query"
        read = self._read_query(given, argmap.fields) if is_query else self._read_json(given)
        try:
            return argmap.load(read)
        except ValidationError as error:
            raise invalid(error.messages) from error

    def _read_json(self, req: Any) -> Any:
        """The body as JSON; another content type is 415, broken JSON 400."""
        if not req.is_json:
            raise UnsupportedMediaError("Send the body as application/json.")
        try:
            return orjson.loads(req.get_data())
        except orjson.JSONDecodeError as error:
            raise MalformedError(f"The body is not valid JSON: {error}.") from error

    def _read_query(self, req: Any, known: Mapping[str, Any]) -> dict[str, str | list[str]]:
        """The query; a name that comes twice is refused unless it is a list's."""
        query: dict[str, str | list[str]] = {}
        for name, values in req.args.lists():
            is_list = isinstance(known.get(name), QueryItems)
            if len(values) > 1 and not is_list:
                raise invalid({name: ["Is given more than once."]})
            query[name] = values if is_list else values[0]
        return query


def invalid(messages: Any) -> InvalidError:
    """An `InvalidError` out of marshmallow's messages, at most twenty of them."""
    pairs = flatten(messages)[:FIELD_ERRORS_MAX]
    errors = tuple(FieldError(field, message) for field, message in pairs)
    first = errors[0] if errors else FieldError("body", "Is not valid.")
    return InvalidError(f"{first.field}: {first.message}", errors=errors)


class Access(NamedTuple):
    """Who may call a view: any of the scopes, or the member's own token, or everybody."""

    scopes: tuple[str, ...] = ()
    member_token: bool = False
    is_public: bool = False
    # A bulk operation sets a deadline a chunk instead of one for the whole request.
    is_bulk: bool = False
    # For which purpose of the register the view uses what is known of a member; "" for none.
    purpose: str = ""
    # What a key uses it for that comes by one of these scopes alone.
    purpose_by_scope: tuple[tuple[str, str], ...] = ()

    def purpose_for(self, scopes: Container[str]) -> str:
        """For which purpose a caller with some scopes uses it."""
        own = dict(self.purpose_by_scope)
        if any(each in scopes for each in self.scopes if each not in own):
            return self.purpose
        return next((own[each] for each in own if each in scopes), self.purpose)


def access_of(view: Any) -> Access | None:
    """What a view declares, or None for one that declares nothing (such as static files)."""
    return getattr(view, "_carnet_access", None)


class Blueprint(SmorestBlueprint):
    """A blueprint whose views must say who may call them, or the program does not start."""

    ARGUMENTS_PARSER = StrictParser()

    def __init__(
        self, name: str, import_name: str, *, description: str, url_prefix: str = "/v1"
    ) -> None:
        super().__init__(name, import_name, description=description, url_prefix=url_prefix)
        self._prepare_doc_cbks += [_document_access, _document_key, _document_raises]

    def add_url_rule(self, rule: str, *args: Any, **kwargs: Any) -> None:
        """Register a view that has declared its access.

        Raises:
            RuntimeError: it has not; a forgotten check must not become an open door.
        """
        view = kwargs.get("view_func") or (args[1] if len(args) > 1 else None)
        if access_of(view) is None:
            raise RuntimeError(f"{rule}: declare the view's scopes with requires(), or public()")
        super().add_url_rule(rule, *args, **kwargs)

    def arguments(self, schema: type[Schema] | Schema, **kwargs: Any) -> Any:
        """Parse a part of the request by a schema, built once: a class would be built each time."""
        built = schema() if isinstance(schema, type) else schema
        return super().arguments(built, **kwargs)

    @staticmethod
    def requires(
        *scopes: str,
        member_token: bool = False,
        bulk: bool = False,
        purpose: str = "",
        purpose_by_scope: Mapping[str, str] | None = None,
    ) -> Any:
        """Let in keys with any of the scopes and, where said, the member's own token.

        Args:
            scopes: any of them is enough.
            member_token: whether the token of the member in the path is, too.
            bulk: whether the view sets its own deadlines.
            purpose: of the register of processing: why the view uses what is known of a member.
            purpose_by_scope: another one of keys that have none but such a scope.
        """
        access = Access(
            scopes,
            member_token=member_token,
            is_bulk=bulk,
            purpose=purpose,
            purpose_by_scope=tuple((purpose_by_scope or {}).items()),
        )
        return lambda view: _mark(view, access)

    @staticmethod
    def public() -> Any:
        """Let everybody in."""
        return lambda view: _mark(view, Access(is_public=True))

    @staticmethod
    def ndjson_body(line: type[Schema], *, example: Mapping[str, Any]) -> Any:
        """Document a body of NDJSON by its line; the view reads it with `ndjson_lines`."""
        content = {NDJSON_TYPE: {"schema": line, "example": example}}
        return Blueprint.doc(requestBody={"required": True, "content": content})

    @staticmethod
    def idempotent() -> Any:
        """Document that the view reads the header with `idempotency_key`."""
        return lambda view: _note(view, takes_key=True)

    @staticmethod
    def raises(*errors: type[CarnetError]) -> Any:
        """Document the view's refusals and, under test, fail on one that is not declared."""
        return lambda view: _declare(view, errors)


def _mark(view: View, access: Access) -> View:
    view._carnet_access = access  # type: ignore[attr-defined]  # noqa: SLF001
    return _note(view, access=access)


def _note(view: View, **notes: Any) -> View:
    """Leave a note on the view for the callbacks that document it."""
    view._apidoc = {**getattr(view, "_apidoc", {}), **notes}  # type: ignore[attr-defined]  # noqa: SLF001
    return view


def _declare(view: Any, errors: tuple[type[CarnetError], ...]) -> Any:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return view(*args, **kwargs)
        except CarnetError as error:
            # Wrong input and an absent database are implied for every view.
            is_implied = type(error) is InvalidError or isinstance(error, UnavailableError)
            if current_app.testing and not is_implied and not isinstance(error, errors):
                raise AssertionError(f"{view.__name__} does not declare {error!r}") from error
            raise

    wrapper._apidoc = deepcopy(getattr(view, "_apidoc", {}))  # type: ignore[attr-defined]  # noqa: SLF001
    wrapper._apidoc["raises"] = errors  # type: ignore[attr-defined]  # noqa: SLF001
    return wrapper


def _document_access(doc: Any, doc_info: Any, **kwargs: Any) -> Any:
    access: Access = doc_info["access"]
    if access.is_public:
        doc["security"] = []
        return doc
    doc["security"] = [{"apiKey": [scope]} for scope in access.scopes]
    if access.member_token:
        doc["security"].append({"memberToken": []})
    scopes = " or ".join(f"`{scope}`" for scope in access.scopes)
    token = ", or the member's own token" if access.member_token else ""
    doc["x-scopes"] = list(access.scopes)
    if access.purpose:
        doc["x-purpose"] = access.purpose
    text = doc_info.setdefault("docstring", {}).get("description", "")
    doc_info["docstring"]["description"] = f"{text}\n\nScope: {scopes}{token}.".strip()
    return doc


def _document_key(doc: Any, doc_info: Any, **kwargs: Any) -> Any:
    if doc_info.get("takes_key"):
        doc.setdefault("parameters", []).append(_IDEMPOTENCY_KEY_DOC)
    return doc


def _document_raises(doc: Any, doc_info: Any, **kwargs: Any) -> Any:
    errors = {*doc_info.get("raises", ()), *_implied_errors(doc, doc_info["access"])}
    by_status: dict[int, list[type[CarnetError]]] = {}
    for error in sorted(errors, key=lambda each: each.code):
        by_status.setdefault(status_of(error), []).append(error)
    for status, kinds in sorted(by_status.items()):
        doc.setdefault("responses", {})[status] = _problem_doc(status, kinds)
    return doc


def _implied_errors(doc: Any, access: Access) -> Iterator[type[CarnetError]]:
    """What any operation of this form can answer, so that no view has to say it."""
    if not access.is_public:
        yield from (UnauthenticatedError, ForbiddenError, UnavailableError)
    if "requestBody" in doc:  # a JSON body: NDJSON views name their own
        yield from (MalformedError, TooLargeError, UnsupportedMediaError)
    yield from (InvalidError,)


def _problem_doc(status: int, kinds: list[type[CarnetError]]) -> dict[str, Any]:
    examples = {
        kind.code: {
            "summary": kind.title,
            "value": {
                "type": f"urn:carnet:problem:{kind.code}",
                "title": kind.title,
                "status": status,
                "detail": kind.title,
                "code": kind.code,
                "request_id": "8f1c0c7e5b7d4b0f",
            },
        }
        for kind in kinds
    }
    content = {PROBLEM_TYPE: {"schema": ProblemSchema, "examples": examples}}
    return {"description": "; ".join(kind.title for kind in kinds), "content": content}


def ndjson_lines(*, line_bytes_max: int) -> Iterator[bytes]:
    """The request body line by line, read as it arrives, blank lines included.

    Raises:
        UnsupportedMediaError: the content type is not NDJSON.
        TooLargeError: a line is above the limit.
    """
    if request.mimetype not in (NDJSON_TYPE, "application/jsonl"):
        raise UnsupportedMediaError(f"Send the body as {NDJSON_TYPE}, one JSON object a line.")
    while line := request.stream.readline(line_bytes_max + 1):
        if len(line) > line_bytes_max:
            raise TooLargeError(f"A line may have {line_bytes_max} bytes.")
        yield line


Provided = TypeVar("Provided")


def provided(kind: type[Provided]) -> Provided:
    """The application's one object of a type, as `create_app` provided it."""
    found: Provided = current_app.extensions["carnet"][kind]
    return found


def idempotency_key() -> str | None:
    """The request's `Idempotency-Key`, scoped to who sent it.

    Raises:
        InvalidError: it is empty, too long or not printable ASCII.
    """
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return None
    if not _IDEMPOTENCY_KEY.match(given):
        mistake = FieldError("Idempotency-Key", "Must be 1 to 128 printable ASCII characters.")
        raise InvalidError(mistake.message, errors=(mistake,))
    return f"{g.caller.id}:{given}"


def note_look(member_id: str) -> None:
    """Say that the caller was shown what is known of a member that the path does not name."""
    if member_id != (request.view_args or {}).get("member_id"):
        look_noter()(member_id)


def look_noter() -> Callable[[str], None]:
    """The same for a stream, whose rows are made when the request is over."""
    noter: Callable[[str], None] = current_app.look_noter(g.caller)  # type: ignore[attr-defined]
    return noter


def answer(body: dict[str, Any], status: int = 200) -> Response:
    """A finished JSON answer, for views that are called often: nothing looks at it again."""
    return Response(orjson.dumps(body, option=ORJSON_OPTIONS), status, _JSON)


def replayed(body: dict[str, Any], status: int, *, is_replay: bool) -> Response:
    """An answer that says whether the effect was already there."""
    response = answer(body, status)
    if is_replay:
        response.headers.add("Idempotent-Replay", "true")
    return response
