"""What a privacy budget is, what a training costs of it, and when it is spent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError

if TYPE_CHECKING:
    from datetime import datetime

Mode: TypeAlias = Literal["plain", "dp"]
MODES: tuple[Mode, ...] = ("plain", "dp")
EPSILON = 1.0
EPSILON_TOTAL = 8.0
DELTA = 1e-6
"""By default. It holds as long as there are no more members than `members_max` of it."""


class BudgetSpentError(ConflictError):
    """The privacy budget has no room for another training."""

    code = "privacy_budget_spent"
    title = "The privacy budget is spent"


class LedgerBusyError(ConflictError):
    """Others wrote to the ledger at each attempt."""

    code = "privacy_ledger_busy"
    title = "The privacy ledger is busy"


class TooManyMembersError(ConflictError):
    """Delta is not small enough for the number of members."""

    code = "privacy_delta_too_large"
    title = "The delta is too large for so many members"


class TooFewMembersError(ConflictError):
    """There are not enough members to measure an attack on."""

    code = "too_few_members"
    title = "There are too few members to measure an attack on"


class Cost(NamedTuple):
    """What a training releases, in the terms of the accounting.

    Attributes:
        noise_multiplier: of one Gaussian release that is as good as all of the training's: the
            standard deviation of its noise over the most that one member can change; 0 for none.
        epsilon: of all that is chosen by the exponential mechanism.
        delta: probability that an item shows which only one member has bought.
    """

    noise_multiplier: float
    epsilon: float
    delta: float


class Entry(NamedTuple):
    """One line of the ledger: what was taken from the budget, before anything was read.

    Attributes:
        number: 1, 2, 3 ... without a gap.
        at: when it was taken.
        version: of the model it was taken for.
        cost: what the training may release.
    """

    number: int
    at: datetime
    version: str
    cost: Cost


@dataclass(frozen=True, slots=True)
class Budget:
    """What a shop allows.

    Attributes:
        epsilon: of one training, above 0.
        total: of all trainings together, over `days`.
        days: length of the window that `total` is for; 0 means for ever.
        delta: at which both are stated; below one over the number of members.
    """

    epsilon: float = EPSILON
    total: float = EPSILON_TOTAL
    days: int = 0
    delta: float = DELTA

    def __post_init__(self) -> None:
        """Refuse a budget that means nothing."""
        if not 0 < self.epsilon <= self.total:
            raise ValueError("the epsilon of a training must be above 0 and at most the total")
        if not 0 < self.delta < 1 or self.days < 0:
            raise ValueError("delta must be above 0 and below 1, and days not negative")

    @property
    def members_max(self) -> int:
        """Most members that this delta is small enough for: delta <= 1 / members^1.1."""
        return int(self.delta ** (-1 / 1.1))
