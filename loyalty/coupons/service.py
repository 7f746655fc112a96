"""Make campaigns and codes, look at a code, use it once, give it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.access.model import BoundKeyError, speak_for
from loyalty.coupons.model import (
    MOVES_MAX,
    Batch,
    Campaign,
    CampaignEndedError,
    CampaignNotFoundError,
    Conflict,
    Coupon,
    CouponRefusedError,
    CouponsBusyError,
    CouponUsedError,
    CouponWornError,
    Move,
    RedemptionNotFoundError,
    Visit,
    check_limits,
    check_period,
    use_of,
    used_error,
)
from loyalty.coupons.points import Benefit, benefit_of, check_payable, pay, take_back
from loyalty.coupons.store import BatchExistsError, CampaignExistsError, MoveExistsError
from loyalty.journal.service import occurred
from loyalty.kit.idempotency import KeyReusedError, fingerprint
from loyalty.members.model import MemberNotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.coupons.codes import CouponMint
    from loyalty.coupons.store import CouponStore
    from loyalty.journal.drafts import Stores
    from loyalty.members.store import MemberStore

USE_ATTEMPTS_MAX = 20


class Coupons(NamedTuple):
    """All that a coupon may touch."""

    store: CouponStore
    mint: CouponMint
    members: MemberStore
    stores: Stores


class Made(NamedTuple):
    """A campaign, and whether the request had been carried out before."""

    campaign: Campaign
    is_replay: bool


class MadeBatch(NamedTuple):
    """A batch of a campaign, and whether the request had been carried out before."""

    campaign: Campaign
    batch: Batch
    is_replay: bool


class Redeemed(NamedTuple):
    """A move of a coupon, its campaign, and whether it had been made before this request."""

    move: Move
    campaign: Campaign
    is_replay: bool


class Looked(NamedTuple):
    """What a code is worth here and now: `refusal` is None if it counts.

    `coupon` and `campaign` are None if the code does not name one.
    """

    coupon: Coupon | None
    campaign: Campaign | None
    refusal: CouponRefusedError | CampaignNotFoundError | None


class SignedCode(NamedTuple):
    """One coupon in both spellings. Whoever holds either holds the coupon."""

    serial: int
    code: str
    short_code: str


def make_campaign(
    body: Mapping[str, Any], *, at: datetime, request_key: str | None, coupons: Coupons
) -> Made:
    """Make a campaign; exactly once for its id, and for its idempotency key if it has one.

    Raises:
        KeyReusedError: the id or the key came with another body before.
        CampaignPeriodError: its end does not fit.
        CampaignFullError, CouponsBusyError: as they say.
    """
    mark = fingerprint(body)
    if seen := _seen_campaign(body["id"], request_key, coupons):
        return _replayed_campaign(seen, body["id"], mark)
    starts_at = body.get("starts_at", at)
    check_period(starts_at, body["ends_at"], at=at)
    campaign = Campaign(
        id=body["id"],
        number=0,
        name=body["name"],
        benefit=body["benefit"],
        starts_at=starts_at,
        ends_at=body["ends_at"],
        channels=tuple(body["channels"]),
        stores=tuple(body["stores"]),
        basket_min_amount=body["basket_min_amount"],
        created_at=at,
        request_key=request_key,
        fingerprint=mark,
    )
    try:
        return Made(coupons.store.add_campaign(campaign), is_replay=False)
    except CampaignExistsError as error:
        # The same request may have come through in between, on another worker.
        seen = _seen_campaign(body["id"], request_key, coupons)
        if seen is None:
            raise CouponsBusyError from error
        return _replayed_campaign(seen, body["id"], mark)


def _seen_campaign(campaign_id: str, request_key: str | None, coupons: Coupons) -> Campaign | None:
    by_request = coupons.store.campaign_of_request(request_key) if request_key else None
    return by_request or coupons.store.campaign(campaign_id)


def _replayed_campaign(seen: Campaign, campaign_id: str, mark: str) -> Made:
    if (seen.id, seen.fingerprint) != (campaign_id, mark):
        raise KeyReusedError
    return Made(seen, is_replay=True)


def campaign_of(campaign_id: str, coupons: Coupons) -> Campaign:
    """The campaign of an id.

    Raises:
        CampaignNotFoundError: there is none.
    """
    campaign = coupons.store.campaign(campaign_id)
    if campaign is None:
        raise CampaignNotFoundError
    return campaign


def make_batch(
    campaign_id: str, body: Mapping[str, Any], *, at: datetime, coupons: Coupons
) -> MadeBatch:
    """Set serials aside for a batch; the same batch again is the same serials.

    Raises:
        CampaignNotFoundError: there is no such campaign.
        KeyReusedError: the batch came with another count before.
        CampaignEndedError: the campaign is over.
        CampaignFullError, CouponsBusyError: as they say.
    """
    campaign = campaign_of(campaign_id, coupons)
    number, batch_id, count = campaign.number, body["batch"], body["count"]
    seen = coupons.store.batch(number, batch_id)
    if seen is None and at >= campaign.ends_at:
        raise CampaignEndedError
    if seen is None:
        try:
            batch = coupons.store.add_batch(number, batch_id, count=count)
            return MadeBatch(campaign, batch, is_replay=False)
        except BatchExistsError as error:
            seen = coupons.store.batch(number, batch_id)
            if seen is None:
                raise CouponsBusyError from error
    if seen.count != count:
        raise KeyReusedError
    return MadeBatch(campaign, seen, is_replay=True)


def codes_of(made: MadeBatch, mint: CouponMint) -> Iterator[SignedCode]:
    """The codes of a batch, one after the other; none is kept here or anywhere."""
    campaign, batch = made.campaign, made.batch
    last_day = campaign.last_day
    for serial in range(batch.first, batch.first + batch.count):
        coupon = Coupon(campaign.number, serial)
        code = mint.signed(coupon, last_day=last_day)
        yield SignedCode(serial, code, mint.short(coupon))


def look(body: Mapping[str, Any], *, caller: Caller, at: datetime, coupons: Coupons) -> Looked:
    """What a code is worth on a channel now; writes nothing and promises nothing.

    Raises:
        BoundKeyError: the key speaks for another channel or store.
    """
    store = speak_for(caller, body["channel"], body.get("store"))
    visit = Visit(body["channel"], store, at, body.get("basket_amount"))
    coupon: Coupon | None = None
    campaign: Campaign | None = None
    try:
        coupon = coupons.mint.read(body["code"])
        campaign = _campaign_of(coupon, coupons)
        _next_turn(coupons.store.last_move(coupon))
        check_limits(campaign, visit)
    except (CouponRefusedError, CampaignNotFoundError) as refusal:
        return Looked(coupon, campaign, refusal)
    return Looked(coupon, campaign, None)


class _Report(NamedTuple):
    """A use as a caller reports it; `key` is the caller's own id under the name of who speaks."""

    body: Mapping[str, Any]
    coupon: Coupon
    key: str
    mark: str
    visit: Visit
    source: str
    received_at: datetime


def redeem(body: Mapping[str, Any], *, caller: Caller, at: datetime, coupons: Coupons) -> Redeemed:
    """Use a coupon: once, whoever else tries at the same moment on whatever channel.

    Raises:
        CouponRefusedError: one of its kinds says why.
        CampaignNotFoundError, MemberNotFoundError, InFutureError, BoundKeyError, KeyReusedError,
        CouponsBusyError, UnknownUnitError, NoProgramError: as they say.
    """
    store = speak_for(caller, body["channel"], body.get("store"))
    coupon = coupons.mint.read(body["code"])
    # The coupon stands for its code: a digest of a code would be something to guess codes by.
    facts = {name: value for name, value in body.items() if name != "code"}
    mark = fingerprint({**facts, "store": store, "coupon": list(coupon)})
    key = f"{body['channel']}/{store or ''}/{body['external_id']}"
    campaign = _campaign_of(coupon, coupons)
    # Replay before state: what was recorded keeps its answer, whatever has changed since.
    benefit = benefit_of(campaign)
    if seen := coupons.store.use_of_key(key):
        return _paid(_replayed_use(seen, mark, campaign), benefit, coupons)
    visit = Visit(body["channel"], store, occurred(body, at), body.get("basket_amount"))
    report = _Report(body, coupon, key, mark, visit, caller.id, at)
    _check_member(body.get("member"), coupons)
    check_payable(benefit, body.get("member"), at=at, stores=coupons.stores)
    return _paid(_use(report, campaign, coupons), benefit, coupons)


def _paid(redeemed: Redeemed, benefit: Benefit | None, coupons: Coupons) -> Redeemed:
    pay(benefit, redeemed.move, stores=coupons.stores)
    return redeemed


def _use(report: _Report, campaign: Campaign, coupons: Coupons) -> Redeemed:
    for _ in range(USE_ATTEMPTS_MAX):
        last = coupons.store.last_move(report.coupon)
        try:
            seq = _next_turn(last)
        except CouponUsedError:
            # The same request may have come through in between, on another worker.
            if seen := coupons.store.use_of_key(report.key):
                return _replayed_use(seen, report.mark, campaign)
            _note_conflict(report, last, coupons)
            raise
        check_limits(campaign, report.visit)
        move = _move(report, seq)
        try:
            coupons.store.add_move(move)
        except MoveExistsError:
            if seen := coupons.store.use_of_key(report.key):
                return _replayed_use(seen, report.mark, campaign)
            continue
        return Redeemed(move, campaign, is_replay=False)
    raise CouponsBusyError


def _next_turn(last: Move | None) -> int:
    """The number of a use that may follow the last move.

    Raises:
        CouponUsedError: the last move is a use.
        CouponWornError: there were too many moves.
    """
    if last is None:
        return 0
    if last.kind == "use":
        raise used_error(last)
    if last.seq + 2 >= MOVES_MAX:
        raise CouponWornError
    return last.seq + 1


def _move(report: _Report, seq: int) -> Move:
    return Move(
        coupon=report.coupon,
        seq=seq,
        kind="use",
        channel=report.visit.channel,
        store=report.visit.store,
        occurred_at=report.visit.at,
        received_at=report.received_at,
        source=report.source,
        key=report.key,
        fingerprint=report.mark,
        member=report.body.get("member"),
        basket_amount=report.visit.basket_amount,
    )


def _note_conflict(report: _Report, first: Move | None, coupons: Coupons) -> None:
    """Note a second use that has happened already; a till that only asks has lost nothing."""
    if first is None or "occurred_at" not in report.body:
        return
    coupons.store.add_conflict(
        Conflict(
            key=report.key,
            coupon=report.coupon,
            first=first,
            external_id=report.body["external_id"],
            channel=report.visit.channel,
            store=report.visit.store,
            occurred_at=report.visit.at,
            received_at=report.received_at,
            member=report.body.get("member"),
        )
    )


def void(redemption_id: str, *, caller: Caller, at: datetime, coupons: Coupons) -> Redeemed:
    """Give a coupon back; again changes nothing.

    Raises:
        RedemptionNotFoundError: nothing was redeemed under that id.
        BoundKeyError: it was redeemed on another channel or store than the key speaks for.
        InsufficientPointsError: the points that it was worth are spent.
    """
    coupon, seq = use_of(redemption_id)
    use = coupons.store.move(coupon, seq)
    if use is None:
        raise RedemptionNotFoundError
    if speak_for(caller, use.channel, use.store) != use.store:
        raise BoundKeyError(f"This key speaks for store {caller.store} only.")
    campaign = _campaign_of(coupon, coupons)
    take_back(benefit_of(campaign), use, stores=coupons.stores)
    move = Move(coupon, seq + 1, "void", use.channel, use.store, at, at, caller.id)
    try:
        coupons.store.add_move(move)
    except MoveExistsError:
        made = coupons.store.move(coupon, seq + 1) or move
        return Redeemed(made, campaign, is_replay=True)
    return Redeemed(move, campaign, is_replay=False)


def _campaign_of(coupon: Coupon, coupons: Coupons) -> Campaign:
    campaign = coupons.store.campaign_of_number(coupon.campaign)
    if campaign is None:
        raise CampaignNotFoundError
    return campaign


def _replayed_use(seen: Move, mark: str, campaign: Campaign) -> Redeemed:
    if seen.fingerprint != mark:
        raise KeyReusedError
    return Redeemed(seen, campaign, is_replay=True)


def _check_member(member: str | None, coupons: Coupons) -> None:
    if member is not None and not coupons.members.exists(member):
        raise MemberNotFoundError
