"""Put the register together out of what is configured at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loyalty.register.model import ALIASES, CATEGORIES, COLLECTIONS, MEASURES, MEMBERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from loyalty.access.model import Key
    from loyalty.register.model import Category, Purpose
    from loyalty.retention.model import Rules

TRANSFERS = "none by Carnet itself: it sends data to nobody, and runs where the shop runs it"


def register(
    *,
    at: datetime,
    controller: Mapping[str, Any],
    purposes: Iterable[Purpose],
    scopes_by_purpose: Mapping[str, frozenset[str]],
    keys: Iterable[Key],
    rules: Rules,
) -> dict[str, Any]:
    """The register of processing activities (Art. 30(1) GDPR), as JSON.

    Args:
        at: now.
        controller: whose register it is.
        purposes: why personal data is used.
        scopes_by_purpose: the scopes of the views that use it for each.
        keys: the API keys; those that are revoked are no recipients any more.
        rules: how long data is kept.
    """
    living = [key for key in keys if key.revoked_at is None]
    return {
        "at": at,
        "controller": dict(controller),
        "purposes": [
            _purpose(each, scopes_by_purpose.get(each.name, frozenset()), living, rules)
            for each in purposes
        ],
        "categories": [_category(name, each, rules) for name, each in CATEGORIES.items()],
        "transfers": TRANSFERS,
        "measures": list(MEASURES),
    }


def _purpose(
    purpose: Purpose, scopes: frozenset[str], keys: list[Key], rules: Rules
) -> dict[str, Any]:
    names = dict.fromkeys(ALIASES.get(each, each) for each in purpose.categories)
    return {
        **purpose._asdict(),
        "channels": list(purpose.channels),
        "categories": list(names),
        "subjects": MEMBERS,
        "scopes": sorted(scopes),
        "recipients": [
            {"key_id": key.id, "name": key.name, "scopes": sorted(scopes & key.scopes)}
            for key in keys
            if scopes & key.scopes
        ],
        "kept": {name: kept(CATEGORIES[name], rules) for name in names if name in CATEGORIES},
    }


def _category(name: str, category: Category, rules: Rules) -> dict[str, Any]:
    return {
        "name": name,
        "text": category.text,
        "is_personal": category.is_personal,
        "kept": kept(category, rules),
        "protection": category.protection,
        "collections": [each for each, names in COLLECTIONS.items() if name in names],
    }


def kept(category: Category, rules: Rules) -> str:
    """For how long a category is kept, in words."""
    if not category.rule:
        return category.kept
    unit = category.rule.rpartition("_")[2]
    return f"{rules.period(category.rule)} {unit} {category.kept}"
