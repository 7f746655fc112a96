"""Gathers a version's report, for the API, the command line and a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from recommend.report.appraisal import said
from recommend.training import service
from recommend.training.model import mode_of
from recommend.training.report import (
    WIDTH,
    bars_of,
    name_of,
    report_of,
    short_of,
    spans_of,
    weights_in_words,
)
from recommend.training.withdrawals import withdrawn_since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from recommend.training.model import Version
    from recommend.training.service import Trained, Trainer

TEMPLATE = "recommend:training/report.html"
WITHDRAWN_MAX = 10_000
"""Members who withdrew are counted so far and no further."""


def report(trainer: Trainer, version: str | None, *, at: datetime) -> dict[str, Any]:
    """What is known of a version, or of the served one.

    Raises:
        NoModelError: there is none.
    """
    found, status = service.version_of(trainer.depot, version)
    gone = withdrawn_since(
        found.created_at,
        at=at,
        consents=trainer.sources.consents,
        erasures=trainer.erasures,
        enough=WITHDRAWN_MAX,
    )
    return report_of(found, status, withdrawn_since=gone)


def page_of(trainer: Trainer, version: str | None, *, at: datetime) -> dict[str, Any]:
    """What the template `TEMPLATE` shows of it; errors are those of `report`."""
    told = report(trainer, version, at=at)
    found = service.versions(trainer.depot)
    return {
        "report": told,
        "bars": bars_of(told["metrics"]),
        "spans": spans_of(told["comparisons"]),
        "weights": weights_in_words(told["weights"]),
        "models": [short_of(each, status) for each, status in found],
        "width": WIDTH,
        "name_of": name_of,
        "said": said,
    }


def versions_table(found: Sequence[tuple[Version, str]]) -> Table:
    """The versions that are kept, in 80 columns: a version's name is the time of its training."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("version", "status", "products", "members", "baskets", "recall"):
        is_text = column in _TEXTS
        table.add_column(column, justify="left" if is_text else "right", no_wrap=True)
    for version, status in found:
        row = short_of(version, status)
        recall = f"{row['recall']:.4f}" if row["recall"] is not None else ""
        counts = (f"{row[name]:,}" for name in ("items", "members", "baskets"))
        table.add_row(version.version, status.replace("_", " "), *counts, recall)
    return table


_TEXTS = ("version", "status")


def metrics_table(metrics: Sequence[Mapping[str, Any]], k: int) -> Table:
    """How each way to rank did."""
    table = Table()
    for column in ("", f"recall@{k}", f"hit rate@{k}", f"NDCG@{k}"):
        table.add_column(column, justify="left" if not column else "right")
    for each in metrics:
        table.add_row(
            name_of(each["name"]),
            f"{each['recall']:.4f}",
            f"{each['hit_rate']:.3f}",
            f"{each['ndcg']:.4f}",
        )
    return table


def comparisons_table(comparisons: Sequence[Mapping[str, Any]]) -> Table:
    """The new model beside its rivals."""
    table = Table(title="Beside the others, by recall on the same members", title_justify="left")
    for column in ("", "this", "that", "relative", "95% interval of the difference"):
        table.add_column(column, justify="left" if not column else "right")
    for each in comparisons:
        table.add_row(
            name_of(each["rival"]),
            f"{each['ours']:.4f}",
            f"{each['theirs']:.4f}",
            f"{each['relative']:+.1%}",
            f"{each['low']:+.4f} to {each['high']:+.4f}",
        )
    return table


def lines_of(told: Mapping[str, Any], weights: str) -> list[str]:
    """A report in a few lines, beside its tables."""
    head = (
        f"Model {told['version']}, {told['status'].replace('_', ' ')}: {told['items']:,} products "
        f"from {told['baskets']:,} baskets of {told['members']:,} members, "
        f"trained {told['created_at']:%Y-%m-%d %H:%M} UTC in {told['seconds']:.1f} s, "
        f"privacy mode {told['privacy']}."
    )
    return [
        head,
        *(f"Refused. {each}" for each in told["reasons"]),
        *told["notes"],
        f"{weights} {told['chosen_by']}".strip(),
        f"{told['withdrawn_since']} members behind it withdrew or were erased since.",
    ]


def outcome_of(trained: Trained) -> list[str]:
    """What came of a training, and what can be done now, line by line."""
    lines = list(trained.verdict.notes)
    if trained.learnt.withdrawn:
        lines.append(
            f"{trained.learnt.withdrawn} members withdrew during the second reading as well: they "
            "are gone from the next model."
        )
    size = f"Model {trained.version}: {len(trained.model.items)} products"
    if mode_of(trained.learnt.privacy) == "plain":
        size += f" from {trained.baskets} baskets of {trained.members} members"
    if trained.promoted:
        lines.extend(f"Forced in spite of this: {each}" for each in trained.verdict.reasons)
        return [*lines, f"{size}, served now ({trained.seconds:.1f} s)."]
    lines += [f"Refused. {each}" for each in trained.verdict.reasons]
    lines.append(f"{size}, kept and not served ({trained.seconds:.1f} s).")
    lines.append(
        f"What was served goes on. `carnet model report {trained.version}` shows more, and "
        f"`carnet model promote {trained.version} --force` serves it all the same."
    )
    return lines
