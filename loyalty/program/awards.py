"""What each rule offers for a purchase, an engagement or a referral.

One function a kind of rule, which yields at most one posting. Order, groups and limits are not
theirs: see `awarded` and stacking.py.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.program.circumstances import is_about, lines_of, stage_of, values_of
from loyalty.program.model import (
    NO_PLAN,
    Activity,
    Basis,
    ChannelsMultiplierRule,
    EngagementRule,
    EveryNthRule,
    FirstOnChannelRule,
    FixedRule,
    Glance,
    JourneyRule,
    Line,
    MilestoneRule,
    MultiplierRule,
    NthChannelRule,
    Numbered,
    Posting,
    Program,
    Progress,
    ReferralRule,
    Rule,
    SpendRule,
    State,
    StreakRule,
)
from loyalty.program.money import rounded, share
from loyalty.program.stacking import Offer, Tally, chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

# How many uses of a channel are remembered: a bonus stands while one of them does.
LEGS_MAX = 3


class SpendPart(NamedTuple):
    """What one spend rule gave: its points and the basis they stand on, line by line."""

    unit: str
    points: int
    basis_by_line: Mapping[int, int]
    basis: int


class Case:
    """One activity being judged: what the rules look at, and what was found so far."""

    def __init__(self, program: Program, state: State, activity: Activity, tier: str) -> None:
        self.program = program
        self.state = state
        self.activity = activity
        self.tier = tier
        self.lines: tuple[Numbered, ...] = tuple(enumerate(activity.lines))
        self.parts: list[SpendPart] = []
        self.bases: dict[str, dict[int, int]] = {}
        self._earning: dict[str, set[int]] = {}
        self.extras: dict[str, int] = {}
        self.progress: dict[str, Progress] = {}
        self.used: set[str] = set()

    def earning(self, unit: str) -> set[int]:
        """The positions of the lines that spend points of a unit stand on."""
        if unit not in self._earning:
            parts = (part.basis_by_line for part in self.parts if part.unit == unit)
            self._earning[unit] = set().union(*parts)
        return self._earning[unit]

    @cached_property
    def alive(self) -> dict[str, datetime]:
        """The last use of each channel, this activity included."""
        alive = {channel: seen[0].at for channel, seen in self.state.channels.items() if seen}
        alive[self.activity.channel] = self.activity.occurred_at
        return alive

    @cached_property
    def skus(self) -> frozenset[str]:
        """All that is in the basket."""
        return frozenset(line.sku for line in self.activity.lines)

    @cached_property
    def worth(self) -> int:
        """The sum of the lines' amounts, in minor units."""
        return sum(line.amount for line in self.activity.lines)

    @cached_property
    def stage(self) -> str:
        """Where the member stood with the shop before."""
        return stage_of(self.program, self.state, self.activity.occurred_at)

    @cached_property
    def values(self) -> dict[str, Any]:
        """What a condition in CEL looks at."""
        return values_of(self)


class Awarded(NamedTuple):
    """What was paid, and what the rules' counts are then."""

    postings: tuple[Posting, ...]
    tally: Tally
    case: Case


def awarded(program: Program, state: State, activity: Activity, *, tier: str) -> Awarded:
    """What the rules pay for an activity.

    Args:
        program: the version that rules.
        state: the state before.
        activity: a purchase, an engagement or a referral.
        tier: the member's, as the programme counts it for this activity.
    """
    case = Case(program, state, activity, tier)
    tally = Tally(program, state, activity)
    trigger = activity.engagement or activity.kind
    plan = program.plans.get((activity.channel, trigger), NO_PLAN)
    postings: list[Posting] = []
    for rule, posting in chosen(_offers(plan.spend, case), program.groups):
        if paid := tally.paid(Offer(rule, posting)):
            postings.append(paid)
            part = SpendPart(paid.unit, paid.points, case.bases[rule.id], paid.inputs["basis"])
            case.parts.append(part)
    postings += _factors(plan.factors, case, tally)
    for offer in chosen(_offers(plan.bonuses, case), program.groups):
        if paid := tally.paid(offer):
            postings.append(paid)
    return Awarded(tuple(postings), tally, case)


def _offers(rules: Sequence[Rule], case: Case) -> Iterator[Offer]:
    for rule in rules:
        if is_about(rule, case):
            for posting in _JUDGES[type(rule)](rule, case):
                yield Offer(rule, posting)


def _spend(rule: SpendRule, case: Case) -> Iterator[Posting]:
    activity = case.activity
    lines = lines_of(rule, case)
    if not lines:
        return
    if rule.amount_min and rule.amount_min > sum(_worth(rule, line) for line in activity.lines):
        return
    by_line, shipping = _basis(rule, lines, activity)
    basis = sum(by_line.values()) + shipping
    points = _spend_points(rule, [*by_line.values(), shipping], basis)
    if not points:
        return
    case.bases[rule.id] = by_line
    inputs: dict[str, Any] = {
        "basis": basis,
        "points": rule.points,
        "per_amount": rule.per_amount,
        "rounding": rule.rounding,
        "per": rule.per,
    }
    yield Posting(rule.id, "spend", points, _positions(lines, activity), inputs, rule.unit)


def _spend_points(rule: SpendRule, amounts: list[int], basis: int) -> int:
    if rule.per == "line":
        return sum(
            rounded(amount * rule.points, rule.per_amount, rule.rounding) for amount in amounts
        )
    return rounded(basis * rule.points, rule.per_amount, rule.rounding)


def _worth(rule: SpendRule, line: Line) -> int:
    worth = line.amount
    if rule.basis.with_tax:
        worth += line.tax
    if rule.basis.before_discounts:
        worth += line.discount
    return worth


def _basis(
    rule: SpendRule, lines: Sequence[Numbered], activity: Activity
) -> tuple[dict[int, int], int]:
    """What counts of each line and of the shipping, without what earns nothing.

    Discounts and coupons of the whole order and such payments cover tax and shipping too, so all
    that was charged loses the same share.
    """
    worth = {position: _worth(rule, line) for position, line in lines}
    shipping = activity.shipping_amount if rule.basis.shipping_earns else 0
    excluded = _excluded(rule.basis, activity)
    if not excluded:
        return worth, shipping
    charged = sum(line.amount + line.tax for line in activity.lines) + activity.shipping_amount
    excluded = min(excluded, charged)
    amounts = [*worth.values(), shipping]
    # Cumulative, so that the parts lose together what the whole does, to the cent.
    lost = [share(upto, of=excluded, total=charged) for upto in accumulate(amounts, initial=0)]
    counts = [
        amount - (after - before)
        for amount, (before, after) in zip(amounts, pairwise(lost), strict=True)
    ]
    return dict(zip(worth, counts, strict=False)), counts[-1]


def _excluded(basis: Basis, activity: Activity) -> int:
    """What of the charged amount earns nothing, in minor units."""
    payment = activity.payment
    return (
        (0 if basis.gift_cards_earn else payment.gift_card_amount)
        + (0 if basis.points_payments_earn else payment.points_amount)
        + (0 if basis.order_discounts_earn else activity.discount_amount)
        + (0 if basis.coupons_earn else activity.coupon_amount)
    )


def _positions(lines: Sequence[Numbered], activity: Activity) -> tuple[int, ...]:
    """The positions, or nothing if they are all of them."""
    if len(lines) == len(activity.lines):
        return ()
    return tuple(position for position, _ in lines)


def _factors(
    rules: Sequence[MultiplierRule | ChannelsMultiplierRule], case: Case, tally: Tally
) -> Iterator[Posting]:
    """What the factors add: each to the spend points, or one upon the other, or only the best."""
    if not case.parts or not rules:
        return
    way = case.program.multipliers
    offers = chosen(_offers(rules, case), case.program.groups)
    if way == "best":
        offers = _best_a_unit(offers)
    for offer in offers:
        found = offer.posting
        if way == "multiply" and case.extras:
            again = list(_JUDGES[type(offer.rule)](offer.rule, case))
            found = again[0] if again else found
        paid = tally.paid(Offer(offer.rule, found))
        if paid:
            case.extras[paid.unit] = case.extras.get(paid.unit, 0) + paid.points
            yield paid


def _best_a_unit(offers: Sequence[Offer]) -> list[Offer]:
    best: dict[str, Offer] = {}
    for offer in offers:
        unit = offer.posting.unit
        if unit not in best or offer.posting.points > best[unit].posting.points:
            best[unit] = offer
    return list(best.values())


def _multiplied(rule: MultiplierRule, case: Case) -> Iterator[Posting]:
    yield from _times(rule, case, {}, ())


def _channels_multiplied(rule: ChannelsMultiplierRule, case: Case) -> Iterator[Posting]:
    count = _alive(case.alive, case.activity.occurred_at, rule.window_days)
    if count >= rule.channels_min:
        why, keys = _legs(case, rule.window_days, needed=rule.channels_min - 1)
        yield from _times(rule, case, {"channels_alive": count, **why}, keys)


def _times(
    rule: MultiplierRule | ChannelsMultiplierRule,
    case: Case,
    why: Mapping[str, Any],
    legs: tuple[str, ...],
) -> Iterator[Posting]:
    """What multiplying the spend points of the rule's lines adds; it stands on what earned."""
    lines = lines_of(rule, case)
    if not lines:
        return
    earning = case.earning(rule.unit)
    if len(earning) < len(case.lines):
        lines = [pair for pair in lines if pair[0] in earning]
    base = _base(rule, lines, case)
    extra = rule.extra
    numerator, denominator = base.numerator * extra.numerator, base.denominator * extra.denominator
    points = rounded(numerator, denominator, rule.rounding)
    if not points:
        return
    inputs = {"base": str(base), "factor": rule.factor_text, "rounding": rule.rounding, **why}
    positions = _positions(lines, case.activity)
    yield Posting(rule.id, "multiplier", points, positions, inputs, rule.unit, legs)


def _base(rule: Rule, lines: Sequence[Numbered], case: Case) -> Fraction | int:
    """The spend points that fall on some lines, and in `multiply` what earlier factors added."""
    base: Fraction | int = 0
    total = 0
    is_all = len(lines) == len(case.activity.lines)
    for part in case.parts:
        if part.unit != rule.unit:
            continue
        total += part.points
        if is_all:
            base += part.points
        elif part.basis:
            covered = sum(part.basis_by_line.get(position, 0) for position, _ in lines)
            base += Fraction(part.points * covered, part.basis)
    extras = case.extras.get(rule.unit, 0)
    if extras and total and case.program.multipliers == "multiply":
        base += Fraction(extras) * base / total
    return base


def _fixed(rule: FixedRule, case: Case) -> Iterator[Posting]:
    lines = lines_of(rule, case)
    counts = {
        "unit": sum(line.quantity for _, line in lines),
        "line": len(lines),
        "basket": min(1, len(lines)),
    }
    count = counts[rule.per]
    if count:
        inputs = {"points": rule.points, "count": count, "per": rule.per}
        positions = _positions(lines, case.activity)
        yield Posting(rule.id, "fixed", count * rule.points, positions, inputs, rule.unit)


def _engaged(rule: EngagementRule, _: Case) -> Iterator[Posting]:
    inputs = {"engagement": rule.engagement}
    yield Posting(rule.id, "engagement", rule.points, inputs=inputs, unit=rule.unit)


def _alive(channels: Mapping[str, datetime], at: datetime, window_days: int) -> int:
    """How many channels had their last use within the window before `at`."""
    since = at - timedelta(days=window_days)
    return sum(last_at >= since for last_at in channels.values())


def _legs(case: Case, window_days: int, *, needed: int) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The uses of other channels that a bonus stands on, and how many channels it needs."""
    since = case.activity.occurred_at - timedelta(days=window_days)
    legs = {
        channel: [each.key for each in seen if each.at >= since and each.key]
        for channel, seen in case.state.channels.items()
        if channel != case.activity.channel
    }
    legs = {channel: keys for channel, keys in legs.items() if keys}
    keys = tuple(key for each in legs.values() for key in each)
    return {"legs": [legs[channel] for channel in sorted(legs)], "legs_min": needed}, keys


def _nth_channel(rule: NthChannelRule, case: Case) -> Iterator[Posting]:
    activity = case.activity
    after = _alive(case.alive, activity.occurred_at, rule.window_days)
    if after != rule.n:
        return
    last = case.state.channels.get(activity.channel)
    since = activity.occurred_at - timedelta(days=rule.window_days)
    if last and last[0].at >= since:
        return
    why, keys = _legs(case, rule.window_days, needed=rule.n - 1)
    inputs = {"n": rule.n, "window_days": rule.window_days, "channel": activity.channel, **why}
    yield Posting(rule.id, "nth_channel", rule.points, (), inputs, rule.unit, keys)


def _first_on_channel(rule: FirstOnChannelRule, case: Case) -> Iterator[Posting]:
    channel = case.activity.channel
    if not case.state.uses.get(channel):
        inputs = {"channel": channel}
        yield Posting(rule.id, "first_on_channel", rule.points, inputs=inputs, unit=rule.unit)


def progress_in(progress: Mapping[str, Progress], rule: Rule) -> Progress | None:
    """Where the member stands in a rule that counts; None to begin with.

    A later version may give a rule's id to one that counts in another way: that begins anew.
    """
    found = progress.get(rule.id)
    if found is None:
        return None
    if isinstance(rule, EveryNthRule):
        is_its_own = found.mark.isdecimal()
    elif isinstance(rule, MilestoneRule):
        is_its_own = found.mark in ("", "reached")
    else:
        is_its_own = "-" in found.mark
    return found if is_its_own else None


def _every_nth(rule: EveryNthRule, case: Case) -> Iterator[Posting]:
    counted = 1
    if rule.counts != "visits":
        lines = lines_of(rule, case)
        counted = sum(line.quantity for _, line in lines) if rule.counts == "units" else len(lines)
        if not counted:
            return
        counted = counted if rule.counts == "units" else 1
    before = progress_in(case.state.progress, rule) or Progress("0", 0)
    count = before.total + counted
    due = max(0, count // rule.n - int(before.mark))
    case.progress[rule.id] = Progress(str(int(before.mark) + due), count)
    inputs = {"n": rule.n, "counts": rule.counts, "counted": counted, "count": count, "due": due}
    yield Posting(rule.id, "every_nth", due * rule.points, inputs=inputs, unit=rule.unit)


def _milestone(rule: MilestoneRule, case: Case) -> Iterator[Posting]:
    lines = lines_of(rule, case)
    if not lines:
        return
    before = progress_in(case.state.progress, rule) or Progress("", 0)
    if before.mark:
        return
    counted = 1 if rule.measure == "purchases" else sum(line.amount for _, line in lines)
    count = before.total + counted
    is_reached = count >= rule.at
    case.progress[rule.id] = Progress("reached" if is_reached else "", count)
    inputs = {"measure": rule.measure, "at": rule.at, "counted": counted, "count": count}
    points = rule.points if is_reached else 0
    yield Posting(rule.id, "milestone", points, inputs=inputs, unit=rule.unit)


def _streak(rule: StreakRule, case: Case) -> Iterator[Posting]:
    if not lines_of(rule, case):
        return
    day = case.activity.occurred_at.astimezone(case.program.zone).date()
    current, previous = _period(rule.period, day)
    before = progress_in(case.state.progress, rule) or Progress("", 0)
    if before.mark == current:
        return
    count = before.total + 1 if before.mark == previous else 1
    is_reached = count >= rule.n
    case.progress[rule.id] = Progress(current, 0 if is_reached else count)
    inputs = {"period": rule.period, "n": rule.n, "count": count}
    points = rule.points if is_reached else 0
    yield Posting(rule.id, "streak", points, inputs=inputs, unit=rule.unit)


def _period(period: str, day: date) -> tuple[str, str]:
    """The names of a day's period and of the one before, by their first days."""
    if period == "day":
        first = day
    elif period == "week":
        first = day - timedelta(days=day.weekday())
    else:
        first = day.replace(day=1)
    last = first - timedelta(days=1)
    before = {"day": last, "week": first - timedelta(days=7), "month": last.replace(day=1)}[period]
    return first.isoformat(), before.isoformat()


def _journey(rule: JourneyRule, case: Case) -> Iterator[Posting]:
    skus = frozenset(line.sku for _, line in lines_of(rule, case))
    if not skus:
        return
    for glance in case.state.glances:
        if _leads_to(glance, rule, case.activity, skus):
            case.used.add(glance.key)
            hours = (case.activity.occurred_at - glance.at) // timedelta(hours=1)
            inputs = {
                "first": glance.engagement,
                "first_channel": glance.channel,
                "channel": case.activity.channel,
                "hours": hours,
                "within_hours": rule.within_hours,
            }
            yield Posting(rule.id, "journey", rule.points, inputs=inputs, unit=rule.unit)
            return


def _leads_to(glance: Glance, rule: JourneyRule, activity: Activity, skus: frozenset[str]) -> bool:
    return (
        glance.engagement == rule.first
        and (not rule.first_channels or glance.channel in rule.first_channels)
        and not (rule.other_channel and glance.channel == activity.channel)
        and activity.occurred_at - glance.at <= timedelta(hours=rule.within_hours)
        and (not rule.same or not skus.isdisjoint(glance.skus))
    )


def _referral(rule: ReferralRule, case: Case) -> Iterator[Posting]:
    if case.activity.kind == "referral":
        inputs = {"side": "referrer"}
        yield Posting(rule.id, "referral", rule.referrer_points, inputs=inputs, unit=rule.unit)
    elif case.activity.about.is_referred and not case.state.purchases:
        inputs = {"side": "friend"}
        yield Posting(rule.id, "referral", rule.friend_points, inputs=inputs, unit=rule.unit)


_JUDGES: Mapping[type[Rule], Callable[[Any, Case], Iterator[Posting]]] = {
    SpendRule: _spend,
    MultiplierRule: _multiplied,
    ChannelsMultiplierRule: _channels_multiplied,
    FixedRule: _fixed,
    EngagementRule: _engaged,
    NthChannelRule: _nth_channel,
    FirstOnChannelRule: _first_on_channel,
    EveryNthRule: _every_nth,
    MilestoneRule: _milestone,
    StreakRule: _streak,
    JourneyRule: _journey,
    ReferralRule: _referral,
}
