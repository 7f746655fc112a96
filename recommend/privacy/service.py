"""Taking from the privacy budget before a training, and saying what is left of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from recommend.privacy.accounting import cost_of, epsilon_of
from recommend.privacy.model import BudgetSpentError, Entry, LedgerBusyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from recommend.privacy.model import Budget
    from recommend.privacy.store import PrivacyLedger

ATTEMPTS_MAX = 20
TRAININGS_MAX = 1_000
"""Most trainings that are looked ahead."""


class Standing(NamedTuple):
    """Where a budget stands at a moment.

    Attributes:
        entries: all that was ever taken.
        counted: those of them that count against the budget now.
        epsilon: of those counted, together.
        epsilon_ever: of all, together.
        trainings_left: how many more trainings fit now; at most `TRAININGS_MAX`.
        next_at: when the next one fits if none does now; None if waiting does not help.
    """

    entries: Sequence[Entry]
    counted: Sequence[Entry]
    epsilon: float
    epsilon_ever: float
    trainings_left: int
    next_at: datetime | None


def reserve(version: str, *, at: datetime, budget: Budget, ledger: PrivacyLedger) -> Entry:
    """Take a training from the budget, for good: a training that fails afterwards has cost it too.

    Call it before anything of a member is read. Of two at once, each counts the other.

    Args:
        version: of the model to be trained.
        at: now.
        budget: what the shop allows.
        ledger: what was taken so far.

    Raises:
        BudgetSpentError: it does not fit; says what is left, and from when on it fits.
        LedgerBusyError: others were faster at each attempt.
    """
    cost = cost_of(budget.epsilon, budget.delta)
    for _ in range(ATTEMPTS_MAX):
        entries = ledger.entries()
        costs = [each.cost for each in counted(entries, at, budget)]
        if epsilon_of([*costs, cost], budget.delta) > budget.total:
            raise BudgetSpentError(refusal(standing(entries, at=at, budget=budget), budget))
        entry = Entry(entries[-1].number + 1 if entries else 1, at, version, cost)
        if ledger.append(entry):
            return entry
    raise LedgerBusyError


def counted(entries: Sequence[Entry], at: datetime, budget: Budget) -> Sequence[Entry]:
    """Those that count against the budget at a moment: all, or those of its window.

    What is dated later than the moment counts as well: clocks differ.
    """
    if not budget.days:
        return entries
    since = at - timedelta(days=budget.days)
    return [each for each in entries if each.at > since]


def standing(entries: Sequence[Entry], *, at: datetime, budget: Budget) -> Standing:
    """Where the budget stands."""
    known = counted(entries, at, budget)
    left = _trainings_left(known, budget)
    return Standing(
        entries=entries,
        counted=known,
        epsilon=epsilon_of([each.cost for each in known], budget.delta),
        epsilon_ever=epsilon_of([each.cost for each in entries], budget.delta),
        trainings_left=left,
        next_at=None if left or not budget.days else _next_at(known, budget),
    )


def refusal(found: Standing, budget: Budget) -> str:
    """Why there is no training now, what is left, and what helps."""
    window = f"over {budget.days} days" if budget.days else "for ever"
    said = (
        f"Trainings so far come to an epsilon of {found.epsilon:.2f} of {budget.total:g} {window}; "
        f"another of {budget.epsilon:g} would be more than that."
    )
    if found.next_at:
        return f"{said} There is room again on {found.next_at:%Y-%m-%d %H:%M} UTC."
    return f"{said} No waiting helps: the model that is served stays."


def _trainings_left(known: Sequence[Entry], budget: Budget) -> int:
    """How many more fit, by halving: more of them never cost less."""
    cost, costs = cost_of(budget.epsilon, budget.delta), [each.cost for each in known]
    low, high = 0, TRAININGS_MAX + 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = epsilon_of([*costs, *[cost] * middle], budget.delta) <= budget.total
        low, high = (middle, high) if fits else (low, middle)
    return low


def _next_at(known: Sequence[Entry], budget: Budget) -> datetime | None:
    """When enough of the oldest have left the window."""
    by_age = sorted(known, key=lambda each: each.at)
    cost = cost_of(budget.epsilon, budget.delta)
    for number, oldest in enumerate(by_age, start=1):
        rest = [each.cost for each in by_age[number:]]
        if epsilon_of([*rest, cost], budget.delta) <= budget.total:
            return oldest.at + timedelta(days=budget.days)
    return None
