"""Rules of what is shown, as values, and why one may be refused. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from loyalty.kit.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from loyalty.catalogue.model import Product

DEFAULT = "default"
RULES_MAX = 100
SETS_MAX = 100
"""Named sets of rules that a shop may keep."""
LIMIT_MAX = 100
"""Most items that are arranged at once."""

By: TypeAlias = Literal["category", "brand"]


class RulesNotFoundError(NotFoundError):
    """Nobody has put a set of that name, or not that version of it."""

    code = "rules_not_found"
    title = "There is no such set of rules"


class InvalidRulesError(ConflictError):
    """The rules do not fit together; `errors` names each place."""

    code = "invalid_rules"
    title = "The rules do not fit together"


class StaleRulesError(ConflictError):
    """Somebody has put another version since the one that was read."""

    code = "stale_rules"
    title = "The rules were changed meanwhile"


class TooManyRuleSetsError(ConflictError):
    """The shop keeps as many sets as there may be."""

    code = "too_many_rule_sets"
    title = "There are too many sets of rules"


class Where(NamedTuple):
    """When and where something is shown. `at` is aware."""

    at: datetime
    channel: str | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """When and where a rule holds: from `starts_at` until before `ends_at`; empty means all."""

    channels: frozenset[str] = frozenset()
    stores: frozenset[str] = frozenset()
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def holds(self, where: Where) -> bool:
        """Whether it does there and then."""
        return (
            (not self.channels or where.channel in self.channels)
            and (not self.stores or where.store in self.stores)
            and (self.starts_at is None or self.starts_at <= where.at)
            and (self.ends_at is None or where.at < self.ends_at)
        )


@dataclass(frozen=True, slots=True)
class Match:
    """Products: named by any of the lists. Categories are paths and mean all below them."""

    skus: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    brands: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()

    def covers(self, sku: str, product: Product | None) -> bool:
        """Whether it names the product."""
        if sku in self.skus:
            return True
        return product is not None and (
            product.brand in self.brands
            or not self.tags.isdisjoint(product.tags)
            or any(is_below(product.category, each) for each in self.categories)
        )


@dataclass(frozen=True, slots=True)
class Factor:
    """Boost (above 1) or bury (below 1): the score counts that many times."""

    id: str
    scope: Scope
    match: Match
    factor: float

    @property
    def label(self) -> str:
        """How an item says that the rule touched it."""
        return f"{'boost' if self.factor >= 1 else 'bury'}: {self.id}"


@dataclass(frozen=True, slots=True)
class Pin:
    """Products get places: the `positions`, counted from 1, or a `share` of all."""

    id: str
    scope: Scope
    match: Match
    positions: tuple[int, ...] = ()
    share: float = 0.0

    @property
    def label(self) -> str:
        """How an item says that the rule touched it."""
        return f"pin: {self.id}"


@dataclass(frozen=True, slots=True)
class Hide:
    """Products are not shown."""

    id: str
    scope: Scope
    match: Match


@dataclass(frozen=True, slots=True)
class AtMost:
    """At most `n` of each brand, of each category down to a depth, or of all that match."""

    id: str
    scope: Scope
    n: int
    by: By | None = None
    depth: int | None = None
    match: Match = Match()

    def key(self, sku: str, product: Product | None) -> str | None:
        """What the product is counted under; None if it is not."""
        if self.by is None:
            return "" if self.match.covers(sku, product) else None
        return key_by(self.by, self.depth, product)


@dataclass(frozen=True, slots=True)
class Diversity:
    """Each further product of a category or brand counts `1 - strength` times the one before."""

    id: str
    scope: Scope
    strength: float
    by: By = "category"
    depth: int | None = None


Rule: TypeAlias = Factor | Pin | Hide | AtMost | Diversity


@dataclass(frozen=True, slots=True)
class RuleSet:
    """An immutable version of a named set of rules; version 0 is no rules at all."""

    name: str
    version: int
    document: Mapping[str, Any]
    rules: tuple[Rule, ...]
    put_at: datetime | None = None
    put_by: str = ""


def nothing(name: str = DEFAULT) -> RuleSet:
    """The set that stands before anybody has put one."""
    return RuleSet(name, 0, {"rules": []}, ())


def in_force(rules: Sequence[Rule], where: Where) -> list[Rule]:
    """The rules that hold there and then, in their order."""
    return [each for each in rules if each.scope.holds(where)]


def is_below(category: str, path: str) -> bool:
    """Whether a category is a path or below it."""
    return category == path or category.startswith(f"{path}/")


def key_by(by: By, depth: int | None, product: Product | None) -> str | None:
    """The brand, or the category down to a depth; None where the product has none."""
    if product is None:
        return None
    if by == "brand":
        return product.brand or None
    path = product.category if depth is None else "/".join(product.category.split("/")[:depth])
    return path or None
