"""Products and stores as values."""

from __future__ import annotations

from dataclasses import dataclass

from loyalty.kit.errors import NotFoundError


class ProductNotFoundError(NotFoundError):
    """The catalogue lacks the sku."""

    code = "product_not_found"
    title = "There is no such product"


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
    """Skus that may not be shown to anybody, not used as input, or not shown to who has them."""

    hidden: frozenset[str]
    sensitive: frozenset[str]
    one_off: frozenset[str]
