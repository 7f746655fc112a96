"""What was shown often without a click sinks; what was dismissed is gone for a while. Pure.

From feedback that the caller reported and that consent allows to be used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from recommend.taste import Signal

HALVING_IMPRESSIONS = 5.0
"""So many impressions without a click halve a score."""
HALF_LIFE_DAYS = 7.0
"""Age at which an impression counts half: what sank comes up again."""
DISMISSED_DAYS = 90.0
FLOOR = 0.05
"""Least factor: nothing is lost for ever by having been shown."""
_DAY_SECONDS = 86_400.0
# Whoever did one of these has taken notice, and what was shown before no longer speaks against it.
_NOTICED = frozenset({"view", "click", "cart", "wish", "share", "review"})


def penalties(
    signals: Sequence[Signal], at: float, *, bought_at: Mapping[str, float] | None = None
) -> dict[str, float]:
    """How many times the score of each product counts; 0.0 is not to be shown at all.

    Args:
        signals: of one member, in any order.
        at: POSIX seconds of the request.
        bought_at: POSIX seconds of the newest purchase of each sku, as far as there is one.

    Returns:
        A factor from 0 to 1 for each product that has one below 1.
    """
    noticed = dict(bought_at or {})
    for each in signals:
        if each.kind in _NOTICED:
            noticed[each.sku] = max(each.at, noticed.get(each.sku, each.at))
    shown: dict[str, float] = {}
    dismissed: set[str] = set()
    for each in signals:
        is_later = each.sku not in noticed or each.at > noticed[each.sku]
        age_days = max(at - each.at, 0.0) / _DAY_SECONDS
        if each.kind == "impression" and is_later:
            shown[each.sku] = shown.get(each.sku, 0.0) + 0.5 ** (age_days / HALF_LIFE_DAYS)
        elif each.kind == "dismissal" and is_later and age_days < DISMISSED_DAYS:
            dismissed.add(each.sku)
    sunk = {sku: max(0.5 ** (n / HALVING_IMPRESSIONS), FLOOR) for sku, n in shown.items()}
    return {**sunk, **dict.fromkeys(dismissed, 0.0)}
