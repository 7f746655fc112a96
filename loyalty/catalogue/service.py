"""Bulk upserts: every line is checked before the first is written."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from marshmallow import Schema, ValidationError

from loyalty.catalogue.model import (
    Counted,
    CountedInFutureError,
    Price,
    Product,
    Store,
    place_of,
)
from loyalty.catalogue.schemas import ProductSchema, StockSchema, StoreSchema, zone_exists
from loyalty.kit.errors import ConflictError, FieldError, InvalidError
from loyalty.kit.fields import flatten

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from loyalty.catalogue.stock import StockStore
    from loyalty.catalogue.store import CatalogueStore

MISTAKES_MAX = 20
# A sender's clock may be that much ahead of ours.
AHEAD_MAX = timedelta(minutes=5)
_PRODUCT = ProductSchema()
_STORE = StoreSchema()
_STOCK = StockSchema()


class InvalidLinesError(InvalidError):
    """Some lines are wrong; none was written."""

    code = "invalid_lines"
    title = "Some lines are not valid; nothing was written"


class UnknownTimeZoneError(ConflictError):
    """A store's time zone is not one that exists; nothing was written."""

    code = "unknown_time_zone"
    title = "There is no such time zone; nothing was written"


def put_products(
    lines: Iterable[bytes], *, catalogue: CatalogueStore, at: datetime | None = None
) -> int:
    """Insert or replace products; how many. What was not there counts as new from `at` on.

    Raises:
        InvalidLinesError: with the line and the field of each mistake; nothing was written.
    """
    products = []
    for each in checked_lines(lines, _PRODUCT).values():
        price = Price(**each.pop("price")) if each["price"] else each.pop("price")
        products.append(Product(price=price, tags=tuple(each.pop("tags")), **each))
    catalogue.put_products(products, at=at)
    return len(products)


def put_stores(lines: Iterable[bytes], *, catalogue: CatalogueStore) -> int:
    """Insert or replace stores; how many.

    Raises:
        InvalidLinesError: with the line and the field of each mistake; nothing was written.
        UnknownTimeZoneError: with the line; nothing was written.
    """
    documents = checked_lines(lines, _STORE)
    for number, each in documents.items():
        if not zone_exists(each["time_zone"]):
            mistake = FieldError(f"{number}.time_zone", "There is no such time zone.")
            raise UnknownTimeZoneError(f"Line {number}.", errors=(mistake,))
    catalogue.put_stores([Store(**each) for each in documents.values()])
    return len(documents)


def put_stock(lines: Iterable[bytes], *, stock: StockStore, at: datetime) -> int:
    """Keep what was counted; how many lines. An older count never undoes a newer one.

    Raises:
        InvalidLinesError: with the line and the field of each mistake; nothing was written.
        CountedInFutureError: with the line; nothing was written.
    """
    documents = checked_lines(lines, _STOCK)
    for number, each in documents.items():
        if each.get("counted_at", at) > at + AHEAD_MAX:
            mistake = FieldError(f"{number}.counted_at", "Lies in the future.")
            raise CountedInFutureError(f"Line {number}.", errors=(mistake,))
    stock.put(_counted(each, at) for each in documents.values())
    return len(documents)


def _counted(line: dict[str, Any], at: datetime) -> Counted:
    quantity = line.get("quantity")
    return Counted(
        sku=line["sku"],
        place=place_of(line.get("store"), line.get("channel")),
        available=quantity > 0 if quantity is not None else line["available"],
        quantity=quantity,
        counted_at=line.get("counted_at", at),
    )


def checked_lines(lines: Iterable[bytes], schema: Schema) -> dict[int, dict[str, Any]]:
    """What the lines say, by line number; blank lines are passed over.

    Raises:
        InvalidLinesError: with the line and the field of each mistake.
    """
    documents: dict[int, dict[str, Any]] = {}
    mistakes: list[FieldError] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            documents[number] = schema.load(orjson.loads(line))
        except orjson.JSONDecodeError:
            mistakes.append(FieldError(str(number), "Is not a line of JSON."))
        except ValidationError as error:
            mistakes += [FieldError(*each) for each in flatten(error.messages, (str(number),))]
        if len(mistakes) >= MISTAKES_MAX:
            break
    _refuse(mistakes)
    return documents


def _refuse(mistakes: list[FieldError]) -> None:
    if mistakes:
        first = mistakes[0]
        detail = f"Line {first.field}: {first.message}"
        raise InvalidLinesError(detail, errors=tuple(mistakes[:MISTAKES_MAX]))
