"""Experiments and their results for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from recommend.experiments.model import METRICS
from recommend.experiments.results import PEOPLE_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recommend.experiments.model import Experiment, Metric
    from recommend.experiments.results import Outcome, Results

_NAMES: dict[Metric, str] = {
    "click_through": "clicks for each list",
    "conversion": "bought what was shown",
    "revenue": "minor units a member",
}


def list_table(experiments: Sequence[Experiment]) -> Table:
    """All experiments."""
    table = Table("name", "status", "variants", "metric", "started", "ends")
    for each in experiments:
        variants = ", ".join(f"{variant.name} {variant.share}%" for variant in each.variants)
        times = (each.started_at, each.stopped_at or each.ends_at)
        days = [f"{moment:%Y-%m-%d %H:%M}" if moment else "" for moment in times]
        table.add_row(each.name, each.status, variants, each.metric, *days)
    return table


def results_table(found: Results) -> Table:
    """What each variant has shown; a dash is for what too few members stand behind."""
    table = Table("", title=f"{found.experiment.name}, {found.at:%Y-%m-%d %H:%M}Z")
    for outcome in found.outcomes:
        table.add_column(outcome.name, justify="right")
    table.add_row("members", *(_members(each) for each in found.outcomes))
    table.add_row("lists shown", *(_shown(each) for each in found.outcomes))
    for metric in METRICS:
        table.add_row(_NAMES[metric], *(_value(each, metric) for each in found.outcomes))
        table.add_row(
            "  more than the control, 95%", *(_more(each, metric) for each in found.outcomes)
        )
    return table


def _members(outcome: Outcome) -> str:
    return f"{outcome.tally.members:,}" if outcome.tally else f"under {PEOPLE_MIN}"


def _shown(outcome: Outcome) -> str:
    return f"{outcome.tally.impressions:,}" if outcome.tally else "-"


def _value(outcome: Outcome, metric: Metric) -> str:
    tally = outcome.tally
    if tally is None or tally.people(metric) < PEOPLE_MIN:
        return "-"
    value = tally.value(metric)
    return f"{value:,.1f}" if metric == "revenue" else f"{value:.2%}"


def _more(outcome: Outcome, metric: Metric) -> str:
    found = outcome.compared.get(metric)
    if found is None:
        return "-"
    scale = 1 if metric == "revenue" else 100
    difference, low, high = (each * scale for each in (found.difference, found.low, found.high))
    return f"{difference:+.2f} ({low:+.2f} to {high:+.2f}), p {found.p_value:.3f}"
