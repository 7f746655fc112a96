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

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.program.lots import NEVER, earn, expire, expiry_after_months, spend
from loyalty.program.model import (
    PERIODS,
    Activity,
    ChannelsMultiplierRule,
    EngagementRule,
    FirstOnChannelRule,
    FixedRule,
    Line,
    Match,
    MultiplierRule,
    NthChannelRule,
    Posting,
    Program,
    Rule,
    SpendRule,
    State,
    Undone,
)
from loyalty.program.money import ROUNDINGS, share

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
    return replace(state, lots=lots), expired + postings


def points_of(postings: tuple[Posting, ...]) -> int:
    """What the postings change in all, expired points apart."""
    return sum(posting.points for posting in postings if posting.kind != "expiry")


def _expired(state: State, at: datetime) -> tuple[State, tuple[Posting, ...]]:
    lots, points = expire(state.lots, at=at)
    if not points:
        return state, ()
    return replace(state, lots=lots), (Posting("expiry", "expiry", -points),)


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
    alive: Mapping[str, datetime]
    parts: list[_SpendPart]


def _awards(program: Program, state: State, activity: Activity) -> Iterator[Posting]:
    alive = {**state.channels, activity.channel: activity.occurred_at}
    case = _Case(state, activity, alive, [])
    for rule in program.rules:
        if _is_about(rule, activity):
            yield from _JUDGES[type(rule)](rule, case)


def _is_about(rule: Rule, activity: Activity) -> bool:
    """Whether channel and store fit; products are looked at line by line."""
    only, excluding = rule.only, rule.excluding
    return (
        (not only.channels or activity.channel in only.channels)
        and (not only.stores or activity.store in only.stores)
        and activity.channel not in excluding.channels
        and activity.store not in excluding.stores
    )


def _lines(rule: Rule, activity: Activity) -> list[tuple[int, Line]]:
    """The lines that a rule is about, with their positions."""
    only, excluding = rule.only, rule.excluding
    if not only.names_products and not excluding.names_products:
        return list(enumerate(activity.lines))
    return [
        (position, line)
        for position, line in enumerate(activity.lines)
        if _names(only, line, default=True) and not _names(excluding, line, default=False)
    ]


def _names(match: Match, line: Line, *, default: bool) -> bool:
    """Whether any of the sets names the line; `default` if there is no set at all."""
    if not match.names_products:
        return default
    return (
        line.sku in match.skus
        or line.brand in match.brands
        or any(is_within(line.category, category) for category in match.categories)
    )


def is_within(category: str, ancestor: str) -> bool:
    """Whether a category path is the other one or below it: `Dairy/Milk` is within `Dairy`."""
    return category == ancestor or category.startswith(f"{ancestor}/")


def _spend(rule: SpendRule, case: _Case) -> Iterator[Posting]:
    activity = case.activity
    if not activity.lines:
        return
    if sum(_worth(rule, line) for line in activity.lines) < rule.amount_min:
        return
    lines = _lines(rule, activity)
    by_line = _basis_by_line(rule, lines, activity)
    shipping = activity.shipping_amount if rule.basis.shipping_earns else 0
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
    rounded = ROUNDINGS[rule.rounding]
    if rule.per == "line":
        return sum(rounded(Fraction(amount * rule.points, rule.per_amount)) for amount in amounts)
    if rule.rounding == "floor":
        return basis * rule.points // rule.per_amount
    return rounded(Fraction(basis * rule.points, rule.per_amount))


def _worth(rule: SpendRule, line: Line) -> int:
    worth = line.amount
    if rule.basis.with_tax:
        worth += line.tax
    if rule.basis.before_discounts:
        worth += line.discount
    return worth


def _basis_by_line(
    rule: SpendRule, lines: list[tuple[int, Line]], activity: Activity
) -> dict[int, int]:
    """What of each line counts; payments that earn nothing are taken off in proportion."""
    worth = {position: _worth(rule, line) for position, line in lines}
    basis, payment = rule.basis, activity.payment
    excluded = 0 if basis.gift_cards_earn else payment.gift_card_amount
    excluded += 0 if basis.points_payments_earn else payment.points_amount
    if not excluded:
        return worth
    total = sum(_worth(rule, line) for line in activity.lines) + activity.shipping_amount
    excluded = min(excluded, total)
    return {
        position: amount - share(amount, of=excluded, total=total)
        for position, amount in worth.items()
    }


def _positions(lines: list[tuple[int, Line]], activity: Activity) -> tuple[int, ...]:
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
    lines = _lines(rule, activity)
    base: Fraction | int = 0
    for part in case.parts:
        if len(lines) == len(activity.lines):
            base += part.points
        elif part.basis:
            covered = sum(part.basis_by_line.get(position, 0) for position, _ in lines)
            base += Fraction(part.points * covered, part.basis)
    points = ROUNDINGS[rule.rounding](base * (rule.factor - 1))
    if points:
        factor = f"{float(rule.factor):g}"
        inputs = {"base": str(base), "factor": factor, "rounding": rule.rounding, **why}
        yield Posting(rule.id, "multiplier", points, _positions(lines, activity), inputs)


def _fixed(rule: FixedRule, case: _Case) -> Iterator[Posting]:
    lines = _lines(rule, case.activity)
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
    limits = {rule.id: rule.times_max for rule in program.rules if rule.times_max}
    if not limits:
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
    paid = {posting.rule for posting in postings}
    limited = [rule for rule in program.rules if rule.times_max and rule.id in paid]
    if not limited:
        return replace(state, channels=channels)
    names = _period_names(program, activity.occurred_at)
    counters = dict(state.counters)
    for rule in limited:
        counters[rule.id] = {
            period: _counted(state, rule.id, period, names[period]) for period in rule.times_max
        }
    return replace(state, channels=channels, counters=counters)


def _counted(state: State, rule_id: str, period: str, name: str) -> tuple[str, int]:
    counted_in, _ = state.counters.get(rule_id, {}).get(period, ("", 0))
    return max(counted_in, name), _count(state, rule_id, period, name) + 1


def _adjustment(state: State, activity: Activity) -> tuple[Posting, ...]:
    if state.balance + activity.points < 0 > activity.points:
        raise OverdrawnError
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
