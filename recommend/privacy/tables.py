"""The ledger and the audit as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from recommend.privacy.attack import Finding
    from recommend.privacy.model import Budget
    from recommend.privacy.service import Standing


def ledger_table(found: Standing) -> Table:
    """Every entry of the ledger, the newest last."""
    columns = ("#", "taken at", "model", "noise multiplier", "choice", "delta", "counts")
    table = Table(*columns)
    live = {each.number for each in found.counted}
    for each in found.entries:
        table.add_row(
            str(each.number),
            f"{each.at:%Y-%m-%d %H:%M}",
            each.version,
            f"{each.cost.noise_multiplier:.3f}",
            f"{each.cost.epsilon:g}",
            f"{each.cost.delta:.1e}",
            "yes" if each.number in live else "no",
        )
    return table


def standing_lines(found: Standing, budget: Budget, mode: str) -> list[str]:
    """Where the budget stands, in words."""
    window = f"in {budget.days} days" if budget.days else "for ever"
    spent = f"epsilon {found.epsilon:.3f} of {budget.total:g} {window}, at delta {budget.delta:g}"
    lines = [
        f"Mode: {mode}.",
        f"Spent: {spent}; all trainings ever: {found.epsilon_ever:.3f}.",
        f"Room for {found.trainings_left} more trainings of epsilon {budget.epsilon:g}.",
    ]
    if found.next_at:
        lines.append(f"The next fits on {found.next_at:%Y-%m-%d %H:%M} UTC.")
    return lines


def audit_table(found: Finding) -> Table:
    """What every attack came to, the strongest first."""
    table = Table("attack", "AUC")
    for name, value in sorted(found.all.items(), key=lambda each: -each[1]):
        table.add_row(name, f"{value:.3f}", style="bold" if name == found.attack else None)
    return table
