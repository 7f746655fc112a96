"""The ledger of privacy: nobody overspends, however many try at once, and nothing is undone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from recommend.privacy.accounting import cost_of, epsilon_of
from recommend.privacy.model import Budget, BudgetSpentError, Cost, Entry
from recommend.privacy.service import reserve, standing
from recommend.privacy.store import PrivacyLedger
from tests.builders import NOON

if TYPE_CHECKING:
    from app import Parts

THREE = Budget(epsilon=1.0, total=1.9)
"""Room for three trainings: 1.00, 1.46, 1.83."""


@pytest.fixture
def ledger(parts: Parts) -> PrivacyLedger:
    return parts.privacy_ledger


def take(ledger: PrivacyLedger, budget: Budget = THREE, *, days: float = 0) -> Entry:
    at = NOON + timedelta(days=days)
    return reserve("v", at=at, budget=budget, ledger=ledger)


def test_entries_are_numbered_and_read_back(ledger: PrivacyLedger) -> None:
    taken = [take(ledger, days=day) for day in range(3)]
    assert [each.number for each in taken] == [1, 2, 3]
    assert ledger.entries() == taken
    assert taken[0].cost == cost_of(THREE.epsilon, THREE.delta)


def test_what_does_not_fit_is_refused_and_says_what_is_left(ledger: PrivacyLedger) -> None:
    for _ in range(3):
        take(ledger)
    with pytest.raises(BudgetSpentError, match=r"epsilon of 1\.\d+ of 1\.9 for ever") as refused:
        take(ledger)
    assert "No waiting helps" in refused.value.detail
    assert len(ledger.entries()) == 3


def test_together_they_never_cost_more_than_the_total(ledger: PrivacyLedger) -> None:
    budgets = (Budget(0.5, 1.5), Budget(0.1, 1.5), Budget(1.0, 1.5), Budget(0.02, 1.5))
    for budget in budgets:
        for _ in range(4):
            try:
                take(ledger, budget)
            except BudgetSpentError:
                break
    costs = [each.cost for each in ledger.entries()]
    assert len(costs) > 4
    assert epsilon_of(costs, 1e-6) <= 1.5


def test_two_trainings_at_once_cannot_both_take_the_last_of_it(parts: Parts) -> None:
    tries = 12

    def one(_: int) -> bool:
        try:
            reserve("v", at=NOON, budget=THREE, ledger=PrivacyLedger(parts.database))
        except BudgetSpentError:
            return False
        return True

    cost_of(THREE.epsilon, THREE.delta)
    with ThreadPoolExecutor(tries) as pool:
        won = list(pool.map(one, range(tries)))
    assert won.count(True) == 3
    assert [each.number for each in parts.privacy_ledger.entries()] == [1, 2, 3]


def test_a_number_is_taken_once(ledger: PrivacyLedger) -> None:
    entry = Entry(1, NOON, "v1", Cost(5.0, 0.1, 1e-8))
    assert ledger.append(entry)
    assert not ledger.append(entry._replace(version="v2"))
    assert ledger.entries() == [entry]


def test_in_a_window_old_trainings_make_room_and_the_refusal_says_when(
    ledger: PrivacyLedger,
) -> None:
    budget = replace(THREE, days=90)
    for day in range(3):
        take(ledger, budget, days=day)
    with pytest.raises(BudgetSpentError, match="2026-"):
        take(ledger, budget, days=50)
    found = standing(ledger.entries(), at=NOON + timedelta(days=50), budget=budget)
    assert (found.trainings_left, found.next_at) == (0, NOON + timedelta(days=90))
    assert take(ledger, budget, days=90.001).number == 4
    later = standing(ledger.entries(), at=NOON + timedelta(days=92.5), budget=budget)
    assert len(later.counted) == 1
    assert later.epsilon < found.epsilon < later.epsilon_ever


def test_the_standing_tells_what_is_left(ledger: PrivacyLedger) -> None:
    seen = [standing(ledger.entries(), at=NOON, budget=THREE)]
    for _ in range(3):
        take(ledger)
        seen.append(standing(ledger.entries(), at=NOON, budget=THREE))
    assert [each.trainings_left for each in seen] == [3, 2, 1, 0]
    assert [each.epsilon for each in seen] == sorted(each.epsilon for each in seen)
    assert seen[0].epsilon == 0.0
    assert seen[3].next_at is None


def test_a_smaller_epsilon_is_seen_to_cost_less(ledger: PrivacyLedger) -> None:
    take(ledger, Budget(0.2, 8.0))
    small = standing(ledger.entries(), at=NOON, budget=THREE).epsilon
    assert small <= 0.2
    take(ledger, Budget(1.0, 8.0))
    assert 1.0 < standing(ledger.entries(), at=NOON, budget=THREE).epsilon < 1.2
