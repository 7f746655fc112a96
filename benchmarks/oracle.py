"""The whole independent oracle: a TPC-DS of ten thousand customers, every balance compared.

`make test` runs a tenth of it; see tests/oracle/tpcds.py for what is compared with what.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from app import assemble, initialise
from benchmarks.measure import Row
from tests.oracle.tpcds import compare

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.cases import Size
    from benchmarks.stage import Stage
    from tests.oracle.tpcds import Arrival, Outcome, Returns

DATABASE = "carnet-oracle"
TIMEOUT_SECONDS = 30.0
# What comes back, how the facts arrive, one account in how many, and what limits the speed.
RUNS: tuple[tuple[Returns, Arrival, int, str], ...] = (
    ("none", "bulk", 1, "one core of Python, as the import"),
    ("whole", "in_order", 1, "two round trips a fact and the sync of mongod's journal to the disk"),
    ("whole", "shuffled", 20, "folding again all that is later than the fact, for nearly each"),
)


def balances(stage: Stage, size: Size, advance: Callable[[], None]) -> list[Row]:
    """How many balances are what SQL works out, for each way of arriving; the goal is all."""
    rows = []
    for returns, arrival, every, limited_by in RUNS:
        outcome = _outcome(stage, size.oracle_scale, returns, arrival, every)
        rows.append(
            Row(
                name=f"oracle: {arrival}, returns: {returns}",
                value=outcome.equal,
                unit="equal balances",
                limited_by=limited_by,
                peer_name="SQL in DuckDB, which shares no code",
                peer=outcome.members,
                ratio=outcome.equal / outcome.members,
                goal="all",
                is_met=outcome.equal == outcome.members,
                details={"scale": size.oracle_scale, "every": every, **asdict(outcome)},
            )
        )
        advance()
    return rows


def _outcome(stage: Stage, scale: float, returns: Returns, arrival: Arrival, every: int) -> Outcome:
    """One run, in a database of its own."""
    settings = replace(stage.settings, database=DATABASE, database_timeout_seconds=TIMEOUT_SECONDS)
    parts = assemble(settings, settings.mongodb_uri)
    initialise(settings, parts)
    outcome = compare(scale, parts.stores, every=every, returns=returns, arrival=arrival)
    parts.database.client.drop_database(DATABASE)
    parts.database.client.close()
    return outcome
