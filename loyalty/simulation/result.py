"""A simulation's figures as the job's result, and as tables on a terminal.

All figures are totals over all members with a journal. With a sample each carries its standard
error and the 95% interval `low` to `high`; without one they are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from loyalty.program.model import POINTS, ReferralRule
from loyalty.program.money import rounded
from loyalty.program.sampling import ESTIMATOR
from loyalty.program.simulate import NONE, Cell
from loyalty.simulation.model import MEMBERS_BESIDE_MIN, PERCENTILES
from loyalty.versions.service import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loyalty.program.model import Program
    from loyalty.program.sampling import Estimate
    from loyalty.program.simulate import Sides
    from loyalty.simulation.service import Simulated

BREAKDOWNS = {"by_rule": "rule", "by_channel": "channel", "by_tier": "tier", "by_month": "month"}
EFFECTS = ("gain", "lose", "same")
NOTES = {
    "decisions": "What was held, captured, given by hand or transferred is the same in both worlds;"
    " where the draft awards less, it can leave a debt (`debtors`).",
    "budgets": "A first pass finds when each campaign's budget is used up, to the day; the rule"
    " pays until then. Budgets begin anew with the period.",
    "member": "What the draft asks about a member and was not asked then is taken as it is today.",
    "referrals": "Who referred somebody is paid in both worlds where they were paid then; a rule"
    " for referrals that is new in the draft pays the friends alone here.",
    "store": "Where a store is, if it was not asked then, is taken as it is today.",
}


def body_of(found: Simulated) -> dict[str, Any]:
    """The result of a simulation, as JSON."""
    starts_at = found.period.starts_at
    return {
        "draft": found.draft.name,
        "current_version": found.current.version,
        "starts_at": None if starts_at == BEGINNING else starts_at,
        "ends_at": found.period.ends_at,
        "members": found.of,
        "members_looked_at": found.looked_at,
        "activities_looked_at": found.facts,
        "sample": _sample(found),
        "units": {unit: _unit(found, unit) for unit in found.totals.units()},
        "effect": _effect(found),
        "tiers": _tiers(found),
        "budgets": _budgets(found),
        "notes": [*_notes(found.draft), *_lost_channels(found)],
    }


def _sample(found: Simulated) -> dict[str, Any] | None:
    if found.sample is None:
        return None
    return {
        "members": found.looked_at,
        "of": found.of,
        "seed": found.sample.seed,
        "estimator": ESTIMATOR,
    }


def _unit(found: Simulated, unit: str) -> dict[str, Any]:
    body: dict[str, Any] = {"total": _figure(found, Cell("total", unit, ""))}
    for name, table in BREAKDOWNS.items():
        body[name] = _rows(found, table, unit)
    body["expiry"] = _rows(found, "expiry", unit)
    body["outstanding"] = _figure(found, Cell("outstanding", unit, ""))
    body["debtors"] = _counts(found.totals.sides(Cell("debtors", unit, ""), of=found.of))
    moved = found.totals.sides(Cell("redated_members", unit, ""), of=found.of).draft
    body["redating"] = {"members": _estimate(moved), "by_month": _rows(found, "redated", unit)}
    return body


def _rows(found: Simulated, table: str, unit: str) -> list[dict[str, Any]]:
    rows = found.totals.rows(table, unit)
    return [{"name": row, **_figure(found, Cell(table, unit, row))} for row in rows]


def _figure(found: Simulated, cell: Cell) -> dict[str, Any]:
    """A figure in both worlds, in points and in money."""
    sides = found.totals.sides(cell, of=found.of)
    before = _cost(found, (found.current, found.draft), cell.unit, sides.current)
    after = _cost(found, (found.draft, found.current), cell.unit, sides.draft)
    more = None if before is None or after is None else after - before
    return {
        "current": {"points": _estimate(sides.current), "cost": before},
        "draft": {"points": _estimate(sides.draft), "cost": after},
        "difference": {"points": _estimate(sides.difference), "cost": more},
    }


def _cost(found: Simulated, programs: Sequence[Program], unit: str, points: Estimate) -> int | None:
    """What points are worth in minor units, as the first programme says that says it at all."""
    said = [program.units[unit].worth for program in programs if unit in program.units]
    if found.question.worth and unit == POINTS:
        said = [found.question.worth]
    for amount, per in said:
        if amount:
            return rounded(points.value * amount, per, "half_up")
    return None


def _counts(sides: Sides) -> dict[str, Any]:
    return {"current": _estimate(sides.current), "draft": _estimate(sides.draft)}


def _estimate(estimate: Estimate) -> dict[str, Any]:
    body: dict[str, Any] = {"value": estimate.value}
    if estimate.standard_error is not None:
        error = round(estimate.standard_error, 1)
        body.update(standard_error=error, low=estimate.low, high=estimate.high)
    return body


def _effect(found: Simulated) -> dict[str, Any]:
    """How many gain and lose of the main unit, among those who did anything in the period."""
    body: dict[str, Any] = {
        name: _estimate(found.totals.sides(Cell("effect", "", name), of=found.of).draft)
        for name in EFFECTS
    }
    body["percentiles"] = {
        str(percent): found.spread.quantile(percent, beside_min=MEMBERS_BESIDE_MIN)
        for percent in PERCENTILES
    }
    return body


def _tiers(found: Simulated) -> list[dict[str, Any]]:
    """How many would stand where at the end of the period."""
    rows = []
    for row in found.totals.rows("tiers", ""):
        before, after = row.split("\n")
        members = found.totals.sides(Cell("tiers", "", row), of=found.of).draft
        rows.append({"current": before, "draft": after, "members": _estimate(members)})
    return rows


def _budgets(found: Simulated) -> list[dict[str, Any]]:
    return [
        {"rule": rule, "budget": budget, "runs_out_at": found.ends.get(rule)}
        for rule, budget in sorted(found.draft.budgets.items())
    ]


def _notes(draft: Program) -> list[str]:
    told = {
        "decisions": True,
        "budgets": bool(draft.budgets),
        "member": draft.needs_member,
        "referrals": any(isinstance(rule, ReferralRule) for rule in draft.rules),
        "store": draft.needs_store,
    }
    return [NOTES[name] for name, is_told in told.items() if is_told]


def _lost_channels(found: Simulated) -> Iterator[str]:
    channels = {row for unit in found.totals.units() for row in found.totals.rows("channel", unit)}
    for channel in sorted(channels - found.draft.channels - {NONE}):
        yield f"The draft has no channel {channel}: what was done there earns nothing in it."


def tables_of(body: Mapping[str, Any]) -> list[Table]:
    """The result for a terminal."""
    tables = []
    for unit, each in body["units"].items():
        total = Table("", *_COLUMNS, title=f"{unit}: awarded, returns taken off")
        _add(total, "all", each["total"])
        tables.append(total)
        names = (*BREAKDOWNS, "expiry")
        tables += [_table(f"{unit}: {name.replace('_', ' ')}", each[name]) for name in names]
        redating = each["redating"]
        if redating["by_month"]:
            members = redating["members"]["value"]
            title = f"{unit}: expiry if redated to the draft ({members} members)"
            tables.append(_table(title, redating["by_month"]))
    return [table for table in (*tables, _tier_table(body)) if table.row_count]


_COLUMNS = ("current", "draft", "difference", "+/- 95%", "cost")


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table("", *_COLUMNS, title=title)
    for row in rows:
        _add(table, row["name"], row)
    return table


def _add(table: Table, name: str, figure: Mapping[str, Any]) -> None:
    difference = figure["difference"]["points"]
    half = ""
    if "low" in difference:
        half = f"{(difference['high'] - difference['low']) / 2:,.0f}"
    cost = figure["difference"]["cost"]
    table.add_row(
        name,
        f"{figure['current']['points']['value']:,}",
        f"{figure['draft']['points']['value']:,}",
        f"{difference['value']:+,}",
        half,
        "" if cost is None else f"{cost / 100:+,.2f}",
    )


def _tier_table(body: Mapping[str, Any]) -> Table:
    table = Table("now", "with the draft", "members", title="tiers")
    for row in body["tiers"]:
        table.add_row(row["current"], row["draft"], f"{row['members']['value']:,}")
    return table
