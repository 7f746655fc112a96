"""`python -m benchmarks.held [ROOT VERSION ITEMS]`: what a process holds, as JSON in MiB.

With arguments it loads the model from there and ranks for a few made-up people first; without it
has imported the same code and no more.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.ranking import BOUGHT, PICKS
from recommend import artefact
from recommend.model import rank

PEOPLE = 50
_LINES = ("Rss", "Pss", "Anonymous")


def main() -> None:
    """Load, rank, and print."""
    if sys.argv[1:]:
        root, version, n_items = sys.argv[1:]
        model = artefact.load(Path(root), version)
        bought = np.random.default_rng(7).integers(0, int(n_items), (PEOPLE, BOUGHT))
        for row in bought.tolist():
            rank(model, [(0.0, tuple(f"p{n:07d}" for n in row))], (), PICKS)
    held = (line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    mib = {name.rstrip(":"): round(int(size) / 1024, 1) for name, size, *_ in held}
    print(json.dumps({name: mib[name] for name in _LINES}))


if __name__ == "__main__":
    main()
