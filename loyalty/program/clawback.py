"""What a return takes back, at the rules of the purchase itself.

The due is rounded once over all that has come back of a purchase so far, so that many small returns
take back exactly what one large one would. When a purchase is wholly undone, bonuses of other
activities that stood on it fall too, unless enough of what they stand on is left.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from loyalty.program.lots import balance_of
from loyalty.program.model import POINTS, Posting, SpendRule
from loyalty.program.money import ROUNDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from loyalty.program.lots import Lots
    from loyalty.program.model import Award, Program, Rule, State, Undone

# The kinds of postings that an activity earned, which a return can take back.
AWARDS = frozenset(
    {
        "spend",
        "multiplier",
        "fixed",
        "engagement",
        "nth_channel",
        "first_on_channel",
        "every_nth",
        "milestone",
        "streak",
        "journey",
        "referral",
    }
)


def clawed_back(
    program: Program, state: State, undone: Undone, *, at: datetime
) -> tuple[Posting, ...]:
    """What leaves, for the purchase and for each bonus that stood on it.

    Args:
        program: the version that ruled the purchase.
        state: the state before the return.
        undone: what comes back.
        at: when.
    """
    postings: list[Posting] = []
    taken: dict[str, int] = {}
    for award in (undone.award, *undone.others):
        left = {
            unit: _left(program, unit, lots, award, at) + taken.get(unit, 0)
            for unit, lots in state.lots.items()
        }
        is_fallen = award is not undone.award
        for posting in _of_award(program, award, left, is_fallen=is_fallen):
            taken[posting.unit] = taken.get(posting.unit, 0) + posting.points
            postings.append(posting)
    return tuple(postings)


def _left(program: Program, unit: str, lots: Lots, award: Award, at: datetime) -> int:
    """What may be taken at most, where the policy has a limit."""
    if program.returns.balance != "only_pending":
        return max(0, balance_of(lots))
    policy = program.units.get(unit)
    if policy is None:
        return 0
    # Of the points that are still pending, those that came in with the award.
    active_at = policy.dates(award.occurred_at, program.zone).active_at
    return sum(lot.points for lot in lots if lot.active_at == active_at > at)


def _of_award(
    program: Program, award: Award, left: dict[str, int], *, is_fallen: bool
) -> Iterator[Posting]:
    policy = program.returns
    units = list(dict.fromkeys([POINTS, *(posting.unit for posting in award.postings)]))
    for unit in units:
        own = [posting for posting in award.postings if posting.unit == unit]
        if not own and (unit != POINTS or len(units) > 1):
            continue
        if is_fallen and not any(posting.rule in award.fallen for posting in own):
            continue
        due_in_all = ROUNDINGS[policy.rounding](_returned_points(program, award, own))
        due = due_in_all - award.due_before.get(unit, 0)
        taken = due
        if policy.balance != "may_go_negative":
            taken = min(due, max(0, left.get(unit, 0)))
        inputs = {
            "purchase": award.key,
            "due": due,
            "awarded": sum(posting.points for posting in own),
            "rounding": policy.rounding,
            "policy": policy.balance,
        }
        if award.is_undone:
            inputs["whole"] = True
        if is_fallen:
            inputs["fallen"] = sorted(award.fallen)
        elif short := _too_short(program, award, own):
            inputs["too_short"] = short
        yield Posting("return", "clawback", -taken, inputs=inputs, unit=unit)


def _returned_points(program: Program, award: Award, postings: Sequence[Posting]) -> Fraction:
    """The exact points that fall on all that has come back so far, this time included."""
    total = Fraction(0)
    for posting in postings:
        rule = program.by_id.get(posting.rule)
        if rule is not None and rule.on_return == "keep":
            continue
        if posting.rule in award.fallen or _falls_whole(rule, award):
            total += posting.points
        elif rule is None or rule.on_return in ("proportional", "while_it_holds"):
            total += posting.points * _share(program, award, posting)
    return total


def _falls_whole(rule: Rule | None, award: Award) -> bool:
    if rule is None:
        return False
    if award.is_undone:
        return True
    if rule.on_return != "while_it_holds":
        return False
    least = rule.amount_min if isinstance(rule, SpendRule) else 0
    if rule.when and rule.when.basket_min:
        least = max(least, rule.when.basket_min)
    return award.amount_left < least


def _too_short(program: Program, award: Award, postings: Sequence[Posting]) -> list[str]:
    """The rules for which the basket that is left is too small."""
    if award.is_undone:
        return []
    return sorted(
        {each.rule for each in postings if _falls_whole(program.by_id.get(each.rule), award)}
    )


def _share(program: Program, award: Award, posting: Posting) -> Fraction:
    """What part of the lines that a posting stands on has come back."""
    everything = range(len(award.weights))
    positions: Sequence[int] = posting.lines or everything
    if program.returns.by == "value" or not any(award.weights[each] for each in positions):
        positions = everything
    weight = sum(award.weights[each] for each in positions)
    back = sum(award.returned[each] for each in positions)
    return Fraction(back, weight) if weight else Fraction(0)
