"""An appraisal in words, tables and charts, and as JSON for machines."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recommend.report.model import Bar, Chart, Curve, Line, Mark, Page, Section, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recommend.appraise import Appraisal, Gain, Group, Result

FORM = 1
"""Number of the layout of the JSON."""
DIGITS = 6
PARTS = {
    "personal": "what the member bought before, the newest counting most",
    "shared": "what many buy of late",
    "collaborative": "what goes with it, learned from all",
    "together": "what is bought with what was bought last",
}
SPLITS = {
    "last-basket": "the last basket of every member with three or more is held out; weights and "
    "settings are chosen on earlier baskets and on the last ones of a random fifth of these "
    "members, and the figures are of the others",
    "file": "the right answers are in a file of their own, which neither the choice nor the "
    "training sees",
}
METRIC_NOTES = (
    "Recall: the share of what a member went for that is in the list.",
    "NDCG: the same, with more weight on the top of the list.",
    "Hit rate: the share of members with at least one hit. MRR: 1 over the place of the first hit.",
    "Coverage: the share of the catalogue that anybody is shown.",
    "Novelty: how rare what is shown is; at 10 bits one member in a thousand has it.",
    "New: the share of what is shown that the member does not have.",
    "Every figure ranks the whole catalogue, never a sample of it.",
    (
        "A plain method is shown at its best: with what a member has already or without, and ALS "
        "with the best of several strengths, as serves it better on the very members shown."
    ),
    "Intervals are of 95%, by drawing the members anew a thousand times.",
)


def to_json(found: Appraisal) -> dict[str, Any]:
    """All figures as plain values, rounded to six digits; the same run gives the same."""
    body = {"form": FORM, **asdict(found)}
    rounded: dict[str, Any] = _rounded(body)
    return rounded


def _rounded(value: Any) -> Any:  # noqa: ANN401  # whatever JSON can hold
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return round(value, DIGITS) if math.isfinite(value) else None
    return value


def page_of(found: Appraisal, *, title: str, notes: tuple[str, ...] = ()) -> Page:
    """The report; `notes` are said first among what is to be kept in mind."""
    return Page(
        title=title,
        lead=_lead(found),
        facts=_facts(found),
        sections=(_methods(found), _gains(found), _groups(found), _chosen(found)),
        notes=(*notes, *_floor(found), *METRIC_NOTES),
    )


def _lead(found: Appraisal) -> str:
    gain = _gain(found, "recall")
    sure = (
        "and the 95% interval of the difference is above 0"
        if gain.low > 0
        else "and the 95% interval of the difference is below 0"
        if gain.high < 0
        else "but the 95% interval of the difference includes 0"
    )
    return (
        f"Of what members went for, {gain.model:.1%} is in Carnet's first {found.k}. The best of "
        f"{len(found.rivals)} plain methods, {_named(found.rival)}, has {gain.rival:.1%}: "
        f"{gain.relative:+.1%}, {sure} ({gain.low:+.4f} to {gain.high:+.4f}).{_as_served(found)}"
    )


def _as_served(found: Appraisal) -> str:
    if found.served is None:
        return ""
    people = found.chosen["settings"]["people_min"]
    recall = found.served.reported.recall
    return f" As served, with {people} people behind all that is shown to others: {recall:.1%}."


def _floor(found: Appraisal) -> tuple[str, ...]:
    if found.served is None:
        return ()
    people = found.chosen["settings"]["people_min"]
    note = (
        f"As served, nobody is shown what fewer than {people} people have, but for their own; the "
        "first row and the plain methods have no such floor, so that they compare."
    )
    return (note,)


def _named(result: Result) -> str:
    return f"{result.label} ({result.form})" if result.form else result.label


def _gain(found: Appraisal, metric: str) -> Gain:
    return next(each for each in found.gains if each.metric == metric)


def _facts(found: Appraisal) -> tuple[tuple[str, str], ...]:
    data = found.data
    rows = [
        ("History", _counted(data)),
        ("Asked about", f"{data['asked']:,} members, {data['answers']:,} right answers"),
        ("Reported", f"{data['reported']:,} members; {SPLITS[found.split]}"),
        ("Bought again", f"{_number(data['repeated_share']):.1%} of the right answers"),
        ("Repeatable", f"the same figures come out again with --seed {found.seed}"),
    ]
    if data["first_at"] is not None:
        first, last = (_day(data[name]) for name in ("first_at", "last_at"))
        rows.insert(1, ("Time", f"{first} to {last}"))
    return tuple(rows)


def _counted(data: Mapping[str, Any]) -> str:
    baskets = f"{data['baskets']:,} baskets, " if data["baskets"] > data["members"] else ""
    counts = f"{data['members']:,} members, {data['items']:,} items"
    return f"{counts}, {baskets}{data['lines']:,} purchases"


def _day(value: float | str | None) -> str:
    try:
        return f"{datetime.fromtimestamp(_number(value), UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"{_number(value):g}"


def _number(value: float | str | None) -> float:
    return float(value or 0.0)


def _methods(found: Appraisal) -> Section:
    k = found.k
    marks = tuple(_mark(each, found) for each in found.results)
    accuracy = ("", "shows", f"recall@{k}", "gain", f"NDCG@{k}", f"hit rate@{k}")
    breadth = ("", f"prec.@{k}", "MRR", "coverage", "novelty", "new", "recall of all")
    return Section(
        f"Methods, lists of {k}",
        "Members whose answers were not looked at when anything was chosen.",
        charts=(_recalls(found),),
        curves=(_curve(found),) if k > 1 else (),
        tables=(
            Table(
                "How much they find. Gain: of Carnet in recall over this one. *: the best other.",
                accuracy,
                tuple(_accuracy(each, found) for each in found.results),
                marks,
                texts=frozenset({1}),
            ),
            Table(
                "What they show. The last column: recall of all members asked about.",
                breadth,
                tuple(_breadth(each) for each in found.results),
                marks,
            ),
        ),
    )


def _relative(result: Result, found: Appraisal) -> str:
    base = result.reported.recall
    if result not in found.rivals:
        return ""
    return f"{found.model.reported.recall / base - 1:+.1%}" if base else "no hit"


def _accuracy(result: Result, found: Appraisal) -> tuple[str, ...]:
    figures = result.reported
    best = "*" if result.name == found.best else ""
    return (
        f"{result.label}{best}",
        result.form,
        f"{figures.recall:.4f}",
        _relative(result, found),
        f"{figures.ndcg:.4f}",
        f"{figures.hit_rate:.3f}",
    )


def _breadth(result: Result) -> tuple[str, ...]:
    figures = result.reported
    return (
        result.label,
        f"{figures.precision:.4f}",
        f"{figures.mrr:.3f}",
        f"{figures.coverage:.1%}",
        f"{figures.novelty:.2f}",
        f"{figures.new_share:.1%}",
        f"{result.everyone.recall:.4f}",
    )


def _mark(result: Result, found: Appraisal) -> Mark:
    if result not in found.rivals:
        return "ours"
    return "best" if result.name == found.best else ""


def _recalls(found: Appraisal) -> Chart:
    gain = _gain(found, "recall")
    bars = tuple(
        Bar(
            each.label,
            each.reported.recall,
            f"{each.reported.recall:.4f}",
            gain.model_low if each.name == found.model.name else None,
            gain.model_high if each.name == found.model.name else None,
            _mark(each, found),
        )
        for each in found.results
    )
    return Chart(f"Recall@{found.k}", "The thin line is Carnet's 95% interval.", bars)


def _curve(found: Appraisal) -> Curve:
    lines = tuple(
        Line(each.label, found.curve[each.name], _mark(each, found))
        for each in (found.model, found.rival)
    )
    return Curve("Recall by length of the list", "From the first place alone to all.", lines)


def _gains(found: Appraisal) -> Section:
    rows = tuple(
        (
            _metric(each.metric, found.k),
            f"{each.model:.4f}",
            f"{each.model_low:.4f}",
            f"{each.model_high:.4f}",
            f"{each.rival:.4f}",
            f"{each.relative:+.1%}",
            f"{each.low:+.4f}",
            f"{each.high:+.4f}",
        )
        for each in found.gains
    )
    header = ("", "Carnet", "from", "to", "best", "gain", "diff. from", "to")
    caption = (
        f"Best: {_named(found.rival)}, by recall. From and to: the 95% intervals, of Carnet's own "
        "value and of the difference."
    )
    return Section("How sure that is", tables=(Table(caption, header, rows),))


def _metric(name: str, k: int) -> str:
    names = {"ndcg": "NDCG", "hit_rate": "hit rate", "precision": "prec.", "mrr": "MRR"}
    return f"{names.get(name, name)}@{k}"


def _groups(found: Appraisal) -> Section:
    kinds = dict.fromkeys(each.kind for each in found.groups)
    return Section(
        "For whom, and for what",
        "Each group by itself: only what its members went for, or only that part of it.",
        charts=tuple(
            _group_chart(kind, [each for each in found.groups if each.kind == kind])
            for kind in kinds
        ),
        tables=(
            Table(
                f"Recall@{found.k} by group, beside {_named(found.rival)}.",
                ("", "members", "Carnet", "best", "diff. from", "to", f"NDCG@{found.k}"),
                tuple(_group_row(each) for each in found.groups),
            ),
        ),
    )


def _group_chart(kind: str, groups: list[Group]) -> Chart:
    bars = []
    for each in groups:
        bars.append(Bar(each.label, each.recall, f"{each.recall:.4f}", mark="ours"))
        bars.append(Bar("best other", each.rival_recall, f"{each.rival_recall:.4f}", mark="best"))
    return Chart(kind, "", tuple(bars))


def _group_row(each: Group) -> tuple[str, ...]:
    return (
        each.label,
        f"{each.members:,}",
        f"{each.recall:.4f}",
        f"{each.rival_recall:.4f}",
        f"{each.low:+.4f}",
        f"{each.high:+.4f}",
        f"{each.ndcg:.4f}",
    )


def _chosen(found: Appraisal) -> Section:
    weights, settings = found.chosen["weights"], found.chosen["settings"]
    parts = tuple(
        (name.replace("_", " "), said(value), PARTS.get(name, ""))
        for name, value in weights.items()
    )
    values = tuple((name.replace("_", " "), said(value)) for name, value in settings.items())
    return Section(
        "What was chosen",
        found.chosen["note"],
        tables=(
            Table(
                "Weights of the parts, in one unit: a purchase in the last basket.",
                ("part", "weight", "what it is"),
                parts,
                texts=frozenset({2}),
            ),
            Table("Settings of the model.", ("setting", "value"), values),
        ),
    )


def said(value: Any) -> str:  # noqa: ANN401  # whatever a setting is
    """A setting's value in words."""
    if value is None:
        return "by the data"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)
