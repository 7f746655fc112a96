"""The catalogue over HTTP: bulk upserts as NDJSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from loyalty.catalogue import service
from loyalty.catalogue.model import CountedInFutureError, ProductNotFoundError, place_of
from loyalty.catalogue.schemas import (
    ProductSchema,
    ShownStockSchema,
    StockQuerySchema,
    StockSchema,
    StoreSchema,
    UpsertedSchema,
)
from loyalty.catalogue.service import InvalidLinesError, UnknownTimeZoneError
from loyalty.catalogue.stock import StockStore
from loyalty.catalogue.store import CatalogueStore
from loyalty.kit.clock import now
from loyalty.kit.errors import TooLargeError, UnsupportedMediaError
from loyalty.kit.http import Answer, Blueprint, ndjson_lines, provided

blp = Blueprint("catalogue", __name__, description="Products, stores and stock.")

LINE_BYTES_MAX = 16_384
_PRODUCT = {
    "sku": "milk-1l",
    "name": "Whole milk 1 l",
    "category": "Dairy/Milk",
    "brand": "Meadow",
    "price": {"amount": 119, "currency": "EUR"},
    "image_url": None,
    "url": "https://shop.example/milk-1l",
    "sensitive": False,
    "rebuyable": True,
    "available": True,
    "tags": ["own-brand"],
}
_STOCK = {
    "sku": "milk-1l",
    "store": "S1",
    "quantity": 12,
    "counted_at": "2026-03-01T09:30:00Z",
}
_SHOWN_STOCK = {
    "sku": "milk-1l",
    "available": True,
    "counts": [
        {
            "place": "store:S1",
            "available": True,
            "quantity": 12,
            "counted_at": "2026-03-01T09:30:00Z",
        }
    ],
}
_STORE = {"id": "S1", "name": "Main street", "time_zone": "Europe/Berlin"}


@blp.route("/products", methods=["PUT"])
@blp.requires("catalogue:write", bulk=True)
@blp.ndjson_body(ProductSchema, example=_PRODUCT)
@blp.response(200, UpsertedSchema, example={"written": 1})
@blp.raises(InvalidLinesError, TooLargeError, UnsupportedMediaError)
def put_products() -> Answer:
    """Insert or replace products in bulk.

    NDJSON, a product a line. All lines are checked first: if one is wrong, none is written. Sending
    the same lines again is safe.
    """
    lines = ndjson_lines(line_bytes_max=LINE_BYTES_MAX)
    return {"written": service.put_products(lines, catalogue=provided(CatalogueStore), at=now())}


@blp.route("/stores", methods=["PUT"])
@blp.requires("catalogue:write", bulk=True)
@blp.ndjson_body(StoreSchema, example=_STORE)
@blp.response(200, UpsertedSchema, example={"written": 1})
@blp.raises(InvalidLinesError, UnknownTimeZoneError, TooLargeError, UnsupportedMediaError)
def put_stores() -> Answer:
    """Insert or replace stores in bulk.

    NDJSON, a store a line, checked as a whole before anything is written.
    """
    lines = ndjson_lines(line_bytes_max=LINE_BYTES_MAX)
    return {"written": service.put_stores(lines, catalogue=provided(CatalogueStore))}


@blp.route("/stock", methods=["PUT"])
@blp.requires("catalogue:write", bulk=True)
@blp.ndjson_body(StockSchema, example=_STOCK)
@blp.response(200, UpsertedSchema, example={"written": 1})
@blp.raises(InvalidLinesError, CountedInFutureError, TooLargeError, UnsupportedMediaError)
def put_stock() -> Answer:
    """Say what a store or a channel has, in bulk.

    NDJSON, a product at a place a line, checked as a whole before anything is written. What is
    sold out at a place is not recommended there from five seconds later on. A line that was counted
    earlier than what is known changes nothing, so that a late upload does no harm.
    """
    lines = ndjson_lines(line_bytes_max=LINE_BYTES_MAX)
    return {"written": service.put_stock(lines, stock=provided(StockStore), at=now())}


@blp.route("/stock", methods=["GET"])
@blp.requires("catalogue:read")
@blp.arguments(StockQuerySchema, location="query")
@blp.response(200, ShownStockSchema, example=_SHOWN_STOCK)
@blp.raises()
def show_stock(query: dict[str, Any]) -> Answer:
    """Read whether a product can be had at a place, and what says so.

    A product that nobody counted can be had.
    """
    named = (query.get("store"), None), (None, query.get("channel"))
    places = [place_of(store, channel) for store, channel in named if store or channel]
    counts = provided(StockStore).counts(query["sku"], places)
    return {
        "sku": query["sku"],
        "available": all(each.available for each in counts),
        "counts": [
            {
                "place": each.place,
                "available": each.available,
                "quantity": each.quantity,
                "counted_at": each.counted_at,
            }
            for each in counts
        ],
    }


@blp.route("/products/<sku>")
@blp.requires("catalogue:read")
@blp.response(200, ProductSchema, example=_PRODUCT)
@blp.raises(ProductNotFoundError)
def show_product(sku: str) -> Answer:
    """Read a product."""
    return asdict(provided(CatalogueStore).product(sku))
