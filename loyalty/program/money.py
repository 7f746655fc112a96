"""Roundings, each with a name. Money and points are integers; what lies between is exact."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Rounding = Literal["floor", "half_up", "ceiling"]
Ratio = Fraction | int


def floor(value: Ratio) -> int:
    """The greatest whole number not above the value."""
    return value.numerator // value.denominator


def half_up(value: Ratio) -> int:
    """The nearest whole number; exactly between two, the greater one."""
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def ceiling(value: Ratio) -> int:
    """The least whole number not below the value."""
    return -(-value.numerator // value.denominator)


ROUNDINGS: Mapping[Rounding, Callable[[Ratio], int]] = {
    "floor": floor,
    "half_up": half_up,
    "ceiling": ceiling,
}


def rounded(numerator: int, denominator: int, rounding: Rounding) -> int:
    """The quotient, rounded; without a fraction in between where none is needed."""
    if rounding == "floor":
        return numerator // denominator
    return ROUNDINGS[rounding](Fraction(numerator, denominator))


def share(part: int, *, of: int, total: int) -> int:
    """The share of `of` that falls to `part` of `total`, rounded down; 0 of nothing."""
    return of * part // total if total else 0
