"""Counts as rows, for a spreadsheet and for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loyalty.counts.model import Cell
    from loyalty.counts.service import Counted
    from loyalty.kit.sheets import Cell as SheetCell

HEADER = ("from", "to", "purpose", "channel", "method", "status", "decisions")


def ordered(counts: Mapping[Cell, int]) -> list[tuple[Cell, int]]:
    """The counts by purpose, channel, method and status."""
    return sorted(counts.items(), key=lambda row: tuple(each or "" for each in row[0]))


def rows_of(counted: Counted) -> Iterator[tuple[SheetCell, ...]]:
    """A row for each period and what is counted in it."""
    for period in counted.periods:
        for cell, number in ordered(period.counts):
            yield (period.first, period.last, *cell, number)


def table_of(counted: Counted) -> Table:
    """The totals of the span."""
    first, last = counted.periods[0].first, counted.periods[-1].last
    table = Table("purpose", "channel", "method", "status", title=f"Decisions, {first} to {last}")
    table.add_column("decisions", justify="right")
    for cell, number in ordered(counted.totals):
        row = (cell.purpose, cell.channel or "", cell.method, cell.status)
        table.add_row(*row, f"{number:,}")
    return table
