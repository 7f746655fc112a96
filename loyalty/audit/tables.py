"""Findings and sums as tables on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from loyalty.audit.model import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loyalty.audit.model import Report
    from loyalty.audit.upkeep import Done, Redating


def audit_tables(report: Report) -> list[Table]:
    """What was found: how much of each kind, and each finding."""
    counts = Table("kind", "what is wrong", "findings", title="Audit")
    for kind, text in KINDS.items():
        if report.counts[kind]:
            counts.add_row(kind, text, str(report.counts[kind]))
    findings = Table("kind", "entry or rule", "detail")
    for finding in report.findings:
        findings.add_row(*finding)
    return [counts, findings]


def liability_tables(body: Mapping[str, Any]) -> list[Table]:
    """What is owed, a table a unit."""
    return [_unit(each, body["currency"]) for each in body["units"]]


def _unit(unit: Mapping[str, Any], currency: str) -> Table:
    table = Table("", "points", currency, title=unit["unit"])
    for name in ("outstanding", "pending", "held", "debt"):
        _add(table, name, unit[name])
    for each in unit["by_month"]:
        _add(table, f"expires {each['month']}", each)
    if breakage := unit["breakage"]:
        share, error = breakage["rate"], breakage["standard_error"]
        _add(table, f"breakage, est. {share:.1%} +/- {2 * error:.1%}", breakage["expected"])
    return table


def _add(table: Table, name: str, both: Mapping[str, Any]) -> None:
    amount = both["amount"]
    table.add_row(name, f"{both['points']:,}", "" if amount is None else f"{amount / 100:,.2f}")


def upkeep_table(done: Done) -> Table:
    """What time did."""
    table = Table("", "sum", title="Passage")
    for name, count in sorted(done.moved.items()):
        table.add_row(name, f"{count:,}")
    return table


def redating_table(result: Redating) -> Table:
    """When the points of those affected expire, before and after."""
    table = Table("month", "before", "after", title="Points that expire")
    for month in sorted(result.before.keys() | result.after.keys()):
        table.add_row(month, f"{result.before[month]:,}", f"{result.after[month]:,}")
    return table
