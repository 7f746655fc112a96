"""Templates into answers: the headers that keep a page private, and refusals in plain words."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from flask import Response, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.exceptions import RequestEntityTooLarge

from loyalty.kit.clock import now
from loyalty.kit.http import PROBLEM_TYPE, provided
from loyalty.kit.settings import Settings
from loyalty.web import backing
from loyalty.web.model import answer_of, field_of, shown_of
from loyalty.web.texts import LANGUAGES, Words, choose_language, texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Blueprint
    from werkzeug.datastructures import Accept

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
    language = choose_language(_chosen_language(), request.accept_languages)
    return Words(language, backing.zone(now(), _centre()))


def _chosen_language() -> str:
    try:
        form = request.form if request.method == "POST" else request.args
    except RequestEntityTooLarge:
        # The page that says so has no form to look into.
        return ""
    return form.get("speak") or form.get("language") or ""


def page(template: str, say: Words, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401
    """A page of a template, under the shop's name.

    Args:
        template: its file.
        say: the language.
        status: of the answer.
        values: what the template shows.
    """
    return _page(
        template,
        say,
        status,
        {
            "shop": backing.shop_name(now(), _centre()),
            "controller": backing.controller(_centre()),
            **values,
        },
    )


def _page(template: str, say: Words, status: int, values: Mapping[str, Any]) -> Response:
    known = {
        "say": say,
        "base": urlsplit(provided(Settings).url).path,
        "session": None,
        "here": None,
        "controller": None,
    }
    text = _environment().get_template(template).render({**known, **values})
    return Response(text, status, _headers(), content_type="text/html; charset=utf-8")


def in_plain_words(answer: Response) -> Response:
    """A refusal as a page, if a browser asked; a program gets the problem+json that it is.

    The status stays, and so do the headers. It is shown without the database, which may be away.
    """
    if answer.mimetype != PROBLEM_TYPE or not _wants_html(request.accept_mimetypes):
        return answer
    problem = orjson.loads(answer.get_data())
    kinds = (problem["code"], f"status_{answer.status_code}", "other")
    kind = next(each for each in kinds if f"error.{each}.title" in texts(LANGUAGES[0]))
    say = Words(choose_language(_chosen_language(), request.accept_languages))
    values = {"shop": "", "kind": kind, "request_id": problem["request_id"]}
    shown = _page("error.html", say, answer.status_code, values)
    for name in ("Retry-After", "Allow"):
        if name in answer.headers:
            shown.headers[name] = answer.headers[name]
    return shown


def style() -> Response:
    """The style sheet; its address changes with it, so a browser may keep it."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(STYLE.read_text("utf-8"), 200, headers, content_type="text/css; charset=utf-8")


def serve_people(pages: Blueprint) -> None:
    """Make a blueprint one for people: forms of a bounded size, refusals in plain words."""
    pages.before_request(_limit_form)
    pages.after_request(in_plain_words)


def _limit_form() -> None:
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
