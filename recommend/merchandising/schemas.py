"""The shapes of rules on the wire, and how each becomes a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from marshmallow import Schema, ValidationError, fields

from loyalty.catalogue.schemas import STORE_PATTERN
from loyalty.kit.fields import (
    Choice,
    Instant,
    Items,
    Moment,
    Number,
    OneOf,
    QueryWhole,
    Text,
    Whole,
)
from loyalty.kit.schemas import Input, Output
from loyalty.program.document import channel_field
from recommend.merchandising.model import (
    LIMIT_MAX,
    RULES_MAX,
    AtMost,
    Diversity,
    Factor,
    Hide,
    Match,
    Pin,
    RuleSet,
    Scope,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from recommend.merchandising.model import Rule

NAMES_MAX = 200
VERSIONS_MAX = 1_000_000
NAME_PATTERN = "^[a-z][a-z0-9_-]{0,39}$"
_MATCHES = ("skus", "categories", "brands", "tags")


class ProductMatchSchema(Input):
    """Which products: named by any of the lists."""

    skus = Items(Text(64), NAMES_MAX)
    categories = Items(
        Text(200), NAMES_MAX, metadata={"description": "Paths such as `Dairy`: all below them."}
    )
    brands = Items(Text(100), NAMES_MAX)
    tags = Items(Text(40), NAMES_MAX)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "anyOf": [{"required": [each]} for each in _MATCHES]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """It names something."""
        if not data:
            raise ValidationError(f"Give one of: {', '.join(_MATCHES)}.")


class OnlySchema(Input):
    """Where the rule holds."""

    channels = Items(channel_field(), NAMES_MAX)
    stores = Items(Text(64, pattern=STORE_PATTERN), NAMES_MAX)


class _RuleSchema(Input):
    id = Text(40, pattern=NAME_PATTERN, required=True)
    # marshmallow takes declared fields off the class, so its own attribute `only` is not touched.
    only = fields.Nested(OnlySchema)  # type: ignore[assignment]
    starts_at = Moment(metadata={"description": "From when on; always if absent."})
    ends_at = Moment(metadata={"description": "Until before when; for ever if absent."})


class _MatchingSchema(_RuleSchema):
    match = fields.Nested(ProductMatchSchema, required=True)


class BoostSchema(_MatchingSchema):
    """Products come earlier."""

    type = Choice(["boost"], required=True)
    factor = Number(1, 100, required=True, metadata={"description": "The score counts so often."})


class BurySchema(_MatchingSchema):
    """Products come later."""

    type = Choice(["bury"], required=True)
    factor = Number(0, 1, required=True, metadata={"description": "The score counts so often."})


class HideSchema(_MatchingSchema):
    """Products are not shown."""

    type = Choice(["hide"], required=True)


class PinSchema(_MatchingSchema):
    """Products get places, if they may be shown at all."""

    type = Choice(["pin"], required=True)
    positions = Items(
        Whole(1, LIMIT_MAX), 20, length_min=1, metadata={"description": "Counted from 1."}
    )
    share = Number(0.01, 1, metadata={"description": "Of all places, evenly spread."})

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": ["positions"]}, {"required": ["share"]}]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """One way to say which places."""
        if ("positions" in data) == ("share" in data):
            raise ValidationError("Give either positions or share.", "positions")


class AtMostSchema(_RuleSchema):
    """At most so many of each brand, of each category, or of the products that match."""

    type = Choice(["at_most"], required=True)
    n = Whole(1, LIMIT_MAX, required=True)
    by = Choice(["category", "brand"])
    depth = Whole(1, 20, metadata={"description": "Of the category's path; all of it if absent."})
    match = fields.Nested(ProductMatchSchema)

    extra_json_schema: ClassVar[dict[str, Any]] = {
        "oneOf": [{"required": ["by"]}, {"required": ["match"]}]
    }

    def check(self, data: Mapping[str, Any]) -> None:
        """One way to say of what."""
        if ("by" in data) == ("match" in data):
            raise ValidationError("Give either by or match.", "by")


class DiversitySchema(_RuleSchema):
    """Each further product of a category or brand counts less than the one before."""

    type = Choice(["diversity"], required=True)
    strength = Number(0, 1, required=True, metadata={"description": "0: not at all, 1: at last."})
    by = Choice(["category", "brand"], load_default="category")
    depth = Whole(1, 20, metadata={"description": "Of the category's path; all of it if absent."})


SHAPES: dict[str, type[Schema]] = {
    "boost": BoostSchema,
    "bury": BurySchema,
    "pin": PinSchema,
    "hide": HideSchema,
    "at_most": AtMostSchema,
    "diversity": DiversitySchema,
}


class PutRulesSchema(Input):
    """A set of rules, and the version that it replaces."""

    rules = Items(OneOf(SHAPES), RULES_MAX, required=True)
    replaces = Whole(
        0,
        VERSIONS_MAX,
        metadata={"description": "The version you read; whichever stands, if absent. 0: none."},
    )


class VersionQuerySchema(Input):
    """Which version."""

    version = QueryWhole(1, VERSIONS_MAX, metadata={"description": "The newest if absent."})


class RuleSetSchema(Output):
    """A version of a set of rules."""

    name = fields.String(required=True)
    version = fields.Integer(required=True)
    put_at = Instant(required=True)
    put_by = fields.String(required=True)
    rules = fields.List(OneOf(SHAPES), required=True)


class RuleSetNameSchema(Output):
    """A set and its newest version."""

    name = fields.String(required=True)
    version = fields.Integer(required=True)


class RuleSetsSchema(Output):
    """All sets, by name."""

    sets = fields.List(fields.Nested(RuleSetNameSchema), required=True)


def read(
    name: str, version: int, document: Mapping[str, Any], *, put_at: datetime, put_by: str
) -> RuleSet:
    """The set of a checked document."""
    rules = tuple(_READERS[each["type"]](each) for each in document["rules"])
    return RuleSet(name, version, document, rules, put_at, put_by)


def _scope(rule: Mapping[str, Any]) -> Scope:
    only = rule.get("only", {})
    return Scope(
        frozenset(only.get("channels", ())),
        frozenset(only.get("stores", ())),
        rule.get("starts_at"),
        rule.get("ends_at"),
    )


def _match(rule: Mapping[str, Any]) -> Match:
    match = rule.get("match", {})
    return Match(
        tuple(match.get("skus", ())),
        tuple(match.get("categories", ())),
        frozenset(match.get("brands", ())),
        frozenset(match.get("tags", ())),
    )


def _factor(rule: Mapping[str, Any]) -> Factor:
    return Factor(rule["id"], _scope(rule), _match(rule), rule["factor"])


def _pin(rule: Mapping[str, Any]) -> Pin:
    positions, share = tuple(rule.get("positions", ())), rule.get("share", 0.0)
    return Pin(rule["id"], _scope(rule), _match(rule), positions, share)


def _hide(rule: Mapping[str, Any]) -> Hide:
    return Hide(rule["id"], _scope(rule), _match(rule))


def _at_most(rule: Mapping[str, Any]) -> AtMost:
    by, depth = rule.get("by"), rule.get("depth")
    return AtMost(rule["id"], _scope(rule), rule["n"], by, depth, _match(rule))


def _diversity(rule: Mapping[str, Any]) -> Diversity:
    return Diversity(rule["id"], _scope(rule), rule["strength"], rule["by"], rule.get("depth"))


_READERS: dict[str, Callable[[Mapping[str, Any]], Rule]] = {
    "boost": _factor,
    "bury": _factor,
    "pin": _pin,
    "hide": _hide,
    "at_most": _at_most,
    "diversity": _diversity,
}
