"""The catalogue over HTTP: bulk upserts as NDJSON."""

from __future__ import annotations

from dataclasses import asdict

from loyalty.catalogue import service
from loyalty.catalogue.model import ProductNotFoundError
from loyalty.catalogue.schemas import ProductSchema, StoreSchema, UpsertedSchema
from loyalty.catalogue.service import InvalidLinesError, UnknownTimeZoneError
from loyalty.catalogue.store import CatalogueStore
from loyalty.kit.errors import TooLargeError, UnsupportedMediaError
from loyalty.kit.http import Answer, Blueprint, ndjson_lines, provided

blp = Blueprint("catalogue", __name__, description="Products and stores.")

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
    return {"written": service.put_products(lines, catalogue=provided(CatalogueStore))}


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


@blp.route("/products/<sku>")
@blp.requires("catalogue:read")
@blp.response(200, ProductSchema, example=_PRODUCT)
@blp.raises(ProductNotFoundError)
def show_product(sku: str) -> Answer:
    """Read a product."""
    return asdict(provided(CatalogueStore).product(sku))
