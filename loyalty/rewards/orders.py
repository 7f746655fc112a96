"""What a caller wants to redeem: how many points, of which unit, and what they buy."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from loyalty.kit.errors import FieldError
from loyalty.kit.idempotency import fingerprint
from loyalty.members.model import MemberNotFoundError, normal
from loyalty.program.lots import available
from loyalty.rewards import payment, pool
from loyalty.rewards.model import UnitNotSpendableError, out_of_place, refused
from loyalty.rewards.service import taker_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loyalty.access.model import Caller
    from loyalty.households.store import HouseholdStore
    from loyalty.journal.drafts import Stores
    from loyalty.program.model import PointsPayment, Program
    from loyalty.rewards.model import Reward
    from loyalty.rewards.store import RewardStore


class Redeeming(NamedTuple):
    """All that a redemption may touch."""

    stores: Stores
    rewards: RewardStore
    households: HouseholdStore


class Order(NamedTuple):
    """What a caller asks for: the body, the store it speaks for, the fact's key and fingerprint."""

    body: Mapping[str, Any]
    store: str | None
    key: str
    mark: str
    member_id: str
    caller: Caller
    at: datetime
    program: Program

    @property
    def expires_at(self) -> datetime:
        """When the points come back by themselves."""
        return self.at + timedelta(seconds=self.body["expires_in_seconds"])


class Wanted(NamedTuple):
    """What the points are for. `value` is what they buy; a payment has no reward."""

    points: int
    unit: str
    value: Mapping[str, Any]
    reward: Reward | None = None


class Quoted(NamedTuple):
    """What points can pay of a basket, out of how many, under which terms."""

    quote: payment.Quote
    available: int
    terms: PointsPayment
    currency: str


def quote(body: Mapping[str, Any], *, at: datetime, redeeming: Redeeming) -> Quoted:
    """How much of a basket the member can pay with points now.

    Raises:
        MemberNotFoundError, InvalidIdentifierError, NoProgramError: as they say.
        NoPointsPaymentError: the programme does not take points as payment.
        NotInHouseholdError, ConsentRequiredError: there is no pool for this member to spend from.
    """
    stores = redeeming.stores
    program = stores.programs.at(at)
    terms = _terms(program)
    members = [member_of(body, stores)]
    if body["from_household"]:
        members = pool.contributors_with(
            members[0], at=at, households=redeeming.households, consents=stores.consents
        )
    lots = pool.lots_of(members, terms.unit, at=at, stores=stores)
    there = sum(available(each, at) for each in lots.values())
    most = payment.quote(body["basket_amount"], there, terms)
    return Quoted(most, there, terms, program.currency)


def wanted(order: Order, redeeming: Redeeming) -> Wanted:
    """What an order comes to, as far as it can be seen without a look at points.

    Raises:
        RewardNotFoundError, RewardNotOfferedError, TierNeededError: the reward cannot be taken.
        NoPointsPaymentError, PaymentStepError, PaymentExceedsShareError: points cannot pay this.
        UnitNotSpendableError: points of this unit are not spent on the channel.
        MemberNotFoundError: there is no such member.
    """
    found = _reward(order, redeeming) if "reward" in order.body else _payment(order)
    policy = order.program.units.get(found.unit)
    if policy and policy.channels and order.body["channel"] not in policy.channels:
        mistake = FieldError("channel", f"No {found.unit} are spent there.")
        raise UnitNotSpendableError(mistake.message, errors=(mistake,))
    return found


def mark_of(body: Mapping[str, Any], member_id: str, store: str | None) -> str:
    """The fingerprint of an order, whether it names the member by id or by identifier."""
    claims = {name: value for name, value in body.items() if name != "identifier"}
    return fingerprint({**claims, "member": member_id, "store": store})


def member_of(body: Mapping[str, Any], stores: Stores) -> str:
    """The member that a body names. Nobody is enrolled to redeem: a stranger has no points.

    Raises:
        MemberNotFoundError: nobody has the identifier.
        InvalidIdentifierError: the value is not of its type.
    """
    if "member" in body:
        member_id: str = body["member"]
        return member_id
    found = stores.members.resolve(normal(body["identifier"]["type"], body["identifier"]["value"]))
    if found is None:
        raise MemberNotFoundError
    return found


def _reward(order: Order, redeeming: Redeeming) -> Wanted:
    reward = redeeming.rewards.get(order.body["reward"])
    channel, store = order.body["channel"], order.store
    # A reward of some stores is not for a caller that names none.
    reason = out_of_place(reward, at=order.at, channel=channel, store=store or "")
    if reason:
        raise refused(reason)
    if reward.tiers:
        taker = taker_of(order.member_id, order.program, order.at, redeeming.stores)
        if taker.tier not in reward.tiers:
            raise refused("tier_needed")
    value = dict(reward.value)
    if "amount" in value or "amount_max" in value:
        value["currency"] = order.program.currency
    return Wanted(reward.price, reward.unit, value, reward)


def _payment(order: Order) -> Wanted:
    asked = order.body["payment"]
    terms = _terms(order.program)
    payment.check(asked["points"], asked["basket_amount"], terms)
    value = {"amount": payment.worth(asked["points"], terms), "currency": order.program.currency}
    return Wanted(asked["points"], terms.unit, value)


def _terms(program: Program) -> PointsPayment:
    if program.payment is None:
        raise payment.NoPointsPaymentError
    return program.payment
