"""Mistakes of one rule: names that are not there, and conditions under which it could never pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loyalty.kit.fields import Moment
from loyalty.program.condition import ConditionError, compile_condition
from loyalty.program.model import POINTS
from loyalty.program.rules_document import FACTORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Document = Mapping[str, Any]
    Mistakes = Iterator[tuple[str, str]]

_PARTS = ("only", "excluding")
_PLACES = ("channels", "stores")
_PRODUCTS = ("skus", "categories", "brands")
_OF_LINES = ("lines_min_amount", "quantity_min")
_WITHOUT_LINES = ("nth_channel", "first_on_channel", "referral")
_OF_BASKET = ("basket_min_amount", "basket_max_amount", "payment", "fulfilment", "first_purchase")


@dataclass(frozen=True, slots=True)
class Names:
    """What the rules may name: the programme's channels, units, groups and tiers.

    `spend_units` are the units that spend rules pay.
    """

    channels: tuple[str, ...]
    units: frozenset[str]
    groups: frozenset[str]
    tiers: frozenset[str]
    spend_units: frozenset[str]


def rule_mistakes(rule: Document, place: str, names: Names) -> Mistakes:
    """The places and the sentences of what is wrong with one rule."""
    yield from _name_mistakes(rule, place, names)
    yield from _channel_mistakes(rule, place, names)
    yield from _match_mistakes(rule, place, names)
    yield from _line_mistakes(rule, place)
    yield from _limit_mistakes(rule, place)
    yield from _points_mistakes(rule, place, names)
    if "when" in rule:
        yield from _when_mistakes(rule["when"], f"{place}.when", names)


def _name_mistakes(rule: Document, place: str, names: Names) -> Mistakes:
    for name, known in (("unit", names.units), ("group", names.groups)):
        if name in rule and rule[name] not in known:
            yield f"{place}.{name}", f"The programme has no {name} {rule[name]}."


def _channel_mistakes(rule: Document, place: str, names: Names) -> Mistakes:
    lists = {f"{part}.channels": rule.get(part, {}).get("channels", ()) for part in _PARTS}
    lists["first_channels"] = rule.get("first_channels", ())
    for where, channels in lists.items():
        for position, channel in enumerate(channels):
            if channel not in names.channels:
                yield f"{place}.{where}.{position}", f"The programme has no channel {channel}."
    for name in ("n", "channels_min"):
        is_of_channels = rule["type"] in ("nth_channel", "channels_multiplier")
        if is_of_channels and rule.get(name, 0) > len(names.channels):
            yield f"{place}.{name}", f"The programme has only {len(names.channels)} channels."


def _match_mistakes(rule: Document, place: str, names: Names) -> Mistakes:
    """Rules of which every activity or product is excluded again."""
    only, excluding = rule.get("only", {}), rule.get("excluding", {})
    for name in _PLACES:
        meant, left_out = set(only.get(name, ())), set(excluding.get(name, ()))
        if meant and meant <= left_out:
            yield f"{place}.only.{name}", "All of these are excluded: the rule could never pay."
    if not only.get("channels") and set(names.channels) <= set(excluding.get("channels", ())):
        yield f"{place}.excluding.channels", "All channels are excluded: the rule could never pay."
    products = [name for name in _PRODUCTS if only.get(name)]
    if products and all(set(only[name]) <= set(excluding.get(name, ())) for name in products):
        yield f"{place}.only.{products[0]}", "All of these are excluded: the rule could never pay."


def _line_mistakes(rule: Document, place: str) -> Mistakes:
    """Rules that look at no lines: a product in them would silently match everything."""
    kind, when = rule["type"], rule.get("when", {})
    is_visit = rule.get("counts") == "visits" or kind == "engagement"
    what = "A rule that counts visits" if rule.get("counts") else f"A rule of type {kind}"
    if is_visit or kind in _WITHOUT_LINES:
        for part in _PARTS:
            for name in _PRODUCTS:
                if rule.get(part, {}).get(name):
                    yield f"{place}.{part}.{name}", f"{what} has no products."
        for name in _OF_LINES:
            if name in when:
                yield f"{place}.when.{name}", f"{what} has no products."
    for name in _OF_BASKET:
        if name in when and is_visit:
            yield f"{place}.when.{name}", f"{what} has no basket."
        elif name in when and rule.get("referrer_points"):
            yield f"{place}.when.{name}", "The referrer, who is paid too, buys nothing then."


def _limit_mistakes(rule: Document, place: str) -> Mistakes:
    limits = {f"points_max.{period}": most for period, most in rule.get("points_max", {}).items()}
    if "budget" in rule:
        limits["budget"] = rule["budget"]
    if "mode" in rule and not limits:
        yield f"{place}.mode", "It says what happens at points_max or budget, and neither is set."
    for name, most in limits.items():
        if rule.get("mode") == "hard" and rule.get("points", 0) > most and _pays_points(rule):
            yield (
                f"{place}.{name}",
                f"One award is {rule['points']}, more than {most}: the rule could never pay.",
            )


def _pays_points(rule: Document) -> bool:
    """Whether each award is at least the rule's `points`; of a spend rule it may be less."""
    return str(rule["type"]) != "spend"


def _points_mistakes(rule: Document, place: str, names: Names) -> Mistakes:
    kind, unit = rule["type"], rule.get("unit", POINTS)
    if kind in FACTORS and unit not in names.spend_units:
        yield f"{place}.type", f"No spend rule pays {unit}: there is nothing to multiply."
    if kind == "referral" and not rule["friend_points"] + rule["referrer_points"]:
        yield f"{place}.friend_points", "Neither the friend nor the referrer would get points."
    if kind == "journey" and rule["other_channel"]:
        yield from _journey_mistakes(rule, place, names)


def _journey_mistakes(rule: Document, place: str, names: Names) -> Mistakes:
    """A journey from a channel to another one, where there is no other."""
    buying = set(rule.get("only", {}).get("channels") or names.channels)
    buying -= set(rule.get("excluding", {}).get("channels", ()))
    looking = set(rule.get("first_channels") or names.channels)
    if len(buying | looking) == 1:
        (channel,) = buying | looking
        yield (
            f"{place}.other_channel",
            f"Looking and buying both are on {channel}: no other channel can follow.",
        )


def _when_mistakes(when: Document, place: str, names: Names) -> Mistakes:
    starts_at, ends_at = when.get("starts_at"), when.get("ends_at")
    if starts_at and ends_at and Moment().read(starts_at) >= Moment().read(ends_at):
        yield f"{place}.ends_at", "Must be after starts_at."
    hours = when.get("hours")
    if hours and hours["from"] == hours["to"]:
        yield f"{place}.hours.to", "Must differ from the time where the hours begin."
    if "clock" in when and not (hours or "weekdays" in when):
        yield f"{place}.clock", "It says whose hours and weekdays are meant, and neither is set."
    least, most = when.get("basket_min_amount", 0), when.get("basket_max_amount")
    if most is not None and least > most:
        yield f"{place}.basket_max_amount", "Must not be below basket_min_amount."
    for position, tier in enumerate(when.get("tiers", ())):
        if tier not in names.tiers:
            yield f"{place}.tiers.{position}", f"The programme has no tier {tier}."
    if when.get("first_purchase") and when.get("stages") and "acquisition" not in when["stages"]:
        yield f"{place}.stages", "Before the first purchase a member is in acquisition."
    if "condition" in when:
        yield from _condition_mistakes(when["condition"], f"{place}.condition")


def _condition_mistakes(source: str, place: str) -> Mistakes:
    try:
        compile_condition(source)
    except ConditionError as error:
        end = "" if error.message.endswith("?") else "."
        yield place, f"Line {error.line}, column {error.column}: {error.message}{end}"
