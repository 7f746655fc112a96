"""The whole loyalty programme: `step(program, state, activity) -> (state, postings)`.

The order of evaluation, each rule within its kind by priority, then as the document has it:

1. what time does by itself: holds run out, points expire, the tier is reviewed;
2. spend rules turn money into points;
3. factors (by product, then by live channels) add to the spend points of their lines;
4. all other rules.

Of a group one rule pays; then each award meets its rule's limits and the campaign's budget
(stacking.py). `step` never refuses: what a member may not do is for `check` to say beforehand, on
the state as it is known then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loyalty.program.awards import LEGS_MAX, Awarded, awarded, progress_in
from loyalty.program.clawback import clawed_back
from loyalty.program.lots import available, awake, earn, give_back, take
from loyalty.program.model import (
    BROWSING,
    POINTS,
    Activity,
    Count,
    EveryNthRule,
    Glance,
    Held,
    MilestoneRule,
    Posting,
    Program,
    Progress,
    Seen,
    State,
    Undone,
)
from loyalty.program.passage import settle, without
from loyalty.program.stacking import period_names
from loyalty.program.tiers import counted, standing_at
from loyalty.program.validity import UnitPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from loyalty.program.lots import Lot, Lots
    from loyalty.program.tiers import Standing

# What is remembered of what a member looked at.
GLANCES_MAX = 20
# Redemptions that are open at the same time.
HOLDS_MAX = 20
_NO_POLICY = UnitPolicy()


class OverdrawnError(Exception):
    """An activity would take more points than there are; the caller names the refusal."""


class TooManyHoldsError(Exception):
    """The member has as many open holds as may be."""


class HoldGoneError(Exception):
    """The hold ran out, or was resolved before."""


def step(program: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """The state after the activity, and the postings that say why.

    Args:
        program: the version that rules at the time of the activity.
        state: the state before; not changed.
        activity: complete in itself.
    """
    state, passed = settle(state, activity.occurred_at)
    standing = _standing(program, state, activity)
    # A state has many parts, and to copy it costs as much as a rule: only where it changes.
    if standing is not state.tier:
        state = replace(state, tier=standing)
    state, postings = _STEPS[activity.kind](program, state, activity)
    last = (activity.occurred_at, activity.key)
    return state if state.last == last else replace(state, last=last), passed + postings


def check(state: State, activity: Activity) -> None:
    """Refuse what the member cannot do, on the state before it.

    Raises:
        OverdrawnError: it takes more points than can be spent.
        HoldGoneError: the hold to resolve is not open.
        TooManyHoldsError: `HOLDS_MAX` are open.
    """
    at, unit = activity.occurred_at, activity.unit
    state, _ = settle(state, at)
    if activity.kind in ("hold", "transfer", "adjustment"):
        points = -activity.points if activity.kind == "adjustment" else activity.points
        there = available(state.lots.get(unit, ()), at)
        if points > 0 and not activity.lots and points > there:
            raise OverdrawnError(f"The balance is {there}.")
    if activity.kind == "hold" and len(state.holds) >= HOLDS_MAX:
        raise TooManyHoldsError
    if activity.kind in ("capture", "release"):
        held = state.holds.get(activity.hold)
        if held is None:
            raise HoldGoneError
        if activity.points > held.points:
            raise OverdrawnError(f"The hold is over {held.points}.")


def points_of(postings: Iterable[Posting], unit: str = POINTS) -> int:
    """What the postings change in all, what time alone did apart."""
    return sum(
        posting.points
        for posting in postings
        if posting.unit == unit and posting.rule not in ("expiry", "hold")
    )


def _standing(program: Program, state: State, activity: Activity) -> Standing | None:
    """Where the member stands when it happens; what another version's ladder said is kept."""
    if program.ladder is None:
        return state.tier
    joined_at = activity.about.joined_at or state.joined_at
    at = activity.occurred_at
    return standing_at(program.ladder, state.tier, at, zone=program.zone, joined_at=joined_at)


def _award(program: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """A purchase, an engagement or a referral."""
    ladder = program.ladder
    by_points = ladder is not None and ladder.measure == "points"
    standing = state.tier if by_points else _counted(program, state, activity, ())
    seen = standing if ladder is not None and ladder.counts_current else state.tier
    tier = seen.tier if ladder is not None and seen is not None else ""
    result = awarded(program, state, activity, tier=tier)
    lots, postings = _earned(program, state.lots, result.postings, activity.occurred_at)
    is_purchase = activity.kind == "purchase"
    progress = result.case.progress
    after = State(
        lots=lots,
        channels=_channels(program, state, activity),
        uses=_uses(state, activity),
        counters=result.tally.counters,
        purchases=state.purchases + is_purchase,
        bought_at=activity.occurred_at if is_purchase else state.bought_at,
        tier=_counted(program, state, activity, postings) if by_points else standing,
        holds=state.holds,
        glances=_glances(program, state, activity, result),
        progress={**state.progress, **progress} if progress else state.progress,
        idle_at=_idle_at(program, state, activity),
        joined_at=activity.about.joined_at or state.joined_at,
        last=(activity.occurred_at, activity.key),
    )
    return after, postings


def _counted(
    program: Program, state: State, activity: Activity, postings: tuple[Posting, ...]
) -> Standing | None:
    """The standing with what the activity counts for."""
    ladder = program.ladder
    if ladder is None or state.tier is None:
        return state.tier
    amount = 0
    if ladder.measure == "points":
        amount = points_of(postings, ladder.unit)
    elif activity.kind == "purchase":
        spent = sum(line.amount for line in activity.lines)
        amount = spent if ladder.measure == "spend" else 1
    if not amount:
        return state.tier
    return counted(
        ladder,
        state.tier,
        amount,
        activity.occurred_at,
        zone=program.zone,
        joined_at=activity.about.joined_at or state.joined_at,
    )


def _earned(
    program: Program, lots: Mapping[str, Lots], postings: tuple[Posting, ...], at: datetime
) -> tuple[Mapping[str, Lots], tuple[Posting, ...]]:
    """The lots with what came in, and the postings with the day from which it can be spent."""
    if not postings:
        return lots, postings
    after = dict(lots)
    told = []
    by_unit: dict[str, Lot] = {}
    for posting in postings:
        unit = posting.unit
        dates = by_unit.get(unit)
        if dates is None:
            dates = program.units.get(unit, _NO_POLICY).dates(at, program.zone)
            by_unit[unit] = dates
        after[unit] = earn(
            after.get(unit, ()),
            posting.points,
            expires_at=dates.expires_at,
            active_at=dates.active_at,
        )
        if dates.active_at > at and posting.points:
            inputs = {**posting.inputs, "pending_until": dates.active_at}
            posting = replace(posting, inputs=inputs)  # noqa: PLW2901  # the same one, told better
        told.append(posting)
    return after, tuple(told)


def _channels(program: Program, state: State, activity: Activity) -> Mapping[str, tuple[Seen, ...]]:
    """The newest uses of each channel. Looking at something is no use of a channel."""
    if activity.engagement in BROWSING or not activity.channel:
        return state.channels
    if not program.has_legs:
        return {**state.channels, activity.channel: (Seen(activity.occurred_at, ""),)}
    seen = Seen(activity.occurred_at, activity.key)
    before = state.channels.get(activity.channel, ())
    return {**state.channels, activity.channel: (seen, *before)[:LEGS_MAX]}


def _uses(state: State, activity: Activity) -> Mapping[str, int]:
    """How often each channel was used, by what still stands. Looking at something is no use."""
    channel = activity.channel
    if activity.engagement in BROWSING or not channel:
        return state.uses
    return {**state.uses, channel: state.uses.get(channel, 0) + 1}


def _glances(
    program: Program, state: State, activity: Activity, result: Awarded
) -> tuple[Glance, ...]:
    """What was looked at, as long as a journey can begin with it and nobody bought it."""
    journeys = program.journeys
    if not journeys:
        return ()
    if activity.kind == "purchase":
        bought = result.case.skus
        left = (
            glance._replace(skus=tuple(sku for sku in glance.skus if sku not in bought))
            for glance in state.glances
            if glance.key not in result.case.used
        )
        return tuple(glance for glance in left if glance.skus)
    if not any(rule.first == activity.engagement for rule in journeys):
        return state.glances
    glance = Glance(
        activity.occurred_at, activity.key, activity.engagement, activity.channel, activity.skus
    )
    return (glance, *state.glances)[:GLANCES_MAX]


def _idle_at(program: Program, state: State, activity: Activity) -> Mapping[str, datetime]:
    """When what is there expires if nothing more happens."""
    if not (program.idling or state.idle_at):
        return state.idle_at
    ends = {
        unit: ends_at
        for unit, expiry in program.idling.items()
        if (ends_at := expiry.idle_at(activity.occurred_at, program.zone))
    }
    # A unit that is not of this programme is none of its business.
    others = {unit: at for unit, at in state.idle_at.items() if unit not in program.units}
    return {**others, **ends}


def _idle_anew(program: Program, state: State, activity: Activity) -> Mapping[str, datetime]:
    """The same where it has run out, or never began: what comes in then is not lost at once."""
    at = activity.occurred_at
    over = {unit: ends_at for unit, ends_at in state.idle_at.items() if ends_at > at}
    return {**_idle_at(program, state, activity), **over}


def _return(
    program: Program, state: State, activity: Activity
) -> tuple[State, tuple[Posting, ...]]:
    undone = activity.undone
    if undone is None:
        # The purchase is a mistake that was reversed: there is nothing left to take back.
        return state, ()
    postings = clawed_back(program, state, undone, at=activity.occurred_at)
    lots = dict(state.lots)
    at = activity.occurred_at
    earned_at = {each.key: each.occurred_at for each in (undone.award, *undone.others)}
    for posting in postings:
        unit = posting.unit
        policy = program.units.get(unit, _NO_POLICY)
        dates = policy.dates(earned_at[posting.inputs["purchase"]], program.zone)
        (own,) = awake((dates,), at=at)
        if posting.points < 0:
            lots[unit], _ = take(lots.get(unit, ()), -posting.points, at=at, first=own)
        else:
            lots[unit] = give_back(lots.get(unit, ()), [own._replace(points=posting.points)])
    state = replace(state, lots=lots, tier=_uncounted(program, state, activity, postings))
    return _forgotten(program, state, undone) if undone.is_last else state, postings


def _uncounted(
    program: Program, state: State, activity: Activity, postings: tuple[Posting, ...]
) -> Standing | None:
    """The standing without what was returned, if the ladder looks at returns."""
    ladder, undone = program.ladder, activity.undone
    if ladder is None or undone is None or state.tier is None or ladder.on_return == "keep":
        return state.tier
    amounts = {
        "points": points_of(postings, ladder.unit),
        "spend": -undone.amount,
        "purchases": -1 if undone.is_last else 0,
    }
    return counted(
        ladder,
        state.tier,
        amounts[ladder.measure],
        activity.occurred_at,
        zone=program.zone,
        joined_at=activity.about.joined_at or state.joined_at,
        on=undone.award.occurred_at,
    )


def _forgotten(program: Program, state: State, undone: Undone) -> State:
    """The state as if the purchase had not been made, as far as counts and channels go."""
    award = undone.award
    channels = {
        channel: tuple(each for each in seen if each.key != award.key)
        for channel, seen in state.channels.items()
    }
    return replace(
        state,
        purchases=max(0, state.purchases - 1),
        channels={channel: seen for channel, seen in channels.items() if seen},
        uses={**state.uses, award.channel: max(0, state.uses.get(award.channel, 0) - 1)},
        counters=_uncount(program, state, undone),
        progress=_unprogress(program, state, undone),
    )


def _uncount(program: Program, state: State, undone: Undone) -> Mapping[str, Mapping[str, Count]]:
    """The counts of limited rules without what the purchase was paid, in its own periods."""
    counters = dict(state.counters)
    names = period_names(program, undone.award.occurred_at)
    for posting in undone.award.postings:
        if posting.rule in counters and posting.points:
            counters[posting.rule] = {
                period: Count(count.period, count.times - 1, count.points - posting.points)
                if count.period == names[period]
                else count
                for period, count in counters[posting.rule].items()
            }
    return counters


def _unprogress(program: Program, state: State, undone: Undone) -> Mapping[str, Progress]:
    """The progress of counting rules without what the purchase counted."""
    progress = dict(state.progress)
    for posting in undone.award.postings:
        rule = program.by_id.get(posting.rule)
        before = progress_in(progress, rule) if rule else None
        if before is None or "counted" not in posting.inputs:
            continue
        count = max(0, before.total - posting.inputs["counted"])
        mark = before.mark
        if isinstance(rule, EveryNthRule):
            mark = str(max(0, int(mark) - posting.inputs["due"]))
        elif isinstance(rule, MilestoneRule) and posting.points:
            mark = ""
        progress[posting.rule] = Progress(mark, count)
    return progress


def _adjustment(
    program: Program, state: State, activity: Activity
) -> tuple[State, tuple[Posting, ...]]:
    unit, points = activity.unit, activity.points
    lots = dict(state.lots)
    if points < 0:
        lots[unit], _ = take(lots.get(unit, ()), -points, at=activity.occurred_at)
    else:
        dates = program.units.get(unit, _NO_POLICY).dates(activity.occurred_at, program.zone)
        # What a person gives by hand can be spent at once.
        lots[unit] = earn(lots.get(unit, ()), points, expires_at=dates.expires_at)
    posting = Posting("adjustment", "adjustment", points, unit=unit)
    idle_at = _idle_anew(program, state, activity) if points > 0 else state.idle_at
    return replace(state, lots=lots, idle_at=idle_at), (posting,)


def _hold(_: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """Points set aside: they count as gone at once."""
    unit, at = activity.unit, activity.occurred_at
    left, taken = take(state.lots.get(unit, ()), activity.points, at=at)
    expires_at = activity.expires_at or at
    held = Held(activity.points, unit, taken, expires_at)
    inputs = {"hold": activity.key, "expires_at": expires_at, "lots": _told(taken)}
    posting = Posting("redemption", "hold", -activity.points, inputs=inputs, unit=unit)
    holds = {**state.holds, activity.key: held}
    return replace(state, lots={**state.lots, unit: left}, holds=holds), (posting,)


def _capture(_: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """A hold becomes a redemption; what of it is not needed goes back to its lots."""
    held = state.holds.get(activity.hold)
    if held is None:
        return state, ()
    rest, used = take(held.lots, activity.points)
    inputs = {
        "hold": activity.hold,
        "held": held.points,
        "captured": activity.points,
        "lots": _told(used),
    }
    back = held.points - activity.points
    posting = Posting("redemption", "capture", back, inputs=inputs, unit=held.unit)
    return _resolved(state, activity.hold, held, rest), (posting,)


def _release(_: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    held = state.holds.get(activity.hold)
    if held is None:
        return state, ()
    inputs = {"hold": activity.hold, "held": held.points}
    posting = Posting("redemption", "release", held.points, inputs=inputs, unit=held.unit)
    return _resolved(state, activity.hold, held, held.lots), (posting,)


def _resolved(state: State, key: str, held: Held, back: Lots) -> State:
    lots = give_back(state.lots.get(held.unit, ()), back)
    return replace(state, lots={**state.lots, held.unit: lots}, holds=without(state.holds, key))


def _restore(_: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """A redemption is undone: its points go back to the lots that they came from."""
    return _came_in(state, activity, "restore", {"hold": activity.hold})


def _transfer(
    program: Program, state: State, activity: Activity
) -> tuple[State, tuple[Posting, ...]]:
    """Points go to another member, or come from one, with the dates that they had."""
    if activity.lots:
        state = replace(state, idle_at=_idle_anew(program, state, activity))
        return _came_in(state, activity, "transfer", {})
    unit = activity.unit
    left, taken = take(state.lots.get(unit, ()), activity.points, at=activity.occurred_at)
    inputs = {"lots": _told(taken)}
    posting = Posting("transfer", "transfer", -activity.points, inputs=inputs, unit=unit)
    return replace(state, lots={**state.lots, unit: left}), (posting,)


def _came_in(
    state: State, activity: Activity, kind: str, inputs: dict[str, Any]
) -> tuple[State, tuple[Posting, ...]]:
    """Lots that come with their dates; those that have run out in the meantime leave at once."""
    unit = activity.unit
    lots = give_back(state.lots.get(unit, ()), activity.lots)
    points = sum(lot.points for lot in activity.lots)
    posting = Posting(
        kind, kind, points, inputs={**inputs, "lots": _told(activity.lots)}, unit=unit
    )
    state, passed = settle(replace(state, lots={**state.lots, unit: lots}), activity.occurred_at)
    return state, (posting, *passed)


def _redate(
    program: Program, state: State, activity: Activity
) -> tuple[State, tuple[Posting, ...]]:
    """Lots are dated anew by another policy; no points move."""
    lots = dict(state.lots)
    at = activity.occurred_at
    for unit, (newer, older) in activity.redating.items():
        dated = [newer.redated(lot, older, at=at, zone=program.zone) for lot in lots.get(unit, ())]
        lots[unit] = give_back((), dated) if dated and dated[0].points > 0 else tuple(dated)
    changed = [unit for unit in activity.redating if lots[unit] != state.lots.get(unit, ())]
    postings = tuple(
        Posting("redate", "redate", 0, inputs={"lots": _told(lots[unit])}, unit=unit)
        for unit in changed
    )
    return replace(state, lots=lots), postings


def _passage(_: Program, state: State, activity: Activity) -> tuple[State, tuple[Posting, ...]]:
    """Nothing but time: what it does has been done."""
    del activity
    return state, ()


def _told(lots: Lots) -> list[list[Any]]:
    return [list(lot) for lot in lots]


_STEPS: Mapping[str, Callable[[Program, State, Activity], tuple[State, tuple[Posting, ...]]]] = {
    "purchase": _award,
    "engagement": _award,
    "referral": _award,
    "return": _return,
    "adjustment": _adjustment,
    "hold": _hold,
    "capture": _capture,
    "release": _release,
    "restore": _restore,
    "transfer": _transfer,
    "redate": _redate,
    "passage": _passage,
}
