"""Products and stores in MongoDB, keyed by sku and by id."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel, ReplaceOne, UpdateOne

from loyalty.catalogue.model import Price, Product, ProductNotFoundError, Restrictions, Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from typing import TypeAlias

    from pymongo.collection import Collection
    from pymongo.database import Database

    from loyalty.kit.mongo import Document

    Write = ReplaceOne[Document] | UpdateOne

    Selector: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]

CHUNK = 1000
# A till's baskets repeat the same products; a change of one is seen within this time.
PRODUCT_SECONDS_MAX = 5.0
PRODUCTS_KNOWN_MAX = 50_000
STORES_KNOWN_MAX = 10_000
SELECTED_MAX = 200_000
SELECTIONS_KNOWN_MAX = 50


class CatalogueStore:
    """The collections `products` and `stores`."""

    def __init__(self, database: Database[Document], *, timeout_seconds: float) -> None:
        self._products = database["products"]
        self._stores = database["stores"]
        self._timeout_seconds = timeout_seconds
        self._known: dict[str, Product | None] = {}
        self._known_since = float("-inf")
        self._known_stores: dict[str, Store | None] = {}
        self._stores_since = float("-inf")
        self._restrictions = Restrictions()
        self._selections: dict[Selector, frozenset[str]] = {}
        self._selected_since = float("-inf")
        self._restricted_since = float("-inf")

    def create_indexes(self) -> None:
        """Idempotent."""
        restricted = IndexModel(
            [("restricted", ASCENDING)],
            name="restricted",
            partialFilterExpression={"restricted": True},
        )
        # With the sku in it, so that a choice of products reads no product.
        category = IndexModel([("category", ASCENDING), ("brand", ASCENDING), ("_id", ASCENDING)])
        brand = IndexModel([("brand", ASCENDING), ("_id", ASCENDING)])
        added = IndexModel(
            [("added_at", DESCENDING)],
            name="added",
            partialFilterExpression={"added_at": {"$exists": True}},
        )
        self._products.create_indexes([restricted, category, brand, added])

    def put_products(self, products: Iterable[Product], *, at: datetime | None = None) -> None:
        """Insert or replace products, in chunks with a deadline each.

        With `at`, those that were not there count as added then; not where there was no product at
        all: a shop's first catalogue is not news.
        """
        is_first = at is None or self._products.find_one({}, {"_id": 1}) is None
        added = {} if is_first else {"$setOnInsert": {"added_at": at}}
        documents = [_product_document(each) for each in products]
        self._write(
            self._products,
            [UpdateOne(*_putting(each, added), upsert=True) for each in documents],
        )
        self._known_since = float("-inf")
        self._restricted_since = float("-inf")
        self._selected_since = float("-inf")

    def put_stores(self, stores: Iterable[Store]) -> None:
        """Insert or replace stores."""
        documents = [{"_id": each.id, **asdict(each)} for each in stores]
        for document in documents:
            del document["id"]
        self._put(self._stores, documents)
        self._stores_since = float("-inf")

    def product(self, sku: str) -> Product:
        """A product.

        Raises:
            ProductNotFoundError: the catalogue lacks it.
        """
        document = self._products.find_one({"_id": sku})
        if document is None:
            raise ProductNotFoundError
        return _product(document)

    def products(self, skus: Sequence[str]) -> dict[str, Product]:
        """Those of the products that the catalogue has, as they were at most 5 s ago."""
        known = self._fresh()
        missing = [sku for sku in skus if sku not in known]
        if missing:
            found = self._products.find({"_id": {"$in": missing}})
            fresh: dict[str, Product | None] = dict.fromkeys(missing)
            fresh.update({each["_id"]: _product(each) for each in found})
            known.update(fresh)
        return {sku: product for sku in skus if (product := known.get(sku))}

    def _fresh(self) -> dict[str, Product | None]:
        """What is known of products; thrown away whole when it is old or too much.

        Threads may share it: a dictionary's own operations are atomic, and what one thread misses
        it reads for itself.
        """
        age = time.monotonic() - self._known_since
        if age > PRODUCT_SECONDS_MAX or len(self._known) > PRODUCTS_KNOWN_MAX:
            self._known, self._known_since = {}, time.monotonic()
        return self._known

    def store(self, store_id: str) -> Store | None:
        """A store if the catalogue has it, as it was at most 5 s ago."""
        if time.monotonic() - self._stores_since > PRODUCT_SECONDS_MAX:
            self._known_stores, self._stores_since = {}, time.monotonic()
        known = self._known_stores
        if store_id not in known:
            found = self._stores.find_one({"_id": store_id})
            if len(known) >= STORES_KNOWN_MAX:
                known.clear()
            known[store_id] = Store(id=found.pop("_id"), **found) if found else None
        return known.get(store_id)

    def restrictions(self) -> Restrictions:
        """What may not be shown, or not twice, as it was at most 5 s ago."""
        if time.monotonic() - self._restricted_since > PRODUCT_SECONDS_MAX:
            began = time.monotonic()
            self._restrictions = _restrictions(self._products.find({"restricted": True}))
            self._restricted_since = began
        return self._restrictions

    def selection(self, categories: Sequence[str], brands: Sequence[str]) -> frozenset[str]:
        """The skus below any of the categories and of any of the brands, at most 5 s ago.

        An empty list stands for all; at most `SELECTED_MAX` skus.
        """
        if time.monotonic() - self._selected_since > PRODUCT_SECONDS_MAX:
            self._selections, self._selected_since = {}, time.monotonic()
        known, selector = self._selections, (tuple(categories), tuple(brands))
        if selector not in known:
            found = self._products.find(_selecting(*selector), {"_id": 1}).limit(SELECTED_MAX)
            if len(known) >= SELECTIONS_KNOWN_MAX:
                known.clear()
            known[selector] = frozenset(each["_id"] for each in found)
        return known.get(selector, frozenset())

    def categories(self) -> dict[str, str]:
        """The path of each product's category; those without one are missing.

        For a training, which holds all products anyway: reads the whole catalogue.
        """
        found = self._products.find({"category": {"$gt": ""}}, {"category": 1})
        return {each["_id"]: each["category"] for each in found}

    def added_since(self, at: datetime, *, limit: int) -> tuple[str, ...]:
        """The skus of the newest products that were added later than that."""
        found = self._products.find({"added_at": {"$gt": at}}, {"_id": 1})
        newest = found.sort("added_at", DESCENDING).limit(limit)
        return tuple(each["_id"] for each in newest)

    def described(self, skus: Sequence[str]) -> Iterator[Product]:
        """Those of the products that the catalogue has, read in chunks and kept nowhere."""
        for begin in range(0, len(skus), CHUNK):
            chunk = {"_id": {"$in": list(skus[begin : begin + CHUNK])}}
            yield from (_product(each) for each in self._products.find(chunk))

    def _put(self, collection: Collection[Document], documents: list[Document]) -> None:
        self._write(
            collection, [ReplaceOne({"_id": each["_id"]}, each, upsert=True) for each in documents]
        )

    def _write(self, collection: Collection[Document], writes: Sequence[Write]) -> None:
        for begin in range(0, len(writes), CHUNK):
            with pymongo.timeout(self._timeout_seconds * 5):
                collection.bulk_write(writes[begin : begin + CHUNK], ordered=False)


def _selecting(categories: Sequence[str], brands: Sequence[str]) -> Document:
    query: Document = {}
    if categories:
        # "0" comes after "/": a range, because an index serves no pattern with an "or" in it.
        below = [{"category": {"$gte": f"{each}/", "$lt": f"{each}0"}} for each in categories]
        query["$or"] = [{"category": {"$in": list(categories)}}, *below]
    if brands:
        query["brand"] = {"$in": list(brands)}
    return query


def _restrictions(documents: Iterable[Document]) -> Restrictions:
    found = list(documents)
    return Restrictions(
        hidden=frozenset(
            each["_id"] for each in found if each["sensitive"] or not each["available"]
        ),
        sensitive=frozenset(each["_id"] for each in found if each["sensitive"]),
        one_off=frozenset(each["_id"] for each in found if not each["rebuyable"]),
        unavailable=frozenset(each["_id"] for each in found if not each["available"]),
    )


def _putting(document: Document, added: Document) -> tuple[Document, Document]:
    """The filter and the change that put a product."""
    values = {name: value for name, value in document.items() if name != "_id"}
    return {"_id": document["_id"]}, {"$set": values, **added}


def _product_document(product: Product) -> Document:
    price = product.price
    return {
        "_id": product.sku,
        "name": product.name,
        "category": product.category,
        "brand": product.brand,
        "price": {"amount": price.amount, "currency": price.currency} if price else None,
        "image_url": product.image_url,
        "url": product.url,
        "sensitive": product.sensitive,
        "rebuyable": product.rebuyable,
        "available": product.available,
        "tags": list(product.tags),
        "restricted": product.sensitive or not (product.available and product.rebuyable),
    }


def _product(document: Document) -> Product:
    price = document["price"]
    return Product(
        sku=document["_id"],
        name=document["name"],
        category=document["category"],
        brand=document["brand"],
        price=Price(**price) if price else None,
        image_url=document["image_url"],
        # A product that was put before there were links has none.
        url=document.get("url"),
        sensitive=document["sensitive"],
        rebuyable=document["rebuyable"],
        available=document["available"],
        tags=tuple(document.get("tags", ())),
    )
