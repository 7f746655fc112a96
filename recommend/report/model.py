"""What a report says, as plain values: who shows it needs to know nothing of models."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Mark: TypeAlias = Literal["ours", "best", ""]
"""Whose a bar, line or row is: the model's, that of the best of the others, or of another."""


class Bar(NamedTuple):
    """One bar of a chart.

    Attributes:
        label: what it is of.
        value: its length in the chart's unit, 0 or more.
        text: the value as people read it.
        low: lower bound of its interval, None without; `high` the upper one.
        mark: whose it is.
    """

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    mark: Mark = ""


class Chart(NamedTuple):
    """Bars that are compared with each other, in the order to be shown."""

    title: str
    text: str
    bars: tuple[Bar, ...]


class Line(NamedTuple):
    """Values at 1, 2, 3, ..."""

    label: str
    values: tuple[float, ...]
    mark: Mark = ""


class Curve(NamedTuple):
    """Lines over the same places; `text` says what goes across and what goes up."""

    title: str
    text: str
    lines: tuple[Line, ...]


class Table(NamedTuple):
    """Cells as people read them.

    Attributes:
        caption: one sentence.
        header: names of the columns; the first column's cells are the rows' names.
        rows: as many cells as the header has.
        marks: whose each row is; empty for nobody's.
        texts: columns of words; all others but the first are numbers.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[Mark, ...] = ()
    texts: frozenset[int] = frozenset()

    def marked(self) -> list[tuple[Mark, tuple[str, ...]]]:
        """Each row with whose it is."""
        if not self.marks:
            return [("", row) for row in self.rows]
        return list(zip(self.marks, self.rows, strict=True))


class Section(NamedTuple):
    """A part of a report. Charts say nothing that a table beside them does not say, too."""

    heading: str
    text: str = ""
    charts: tuple[Chart, ...] = ()
    curves: tuple[Curve, ...] = ()
    tables: tuple[Table, ...] = ()


class Page(NamedTuple):
    """A whole report.

    Attributes:
        title: what it is about.
        lead: the finding, in a sentence or two.
        facts: (term, text) pairs.
        sections: in the order to be read.
        notes: sentences on what to keep in mind.
    """

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...] = ()
    sections: tuple[Section, ...] = ()
    notes: tuple[str, ...] = ()
