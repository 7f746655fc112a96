"""The catalogue: bulk upserts that are all or nothing, and what may not be shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from loyalty.catalogue import service
from loyalty.catalogue.model import Price, Product, ProductNotFoundError, Restrictions, Store
from loyalty.catalogue.service import MISTAKES_MAX, InvalidLinesError
from tests.builders import dump

if TYPE_CHECKING:
    from app import Parts

MILK = Product("milk", "Milk", "Food/Dairy", "Alba", Price(199, "EUR"), "https://x.example/m.png")


def lines(*documents: Any) -> list[bytes]:
    """NDJSON; text is taken as it is."""
    return [
        each.encode() if isinstance(each, str) else json.dumps(each).encode() for each in documents
    ]


def test_a_product_reads_back_as_it_was_put(parts: Parts) -> None:
    plain = Product("rye", "Rye bread")
    parts.catalogue.put_products([MILK, plain])
    assert parts.catalogue.product("milk") == MILK
    assert parts.catalogue.products(["rye", "milk", "none"]) == {"milk": MILK, "rye": plain}
    with pytest.raises(ProductNotFoundError):
        parts.catalogue.product("none")


def test_a_product_that_comes_again_is_replaced_as_a_whole(parts: Parts) -> None:
    parts.catalogue.put_products([MILK])
    assert parts.catalogue.products(["milk"]) == {"milk": MILK}
    bare = Product("milk", "Whole milk")
    parts.catalogue.put_products([bare])
    assert parts.catalogue.product("milk") == bare
    assert parts.catalogue.products(["milk"]) == {"milk": bare}
    assert parts.database["products"].count_documents({}) == 1


def test_a_product_that_was_missing_is_known_once_it_is_put(parts: Parts) -> None:
    assert parts.catalogue.products(["milk"]) == {}
    parts.catalogue.put_products([MILK])
    assert parts.catalogue.products(["milk"]) == {"milk": MILK}


def test_what_may_not_be_shown_or_not_twice(parts: Parts) -> None:
    parts.catalogue.put_products(
        [
            MILK,
            replace(MILK, sku="beer", sensitive=True),
            replace(MILK, sku="gone", available=False),
            replace(MILK, sku="fridge", rebuyable=False),
            replace(MILK, sku="both", sensitive=True, rebuyable=False),
        ]
    )
    assert parts.catalogue.restrictions() == Restrictions(
        hidden=frozenset({"beer", "gone", "both"}),
        sensitive=frozenset({"beer", "both"}),
        one_off=frozenset({"fridge", "both"}),
        unavailable=frozenset({"gone"}),
    )


def test_who_agreed_to_sensitive_products_still_gets_none_that_is_gone(parts: Parts) -> None:
    gone = replace(MILK, sku="gone", sensitive=True, available=False)
    parts.catalogue.put_products([replace(MILK, sku="beer", sensitive=True), gone])
    agreed = parts.catalogue.restrictions().without_sensitive()
    assert agreed.hidden == {"gone"}
    assert not agreed.sensitive


def test_products_are_selected_by_category_and_brand(parts: Parts) -> None:
    parts.catalogue.put_products(
        [
            MILK,
            replace(MILK, sku="gouda", category="Food"),
            replace(MILK, sku="chew", category="Food-free"),
            replace(MILK, sku="oats", brand="Hill"),
        ]
    )
    select = parts.catalogue.selection
    assert select(["Food"], []) == {"milk", "gouda", "oats"}
    assert select(["Food/Dairy"], ["Alba"]) == {"milk"}
    assert select([], ["Hill", "None"]) == {"oats"}
    assert select(["Foo", "$gt"], []) == frozenset()
    parts.catalogue.put_products([replace(MILK, sku="new")])
    assert "new" in select(["Food/Dairy"], [])


def test_a_restriction_that_is_lifted_is_gone(parts: Parts) -> None:
    parts.catalogue.put_products([replace(MILK, available=False)])
    assert parts.catalogue.restrictions().hidden == {"milk"}
    parts.catalogue.put_products([MILK])
    assert parts.catalogue.restrictions() == Restrictions(frozenset(), frozenset(), frozenset())


def test_more_products_than_fit_one_write(parts: Parts) -> None:
    parts.catalogue.put_products(Product(f"p{n}", "Thing") for n in range(2500))
    assert parts.database["products"].count_documents({}) == 2500


def test_lines_become_products(parts: Parts) -> None:
    price = {"amount": 199, "currency": "EUR"}
    body = lines(
        {"sku": "milk", "name": "Milk", "category": "Food/Dairy", "price": price},
        {"sku": "rye", "name": "Rye bread", "sensitive": False, "rebuyable": False},
    )
    for _ in range(2):
        assert service.put_products(body, catalogue=parts.catalogue) == 2
    assert parts.catalogue.product("milk").price == Price(199, "EUR")
    assert parts.catalogue.product("rye") == Product("rye", "Rye bread", rebuyable=False)
    assert parts.database["products"].count_documents({}) == 2


def test_lines_become_stores(parts: Parts) -> None:
    body = lines({"id": "S1", "name": "Main street", "time_zone": "Europe/Berlin", "latitude": 52})
    assert service.put_stores(body, catalogue=parts.catalogue) == 1
    (kept,) = parts.database["stores"].find()
    assert Store(id=kept.pop("_id"), **kept) == Store(
        "S1", "Main street", "Europe/Berlin", 52.0, None
    )


@pytest.mark.parametrize(
    ("wrong", "places"),
    [
        ('{"sku": "a"', ["2"]),
        ("NaN", ["2"]),
        ('{"sku": "a", "name": "A", "price": {"amount": NaN, "currency": "EUR"}}', ["2"]),
        ('{"sku": "\\ud800", "name": "A"}', ["2"]),
        ({"sku": "a"}, ["2.name"]),
        ({"sku": "a", "name": "A", "price": {"amount": "1"}}, ["2.price.amount", None]),
        ({"sku": {"$gt": ""}, "name": "A"}, ["2.sku"]),
        ({"sku": "a", "name": "A", "$set": {"x": 1}}, ["2.$set"]),
    ],
)
def test_one_wrong_line_is_named_and_nothing_is_written(
    parts: Parts, wrong: Any, places: list[str | None]
) -> None:
    good = {"sku": "milk", "name": "Milk"}
    with pytest.raises(InvalidLinesError) as refusal:
        service.put_products(lines(good, wrong, good), catalogue=parts.catalogue)
    found = [each.field for each in refusal.value.errors]
    assert len(found) == len(places)
    assert found[0] == places[0]
    assert dump(parts.database).get("products", []) == []


@pytest.mark.parametrize("wrong", ["[]", '"milk"', "7", "null", "true"])
def test_a_line_that_is_no_object_is_named(parts: Parts, wrong: str) -> None:
    with pytest.raises(InvalidLinesError) as refusal:
        service.put_products(lines(wrong), catalogue=parts.catalogue)
    assert refusal.value.errors[0].field.startswith("1")


def test_a_hopeless_upload_is_told_its_first_mistakes_only(parts: Parts) -> None:
    with pytest.raises(InvalidLinesError) as refusal:
        service.put_products(lines(*["x"] * 1000), catalogue=parts.catalogue)
    assert len(refusal.value.errors) == MISTAKES_MAX


def test_a_store_in_no_time_zone_is_named_and_nothing_is_written(parts: Parts) -> None:
    good, wrong = ({"id": each, "name": "x"} for each in ("S1", "S2"))
    with pytest.raises(Exception, match="2") as refusal:
        service.put_stores(lines(good, {**wrong, "time_zone": "Mars"}), catalogue=parts.catalogue)
    assert refusal.value.errors[0].field == "2.time_zone"  # type: ignore[attr-defined]
    assert dump(parts.database).get("stores", []) == []


def test_nothing_is_nothing(parts: Parts) -> None:
    assert service.put_products([], catalogue=parts.catalogue) == 0
    assert parts.catalogue.products([]) == {}
