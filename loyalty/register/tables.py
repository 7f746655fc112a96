"""The register as rows: for a spreadsheet, and for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = (
    "purpose",
    "description",
    "lawful_basis",
    "article",
    "channels",
    "data_subjects",
    "categories",
    "kept",
    "recipients",
)


def rows_of(body: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each purpose, lists joined by semicolons."""
    return [
        (
            each["name"],
            each["text"],
            each["basis"],
            each["article"],
            "; ".join(each["channels"]),
            each["subjects"],
            "; ".join(each["categories"]),
            "; ".join(f"{name}: {text}" for name, text in each["kept"].items()),
            "; ".join(key["name"] or key["key_id"] for key in each["recipients"]),
        )
        for each in body["purposes"]
    ]


def tables_of(body: Mapping[str, Any]) -> list[Table]:
    """Purposes, and categories of data."""
    purposes = Table("purpose", "lawful basis", "data", "recipients", title="Purposes")
    for each in body["purposes"]:
        names = ", ".join(key["name"] or key["key_id"] for key in each["recipients"])
        basis = f"{each['basis']}, Art. {each['article']}"
        purposes.add_row(each["name"], basis, ", ".join(each["categories"]), names)
    categories = Table("category", "what", "kept", title="Categories of data")
    for each in body["categories"]:
        categories.add_row(each["name"], each["text"], each["kept"])
    return [purposes, categories]
