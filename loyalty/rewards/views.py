"""Rewards and redemptions over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import g
from werkzeug.routing import BaseConverter

from loyalty.access.model import BoundKeyError, NotYourMemberError
from loyalty.catalogue.schemas import UpsertedSchema
from loyalty.catalogue.service import InvalidLinesError
from loyalty.consent.model import ConsentRequiredError
from loyalty.households.model import NotInHouseholdError
from loyalty.journal.drafts import Stores
from loyalty.journal.model import (
    FactErasedError,
    HoldExpiredError,
    HoldResolvedError,
    InsufficientPointsError,
    MemberBusyError,
    PointsOutOfRangeError,
    TooManyHoldsError,
    UnknownChannelError,
)
from loyalty.kit import cursor
from loyalty.kit.clock import now
from loyalty.kit.cursor import UnknownCursorError
from loyalty.kit.errors import TooLargeError, UnsupportedMediaError
from loyalty.kit.http import Answer, Blueprint, answer, ndjson_lines, note_look, provided, replayed
from loyalty.kit.idempotency import KeyReusedError
from loyalty.members.model import InvalidIdentifierError, MemberNotFoundError
from loyalty.rewards import orders, payment, redemptions, service
from loyalty.rewards.model import (
    CaptureExceedsHoldError,
    NotCapturedError,
    OutOfStockError,
    RedemptionNotFoundError,
    RewardIndivisibleError,
    RewardLimitReachedError,
    RewardNotFoundError,
    RewardNotOfferedError,
    TierNeededError,
    TooManyRewardsError,
    UnitNotSpendableError,
)
from loyalty.rewards.orders import Redeeming
from loyalty.rewards.payment import (
    NoPointsPaymentError,
    PaymentExceedsShareError,
    PaymentStepError,
)
from loyalty.rewards.schemas import (
    CaptureSchema,
    OfferedPageSchema,
    OfferedQuerySchema,
    OfferedSchema,
    QuotedSchema,
    QuoteSchema,
    RedeemSchema,
    RedemptionSchema,
    ResolveSchema,
    RewardSchema,
)
from loyalty.rewards.store import RewardStore
from loyalty.versions.model import NoProgramError

if TYPE_CHECKING:
    from datetime import datetime

    from loyalty.rewards.redemptions import Redemption
    from loyalty.rewards.service import Offered

blp = Blueprint("rewards", __name__, description="What points are for, and spending them.")

LINE_BYTES_MAX = 65_536
_MEMBER = "m_5f0c9a4e1b7d4c3a9e2f8b6d0a1c3e5f"
_REWARD = {
    "id": "five-off",
    "name": "5 EUR off",
    "type": "amount_off",
    "price": 500,
    "unit": "points",
    "value": {"amount": 500},
    "tiers": [],
    "channels": ["store", "app"],
    "stores": [],
    "starts_at": None,
    "ends_at": "2027-01-01T00:00:00Z",
    "stock": 1000,
    "per_member": {"month": 1},
}
_OFFERED = {**_REWARD, "left": 412, "reason": None}
_REDEMPTION = {
    "redemption_id": "69a4120c7f1b2c3d4e5f6071",
    "member_id": _MEMBER,
    "status": "held",
    "reward": {"id": "five-off", "name": "5 EUR off", "type": "amount_off"},
    "points": 500,
    "captured": 0,
    "unit": "points",
    "value": {"amount": 500, "currency": "EUR"},
    "from_members": [{"member_id": _MEMBER, "points": 500}],
    "expires_at": "2026-03-01T09:45:00Z",
    "balance": 120,
}
_MEMBER_ERRORS = (MemberNotFoundError, InvalidIdentifierError, NoProgramError)
_POOL_ERRORS = (NotInHouseholdError, ConsentRequiredError)
_RESOLVING = (
    RedemptionNotFoundError,
    MemberNotFoundError,
    BoundKeyError,
    MemberBusyError,
    NoProgramError,
    PointsOutOfRangeError,
    UnknownChannelError,
)


class RedemptionIdConverter(BaseConverter):
    """A redemption's id in a path: the id of an entry."""

    regex = "[0-9a-f]{24}"


@blp.route("/rewards", methods=["PUT"])
@blp.requires("rewards:write")
@blp.ndjson_body(RewardSchema, example=_REWARD)
@blp.response(200, UpsertedSchema, example={"written": 1})
@blp.raises(InvalidLinesError, TooManyRewardsError, TooLargeError, UnsupportedMediaError)
def put_rewards() -> Answer:
    """Insert or replace rewards in bulk.

    NDJSON, a reward a line. All lines are checked first: if one is wrong, none is written. What is
    held already keeps the price and the value that it was held at.
    """
    lines = ndjson_lines(line_bytes_max=LINE_BYTES_MAX)
    return {"written": service.put_rewards(lines, rewards=provided(RewardStore))}


@blp.route("/rewards", methods=["GET"])
@blp.requires("rewards:read", member_token=True, purpose="loyalty_programme")
@blp.arguments(OfferedQuerySchema, location="query")
@blp.response(200, OfferedPageSchema, example={"rewards": [_OFFERED], "next_cursor": None})
@blp.raises(MemberNotFoundError, NoProgramError, UnknownCursorError, NotYourMemberError)
def list_rewards(query: dict[str, Any]) -> Answer:
    """List what can be taken now, on a channel, in a store, by a member.

    With `all=true` also what cannot be taken, each with the first `reason` against it.
    """
    member_id = query.get("member", g.caller.member_id)
    if g.caller.member_id not in (None, member_id):
        raise NotYourMemberError
    asked = service.Asked(
        query.get("channel"), query.get("store"), member_id, all=query["all"] == "true"
    )
    page = service.list_rewards(
        asked,
        at=now(),
        after=cursor.read(query.get("cursor")) or 0,
        limit=query["limit"],
        stores=provided(Stores),
        rewards=provided(RewardStore),
    )
    more = cursor.write(page.next) if page.next is not None else None
    return answer({"rewards": [_offered(each) for each in page.rewards], "next_cursor": more})


@blp.route("/rewards/<reward_id>")
@blp.requires("rewards:read", member_token=True)
@blp.response(200, OfferedSchema, example=_OFFERED)
@blp.raises(RewardNotFoundError)
def show_reward(reward_id: str) -> Answer:
    """Read a reward, and how many are left of it."""
    offered = service.look_at(reward_id, at=now(), rewards=provided(RewardStore))
    return answer(_offered(offered))


@blp.route("/redemptions/quote", methods=["POST"])
@blp.requires("redemptions:write", "rewards:read", purpose="loyalty_programme")
@blp.arguments(QuoteSchema, example={"member": _MEMBER, "basket_amount": 4990})
@blp.response(
    200,
    QuotedSchema,
    example={
        "points_max": 600,
        "amount_max": 600,
        "unit": "points",
        "step": 100,
        "currency": "EUR",
        "available": 620,
        "as_of": "2026-03-01T09:30:00Z",
    },
)
@blp.raises(*_MEMBER_ERRORS, *_POOL_ERRORS, NoPointsPaymentError)
def quote(body: dict[str, Any]) -> Answer:
    """Ask how much of a basket points can pay, and with how many.

    It sets nothing aside.
    """
    moment = now()
    quoted = orders.quote(body, at=moment, redeeming=provided(Redeeming))
    return answer(
        {
            "points_max": quoted.quote.points,
            "amount_max": quoted.quote.amount,
            "unit": quoted.terms.unit,
            "step": quoted.terms.step,
            "currency": quoted.currency,
            "available": quoted.available,
            "as_of": moment,
        }
    )


@blp.route("/redemptions", methods=["POST"])
@blp.requires("redemptions:write", purpose="loyalty_programme")
@blp.arguments(
    RedeemSchema,
    example={
        "external_id": "T3-20260301-0042",
        "channel": "store",
        "store": "S1",
        "member": _MEMBER,
        "reward": "five-off",
    },
)
@blp.response(201, RedemptionSchema, example=_REDEMPTION)
@blp.raises(
    *_MEMBER_ERRORS,
    *_POOL_ERRORS,
    BoundKeyError,
    FactErasedError,
    UnknownChannelError,
    InsufficientPointsError,
    TooManyHoldsError,
    RewardNotFoundError,
    RewardNotOfferedError,
    TierNeededError,
    RewardLimitReachedError,
    OutOfStockError,
    NoPointsPaymentError,
    PaymentStepError,
    PaymentExceedsShareError,
    UnitNotSpendableError,
    KeyReusedError,
    MemberBusyError,
)
def redeem(body: dict[str, Any]) -> Answer:
    """Set points aside for a reward or as payment; with `capture`, take them at once.

    What is held counts against the balance at once. It comes back by itself when the hold expires,
    unless it is captured before. Exactly once for its `external_id` at that channel and store: a
    retry gets the same answer with `Idempotent-Replay: true`.
    """
    moment = now()
    done = redemptions.hold(body, caller=g.caller, at=moment, redeeming=provided(Redeeming))
    return replayed(_redemption(done), 201, is_replay=done.is_replay)


@blp.route("/redemptions/<redemption:redemption_id>")
@blp.requires("redemptions:write", "rewards:read", member_token=True, purpose="loyalty_programme")
@blp.response(200, RedemptionSchema, example=_REDEMPTION)
@blp.raises(RedemptionNotFoundError)
def show_redemption(redemption_id: str) -> Answer:
    """Read a redemption: held, captured, released, expired or undone.

    `balance` is the member's right after the last of that.
    """
    found = redemptions.show(redemption_id, stores=provided(Stores))
    # To a member's token, somebody else's redemption does not exist.
    if g.caller.member_id not in (None, found.held.member_id):
        raise RedemptionNotFoundError
    return answer(_redemption(found, at=now()))


@blp.route("/redemptions/<redemption:redemption_id>/capture", methods=["POST"])
@blp.requires("redemptions:write", purpose="loyalty_programme")
@blp.arguments(CaptureSchema, example={})
@blp.response(200, RedemptionSchema, example={**_REDEMPTION, "status": "captured", "captured": 500})
@blp.raises(
    *_RESOLVING,
    HoldExpiredError,
    HoldResolvedError,
    CaptureExceedsHoldError,
    RewardIndivisibleError,
    PaymentStepError,
)
def capture(body: dict[str, Any], redemption_id: str) -> Answer:
    """Take what is held, for good.

    Of a payment `points` may be fewer: the rest goes back to the lots that it came from. A hold is
    captured or released once; the same request again gets the same answer.
    """
    done = redemptions.capture(
        redemption_id, body, caller=g.caller, at=now(), redeeming=provided(Redeeming)
    )
    return replayed(_redemption(done), 200, is_replay=done.is_replay)


@blp.route("/redemptions/<redemption:redemption_id>/release", methods=["POST"])
@blp.requires("redemptions:write", purpose="loyalty_programme")
@blp.arguments(ResolveSchema, example={})
@blp.response(200, RedemptionSchema, example={**_REDEMPTION, "status": "released", "balance": 620})
@blp.raises(*_RESOLVING, HoldExpiredError, HoldResolvedError)
def release(body: dict[str, Any], redemption_id: str) -> Answer:
    """Give back what is held, before the hold expires."""
    done = redemptions.release(
        redemption_id, body, caller=g.caller, at=now(), redeeming=provided(Redeeming)
    )
    return replayed(_redemption(done), 200, is_replay=done.is_replay)


@blp.route("/redemptions/<redemption:redemption_id>/undo", methods=["POST"])
@blp.requires("redemptions:write", purpose="loyalty_programme")
@blp.arguments(ResolveSchema, example={})
@blp.response(200, RedemptionSchema, example={**_REDEMPTION, "status": "undone", "balance": 620})
@blp.raises(*_RESOLVING, NotCapturedError)
def undo(body: dict[str, Any], redemption_id: str) -> Answer:
    """Give back what was captured, when the reward came back or the basket was voided.

    The points return to the lots that they came from, with their dates: what would have expired in
    the meantime has expired.
    """
    done = redemptions.undo(
        redemption_id, body, caller=g.caller, at=now(), redeeming=provided(Redeeming)
    )
    return replayed(_redemption(done), 200, is_replay=done.is_replay)


def _offered(offered: Offered) -> dict[str, Any]:
    reward = offered.reward
    return {
        "id": reward.id,
        "name": reward.name,
        "type": reward.type,
        "price": reward.price,
        "unit": reward.unit,
        "value": reward.value,
        "tiers": sorted(reward.tiers),
        "channels": sorted(reward.channels),
        "stores": sorted(reward.stores),
        "starts_at": reward.starts_at,
        "ends_at": reward.ends_at,
        "stock": reward.stock,
        "per_member": reward.per_member,
        "left": offered.left,
        "reason": offered.reason,
    }


def _value(done: Redemption) -> dict[str, Any]:
    """What the points bought: of a payment that was captured in part, what that part is worth."""
    value: dict[str, Any] = done.held.activity["value"]
    if not 0 < done.captured < done.points:
        return value
    terms = provided(Stores).programs.version(done.held.program_version).payment
    return {**value, "amount": payment.worth(done.captured, terms)} if terms else value


def _redemption(done: Redemption, at: datetime | None = None) -> dict[str, Any]:
    """The redemption; without a moment as it was right after its last entry."""
    document = done.held.activity
    note_look(done.held.member_id)
    return {
        "redemption_id": done.held.id,
        "member_id": done.held.member_id,
        "status": done.status(at or done.held.occurred_at),
        "reward": document.get("reward"),
        "points": done.points,
        "captured": done.captured,
        "unit": done.unit,
        "value": _value(done),
        "from_members": [
            {"member_id": each.member_id, "points": each.points}
            for each in done.parts
            if each.points
        ],
        "expires_at": done.expires_at,
        "balance": done.balance,
    }
