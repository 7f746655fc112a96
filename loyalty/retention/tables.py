"""What a run did, as a table on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from loyalty.retention.model import Applied

TEXTS = {
    "warned": "members warned that they will be erased",
    "warned_again": "members warned for the last time",
    "active_again": "members who came back after a warning",
    "inactive_erased": "members erased for inactivity",
    "provisional_erased": "provisional members erased",
    "came_back": "members who came back at the last moment, and stay",
}


def table_of(applied: Applied) -> Table:
    """How much of each category went, or would go."""
    title = "What would go" if applied.is_dry else "What went"
    table = Table("", "number", title=title)
    for what, number in applied.counts.items():
        table.add_row(TEXTS.get(what, what), f"{number:,}")
    return table
