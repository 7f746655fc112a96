"""What an experiment has shown so far, member by member, as far as consent allows at this moment.

Exposures come from feedback, purchases from the journal; whoever withdrew is in none of the
numbers. A member belongs to the variant that it was shown first. Counts of fewer members than a
list of popular products needs are not shown, and nothing is that is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING, NamedTuple

import pymongo

from loyalty.consent import gate
from loyalty.consent.model import PERSONALISATION
from recommend.experiments.statistics import (
    Comparison,
    Moments,
    Ratio,
    means,
    proportions,
    ratios,
    share_mismatch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from loyalty.journal.store import Sale
    from recommend.experiments.model import Experiment, Metric
    from recommend.feedback.model import Event
    from recommend.service import Sources

MEMBERS_AT_ONCE = 200
# Purchases and returns of a member within the window: more are a fault of the sender.
SALES_MAX = 200
PEOPLE_MIN = 10
# Below it members are not spread as the shares say; checked at every look, so it is strict.
MISMATCH_P = 0.001
ALPHA = 0.05
SHOWN_PER_MEMBER_MAX = 5000


class Seen(NamedTuple):
    """What one member was shown and did.

    Attributes:
        variant: that it was shown first.
        first_at: when.
        impressions: lists that it was shown.
        clicks: on what it was shown.
        shown: each product with when it was shown first.
        has_crossed: whether it was shown another variant later.
    """

    variant: str
    first_at: datetime
    impressions: int
    clicks: int
    shown: dict[str, datetime]
    has_crossed: bool


@dataclass(slots=True)
class Tally:
    """Sums over the members of one variant."""

    members: int = 0
    impressions: int = 0
    clicks: int = 0
    clickers: int = 0
    converted: int = 0
    buyers: int = 0
    revenue: int = 0
    squares: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("xx", "xy", "yy", "r"), 0)
    )

    def add(self, seen: Seen, *, converted: bool, bought: bool, revenue: int) -> None:
        """One more member."""
        self.members += 1
        self.impressions += seen.impressions
        self.clicks += seen.clicks
        self.clickers += seen.clicks > 0
        self.converted += converted
        self.buyers += bought
        self.revenue += revenue
        self.squares["xx"] += seen.impressions**2
        self.squares["xy"] += seen.impressions * seen.clicks
        self.squares["yy"] += seen.clicks**2
        self.squares["r"] += revenue**2

    @property
    def ratio(self) -> Ratio:
        """Clicks for each impression."""
        sums = (self.squares[name] for name in ("xx", "xy", "yy"))
        return Ratio(self.members, self.impressions, self.clicks, *sums)

    @property
    def moments(self) -> Moments:
        """Revenue of each member."""
        mean = self.revenue / self.members
        variance = (self.squares["r"] - self.revenue * mean) / max(1, self.members - 1)
        return Moments(self.members, mean, max(0.0, variance))

    def people(self, metric: Metric) -> int:
        """How many members stand behind a metric's number."""
        behind = {
            # Clicks on what nobody reported as shown are clicks of an unknown number of lists.
            "click_through": self.clickers if self.impressions else 0,
            "conversion": self.converted,
            "revenue": self.buyers,
        }
        return behind[metric]

    def value(self, metric: Metric) -> float:
        """The number that a metric is, for a variant that has members."""
        if metric == "click_through":
            return self.clicks / self.impressions if self.impressions else 0.0
        return (self.converted if metric == "conversion" else self.revenue) / self.members


class Outcome(NamedTuple):
    """What is shown of one variant.

    Attributes:
        name: of the variant.
        share: in per cent.
        tally: its sums; None for too few members.
        compared: with the control, by metric; without what too few members stand behind.
        verdict: in plain words; "" for the control.
    """

    name: str
    share: int
    tally: Tally | None
    compared: dict[Metric, Comparison]
    verdict: str


class Results(NamedTuple):
    """What an experiment has shown so far.

    Attributes:
        experiment: which.
        at: as of when.
        mismatch_p: how likely such a spread of members is by chance; None where shares changed.
        crossed: members who were shown another variant later.
        outcomes: the control first.
        verdict: the whole in plain words.
    """

    experiment: Experiment
    at: datetime
    mismatch_p: float | None
    crossed: int
    outcomes: tuple[Outcome, ...]
    verdict: str

    @property
    def is_mismatched(self) -> bool:
        """Whether members are not spread as the shares say."""
        return self.mismatch_p is not None and self.mismatch_p < MISMATCH_P


def results(
    experiment: Experiment,
    *,
    at: datetime,
    sources: Sources,
    batch_seconds: float,
    progress: Callable[[int], None] = lambda _: None,
) -> Results:
    """Add up what members were shown and did. Memory holds one batch of members.

    Args:
        experiment: which.
        at: now.
        sources: where feedback, consents and the journal are.
        batch_seconds: the deadline of each batch's reads.
        progress: told how many members were looked at.
    """
    tallies = {each.name: Tally() for each in experiment.variants}
    crossed = done = 0
    rest = _seen(sources.feedback.exposures(experiment.name), set(tallies))
    while True:
        with pymongo.timeout(batch_seconds):
            chunk = dict(islice(rest, MEMBERS_AT_ONCE))
            for seen, sales in _facts(chunk, at, sources):
                crossed += seen.has_crossed
                _count(tallies[seen.variant], seen, sales, timedelta(days=experiment.window_days))
        done += len(chunk)
        progress(done)
        if not chunk:
            return judged(experiment, tallies, at=at, crossed=crossed)


def _seen(events: Iterable[tuple[str, Event]], variants: set[str]) -> Iterator[tuple[str, Seen]]:
    """Each member with what it was shown, out of events that come member by member."""
    for member_id, of_member in groupby(events, key=lambda pair: pair[0]):
        known = (event for _, event in of_member if event.variant in variants)
        if (first := next(known, None)) is not None:
            yield member_id, _seen_of(first, known)


def _seen_of(first: Event, rest: Iterator[Event]) -> Seen:
    impressions = clicks = 0
    shown: dict[str, datetime] = {}
    has_crossed = False
    for event in (first, *rest):
        if event.variant != first.variant:
            has_crossed = True
            continue
        impressions += event.kind == "impression"
        clicks += event.kind == "click"
        if len(shown) < SHOWN_PER_MEMBER_MAX:
            for sku in event.skus:
                shown.setdefault(sku, event.at)
    return Seen(first.variant or "", first.at, impressions, clicks, shown, has_crossed)


def _facts(
    chunk: dict[str, Seen], at: datetime, sources: Sources
) -> Iterator[tuple[Seen, list[Sale]]]:
    """What members were shown and what they bought since, of those who agree at this moment."""
    permits = gate.permits(list(chunk), PERSONALISATION, at=at, consents=sources.consents)
    for member_id, permit in permits.items():
        seen = chunk[member_id]
        yield seen, sources.journal.sales(permit, limit=SALES_MAX, since=seen.first_at)


def _count(tally: Tally, seen: Seen, sales: Sequence[Sale], window: timedelta) -> None:
    within = [each for each in sales if each.occurred_at < seen.first_at + window]
    bought = [
        (sku, each.occurred_at) for each in within for sku, n in each.amounts.items() if n > 0
    ]
    converted = any(sku in seen.shown and when >= seen.shown[sku] for sku, when in bought)
    revenue = sum(sum(each.amounts.values()) for each in within)
    tally.add(seen, converted=converted, bought=bool(bought), revenue=revenue)


def judged(
    experiment: Experiment, tallies: dict[str, Tally], *, at: datetime, crossed: int = 0
) -> Results:
    """The sums of all variants as results: compared, and said in words."""
    counts = [tallies[each.name].members for each in experiment.variants]
    mismatch = None
    if not experiment.is_resized:
        mismatch = share_mismatch(counts, [each.share for each in experiment.variants])
    control = tallies[experiment.variants[0].name]
    is_final = experiment.is_over(at)
    outcomes = []
    for position, variant in enumerate(experiment.variants):
        tally = tallies[variant.name]
        compared = _compared(control, tally) if position else {}
        words = _words(experiment, variant.name, compared, is_final=is_final)
        is_shown = tally.members >= PEOPLE_MIN
        outcome = Outcome(
            variant.name,
            variant.share,
            tally if is_shown else None,
            compared,
            words if position else "",
        )
        outcomes.append(outcome)
    found = Results(experiment, at, mismatch, crossed, tuple(outcomes), "")
    return found._replace(verdict=_whole(found))


def _compared(control: Tally, tally: Tally) -> dict[Metric, Comparison]:
    compared: dict[Metric, Comparison] = {}
    if min(control.members, tally.members) < PEOPLE_MIN:
        return compared

    def is_enough(metric: Metric) -> bool:
        return min(control.people(metric), tally.people(metric)) >= PEOPLE_MIN

    if is_enough("click_through"):
        compared["click_through"] = ratios(control.ratio, tally.ratio)
    if is_enough("conversion"):
        pair = (control.converted, control.members), (tally.converted, tally.members)
        compared["conversion"] = proportions(*pair)
    if is_enough("revenue"):
        compared["revenue"] = means(control.moments, tally.moments)
    return compared


def _words(
    experiment: Experiment,
    name: str,
    compared: dict[Metric, Comparison],
    *,
    is_final: bool,
) -> str:
    """What the deciding metric says of a variant."""
    metric = experiment.metric
    found = compared.get(metric)
    if found is None:
        return (
            f"Not enough yet: {metric} of '{name}' is shown once {PEOPLE_MIN} members stand behind "
            "it here and in the control."
        )
    size = f"{_number(found.difference, metric)} ({_number(found.low, metric)} to "
    size += f"{_number(found.high, metric)}, 95%)"
    # Each further variant is another chance to be lucky.
    alpha = ALPHA / (len(experiment.variants) - 1)
    if found.p_value >= alpha:
        more = found.more_members
        needed = (
            f" Were it really so large, about {more:,} more members would show it." if more else ""
        )
        return f"No difference shown in {metric}: {size}.{needed}"
    way = "better" if found.difference > 0 else "worse"
    if not is_final and found.always_low <= 0 <= found.always_high:
        return (
            f"'{name}' looks {way} in {metric}: {size}. That is right for one look at the end; "
            "looking again and again finds such differences by luck. Wait for the end."
        )
    return f"'{name}' is {way} in {metric}: {size}."


def _whole(found: Results) -> str:
    if found.is_mismatched:
        return (
            "Do not decide on this: members are not spread as the shares say "
            f"(p = {found.mismatch_p:.2g}). Something keeps exposures of a variant from coming in."
        )
    return " ".join(each.verdict for each in found.outcomes if each.verdict)


def _number(value: float, metric: Metric) -> str:
    if metric == "revenue":
        return f"{value:+,.1f} minor units a member"
    return f"{value * 100:+.2f} points"
