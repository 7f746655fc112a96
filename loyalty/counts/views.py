"""Counts of consents over HTTP: as JSON, as a page, and for a spreadsheet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.counts import service
from loyalty.counts.chart import HALF, WIDTH, charts_of
from loyalty.counts.model import BackwardSpanError, TooManyPeriodsError
from loyalty.counts.schemas import CountsQuerySchema, CountsSchema
from loyalty.counts.store import CountStore
from loyalty.counts.tables import HEADER, ordered, rows_of
from loyalty.kit.clock import now
from loyalty.kit.http import Answer, Blueprint, provided
from loyalty.kit.pages import HTML_TYPE, documented, page, sheet, wanted
from loyalty.kit.sheets import CSV_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flask import Response

    from loyalty.counts.model import Cell
    from loyalty.counts.service import Counted

blp = Blueprint("consent counts", __name__, description="How many decided what, over time.")

_COUNT = {
    "purpose": "marketing",
    "channel": "email",
    "method": "form",
    "status": "granted",
    "decisions": 17,
}
_EXAMPLE = {
    "from": "2026-03-01",
    "to": "2026-03-01",
    "step": "day",
    "periods": [{"from": "2026-03-01", "to": "2026-03-01", "counts": [_COUNT]}],
    "totals": [_COUNT],
}


def _wire(counts: Mapping[Cell, int]) -> list[dict[str, Any]]:
    return [{**cell._asdict(), "decisions": number} for cell, number in ordered(counts)]


def _body(counted: Counted) -> dict[str, Any]:
    return {
        "from": counted.periods[0].first,
        "to": counted.periods[-1].last,
        "step": counted.step,
        "periods": [
            {"from": each.first, "to": each.last, "counts": _wire(each.counts)}
            for each in counted.periods
        ],
        "totals": _wire(counted.totals),
    }


def _page(counted: Counted) -> Response:
    return page(
        "counts/page.html",
        first=counted.periods[0].first,
        last=counted.periods[-1].last,
        step=counted.step,
        charts=charts_of(counted.periods),
        totals=ordered(counted.totals),
        width=WIDTH,
        half=HALF,
    )


@blp.route("/consents/counts", methods=["GET"])
@blp.requires("privacy:read", bulk=True)
@blp.arguments(CountsQuerySchema, location="query")
@blp.response(200, CountsSchema, example=_EXAMPLE)
@blp.doc(responses={200: {"content": documented(HTML_TYPE, CSV_TYPE)}})
@blp.raises(BackwardSpanError, TooManyPeriodsError)
def counts(query: dict[str, Any]) -> Answer:
    """Count decisions on consents by purpose, channel, method and status, over time.

    Days are in UTC. Those that are over are counted once and kept, so that an erasure later on
    changes nothing in them; today's decisions are counted as you ask. With `Accept: text/html` as
    a page with charts, with `Accept: text/csv` for a spreadsheet. No member is in it.
    """
    counted = service.counted(
        query.get("from"),
        query.get("to"),
        query["step"],
        at=now(),
        counts=provided(CountStore),
    )
    kind = wanted(HTML_TYPE, CSV_TYPE)
    if kind == HTML_TYPE:
        return _page(counted)
    if kind == CSV_TYPE:
        return sheet("consents", HEADER, rows_of(counted))
    return _body(counted)
