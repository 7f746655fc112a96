"""The catalogue of rewards: what a member may take now, and why not the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.catalogue.service import checked_lines
from loyalty.members.model import MemberNotFoundError
from loyalty.program.lots import available
from loyalty.program.model import PERIODS, State
from loyalty.program.passage import settle
from loyalty.program.tiers import standing_at
from loyalty.rewards.model import Reward, Taker, objection, period_start
from loyalty.rewards.schemas import RewardSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from loyalty.journal.drafts import Stores
    from loyalty.program.model import Period, Program
    from loyalty.rewards.model import Reason
    from loyalty.rewards.store import RewardStore

_REWARD = RewardSchema()
_SETS = ("tiers", "channels", "stores")


class Offered(NamedTuple):
    """A reward, how many are left of it, and why it cannot be taken, if so."""

    reward: Reward
    left: int | None
    reason: Reason | None


class Asked(NamedTuple):
    """What to list: for whom and where, what cannot be taken too or not."""

    channel: str | None = None
    store: str | None = None
    member_id: str | None = None
    all: bool = False


class Page(NamedTuple):
    """Rewards, and the position in the catalogue where the next page begins; None at its end."""

    rewards: list[Offered]
    next: int | None


def put_rewards(lines: Iterable[bytes], *, rewards: RewardStore) -> int:
    """Insert or replace rewards; how many.

    Raises:
        InvalidLinesError: with the line and the field of each mistake; nothing was written.
        TooManyRewardsError: there would be more than can be listed; nothing was written.
    """
    documents = checked_lines(lines, _REWARD).values()
    put = [reward_of(each) for each in documents]
    rewards.put(put)
    return len(put)


def look_at(reward_id: str, *, at: datetime, rewards: RewardStore) -> Offered:
    """A reward, how many are left, and why nobody can take it now, if so.

    Raises:
        RewardNotFoundError: the catalogue lacks it.
    """
    reward = rewards.get(reward_id)
    left = rewards.left([reward], at=at).get(reward_id)
    return Offered(reward, left, objection(reward, at=at, left=left))


def reward_of(document: Mapping[str, Any]) -> Reward:
    """The reward of a document that loaded."""
    sets = {name: frozenset(document[name]) for name in _SETS}
    return Reward(**{**document, **sets})


def list_rewards(
    asked: Asked, *, at: datetime, after: int, limit: int, stores: Stores, rewards: RewardStore
) -> Page:
    """A page of what may be taken, by id; with `all` the rest too, each with its reason.

    Args:
        asked: for whom and where.
        at: now.
        after: the position in the catalogue after which to begin.
        limit: how many at most.
        stores: to read the member's tier and points from.
        rewards: the catalogue.

    Raises:
        MemberNotFoundError: there is no such member.
        NoProgramError: a member is named and no programme is published.
    """
    catalogue = rewards.all()
    rest = catalogue[after:]
    taker = _taker(asked.member_id, rest, at, stores, rewards) if asked.member_id else None
    left = rewards.left(rest, at=at)
    listed: list[Offered] = []
    for position, offered in enumerate(_judged(rest, asked, at, taker, left), start=after + 1):
        if asked.all or offered.reason is None:
            listed.append(offered)
        if len(listed) == limit:
            return Page(listed, position if position < len(catalogue) else None)
    return Page(listed, None)


def _judged(
    catalogue: Sequence[Reward],
    asked: Asked,
    at: datetime,
    taker: Taker | None,
    left: Mapping[str, int],
) -> Iterator[Offered]:
    for reward in catalogue:
        reason = objection(
            reward,
            at=at,
            channel=asked.channel,
            store=asked.store,
            taker=taker,
            left=left.get(reward.id),
        )
        yield Offered(reward, left.get(reward.id), reason)


def _taker(
    member_id: str,
    catalogue: Sequence[Reward],
    at: datetime,
    stores: Stores,
    rewards: RewardStore,
) -> Taker:
    program = stores.programs.at(at)
    taker = taker_of(member_id, program, at, stores)
    taken = rewards.taken(member_id, catalogue, since=period_starts(program, at), at=at)
    return replace(taker, taken=taken)


def taker_of(member_id: str, program: Program, at: datetime, stores: Stores) -> Taker:
    """The member's tier and points as of a moment.

    Raises:
        MemberNotFoundError: there is no such member.
    """
    head = stores.journal.head(member_id)
    if head is None and not stores.members.exists(member_id):
        raise MemberNotFoundError
    state, _ = settle(head.state if head else State(), at)
    points = {unit: available(lots, at) for unit, lots in state.lots.items()}
    return Taker(_tier(member_id, state, program, at, stores), points)


def _tier(
    member_id: str, state: State, program: Program, at: datetime, stores: Stores
) -> str | None:
    ladder = program.ladder
    if ladder is None:
        return None
    is_yearly = ladder.period == "anniversary"
    joined_at = stores.members.about(member_id).joined_at if is_yearly else None
    return standing_at(ladder, state.tier, at, zone=program.zone, joined_at=joined_at).tier


def period_starts(program: Program, at: datetime) -> dict[Period, datetime]:
    """When each period around a moment began, in the programme's time zone."""
    return {period: period_start(period, at, program.zone) for period in PERIODS}
