"""Offers as values: which rules pay here and now, what is missing, and in which order. Pure.

Whether a rule pays is asked of the programme's own judgement of circumstances, with what a visit
has not settled yet (the basket, how it is paid) left open. So an offer never says what an award
would not keep.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from loyalty.program.awards import Case, progress_in
from loyalty.program.circumstances import is_about
from loyalty.program.explain import money
from loyalty.program.model import (
    POINTS,
    Activity,
    ChannelsMultiplierRule,
    EngagementRule,
    EveryNthRule,
    FirstOnChannelRule,
    FixedRule,
    JourneyRule,
    Match,
    MilestoneRule,
    MultiplierRule,
    NthChannelRule,
    ReferralRule,
    SpendRule,
    StreakRule,
    When,
    paths,
)
from loyalty.program.stacking import period_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from loyalty.program.model import About, Program, Rule, State
    from loyalty.program.tiers import Tier
    from loyalty.rewards.model import Reward

Kind: TypeAlias = Literal[
    "extra_points", "bonus", "channel_bonus", "engagement", "progress", "referral", "reward", "tier"
]
KINDS: tuple[Kind, ...] = (
    "extra_points",
    "bonus",
    "channel_bonus",
    "engagement",
    "progress",
    "referral",
    "reward",
    "tier",
)
NAMED_MAX = 3
# What counts for how much in a member's own order; all three are between 0 and 1.
MATCH_WEIGHT, REACH_WEIGHT, URGENCY_WEIGHT = 0.6, 0.3, 0.1
# An offer on no product in particular fits everybody a little.
ANYTHING_MATCH = 0.25
URGENT_DAYS = 14
BECAUSE_MIN = 0.05


_ANYTHING = Match()


class Place(NamedTuple):
    """Where and when; None is anywhere."""

    channel: str | None
    store: str | None
    at: datetime


class Holding(NamedTuple):
    """What the programme knows of the member who asks: nothing that needs a consent."""

    program: Program
    state: State
    tier: str
    about: About


class Missing(NamedTuple):
    """What is left to do: how much of what, and in words."""

    amount: int
    of: str
    text: str


@dataclass(frozen=True, slots=True)
class Offer:
    """Something that pays, or can be had.

    Attributes:
        kind: what sort.
        id: of the rule, the reward or the tier.
        text: in plain words.
        points: that it pays, or costs; None where that hangs on the basket.
        unit: of the points.
        factor: by which points are multiplied.
        only: on which channels, stores and products; empty means any.
        ends_at: until when; None for no end.
        missing: what is left to do; None for nothing, or nothing that can be counted.
        progress: how much of it is done, 0 to 1.
        sku: of the product that is given, for a reward that is one.
    """

    kind: Kind
    id: str
    text: str
    points: int | None = None
    unit: str = POINTS
    factor: str | None = None
    only: Match = _ANYTHING
    ends_at: datetime | None = None
    missing: Missing | None = None
    progress: float = 1.0
    sku: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.kind, self.id


class Liked(NamedTuple):
    """One product of a member's own taste: how much of the whole, from 0 to 1."""

    weight: float
    sku: str
    name: str = ""
    category: str = ""
    brand: str = ""


class Ranked(NamedTuple):
    """An offer in its place, with what of the member's taste speaks for it; "" for nothing."""

    offer: Offer
    score: float
    because: str = ""


def rule_offers(holding: Holding, place: Place, names: Mapping[str, str]) -> list[Offer]:
    """The rules that pay this member at this place now, in the order of the programme.

    The plain points that every purchase earns are no offer.

    Args:
        holding: the programme, and where the member stands in it.
        place: where and when.
        names: of products by sku.
    """
    return [
        offer
        for rule in holding.program.rules
        if _pays(rule, holding, place)
        and (offer := _DESCRIBED[type(rule)](rule, holding, place, names))
    ]


def reward_offer(reward: Reward, points: int) -> Offer:
    """A reward that the member can take now, or what is missing for it."""
    short = max(0, reward.price - points)
    missing = Missing(short, "points", f"{_points(short, reward.unit)} more") if short else None
    only = Match(channels=reward.channels, stores=reward.stores)
    return Offer(
        "reward",
        reward.id,
        f"{reward.name} for {_points(reward.price, reward.unit)}",
        reward.price,
        reward.unit,
        only=only,
        ends_at=reward.ends_at,
        missing=missing,
        progress=max(0.0, min(1.0, points / reward.price)),
        sku=reward.value.get("sku"),
    )


def tier_offer(tier: Tier, missing: int, measure: str, currency: str) -> Offer:
    """The tier above the member's, and what is missing for it."""
    amount = money(missing, currency) if measure == "spend" else f"{missing} {measure}"
    text = f"{amount} more" if missing else "At the next review"
    left = Missing(missing, measure, text) if missing else None
    progress = 1 - missing / tier.threshold if tier.threshold else 1.0
    return Offer("tier", tier.id, f"{tier.name}: the next tier", missing=left, progress=progress)


def visible(offers: Iterable[Offer], hidden: frozenset[str]) -> list[Offer]:
    """The offers without products that are not shown to anybody; what is on such alone is gone."""
    seen = []
    for offer in offers:
        only = offer.only
        if offer.sku in hidden or (only.has_skus_alone and only.skus <= hidden):
            continue
        if only.skus & hidden:
            offer = replace(offer, only=replace(only, skus=only.skus - hidden))  # noqa: PLW2901
        seen.append(offer)
    return seen


def in_common_order(offers: Iterable[Offer]) -> list[Ranked]:
    """The same order for everybody: what ends first, then by kind and id."""

    def order(offer: Offer) -> tuple[bool, float, int, str]:
        ends_at = offer.ends_at.timestamp() if offer.ends_at else 0.0
        return offer.ends_at is None, ends_at, KINDS.index(offer.kind), offer.id

    return [Ranked(offer, 0.0) for offer in sorted(offers, key=order)]


def in_own_order(offers: Iterable[Offer], taste: Sequence[Liked], at: datetime) -> list[Ranked]:
    """The best for a member first: what it likes, what is near, what ends soon.

    Args:
        offers: all that there are.
        taste: what the member likes; the weights add up to 1.
        at: now.
    """
    ranked = [_ranked(each.offer, taste, at) for each in in_common_order(offers)]
    return sorted(ranked, key=lambda each: -each.score)


def _ranked(offer: Offer, taste: Sequence[Liked], at: datetime) -> Ranked:
    match, because = _match(offer, taste)
    days = (offer.ends_at - at).total_seconds() / 86_400 if offer.ends_at else URGENT_DAYS
    urgency = max(0.0, 1 - days / URGENT_DAYS)
    score = MATCH_WEIGHT * match + REACH_WEIGHT * offer.progress + URGENCY_WEIGHT * urgency
    return Ranked(offer, score, because)


def _match(offer: Offer, taste: Sequence[Liked]) -> tuple[float, str]:
    """What share of a member's taste an offer is about, and the word that says it best."""
    skus = offer.only.skus | ({offer.sku} if offer.sku else set())
    brands, categories = offer.only.brands, offer.only.categories
    if not (skus or brands or categories):
        return ANYTHING_MATCH, ""
    match, by_word = 0.0, dict[str, float]()
    for liked in taste:
        above = paths(liked.category) & categories
        word = (
            (liked.name or liked.sku)
            if liked.sku in skus
            else liked.brand
            if liked.brand and liked.brand in brands
            else min(above, default="")
        )
        if word:
            match += liked.weight
            by_word[word] = by_word.get(word, 0.0) + liked.weight
    best = max(by_word, key=lambda each: by_word[each], default="")
    return match, best if match >= BECAUSE_MIN else ""


def _pays(rule: Rule, holding: Holding, place: Place) -> bool:
    """Whether a rule would pay for a visit at the place, whatever the basket."""
    only, excluding = rule.only, rule.excluding
    if place.channel is not None:
        is_elsewhere = bool(only.channels) and place.channel not in only.channels
        if is_elsewhere or place.channel in excluding.channels:
            return False
    activity = Activity("purchase", place.at, place.channel or "", place.store, about=holding.about)
    case = Case(holding.program, holding.state, activity, holding.tier)
    stores = only.stores if place.store is not None else frozenset[str]()
    open_ = replace(
        rule,
        only=Match(stores=stores),
        excluding=Match(stores=excluding.stores if place.store is not None else frozenset()),
        when=_left_open(rule.when, place) if rule.when else None,
    )
    return is_about(open_, case) and not _is_used_up(rule, holding, place.at)


def _left_open(when: When, place: Place) -> When:
    """The circumstances without what only a basket settles, and without the place if it is open."""
    return replace(
        when,
        hours=None,
        basket_min=None,
        basket_max=None,
        lines_min=None,
        quantity_min=None,
        payment=frozenset(),
        fulfilment=frozenset(),
        condition=None,
        regions=when.regions if place.store is not None else (),
    )


def _is_used_up(rule: Rule, holding: Holding, at: datetime) -> bool:
    """Whether the member has had all that the rule pays one member for now."""
    if not (rule.times_max or rule.points_max):
        return False
    periods = period_names(holding.program, at)
    counts = holding.state.counters.get(rule.id, {})
    for period, most in rule.times_max.items():
        count = counts.get(period)
        if count and count.period == periods[period] and count.times >= most:
            return True
    for period, most in rule.points_max.items():
        count = counts.get(period)
        if count and count.period == periods[period] and count.points >= most:
            return True
    return False


def _points(points: int, unit: str) -> str:
    if unit != POINTS:
        return f"{points:,} {unit}"
    return f"{points:,} point" if points == 1 else f"{points:,} points"


def _what(only: Match, names: Mapping[str, str]) -> str:
    """The products in words, with `on` before them; "" for all."""
    words = [
        *(names.get(sku, sku) for sku in sorted(only.skus)),
        *sorted(only.categories),
        *sorted(only.brands),
    ]
    if not words:
        return ""
    more = len(words) - NAMED_MAX
    return " on " + ", ".join(words[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _basket(rule: Rule, currency: str) -> str:
    """How large the basket has to be, in words."""
    when = rule.when
    if when is None:
        return ""
    least = when.basket_min or when.lines_min
    return f" from {money(least, currency)}" if least else ""


def _provisos(when: When) -> str:
    """What has to come true at the till, in words."""
    words = []
    if when.hours:
        begin, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in when.hours)
        words.append(f"between {begin} and {end}")
    if when.payment:
        words.append(f"paid by {' or '.join(sorted(when.payment))}".replace("_", " "))
    if when.fulfilment:
        words.append(" or ".join(sorted(when.fulfilment)))
    if when.condition is not None or when.basket_max is not None:
        words.append("on certain conditions")
    return "".join(f", {each}" for each in words)


def _offer(rule: Rule, kind: Kind, text: str, points: int | None, **more: object) -> Offer:
    ends_at = rule.when.ends_at if rule.when else None
    text += _provisos(rule.when) if rule.when else ""
    blank = Offer(kind, rule.id, text, points, rule.unit, only=rule.only, ends_at=ends_at)
    return replace(blank, **more)  # type: ignore[arg-type]


def _spend(rule: SpendRule, holding: Holding, _: Place, names: Mapping[str, str]) -> Offer | None:
    is_plain = rule.when is None and rule.only == Match()
    if is_plain:
        return None
    currency = holding.program.currency
    text = f"{_points(rule.points, rule.unit)} for every {money(rule.per_amount, currency)}"
    return _offer(
        rule, "extra_points", text + _what(rule.only, names) + _basket(rule, currency), None
    )


def _multiplier(
    rule: MultiplierRule, holding: Holding, _: Place, names: Mapping[str, str]
) -> Offer | None:
    text = f"{rule.factor_text} times the points{_what(rule.only, names)}"
    text += _basket(rule, holding.program.currency)
    return _offer(rule, "extra_points", text, None, factor=rule.factor_text)


def _channels(
    rule: ChannelsMultiplierRule, holding: Holding, place: Place, _: Mapping[str, str]
) -> Offer | None:
    alive = _alive(holding.state, rule.window_days, place.at)
    text = f"{rule.factor_text} times the points while you use {rule.channels_min} channels"
    more = _missing(rule.channels_min - len(alive), "channels", "channel")
    progress = min(1.0, len(alive) / rule.channels_min)
    return _offer(
        rule,
        "channel_bonus",
        f"{text} within {rule.window_days} days",
        None,
        factor=rule.factor_text,
        missing=more,
        progress=progress,
    )


def _fixed(rule: FixedRule, holding: Holding, _: Place, names: Mapping[str, str]) -> Offer | None:
    each = {"unit": " for each", "line": " for each line", "basket": ""}[rule.per]
    text = f"{_points(rule.points, rule.unit)} extra{each}{_what(rule.only, names)}"
    return _offer(rule, "bonus", text + _basket(rule, holding.program.currency), rule.points)


def _engagement(
    rule: EngagementRule, _: Holding, __: Place, ___: Mapping[str, str]
) -> Offer | None:
    word = rule.engagement.replace("_", " ")
    text = f"{_points(rule.points, rule.unit)} for this: {word}"
    return _offer(rule, "engagement", text, rule.points)


def _nth_channel(
    rule: NthChannelRule, holding: Holding, place: Place, _: Mapping[str, str]
) -> Offer | None:
    alive = _alive(holding.state, rule.window_days, place.at)
    if len(alive) >= rule.n:
        return None
    text = f"{_points(rule.points, rule.unit)} for using {rule.n} channels within "
    return _offer(
        rule,
        "channel_bonus",
        f"{text}{rule.window_days} days",
        rule.points,
        missing=_missing(rule.n - len(alive), "channels", "channel"),
        progress=len(alive) / rule.n,
    )


def _first_on_channel(
    rule: FirstOnChannelRule, holding: Holding, place: Place, _: Mapping[str, str]
) -> Offer | None:
    wanted = rule.only.channels or holding.program.channels - rule.excluding.channels
    if place.channel is not None:
        wanted &= {place.channel}
    fresh = sorted(each for each in wanted if not holding.state.uses.get(each))
    if not fresh:
        return None
    text = f"{_points(rule.points, rule.unit)} for the first time on: {', '.join(fresh)}"
    return _offer(rule, "channel_bonus", text, rule.points)


def _every_nth(
    rule: EveryNthRule, holding: Holding, _: Place, names: Mapping[str, str]
) -> Offer | None:
    progress = progress_in(holding.state.progress, rule)
    done = progress.total % rule.n if progress else 0
    word = {"purchases": "purchase", "visits": "visit", "units": "unit"}[rule.counts]
    text = f"{_points(rule.points, rule.unit)} for every {rule.n} {rule.counts}"
    return _offer(
        rule,
        "progress",
        text + _what(rule.only, names),
        rule.points,
        missing=_missing(rule.n - done, rule.counts, word),
        progress=done / rule.n,
    )


def _milestone(
    rule: MilestoneRule, holding: Holding, _: Place, names: Mapping[str, str]
) -> Offer | None:
    progress = progress_in(holding.state.progress, rule)
    if progress and progress.mark:
        return None
    done = max(0, progress.total) if progress else 0
    left, currency = max(1, rule.at - done), holding.program.currency
    if rule.measure == "spend":
        goal, missing = (
            money(rule.at, currency),
            Missing(left, "spend", f"{money(left, currency)} more"),
        )
    else:
        goal, missing = f"{rule.at} purchases", Missing(*_counted(left, "purchases", "purchase"))
    return _offer(
        rule,
        "progress",
        f"{_points(rule.points, rule.unit)} once at {goal}{_what(rule.only, names)}",
        rule.points,
        missing=missing,
        progress=min(1.0, done / rule.at),
    )


def _streak(rule: StreakRule, holding: Holding, _: Place, names: Mapping[str, str]) -> Offer | None:
    # Whether the streak was broken since shows with the next purchase: nothing is promised here.
    text = f"{_points(rule.points, rule.unit)} for buying in {rule.n} {rule.period}s running"
    progress = progress_in(holding.state.progress, rule)
    done = min(progress.total, rule.n) / rule.n if progress else 0.0
    return _offer(rule, "progress", text + _what(rule.only, names), rule.points, progress=done)


def _journey(rule: JourneyRule, _: Holding, __: Place, names: Mapping[str, str]) -> Offer | None:
    where = ", ".join(sorted(rule.first_channels)) or "another channel"
    text = (
        f"{_points(rule.points, rule.unit)} for buying what you noticed ({rule.first}) on {where}"
    )
    return _offer(rule, "channel_bonus", text + _what(rule.only, names), rule.points)


def _referral(rule: ReferralRule, _: Holding, __: Place, ___: Mapping[str, str]) -> Offer | None:
    text = f"{_points(rule.referrer_points, rule.unit)} when a friend whom you referred buys first"
    return _offer(rule, "referral", text, rule.referrer_points)


def _alive(state: State, window_days: int, at: datetime) -> set[str]:
    """The channels that were used within the window."""
    return {
        channel
        for channel, seen in state.channels.items()
        if seen and (at - seen[0].at).total_seconds() <= window_days * 86_400
    }


def _missing(count: int, of: str, word: str) -> Missing | None:
    return Missing(*_counted(count, of, word)) if count > 0 else None


def _counted(count: int, of: str, word: str) -> tuple[int, str, str]:
    return count, of, f"{count} more {word if count == 1 else f'{word}s'}"


_DESCRIBED: Mapping[type[Rule], Callable[..., Offer | None]] = {
    SpendRule: _spend,
    MultiplierRule: _multiplier,
    ChannelsMultiplierRule: _channels,
    FixedRule: _fixed,
    EngagementRule: _engagement,
    NthChannelRule: _nth_channel,
    FirstOnChannelRule: _first_on_channel,
    EveryNthRule: _every_nth,
    MilestoneRule: _milestone,
    StreakRule: _streak,
    JourneyRule: _journey,
    ReferralRule: _referral,
}
