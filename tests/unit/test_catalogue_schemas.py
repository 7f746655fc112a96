"""Products and stores on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from marshmallow import ValidationError

from loyalty.catalogue.schemas import ProductSchema, StoreSchema, zone_exists
from loyalty.kit.fields import flatten

MILK = {"sku": "milk-1l", "name": "Whole milk 1 l"}
MAIN = {"id": "S1", "name": "Main street"}


def test_a_product_needs_a_sku_and_a_name_only() -> None:
    assert ProductSchema().load(MILK) == {
        **MILK,
        "category": "",
        "brand": "",
        "price": None,
        "image_url": None,
        "url": None,
        "sensitive": False,
        "rebuyable": True,
        "available": True,
        "tags": (),
    }


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": 5}, "sku"),
        ({"sku": "a\x00"}, "sku"),
        ({"sku": {"$gt": ""}}, "sku"),
        ({"name": "x" * 201}, "name"),
        ({"price": {"amount": 1.5, "currency": "EUR"}}, "price.amount"),
        ({"price": {"amount": -1, "currency": "EUR"}}, "price.amount"),
        ({"price": {"amount": 1, "currency": "eur"}}, "price.currency"),
        ({"price": {"amount": 1}}, "price.currency"),
        ({"price": 199}, "price"),
        ({"image_url": "javascript:alert(1)"}, "image_url"),
        ({"image_url": "https://shop.example/a b.png"}, "image_url"),
        ({"sensitive": 1}, "sensitive"),
        ({"rebuyable": "no"}, "rebuyable"),
        ({"available": None}, "available"),
        ({"stock": 5}, "stock"),
    ],
)
def test_a_mistake_in_a_product_has_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as error:
        ProductSchema().load({**MILK, **change})
    assert [where for where, _ in flatten(error.value.messages)] == [place]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"id": "S/1"}, "id"),
        ({"id": " S1"}, "id"),
        ({"id": "S1\n"}, "id"),
        ({"latitude": 91}, "latitude"),
        ({"longitude": -180.1}, "longitude"),
        ({"latitude": "52.5"}, "latitude"),
        ({"latitude": True}, "latitude"),
        ({"latitude": float("nan")}, "latitude"),
        ({"latitude": float("inf")}, "latitude"),
        ({"phone": "1"}, "phone"),
    ],
)
def test_a_mistake_in_a_store_has_its_place(change: dict[str, Any], place: str) -> None:
    with pytest.raises(ValidationError) as error:
        StoreSchema().load({**MAIN, **change})
    assert [where for where, _ in flatten(error.value.messages)] == [place]


def test_a_store_lies_somewhere() -> None:
    store = StoreSchema().load({**MAIN, "latitude": 52, "longitude": 13.4})
    assert (store["latitude"], store["longitude"], store["time_zone"]) == (52.0, 13.4, "UTC")


@pytest.mark.parametrize(("name", "exists"), [("Europe/Berlin", True), ("Berlin", False)])
def test_time_zones_are_those_of_iana(name: str, *, exists: bool) -> None:
    assert zone_exists(name) == exists
