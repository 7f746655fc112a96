"""Which of the awards that rules offer are paid, and how much of each.

In this order: of a group only one rule pays (the first, or the best); then each award, in the order
of the rules, meets its rule's limits for the member, and last the campaign's budget.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from loyalty.program.model import PERIODS, Count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from loyalty.program.model import Activity, Posting, Program, Rule, State


class Offer(NamedTuple):
    """What a rule would pay."""

    rule: Rule
    posting: Posting


class Tally:
    """The counts of one member's limited rules while an activity is being judged."""

    def __init__(self, program: Program, state: State, activity: Activity) -> None:
        self.counters = state.counters
        self._program = program
        self._activity = activity
        self._periods: dict[str, str] | None = None

    def paid(self, offer: Offer) -> Posting | None:
        """What of an offer is paid, counted; None for nothing."""
        rule, posting = offer
        if not posting.points:
            return posting
        if rule.times_max or rule.points_max:
            limited = self._limited(rule, posting)
            if limited is None:
                return None
            posting = limited
        if rule.budget is not None:
            granted = _granted(rule, posting, self._activity)
            if granted is None:
                return None
            posting = granted
        if rule.times_max or rule.points_max:
            self._count(rule, posting.points)
        return posting

    @property
    def periods(self) -> dict[str, str]:
        """The names of the periods around the activity; later ones have greater names."""
        if self._periods is None:
            self._periods = period_names(self._program, self._activity.occurred_at)
        return self._periods

    def _limited(self, rule: Rule, posting: Posting) -> Posting | None:
        for period, most in rule.times_max.items():
            if self._current(rule.id, period).times >= most:
                return None
        for period, most in rule.points_max.items():
            left = max(0, most - self._current(rule.id, period).points)
            cut = _cut(rule, posting, left, period)
            if cut is None:
                return None
            posting = cut
        return posting

    def _current(self, rule_id: str, period: str) -> Count:
        name = self.periods[period]
        count = self.counters.get(rule_id, {}).get(period)
        return count if count and count.period == name else Count(name, 0, 0)

    def _count(self, rule: Rule, points: int) -> None:
        counts: dict[str, Count] = {}
        for period in {**rule.times_max, **rule.points_max}:
            current = self._current(rule.id, period)
            counts[period] = Count(current.period, current.times + 1, current.points + points)
        self.counters = {**self.counters, rule.id: counts}


def chosen(offers: Iterable[Offer], groups: Mapping[str, str]) -> list[Offer]:
    """The offers that stay when each group has picked one. Nothing yet to pay does not compete."""
    offers = list(offers)
    if not groups:
        return offers
    picked: dict[str, Offer] = {}
    for offer in offers:
        group = offer.rule.group
        if not group or not offer.posting.points:
            continue
        best = picked.get(group)
        is_better = best and groups[group] == "best" and offer.posting.points > best.posting.points
        if best is None or is_better:
            picked[group] = offer
    return [
        each
        for each in offers
        if not each.rule.group or not each.posting.points or picked[each.rule.group] is each
    ]


def period_names(program: Program, at: datetime) -> dict[str, str]:
    """The names of the periods around a moment, in the programme's time zone."""
    day = at.astimezone(program.zone).date()
    year, week, _ = day.isocalendar()
    names = (day.isoformat(), f"{year:04}-W{week:02}", f"{day:%Y-%m}", f"{day:%Y}", "lifetime")
    return dict(zip(PERIODS, names, strict=True))


def _cut(rule: Rule, posting: Posting, left: int, limit: str) -> Posting | None:
    """The posting within what a limit leaves, by the rule's mode."""
    if posting.points <= left or (rule.mode == "soft" and left > 0):
        return posting
    if left <= 0 or rule.mode == "hard":
        return None
    return _cut_to(left, posting, limit, rule.mode)


def _cut_to(points: int, posting: Posting, limit: str, mode: str) -> Posting:
    """The posting with fewer points; what the rule itself gave is told even after several cuts."""
    wanted = posting.inputs.get("cut", {}).get("wanted", posting.points)
    cut = {"wanted": wanted, "limit": limit, "mode": mode}
    return replace(posting, points=points, inputs={**posting.inputs, "cut": cut})


def _granted(rule: Rule, posting: Posting, activity: Activity) -> Posting | None:
    """The posting within the campaign's budget.

    What was granted when the activity was recorded is a fact; a later fold keeps to it.
    """
    if rule.id in activity.grants:
        grant = activity.grants[rule.id]
        if posting.points <= grant:
            return posting
        return _cut_to(grant, posting, "budget", rule.mode) if grant else None
    if rule.id in activity.budgets:
        return _cut(rule, posting, max(0, activity.budgets[rule.id]), "budget")
    return posting
