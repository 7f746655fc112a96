"""Kinds of refusal. A noun derives its own errors from these; `kit.http` alone knows statuses."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One mistake in the input and the place where it stands, such as `lines.0.quantity`."""

    field: str
    message: str


class CarnetError(Exception):
    """A refusal with a stable `code`, a title that never varies and a detail in plain words."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "The request was refused"

    def __init__(self, detail: str = "", *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = errors


class MalformedError(CarnetError):
    """The bytes are not what they claim to be."""

    code = "malformed"
    title = "The body is not valid JSON"


class InvalidError(CarnetError):
    """The input is well formed and wrong; `errors` names each place."""

    code = "invalid"
    title = "The input is not valid"


class UnauthenticatedError(CarnetError):
    """Nobody we know is calling."""

    code = "unauthenticated"
    title = "A valid key or token is required"


class ForbiddenError(CarnetError):
    """The caller is known and may not do this."""

    code = "forbidden"
    title = "The caller may not do this"


class NotFoundError(CarnetError):
    """The thing named does not exist."""

    code = "not_found"
    title = "There is no such thing"


class ConflictError(CarnetError):
    """The request meets a state that forbids it."""

    code = "conflict"
    title = "The request conflicts with what is already so"


class TooLargeError(CarnetError):
    """The body, a line or a page is above its limit."""

    code = "too_large"
    title = "The request is too large"


class UnsupportedMediaError(CarnetError):
    """The content type is not one that the operation reads."""

    code = "unsupported_media_type"
    title = "The content type is not supported"


class TooManyRequestsError(CarnetError):
    """The caller asked for this too often; waiting helps."""

    code = "too_many_requests"
    title = "Too many requests of this kind"
    retry_after_seconds = 3600


class UnavailableError(CarnetError):
    """Something behind the service is away; trying again is right."""

    code = "unavailable"
    title = "The service is not available right now"
    retry_after_seconds: ClassVar[int] = 1
