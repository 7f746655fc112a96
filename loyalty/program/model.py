"""What a programme, an activity and a member's state are. Frozen values, no behaviour of weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from loyalty.program.lots import Lots, balance_of
from loyalty.program.validity import Expiry, UnitPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.program.condition import Condition
    from loyalty.program.money import Rounding
    from loyalty.program.tiers import Ladder, Standing

UTC_ZONE = ZoneInfo("UTC")

Kind = Literal[
    "purchase",
    "return",
    "engagement",
    "adjustment",
    "hold",
    "capture",
    "release",
    "restore",
    "transfer",
    "referral",
    "passage",
    "redate",
    "reversal",
    "correction",
]
# Decisions are taken on what is known; a late arrival changes what led to them, never them.
DECISIONS = frozenset(
    {"adjustment", "hold", "capture", "release", "restore", "transfer", "redate", "passage"}
)
Period = Literal["day", "week", "month", "year", "lifetime"]
PERIODS: tuple[Period, ...] = ("day", "week", "month", "year", "lifetime")
POINTS = "points"

# What a member looks at and puts aside: no use of a channel in the sense of the channel rules.
BROWSING = ("view", "cart", "wish", "click")
ENGAGEMENTS = (
    "follow",
    "share",
    "review",
    "referral_signup",
    "survey",
    "feedback",
    "visit",
    "app_install",
    "newsletter",
    *BROWSING,
)
# What a member does on a network is tracked only with the consent that names it.
SOCIAL_ENGAGEMENTS = frozenset({"follow", "share"})
FULFILMENTS = ("carried", "shipped", "collected")
PAYMENT_METHODS = ("cash", "card", "wallet", "invoice", "gift_card", "points")


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
    """How a purchase was paid: what part with gift cards or points (minor units), and by what."""

    gift_card_amount: int = 0
    points_amount: int = 0
    methods: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class About:
    """What was known of the member and of the place when the activity was recorded.

    Only what the programme in force asks for is looked up; the rest is absent.
    `birthday_in_days` counts from -182 (half a year ago) to 183.
    """

    joined_at: datetime | None = None
    birthday_in_days: int | None = None
    segments: frozenset[str] = frozenset()
    is_referred: bool = False
    zone: str = ""
    place: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Award:
    """What an activity earned, as far as a return needs it.

    For each line, `weights` says what part of the purchase it is (its amount, or its units if all
    were free), and `returned` how much of that has come back, this time included. `due_before` is
    what was to be taken back before, by unit; `fallen` are the rules whose bonus fell because
    another activity that it stood on was undone.
    """

    key: str
    occurred_at: datetime
    postings: tuple[Posting, ...]
    weights: tuple[int, ...] = ()
    returned: tuple[int, ...] = ()
    due_before: Mapping[str, int] = field(default_factory=dict)
    fallen: frozenset[str] = frozenset()
    channel: str = ""
    amount_left: int = 0

    @property
    def is_undone(self) -> bool:
        """Whether all of it has come back."""
        return bool(self.weights) and self.weights == self.returned


@dataclass(frozen=True, slots=True)
class Undone:
    """What a return undoes: of the purchase itself, and of bonuses that stood on it.

    `amount` is the money that comes back now, in minor units; `is_last` says that with it all of
    the purchase has come back, and had not before.
    """

    award: Award
    amount: int = 0
    others: tuple[Award, ...] = ()
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Activity:
    """What a member did, complete: `step` asks nobody anything else.

    `key` is the fact's own, unique over all facts. `budgets` holds what is left of each campaign's
    budget, `grants` what this activity was given of them when it was recorded.
    """

    kind: Kind
    occurred_at: datetime
    channel: str = ""
    store: str | None = None
    lines: tuple[Line, ...] = ()
    shipping_amount: int = 0
    payment: Payment = Payment()
    engagement: str = ""
    points: int = 0
    back: Back | None = None
    undone: Undone | None = None
    key: str = ""
    discount_amount: int = 0
    coupon_amount: int = 0
    fulfilment: str = ""
    skus: tuple[str, ...] = ()
    details: Mapping[str, int | bool] = field(default_factory=dict)
    about: About = About()
    unit: str = POINTS
    hold: str = ""
    expires_at: datetime | None = None
    lots: Lots = ()
    budgets: Mapping[str, int] = field(default_factory=dict)
    grants: Mapping[str, int] = field(default_factory=dict)
    redating: Mapping[str, tuple[UnitPolicy, UnitPolicy]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Posting:
    """Points of one unit moved for one reason. `inputs` hold all that `explain` needs.

    `lines` are the positions of the purchase's lines that it stands on; empty means all of them.
    `legs` are the keys of other activities that it stands on.
    """

    rule: str
    kind: str
    points: int
    lines: tuple[int, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)
    unit: str = POINTS
    legs: tuple[str, ...] = ()


class Seen(NamedTuple):
    """One use of a channel: when, and the key of the fact."""

    at: datetime
    key: str


class Glance(NamedTuple):
    """Something the member looked at or put aside, for journeys."""

    at: datetime
    key: str
    engagement: str
    channel: str
    skus: tuple[str, ...]


class Count(NamedTuple):
    """How often, and with how many points, a rule paid in its period of that name."""

    period: str
    times: int
    points: int


class Held(NamedTuple):
    """Points set aside for a redemption, with the lots that they came from."""

    points: int
    unit: str
    lots: Lots
    expires_at: datetime


class Progress(NamedTuple):
    """Where a member stands in a rule that counts: the count, and what was reached or paid."""

    mark: str
    total: int


class Back(NamedTuple):
    """What a return says: all that is left of a purchase, or units of skus, or an amount."""

    purchase_key: str
    lines: tuple[tuple[str, int], ...] | None = None
    amount: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What `step` needs to know of the past; its size is bounded by the programme's.

    Args:
        lots: the points by unit.
        channels: the newest uses of each channel, newest first: one, or `LEGS_MAX` where a rule's
            bonus can fall with them.
        counters: for each rule with a limit the count of its current periods.
        uses: how often each channel was used, by what has not wholly come back.
        last: time and key of the newest fact.
        purchases: how many were made and not wholly returned.
        bought_at: the last of them.
        tier: where the member stands on the ladder.
        holds: open holds by their key.
        glances: the newest of what was looked at, where a journey asks for it.
        progress: by rule.
        idle_at: by unit, when all of it expires if nothing more happens.
        joined_at: when the member joined, where the programme asks for it.
    """

    lots: Mapping[str, Lots] = field(default_factory=dict)
    channels: Mapping[str, tuple[Seen, ...]] = field(default_factory=dict)
    counters: Mapping[str, Mapping[str, Count]] = field(default_factory=dict)
    uses: Mapping[str, int] = field(default_factory=dict)
    last: tuple[datetime, str] | None = None
    purchases: int = 0
    bought_at: datetime | None = None
    tier: Standing | None = None
    holds: Mapping[str, Held] = field(default_factory=dict)
    glances: tuple[Glance, ...] = ()
    progress: Mapping[str, Progress] = field(default_factory=dict)
    idle_at: Mapping[str, datetime] = field(default_factory=dict)
    joined_at: datetime | None = None

    @property
    def balance(self) -> int:
        """The points of the main unit that the member has, pending ones included."""
        return balance_of(self.lots.get(POINTS, ()))

    @property
    def balances(self) -> dict[str, int]:
        """The same for each unit."""
        return {unit: balance_of(lots) for unit, lots in self.lots.items()}


@dataclass(frozen=True, slots=True)
class Match:
    """Which activities or lines a rule is about. An empty set restricts nothing."""

    channels: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    skus: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    brands: frozenset[str] = frozenset()

    names_products: bool = field(init=False)
    has_skus_alone: bool = field(init=False)

    def __post_init__(self) -> None:
        """Work out once whether lines have to be looked at."""
        others = bool(self.categories or self.brands)
        object.__setattr__(self, "names_products", bool(self.skus) or others)
        object.__setattr__(self, "has_skus_alone", bool(self.skus) and not others)

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
class Region:
    """A circle on the earth: latitude and longitude in degrees, radius in metres."""

    latitude: float
    longitude: float
    radius_m: int


@dataclass(frozen=True, slots=True)
class When:
    """What else must hold for a rule to pay. What is not set restricts nothing.

    Args:
        starts_at, ends_at: from then, and before then.
        weekdays: 1 (Monday) to 7.
        hours: minutes of the day, from and before; over midnight if the first is the greater.
        clock: whose clock and calendar: the programme's or the store's.
        basket_min, basket_max: minor units, of all lines' amounts.
        lines_min, quantity_min: minor units and units of the lines that the rule is about.
        payment, fulfilment: any of these.
        first_purchase: only the member's first.
        birthday, anniversary: at most so many days before and after it.
        tiers, segments, stages: the member is in one of these.
        regions: the store is in one of these.
        condition: a free expression in CEL.
    """

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    weekdays: frozenset[int] = frozenset()
    hours: tuple[int, int] | None = None
    clock: Literal["program", "store"] = "program"
    basket_min: int | None = None
    basket_max: int | None = None
    lines_min: int | None = None
    quantity_min: int | None = None
    payment: frozenset[str] = frozenset()
    fulfilment: frozenset[str] = frozenset()
    first_purchase: bool = False
    birthday: tuple[int, int] | None = None
    anniversary: tuple[int, int] | None = None
    tiers: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    regions: tuple[Region, ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Basis:
    """Which money counts for a spend rule."""

    with_tax: bool = False
    before_discounts: bool = False
    gift_cards_earn: bool = True
    points_payments_earn: bool = False
    shipping_earns: bool = False
    order_discounts_earn: bool = False
    coupons_earn: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """What all rules have.

    Args:
        times_max: how often it pays one member in a period.
        points_max: how many points it pays one member in a period.
        budget: how many it pays to all members together.
        mode: at a limit of points: `soft` lets the last award overshoot, `truncate` cuts it,
            `hard` refuses it whole.
        priority: greater goes first; equal ones in the order of the document.
        group: of the rules of a group only one pays.
        on_return: `proportional`: falls with what comes back; `while_it_holds`: falls whole once
            the basket that is left is too small for it, else in proportion; `when_undone`: stays
            until all of the purchase has come back; `keep`: stays.
    """

    id: str
    only: Match = Match()
    excluding: Match = Match()
    times_max: Mapping[Period, int] = field(default_factory=dict)
    when: When | None = None
    unit: str = POINTS
    priority: int = 0
    group: str = ""
    points_max: Mapping[Period, int] = field(default_factory=dict)
    budget: int | None = None
    mode: Literal["soft", "truncate", "hard"] = "truncate"
    on_return: Literal["proportional", "while_it_holds", "when_undone", "keep"] = "proportional"


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
class ChannelsMultiplierRule(_FactorRule):
    """Spend points times `factor` while `channels_min` channels are alive in the window."""

    channels_min: int = 2
    window_days: int = 30


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
class EveryNthRule(Rule):
    """`points` for every `n`-th matching purchase, or visit."""

    n: int = 10
    counts: Literal["purchases", "visits", "units"] = "purchases"
    points: int = 0


@dataclass(frozen=True, slots=True)
class MilestoneRule(Rule):
    """`points` once when the sum of matching purchases, or of their money, reaches `at`."""

    measure: Literal["purchases", "spend"] = "purchases"
    at: int = 1
    points: int = 0


@dataclass(frozen=True, slots=True)
class StreakRule(Rule):
    """`points` when a member buys in `n` periods running; then the count begins again."""

    period: Literal["day", "week", "month"] = "week"
    n: int = 4
    points: int = 0


@dataclass(frozen=True, slots=True)
class JourneyRule(Rule):
    """`points` for a purchase that follows a glance (`view`, `cart`, `wish`, `click`) elsewhere.

    Args:
        first: what came first.
        first_channels: on which channels; empty means any.
        within_hours: how long before the purchase at most.
        same: the purchase must have one of the products that were looked at.
        other_channel: the purchase must be on another channel than the glance.
    """

    first: str = "view"
    first_channels: frozenset[str] = frozenset()
    within_hours: int = 168
    same: bool = True
    other_channel: bool = True
    points: int = 0


@dataclass(frozen=True, slots=True)
class ReferralRule(Rule):
    """For both sides, when a member who was referred buys for the first time."""

    friend_points: int = 0
    referrer_points: int = 0


@dataclass(frozen=True, slots=True)
class ReturnPolicy:
    """How points of returned goods are taken back.

    Args:
        balance: never more than the pending points, than the balance, or into debt.
        by: each posting falls with its own lines, or all with the value of the whole basket.
        window_days: points whose unit waits for the return window are pending for so long.
    """

    balance: Literal["only_pending", "within_balance", "may_go_negative"] = "may_go_negative"
    rounding: Rounding = "half_up"
    by: Literal["line", "value"] = "line"
    window_days: int = 30


@dataclass(frozen=True, slots=True)
class Stages:
    """Where a member stands with the shop, by purchases and by the days since the last one.

    No purchase: `acquisition`; up to `loyal_purchases_min`: `trial`; then `loyal`; without a
    purchase for so many days: `at_risk`, then `lapsed`.
    """

    loyal_purchases_min: int = 3
    at_risk_after_days: int = 60
    lapsed_after_days: int = 180


@dataclass(frozen=True, slots=True)
class PointsPayment:
    """Points as money: `points` pay `amount` minor units, in steps of `step` points.

    At most `share_max` of a basket can be paid so.
    """

    points: int
    amount: int
    step: int = 1
    share_max: Fraction = Fraction(1)
    unit: str = POINTS


class Plan(NamedTuple):
    """The rules that an activity may meet, in their order."""

    spend: tuple[SpendRule, ...]
    factors: tuple[MultiplierRule | ChannelsMultiplierRule, ...]
    bonuses: tuple[Rule, ...]


NO_PLAN = Plan((), (), ())


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
    units: Mapping[str, UnitPolicy] = field(default_factory=lambda: {POINTS: UnitPolicy()})
    multipliers: Literal["add", "multiply", "best"] = "add"
    groups: Mapping[str, Literal["first", "best"]] = field(default_factory=dict)
    ladder: Ladder | None = None
    stages: Stages = Stages()
    payment: PointsPayment | None = None

    @cached_property
    def plans(self) -> Mapping[tuple[str, str], Plan]:
        """For each channel and trigger (`purchase`, an engagement, `referral`) what can match."""
        triggers = ("purchase", "referral", *ENGAGEMENTS)
        plans = {}
        # A referral is paid on no channel at all.
        for channel in (*self.channels, ""):
            rules = [rule for rule in self.rules if _fits_channel(rule, channel)]
            for trigger in triggers:
                plans[channel, trigger] = _plan([each for each in rules if _fits(each, trigger)])
        return plans

    @cached_property
    def by_id(self) -> Mapping[str, Rule]:
        """The rules by their ids."""
        return {rule.id: rule for rule in self.rules}

    @cached_property
    def has_limits(self) -> bool:
        """Whether any rule counts what it pays."""
        return any(rule.times_max or rule.points_max for rule in self.rules)

    @cached_property
    def budgets(self) -> Mapping[str, int]:
        """The rules with a budget for all members together."""
        return {rule.id: rule.budget for rule in self.rules if rule.budget is not None}

    @cached_property
    def has_legs(self) -> bool:
        """Whether a bonus stands on uses of channels, so that the keys of these must be kept."""
        kinds = (NthChannelRule, ChannelsMultiplierRule)
        return any(isinstance(rule, kinds) for rule in self.rules)

    @cached_property
    def has_referrals(self) -> bool:
        """Whether what one member does can be paid to another."""
        return any(isinstance(rule, ReferralRule) for rule in self.rules)

    @cached_property
    def idling(self) -> Mapping[str, Expiry]:
        """The units whose points expire when nothing happens for long."""
        return {
            unit: policy.expiry
            for unit, policy in self.units.items()
            if policy.expiry.idle_months or policy.expiry.idle_days
        }

    @cached_property
    def journeys(self) -> tuple[JourneyRule, ...]:
        """The rules that look at glances."""
        return tuple(rule for rule in self.rules if isinstance(rule, JourneyRule))

    @cached_property
    def needs_member(self) -> bool:
        """Whether a rule asks for what is known of the member."""
        whens = [rule.when for rule in self.rules if rule.when]
        return (
            any(
                each.birthday or each.anniversary or each.segments or each.condition
                for each in whens
            )
            or self.has_referrals
            or (self.ladder is not None and self.ladder.period == "anniversary")
        )

    @cached_property
    def needs_store(self) -> bool:
        """Whether a rule asks where the store is, or what time it is there."""
        whens = [rule.when for rule in self.rules if rule.when]
        return any(each.regions or each.clock == "store" for each in whens)


def _fits_channel(rule: Rule, channel: str) -> bool:
    if isinstance(rule, ReferralRule) and not channel:
        return True
    is_meant = not rule.only.channels or channel in rule.only.channels
    return is_meant and channel not in rule.excluding.channels


def _fits(rule: Rule, trigger: str) -> bool:
    if isinstance(rule, EngagementRule):
        return trigger == rule.engagement
    if isinstance(rule, (NthChannelRule, FirstOnChannelRule)):
        return trigger != "referral" and trigger not in BROWSING
    if isinstance(rule, ReferralRule):
        return trigger in ("purchase", "referral")
    if isinstance(rule, EveryNthRule) and rule.counts == "visits":
        return trigger == "visit"
    return trigger == "purchase"


def _plan(rules: Sequence[Rule]) -> Plan:
    factors = (MultiplierRule, ChannelsMultiplierRule)
    return Plan(
        tuple(rule for rule in rules if isinstance(rule, SpendRule)),
        tuple(rule for rule in rules if isinstance(rule, factors)),
        tuple(rule for rule in rules if not isinstance(rule, (SpendRule, *factors))),
    )
