"""Redeem points in two steps: hold them, then capture or release what is held.

The journal is the only truth. A hold is an entry; its capture and its release share one key, so
the journal's unique index lets exactly one of them in; so does the key of its undoing. A hold that
nobody resolves expires by itself, because the state says so when it is next read. (The two phases
are those of TigerBeetle's pending transfers: resolved at most once, in full or in part.)
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.access.model import speak_for
from loyalty.consent.model import ConsentRequiredError
from loyalty.journal.drafts import replay
from loyalty.journal.late import resolution_key
from loyalty.journal.model import (
    HoldResolvedError,
    InsufficientPointsError,
    MemberBusyError,
    key_of,
)
from loyalty.journal.service import ruling
from loyalty.kit.errors import ConflictError, FieldError, NotFoundError
from loyalty.kit.idempotency import KeyReusedError
from loyalty.program.lots import available
from loyalty.program.model import POINTS
from loyalty.rewards import payment, pool
from loyalty.rewards.entries import (
    Desk,
    captured_of,
    holds,
    parts_for,
    parts_of,
    resolutions,
    undoing_key,
    undoings,
    write,
)
from loyalty.rewards.model import (
    CaptureExceedsHoldError,
    NotCapturedError,
    RedemptionNotFoundError,
    RewardIndivisibleError,
)
from loyalty.rewards.orders import Order, Wanted, mark_of, member_of, wanted
from loyalty.rewards.service import period_starts
from loyalty.rewards.store import Taking

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.journal.drafts import Draft, Recorded, Stores
    from loyalty.journal.model import Entry
    from loyalty.rewards.entries import Also, Part
    from loyalty.rewards.model import Reward
    from loyalty.rewards.orders import Redeeming

# How often a pool is counted anew because somebody spent of it in between.
POOL_ATTEMPTS_MAX = 20
_TICK = timedelta(milliseconds=1)


class Redemption(NamedTuple):
    """A hold and what became of it: the entry of its capture or release, and of its undoing."""

    held: Entry
    resolution: Entry | None = None
    undoing: Entry | None = None
    is_replay: bool = False

    @property
    def points(self) -> int:
        """The points that were held, all members' together."""
        points: int = self.held.activity["held"]
        return points

    @property
    def captured(self) -> int:
        """The points that were taken for good; 0 if they came back."""
        return 0 if self.undoing or not self.resolution else self.resolution.activity["captured"]

    @property
    def unit(self) -> str:
        """What kind of points."""
        unit: str = self.held.activity.get("unit", POINTS)
        return unit

    @property
    def expires_at(self) -> datetime:
        """When the points come or came back by themselves."""
        expires_at: datetime = self.held.activity["expires_at"]
        return expires_at

    @property
    def parts(self) -> list[Part]:
        """Whose points they are, the taker's first."""
        return parts_of(self.held)

    @property
    def balance(self) -> int:
        """What the taker could spend of the unit right after the newest of the entries."""
        last = self.undoing or self.resolution or self.held
        return available(last.state.lots.get(self.unit, ()), last.received_at)

    def status(self, at: datetime) -> str:
        """What became of it by a moment."""
        if self.undoing:
            return "undone"
        if self.resolution:
            return "captured" if self.captured else "released"
        return "expired" if self.expires_at <= at else "held"


def hold(
    body: Mapping[str, Any], *, caller: Caller, at: datetime, redeeming: Redeeming
) -> Redemption:
    """Set points aside, for a reward or as payment; with `capture` take them at once.

    Raises:
        InsufficientPointsError: there are not so many points to spend.
        RewardNotFoundError, RewardNotOfferedError, TierNeededError, RewardLimitReachedError,
        OutOfStockError: the reward cannot be taken.
        NoPointsPaymentError, PaymentStepError, PaymentExceedsShareError: points cannot pay this.
        UnitNotSpendableError: points of this unit are not spent on the channel.
        NotInHouseholdError, ConsentRequiredError: there is no pool for this member to spend from.
        MemberNotFoundError, InvalidIdentifierError, UnknownChannelError, NoProgramError,
        TooManyHoldsError, BoundKeyError, KeyReusedError, MemberBusyError: as they say.
    """
    stores = redeeming.stores
    store = speak_for(caller, body["channel"], body.get("store"))
    key = key_of("hold", body["channel"], store, body["external_id"])
    try:
        program = ruling(body["channel"], at, stores)
        member_id = member_of(body, stores)
        mark = mark_of(body, member_id, store)
        moment = _on_top(member_id, at, stores)
        order = Order(body, store, key, mark, member_id, caller, moment, program)
        recorded = _hold(order, redeeming)
    except (ConflictError, NotFoundError, ConsentRequiredError):
        # Replay before state: what is held keeps its answer, whatever has changed since.
        seen = stores.journal.by_key(key)
        if seen is None:
            raise
        recorded = replay(seen, mark_of(body, member_of(body, stores), store))
    resolution = stores.journal.by_key(resolution_key(key)) if body["capture"] else None
    return Redemption(recorded.entry, resolution, is_replay=recorded.is_replay)


def capture(
    redemption_id: str,
    body: Mapping[str, Any],
    *,
    caller: Caller,
    at: datetime,
    redeeming: Redeeming,
) -> Redemption:
    """Take what is held; of a payment also a part, and the rest goes back to its lots.

    Raises:
        RedemptionNotFoundError, UnknownChannelError, BoundKeyError, NoProgramError,
        MemberBusyError: as they say.
        HoldExpiredError: the points went back before.
        HoldResolvedError: it was released, or captured with other points.
        CaptureExceedsHoldError: more than is held.
        RewardIndivisibleError: a part of a reward.
        PaymentStepError: not a whole number of steps.
    """
    held = _held(redemption_id, redeeming.stores)
    whole: int = held.activity["held"]
    points: int = body.get("points", whole)
    _check_part(held, points, whole, redeeming.stores)
    keep = partial(redeeming.rewards.keep, held.key) if "reward" in held.activity else None
    desk = _desk(held, body, caller, at, redeeming.stores)
    return _resolve(held, points, desk, keep, redeeming.stores)


def release(
    redemption_id: str,
    body: Mapping[str, Any],
    *,
    caller: Caller,
    at: datetime,
    redeeming: Redeeming,
) -> Redemption:
    """Give back what is held, before it expires by itself.

    Raises:
        RedemptionNotFoundError, UnknownChannelError, BoundKeyError, NoProgramError,
        MemberBusyError: as they say.
        HoldExpiredError: the points went back before.
        HoldResolvedError: it was captured.
    """
    held = _held(redemption_id, redeeming.stores)
    desk = _desk(held, body, caller, at, redeeming.stores)
    return _resolve(held, 0, desk, _giving_back(held, redeeming), redeeming.stores)


def undo(
    redemption_id: str,
    body: Mapping[str, Any],
    *,
    caller: Caller,
    at: datetime,
    redeeming: Redeeming,
) -> Redemption:
    """Give back what was captured, to the lots that it came from, with their dates.

    Raises:
        RedemptionNotFoundError, UnknownChannelError, BoundKeyError, NoProgramError,
        MemberBusyError: as they say.
        NotCapturedError: nothing was captured.
    """
    stores = redeeming.stores
    held = _held(redemption_id, stores)
    resolution = stores.journal.by_key(resolution_key(held.key))
    if resolution is None or not resolution.activity["captured"]:
        raise NotCapturedError
    drafts = undoings(held, Redemption(held).unit, desk=_desk(held, body, caller, at, stores))
    recorded = write(drafts, stores, _giving_back(held, redeeming))
    return Redemption(held, resolution, recorded.entry, recorded.is_replay)


def show(redemption_id: str, *, stores: Stores) -> Redemption:
    """A redemption with all that became of it.

    Raises:
        RedemptionNotFoundError: there is none.
    """
    held = _held(redemption_id, stores)
    resolution = stores.journal.by_key(resolution_key(held.key))
    undoing = stores.journal.by_key(undoing_key(held.key)) if resolution else None
    return Redemption(held, resolution, undoing)


def _hold(order: Order, redeeming: Redeeming) -> Recorded:
    want = wanted(order, redeeming)
    take = _taking(order, want.reward, redeeming) if want.reward else None
    if order.body["from_household"]:
        return _hold_pooled(order, want, take, redeeming)
    return write(_drafts(order, want, {order.member_id: want.points}), redeeming.stores, take)


def _taking(order: Order, reward: Reward, redeeming: Redeeming) -> Also:
    until = None if order.body["capture"] else order.expires_at
    taking = Taking(order.key, reward.id, order.member_id, order.at, until)
    since = period_starts(order.program, order.at)
    return partial(redeeming.rewards.take, taking, reward, since)


def _on_top(member_id: str, at: datetime, stores: Stores) -> datetime:
    """Now, or right after the member's newest fact: a till's clock may run ahead of ours.

    The journal would move the hold there anyway, and past the end of a short one.
    """
    head = stores.journal.head(member_id)
    last = head.state.last if head else None
    return max(at, last[0] + _TICK) if last else at


def _drafts(order: Order, want: Wanted, given: Mapping[str, int]) -> list[Draft]:
    """The entries of a hold and, if it is to be captured at once, of its capture."""
    parts = parts_for(order, given)
    drafts = holds(order, want, parts)
    if order.body["capture"]:
        desk = Desk(order.caller, order.body["channel"], order.store, order.at, order.program)
        drafts += resolutions(parts, want.points, given, want.unit, desk=desk)
    return drafts


def _hold_pooled(order: Order, want: Wanted, take: Also | None, redeeming: Redeeming) -> Recorded:
    """Hold points of a household: the soonest-expiring first, whoever of those who agree has them.

    Raises:
        InsufficientPointsError: all of them together have not so many.
        MemberBusyError: they spend so much at once that this one gave up.
    """
    stores = redeeming.stores
    members = pool.contributors_with(
        order.member_id, at=order.at, households=redeeming.households, consents=stores.consents
    )
    for _ in range(POOL_ATTEMPTS_MAX):
        if seen := stores.journal.by_key(order.key):
            return replay(seen, order.mark)
        lots = pool.lots_of(members, want.unit, at=order.at, stores=stores)
        given = {order.member_id: 0, **pool.allot(want.points, lots, at=order.at)}
        if sum(given.values()) < want.points:
            raise InsufficientPointsError
        try:
            return write(_drafts(order, want, given), stores, take)
        except InsufficientPointsError:
            # Somebody spent in between; others may still have enough.
            continue
    raise MemberBusyError


def _held(redemption_id: str, stores: Stores) -> Entry:
    entry = stores.journal.get(redemption_id)
    if entry is None or entry.kind != "hold" or "part_of" in entry.activity:
        raise RedemptionNotFoundError
    return entry


def _desk(
    held: Entry, body: Mapping[str, Any], caller: Caller, at: datetime, stores: Stores
) -> Desk:
    """Where a hold is resolved: where it was made, unless another place is named.

    Raises:
        UnknownChannelError: the programme lacks the channel that is named.
        BoundKeyError, NoProgramError: as they say.
    """
    channel = body.get("channel", held.channel)
    # What was held on a channel that is no more is still to be resolved.
    is_named = "channel" in body
    program = ruling(channel, at, stores) if is_named else stores.programs.at(at)
    store = body.get("store", held.store if channel == held.channel else None)
    return Desk(caller, channel, speak_for(caller, channel, store), at, program)


def _check_part(held: Entry, points: int, whole: int, stores: Stores) -> None:
    if points > whole:
        mistake = FieldError("points", f"Only {whole} are held.")
        raise CaptureExceedsHoldError(mistake.message, errors=(mistake,))
    if points == whole:
        return
    if "reward" in held.activity:
        mistake = FieldError("points", f"The reward takes all {whole}.")
        raise RewardIndivisibleError(mistake.message, errors=(mistake,))
    if terms := stores.programs.at(held.occurred_at).payment:
        payment.check_step(points, terms, place="points")


def _resolve(
    held: Entry,
    points: int,
    desk: Desk,
    also: Also | None,
    stores: Stores,
) -> Redemption:
    """Capture so many points of a hold, or release it if none; whoever comes second loses."""
    captured = captured_of(held, points, stores)
    drafts = resolutions(parts_of(held), points, captured, Redemption(held).unit, desk=desk)
    try:
        recorded = write(drafts, stores, also)
    except KeyReusedError as error:
        raise HoldResolvedError from error
    return Redemption(held, recorded.entry, None, recorded.is_replay)


def _giving_back(held: Entry, redeeming: Redeeming) -> Also | None:
    return partial(redeeming.rewards.give_back, held.key) if "reward" in held.activity else None
