"""A report as one page that stands by itself: no script, nothing loaded from anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loyalty.kit import templating
from recommend.report.chart import HEIGHT, WIDTH, axes_of, bars_of

if TYPE_CHECKING:
    from recommend.report.model import Page

TEMPLATE = "recommend:report/page.html"


def render(page: Page) -> str:
    """The page as HTML, in the house's style; fit for a screen, a phone, the dark and paper."""
    return templating.render(
        TEMPLATE, page=page, bars_of=bars_of, axes_of=axes_of, width=WIDTH, height=HEIGHT
    )
