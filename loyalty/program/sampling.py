"""A random sample of members that is the same every time, and what it says of all of them.

A member's mark is a hash of its id and a seed; the sample are those with the lowest marks. So it is
a simple random sample without replacement: no member is likelier than another, whatever its id, and
the same seed draws the same members, on any machine.

A total over all members is estimated as their number times the sample's mean. Its standard error is
`N s / sqrt(n) sqrt(1 - n/N)` (Cochran, Sampling Techniques, section 2.9), and the interval is the
normal one of 95%: too narrow where few members make up most of a total.
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from loyalty.program.money import rounded

if TYPE_CHECKING:
    from collections.abc import Iterable

Z_95 = 1.959964
ESTIMATOR = (
    "Simple random sample of members without replacement. Total = N x mean of the sample; "
    "standard error = N s / sqrt(n) x sqrt(1 - n/N); interval = total +/- 1.96 standard errors."
)


class Sample(NamedTuple):
    """Which members are in: those whose mark is not above `mark_max`."""

    mark_max: int
    drawn: int
    of: int
    seed: str

    def has(self, member_id: str) -> bool:
        """Whether a member is in the sample."""
        return mark_of(member_id, self.seed) <= self.mark_max


def mark_of(member_id: str, seed: str) -> int:
    """A member's mark: 64 bits that nobody can tell from random ones."""
    digest = hashlib.blake2b(member_id.encode(), digest_size=8, key=seed.encode()[:64]).digest()
    return int.from_bytes(digest, "big")


def draw(
    member_ids: Iterable[str], *, seed: str, members: int | None = None, percent: int = 100
) -> Sample:
    """Draw a sample.

    Args:
        member_ids: all members; eight bytes of each are held.
        seed: of at most 64 bytes; another one draws other members.
        members: so many at most.
        percent: so many of a hundred, if `members` says nothing.
    """
    marks = array("Q", sorted(mark_of(each, seed) for each in member_ids))
    wanted = members if members is not None else -(-len(marks) * percent // 100)
    drawn = min(wanted, len(marks))
    return Sample(marks[drawn - 1] if drawn else -1, drawn, len(marks), seed)


@dataclass(slots=True)
class Moments:
    """The sum and the sum of squares of a figure over the members that were looked at."""

    total: int = 0
    squares: int = 0

    def add(self, value: int) -> None:
        """Count one member's figure."""
        self.total += value
        self.squares += value * value


class Estimate(NamedTuple):
    """A total over all members. Without `standard_error` it is exact."""

    value: int
    standard_error: float | None = None
    low: int | None = None
    high: int | None = None


def estimate(moments: Moments, *, looked_at: int, of: int) -> Estimate:
    """The total over all `of` members, from those `looked_at`."""
    if looked_at >= of or not looked_at:
        return Estimate(moments.total)
    value = rounded(moments.total * of, looked_at, "half_up")
    if looked_at == 1:
        return Estimate(value)
    # In integers up to the last step: the difference of two large numbers is what matters.
    spread = looked_at * moments.squares - moments.total**2
    variance = spread / (looked_at * (looked_at - 1))
    error = of * sqrt(variance / looked_at * (1 - looked_at / of))
    return Estimate(value, error, round(value - Z_95 * error), round(value + Z_95 * error))
