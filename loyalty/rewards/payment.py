"""Points as payment: what they are worth, and how many of them a basket takes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loyalty.kit.errors import ConflictError, FieldError
from loyalty.program.money import floor

if TYPE_CHECKING:
    from loyalty.program.model import PointsPayment


class NoPointsPaymentError(ConflictError):
    """The programme does not take points as payment."""

    code = "no_points_payment"
    title = "The programme does not take points as payment"


class PaymentStepError(ConflictError):
    """Points are taken in whole steps only."""

    code = "payment_step"
    title = "Points are taken in whole steps only"


class PaymentExceedsShareError(ConflictError):
    """The points would pay more of the basket than points may."""

    code = "payment_exceeds_share"
    title = "Points may not pay so much of the basket"


class Quote(NamedTuple):
    """The most points that may pay for a basket, and what they are worth in minor units."""

    points: int
    amount: int


def worth(points: int, payment: PointsPayment) -> int:
    """What points are worth in minor units, rounded down."""
    return points * payment.amount // payment.points


def quote(basket_amount: int, available: int, payment: PointsPayment) -> Quote:
    """How much of a basket points can pay.

    Args:
        basket_amount: in minor units.
        available: the points that the member can spend; not more than all of them.
        payment: what the programme says of points as payment.
    """
    cap = floor(basket_amount * payment.share_max)
    # Rounded down, so that the points are never worth more than they may pay.
    points = min(max(0, available), cap * payment.points // payment.amount)
    points -= points % payment.step
    return Quote(points, worth(points, payment))


def check(points: int, basket_amount: int, payment: PointsPayment) -> None:
    """Whether so many points may pay for a basket.

    Raises:
        PaymentStepError: they are not a whole number of steps, or too few to be worth anything.
        PaymentExceedsShareError: they pay more than points may.
    """
    check_step(points, payment)
    if not worth(points, payment):
        mistake = FieldError("payment.points", "So few points are worth nothing.")
        raise PaymentStepError(mistake.message, errors=(mistake,))
    most = quote(basket_amount, points, payment).points
    if points > most:
        mistake = FieldError("payment.points", f"Of this basket at most {most} points may pay.")
        raise PaymentExceedsShareError(mistake.message, errors=(mistake,))


def check_step(points: int, payment: PointsPayment, *, place: str = "payment.points") -> None:
    """Whether points come in whole steps.

    Raises:
        PaymentStepError: they do not.
    """
    if points % payment.step:
        mistake = FieldError(place, f"Must be a multiple of {payment.step}.")
        raise PaymentStepError(mistake.message, errors=(mistake,))
