"""Products and stores as values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from loyalty.kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime


class ProductNotFoundError(NotFoundError):
    """The catalogue lacks the sku."""

    code = "product_not_found"
    title = "There is no such product"


class CountedInFutureError(ConflictError):
    """Stock was not counted yet, by our clock; nothing was written."""

    code = "counted_in_future"
    title = "Stock was counted in the future; nothing was written"


@dataclass(frozen=True, slots=True)
class Price:
    """An amount in minor units and its currency."""

    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Product:
    """Something the shop sells. `category` is a path: `Dairy/Milk`.

    A sensitive product is neither shown nor used without explicit consent; one that is not
    re-buyable is not shown to a member who has bought it.
    """

    sku: str
    name: str
    category: str = ""
    brand: str = ""
    price: Price | None = None
    image_url: str | None = None
    url: str | None = None
    sensitive: bool = False
    rebuyable: bool = True
    available: bool = True
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Store:
    """A place where the shop sells."""

    id: str
    name: str
    time_zone: str = "UTC"
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Restrictions:
    """Skus that may not be shown to anybody, not used as input, or not shown to who has them.

    `unavailable` are those of `hidden` that are so for another reason than being sensitive.
    """

    hidden: frozenset[str] = frozenset()
    sensitive: frozenset[str] = frozenset()
    one_off: frozenset[str] = frozenset()
    unavailable: frozenset[str] = frozenset()

    def without_sensitive(self) -> Restrictions:
        """The same for a member who explicitly agreed to sensitive products."""
        return replace(self, hidden=self.unavailable, sensitive=frozenset())


class Counted(NamedTuple):
    """Whether a place has a product, as it was counted at a time.

    Attributes:
        sku: the product.
        place: `store:S1`, `channel:web`, or `EVERY_PLACE`.
        available: whether it can be bought there.
        quantity: how many there are, if that was counted.
        counted_at: when.
    """

    sku: str
    place: str
    available: bool
    quantity: int | None
    counted_at: datetime


EVERY_PLACE = "everywhere"


def place_of(store: str | None, channel: str | None) -> str:
    """The name of the place that a store or a channel is; without either, all of them."""
    if store:
        return f"store:{store}"
    return f"channel:{channel}" if channel else EVERY_PLACE
