"""Noise that hides one person, from a source that nobody can foresee.

Pure but for the source of bytes: the operating system's, or for tests a stream that a seed fixes.
All noise is of whole numbers and is added to whole numbers. What is released is then an integer
whatever the data, so that no low bit of a float tells which sum lay under the noise (Mironov 2012,
doi:10.1145/2382196.2382264): rounding noise before it is added to an integer is the same as
rounding after, and rounding afterwards is post-processing of the Gaussian mechanism.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from collections.abc import Callable

    from recommend.dataset import Floats, Offsets

DRAWS_MAX = 1_000_000
"""Most numbers that are drawn at once; more are drawn block by block."""
_BITS = 52
"""One less than a float holds: the half that is added must not be rounded up to 1."""


class Noise:
    """Random numbers for privacy.

    Args:
        read: gives so many unforeseeable bytes.
    """

    def __init__(self, read: Callable[[int], bytes] = os.urandom) -> None:
        self._read = read

    @classmethod
    def seeded(cls, seed: int) -> Noise:
        """The same numbers for the same seed: for tests, never for what is served."""
        count = 0

        def read(size: int) -> bytes:
            nonlocal count
            count += 1
            return hashlib.shake_256(f"{seed}:{count}".encode()).digest(size)

        return cls(read)

    def uniform(self, size: int) -> Floats:
        """(size,) numbers above 0 and below 1."""
        blocks = [
            np.frombuffer(self._read(8 * min(DRAWS_MAX, size - first)), dtype=np.uint64)
            for first in range(0, size, DRAWS_MAX)
        ]
        drawn = np.concatenate([np.zeros(0, dtype=np.uint64), *blocks])
        whole = (drawn >> np.uint64(64 - _BITS)).astype(np.float64)
        return np.asarray((whole + 0.5) * 2.0**-_BITS)

    def gaussian(self, size: int, deviation: float) -> Offsets:
        """(size,) whole numbers: a normal distribution of this standard deviation, rounded.

        The tail ends at 8.1 deviations, which is 2e-16 of all.
        """
        drawn: Floats = ndtri(self.uniform(size))
        return np.rint(drawn * deviation).astype(np.int64)

    def gumbel(self, size: int) -> Floats:
        """(size,) standard Gumbel numbers: the highest of scores plus these is a draw by `exp`."""
        return np.asarray(-np.log(-np.log(self.uniform(size))))
