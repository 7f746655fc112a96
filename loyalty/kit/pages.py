"""Pages for people of the shop: answers of the API that can be read and printed, without script.

A noun keeps its own template beside its code; all of them extend `kit/templates/page.html`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, request

from loyalty.kit.sheets import CSV_TYPE, csv_of
from loyalty.kit.templating import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loyalty.kit.sheets import Cell

HTML_TYPE = "text/html"
JSON_TYPE = "application/json"
# Nothing is loaded, nothing runs, nothing is sent, nobody frames it.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def wanted(*also: str) -> str:
    """Which of JSON and the other types the caller would rather have; JSON if all are the same."""
    best = request.accept_mimetypes.best_match([JSON_TYPE, *also], JSON_TYPE)
    return best or JSON_TYPE


def documented(*types: str) -> dict[str, Any]:
    """The contents beside JSON, for `blp.doc(responses={200: {"content": ...}})`."""
    examples = {HTML_TYPE: "<!doctype html>…", CSV_TYPE: '"purpose","granted"\r\n'}
    return {kind: {"schema": {"type": "string"}, "example": examples[kind]} for kind in types}


def page(template: str, **values: Any) -> Response:  # noqa: ANN401  # what the template shows
    """A page, from a template's path inside `loyalty`, or `package:path` inside another."""
    text = render(template, **values)
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return Response(text, content_type=f"{HTML_TYPE}; charset=utf-8", headers=headers)


def sheet(name: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Response:
    """A table as a file to open with a spreadsheet."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(
        csv_of(header, rows), content_type=f"{CSV_TYPE}; charset=utf-8", headers=headers
    )
