"""A report on a terminal: the same words and figures as the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table as Grid
from rich.text import Text

from recommend.report.chart import WIDTH, bars_of

if TYPE_CHECKING:
    from rich.console import Console

    from recommend.report.model import Chart, Mark, Page, Section, Table

BAR_CELLS = 36
STYLES: dict[Mark, str] = {"ours": "bold", "best": "yellow", "": ""}
EIGHTHS = " ▏▎▍▌▋▊▉█"


def show(page: Page, console: Console) -> None:
    """Print a report, charts as bars of blocks."""
    console.print(Text(page.title, style="bold"))
    console.print(Text(page.lead))
    if page.facts:
        facts = Grid.grid(padding=(0, 2))
        for term, text in page.facts:
            facts.add_row(Text(term, style="dim"), Text(text))
        console.print(facts)
    for section in page.sections:
        _section(section, console)
    if page.notes:
        console.print()
    for note in page.notes:
        console.print(Text(f"- {note}", style="dim"))


def _section(section: Section, console: Console) -> None:
    console.print()
    console.print(Text(section.heading, style="bold underline"))
    if section.text:
        console.print(Text(section.text))
    for chart in section.charts:
        console.print(_chart(chart))
    for table in section.tables:
        console.print(_table(table))


def _chart(chart: Chart) -> Grid:
    grid = Grid(
        title=escape(chart.title), title_justify="left", box=None, show_header=False, pad_edge=False
    )
    for bar in bars_of(chart):
        style = STYLES[bar.mark]
        blocks = _blocks(bar.width / WIDTH)
        grid.add_row(
            Text(bar.label, style=style), Text(blocks, style=style or "dim"), Text(bar.text)
        )
    return grid


def _blocks(share: float) -> str:
    eighths = round(share * BAR_CELLS * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).ljust(BAR_CELLS + 1)


def _table(table: Table) -> Grid:
    grid = Grid(
        caption=escape(table.caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for n, name in enumerate(table.header):
        words = n == 0 or n in table.texts
        grid.add_column(escape(name), justify="left" if words else "right", overflow="fold")
    for mark, row in table.marked():
        grid.add_row(*(Text(cell) for cell in row), style=STYLES[mark])
    return grid
