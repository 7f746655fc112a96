"""How much all releases together can tell of one person, by privacy loss distributions.

Pure. `dp_accounting.pld` does the sums (Sommer, Meiser, Mohammadi 2019; Koskela et al. 2020,
arXiv:1906.03049): its figure is an upper bound, tight to its grid. All Gaussian releases together
are one Gaussian release whose precisions add up, so the sum takes milliseconds after any number of
trainings, and stays right if a later one is fitted to what earlier ones gave (Smith and Thakurta
2022, arXiv:2210.17520).
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from dp_accounting.pld import common, privacy_loss_distribution

from recommend.privacy.model import Cost

if TYPE_CHECKING:
    from collections.abc import Iterable

GRID = 1e-3
"""Width of a step of privacy loss; a finer one gives a third digit and takes ten times as long."""
CHOICE_SHARE = 0.15
"""Of the epsilon of a training, for choosing the weights by the exponential mechanism."""
SELECTION_SHARE = 0.01
"""Of delta, for showing that an item was bought at all; so a hundred trainings at most."""
MULTIPLIER_MIN, MULTIPLIER_MAX = 0.2, 1e5
_STEPS = 40


def epsilon_of(costs: Iterable[Cost], delta: float) -> float:
    """The epsilon of all these releases together, at this delta; infinite if delta is used up.

    The neighbours are data sets that differ by everything that one member ever did.
    """
    known = list(costs)
    left = delta - math.fsum(each.delta for each in known)
    if left <= 0:
        return math.inf
    precision = math.fsum(each.noise_multiplier**-2 for each in known if each.noise_multiplier)
    pures = Counter(each.epsilon for each in known if each.epsilon)
    total = privacy_loss_distribution.identity(value_discretization_interval=GRID)
    if precision:
        total = total.compose(_gaussian(precision**-0.5))
    for epsilon, times in pures.items():
        total = total.compose(_pure(epsilon).self_compose(times))
    return max(0.0, float(total.get_epsilon_for_delta(left)))


@lru_cache(maxsize=256)
def cost_of(epsilon: float, delta: float) -> Cost:
    """What one training may release so that it costs this epsilon at this delta, all in all.

    Raises:
        ValueError: no noise is enough for so small an epsilon.
    """
    choice, selection = CHOICE_SHARE * epsilon, SELECTION_SHARE * delta
    low, high = MULTIPLIER_MIN, MULTIPLIER_MAX
    if epsilon_of([Cost(high, choice, selection)], delta) > epsilon:
        raise ValueError("epsilon is too small to be reached")
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        fits = epsilon_of([Cost(middle, choice, selection)], delta) <= epsilon
        low, high = (low, middle) if fits else (middle, high)
        if high / low < 1 + 1e-3:
            break
    return Cost(high, choice, selection)


def _gaussian(deviation: float) -> privacy_loss_distribution.PrivacyLossDistribution:
    return privacy_loss_distribution.from_gaussian_mechanism(
        deviation, value_discretization_interval=GRID
    )


def _pure(epsilon: float) -> privacy_loss_distribution.PrivacyLossDistribution:
    """The worst that any mechanism of this epsilon and delta 0 can do."""
    return privacy_loss_distribution.from_privacy_parameters(
        common.DifferentialPrivacyParameters(epsilon, 0.0), value_discretization_interval=GRID
    )
