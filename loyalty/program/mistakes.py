"""What no schema can see: mistakes between the parts of a programme's document.

Each is a pair of its dotted place and one sentence for the person who wrote the programme. What is
refused here could never pay, would pay something else than it says, or names what is not there.
Mistakes of a single rule are in `rule_mistakes.py`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, available_timezones

from loyalty.program.model import POINTS, Stages
from loyalty.program.rule_mistakes import Names, rule_mistakes
from loyalty.program.rules_document import stage
from loyalty.program.units_document import RETURN_WINDOW, read_unit, read_units

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from loyalty.program.validity import UnitPolicy

    Document = Mapping[str, Any]
    Mistakes = Iterator[tuple[str, str]]

# A leap year: whatever a date of earning can do to an expiry, it does on one of its days.
_A_YEAR = [datetime(2028, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(366)]
_SHORTEST_MONTH_DAYS = 28
_FIXED_DATE_FORBIDS = ("months", "days", "end_of", "each_year_on")
_KINDS = ("spend points", "a factor", "points of other kinds")


def mistakes(document: Document) -> Mistakes:
    """The place of each mistake and what is wrong there."""
    if document["time_zone"] not in _zones():
        yield "time_zone", f"There is no time zone {document['time_zone']}."
    for position, channel in enumerate(document["channels"]):
        if channel in document["channels"][:position]:
            yield f"channels.{position}", f"{channel} is named twice."
    yield from _unit_mistakes(document)
    yield from _return_mistakes(document)
    yield from _payment_mistakes(document)
    yield from _stage_mistakes(document)
    yield from _tier_mistakes(document)
    yield from _group_mistakes(document)
    names = _names(document)
    ids: dict[str, int] = {}
    for position, rule in enumerate(document["rules"]):
        place = f"rules.{position}"
        if rule["id"] in ids:
            yield f"{place}.id", f"Rule {ids[rule['id']]} has the same id."
        ids.setdefault(rule["id"], position)
        yield from rule_mistakes(rule, place, names)


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """The zones there are: looking through the files takes longer than all the rest."""
    return frozenset(available_timezones())


def _names(document: Document) -> Names:
    """What the rules may name."""
    ladder = document["tiers"]["ladder"] if "tiers" in document else []
    return Names(
        channels=tuple(document["channels"]),
        units=frozenset(read_units(document)),
        groups=frozenset(document.get("groups", ())),
        tiers=frozenset(tier["id"] for tier in ladder),
        spend_units=frozenset(
            rule.get("unit", POINTS) for rule in document["rules"] if rule["type"] == "spend"
        ),
    )


def _unit_mistakes(document: Document) -> Mistakes:
    units: Document = document.get("units", {})
    if "expires_after_months" in document and "expiry" in units.get(POINTS, {}):
        yield "expires_after_months", f"The expiry of {POINTS} is set in units already."
    for name, unit in units.items():
        place = f"units.{name}"
        for position, channel in enumerate(unit.get("channels", ())):
            if channel not in document["channels"]:
                yield f"{place}.channels.{position}", f"The programme has no channel {channel}."
        expiry = unit.get("expiry", {})
        yield from _expiry_mistakes(expiry, f"{place}.expiry")
        if "pending" in unit:
            yield from _pending_mistakes(document, unit, f"{place}.pending")


def _expiry_mistakes(expiry: Document, place: str) -> Mistakes:
    if "on" in expiry:
        for name in _FIXED_DATE_FORBIDS:
            if name in expiry:
                yield f"{place}.{name}", "One fixed date is set for all: leave this or `on` out."
    if "end_of" in expiry and "each_year_on" in expiry:
        yield f"{place}.each_year_on", "The end is set by end_of already: leave one of them out."


def _pending_mistakes(document: Document, unit: Document, place: str) -> Mistakes:
    window_days = document.get("returns", {}).get("window_days", 30)
    policy = read_unit(unit, window_days=window_days)
    expiry = policy.expiry
    if expiry.on and policy.pending_until and policy.pending_until > expiry.on:
        yield place, f"The points would expire on {expiry.on} before they can be spent."
    if day := _lost_day(policy):
        earned = f"{day.day} {day:%B}"
        yield place, f"Points earned on {earned} would expire before they can be spent."
    idle_days = expiry.idle_months * _SHORTEST_MONTH_DAYS + expiry.idle_days
    if 0 < idle_days <= policy.pending_days:
        yield place, f"Points that wait {policy.pending_days} days can be lost as idle before."


def _lost_day(policy: UnitPolicy) -> date | None:
    """A day on which points would be earned that expire before their wait is over.

    The last days before one fixed date for all are such days in any case.
    """
    if not policy.pending_days or policy.expiry.on:
        return None
    for earned_at in _A_YEAR:
        lot = policy.dates(earned_at, ZoneInfo("UTC"))
        if lot.active_at >= lot.expires_at:
            return earned_at.date()
    return None


def _return_mistakes(document: Document) -> Mistakes:
    returns: Document = document.get("returns", {})
    waits = any("pending" in unit for unit in document.get("units", {}).values())
    if returns.get("balance") == "only_pending" and not waits:
        yield "returns.balance", "No unit has pending points: nothing could ever be taken back."
    uses = any(unit.get("pending") == RETURN_WINDOW for unit in document.get("units", {}).values())
    if "window_days" in returns and not uses:
        yield "returns.window_days", 'No unit is pending until the "return_window" is over.'


def _payment_mistakes(document: Document) -> Mistakes:
    payment: Document = document.get("points_payment", {})
    if not payment:
        return
    unit = payment.get("unit", POINTS)
    if unit not in read_units(document):
        yield "points_payment.unit", f"The programme has no unit {unit}."
    if not float(payment.get("share_max", "1")):
        yield "points_payment.share_max", "With a share of 0 nobody can pay with points."
    step = payment["points"] // gcd(payment["points"], payment["amount"])
    if payment.get("step", step) % step:
        yield (
            "points_payment.step",
            f"{payment['step']} points are no whole amount of money: take a multiple of {step}.",
        )


def _stage_mistakes(document: Document) -> Mistakes:
    stages = Stages(**document.get("stages", {}))
    if stages.lapsed_after_days <= stages.at_risk_after_days:
        yield (
            "stages.lapsed_after_days",
            f"A member is at risk after {stages.at_risk_after_days} days; lapsed must come later.",
        )


def _tier_mistakes(document: Document) -> Mistakes:
    tiers: Document = document.get("tiers", {})
    if not tiers:
        return
    if "unit" in tiers:
        if tiers["measure"] != "points":
            yield "tiers.unit", f"The ladder counts {tiers['measure']}, not points of a unit."
        elif tiers["unit"] not in read_units(document):
            yield "tiers.unit", f"The programme has no unit {tiers['unit']}."
    for name, period in (("rolling_days", "rolling"), ("calendar", "calendar")):
        if name in tiers and tiers["period"] != period:
            yield f"tiers.{name}", f"Only for the period {period}; here it is {tiers['period']}."
    yield from _ladder_mistakes(tiers["ladder"])


def _ladder_mistakes(ladder: Sequence[Document]) -> Mistakes:
    if ladder[0]["threshold"]:
        yield "tiers.ladder.0.threshold", "The first tier is where everybody begins: it needs 0."
    for position, tier in enumerate(ladder):
        place = f"tiers.ladder.{position}"
        if any(tier["id"] == lower["id"] for lower in ladder[:position]):
            yield f"{place}.id", f"{tier['id']} is named twice."
        if position and tier["threshold"] <= ladder[position - 1]["threshold"]:
            before = ladder[position - 1]
            yield (
                f"{place}.threshold",
                f"Must be above the {before['threshold']} of {before['id']} before it.",
            )


def _group_mistakes(document: Document) -> Mistakes:
    for name, way in document.get("groups", {}).items():
        members = [
            (position, rule)
            for position, rule in enumerate(document["rules"])
            if rule.get("group") == name
        ]
        if not members:
            yield f"groups.{name}", "No rule is in this group."
            continue
        first = members[0][1]
        for position, rule in members[1:]:
            yield from _mixed(first, rule, f"rules.{position}.group", is_best=way == "best")


def _mixed(first: Document, rule: Document, place: str, *, is_best: bool) -> Mistakes:
    """Of rules that pay at different stages or in different units none can be the best."""
    kinds = stage(first["type"]), stage(rule["type"])
    units = first.get("unit", POINTS), rule.get("unit", POINTS)
    if kinds[0] != kinds[1]:
        yield (
            place,
            f"A group is of one kind: {first['id']} gives {_KINDS[kinds[0]]}.",
        )
    elif is_best and units[0] != units[1]:
        yield place, f"The best of {units[0]} and {units[1]} cannot be told: they are not alike."
