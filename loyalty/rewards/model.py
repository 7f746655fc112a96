"""Rewards, who may take them, and the refusals of redemption. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.program.model import POINTS, UTC_ZONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from loyalty.program.model import Period

RewardType = Literal[
    "amount_off", "percent_off", "product", "shipping", "gift_card", "access", "donation"
]
REWARD_TYPES: tuple[RewardType, ...] = get_args(RewardType)
REWARDS_MAX = 2000
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Reason = Literal[
    "not_started",
    "ended",
    "other_channel",
    "other_store",
    "tier_needed",
    "limit_reached",
    "out_of_stock",
    "insufficient_points",
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class ValueShape(NamedTuple):
    """What the value of a reward of one type says, and what it may say."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


VALUES: Mapping[RewardType, ValueShape] = {
    "amount_off": ValueShape(("amount",)),
    "percent_off": ValueShape(("percent",), ("amount_max",)),
    "product": ValueShape(("sku",), ("quantity",)),
    "shipping": ValueShape((), ("amount_max",)),
    "gift_card": ValueShape(("amount",)),
    "access": ValueShape(("access",)),
    "donation": ValueShape(("amount",), ("recipient",)),
}


class RewardNotFoundError(NotFoundError):
    """The catalogue has no such reward."""

    code = "reward_not_found"
    title = "There is no such reward"


class TooManyRewardsError(ConflictError):
    """The catalogue would have more rewards than it can list."""

    code = "too_many_rewards"
    title = f"There are at most {REWARDS_MAX} rewards; nothing was written"


class RewardNotOfferedError(ConflictError):
    """The reward is not offered at this time, channel or store."""

    code = "reward_not_offered"
    title = "The reward is not offered here and now"


class TierNeededError(ConflictError):
    """The reward is for tiers that the member is not in."""

    code = "tier_needed"
    title = "The reward is for members of another tier"


class RewardLimitReachedError(ConflictError):
    """The member has taken the reward as often as one member may."""

    code = "reward_limit_reached"
    title = "The member has taken this reward as often as allowed"


class OutOfStockError(ConflictError):
    """The reward has been taken as often as there were pieces of it."""

    code = "out_of_stock"
    title = "None of this reward is left"


class RewardIndivisibleError(ConflictError):
    """A part of a reward cannot be taken."""

    code = "reward_indivisible"
    title = "A reward is taken whole or not at all"


class UnitNotSpendableError(ConflictError):
    """The programme lets points of this unit be spent on other channels only."""

    code = "unit_not_spendable"
    title = "Points of this kind are not spent on this channel"


class RedemptionNotFoundError(NotFoundError):
    """No redemption has that id."""

    code = "redemption_not_found"
    title = "There is no such redemption"


class CaptureExceedsHoldError(ConflictError):
    """More is captured than is held."""

    code = "capture_exceeds_hold"
    title = "More points are captured than are held"


class NotCapturedError(ConflictError):
    """Only what was captured can be undone."""

    code = "not_captured"
    title = "The redemption was not captured"


@dataclass(frozen=True, slots=True)
class Reward:
    """Something to take for points.

    `price` is in points of `unit`. An empty set restricts nothing. `stock` is how many may be
    taken in all, counted from when the reward first had one; `per_member` how often one member may
    take it in a period of the programme's time zone. `value` has the names of `VALUES`.
    """

    id: str
    name: str
    type: RewardType
    price: int
    value: Mapping[str, Any] = field(default_factory=dict)
    unit: str = POINTS
    tiers: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    stock: int | None = None
    per_member: Mapping[Period, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taker:
    """The member who asks: tier, points that can be spent by unit, and what was taken before.

    `taken` says of each reward with a limit how often the member took it in each current period.
    """

    tier: str | None
    points: Mapping[str, int]
    taken: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def objection(
    reward: Reward,
    *,
    at: datetime,
    channel: str | None = None,
    store: str | None = None,
    taker: Taker | None = None,
    left: int | None = None,
) -> Reason | None:
    """Why the reward cannot be taken: the first reason in the order of `REASONS`, or None.

    Args:
        reward: what is asked for.
        at: when.
        channel: where; None asks for no channel in particular.
        store: in which store; likewise.
        taker: who; None asks for nobody in particular.
        left: how many are left; None for a reward without a stock.
    """
    return (
        out_of_place(reward, at=at, channel=channel, store=store)
        or (_personal(reward, taker) if taker else None)
        or ("out_of_stock" if left is not None and left <= 0 else None)
        or ("insufficient_points" if taker and _is_too_dear(reward, taker) else None)
    )


def out_of_place(
    reward: Reward, *, at: datetime, channel: str | None, store: str | None
) -> Reason | None:
    """Why the reward is not offered here and now, to nobody in particular."""
    if reward.starts_at and at < reward.starts_at:
        return "not_started"
    if reward.ends_at and at >= reward.ends_at:
        return "ended"
    if channel is not None and reward.channels and channel not in reward.channels:
        return "other_channel"
    if store is not None and reward.stores and store not in reward.stores:
        return "other_store"
    return None


def _personal(reward: Reward, taker: Taker) -> Reason | None:
    if reward.tiers and taker.tier not in reward.tiers:
        return "tier_needed"
    taken = taker.taken.get(reward.id, {})
    if any(taken.get(period, 0) >= most for period, most in reward.per_member.items()):
        return "limit_reached"
    return None


def _is_too_dear(reward: Reward, taker: Taker) -> bool:
    return taker.points.get(reward.unit, 0) < reward.price


def refused(reason: Reason) -> ConflictError:
    """The refusal of a reward for a reason that needs no look at points."""
    kind, place, text = _REFUSALS[reason]
    return kind(text, errors=(FieldError(place, text),))


_REFUSALS: Mapping[Reason, tuple[type[ConflictError], str, str]] = {
    "not_started": (RewardNotOfferedError, "reward", "Is not offered yet."),
    "ended": (RewardNotOfferedError, "reward", "Is no longer offered."),
    "other_channel": (RewardNotOfferedError, "channel", "The reward is not offered there."),
    "other_store": (RewardNotOfferedError, "store", "The reward is not offered there."),
    "tier_needed": (TierNeededError, "reward", "Is for members of another tier."),
    "limit_reached": (RewardLimitReachedError, "reward", "Was taken as often as allowed."),
    "out_of_stock": (OutOfStockError, "reward", "None is left."),
}


def period_start(period: Period, at: datetime, zone: ZoneInfo = UTC_ZONE) -> datetime:
    """When the period around a moment began: midnight of the zone, weeks on Monday (ISO 8601)."""
    if period == "lifetime":
        return LONG_AGO
    day = at.astimezone(zone).date()
    first = {
        "day": day,
        "week": day - timedelta(days=day.weekday()),
        "month": day.replace(day=1),
        "year": day.replace(month=1, day=1),
    }[period]
    return datetime.combine(first, time.min, tzinfo=zone).astimezone(UTC)
