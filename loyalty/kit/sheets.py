"""Tables for spreadsheets: CSV of RFC 4180, in which no text is taken for a formula.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a line break, and some do
with the full-width forms of these; a quote in front makes it text (OWASP, CSV injection).
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    # A datetime is a date.
    Cell: TypeAlias = str | int | float | bool | date | None

CSV_TYPE = "text/csv"
FORMULA_STARTS = frozenset("=+-@\t\r\n\v\f\0\uff1d\uff0b\uff0d\uff20")


def cell(value: Cell) -> str:
    """A value as the text of a cell; only numbers of ours may begin with a minus."""
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    text = value if isinstance(value, str) else value.isoformat()
    begins = text.lstrip(" \u00a0\ufeff")[:1] or text[:1]
    return f"'{text}" if begins in FORMULA_STARTS and begins else text


def csv_of(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table: every cell quoted, lines ended as RFC 4180 says."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([cell(each) for each in header])
    writer.writerows([cell(each) for each in row] for row in rows)
    return file.getvalue()
