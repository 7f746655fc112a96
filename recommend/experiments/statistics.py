"""What the numbers of two variants say: intervals, p-values, how many more are needed. Pure.

The member is the unit throughout: a member who clicks ten times is one member. Each comparison has
two intervals. The plain one is right for one look at the end; the other is right however often one
looks, and is wider for it.

Sources:
    Newcombe 1998, Statistics in Medicine 17, 873 (method 10): the difference of two proportions.
    Wilson 1927: one proportion.
    Welch 1947: the difference of two means.
    Deng, Knoblich, Lu 2018, arXiv 1803.06336: ratios of sums by the delta method.
    Waudby-Smith et al. 2021, arXiv 2103.06476: intervals that hold at every look.
"""

from __future__ import annotations

from math import ceil, inf, log, sqrt
from typing import TYPE_CHECKING, NamedTuple

from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Sequence

LEVEL = 0.95
POWER = 0.8
# The number of members at which the interval for every look is narrowest.
LOOKS_TUNED_TO = 5000


class Moments(NamedTuple):
    """Of a number that each member has: how many members, its mean and its variance (n - 1)."""

    members: int
    mean: float
    variance: float


class Ratio(NamedTuple):
    """Sums over members: of a numerator y, of a denominator x, and of their products."""

    members: int
    x: float
    y: float
    xx: float
    xy: float
    yy: float


class Comparison(NamedTuple):
    """What a variant has more than the control.

    Attributes:
        difference: variant less control.
        low, high: the 95% interval, right for one look.
        always_low, always_high: the one that is right however often one looks.
        p_value: how likely so large a difference is where there is none, two-sided; for one look.
        more_members: how many more are needed to show a difference of this size, all together.
    """

    difference: float
    low: float
    high: float
    always_low: float
    always_high: float
    p_value: float
    more_members: int | None


def wilson(successes: int, count: int, level: float = LEVEL) -> tuple[float, float]:
    """The interval of one proportion, in 0 to 1."""
    z = _z(level)
    share = successes / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    half /= 1 + z * z / count
    return max(0.0, middle - half), min(1.0, middle + half)


def proportions(control: tuple[int, int], variant: tuple[int, int]) -> Comparison:
    """Two proportions, each as (how many did, of how many): Newcombe's interval, pooled z-test."""
    (x1, n1), (x2, n2) = control, variant
    p1, p2 = x1 / n1, x2 / n2
    (l1, u1), (l2, u2) = wilson(x1, n1), wilson(x2, n2)
    difference = p2 - p1
    low = difference - sqrt((p2 - l2) ** 2 + (u1 - p1) ** 2)
    high = difference + sqrt((u2 - p2) ** 2 + (p1 - l1) ** 2)
    pooled = (x1 + x2) / (n1 + n2)
    error = sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    p_value = _p_value(difference, error)
    spread = sqrt(p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2)
    return _comparison(difference, (low, high), spread, p_value, n1 + n2)


def means(control: Moments, variant: Moments) -> Comparison:
    """Two means of unequal variances: Welch's t. Each needs two members or more."""
    parts = [each.variance / each.members for each in (control, variant)]
    error = sqrt(sum(parts))
    difference = variant.mean - control.mean
    count = control.members + variant.members
    if error == 0:
        return _comparison(difference, (difference, difference), 0.0, float(difference == 0), count)
    squares = sum(
        part * part / (each.members - 1)
        for part, each in zip(parts, (control, variant), strict=True)
    )
    freedom = error**4 / squares
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * error
    p_value = 2 * float(stats.t.sf(abs(difference) / error, freedom))
    return _comparison(difference, (difference - half, difference + half), error, p_value, count)


def ratios(control: Ratio, variant: Ratio) -> Comparison:
    """Two ratios of sums, such as clicks for each impression: the delta method over members."""
    (r1, v1), (r2, v2) = _ratio(control), _ratio(variant)
    difference, error = r2 - r1, sqrt(v1 + v2)
    half = _z(LEVEL) * error
    interval = (difference - half, difference + half)
    count = control.members + variant.members
    return _comparison(difference, interval, error, _p_value(difference, error), count)


def share_mismatch(counts: Sequence[int], shares: Sequence[int]) -> float:
    """How likely it is by chance that so many members are in each variant (chi-square).

    A tiny number means that something decides who is counted, and no comparison holds.

    Args:
        counts: members of each variant.
        shares: what each was to have; 0 for one that has no members to come.
    """
    total, whole = sum(counts), sum(shares)
    pairs = [(n, total * s / whole) for n, s in zip(counts, shares, strict=True) if s]
    if total == 0 or len(pairs) < 2:  # noqa: PLR2004  # there is nothing to compare
        return 1.0
    statistic = sum((seen - due) ** 2 / due for seen, due in pairs)
    return float(stats.chi2.sf(statistic, len(pairs) - 1))


def always_valid(error: float, count: int, level: float = LEVEL) -> float:
    """Half the width of an interval that holds at every look at once.

    The asymptotic confidence sequence of Waudby-Smith et al., theorem 2.2.

    Args:
        error: the standard error of what is estimated.
        count: from how many members.
        level: at which all of the intervals together hold.
    """
    alpha = 1 - level
    rho = (-2 * log(alpha) + log(-2 * log(alpha)) + 1) / LOOKS_TUNED_TO
    grown = count * rho + 1
    return error * sqrt(2 * grown / (count * rho) * log(sqrt(grown) / alpha))


def _comparison(
    difference: float, interval: tuple[float, float], error: float, p_value: float, count: int
) -> Comparison:
    half = always_valid(error, count)
    always = (difference - half, difference + half)
    return Comparison(
        difference, *interval, *always, p_value, _more_members(difference, error, count)
    )


def _more_members(difference: float, error: float, count: int) -> int | None:
    """How many more members would show this difference four times out of five; None for never."""
    if difference == 0 or error == inf:
        return None
    needed = (_z(LEVEL) + float(stats.norm.ppf(POWER))) * error / abs(difference)
    return max(0, ceil(count * (needed * needed - 1)))


def _ratio(sums: Ratio) -> tuple[float, float]:
    """A ratio and its variance."""
    if not sums.x:
        return 0.0, inf
    n, ratio = sums.members, sums.y / sums.x
    # The spread of y - ratio * x over members; its mean is zero by construction.
    squares = sums.yy - 2 * ratio * sums.xy + ratio * ratio * sums.xx
    return ratio, max(0.0, squares) * n / max(1, n - 1) / (sums.x * sums.x)


def _p_value(difference: float, error: float) -> float:
    if error == 0:
        return float(difference == 0)
    return 2 * float(stats.norm.sf(abs(difference) / error))


def _z(level: float) -> float:
    return float(stats.norm.ppf((1 + level) / 2))
