"""Experiments and their results for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from recommend.experiments.results import PEOPLE_MIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from recommend.experiments.model import Experiment, Metric
    from recommend.experiments.results import Outcome, Results


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
    title = f"{found.experiment.name}, {found.at:%Y-%m-%d %H:%M}Z"
    table = Table("variant", title=title)
    columns = (
        "members",
        "shown",
        "clicks",
        "click-through",
        "converted",
        "revenue a member (minor units)",
    )
    for column in (*columns, f"{found.experiment.metric}: more than the control (95%)", "p"):
        table.add_column(column, justify="right")
    for outcome in found.outcomes:
        table.add_row(*_row(outcome, found.experiment.metric))
    return table


def _row(outcome: Outcome, metric: Metric) -> list[str]:
    tally = outcome.tally
    if tally is None:
        return [outcome.name, f"under {PEOPLE_MIN}", *["-"] * 7]
    values = {name: _value(outcome, name) for name in ("click_through", "conversion", "revenue")}
    clicks = f"{tally.clicks:,}" if tally.clickers >= PEOPLE_MIN else "-"
    found = outcome.compared.get(metric)
    scale = 1 if metric == "revenue" else 100
    sizes = [each * scale for each in (found.difference, found.low, found.high)] if found else []
    more = "{:+.2f} ({:+.2f} to {:+.2f})".format(*sizes) if sizes else "-"
    return [
        outcome.name,
        f"{tally.members:,}",
        f"{tally.impressions:,}",
        clicks,
        values["click_through"],
        values["conversion"],
        values["revenue"],
        more,
        f"{found.p_value:.3f}" if found else "-",
    ]


def _value(outcome: Outcome, metric: Metric) -> str:
    tally = outcome.tally
    if tally is None or tally.people(metric) < PEOPLE_MIN:
        return "-"
    value = tally.value(metric)
    return f"{value:,.1f}" if metric == "revenue" else f"{value:.2%}"
