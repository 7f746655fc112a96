"""A report as one page that stands by itself: no script, nothing loaded from anywhere."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING

from jinja2 import Environment, FunctionLoader, StrictUndefined

from recommend.report.chart import HEIGHT, WIDTH, axes_of, bars_of

if TYPE_CHECKING:
    from recommend.report.model import Page

TEMPLATE = "report/page.html"


def render(page: Page) -> str:
    """The page as HTML, in the house's style; fit for a screen, a phone, the dark and paper."""
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(page=page, bars_of=bars_of, axes_of=axes_of, width=WIDTH, height=HEIGHT)
    )


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_source),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    package = "recommend" if name == TEMPLATE else "loyalty"
    return resources.files(package).joinpath(name).read_text(encoding="utf-8")
