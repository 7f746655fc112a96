"""What is known of a person at the moment of asking, as plain values. Pure.

All of it is handed in with a request and forgotten with the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

History: TypeAlias = Sequence[tuple[float, tuple[str, ...]]]
"""(POSIX seconds, SKUs) of each basket, newest last."""
Kind: TypeAlias = Literal[
    "view", "click", "cart", "wish", "share", "review", "dismissal", "impression"
]
"""Kinds of feedback beside purchases and returns. An impression says "was shown", no liking."""
STRENGTHS: dict[Kind, float] = {
    "view": 0.1,
    "click": 0.15,
    "share": 0.4,
    "cart": 0.4,
    "wish": 0.5,
    "review": 0.5,
    "dismissal": -1.0,
    "impression": 0.0,
}
"""How much one of them says, a purchase being 1. A review of two stars or less counts negative."""
RETURN_STRENGTH = -0.5
"""Of a thing sent back, beyond that its purchase does not count: it was tried and not wanted."""


class Signal(NamedTuple):
    """One piece of feedback of a member on one product.

    Attributes:
        at: POSIX seconds.
        kind: what the member did; a return comes from the journal and is never reported.
        sku: on which product.
        stars: of a review, 1 to 5; 0 otherwise.
    """

    at: float
    kind: Kind | Literal["return"]
    sku: str
    stars: int = 0

    @property
    def strength(self) -> float:
        """How much it speaks for the product, a purchase being 1; negative speaks against it."""
        weight = RETURN_STRENGTH if self.kind == "return" else STRENGTHS[self.kind]
        return -weight if self.kind == "review" and 0 < self.stars <= 2 else weight  # noqa: PLR2004


class Context(NamedTuple):
    """What else is known when somebody asks.

    Attributes:
        at: POSIX seconds of the request; None means the time of the newest basket.
        cart: SKUs in the basket at this moment; they are not recommended again.
        viewing: SKU of the page that is open.
        signals: of the member, newest last, as far as consent allows.
        interests: category paths that the member named, such as "Dairy/Milk".
    """

    at: float | None = None
    cart: tuple[str, ...] = ()
    viewing: str | None = None
    signals: tuple[Signal, ...] = ()
    interests: tuple[str, ...] = ()


NOTHING_ELSE = Context()
