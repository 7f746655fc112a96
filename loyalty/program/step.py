"""The whole loyalty programme: `step(program, state, activity) -> (state, postings)`.

Rules are evaluated in a stated order, each within its kind in the order of the document:

1. points that have expired by the time of the activity leave;
2. spend rules turn money into points;
3. multipliers (by product, then by live channels) add to the spend points of their lines; each
   looks at the spend points alone, so several add up and their order does not matter;
4. fixed points; engagement points; channel bonuses.

A rule's `times_max` limits how often it pays a member in a day, week, month (of the programme's
time zone) or lifetime. An activity older than the newest counted period counts into that one.
"""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.program.lots import NEVER, earn, expire, expiry_after_months, spend
from loyalty.program.model import (
    PERIODS,
    Activity,
    Basis,
    ChannelsMultiplierRule,
    EngagementRule,
    FirstOnChannelRule,
    FixedRule,
    Line,
    MultiplierRule,
    NthChannelRule,
    Numbered,
    Payment,
    Posting,
    Program,
    Rule,
    SpendRule,
    State,
    Undone,
)
from loyalty.program.money import ROUNDINGS, rounded, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from loyalty.program.lots import Lots


class OverdrawnError(Exception):
    """An activity would take more points than there are; the caller names the refusal."""


def step(program: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """The state after the activity, and the postings that say why.

    Args:
        program: the version that rules at the time of the activity.
        state: the state before; not changed.
        activity: complete in itself.

    Raises:
        OverdrawnError: a manual adjustment below zero points.
    """
    state, expired = _expired(state, activity.occurred_at)
    if activity.kind == "return":
        postings = _clawback(program, state, activity)
    elif activity.kind == "adjustment":
        postings = _adjustment(state, activity)
    else:
        postings = _limited(program, state, tuple(_awards(program, state, activity)), activity)
        state = _remember(program, state, activity, postings)
    lots = _move(program, state, postings, activity.occurred_at)
    return State(lots, state.channels, state.counters), expired + postings


def points_of(postings: tuple[Posting, ...]) -> int:
    """What the postings change in all, expired points apart."""
    return sum(posting.points for posting in postings if posting.kind != "expiry")


def _expired(state: State, at: datetime) -> tuple[State, tuple[Posting, ...]]:
    lots, points = expire(state.lots, at=at)
    if not points:
        return state, ()
    return State(lots, state.channels, state.counters), (Posting("expiry", "expiry", -points),)


def _move(program: Program, state: State, postings: tuple[Posting, ...], at: datetime) -> Lots:
    points = points_of(postings)
    if points < 0:
        return spend(state.lots, -points)
    if points == 0:
        return state.lots
    months = program.expires_after_months
    expires_at = expiry_after_months(at, months, program.zone) if months else NEVER
    return earn(state.lots, points, expires_at=expires_at)


class _SpendPart(NamedTuple):
    """What one spend rule gave: its points and the basis they stand on, line by line."""

    points: int
    basis_by_line: Mapping[int, int]
    basis: int


class _Case(NamedTuple):
    """One activity being judged: what the rules look at, and the spend parts found so far."""

    state: State
    activity: Activity
    lines: tuple[Numbered, ...]
    alive: Mapping[str, datetime]
    parts: list[_SpendPart]


def _awards(program: Program, state: State, activity: Activity) -> Iterator[Posting]:
    alive = {**state.channels, activity.channel: activity.occurred_at}
    case = _Case(state, activity, tuple(enumerate(activity.lines)), alive, [])
    for rule in program.rules_by_channel.get(activity.channel, ()):
        if _is_about(rule, activity):
            yield from _JUDGES[type(rule)](rule, case)


def _is_about(rule: Rule, activity: Activity) -> bool:
    """Whether the store fits; the channel does already, and products are looked at by line."""
    only, excluding = rule.only.stores, rule.excluding.stores
    return (not only or activity.store in only) and activity.store not in excluding


def _lines(rule: Rule, case: _Case) -> Sequence[Numbered]:
    """The lines that a rule is about, with their positions."""
    only, excluding = rule.only, rule.excluding
    lines: Sequence[Numbered] = case.lines
    if only.names_products:
        lines = only.named(lines)
    if excluding.names_products:
        left_out = {position for position, _ in excluding.named(lines)}
        lines = [pair for pair in lines if pair[0] not in left_out]
    return lines


def _spend(rule: SpendRule, case: _Case) -> Iterator[Posting]:
    activity = case.activity
    lines = _lines(rule, case)
    if not lines:
        return
    if rule.amount_min and rule.amount_min > sum(_worth(rule, line) for line in activity.lines):
        return
    by_line, shipping = _basis(rule, lines, activity)
    basis = sum(by_line.values()) + shipping
    points = _spend_points(rule, [*by_line.values(), shipping], basis)
    case.parts.append(_SpendPart(points, by_line, basis))
    inputs = {
        "basis": basis,
        "points": rule.points,
        "per_amount": rule.per_amount,
        "rounding": rule.rounding,
        "per": rule.per,
    }
    if points:
        yield Posting(rule.id, "spend", points, _positions(lines, activity), inputs)


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
    """What counts of each line and of the shipping, without payments that earn nothing.

    Such a payment covers tax and shipping too, so all that was charged loses the same share.
    """
    worth = {position: _worth(rule, line) for position, line in lines}
    shipping = activity.shipping_amount if rule.basis.shipping_earns else 0
    excluded = _excluded(rule.basis, activity.payment)
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


def _excluded(basis: Basis, payment: Payment) -> int:
    excluded = 0 if basis.gift_cards_earn else payment.gift_card_amount
    return excluded + (0 if basis.points_payments_earn else payment.points_amount)


def _positions(lines: Sequence[Numbered], activity: Activity) -> tuple[int, ...]:
    """The positions, or nothing if they are all of them."""
    if len(lines) == len(activity.lines):
        return ()
    return tuple(position for position, _ in lines)


def _multiplied(rule: MultiplierRule, case: _Case) -> Iterator[Posting]:
    yield from _times(rule, case, {})


def _channels_multiplied(rule: ChannelsMultiplierRule, case: _Case) -> Iterator[Posting]:
    count = _alive(case.alive, case.activity.occurred_at, rule.window_days)
    if count >= rule.channels_min:
        yield from _times(rule, case, {"channels_alive": count})


def _times(
    rule: MultiplierRule | ChannelsMultiplierRule, case: _Case, why: Mapping[str, int]
) -> Iterator[Posting]:
    """What multiplying the spend points of the rule's lines adds."""
    activity = case.activity
    lines = _lines(rule, case)
    base: Fraction | int = 0
    for part in case.parts:
        if len(lines) == len(activity.lines):
            base += part.points
        elif part.basis:
            covered = sum(part.basis_by_line.get(position, 0) for position, _ in lines)
            base += Fraction(part.points * covered, part.basis)
    extra = rule.extra
    numerator, denominator = base.numerator * extra.numerator, base.denominator * extra.denominator
    points = rounded(numerator, denominator, rule.rounding)
    if points:
        inputs = {
            "base": str(base),
            "factor": rule.factor_text,
            "rounding": rule.rounding,
            **why,
        }
        yield Posting(rule.id, "multiplier", points, _positions(lines, activity), inputs)


def _fixed(rule: FixedRule, case: _Case) -> Iterator[Posting]:
    lines = _lines(rule, case)
    counts = {
        "unit": sum(line.quantity for _, line in lines),
        "line": len(lines),
        "basket": min(1, len(lines)),
    }
    count = counts[rule.per]
    if count:
        inputs = {"points": rule.points, "count": count, "per": rule.per}
        positions = _positions(lines, case.activity)
        yield Posting(rule.id, "fixed", count * rule.points, positions, inputs)


def _engaged(rule: EngagementRule, case: _Case) -> Iterator[Posting]:
    if case.activity.engagement == rule.engagement:
        inputs = {"engagement": rule.engagement}
        yield Posting(rule.id, "engagement", rule.points, inputs=inputs)


def _alive(channels: Mapping[str, datetime], at: datetime, window_days: int) -> int:
    """How many channels had their last activity within the window before `at`."""
    since = at - timedelta(days=window_days)
    return sum(last_at >= since for last_at in channels.values())


def _nth_channel(rule: NthChannelRule, case: _Case) -> Iterator[Posting]:
    activity = case.activity
    before = _alive(case.state.channels, activity.occurred_at, rule.window_days)
    after = _alive(case.alive, activity.occurred_at, rule.window_days)
    if before < after == rule.n:
        inputs = {"n": rule.n, "window_days": rule.window_days, "channel": activity.channel}
        yield Posting(rule.id, "nth_channel", rule.points, inputs=inputs)


def _first_on_channel(rule: FirstOnChannelRule, case: _Case) -> Iterator[Posting]:
    channel = case.activity.channel
    if channel not in case.state.channels:
        yield Posting(rule.id, "first_on_channel", rule.points, inputs={"channel": channel})


_JUDGES: Mapping[type[Rule], Callable[[Any, _Case], Iterator[Posting]]] = {
    SpendRule: _spend,
    MultiplierRule: _multiplied,
    ChannelsMultiplierRule: _channels_multiplied,
    FixedRule: _fixed,
    EngagementRule: _engaged,
    NthChannelRule: _nth_channel,
    FirstOnChannelRule: _first_on_channel,
}


def _limited(
    program: Program, state: State, postings: tuple[Posting, ...], activity: Activity
) -> tuple[Posting, ...]:
    """The postings without those of rules that have paid often enough."""
    limits = program.limited_rules
    if not any(posting.rule in limits for posting in postings):
        return postings
    names = _period_names(program, activity.occurred_at)
    return tuple(
        posting
        for posting in postings
        if posting.rule not in limits
        or all(
            _count(state, posting.rule, period, names[period]) < most
            for period, most in limits[posting.rule].items()
        )
    )


def _count(state: State, rule_id: str, period: str, name: str) -> int:
    counted_in, count = state.counters.get(rule_id, {}).get(period, ("", 0))
    return count if counted_in >= name else 0


def _period_names(program: Program, at: datetime) -> dict[str, str]:
    """The names of the periods around a moment; later periods have greater names."""
    day = at.astimezone(program.zone).date()
    year, week, _ = day.isocalendar()
    names = (day.isoformat(), f"{year:04}-W{week:02}", f"{day:%Y-%m}", "lifetime")
    return dict(zip(PERIODS, names, strict=True))


def _remember(
    program: Program, state: State, activity: Activity, postings: tuple[Posting, ...]
) -> State:
    """The state with the channel's last activity and the counters of limited rules."""
    last_at = state.channels.get(activity.channel)
    at = activity.occurred_at if last_at is None else max(last_at, activity.occurred_at)
    channels = {**state.channels, activity.channel: at}
    limits = program.limited_rules
    paid = [posting.rule for posting in postings if posting.rule in limits]
    if not paid:
        return State(state.lots, channels, state.counters)
    names = _period_names(program, activity.occurred_at)
    counters = dict(state.counters)
    for rule in paid:
        counters[rule] = {
            period: _counted(state, rule, period, names[period]) for period in limits[rule]
        }
    return State(state.lots, channels, counters)


def _counted(state: State, rule_id: str, period: str, name: str) -> tuple[str, int]:
    counted_in, _ = state.counters.get(rule_id, {}).get(period, ("", 0))
    return max(counted_in, name), _count(state, rule_id, period, name) + 1


def _adjustment(state: State, activity: Activity) -> tuple[Posting, ...]:
    if state.balance + activity.points < 0 > activity.points:
        raise OverdrawnError(f"The balance is {state.balance}.")
    return (Posting("adjustment", "adjustment", activity.points),)


def _clawback(program: Program, state: State, activity: Activity) -> tuple[Posting, ...]:
    """What a return takes back, at the rate of the purchase itself.

    The due is rounded once over all returns of the purchase so far, so that many small returns
    take back exactly what one large one would.
    """
    undone = activity.undone
    if undone is None:
        raise ValueError("a return needs the purchase it undoes")
    due_in_all = ROUNDINGS[program.returns.rounding](_returned_points(undone))
    due = due_in_all - undone.clawback_due_before
    taken = due
    if program.returns.balance == "within_balance":
        taken = min(due, max(0, state.balance))
    inputs = {
        "purchase": undone.purchase_key,
        "due": due,
        "awarded": points_of(undone.postings),
        "rounding": program.returns.rounding,
        "policy": program.returns.balance,
    }
    return (Posting("return", "clawback", -taken, inputs=inputs),)


def _returned_points(undone: Undone) -> Fraction:
    """The exact points that fall on all that was returned so far, this time included."""
    returned = [
        before + now
        for before, now in zip(undone.returned_before, undone.returned_now, strict=True)
    ]
    everything = range(len(undone.weights))
    total = Fraction(0)
    for posting in undone.postings:
        positions: Sequence[int] = posting.lines or everything
        if not any(undone.weights[position] for position in positions):
            positions = everything
        weight = sum(undone.weights[position] for position in positions)
        back = sum(returned[position] for position in positions)
        if posting.kind != "expiry" and weight:
            total += Fraction(posting.points * back, weight)
    return total
