"""Templates into answers: the headers that keep a page private, and errors in plain words."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Response, g, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from loyalty.kit.clock import now
from loyalty.kit.errors import CarnetError
from loyalty.kit.http import provided, refusal, status_of
from loyalty.kit.settings import Settings
from loyalty.web import backing
from loyalty.web.model import answer_of, field_of, shown_of
from loyalty.web.texts import LANGUAGES, Words, choose_language, texts

if TYPE_CHECKING:
    from werkzeug.datastructures import Accept
    from werkzeug.exceptions import HTTPException

HERE = Path(__file__).parent
STYLE = HERE / "style.css"
# A form of ours is a few kilobytes; a correction in the member's own words the largest.
FORM_BYTES_MAX = 32_000


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "languages": LANGUAGES,
        "field_of": field_of,
        "shown_of": shown_of,
        "answer_of": answer_of,
        "style_mark": hashlib.sha256(STYLE.read_bytes()).hexdigest()[:12],
    }
    return environment


def words() -> Words:
    """The language of this request, and the shop's time zone."""
    form = request.form if request.method == "POST" else request.args
    chosen = form.get("speak") or form.get("language") or ""
    return Words(choose_language(chosen, request.accept_languages), backing.zone(now(), _centre()))


def page(template: str, say: Words, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """A page of a template.

    Args:
        template: its file.
        say: the language.
        status: of the answer.
        values: what the template shows.
    """
    known = {
        "say": say,
        "shop": backing.shop_name(now(), _centre()),
        "base": urlsplit(provided(Settings).url).path,
        "session": None,
        "here": None,
    }
    text = _environment().get_template(template).render(known | values)
    return Response(text, status, _headers(), content_type="text/html; charset=utf-8")


def error_page(error: CarnetError | HTTPException) -> Response:
    """A refusal: a page for a browser, problem+json for everybody else.

    The status and all headers are those of the problem.
    """
    if isinstance(error, CarnetError):
        plain, code, status = refusal(error), error.code, status_of(type(error))
    else:
        status, code = error.code or 500, "http"
        plain = Response(status=status, headers=dict(error.get_headers()))
    if not _wants_html(request.accept_mimetypes) and isinstance(error, CarnetError):
        return plain
    known = texts(LANGUAGES[0])
    kind = next(
        each for each in (code, f"status_{status}", "other") if f"error.{each}.title" in known
    )
    answer = page("error.html", words(), status=status, kind=kind, request_id=g.request_id)
    for name in ("Retry-After", "Allow"):
        if name in plain.headers:
            answer.headers[name] = plain.headers[name]
    return answer


def style() -> Response:
    """The style sheet; its address changes with it, so a browser may keep it."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(STYLE.read_text("utf-8"), 200, headers, content_type="text/css; charset=utf-8")


def limit_form() -> None:
    """Bound what a form may send."""
    request.max_content_length = FORM_BYTES_MAX


def _headers() -> dict[str, str]:
    origins = " ".join(provided(Settings).embed_origins) or "'none'"
    policy = (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; "
        f"base-uri 'none'; frame-ancestors {origins}"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "no-referrer",
        "X-Robots-Tag": "noindex",
        "Cache-Control": "no-store",
    }
    # For browsers that know no frame-ancestors; it can name no origin, so it only says never.
    return headers if provided(Settings).embed_origins else headers | {"X-Frame-Options": "DENY"}


def _wants_html(accepted: Accept) -> bool:
    """Whether the caller names HTML: a browser does, a mail provider's robot need not."""
    return any(value == "text/html" and quality > 0 for value, quality in accepted)


def _centre() -> backing.Centre:
    return provided(backing.Centre)
