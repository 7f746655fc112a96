"""A campaign of coupons, what becomes of one coupon, and the refusals. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from loyalty.kit.errors import ConflictError, FieldError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Both numbers have to fit into a code: see `codes`.
CAMPAIGNS_MAX = 2**20 - 1
SERIALS_MAX = 2**30 - 1
BATCHES_MAX = 10_000
# A use and its void are two moves. Their number stands in the id with two digits.
MOVES_MAX = 100
# A coupon that outlives ten years is a slip; and the two bytes of a code's last day end in 2149.
VALID_FOR_MAX = timedelta(days=3660)
_REDEMPTION_ID = re.compile(r"(\d{1,7})-(\d{1,10})-(\d\d)\Z", re.ASCII)


class CampaignNotFoundError(NotFoundError):
    """There is no campaign of that id, or of the number in a code."""

    code = "campaign_not_found"
    title = "There is no such campaign"


class RedemptionNotFoundError(NotFoundError):
    """No coupon was redeemed under that id."""

    code = "redemption_not_found"
    title = "There is no such redemption"


class CampaignPeriodError(ConflictError):
    """The campaign would end before it begins, or after more than ten years."""

    code = "campaign_period"
    title = "The campaign's end does not fit its start or today"


class CampaignEndedError(ConflictError):
    """No more codes are made once a campaign is over."""

    code = "campaign_ended"
    title = "The campaign is over"


class CampaignFullError(ConflictError):
    """The campaign has as many codes or batches as it can hold; or there are too many campaigns."""

    code = "campaign_full"
    title = "So many cannot be made"


class CouponRefusedError(ConflictError):
    """A coupon does not count here and now. The parent of each reason."""

    code = "coupon_refused"
    title = "The coupon does not count"


class CouponMistypedError(CouponRefusedError):
    """Its check character does not fit: a slip of a hand or of a scanner."""

    code = "coupon_mistyped"
    title = "The code has a typing error"


class CouponForgedError(CouponRefusedError):
    """It is well formed, and the shop never signed it."""

    code = "coupon_forged"
    title = "The code was not made by this shop"


class CouponNotStartedError(CouponRefusedError):
    """The campaign begins later."""

    code = "coupon_not_started"
    title = "The coupon is not valid yet"


class CouponExpiredError(CouponRefusedError):
    """The campaign ended before."""

    code = "coupon_expired"
    title = "The coupon is no longer valid"


class CouponChannelError(CouponRefusedError):
    """The campaign is for other channels."""

    code = "coupon_channel"
    title = "The coupon is not for this channel"


class CouponStoreError(CouponRefusedError):
    """The campaign is for other stores."""

    code = "coupon_store"
    title = "The coupon is not for this store"


class CouponBasketError(CouponRefusedError):
    """The basket is smaller than the campaign asks for, or nobody said how large it is."""

    code = "coupon_basket"
    title = "The basket is too small for the coupon"


class CouponUsedError(CouponRefusedError):
    """Somebody else has used it. Says when and on which channel, and nothing of whom."""

    code = "coupon_used"
    title = "The coupon is used"


class CouponWornError(CouponRefusedError):
    """It was used and given back so often that something is wrong with it."""

    code = "coupon_worn"
    title = "The coupon was given back too often"


class CouponNeedsMemberError(CouponRefusedError):
    """The coupon is worth points, and nobody is named who would get them."""

    code = "coupon_needs_member"
    title = "The coupon is worth points: name the member"


class CouponsBusyError(UnavailableError):
    """So many writers meet at one place that this one gave up; nothing was written."""

    code = "coupons_busy"
    title = "Too many writers at once"


class Coupon(NamedTuple):
    """What a code names: one coupon of one campaign. Holding this does not mean holding a code."""

    campaign: int
    serial: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """Coupons with one benefit. Immutable; empty `channels` or `stores` mean everywhere.

    `number` stands for it in codes. It holds from `starts_at` until just before `ends_at`.
    `basket_min_amount` is in minor units of the shop's currency.
    """

    id: str
    number: int
    name: str
    benefit: Mapping[str, Any]
    starts_at: datetime
    ends_at: datetime
    channels: tuple[str, ...]
    stores: tuple[str, ...]
    basket_min_amount: int
    created_at: datetime
    request_key: str | None = None
    fingerprint: str = ""

    @property
    def last_day(self) -> date:
        """The last day, in UTC, on which any coupon of it is valid."""
        return (self.ends_at - timedelta(milliseconds=1)).astimezone(UTC).date()


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of coupons that were made together: `count` serials from `first` on."""

    campaign: int
    id: str
    seq: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Move:
    """A use of a coupon, or the void that gives it back. Moves of one coupon take turns.

    `key` is the caller's own id for a use, under the name of who speaks. `occurred_at` is when it
    happened at the till, `received_at` when it came here.
    """

    coupon: Coupon
    seq: int
    kind: Literal["use", "void"]
    channel: str
    store: str | None
    occurred_at: datetime
    received_at: datetime
    source: str
    key: str | None = None
    fingerprint: str = ""
    member: str | None = None
    basket_amount: int | None = None

    @property
    def id(self) -> str:
        """Campaign, serial and turn: what can exist once only."""
        return move_id(self.coupon, self.seq)


@dataclass(frozen=True, slots=True)
class Conflict:
    """A coupon that was handed in twice: `first` is the use that counts, the rest the other one."""

    key: str
    coupon: Coupon
    first: Move
    external_id: str
    channel: str
    store: str | None
    occurred_at: datetime
    received_at: datetime
    seq: int = 0
    member: str | None = None


class Visit(NamedTuple):
    """Where and when a coupon is shown, and the basket's amount in minor units if it was said."""

    channel: str
    store: str | None
    at: datetime
    basket_amount: int | None


def move_id(coupon: Coupon, seq: int) -> str:
    """The id of a coupon's move; the ids of its moves sort by their turn."""
    return f"{coupon.campaign}-{coupon.serial}-{seq:02}"


def use_of(redemption_id: str) -> tuple[Coupon, int]:
    """The coupon and the turn that a redemption's id names.

    Raises:
        RedemptionNotFoundError: it cannot be the id of a use.
    """
    match = _REDEMPTION_ID.match(redemption_id)
    if not match:
        raise RedemptionNotFoundError
    campaign, serial, seq = (int(each) for each in match.groups())
    if seq % 2:  # a void's turn
        raise RedemptionNotFoundError
    return Coupon(campaign, serial), seq


def check_period(starts_at: datetime, ends_at: datetime, *, at: datetime) -> None:
    """See that a campaign can be.

    Raises:
        CampaignPeriodError: it ends before it begins, before now, or in more than ten years.
    """
    if not max(starts_at, at) < ends_at <= at + VALID_FOR_MAX:
        mistake = FieldError("ends_at", "Must lie after starts_at, after now and within ten years.")
        raise CampaignPeriodError(mistake.message, errors=(mistake,))


def check_limits(campaign: Campaign, visit: Visit) -> None:
    """See that a campaign's coupons count for a visit.

    Raises:
        CouponNotStartedError, CouponExpiredError, CouponChannelError, CouponStoreError,
        CouponBasketError: the first of these reasons that holds, with its field.
    """
    _check_time(campaign, visit.at)
    if campaign.channels and visit.channel not in campaign.channels:
        raise _refusal(CouponChannelError, "channel", _listed("channels", campaign.channels))
    if campaign.stores and visit.store not in campaign.stores:
        raise _refusal(CouponStoreError, "store", _listed("stores", campaign.stores))
    if not campaign.basket_min_amount:
        return
    if visit.basket_amount is None:
        raise _refusal(CouponBasketError, "basket_amount", "Say how much the basket comes to.")
    if visit.basket_amount < campaign.basket_min_amount:
        words = f"The basket must come to {campaign.basket_min_amount} minor units."
        raise _refusal(CouponBasketError, "basket_amount", words)


def used_error(use: Move) -> CouponUsedError:
    """The refusal to whoever comes second."""
    words = f"Used on channel {use.channel} at {use.occurred_at:%Y-%m-%dT%H:%M:%SZ}."
    return CouponUsedError(words, errors=(FieldError("code", words),))


def _check_time(campaign: Campaign, at: datetime) -> None:
    if at < campaign.starts_at:
        words = f"Valid from {campaign.starts_at:%Y-%m-%dT%H:%M:%SZ}."
        raise _refusal(CouponNotStartedError, "occurred_at", words)
    if at >= campaign.ends_at:
        words = f"Was valid until {campaign.ends_at:%Y-%m-%dT%H:%M:%SZ}."
        raise _refusal(CouponExpiredError, "occurred_at", words)


def _listed(what: str, names: tuple[str, ...]) -> str:
    """At most five names: a refusal is read by a person at a till."""
    more = " and others" if len(names) > 5 else ""  # noqa: PLR2004
    return f"Valid in the {what} {', '.join(names[:5])}{more}."


def _refusal(kind: type[CouponRefusedError], field: str, words: str) -> CouponRefusedError:
    return kind(words, errors=(FieldError(field, words),))
