"""Whether a rule is about an activity: where, what, and `when`."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from loyalty.kit.clock import days_to

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from loyalty.program.awards import Case
    from loyalty.program.condition import Condition
    from loyalty.program.model import About, Numbered, Program, Region, Rule, State, When

EARTH_RADIUS_M = 6_371_009
_DAYS_A_YEAR = 365


def is_about(rule: Rule, case: Case) -> bool:
    """Whether place and circumstances fit; the channel does already, lines are looked at apart."""
    only, excluding, activity = rule.only, rule.excluding, case.activity
    if only.stores and activity.store not in only.stores:
        return False
    if activity.store in excluding.stores:
        return False
    # Cheap and most often decisive where a programme has a rule for each of many products.
    if only.has_skus_alone and only.skus.isdisjoint(case.skus):
        return False
    return rule.when is None or _holds(rule.when, case)


def lines_of(rule: Rule, case: Case) -> Sequence[Numbered]:
    """The lines that a rule is about, with their positions; none if they are too few."""
    only, excluding, when = rule.only, rule.excluding, rule.when
    lines: Sequence[Numbered] = case.lines
    if only.names_products:
        lines = only.named(lines)
    if excluding.names_products:
        left_out = {position for position, _ in excluding.named(lines)}
        lines = [pair for pair in lines if pair[0] not in left_out]
    if when is not None and not _suffice(when, lines):
        return ()
    return lines


def stage_of(program: Program, state: State, at: datetime) -> str:
    """Where the member stands with the shop, before what happens at a moment."""
    stages = program.stages
    if not state.purchases or state.bought_at is None:
        return "acquisition"
    idle_days = (at - state.bought_at).days
    if idle_days >= stages.lapsed_after_days:
        return "lapsed"
    if idle_days >= stages.at_risk_after_days:
        return "at_risk"
    return "loyal" if state.purchases >= stages.loyal_purchases_min else "trial"


def _suffice(when: When, lines: Sequence[Numbered]) -> bool:
    if when.lines_min and sum(line.amount for _, line in lines) < when.lines_min:
        return False
    return not when.quantity_min or sum(line.quantity for _, line in lines) >= when.quantity_min


def _holds(when: When, case: Case) -> bool:
    return (
        _fits_time(when, case)
        and _fits_basket(when, case)
        and _fits_member(when, case)
        and _fits_place(when, case.activity.about)
        and (when.condition is None or _meets(when.condition, case))
    )


def _fits_time(when: When, case: Case) -> bool:
    at = case.activity.occurred_at
    if when.starts_at and at < when.starts_at:
        return False
    if when.ends_at and at >= when.ends_at:
        return False
    if not (when.weekdays or when.hours):
        return True
    local = at.astimezone(_zone(when, case))
    if when.weekdays and local.isoweekday() not in when.weekdays:
        return False
    return when.hours is None or _fits_hours(when.hours, local)


def _fits_hours(hours: tuple[int, int], local: datetime) -> bool:
    minute = local.hour * 60 + local.minute
    begin, end = hours
    if begin < end:
        return begin <= minute < end
    return minute >= begin or minute < end


def _zone(when: When, case: Case) -> ZoneInfo:
    zone = case.activity.about.zone
    return ZoneInfo(zone) if when.clock == "store" and zone else case.program.zone


def _fits_basket(when: When, case: Case) -> bool:
    activity = case.activity
    if when.basket_min and case.worth < when.basket_min:
        return False
    if when.basket_max is not None and case.worth > when.basket_max:
        return False
    if when.payment and when.payment.isdisjoint(activity.payment.methods):
        return False
    return not when.fulfilment or activity.fulfilment in when.fulfilment


def _fits_member(when: When, case: Case) -> bool:
    about = case.activity.about
    if when.first_purchase and case.state.purchases:
        return False
    if when.tiers and case.tier not in when.tiers:
        return False
    if when.segments and when.segments.isdisjoint(about.segments):
        return False
    if when.stages and case.stage not in when.stages:
        return False
    if when.birthday and not _is_near(about.birthday_in_days, when.birthday):
        return False
    return not when.anniversary or _is_near(_anniversary_in_days(case), when.anniversary)


def _is_near(in_days: int | None, window: tuple[int, int]) -> bool:
    """Whether a day that is `in_days` away is at most so many days ahead, or behind."""
    before, after = window
    return in_days is not None and -after <= in_days <= before


def _anniversary_in_days(case: Case) -> int | None:
    """How far the nearest anniversary of joining is away; there is none in the first half year."""
    joined_at = case.activity.about.joined_at
    if joined_at is None:
        return None
    zone = case.program.zone
    joined = joined_at.astimezone(zone).date()
    today = case.activity.occurred_at.astimezone(zone).date()
    in_days = days_to(joined.month, joined.day, on=today)
    is_first = (today.toordinal() + in_days) - joined.toordinal() < _DAYS_A_YEAR
    return None if is_first else in_days


def _fits_place(when: When, about: About) -> bool:
    if not when.regions:
        return True
    place = about.place
    return place is not None and any(
        _metres(place, region) <= region.radius_m for region in when.regions
    )


def _metres(place: tuple[float, float], region: Region) -> float:
    """The way over the earth between a place and a region's middle, by the haversine formula."""
    latitude, longitude = map(radians, place)
    other_latitude, other_longitude = radians(region.latitude), radians(region.longitude)
    a = (
        sin((other_latitude - latitude) / 2) ** 2
        + cos(latitude) * cos(other_latitude) * sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * asin(sqrt(a))


def values_of(case: Case) -> dict[str, Any]:
    """What a condition in CEL may look at; see `condition.VARIABLES`."""
    activity, about = case.activity, case.activity.about
    local = activity.occurred_at.astimezone(case.program.zone)
    return {
        "kind": activity.kind,
        "channel": activity.channel,
        "store": activity.store or "",
        "engagement": activity.engagement,
        "fulfilment": activity.fulfilment,
        "basket": _basket(case),
        "payment": {
            "gift_card": activity.payment.gift_card_amount,
            "points": activity.payment.points_amount,
            "methods": activity.payment.methods,
        },
        "details": dict(activity.details),
        "member": {
            "tier": case.tier,
            "segments": sorted(about.segments),
            "stage": case.stage,
            "purchases": case.state.purchases,
            "joined_days": (activity.occurred_at - (about.joined_at or activity.occurred_at)).days,
            "balance": case.state.balance,
        },
        "at": {
            "year": local.year,
            "month": local.month,
            "day": local.day,
            "weekday": local.isoweekday(),
            "hour": local.hour,
            "minute": local.minute,
        },
    }


def _basket(case: Case) -> dict[str, int]:
    lines = case.activity.lines
    return {
        "amount": case.worth,
        "quantity": sum(line.quantity for line in lines),
        "lines": len(lines),
        "tax": sum(line.tax for line in lines),
        "discount": sum(line.discount for line in lines),
    }


def _line_values(case: Case) -> list[dict[str, Any]]:
    """The lines as a condition looks at them; built only where one does."""
    return [
        {
            "sku": line.sku,
            "quantity": line.quantity,
            "amount": line.amount,
            "category": line.category,
            "brand": line.brand,
        }
        for line in case.activity.lines
    ]


def _meets(condition: Condition, case: Case) -> bool:
    values = case.values
    if "lines" in condition.uses and "lines" not in values:
        values["lines"] = _line_values(case)
    return condition.holds(values)
