"""What a programme, an activity and a member's state are. Frozen values, no behaviour of weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

from loyalty.program.lots import Lots, balance_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.program.money import Rounding

UTC_ZONE = ZoneInfo("UTC")

Kind = Literal["purchase", "return", "engagement", "adjustment"]
Period = Literal["day", "week", "month", "lifetime"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "lifetime")

ENGAGEMENTS = (
    "follow",
    "share",
    "review",
    "referral_signup",
    "survey",
    "visit",
    "app_install",
    "newsletter",
)
# What a member does on a network is tracked only with the consent that names it.
SOCIAL_ENGAGEMENTS = frozenset({"follow", "share"})


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt. Amounts are of the whole line, in minor units.

    `amount` is what was charged without tax and after discounts; `tax` comes on top of it and
    `discount` had been taken off before.
    """

    sku: str
    quantity: int
    amount: int
    tax: int = 0
    discount: int = 0
    category: str = ""
    brand: str = ""


# A line with its position on the receipt.
Numbered: TypeAlias = tuple[int, Line]


@dataclass(frozen=True, slots=True)
class Payment:
    """What part of a purchase was paid with gift cards or with points, in minor units."""

    gift_card_amount: int = 0
    points_amount: int = 0


@dataclass(frozen=True, slots=True)
class Undone:
    """A past purchase as a return needs it: its own award, and what of it came back before.

    For each line, `weights` says what part of the purchase it was (its amount), and `returned_*`
    how much of that weight came back before and comes back now.
    """

    purchase_key: str
    postings: tuple[Posting, ...]
    weights: tuple[int, ...]
    returned_before: tuple[int, ...]
    returned_now: tuple[int, ...]
    clawback_due_before: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What a member did, complete: `step` asks nobody anything else."""

    kind: Kind
    occurred_at: datetime
    channel: str = ""
    store: str | None = None
    lines: tuple[Line, ...] = ()
    shipping_amount: int = 0
    payment: Payment = Payment()
    engagement: str = ""
    points: int = 0
    undone: Undone | None = None


@dataclass(frozen=True, slots=True)
class Posting:
    """Points moved for one reason. `inputs` hold all that `explain` needs, years later.

    `lines` are the positions of the purchase's lines that it stands on; empty means all of them.
    """

    rule: str
    kind: str
    points: int
    lines: tuple[int, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """What `step` needs to know of the past; its size is bounded by the programme's.

    `channels` holds the last activity a channel; `counters` for each rule with a limit the name
    and the count of its current period.
    """

    lots: Lots = ()
    channels: Mapping[str, datetime] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, tuple[str, int]]] = field(default_factory=dict)

    @property
    def balance(self) -> int:
        """The points that the member has."""
        return balance_of(self.lots)


@dataclass(frozen=True, slots=True)
class Match:
    """Which activities or lines a rule is about. An empty set restricts nothing."""

    channels: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    skus: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    brands: frozenset[str] = frozenset()

    names_products: bool = field(init=False)

    def __post_init__(self) -> None:
        """Work out once whether lines have to be looked at."""
        names_products = bool(self.skus or self.categories or self.brands)
        object.__setattr__(self, "names_products", names_products)

    def named(self, lines: Sequence[Numbered]) -> list[Numbered]:
        """The lines that any of the sets names; a category covers the paths below it."""
        skus, brands, categories = self.skus, self.brands, self.categories
        return [
            (position, line)
            for position, line in lines
            if line.sku in skus
            or line.brand in brands
            or (categories and not categories.isdisjoint(paths(line.category)))
        ]


@lru_cache(maxsize=4096)
def paths(category: str) -> frozenset[str]:
    """A category's path and those above it: `Dairy`, `Dairy/Milk` for `Dairy/Milk`."""
    steps = category.split("/")
    return frozenset("/".join(steps[:depth]) for depth in range(1, len(steps) + 1))


@dataclass(frozen=True, slots=True)
class Basis:
    """Which money counts for a spend rule."""

    with_tax: bool = False
    before_discounts: bool = False
    gift_cards_earn: bool = True
    points_payments_earn: bool = False
    shipping_earns: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What all rules have."""

    id: str
    only: Match = Match()
    excluding: Match = Match()
    times_max: Mapping[Period, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SpendRule(Rule):
    """`points` for each full `per_amount` (minor units) of the basis."""

    points: int = 1
    per_amount: int = 100
    basis: Basis = Basis()
    rounding: Rounding = "floor"
    per: Literal["basket", "line"] = "basket"
    amount_min: int = 0


@dataclass(frozen=True, slots=True)
class _FactorRule(Rule):
    """Spend points times `factor`; `extra` is what the factor adds, worked out once."""

    factor: Fraction = Fraction(1)
    rounding: Rounding = "floor"
    extra: Fraction = field(init=False)
    factor_text: str = field(init=False)

    def __post_init__(self) -> None:
        """Work out what every activity would ask for again."""
        object.__setattr__(self, "extra", self.factor - 1)
        object.__setattr__(self, "factor_text", f"{float(self.factor):g}")


@dataclass(frozen=True, slots=True)
class MultiplierRule(_FactorRule):
    """The spend points of the matching lines, times `factor`; posts what that adds."""


@dataclass(frozen=True, slots=True)
class FixedRule(Rule):
    """`points` once for each matching unit, line or basket."""

    points: int = 0
    per: Literal["unit", "line", "basket"] = "unit"


@dataclass(frozen=True, slots=True)
class EngagementRule(Rule):
    """`points` for an engagement of one type."""

    engagement: str = ""
    points: int = 0


@dataclass(frozen=True, slots=True)
class NthChannelRule(Rule):
    """`points` when an activity makes `n` distinct channels within the last `window_days`."""

    n: int = 2
    window_days: int = 30
    points: int = 0


@dataclass(frozen=True, slots=True)
class FirstOnChannelRule(Rule):
    """`points` for the member's first ever activity on a channel."""

    points: int = 0


@dataclass(frozen=True, slots=True)
class ChannelsMultiplierRule(_FactorRule):
    """Spend points times `factor` while `channels_min` channels are alive in the window."""

    channels_min: int = 2
    window_days: int = 30


@dataclass(frozen=True, slots=True)
class ReturnPolicy:
    """How points of returned goods are taken back."""

    balance: Literal["within_balance", "may_go_negative"] = "may_go_negative"
    rounding: Rounding = "half_up"


@dataclass(frozen=True)
class Program:
    """One immutable version of a programme."""

    version: int
    name: str
    currency: str
    channels: frozenset[str]
    rules: tuple[Rule, ...]
    zone: ZoneInfo = UTC_ZONE
    returns: ReturnPolicy = ReturnPolicy()
    enrols_unknown: bool = True
    expires_after_months: int | None = None

    @cached_property
    def rules_by_channel(self) -> Mapping[str, tuple[Rule, ...]]:
        """The rules that can match on each channel, in their order."""
        return {
            channel: tuple(
                rule
                for rule in self.rules
                if channel not in rule.excluding.channels
                and (not rule.only.channels or channel in rule.only.channels)
            )
            for channel in self.channels
        }

    @cached_property
    def limited_rules(self) -> Mapping[str, Mapping[Period, int]]:
        """The limits of the rules that have any."""
        return {rule.id: rule.times_max for rule in self.rules if rule.times_max}
