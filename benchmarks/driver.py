"""The bare driver from 16 threads of one process: `append` (read and insert) or `transact`.

Reads a plan as JSON on standard input, writes what it did as JSON on standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.bare import Bare
from benchmarks.load import Seen
from loyalty.kit.mongo import connect, open_database

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Plan:
    """Which call to make for how long; each thread writes for its own members in turn."""

    uri: str
    database: str
    call: Literal["append", "transact"]
    members: Sequence[Sequence[str]]
    label: str
    seconds: float
    warmup_seconds: float = 0.3


def run(plan: Plan) -> Seen:
    """Carry out a plan in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.driver"],
        input=json.dumps(asdict(plan)).encode(),
        capture_output=True,
        check=False,
        timeout=plan.seconds + plan.warmup_seconds + 60,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2000:])
    return Seen(**json.loads(done.stdout))


def _work(bare: Bare, plan: Plan, thread: int, begin_at: float) -> tuple[int, list[float]]:
    """Call until the time is over: how many calls in all, and how long the counted ones took."""
    call = bare.award if plan.call == "append" else bare.transact
    members = plan.members[thread]
    counted_from = begin_at + plan.warmup_seconds
    until = counted_from + plan.seconds
    latencies: list[float] = []
    number, at = 0, begin_at
    while at < until:
        call(members[number % len(members)], f"{plan.label}-{thread}-{number}")
        number += 1
        done_at = time.perf_counter()
        if counted_from <= done_at < until:
            latencies.append((done_at - at) * 1000)
        at = done_at
    return number, latencies


def main() -> None:
    """Read a plan, carry it out, write what was done."""
    plan = Plan(**json.load(sys.stdin))
    client = connect(plan.uri, timeout_seconds=5)
    bare = Bare(open_database(client, plan.database))
    threads = range(len(plan.members))
    cpu_from = time.process_time()
    begin_at = time.perf_counter()
    with ThreadPoolExecutor(len(threads)) as pool:
        done = list(pool.map(lambda thread: _work(bare, plan, thread, begin_at), threads))
    client.close()
    latencies = [each for _, some in done for each in some]
    seen = Seen(
        answers=len(latencies),
        seconds=plan.seconds,
        cpu_seconds=time.process_time() - cpu_from,
        sent=sum(number for number, _ in done),
        latencies_ms=latencies,
    )
    json.dump(asdict(seen), sys.stdout)


if __name__ == "__main__":
    main()
